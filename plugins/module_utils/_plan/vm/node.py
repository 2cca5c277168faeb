# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Node is still on the VM that a hook was told of (`hostnet_vm`), and what a hook decides. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# What a hook may be asked for; with surge the last two.
ACTIONS = ("reboot", "replace", "add", "remove")


class Refused(ValueError):
    """Why nothing may be done to this VM; nothing has been changed by then."""

    # Whether the same may well be done later, so that a rollout resumes by itself.
    passing = False


class Later(Refused):
    """Its owner is at work there."""

    passing = True


@dataclass(frozen=True)
class Call:
    """One change: `does` is what the cloud is asked for, with `options`, and `text` says it to people."""

    does: str
    text: str
    options: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What is to be done, in this order; nothing where it has happened already, and then `already` says what was found."""

    calls: Sequence[Call] = ()
    already: str = ""


def where(vm: Mapping[str, Any]) -> str:
    """The VM, as an error names it."""
    return f"kube cluster {vm['kube_cluster']}: node {vm['node']} ({vm['provider_id'] or 'without a provider id'})"


def checked(vm: Mapping[str, Any], actions: Sequence[str], who: str) -> None:
    """Raises Refused where `who` cannot do what is asked, or cannot know the VM."""
    action = str(vm["action"])
    if action not in actions:
        surge = ": leave hostnet_surge out" if action in ("add", "remove") else ""
        raise Refused(f"{where(vm)}: {who} cannot {action} a VM, only {' and '.join(actions)} it{surge}")
    for key in ("node_uid", "provider_id"):
        if not vm[key]:
            raise Refused(f"{where(vm)}: its {key} is not known, so {who} cannot tell its VM from another one. Do this VM by hand")


def state_of(vm: Mapping[str, Any], node: Mapping[str, Any] | None) -> str:
    """`same`: the Node is on that VM. `rebooted`: on that VM, started anew since. `gone`: there is no such Node. `other`: another VM has its name.

    `node` is the Node as the API server has it. Raises Refused where UID and provider id contradict each other.
    """
    if node is None:
        return "gone"
    uid, provider = str(node["metadata"].get("uid", "")), str((node.get("spec") or {}).get("providerID") or "")
    info = (node.get("status") or {}).get("nodeInfo") or {}
    machine, boot = str(info.get("machineID") or ""), str(info.get("bootID") or "")
    if _differ(vm.get("machine_id"), machine) or (uid != vm["node_uid"] and provider and provider != vm["provider_id"]):
        return "other"
    if uid != vm["node_uid"]:
        raise Refused(
            f"{where(vm)}: its Node has UID {uid} by now, and the member's had {vm['node_uid']}, while nothing else shows another VM. Nothing is done to "
            "it: look at the node, then run repair.yml, which tells what became of the member"
        )
    if provider != vm["provider_id"]:
        raise Refused(f"{where(vm)}: its Node has provider id {provider or '(none)'} by now. Nothing is done to it: look at the node")
    return "rebooted" if _differ(vm.get("boot_id"), boot) else "same"


def _differ(before: Any, now: str) -> bool:
    """Whether both are known and not the same."""
    return bool(before and now and before != now)


def happened(vm: Mapping[str, Any], state: str) -> str:
    """What shows in Kubernetes alone that it was done, or ``."""
    if state == "other":
        if vm["action"] == "reboot":
            raise Refused(f"{where(vm)}: another VM has that name by now, so there is nothing to reboot: run repair.yml")
        return f"another VM has the name {vm['node']} by now"
    if state == "rebooted" and vm["action"] == "reboot":
        return f"node {vm['node']} has started anew since"
    return ""
