#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: node_labels
short_description: Sets labels of many nodes in several kube clusters
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Gives the listed nodes their labels and takes the labels in O(owned) from all other nodes.
  - Keeps the cluster autoscaler away from nodes (O(nodes[].guarded)), with the annotation C(cluster-autoscaler.kubernetes.io/scale-down-disabled).
    The annotation C(hostnet.multicluster/scale-down-disabled-by) beside it lists for whom. What somebody else had set is left as it is.
  - One LIST for each kube cluster (one more request for every further 500 nodes), one PATCH for each node that differs.
  - Nothing is changed where a kube cluster does not answer or a listed node does not exist (but see O(gone_ok)).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
options:
  nodes:
    description:
      - The nodes that shall have labels.
    type: list
    elements: dict
    default: []
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
      labels:
        description:
          - The labels, key to value. Keys that are not listed in O(owned) are set as well, but never removed.
          - Values are strings; quote what YAML would read as a boolean.
        type: dict
        default: {}
      guarded:
        description:
          - Whether the cluster autoscaler is to leave the node alone, for O(guarded_by).
        type: bool
        default: false
        version_added: "0.3.0"
  members:
    description:
      - Bindings, in place of O(nodes). Each node of one of O(kube_clusters) that still is the VM of a member gets the labels that a deployment gives it, and
        is guarded. The nodes are those of the fact C(hostnet_deployment). Requires O(hostnet).
    type: list
    elements: dict
    version_added: "0.4.0"
  hostnet:
    description:
      - The settings of the deployment, for O(members).
    type: dict
    version_added: "0.4.0"
  guarded_by:
    description:
      - Name of the deployment that nodes are guarded for. The last one that guards a node takes the annotation away.
    type: str
    version_added: "0.3.0"
  release:
    description:
      - Whether nodes that are not listed as O(nodes[].guarded) are no longer guarded for O(guarded_by).
    type: bool
    default: false
    version_added: "0.3.0"
  gone_ok:
    description:
      - Whether listed nodes that do not exist are passed over. For work that goes on while a cloud takes VMs; the labels are gone with the node.
    type: bool
    default: false
    version_added: "0.4.0"
  owned:
    description:
      - Label keys that are yours alone. A node that is not listed, or is listed without the key, loses the label.
      - Keys of Kubernetes itself are refused, except C(node-role.kubernetes.io/...) of roles other than the control plane's.
    type: list
    elements: str
    default: []
seealso:
  - module: hostnet.multicluster.nodes_info
"""

EXAMPLES = r"""
- name: Label the nodes that carry members, and only these
  hostnet.multicluster.node_labels:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    owned: [example.com/ledger]
    guarded_by: ledger
    release: true
    nodes:
      - kube_cluster: east
        name: east-worker
        labels:
          example.com/ledger: east-0
        guarded: true
      - kube_cluster: west
        name: west-worker
        labels:
          example.com/ledger: west-0

- name: Take the label from every node
  hostnet.multicluster.node_labels:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    owned: [example.com/ledger]
"""

RETURN = r"""
nodes:
  description: The nodes whose labels changed, or in check mode would change, sorted by kube cluster and name.
  returned: success
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
    before:
      description: The labels that differ, as they were. A key that is missing here was not set.
      type: dict
      returned: success
      sample: {}
    after:
      description: The same labels as they are now. A key that is missing here is not set.
      type: dict
      returned: success
      sample: {example.com/ledger: east-0}
    annotations_before:
      description: As RV(nodes[].before), for annotations.
      type: dict
      returned: where annotations change
      sample: {}
    annotations_after:
      description: As RV(nodes[].after), for annotations.
      type: dict
      returned: where annotations change
      sample: {cluster-autoscaler.kubernetes.io/scale-down-disabled: "true", hostnet.multicluster/scale-down-disabled-by: ledger}
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.nodes import Guard, plan_labels, read_labels, write_labels
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.labels import changes_diff, label_errors, labels_by_node
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.names import is_dns_label

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "nodes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "labels": {"type": "dict", "default": {}},
            "guarded": {"type": "bool", "default": False},
        },
    },
    "members": {"type": "list", "elements": "dict"},
    "hostnet": {"type": "dict"},
    "guarded_by": {"type": "str"},
    "release": {"type": "bool", "default": False},
    "gone_ok": {"type": "bool", "default": False},
    "owned": {"type": "list", "elements": "str", "default": []},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    errors = label_errors(params["nodes"], params["owned"], [entry["name"] for entry in params["kube_clusters"]])
    name = params["guarded_by"] or ""
    guarded = {(node["kube_cluster"], node["name"]) for node in params["nodes"] if node["guarded"]}
    if (guarded or params["release"]) and not is_dns_label(name):
        errors.append("guarded_by must be the name of a deployment, a DNS label, where nodes are guarded or released")
    if errors:
        raise _call.Failure("; ".join(errors))
    guard: Guard | None = {"name": name, "nodes": guarded, "release": params["release"]} if name else None
    current = read_labels(call.clusters)
    changes = plan_labels(current, labels_by_node(params["nodes"]), params["owned"], guard, gone_ok=params["gone_ok"])
    if not call.check_mode:
        changes = write_labels(call.clusters, current, changes, guard, gone_ok=params["gone_ok"])
    changed = [{"kube_cluster": name, **change} for name in sorted(changes) for change in changes[name]]
    return {"changed": bool(changed), "nodes": changed, "diff": changes_diff(changes)}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
