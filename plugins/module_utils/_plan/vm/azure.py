# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an instance of an Azure scale set, or of an AKS agent pool, may be replaced, re-imaged or restarted. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from .node import Call, Decision, Later, Refused, happened, where

Json = dict[str, Any]

ACTIONS = ("reboot", "replace")
REPLACE_BY = ("delete", "reimage")
# A deletion lowers the count of its pool. What it was is written there first, as UID:COUNT of the Node that goes, and is taken away by the same request
# that brings the count back: so a run that was killed in between is found out about. Tags of Azure have no slash.
TAG = "hostnet.multicluster.replaces"
# https://cloud-provider-azure.sigs.k8s.io: azure:///subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachineScaleSets/SET/virtualMachines/N
_PROVIDER_ID = re.compile(
    r"azure://(/subscriptions/([0-9a-f-]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/virtualMachineScaleSets/([^/]+))/virtualMachines/(\d+)",
    re.IGNORECASE,
)
_CLUSTER = re.compile(
    r"/subscriptions/[0-9a-f-]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerService/managedClusters/[^/]+", re.IGNORECASE
)
_MARK = re.compile(r"([^:]+):(\d+)")
# Tags and labels that AKS writes.
_POOL_TAG = "aks-managed-poolName"
_POOL_LABEL = "kubernetes.azure.com/agentpool"
_OVER = ("Succeeded", "Failed", "Canceled")
# What the API answers about a pool and takes from nobody.
_READ_ONLY = ("eTag", "currentOrchestratorVersion", "nodeImageVersion", "provisioningState")


class Found(TypedDict):
    """What Azure says, as its API has it; None where it knows nothing."""

    scale_set: Json
    # With its instanceView.
    instance: Json | None
    # All of the scale set.
    instances: Sequence[Json]
    # Where the scale set is AKS' own: the pool, and the name that AKS has for the instance.
    pool: Json | None
    machine: str


@dataclass(frozen=True)
class Ids:
    """`scale_set` is the path of one in the API, `number` the instance's."""

    scale_set: str
    number: str

    @property
    def instance(self) -> str:
        return f"{self.scale_set}/virtualMachines/{self.number}"

    @property
    def resource_group(self) -> str:
        return self.scale_set.split("/providers/", 1)[0]

    @property
    def name(self) -> str:
        return self.scale_set.rpartition("/")[2]


@dataclass(frozen=True)
class Group:
    """Who makes another instance: an agent pool, or a scale set of no AKS cluster. `count` is how many it wants."""

    title: str
    count: int
    tags: Mapping[str, str]
    state: str

    @property
    def mark(self) -> tuple[str, int]:
        """(UID of the Node that is being replaced, count before); ("", 0) where there is none."""
        match = _MARK.fullmatch(str(self.tags.get(TAG) or ""))
        return (match[1], int(match[2])) if match else ("", 0)


def ids_of(vm: Mapping[str, Any]) -> Ids:
    match = _PROVIDER_ID.fullmatch(str(vm["provider_id"]))
    if not match:
        raise Refused(
            f"{where(vm)}: its provider id is none of an instance of a uniform scale set "
            "(azure:///subscriptions/.../virtualMachineScaleSets/NAME/virtualMachines/NUMBER). Nothing is done to it: do this VM by hand"
        )
    return Ids(match[1], match[5])


def cluster_of(resource_group: Mapping[str, Any]) -> str:
    """The path of the AKS cluster whose VMs are in a resource group, or ``."""
    managed_by = str(resource_group.get("managedBy") or "")
    return managed_by if _CLUSTER.fullmatch(managed_by) else ""


def pool_name(scale_set: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    labels = (node.get("metadata") or {}).get("labels") or {}
    return str((scale_set.get("tags") or {}).get(_POOL_TAG) or labels.get(_POOL_LABEL) or "")


def machine_of(ids: Ids, machines: Sequence[Mapping[str, Any]]) -> str:
    """What AKS calls an instance, or ``. Azure's ids are the same in any case of letters."""
    found = [item for item in machines if str((item.get("properties") or {}).get("resourceId")).lower() == ids.instance.lower()]
    return str(found[0]["name"]) if found else ""


def group_of(ids: Ids, found: Found) -> Group:
    pool, scale_set = found["pool"], found["scale_set"]
    if pool is not None:
        properties = pool["properties"]
        cluster, name = str(pool["id"]).rsplit("/", 3)[1], str(pool["name"])
        title = f"agent pool {name} of AKS cluster {cluster}"
        return Group(title, int(properties.get("count") or 0), properties.get("tags") or {}, str(properties.get("provisioningState") or ""))
    capacity, state = (scale_set.get("sku") or {}).get("capacity"), (scale_set.get("properties") or {}).get("provisioningState")
    return Group(f"scale set {ids.name}", int(capacity or 0), scale_set.get("tags") or {}, str(state or ""))


def begun(vm: Mapping[str, Any], group: Group) -> bool:
    """Whether an earlier call has begun to replace this VM, and none has brought the count back."""
    return bool(vm["action"] == "replace" and group.mark[0] == vm["node_uid"])


def is_busy(group: Group) -> bool:
    return group.state not in _OVER


def pool_request(pool: Mapping[str, Any], **changed: Any) -> Json:
    """The body that changes a pool, which is all of it, without what nobody may write."""
    kept = {key: value for key, value in pool["properties"].items() if key not in _READ_ONLY}
    return {"properties": {**kept, **changed}}


def decide(vm: Mapping[str, Any], state: str, found: Found, replace_by: str = "delete") -> Decision:
    """What is done about an instance."""
    ids = ids_of(vm)
    group, instance = group_of(ids, found), found["instance"]
    title = f"instance {ids.number} of scale set {ids.name}"
    is_going = _provisioning(instance) == "Deleting"
    if begun(vm, group) and (instance is None or is_going):
        _not_stuck(vm, group)
        return Decision([_grow(vm, group, group.mark[1])])
    shown = happened(vm, state)
    if shown:
        return Decision(already=shown)
    if instance is None:
        if vm["action"] == "reboot":
            raise Refused(f"{where(vm)}: {title} is not there, so there is nothing to reboot: run repair.yml")
        _not_stuck(vm, group)
        return Decision(already=f"{title} is not there")
    if is_going:
        raise Refused(
            f"{where(vm)}: {title} is being deleted, and not by this rollout ({group.title} has no tag {TAG} for it), so nobody may bring the count "
            f"back. Nothing is done: wait until it is gone, see that {group.title} has as many VMs as it is to have, then run again"
        )
    if state in ("gone", "other"):
        raise Refused(
            f"{where(vm)}: its Node is gone, or is on another VM, so nothing shows that {title} is the member's. Nothing is done to it"
        )
    _at_rest(vm, found, group, title)
    if vm["action"] == "reboot":
        return Decision([Call("restart", f"restart {title}")])
    if replace_by == "reimage":
        if found["pool"] is not None:
            raise Refused(
                f"{where(vm)}: {title} is of {group.title}, and AKS does not support that its VMs are re-imaged from outside. Nothing is done to it: "
                "leave replace_by (vm_azure_replace_by) at delete"
            )
        return Decision([Call("reimage", f"re-image {title}, with an empty OS disk")])
    _another_comes(vm, found, group, title)
    count = group.mark[1] if begun(vm, group) else group.count
    what = f"have AKS delete machine {found['machine']} of {group.title}" if found["pool"] is not None else f"delete {title}"
    calls = [Call("delete", what, {"machine": found["machine"]}), _grow(vm, group, count)]
    if not begun(vm, group):
        value = f"{vm['node_uid']}:{count}"
        calls.insert(
            0, Call("mark", f"tag {group.title} with {TAG}={value}", {"count": count, "value": value, "before": group.tags.get(TAG)})
        )
    return Decision(calls)


def _grow(vm: Mapping[str, Any], group: Group, count: int) -> Call:
    return Call("grow", f"bring {group.title} back to {count} VMs, without the tag", {"count": count, "uid": vm["node_uid"]})


def _provisioning(instance: Mapping[str, Any] | None) -> str:
    return str(((instance or {}).get("properties") or {}).get("provisioningState") or "")


def _power(instance: Mapping[str, Any]) -> str:
    view = (instance.get("properties") or {}).get("instanceView") or {}
    codes = [str(status.get("code") or "") for status in view.get("statuses") or []]
    return next((code.partition("/")[2] for code in codes if code.lower().startswith("powerstate/")), "")


def _not_stuck(vm: Mapping[str, Any], group: Group) -> None:
    """Raises Refused where the last change of the group failed: AKS takes up what it left undone, an upgrade too, with any other one."""
    if not is_busy(group) and group.state != "Succeeded":
        raise Refused(
            f"{where(vm)}: its VM is gone, and the last operation of {group.title} is {group.state}, which the next change might take up again. Nothing is "
            "done: look why, and bring it to Succeeded, with as many VMs as it is to have, then run again"
        )


def _at_rest(vm: Mapping[str, Any], found: Found, group: Group, title: str) -> None:
    """Raises Refused where Azure is at work there, or has failed."""
    instance = found["instance"] or {}
    if is_busy(group) and not begun(vm, group):
        raise Later(
            f"{where(vm)}: {group.title} is {group.state or 'in no known state'}. Nothing is done to {title}: wait until that is over, then run again"
        )
    if group.state != "Succeeded" and vm["action"] == "replace" and not is_busy(group):
        raise Refused(
            f"{where(vm)}: the last operation of {group.title} is {group.state}, which the next change might take up again. Nothing is done to {title}: "
            "look why, and bring it to Succeeded first"
        )
    if _provisioning(instance) != "Succeeded":
        raise Later(
            f"{where(vm)}: {title} is {_provisioning(instance) or 'in no known state'}, not Succeeded. Nothing is done to it: wait until that is over, or "
            "look why, then run again"
        )
    if _power(instance) != "running":
        raise Refused(
            f"{where(vm)}: {title} is {_power(instance) or 'in no known power state'}, not running. Nothing is done to it: start it first"
        )


def _another_comes(vm: Mapping[str, Any], found: Found, group: Group, title: str) -> None:
    """Raises Refused where no other instance would come, or where it would come elsewhere."""
    lead = f"{where(vm)}: {group.title}"
    nothing = f"Nothing is done to {title}"
    properties = found["scale_set"].get("properties") or {}
    if properties.get("orchestrationMode", "Uniform") != "Uniform":
        raise Refused(f"{lead} has orchestration mode {properties['orchestrationMode']}, not Uniform. {nothing}: do this VM by hand")
    protection = ((found["instance"] or {}).get("properties") or {}).get("protectionPolicy") or {}
    if any(protection.values()):
        raise Refused(
            f"{where(vm)}: {title} is protected ({', '.join(sorted(protection))}). {nothing}: take the protection away, if you may"
        )
    if found["pool"] is not None:
        _pool_can(found["pool"]["properties"], found["machine"], lead, nothing)
    instances = [item for item in found["instances"] if _provisioning(item) != "Deleting"]
    uid, marked = group.mark
    if uid and not begun(vm, group) and len(instances) < marked:
        raise Refused(
            f"{lead} has the tag {TAG}={group.tags[TAG]}: the replacement of another node is not over, and {len(instances)} VMs of {marked} are there. "
            f"{nothing}: run the rollout that began it again, or bring the VMs to {marked} and take the tag away"
        )
    if len(instances) > group.count and not begun(vm, group):
        raise Refused(
            f"{lead} wants {group.count} VMs and has {len(instances)}. {nothing}: wait until it has as many as it wants, then run again"
        )
    zones = [str(zone) for zone in found["scale_set"].get("zones") or []]
    mine = _zone(found["instance"] or {})
    count = Counter(_zone(item) for item in instances)
    # Azure balances: the next one comes where fewest are.
    if any(count[zone] < count[mine] for zone in zones if zone != mine):
        raise Refused(
            f"{lead} has fewer VMs in another zone than in {mine or 'none'} ({', '.join(f'{zone}: {count[zone]}' for zone in sorted(zones))}), so the next "
            f"one would come there. {nothing}: give each zone a pool of its own"
        )


def _zone(instance: Mapping[str, Any]) -> str:
    return str((instance.get("zones") or [""])[0])


def _pool_can(pool: Mapping[str, Any], machine: str, lead: str, nothing: str) -> None:
    if pool.get("enableAutoScaling"):
        raise Refused(
            f"{lead} has enableAutoScaling, so its count is the autoscaler's. {nothing}: turn the cluster autoscaler off for this pool"
        )
    if pool.get("scaleDownMode") == "Deallocate":
        raise Refused(f"{lead} has scaleDownMode Deallocate, so an old VM may come with its old disk. {nothing}: set it to Delete")
    wanted, current = str(pool.get("orchestratorVersion") or ""), str(pool.get("currentOrchestratorVersion") or "")
    if current and wanted and current != wanted and not current.startswith(f"{wanted}."):
        raise Refused(
            f"{lead} has orchestratorVersion {wanted} and runs {current}: an upgrade of it is not over, and any change would take it up again. {nothing}: "
            "follow that upgrade with hostnet_replace_tasks=wait"
        )
    if pool.get("mode") == "System" and int(pool.get("count") or 0) == 1:
        raise Refused(f"{lead} is a System pool with one VM, which AKS does not delete. {nothing}: give it another VM first")
    if not machine:
        raise Refused(f"{lead} has no machine with that provider id. {nothing}: look which pool it is of (az aks machine list)")
