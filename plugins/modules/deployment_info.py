#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_info
short_description: Reads what one deployment has in all kube clusters
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads identity record, bindings, join list, workloads, pods and the dates of certificates of one deployment, with one LIST per kind
    and kube cluster, whatever the number of members.
  - With O(expect) it first waits until the pods of these members run or are ready, with one watch per kube cluster, and fails with a line
    for each member that is missing at the deadline.
  - Keys and certificates are not read.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  expect:
    description: Members to wait for.
    type: list
    elements: dict
    default: []
    suboptions:
      kube_cluster:
        description: The member's kube cluster.
        type: str
        required: true
      member:
        description: The member's name.
        type: str
        required: true
      node:
        description: The node that the member is bound to.
        type: str
        required: true
  condition:
    description: What is waited for - V(running) containers, V(ready) pods, or pods that are V(gone).
    type: str
    choices: [running, ready, gone]
    default: ready
  timeout:
    description: Deadline of the wait, in seconds.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Read a deployment
  hostnet.multicluster.deployment_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
  register: ledger
"""

RETURN = r"""
kube_clusters:
  description: What each kube cluster has of the deployment, by name of the kube cluster.
  returned: success
  type: dict
  contains:
    namespace:
      description: Labels and phase of the namespace, or null where it does not exist.
      type: dict
      returned: success
    identity:
      description: The claim, or null.
      type: dict
      returned: success
    cluster_record:
      description: The recorded cluster id, or null.
      type: dict
      returned: success
    members:
      description: Bindings of the members.
      type: list
      elements: dict
      returned: success
    join:
      description: Data of the join ConfigMap, or null.
      type: dict
      returned: success
    workloads:
      description: StatefulSets and DaemonSets - kind, name, member, token, CA fingerprint, image, revision.
      type: list
      elements: dict
      returned: success
    pods:
      description: Pods - name, uid, member, node, phase, running, ready, started_at, restarts, waiting (the reason, with the newest warning event).
      type: list
      elements: dict
      returned: success
    secrets:
      description: Names of Secrets, with serial and dates of the certificates in them.
      type: list
      elements: dict
      returned: success
requests:
  description: API requests sent.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, observe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "kube_clusters": client.kube_clusters_argument(),
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "expect": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kube_cluster": {"type": "str", "required": True},
                    "member": {"type": "str", "required": True},
                    "node": {"type": "str", "required": True},
                },
            },
            "condition": {"type": "str", "choices": ["running", "ready", "gone"], "default": "ready"},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if client.KUBERNETES_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=client.KUBERNETES_IMPORT_ERROR, requests=0)
    params = module.params
    clusters: dict[str, client.KubeCluster] = {}
    try:
        clusters = client.connect(params["kube_clusters"])
        # Nothing was created in check mode, so there is nothing to wait for.
        if params["expect"] and not module.check_mode:
            missing = observe.wait_for_members(
                clusters, params["name"], params["namespace"], params["expect"], params["condition"], params["timeout"]
            )
            if missing:
                module.fail_json(
                    msg=f"after {params['timeout']} seconds {len(missing)} of {len(params['expect'])} members are not {params['condition']}: "
                    + "; ".join(missing),
                    missing=missing,
                    requests=client.total_requests(clusters),
                )
        found = observe.observe(clusters, params["name"], params["namespace"])
    except client.KubeError as error:
        module.fail_json(msg=str(error), requests=client.total_requests(clusters))
    module.exit_json(changed=False, kube_clusters=found, requests=client.total_requests(clusters))


if __name__ == "__main__":
    main()
