# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a removal may delete on nodes, and what it has left there. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import names
from .admission import admission_id
from .layout import data_folder

Json = dict[str, Any]


def silent(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of members whose end cannot be awaited: the kubelet of a node that is not Ready confirms nothing."""
    away = {(node["kube_cluster"], node["name"]) for node in nodes if not node["ready"]}
    return [str(binding["member"]) for binding in bindings if (binding["kube_cluster"], binding["node"]) in away]


def remove_nodes(
    hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], token: str
) -> list[Json]:
    """`nodes` of node_run with REMOVE_SCRIPT: each with the admission of the member that is recorded there, if any.

    Those that match the selector too: an admission that was cut short leaves a folder and nothing else. Nodes that neither match nor hold a
    member, by binding or by label, are left alone.
    """
    owners = {(binding["kube_cluster"], binding["node"]): binding for binding in bindings}
    labels = {names.node_label(str(hostnet["name"])), names.namespace_label(str(hostnet["name"]))}
    result = []
    for node in nodes:
        owner = owners.get((node["kube_cluster"], node["name"]), {})
        if not owner and not node.get("selected", True) and not labels & set(node.get("labels") or {}):
            continue
        result.append(
            {
                "kube_cluster": node["kube_cluster"],
                "name": node["name"],
                "env": {
                    "DEPLOYMENT": str(hostnet["name"]),
                    "TOKEN": token,
                    "ADMISSION": str(owner.get("admission", "")),
                    "ADMISSION_ID": admission_id(owner) if owner else "",
                    "MEMBER": str(owner.get("member", "")),
                },
            }
        )
    return result


def removal(
    hostnet: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
) -> Json:
    """What a removal has done on the nodes: {removed, left (lines about folders that nobody has recorded), unfinished (lines: the records stay)}.

    `nodes` are all that are known, `results` what node_run gave on those that are Ready.
    """
    done: Json = {"removed": [], "left": [], "unfinished": []}
    base = f"{hostnet['data_root']}/{hostnet['name']}"
    cleaned = {(result["kube_cluster"], result["node"]) for result in results}
    for result in results:
        where = f"kube cluster {result['kube_cluster']}: node {result['node']}"
        for line in str(result["stdout"]).splitlines():
            word, _space, rest = line.partition(" ")
            if word == "removed":
                done["removed"].append(f"{where}: {base}/{rest}")
            elif word == "left":
                done["left"].append(
                    f"{where}: {base}/{rest} is left: it is no recorded folder of a member. Look at it, and delete it by hand"
                )
            elif word == "unproven":
                done["unfinished"].append(
                    f"{where}: {base}/{rest} is left: it has no marker that says it is this member's. Run playbooks/deploy.yml once, which writes the markers "
                    f"of members that run, or delete it by hand"
                )
    known = {(node["kube_cluster"], node["name"]): node["ready"] for node in nodes}
    for binding in bindings:
        key = (binding["kube_cluster"], binding["node"])
        if key in cleaned:
            continue
        where = f"kube cluster {key[0]}: node {key[1]}"
        folder = data_folder(hostnet, binding)
        if known.get(key) is False:
            done["unfinished"].append(
                f"{where} is not Ready, so {folder} of member {binding['member']} is still there. Run this again when it is Ready"
            )
        elif key in known:
            done["left"].append(
                f"{where}: {folder} of member {binding['member']} is left: nothing of the deployment but that is in this kube cluster"
            )
        else:
            done["left"].append(f"{where} does not exist any more; {folder} of member {binding['member']} went with it, or is on its disk")
    return done
