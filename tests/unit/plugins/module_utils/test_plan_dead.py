# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is dead: what survivors say, a human's word, and the VM whose Node object was made anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    classify,
    dead,
    deployment,
    gate,
    names,
    observation,
    rebind,
    rollout,
    steps,
    successor,
)
from support import plans

Json = dict[str, Any]
SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
NODES: list[Json] = [{**node, "boot_id": f"boot-{node['name']}", "machine_id": f"machine-{node['name']}"} for node in plans.five_nodes()]
BINDINGS: list[Json] = [{**binding, "machine_id": f"machine-{binding['node']}"} for binding in plans.admitted(HOSTNET, SPEC, NODES)]
EAST0 = BINDINGS[0]
PROCESS = dead.process_of(EAST0, "id-east-0", "node east-worker does not exist any more")
TAINT = {"key": names.OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}


def seen(live: object = False, **changes: Any) -> dict[str, Json]:
    """What the four others say of east-0; without `live` where that is `...`."""
    peer: Json = {"id": "id-east-0", "name": "east-0", "address": EAST0["address"]}
    if live is not ...:
        peer["live"] = live
    others = plans.inspected(BINDINGS)
    others.pop("east-0")
    return {name: {**said, "peers": [peer], **changes} for name, said in others.items()}


def closed(kind: str, inspection: dict[str, Json]) -> list[str]:
    return gate.evaluate(gate.PROOF[kind], gate.document(inspection, "east-0", [], [PROCESS]))


def test_whom_nobody_sees_is_dead() -> None:
    assert closed("dead", seen(False)) == []
    assert dead.refusal(seen(False), [PROCESS], 120) == ""


def test_one_who_sees_it_is_enough() -> None:
    one = {**seen(False), "west-1": seen(True)["west-1"]}
    assert closed("alive", one) == closed("dead", one) == ["still alive: member east-0 at 10.0.0.1 (seen by west-1)"]
    # Whoever is not well, or only a learner, still sees what it sees.
    for changes in ({"healthy": False}, {"role": "learner"}):
        assert closed("alive", {**seen(False), "west-1": {**seen(True)["west-1"], **changes}}) != []


def test_invariant_9_one_who_cannot_tell_keeps_the_gate_closed() -> None:
    unsure = {**seen(False), "west-1": seen(None)["west-1"]}
    assert closed("alive", unsure) == []
    assert closed("dead", unsure) == ["which members are dead is unknown: member east-0 at 10.0.0.1 (west-1 cannot tell)"]
    assert "cannot be told whether member east-0 at 10.0.0.1 (west-1 cannot tell) is dead" in dead.refusal(unsure, [PROCESS], 120)
    # A learner does not take part in anything, and one that is not well is not asked.
    for changes in ({"healthy": False}, {"role": "learner"}, {"reachable": False}):
        assert closed("dead", {**seen(False), "west-1": {**seen(None)["west-1"], **changes}}) == []


def test_invariant_9_who_nobody_speaks_of_is_not_dead() -> None:
    silent = seen(False, reachable=False, healthy=False)
    assert closed("alive", silent) == []
    assert closed("dead", silent) == [
        "no majority without this member: 0 of 5 voters would be healthy, 3 needed; unhealthy: east-1, east-2, west-0, west-1"
    ]


def test_it_answers_itself() -> None:
    inspection = {**seen(False), "east-0": plans.inspected(BINDINGS)["east-0"]}
    assert closed("dead", inspection) == ["still alive: member east-0 at 10.0.0.1 (it answers itself)"]


def test_a_system_that_says_nothing_about_life_is_not_asked() -> None:
    assert closed("dead", seen(...)) == []
    assert closed("dead", seen(True, peers=[])) == []


@pytest.mark.parametrize(
    ("peer", "is_it"),
    [
        ({"id": "id-east-0"}, True),
        ({"id": "other", "name": "east-0"}, True),
        ({"id": "4", "name": "", "address": "10.0.0.1:26257"}, True),
        ({"id": "4", "name": "east-0", "address": "10.0.0.1:26257"}, True),
        ({"id": "4", "name": "", "address": "[::ffff:10.0.0.1]:26257"}, True),
        # An address that somebody else has by now proves nothing, and 10.0.0.1 is no prefix of 10.0.0.12.
        ({"id": "4", "name": "west-0", "address": "10.0.0.1"}, False),
        ({"id": "4", "name": "", "address": "10.0.0.12"}, False),
        ({"id": "4", "name": "east-00", "address": ""}, False),
        ({}, False),
    ],
)
def test_a_peer_is_found_by_id_and_name_and_never_by_address_alone(peer: Json, is_it: bool) -> None:
    assert dead.is_peer(peer, PROCESS) is is_it


def test_a_dead_id_beside_a_living_one_at_the_same_address() -> None:
    """CockroachDB: whoever came back with an empty disk is another id, and the old one stays listed."""
    rows = [{"id": "3", "name": "", "address": "10.0.0.1:26257", "live": False}]
    assert closed("dead", seen(False, peers=rows)) == []
    rows.append({"id": "4", "name": "", "address": "10.0.0.1:26257", "live": True})
    assert closed("dead", seen(False, peers=rows)) != []


def test_the_refusal_names_member_address_and_what_to_do() -> None:
    text = dead.refusal(seen(True), [PROCESS], 120)
    for part in (
        "nothing was changed",
        "east-0 at 10.0.0.1",
        "seen by east-1, east-2, west-0, west-1",
        "does not exist any more",
        "Shut that VM down",
    ):
        assert part in text


_LIVE = st.sampled_from([True, False, None, ...])


@given(st.lists(st.tuples(_LIVE, st.booleans(), st.booleans(), st.sampled_from(["voter", "learner"])), min_size=4, max_size=4))
def test_the_proof_is_given_only_where_nobody_sees_it_and_nobody_well_is_unsure(tellers: list[tuple[Any, bool, bool, str]]) -> None:
    names = sorted(seen())
    inspection = {
        name: {**seen(live)[name], "reachable": reachable, "healthy": healthy and reachable, "role": role}
        for name, (live, reachable, healthy, role) in zip(names, tellers, strict=True)
    }
    says = [live for live, reachable, _healthy, _role in tellers if reachable]
    doubts = [live for live, reachable, healthy, role in tellers if reachable and healthy and role == "voter"]
    proven = True not in says and None not in doubts
    # Three of five have to say so.
    assert (closed("dead", inspection) == []) is (proven and len(doubts) >= 3)
    assert (dead.refusal(inspection, [PROCESS], 1) == "") is proven


# -- a human's word ---------------------------------------------------------------------------------------------------------


def judged(node: Json, pod: Json | None = None, said: Json | None = None, placement: str = "node_name") -> tuple[str, str]:
    hostnet = {**HOSTNET, "placement": placement}
    return classify.classify(hostnet, EAST0, BINDINGS, {**NODES[0], **node}, pod, said, "c1d")


def test_a_node_that_is_not_ready_is_dead_only_by_a_humans_word() -> None:
    kind, reason = judged({"ready": False})
    assert kind == "unknown"
    assert "kubectl --context east taint nodes east-worker node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" in reason
    assert judged({"ready": False, "taints": [TAINT]})[0] == "dead"
    # Ready contradicts it: the host came back, and the old pod may run there.
    assert judged({"taints": [TAINT]})[0] != "dead"
    assert "node.kubernetes.io/out-of-service-" in judged({"taints": [TAINT]})[1]


def test_the_command_has_the_context_of_the_kube_cluster() -> None:
    hostnet = {"kube_clusters": [{"name": "east", "context": "prod-east"}]}
    assert dead.taint_command(hostnet, "east", "n1").startswith("kubectl --context prod-east taint nodes n1 ")
    assert dead.taint_command(hostnet, "west", "n1").startswith("kubectl --context west taint nodes n1 ")


def planned(nodes: list[Json], inspection: dict[str, Json]) -> Json:
    observed = plans.running(HOSTNET, BINDINGS)
    raw = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    status = classify.deployment_status(HOSTNET, raw, nodes, observed, inspection)
    request = {"work": "repair", "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False}
    return rollout.rollout_plan(HOSTNET, SPEC, request, raw, nodes, status, None, inspection)


def test_a_dead_host_is_mended_on_a_free_node_after_the_proof() -> None:
    spare = {**plans.node("east", "east-spare", "10.0.0.9", zone="east-a"), "boot_id": "b9", "machine_id": "m9"}
    nodes = [{**NODES[0], "ready": False, "taints": [TAINT]}, *NODES[1:], spare]
    plan = planned(nodes, seen())
    (entry,) = plan["members"]
    assert (entry["member"], entry["class"], entry["node"]) == ("east-0", "dead", "east-spare")
    assert entry["steps"] == steps.of("repair", "missing", False, "before_join")
    assert plan["prove"] == [dead.process_of(EAST0, "id-east-0", entry["reason"])]
    # Without the word: nobody is mended, and the word is told.
    quiet = planned([{**NODES[0], "ready": False}, *NODES[1:], spare], seen())
    assert (quiet["members"], quiet["prove"]) == ([], [])
    assert "out-of-service=nodeshutdown:NoExecute" in quiet["unmended"][0]


def test_nobody_gets_a_node_that_is_out_of_service() -> None:
    spare = {**plans.node("east", "east-spare", "10.0.0.9", zone="east-a"), "taints": [TAINT]}
    plan = planned([*NODES[1:], spare], seen())
    assert plan["members"] == []
    assert "has no free node" in plan["unmended"][0]
    found = successor.identify(EAST0, [*NODES[1:], spare], BINDINGS, {}, True)
    assert found["node"] is None
    assert "out of service" in found["waiting"]
    # A deploy neither admits anybody there nor waits for it.
    for ready in (True, False):
        raw = deployment.deployment_plan(HOSTNET, SPEC, [*NODES, {**spare, "ready": ready}], plans.running(HOSTNET, BINDINGS))
        assert (raw["new"], raw["errors"]) == ([], [])
        assert "out of service" in raw["warnings"][0]


@pytest.mark.parametrize(("changes", "force"), [({}, False), ({"ready": False}, False), ({"taints": [TAINT]}, False)])
def test_a_pod_is_forced_only_where_the_host_is_dead(changes: Json, force: bool) -> None:
    observed = plans.running(HOSTNET, BINDINGS)
    assert [pod["force"] for pod in rollout.stale_pods(EAST0, observed, [{**NODES[0], **changes}])] == [force]
    assert [pod["force"] for pod in rollout.stale_pods(EAST0, observed, [{**NODES[0], "ready": False, "taints": [TAINT]}])] == [True]


def test_a_repair_asks_again_in_its_step_and_not_after_it() -> None:
    record = {"member": "east-0", "class": "missing", "work": "repair", "old": EAST0, "old_id": "id-east-0"}
    assert dead.in_hand(record) == [dead.process_of(EAST0, "id-east-0")]
    assert dead.in_hand(None) == dead.in_hand({**record, "class": "moved"}) == dead.in_hand({**record, "work": "replace"}) == []
    entry = {"member": "east-0", "class": "missing", "work": "repair"}
    assert dead.to_prove([entry], {"east-0": PROCESS}, ["gate_repair"], "east-0") == []
    assert dead.to_prove([entry], {"east-0": PROCESS}, ["gate_repair"], "east-1") == [PROCESS]
    (begun,) = dead.to_prove([entry], {"east-0": PROCESS}, [], "east-0")
    assert begun == {**PROCESS, "why": begun["why"]}
    assert "hostnet_abort=true" in begun["why"]


# -- the same VM under another Node object -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("binding", "node", "same"),
    [
        ({}, {}, True),
        ({}, {"boot_id": "other"}, True),
        # A binding of before 0.3.0 has no machine id.
        ({"machine_id": ""}, {}, True),
        ({"machine_id": ""}, {"boot_id": "other"}, False),
        ({}, {"machine_id": "other", "boot_id": "other"}, False),
        ({}, {"machine_id": "other"}, False),
        ({"boot_id": "", "machine_id": ""}, {}, False),
        ({}, {"machine_id": "", "boot_id": ""}, False),
        # An image with one machine id for all of its VMs: without the address and the provider id it says nothing.
        ({}, {"boot_id": "other", "address": "10.0.0.99", "addresses": [], "provider_id": "kind://other"}, False),
        ({}, {"boot_id": "other", "address": "10.0.0.99", "addresses": []}, True),
    ],
)
def test_whether_a_node_object_is_of_the_same_vm(binding: Json, node: Json, same: bool) -> None:
    assert dead.same_vm({**EAST0, **binding}, {**NODES[0], "uid": "uid-new", **node}) is same


def returned(inspection: dict[str, Json] | None = None, pod: bool = True, **changes: Any) -> tuple[Json, Json, Json]:
    nodes = [{**NODES[0], "uid": "uid-new", **changes}, *NODES[1:]]
    observed = plans.running(HOSTNET, BINDINGS)
    if not pod:
        observed["east"]["pods"] = [entry for entry in observed["east"]["pods"] if entry["member"] != "east-0"]
    raw = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    inspection = plans.inspected(BINDINGS) if inspection is None else inspection
    status = classify.deployment_status(HOSTNET, raw, nodes, observed, inspection)
    request = {"work": "repair", "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False}
    return raw, status, rollout.rollout_plan(HOSTNET, SPEC, request, raw, nodes, status, None, inspection)


def test_a_vm_that_registers_again_is_followed_with_its_disk() -> None:
    raw, status, plan = returned()
    assert raw["returned"] == ["east-0"]
    assert raw["members"][0] == {**EAST0, "node_uid": "uid-new"}
    assert [entry["class"] for entry in status["members"]] == ["returned", "ok", "ok", "ok", "ok"]
    assert status["healthy"]
    assert [(entry["member"], entry["steps"]) for entry in plan["members"]] == [("east-0", ["note", "start", "settle"])]
    assert plan["prove"] == plan["broken"] == []
    live = observation.live_members(raw["members"], plans.running(HOSTNET, BINDINGS), [{**NODES[0], "uid": "uid-new"}, *NODES[1:]])
    assert all(entry["live"] for entry in live)


def test_a_vm_that_registers_again_and_has_lost_its_label_is_started_again() -> None:
    _raw, status, plan = returned(seen(), pod=False)
    assert (status["members"][0]["class"], status["members"][0]["healthy"]) == ("returned", False)
    assert [entry["member"] for entry in plan["members"]] == ["east-0"]
    # Neither where it is not Ready, nor where it was stopped, nor where it is out of service.
    assert returned(seen(), pod=False, ready=False)[1]["members"][0]["class"] == "unknown"
    assert returned(seen(), pod=False, taints=[TAINT])[1]["members"][0]["class"] == "unknown"


def test_a_member_that_runs_under_a_new_node_object_has_its_disk() -> None:
    """Nobody knows the VM again, but a member starts on its own disk alone."""
    raw, status, plan = returned(boot_id="other", machine_id="")
    assert raw["returned"] == []
    assert status["members"][0]["class"] == "returned"
    assert [entry["member"] for entry in plan["members"]] == ["east-0"]
    again = [{**NODES[0], "uid": "uid-new", "boot_id": "b"}]
    assert rebind.booted(BINDINGS, "east-0", again, True)[0] == {**EAST0, "node_uid": "uid-new", "boot_id": "b"}
    # Whoever only waits for a reboot has not seen it run: another VM may have come under the name.
    assert rebind.booted(BINDINGS, "east-0", again)[0] == EAST0


def test_another_vm_under_the_name_is_not_followed() -> None:
    raw, status, _plan = returned(seen(), pod=False, boot_id="other", machine_id="other")
    assert raw["returned"] == []
    assert status["members"][0]["class"] == "reimaged"


# -- the order of a node's addresses -----------------------------------------------------------------------------------------

TWO = [{"type": "InternalIP", "address": "192.168.0.1"}, {"type": "InternalIP", "address": "10.0.0.1"}]


def test_an_address_further_down_in_the_list_is_still_its_address() -> None:
    node = {"address": "192.168.0.1", "addresses": TWO}
    well, pod = plans.inspected(BINDINGS)["east-0"], plans.pod(EAST0)
    assert judged(node, pod, well) == ("ok", "")
    assert judged(node, pod, well, placement="daemonset") == ("ok", "")
    # A DaemonSet's pod takes the first address when it starts again: then it has moved.
    assert judged(node, pod, None, placement="daemonset")[0] == "moved"
    assert judged(node, pod, None)[0] == "unknown"
    assert judged({**node, "addresses": TWO[:1]}, pod, well)[0] == "moved"
    # Another type of address is another network: then the setting has changed, and no VM has moved.
    other = [TWO[0], {"type": "ExternalIP", "address": "10.0.0.1"}]
    assert judged({**node, "addresses": other}, pod, well) == ("ok", "")
    assert judged({**node, "addresses": other, "uid": "other"}, pod, well)[0] == "replaced"
    # A DaemonSet's members have InternalIP alone, and a name that looks like an address is none.
    assert judged({**node, "addresses": other}, pod, well, placement="daemonset")[0] == "moved"
    assert judged({**node, "addresses": [TWO[0], {"type": "Hostname", "address": "10.0.0.1"}]}, pod, well)[0] == "moved"


def forgotten() -> list[Json]:
    """The nodes of a deployment with ExternalIP, read with InternalIP."""
    return [
        {
            **node,
            "address": f"192.168.0.{number}",
            "addresses": [{"type": "InternalIP", "address": f"192.168.0.{number}"}, {"type": "ExternalIP", "address": node["address"]}],
        }
        for number, node in enumerate(NODES, 1)
    ]


def test_another_address_type_than_deployed_is_one_error_and_no_lost_majority() -> None:
    nodes = [*forgotten(), plans.node("east", "east-worker9", "192.168.0.9")]
    observed, inspection = plans.running(HOSTNET, BINDINGS), plans.inspected(BINDINGS)
    raw = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    (error,) = raw["errors"]
    assert raw["conflicts"] == [error]
    for part in (
        "hostnet_address_type is InternalIP, but ledger was deployed with addresses of type ExternalIP",
        "kube cluster east: node east-worker of member east-0 has 10.0.0.1 as ExternalIP and 192.168.0.1 as address",
        "and 2 more",
        "set hostnet_address_type=ExternalIP",
    ):
        assert part in error
    assert [text for text in raw["warnings"] if "moved" in text] == []
    status = classify.deployment_status(HOSTNET, raw, nodes, observed, inspection)
    assert {entry["class"] for entry in status["members"]} == {"ok"}
    assert status["problems"] == [error]
    for work in ("repair", "replace", "restart"):
        request = {"work": work, "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False}
        planned = rollout.rollout_plan(HOSTNET, SPEC, request, raw, nodes, status, None, inspection)
        assert error in planned["errors"]
        assert not any("the majority is lost" in text for text in planned["errors"])


def test_a_node_whose_address_has_really_moved_is_moved_and_no_error() -> None:
    nodes = [{**NODES[0], "address": "192.168.0.1", "addresses": TWO[:1]}, *NODES[1:]]
    observed = plans.running(HOSTNET, BINDINGS)
    raw = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    assert raw["errors"] == []
    status = classify.deployment_status(HOSTNET, raw, nodes, observed, plans.inspected(BINDINGS))
    assert [entry["class"] for entry in status["members"]] == ["moved", "ok", "ok", "ok", "ok"]


def test_nothing_is_changed_because_of_that_order() -> None:
    nodes = [{**NODES[0], "address": "192.168.0.1", "addresses": TWO}, *NODES[1:]]
    observed = plans.running(HOSTNET, BINDINGS)
    raw = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    assert (raw["errors"], raw["warnings"]) == ([], [])
    assert all(entry["live"] for entry in observation.live_members(raw["members"], observed, nodes))
    assert planned(nodes, plans.inspected(BINDINGS))["members"] == []
