# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which object of Cluster API or Karpenter owns a VM, and whether deleting it brings another one. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .node import Call, Decision, Refused, happened, where

Json = dict[str, Any]

CLUSTER_API = "cluster.x-k8s.io"
KARPENTER = "karpenter.sh"
# https://cluster-api.sigs.k8s.io/reference/api/labels-and-annotations
DELETE_FIRST = "cluster.x-k8s.io/delete-machine"
PAUSED = "cluster.x-k8s.io/paused"
# https://karpenter.sh/docs/concepts/nodeclaims/
NODE_POOL = "karpenter.sh/nodepool"
_ZONE = "topology.kubernetes.io/zone"


def named(item: Mapping[str, Any]) -> str:
    """An object, as people name it."""
    metadata = item["metadata"]
    return (
        f"{item['kind']} {metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else f"{item['kind']} {metadata['name']}"
    )


def owner_of(machine: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reference to the controller of a Machine; empty where it has none."""
    owners = machine["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def machine_of(vm: Mapping[str, Any], machines: Sequence[Json]) -> Json | None:
    """The Machine of this VM, by its provider id; None where there is none. Raises Refused where several say they are it."""
    return _only(vm, [item for item in machines if (item.get("spec") or {}).get("providerID") == vm["provider_id"]])


def claim_of(vm: Mapping[str, Any], claims: Sequence[Json]) -> Json | None:
    """The NodeClaim of this VM, by its provider id."""
    return _only(vm, [item for item in claims if (item.get("status") or {}).get("providerID") == vm["provider_id"]])


def _only(vm: Mapping[str, Any], found: Sequence[Json]) -> Json | None:
    if len(found) > 1:
        raise Refused(f"{where(vm)}: {' and '.join(map(named, found))} have its provider id. Nothing is deleted: look which one it is")
    return found[0] if found else None


def decide_machine(
    vm: Mapping[str, Any], state: str, management: str, machine: Json | None, machine_set: Json | None, cluster: Json | None
) -> Decision:
    """What is done about a Machine. `management` is where Machines were looked for; the others are its MachineSet and its Cluster, where they are there."""
    early = _early(vm, state, machine, f"a Machine {management}")
    if early or machine is None:
        return Decision(already=early)
    reference = (machine.get("status") or {}).get("nodeRef") or {}
    _same_node(vm, machine, str(reference.get("name") or ""), str(reference.get("uid") or ""))
    owner = owner_of(machine)
    if owner.get("kind") != "MachineSet" or machine_set is None:
        owned = f"is owned by {owner['kind']} {owner['name']}" if owner else "is owned by nobody"
        raise Refused(f"{where(vm)}: its {named(machine)} {owned}, and only a MachineSet makes another one. Nothing is deleted")
    for item in (machine, machine_set, *([cluster] if cluster else [])):
        annotations = item["metadata"].get("annotations") or {}
        if PAUSED in annotations or (item["kind"] == "Cluster" and (item.get("spec") or {}).get("paused")):
            raise Refused(f"{where(vm)}: {named(item)} is paused, so Cluster API would do nothing. Nothing is deleted: resume it first")
    if machine_set["metadata"].get("deletionTimestamp"):
        raise Refused(f"{where(vm)}: {named(machine_set)} is being deleted, so no other Machine would come. Nothing is deleted")
    wants = int((machine_set.get("spec") or {}).get("replicas") or 0)
    has = int((machine_set.get("status") or {}).get("replicas") or 0)
    if has > wants:
        raise Refused(
            f"{where(vm)}: {named(machine_set)} wants {wants} Machines and has {has}, so no other one would come. Nothing is deleted: wait until it has "
            "as many as it wants"
        )
    uid = str(machine["metadata"]["uid"])
    calls = []
    if DELETE_FIRST not in (machine["metadata"].get("annotations") or {}):
        # Somebody who makes the MachineSet smaller right now then takes this Machine, and no second one.
        calls.append(Call("annotate", f"annotate {named(machine)} with {DELETE_FIRST}", {"annotation": DELETE_FIRST, "uid": uid}))
    return Decision([*calls, Call("delete", f"delete {named(machine)} (UID {uid})", {"uid": uid})])


def decide_claim(
    vm: Mapping[str, Any], state: str, claim: Json | None, claims: Sequence[Json], pool: Json | None, pending_pods: bool
) -> Decision:
    """What is done about a NodeClaim. `pending_pods`: the user's word that a pod is waiting for a VM of a NodePool that has no fixed size."""
    early = _early(vm, state, claim, "a NodeClaim")
    if early or claim is None:
        return Decision(already=early)
    _same_node(vm, claim, str((claim.get("status") or {}).get("nodeName") or ""), "")
    name = str((claim["metadata"].get("labels") or {}).get(NODE_POOL) or "")
    if pool is None or pool["metadata"].get("deletionTimestamp"):
        lost = (
            f"NodePool {name} of its {named(claim)} is {'not there' if pool is None else 'being deleted'}" if name else "it has no NodePool"
        )
        raise Refused(f"{where(vm)}: {lost}, so no other VM would come. Nothing is deleted")
    spec = pool.get("spec") or {}
    if spec.get("replicas") is None:
        if not pending_pods:
            raise Refused(
                f"{where(vm)}: NodePool {name} has no spec.replicas, so Karpenter makes another VM only where a pod waits for one, and members and their "
                "guards wait for nobody. Nothing is deleted: use a NodePool of a fixed size, or have a pod of yours ask for a VM in "
                f"zone {vm['zone']} and set vm_karpenter_pending_pods: true"
            )
    else:
        mine = [
            item
            for item in claims
            if (item["metadata"].get("labels") or {}).get(NODE_POOL) == name and not item["metadata"].get("deletionTimestamp")
        ]
        if len(mine) > int(spec["replicas"]):
            raise Refused(
                f"{where(vm)}: NodePool {name} wants {spec['replicas']} VMs and has {len(mine)}, so no other one would come. Nothing is deleted: wait until "
                "it has as many as it wants"
            )
        zones = _zones(spec)
        if set(zones) != {vm["zone"]}:
            may = f"zone {', '.join(sorted(zones))}" if zones else "any zone"
            raise Refused(
                f"{where(vm)}: NodePool {name} may make the next VM in {may}, and the member's is {vm['zone']}. Nothing is deleted: "
                "give each zone a NodePool of its own"
            )
    uid = str(claim["metadata"]["uid"])
    return Decision([Call("delete", f"delete {named(claim)} (UID {uid})", {"uid": uid})])


def _zones(spec: Mapping[str, Any]) -> list[str]:
    """The zones that a NodePool names; none where it leaves that open."""
    requirements = ((spec.get("template") or {}).get("spec") or {}).get("requirements") or []
    found = [entry for entry in requirements if entry.get("key") == _ZONE and entry.get("operator") == "In"]
    return [str(zone) for entry in found for zone in entry.get("values") or []]


def _early(vm: Mapping[str, Any], state: str, item: Json | None, what: str) -> str:
    """What has happened already, or `` where the object is still to be deleted. Raises Refused where nothing proves whose object it is."""
    shown = happened(vm, state)
    if shown:
        return shown
    if item is None:
        if state == "gone":
            return f"node {vm['node']} and its VM's object are gone"
        raise Refused(
            f"{where(vm)}: there is no {what.removeprefix('a ')} with that provider id. Nothing is deleted: is the VM one of that kind?"
        )
    if item["metadata"].get("deletionTimestamp"):
        return f"{named(item)} is being deleted since {item['metadata']['deletionTimestamp']}"
    if state == "gone":
        raise Refused(
            f"{where(vm)}: its Node is gone, and {named(item)} is there and is not being deleted, so nothing shows that it is the member's. Nothing is "
            "deleted: delete it yourself where it is"
        )
    return ""


def _same_node(vm: Mapping[str, Any], item: Json, name: str, uid: str) -> None:
    if name != vm["node"] or (uid and uid != vm["node_uid"]):
        said = f"{name or 'no node'}{f' (UID {uid})' if uid else ''}"
        raise Refused(
            f"{where(vm)}: {named(item)} has its provider id and names {said}, not the member's node. Nothing is deleted: look whose it is"
        )
