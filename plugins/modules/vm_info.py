#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vm_info
short_description: Tells whether a Node is still on the VM that a hook was told of
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - For hooks of your own, before they touch a VM. It fails where the Node of that name has another UID, or another provider id, and nothing shows that it is
    another VM.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.vm
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
seealso:
  - module: hostnet.multicluster.nodes_info
"""

EXAMPLES = r"""
- name: Look whether it has happened already
  hostnet.multicluster.vm_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    vm: "{{ hostnet_vm }}"
  register: looked

- name: Say so
  ansible.builtin.debug:
    msg: "{{ looked.already }}"
  when: looked.already | length > 0
"""

RETURN = r"""
state:
  description:
    - C(same) where the Node is on that VM, C(rebooted) where it is and was started anew since, C(gone) where there is no such Node, C(other) where another
      VM has its name.
  returned: success
  type: str
  sample: same
already:
  description: What shows that the action was done before; else empty.
  returned: success
  type: str
  sample: node east-1 has started anew since
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import node
from ansible_collections.hostnet.multicluster.plugins.module_utils._vm.act import act, vm_argument

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "vm": vm_argument(),
}


def run(call: _call.Call) -> dict[str, Any]:
    seen: list[str] = []

    def decide(state: str, _found: dict[str, Any]) -> tuple[node.Decision, Callable[[node.Call], None]]:
        seen.append(state)
        return node.Decision(already=node.happened(call.params["vm"], state)), lambda _call: None

    result = act(call, "your hook", node.ACTIONS, decide)
    return {"changed": False, "state": seen[0], "already": result["already"]}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
