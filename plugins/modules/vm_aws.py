#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vm_aws
short_description: Has an Auto Scaling group replace an EC2 instance, or reboots it
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - With V(replace) it terminates the instance in its Auto Scaling group, without lowering the desired capacity, so that the group makes another one. EKS
    managed node groups are such groups.
  - With V(reboot) it reboots the instance, which keeps its disks, instance store too.
  - With V(add) it detaches the instance from its group, which makes another one while this one runs on, and with V(remove) it terminates the detached one.
  - It changes nothing where that was done or begun already, and refuses where no other instance would come, or where one would come in another zone.
  - Credentials are found by boto3 - the environment, profiles, single sign-on, roles of the machine or the pod.
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
      - A reboot is done again until the Node shows another boot id than O(vm.boot_id).
options:
  region:
    description:
      - AWS region; that of O(vm) when empty.
    type: str
    default: ""
  profile:
    description:
      - Profile of the AWS configuration.
    type: str
    default: ""
  endpoint_url:
    description:
      - URL of the API in place of AWS' own. boto3 reads E(AWS_ENDPOINT_URL) too.
    type: str
    default: ""
requirements:
  - boto3, in the Python of ansible-playbook itself where the connection is local
seealso:
  - module: hostnet.multicluster.vm_object
"""

EXAMPLES = r"""
- name: Have another instance come in the place of a member's
  hostnet.multicluster.vm_aws:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    vm: "{{ hostnet_vm }}"
    region: eu-central-1
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in this order.
  returned: success
  type: list
  elements: str
  sample: ["terminate instance i-0123456789abcdef0 in Auto Scaling group members-a, which makes another one"]
already:
  description: What shows that it was done, or begun, before; else empty.
  returned: success
  type: str
  sample: instance i-0123456789abcdef0 is shutting-down
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import aws, node
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.act import act, vm_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.aws import Aws

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "vm": vm_argument(),
    "region": {"type": "str", "default": ""},
    "profile": {"type": "str", "default": ""},
    "endpoint_url": {"type": "str", "default": ""},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    vm = params["vm"]

    def decide(state: str, _found: dict[str, Any]) -> tuple[node.Decision, Callable[[node.Call], None]]:
        name = aws.instance_id(vm)
        cloud = Aws(params["region"] or vm["region"], params["profile"], params["endpoint_url"])
        return aws.decide(vm, state, cloud.look(name)), cloud.do

    return act(call, "EC2", aws.ACTIONS, decide)


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
