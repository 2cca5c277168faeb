# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes very specific pods and waits until they are gone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .._plan import dead
from .._plan.nodes import node_facts
from . import kinds
from .client import Json, KubeCluster, KubeError, each_cluster, in_parallel
from .watch import wait_gone


def delete_pods(
    clusters: dict[str, KubeCluster], namespace: str, pods: Sequence[Json], timeout_seconds: float, grace_seconds: int | None = None
) -> tuple[list[Json], list[str]]:
    """Delete `pods` ({kube_cluster, name, uid, force}) and wait until they are gone, all kube clusters at the same time.

    `grace_seconds` instead of the pods' own, also for those that are stopping: an API server makes that time shorter, never longer.
    `force` asks not to wait for a kubelet. It is done only where the pod's Node object does not exist, or is not Ready and a human has said that it
    is out of service: nobody can confirm the end of a process there, and nobody has to. Returns the pods that this call deleted (those that were
    gone are not among them), and a line for each that is still there at the deadline. Raises KubeError where a kube cluster does not answer or refuses.
    """
    deadline = time.monotonic() + timeout_seconds
    mine = {name: [pod for pod in pods if pod["kube_cluster"] == name] for name in clusters}
    involved = {name: clusters[name] for name, found in mine.items() if found}
    answers = each_cluster(involved, lambda cluster: _delete_in(cluster, namespace, mine[cluster.name], deadline, grace_seconds))
    deleted = [pod for done, _lines in answers.values() for pod in done]
    return deleted, [line for _done, lines in answers.values() for line in lines]


def _delete_in(
    cluster: KubeCluster, namespace: str, pods: Sequence[Json], deadline: float, grace_seconds: int | None
) -> tuple[list[Json], list[str]]:
    def delete(pod: Json) -> bool:
        grace = grace_seconds
        if pod.get("force"):
            live = cluster.get(kinds.POD, pod["name"], namespace)
            if live is None or live["metadata"]["uid"] != pod["uid"]:
                return False
            name = live["spec"].get("nodeName", "")
            node = cluster.get(kinds.NODE, name) if name else None
            if node is None or dead.is_dead(node_facts(node, cluster.name, "InternalIP")):
                grace = 0
        try:
            return cluster.delete(kinds.POD, pod["name"], namespace, uid=pod["uid"], grace_seconds=grace)
        except KubeError as error:
            if error.status == 409:  # another pod has this name by now: ours is gone
                return False
            raise

    done = [pod for pod, gone in zip(pods, in_parallel(delete, pods), strict=True) if gone]
    left = wait_gone(cluster, kinds.POD, namespace, {pod["name"]: pod["uid"] for pod in pods}, deadline)
    where = {name: (item or {}).get("spec", {}).get("nodeName") or "(none)" for name, item in left.items()}
    return done, [
        f"kube cluster {cluster.name}: pod {namespace}/{name} on node {node} is still there; is its kubelet alive?"
        for name, node in where.items()
    ]
