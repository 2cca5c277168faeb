# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the lock of a rollout, and who may take it: pure judgement over what the Leases say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]

MAX_RUN_ID = 128
_RUN_ID = re.compile(rf"(?=.{{1,{MAX_RUN_ID}}}\Z)[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")

# Of `left` the process that held the lock has ended, and something that it had started lives.
# One that is `expired` had promised to renew its Lease, and has not for longer than it may be silent.
FREE, OWN, OTHER, LEFT, EXPIRED, DEAD = "free", "own", "other", "left", "expired", "dead"
# In intervals of the heartbeat: a run whose last renewal is older than the first changes nothing before it has renewed; nobody takes its lock
# before the second. What lies between them is the time that a change may take which was begun right after a look at the lock.
STOPS_AFTER, EXPIRES_AFTER = 3, 10
# A Lease's leaseTransitions is an int32.
MAX_GENERATION = 2**31 - 1


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock: the ansible-playbook, not its workers.

    `started` is the process' start in clock ticks since boot (field 22 of /proc/PID/stat, see proc(5)): with it a process id that
    was given to another process is not taken for the holder. `boot_id` and `pid_namespace` say where the id means anything; they
    are empty where /proc does not tell, and then nobody is ever found dead. By `mark` what it has started is found, by `cgroup` (its control groups) what
    it has not (_cluster/processes.py). `heartbeat` is the number of seconds in which it promises to renew its Leases, or 0.
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
    mark: str = ""
    cgroup: str = ""
    heartbeat: int = 0

    def same_process(self, other: Holder) -> bool:
        """Whether both are one process: a run id alone may have been given twice."""
        mine = (self.run_id, self.host, self.pid, self.started, self.boot_id, self.pid_namespace)
        return mine == (other.run_id, other.host, other.pid, other.started, other.boot_id, other.pid_namespace)

    def as_dict(self) -> Json:
        return asdict(self)


def run_id_problem(run_id: str) -> str:
    """What is wrong with the id of a run, or "". It becomes a Lease's holder, a file's name, and one of a list that is separated by commas."""
    if _RUN_ID.fullmatch(run_id):
        return ""
    return f"must be 1 to {MAX_RUN_ID} of a-z, A-Z, 0-9, '.', '-' and '_', with a letter or digit first and last, such as awx-4711"


def holder_of(fields: Any, run_id: str) -> Holder:
    """The holder that an annotation describes; of one that cannot be read only the run id is known, and that it may live."""
    if not isinstance(fields, Mapping):
        return Holder(run_id)
    if fields.get("run_id") != run_id:
        # The annotation is written with the holder; where it tells of another run, somebody edited one of the two.
        return Holder(run_id)
    texts = {
        name: fields[name]
        for name in ("host", "user", "boot_id", "pid_namespace", "since", "what", "mark", "cgroup")
        if isinstance(fields.get(name), str)
    }
    numbers = {
        name: fields[name]
        for name in ("pid", "started", "heartbeat")
        if isinstance(fields.get(name), int) and not isinstance(fields.get(name), bool)
    }
    known: dict[str, Any] = {**texts, **numbers}
    return Holder(run_id, **known)


@dataclass(frozen=True)
class Seen:
    """One kube cluster's Lease: `holder` is None where it is free or was never there. Times are RFC 3339."""

    holder: Holder | None = None
    generation: int = 0
    renewed_at: str = ""


@dataclass(frozen=True)
class Left:
    """A process that a run has left behind, or (not `sure`) may have; pid 0 is that of which nothing can be told. `text` is for people."""

    pid: int
    text: str
    sure: bool = True


def provably_ended(holder: Holder, me: Holder, running: Callable[[int], int | None]) -> bool:
    """Whether the very process of `holder` certainly runs no more; what it has started may. Unknown is not dead.

    `running(pid)` says what a process id of this pid namespace is: its start time in ticks, 0 where it has ended (or never was),
    None where that cannot be told.
    """
    if not (holder.boot_id and holder.pid_namespace and holder.pid > 0 and holder.started > 0):
        return False
    # A virtual machine that was cloned with its memory has the boot id of the other one.
    if (holder.host, holder.boot_id, holder.pid_namespace) != (me.host, me.boot_id, me.pid_namespace):
        return False
    started = running(holder.pid)
    return started is not None and started != holder.started


def judge(
    seen: Seen, me: Holder, running: Callable[[int], int | None], left: Callable[[Holder], Sequence[Left]], silent: float = 0.0
) -> str:
    """What one kube cluster's Lease is to this process: free, own, other (may live), left, expired or dead.

    `left(holder)` says what a holder whose own process has ended has left behind. `silent` is for how many seconds, by its own clock, this process has
    watched the holder's Leases without a change in any of them.
    """
    if seen.holder is None:
        return FREE
    if seen.holder.same_process(me):
        return OWN
    if not provably_ended(seen.holder, me, running):
        return EXPIRED if 0 < expires_after(seen.holder, me) <= silent else OTHER
    return LEFT if left(seen.holder) else DEAD


def expires_after(holder: Holder, me: Holder) -> float:
    """For how many seconds `holder` has to be silent until this process may take its lock; 0 where silence proves nothing.

    Both must have a heartbeat: the holder, because one that promised nothing may be silent for hours, and this one, because the user has to want it.
    """
    return float(EXPIRES_AFTER * holder.heartbeat) if holder.heartbeat > 0 and me.heartbeat > 0 else 0.0


def must_renew(holder: Holder, age: float | None) -> bool:
    """Whether this run, `holder`, has to renew its Lease before it changes anything: its last renewal, `age` seconds ago, is too old, or unknown."""
    return holder.heartbeat > 0 and (age is None or not 0 <= age <= STOPS_AFTER * holder.heartbeat)


def watch_seconds(refused: Mapping[str, Holder], judged: Mapping[str, str], me: Holder) -> float:
    """For how long the Leases of these holders are watched before they are refused; 0 where it would not help."""
    bounds = [expires_after(holder, me) if judged[name] == OTHER else 0.0 for name, holder in refused.items()]
    return max(bounds) if bounds and all(bounds) else 0.0


def next_generation(seen: Mapping[str, Seen], journals: Mapping[str, int] | None = None) -> int:
    """The generation of a new acquisition: more than any kube cluster has ever had.

    `journals` are the generations that the journals know. A Lease that was deleted, or put back from a backup, has forgotten its own.
    """
    return max([0, *(entry.generation for entry in seen.values()), *(journals or {}).values()]) + 1


def too_high(name: str, namespace: str, seen: Mapping[str, Seen], journals: Mapping[str, int] | None = None) -> str:
    """The error where no higher generation fits into a Lease: nobody takes a lock that often, so it was edited by hand."""
    places = [
        f"Lease {namespace}/{name}-rollout in kube cluster {cluster}"
        for cluster, entry in sorted(seen.items())
        if entry.generation >= MAX_GENERATION
    ]
    places += [
        f"ConfigMap {namespace}/{name}-rollout (annotation or journal) in kube cluster {cluster}"
        for cluster, generation in sorted((journals or {}).items())
        if generation >= MAX_GENERATION
    ]
    return (
        f"the lock of deployment {name} would need a generation above {MAX_GENERATION}, which a Lease cannot hold, because of {', '.join(places)}: "
        "it was edited by hand. Nothing is changed. Delete that object while no playbook of the deployment runs; the others know the right generation"
    )


def refusals(seen: Mapping[str, Seen], judged: Mapping[str, str], take_over: Sequence[str]) -> dict[str, Holder]:
    """The kube clusters whose holder keeps the lock: somebody else who may live and is not named in `take_over`."""
    return {
        name: entry.holder
        for name, entry in sorted(seen.items())
        if judged[name] in (OTHER, LEFT) and entry.holder is not None and entry.holder.run_id not in take_over
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
        parts.append(f"of {holder.user or 'an unknown user'} on host {holder.host or 'unknown'}, process {holder.pid},")
    if holder.since:
        parts.append(f"since {holder.since},")
    age = age_seconds(renewed_at, now)
    parts.append(f"last renewed {age} s ago" if age is not None else "last renewed at an unknown time")
    return " ".join(parts)


def refusal_text(
    name: str,
    namespace: str,
    refused: Mapping[str, Holder],
    seen: Mapping[str, Seen],
    me: Holder,
    now: str,
    journals: Mapping[str, int] | None = None,
    left: Mapping[str, Sequence[Left]] | None = None,
    watched: bool = False,
) -> str:
    """The one error of a lock that somebody else has: who, where, since when, and how to take it over.

    `left` has for each kube cluster whose holder's process has ended what is left of it. `watched`: this run has seen it being renewed.
    """
    by_holder: dict[str, list[str]] = {}
    for cluster, holder in refused.items():
        by_holder.setdefault(say_holder(holder, seen[cluster].renewed_at, now), []).append(cluster)
    holders = "; ".join(f"in kube cluster {', '.join(clusters)} by {text}" for text, clusters in by_holder.items())
    latest = next_generation(seen, journals) - 1
    older = [f"{cluster} ({seen[cluster].generation})" for cluster in sorted(refused) if seen[cluster].generation < latest]
    if older:
        holders += (
            f"; the Lease of kube cluster {', '.join(older)} is older than generation {latest}: it may have been restored from a backup"
        )
    run_ids = ",".join(sorted({holder.run_id for holder in refused.values()}))
    same = any(holder.run_id == me.run_id for holder in refused.values())
    remedy = "Give this run a run id of its own. " if same else ""
    lock = f"the lock of deployment {name} (Lease {namespace}/{name}-rollout) is held {holders}. {remedy}"
    if refused and all((left or {}).get(cluster) for cluster in refused):
        remains = {entry.pid: entry.text for cluster in refused for entry in (left or {}).get(cluster, ())}
        look = ",".join(str(pid) for pid in remains if pid)
        return (
            f"{lock}That process has ended, and of what it started there may be left: {', '.join(remains.values())}. It may still be changing VMs. Wait "
            f"until it ends, or end it{f' (ps -fp {look} shows it)' if look else ''}, and run again. If you know that nothing of that run changes "
            f"anything any more, take its lock with -e hostnet_take_over={run_ids}"
        )
    beats = sorted({holder.heartbeat for holder in refused.values()})
    if watched:
        lock += "It was renewed while this run watched, so that run lives. "
    elif beats and beats[0] > 0 and not me.heartbeat:
        lock += (
            f"That run renews it every {beats[-1]} s: with -e hostnet_lock_heartbeat_seconds={beats[-1]} this one would watch for "
            f"{EXPIRES_AFTER * beats[-1]} s, and take it where nobody renews it any more. "
        )
    return f"{lock}Wait until that run ends. If you know that it runs no more, take its lock with -e hostnet_take_over={run_ids}"
