# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM of Compute Engine may be recreated by its managed instance group, or reset. Pure functions."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Mapping
from typing import Any, TypedDict

from .node import Call, Decision, Refused, happened, where

Json = dict[str, Any]

ACTIONS = ("reboot", "replace")
# GKE writes the id of the VM beside the name, which a VM keeps when it is recreated.
INSTANCE_ID = "container.googleapis.com/instance_id"
_PROVIDER_ID = re.compile(r"gce://([a-z0-9:.-]+)/([a-z0-9-]+)/([a-z0-9-]+)")
_GROUP = re.compile(r"projects/[^/]+/((?:zones|regions)/[a-z0-9-]+/instanceGroupManagers/[a-z0-9-]+)")
# What a group does with a VM (currentAction of a managed instance) when another disk comes.
_GOING = ("RECREATING", "DELETING", "CREATING", "CREATING_WITHOUT_RETRIES")
_NAMES = uuid.UUID("b7b1a4c8-1a53-4c0e-8a6e-0c1b9d7f2f10")


class Found(TypedDict):
    """What Compute Engine says, as its API has it; None where it knows nothing."""

    instance: Json | None
    # The one of listManagedInstances.
    managed: Json | None


def instance_of(vm: Mapping[str, Any]) -> tuple[str, str, str]:
    """(project, zone, name)."""
    match = _PROVIDER_ID.fullmatch(str(vm["provider_id"]))
    if not match:
        raise Refused(f"{where(vm)}: its provider id is none of a VM of Compute Engine (gce://PROJECT/ZONE/NAME)")
    return match[1], match[2], match[3]


def group_of(instance: Mapping[str, Any]) -> str:
    """The managed instance group that made a VM, as a path within its project; empty where none did."""
    items = (instance.get("metadata") or {}).get("items") or []
    value = next((str(item.get("value", "")) for item in items if item.get("key") == "created-by"), "")
    match = _GROUP.fullmatch(value)
    return match[1] if match else ""


def request_id(vm: Mapping[str, Any], instance: Mapping[str, Any]) -> str:
    """The same for the same wish, so that one that is sent again is done once. A reboot after another one is another wish."""
    boot = f" {vm.get('boot_id', '')}" if vm["action"] == "reboot" else ""
    return str(uuid.uuid5(_NAMES, f"{vm['action']} {vm['node_uid']} {instance['id']}{boot}"))


def made_anew(node: Mapping[str, Any], instance: Mapping[str, Any]) -> str:
    """What shows that the VM is another one than the Node is of, or ``: its id where GKE has noted that, else that it is younger than the Node."""
    metadata = node.get("metadata") or {}
    recorded = str((metadata.get("annotations") or {}).get(INSTANCE_ID) or "")
    if recorded:
        return f"its id is {instance['id']} by now, and was {recorded}" if recorded != str(instance["id"]) else ""
    born, joined = str(instance.get("creationTimestamp") or ""), str(metadata.get("creationTimestamp") or "")
    younger = born and joined and datetime.datetime.fromisoformat(born) > datetime.datetime.fromisoformat(joined)
    return f"it was created {born}, after its Node ({joined})" if younger else ""


def decide(vm: Mapping[str, Any], state: str, node: Mapping[str, Any], found: Found) -> Decision:
    """What is done about a VM. `node` is its Node."""
    _project, zone, name = instance_of(vm)
    shown = happened(vm, state)
    if shown:
        return Decision(already=shown)
    instance = found["instance"]
    anew = made_anew(node, instance) if instance else ""
    doing = str((found["managed"] or {}).get("currentAction") or "NONE")
    if vm["action"] == "replace":
        if instance is None:
            return Decision(already=f"VM {name} is not there, as while it is recreated")
        if anew:
            return Decision(already=f"VM {name} was made anew: {anew}")
        if doing in _GOING:
            return Decision(already=f"its group is {doing} VM {name}")
    if instance is None or state in ("gone", "other") or anew:
        what = "there is no such VM" if instance is None else "its Node is gone, or is on another VM"
        later = (
            ". Where it was recreated a moment ago, wait until its node is there, then run again" if state == "gone" and instance else ""
        )
        raise Refused(f"{where(vm)}: {what}, so nothing shows that VM {name} is the member's. Nothing is done to it{later}")
    if doing != "NONE":
        raise Refused(f"{where(vm)}: its group is {doing} VM {name}. Nothing is done to it: wait until that is over")
    if instance.get("status") != "RUNNING":
        raise Refused(f"{where(vm)}: VM {name} is {instance.get('status')}, not RUNNING. Nothing is done to it")
    options = {"request_id": request_id(vm, instance)}
    if vm["action"] == "reboot":
        return Decision([Call("reset", f"reset VM {name}", options)])
    group = group_of(instance)
    if not group or found["managed"] is None:
        raise Refused(f"{where(vm)}: VM {name} is in no managed instance group, so nobody would make it anew. Nothing is done to it")
    if instance.get("deletionProtection"):
        raise Refused(f"{where(vm)}: VM {name} has deletion protection. Nothing is done to it: take the protection away, if you may")
    text = f"have {group} recreate VM {name} in zone {zone}, with an empty boot disk"
    return Decision([Call("recreate", text, {**options, "group": group})])
