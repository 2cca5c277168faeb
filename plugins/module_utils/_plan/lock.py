# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the lock of a rollout, and who may take it: pure judgement over what the Leases say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]

FREE, OWN, OTHER, DEAD = "free", "own", "other", "dead"


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock: the ansible-playbook, not its workers.

    `started` is the process' start in clock ticks since boot (field 22 of /proc/PID/stat, see proc(5)): with it a process id that
    was given to another process is not taken for the holder. `boot_id` and `pid_namespace` say where the id means anything; they
    are empty where /proc does not tell, and then nobody is ever found dead.
    """

    run_id: str
    host: str = ""
    user: str = ""
    pid: int = 0
    started: int = 0
    boot_id: str = ""
    pid_namespace: str = ""
    since: str = ""
    what: str = ""

    def same_process(self, other: Holder) -> bool:
        """Whether both are one process: a run id alone may have been given twice."""
        mine = (self.run_id, self.host, self.pid, self.started, self.boot_id, self.pid_namespace)
        return mine == (other.run_id, other.host, other.pid, other.started, other.boot_id, other.pid_namespace)

    def as_dict(self) -> Json:
        return asdict(self)


def holder_of(fields: Any, run_id: str) -> Holder:
    """The holder that an annotation describes; of one that cannot be read only the run id is known, and that it may live."""
    if not isinstance(fields, Mapping):
        return Holder(run_id)
    if fields.get("run_id") != run_id:
        # The annotation is written with the holder; where it tells of another run, somebody edited one of the two.
        return Holder(run_id)
    texts = {
        name: fields[name] for name in ("host", "user", "boot_id", "pid_namespace", "since", "what") if isinstance(fields.get(name), str)
    }
    numbers = {
        name: fields[name] for name in ("pid", "started") if isinstance(fields.get(name), int) and not isinstance(fields.get(name), bool)
    }
    known: dict[str, Any] = {**texts, **numbers}
    return Holder(run_id, **known)


@dataclass(frozen=True)
class Seen:
    """One kube cluster's Lease: `holder` is None where it is free or was never there. Times are RFC 3339."""

    holder: Holder | None = None
    generation: int = 0
    renewed_at: str = ""


def provably_dead(holder: Holder, me: Holder, running: Callable[[int], int | None]) -> bool:
    """Whether `holder` certainly runs no more. Unknown is not dead.

    `running(pid)` says what a process id of this pid namespace is: its start time in ticks, 0 where it has ended (or never was),
    None where that cannot be told.
    """
    if not (holder.boot_id and holder.pid_namespace and holder.pid > 0 and holder.started > 0):
        return False
    if (holder.boot_id, holder.pid_namespace) != (me.boot_id, me.pid_namespace):
        return False
    started = running(holder.pid)
    return started is not None and started != holder.started


def judge(seen: Seen, me: Holder, running: Callable[[int], int | None]) -> str:
    """What one kube cluster's Lease is to this process: free, own, other (may live) or dead."""
    if seen.holder is None:
        return FREE
    if seen.holder.same_process(me):
        return OWN
    return DEAD if provably_dead(seen.holder, me, running) else OTHER


def next_generation(seen: Mapping[str, Seen]) -> int:
    """The generation of a new acquisition: more than any kube cluster has ever had."""
    return max((entry.generation for entry in seen.values()), default=0) + 1


def refusals(seen: Mapping[str, Seen], judged: Mapping[str, str], take_over: Sequence[str]) -> dict[str, Holder]:
    """The kube clusters whose holder keeps the lock: somebody else who may live and is not named in `take_over`."""
    return {
        name: entry.holder
        for name, entry in sorted(seen.items())
        if judged[name] == OTHER and entry.holder is not None and entry.holder.run_id not in take_over
    }


def age_seconds(renewed_at: str, now: str) -> int | None:
    """Seconds since a renewal by this controller's clock, at least 0; None where a time cannot be read."""
    try:
        return max(0, int((datetime.fromisoformat(now) - datetime.fromisoformat(renewed_at)).total_seconds()))
    except (TypeError, ValueError):
        return None


def say_holder(holder: Holder, renewed_at: str, now: str) -> str:
    """One holder for people."""
    parts = [f"run {holder.run_id}"]
    if holder.what:
        parts.append(f"({holder.what})")
    if holder.user or holder.host:
        parts.append(f"of {holder.user or 'somebody'} on host {holder.host or 'unknown'}, process {holder.pid},")
    if holder.since:
        parts.append(f"since {holder.since},")
    age = age_seconds(renewed_at, now)
    parts.append(f"last renewed {age} s ago" if age is not None else "last renewed at an unknown time")
    return " ".join(parts)


def refusal_text(name: str, namespace: str, refused: Mapping[str, Holder], seen: Mapping[str, Seen], me: Holder, now: str) -> str:
    """The one error of a lock that somebody else has: who, where, since when, and how to take it over."""
    by_holder: dict[str, list[str]] = {}
    for cluster, holder in refused.items():
        by_holder.setdefault(say_holder(holder, seen[cluster].renewed_at, now), []).append(cluster)
    holders = "; ".join(f"in kube cluster {', '.join(clusters)} by {text}" for text, clusters in by_holder.items())
    run_ids = ",".join(sorted({holder.run_id for holder in refused.values()}))
    same = any(holder.run_id == me.run_id for holder in refused.values())
    remedy = "Give this run a run id of its own. " if same else ""
    return (
        f"the lock of deployment {name} (Lease {namespace}/{name}-rollout) is held {holders}. {remedy}Wait until that run ends. If you know "
        f"that it runs no more, take its lock with -e hostnet_take_over={run_ids}"
    )
