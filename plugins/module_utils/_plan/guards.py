# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guard pods: what shows that a drain of a member's node has begun, and holds it up. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import names
from .hardened import hardened
from .metadata import metadata_of
from .pod import chosen_by_user, on_node

Json = dict[str, Any]


def guard_objects(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> list[Json]:
    """What holds up a drain of a member's node, and shows that it has begun: a Deployment with two pods there, and a budget that lets one of them go.

    A drain leaves the pods of DaemonSets alone, so a member's own may say nothing. The guards are released, to no pod at all, while the
    member is stopped. They tolerate what the user's nodes need, and no cordon: a pod that a drain has evicted must not come back.
    """
    member = str(binding["member"])
    selector = {names.GUARD_LABEL: str(hostnet["name"]), names.MEMBER_LABEL: member}
    labels = {
        "app.kubernetes.io/name": "guard",
        "app.kubernetes.io/instance": str(hostnet["name"]),
        names.MANAGED_BY_LABEL: names.PREFIX,
        **selector,
    }
    # As the first process of its container a shell hears SIGTERM only where it says so.
    container = {
        "name": "guard",
        "image": hostnet["probe_image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"],
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": hardened(),
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": list(hostnet["tolerations"]),
        "affinity": on_node(binding),
        **chosen_by_user(hostnet),
        "containers": [container],
    }
    metadata = metadata_of(hostnet, names.guard(str(hostnet["name"]), member), member)
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 0 if binding.get("stopped") else names.GUARDS,
                # A guard is of one node: the new one's have nothing to do with the old one's.
                "strategy": {"type": "Recreate"},
                "revisionHistoryLimit": 0,
                "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"minAvailable": names.GUARDS - 1, "selector": {"matchLabels": selector}},
        },
    ]
