#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_follow
short_description: Waits until the cloud is about to take the VM of a member, or has upgraded all
version_added: "0.3.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Looks at the nodes and guard pods of a deployment until the VM of one of its members was chosen to go, or is gone and another one is there.
  - A drain that has begun is seen by the guard pods, of which it can evict one. docs/upgrade.md has the other signs.
  - A kube cluster that does not answer is asked again, and nothing is concluded about its members.
  - It prints what it waits for whenever that changes.
  - It changes nothing, so O(lock), which roles give to all modules at once, is not read.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - In check mode it looks once.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
options:
  name:
    description:
      - Name of the deployment.
    type: str
    required: true
  namespace:
    description:
      - Its namespace.
    type: str
    required: true
  members:
    description:
      - The bindings of its members.
    type: list
    elements: dict
    required: true
  node_selector:
    description:
      - As for M(hostnet.multicluster.nodes_info).
    type: str
    default: ""
  extra_selector:
    description:
      - As for M(hostnet.multicluster.nodes_info).
    type: str
    default: ""
  address_type:
    description:
      - As for M(hostnet.multicluster.nodes_info).
    type: str
    default: InternalIP
  among:
    description:
      - Names of the members whose drains count. Of the others only those count that have lost their VM.
    type: list
    elements: str
    required: true
  followed:
    description:
      - Names of the members whose end counts. Empty means that only O(timeout), or somebody's turn, ends it.
    type: list
    elements: str
    default: []
  moved:
    description:
      - Names of the members that had their turn.
    type: list
    elements: str
    default: []
  waiting:
    description:
      - Names of members that are broken, and that the rollout cannot mend as they are. While there are any nobody else is taken down, so only members that have
        lost their VM count, and of O(waiting) only whose turn was not there at the first look.
    type: list
    elements: str
    default: []
  stuck:
    description:
      - Those of O(waiting) whose VM was gone already, and another one there, when the rollout was planned. Without it all of them.
    type: list
    elements: str
  may_end:
    description:
      - Whether it ends when the upgrade is over for O(followed). Without O(until) that is when all members of their node pools run on the newest generation of
        nodes there, none of those nodes is marked to go, and one of the members was seen on an older generation.
    type: bool
    default: false
  until:
    description:
      - Version of the kubelet, for all kube clusters or by name of kube cluster. With it, the upgrade is over when the nodes of O(followed) in these kube
        clusters have it, or a newer one, and generations do not count.
    type: raw
  in_place:
    description:
      - Whether the VMs stay and are rebooted. Generations of nodes say nothing of that, so only O(until) ends it, and nobody has a second turn.
    type: bool
    default: false
  pool_label:
    description:
      - Key of the label of nodes that names their node pool. It is looked at before those that GKE, EKS, AKS and Karpenter write.
    type: str
    default: ""
  seen:
    description:
      - What was seen before, RV(seen) of an earlier call.
    type: dict
    default: {}
  interval:
    description:
      - Seconds from the beginning of one look to that of the next; with more than about a hundred nodes it is longer.
    type: float
    default: 3
  timeout:
    description:
      - Seconds to wait. When they are over RV(due) is what it is; that is no failure.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Wait until the cloud is about to take the VM of a member
  hostnet.multicluster.rollout_follow:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    name: "{{ hostnet.name }}"
    namespace: "{{ hostnet.namespace }}"
    members: "{{ hostnet_bindings }}"
    among: "{{ hostnet_bindings | map(attribute='member') }}"
    node_selector: "{{ hostnet.node_selector }}"
    extra_selector: "hostnet.multicluster/{{ hostnet.name }}"
    timeout: 14400
  register: followed

- name: Show whose turn it is
  ansible.builtin.debug:
    msg: "{{ followed.due }}"
"""

RETURN = r"""
due:
  description: Whose turn has come, and why, by name of the member. Empty where nothing was about to happen in time.
  returned: success
  type: dict
  sample: {west-0: "west: node pool-1-a is drained: one of its guard pods was evicted"}
over:
  description: Why there is nothing left to wait for. Empty where somebody's turn has come, or where the time was over.
  returned: success
  type: str
  sample: every member runs on the newest generation of its node pool, and none of their nodes is marked to go
standing:
  description: How far the upgrade is for O(followed).
  returned: success
  type: str
  sample: 2 of 3 members are on the new generation of their node pool
seen:
  description: Generations of nodes by kube cluster and node pool, and where the members were first. For O(seen) of the next call.
  returned: success
  type: dict
  contains:
    generations:
      description: By kube cluster, node pool (C(label=name)) and generation, the kubelet's C(version) and when its first node was C(created).
      type: dict
    members:
      description: By member, the C(generation) that it was on first, and C(pool_label) and C(pool) of its node.
      type: dict
nodes:
  description: The nodes as they were seen last, as M(hostnet.multicluster.nodes_info) returns them.
  returned: success
  type: list
  elements: dict
waited:
  description: Seconds that it took.
  returned: success
  type: float
  sample: 312.4
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 312
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, follow
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import versions

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "members": {"type": "list", "elements": "dict", "required": True},
    "node_selector": {"type": "str", "default": ""},
    "extra_selector": {"type": "str", "default": ""},
    "address_type": {"type": "str", "default": "InternalIP"},
    "among": {"type": "list", "elements": "str", "required": True},
    "followed": {"type": "list", "elements": "str", "default": []},
    "moved": {"type": "list", "elements": "str", "default": []},
    "waiting": {"type": "list", "elements": "str", "default": []},
    "stuck": {"type": "list", "elements": "str"},
    "may_end": {"type": "bool", "default": False},
    "until": {"type": "raw"},
    "in_place": {"type": "bool", "default": False},
    "pool_label": {"type": "str", "default": ""},
    "seen": {"type": "dict", "default": {}},
    "interval": {"type": "float", "default": 3},
    "timeout": {"type": "int", "required": True},
}


def run(call: _call.Call, show: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    params = call.params
    stray = _call.stray(params, "members")
    if stray:
        raise _call.Failure(stray)
    for number, entry in enumerate(params["members"]):
        lacking = [key for key in ("member", "node", "node_uid", "zone") if key not in entry]
        if lacking:
            raise _call.Failure(f"members[{number}] has no {', '.join(lacking)}: give the bindings as they are recorded")
    wanted = follow.Wanted(
        params["name"],
        params["namespace"],
        params["members"],
        params["node_selector"],
        params["extra_selector"],
        params["address_type"],
        params["among"],
        params["followed"],
        params["moved"],
        versions.by_kube_cluster(params["until"], list(call.clusters)),
        params["pool_label"],
        params["may_end"],
        params["in_place"],
        params["waiting"],
        params["stuck"],
    )
    timeout = 0 if call.check_mode else params["timeout"]
    return {"changed": False, **follow.wait(call.clusters, wanted, params["interval"], timeout, show, params["seen"])}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
