# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deployment: one Lease in every kube cluster, held by one process at a time (invariant 10 of docs/design.md).

It is taken in sorted order with compare and swap, so of two runs that race, the one that loses the first kube cluster has
lost. Every acquisition has a generation that no kube cluster has had before; whoever holds the lock proves it with run id and
generation, and a run that lost it can prove nothing any more. A Lease never expires: a rollout waits for hours, and a
controller that does not answer is not dead. It is taken over by order, or where its process is provably gone.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from .._plan import journal, names
from .._plan import lock as plan
from .._plan.lock import Holder, Left, Seen
from . import kinds, membership, processes
from .client import FIELD_MANAGER, Json, KubeCluster, KubeError, each_cluster

HOLDER_ANNOTATION = f"{names.PREFIX}/holder"
# When the holder renewed it last by the clock of its own host, which is never compared with another one's: boot id, and seconds since that boot.
RENEWED_ANNOTATION = f"{names.PREFIX}/renewed"
_RENEWED_PATH = "/metadata/annotations/" + RENEWED_ANNOTATION.replace("/", "~1")
LEASE_SECONDS = 60  # only for people and tools that read Leases; nobody takes the lock because of it
_ATTEMPTS = 10  # another run takes and gives back between our read and our write: rare, and never so often in a row
_CONFLICTS = 3  # of the API server with itself, over a Lease that nobody has changed
# Of a journal's ConfigMap.
GENERATION_PATH = "/metadata/annotations/" + journal.GENERATION_ANNOTATION.replace("/", "~1")
# What the API server answers to a JSON patch whose `test` fails or whose path is not there (RFC 6902), and where the object is gone.
_TEST_FAILED = (400, 404, 422)


class LockLost(KubeError):
    """Somebody else has the lock, in `kube_cluster` at least.

    Its status is none of an API server's: whoever reads again after a conflict must not take this for one.
    """

    def __init__(self, kube_cluster: str, text: str) -> None:
        super().__init__(kube_cluster, "lock", text, status=423, reason="LockLost")
        self.args = (text,)


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


def timestamp(moment: datetime | None = None) -> str:
    """Now, as a Lease wants it: RFC 3339 in UTC with microseconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# -- processes -----------------------------------------------------------------------------------------------------


def this_process(run_id: str, what: str, pid: int, now: str) -> Holder:
    """Process `pid` of this host, from which this one was forked, as a holder.

    Where /proc is missing or another PID namespace's, or the process has no mark, it can never be proven dead.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.getuid())
    me = Holder(run_id, host=platform.node(), user=user, pid=pid, since=now, what=what)
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return me
        return replace(
            me,
            started=processes.started(pid) or 0,
            boot_id=processes.boot_id(),
            pid_namespace=os.readlink("/proc/self/ns/pid"),
            mark=processes.mark_of(pid),
            cgroup=processes.cgroup_of(pid),
        )
    except OSError:
        return me


def _renewed_now() -> str:
    """What RENEWED_ANNOTATION says of this moment; nothing on a host that does not tell."""
    try:
        return f"{processes.boot_id()} {processes.uptime():.3f}"
    except OSError:
        return ""


def _renewed_age(lease: Json) -> float | None:
    """Seconds since this host renewed the Lease, the time in which it slept included; None where that cannot be told."""
    said = str(((lease.get("metadata") or {}).get("annotations") or {}).get(RENEWED_ANNOTATION, "")).split()
    try:
        return processes.uptime() - float(said[1]) if len(said) == 2 and said[0] == processes.boot_id() else None
    except (OSError, ValueError):
        return None


# -- reading -------------------------------------------------------------------------------------------------------


def seen_of(lease: Json | None) -> Seen:
    """What a Lease says."""
    if lease is None:
        return Seen()
    spec, metadata = lease.get("spec") or {}, lease.get("metadata") or {}
    run_id = str(spec.get("holderIdentity") or "")
    generation, renewed_at = int(spec.get("leaseTransitions") or 0), str(spec.get("renewTime") or "")
    if not run_id:
        return Seen(None, generation, renewed_at)
    try:
        fields = json.loads((metadata.get("annotations") or {}).get(HOLDER_ANNOTATION, "null"))
    except ValueError:
        fields = None
    return Seen(plan.holder_of(fields, run_id), generation, renewed_at)


def holder_summary(lease: Json | None) -> Json | None:
    """Who holds the lock as its Lease says, for a status: {run_id, what, host, user, since, renewed_at}; None where nobody does."""
    seen = seen_of(lease)
    if seen.holder is None:
        return None
    fields = seen.holder.as_dict()
    return {**{key: fields[key] for key in ("run_id", "what", "host", "user", "since")}, "renewed_at": seen.renewed_at}


def holders_of(seen: dict[str, Seen], judged: dict[str, str], now: str) -> Json:
    """The holders by kube cluster, for results."""
    return {
        name: {
            "state": judged[name],
            "generation": entry.generation,
            "renewed_at": entry.renewed_at,
            "age_seconds": plan.age_seconds(entry.renewed_at, now),
            "holder": entry.holder.as_dict() if entry.holder else None,
        }
        for name, entry in seen.items()
    }


def _leases(clusters: dict[str, KubeCluster], name: str, namespace: str) -> dict[str, Json | None]:
    return each_cluster(clusters, lambda cluster: cluster.get(kinds.LEASE, names.rollout(name), namespace))


def read(clusters: dict[str, KubeCluster], name: str, namespace: str, me: Holder) -> Outcome:
    """Who holds the lock. One GET for each kube cluster."""
    return _outcome(_leases(clusters, name, namespace), name, namespace, me)


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


def _lost(cluster: str, lock: Json, lease: Json | None) -> LockLost | None:
    """The error where `lease` is not held as `lock` says."""
    seen = seen_of(lease)
    if seen.holder is not None and (seen.holder.run_id, seen.generation) == (lock["holder"], lock["generation"]):
        return None
    deployment = f"the lock of deployment {lock['name']}"
    where = f"in kube cluster {cluster} (Lease {lock['namespace']}/{names.rollout(lock['name'])}"
    if lease is None:
        said = f"{deployment} was deleted {where}); the next run makes it anew and goes on"
    elif seen.generation < lock["generation"]:
        # A generation never goes back by itself.
        held = f"run {seen.holder.run_id}" if seen.holder else "nobody"
        said = (
            f"{deployment} went back to generation {seen.generation}, held by {held}, {where}); this run had {lock['generation']}: somebody has put an "
            f"older copy of the Lease there, a backup for example; the next run goes on with a higher generation"
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


def _tried(function: Callable[[KubeCluster], object]) -> Callable[[KubeCluster], KubeError | None]:
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
    _raise_all(each_cluster(clusters, _tried(function)))


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
            if holder is not None and plan.must_renew(holder, _renewed_age(lease or {})):
                overdue.setdefault(cluster.name, []).append(held)

    def renew(cluster: KubeCluster) -> None:
        for held in overdue[cluster.name]:
            renew_one(cluster, held)

    found = each_cluster(clusters, _tried(look))
    if not any(isinstance(error, LockLost) for error in found.values()):
        # Its heartbeat cannot reach these kube clusters, or is gone, and others would believe the run gone soon.
        late = {name: clusters[name] for name in overdue if found[name] is None}
        found |= each_cluster(late, _tried(renew))
    return found


# -- writing -------------------------------------------------------------------------------------------------------


def json_patch(cluster: KubeCluster, kind: kinds.Kind, name: str, namespace: str, operations: Sequence[Json]) -> bool:
    """Send a JSON patch (RFC 6902), which the API server does as a whole or not at all; False where one of its tests failed.

    It may be sent again after a lost answer, so it has to come with tests. Where one of them fails then, the first try may have been carried out: the
    object is read, and it is done where that is as the patch leaves it.
    """
    for attempt in range(_ATTEMPTS):
        try:
            cluster.request(
                "PATCH",
                kind.path(namespace, name),
                f"{kind.name} {namespace}/{name}",
                query=[("fieldManager", FIELD_MANAGER)],
                body=list(operations),
                content_type="application/json-patch+json",
                safe=True,
            )
        except KubeError as error:
            if error.status in _TEST_FAILED:
                return error.tries > 1 and _is_done(cluster.get(kind, name, namespace), operations)
            # The API server itself gives up after some writers in a row that were faster.
            if error.status != 409 or attempt == _ATTEMPTS - 1:
                raise
        else:
            return True
    return False


def _is_done(live: Json | None, operations: Sequence[Json]) -> bool:
    """Whether the object is as these operations leave it: what they set is there, and what they only test is still so."""
    wanted: dict[str, Any] = {}
    for operation in operations:
        wanted[operation["path"]] = operation["value"]
    return live is not None and all(_at(live, path) == value for path, value in wanted.items())


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; None where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        document = document.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(document, dict) else None
    return document


def _still_ours(lock: Json) -> list[Json]:
    return [
        {"op": "test", "path": "/spec/holderIdentity", "value": lock["holder"]},
        {"op": "test", "path": "/spec/leaseTransitions", "value": lock["generation"]},
    ]


def renew_one(cluster: KubeCluster, lock: Json) -> None:
    """Verify and renew the lock in one kube cluster with one request, which the API server does as a whole or not at all."""
    operations = [
        *_still_ours(lock),
        # Before it is sent: it may take long.
        {"op": "add", "path": _RENEWED_PATH, "value": _renewed_now()},
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


def labels(name: str) -> dict[str, str]:
    """Labels of lock and journal: the deployment's selector finds them."""
    return {names.DEPLOYMENT_LABEL: name, names.MANAGED_BY_LABEL: names.PREFIX, "app.kubernetes.io/instance": name}


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
            RENEWED_ANNOTATION: _renewed_now(),
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
    raise KubeError(cluster.name, f"ConfigMap {namespace}/{name}", "somebody else keeps changing it; find out who, then run again", 409)


def _free_one(cluster: KubeCluster, lock: Json) -> bool:
    """Free the Lease where it is held as `lock` says; False where it is not. Who had it last and the generation stay."""
    operations = [*_still_ours(lock), {"op": "replace", "path": "/spec/holderIdentity", "value": ""}]
    return json_patch(cluster, kinds.LEASE, names.rollout(lock["name"]), lock["namespace"], operations)


def _give_back(clusters: dict[str, KubeCluster], lock: Json) -> list[str]:
    """Free what `lock` holds in these kube clusters; those where that failed. One that it does not hold is left alone."""
    failed = each_cluster(clusters, _tried(lambda cluster: _free_one(cluster, lock)))
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
        leases = _leases(clusters, name, namespace)
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
        if {cluster: _version(lease) for cluster, lease in _leases(clusters, name, namespace).items()} != before:
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
        f"the lock of deployment {lock['name']} may be held in kube cluster {', '.join(left)} still, where it could not be given back; "
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
            reason = f"BY ORDER, though there may be left of it: {', '.join(entry.text for entry in left[cluster])}"
        elif local and processes.started(entry.holder.pid) == entry.holder.started:
            reason = "BY ORDER, though its process still runs; it stops at its next task"
        else:
            reason = "by order"
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
