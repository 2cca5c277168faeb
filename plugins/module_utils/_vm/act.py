# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules vm_* have in common: the Node first, then a decision, then its changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _call
from .._cluster import kinds
from .._plan.vm import node as vms
from .._plan.vm.node import Decision, Refused

Json = dict[str, Any]


def vm_argument() -> Json:
    """Argument spec of the option `vm`, the same in every module: what a hook is given as hostnet_vm."""
    needed = {key: {"type": "str", "required": True} for key in ("kube_cluster", "node", "node_uid", "provider_id")}
    known = {key: {"type": "str", "default": ""} for key in ("address", "region", "zone", "pool", "boot_id", "machine_id")}
    return {
        "type": "dict",
        "required": True,
        "options": {"action": {"type": "str", "choices": list(vms.ACTIONS), "required": True}, **needed, **known},
    }


# How a Node is (vms.state_of), and the Node itself, to what is to be done, and what does it.
Decide = Callable[[str, Json], tuple[Decision, Callable[[vms.Call], None]]]


def act(call: _call.Call, who: str, actions: tuple[str, ...], decide: Decide) -> Json:
    """The result of a module: `who` does to its option vm what `decide` says.

    Nothing is changed where anything is in the way: all is looked at first, and the lock once more right before the first change.
    """
    vm = call.params["vm"]
    try:
        vms.checked(vm, actions, who)
        if vm["kube_cluster"] not in call.clusters:
            raise Refused(f"vm.kube_cluster is {vm['kube_cluster']!r}, which is not in kube_clusters ({', '.join(call.clusters)})")
        node = call.clusters[vm["kube_cluster"]].get(kinds.NODE, vm["node"])
        decision, do = decide(vms.state_of(vm, node), node or {})
    except Refused as refused:
        raise _call.Failure(str(refused), **({"passing": True} if refused.passing else {})) from refused
    texts = [one.text for one in decision.calls]
    for one in decision.calls if not call.check_mode else ():
        call.still_held()
        do(one)
    result: Json = {"changed": bool(texts), "actions": texts, "already": decision.already}
    if call.diff and texts:
        result["diff"] = {"before": "", "after": "".join(f"{vms.where(vm)}: {text}\n" for text in texts)}
    return result
