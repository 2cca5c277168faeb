# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a member's disk whose folder is not there. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .admission import admission_id
from .layout import data_folder
from .probe import parse_probe, probe_env

Json = dict[str, Any]


def look_nodes(hostnet: Mapping[str, Any], status: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_run with PROBE_SCRIPT: those of members whose folder is not there, and nobody knows why."""
    ready = {(node["kube_cluster"], node["name"]) for node in nodes if node["ready"]}
    return [
        {"kube_cluster": entry["kube_cluster"], "name": entry["node"], "env": probe_env(hostnet)}
        for entry in status["members"]
        if entry["class"] == "no_folder" and (entry["kube_cluster"], entry["node"]) in ready
    ]


def facts_of(bindings: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], lost: Sequence[str] = ()) -> dict[str, Json]:
    """Member -> facts of parse_probe about its node, of those that were looked at; and `lost` where a human says that its disk is gone for good."""
    found = {(result["kube_cluster"], result["node"]): str(result["stdout"]) for result in results if result.get("rc", 0) == 0}
    return {
        str(binding["member"]): {
            **parse_probe(found.get((binding["kube_cluster"], binding["node"]), "")),
            "lost": binding["member"] in lost,
        }
        for binding in bindings
        if (binding["kube_cluster"], binding["node"]) in found or binding["member"] in lost
    }


def without_folder(hostnet: Mapping[str, Any], binding: Mapping[str, Any], facts: Mapping[str, Any] | None) -> tuple[str, str]:
    """Class and reason of a member whose VM is the one it was admitted to, and whose folder is not there, as its kubelet says.

    `facts` are parse_probe's about that node, None where nobody has looked. Only an empty disk that is proven to be the recorded one is
    `reimaged`, which a repair mends by itself.
    """
    folder = data_folder(hostnet, binding)
    here = f"node {binding['node']} is the same VM, and {folder} is not there"
    # A disk that comes back under a new admission would be a second, older copy of the member.
    gone = (
        f'Only where that disk is gone for good, say so: playbooks/repair.yml -e \'{{"hostnet_lost_disks": ["{binding["member"]}"]}}\' takes the disk that is '
        f"there now. Or replace the VM"
    )
    # Admissions have no order of their own.
    either = (
        "either the disk is an older copy, from a snapshot for example: then bring the present disk back. Or the binding is the older one, because its kube "
        "cluster was restored from a backup: compare the copies of the other kube clusters first (docs/recovery.md, The copies of the bindings differ)."
    )
    recorded, seen = binding.get("disk") or {}, (facts or {}).get("disk") or {}
    if facts and facts.get("lost") and binding["admission"] not in facts["content"]:
        # A DaemonSet's folder has the same name after every admission, so an old disk that comes back over it would start by itself.
        if hostnet["placement"] == "daemonset" and _below(str(recorded.get("mount", "")), str(seen.get("mount", ""))):
            return (
                "not_mounted",
                (
                    f"{here}: hostnet_lost_disks is refused, because its data was on what was mounted at {recorded['mount']}, and {hostnet['data_root']} is on "
                    f"{seen['mount']} now: with placement daemonset the old disk would start as the member if it came back there. Mount another disk at "
                    f"{recorded['mount']} (with hostnet_data_mount=true no member is admitted without one) and run it again, or replace the VM"
                ),
            )
        return "reimaged", f"{here}: hostnet_lost_disks says that its disk is gone for good"
    if not facts or not seen:
        return (
            "no_folder",
            f"{here}: its disk may be empty, another one, or not mounted. The member waits; playbooks/repair.yml looks at the disk",
        )
    content = facts["content"]
    marker = facts["markers"].get(binding["admission"], {})
    if binding["admission"] in content:
        if marker and marker.get("admission") != admission_id(binding):
            return (
                "older_copy",
                (
                    f"{folder} on node {binding['node']} has the marker of admission {marker.get('admission')}, and {admission_id(binding)} is recorded: "
                    f"{either} {gone}"
                ),
            )
        return "unknown", f"{folder} is on node {binding['node']} again; its kubelet has not tried again yet"
    if (hostnet.get("data_mount") or recorded.get("mounted")) and not seen["mounted"]:
        return (
            "not_mounted",
            (
                f"{here}: no disk is mounted at {hostnet['data_root']}, which is a folder of {seen['mount']} now. Mount the data disk, and the member "
                f"starts by itself. {gone}"
            ),
        )
    if not recorded:
        return (
            "no_folder",
            (
                f"{here}. Nothing was recorded about its disk, as versions before 0.3.0 did, so there is no telling whether it is empty, another disk, or not "
                f"mounted. If it is there, mount it. {gone}"
            ),
        )
    if recorded["mount"] != seen["mount"]:
        return (
            "not_mounted" if _below(recorded["mount"], seen["mount"]) else "other_disk",
            (
                f"{here}: its data was on what is mounted at {recorded['mount']}, and {hostnet['data_root']} is on {seen['mount']} now. Mount the disks as "
                f"they were, and the member starts by itself. {gone}"
            ),
        )
    if recorded["filesystem"] != seen["filesystem"] or _differ(recorded["id"], seen["id"]):
        return (
            "other_disk",
            (
                f"{here}: another disk is mounted at {seen['mount']} ({_disk(seen)}, recorded is {_disk(recorded)}). Bring the recorded disk back, and the "
                f"member starts by itself. {gone}"
            ),
        )
    older = sorted(
        name
        for name, said in facts["markers"].items()
        if said.get("member") == binding["member"] and said.get("deployment") == hostnet["name"] and content.get(name) == "data"
    )
    if older:
        return (
            "older_copy",
            (f"{here}, but {older[0]}, another admission of the member, is: {either} {gone}"),
        )
    if not recorded["id"] or recorded["id"] != seen["id"]:
        return (
            "no_folder",
            (
                f"{here}. The file system at {seen['mount']} ({seen['filesystem']}) has no identity that could be compared, so nobody can "
                f"tell whether it is the same disk. {gone}"
            ),
        )
    return (
        "reimaged",
        f"{here}: its recorded disk ({_disk(seen)}) is mounted at {seen['mount']} and has no data of the member, so it does not start",
    )


def _below(recorded: str, seen: str) -> bool:
    """Whether the recorded mount point is below the one that is seen: nothing is mounted there now."""
    return bool(seen) and recorded != seen and recorded.startswith(f"{seen.rstrip('/')}/")


def _differ(recorded: str, seen: str) -> bool:
    """Whether two identities of one kind (`fsid:`, `uuid:`) are different. What cannot be compared does not differ, and proves nothing."""
    return bool(recorded and seen) and recorded.partition(":")[0] == seen.partition(":")[0] and recorded != seen


def _disk(disk: Mapping[str, Any]) -> str:
    return f"{disk['filesystem']} {disk['id'] or 'without identity'}"
