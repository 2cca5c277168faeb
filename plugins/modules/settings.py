#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Checks the collection's variables
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Checks all variables that are set of those that the roles of this collection document - type, range, keys, spelling - and whether the system that
    C(hostnet_system) names has a role. What is wrong is a failure, with one sentence for each variable.
  - Returns what the roles make of some of them.
  - Runs on the controller, where the variables are.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  required:
    description:
      - Names of variables that have no default.
    type: list
    elements: str
    default: [hostnet_system]
"""

EXAMPLES = r"""
- name: Check the variables
  hostnet.multicluster.settings:
  register: checked

- name: Show what nobody reads
  ansible.builtin.debug:
    msg: "{{ checked.unread }}"
"""

RETURN = r"""
unread:
  description: A sentence for each variable that looks like one of the collection's, and that nobody reads. They are warnings too.
  returned: success
  type: list
  elements: str
system:
  description: The system, without a collection's name.
  returned: success
  type: str
  sample: etcd
system_role:
  description: Its role.
  returned: success
  type: str
  sample: hostnet.multicluster.system_etcd
kube_clusters:
  description: C(hostnet_kube_clusters) without secrets. Entries that had some name the variable that has them, from where modules take them.
  returned: success
  type: list
  elements: dict
data_root:
  description: C(hostnet_data_root) with single slashes and none at its end.
  returned: success
  type: str
  sample: /var/lib/hostnet
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""
