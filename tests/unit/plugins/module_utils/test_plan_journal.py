# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: any sequence of operations keeps its promises, wherever a run is killed and by whom it is gone on with."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import steps as member_steps
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.journal import JournalError, advance, in_flight, newest

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-01T00:00:01.000Z"


def go(journal: Json, op: str, *, run_id: str = "r1", generation: int = 1, now: str = NOW, **options: Any) -> Json:
    return advance(journal, op, now=now, run_id=run_id, generation=generation, **options)


def started(**detail: Any) -> Json:
    return go({}, "start", detail={"work": "upgrade", "what": "reboot", "order": ["east-0", "west-0"], **detail})


def test_a_rollout_from_start_to_end() -> None:
    journal = started(settings={"image": "x"}, controller={"host": "h"})
    assert journal == {
        "schema": 2,
        "run_id": "r1",
        "generation": 1,
        "sequence": 1,
        "work": "upgrade",
        "what": "reboot",
        "state": "in_flight",
        "started_at": NOW,
        "ended_at": None,
        "controller": {"host": "h"},
        "settings": {"image": "x"},
        "order": ["east-0", "west-0"],
        "done": [],
        "member": None,
        "saved": {},
        "steps": [],
    }
    old = {"node": "n1", "address": "10.0.0.1"}
    journal = go(journal, "member", member={"member": "east-0", "class": "ok", "steps": ["stop", "vm"], "old": old, "why": "asked for"})
    assert journal["member"] == {
        "member": "east-0", "class": "ok", "steps": ["stop", "vm"], "old": old, "new": None, "why": "asked for"
    }  # fmt: skip
    journal = go(journal, "next", step="stop", detail={"of": "nothing"}, saved={"time_until_store_dead": "5m"})
    assert journal["steps"] == [
        {"n": 1, "member": "east-0", "step": "stop", "state": "begun", "began_at": NOW, "ended_at": None, "detail": {}}
    ]
    journal = go(journal, "next", step="vm", detail={"b": 2}, now=LATER)
    assert journal["steps"] == [
        {"n": 1, "member": "east-0", "step": "stop", "state": "done", "began_at": NOW, "ended_at": LATER, "detail": {"b": 2}},
        {"n": 2, "member": "east-0", "step": "vm", "state": "begun", "began_at": LATER, "ended_at": None, "detail": {}},
    ]
    journal = go(journal, "member", member={"new": {"node": "n2"}})
    assert (journal["member"]["old"], journal["member"]["new"]) == (old, {"node": "n2"})
    with pytest.raises(JournalError, match="member east-0 is in flight; finish it before west-0"):
        go(journal, "member", member={"member": "west-0"})
    with pytest.raises(JournalError, match="member east-0 is in flight; a rollout is done when no member is"):
        go(journal, "finish")
    journal = go(journal, "member", detail={"c": 3}, now=LATER)
    assert (journal["member"], journal["done"]) == (None, ["east-0"])
    assert (journal["steps"][-1]["state"], journal["steps"][-1]["detail"]) == ("done", {"c": 3})
    with pytest.raises(JournalError, match="time_until_store_dead"):
        go(journal, "finish")
    journal = go(journal, "next", step="restore", saved={"time_until_store_dead": None})
    assert journal["steps"][-1]["member"] == ""
    journal = go(journal, "finish", now=LATER)
    assert (journal["state"], journal["ended_at"], journal["sequence"], in_flight(journal)) == ("done", LATER, 8, False)
    for op in ("next", "member", "finish"):
        with pytest.raises(JournalError, match="no rollout in flight"):
            go(journal, op, step="stop")


def test_resumption_keeps_what_there_is_and_closes_the_step_that_the_run_died_in() -> None:
    journal = go(go(started(), "member", member={"member": "east-0"}), "next", step="vm", saved={"x": 1})
    for op in ("next", "member", "finish"):
        with pytest.raises(JournalError, match="is of run r1 generation 1, the lock of run r2 generation 2; begin with op start"):
            go(journal, op, run_id="r2", generation=2, step="vm")
    resumed = go(journal, "start", run_id="r2", generation=2, detail={"what": "replace", "saved": {"y": 2}}, now=LATER)
    assert (resumed["run_id"], resumed["generation"], resumed["sequence"], resumed["started_at"]) == ("r2", 2, 4, NOW)
    assert (resumed["member"], resumed["steps"], resumed["order"]) == (journal["member"], journal["steps"], journal["order"])
    assert (resumed["work"], resumed["what"], resumed["saved"]) == ("upgrade", "replace", {"x": 1, "y": 2})
    again = go(resumed, "next", run_id="r2", generation=2, step="vm", now=LATER)
    assert [(entry["n"], entry["state"], entry["ended_at"]) for entry in again["steps"]] == [(1, "failed", LATER), (2, "begun", None)]
    assert again["steps"][0]["detail"] == {"interrupted": True}


def test_a_step_that_was_cut_short_is_not_done_because_the_gate_before_it_is_asked_again() -> None:
    steps = ["gate", "lead", "drain", "stop", "vm"]
    journal = go(started(), "member", member={"member": "east-0", "steps": steps})
    for step in steps[:4]:
        journal = go(journal, "next", step=step)
    journal = go(journal, "start", run_id="r2", generation=2)
    again = go(journal, "next", step="gate", run_id="r2", generation=2)
    assert [entry["state"] for entry in again["steps"]] == ["done", "done", "done", "failed", "begun"]
    # Killed again, in the gate: nobody takes the stop for done.
    assert member_steps.remaining_steps(again, up=True) == ["gate", "stop", "vm"]
    assert member_steps.remaining_steps(again) == ["stop", "vm"]
    after = go(again, "next", step="stop", run_id="r2", generation=2)
    assert [entry["state"] for entry in after["steps"]] == ["done", "done", "done", "failed", "done", "begun"]
    assert member_steps.remaining_steps(go(after, "next", step="vm", run_id="r2", generation=2)) == ["vm"]


def test_a_start_after_an_end_is_a_new_rollout() -> None:
    ended = go(started(saved={"x": 1}), "finish", state="aborted")
    again = go(ended, "start", run_id="r2", generation=2, now=LATER)
    assert (again["started_at"], again["order"], again["saved"], again["work"], again["sequence"]) == (LATER, [], {}, "", 3)


def test_old_values_are_saved_without_a_step_and_put_back_with_the_end() -> None:
    journal = go(go(started(), "member", member={"member": "east-0"}), "next", step="stop")
    after = go(journal, "save", saved={"time_until_store_dead": "5m"})
    assert (after["saved"], after["steps"], after["member"]) == ({"time_until_store_dead": "5m"}, journal["steps"], journal["member"])
    assert after["sequence"] == journal["sequence"] + 1
    done = go(after, "member")
    with pytest.raises(JournalError, match="saved settings were not put back: time_until_store_dead"):
        go(done, "finish")
    assert go(done, "finish", saved={"time_until_store_dead": None})["state"] == "done"


@pytest.mark.parametrize(
    ("op", "options", "says"),
    [
        ("start", {"detail": {"foo": 1}}, "detail of op start holds foo; it may hold work, what"),
        ("next", {}, "op next needs the name of the step"),
        ("member", {}, "no member is in flight that could be done"),
        ("member", {"member": {"class": "ok"}}, "no member is in flight; name it"),
        ("finish", {"state": "in_flight"}, "ends with state done or aborted, not 'in_flight'"),
        ("begin", {"step": "stop"}, "op 'begin' is none of start, next, member, drop, save, finish"),
    ],
)
def test_what_is_refused(op: str, options: Json, says: str) -> None:
    journal = started()
    before = deepcopy(journal)
    with pytest.raises(JournalError, match=says):
        go(journal, op, **options)
    assert journal == before


@pytest.mark.parametrize(
    "detail",
    [
        {"ca_key": "x"},
        {"key": ["x"]},
        {"files": {"node.crt": "x"}},
        {"certificates": {"east-0": {}}},
        {"inner": [{"password": "x"}]},
        {"text": "-----BEGIN EC PRIVATE KEY-----\nx"},
        {"text": "$ANSIBLE_VAULT;1.1;AES256\n"},
        {"client_secret": "x"},
        {"kubeconfig": "x"},
    ],
)
def test_secrets_are_refused_and_not_shown(detail: Json) -> None:
    places: list[Json] = [{"detail": detail}, {"saved": detail}]
    for options in places:
        with pytest.raises(JournalError, match="looks like a secret") as refused:
            go(go(started(), "next", step="certify"), "next", step="admit", **options)
        assert "PRIVATE" not in str(refused.value)
    with pytest.raises(JournalError, match="looks like a secret"):
        go(started(), "member", member={"member": "east-0", **detail})


def test_names_that_only_sound_like_it_are_taken() -> None:
    detail = {"rotate_certificates": True, "key": 3, "password": "", "keyboard": "x", "monkey": "x", "ca_fingerprint": "ab", "keys": []}
    assert go(go(started(), "next", step="certify"), "next", step="admit", detail=detail)["steps"][0]["detail"] == detail


def test_it_stays_small_and_the_member_in_flight_keeps_its_steps() -> None:
    journal = started()
    for number in range(60):
        journal = go(journal, "member", member={"member": f"east-{number}"})
        for step in "abcdefgh":
            journal = go(journal, "next", step=step)
        if number < 59:
            journal = go(journal, "member")
    assert len(journal["steps"]) == plan.MAX_STEPS
    assert [entry["n"] for entry in journal["steps"]] == list(range(60 * 8 - plan.MAX_STEPS + 1, 60 * 8 + 1))
    big = go(journal, "next", step="huge", detail={"text": "x" * (plan.MAX_BYTES - 20_000)})
    assert plan.size(big) <= plan.MAX_BYTES
    assert [entry["step"] for entry in big["steps"] if entry["member"] == "east-59"] == [*"abcdefgh", "huge"]
    with pytest.raises(JournalError, match="more than a ConfigMap takes"):
        go(journal, "next", step="huge", detail={"text": "x" * plan.MAX_BYTES})


class Rollout(RuleBasedStateMachine):
    """Runs that are killed at any time and gone on with, by any operations."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: Json = {}
        self.generation = 0
        self.count = 0

    def go(self, op: str, **options: Any) -> bool:
        before = deepcopy(self.journal)
        try:
            after = advance(
                self.journal,
                op,
                now=f"2026-01-01T00:00:{self.count:02d}.000Z",
                run_id=f"r{self.generation}",
                generation=self.generation,
                **options,
            )
        except JournalError:
            assert self.journal == before
            return False
        assert self.journal == before, "the input is left alone"
        assert after["sequence"] == before.get("sequence", 0) + 1
        assert newest({"a": before, "b": after}) == newest({"a": after, "b": before}) == after
        # What has ended stays as it was, and what was begun is never lost.
        kept = {entry["n"]: entry for entry in after["steps"]}
        for entry in before.get("steps", []) if in_flight(before) else []:
            assert kept[entry["n"]] == entry or entry["state"] == "begun"
        self.journal, self.count = after, min(59, self.count + 1)
        return True

    @rule(work=st.sampled_from(["upgrade", "repair"]))
    def start(self, work: str) -> None:
        self.generation += 1
        flying, member, done = in_flight(self.journal), self.journal.get("member"), self.journal.get("done")
        assert self.go("start", detail={"work": work})
        if flying:
            assert (self.journal["member"], self.journal["done"]) == (member, done)
        else:
            assert (self.journal["member"], self.journal["done"], self.journal["steps"]) == (None, [], [])

    @rule(step=st.sampled_from(["stop", "vm"]), detail=st.dictionaries(st.text(), st.integers()))
    def step(self, step: str, detail: Json) -> None:
        if self.go("next", step=step, detail=detail):
            last = self.journal["steps"][-1]
            assert (last["step"], last["state"], last["detail"]) == (step, "begun", {})

    @rule(member=st.one_of(st.none(), st.fixed_dictionaries({"member": st.sampled_from(["east-0", "east-1"])}), st.just({"class": "ok"})))
    def member(self, member: Json | None) -> None:
        before = (self.journal.get("member") or {}).get("member")
        if self.go("member", member=member) and member is None:
            assert before in self.journal["done"]

    @rule(state=st.sampled_from(["done", "aborted"]))
    def finish(self, state: str) -> None:
        self.go("finish", state=state)

    @precondition(lambda self: bool(self.journal))
    @invariant()
    def sound(self) -> None:
        journal = self.journal
        assert plan.parse(plan.dump(journal)) == journal
        assert journal["generation"] == self.generation
        numbers = [entry["n"] for entry in journal["steps"]]
        assert numbers == sorted(set(numbers))
        begun = [entry["member"] for entry in journal["steps"] if entry["state"] == "begun"]
        assert len(begun) == len(set(begun)), "a member has one step under way"
        assert len(journal["done"]) == len(set(journal["done"]))
        assert (journal["ended_at"] is None) == in_flight(journal)


TestRollout = Rollout.TestCase

DOCUMENTS = st.fixed_dictionaries(
    {"generation": st.integers(0, 3), "sequence": st.integers(0, 3), "work": st.sampled_from(["a", "b"]), "schema": st.just(1)}
)


@given(st.dictionaries(st.sampled_from(["east", "west", "north"]), st.one_of(st.none(), st.just({}), DOCUMENTS)), st.randoms())
def test_newest_is_the_same_for_everybody(journals: dict[str, Json | None], chance: Any) -> None:
    found = newest(journals)
    shuffled = list(journals.items())
    chance.shuffle(shuffled)
    assert newest(dict(shuffled)) == found
    real = [journal for journal in journals.values() if journal]
    assert (found is None) == (not real)
    if found:
        assert found in real
        assert all((journal["generation"], journal["sequence"]) <= (found["generation"], found["sequence"]) for journal in real)


def test_parse_takes_only_what_it_understands() -> None:
    good = started()
    assert plan.parse(json.dumps(good)) == good
    for text, said in (
        ("", "it is no JSON"),
        ("nonsense", "it is no JSON"),
        ("[]", "it is no object"),
        (
            '{"schema": 3, "generation": 1, "sequence": 1}',
            "its schema is 3, this version of the collection reads 1 and 2: use the version that wrote it",
        ),
        (json.dumps({**good, "done": ["east-0..999999999"]}), r"done has \"east-0..999999999\", which is no member"),
        (json.dumps({**good, "order": ["east-3..1"]}), r"order has \"east-3..1\", which is no member"),
        ('{"schema": 1}', "generation is missing"),
        ('{"schema": 1, "generation": 1}', "sequence is missing"),
    ):
        with pytest.raises(plan.JournalError, match=said):
            plan.parse(text)
    assert not in_flight(None)
    assert not in_flight({})


def test_a_journal_of_version_0_2_0_is_gone_on_with() -> None:
    old = {**started(order=[f"east-{number}" for number in range(4)]), "schema": 1}
    found = plan.parse(json.dumps(old))
    assert found == old
    again = go(found, "start", run_id="r2", generation=2)
    assert (again["schema"], again["order"]) == (2, old["order"])
    # Who reads schema 1 alone leaves it to the version that wrote it.
    assert json.loads(plan.dump(again))["schema"] == 2


MEMBERS = st.builds(lambda kube, ordinal: f"{kube}-{ordinal}", st.sampled_from(["east", "e", "east-1", "e-0"]), st.integers(0, 12))


@given(st.lists(st.one_of(MEMBERS, st.sampled_from(["", "east", "east-007", "east-0..3", "x-1000000000"]))), st.booleans())
def test_no_name_and_no_order_is_lost_when_names_are_shortened(names: list[str], in_order: bool) -> None:
    given_names = sorted(names, key=lambda name: (len(name), name)) if in_order else names
    # A range that somebody wrote as a name is no name.
    plain = [name for name in given_names if ".." not in name]
    assert plan.expanded(plan.shortened(plain)) == plain
    journal = {**started(), "order": plain, "done": plain[:3]}
    read = json.loads(plan.dump(journal))
    assert [plan.expanded(read[key]) for key in ("order", "done")] == [plain, plain[:3]]


def test_5000_members_fit_whatever_their_order() -> None:
    names = [f"{'k' * 45}-{(number * 7) % 5000}" for number in range(5000)]
    digests = [f"{number:012x}" for number in range(5000)]
    record = {"member": names[0], "old": {"provider_id": "x" * 300}, "seen": digests, "providers": digests, "machines": digests}
    assert plan.largest(names, record) <= plan.MAX_BYTES
    # The new binding is as long as the old one.
    assert plan.largest(names, record) - plan.largest(names, {**record, "old": None}) >= 600


def test_consecutive_members_are_one_entry() -> None:
    names = [*(f"east-{number}" for number in range(2500)), "west-0", "west-1", "east-7", "west-9", "west-10", "west-11"]
    assert plan.shortened(names) == ["east-0..2499", "west-0", "west-1", "east-7", "west-9..11"]


def test_one_line_for_people() -> None:
    journal = go(started(), "member", member={"member": "east-0"})
    assert plan.describe("member", "", journal) == "member in flight: east-0 (0 done)"
    assert plan.describe("next", "stop", journal) == "east-0: stop begins"
    assert plan.describe("start", "", journal) == "rollout in_flight (run r1, generation 1)"


def test_the_generation_of_a_config_map() -> None:
    written = plan.dump(plan.advance({}, "start", now="t", run_id="r1", generation=7))

    def found(annotation: str | None, text: str) -> int:
        annotations = {} if annotation is None else {plan.GENERATION_ANNOTATION: annotation}
        return plan.generation_of({"metadata": {"annotations": annotations}, "data": {"journal": text}})

    assert plan.generation_of(None) == 0
    assert (found("9", written), found("3", written), found(None, written)) == (9, 7, 7)
    assert (found("9", "{"), found("soon", ""), found("-4", ""), found("\u0663", ""), found("9" * 5000, "")) == (9, 0, 0, 0, 0)
    assert plan.generation_of({"metadata": {}, "data": None}) == 0


def test_a_write_after_one_that_failed_counts_more_than_that_one() -> None:
    """West has the write that failed in east; what east is told instead is newer, whatever it says."""
    before = go(started(), "member", member={"member": "east-0", "steps": ["stop"]})
    failed = advance(before, "next", now="t", run_id="r1", generation=1, step="stop")
    undone = advance(before, "member", now="t", run_id="r1", generation=1, member={"since": 0}, after_failure=True)
    assert undone["sequence"] > failed["sequence"]
    assert newest({"east": undone, "west": failed}) == newest({"east": failed, "west": undone}) == undone


@pytest.mark.parametrize(
    ("work", "kind", "done"),
    [("replace", "ok", ["east-0"]), ("repair", "missing", ["east-0"]), ("repair", "moved", []), (None, "", ["east-0"])],
)
def test_whoever_was_mended_on_the_vm_that_it_had_still_has_its_turn(work: str | None, kind: str, done: list[str]) -> None:
    common: dict[str, Any] = {"now": "2026-11-30T12:00:00.000Z", "run_id": "r", "generation": 1}
    begun = plan.advance({}, "start", detail={"work": "replace"}, **common)
    record = {"member": "east-0", "class": kind, **({"work": work} if work else {})}
    ended = plan.advance(plan.advance(begun, "member", member=record, **common), "member", **common)
    assert (ended["done"], ended["member"]) == (done, None)


def test_a_member_that_was_dropped_begins_anew() -> None:
    common: dict[str, Any] = {"now": "2026-11-30T12:00:00.000Z", "run_id": "r", "generation": 1}
    begun = plan.advance({}, "start", detail={"work": "replace"}, **common)
    with pytest.raises(plan.JournalError, match="no member is in flight"):
        plan.advance(begun, "drop", **common)
    taken = plan.advance(begun, "member", member={"member": "east-0", "steps": ["cordon", "gate"]}, **common)
    cordoned = plan.advance(plan.advance(taken, "next", step="cordon", **common), "next", step="gate", **common)
    dropped = plan.advance(cordoned, "drop", **common)
    assert (dropped["member"], dropped["done"]) == (None, [])
    assert [(entry["step"], entry["state"]) for entry in dropped["steps"]] == [("cordon", "done"), ("gate", "failed")]
    again = plan.advance(dropped, "member", member={"member": "east-0", "steps": ["cordon", "gate"]}, **common)
    assert again["member"]["since"] == 2, "what it did before counts no more"
    other = plan.advance(dropped, "member", member={"member": "west-0", "steps": []}, **common)
    assert "since" not in other["member"]
