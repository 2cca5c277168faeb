# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nodes_info against real API servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import Node
from ansible_collections.hostnet.multicluster.plugins.modules import nodes_info
from support.in_process import call_module
from support.kube_api import KubeApi
from support.rbac import restricted_user

Json = dict[str, Any]
Run = Callable[..., Json]
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"

pytestmark = pytest.mark.usefixtures("no_nodes")


@pytest.fixture
def five_nodes(no_nodes: None, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api, "east-control", address="10.1.0.2", labels={CONTROL_PLANE: ""})
    for number in (1, 2):
        create_node(
            kube_api,
            f"east-{number}",
            address=f"10.1.0.1{number}",
            region="east",
            zone=f"east-{number}",
            provider_id=f"kind://east-{number}",
            annotations={"example.com/backbone-ip": f" fd00:0::{number}\n"},
        )
    create_node(kube_api_two, "west-control", address="10.2.0.2", labels={CONTROL_PLANE: ""})
    create_node(kube_api_two, "west-1", address="10.2.0.11", ready=False, unschedulable=True, labels={"pool": "db"})


@pytest.mark.usefixtures("five_nodes")
def test_nodes_of_both_kube_clusters(run_module: Run, kube_clusters: list[Json], kube_api: KubeApi) -> None:
    result = run_module("nodes_info", {"kube_clusters": kube_clusters, "node_selector": f"!{CONTROL_PLANE}"}, check=True)
    assert not result.get("failed"), result
    assert [(node["kube_cluster"], node["name"], node["address"]) for node in result["nodes"]] == [
        ("east", "east-1", "10.1.0.11"),
        ("east", "east-2", "10.1.0.12"),
        ("west", "west-1", "10.2.0.11"),
    ]
    first, _second, last = result["nodes"]
    assert (first["region"], first["zone"], first["ready"], first["provider_id"]) == ("east", "east-1", True, "kind://east-1")
    assert (last["ready"], last["unschedulable"], last["labels"]["pool"], last["kubelet_version"]) == (False, True, "db", "v1.36.3")
    assert result["kube_clusters"]["east"] == {"host": kube_api.url, "version": "v1.36.3", "absent": False, "error": ""}
    assert (result["changed"], result["errors"]) == (False, [])
    # One LIST and one version for each.
    assert result["requests"] == 4


@pytest.mark.usefixtures("five_nodes")
def test_return_is_documented(kube_clusters: list[Json]) -> None:
    documented = yaml.safe_load(nodes_info.RETURN)
    result = call_module("nodes_info", {"kube_clusters": kube_clusters})
    assert set(documented) <= set(result)
    assert set(result["nodes"][0]) == set(documented["nodes"]["contains"]) == set(Node.__annotations__)
    assert set(result["kube_clusters"]["east"]) == set(documented["kube_clusters"]["contains"])


@pytest.mark.usefixtures("five_nodes")
def test_addresses_from_an_annotation(kube_clusters: list[Json]) -> None:
    result = call_module("nodes_info", {"kube_clusters": kube_clusters, "address_type": "example.com/backbone-ip"})
    assert {node["name"]: node["address"] for node in result["nodes"]} == {
        "east-1": "fd00::1",
        "east-2": "fd00::2",
        "east-control": "",
        "west-1": "",
        "west-control": "",
    }
    assert [error.split(" has no annotation")[0] for error in result["errors"]] == [
        "node east-control (kube cluster east)",
        "node west-1 (kube cluster west)",
        "node west-control (kube cluster west)",
    ]


@pytest.mark.usefixtures("five_nodes")
def test_same_address_in_two_kube_clusters(kube_clusters: list[Json], kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api_two, "west-2", address="10.1.0.11")
    result = call_module("nodes_info", {"kube_clusters": kube_clusters})
    (error,) = result["errors"]
    assert "node east-1 (kube cluster east) and node west-2 (kube cluster west) have the same address 10.1.0.11" in error


@pytest.mark.usefixtures("five_nodes")
def test_nodes_that_match_no_longer(kube_clusters: list[Json]) -> None:
    result = call_module(
        "nodes_info", {"kube_clusters": kube_clusters, "node_selector": f"!{CONTROL_PLANE},!pool", "extra_selector": "pool=db"}
    )
    assert {node["name"]: node["selected"] for node in result["nodes"]} == {"east-1": True, "east-2": True, "west-1": False}
    assert result["requests"] == 6


def test_nodes_of_members_that_match_no_longer(kube_clusters: list[Json], kube_api: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api, "idle", address="10.0.0.9")
    create_node(kube_api, "runs", address="10.0.0.1", labels={"hostnet.multicluster/ledger": "east-0"})
    create_node(kube_api, "stopped", address="10.0.0.2", labels={"namespace.hostnet.multicluster/ledger": "bank"})
    result = call_module("nodes_info", {"kube_clusters": kube_clusters[:1], "node_selector": "pool=db", "members_of": "ledger"})
    assert {node["name"]: node["selected"] for node in result["nodes"]} == {"runs": False, "stopped": False}


@pytest.mark.usefixtures("five_nodes")
def test_a_kube_cluster_that_does_not_answer(kube_clusters: list[Json], kube_api_two: KubeApi) -> None:
    with kube_api_two.paused():  # type: ignore[attr-defined]
        failed = call_module("nodes_info", {"kube_clusters": kube_clusters})
        allowed = call_module("nodes_info", {"kube_clusters": kube_clusters, "absent_ok": ["west"]})
    assert failed["failed"]
    assert failed["msg"].startswith(f"kube cluster west: version: no answer from {kube_api_two.url}")
    assert failed["requests"] >= 2
    assert not allowed.get("failed"), allowed
    assert {node["kube_cluster"] for node in allowed["nodes"]} == {"east"}
    assert allowed["kube_clusters"]["west"]["absent"]
    assert "no answer from" in allowed["kube_clusters"]["west"]["error"]
    assert not allowed["kube_clusters"]["east"]["absent"]


def test_refusals_are_errors_even_where_absence_is_allowed(kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    for entry, part in (
        ({**kube_api.entry, "kubeconfig": kube_api.user_kubeconfig("nobody")}, 'User "nobody" cannot list resource "nodes"'),
        ({"name": "east", "host": kube_api.url, "api_key": "wr0ng-token", "validate_certs": False}, "credentials were refused (401"),
        ({**kube_api.entry, "host": kube_api_two.url}, "is not trusted"),
        ({**kube_api.entry, "context": "missing"}, "check the name of the context"),
        ({**kube_api.entry, "kubeconfig": "/nonexistent"}, "/nonexistent is missing or cannot be read"),
    ):
        failed = call_module("nodes_info", {"kube_clusters": [entry], "absent_ok": ["east"]})
        assert failed["failed"], entry
        assert failed["msg"].startswith("kube cluster east: ")
        assert part in failed["msg"]
        assert "wr0ng-token" not in str(failed)
        assert isinstance(failed["requests"], int)


def test_all_kube_clusters_that_fail_are_named(kube_clusters: list[Json]) -> None:
    entries = [{**entry, "host": "https://127.0.0.1:1"} for entry in kube_clusters]
    failed = call_module("nodes_info", {"kube_clusters": entries})
    assert "kube cluster east: version: no answer" in failed["msg"]
    assert "; kube cluster west: version: no answer" in failed["msg"]


def test_wrong_options(kube_clusters: list[Json]) -> None:
    failed = call_module("nodes_info", {"kube_clusters": kube_clusters, "absent_ok": ["north"]})
    assert failed["msg"] == "absent_ok: north is not in kube_clusters, which has east, west; correct the name"
    failed = call_module("nodes_info", {"kube_clusters": kube_clusters, "node_selector": "a b"})
    assert "kube cluster east: list of nodes: " in failed["msg"]
    assert "unable to parse requirement" in failed["msg"]
    failed = call_module("nodes_info", {"kube_clusters": [kube_clusters[0], kube_clusters[0]]})
    assert "this name is given twice" in failed["msg"]


@pytest.mark.usefixtures("five_nodes")
def test_nodes_info_examples(run_tasks: Callable[..., Any], kube_clusters: list[Json]) -> None:
    run = run_tasks(yaml.safe_load(nodes_info.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    first, last = run.of("nodes_info")
    assert (len(first["nodes"]), len(last["nodes"])) == (3, 5)
    (shown,) = run.of("ansible.builtin.debug")
    assert shown["msg"] == ["east-1 10.1.0.11", "east-2 10.1.0.12", "west-1 10.2.0.11"]


def test_module_defaults_of_the_action_group(run_tasks: Callable[..., Any], kube_clusters: list[Json]) -> None:
    group = {"group/hostnet.multicluster.hostnet": {"kube_clusters": kube_clusters}}
    run = run_tasks([{"hostnet.multicluster.nodes_info": {}}, {"hostnet.multicluster.node_labels": {}}], module_defaults=group)
    assert run.rc == 0, run.output


def test_rights_of_rbac_yaml_suffice(kube_api: KubeApi) -> None:
    result = call_module("nodes_info", {"kube_clusters": [restricted_user(kube_api, "hostnet-multicluster-nodes")]})
    assert not result.get("failed"), result


def test_without_a_library(run_module: Run, kube_clusters: list[Json], tmp_path: Path) -> None:
    (tmp_path / "websocket.py").write_text("raise ImportError('hidden by a test')\n")
    for module in ("nodes_info", "node_labels"):
        failed = run_module(module, {"kube_clusters": kube_clusters}, environment={"PYTHONPATH": str(tmp_path)})
        assert failed["failed"]
        assert "a Python package that this collection needs cannot be imported by" in failed["msg"]
