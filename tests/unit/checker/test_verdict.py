# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker's judgement. Every rule is broken once: a verdict that cannot be bad says nothing."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker import verdict
from checker.run import Pacer
from checker.system import values
from checker.verdict import HOLDS, INVALID, VIOLATED, Facts, Gap, Presence
from support.virtual_clock import VirtualClock

UP = {"a": [[0.0, None]], "b": [[0.0, None]], "c": [[0.0, None]]}


def good(**changes: Any) -> Facts:
    """Ten seconds with 60 writes a second and three members."""
    facts = Facts(
        least_rate=50,
        most_down=1,
        expected=3,
        ready=True,
        start=10.0,
        end=20.0,
        acknowledged=[10 + number / 60 for number in range(600)],
        up=UP,
        cluster_ids={"1": ["a", "b", "c"]},
        lost={"a": [], "b": [], "c": []},
        made_up={"a": []},
        read_members=3,
    )
    return dataclasses.replace(facts, **changes)


def test_all_is_well() -> None:
    assert verdict.judge(good()) == (HOLDS, [])
    assert verdict.EXIT_CODES == {HOLDS: 0, VIOLATED: 1, INVALID: 3}


@pytest.mark.parametrize(
    ("changes", "result", "text"),
    [
        ({"lost": {"a": [], "b": [7]}}, VIOLATED, "1 acknowledged writes are lost, as read from b: 7"),
        ({"made_up": {"c": ["number 9 was never written"]}}, VIOLATED, "1 values that nobody wrote, as read from c"),
        ({"cluster_ids": {"1": ["a", "b"], "2": ["c"]}}, VIOLATED, "2 cluster ids were seen: 1 by a, b; 2 by c"),
        ({"cluster_ids": {}}, VIOLATED, "no member told its cluster id"),
        ({"up": {**UP, "a": [[0, 12], [13, None]], "b": [[0, 12.5], [14, None]]}}, VIOLATED, "2 members were down at once, 1 allowed"),
        ({"join_faults": ["stale"]}, VIOLATED, "stale"),
        ({"unread": {"c": "refused"}}, VIOLATED, "not read back from c: refused"),
        ({"at_end": {"ranges": 3, "others": 0}}, VIOLATED, "3 ranges at the end"),
        ({"at_end": {"ranges": None}}, VIOLATED, "no member told ranges at the end"),
        ({"read_members": 2}, VIOLATED, "read back from 2 members, 3 expected"),
        ({"acknowledged": [10 + number / 49 for number in range(490)]}, INVALID, "acknowledged writes a second outside of gaps, 50 needed"),
        ({"acknowledged": []}, INVALID, "acknowledged writes a second outside of gaps"),
        ({"acknowledged": [10 + number / 60 for number in range(240)]}, INVALID, "are gaps without an acknowledged write"),
        ({"acknowledged": [], "least_rate": 0, "ready": False, "read_members": 0}, INVALID, "never acknowledged through every member"),
        ({"ready": False, "read_members": 0}, INVALID, "never acknowledged through every member"),
    ],
)
def test_each_rule_is_broken_once(changes: dict[str, Any], result: str, text: str) -> None:
    found, reasons = verdict.judge(good(**changes))
    assert found == result
    assert len(reasons) == 1 or result == INVALID
    assert any(text in reason for reason in reasons), reasons


def test_what_is_broken_counts_also_where_too_little_was_written() -> None:
    assert verdict.judge(good(acknowledged=[11.0], lost={"a": [1]}))[0] == VIOLATED
    assert verdict.judge(good(ready=False, cluster_ids={"1": ["a"], "2": ["b"]}))[0] == VIOLATED


def test_a_gap_does_not_make_the_rest_too_slow() -> None:
    facts = good(acknowledged=[10 + number / 60 for number in range(600) if not 120 <= number < 300])
    assert verdict.rates(facts)["rate"] < 50
    assert verdict.rates(facts)["rate_outside_gaps"] >= 50
    assert verdict.judge(facts) == (HOLDS, [])


def test_a_busy_machine_is_no_reason_where_no_rate_is_wanted() -> None:
    slow = good(acknowledged=[11.0], least_rate=0)
    assert verdict.judge(slow) == (HOLDS, [])
    assert verdict.judge(dataclasses.replace(slow, lost={"a": [1]}))[0] == VIOLATED


def test_slow_writes_cannot_hide_in_gaps() -> None:
    facts = good(acknowledged=[10 + number * 0.3 for number in range(33)])
    assert verdict.judge(facts)[0] == INVALID


def test_gaps_count_from_the_start_and_to_the_end() -> None:
    assert verdict.gaps([11.0, 11.1, 13.0], 10.0, 14.0) == [Gap(10.0, 11.0), Gap(11.1, 13.0), Gap(13.0, 14.0)]
    assert verdict.gaps([], 10.0, 14.0) == [Gap(10.0, 14.0)]
    short = [number / 100 for number in range(101)]
    assert [gap.milliseconds for gap in verdict.gaps(short, 0.0, 1.0)] == [10], "the longest is told whatever its length"


def test_presence_takes_two_looks_to_call_a_member_silent() -> None:
    seen = Presence()
    seen.answered("a", 1.0)
    seen.failed("a", 2.0)
    seen.answered("a", 2.5)
    seen.failed("a", 3.0)
    assert seen.answering() == ["a"]
    seen.failed("a", 3.5)
    assert seen.answering() == []
    seen.answered("a", 5.0)
    assert seen.up["a"] == [[1.0, 3.0], [5.0, None]]
    seen.failed("a", 4.0)  # asked before it answered
    seen.failed("a", 4.5)
    assert seen.answering() == ["a"]
    seen.failed("a", 6.0, at_once=True)
    assert seen.up["a"][-1] == [5.0, 6.0]
    seen.failed("never", 1.0)
    assert "never" not in seen.up


def test_down_times_add_up_over_members() -> None:
    up = {"a": [[0.0, 11.0], [15.0, None]], "b": [[0.0, 14.0]], "c": [[0.0, None]]}
    assert verdict.down_times(up, 3, 10.0, 20.0) == [
        {"start": 11.0, "end": 14.0, "down": 1, "silent": ["a"]},
        {"start": 14.0, "end": 15.0, "down": 2, "silent": ["a", "b"]},
        {"start": 15.0, "end": 20.0, "down": 1, "silent": ["b"]},
    ]
    moved = {**up, "a": [[0.0, 11.0]], "d": [[12.0, None]], "b": UP["b"]}
    assert [(entry["end"] - entry["start"], entry["down"]) for entry in verdict.down_times(moved, 3, 10.0, 20.0)] == [(1.0, 1)]


@given(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=4),
        max_size=5,
    ),
    st.integers(0, 6),
)
def test_down_times_agree_with_a_count_at_every_moment(raw: dict[str, list[tuple[int, int]]], expected: int) -> None:
    up: dict[str, list[list[float | None]]] = {}
    for name, pieces in raw.items():
        at = 0.0
        up[name] = []
        for pause, length in pieces:
            up[name].append([at + pause, at + pause + length])
            at += pause + length + 1
    found = verdict.down_times(up, expected, 5.0, 50.0)
    for tick in range(5, 50):
        moment = tick + 0.5
        now = sum(any(s is not None and u is not None and s <= moment < u for s, u in spans) for spans in up.values())
        told = sum(entry["down"] for entry in found if entry["start"] <= moment < entry["end"])
        assert told == max(0, expected - now)


def test_compare_finds_what_is_lost_changed_and_made_up() -> None:
    value = values("run", 0)
    copy = {number: [value(number)] for number in range(1, 9)}
    assert verdict.compare(range(1, 8), 9, value, copy) == ([], []), "8 has no known outcome and is there, 9 is not"
    assert verdict.compare([1, 2], 9, value, {1: [value(1)]}) == ([2], [])
    lost, made_up = verdict.compare([1, 2], 2, value, {1: ["x"], 2: [value(2), value(2), value(1)], 3: [value(3)], -1: ["y"]})
    assert lost == [1]
    assert made_up == [
        "number -1 was never written",
        "number 1 has another value",
        "number 2 has another value",
        "number 3 was never written",
    ]


def test_values_are_of_one_run_and_one_number() -> None:
    assert values("a", 1)(5) == values("a", 1)(5)
    assert len({values("a", 1)(5), values("b", 1)(5), values("a", 1)(6)}) == 3
    assert values("a", 1)(5) != values("a", 2)(5) or values("a", 1)(6) != values("a", 2)(6)


def test_addresses_are_whole() -> None:
    text = "a=https://10.0.0.1:2380,b=https://10.0.0.12:2380,nats://[fd00::1]:6222 1.2.3 v3.6.16 999.1.1.1 fd00::2"
    assert verdict.addresses_in(text) == ["10.0.0.1", "10.0.0.12", "fd00::1", "fd00::2"]


def test_join_lists() -> None:
    good_lists: dict[str, dict[str, str] | None] = {name: {"seeds": "10.0.0.1,10.0.0.2", "TOKEN": "x-0a1b"} for name in ("east", "west")}
    assert verdict.join_faults(good_lists, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]) == []
    assert verdict.join_faults(good_lists, ["10.0.0.12", "10.0.0.2"]) == [
        f"kube cluster {kube}: seeds names 10.0.0.1, and no live node has this address" for kube in ("east", "west")
    ]
    assert verdict.join_faults({**good_lists, "west": None}, ["10.0.0.1", "10.0.0.2"]) == ["kube cluster west: there is no join list"]
    assert verdict.join_faults({"east": {"seeds": ""}}, []) == ["kube cluster east: the join list names no address"]
    other = {**good_lists, "west": {"seeds": "10.0.0.1", "TOKEN": "x-0a1b"}}
    assert verdict.join_faults(other, ["10.0.0.1", "10.0.0.2"]) == ["seeds differs between the kube clusters east, west"]


def test_the_pacer_keeps_its_rate_and_does_not_catch_up_with_a_burst() -> None:
    clock = VirtualClock()
    pacer, stop = Pacer(200, clock), threading.Event()
    began = clock.now()
    numbers = [pacer.take(stop) for _turn in range(40)]
    assert numbers == list(range(1, 41))
    assert clock.now() - began == pytest.approx(40 / 200)
    clock.sleep(0.3)
    began = clock.now()
    for _turn in range(40):
        pacer.take(stop)
    # Ten at once, and then at the rate again.
    assert clock.now() - began == pytest.approx((40 - 11) / 200)
    stop.set()
    assert pacer.take(stop) == 0
