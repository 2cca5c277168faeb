# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a workload has no pod: a quota, a LimitRange, a missing priority class or an admission webhook refuses it.

No pod means no pod's events. The controller of the StatefulSet or DaemonSet writes one about its workload instead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .._plan import names
from . import kinds
from .client import Json, KubeCluster, KubeError

# https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/: fields that a selector may name.
_SELECTOR = "type=Warning,reason=FailedCreate"


def without_pods(workloads: Sequence[Json], pods: Sequence[Json]) -> list[str]:
    """Names of the StatefulSets and DaemonSets that want a pod which does not exist."""
    members = {str(pod["metadata"].get("labels", {}).get(names.MEMBER_LABEL, "")) for pod in pods}
    found = []
    for item in workloads:
        name, status = item["metadata"]["name"], item.get("status") or {}
        if item["kind"] == "DaemonSet":
            short = int(status.get("currentNumberScheduled") or 0) < int(status.get("desiredNumberScheduled") or 0)
        else:
            member = item["metadata"].get("labels", {}).get(names.MEMBER_LABEL, "")
            short = int(item["spec"].get("replicas", 1)) > 0 and member not in members
        if short:
            found.append(name)
    return found


def reasons(cluster: KubeCluster, namespace: str, workloads: Collection[str]) -> dict[str, str]:
    """`reason: message` of the newest event about each of these workloads that has one. No workloads, no request."""
    if not workloads:
        return {}
    try:
        events, _version = cluster.list(kinds.EVENT, namespace, field_selector=_SELECTOR)
    except KubeError:
        return {}  # this only explains, and must not hide what is explained
    found = {}
    for event in sorted(events, key=lambda item: str(item.get("lastTimestamp") or item.get("eventTime") or "")):
        name = event.get("involvedObject", {}).get("name", "")
        if name in workloads:
            found[name] = f"{event.get('reason', '')}: {event.get('message', '')}"
    return found


def reason_of(found: dict[str, str], name: str, member: str) -> str:
    """What `reasons` found about the workload of a member of deployment `name`: its own StatefulSet, or the DaemonSet."""
    return found.get(names.workload(name, member), "") or found.get(names.workload(name), "")
