#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vm_object
short_description: Deletes the object of Cluster API or Karpenter that owns a node's VM
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Finds the Machine (Cluster API) or the NodeClaim (Karpenter) of a VM by its provider id and deletes it, with its UID as precondition. Its controller
    then makes another VM.
  - It deletes nothing where that has happened or was begun already, and refuses where the object is not this VM's or where nothing would make another one.
  - It does not wait for the other VM.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.vm
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
options:
  owner:
    description:
      - V(machine) of Cluster API, or V(node_claim) of Karpenter, which is in the VM's own kube cluster.
      - A Machine is annotated with C(cluster.x-k8s.io/delete-machine) first, so that whoever makes its MachineSet smaller right then takes this one.
    type: str
    choices: [machine, node_claim]
    required: true
  management:
    description:
      - Name of the entry of O(kube_clusters) that is the management cluster, where the Machines are; the VM's own kube cluster when empty.
      - An entry of its own, in which the deployment is not looked for, and neither is O(lock).
    type: str
    default: ""
  namespace:
    description:
      - Namespace of the Machines; all when empty, which needs the right to list them everywhere.
    type: str
    default: ""
  pending_pods:
    description:
      - Your word that a pod waits for a VM of a NodePool that has no fixed size (C(spec.replicas)). Without it such a NodePool is refused, because Karpenter
        makes a VM there only where a pod needs one.
    type: bool
    default: false
seealso:
  - module: hostnet.multicluster.nodes_info
"""

EXAMPLES = r"""
- name: Have Karpenter replace the VM of a member
  hostnet.multicluster.vm_object:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    vm: "{{ hostnet_vm }}"
    owner: node_claim

- name: Have Cluster API replace it, whose Machines are in another kube cluster
  hostnet.multicluster.vm_object:
    kube_clusters: "{{ hostnet_kube_clusters + [{'name': 'management', 'context': 'fleet'}] }}"
    vm: "{{ hostnet_vm }}"
    owner: machine
    management: management
    namespace: fleet-east
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in this order.
  returned: success
  type: list
  elements: str
  sample: [delete NodeClaim members-x7k2p (UID 6fb7f0a8-2d6f-4a0b-9d0c-0d6c1d8a4c57)]
already:
  description: What shows that it was done, or begun, before; else empty.
  returned: success
  type: str
  sample: "NodeClaim members-x7k2p is being deleted since 2026-11-22T10:00:00Z"
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 5
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import node
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.act import act, vm_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.owner import Owner

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "vm": vm_argument(),
    "owner": {"type": "str", "choices": ["machine", "node_claim"], "required": True},
    "management": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "pending_pods": {"type": "bool", "default": False},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    vm, name = params["vm"], params["management"] or params["vm"]["kube_cluster"]
    apart = [entry for entry in params["kube_clusters"] if entry["name"] == name != vm["kube_cluster"]]
    if name != vm["kube_cluster"] and not apart:
        raise _call.Failure(f"management is {name!r}, which is not in kube_clusters")
    if params["management"] and params["owner"] == "node_claim":
        raise _call.Failure("management is for owner=machine: a NodeClaim is in the VM's own kube cluster")
    call.params = {**params, "kube_clusters": [entry for entry in params["kube_clusters"] if entry not in apart]}

    def decide(state: str, _found: dict[str, Any]) -> tuple[node.Decision, Callable[[node.Call], None]]:
        owner = Owner(call.other(apart[0]) if apart else call.clusters[name], vm)
        if params["owner"] == "machine":
            return owner.machine(state, params["namespace"]), owner.do
        return owner.claim(state, params["pending_pods"]), owner.do

    return act(call, "Cluster API" if params["owner"] == "machine" else "Karpenter", ("replace",), decide)


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
