# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen becomes a verdict: pure functions. Times are seconds of one monotonic clock.

What makes a result INVALID rather than bad: too little was written for its silence to mean anything. The issue's words are "50 writes a
second or more (fewer makes the result invalid)". Counted are acknowledged writes. The rate is taken over the time outside of gaps (a gap is
a time of more than GAP_SECONDS without any acknowledgement), because a gap is a finding and not an idle checker; so that this is no way
out, a run that consists of gaps for more than half of its time is invalid as well. The rate over all of the time is reported beside it. With a
least rate of 0 neither makes a result invalid: for tests of the checker itself, which a busy machine must not fail.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

GAP_SECONDS = 0.25
MOST_GAP_SHARE = 0.5
HOLDS, VIOLATED, INVALID = "holds", "violated", "invalid"
EXIT_CODES = {HOLDS: 0, VIOLATED: 1, INVALID: 3}

_V4 = re.compile(r"(?<![\w.:])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_V6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w.])")


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without an acknowledgement, from `start` to `end`."""

    start: float
    end: float

    @property
    def milliseconds(self) -> int:
        return round((self.end - self.start) * 1000)


def gaps(acknowledged: Iterable[float], start: float, end: float, least: float = GAP_SECONDS) -> list[Gap]:
    """The times of more than `least` seconds without an acknowledgement, and the longest of all times whatever its length."""
    times = sorted(time for time in acknowledged if start <= time <= end)
    steps = [Gap(before, after) for before, after in zip([start, *times], [*times, end], strict=True)]
    longest = max(steps, key=lambda gap: gap.end - gap.start)
    return [gap for gap in steps if gap.end - gap.start > least or gap is longest]


class Presence:
    """When each member answered. One failed look is not a silence yet: the second one in a row makes it one, since the first."""

    def __init__(self) -> None:
        self.up: dict[str, list[list[float | None]]] = {}  # address: [[since, until or None], ...]
        self._failed: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def answered(self, address: str, at: float) -> None:
        self._failed.pop(address, None)
        self._last[address] = max(at, self._last.get(address, at))
        spans = self.up.setdefault(address, [])
        if not spans or spans[-1][1] is not None:
            spans.append([at, None])

    def failed(self, address: str, at: float, at_once: bool = False) -> None:
        """`at` is when the question was put. `at_once`: known to be gone, no second look is needed."""
        spans = self.up.get(address)
        if not spans or spans[-1][1] is not None or self._last[address] > at:
            return
        first = self._failed.setdefault(address, at)
        if at_once or first < at:
            spans[-1][1] = max(first, self._last[address])
            del self._failed[address]

    def answering(self) -> list[str]:
        return sorted(address for address, spans in self.up.items() if spans[-1][1] is None)


def down_times(up: Mapping[str, Sequence[Sequence[float | None]]], expected: int, start: float, end: float) -> list[Json]:
    """When fewer members than expected answered: {start, end, down, silent}; `silent` are those that had answered before."""
    moments = {start, end}
    for spans in up.values():
        for since, until in spans:
            moments |= {time for time in (since, until) if time is not None and start < time < end}
    found: list[Json] = []
    ordered = sorted(moments)
    for begin, finish in itertools.pairwise(ordered):
        now = {name for name, spans in up.items() if any(s is not None and s <= begin and (u is None or u > begin) for s, u in spans)}
        before = {name for name, spans in up.items() if spans and spans[0][0] is not None and spans[0][0] <= begin}
        down, silent = max(0, expected - len(now)), sorted(before - now)
        if not down:
            continue
        if found and found[-1]["end"] == begin and (found[-1]["down"], found[-1]["silent"]) == (down, silent):
            found[-1]["end"] = finish
        else:
            found.append({"start": begin, "end": finish, "down": down, "silent": silent})
    return found


def addresses_in(text: str) -> list[str]:
    """Every IP address in a text, each compared whole: 10.0.0.1 is not in "10.0.0.12"."""
    found = []
    for match in (*_V4.finditer(text), *_V6.finditer(text)):
        try:
            found.append(str(ipaddress.ip_address(match.group())))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def join_faults(join: Mapping[str, Mapping[str, str] | None], live: Iterable[str]) -> list[str]:
    """What is wrong with the ConfigMaps `<name>-join` (kube cluster: its data, None where it cannot be read)."""
    alive = {str(ipaddress.ip_address(address)) for address in live}
    faults = [f"kube cluster {kube}: there is no join list" for kube, data in sorted(join.items()) if data is None]
    read = {kube: data for kube, data in sorted(join.items()) if data is not None}
    for kube, data in read.items():
        if not any(addresses_in(value) for value in data.values()):
            faults.append(f"kube cluster {kube}: the join list names no address")
        for key, value in sorted(data.items()):
            faults += [
                f"kube cluster {kube}: {key} names {address}, and no live node has this address"
                for address in addresses_in(value)
                if address not in alive
            ]
    for key in sorted({key for data in read.values() for key in data}):
        if len({data.get(key) for data in read.values()}) > 1:
            faults.append(f"{key} differs between the kube clusters {', '.join(read)}")
    return faults


def compare(
    acknowledged: Iterable[int], attempted: int, expected_value: Any, read: Mapping[int, Sequence[str]]
) -> tuple[list[int], list[str]]:
    """(lost acknowledged numbers, values that nobody wrote) of one member's copy. Numbers are 1 to `attempted`; `expected_value(number)`
    is the text that was written. What has no known outcome may be there or not."""
    lost = sorted(number for number in acknowledged if expected_value(number) not in read.get(number, ()))
    made_up = []
    for number, values in sorted(read.items()):
        if not 1 <= number <= attempted:
            made_up.append(f"number {number} was never written")
        else:
            made_up += [f"number {number} has another value" for value in values if value != expected_value(number)]
    return lost, made_up


@dataclass
class Facts:
    """All that a run has seen."""

    least_rate: float
    most_down: int
    expected: int = 0  # members that have to answer
    ready: bool = False
    start: float = 0.0
    end: float = 0.0
    acknowledged: list[float] = field(default_factory=list)  # times
    up: Mapping[str, Sequence[Sequence[float | None]]] = field(default_factory=dict)
    cluster_ids: Mapping[str, Sequence[str]] = field(default_factory=dict)  # id: addresses that have told it
    lost: Mapping[str, Sequence[int]] = field(default_factory=dict)  # by reader
    made_up: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)  # reader: why it could not be read
    read_members: int = 0  # members from which everything was read
    join_faults: Sequence[str] = ()
    at_end: Mapping[str, int | None] = field(default_factory=dict)  # the system's own figures; None where nobody told one


def rates(facts: Facts) -> Json:
    seconds = facts.end - facts.start
    missing = sum(gap.end - gap.start for gap in gaps(facts.acknowledged, facts.start, facts.end) if gap.end - gap.start > GAP_SECONDS)
    count = sum(facts.start <= time <= facts.end for time in facts.acknowledged)
    outside = max(seconds - missing, 0.0)
    return {
        "seconds": round(seconds, 3),
        "gap_seconds": round(missing, 3),
        "rate": round(count / seconds, 2) if seconds > 0 else 0.0,
        "rate_outside_gaps": round(count / outside, 2) if outside > 0 else 0.0,
    }


def _some(items: Sequence[Any], most: int = 10) -> str:
    return ", ".join(str(item) for item in items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def judge(facts: Facts) -> tuple[str, list[str]]:
    """(holds, violated or invalid; why). Whatever is proven to be broken counts, also in a run that wrote too little."""
    broken: list[str] = []
    for reader, numbers in sorted(facts.lost.items()):
        if numbers:
            broken.append(f"{len(numbers)} acknowledged writes are lost, as read from {reader}: {_some(numbers)}")
    for reader, texts in sorted(facts.made_up.items()):
        if texts:
            broken.append(f"{len(texts)} values that nobody wrote, as read from {reader}: {_some(texts)}")
    if len(facts.cluster_ids) > 1:
        told = "; ".join(f"{identity} by {_some(sorted(who))}" for identity, who in sorted(facts.cluster_ids.items()))
        broken.append(f"{len(facts.cluster_ids)} cluster ids were seen: {told}")
    down = down_times(facts.up, facts.expected, facts.start, facts.end) if facts.ready else []
    worst = max((entry["down"] for entry in down), default=0)
    if worst > facts.most_down:
        broken.append(f"{worst} members were down at once, {facts.most_down} allowed")
    broken += facts.join_faults
    if facts.ready:
        broken += [f"not read back from {reader}: {why}" for reader, why in sorted(facts.unread.items())]
        if facts.read_members < facts.expected:
            broken.append(f"read back from {facts.read_members} members, {facts.expected} expected")
        if not facts.cluster_ids:
            broken.append("no member told its cluster id")
        broken += [
            f"{'no member told' if number is None else number} {name} at the end" for name, number in facts.at_end.items() if number != 0
        ]
    if broken:
        return VIOLATED, broken
    if not facts.ready:
        return INVALID, ["writes were never acknowledged through every member, so nothing was tested"]
    weak: list[str] = []
    if not facts.least_rate:
        return HOLDS, []
    rate = rates(facts)
    if rate["rate_outside_gaps"] < facts.least_rate:
        weak.append(f"{rate['rate_outside_gaps']} acknowledged writes a second outside of gaps, {facts.least_rate:g} needed")
    if rate["gap_seconds"] > MOST_GAP_SHARE * rate["seconds"]:
        weak.append(f"{rate['gap_seconds']} of {rate['seconds']} s are gaps without an acknowledged write")
    return (INVALID, weak) if weak else (HOLDS, [])
