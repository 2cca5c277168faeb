# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks each API server whether it would let a pod in, as a dry run: quotas, LimitRanges, Pod Security and webhooks all answer, nothing is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import kinds
from .client import Json, KubeCluster, KubeError, each_cluster

_ADVICE = "; grant it as docs/rbac.yaml does"
# Kubernetes makes these two itself, and lets nobody else make a class with this prefix.
_BUILT_IN = "system-"
# What a kubelet reads for a registry. https://kubernetes.io/docs/concepts/containers/images/#specifying-imagepullsecrets-on-a-pod
_REGISTRY_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
# Says nothing about the pod: a webhook that cannot be asked without consequences, a quota or an account that is not there yet, a name that is taken.
_SILENT = ("does not support dry run", "status unknown for quota", "serviceaccount", "already exists")


def try_pods(
    clusters: Mapping[str, KubeCluster], pods: Mapping[str, Json | None], priority_class: str, namespace: str, pull_secrets: Sequence[str]
) -> dict[str, Json]:
    """By kube cluster {refused: why the API server would not let its pod in, or "", class_exists, missing_secrets: those of `pull_secrets` that are not
    in `namespace`, or hold nothing for a registry}; without a pod (None) it is not asked about one.

    Raises KubeError where a kube cluster does not answer, or where the user may not ask.
    """
    involved = {name: clusters[name] for name in pods}

    def one(cluster: KubeCluster) -> Json:
        own = bool(priority_class) and not priority_class.startswith(_BUILT_IN)
        exists = not own or cluster.get(kinds.PRIORITY_CLASS, priority_class) is not None
        pod = pods[cluster.name]
        return {
            "class_exists": exists,
            "refused": _refused(cluster, pod) if pod and exists else "",
            "missing_secrets": [name for name in pull_secrets if not _is_for_a_registry(cluster, namespace, name)],
        }

    return each_cluster(involved, one)


def _is_for_a_registry(cluster: KubeCluster, namespace: str, name: str) -> bool:
    found = cluster.get(kinds.SECRET, name, namespace)
    return found is not None and found.get("type") in _REGISTRY_TYPES


def _refused(cluster: KubeCluster, pod: Json) -> str:
    try:
        cluster.create(pod, dry_run=True)
    except KubeError as error:
        # 423: before it could be asked again the lock was lost.
        if error.unreachable or error.status in (401, 404, 423) or "cannot create resource" in error.detail:
            raise
        if any(words in error.detail for words in _SILENT):
            return ""
        return error.detail.removesuffix(_ADVICE)
    return ""
