# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was observed, in the shapes in which the roles need it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import dead

Json = dict[str, Any]


def renewed(observed: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was observed of each kube cluster, with those `parts` of it that were read again."""
    return {name: {**found, **parts.get(name, {})} for name, found in observed.items()}


def seeds(observed: Mapping[str, Any]) -> list[str]:
    """The join list in force. Where a run was ended between two kube clusters, the first one's counts: entries are only kept, never trusted."""
    for name in sorted(observed):
        data = observed[name]["join"]
        if data and data.get("seeds"):
            return [entry for entry in str(data["seeds"]).split(",") if entry]
    return []


def stored_certificates(observed: Mapping[str, Any]) -> dict[str, Json]:
    """What the kube clusters have stored, as the annotations of Secrets tell it: member -> file -> {serial, not_after}."""
    found: dict[str, Json] = {}
    for cluster in observed.values():
        for secret in cluster["secrets"]:
            found.update(secret["certificates"])
    return found


def live_members(bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The bindings with `live`: a ready pod on the very node it was admitted to, under the address it was admitted with."""
    current = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    result = []
    for binding in bindings:
        node = current.get((str(binding["kube_cluster"]), str(binding["node"])), {})
        pods = observed.get(binding["kube_cluster"], {}).get("pods", [])
        ready = any(pod["ready"] and not pod["terminating"] and pod["node"] == binding["node"] for pod in pods)
        same = bool(node) and node["uid"] == binding["node_uid"] and dead.lists_address(node, str(binding["address"]))
        result.append({**binding, "live": bool(ready and same)})
    return result


def expected(bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`expect` of deployment_info: the members to wait for."""
    return [{key: binding[key] for key in ("kube_cluster", "member", "node")} for binding in bindings]
