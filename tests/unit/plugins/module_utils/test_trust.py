# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one kube cluster's journal says never steers another one, and a run that was killed while it wrote goes on all the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, deployment, journal, rebind, steps, trust
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
NODES = plans.five_nodes()
BINDINGS = plans.admitted(HOSTNET, SPEC, NODES)
VM = plans.node("west", "west-worker9", "10.0.1.9", zone="west-a")
STEPS = steps.of("replace", "ok", False, "before_join")
NOW = "2026-11-22T02:58:30.000Z"


def binding(member: str) -> Json:
    return next(entry for entry in BINDINGS if entry["member"] == member)


def record(member: str) -> Json:
    entry = {"member": member, "class": "ok", "work": "replace", "surge": False, "steps": STEPS}
    return before.record(entry, binding(member), [{"boot_id": "b", "machine_id": "m", **node} for node in NODES], plans.inspected(BINDINGS))


def moved(member: str) -> Json:
    node = {**VM, "boot_id": "b", "machine_id": "m9"}
    return rebind.rebound(HOSTNET, SPEC, binding(member), node, plans.TOKEN, "n0nce")


def writes(member: str = "west-0", generation: int = 5) -> Iterator[Json]:
    """Every document that a replacement of one member writes, in order, made by the functions that make them."""
    document: Json = {}

    def write(op: str, **more: Any) -> Json:
        return journal.advance(document, op, now=NOW, run_id="r-1", generation=generation, **more)

    document = write("start", detail={"work": "replace", "what": "replace", "settings": {}, "order": [member]})
    yield document
    document = write("save", saved={"store_dead": "5m"})
    yield document
    document = write("member", member=record(member))
    yield document
    for step in STEPS:
        document = write("next", step=step)
        yield document
        if step == "identify":
            document = write("member", member={"new": moved(member), "displaced": []})
            yield document
    document = write("member")
    yield document


WRITES = list(writes())


def observed(east: Json | None, west: Json | None, third: Json | None = None, bindings: list[Json] | None = None) -> Json:
    found = plans.running(HOSTNET, bindings or BINDINGS)
    found["east"]["rollout"], found["west"]["rollout"] = east, west
    found["north"] = {**plans.nothing(), "rollout": third}
    return found


def refusals(east: Json | None, west: Json | None, third: Json | None = None, *, bindings: list[Json] | None = None) -> list[str]:
    return trust.journal_refusals(HOSTNET, observed(east, west, third, bindings), [*NODES, VM])


def started(document: Json) -> bool:
    """Whether the bindings may be the new ones by then."""
    return any(entry["step"] == "start" for entry in document["steps"])


@given(
    number=st.integers(min_value=1, max_value=len(WRITES) - 1),
    got=st.lists(st.booleans(), min_size=3, max_size=3).filter(any),
    again=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_a_run_that_was_killed_while_it_wrote_goes_on(number: int, got: list[bool], again: list[bool]) -> None:
    """Once in any write, and where `again` has a kube cluster, once more in the first write of the run that goes on."""
    copies = [WRITES[number] if has else WRITES[number - 1] for has in got]
    newest = journal.newest({str(place): document for place, document in enumerate(copies)}) or {}
    resumed = journal.advance(newest, "start", now=NOW, run_id="r-2", generation=6)
    saves = newest["saved"] != WRITES[number - 1]["saved"]
    if not saves:  # after two kills in a row around a setting's old value a human looks
        copies = [resumed if has else document for has, document in zip(again, copies, strict=True)]
    bindings = [moved("west-0") if entry["member"] == "west-0" and started(newest) else entry for entry in BINDINGS]
    assert refusals(*copies, bindings=bindings) == []


@pytest.mark.parametrize("number", range(len(WRITES)))
def test_agreeing_journals_are_believed_before_and_after_the_binding_changed(number: int) -> None:
    document = WRITES[number]
    assert refusals(document, document, document) == []
    if started(document):
        changed = [moved("west-0") if entry["member"] == "west-0" else entry for entry in BINDINGS]
        assert refusals(document, document, document, bindings=changed) == []


def forged(document: Json, change: Callable[[Json], None]) -> Json:
    """A copy that somebody edited in one kube cluster, so that it is the newest."""
    found = copy.deepcopy(document)
    change(found)
    found["generation"] += 1000
    return found


FLYING = next(document for document in WRITES if document["steps"] and document["steps"][-1]["step"] == "unlist")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda found: found["member"]["old"].update(node="west-worker2"), "node is 'west-worker2'"),
        (lambda found: found["member"]["old"].update(node_uid="uid-other"), "node_uid is 'uid-other', kube cluster west's own journal"),
        (lambda found: found["member"]["old"].update(provider_id="kind://else"), "provider_id is 'kind://else'"),
        (lambda found: found["member"]["old"].update(address="10.6.6.6"), "address is '10.6.6.6'"),
        (lambda found: found["member"]["old"].update(admission="west-1-x"), "admission is 'west-1-x'"),
        (lambda found: found["member"]["old"].update(kube_cluster="mars"), "member.old.kube_cluster is 'mars'"),
        (lambda found: found["member"]["old"].update(member="west-1"), "member.old.member is 'west-1'"),
        (lambda found: found["member"].update(old_id="id-east-0"), "member.old_id of west-0 is 'id-east-0'"),
        (lambda found: found["member"].update(seen=[]), "member.seen of west-0 is []"),
        (lambda found: found["member"].update(work="repair"), "member.work of west-0 is 'repair'"),
        (lambda found: found["member"]["new"].update(address="10.6.6.6"), "member.new of west-0: address is '10.6.6.6'"),
        (lambda found: found["member"]["new"].update(kube_cluster="east"), "member.new.kube_cluster of west-0 is 'east'"),
        (lambda found: found["saved"].update(store_dead="1s"), "saved.store_dead is '1s'"),
        (
            lambda found: found["steps"].append({"n": 99, "member": "west-0", "step": "admit", "state": "done"}),
            "steps has 'admit' of west-0",
        ),
        (
            lambda found: found["member"].update(displaced=[{**binding("west-1"), "address": "10.6.6.6", "stopped": True}]),
            "member.displaced of west-1: address is '10.6.6.6'",
        ),
    ],
)
def test_east_does_not_steer_what_happens_in_west(change: Callable[[Json], None], field: str) -> None:
    (error,) = refusals(forged(FLYING, change), FLYING, FLYING)
    assert error.startswith("kube cluster east: its journal of the rollout in flight (ConfigMap bank/ledger-rollout) is not believed: ")
    assert field in error
    assert "delete that ConfigMap there" in error


def test_a_member_that_only_east_has_in_hand_has_done_nothing_yet() -> None:
    idle, begun = WRITES[1], WRITES[2]
    assert refusals(begun, idle, idle) == [], "written before its first change, and then killed"
    further = forged(FLYING, lambda _found: None)
    assert "of which kube cluster west, where that member is, knows nothing" in refusals(further, idle, idle)[0]
    assert "steps has" in refusals(further, None, None)[0]
    assert refusals(FLYING, None, FLYING) == [], "a namespace that was lost: two others agree"


def test_whose_binding_is_gone_is_told_by_its_own_journal() -> None:
    rest = [entry for entry in BINDINGS if entry["member"] != "west-0"]
    assert refusals(FLYING, FLYING, FLYING, bindings=rest) == []
    assert "neither a binding nor a journal" in refusals(WRITES[2], WRITES[1], WRITES[1], bindings=rest)[0]


def test_its_own_kube_cluster_is_held_to_its_binding_too() -> None:
    wrong = forged(FLYING, lambda found: found["member"]["old"].update(address="10.6.6.6"))
    (error,) = refusals(FLYING, wrong, FLYING)
    assert error.startswith("kube cluster west: ")


def test_a_deploy_and_a_rollout_refuse_it() -> None:
    wrong = forged(FLYING, lambda found: found["member"]["old"].update(node_uid="uid-other"))
    found = observed(wrong, FLYING)
    del found["north"]
    plan = deployment.deployment_plan(HOSTNET, SPEC, [*NODES, VM], found)
    assert any("is not believed: member.old of west-0" in error for error in plan["conflicts"])
    assert any("is not believed: member.old of west-0" in error for error in plan["errors"])


def test_nobody_is_forgotten_under_an_id_that_a_living_member_has() -> None:
    inspection = plans.inspected(BINDINGS)
    assert trust.forgets_the_living(FLYING, inspection) == []
    wrong = forged(FLYING, lambda found: found["member"].update(old_id=inspection["east-0"]["id"]))
    (error,) = trust.forgets_the_living(wrong, inspection)
    assert "member east-0 answers under that id" in error
    inspection["east-0"]["reachable"] = False
    assert trust.forgets_the_living(wrong, inspection) == []
    assert trust.forgets_the_living(None, inspection) == trust.forgets_the_living(WRITES[0], inspection) == []


def test_addresses_are_compared_as_addresses() -> None:
    spelt = forged(FLYING, lambda found: found["member"]["old"].update(address="10.0.1.1"))
    assert refusals(spelt, FLYING, FLYING) == []


def test_a_node_object_that_was_made_anew_is_no_other_place() -> None:
    anew = [{**entry, "node_uid": "uid-anew"} if entry["member"] == "west-0" else entry for entry in BINDINGS]
    assert refusals(FLYING, FLYING, FLYING, bindings=anew) == []
    assert "node_uid is " in refusals(WRITES[2], WRITES[1], WRITES[1], bindings=anew)[0], "west has written nothing of it yet"


def behind(document: Json, writes: int, step: str) -> Json:
    """What a run wrote that could not ask every kube cluster: so many steps of the member in hand more, each numbered as after a failure."""
    for number in range(writes):
        document = journal.advance(document, "next", now=NOW, run_id="r-1", generation=5, step=f"{step}{number}", after_failure=True)
    return document


@pytest.mark.parametrize("copies", [1, 2, 5, 9])
def test_a_copy_of_another_kube_cluster_may_be_behind_by_any_number_of_writes(copies: int) -> None:
    """East was away while west-0, in west, was brought up. What east has is the same rollout, and says nothing against it."""
    for old in WRITES[2:-1]:
        newer = behind(old, copies, "up")
        assert refusals(old, newer) == []
        assert refusals(old, newer, old) == []


def test_the_member_s_own_kube_cluster_is_never_behind_by_a_step_that_was_done() -> None:
    """Nothing is done for a member whose own kube cluster does not answer: whatever says so was edited, or is older than it was."""
    for old in WRITES[3:-1]:
        newer = behind(old, 3, "up")
        assert "of which kube cluster west, where that member is, knows nothing in its own journal" in refusals(newer, old)[0]
        assert "of which kube cluster west" in refusals(newer, old, newer)[0]
