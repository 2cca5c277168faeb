#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vm_gcp
short_description: Has a managed instance group recreate a VM of Compute Engine, or resets it
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - With V(replace) it has the managed instance group of the VM recreate it - same name and zone, new VM, new boot disk. Node pools of GKE Standard are such
    groups.
  - With V(reboot) it resets the VM, which keeps its disks.
  - It changes nothing where that was done or begun already, and refuses where nobody would make the VM anew.
  - Credentials are found by google-auth - a key file, C(gcloud auth application-default login), the machine's or the pod's service account, and federation.
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
      - A reset is done again until the Node shows another boot id than O(vm.boot_id).
options:
  api_url:
    description:
      - URL of the Compute Engine API, for a private endpoint.
    type: str
    default: https://compute.googleapis.com/compute/v1
requirements:
  - google-auth and requests, in the Python of ansible-playbook itself where the connection is local
seealso:
  - module: hostnet.multicluster.vm_object
"""

EXAMPLES = r"""
- name: Have the VM of a member recreated by its group
  hostnet.multicluster.vm_gcp:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    vm: "{{ hostnet_vm }}"
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in this order.
  returned: success
  type: list
  elements: str
  sample: ["have zones/europe-west1-b/instanceGroupManagers/gke-east-members recreate VM gke-east-members-1 in zone europe-west1-b, with an empty boot disk"]
already:
  description: What shows that it was done, or begun, before; else empty.
  returned: success
  type: str
  sample: its group is RECREATING VM gke-east-members-1
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import gcp, node
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.act import act, vm_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.gcp import Gcp

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "vm": vm_argument(),
    "api_url": {"type": "str", "default": "https://compute.googleapis.com/compute/v1"},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    vm = params["vm"]

    def decide(state: str, found: dict[str, Any]) -> tuple[node.Decision, Callable[[node.Call], None]]:
        cloud = Gcp(params["api_url"], *gcp.instance_of(vm))
        return gcp.decide(vm, state, found, cloud.look()), cloud.do

    return act(call, "Compute Engine", gcp.ACTIONS, decide)


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
