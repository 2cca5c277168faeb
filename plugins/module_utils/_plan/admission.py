# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Admissions: whose disk a data folder is on, and the markers that say so. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from .layout import all_ports
from .probe import parse_probe

Json = dict[str, Any]

# How far a VM's clock may be behind the controller's: less than an hour, so that it may also be read a while later. Certificates are good for longer, but a
# clock that is so wrong is about to jump.
_BEHIND_SECONDS = 3000


def admitted(bindings: Sequence[Mapping[str, Any]], token: str, placement: str, nonce: str) -> list[Json]:
    """The bindings with their admissions filled in; one once given is kept.

    An admission is made of the token, the member, the node's UID and a random `nonce`: an empty folder that somebody made by looking, an old
    copy of the disk or a former member's folder is never the folder of a new admission. `admission` names the folder. A DaemonSet has one
    template, so there the token is the folder's name, and the admission of the member's own is `admission_id`, which the marker has.
    """
    if not nonce:
        raise ValueError("an admission needs a random nonce")
    result = []
    for binding in bindings:
        entry = dict(binding)
        if not entry["admission"]:
            digest = hashlib.sha256(f"{token}/{entry['member']}/{entry['node_uid']}/{nonce}".encode()).hexdigest()
            own = f"{entry['member']}-{digest[:12]}"
            entry["admission"] = token if placement == "daemonset" else own
            if placement == "daemonset":
                entry["admission_id"] = own
        result.append(entry)
    return result


def admission_id(binding: Mapping[str, Any]) -> str:
    """What the marker in the member's folder says."""
    return str(binding.get("admission_id") or binding["admission"])


def admitted_vm(binding: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether the node is still the VM that the member was admitted to. A re-imaged VM may keep its Node object, and has another machine id."""
    return node["uid"] == binding["node_uid"] and all(
        not binding.get(key) or not node.get(key) or binding[key] == node[key] for key in ("provider_id", "machine_id")
    )


def admit_nodes(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    batch: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    token: str,
    former: Mapping[str, Any] | None = None,
    now: float = 0,
) -> list[Json]:
    """`nodes` of node_run with ADMIT_SCRIPT: the members of the batch that were never admitted before.

    Where a port of the system is taken on the host, or its clock is most of an hour behind `now` (the controller's, seconds since the epoch), it makes
    nothing: no old process is forgotten for a VM that cannot carry the member.

    A folder is made before its binding is written, so a member with a binding has one; where it is gone, the disk was
    emptied, and the member must wait for a repair. `former` is the member's binding before a repair: where its disk was mounted, the
    same VM's has to be so now too.
    """
    fresh = {binding["member"] for binding in new}
    found = [_marked(hostnet, spec, binding, token, former) for binding in batch if binding["member"] in fresh]
    host = {
        # As /proc/net/tcp has them.
        "PORTS": " ".join(f"{number:04X}={name}" for name, number in sorted(all_ports(spec).items())),
        "NOT_BEFORE": str(int(now - _BEHIND_SECONDS)) if now else "0",
    }
    return [{**entry, "env": {**entry["env"], **host}} for entry in found]


def mark_nodes(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    observed: Mapping[str, Any],
    token: str,
) -> list[Json]:
    """`nodes` of node_run with MARK_SCRIPT: members that run and of whose disk nothing is recorded, as versions before 0.3.0 left them."""
    uids = {(node["kube_cluster"], node["name"]): node["uid"] for node in nodes if node["ready"]}
    return [
        _marked(hostnet, spec, with_machine(binding, nodes), token, None)
        for binding in bindings
        if not binding.get("disk")
        and not binding.get("stopped")
        and uids.get((binding["kube_cluster"], binding["node"])) == binding["node_uid"]
        and any(
            pod["running"] and not pod["terminating"] and pod["node"] == binding["node"]
            for pod in observed.get(binding["kube_cluster"], {}).get("pods", [])
        )
    ]


def _marked(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], binding: Mapping[str, Any], token: str, former: Mapping[str, Any] | None
) -> Json:
    was_mounted = bool(former and (former.get("disk") or {}).get("mounted") and former["node_uid"] == binding["node_uid"])
    return {
        "kube_cluster": binding["kube_cluster"],
        "name": binding["node"],
        "env": {
            "DEPLOYMENT": str(hostnet["name"]),
            "ROOT": str(hostnet["data_root"]),
            "ADMISSION": str(binding["admission"]),
            "ADMISSION_ID": admission_id(binding),
            "TOKEN": token,
            "MEMBER": str(binding["member"]),
            "NODE_UID": str(binding["node_uid"]),
            "MACHINE": str(binding.get("machine_id") or ""),
            "OWNER": str(spec["user"]),
            "MUST_MOUNT": "true" if hostnet.get("data_mount") or was_mounted else "false",
        },
    }


def with_machine(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Json:
    """The binding with its VM's machine id, which versions before 0.3.0 did not record."""
    found = next((node.get("machine_id") for node in nodes if node["uid"] == binding["node_uid"]), "")
    return {**binding, "machine_id": found} if found and not binding.get("machine_id") else dict(binding)


def with_disks(
    bindings: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]] = ()
) -> list[Json]:
    """The bindings with `disk` as the scripts found it on their nodes: {mounted, mount, filesystem, id}, and the machine id of the VM."""
    found = {(result["kube_cluster"], result["node"]): parse_probe(str(result["stdout"]))["disk"] for result in results}
    return [
        {**with_machine(binding, nodes), "disk": found[binding["kube_cluster"], binding["node"]]}
        if found.get((binding["kube_cluster"], binding["node"]))
        else dict(binding)
        for binding in bindings
    ]
