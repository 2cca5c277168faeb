# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of `members`; must say what module_utils/_cluster/member.py's members_argument says."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  members:
    description:
      - The members that can be asked, and the pods that they run in.
      - Or bindings, such as C(hostnet_bindings). Those are asked whose container runs by the fact C(hostnet_deployment), which the role preflight makes
        together with the fact C(hostnet).
    type: list
    elements: dict
    required: true
    suboptions:
      member:
        description:
          - Name of the member.
        type: str
        required: true
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      namespace:
        description:
          - Namespace of its pod.
        type: str
        required: true
      pod:
        description:
          - Name of its pod. An empty name says that it has none, and then it does not answer.
        type: str
        required: true
      container:
        description:
          - Container of the pod; its only or default one when omitted.
        type: str
        default: ""
      variables:
        description:
          - Values for C({key}) in commands, paths and files. C({member}), C({kube_cluster}), C({namespace}) and C({pod}) are there already.
        type: dict
        default: {}
"""
