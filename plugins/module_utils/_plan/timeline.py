# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout's journal tells: seconds by step, and whose seconds they were.

Pure functions of the journal. They take whatever they are given: an unfinished run, one that was killed and went on, a step
without an end. What the journal does not hold is left out or called unknown, never guessed.

A step that was begun and has no end, while a later one was begun, was cut off by a kill at a time that nobody wrote down.
The time up to the next begin is called interrupted; it belongs to nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeAlias

from .rollout_words import text as plain
from .steps import TABLE

Json: TypeAlias = dict[str, Any]
Interval: TypeAlias = tuple[float, float]

# Steps whose time is not the play's own, and whose it is. Every other step, and the time between steps, is the play's own.
NOT_OWN = {step.name: step.time for step in TABLE if step.time != "own"}
# Whose time that is.
OTHERS = ("vm", "process", "catch_up", "soak")
# Whose step it is that belongs to no member.
RUN = "(the run)"


@dataclass(frozen=True)
class Span:
    """One entry of `steps`. `begin` and `end` are seconds since 1970; `state`: done, failed, interrupted or open (no later news)."""

    member: str
    step: str
    state: str
    begin: float
    end: float
    detail: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def kind(self) -> str:
        return NOT_OWN.get(self.step, "own")


@dataclass(frozen=True)
class Member:
    """A member's part of the run; `between` are the pauses before its steps, `state`: done, in flight, begun or waiting."""

    name: str
    kind: str
    state: str
    spans: tuple[Span, ...]
    between: tuple[Interval, ...]

    @property
    def wall(self) -> float:
        return length_of([*((span.begin, span.end) for span in self.spans), *self.between])

    @property
    def not_own(self) -> float:
        return length_of((span.begin, span.end) for span in self.spans if span.kind != "own" or span.state == "interrupted")

    def seconds_of(self, kind: str) -> float:
        return sum(span.seconds for span in self.spans if span.kind == kind and span.state != "interrupted")


def summary(journal: Mapping[str, Any], name: str = "") -> Json:
    """Seconds of a run, by member and by step.

    Returns {deployment, run_id, work, what, state, started_at, ended_at, seconds, members: [...], steps: {...}}. `seconds` is from
    the run's start to the last time that the journal knows. Of `members`, those that have a step, in the order in which they
    were begun: {member, class, state, seconds, own, between, interrupted, vm, process, catch_up, soak, steps: {name: seconds}}.
    `own` = `seconds` less the steps of NOT_OWN and less what was interrupted; it contains `between`, the time between steps, which
    counts for the member whose step ended it. Of `steps`: {name: {times, seconds, median, longest, member, own}}. In seconds, to the
    millisecond; nulls where the journal knows no time. `name` is the deployment's, for a journal that does not tell it. Raises
    ValueError when `journal` is not a document at all.
    """
    require(journal)
    members = [member for member in members_of(journal) if member.spans]
    start, end = bounds(journal)
    return {
        "deployment": name or deployment_of(journal),
        **{key: plain(journal.get(key)) for key in ("run_id", "work", "what", "state", "started_at", "ended_at")},
        "seconds": None if start is None or end is None else round(end - start, 3),
        "members": [figures(member) for member in members],
        "steps": figures_of_steps(journal),
    }


def require(journal: object) -> None:
    """Raises ValueError where this is no journal."""
    if not isinstance(journal, Mapping):
        raise ValueError("the journal of a rollout is a dictionary, and this is none: give hostnet_journal or the exported file")


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    """The value where it is a list; else an empty one."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def moment(value: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 time or a number; None for everything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        # What datetime can show.
        return float(value) if 0 <= value < 32503680000 else None
    try:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def spans_of(journal: Mapping[str, Any]) -> list[Span]:
    """All steps in the order of their begin. One without a readable time begins where the one before it did."""
    found: list[tuple[float, int, Mapping[str, Any], float | None]] = []
    last = moment(journal.get("started_at")) or 0.0
    for index, entry in enumerate(listed(journal.get("steps"))):
        step = mapping(entry)
        end = moment(step.get("ended_at"))
        begin = moment(step.get("began_at"))
        last = begin if begin is not None else end if end is not None else last
        found.append((last, index, step, end))
    found.sort(key=lambda item: item[:2])
    spans = []
    for index, (begin, _index, step, told) in enumerate(found):
        state, ended = plain(step.get("state")), told
        if state not in ("done", "failed"):
            state, ended = ("interrupted", found[index + 1][0]) if index + 1 < len(found) else ("open", told)
        elif state == "failed" and mapping(step.get("detail")).get("interrupted"):
            # That is how the journal closes a step that was begun again: `ended_at` is the time of the new begin.
            state = "interrupted"
        # A controller's clock may be set back while it runs; no bar is shorter than nothing.
        finish = max(begin, begin if ended is None else ended)
        spans.append(
            Span(plain(step.get("member")) or RUN, plain(step.get("step")) or "unnamed", state, begin, finish, mapping(step.get("detail")))
        )
    return spans


def members_of(journal: Mapping[str, Any]) -> list[Member]:
    """Members in the order in which they were begun, then those that wait."""
    spans = spans_of(journal)
    mine: dict[str, list[Span]] = {}
    between: dict[str, list[Interval]] = {}
    reached = spans[0].begin if spans else 0.0
    for span in spans:
        mine.setdefault(span.member, []).append(span)
        if span.begin > reached:
            between.setdefault(span.member, []).append((reached, span.begin))
        reached = max(reached, span.end)
    current = mapping(journal.get("member"))
    flying = plain(current.get("member"))
    finished = {plain(name) for name in listed(journal.get("done"))}
    names = dict.fromkeys([*mine, *([flying] if flying else []), *(plain(name) for name in listed(journal.get("order")))])

    def state_of(name: str) -> str:
        if name == flying and plain(journal.get("state")) != "done":
            return "in flight"
        return "done" if name in finished else "begun" if name in mine else "waiting"

    return [
        Member(
            name,
            plain(current.get("class")) if name == flying else _class_of(mine.get(name, [])),
            state_of(name),
            tuple(mine.get(name, ())),
            tuple(between.get(name, ())),
        )
        for name in names
    ]


def _class_of(spans: Iterable[Span]) -> str:
    return next((plain(span.detail["class"]) for span in spans if span.detail.get("class")), "")


def length_of(intervals: Iterable[Interval]) -> float:
    """Seconds that the intervals cover together; what overlaps counts once."""
    total, reached = 0.0, -math.inf
    for begin, end in sorted(intervals):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


def bounds(journal: Mapping[str, Any]) -> tuple[float | None, float | None]:
    spans = spans_of(journal)
    times = [time for span in spans for time in (span.begin, span.end) if time > 0]
    start, end = moment(journal.get("started_at")), moment(journal.get("ended_at"))
    starts = [start] if start is not None else []
    begin = min([*starts, *times], default=None)
    return begin, max([*([end] if end is not None else []), *starts, *times], default=None)


def figures(member: Member) -> Json:
    steps: dict[str, float] = {}
    for span in member.spans:
        steps[span.step] = steps.get(span.step, 0.0) + span.seconds
    return {
        "member": member.name,
        "class": member.kind,
        "state": member.state,
        "seconds": round(member.wall, 3),
        "own": round(max(0.0, member.wall - member.not_own), 3),
        "between": round(length_of(member.between), 3),
        "interrupted": round(sum(span.seconds for span in member.spans if span.state == "interrupted"), 3),
        **{kind: round(member.seconds_of(kind), 3) for kind in OTHERS},
        "steps": {step: round(seconds, 3) for step, seconds in steps.items()},
    }


def figures_of_steps(journal: Mapping[str, Any]) -> Json:
    by_step: dict[str, list[Span]] = {}
    for span in spans_of(journal):
        if span.state != "interrupted":
            by_step.setdefault(span.step, []).append(span)
    figures = {}
    for step, spans in by_step.items():
        longest = max(spans, key=lambda span: span.seconds)
        figures[step] = {
            "times": len(spans),
            "seconds": round(sum(span.seconds for span in spans), 3),
            "median": round(median(span.seconds for span in spans), 3),
            "longest": round(longest.seconds, 3),
            "member": longest.member,
            "own": step not in NOT_OWN,
        }
    return figures


def gaps_of(gaps: object) -> list[Interval]:
    found = []
    for gap in listed(gaps):
        begin, length = moment(mapping(gap).get("time")), mapping(gap).get("gap_ms")
        if begin is None or isinstance(length, bool):
            continue
        try:
            seconds = float(length) / 1000  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if 0 <= seconds < 1e8:
            found.append((begin, begin + seconds))
    return sorted(found)


def deployment_of(journal: Mapping[str, Any]) -> str:
    settings = mapping(journal.get("settings"))
    found = (journal.get("deployment"), journal.get("name"), settings.get("hostnet_name"), settings.get("name"))
    return next((plain(name) for name in found if name), "deployment")
