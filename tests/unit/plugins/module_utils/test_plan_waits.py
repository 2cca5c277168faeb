# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What steps wait for at a member's VM. Which node is the right one, and whose VM goes, test_plan_rollout.py and test_plan_follow.py have in full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, steps, waits
from support import plans

Json = dict[str, Any]
MEMBERS = ["east-0", "east-1", "west-0"]
HOSTNET, SPEC = plans.settings(), plans.spec_of("etcd")
LEVELS = st.sampled_from(["", "going", "gone"])


def node(member: str, level: str = "", **changes: Any) -> Json:
    number = MEMBERS.index(member) + 1
    signs = [{"sign": "s", "level": level, "text": "it is drained"}] if level else []
    return plans.node(member[:4], f"vm-{member}", f"10.0.0.{number}", **{"signs": signs, "boot_id": f"boot-{number}", **changes})


def binding(member: str) -> Json:
    own = node(member)
    same = {"member": member, "process": member, "node": own["name"], "node_uid": own["uid"], "other_addresses": []}
    return {**same, **{key: own[key] for key in ("kube_cluster", "address", "zone", "region", "provider_id", "boot_id")}}


BINDINGS = [binding(name) for name in MEMBERS]
NODES = [node(name) for name in MEMBERS]


def journal(work: str, begun: str = "", member: str = "east-0") -> Json:
    """One with that member in hand, which has begun this step last."""
    names = steps.of(work, "ok", False, "before_join")
    entry = {"member": member, "class": "ok", "work": work, "surge": False, "steps": names}
    record = before.record(entry, binding(member), NODES, {})
    done = names[: names.index(begun) + 1] if begun else []
    entries = [{"n": n + 1, "member": member, "step": name, "state": "begun" if name == begun else "done"} for n, name in enumerate(done)]
    return {"state": "in_flight", "member": record, "steps": entries}


@pytest.mark.parametrize(
    ("action", "missing"), [("reboot", "not Ready with another boot id"), ("add", "no new VM"), ("remove", "still there")]
)
def test_a_vm_is_done_when_the_nodes_say_so(action: str, missing: str) -> None:
    said = waits.vm_done(journal("reboot"), action, NODES)
    assert (said["done"], said["never"], missing in said["missing"]) == (False, "", True)
    assert "node vm-east-0 of kube cluster east" in said["missing"]
    after = {
        "reboot": [node("east-0", boot_id="another"), *NODES[1:]],
        "add": [*NODES, plans.node("east", "vm-new", "10.0.0.9")],
        "remove": NODES[1:],
    }[action]
    assert waits.vm_done(journal("reboot"), action, after) == {"done": True, "never": "", "missing": "", "found": {}}


def new_node(nodes: list[Json], found: Json | None = None, patient: bool = True) -> waits.Verdict:
    return waits.new_node(found or journal("replace"), nodes, BINDINGS, HOSTNET, SPEC, plans.TOKEN, plans.NONCE, patient)


def test_a_new_node_comes_with_its_binding() -> None:
    said = new_node(NODES[1:])
    assert (said["done"], said["found"]) == (False, {})
    assert said["missing"].startswith("kube cluster east: no new node that matches the selector")
    fresh = plans.node("east", "vm-new", "10.0.0.9")
    said = new_node([*NODES[1:], fresh])
    bound = said["found"]["binding"]
    assert (said["done"], bound["member"], bound["node_uid"], said["found"]["displaced"]) == (True, "east-0", fresh["uid"], [])
    # Its folder is named by a new admission; what an earlier run has noted for this node stays.
    assert bound["admission"] != binding("east-0").get("admission")
    noted = journal("replace")
    noted["member"]["new"] = {**bound, "admission": "noted"}
    assert new_node([*NODES[1:], fresh], noted)["found"]["binding"]["admission"] == "noted"


def test_a_node_that_can_never_be_it_is_not_waited_for() -> None:
    elsewhere = plans.node("east", "vm-new", "10.0.0.9", zone="east-z")
    assert new_node([*NODES[1:], elsewhere])["missing"]
    said = new_node([*NODES[1:], elsewhere], patient=False)
    assert (said["done"], said["missing"]) == (False, "")
    assert "zone east-z" in said["never"]


@given(st.lists(LEVELS, min_size=2, max_size=2), st.sets(st.sampled_from(MEMBERS)), st.sampled_from(["reboot", "replace", "scale_down"]))
def test_nobody_has_its_turn_while_another_vm_goes(levels: list[str], among: set[str], work: str) -> None:
    others = dict(zip(MEMBERS[1:], levels, strict=True))
    nodes = [node("east-0"), *(node(name, level) for name, level in others.items() if level != "gone")]
    said = waits.turn(journal(work), nodes, BINDINGS, sorted(among))
    leaving = [name for name, level in others.items() if level]
    first = [] if work == "scale_down" else [name for name in leaving if others[name] == "gone" or name in among]
    assert (said["done"], said["found"]) == (not leaving, {"goes_first": first})
    assert bool(said["never"]) == bool(first)
    assert bool(said["missing"]) == bool(leaving and not first)
    text = said["never"] or said["missing"]
    assert all(f"the VM of member {name} is" in text for name in leaving)
    assert not text or "Two members would be down, so east-0 was not stopped." in text
    # Once a VM may be gone, or where its new one is there, the member goes on.
    past = journal(work, "leave" if "leave" in steps.of(work, "ok", False, "before_join") else "vm" if work != "scale_down" else "forget")
    assert waits.turn(past, nodes, BINDINGS, sorted(among)) == {"done": True, "never": "", "missing": "", "found": {"goes_first": []}}


def test_a_vm_is_lost_past_the_point_of_no_return() -> None:
    assert not waits.vm_lost(journal("replace"), NODES[1:])["done"]
    lost = journal("replace", "admit")
    lost["member"]["new"] = {**binding("east-0"), "node": "vm-new", "node_uid": "new", "provider_id": "new"}
    assert waits.vm_lost(lost, NODES[1:])["done"]
    assert not waits.vm_lost(lost, [*NODES[1:], plans.node("east", "vm-new", "10.0.0.9", uid="new")])["done"]
