# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of `vm`; must say what module_utils/_vm/act.py says."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  vm:
    description:
      - The VM, and what is to be done with it, as a hook is given it in C(hostnet_vm).
      - Its Node has to have this UID and this provider id, or nothing is done.
    type: dict
    required: true
    suboptions:
      action:
        description:
          - V(reboot) starts the VM anew with its disk, V(replace) has another one come in its place. V(add) brings the other one first, and V(remove)
            takes this one away after that.
        type: str
        choices: [reboot, replace, add, remove]
        required: true
      kube_cluster:
        description:
          - Name of its kube cluster in O(kube_clusters).
        type: str
        required: true
      node:
        description:
          - Name of its Node.
        type: str
        required: true
      node_uid:
        description:
          - UID of its Node.
        type: str
        required: true
      provider_id:
        description:
          - The cloud's id of the VM, C(spec.providerID) of its Node.
        type: str
        required: true
      address:
        description:
          - The member's address there.
        type: str
        default: ""
      region:
        description:
          - Its region.
        type: str
        default: ""
      zone:
        description:
          - Its zone.
        type: str
        default: ""
      pool:
        description:
          - Its node pool.
        type: str
        default: ""
      boot_id:
        description:
          - Id of its boot before the first change. A Node that has another one was rebooted.
        type: str
        default: ""
      machine_id:
        description:
          - Its machine id. A Node that has another one is on another VM, whatever its name and provider id.
        type: str
        default: ""
"""
