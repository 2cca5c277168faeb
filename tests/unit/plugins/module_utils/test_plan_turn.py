# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One member's turn, and the modules that say it. What a turn is made of, the tests of steps, follow, successor and rebind have in full."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import turn
from ansible_collections.hostnet.multicluster.plugins.modules import (
    member_stop,
    neighbours_info,
    rollout_binding,
    rollout_take,
    rollout_undo,
)
from support import plans

Json = dict[str, Any]
HOSTNET = plans.settings()
NODES = [{**node, "boot_id": "b"} for node in plans.five_nodes()]
BINDINGS = plans.admitted(HOSTNET, plans.spec_of("etcd"), NODES)
SAID = plans.inspected(BINDINGS)
NAME = BINDINGS[0]["member"]
STEPS = ["cordon", "evict", "gate", "stop", "vm", "identify", "start", "uncordon"]
ENTRY: Json = {"member": NAME, "class": "ok", "work": "replace", "surge": False, "waits": True, "steps": STEPS}
SHARE = {"deployment": "other", "namespace": "theirs", "member": "east-0"}
OTHER: Json = {"name": "other", "namespace": "theirs", "removed": False}
KNOWN: Json = {"hostnet_deployment": {"nodes": NODES}, "hostnet_bindings": BINDINGS, "hostnet_inspection": SAID}


def journal(*begun: str, **record: Any) -> Json:
    """Of a member in hand whose last step of `begun` is under way."""
    entries = [
        {"n": number, "member": NAME, "step": step, "state": "begun" if number == len(begun) else "done"}
        for number, step in enumerate(begun, 1)
    ]
    old = {key: value for key, value in BINDINGS[0].items() if key != "stopped"}
    hand = {
        **ENTRY,
        "old": old,
        "old_id": "1",
        "new": None,
        "boot_id": "b",
        "pool": "",
        "seen": [],
        "providers": [],
        "machines": [],
        **record,
    }
    return {"state": "in_flight", "steps": entries, "member": hand, "done": [], "settings": {}}


def test_a_turn_that_begins() -> None:
    found = turn.begun(ENTRY, {}, BINDINGS, NODES, SAID)
    assert (found["binding"], found["resumed"], found["steps"], found["pairs"]) == (BINDINGS[0], False, STEPS, [])
    assert found["record"]["old"]["address"] == BINDINGS[0]["address"]
    assert (found["vm"]["action"], found["vm"]["node"]) == ("replace", BINDINGS[0]["node"])


@pytest.mark.parametrize(
    ("work", "surge", "action"), [("reboot", False, "reboot"), ("replace", True, "add"), ("restart", False, None), ("repair", False, None)]
)
def test_what_a_hook_is_told(work: str, surge: bool, action: str | None) -> None:
    vm = turn.begun({**ENTRY, "work": work, "surge": surge}, {}, BINDINGS, NODES, SAID)["vm"]
    assert (vm["action"] if vm else None) == action


def test_a_turn_that_is_resumed_goes_on_by_its_record() -> None:
    found = turn.begun({**ENTRY, "steps": []}, journal("cordon", "evict", old_id="77"), [], NODES, SAID)
    assert (found["resumed"], found["record"]["old_id"], found["binding"]["member"]) == (True, "77", NAME)
    assert found["steps"] == STEPS[1:]


def test_who_has_no_binding_has_no_turn() -> None:
    with pytest.raises(ValueError, match=f"member {NAME} has no binding: run the playbook again"):
        turn.begun(ENTRY, {}, BINDINGS[1:], NODES, SAID)


@pytest.mark.parametrize(
    ("begun", "final", "undo"), [(("cordon",), False, True), (("stop",), False, True), (("stop", "vm", "identify", "forget"), True, False)]
)
def test_how_a_failed_turn_ends(begun: tuple[str, ...], final: bool, undo: bool) -> None:
    found = turn.ended(journal(*begun, waits=False), NODES)
    assert (found["final"], found["undo"], "uncordon" in found["steps"], found["up"]) == (final, undo, True, [])


def test_what_brings_it_up_while_a_kube_cluster_is_away() -> None:
    past = journal("stop", "vm", "identify", "start", waits=False)
    assert turn.ended(past, [], away={"west": "it does not answer"})["up"] == ["start", "uncordon"]
    assert turn.ended(past, [], noted=False, away={"west": "it does not answer"})["up"] == ["uncordon"]
    assert turn.ended(past, [])["up"] == []


def test_neighbours_of_a_turn() -> None:
    mine = journal("cordon", neighbours=[SHARE])
    assert turn.ended(mine, NODES, neighbours=[OTHER])["pairs"] == [{"share": SHARE, "other": OTHER}]
    assert turn.ended(mine, NODES, neighbours=[{**OTHER, "removed": True}])["pairs"] == []
    with pytest.raises(ValueError, match="deployment other has a member on the VM in hand and was not observed: run again"):
        turn.ended(mine, NODES)


def test_bindings() -> None:
    stopped = turn.bound(BINDINGS, "stopped", NAME, {})
    assert [entry.get("stopped", False) for entry in stopped] == [True, *[False] * 4]
    assert all("stopped" not in entry for entry in turn.bound(stopped, "started", NAME, {}, inspection={}))
    here = {**NODES[0], "boot_id": "another"}
    assert turn.bound(BINDINGS, "booted", NAME, {}, [here])[0]["boot_id"] == "another"
    new = {**BINDINGS[0], "address": "10.9.9.9"}
    aside = {**BINDINGS[1], "address": "10.9.9.8", "stopped": True}
    moved = journal("certify", "admit", new=new, displaced=[aside])
    assert {entry["address"] for entry in turn.bound(BINDINGS, "placed", NAME, moved)} >= {"10.9.9.9", "10.9.9.8"}
    assert "10.9.9.8" not in {entry["address"] for entry in turn.bound(BINDINGS, "placed", NAME, moved, displaced=False)}
    assert "10.9.9.9" in {entry["address"] for entry in turn.bound(BINDINGS, "certified", "", moved)}
    assert turn.bound(BINDINGS, "certified", "", {**moved, "state": "done"}) == BINDINGS
    with pytest.raises(ValueError, match="no new binding of member"):
        turn.bound(BINDINGS, "placed", NAME, journal("cordon"))


def test_what_a_journal_says_by_itself() -> None:
    assert turn.said({}) == {"step": "", "must_finish": False, "undone": {"since": 0, "new": None}, "processes": []}
    late = turn.said(journal("stop", "vm", work="repair", **{"class": "replaced"}))
    assert (late["step"], late["must_finish"], late["undone"]["since"]) == ("vm", True, 2)
    assert [entry["member"] for entry in late["processes"]] == [NAME]


def call(module: Any, facts: Json, **options: Any) -> Json:
    defaults = {name: entry.get("default") for name, entry in module.ARGUMENTS.items()}
    done: Json = module.decide(_call.Call({**defaults, **options}), facts)
    return done


def test_modules_say_what_is_missing() -> None:
    for module in (rollout_take, rollout_undo, rollout_binding):
        with pytest.raises(_call.Failure, match="runs on the controller only"):
            module.run(_call.Call({}))
    with pytest.raises(_call.Failure, match="there is no fact hostnet_inspection: observe the deployment first"):
        call(rollout_take, {**KNOWN, "hostnet_inspection": None}, entry=ENTRY)
    with pytest.raises(_call.Failure, match="has no binding"):
        call(rollout_take, {**KNOWN, "hostnet_bindings": []}, entry=ENTRY)
    with pytest.raises(_call.Failure, match="neither nodes nor the fact"):
        call(rollout_undo, {}, journal=journal("stop"))
    with pytest.raises(_call.Failure, match="was not observed: run again"):
        call(rollout_undo, {}, journal=journal("stop", neighbours=[SHARE]), nodes=[])
    with pytest.raises(_call.Failure, match="there is no fact hostnet_bindings"):
        call(rollout_binding, {}, state="stopped", member=NAME)
    with pytest.raises(_call.Failure, match="no new binding"):
        call(rollout_binding, KNOWN, state="placed", member=NAME)
    with pytest.raises(_call.Failure, match="member needs the fact hostnet_deployment"):
        member_stop.run(_call.Call({"pods": None, "member": BINDINGS[0], "observed": None, "outdated": False, "image": ""}))
    with pytest.raises(_call.Failure, match="give either pods or member"):
        member_stop.run(_call.Call({"pods": [], "member": BINDINGS[0]}))
    assert neighbours_info.FACTS == ("hostnet_bindings", "hostnet_deployment")


def test_modules_pass_on_what_is_known() -> None:
    assert call(rollout_take, KNOWN, entry=ENTRY)["steps"] == STEPS
    assert call(rollout_undo, KNOWN, journal=journal("cordon"))["undo"]
    away = call(rollout_undo, {}, journal=journal("cordon"), nodes=[], away={"west": "no answer"}, undone=True)
    assert "the steps of member" in away["text"]
    assert call(rollout_binding, KNOWN, state="stopped", member=NAME)["bindings"][0]["stopped"]
