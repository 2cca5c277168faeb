# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deployment: one Lease in every kube cluster, held by one process at a time (invariant 10 of docs/design.md).

It is taken in sorted order with compare and swap, so of two runs that race, the one that loses the first kube cluster has
lost. Every acquisition has a generation that no kube cluster has had before; whoever holds the lock proves it with run id and
generation, and a run that lost it can prove nothing any more. A Lease never expires: a rollout waits for hours, and a
controller that does not answer is not dead. It is taken over by order, or where its process is provably gone.

Here a run proves that it holds the lock, and renews it; lock_taking.py takes it and gives it back.
"""

from __future__ import annotations

from collections.abc import Callable

from .._plan import journal, names
from .._plan import lock as plan
from . import kinds
from .client import Json, KubeCluster, KubeError, each_cluster
from .json_patch import annotation_path, json_patch
from .lease import RENEWED_PATH, renewed_age, renewed_now, seen_of, timestamp

# Of a journal's ConfigMap: whoever takes the lock gives it the lock's generation, and each write of a journal tests that.
GENERATION_PATH = annotation_path(journal.GENERATION_ANNOTATION)


class LockLost(KubeError):
    """Somebody else has the lock, in `kube_cluster` at least.

    Its status is none of an API server's: whoever reads again after a conflict must not take this for one.
    """

    def __init__(self, kube_cluster: str, text: str) -> None:
        super().__init__(kube_cluster, "lock", text, status=423, reason="LockLost")
        self.args = (text,)


def _lost(cluster: str, lock: Json, lease: Json | None) -> LockLost | None:
    """The error where `lease` is not held as `lock` says."""
    seen = seen_of(lease)
    if seen.holder is not None and (seen.holder.run_id, seen.generation) == (lock["holder"], lock["generation"]):
        return None
    deployment = f"the lock of deployment {lock['name']}"
    where = f"in kube cluster {cluster} (Lease {lock['namespace']}/{names.rollout(lock['name'])}"
    if lease is None:
        said = f"{deployment} was deleted {where}); the next run creates it again and goes on"
    elif seen.generation < lock["generation"]:
        # A generation never goes back by itself.
        held = f"run {seen.holder.run_id}" if seen.holder else "nobody"
        said = (
            f"{deployment} went back to generation {seen.generation}, held by {held}, {where}); this run had {lock['generation']}: an older copy of "
            f"the Lease may have been restored from a backup; the next run goes on with a higher generation"
        )
    elif seen.holder is None:
        said = f"{deployment} is held by nobody {where}, generation {seen.generation}; this run had {lock['generation']})"
    elif seen.holder.run_id == lock["holder"]:
        said = (
            f"{deployment} was taken again by {lock['holder']} {where}, generation {seen.generation}; this call had {lock['generation']})"
        )
    else:
        said = (
            f"{deployment} was taken over by {seen.holder.run_id} {where}, generation {seen.generation}; this run had {lock['generation']})"
        )
    return LockLost(cluster, f"{said}; this run changes nothing more")


def _raise_all(results: dict[str, KubeError | None]) -> None:
    """One error for those of all kube clusters: a lock that is lost matters more than a kube cluster that does not answer."""
    errors = [error for error in results.values() if error is not None]
    if not errors:
        return
    errors.sort(key=lambda error: not isinstance(error, LockLost))
    first = errors[0]
    if len(errors) > 1:
        first.args = ("; ".join(str(error) for error in errors),)
    raise first


def tried(function: Callable[[KubeCluster], object]) -> Callable[[KubeCluster], KubeError | None]:
    """`function`, returning the KubeError that it raises: all kube clusters are tried before one of them fails the call."""

    def attempt(cluster: KubeCluster) -> KubeError | None:
        try:
            function(cluster)
        except KubeError as error:
            return error
        return None

    return attempt


def each_or_raise(clusters: dict[str, KubeCluster], function: Callable[[KubeCluster], object]) -> None:
    """Call `function` for all kube clusters at the same time; then raise what went wrong in all of them as one KubeError."""
    _raise_all(each_cluster(clusters, tried(function)))


def verify(clusters: dict[str, KubeCluster], lock: Json) -> None:
    """Raises LockLost where this run does not hold the lock in every kube cluster, KubeError where that cannot be told.

    `lock` is {name, namespace, holder (run id), generation}, and `neighbours`: the same of other deployments whose locks this run holds too, each
    with the names of its `kube_clusters`. One GET for each lock and kube cluster; nothing is written, but by a run with a heartbeat where that has failed.
    """

    _raise_all(_looked(clusters, lock))


def unasked(clusters: dict[str, KubeCluster], lock: Json) -> dict[str, str]:
    """The kube clusters that cannot be asked whether this run holds the lock, each with the error; in the others it does, else LockLost is raised.

    Whoever takes a lock takes all of its Leases, and never goes on without one. So a run that finds its own generation in a single kube cluster knows
    that nobody else had the lock when it read that. What such a run may do is in docs/design.md, section 7. As many requests as `verify`.
    """
    found = _looked(clusters, lock)
    lost = {name: error for name, error in found.items() if isinstance(error, LockLost)}
    if lost:
        _raise_all(dict(lost))
    return {name: str(error) for name, error in found.items() if error is not None}


def _looked(clusters: dict[str, KubeCluster], lock: Json) -> dict[str, KubeError | None]:
    """For each kube cluster why this run does not hold the lock there, or cannot know; None where it does.

    First all are read, then what its heartbeat did not renew is renewed: a lock that is lost anywhere is renewed nowhere.
    """
    overdue: dict[str, list[Json]] = {}

    def look(cluster: KubeCluster) -> None:
        for held in [lock, *(lock.get("neighbours") or [])]:
            if cluster.name not in held.get("kube_clusters", [cluster.name]):
                continue
            lease = cluster.get(kinds.LEASE, names.rollout(held["name"]), held["namespace"])
            error = _lost(cluster.name, held, lease)
            if error is not None:
                raise error
            holder = seen_of(lease).holder
            if holder is not None and plan.must_renew(holder, renewed_age(lease or {})):
                overdue.setdefault(cluster.name, []).append(held)

    def renew(cluster: KubeCluster) -> None:
        for held in overdue[cluster.name]:
            renew_one(cluster, held)

    found = each_cluster(clusters, tried(look))
    if not any(isinstance(error, LockLost) for error in found.values()):
        # Its heartbeat cannot reach these kube clusters, or is gone, and others would believe the run gone soon.
        late = {name: clusters[name] for name in overdue if found[name] is None}
        found |= each_cluster(late, tried(renew))
    return found


def still_ours(lock: Json) -> list[Json]:
    return [
        {"op": "test", "path": "/spec/holderIdentity", "value": lock["holder"]},
        {"op": "test", "path": "/spec/leaseTransitions", "value": lock["generation"]},
    ]


def renew_one(cluster: KubeCluster, lock: Json) -> None:
    """Verify and renew the lock in one kube cluster with one request, which the API server does as a whole or not at all."""
    operations = [
        *still_ours(lock),
        # Before it is sent: it may take long.
        {"op": "add", "path": RENEWED_PATH, "value": renewed_now()},
        {"op": "add", "path": "/spec/renewTime", "value": timestamp()},
    ]
    if json_patch(cluster, kinds.LEASE, names.rollout(lock["name"]), lock["namespace"], operations):
        return
    lease = cluster.get(kinds.LEASE, names.rollout(lock["name"]), lock["namespace"])
    raise _lost(cluster.name, lock, lease) or LockLost(
        cluster.name, f"the lock of deployment {lock['name']} could not be renewed in kube cluster {cluster.name}; run again"
    )


def renew(clusters: dict[str, KubeCluster], lock: Json) -> None:
    """Verify and renew in all kube clusters at the same time. Raises LockLost and KubeError as `verify` does."""
    each_or_raise(clusters, lambda cluster: renew_one(cluster, lock))
