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
  - One LIST for each kube cluster (one more request for every further 500 nodes), one PATCH for each node that differs.
  - Nothing is changed where a kube cluster does not answer or a listed node does not exist.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
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
    nodes:
      - kube_cluster: east
        name: east-worker
        labels:
          example.com/ledger: east-0
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
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 4
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.nodes import plan_labels, read_labels, write_labels
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.labels import changes_diff, label_errors, labels_by_node


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "kube_clusters": client.kube_clusters_argument(),
            "nodes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kube_cluster": {"type": "str", "required": True},
                    "name": {"type": "str", "required": True},
                    "labels": {"type": "dict", "default": {}},
                },
            },
            "owned": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if client.KUBERNETES_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=client.KUBERNETES_IMPORT_ERROR, requests=0)
    params = module.params
    errors = label_errors(params["nodes"], params["owned"], [entry["name"] for entry in params["kube_clusters"]])
    if errors:
        module.fail_json(msg="; ".join(errors), requests=0)
    clusters: dict[str, client.KubeCluster] = {}
    try:
        clusters = client.connect(params["kube_clusters"])
        current = read_labels(clusters)
        changes = plan_labels(current, labels_by_node(params["nodes"]), params["owned"])
        if not module.check_mode:
            changes = write_labels(clusters, current, changes)
    except client.KubeError as error:
        module.fail_json(msg=str(error), requests=client.total_requests(clusters))
    changed = [{"kube_cluster": name, **change} for name in sorted(changes) for change in changes[name]]
    module.exit_json(
        changed=bool(changed),
        nodes=changed,
        diff=changes_diff(changes),
        requests=client.total_requests(clusters),
    )


if __name__ == "__main__":
    main()
