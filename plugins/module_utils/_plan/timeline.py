# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout's journal tells: seconds by step, whose seconds they were, and a page for whoever is called at night.

Pure functions of the journal. They take whatever they are given: an unfinished run, one that was killed and went on, a step
without an end. What the journal does not hold is left out or called unknown, never guessed.

A step that was begun and has no end, while a later one was begun, was cut off by a kill at a time that nobody wrote down.
The time up to the next begin is called interrupted; it belongs to nobody.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, TypeAlias

from .page import Markup, document, join, table, tag, void
from .page import text as plain
from .steps import TABLE, WORKS_OF_UPGRADE

Json: TypeAlias = dict[str, Any]
Interval: TypeAlias = tuple[float, float]

# Steps whose time is not the play's own, and whose it is. Every other step, and the time between steps, is the play's own.
NOT_OWN = {step.name: step.time for step in TABLE if step.time != "own"}
# What each step does, for those who did not write it. Older versions noted their looking as a step.
_STEPS = {"observe": "looks at every member, node and object", **{step.name: step.text for step in TABLE}}
# CSS class, name in the legend, what it means.
_KINDS = {
    "own": ("own", "the play's own", "what the play itself does and asks; the aim is at most 10 s a member"),
    "vm": ("vm", "VM", "reboot or replacement of the VM"),
    "process": ("process", "process", "stop and start of the member's process"),
    "catch_up": ("catch", "catch-up", "the member joins and catches up with the others"),
    "soak": ("soak", "soak", "watching for a while whether all stays well"),
}
# A pause longer than this is drawn this long in the view where members lie side by side.
_LONG_PAUSE_SECONDS = 15.0
_MOST_GAPS = 300
_MOST_GAP_ROWS = 20
_MOST_DETAIL = 800
_MANY_MEMBERS = 6
_SPECIAL_DETAIL = frozenset({"join_before", "join_after", "certificates", "issued", "interrupted"})
# The journal takes no key that is named like a certificate, so the rollout may call them `issued`.
_CERTIFICATES = ("certificates", "issued")
_MESSAGES = ("msg", "message", "error", "reason", "blocked", "missing")
_RUN = "(the run)"


@dataclass(frozen=True)
class _Span:
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
class _Member:
    """A member's part of the run; `between` are the pauses before its steps, `state`: done, in flight, begun or waiting."""

    name: str
    kind: str
    state: str
    spans: tuple[_Span, ...]
    between: tuple[Interval, ...]

    @property
    def wall(self) -> float:
        return _length([*((span.begin, span.end) for span in self.spans), *self.between])

    @property
    def not_own(self) -> float:
        return _length((span.begin, span.end) for span in self.spans if span.kind != "own" or span.state == "interrupted")

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
    _require(journal)
    members = [member for member in _members(journal) if member.spans]
    start, end = _bounds(journal)
    return {
        "deployment": name or _deployment(journal),
        **{key: plain(journal.get(key)) for key in ("run_id", "work", "what", "state", "started_at", "ended_at")},
        "seconds": None if start is None or end is None else round(end - start, 3),
        "members": [_figures(member) for member in members],
        "steps": _steps(journal),
    }


def html(journal: Mapping[str, Any], gaps: Sequence[Mapping[str, Any]] = (), name: str = "") -> str:
    """The page about a run: one file of HTML that needs nothing else.

    `gaps`: [{time, gap_ms}], `time` (RFC 3339, or seconds since 1970) is when the gap began; [] when nothing was measured. `name` is
    the deployment's, for a journal that does not tell it. Raises ValueError when `journal` is not a document at all.
    """
    _require(journal)
    members = _members(journal)
    known = _gaps(gaps)
    name = name or _deployment(journal)
    parts: list[Markup | None] = [
        _headline(journal, name),
        _verdict(journal, members),
        _facts(journal, members, known),
        _problems(journal),
        _resume(journal),
        _chart(members, known),
        _own_seconds(members),
        _step_seconds(journal),
        _join_lists(members),
        _certificates(members),
        _write_gaps(journal, known),
        _settings(journal),
        _every_step(journal, members),
        tag("p", "All times are UTC. Made from the journal of the run alone.", class_="faint"),
    ]
    return document(f"{name}: {_what(journal)}, {_state(journal)}", *(part for part in parts if part is not None))


# What the journal says


def _require(journal: object) -> None:
    if not isinstance(journal, Mapping):
        raise ValueError("the journal of a rollout is a dictionary, and this is none: give hostnet_journal or the exported file")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def _seconds(value: object) -> float | None:
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


def _spans(journal: Mapping[str, Any]) -> list[_Span]:
    """All steps in the order of their begin. One without a readable time begins where the one before it did."""
    found: list[tuple[float, int, Mapping[str, Any], float | None]] = []
    last = _seconds(journal.get("started_at")) or 0.0
    for index, entry in enumerate(_list(journal.get("steps"))):
        step = _mapping(entry)
        end = _seconds(step.get("ended_at"))
        begin = _seconds(step.get("began_at"))
        last = begin if begin is not None else end if end is not None else last
        found.append((last, index, step, end))
    found.sort(key=lambda item: item[:2])
    spans = []
    for index, (begin, _index, step, told) in enumerate(found):
        state, ended = plain(step.get("state")), told
        if state not in ("done", "failed"):
            state, ended = ("interrupted", found[index + 1][0]) if index + 1 < len(found) else ("open", told)
        elif state == "failed" and _mapping(step.get("detail")).get("interrupted"):
            # That is how the journal closes a step that was begun again: `ended_at` is the time of the new begin.
            state = "interrupted"
        # A controller's clock may be set back while it runs; no bar is shorter than nothing.
        finish = max(begin, begin if ended is None else ended)
        spans.append(
            _Span(
                plain(step.get("member")) or _RUN, plain(step.get("step")) or "unnamed", state, begin, finish, _mapping(step.get("detail"))
            )
        )
    return spans


def _members(journal: Mapping[str, Any]) -> list[_Member]:
    """Members in the order in which they were begun, then those that wait."""
    spans = _spans(journal)
    mine: dict[str, list[_Span]] = {}
    between: dict[str, list[Interval]] = {}
    reached = spans[0].begin if spans else 0.0
    for span in spans:
        mine.setdefault(span.member, []).append(span)
        if span.begin > reached:
            between.setdefault(span.member, []).append((reached, span.begin))
        reached = max(reached, span.end)
    current = _mapping(journal.get("member"))
    flying = plain(current.get("member"))
    finished = {plain(name) for name in _list(journal.get("done"))}
    names = dict.fromkeys([*mine, *([flying] if flying else []), *(plain(name) for name in _list(journal.get("order")))])

    def state_of(name: str) -> str:
        if name == flying and plain(journal.get("state")) != "done":
            return "in flight"
        return "done" if name in finished else "begun" if name in mine else "waiting"

    return [
        _Member(
            name,
            plain(current.get("class")) if name == flying else _class_of(mine.get(name, [])),
            state_of(name),
            tuple(mine.get(name, ())),
            tuple(between.get(name, ())),
        )
        for name in names
    ]


def _class_of(spans: Iterable[_Span]) -> str:
    return next((plain(span.detail["class"]) for span in spans if span.detail.get("class")), "")


def _length(intervals: Iterable[Interval]) -> float:
    """Seconds that the intervals cover together; what overlaps counts once."""
    total, reached = 0.0, -math.inf
    for begin, end in sorted(intervals):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


def _bounds(journal: Mapping[str, Any]) -> tuple[float | None, float | None]:
    spans = _spans(journal)
    times = [time for span in spans for time in (span.begin, span.end) if time > 0]
    start, end = _seconds(journal.get("started_at")), _seconds(journal.get("ended_at"))
    starts = [start] if start is not None else []
    begin = min([*starts, *times], default=None)
    return begin, max([*([end] if end is not None else []), *starts, *times], default=None)


def _figures(member: _Member) -> Json:
    steps: dict[str, float] = {}
    for span in member.spans:
        steps[span.step] = steps.get(span.step, 0.0) + span.seconds
    return {
        "member": member.name,
        "class": member.kind,
        "state": member.state,
        "seconds": round(member.wall, 3),
        "own": round(max(0.0, member.wall - member.not_own), 3),
        "between": round(_length(member.between), 3),
        "interrupted": round(sum(span.seconds for span in member.spans if span.state == "interrupted"), 3),
        **{kind: round(member.seconds_of(kind), 3) for kind in _KINDS if kind != "own"},
        "steps": {step: round(seconds, 3) for step, seconds in steps.items()},
    }


def _steps(journal: Mapping[str, Any]) -> Json:
    by_step: dict[str, list[_Span]] = {}
    for span in _spans(journal):
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


def _gaps(gaps: object) -> list[Interval]:
    found = []
    for gap in _list(gaps):
        begin, length = _seconds(_mapping(gap).get("time")), _mapping(gap).get("gap_ms")
        if begin is None or isinstance(length, bool):
            continue
        try:
            seconds = float(length) / 1000  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if 0 <= seconds < 1e8:
            found.append((begin, begin + seconds))
    return sorted(found)


def _deployment(journal: Mapping[str, Any]) -> str:
    settings = _mapping(journal.get("settings"))
    found = (journal.get("deployment"), journal.get("name"), settings.get("hostnet_name"), settings.get("name"))
    return next((plain(name) for name in found if name), "deployment")


def _what(journal: Mapping[str, Any]) -> str:
    return plain(journal.get("what") or journal.get("work") or "rollout")


def _state(journal: Mapping[str, Any]) -> str:
    return {"done": "done", "aborted": "aborted", "in_flight": "not finished"}.get(plain(journal.get("state")), "state unknown")


# How it is said


def _clock(seconds: float | None, day: bool = False) -> str:
    if not seconds:
        return "unknown"
    # Milliseconds are cut off, so that no time is shown before it came.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _json(value: object, most: int = _MOST_DETAIL) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= most else f"{said[:most]} ... ({len(said) - most} more characters in the journal)"


def _message(span: _Span) -> str:
    said = next((span.detail[key] for key in _MESSAGES if span.detail.get(key)), None)
    if said is None:
        rest = {key: value for key, value in span.detail.items() if key not in _SPECIAL_DETAIL}
        return _json(rest, 4000) if rest else "the journal holds no reason; see the output of the run"
    if all(isinstance(part, str) for part in _list(said)) and _list(said):
        said = "\n".join(_list(said))
    return _json(said, 4000)


def _section(heading: str, *children: object) -> Markup:
    return tag("section", tag("h2", heading), *children)


def _headline(journal: Mapping[str, Any], name: str) -> Markup:
    start, end = _bounds(journal)
    words = [f"{_clock(start, day=True)} to {_clock(end, day=_clock(start, day=True)[:10] != _clock(end, day=True)[:10])} UTC"]
    if start is not None and end is not None:
        words.append(_duration(end - start))
    run = journal.get("run_id")
    controller = journal.get("controller")
    return tag(
        "header",
        tag("h1", f"{name}: {_what(journal)}"),
        tag("p", "Run ", tag("code", run if run else "unknown"), f" · {' · '.join(words)}"),
        tag("p", f"Controller: {_controller(controller)}", class_="faint") if controller else "",
    )


def _controller(controller: object) -> str:
    found = dict(_mapping(controller))
    if not found.get("host"):
        return _json(controller, 300)
    who = "@".join(plain(found.pop(key)) for key in ("user", "host") if found.get(key))
    return ", ".join([who, *(f"{plain(key)} {_json(value, 100)}" for key, value in found.items())])


def _verdict(journal: Mapping[str, Any], members: Sequence[_Member]) -> Markup:
    state = plain(journal.get("state"))
    named = [member for member in members if member.name != _RUN]
    done = f"{sum(member.state == 'done' for member in named)} of {_count(len(named), 'member')} done"
    spans = _spans(journal)
    failures = sum(span.state == "failed" for span in spans)
    failed = f", {_count(failures, 'step')} failed on the way" if failures else ", no step failed"
    if state == "done":
        return tag("p", tag("strong", "✓ Done."), f"{done}{failed}.", class_="verdict good")
    where = ""
    if spans:
        last = spans[-1]
        how = {"failed": "failed", "done": "was done"}.get(last.state, "was begun, its end is not known")
        where = f" The last news: step {last.step} of {last.member} {how} at {_clock(last.end)} UTC."
    if state == "aborted":
        return tag("p", tag("strong", "■ Aborted."), f"{done}{failed}.{where}", class_="verdict warn")
    word = "✗ Not finished." if state == "in_flight" else "? State unknown."
    return tag("p", tag("strong", word), f"{done}{failed}.{where}", class_="verdict bad")


def _facts(journal: Mapping[str, Any], members: Sequence[_Member], gaps: Sequence[Interval]) -> Markup:
    own = [_figures(member)["own"] for member in members if member.spans and member.name != _RUN]
    facts = {
        "Members done": f"{sum(member.state == 'done' for member in members)} of {sum(member.name != _RUN for member in members)}",
        "Play's own time a member": f"{median(own):.1f} s, at most {max(own):.1f} s" if own else "none yet",
        "Failed steps": sum(span.state == "failed" for span in _spans(journal)),
        "Certificates issued": sum(not _kept(certificate) for _member, _name, certificate in _issued(members)),
        "Longest write gap": f"{max(end - begin for begin, end in gaps) * 1000:,.0f} ms" if gaps else "not measured",
    }
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items()), class_="facts")


def _problems(journal: Mapping[str, Any]) -> Markup | None:
    spans = _spans(journal)
    last = {(span.member, span.step): span for span in spans}
    items = []
    for span in spans:
        if span.state not in ("failed", "interrupted"):
            continue
        after = last[span.member, span.step]
        over = after is not span and after.state == "done"
        then = f" It was done later, at {_clock(after.end)}." if over else ""
        if span.state == "failed":
            said = [
                tag("strong", f"{_clock(span.end)} UTC, {span.member}: the step {span.step} failed."),
                _purpose(span),
                then,
                tag("pre", _message(span)),
            ]
        else:
            cut = f"the step {span.step} was cut off, because the run was killed or lost."
            said = [
                tag("strong", f"{_clock(span.begin)} UTC, {span.member}: {cut}"),
                f" Something was begun next at {_clock(span.end)}.",
                then,
            ]
        items.append(tag("li", *said, class_="over" if over else None))
    return _section("What went wrong", tag("ul", *items, class_="problems")) if items else None


def _purpose(span: _Span) -> str:
    return f" (It {_STEPS[span.step]}.)" if span.step in _STEPS else ""


def _playbook(journal: Mapping[str, Any]) -> str:
    words = f"{plain(journal.get('what'))} {plain(journal.get('work'))}"
    if "repair" in words:
        return "playbooks/repair.yml"
    if "scale" in words:
        return "playbooks/scale_down.yml"
    work = next((work for work in WORKS_OF_UPGRADE if work in words), "")
    return f"playbooks/upgrade.yml{f' -e hostnet_work={work}' if work else ''}"


def _resume(journal: Mapping[str, Any]) -> Markup | None:
    saved = _mapping(journal.get("saved"))
    state = plain(journal.get("state"))
    left = tag(
        "p", "Settings of the system that were changed for the rollout, with the values that will be put back: ", tag("code", _json(saved))
    )
    if state == "done":
        # A run that says done has put everything back, so this is worth being told.
        return _section("What is left to do", left) if saved else None
    command = f"ansible-playbook -i INVENTORY {_playbook(journal)}"
    run = shlex.quote(plain(journal.get("run_id")) or "RUN")
    flying = plain(_mapping(journal.get("member")).get("member"))
    finish = (
        f"It looks at everything anew and finishes {flying} first."
        if flying
        else "It looks at everything anew and goes on where this stopped."
    )
    if state == "aborted":
        return _section(
            "How to go on", tag("p", "Start the rollout again with its own settings:"), tag("pre", command), left if saved else ""
        )
    return _section(
        "How to go on",
        tag("p", "Run the same playbook again, with the same inventory and variables. ", finish),
        tag("pre", command),
        tag("p", "If it is refused because the lock is held by this run, and this run is certainly dead:"),
        tag("pre", f"{command} -e hostnet_take_over={run}"),
        tag("p", "To stop before the next destructive step, and put settings, cordons and budgets back:"),
        tag("pre", f"{command} -e hostnet_abort=true"),
        left if saved else "",
    )


# The chart


def _percent(part: float, whole: float) -> str:
    return f"{min(100.0, max(0.0, part / whole * 100)) if whole > 0 else 0.0:.3f}%"


def _folded(member: _Member) -> list[tuple[float, float]]:
    """Offset and length of each span from the member's first step, with long pauses folded."""
    places: list[tuple[float, float]] = []
    folded = 0.0
    reached = origin = member.spans[0].begin
    for span in member.spans:
        folded += max(0.0, span.begin - reached - _LONG_PAUSE_SECONDS)
        begin = span.begin - origin - folded
        shown = min(span.seconds, _LONG_PAUSE_SECONDS) if span.state == "interrupted" else span.seconds
        folded += span.seconds - shown
        places.append((max(0.0, begin), shown))
        reached = max(reached, span.end)
    return places


def _bar(kind: str, label: str, title: str, clock: tuple[float, float, float], each: tuple[float, float, float]) -> Markup:
    """A bar; `clock` and `each` give offset, length and the whole in seconds, for the two views."""
    places = (("cl", clock[0], clock[2]), ("cw", clock[1], clock[2]), ("al", each[0], each[2]), ("aw", each[1], each[2]))
    style = ";".join(f"--{name}:{_percent(part, whole)}" for name, part, whole in places)
    return tag("span", tag("b", label), class_=f"bar {kind}{' short' if len(label) <= 5 else ''}", style=style, title=title)


def _ticks(seconds: float, start: float | None) -> list[Markup]:
    ticks = []
    for quarter in range(0, 5, 2):
        at = seconds * quarter / 4
        label = _clock(start + at) if start is not None else f"{at:.0f} s" if seconds < 600 else f"{at / 60:.0f} min"
        ticks.append(tag("span", label, style=f"--c:{quarter * 25}%", class_="middle" if quarter == 2 else None))
    return ticks


def _span_words(span: _Span) -> str:
    state = {"done": "", "failed": ", failed", "interrupted": ", cut off", "open": ", end not known"}[span.state]
    return f"{span.step}{state}: {_duration(span.seconds)}, {_clock(span.begin)} to {_clock(span.end)} UTC"


def _chart(members: Sequence[_Member], gaps: Sequence[Interval]) -> Markup:
    if not any(member.spans for member in members):
        return _section("Members over time", tag("p", "No step was begun."), _waiting(members))
    start = min(span.begin for member in members for span in member.spans)
    end = max(span.end for member in members for span in member.spans)
    whole = max(end - start, 0.001)
    places = {member.name: _folded(member) for member in members if member.spans}
    longest = max(0.001, *(offset + length for spans in places.values() for offset, length in spans))
    drawn = sorted(sorted((gap for gap in gaps if gap[1] >= start and gap[0] <= end), key=lambda gap: gap[0] - gap[1])[:_MOST_GAPS])
    rows = []
    if gaps:
        marks = [_gap_bar(gap, start, whole, (0, 0, 1)) for gap in drawn]
        said = tag("span", f"{_count(len(drawn), 'write gap')} in this time", class_="unseen")
        rows.append(_row("writes", _count(len(gaps), "gap"), [*marks, said], class_="writes"))
    details = {member.name: f"steps-{index}" for index, member in enumerate(members) if member.spans}
    for member in members:
        if member.spans:
            bars = _bars(member, places[member.name], start, whole, longest, drawn)
            steps = "; ".join(_span_words(span) for span in member.spans) if len(member.spans) <= 40 else _count(len(member.spans), "step")
            who = tag("a", member.name, href=f"#{details[member.name]}")
            rows.append(_row(who, _duration(member.wall), [*bars, tag("span", f"{member.state}. {steps}", class_="unseen")]))
    head = tag(
        "tr",
        tag("th", "member", scope="col", class_="who"),
        tag(
            "th",
            tag("span", "time", class_="unseen"),
            tag("span", *_ticks(whole, start), class_="axis clock"),
            tag("span", *_ticks(longest, None), class_="axis each"),
            scope="col",
            class_="track-cell",
        ),
        tag("th", "took", scope="col", class_="took number"),
    )
    chart = tag("table", tag("caption", "Steps of each member over time", class_="unseen"), tag("thead", head), tag("tbody", *rows))
    many = len(places) > _MANY_MEMBERS
    note = f"; {len(gaps) - len(drawn)} shorter or outside ones are not drawn" if len(gaps) > len(drawn) else ""
    return _section(
        "Members over time",
        tag("ul", *_legend(bool(gaps), members), class_="legend"),
        void("input", type="radio", name="view", id="clock", class_="views", checked=not many),
        tag("label", "on one clock (UTC)", for_="clock"),
        void("input", type="radio", name="view", id="each", class_="views", checked=many),
        tag("label", "each member from its own start", for_="each"),
        tag("p", "Point at a bar for its times; the name of a member leads to all of its steps.", note, class_="faint clock"),
        tag(
            "p",
            f"Each bar begins at its member's first step. Pauses over {_LONG_PAUSE_SECONDS:.0f} s are drawn shorter.",
            class_="faint each",
        ),
        tag("div", chart, class_="chart"),
        _waiting(members),
    )


def _row(who: object, took: str, track: Sequence[Markup], class_: str | None = None) -> Markup:
    cell = tag("td", tag("span", *track, class_="track"), class_="track-cell")
    return tag("tr", tag("th", who, scope="row", class_="who"), cell, tag("td", took, class_="took number"), class_=class_)


def _gap_bar(gap: Interval, start: float, whole: float, each: tuple[float, float, float]) -> Markup:
    begin = max(gap[0], start)
    title = f"write gap: {(gap[1] - gap[0]) * 1000:,.0f} ms from {_clock(gap[0])} UTC"
    return _bar("gap", "", title, (begin - start, gap[1] - begin, whole), each)


def _bars(
    member: _Member, places: Sequence[tuple[float, float]], start: float, whole: float, longest: float, gaps: Sequence[Interval]
) -> list[Markup]:
    bars = []
    reached, shown = member.spans[0].begin, 0.0
    for span, (offset, length) in zip(member.spans, places, strict=True):
        if span.begin - reached > 0.05:
            pause = f"between steps: {_duration(span.begin - reached)}, {_clock(reached)} to {_clock(span.begin)} UTC"
            # Only a pause within the member's own work: the one before its first step lies outside of its bars.
            bars.append(_bar("between", "", pause, (reached - start, span.begin - reached, whole), (shown, offset - shown, longest)))
        kind = {"failed": "bad", "interrupted": "lost"}.get(span.state, _KINDS[span.kind][0])
        label = f"✗ {span.step}" if span.state == "failed" else f"? {span.step}" if span.state in ("open", "interrupted") else span.step
        bars.append(
            _bar(kind, label, f"{member.name} {_span_words(span)}", (span.begin - start, span.seconds, whole), (offset, length, longest))
        )
        reached, shown = max(reached, span.end), max(shown, offset + length)
    for gap in gaps:
        for span, (offset, length) in zip(member.spans, places, strict=True):
            if span.begin <= gap[0] < span.end and span.state != "interrupted":
                bars.append(_gap_bar(gap, start, whole, (offset + gap[0] - span.begin, min(gap[1] - gap[0], length), longest)))
                break
    return bars


def _legend(gaps: bool, members: Sequence[_Member]) -> list[Markup]:
    states = {span.state for member in members for span in member.spans}
    entries = [(css, f"{name}: {meaning}") for css, name, meaning in _KINDS.values()]
    if "failed" in states:
        entries.append(("bad", "✗ failed"))
    if "interrupted" in states:
        entries.append(("lost", "? cut off: the run was killed or lost"))
    if gaps:
        entries.append(("gap", "| write gap"))
    return [tag("li", tag("i", class_=f"bar {css}", aria_hidden="true"), words) for css, words in entries]


def _waiting(members: Sequence[_Member]) -> Markup:
    """Members without bars: those that wait, and those whose steps a long journal has forgotten."""
    groups = {
        "Not begun": "waiting",
        "Done, and their steps are no longer in the journal": "done",
        "In hand, without a step yet": "in flight",
    }
    found = []
    for words, state in groups.items():
        names = [member.name for member in members if not member.spans and member.state == state]
        if names:
            found.append(tag("p", f"{words} ({len(names)}): {', '.join(names)}"))
    return join(*found)


# Tables


def _own_seconds(members: Sequence[_Member]) -> Markup | None:
    rows = []
    for member in members:
        if member.spans:
            figures = _figures(member)
            kinds = (figures[kind] for kind in ("seconds", "own", "vm", "process", "catch_up", "soak", "interrupted"))
            rows.append([member.name, member.kind or "-", member.state, *(f"{value:.1f}" for value in kinds)])
    if not rows:
        return None
    heads = ["member", "class", "state", "in all", "play's own", "VM", "stop, start", "catch-up", "soak", "cut off"]
    return _section("Seconds per member", table("Whose seconds they were", heads, rows, frozenset(range(3, 10))))


def _step_seconds(journal: Mapping[str, Any]) -> Markup | None:
    rows = [
        [
            step,
            _STEPS.get(step, ""),
            _KINDS[NOT_OWN.get(step, "own")][1],
            figures["times"],
            f"{figures['median']:.1f}",
            f"{figures['longest']:.1f}",
            figures["member"],
            f"{figures['seconds']:.1f}",
        ]
        for step, figures in _steps(journal).items()
    ]
    heads = ["step", "what it does", "whose time", "times", "median", "longest", "longest at", "in all"]
    return _section("Seconds per step", table("Without what was cut off", heads, rows, frozenset({3, 4, 5, 7}))) if rows else None


def _entries(value: object) -> list[str]:
    """A join list as lines, whether it came as a list, as text with commas, or by kube cluster."""
    if isinstance(value, Mapping):
        return [f"{plain(key)}: {entry}" for key, inner in value.items() for entry in _entries(inner)]
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [plain(entry) if not isinstance(entry, Mapping | list) else _json(entry) for entry in _list(value)]


def _join_lists(members: Sequence[_Member]) -> Markup | None:
    rows: list[list[Any]] = []
    changed = 0
    for member in members:
        before = [_entries(span.detail["join_before"]) for span in member.spans if "join_before" in span.detail]
        after = [_entries(span.detail["join_after"]) for span in member.spans if "join_after" in span.detail]
        if not before and not after:
            continue
        old, new = (before or [[]])[0], (after or [[]])[-1]
        # Half a pair says nothing about what came or went.
        pair = bool(before and after)
        changed += pair and old != new
        gone = [tag("li", tag("del", f"- {entry}") if pair and entry not in new else entry) for entry in old]
        come = [tag("li", tag("ins", f"+ {entry}") if pair and entry not in old else entry) for entry in new]
        rows.append(
            [
                member.name,
                tag("ul", *gone, class_="entries") if before else "not in the journal",
                tag("ul", *come, class_="entries") if after else "not in the journal",
                "not known" if not pair else "changed" if old != new else "the same",
            ]
        )
    if not rows:
        return None
    caption = f"Before the first and after the last step of each member; changed for {_count(changed, 'member')}"
    return _section("Join lists", table(caption, ["member", "before", "after", ""], rows))


def _issued(members: Sequence[_Member]) -> list[tuple[_Member, str, Mapping[str, Any]]]:
    found = []
    for member in members:
        seen = []
        for span in member.spans:
            value = next((span.detail[key] for key in _CERTIFICATES if span.detail.get(key)), None)
            named = value.items() if isinstance(value, Mapping) else (("", entry) for entry in _list(value))
            for name, entry in named:
                certificate = entry if isinstance(entry, Mapping) else {"serial": entry}
                # A step that was done twice tells the same certificate twice.
                if certificate not in seen:
                    seen.append(certificate)
                    found.append((member, plain(certificate.get("name") or certificate.get("file") or name), certificate))
    return found


def _kept(certificate: Mapping[str, Any]) -> bool:
    """Whether it was found good and stayed: the reason to issue it is told, and is empty."""
    return "reason" in certificate and not certificate["reason"]


def _certificates(members: Sequence[_Member]) -> Markup | None:
    issued = _issued(members)
    rows: list[list[Any]] = [
        [
            member.name,
            name or "-",
            tag("code", certificate.get("serial") or "unknown"),
            certificate.get("not_after") or "unknown",
            ", ".join(_entries(certificate.get("addresses"))) or "-",
            "was there already and is good" if _kept(certificate) else certificate.get("reason") or "-",
        ]
        for member, name, certificate in issued
    ]
    if not rows:
        return None
    kept = sum(_kept(certificate) for _member, _name, certificate in issued)
    caption = f"{len(rows) - kept} issued{f', {kept} found in place' if kept else ''}"
    return _section("Certificates", table(caption, ["member", "name", "serial", "valid until", "addresses", "why"], rows))


def _write_gaps(journal: Mapping[str, Any], gaps: Sequence[Interval]) -> Markup | None:
    if not gaps:
        return None
    spans = _spans(journal)
    rows: list[list[Any]] = []
    for begin, end in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_MOST_GAP_ROWS]:
        within = [
            f"{span.member}, {span.step}{' (cut off)' if span.state == 'interrupted' else ''}"
            for span in spans
            if span.begin <= end and begin <= span.end
        ]
        rows.append([f"{_clock(begin, day=True)}", f"{(end - begin) * 1000:,.0f}", "; ".join(within[:4]) or "no step"])
    caption = f"The longest {len(rows)} of {len(gaps)} gaps between acknowledged writes"
    return _section("Write gaps", table(caption, ["began (UTC)", "ms", "during"], rows, frozenset({1})))


def _settings(journal: Mapping[str, Any]) -> Markup | None:
    settings = _mapping(journal.get("settings"))
    rows: list[list[Any]] = [[plain(key), tag("code", _json(settings[key]))] for key in sorted(settings, key=plain)]
    return _section("Settings of the run", table("As the journal has them", ["setting", "value"], rows)) if rows else None


def _every_step(journal: Mapping[str, Any], members: Sequence[_Member]) -> Markup | None:
    found = []
    alone = sum(bool(member.spans) for member in members) == 1
    states = {"done": "done", "failed": "✗ failed", "interrupted": "? cut off", "open": "? end not known"}
    for index, member in enumerate(members):
        if not member.spans:
            continue
        rows: list[list[Any]] = []
        for span in member.spans:
            rest = {key: value for key, value in span.detail.items() if key not in _SPECIAL_DETAIL}
            rows.append(
                [
                    span.step,
                    states[span.state],
                    _clock(span.begin),
                    _clock(span.end) if span.state != "open" else "-",
                    f"{span.seconds:.3f}",
                    tag("code", _json(rest)) if rest else "",
                ]
            )
        wanted = alone or member.state == "in flight" or any(span.state == "failed" for span in member.spans)
        head = tag("summary", tag("strong", member.name), f" · {member.state} · {_count(len(rows), 'step')} · {_duration(member.wall)}")
        bindings = _bindings(journal) if member.state == "in flight" else None
        steps = table(f"Steps of {member.name}", ["step", "state", "began", "ended", "seconds", "detail"], rows, frozenset({2, 3, 4}))
        found.append(tag("details", head, tag("div", join(bindings or "", steps), id=f"steps-{index}"), open=wanted))
    return _section("Every step", *found) if found else None


def _bindings(journal: Mapping[str, Any]) -> Markup | None:
    """Where the member in flight was and is to be."""
    current = _mapping(journal.get("member"))
    old, new = _mapping(current.get("old")), _mapping(current.get("new"))
    rows: list[list[Any]] = [[plain(key), _json(old.get(key, "-")), _json(new.get(key, "-"))] for key in sorted({*old, *new}, key=plain)]
    return table("Where the member was and is to be", ["", "old", "new"], rows) if rows else None
