# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an EC2 instance may be replaced by its Auto Scaling group, or rebooted. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

from .node import Call, Decision, Refused, happened, where

Json = dict[str, Any]

ACTIONS = ("reboot", "replace", "add", "remove")
# Whose VM a detached instance was: the UID of its Node. It outlives the membership in the group, and goes with the instance.
DETACHED = "hostnet.multicluster/detached-for"
GROUP_OF_EKS = ("eks:cluster-name", "eks:nodegroup-name")
# https://cloud-provider-aws.sigs.k8s.io: aws:///ZONE/INSTANCE
_PROVIDER_ID = re.compile(r"aws:///([a-z0-9-]+)/(i-[0-9a-f]+)")
_ENDED = ("shutting-down", "terminated")
# States of instances that the group's desired capacity does not count: entering Standby makes it smaller.
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
_NOT_COUNTED = ("Terminat", "Detach", "Standby", "EnteringStandby")


class Found(TypedDict):
    """What AWS says, as its API has it; None where it knows nothing."""

    instance: Json | None
    # Of describe_auto_scaling_instances.
    membership: Json | None
    group: Json | None
    # Of EKS, where the group is one of a managed node group.
    node_group: Json | None


def instance_id(vm: Mapping[str, Any]) -> str:
    match = _PROVIDER_ID.fullmatch(str(vm["provider_id"]))
    if not match:
        raise Refused(f"{where(vm)}: its provider id is none of an EC2 instance (aws:///ZONE/i-...)")
    return match[2]


def tags_of(item: Mapping[str, Any] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in (item or {}).get("Tags") or []}


def decide(vm: Mapping[str, Any], state: str, found: Found) -> Decision:
    """What is done about an instance."""
    instance, name = found["instance"], instance_id(vm)
    shown = happened(vm, state) if vm["action"] != "add" else ""
    running = str(((instance or {}).get("State") or {}).get("Name") or "")
    if not shown and (instance is None or running in _ENDED) and vm["action"] != "add":
        shown = f"instance {name} is {running or 'not there'}"
        if vm["action"] == "reboot":
            raise Refused(f"{where(vm)}: {shown}, so there is nothing to reboot: run repair.yml")
    if shown:
        return Decision(already=shown)
    if vm["action"] == "remove":
        return _remove(vm, found, name)
    if state in ("gone", "other"):
        raise Refused(
            f"{where(vm)}: its Node is gone, and instance {name} is {running or 'gone too'}, so nothing shows that it is the member's. Nothing is done to it"
        )
    if running != "running":
        raise Refused(f"{where(vm)}: instance {name} is {running or 'not there'}, not running. Nothing is done to it")
    if vm["action"] == "reboot":
        return Decision([Call("reboot", f"reboot instance {name}", {"instance": name})])
    return _leave(vm, found, name)


def _leave(vm: Mapping[str, Any], found: Found, name: str) -> Decision:
    """`replace` and `add`: the group makes another one for one that is terminated, or detached."""
    membership, group = found["membership"], found["group"]
    if membership is None or group is None:
        if vm["action"] == "add" and tags_of(found["instance"]).get(DETACHED) == vm["node_uid"]:
            return Decision(already=f"instance {name} is detached from its group")
        raise Refused(f"{where(vm)}: instance {name} is in no Auto Scaling group, so no other one would come. Nothing is done to it")
    title = f"Auto Scaling group {group['AutoScalingGroupName']}"
    lifecycle = str(membership["LifecycleState"])
    if lifecycle.startswith(("Terminating", "Terminated")) and vm["action"] == "replace":
        return Decision(already=f"instance {name} is {lifecycle} in {title}")
    if lifecycle.startswith("Detach") and vm["action"] == "add":
        return Decision(already=f"instance {name} is {lifecycle} in {title}")
    if lifecycle != "InService":
        raise Refused(f"{where(vm)}: instance {name} is {lifecycle} in {title}, not InService. Nothing is done to it")
    _another_comes(vm, found, name, title)
    if vm["action"] == "add":
        if found["node_group"] is not None:
            raise Refused(f"{where(vm)}: {title} belongs to an EKS node group, which takes no instance for lost: leave hostnet_surge out")
        return Decision(
            [
                Call("tag", f"tag instance {name} with {DETACHED}", {"instance": name, "tag": DETACHED, "value": vm["node_uid"]}),
                Call(
                    "detach",
                    f"detach instance {name} from {title}, which makes another one",
                    {"instance": name, "group": group["AutoScalingGroupName"]},
                ),
            ]
        )
    return Decision([Call("terminate", f"terminate instance {name} in {title}, which makes another one", {"instance": name})])


def _another_comes(vm: Mapping[str, Any], found: Found, name: str, title: str) -> None:
    """Raises Refused where the group would make no other instance, or make it elsewhere."""
    group = found["group"] or {}
    if (found["membership"] or {}).get("ProtectedFromScaleIn"):
        raise Refused(
            f"{where(vm)}: instance {name} is protected from scale-in in {title}. Nothing is done to it: take the protection away, if you may"
        )
    suspended = {str(process["ProcessName"]) for process in group.get("SuspendedProcesses") or []} & {"Launch", "Terminate"}
    if suspended:
        raise Refused(
            f"{where(vm)}: {title} has suspended {' and '.join(sorted(suspended))}. Nothing is done to instance {name}: resume that first"
        )
    alive = [entry for entry in group.get("Instances") or [] if not str(entry["LifecycleState"]).startswith(_NOT_COUNTED)]
    if len(alive) > int(group["DesiredCapacity"]):
        raise Refused(
            f"{where(vm)}: {title} wants {group['DesiredCapacity']} instances and has {len(alive)}, so no other one would come. Nothing is done to instance "
            f"{name}: wait until it has as many as it wants"
        )
    zones = [str(zone) for zone in group.get("AvailabilityZones") or []]
    mine = next((str(entry["AvailabilityZone"]) for entry in alive if entry["InstanceId"] == name), "")
    count = Counter(str(entry["AvailabilityZone"]) for entry in alive)
    # It balances: the next one comes where fewest are.
    if any(count[zone] < count[mine] for zone in zones if zone != mine):
        raise Refused(
            f"{where(vm)}: {title} has fewer instances in another zone than in {mine} ({', '.join(f'{zone}: {count[zone]}' for zone in sorted(zones))}), so "
            f"the next one would come there. Nothing is done to instance {name}: give each zone a group of its own"
        )
    node_group = found["node_group"]
    if node_group is not None and node_group.get("status") != "ACTIVE":
        raise Refused(
            f"{where(vm)}: EKS node group {node_group['clusterName']}/{node_group['nodegroupName']} is {node_group.get('status')}, not ACTIVE. Nothing is done "
            f"to instance {name}: wait for it, or follow its update with hostnet_replace_tasks=wait"
        )


def _remove(vm: Mapping[str, Any], found: Found, name: str) -> Decision:
    if found["membership"] is not None:
        raise Refused(
            f"{where(vm)}: instance {name} is in an Auto Scaling group, which it was detached from before. Nothing is done to it: look who put it back"
        )
    if tags_of(found["instance"]).get(DETACHED) != vm["node_uid"]:
        raise Refused(
            f"{where(vm)}: instance {name} does not have the tag {DETACHED}={vm['node_uid']}, so it was not detached for this member"
        )
    return Decision([Call("end", f"terminate instance {name}", {"instance": name})])
