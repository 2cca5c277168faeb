# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart of a rollout: where each step's bar begins and ends. Pure functions; roles/rollout/templates/rollout.html.j2 draws it.

There are two views, of which the page shows one: all members on one clock, and each member from its own first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .rollout_words import clock, count, duration
from .timeline import Interval, Json, Member, Span

# CSS class, name in the legend, what it means.
KINDS = {
    "own": ("own", "the play's own", "what the play itself does and asks; the aim is at most 10 s a member"),
    "vm": ("vm", "VM", "reboot or replacement of the VM"),
    "process": ("process", "process", "stop and start of the member's process"),
    "catch_up": ("catch", "catch-up", "the member joins and catches up with the others"),
    "soak": ("soak", "soak", "watching for a while whether all stays well"),
}
# A pause longer than this is drawn this long in the view where members lie side by side.
LONG_PAUSE_SECONDS = 15.0
_MOST_GAPS = 300
_MANY_MEMBERS = 6


def chart(members: Sequence[Member], gaps: Sequence[Interval]) -> Json:
    """What the template needs: {rows, ticks, legend, many, writes, long_pause, waiting}; `rows` is empty where no step was begun.

    A row: {member, id (of the member's steps), took, state, steps (all in words), bars}. A bar: {css, label, title, style}, its style numbers alone.
    """
    begun = [member for member in members if member.spans]
    if not begun:
        return {"rows": [], "waiting": _waiting(members)}
    start = min(span.begin for member in begun for span in member.spans)
    end = max(span.end for member in begun for span in member.spans)
    whole = max(end - start, 0.001)
    places = {member.name: _folded(member) for member in begun}
    longest = max(0.001, *(offset + length for spans in places.values() for offset, length in spans))
    drawn = sorted(sorted((gap for gap in gaps if gap[1] >= start and gap[0] <= end), key=lambda gap: gap[0] - gap[1])[:_MOST_GAPS])
    rows = [
        {
            "member": member.name,
            "id": f"steps-{index}",
            "took": duration(member.wall),
            "state": member.state,
            "steps": "; ".join(_in_words(span) for span in member.spans) if len(member.spans) <= 40 else count(len(member.spans), "step"),
            "bars": _bars(member, places[member.name], start, whole, longest, drawn),
        }
        for index, member in enumerate(members)
        if member.spans
    ]
    return {
        "rows": rows,
        "ticks": {"clock": _ticks(whole, start), "each": _ticks(longest, None)},
        "legend": _legend(bool(gaps), members),
        "many": len(begun) > _MANY_MEMBERS,
        "writes": _writes([_gap_bar(gap, start, whole, (0, 0, 1)) for gap in drawn], len(gaps)),
        "long_pause": f"{LONG_PAUSE_SECONDS:.0f}",
        "waiting": _waiting(members),
    }


def _writes(bars: Sequence[Json], gaps: int) -> Json:
    """The row of the gaps between writes; empty where none was measured."""
    if not gaps:
        return {}
    return {"bars": bars, "drawn": count(len(bars), "write gap"), "all": count(gaps, "gap"), "undrawn": gaps - len(bars)}


def _percent(part: float, whole: float) -> str:
    return f"{min(100.0, max(0.0, part / whole * 100)) if whole > 0 else 0.0:.3f}%"


def _folded(member: Member) -> list[tuple[float, float]]:
    """Offset and length of each span from the member's first step, with long pauses folded."""
    places: list[tuple[float, float]] = []
    folded = 0.0
    reached = origin = member.spans[0].begin
    for span in member.spans:
        folded += max(0.0, span.begin - reached - LONG_PAUSE_SECONDS)
        begin = span.begin - origin - folded
        shown = min(span.seconds, LONG_PAUSE_SECONDS) if span.state == "interrupted" else span.seconds
        folded += span.seconds - shown
        places.append((max(0.0, begin), shown))
        reached = max(reached, span.end)
    return places


def _bar(css: str, label: str, title: str, on_clock: tuple[float, float, float], each: tuple[float, float, float]) -> Json:
    """A bar; `on_clock` and `each` give offset, length and the whole in seconds, for the two views."""
    places = (("cl", on_clock[0], on_clock[2]), ("cw", on_clock[1], on_clock[2]), ("al", each[0], each[2]), ("aw", each[1], each[2]))
    style = ";".join(f"--{name}:{_percent(part, whole)}" for name, part, whole in places)
    return {"css": css, "label": label, "title": title, "style": style}


def _ticks(seconds: float, start: float | None) -> list[Json]:
    ticks = []
    for quarter in range(0, 5, 2):
        at = seconds * quarter / 4
        label = clock(start + at) if start is not None else f"{at:.0f} s" if seconds < 600 else f"{at / 60:.0f} min"
        ticks.append({"label": label, "percent": quarter * 25})
    return ticks


def _in_words(span: Span) -> str:
    state = {"done": "", "failed": ", failed", "interrupted": ", cut off", "open": ", end not known"}[span.state]
    return f"{span.step}{state}: {duration(span.seconds)}, {clock(span.begin)} to {clock(span.end)} UTC"


def _gap_bar(gap: Interval, start: float, whole: float, each: tuple[float, float, float]) -> Json:
    begin = max(gap[0], start)
    title = f"write gap: {(gap[1] - gap[0]) * 1000:,.0f} ms from {clock(gap[0])} UTC"
    return _bar("gap", "", title, (begin - start, gap[1] - begin, whole), each)


def _bars(
    member: Member, places: Sequence[tuple[float, float]], start: float, whole: float, longest: float, gaps: Sequence[Interval]
) -> list[Json]:
    bars = []
    reached, shown = member.spans[0].begin, 0.0
    for span, (offset, length) in zip(member.spans, places, strict=True):
        if span.begin - reached > 0.05:
            pause = f"between steps: {duration(span.begin - reached)}, {clock(reached)} to {clock(span.begin)} UTC"
            # Only a pause within the member's own work: the one before its first step lies outside of its bars.
            bars.append(_bar("between", "", pause, (reached - start, span.begin - reached, whole), (shown, offset - shown, longest)))
        css = {"failed": "bad", "interrupted": "lost"}.get(span.state, KINDS[span.kind][0])
        label = f"✗ {span.step}" if span.state == "failed" else f"? {span.step}" if span.state in ("open", "interrupted") else span.step
        bars.append(
            _bar(css, label, f"{member.name} {_in_words(span)}", (span.begin - start, span.seconds, whole), (offset, length, longest))
        )
        reached, shown = max(reached, span.end), max(shown, offset + length)
    for gap in gaps:
        for span, (offset, length) in zip(member.spans, places, strict=True):
            if span.begin <= gap[0] < span.end and span.state != "interrupted":
                bars.append(_gap_bar(gap, start, whole, (offset + gap[0] - span.begin, min(gap[1] - gap[0], length), longest)))
                break
    return bars


def _legend(gaps: bool, members: Sequence[Member]) -> list[Json]:
    states = {span.state for member in members for span in member.spans}
    entries = [(css, f"{name}: {meaning}") for css, name, meaning in KINDS.values()]
    if "failed" in states:
        entries.append(("bad", "✗ failed"))
    if "interrupted" in states:
        entries.append(("lost", "? cut off: the run was killed or lost"))
    if gaps:
        entries.append(("gap", "| write gap"))
    return [{"css": css, "text": text} for css, text in entries]


def _waiting(members: Sequence[Member]) -> list[str]:
    """Members without bars: those that wait, and those whose steps a long journal has forgotten."""
    groups = {
        "Not begun": "waiting",
        "Done, and their steps are no longer in the journal": "done",
        "In hand, without a step yet": "in flight",
    }
    found: list[str] = []
    for words, state in groups.items():
        names: list[Any] = [member.name for member in members if not member.spans and member.state == state]
        if names:
            found.append(f"{words} ({len(names)}): {', '.join(names)}")
    return found
