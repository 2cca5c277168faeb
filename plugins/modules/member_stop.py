#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: member_stop
short_description: Deletes the pods of members and waits until their processes have ended
version_added: "0.2.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Deletes each pod by its UID, so a successor of the same name is never touched, and waits until it is gone, which means that its kubelet
    has seen the process end.
  - This is no eviction. The deployment's PodDisruptionBudget forbids every eviction, because a budget sees one kube cluster alone; whoever calls
    this module has to know that the member may stop now.
  - A workload that is to keep its pod makes a new one, from the newest template. To keep a member down, its workload must say so first.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: none
options:
  namespace:
    description:
      - Namespace of the pods, in every kube cluster.
    type: str
    required: true
  pods:
    description:
      - The pods. One that is gone already is fine.
    type: list
    elements: dict
    required: true
    suboptions:
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      name:
        description:
          - Name of the pod.
        type: str
        required: true
      uid:
        description:
          - Its UID.
        type: str
        required: true
      force:
        description:
          - Do not wait for the kubelet of a pod whose Node object does not exist, or is not Ready and has the taint
            C(node.kubernetes.io/out-of-service). Where neither holds this is ignored.
        type: bool
        default: false
  grace_seconds:
    description:
      - Seconds that a process may take to end. Without it, each pod's own grace period.
      - A pod that is stopping already gets no more time by it, only less.
    type: int
    version_added: "0.4.0"
  timeout:
    description:
      - Seconds for everything. It has to be more than the pods' termination grace period.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Start one member anew, from the newest template
  hostnet.multicluster.member_stop:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    namespace: hostnet-example
    pods:
      - {kube_cluster: east, name: example-east-0-0, uid: 6f0f5a7b-2b8f-4d8a-9d3c-8f0f5a7b1c2d}
"""

RETURN = r"""
deleted:
  description: The pods that were there and were deleted.
  returned: success
  type: list
  elements: dict
  sample: [{kube_cluster: east, name: example-east-0-0, uid: 6f0f5a7b-2b8f-4d8a-9d3c-8f0f5a7b1c2d}]
missing:
  description: A line for each pod that is still there at the deadline.
  returned: on failure
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, pods

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "namespace": {"type": "str", "required": True},
    "pods": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "uid": {"type": "str", "required": True},
            "force": {"type": "bool", "default": False},
        },
    },
    "grace_seconds": {"type": "int"},
    "timeout": {"type": "int", "default": 120},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    stray = _call.stray(params, "pods")
    if stray:
        raise _call.Failure(stray)
    if params["timeout"] < 1:
        raise _call.Failure(f"timeout is {params['timeout']}; give at least 1 second")
    # 0 would not wait for any kubelet.
    if params["grace_seconds"] is not None and params["grace_seconds"] < 1:
        raise _call.Failure(f"grace_seconds is {params['grace_seconds']}; give at least 1, or leave it out for the pods' own grace periods")
    shown = [{key: pod[key] for key in ("kube_cluster", "name", "uid")} for pod in params["pods"]]
    if call.check_mode or not params["pods"]:
        return {"changed": bool(params["pods"]), "deleted": shown}
    deleted, missing = pods.delete_pods(call.clusters, params["namespace"], params["pods"], params["timeout"], params["grace_seconds"])
    if missing:
        raise _call.Failure(f"after {params['timeout']} seconds {len(missing)} pods are not gone: " + "; ".join(missing), missing=missing)
    return {"changed": bool(deleted), "deleted": [{key: pod[key] for key in ("kube_cluster", "name", "uid")} for pod in deleted]}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
