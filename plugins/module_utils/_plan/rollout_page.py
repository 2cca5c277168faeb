# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page about a rollout says, for whoever is called at night: plain values, which roles/rollout/templates/rollout.html.j2 shows.

Pure functions of the journal, as timeline.py reads it. Nothing here is HTML: the template escapes whatever it is given.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .rollout_chart import KINDS, chart
from .rollout_words import as_json, clock, count, duration
from .rollout_words import text as plain
from .steps import TABLE, WORKS_OF_UPGRADE
from .timeline import (
    NOT_OWN,
    RUN,
    Interval,
    Json,
    Member,
    Span,
    bounds,
    deployment_of,
    figures,
    figures_of_steps,
    gaps_of,
    listed,
    mapping,
    members_of,
    require,
    spans_of,
)

# What each step does, for those who did not write it. Older versions noted their looking as a step.
PURPOSES = {"observe": "looks at every member, node and object", **{step.name: step.text for step in TABLE}}
_MOST_GAP_ROWS = 20
# Keys of a step's detail that have a table of their own, or are said otherwise.
_SPECIAL_DETAIL = frozenset({"join_before", "join_after", "certificates", "issued", "interrupted"})
# The journal takes no key that is named like a certificate, so the rollout may call them `issued`.
_CERTIFICATES = ("certificates", "issued")
_MESSAGES = ("msg", "message", "error", "reason", "blocked", "missing")


def page(journal: Mapping[str, Any], gaps: Sequence[Mapping[str, Any]] = (), name: str = "") -> Json:
    """The values of the template.

    `gaps`: [{time, gap_ms}], `time` (RFC 3339, or seconds since 1970) is when the gap began; [] when nothing was measured. `name` is
    the deployment's, for a journal that does not tell it. Raises ValueError when `journal` is not a document at all.
    """
    require(journal)
    members = members_of(journal)
    known = gaps_of(gaps)
    state = plain(journal.get("state"))
    return {
        "name": name or deployment_of(journal),
        "what": plain(journal.get("what") or journal.get("work") or "rollout"),
        "state": {"done": "done", "aborted": "aborted", "in_flight": "not finished"}.get(state, "state unknown"),
        "run": journal.get("run_id") or "unknown",
        "when": _when(journal),
        "controller": _controller(journal.get("controller")),
        "verdict": _verdict(journal, members),
        "facts": _facts(journal, members, known),
        "problems": _problems(journal),
        "go_on": _go_on(journal),
        "chart": chart(members, known),
        "seconds": _seconds_by_member(members),
        "steps": _seconds_by_step(journal),
        "join_lists": _join_lists(members),
        "certificates": _certificates(members),
        "gaps": _write_gaps(journal, known),
        "settings": _settings(journal),
        "every_step": _every_step(journal, members),
    }


def _message(span: Span) -> str:
    said = next((span.detail[key] for key in _MESSAGES if span.detail.get(key)), None)
    if said is None:
        rest = _rest(span)
        return as_json(rest, 4000) if rest else "the journal holds no reason; see the output of the run"
    if all(isinstance(part, str) for part in listed(said)) and listed(said):
        said = "\n".join(listed(said))
    return as_json(said, 4000)


def _rest(span: Span) -> Json:
    return {key: value for key, value in span.detail.items() if key not in _SPECIAL_DETAIL}


def _when(journal: Mapping[str, Any]) -> str:
    start, end = bounds(journal)
    begun = clock(start, day=True)
    words = [f"{begun} to {clock(end, day=begun[:10] != clock(end, day=True)[:10])} UTC"]
    if start is not None and end is not None:
        words.append(duration(end - start))
    return " · ".join(words)


def _controller(controller: object) -> str:
    if not controller:
        return ""
    found = dict(mapping(controller))
    if not found.get("host"):
        return as_json(controller, 300)
    who = "@".join(plain(found.pop(key)) for key in ("user", "host") if found.get(key))
    return ", ".join([who, *(f"{plain(key)} {as_json(value, 100)}" for key, value in found.items())])


def _verdict(journal: Mapping[str, Any], members: Sequence[Member]) -> Json:
    """{css, word, said}."""
    state = plain(journal.get("state"))
    named = [member for member in members if member.name != RUN]
    done = f"{sum(member.state == 'done' for member in named)} of {count(len(named), 'member')} done"
    spans = spans_of(journal)
    failures = sum(span.state == "failed" for span in spans)
    failed = f", {count(failures, 'step')} failed on the way" if failures else ", no step failed"
    if state == "done":
        return {"css": "good", "word": "✓ Done.", "said": f"{done}{failed}."}
    where = ""
    if spans:
        last = spans[-1]
        how = {"failed": "failed", "done": "was done"}.get(last.state, "was begun, its end is not known")
        where = f" The last news: step {last.step} of {last.member} {how} at {clock(last.end)} UTC."
    if state == "aborted":
        return {"css": "warn", "word": "■ Aborted.", "said": f"{done}{failed}.{where}"}
    return {"css": "bad", "word": "✗ Not finished." if state == "in_flight" else "? State unknown.", "said": f"{done}{failed}.{where}"}


def _facts(journal: Mapping[str, Any], members: Sequence[Member], gaps: Sequence[Interval]) -> Json:
    own = [figures(member)["own"] for member in members if member.spans and member.name != RUN]
    return {
        "Members done": f"{sum(member.state == 'done' for member in members)} of {sum(member.name != RUN for member in members)}",
        "Play's own time a member": f"{median(own):.1f} s, at most {max(own):.1f} s" if own else "none yet",
        "Failed steps": sum(span.state == "failed" for span in spans_of(journal)),
        "Certificates issued": sum(not _kept(certificate) for _member, _name, certificate in _issued(members)),
        "Longest write gap": f"{max(end - begin for begin, end in gaps) * 1000:,.0f} ms" if gaps else "not measured",
    }


def _problems(journal: Mapping[str, Any]) -> list[Json]:
    """Steps that failed or were cut off: {failed, member, step, at, purpose, message, next, over}; `over` is when it was done after all, else empty."""
    spans = spans_of(journal)
    last = {(span.member, span.step): span for span in spans}
    found: list[Json] = []
    for span in spans:
        if span.state not in ("failed", "interrupted"):
            continue
        after, failed = last[span.member, span.step], span.state == "failed"
        found.append(
            {
                "failed": failed,
                "member": span.member,
                "step": span.step,
                "at": clock(span.end if failed else span.begin),
                "purpose": PURPOSES.get(span.step, ""),
                "message": _message(span) if failed else "",
                "next": clock(span.end),
                "over": clock(after.end) if after is not span and after.state == "done" else "",
            }
        )
    return found


def _playbook(journal: Mapping[str, Any]) -> str:
    words = f"{plain(journal.get('what'))} {plain(journal.get('work'))}"
    if "repair" in words:
        return "playbooks/repair.yml"
    if "scale" in words:
        return "playbooks/scale_down.yml"
    work = next((work for work in WORKS_OF_UPGRADE if work in words), "")
    return f"playbooks/upgrade.yml{f' -e hostnet_work={work}' if work else ''}"


def _go_on(journal: Mapping[str, Any]) -> Json:
    """{state, command, run, member, saved}; `saved`: settings that will be put back, "" for none."""
    saved = mapping(journal.get("saved"))
    return {
        "state": plain(journal.get("state")),
        "command": f"ansible-playbook -i INVENTORY {_playbook(journal)}",
        "run": shlex.quote(plain(journal.get("run_id")) or "RUN"),
        "member": plain(mapping(journal.get("member")).get("member")),
        "saved": as_json(saved) if saved else "",
    }


def _seconds_by_member(members: Sequence[Member]) -> list[list[str]]:
    rows = []
    for member in members:
        if member.spans:
            found = figures(member)
            kinds = (found[kind] for kind in ("seconds", "own", "vm", "process", "catch_up", "soak", "interrupted"))
            rows.append([member.name, member.kind or "-", member.state, *(f"{value:.1f}" for value in kinds)])
    return rows


def _seconds_by_step(journal: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [
            step,
            PURPOSES.get(step, ""),
            KINDS[NOT_OWN.get(step, "own")][1],
            found["times"],
            f"{found['median']:.1f}",
            f"{found['longest']:.1f}",
            found["member"],
            f"{found['seconds']:.1f}",
        ]
        for step, found in figures_of_steps(journal).items()
    ]


def _entries(value: object) -> list[str]:
    """A join list as lines, whether it came as a list, as text with commas, or by kube cluster."""
    if isinstance(value, Mapping):
        return [f"{plain(key)}: {entry}" for key, inner in value.items() for entry in _entries(inner)]
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [plain(entry) if not isinstance(entry, Mapping | list) else as_json(entry) for entry in listed(value)]


def _join_lists(members: Sequence[Member]) -> Json:
    """{changed (members), rows: [{member, before, after, said}]}; `before` and `after` are [{entry, mark}], None where the journal has none."""
    rows: list[Json] = []
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
        rows.append(
            {
                "member": member.name,
                "before": [{"entry": entry, "mark": pair and entry not in new} for entry in old] if before else None,
                "after": [{"entry": entry, "mark": pair and entry not in old} for entry in new] if after else None,
                "said": "not known" if not pair else "changed" if old != new else "the same",
            }
        )
    return {"changed": count(changed, "member"), "rows": rows}


def _issued(members: Sequence[Member]) -> list[tuple[Member, str, Mapping[str, Any]]]:
    found = []
    for member in members:
        seen = []
        for span in member.spans:
            value = next((span.detail[key] for key in _CERTIFICATES if span.detail.get(key)), None)
            named = value.items() if isinstance(value, Mapping) else (("", entry) for entry in listed(value))
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


def _certificates(members: Sequence[Member]) -> Json:
    issued = _issued(members)
    kept = sum(_kept(certificate) for _member, _name, certificate in issued)
    rows = [
        {
            "member": member.name,
            "name": name or "-",
            "serial": certificate.get("serial") or "unknown",
            "not_after": certificate.get("not_after") or "unknown",
            "addresses": ", ".join(_entries(certificate.get("addresses"))) or "-",
            "why": "was there already and is good" if _kept(certificate) else certificate.get("reason") or "-",
        }
        for member, name, certificate in issued
    ]
    return {"issued": len(rows) - kept, "kept": kept, "rows": rows}


def _write_gaps(journal: Mapping[str, Any], gaps: Sequence[Interval]) -> Json:
    spans = spans_of(journal)
    rows = []
    for begin, end in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_MOST_GAP_ROWS]:
        within = [
            f"{span.member}, {span.step}{' (cut off)' if span.state == 'interrupted' else ''}"
            for span in spans
            if span.begin <= end and begin <= span.end
        ]
        rows.append([f"{clock(begin, day=True)}", f"{(end - begin) * 1000:,.0f}", "; ".join(within[:4]) or "no step"])
    return {"all": len(gaps), "rows": rows}


def _settings(journal: Mapping[str, Any]) -> list[list[str]]:
    settings = mapping(journal.get("settings"))
    return [[plain(key), as_json(settings[key])] for key in sorted(settings, key=plain)]


def _every_step(journal: Mapping[str, Any], members: Sequence[Member]) -> list[Json]:
    """Of each member with steps: {member, id, state, steps, took, open, bindings, rows}."""
    found = []
    alone = sum(bool(member.spans) for member in members) == 1
    states = {"done": "done", "failed": "✗ failed", "interrupted": "? cut off", "open": "? end not known"}
    for index, member in enumerate(members):
        if not member.spans:
            continue
        rows = [
            {
                "step": span.step,
                "state": states[span.state],
                "began": clock(span.begin),
                "ended": clock(span.end) if span.state != "open" else "-",
                "seconds": f"{span.seconds:.3f}",
                "detail": as_json(rest) if (rest := _rest(span)) else "",
            }
            for span in member.spans
        ]
        found.append(
            {
                "member": member.name,
                "id": f"steps-{index}",
                "state": member.state,
                "steps": count(len(rows), "step"),
                "took": duration(member.wall),
                "open": alone or member.state == "in flight" or any(span.state == "failed" for span in member.spans),
                "bindings": _bindings(journal) if member.state == "in flight" else [],
                "rows": rows,
            }
        )
    return found


def _bindings(journal: Mapping[str, Any]) -> list[list[str]]:
    """Where the member in flight was and is to be."""
    current = mapping(journal.get("member"))
    old, new = mapping(current.get("old")), mapping(current.get("new"))
    return [[plain(key), as_json(old.get(key, "-")), as_json(new.get(key, "-"))] for key in sorted({*old, *new}, key=plain)]
