#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: node_job
short_description: Does on nodes what a deployment needs there
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Looks at nodes, admits members to them, marks and removes their folders, or pulls their images, each node in a short-lived pod, as
    M(hostnet.multicluster.node_run) does, and says what the answers mean.
  - Which nodes there are it takes from the fact C(hostnet_deployment), RV(hostnet.multicluster.deployment_observe#module:deployment).
  - Runs on the controller, where that fact is.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - No pod is made, RV(results) is empty and RV(skipped_nodes) names the nodes.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: none
options:
  job:
    description:
      - V(probe), looks at the nodes that the deployment's plan names for leftover data, ports in use and clocks.
      - V(look), looks for data of the members of a claim without cluster id, and says what the claim is.
      - V(admit), makes the data folders of O(members), each with a marker that says whose it is, and pulls their images. Whoever has no admission gets one.
      - V(mark), writes the markers of members that run and of whose disk nothing is recorded.
      - V(remove), removes the data folders of O(members), those that are recorded and say themselves whose they are.
      - V(pull), pulls the images of O(members).
    type: str
    choices: [probe, look, admit, mark, remove, pull]
    required: true
  hostnet:
    description:
      - The settings of the deployment, the fact C(hostnet) of the role preflight.
    type: dict
    required: true
  spec:
    description:
      - The spec of its system; docs/systems.md describes it. Required but for V(look) and V(remove).
    type: dict
  members:
    description:
      - The bindings that the job is about, of all members with V(mark). Not looked at with V(probe) and V(look).
    type: list
    elements: dict
    default: []
  fresh:
    description:
      - Bindings of those of O(members) that were never admitted, with V(admit). Nothing is made for the others. All without this option.
    type: list
    elements: dict
  token:
    description:
      - The token of the deployment's identity record. Required with V(admit) and V(mark). Without it V(remove) removes no data.
    type: str
  former:
    description:
      - With V(admit), the binding that the member had before a repair. Where its disk was mounted, the same VM's has to be so now too.
    type: dict
  issued:
    description:
      - What M(hostnet.multicluster.host_certificates) has returned. Required with V(probe), for a clock may be behind a certificate's begin.
    type: dict
  inspection:
    description:
      - What the members said, with V(look).
    type: dict
    default: {}
  all_nodes:
    description:
      - With V(remove), look at all nodes of O(kube_clusters) that are Ready and match or carry a member, not at those of O(members) alone.
    type: bool
    default: false
  timeout:
    description:
      - Seconds for everything. The settings' own without this option.
    type: int
"""

EXAMPLES = r"""
- name: Write the markers of members that an older version has admitted
  hostnet.multicluster.node_job:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    job: mark
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    members: "{{ hostnet_bindings }}"
    token: "{{ hostnet_identity.token }}"
  register: marked

- name: Record which disks they are on
  ansible.builtin.set_fact:
    hostnet_bindings: "{{ marked.members }}"
"""

RETURN = r"""
results:
  description: What the script gave on each node, as M(hostnet.multicluster.node_run) returns it.
  returned: always
  type: list
  elements: dict
skipped_nodes:
  description: The nodes that would have been worked on.
  returned: in check mode
  type: list
  elements: dict
failures:
  description: One line for each node that gave no result.
  returned: on failure
  type: list
  elements: str
errors:
  description: What nodes say against starting members there.
  returned: with O(job=probe)
  type: list
  elements: str
former:
  description: Data of former members that is kept, a line for each folder.
  returned: with O(job=probe)
  type: list
  elements: str
deployment:
  description: The fact C(hostnet_deployment), with what the claim is in its plan.
  returned: with O(job=look), not in check mode
  type: dict
members:
  description: The bindings, with their admissions and with the disks that they are on.
  returned: with O(job=admit) and O(job=mark)
  type: list
  elements: dict
removed:
  description: Folders that were removed.
  returned: with O(job=remove)
  type: list
  elements: str
left:
  description: A line for each folder that is left and is none of the members'.
  returned: with O(job=remove)
  type: list
  elements: str
unfinished:
  description: A line for each folder of a member that is still there.
  returned: with O(job=remove)
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 14
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import node_jobs

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "job": {"type": "str", "choices": list(node_jobs.JOBS), "required": True},
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict"},
    "members": {"type": "list", "elements": "dict", "default": []},
    "fresh": {"type": "list", "elements": "dict"},
    # It is no secret: each object of the deployment has it.
    "token": {"type": "str", "no_log": False},
    "former": {"type": "dict"},
    "issued": {"type": "dict"},
    "inspection": {"type": "dict", "default": {}},
    "all_nodes": {"type": "bool", "default": False},
    "timeout": {"type": "int"},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("node_job runs on the controller only, where facts are: it needs its action plugin")


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
