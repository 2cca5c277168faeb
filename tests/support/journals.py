# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals of rollouts that nobody ran, in the shape of the real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

START = datetime(2026, 11, 22, 2, 58, 30, tzinfo=UTC)
# Seconds of each step of a replaced member.
STEPS = {
    "gate": 0.9,
    "lead": 0.5,
    "cordon": 0.2,
    "drain": 0.3,
    "stop": 2.1,
    "evict": 1.4,
    "vm": 31.0,
    "identify": 0.3,
    "unlist": 0.4,
    "forget": 0.3,
    "certify": 0.4,
    "admit": 0.5,
    "start": 4.2,
    "join": 2.5,
    "list": 0.5,
    "settle": 9.0,
    "uncordon": 0.2,
    "soak": 10.0,
}


def at(seconds: float) -> str:
    """RFC 3339 with milliseconds, so many seconds after START."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def names(count: int) -> list[str]:
    """Members, three of `east` for each two of `west`."""
    east = -(-count * 3 // 5)
    return [*(f"east-{number}" for number in range(east)), *(f"west-{number}" for number in range(count - east))]


def replaced(count: int, started: int | None = None, **changes: Any) -> Json:
    """A journal of `count` replaced members of which `started` (default: all) were begun and done, without trouble."""
    members = names(count)
    clock = 1.5
    steps: list[Json] = []
    joined = [f"10.0.0.{number}" for number in range(1, 5)]
    for number, member in enumerate(members[: count if started is None else started]):
        address = f"10.{1 + number // 200}.7.{1 + number % 200}"
        changed = [*joined[1:], address]
        details: Json = {
            "gate": {"class": "ok"},
            "cordon": {"cordoned": True},
            "evict": {"evicted": 7, "skipped": 4},
            "vm": {"old": f"{member}-vm-a", "new": f"{member}-vm-b"},
            "certify": {
                "issued": [
                    {
                        "name": member,
                        "serial": f"5f{number:04x}c2a9",
                        "not_after": "2027-11-22T02:58:30Z",
                        "addresses": [address, "127.0.0.1"],
                    }
                ]
            },
            "unlist": {"join_before": joined, "join_after": joined[1:]},
            "list": {"join_before": joined[1:], "join_after": changed},
        }
        joined = changed
        for step, seconds in STEPS.items():
            took = seconds * (1 + number % 7 / 10)
            steps.append(entry(len(steps) + 1, member, step, clock, clock + took, detail=details.get(step, {})))
            clock += took + 0.15
        clock += 0.6
    done = members[: count if started is None else started]
    return {
        "schema": 2,
        "run_id": "r-20261122-025830-7c1e",
        "generation": 4,
        "sequence": 3 * len(steps),
        "work": "replace",
        "what": "upgrade replace",
        "state": "done" if len(done) == count else "in_flight",
        "started_at": at(0),
        "ended_at": at(clock) if len(done) == count else None,
        "controller": {"host": "bastion", "user": "sre", "pid": 4711},
        "settings": {"name": "ledger", "work": "replace", "surge": False, "image": ""},
        "order": members,
        "done": done,
        "member": None,
        "saved": {},
        "steps": steps,
        **changes,
    }


def entry(number: int, member: str, step: str, begin: float, end: float | None, state: str = "done", detail: Json | None = None) -> Json:
    """One entry of `steps`; times in seconds after START."""
    return {
        "n": number,
        "member": member,
        "step": step,
        "state": state,
        "began_at": at(begin),
        "ended_at": None if end is None else at(end),
        "detail": detail or {},
    }


def troubled() -> Json:
    """Two of five members done, one cut off by a kill and taken up again, which then failed while it settled."""
    journal = replaced(5, 2)
    steps = journal["steps"]
    clock = (datetime.fromisoformat(steps[-1]["ended_at"]) - START).total_seconds() + 1
    for step, begin, end, state, detail in (
        ("gate", 0.0, 1.1, "done", {}),
        ("stop", 1.2, 3.0, "done", {}),
        ("vm", 3.1, 420.0, "failed", {"old": "east-2-vm-a", "interrupted": True}),
        ("vm", 420.0, 441.0, "done", {"old": "east-2-vm-a", "new": "east-2-vm-b"}),
        ("start", 441.2, 445.0, "done", {}),
        (
            "settle",
            445.1,
            505.1,
            "failed",
            {"msg": "east-2 did not settle in 60 s: members that are not healthy: east-2 (no answer from 10.1.7.3:2379)"},
        ),
    ):
        steps.append(entry(len(steps) + 1, "east-2", step, clock + begin, None if end is None else clock + end, state, detail))
    journal["member"] = {
        "member": "east-2",
        "class": "replaced",
        "steps": list(STEPS),
        "old": {"node": "east-2-vm-a", "address": "10.0.0.3"},
        "new": {"node": "east-2-vm-b", "address": "10.1.7.3"},
    }
    journal["saved"] = {"server.time_until_store_dead": "5m0s"}
    return journal


def gaps(count: int, every: float = 17.0) -> list[Json]:
    """Gaps between writes, one each `every` seconds."""
    return [{"time": at(every * number), "gap_ms": 40 + 97 * (number % 13)} for number in range(1, count + 1)]


def renamed(journal: Json, new: list[str]) -> Json:
    """The journal with other names for its first members, and nothing else changed."""
    names_now = dict(zip(journal["order"], new, strict=False))
    steps = [{**step, "member": names_now.get(step["member"], step["member"])} for step in journal["steps"]]
    current = journal["member"]
    return {
        **journal,
        "order": [names_now.get(name, name) for name in journal["order"]],
        "done": [names_now.get(name, name) for name in journal["done"]],
        "member": current and {**current, "member": names_now.get(current["member"], current["member"])},
        "steps": steps,
    }
