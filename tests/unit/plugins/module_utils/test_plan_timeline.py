# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures and the page that come out of a rollout's journal."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.rollout_report import FilterModule, rollout_html
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, order, rollout_page, steps, timeline
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as journal_plan
from support import journals
from support.journals import Json, entry
from support.pages import Shape


def member_of(journal: Json, name: str) -> Json:
    (found,) = [member for member in timeline.summary(journal)["members"] if member["member"] == name]
    return found


def test_own_seconds_are_the_time_less_what_others_took() -> None:
    journal = {
        "state": "in_flight",
        "started_at": journals.at(0),
        "steps": [
            entry(1, "east-0", "gate", 10, 11),
            entry(2, "east-0", "stop", 11.5, 13.5),
            entry(3, "east-0", "vm", 13.5, 43.5),
            entry(4, "east-0", "start", 44, 46),
            entry(5, "east-0", "settle", 46, 55),
            entry(6, "east-0", "uncordon", 55.25, 56.25),
            entry(7, "east-0", "soak", 56.25, 66.25),
            entry(8, "east-1", "gate", 68.25, 69.25),
        ],
    }
    first, second = timeline.summary(journal)["members"]
    assert first == {
        "member": "east-0",
        "class": "",
        "state": "begun",
        "seconds": 56.25,
        "own": 3.25,
        "between": 1.25,
        "interrupted": 0,
        "vm": 30,
        "process": 4,
        "catch_up": 9,
        "soak": 10,
        "steps": {"gate": 1, "stop": 2, "vm": 30, "start": 2, "settle": 9, "uncordon": 1, "soak": 10},
    }
    # The time after one member belongs to the next one: otherwise a slow look at everything between members would be nobody's.
    assert (second["seconds"], second["own"], second["between"]) == (3, 3, 2)
    assert timeline.summary(journal)["seconds"] == 69.25


def test_every_step_of_every_rollout_is_explained() -> None:
    names = {
        step
        for work in steps.WORKS
        for kind in ("ok", *order.BROKEN)
        for surge in (False, True)
        for forget in ("before_join", "after_join", "never")
        for step in steps.of(work, kind, surge, forget)
    }
    assert names <= set(rollout_page.PURPOSES)
    assert set(timeline.NOT_OWN) <= names


def test_a_step_that_was_cut_off_is_nobodys_time() -> None:
    journal = journals.troubled()
    member = member_of(journal, "east-2")
    assert member["state"] == "in flight"
    assert member["interrupted"] == pytest.approx(416.9)
    assert member["vm"] == pytest.approx(21)
    # Two gates of 1.1 s, and 1.5 s between steps.
    assert member["own"] == pytest.approx(2.6, abs=0.01)
    text = Shape(rollout_html(journal)).text
    assert "east-2: the step vm was cut off, because the run was killed or lost" in text
    assert "It was done later, at 03:08:15" in text
    assert "east-2 did not settle in 60 s" in text


def test_a_step_that_was_begun_twice_without_an_end() -> None:
    """As it is when the journal of a killed run is shown before the step begins anew, and from journals that do not close it."""
    steps = [entry(1, "a-0", "gate", 0, 1), entry(2, "a-0", "vm", 1, None, "begun")]
    killed = {"state": "in_flight", "steps": steps}
    assert member_of(killed, "a-0")["interrupted"] == 0
    assert "was begun, its end is not known" in Shape(rollout_html(killed)).text
    resumed = {"state": "in_flight", "steps": [*steps, entry(3, "a-0", "vm", 61, 71)]}
    assert (member_of(resumed, "a-0")["interrupted"], member_of(resumed, "a-0")["vm"], member_of(resumed, "a-0")["own"]) == (60, 10, 1)


def test_a_step_of_the_plays_own_that_was_cut_off() -> None:
    journal = {"steps": [entry(1, "a-0", "evict", 0, 50, "failed", {"interrupted": True}), entry(2, "a-0", "evict", 50, 52)]}
    found = member_of(journal, "a-0")
    assert (found["seconds"], found["interrupted"], found["own"]) == (52, 50, 2)


def test_steps_at_the_same_time_count_once() -> None:
    journal = {
        "steps": [
            entry(1, "a-0", "gate", 0, 10),
            entry(2, "a-0", "list", 5, 12),
            entry(3, "a-0", "vm", 11, 20),
            entry(4, "a-0", "gate", 21, 22),
        ]
    }
    found = member_of(journal, "a-0")
    assert (found["seconds"], found["own"], found["between"]) == (22, 13, 1)
    within = {"steps": [entry(1, "a-0", "gate", 0, 10), entry(2, "a-0", "list", 5, 8), entry(3, "a-0", "vm", 11, 20)]}
    assert member_of(within, "a-0")["between"] == 1


def test_a_gap_that_outlasts_the_run_is_drawn_to_its_end() -> None:
    journal = {"steps": [entry(1, "a-0", "vm", 0, 10)]}
    found = Shape(rollout_html(journal, [{"time": journals.at(-5), "gap_ms": 60000}, {"time": journals.at(5), "gap_ms": 60000}]))
    assert any("--cl:50.000%;--cw:100.000%" in style for style in found.styles)
    assert all(float(value.rstrip("%")) <= 100 for style in found.styles for value in style.replace(";", ":").split(":")[1::2])


def test_a_clock_that_was_set_back() -> None:
    journal = {"steps": [entry(1, "a-0", "gate", 10, 5), entry(2, "a-0", "list", 11, 12)]}
    assert member_of(journal, "a-0")["steps"] == {"gate": 0, "list": 1}
    assert "-5.0" not in Shape(rollout_html(journal)).text


def test_the_real_journal_is_understood() -> None:
    """Made by the functions that make it, a kill and a resumption included."""
    common: Json = {"run_id": "r1", "generation": 1}
    made: Json = {}
    clock = iter(range(0, 1000, 2))

    def do(op: str, **more: Any) -> None:
        nonlocal made
        made = journal_plan.advance(made, op, now=journals.at(next(clock)), **common, **more)

    do("start", detail={"work": "replace", "what": "upgrade replace", "order": ["east-0"], "settings": {"work": "replace"}})
    do("member", member={"member": "east-0", "class": "ok", "old": {"node": "a"}})
    do("next", step="gate")
    do("next", step="vm", detail={"join_before": ["10.0.0.1"]})
    common = {"run_id": "r2", "generation": 2}
    do("start", detail={"work": "replace"})
    do("next", step="vm")
    do("member", member=None, detail={"issued": [{"serial": "5f", "not_after": "2027-01-01T00:00:00Z", "addresses": ["10.0.0.9"]}]})
    do("finish", state="done")
    member = member_of(made, "east-0")
    assert (member["state"], member["interrupted"], member["vm"], member["own"]) == ("done", 4, 2, 2)
    text = Shape(rollout_html(made, name="ledger")).text
    assert "ledger: upgrade replace" in text
    assert "✓ Done. 1 of 1 member done" in text
    assert "5f" in text
    assert "10.0.0.9" in text
    assert "How to go on" not in text


def test_members_whose_steps_a_long_journal_forgot_are_not_called_waiting() -> None:
    journal = journals.replaced(5)
    journal["steps"] = [step for step in journal["steps"] if step["member"] not in ("east-0", "east-1")]
    text = Shape(rollout_html(journal)).text
    assert "Done, and their steps are no longer in the journal (2): east-0, east-1" in text
    assert "Not begun" not in text
    assert "5 of 5 members done" in text


def test_what_a_tired_reader_needs_is_there() -> None:
    found = Shape(rollout_html(journals.troubled(), journals.gaps(12)))
    for words in (
        "ledger: upgrade replace",
        "r-20261122-025830-7c1e",
        "2026-11-22 02:58:30 to 03:09:19 UTC · 10 min 49 s",
        "✗ Not finished. 2 of 5 members done, 1 step failed on the way.",
        "ansible-playbook -i INVENTORY playbooks/upgrade.yml -e hostnet_work=replace -e hostnet_take_over=r-20261122-025830-7c1e",
        "-e hostnet_abort=true",
        "Not begun (2): west-0, west-1",
        "server.time_until_store_dead",
        "- 10.0.0.1",
        "+ 10.1.7.1",
        "5f0000c2a9 2027-11-22T02:58:30Z 10.1.7.1, 127.0.0.1",
        "The longest 12 of 12 gaps between acknowledged writes",
        "1,204",
        "sre@bastion, pid 4711",
    ):
        assert words in found.text, words
    assert "east-2 settle, failed: 1 min 00 s, 03:08:19 to 03:09:19 UTC" in found.titles
    assert set(found.links) <= set(found.ids)
    assert sum(drawn.startswith("bar bad") for drawn in found.bars) == 2  # one in the legend


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"work": "repair", "what": "repair"}, "playbooks/repair.yml "),
        ({"work": "scale_down", "what": "scale_down"}, "playbooks/scale_down.yml "),
        ({"work": "version", "what": "upgrade version"}, "playbooks/upgrade.yml -e hostnet_work=version "),
        ({"work": "x; rm", "what": ""}, "playbooks/upgrade.yml -e hostnet_take_over"),
        ({"run_id": "a; rm -rf b"}, "hostnet_take_over='a; rm -rf b'"),
        ({"state": "aborted"}, "■ Aborted. 2 of 5 members done"),
        ({"state": "done"}, "What is left to do Settings of the system"),
        ({"state": None}, "? State unknown."),
    ],
)
def test_how_to_go_on(changes: Json, words: str) -> None:
    assert words in Shape(rollout_html({**journals.troubled(), **changes})).text


@pytest.mark.parametrize("count", [1, 5, 200])
def test_any_number_of_members(count: int) -> None:
    journal = journals.replaced(count)
    found = Shape(rollout_html(journal, journals.gaps(count)))
    assert len([drawn for drawn in found.bars if not drawn.startswith(("bar gap", "bar between"))]) == count * len(journals.STEPS) + 5
    assert [member["member"] for member in timeline.summary(journal)["members"]] == journals.names(count)
    assert f"✓ Done. {count} of {count} member{'s' if count > 1 else ''} done" in found.text


def test_the_page_asks_for_nothing() -> None:
    text = rollout_html(journals.troubled(), journals.gaps(3))
    assert "default-src 'none'" in text
    for word in ("http:", "https:", "<script", "@import", "url(", "<link", "<img"):
        assert word not in text


def test_gaps_in_other_shapes() -> None:
    journal = journals.replaced(1)
    good = [{"time": journals.START.timestamp() + 20, "gap_ms": "1234.4"}, {"time": journals.at(21), "gap_ms": 7}]
    bad: list[Any] = [
        {},
        None,
        5,
        {"time": "x", "gap_ms": 1},
        {"time": 1, "gap_ms": None},
        {"time": True, "gap_ms": 1},
        {"time": 1, "gap_ms": True},
    ]
    bad += [{"time": journals.at(1), "gap_ms": value} for value in (-1, float("nan"), float("inf"), "x", [], 1e300)]
    text = Shape(rollout_html(journal, [*good, *bad])).text
    assert "The longest 2 of 2 gaps" in text
    assert "2026-11-22 02:58:50 1,234 east-0, vm" in text
    assert "not measured" in Shape(rollout_html(journal, bad)).text


def test_certificates_and_join_lists_in_other_shapes() -> None:
    detail = {
        "certificates": {"east-0": {"serial": 17, "addresses": "10.0.0.1"}, "client": "18"},
        "join_before": {"east": ["10.0.0.1"], "west": "10.0.1.1, 10.0.1.2"},
        "join_after": [{"address": "10.0.0.1"}],
    }
    half = {"join_before": ["10.0.0.1"]}
    steps = [
        entry(1, "east-0", "certify", 0, 1, detail=detail),
        entry(2, "east-0", "certify", 1, 2, detail=detail),
        entry(3, "b", "list", 2, 3, detail=half),
    ]
    text = Shape(rollout_html({"steps": steps})).text
    assert "2 issued" in text
    assert "- west: 10.0.1.2" in text
    assert 'address": "10.0.0.1"' in text
    assert "b 10.0.0.1 not in the journal not known" in text


def test_a_certificate_that_was_kept_is_not_called_issued() -> None:
    """In the shape that the rollout notes."""
    binding = {"file": "peer", "not_after": "2027-01-01T00:00:00Z", "sans": ["IP:10.0.0.1", "DNS:east-0"], "name": "east-0"}
    told = [{**binding, "serial": "aa", "reason": "it lacks 10.0.0.1"}, {**binding, "serial": "bb", "reason": ""}]
    issued = before.issued(told)["east-0"]
    text = Shape(rollout_html({"steps": [entry(1, "east-0", "certify", 0, 1, detail={"issued": issued})]})).text
    assert "Certificates issued 1" in text
    assert "1 issued, 1 found in place" in text
    assert "east-0 peer aa 2027-01-01T00:00:00Z 10.0.0.1 it lacks 10.0.0.1" in text
    assert "east-0 peer bb 2027-01-01T00:00:00Z 10.0.0.1 was there already and is good" in text


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"msg": "no"}, "no"),
        ({"blocked": ["members that lag: 3", "<b>two</b>"]}, "members that lag: 3 <b>two</b>"),
        ({"code": 5}, '{"code": 5}'),
        ({"error": {"status": 409}}, '{"status": 409}'),
        ({}, "the journal holds no reason; see the output of the run"),
        ({"msg": "x" * 5000}, "... (1000 more characters in the journal)"),
    ],
)
def test_failures_in_words(detail: Json, words: str) -> None:
    assert words in Shape(rollout_html({"steps": [entry(1, "a", "own_step", 0, 1, "failed", detail)]})).text


@pytest.mark.parametrize("journal", [None, [], "x", 5])
def test_what_is_no_journal_is_refused(journal: Any) -> None:
    for function in FilterModule().filters().values():
        with pytest.raises(AnsibleFilterError, match="the journal of a rollout is a dictionary, and this is none"):
            function(journal)


def test_filters() -> None:
    filters = FilterModule().filters()
    assert filters["rollout_summary"](journals.replaced(1), "x")["deployment"] == "x"
    assert filters["rollout_html"](journals.replaced(1), [], "x").startswith("<!DOCTYPE html>")


# Any journal at all

_WORDS = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(
        ["<script>", '"><img src=x onerror=alert(1)>', "</style>", "]]>", "&amp;", "east-0", "done", "\ud800", "'", "<!--", "${7*7}"]
    ),
)
_TIMES = st.one_of(st.none(), _WORDS, st.integers(-5, 2**70), st.floats(), st.floats(0, 1e5).map(journals.at), st.booleans())
_ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=3)),
    max_leaves=8,
)
_DETAILS = st.one_of(
    _ANY,
    st.dictionaries(
        st.sampled_from(["msg", "blocked", "certificates", "issued", "join_before", "join_after", "class", "interrupted"]), _ANY, max_size=4
    ),
)
_STEPS = st.fixed_dictionaries(
    {},
    optional={
        "n": _ANY,
        "member": st.one_of(st.sampled_from(["east-0", "east-1"]), _ANY),
        "step": st.one_of(st.sampled_from(["vm", "gate", "settle"]), _ANY),
        "state": st.one_of(st.sampled_from(["begun", "done", "failed"]), _ANY),
        "began_at": _TIMES,
        "ended_at": _TIMES,
        "detail": _DETAILS,
    },
)
_JOURNALS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("run_id", "work", "what", "controller", "settings", "saved", "name", "deployment"), _ANY),
        "state": st.one_of(st.sampled_from(["in_flight", "done", "aborted"]), _ANY),
        "started_at": _TIMES,
        "ended_at": _TIMES,
        "order": st.one_of(st.lists(_WORDS, max_size=4), _ANY),
        "done": st.one_of(st.lists(_WORDS, max_size=4), _ANY),
        "member": st.one_of(st.fixed_dictionaries({"member": _ANY}, optional={"class": _ANY, "old": _ANY, "new": _ANY}), _ANY),
        "steps": st.one_of(st.lists(st.one_of(_STEPS, _ANY), max_size=6), _ANY),
    },
)
_GAPS = st.one_of(st.lists(st.fixed_dictionaries({"time": _TIMES, "gap_ms": _ANY}), max_size=4), _ANY)


@settings(max_examples=300)
@given(_JOURNALS, _GAPS)
def test_any_journal_makes_a_sound_page(journal: Json, gaps: Any) -> None:
    text = rollout_html(journal, gaps)
    found = Shape(text)
    assert set(found.links) <= set(found.ids)
    assert len(set(found.ids)) == len(found.ids)
    assert text.encode("utf-8")
    for member in timeline.summary(journal)["members"]:
        assert member["seconds"] >= member["own"] >= 0


@st.composite
def _runs(draw: st.DrawFn) -> Json:
    """Steps one after another, each with an end, of members one after another."""
    clock = 0.0
    steps: list[Json] = []
    for member in range(draw(st.integers(1, 4))):
        for step in draw(st.lists(st.sampled_from([*timeline.NOT_OWN, "gate", "evict", "list"]), min_size=1, max_size=8)):
            begin = clock + draw(st.integers(0, 3000)) / 1000
            clock = begin + draw(st.integers(0, 90000)) / 1000
            state = draw(st.sampled_from(["done", "failed"]))
            steps.append(entry(len(steps) + 1, f"east-{member}", step, begin, clock, state))
    return {"state": "done", "started_at": journals.at(0), "ended_at": journals.at(clock), "steps": steps}


@given(_runs(), st.randoms(use_true_random=False))
def test_seconds_add_up(journal: Json, shuffle: random.Random) -> None:
    found = timeline.summary(journal)
    began = float(timeline.moment(journal["steps"][0]["began_at"]) or 0) - journals.START.timestamp()
    assert sum(member["seconds"] for member in found["members"]) == pytest.approx(found["seconds"] - began, abs=0.05)
    for member in found["members"]:
        parts = sum(member[key] for key in ("own", "interrupted", "vm", "process", "catch_up", "soak"))
        assert parts == pytest.approx(member["seconds"], abs=0.01)
        own = sum(seconds for step, seconds in member["steps"].items() if step not in timeline.NOT_OWN)
        assert member["own"] == pytest.approx(own + member["between"], abs=0.02)
    assert sum(step["seconds"] for step in found["steps"].values()) == pytest.approx(
        sum(seconds for member in found["members"] for seconds in member["steps"].values()), abs=0.05
    )
    # What the page draws is drawn whole: no bar begins or ends outside of its row.
    for style in Shape(rollout_html(journal)).styles:
        places = dict(part.split(":") for part in style.split(";"))
        for offset, length in (("--cl", "--cw"), ("--al", "--aw")):
            if offset in places:
                assert float(places[offset].rstrip("%")) + float(places[length].rstrip("%")) <= 100.01
    shuffle.shuffle(journal["steps"])
    if len({step["began_at"] for step in journal["steps"]}) == len(journal["steps"]):
        assert timeline.summary(journal)["members"] == found["members"]
