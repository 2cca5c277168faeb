# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Lease says of a lock's holder, and what this process says of itself."""

from __future__ import annotations

import getpass
import json
import os
import platform
from dataclasses import replace
from datetime import UTC, datetime

from .._plan import lock as plan
from .._plan import names
from .._plan.lock import Holder, Seen
from . import kinds, processes
from .client import Json, KubeCluster, each_cluster
from .json_patch import annotation_path

HOLDER_ANNOTATION = f"{names.PREFIX}/holder"
# When the holder renewed it last by the clock of its own host, which is never compared with another one's: boot id, and seconds since that boot.
RENEWED_ANNOTATION = f"{names.PREFIX}/renewed"
RENEWED_PATH = annotation_path(RENEWED_ANNOTATION)


def timestamp(moment: datetime | None = None) -> str:
    """Now, as a Lease wants it: RFC 3339 in UTC with microseconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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


def renewed_now() -> str:
    """What RENEWED_ANNOTATION says of this moment; nothing on a host that does not tell."""
    try:
        return f"{processes.boot_id()} {processes.uptime():.3f}"
    except OSError:
        return ""


def renewed_age(lease: Json) -> float | None:
    """Seconds since this host renewed the Lease, the time in which it slept included; None where that cannot be told."""
    said = str(((lease.get("metadata") or {}).get("annotations") or {}).get(RENEWED_ANNOTATION, "")).split()
    try:
        return processes.uptime() - float(said[1]) if len(said) == 2 and said[0] == processes.boot_id() else None
    except (OSError, ValueError):
        return None


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


def leases_of(clusters: dict[str, KubeCluster], name: str, namespace: str) -> dict[str, Json | None]:
    return each_cluster(clusters, lambda cluster: cluster.get(kinds.LEASE, names.rollout(name), namespace))


def labels(name: str) -> dict[str, str]:
    """Labels of lock and journal: the deployment's selector finds them."""
    return {names.DEPLOYMENT_LABEL: name, names.MANAGED_BY_LABEL: names.PREFIX, "app.kubernetes.io/instance": name}
