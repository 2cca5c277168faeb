# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page about a deployment's status says: plain values, which roles/report/templates/status.html.j2 shows.

Pure functions of the status (docs/status.md). Nothing here is HTML: the template escapes whatever it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import classify, expiry, order, signs
from .rollout_words import clock, count
from .timeline import moment

Json = dict[str, Any]

# The playbook that a text names, with what it is to be given.
_PLAYBOOK = re.compile(r"\brun (playbooks/[a-z_]+\.yml(?: -e hostnet_[a-z_]+=[a-z_]+)?)")
# What a repair mends, or looks at first.
_REPAIRED = (*order.BROKEN, "no_folder")
_LEVELS = {signs.OFF: "is off", signs.GOING: "is about to go", signs.MARKED: "may go"}
# What is longer is shown when it is asked for.
_MANY = 20


def page(status: Mapping[str, Any]) -> Json:
    """The values of the template."""
    members: Sequence[Mapping[str, Any]] = status["members"]
    ids = {str(entry["member"]): f"member-{index}" for index, entry in enumerate(members)}
    return {
        "name": status["deployment"],
        "system": status["system"],
        "placement": status["placement"],
        "namespace": status["namespace"],
        "at": _time(status["observed_at"]),
        "verdict": _verdict(status),
        "facts_of": _facts(status),
        "problems": _problems(status, ids),
        "most": _MANY,
        "warnings": [{"text": text, "command": _command(text)} for text in [*status["warnings"], *classify.hints(status)]],
        "kube_clusters": [_kube_cluster(entry, members, ids) for entry in _kube_clusters(status)],
        "marked": _marked(members),
        "join_lists": _join_lists(status),
        "certificates": _certificates(status),
        "rollout": _rollout(status),
        "lock": _lock(status),
        "identity": _identity(status),
    }


def join_lists_equal(status: Mapping[str, Any]) -> bool:
    """Whether all kube clusters that answer have the same join list."""
    return len({tuple(entries) for entries in status["join_lists"].values()}) <= 1


def _time(value: object) -> str:
    """A time of the status as the page writes it."""
    seconds = moment(value)
    return clock(seconds, day=True) if seconds is not None else "unknown"


def _verdict(status: Mapping[str, Any]) -> Json:
    """{css, word, said}."""
    members = status["members"]
    said = f"{sum(bool(entry['healthy']) for entry in members)} of {count(len(members), 'member')} well"
    problems = f", {count(len(status['problems']), 'problem')}" if status["problems"] else ""
    if not status["healthy"]:
        return {"css": "bad", "word": "✗ Not healthy.", "said": f"{said}{problems}."}
    if status["warnings"]:
        return {"css": "warn", "word": "! Healthy, with a warning.", "said": f"{said}."}
    return {"css": "good", "word": "✓ Healthy.", "said": f"{said}."}


def _facts(status: Mapping[str, Any]) -> Json:
    members, kube_clusters = status["members"], status["kube_clusters"]
    ends = _ends(status)
    first = f"{ends[0][0]} days ({ends[0][1]['member']})" if ends else "unknown"
    return {
        "Members well": f"{sum(bool(entry['healthy']) for entry in members)} of {len(members)}",
        "Kube clusters up": f"{sum(not entry['absent'] for entry in kube_clusters)} of {len(kube_clusters)}",
        "VMs marked": sum(bool(entry["signs"]) for entry in members),
        "Join lists": "equal" if join_lists_equal(status) else "they differ",
        "First certificate": first,
        "Lock": "held" if status["lock"] else "free" if any(entry["lock_read"] for entry in status["kube_clusters"]) else "not read",
        "Rollout": "in progress" if status["rollout"] else "none",
    }


def _command(text: str) -> str:
    found = _PLAYBOOK.search(text)
    return f"ansible-playbook -i INVENTORY {found[1]}" if found else ""


def _problems(status: Mapping[str, Any], ids: Mapping[str, str]) -> list[Json]:
    """{text, member, id, command} of each problem; `member` is empty for those that are no one member's."""
    ill = {classify.problem_of(entry): entry for entry in status["members"] if not entry["healthy"]}
    found = []
    for text in map(str, status["problems"]):
        entry = ill.get(text)
        repair = "run playbooks/repair.yml" if entry is not None and entry["class"] in _REPAIRED else ""
        name = str(entry["member"]) if entry else ""
        found.append({"text": text, "member": name, "id": ids.get(name, ""), "command": _command(text) or _command(repair)})
    return found


def _kube_clusters(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The kube clusters of the status; also those that its members name and the inventory does not."""
    known = {str(entry["name"]) for entry in status["kube_clusters"]}
    lost = sorted({str(entry["kube_cluster"]) for entry in status["members"]} - known)
    return [*status["kube_clusters"], *({"name": name, "absent": True, "error": "it is not in the inventory"} for name in lost)]


def _kube_cluster(kube_cluster: Mapping[str, Any], members: Sequence[Mapping[str, Any]], ids: Mapping[str, str]) -> Json:
    """{name, error, said, zones: [{zone, members}]}."""
    mine = [entry for entry in members if entry["kube_cluster"] == kube_cluster["name"]]
    zones: dict[str, list[Json]] = {}
    for entry in mine:
        zones.setdefault(str(entry["zone"] or "no zone"), []).append(_member(entry, ids[str(entry["member"])]))
    well = sum(bool(entry["healthy"]) for entry in mine)
    return {
        "name": kube_cluster["name"],
        "error": f"It does not answer: {kube_cluster['error']}" if kube_cluster["absent"] else "",
        "said": f"{well} of {count(len(mine), 'member')} well, {count(len(zones), 'zone')}",
        "zones": [{"zone": zone, "members": found} for zone, found in sorted(zones.items())],
    }


def _member(entry: Mapping[str, Any], identifier: str) -> Json:
    state = classify.health(entry)
    css, sign = ("good", "✓") if entry["healthy"] else ("warn", "?") if state == "unknown" else ("bad", "✗")
    level = signs.level(entry["signs"])
    notes = [
        f"its VM {_LEVELS[level]}" if level else "",
        "outdated" if entry["outdated"] else "",
        "no guard pods" if not entry["guarded"] else "",
        f"the only copy of {', '.join(map(str, entry['alone']))}" if entry["alone"] else "",
        count(int(entry["restarts"]), "restart") if entry["restarts"] else "",
    ]
    return {
        "id": identifier,
        "member": entry["member"],
        "css": css,
        "sign": sign,
        "state": state,
        "role": f"{entry['role']}, leader" if entry["role"] and entry["leader"] else "leader" if entry["leader"] else entry["role"],
        "node": entry["node"],
        "address": entry["address"],
        "version": entry["version"] or "-",
        "started": _time(entry["started_at"]) if entry["started_at"] else "-",
        "notes": [note for note in notes if note],
        "reason": entry["reason"],
    }


def _marked(members: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Member, node, what becomes of its VM, and what says so, the surest first."""
    levels = list(_LEVELS)
    rows = [
        (levels.index(sign["level"]), [entry["member"], entry["node"], f"{_LEVELS[sign['level']]}: {sign['text']}", sign["sign"]])
        for entry in members
        for sign in entry["signs"]
    ]
    return [row for _level, row in sorted(rows, key=lambda found: found[0])]


def _join_lists(status: Mapping[str, Any]) -> Json:
    """{said, rows: [{name, entries}]}; entries that are not in all of the lists are marked."""
    lists = status["join_lists"]
    everywhere = set.intersection(*map(set, lists.values())) if lists else set()
    if not lists:
        said = "No kube cluster has one"
    else:
        said = "They are equal" if join_lists_equal(status) else "They differ; + marks what is not in all of them"
    rows = [
        {"name": name, "entries": [{"entry": entry, "mark": entry not in everywhere} for entry in entries]}
        for name, entries in sorted(lists.items())
    ]
    return {"said": said, "rows": rows}


def _ends(status: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Days that each member's certificate has left, the first one to end first."""
    left = [(expiry.days_left(entry["certificate"]["not_after"], status["observed_at"]), entry) for entry in status["members"]]
    return sorted(((days, entry) for days, entry in left if days is not None), key=lambda found: found[0])


def _certificates(status: Mapping[str, Any]) -> Json:
    """{said, open, rows}."""
    ends = _ends(status)
    rows = [[entry["member"], entry["certificate"]["serial"], _time(entry["certificate"]["not_after"]), str(days)] for days, entry in ends]
    known = {str(entry["member"]) for _days, entry in ends}
    rows += [
        [entry["member"], entry["certificate"]["serial"] or "-", _time(entry["certificate"]["not_after"]), "unknown"]
        for entry in status["members"]
        if str(entry["member"]) not in known
    ]
    served = [
        [
            entry["member"],
            f"{port['port']} ({port['number']})",
            port["error"] or port["serial"],
            _time(port["not_after"]) if port["not_after"] else "-",
            "yes" if port["current"] else f"no, stored is {port['stored'] or 'none'}",
            ", ".join(port["sans"]) or "-",
        ]
        for entry in status["members"]
        for port in entry.get("served") or []
    ]
    said = f"the first one ends in {ends[0][0]} days" if ends else "when they end is not known"
    return {"said": f"{count(len(rows), 'member')}, {said}", "open": len(rows) <= _MANY, "rows": rows, "served": served}


def _rollout(status: Mapping[str, Any]) -> Json:
    """What there is to say about the rollout in progress, by what it is; {} for none."""
    found = status["rollout"]
    if not found:
        return {}
    return {
        "Work": found["work"] or "unknown",
        "Run": found["run_id"] or "unknown",
        "Started": _time(found["started_at"]),
        "Member in hand": found["member"] or "none",
        "Members done": ", ".join(map(str, found["done"])) or "none",
    }


def _lock(status: Mapping[str, Any]) -> list[list[str]]:
    """Kube cluster, run, what it does, who has started it, since when, and when it was renewed."""
    return [
        [name, held["run_id"], held["what"], f"{held['user']} on {held['host']}", _time(held["since"]), _time(held["renewed_at"])]
        for name, held in sorted(status["lock"].items())
    ]


def _identity(status: Mapping[str, Any]) -> Json:
    record = status["identity"] or {}
    return {
        "Cluster id": status["cluster_id"] or "not recorded",
        "CA's fingerprint": record.get("ca_fingerprint") or "not recorded",
        "First members": str(record.get("members") or "not recorded").replace(",", ", "),
        "Claimed by": record.get("claimed_by") or "not recorded",
        **{f"Kube cluster {entry['name']}": f"UID {entry['uid']}" if entry["uid"] else "UID unknown" for entry in status["kube_clusters"]},
    }
