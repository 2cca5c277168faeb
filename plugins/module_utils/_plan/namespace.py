# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespace of a deployment, and what it needs. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import names

Json = dict[str, Any]


def namespace_objects(hostnet: Mapping[str, Any], existing: Mapping[str, Any]) -> list[Json]:
    """The namespace in each kube cluster that has none. One that exists is left as it is: it may be somebody else's."""
    objects = []
    for cluster in hostnet["kube_clusters"]:
        if existing.get(cluster["name"], {}).get("namespace") is not None:
            continue
        definition = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": hostnet["namespace"],
                "labels": {
                    names.MANAGED_BY_LABEL: names.PREFIX,
                    # hostNetwork, hostPort and hostPath are what baseline and restricted forbid.
                    # https://kubernetes.io/docs/concepts/security/pod-security-standards/
                    "pod-security.kubernetes.io/enforce": "privileged",
                },
            },
        }
        objects.append({"kube_cluster": cluster["name"], "definition": definition})
        if hostnet.get("priority_class"):
            objects.append({"kube_cluster": cluster["name"], "definition": _priority_quota(hostnet)})
    return objects


def _priority_quota(hostnet: Mapping[str, Any]) -> Json:
    """Without such a quota GKE lets no pod have a critical priority class outside of kube-system. It limits nothing.

    https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
    """
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [hostnet["priority_class"]]}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "hostnet-priority", "namespace": hostnet["namespace"], "labels": {names.MANAGED_BY_LABEL: names.PREFIX}},
        "spec": {"hard": {"pods": "1G"}, "scopeSelector": {"matchExpressions": [scope]}},
    }
