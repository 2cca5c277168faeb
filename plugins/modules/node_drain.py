#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Cordons, drains and uncordons nodes of several kube clusters
version_added: "0.2.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Keeps new pods off nodes (cordon), evicts the pods that run there (drain), and lets pods come again (uncordon).
  - A cordon carries its owner in the annotation C(hostnet.multicluster/cordoned-by), set in the same request. So a run that was killed
    leaves a cordon that the next run knows, and the cordon of a human or of another tool is never taken away.
  - Pods are evicted by the API server's Eviction, which obeys PodDisruptionBudgets. An eviction that a budget refuses is tried again until
    O(timeout).
  - Pods of DaemonSets, the kubelet's static pods and pods that have finished are left alone, as C(kubectl drain --ignore-daemonsets) does.
  - All nodes, and all their pods, are drained at once, with at most 8 connections to each API server.
  - In each kube cluster the module sends one request for the nodes, one list of pods for each node (two for a node that it cordons), one
    PATCH for each node, one eviction for each pod, and one watch. While a budget refuses an eviction, that is tried again after 1, 2, 4 and
    then every 5 seconds, with one more watch each time.
  - With O(lock), the lock is read again before each of these tries. A run that has lost it evicts and uncordons nothing more.
  - Nothing is changed where a kube cluster does not answer, a node does not exist or is another VM, or a pod may not be evicted.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
options:
  nodes:
    description:
      - The nodes. May be left out with O(state=uncordoned), for all nodes of O(kube_clusters) that are cordoned.
    type: list
    elements: dict
    suboptions:
      kube_cluster:
        description:
          - Name of the node's kube cluster in O(kube_clusters).
        type: str
        required: true
      name:
        description:
          - Name of the node.
        type: str
        required: true
      uid:
        description:
          - UID of the Node object. A node of this name with another UID is another VM, and is refused.
          - With O(state=uncordoned) such a node is left as it is.
        type: str
        default: ""
  state:
    description:
      - V(cordoned) takes no new pods. A node that somebody else has cordoned stays theirs.
      - V(drained) is V(cordoned), and runs no pods but those that are left alone.
      - V(uncordoned) takes pods again. Only cordons of O(owner) are taken away; a node that is gone is fine.
    type: str
    choices: [cordoned, drained, uncordoned]
    required: true
  owner:
    description:
      - Whose cordon it is, for example the name of a deployment.
    type: str
    required: true
  gone_ok:
    description:
      - A node that is gone, or is another VM by its UID, is left out. Otherwise it is an error, except with O(state=uncordoned).
    type: bool
    default: false
    version_added: "0.4.0"
  exclude:
    description:
      - Label selector of pods that are left alone, in all namespaces; for example the deployment's members, which the play stops itself.
    type: str
    default: ""
  timeout:
    description:
      - Seconds in which all pods have to be gone, in all kube clusters together.
    type: int
    default: 300
  grace_seconds:
    description:
      - Seconds that a pod may take to stop. Without it, each pod's own grace period.
    type: int
  force_unmanaged:
    description:
      - Whether pods that no controller makes again elsewhere are evicted as well. Without it they are named and nothing is changed.
    type: bool
    default: false
  delete_empty_dir:
    description:
      - Whether pods with C(emptyDir) volumes are evicted, whose content is lost. Without it they are named and nothing is changed.
    type: bool
    default: true
  keep_cordon:
    description:
      - Whether nodes that this call cordoned stay so when it fails. Without it they are uncordoned again; those that were cordoned before
        stay as they were in any case.
    type: bool
    default: false
attributes:
  check_mode:
    details:
      - Pods that a PodDisruptionBudget keeps at the moment are shown with it in RV(nodes[].pods[].budget).
seealso:
  - module: hostnet.multicluster.nodes_info
  - module: kubernetes.core.k8s_drain
"""

EXAMPLES = r"""
- name: Let no new pods come
  hostnet.multicluster.node_drain:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    state: cordoned
    owner: ledger
    nodes:
      - kube_cluster: east
        name: east-worker

- name: Evict what runs there, except the members of the deployment
  hostnet.multicluster.node_drain:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    state: drained
    owner: ledger
    exclude: hostnet.multicluster/deployment=ledger
    timeout: 600
    nodes:
      - kube_cluster: east
        name: east-worker

- name: Let pods come again
  hostnet.multicluster.node_drain:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    state: uncordoned
    owner: ledger
    nodes:
      - kube_cluster: east
        name: east-worker
"""

RETURN = r"""
nodes:
  description: The nodes, in the order of O(nodes). In check mode, as they would be.
  returned: when the nodes could be read
  type: list
  elements: dict
  contains:
    kube_cluster:
      description: Name of the kube cluster.
      type: str
      returned: success
      sample: east
    name:
      description: Name of the node.
      type: str
      returned: success
      sample: east-worker
    uid:
      description: UID of the Node object; as given in O(nodes[].uid) where the node is gone.
      type: str
      returned: success
      sample: 6fb7f0a8-2d6f-4a0b-9d0c-0d6c1d8a4c57
    gone:
      description: Whether there is no such node, or another VM under its name. Only with O(state=uncordoned).
      type: bool
      returned: success
    changed:
      description: Whether the node's cordon changed or a pod was evicted.
      type: bool
      returned: success
    cordoned:
      description: Whether the node is cordoned by O(owner).
      type: bool
      returned: success
    unschedulable:
      description: Whether the node is cordoned, by whomever.
      type: bool
      returned: success
    cordoned_by:
      description: The owner that the node's annotation names; empty for a cordon of a human or another tool.
      type: str
      returned: success
      sample: ledger
    pods:
      description: The pods that were on the node, sorted by namespace and name; empty unless O(state=drained).
      type: list
      elements: dict
      returned: success
      contains:
        namespace:
          description: Namespace of the pod.
          type: str
          returned: success
          sample: shop
        name:
          description: Name of the pod.
          type: str
          returned: success
          sample: web-7d4b9c6f5-x2x8z
        uid:
          description: UID of the pod.
          type: str
          returned: success
          sample: 0d6c1d8a-2d6f-4a0b-9d0c-6fb7f0a84c57
        action:
          description:
            - C(evicted); C(awaited), as it was being deleted already; C(skipped), as it is left alone; C(refused), as it may not be evicted;
              C(kept), as its eviction did not succeed, or it went by itself.
          type: str
          returned: success
          sample: evicted
        reason:
          description:
            - Why it was not evicted - C(excluded), C(mirror), C(finished), C(daemonset), C(terminating), C(unmanaged) or C(empty_dir).
          type: str
          returned: success
          sample: daemonset
        budget:
          description: The PodDisruptionBudget that keeps it, in check mode and after a failure.
          type: str
          returned: success
          sample: PodDisruptionBudget shop/web (needs 2 healthy pods and has 2)
failures:
  description: What failed, one sentence for each pod or node, with what to do.
  returned: failure
  type: list
  elements: str
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 9
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.drain import Request, Target, change_nodes, cordoned
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.drain import STATES, option_errors, rules

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "nodes": {
        "type": "list",
        "elements": "dict",
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "uid": {"type": "str", "default": ""},
        },
    },
    "state": {"type": "str", "choices": list(STATES), "required": True},
    "owner": {"type": "str", "required": True},
    "gone_ok": {"type": "bool", "default": False},
    "exclude": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 300},
    "grace_seconds": {"type": "int"},
    "force_unmanaged": {"type": "bool", "default": False},
    "delete_empty_dir": {"type": "bool", "default": True},
    "keep_cordon": {"type": "bool", "default": False},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    errors = option_errors(params)
    if errors:
        raise _call.Failure("; ".join(errors))
    request = Request(
        state=params["state"],
        owner=params["owner"],
        rules=rules(params["exclude"], params["force_unmanaged"], params["delete_empty_dir"]),
        timeout=params["timeout"],
        grace_seconds=params["grace_seconds"],
        keep_cordon=params["keep_cordon"],
        gone_ok=params["gone_ok"],
        dry_run=call.check_mode,
        lock=params["lock"],
    )
    if params["nodes"] is None:
        targets = cordoned(call.clusters)
    else:
        targets = [Target(entry["kube_cluster"], entry["name"], entry["uid"]) for entry in params["nodes"]]
    outcome = change_nodes(call.clusters, targets, request)
    result = {"changed": outcome.changed, "nodes": outcome.nodes, "diff": outcome.diff}
    if outcome.failures:
        raise _call.Failure(outcome.failure_text(), failures=outcome.failures, **result)
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
