# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_labels against real API servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import held
from ansible_collections.hostnet.multicluster.plugins.modules import node_labels
from support.in_process import call_module
from support.kube_api import KubeApi
from support.rbac import restricted_user

Json = dict[str, Any]
Run = Callable[..., Json]
KEY = "example.com/ledger"

pytestmark = pytest.mark.usefixtures("no_nodes")


@pytest.fixture
def four_nodes(no_nodes: None, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    for number in (1, 2, 3):
        create_node(kube_api, f"east-{number}", address=f"10.1.0.1{number}", labels={"pool": "db"})
    create_node(kube_api_two, "west-1", address="10.2.0.11")


def labels(kube: KubeApi, key: str = KEY) -> dict[str, str]:
    """Value of label `key` by name of the node, where it is set."""
    items = kube.request_json("GET", "/api/v1/nodes")["items"]
    return {item["metadata"]["name"]: item["metadata"]["labels"][key] for item in items if key in item["metadata"]["labels"]}


def wanted(kube_cluster: str, name: str, **more: Any) -> Json:
    return {"kube_cluster": kube_cluster, "name": name, "labels": more or {KEY: f"{name}-0"}}


@pytest.mark.usefixtures("four_nodes")
def test_check_mode_then_change_then_nothing_to_do(
    run_module: Run, kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi
) -> None:
    args = {
        "kube_clusters": kube_clusters,
        "owned": [KEY],
        "nodes": [wanted("east", "east-1"), wanted("east", "east-2"), wanted("west", "west-1")],
    }
    checked = run_module("node_labels", args, check=True, diff=True)
    assert (checked["changed"], checked["requests"], labels(kube_api)) == (True, 2, {})
    done = run_module("node_labels", args, diff=True)
    # One LIST for each kube cluster and one PATCH for each node.
    assert (done["changed"], done["requests"]) == (True, 5)
    assert {key: done[key] for key in ("changed", "diff", "nodes")} == {key: checked[key] for key in ("changed", "diff", "nodes")}
    assert done["nodes"] == [
        {"kube_cluster": "east", "name": "east-1", "before": {}, "after": {KEY: "east-1-0"}},
        {"kube_cluster": "east", "name": "east-2", "before": {}, "after": {KEY: "east-2-0"}},
        {"kube_cluster": "west", "name": "west-1", "before": {}, "after": {KEY: "west-1-0"}},
    ]
    assert done["diff"]["after"]["west/west-1"] == {KEY: "west-1-0"}
    assert labels(kube_api) == {"east-1": "east-1-0", "east-2": "east-2-0"}
    assert labels(kube_api_two) == {"west-1": "west-1-0"}
    again = run_module("node_labels", args, diff=True)
    assert (again["changed"], again["nodes"], again["requests"]) == (False, [], 2)
    assert again["diff"] == {"before": {}, "after": {}}


@pytest.mark.usefixtures("four_nodes")
def test_owned_keys_are_taken_from_others_and_nothing_else_is(kube_clusters: list[Json], kube_api: KubeApi) -> None:
    call_module("node_labels", {"kube_clusters": kube_clusters, "nodes": [wanted("east", "east-1"), wanted("east", "east-2", other="1")]})
    args = {"kube_clusters": kube_clusters, "owned": [KEY], "nodes": [wanted("east", "east-2"), wanted("east", "east-3", other=2)]}
    result = call_module("node_labels", args)
    assert [(node["name"], node["before"], node["after"]) for node in result["nodes"]] == [
        ("east-1", {KEY: "east-1-0"}, {}),
        ("east-2", {}, {KEY: "east-2-0"}),
        ("east-3", {}, {"other": "2"}),
    ]
    assert labels(kube_api) == {"east-2": "east-2-0"}
    # Not owned, so it stays where it is not wanted any more.
    assert labels(kube_api, "other") == {"east-2": "1", "east-3": "2"}
    assert set(labels(kube_api, "pool")) == {"east-1", "east-2", "east-3"}


@pytest.mark.usefixtures("four_nodes")
def test_return_is_documented(kube_clusters: list[Json]) -> None:
    documented = yaml.safe_load(node_labels.RETURN)
    guarded = {**wanted("east", "east-1"), "guarded": True}
    result = call_module("node_labels", {"kube_clusters": kube_clusters, "nodes": [guarded], "guarded_by": "ledger"})
    assert set(documented) <= set(result)
    assert set(result["nodes"][0]) == set(documented["nodes"]["contains"])


@pytest.mark.usefixtures("four_nodes")
def test_nothing_is_changed_where_a_listed_node_does_not_exist(kube_clusters: list[Json], kube_api: KubeApi) -> None:
    args = {"kube_clusters": kube_clusters, "nodes": [wanted("east", "east-1"), wanted("west", "east-1")]}
    failed = call_module("node_labels", args)
    assert failed["msg"] == "kube cluster west: Node east-1: there is no such node; correct its name or leave it out"
    assert labels(kube_api) == {}


@pytest.mark.usefixtures("four_nodes")
def test_nodes_that_a_cloud_took_are_passed_over_where_that_is_said(
    kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi
) -> None:
    gone = {**wanted("west", "east-1"), "guarded": True}
    args = {
        "kube_clusters": kube_clusters,
        "nodes": [wanted("east", "east-1"), gone],
        "guarded_by": "ledger",
        "release": True,
        "gone_ok": True,
    }
    assert [node["name"] for node in call_module("node_labels", args)["nodes"]] == ["east-1"]
    assert (labels(kube_api), labels(kube_api_two)) == ({"east-1": "east-1-0"}, {})


@pytest.mark.usefixtures("four_nodes")
def test_nothing_is_changed_where_a_kube_cluster_does_not_answer(
    kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi
) -> None:
    with kube_api_two.paused():  # type: ignore[attr-defined]
        failed = call_module("node_labels", {"kube_clusters": kube_clusters, "nodes": [wanted("east", "east-1")]})
    assert failed["msg"].startswith("kube cluster west: list of nodes: no answer from")
    assert labels(kube_api) == {}


def test_a_node_that_was_replaced_meanwhile_is_not_labelled(kube_api: KubeApi, create_node: Callable[..., Json]) -> None:
    from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, nodes

    create_node(kube_api, "vm", address="10.0.0.1")
    create_node(kube_api, "gone", address="10.0.0.2", labels={KEY: "old"})
    clusters = client.connect([kube_api.entry])
    current = nodes.read_labels(clusters)
    kube_api.request_json("DELETE", "/api/v1/nodes/vm")
    kube_api.request_json("DELETE", "/api/v1/nodes/gone")
    create_node(kube_api, "vm", address="10.0.0.1")
    changes = nodes.plan_labels(current, {("east", "vm"): {KEY: "vm-0"}}, [KEY])
    with pytest.raises(client.KubeError) as error:
        nodes.write_labels(clusters, current, changes)
    assert str(error.value) == "kube cluster east: Node vm: another VM has come under this name meanwhile; run again"
    # The other one is gone, and its label with it: that is what was wanted.
    assert "gone" not in str(error.value)
    assert labels(kube_api) == {}
    kube_api.request_json("DELETE", "/api/v1/nodes/vm")
    with pytest.raises(client.KubeError, match="not found"):
        nodes.write_labels(clusters, current, changes)
    assert nodes.write_labels(clusters, current, changes, gone_ok=True) == {"east": list(changes["east"])}


def annotations(kube: KubeApi, node: str) -> dict[str, str]:
    return {**kube.request_json("GET", f"/api/v1/nodes/{node}")["metadata"].get("annotations", {})}


def guard(kube: KubeApi, name: str, *nodes: str, **more: Any) -> Json:
    """The module called for deployment `name`, with these nodes of `east`."""
    listed = [{"kube_cluster": "east", "name": node, "labels": {}, "guarded": True} for node in nodes]
    return call_module("node_labels", {"kube_clusters": [kube.entry], "nodes": listed, "guarded_by": name, "release": True, **more})


@pytest.mark.usefixtures("four_nodes")
def test_the_autoscaler_is_kept_away_until_the_last_deployment_goes(kube_api: KubeApi) -> None:
    path = "/api/v1/nodes/east-2"
    foreign = {"metadata": {"annotations": {held.SCALE_DOWN: "true"}}}
    kube_api.request_json("PATCH", path, foreign, "application/merge-patch+json")
    first = guard(kube_api, "ledger", "east-1", "east-2")
    assert [node["name"] for node in first["nodes"]] == ["east-1"], "east-2 is somebody else's"
    assert first["diff"]["after"] == {"east/east-1": {held.SCALE_DOWN: "true", held.HOLDERS: "ledger"}}
    assert first["requests"] == 2
    assert not guard(kube_api, "ledger", "east-1", "east-2")["changed"]
    assert guard(kube_api, "bank", "east-1", "east-3")["changed"]
    assert annotations(kube_api, "east-1") == {held.SCALE_DOWN: "true", held.HOLDERS: "bank,ledger"}
    assert [node["name"] for node in guard(kube_api, "ledger")["nodes"]] == ["east-1"]
    assert annotations(kube_api, "east-1") == {held.SCALE_DOWN: "true", held.HOLDERS: "bank"}
    assert guard(kube_api, "bank")["changed"]
    assert [annotations(kube_api, node) for node in ("east-1", "east-2", "east-3")] == [{}, {held.SCALE_DOWN: "true"}, {}]


@pytest.mark.usefixtures("four_nodes")
def test_labels_and_the_guard_are_one_patch_and_others_are_left_alone_without_release(kube_api: KubeApi) -> None:
    guard(kube_api, "ledger", "east-2")
    both = {**wanted("east", "east-1"), "guarded": True}
    done = call_module("node_labels", {"kube_clusters": [kube_api.entry], "nodes": [both], "guarded_by": "ledger"})
    assert (done["requests"], labels(kube_api)) == (2, {"east-1": "east-1-0"})
    assert annotations(kube_api, "east-1") == annotations(kube_api, "east-2") == {held.SCALE_DOWN: "true", held.HOLDERS: "ledger"}


def test_two_deployments_that_write_at_once_lose_nobodys_name(kube_api: KubeApi, create_node: Callable[..., Json]) -> None:
    from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, nodes

    create_node(kube_api, "vm", address="10.0.0.1")
    clusters = client.connect([kube_api.entry])
    current = nodes.read_labels(clusters)
    mine: nodes.Guard = {"name": "ledger", "nodes": {("east", "vm")}, "release": False}
    changes = nodes.plan_labels(current, {("east", "vm"): {KEY: "vm-0"}}, [], mine)
    # In between, the other one.
    assert guard(kube_api, "bank", "vm")["changed"]
    (made,) = nodes.write_labels(clusters, current, changes, mine)["east"]
    assert annotations(kube_api, "vm") == {held.SCALE_DOWN: "true", held.HOLDERS: "bank,ledger"}
    assert labels(kube_api) == {"vm": "vm-0"}
    assert made["name"] == "vm"


def test_a_guard_needs_a_name(kube_api: KubeApi) -> None:
    for name in ("", "Not A Label"):
        assert guard(kube_api, name, "east-1")["msg"].startswith("guarded_by must be the name of a deployment")


def test_wrong_options_are_all_told_at_once(kube_clusters: list[Json]) -> None:
    nodes = [wanted("north", "a"), wanted("east", "b", x=True), wanted("east", "b", x="a b")]
    failed = call_module("node_labels", {"kube_clusters": kube_clusters, "nodes": nodes, "owned": ["kubernetes.io/hostname"]})
    assert failed["requests"] == 0
    for part in (
        "'kubernetes.io/hostname' belongs to Kubernetes itself",
        "node a (kube cluster north): kube_clusters has no entry of that name; it has east, west",
        "node b (kube cluster east) is listed twice",
        "label 'x' is True, not a string; quote it",
        "label value 'a b' must be",
    ):
        assert part in failed["msg"]


def test_node_labels_examples(
    run_tasks: Callable[..., Any], kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]
) -> None:
    create_node(kube_api, "east-worker", address="10.1.0.11")
    create_node(kube_api_two, "west-worker", address="10.2.0.11")
    tasks = yaml.safe_load(node_labels.EXAMPLES)
    run = run_tasks(tasks, variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    first, last = run.of("node_labels")
    assert [node["after"] for node in first["nodes"]] == [{KEY: "east-0"}, {KEY: "west-0"}]
    assert [node["after"] for node in last["nodes"]] == [{}, {}]
    assert not run_tasks(tasks[1:], variables={"hostnet_kube_clusters": kube_clusters}).changed


@pytest.mark.usefixtures("four_nodes")
def test_rights_of_rbac_yaml_suffice_and_each_verb_is_needed(kube_api: KubeApi) -> None:
    nodes = [wanted("east", "east-1")]
    without_patch = restricted_user(kube_api, "hostnet-multicluster-nodes", without="patch")
    failed = call_module("node_labels", {"kube_clusters": [without_patch], "nodes": nodes})
    assert failed["failed"]
    assert failed["msg"].startswith('kube cluster east: Node east-1: nodes "east-1" is forbidden: User ')
    assert failed["msg"].endswith("grant it as docs/rbac.yaml does")
    assert labels(kube_api) == {}
    without_list = restricted_user(kube_api, "hostnet-multicluster-nodes", without="list")
    assert 'cannot list resource "nodes"' in call_module("node_labels", {"kube_clusters": [without_list], "nodes": nodes})["msg"]
    result = call_module("node_labels", {"kube_clusters": [restricted_user(kube_api, "hostnet-multicluster-nodes")], "nodes": nodes})
    assert not result.get("failed"), result
    assert labels(kube_api) == {"east-1": "east-1-0"}
