#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vm_azure
short_description: Has another VM come in an AKS agent pool or an Azure scale set, or restarts one
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - With V(replace) it has AKS delete the machine of the agent pool, and brings the count of the pool back, so that another VM comes. In a uniform scale set of
    no AKS cluster it deletes the instance and brings the capacity back, or re-images the instance.
  - With V(reboot) it restarts the instance, which keeps its disks.
  - It waits until Azure's operations are over. AKS drains nothing when it deletes a machine.
  - Before a deletion it tags the pool or scale set with C(hostnet.multicluster.replaces), the UID of the Node and the count before. The request that brings the
    count back removes the tag. So a call that was killed is finished by the next one, whenever that was.
  - It changes nothing where that was done already, and refuses where no other VM would come, or where one would come in another zone.
  - Credentials are found by DefaultAzureCredential of azure-identity - the environment, workload identity, managed identity, C(az login).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.vm
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  idempotent:
    support: partial
    details:
      - A restart is done again until the Node shows another boot id than O(vm.boot_id), and re-imaging until it shows another machine id than
        O(vm.machine_id).
options:
  replace_by:
    description:
      - What V(replace) does to an instance of a scale set that is of no AKS cluster. V(delete) makes another instance come, V(reimage) gives the same instance
        an empty OS disk.
      - In an AKS cluster only V(delete) is supported.
    type: str
    choices: [delete, reimage]
    default: delete
  api_url:
    description:
      - URL of Azure Resource Manager, for another cloud than the public one, such as C(https://management.usgovcloudapi.net). Set E(AZURE_AUTHORITY_HOST)
        too then.
    type: str
    default: https://management.azure.com
requirements:
  - azure-identity, which brings azure-core, in the Python of ansible-playbook itself where the connection is local
seealso:
  - module: hostnet.multicluster.vm_object
"""

EXAMPLES = r"""
- name: Have another VM come in the agent pool of a member's
  hostnet.multicluster.vm_azure:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    vm: "{{ hostnet_vm }}"
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in this order.
  returned: success
  type: list
  elements: str
  sample:
    - tag agent pool database of AKS cluster west with hostnet.multicluster.replaces=0f7c2f6e-7f0b-4a55-8a52-1d2f1f0c7a11:3
    - have AKS delete machine aks-database-12345678-vmss000001 of agent pool database of AKS cluster west
    - bring agent pool database of AKS cluster west back to 3 VMs, without the tag
already:
  description: What shows that it was done before; else empty.
  returned: success
  type: str
  sample: instance 1 of scale set aks-database-12345678-vmss is not there
requests:
  description: API requests sent to kube clusters.
  returned: always
  type: int
  sample: 1
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import azure, node
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.act import act, vm_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.azure import Azure

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "vm": vm_argument(),
    "replace_by": {"type": "str", "choices": list(azure.REPLACE_BY), "default": "delete"},
    "api_url": {"type": "str", "default": "https://management.azure.com"},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    vm = params["vm"]

    def decide(state: str, node_found: dict[str, Any]) -> tuple[node.Decision, Callable[[node.Call], None]]:
        ids = azure.ids_of(vm)
        cloud = Azure(params["api_url"], vm)
        found = cloud.look(node_found)
        group = azure.group_of(ids, found)
        if azure.begun(vm, group) and azure.is_busy(group) and not call.check_mode:
            cloud.settle(found)
            found = cloud.look(node_found)
        return azure.decide(vm, state, found, params["replace_by"]), cloud.do

    return act(call, "Azure", azure.ACTIONS, decide)


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
