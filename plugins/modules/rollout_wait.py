#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_wait
short_description: Waits for the VM of the member that a rollout has in hand
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Looks at the nodes until what O(until) names has come true, can never come true, or O(timeout) is over.
  - What it waits for is printed whenever that changes.
  - A kube cluster that does not answer is asked again. With O(until=turn), and with O(once), it is a failure at once instead, for nothing is known of
    its VMs then. Where one refuses it is a failure in any case.
  - It changes nothing, so O(lock), which roles give to all modules at once, is not read.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - In check mode it looks once, as with O(once).
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
options:
  until:
    description:
      - V(vm_done), the VM was rebooted, replaced, added or removed, as O(action) says.
      - V(new_node), there is a node that the member can go on with after its VM was replaced, or was given another address. A node that was seen before the
        rollout is none, nor is one that carries another member.
      - V(turn), no other member's VM is gone or about to go, so that the member may be stopped. Where it is to be finished in any case, it does not wait.
      - V(vm_lost), the VM that the member has, or was to go on with, is gone, past the point where its steps could be undone.
    type: str
    choices: [vm_done, new_node, turn, vm_lost]
    required: true
  hostnet:
    description:
      - The settings of the deployment, the fact C(hostnet) of the role preflight.
    type: dict
    required: true
  journal:
    description:
      - The journal of the rollout, with its member in hand, V(ansible_facts.hostnet_journal).
    type: dict
    required: true
  action:
    description:
      - What happens to the VM. Required with O(until=vm_done).
    type: str
    choices: [reboot, replace, add, remove]
  bindings:
    description:
      - The bindings of the members, with O(until=turn) of those who count on each other. Required with O(until=new_node) and O(until=turn).
    type: list
    elements: dict
  spec:
    description:
      - The spec of the system. Required with O(until=new_node).
    type: dict
  token:
    description:
      - The deployment's token, of which the new admission is made. Required with O(until=new_node).
    type: str
  patient:
    description:
      - Whether somebody else than a hook replaces the VM. Then a new node in another zone may be anybody's, and is no error.
    type: bool
    default: false
  among:
    description:
      - Names of the members whose turn is still to come, for O(until=turn). Where one of their VMs is about to go it is not waited for, RV(goes_first).
    type: list
    elements: str
    default: []
  pool_label:
    description:
      - Key of the label of nodes that names their node pool. Where the member's old node had it, a new one has to have the same value.
    type: str
    default: ""
  in_vain:
    description:
      - With O(until=vm_lost), whether a step has waited in vain for the VM that somebody else was to bring. Then none may come any more.
    type: bool
    default: false
  once:
    description:
      - Look once, and say in RV(done) whether it has come true. That it has not is no failure then.
    type: bool
    default: false
  interval:
    description:
      - Seconds from the beginning of one look to that of the next; with more than about fifty nodes it is longer.
    type: float
    default: 2
  timeout:
    description:
      - Seconds to wait.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Wait until the VM of the member in hand has started again
  hostnet.multicluster.rollout_wait:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    until: vm_done
    action: reboot
    timeout: 1800

- name: Find the node that it goes on with
  hostnet.multicluster.rollout_wait:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    until: new_node
    bindings: "{{ hostnet_bindings }}"
    spec: "{{ hostnet_spec }}"
    token: "{{ hostnet_identity.token }}"
    patient: true
    timeout: 1800
  register: found
"""

RETURN = r"""
done:
  description: Whether it has come true.
  returned: success
  type: bool
binding:
  description: The member's binding on its new node. It has an admission of its own there, or the one that an earlier run has noted.
  returned: success, with O(until=new_node), where RV(done)
  type: dict
displaced:
  description: The bindings of other members that still have its new address, although their own VMs have another one by now.
  returned: success, with O(until=new_node), where RV(done)
  type: list
  elements: dict
goes_first:
  description: Names of the members that are to have their turn before this one, because their VM is gone or goes sooner.
  returned: always, with O(until=turn), where the kube clusters answered
  type: list
  elements: str
  sample: [west-0]
vm:
  description: What a hook is told of the VM, C(hostnet_vm).
  returned: success, with O(until=vm_done)
  type: dict
nodes:
  description: The nodes of O(kube_clusters) as they were seen last, as M(hostnet.multicluster.nodes_info) returns them.
  returned: success
  type: list
  elements: dict
waited:
  description: Seconds that it took.
  returned: success
  type: float
  sample: 48.2
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 48
"""

import secrets
from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import waits as look
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.nodes import read_of_members
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import successor, waits

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "until": {"type": "str", "choices": ["vm_done", "new_node", "turn", "vm_lost"], "required": True},
    "hostnet": {"type": "dict", "required": True},
    "journal": {"type": "dict", "required": True},
    "action": {"type": "str", "choices": ["reboot", "replace", "add", "remove"]},
    "bindings": {"type": "list", "elements": "dict"},
    "spec": {"type": "dict"},
    "token": {"type": "str", "no_log": False},
    "patient": {"type": "bool", "default": False},
    "among": {"type": "list", "elements": "str", "default": []},
    "pool_label": {"type": "str", "default": ""},
    "in_vain": {"type": "bool", "default": False},
    "once": {"type": "bool", "default": False},
    "interval": {"type": "float", "default": 2},
    "timeout": {"type": "int", "default": 60},
}

_NEEDS = {"vm_done": ("action",), "new_node": ("bindings", "spec", "token"), "turn": ("bindings",), "vm_lost": ()}


def _judge(params: dict[str, Any]) -> Callable[[Any], waits.Verdict]:
    journal, own = params["journal"], params["pool_label"]
    if params["until"] == "vm_done":
        return lambda nodes: waits.vm_done(journal, params["action"], nodes, own)
    if params["until"] == "vm_lost":
        return lambda nodes: waits.vm_lost(journal, nodes, params["in_vain"])
    if params["until"] == "turn":
        return lambda nodes: waits.turn(journal, nodes, params["bindings"], params["among"])
    nonce = secrets.token_hex(8)
    return lambda nodes: waits.new_node(
        journal, nodes, params["bindings"], params["hostnet"], params["spec"], params["token"], nonce, params["patient"], own
    )


def run(call: _call.Call, show: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    params = call.params
    lacking = [name for name in _NEEDS[params["until"]] if params[name] is None]
    if lacking:
        raise _call.Failure(f"until={params['until']} needs {', '.join(lacking)}")
    if not (params["journal"].get("member") or {}).get("old"):
        raise _call.Failure("the journal has no member in hand, so there is no VM to wait for")
    once = params["once"] or call.check_mode
    hostnet, record = params["hostnet"], params["journal"]["member"]
    bound = [*(params["bindings"] or []), *filter(None, (record["old"], record.get("new")))]

    def read() -> list[Any]:
        return read_of_members(call.clusters, hostnet["name"], hostnet["node_selector"], hostnet["address_type"], bound)

    patient = not once and params["until"] != "turn"
    ended = look.wait(read, _judge(params), params["interval"], 0 if once else params["timeout"], patient, show)
    found = ended.said["found"] if ended.said else {}
    if not ended.done and not once:
        raise _call.Failure(ended.missing, **found, waited=ended.waited)
    if params["action"]:
        found = {**found, "vm": successor.vm(record, params["action"])}
    return {"changed": False, "done": ended.done, **found, "nodes": ended.nodes, "waited": ended.waited}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
