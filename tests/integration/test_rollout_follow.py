# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module rollout_follow against real API servers: what it sees, with the rights of docs/rbac.yaml alone. tests/integration/test_follow.py has playbooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_follow
from support.in_process import call_module
from support.kube_api import KubeApi, create_node, delete_nodes
from support.run import PlayRun

Json = dict[str, Any]
BUSY = {"spec": {"unschedulable": True}}


@pytest.fixture
def followed(kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json], namespace: str) -> Iterator[Json]:
    """Arguments for a deployment of two members, each on a node with its guard pods."""
    members = []
    for kube in (kube_api, kube_api_two):
        delete_nodes(kube)
    for kube, node in ((kube_api, "east-1"), (kube_api_two, "west-1")):
        made = create_node(kube, node, address="10.0.0.1")
        member = f"{kube.name}-0"
        members.append(
            {
                "member": member,
                "kube_cluster": kube.name,
                "node": node,
                "node_uid": made["metadata"]["uid"],
                "address": "10.0.0.1",
                "zone": "",
            }
        )
    for number in range(2):
        guard(kube_api, namespace, number)
    yield {
        "kube_clusters": kube_clusters,
        "name": "ledger",
        "namespace": namespace,
        "members": members,
        "among": ["east-0"],
        "interval": 0.2,
        "timeout": 1,
    }
    for kube in (kube_api, kube_api_two):
        delete_nodes(kube)


def guard(kube: KubeApi, namespace: str, number: int) -> None:
    labels = {"hostnet.multicluster/guard-of": "ledger", "hostnet.multicluster/member": "east-0"}
    spec = {"nodeName": "east-1", "containers": [{"name": "guard", "image": "example.test/x:1"}]}
    path = f"/api/v1/namespaces/{namespace}/pods"
    kube.request_json("POST", path, {"metadata": {"name": f"guard-{number}", "labels": labels}, "spec": spec})
    running = {"name": "guard", "image": "x", "imageID": "x", "ready": True, "restartCount": 0, "state": {"running": {}}}
    status = {"status": {"phase": "Running", "containerStatuses": [running]}}
    kube.request_json("PATCH", f"{path}/guard-{number}/status", status, "application/merge-patch+json")


def test_an_eviction_on_a_cordoned_node_is_its_drain(kube_api: KubeApi, namespace: str, followed: Json) -> None:
    assert call_module("rollout_follow", followed)["due"] == {}
    kube_api.request_json("PATCH", "/api/v1/nodes/east-1", BUSY, "application/merge-patch+json")
    quiet = call_module("rollout_follow", followed)
    assert (quiet["due"], quiet["changed"], quiet["waited"] >= 1) == ({}, False, True)
    kube_api.request_json("DELETE", f"/api/v1/namespaces/{namespace}/pods/guard-0?gracePeriodSeconds=0")
    drained = call_module("rollout_follow", {**followed, "timeout": 600})
    assert drained["due"] == {"east-0": "east: node east-1 is drained: one of its guard pods was evicted"}
    assert sorted(node["name"] for node in drained["nodes"]) == ["east-1", "west-1"]
    # It is no news to whoever works on others, and in check mode nobody waits.
    assert call_module("rollout_follow", {**followed, "among": ["west-0"]})["due"] == {}
    assert call_module("rollout_follow", {**followed, "among": ["west-0"], "timeout": 600}, check=True)["due"] == {}


def test_a_kube_cluster_that_does_not_answer_ends_nothing(kube_api: KubeApi, followed: Json) -> None:
    east, west = followed["kube_clusters"]
    away = {**followed, "kube_clusters": [east, {**west, "host": "https://127.0.0.1:1"}], "timeout": 600}
    kube_api.request_json("DELETE", "/api/v1/nodes/east-1")
    create_node(kube_api, "east-2", address="10.0.0.2")
    assert call_module("rollout_follow", away)["due"] == {"east-0": "east: node east-1 is gone, and node east-2 is there"}


def test_it_ends_when_the_nodes_have_the_version_that_was_asked_for(followed: Json) -> None:
    asked = {**followed, "followed": ["east-0", "west-0"], "timeout": 600, "may_end": True, "until": {"east": "2.0", "west": "99.1"}}
    had = call_module("rollout_follow", {**asked, "timeout": 1})
    version = had["nodes"][0]["kubelet_version"]
    assert (had["over"], had["standing"]) == ("", "0 of 2 members are on the kubelet of hostnet_follow_until")
    over = call_module("rollout_follow", {**asked, "until": {"east": version, "west": version}})
    assert (over["due"], over["over"]) == ({}, f"every member's node has the kubelet of hostnet_follow_until ({version})")
    assert list(over["seen"]["generations"]) == ["east", "west"]
    # What it has seen goes on with the next call.
    again = call_module("rollout_follow", {**followed, "seen": over["seen"]})
    assert again["seen"] == over["seen"]


def test_members_have_to_be_bindings(followed: Json) -> None:
    wrong = call_module("rollout_follow", {**followed, "members": [{"member": "east-0", "kube_cluster": "east"}]})
    assert wrong["msg"] == "members[0] has no node, node_uid, zone: give the bindings as they are recorded"
    stray = call_module("rollout_follow", {**followed, "members": [{**followed["members"][0], "kube_cluster": "north"}]})
    assert "members[0].kube_cluster is 'north', which is not in kube_clusters" in stray["msg"]


def test_rollout_follow_examples(run_tasks: Callable[..., PlayRun], followed: Json) -> None:
    hostnet = {
        "kube_clusters": followed["kube_clusters"],
        "name": "ledger",
        "namespace": followed["namespace"],
        "node_selector": "",
        "address_type": "InternalIP",
    }
    examples = yaml.safe_load(rollout_follow.EXAMPLES)
    examples[0]["hostnet.multicluster.rollout_follow"]["timeout"] = 1
    run = run_tasks(examples, variables={"hostnet": hostnet, "hostnet_bindings": followed["members"]})
    assert run.rc == 0, run.output
    assert run.of("rollout_follow")[0]["due"] == {}
