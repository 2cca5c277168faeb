# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a deployment's lock and gives it back, in all of its kube clusters (lock.py says what it is)."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .._plan import journal, names
from .._plan import lock as plan
from .._plan.lock import Holder, Left, Seen
from . import kinds, membership, processes
from .client import Json, KubeCluster, KubeError, each_cluster
from .json_patch import json_patch
from .lease import HOLDER_ANNOTATION, RENEWED_ANNOTATION, holders_of, labels, leases_of, renewed_now, seen_of, timestamp
from .lock import GENERATION_PATH, each_or_raise, renew, renew_one, still_ours, tried

LEASE_SECONDS = 60  # only for people and tools that read Leases; nobody takes the lock because of it
_ATTEMPTS = 10  # another run takes and gives back between our read and our write: rare, and never so often in a row
_CONFLICTS = 3  # of the API server with itself, over a Lease that nobody has changed


class LockRefused(Exception):
    """The lock is somebody else's and stays so. `holders` is as in Outcome."""

    def __init__(self, text: str, holders: Json) -> None:
        super().__init__(text)
        self.holders = holders


class _Raced(Exception):
    """Another writer was faster; nothing was written."""


@dataclass
class Outcome:
    """`lock` proves to `verify` that it is held, None where it is not. `taken_over` are run ids.

    `left` has, by kube cluster, what is left of a holder whose own process has ended.
    """

    holders: Json
    generation: int
    lock: Json | None = None
    changed: bool = False
    taken_over: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left: dict[str, list[Left]] = field(default_factory=dict)


def read(clusters: dict[str, KubeCluster], name: str, namespace: str, me: Holder) -> Outcome:
    """Who holds the lock. One GET for each kube cluster."""
    return _outcome(leases_of(clusters, name, namespace), name, namespace, me)


def _outcome(leases: dict[str, Json | None], name: str, namespace: str, me: Holder, silent: float = 0.0) -> Outcome:
    seen = {cluster: seen_of(lease) for cluster, lease in leases.items()}
    looked: dict[Holder, list[Left]] = {}

    def left(holder: Holder) -> list[Left]:
        # The same one in all kube clusters, and /proc is read once for it.
        if holder not in looked:
            looked[holder] = processes.left_of(holder.mark, holder.started, holder.cgroup)
        return looked[holder]

    judged = {cluster: plan.judge(entry, me, processes.started, left, silent) for cluster, entry in seen.items()}
    generations = {entry.generation for entry in seen.values()}
    outcome = Outcome(holders_of(seen, judged, timestamp()), max(generations, default=0))
    outcome.left = {cluster: left(entry.holder) for cluster, entry in seen.items() if entry.holder and judged[cluster] == plan.LEFT}
    if seen and set(judged.values()) == {plan.OWN} and len(generations) == 1:
        outcome.lock = {"name": name, "namespace": namespace, "holder": me.run_id, "generation": outcome.generation}
    return outcome


def _take(cluster: KubeCluster, lease: Json | None, lock: Json, me: Holder, now: str) -> None:
    """Create the Lease, or replace the very one that was read. Raises _Raced where it is another one meanwhile."""
    old = (lease or {}).get("metadata") or {}
    metadata: Json = {
        "name": names.rollout(lock["name"]),
        "namespace": lock["namespace"],
        "labels": {**(old.get("labels") or {}), **labels(lock["name"])},
        "annotations": {
            **(old.get("annotations") or {}),
            HOLDER_ANNOTATION: json.dumps(me.as_dict(), sort_keys=True),
            RENEWED_ANNOTATION: renewed_now(),
        },
    }
    spec = {
        "holderIdentity": lock["holder"],
        "acquireTime": now,
        "renewTime": now,
        "leaseDurationSeconds": LEASE_SECONDS,
        "leaseTransitions": lock["generation"],
    }
    definition: Json = {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.name, "metadata": metadata, "spec": spec}
    for _attempt in range(_CONFLICTS):
        try:
            if lease is None:
                cluster.create(definition)
            else:
                metadata["resourceVersion"] = old["resourceVersion"]
                cluster.replace(definition)
        except KubeError as error:
            # 404 at a replacement: the Lease was deleted meanwhile. At a creation it is the namespace that is not there.
            if error.status != 409 and not (error.status == 404 and lease is not None):
                raise
            # A creation has looked for itself whether there is one (client.py).
            if lease is not None and _version(cluster.get(kinds.LEASE, metadata["name"], metadata["namespace"])) == _version(lease):
                continue
            raise _Raced from error
        return
    raise _Raced


def _fence(cluster: KubeCluster, lock: Json, known: int) -> None:
    """Give the journal the lock's generation, so that the API server refuses what a former holder writes from now on (_cluster/journal.py).

    `known` is the generation that the journal had before the lock was taken. Where there was none, there is nothing to do: whoever creates one renews its
    lock right before. Raises LockLost where a later holder was here already.
    """
    name, namespace, generation = names.rollout(lock["name"]), lock["namespace"], str(lock["generation"])
    operations = [
        {"op": "test", "path": GENERATION_PATH, "value": str(known)},
        {"op": "replace", "path": GENERATION_PATH, "value": generation},
    ]
    if not known or json_patch(cluster, kinds.CONFIG_MAP, name, namespace, operations):
        return
    for _attempt in range(_ATTEMPTS):
        found = cluster.get(kinds.CONFIG_MAP, name, namespace)
        if found is None:
            return
        if journal.generation_of(found) > lock["generation"]:
            renew_one(cluster, lock)
        patch = {
            "metadata": {
                "resourceVersion": found["metadata"]["resourceVersion"],
                "annotations": {journal.GENERATION_ANNOTATION: generation},
            }
        }
        try:
            cluster.merge_patch(kinds.CONFIG_MAP, name, patch, namespace)
        except KubeError as error:
            # A former holder that was writing just then, or somebody who deletes it.
            if error.status not in (404, 409):
                raise
            continue
        return
    raise KubeError(
        cluster.name, f"ConfigMap {namespace}/{name}", "another client keeps changing it; find out which one, then run again", 409
    )


def _free_one(cluster: KubeCluster, lock: Json) -> bool:
    """Free the Lease where it is held as `lock` says; False where it is not. Who had it last and the generation stay."""
    operations = [*still_ours(lock), {"op": "replace", "path": "/spec/holderIdentity", "value": ""}]
    return json_patch(cluster, kinds.LEASE, names.rollout(lock["name"]), lock["namespace"], operations)


def _give_back(clusters: dict[str, KubeCluster], lock: Json) -> list[str]:
    """Free what `lock` holds in these kube clusters; those where that failed. One that it does not hold is left alone."""
    failed = each_cluster(clusters, tried(lambda cluster: _free_one(cluster, lock)))
    return [name for name, error in failed.items() if error is not None]


def acquire(
    clusters: dict[str, KubeCluster],
    name: str,
    namespace: str,
    me: Holder,
    take_over: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
    joining: Collection[str] = (),
    without: Collection[str] = (),
) -> Outcome:
    """Take the lock in every kube cluster, or renew it where `me` has it in all of them.

    `take_over` are run ids whose lock may be taken though they may live; `force` takes anybody's. Nothing is written before every kube
    cluster has answered, and what this call took is given back where it cannot have all. A lock in some of the deployment's kube clusters is none, so
    these are compared with its record first: `joining` are those that it is to grow into, `without` those that are left out on purpose.
    Where `me` and the holder have a heartbeat, the holder's Leases are watched before it is refused, which takes EXPIRES_AFTER of its intervals.
    Raises LockRefused and KubeError.
    """
    compared: dict[str, int] | None = None
    for _attempt in range(_ATTEMPTS):
        leases = leases_of(clusters, name, namespace)
        now = timestamp()
        seen = {cluster: seen_of(lease) for cluster, lease in leases.items()}
        outcome = _outcome(leases, name, namespace, me)
        # Whoever has it in all of them was compared when it took it.
        if outcome.lock is None and compared is None:
            found = membership.read(clusters, name, namespace)
            wrong = membership.problems(found, name, joining, without)
            if wrong:
                raise LockRefused("; ".join(wrong), {})
            # A Lease may have been deleted, or put back from a backup: the journals know which generations there were.
            compared = {cluster: int(entry["generation"]) for cluster, entry in found.items()}
        judged = {cluster: str(entry["state"]) for cluster, entry in outcome.holders.items()}
        refused = {} if force else plan.refusals(seen, judged, take_over)
        silent = 0.0 if dry_run else plan.watch_seconds(refused, judged, me)
        interval = min((holder.heartbeat for holder in refused.values()), default=0)
        if silent and _silent({cluster: clusters[cluster] for cluster in refused}, leases, name, namespace, silent, interval):
            # What was read is what is replaced: a renewal in between is a conflict.
            outcome = _outcome(leases, name, namespace, me, silent)
            judged = {cluster: str(entry["state"]) for cluster, entry in outcome.holders.items()}
            refused = plan.refusals(seen, judged, take_over)
        if refused:
            raise LockRefused(
                plan.refusal_text(name, namespace, refused, seen, me, now, compared, outcome.left, silent > 0), outcome.holders
            )
        if outcome.lock is not None:
            if not dry_run:
                renew(clusters, outcome.lock)
            return outcome
        lock: Json = {"name": name, "namespace": namespace, "holder": me.run_id, "generation": plan.next_generation(seen, compared)}
        if lock["generation"] > plan.MAX_GENERATION:
            raise LockRefused(plan.too_high(name, namespace, seen, compared), outcome.holders)
        taken = {cluster: entry for cluster, entry in seen.items() if judged[cluster] not in (plan.FREE, plan.OWN)}
        planned = replace(
            outcome,
            generation=lock["generation"],
            lock=None if dry_run else lock,
            changed=True,
            taken_over=sorted({entry.holder.run_id for entry in taken.values() if entry.holder}),
            warnings=_warnings(name, taken, judged, outcome.left, me, now),
        )
        if dry_run:
            return planned
        if _take_all(clusters, leases, lock, replace(me, since=now), now, compared or {}):
            planned.holders = holders_of(
                dict.fromkeys(seen, Seen(replace(me, since=now), lock["generation"], now)), dict.fromkeys(seen, plan.OWN), now
            )
            return planned
    raise KubeError(
        ", ".join(clusters), f"Lease {namespace}/{names.rollout(name)}", f"other runs took it {_ATTEMPTS} times in a row; run again later"
    )


def _silent(
    clusters: dict[str, KubeCluster], leases: dict[str, Json | None], name: str, namespace: str, seconds: float, interval: float
) -> bool:
    """Watch these Leases for so many seconds; False as soon as one is not the object any more that was read. Raises KubeError."""
    before = {cluster: _version(leases[cluster]) for cluster in clusters}
    begun = time.monotonic()
    while True:
        # Before it is read: what comes in between counts for the holder.
        waited = time.monotonic() - begun
        if {cluster: _version(lease) for cluster, lease in leases_of(clusters, name, namespace).items()} != before:
            return False
        if waited >= seconds:
            return True
        time.sleep(min(interval, seconds - waited))


def _version(lease: Json | None) -> tuple[str, str]:
    metadata = (lease or {}).get("metadata") or {}
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))


def _take_all(
    clusters: dict[str, KubeCluster], leases: dict[str, Json | None], lock: Json, me: Holder, now: str, known: Mapping[str, int]
) -> bool:
    """Take all Leases in sorted order; False where somebody else was faster, and then nothing is held. `known` are the journals' generations."""
    written: dict[str, KubeCluster] = {}
    try:
        for cluster in sorted(clusters):
            # Before the request: one without an answer may have been carried out all the same.
            written[cluster] = clusters[cluster]
            _take(clusters[cluster], leases[cluster], lock, me, now)
        each_or_raise(clusters, lambda cluster: _fence(cluster, lock, known.get(cluster.name, 0)))
    except _Raced:
        del written[cluster]
        left = _give_back(written, lock)
        if left:
            raise KubeError(", ".join(left), "lock", _left_text(left, lock)) from None
        return False
    except KubeError as error:
        left = _give_back(written, lock)
        if left:
            error.args = (f"{error}; {_left_text(left, lock)}",)
        raise
    except BaseException:
        _give_back(written, lock)
        raise
    return True


def _left_text(left: Sequence[str], lock: Json) -> str:
    return (
        f"the lock of deployment {lock['name']} may be held in kube cluster {', '.join(left)} still, where it could not be released; "
        f"take it with -e hostnet_take_over={lock['holder']} as soon as {'it answers' if len(left) == 1 else 'they answer'}"
    )


def _warnings(name: str, taken: dict[str, Seen], judged: dict[str, str], left: dict[str, list[Left]], me: Holder, now: str) -> list[str]:
    texts: dict[str, list[str]] = {}
    for cluster, entry in sorted(taken.items()):
        if entry.holder is None:
            continue
        held = plan.say_holder(entry.holder, entry.renewed_at, now)
        local = (entry.holder.boot_id, entry.holder.pid_namespace) == (me.boot_id, me.pid_namespace) != ("", "")
        if judged[cluster] == plan.DEAD:
            reason = "its process has ended, and nothing of it is left"
        elif judged[cluster] == plan.EXPIRED:
            seconds = int(plan.expires_after(entry.holder, me))
            reason = f"it renews its lock every {entry.holder.heartbeat} s while it lives, and has not for {seconds} s"
        elif judged[cluster] == plan.LEFT:
            reason = f"FORCED by hostnet_take_over, though there may be left of it: {', '.join(entry.text for entry in left[cluster])}"
        elif local and processes.started(entry.holder.pid) == entry.holder.started:
            reason = "FORCED by hostnet_take_over, though its process still runs; it stops at its next task"
        else:
            reason = "FORCED by hostnet_take_over"
        texts.setdefault(f"{held}: {reason}", []).append(cluster)
    return [f"the lock of deployment {name} was taken over in kube cluster {', '.join(found)} from {text}" for text, found in texts.items()]


def release(clusters: dict[str, KubeCluster], name: str, namespace: str, me: Holder, force: bool = False, dry_run: bool = False) -> Outcome:
    """Free the lock where `me` holds it (with `force`: whoever does). All kube clusters are tried. Raises KubeError."""
    leases: dict[str, Json | None] = {}
    freed: list[str] = []

    def free(cluster: KubeCluster) -> None:
        lease = leases[cluster.name] = cluster.get(kinds.LEASE, names.rollout(name), namespace)
        seen = seen_of(lease)
        if seen.holder is None or not (force or seen.holder.same_process(me)):
            return
        lock = {"name": name, "namespace": namespace, "holder": seen.holder.run_id, "generation": seen.generation}
        if dry_run or _free_one(cluster, lock):
            freed.append(cluster.name)
            spec = {"leaseTransitions": seen.generation, "renewTime": seen.renewed_at}
            leases[cluster.name] = {"metadata": {}, "spec": spec}

    each_or_raise(clusters, free)
    outcome = _outcome({cluster: leases[cluster] for cluster in clusters}, name, namespace, me)
    outcome.changed = bool(freed)
    return outcome
