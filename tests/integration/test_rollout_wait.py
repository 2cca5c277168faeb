# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module rollout_wait against real API servers. Whole rollouts that wait are in test_signs.py, test_follow.py and test_outage.py."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, steps
from ansible_collections.hostnet.multicluster.plugins.modules import nodes_info, rollout_wait
from support import plans
from support.in_process import call_module, perform
from support.kube_api import KubeApi, create_node, delete_nodes
from support.run import PlayRun

Json = dict[str, Any]


@pytest.fixture
def waiting(kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json]) -> Iterator[Json]:
    """Arguments for a deployment of two members, of which east-0 is in hand."""
    for kube in (kube_api, kube_api_two):
        delete_nodes(kube)
    create_node(kube_api, "east-1", address="10.0.0.1")
    create_node(kube_api_two, "west-1", address="10.0.0.2")
    nodes = perform(nodes_info, {"kube_clusters": kube_clusters, "read_version": False})["nodes"]
    bindings = [
        {
            "member": f"{node['kube_cluster']}-0",
            "process": f"{node['kube_cluster']}-0",
            "node": node["name"],
            "node_uid": node["uid"],
            **node,
        }
        for node in nodes
    ]
    names = steps.of("replace", "ok", False, "before_join")
    record = before.record({"member": "east-0", "class": "ok", "work": "replace", "surge": False, "steps": names}, bindings[0], nodes, {})
    yield {
        "kube_clusters": kube_clusters,
        "hostnet": plans.settings(),
        "journal": {"state": "in_flight", "member": record, "steps": []},
        "bindings": bindings,
        "spec": plans.spec_of("etcd"),
        "token": plans.TOKEN,
        "interval": 0.2,
        "timeout": 1,
    }
    for kube in (kube_api, kube_api_two):
        delete_nodes(kube)


def away(waiting: Json, **more: Any) -> Json:
    """The same, where `west` does not answer."""
    east, west = waiting["kube_clusters"]
    return {**waiting, "kube_clusters": [east, {**west, "host": "https://127.0.0.1:1"}], **more}


def patch(kube: KubeApi, node: str, body: Json, status: bool = False) -> None:
    kube.request_json("PATCH", f"/api/v1/nodes/{node}{'/status' if status else ''}", body, "application/merge-patch+json")


def test_a_reboot_is_waited_for(kube_api: KubeApi, waiting: Json) -> None:
    asked = {**waiting, "until": "vm_done", "action": "reboot"}
    late = call_module("rollout_wait", asked)
    assert re.sub(r"after \d+", "after 1", late["msg"]) == (
        "after 1 seconds: node east-1 of kube cluster east is not Ready with another boot id, and its VM was to be rebooted. "
        "Look at the VM, then run the playbook again"
    )
    info = {"nodeInfo": {"bootID": "another"}}
    timer = threading.Timer(0.5, patch, (kube_api, "east-1", {"status": info}, True))
    timer.start()
    try:
        found = call_module("rollout_wait", {**asked, "timeout": 60})
    finally:
        timer.join()
    assert (found["done"], found["changed"], found["nodes"][0]["boot_id"]) == (True, False, "another")


def test_a_new_node_is_waited_for(kube_api: KubeApi, waiting: Json) -> None:
    asked = {**waiting, "until": "new_node", "patient": True}
    late = call_module("rollout_wait", asked)
    assert re.sub(r"after \d+", "after 1", late["msg"]).startswith(
        "after 1 seconds: kube cluster east: no new node that matches the selector, in zone "
    )
    kube_api.request_json("DELETE", "/api/v1/nodes/east-1")
    create_node(kube_api, "east-2", address="10.0.0.3")
    found = call_module("rollout_wait", {**asked, "timeout": 60})
    bound = found["binding"]
    assert (bound["member"], bound["node"], bound["address"], found["displaced"]) == ("east-0", "east-2", "10.0.0.3", [])
    assert sorted(node["name"] for node in found["nodes"]) == ["east-2", "west-1"]
    # Another member's address never becomes the right one.
    kube_api.request_json("DELETE", "/api/v1/nodes/east-2")
    create_node(kube_api, "east-2", address="10.0.0.2")
    wrong = call_module("rollout_wait", {**asked, "timeout": 600})
    assert "the new node east-2 has address 10.0.0.2, which belongs to member west-0" in wrong["msg"]


def test_nobody_is_stopped_beside_a_vm_that_goes(kube_api_two: KubeApi, waiting: Json) -> None:
    asked = {**waiting, "until": "turn"}
    assert call_module("rollout_wait", asked)["done"]
    patch(kube_api_two, "west-1", {"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}})
    late = call_module("rollout_wait", asked)
    assert re.sub(r"after \d+", "after 1", late["msg"]).startswith(
        "after 1 seconds: the VM of member west-0 is about to go: node west-1 of kube cluster west: "
    )
    assert late["msg"].endswith("Two members would be down, so east-0 was not stopped. Run again when that is over: the rollout resumes")
    assert late["goes_first"] == []
    first = call_module("rollout_wait", {**asked, "among": ["west-0"], "timeout": 600})
    assert (first["goes_first"], first["msg"].endswith("so east-0 was not stopped. It comes later")) == (["west-0"], True)


def test_a_node_that_has_lost_its_labels_is_no_vm_that_is_gone(waiting: Json) -> None:
    """Its kubelet has registered it anew, or somebody took them: members in this state are well, and nobody yields to them."""
    asked = {**waiting, "until": "turn", "hostnet": {**waiting["hostnet"], "node_selector": "example.test/none=here"}}
    found = call_module("rollout_wait", asked)
    assert (found["done"], [node["name"] for node in found["nodes"]]) == (True, ["east-1", "west-1"])


def test_a_kube_cluster_that_does_not_answer(waiting: Json) -> None:
    # Nothing is known of its VMs: that ends a gate at once, and the rollout goes on by itself when it answers again.
    gate = call_module("rollout_wait", away(waiting, until="turn", timeout=600))
    assert (gate["failed"], gate["passing"]) == (True, True)
    look = call_module("rollout_wait", away(waiting, until="vm_done", action="replace", once=True))
    assert (look["failed"], look["passing"]) == (True, True)
    # A new node is waited for meanwhile.
    late = call_module("rollout_wait", away(waiting, until="new_node", timeout=1))
    assert "seconds: kube cluster west: " in late["msg"]
    assert "passing" not in late


def test_a_look_is_no_failure(kube_api: KubeApi, waiting: Json) -> None:
    for until in ({"until": "vm_done", "action": "replace"}, {"until": "vm_lost"}):
        found = call_module("rollout_wait", {**waiting, **until, "once": True, "timeout": 600})
        assert (found.get("failed", False), found["done"], found["waited"] < 5) == (False, False, True)
    assert not call_module("rollout_wait", {**waiting, "until": "new_node", "timeout": 600}, check=True)["done"]
    kube_api.request_json("DELETE", "/api/v1/nodes/east-1")
    create_node(kube_api, "east-2", address="10.0.0.3")
    assert call_module("rollout_wait", {**waiting, "until": "vm_done", "action": "replace", "once": True})["done"]


def test_what_it_needs(waiting: Json) -> None:
    lacking = {key: value for key, value in waiting.items() if key not in ("bindings", "token")}
    assert call_module("rollout_wait", {**lacking, "until": "new_node"})["msg"] == "until=new_node needs bindings, token"
    nobody = {**waiting["journal"], "member": None}
    said = call_module("rollout_wait", {**waiting, "until": "turn", "journal": nobody})["msg"]
    assert said == "the journal has no member in hand, so there is no VM to wait for"


def test_rollout_wait_examples(run_tasks: Callable[..., PlayRun], kube_api: KubeApi, waiting: Json) -> None:
    examples = yaml.safe_load(rollout_wait.EXAMPLES)
    patch(kube_api, "east-1", {"status": {"nodeInfo": {"bootID": "another"}}}, True)
    create_node(kube_api, "east-2", address="10.0.0.3")
    variables = {
        "hostnet": {**waiting["hostnet"], "kube_clusters": waiting["kube_clusters"]},
        "hostnet_bindings": waiting["bindings"],
        "hostnet_spec": {"process": "member"},
        "hostnet_identity": {"token": waiting["token"]},
        "journal": waiting["journal"],
    }
    journal = {"name": "Know the journal", "ansible.builtin.set_fact": {"hostnet_journal": "{{ journal }}", "cacheable": True}}
    run = run_tasks([journal, *examples], variables=variables)
    assert run.rc == 0, run.output
    reboot, found = run.of("rollout_wait")
    assert (reboot["done"], found["binding"]["node"]) == (True, "east-2")
