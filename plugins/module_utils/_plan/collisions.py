# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that a deployment wants and that somebody else's objects have already: pure functions.

Workloads and their Secrets are named `<deployment>-<kube cluster>-<ordinal>`, so deployment `a` with kube cluster `b-c` and deployment `a-b` with kube
cluster `c` want the same ones in one namespace. Names of ConfigMaps and Leases end in words of their own, of which none is the end of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import names

Json = dict[str, Any]
KIND = {"node_name": "StatefulSet", "daemonset": "DaemonSet"}


def others(name: str, workloads: Sequence[Mapping[str, Any]], manager: str) -> list[Json]:
    """Those of all workloads of a namespace that are not of deployment `name`: {kind, name, owner}; `owner` is "" where it is not ours at all."""
    found = []
    for item in workloads:
        metadata = item["metadata"]
        owner = owner_of(item)
        if owner != name and (owner or not written_by(item, manager)):
            found.append({"kind": item["kind"], "name": metadata["name"], "owner": owner})
    return found


def owner_of(item: Mapping[str, Any]) -> str:
    """The deployment that an object says it belongs to."""
    return str((item["metadata"].get("labels") or {}).get(names.DEPLOYMENT_LABEL, ""))


def written_by(item: Mapping[str, Any], manager: str) -> bool:
    """Whether `manager` wrote any field of it: then somebody has only taken its labels away."""
    return any(entry.get("manager") == manager for entry in item["metadata"].get("managedFields") or ())


def errors(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """What of the names that these members need is somebody else's."""
    name, kind = str(hostnet["name"]), KIND.get(str(hostnet["placement"]), "")
    found = []
    wanted = {
        (str(entry["kube_cluster"]), names.workload(name, str(entry["member"]) if kind == "StatefulSet" else "")): str(entry["member"])
        for entry in bindings
    }
    for kube_cluster in sorted(observed):
        for other in observed[kube_cluster].get("others") or []:
            member = wanted.get((kube_cluster, str(other["name"])))
            # Another kind of workload is in the way too where it is ours: its Secret has the name.
            if member is None or not (other["owner"] or other["kind"] == kind):
                continue
            whose = f"belongs to deployment {other['owner']}" if other["owner"] else "was not made by this collection"
            found.append(
                f"kube cluster {kube_cluster}: {other['kind']} {hostnet['namespace']}/{other['name']} {whose}, and member {member} of "
                f"{name} would take its name. "
                f"Choose another hostnet_namespace, or another hostnet_name"
            )
    return found


def stranger(wanted: Mapping[str, Any], live: Mapping[str, Any] | None, manager: str) -> str:
    """Why a live object must not be taken over by the manifest `wanted`, or "". Only manifests that say whose they are claim anything."""
    mine = owner_of(wanted)
    if not mine or live is None or live["metadata"].get("deletionTimestamp"):
        return ""
    owner = owner_of(live)
    if owner == mine or (not owner and written_by(live, manager)):
        return ""
    whose = f"it belongs to deployment {owner}" if owner else "it was not made by this collection"
    return f"{whose}, so {mine} does not take it over: rename or remove it, or choose another hostnet_namespace or hostnet_name"
