# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal keeps about a member before its first change, since nobody can observe it afterwards. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import successor
from .nodes import same_address

Json = dict[str, Any]


def wanted_settings(work: str, surge: bool, image: str) -> Json:
    """What must be the same when a rollout is gone on with after a kill."""
    return {"work": work, "surge": surge, "image": image if work == "version" else ""}


def record(
    entry: Mapping[str, Any],
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    inspection: Mapping[str, Any],
    own: str = "",
) -> Json:
    """What the journal keeps about a member before its first change: a resumed run cannot observe it any more. `own`: the user's label of node pools."""
    mine = [node for node in nodes if node["kube_cluster"] == binding["kube_cluster"]]
    node = next((node for node in mine if node["name"] == binding["node"]), None)
    label, pool = successor.pool_of(node["labels"], own) if node else ("", "")
    return {
        "member": entry["member"],
        "class": entry["class"],
        "work": entry["work"],
        "surge": entry["surge"],
        "waits": bool(entry.get("waits")),
        "steps": list(entry["steps"]),
        # Members of other deployments on its VM: once they are stopped, nothing on the node may tell of them.
        "neighbours": [dict(share) for share in entry.get("neighbours") or []],
        "old": {key: value for key, value in binding.items() if key != "stopped"},
        "old_id": old_id(inspection, binding),
        "new": None,
        "boot_id": node["boot_id"] if node else "",
        "pool": pool,
        "pool_label": label,
        "in_place": bool(node and successor.in_place(node["labels"])),
        "generation": str(node.get("generation") or "") if node else "",
        "created": str(node.get("created") or "") if node else "",
        # A repair takes what is there; a replacement must be a VM that was not.
        "seen": [] if entry["work"] == "repair" else sorted(successor.digest(str(node["uid"])) for node in mine),
        "providers": [] if entry["work"] == "repair" else sorted(map(successor.digest, {str(node["provider_id"]) for node in mine} - {""})),
        "machines": []
        if entry["work"] == "repair"
        else sorted(map(successor.digest, {str(node.get("machine_id") or "") for node in mine} - {""})),
    }


def old_id(inspection: Mapping[str, Mapping[str, Any]], binding: Mapping[str, Any]) -> str:
    """The id under which the system knows a member, as the member itself or healthy others tell it; "" where nobody does.

    Its name decides, then its address, compared as an IP address and never as text.
    """
    own = inspection.get(str(binding["member"]), {})
    if own.get("reachable") and own.get("id"):
        return str(own["id"])
    for name in sorted(inspection):
        if not inspection[name].get("healthy"):
            continue
        peers = inspection[name].get("peers", [])
        for wanted in (
            lambda peer: peer.get("name") == binding["process"],
            lambda peer: same_address(str(peer.get("address", "")), str(binding["address"])) and not peer.get("live"),
        ):
            found = [str(peer["id"]) for peer in peers if peer.get("id") and wanted(peer)]
            if found:
                return found[0]
    return ""


def issued(certificates: Sequence[Mapping[str, Any]]) -> dict[str, list[Json]]:
    """What the journal notes about the certificates of each member, by its name: nothing secret."""
    found: dict[str, list[Json]] = {}
    for entry in certificates:
        found.setdefault(str(entry["name"]), []).append(
            {
                "file": entry["file"],
                "serial": entry["serial"],
                "not_after": entry["not_after"],
                "addresses": [name.removeprefix("IP:") for name in entry.get("sans", []) if name.startswith("IP:")],
                "reason": entry.get("reason", ""),
            }
        )
    return found
