# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VM that a member leaves, and the node that it goes on with. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from . import dead, join, rebind, signs, steps
from .nodes import same_address

Json = dict[str, Any]

# AKS gives the VM a new disk under its name and address; the node that comes before is a buffer, and goes again.
_IN_PLACE = "kubernetes.azure.com/agentpool"
_POOL_LABELS = ("cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", _IN_PLACE, "karpenter.sh/nodepool")


def pool_of(labels: Mapping[str, str], own: str = "") -> tuple[str, str]:
    """(label, name) of the node pool: by the user's `own` label (hostnet_pool_label), else by those that the clouds write. ("", "") where none is there."""
    return next(((label, str(labels[label])) for label in (own, *_POOL_LABELS) if label and labels.get(label)), ("", ""))


def other_pool(node: Mapping[str, Any], known: Mapping[str, Any], own: str) -> str:
    """Why this node is not of the pool that the user's `own` label gives the member's node (`known`: pool_label and pool), or "".

    A cloud's label alone keeps no node away: a pool that takes the place of another one has another name.
    """
    if not own or known.get("pool_label") != own or node["labels"].get(own) == known.get("pool"):
        return ""
    has = f"{own}={node['labels'][own]}" if node["labels"].get(own) else f"no label {own}"
    return f"node {node['name']} has {has}, and the member's node had {own}={known['pool']} (hostnet_pool_label)"


def _same_pool(node: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a node is of the pool of the member's node. Of a journal of an older version, the pool's name is known alone."""
    label, name = str(known.get("pool_label") or ""), str(known.get("pool") or "")
    return bool(node["labels"].get(label) == name) if label else pool_of(node["labels"])[1] == name


def in_place(labels: Mapping[str, str]) -> bool:
    """Whether the cloud makes this node's VM anew under its name."""
    return bool(labels.get(_IN_PLACE))


def is_new(node: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> bool:
    """Whether the node is a VM that was not there before: `known` has the `seen` UIDs of Node objects, `providers` ids and `machines` ids.

    A UID and a provider id that nobody had make a new VM. So does a machine id that nobody had: a VM that is made anew under its old name has
    the old provider id on some clouds, and one that is re-imaged in place may keep its Node object. A VM that only starts again keeps
    its machine id, and a Node object that is only made again keeps provider id and machine id.
    """
    machine, provider = str(node.get("machine_id") or ""), str(node["provider_id"] or "")
    if machine and known.get("machines") and not _is_among(machine, known["machines"]):
        return True
    return not _is_among(str(node["uid"]), known.get("seen", ())) and not (provider and _is_among(provider, known.get("providers", ())))


def digest(value: str) -> str:
    """An id of a VM as the journal keeps it: 12 hexadecimal digits instead of up to 200 characters.

    Two of 5,000 ids and a new one have the same digest once in 10^10 times, and then a rollout waits for another VM.
    """
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def _is_among(value: str, known: Sequence[str]) -> bool:
    # Journals of schema 1 have the ids themselves.
    return digest(value) in known or value in known


def candidates(
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    known: Mapping[str, Sequence[str]] | None = None,
) -> list[Json]:
    """Nodes that the member may get: of its kube cluster, matching the selector, carrying nobody else, and no VM that was `known` before.

    The node of its own name comes first (a re-imaged VM, or a pool that gives old names to new VMs), then those without a sign of their end.
    """
    taken = {(entry["kube_cluster"], entry["node"]) for entry in bindings if entry["member"] != binding["member"]}
    found = [
        dict(node)
        for node in nodes
        if node["kube_cluster"] == binding["kube_cluster"]
        and node.get("selected", True)
        and (node["kube_cluster"], node["name"]) not in taken
        and is_new(node, known or {})
    ]
    return sorted(
        found,
        key=lambda node: (
            node["name"] != binding["node"],
            node["zone"] != binding["zone"],
            signs.urgency(node),
            join.natural_key(str(node["name"])),
        ),
    )


def free_nodes(
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    known: Mapping[str, Any] | None = None,
    own: str = "",
) -> list[Json]:
    """The `candidates` that could carry the member now: of its pool, where the user's `own` label tells that (`known`: pool_label and pool)."""
    return [node for node in candidates(binding, nodes, bindings) if _usable(node, binding) and not other_pool(node, known or {}, own)]


def _usable(node: Mapping[str, Any], binding: Mapping[str, Any]) -> bool:
    if node.get("unschedulable") or dead.out_of_service(node) or signs.goes(node):
        return False
    return bool(node["ready"] and node["zone"] == binding["zone"])


def identify(
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    known: Mapping[str, Any],
    patient: bool,
    own: str = "",
) -> Json:
    """The node that a member goes on with after its VM was replaced: {node: the node or null, waiting: why not yet, error: why never}.

    `known` are the VMs that existed before (is_new), with `pool_label`, `pool` and `generation` of the old one, and
    `in_place` where the cloud makes VMs anew under their names. `own` is the user's label of node pools: the node has to be of the old one's pool.
    `patient`: somebody else replaces the VM, so that a node in another zone may be anybody's, and only time tells; otherwise it is the hook's, and wrong. A
    pool's upgrade brings the new node before the old one goes, and perhaps before this rollout looked: then it is told by its generation.
    """
    where = f"kube cluster {binding['kube_cluster']}"
    fresh = candidates(binding, nodes, bindings, known)
    early = [node for node in candidates(binding, nodes, bindings) if patient and node not in fresh and _is_newer(node, binding, known)]
    named = patient and bool(known.get("in_place"))
    passed = [node["name"] for node in [*fresh, *early] if named and node["name"] != binding["node"]]
    found = [node for node in [*fresh, *early] if node["name"] not in passed]
    elsewhere = [why for why in (other_pool(node, known, own) for node in found) if why]
    found = [node for node in found if not other_pool(node, known, own) and (node in fresh or _same_pool(node, known))]
    right = [node for node in found if node["zone"] == binding["zone"]]
    wrong = [node for node in found if node["zone"] != binding["zone"]]
    owners = {str(entry["address"]): str(entry["member"]) for entry in bindings if entry["member"] != binding["member"]}
    for node in right:
        owner = next((name for address, name in owners.items() if same_address(address, str(node["address"]))), "")
        if owner:
            return {
                "node": None,
                "waiting": "",
                "error": f"{where}: the new node {node['name']} has address {node['address']}, which belongs to member {owner}: it is used again only after "
                f"every member has forgotten the old one. Give the VM another address, or repair {owner} first",
            }
    # What this rollout has cordoned under a Node object that stays, it uncordons before the member starts.
    ready = [
        node
        for node in right
        if node["ready"]
        and node["address"]
        and not (node.get("unschedulable") and node["uid"] != binding["node_uid"])
        and not dead.out_of_service(node)
        and not signs.goes(node)
    ]
    if ready:
        return {"node": ready[0], "waiting": "", "error": ""}
    if right:
        return {
            "node": None,
            "waiting": f"{where}: node {right[0]['name']} is not Ready, is cordoned, about to go or out of service, or has no address",
            "error": "",
        }
    if wrong and not patient:
        return {
            "node": None,
            "waiting": "",
            "error": f"{where}: the VM that came for member {binding['member']} is node {wrong[0]['name']} in zone {wrong[0]['zone'] or '(none)'}, its place "
            f"is in zone {binding['zone'] or '(none)'}. Remove that VM, bring one into the right zone, and run again",
        }
    told = "".join(f"; {why}" for why in elsewhere[:3])
    if passed:
        told += f"; this pool makes VMs anew under their names, so {binding['node']} is waited for, not {', '.join(passed[:3])}"
    return {
        "node": None,
        "waiting": f"{where}: no new node that matches the selector, in zone {binding['zone'] or '(none)'}{told}",
        "error": "",
    }


def came_early(node: Mapping[str, Any], binding: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a node that was there before is of the pool's new generation, and so a successor as good as one that comes later.

    It is younger than the node that it follows, and another VM: that one may have got a new kubelet in place, and a new Node object.
    """
    return _is_newer(node, binding, known) and _same_pool(node, known)


def _is_newer(node: Mapping[str, Any], binding: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    generation = str(node.get("generation") or "")
    if not generation or not known.get("generation") or generation == known["generation"]:
        return False
    if str(node.get("created") or "") <= str(known.get("created") or "~"):
        return False
    same = any(binding.get(key) and node.get(key) == binding[key] for key in ("provider_id", "machine_id"))
    return not same and node["uid"] != binding["node_uid"]


def identify_for(
    record: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], patient: bool, own: str = ""
) -> Json:
    """`identify` for the member in hand, as the journal knows it."""
    old = record["old"]
    if record.get("class") in steps.KEPT_DISK:
        # The VM is the one it was; only its address is another.
        same = [node for node in nodes if node["kube_cluster"] == old["kube_cluster"] and node["name"] == old["node"]]
        ready = [node for node in same if node["ready"] and node["address"]]
        if not ready:
            return {"node": None, "waiting": f"node {old['node']} is not Ready, or has no address", "error": ""}
        holders = [
            entry
            for entry in bindings
            if entry["member"] != old["member"] and same_address(str(entry["address"]), str(ready[0]["address"]))
        ]
        away = {entry["member"] for entry in rebind.displaced(bindings, {**old, "address": ready[0]["address"]}, nodes)}
        for holder in holders:
            if holder["member"] not in away:
                return {
                    "node": None,
                    "waiting": "",
                    "error": f"node {old['node']} has address {ready[0]['address']}, which belongs to member {holder['member']}: it is used again only "
                    f"after every member has forgotten the old one. Repair {holder['member']} first, or give the VM another address",
                }
        return {"node": ready[0], "waiting": "", "error": ""}
    chosen = record.get("new")
    if chosen:
        same = [
            node for node in nodes if node["kube_cluster"] == chosen["kube_cluster"] and node["uid"] == chosen["node_uid"] and node["ready"]
        ]
        if same:
            return {"node": same[0], "waiting": "", "error": ""}
    return identify(old, nodes, bindings, record, patient, own)


def vm_done(record: Mapping[str, Any], action: str, nodes: Sequence[Mapping[str, Any]], own: str = "") -> bool:
    """Whether `action` (reboot, replace, add, remove) is done already, so a hook that ran before a kill is not asked a second time.

    `own` is the user's label of node pools: another pool's new node is not what the hook made.
    """
    old = record["old"]
    node = next((node for node in nodes if node["kube_cluster"] == old["kube_cluster"] and node["name"] == old["node"]), None)
    fresh = [
        entry
        for entry in nodes
        if entry["kube_cluster"] == old["kube_cluster"]
        and entry["zone"] == old["zone"]
        and is_new(entry, record)
        and not other_pool(entry, record, own)
    ]
    if action == "reboot":
        return node is not None and node["ready"] and bool(record["boot_id"]) and node["boot_id"] != record["boot_id"]
    if action == "add":
        return bool(fresh)
    if action == "remove":
        return node is None or is_new(node, record)
    # A hook that was killed between the end of the old VM and the start of the new one is called again.
    return bool(fresh) and (node is None or is_new(node, record))


def vm(record: Mapping[str, Any], action: str) -> Json:
    """`hostnet_vm`: what the user's hook is told about the VM."""
    old = record["old"]
    return {
        "action": action,
        "kube_cluster": old["kube_cluster"],
        "node": old["node"],
        "node_uid": old["node_uid"],
        "provider_id": old["provider_id"],
        "pool": record["pool"],
        "region": old["region"],
        "zone": old["zone"],
        "address": old["address"],
        # What shows that it was done: another boot, or another VM under the same name and provider id.
        "boot_id": record["boot_id"],
        "machine_id": old.get("machine_id", ""),
    }
