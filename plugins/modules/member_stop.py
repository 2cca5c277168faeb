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
      - The pods. One that is gone already is fine. Either these or O(member).
    type: list
    elements: dict
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
  member:
    description:
      - A binding. All pods of its member end, as O(observed) has them, and nobody waits for the kubelet of a VM that is gone by the fact
        C(hostnet_deployment). Needs the action plugin, which is used where the connection is local.
    type: dict
    version_added: "0.4.0"
  observed:
    description:
      - What M(hostnet.multicluster.deployment_info) returned as C(kube_clusters). Without it, that of the fact C(hostnet_deployment).
    type: dict
    version_added: "0.4.0"
  outdated:
    description:
      - Only pods of O(member) that do not run O(image) or, without O(image), that are older than what their workload says.
    type: bool
    default: false
    version_added: "0.4.0"
  image:
    description:
      - The image that pods are to run, for O(outdated).
    type: str
    default: ""
    version_added: "0.4.0"
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "namespace": {"type": "str", "required": True},
    "pods": {
        "type": "list",
        "elements": "dict",
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "uid": {"type": "str", "required": True},
            "force": {"type": "bool", "default": False},
        },
    },
    "member": {"type": "dict"},
    "observed": {"type": "dict"},
    "outdated": {"type": "bool", "default": False},
    "image": {"type": "str", "default": ""},
    "grace_seconds": {"type": "int"},
    "timeout": {"type": "int", "default": 120},
}


def _pods_of_member(params: dict[str, Any], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of `member`, by what was observed."""
    seen = facts.get("hostnet_deployment")
    if seen is None:
        raise _call.Failure("member needs the fact hostnet_deployment: observe the deployment first, and give the task connection: local")
    observed = seen["kube_clusters"] if params["observed"] is None else params["observed"]
    found = rollout.stale_pods(params["member"], observed, seen["nodes"])
    return rollout.outdated(found, observed, params["image"]) if params["outdated"] else found


def run(call: _call.Call, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    params = call.params
    if (params["pods"] is None) == (params["member"] is None):
        raise _call.Failure("give either pods or member")
    if params["pods"] is None:
        params["pods"] = _pods_of_member(params, facts or {})
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
