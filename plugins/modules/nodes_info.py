#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nodes_info
short_description: Lists the nodes of several kube clusters
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads the nodes of all kube clusters at the same time, in one process, with one request to each (one more for every further 500 nodes)
    and one for the API server's version.
  - Tells in RV(errors) what would make the nodes unusable for members on the host network.
  - It changes nothing, so O(lock), which roles give to all modules at once, is not read.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
options:
  node_selector:
    description:
      - Label selector of the nodes, as C(kubectl get nodes -l) takes it. All nodes when empty.
    type: str
    default: ""
  extra_selector:
    description:
      - Label selector of nodes that are listed too, with RV(ignore:selected=false), where they do not match O(node_selector). It costs one more
        request to each kube cluster.
    type: str
    default: ""
  members_of:
    description:
      - Name of a deployment. The nodes that its members are bound to are listed too, as those of O(extra_selector) are, also while a member is stopped.
        It costs two more requests to each kube cluster.
    type: str
    default: ""
    version_added: "0.4.0"
  address_type:
    description:
      - Which address of a node counts - V(InternalIP), V(ExternalIP), or the name of a node annotation that holds the address.
    type: str
    default: InternalIP
  absent_ok:
    description:
      - Names of kube clusters that may fail to answer. They are then reported in RV(kube_clusters) with RV(ignore:absent=true).
      - Refused credentials, and a certificate that is not trusted, are errors even then.
    type: list
    elements: str
    default: []
  read_version:
    description: Whether each API server is asked for its version, which is a request more for each kube cluster.
    type: bool
    default: true
    version_added: "0.4.0"
seealso:
  - plugin: hostnet.multicluster.nodes
    plugin_type: inventory
  - module: hostnet.multicluster.node_labels
"""

EXAMPLES = r"""
- name: List the nodes that may carry members
  hostnet.multicluster.nodes_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    node_selector: "!node-role.kubernetes.io/control-plane"
  register: found

- name: Stop where two nodes have the same address or one has none
  ansible.builtin.assert:
    that: found.errors | length == 0
    fail_msg: "{{ found.errors | join('\n') }}"

- name: Show name and address of each node
  ansible.builtin.debug:
    msg: "{{ found.nodes | map(attribute='name') | zip(found.nodes | map(attribute='address')) | map('join', ' ') }}"

- name: List the nodes that are reachable now, by an address that an annotation holds
  hostnet.multicluster.nodes_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    address_type: example.com/backbone-ip
    absent_ok: [west]
  register: reachable
"""

RETURN = r"""
nodes:
  description: The nodes, sorted by kube cluster and name. Texts are empty where a node does not say.
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
      description: Name of the Node object.
      type: str
      returned: success
      sample: east-worker
    uid:
      description: UID of the Node object. A node that is deleted and comes back has another one.
      type: str
      returned: success
      sample: 6fb7f0a8-2d6f-4a0b-9d0c-0d6c1d8a4c57
    provider_id:
      description: The cloud's id of the VM.
      type: str
      returned: success
      sample: gce://project/europe-west1-b/gke-east-pool-1
    address:
      description: The address of the wanted type in its canonical spelling; empty where the node has none.
      type: str
      returned: success
      sample: 192.0.2.11
    addresses:
      description: All addresses of the node's status, each with C(type) and C(address).
      type: list
      elements: dict
      returned: success
      sample: [{type: InternalIP, address: 192.0.2.11}, {type: Hostname, address: east-worker}]
    region:
      description: Label C(topology.kubernetes.io/region).
      type: str
      returned: success
      sample: europe-west1
    zone:
      description: Label C(topology.kubernetes.io/zone).
      type: str
      returned: success
      sample: europe-west1-b
    ready:
      description: Whether the node's condition Ready is true.
      type: bool
      returned: success
    selected:
      description: Whether the node matches O(node_selector).
      type: bool
      returned: success
    unschedulable:
      description: Whether the node is cordoned.
      type: bool
      returned: success
    control_plane:
      description: Whether the node has the role of a control plane.
      type: bool
      returned: success
    labels:
      description: All labels.
      type: dict
      returned: success
    annotations:
      description: Of its annotations those that keep the cluster autoscaler away, see O(hostnet.multicluster.node_labels#module:nodes[].guarded).
      type: dict
      returned: success
    taints:
      description: All taints.
      type: list
      elements: dict
      returned: success
    signs:
      description:
        - Signs that the VM is about to go, the surest first. A cordon that a rollout of this collection has made is none.
        - Those that clouds, autoscalers and upgraders leave on a Node are known; docs/upgrade.md has them. What only a cloud's own API tells is not.
      type: list
      elements: dict
      returned: success
      contains:
        sign:
          description: Key of the taint, label, annotation or condition, or the field, that says so.
          type: str
        level:
          description: C(off) where the VM is off, C(going) where it was chosen and goes next, C(marked) where others may go first.
          type: str
        text:
          description: What it means.
          type: str
      sample:
        - {sign: ToBeDeletedByClusterAutoscaler, level: going, text: the cluster autoscaler takes it away within minutes}
    generation:
      description:
        - "Of what the node was made: version of the kubelet, and what EKS, AKS, Karpenter and Cluster API say of image, launch template, settings and
          MachineSet. Nodes that a pool's upgrade brings have another one."
      type: str
      returned: success
      sample: v1.36.3, ami-0123456789abcdef0
    boot_id:
      description: Id of the running boot; another one after a reboot.
      type: str
      returned: success
    machine_id:
      description: Content of C(/etc/machine-id).
      type: str
      returned: success
    system_uuid:
      description: UUID of the VM's firmware.
      type: str
      returned: success
    kubelet_version:
      description: Version of the kubelet.
      type: str
      returned: success
      sample: v1.36.3
    created:
      description: When the Node object was created.
      type: str
      returned: success
      sample: "2026-11-22T10:00:00Z"
kube_clusters:
  description: How each kube cluster answered, by name.
  returned: success
  type: dict
  contains:
    host:
      description: URL of the API server.
      type: str
      returned: success
      sample: https://192.0.2.10:6443
    version:
      description: Version of the API server; empty where it did not answer, and without O(read_version).
      type: str
      returned: success
      sample: v1.36.3
    absent:
      description: Whether it did not answer, which O(absent_ok) allowed.
      type: bool
      returned: success
    error:
      description: Why it did not answer; else empty.
      type: str
      returned: success
errors:
  description:
    - What makes the selected nodes unusable together, one sentence each, in a fixed order - a node without an address of the wanted type, an
      address that is no usable IP, several nodes with the same address.
  returned: success
  type: list
  elements: str
  sample: []
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.nodes import read_nodes
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import node_errors, unknown_error

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "node_selector": {"type": "str", "default": ""},
    "extra_selector": {"type": "str", "default": ""},
    "members_of": {"type": "str", "default": ""},
    "address_type": {"type": "str", "default": "InternalIP"},
    "read_version": {"type": "bool", "default": True},
    "absent_ok": {"type": "list", "elements": "str", "default": []},
}


def run(call: _call.Call) -> dict[str, Any]:
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    params = call.params
    unknown = unknown_error("absent_ok", params["absent_ok"], [entry["name"] for entry in params["kube_clusters"]])
    if unknown:
        raise _call.Failure(unknown)
    nodes, states = read_nodes(
        call.clusters,
        params["node_selector"],
        params["address_type"],
        params["absent_ok"],
        [params["extra_selector"], *(names.member_selectors(params["members_of"]) if params["members_of"] else ())],
        with_version=params["read_version"],
    )
    errors = node_errors([node for node in nodes if node["selected"]], params["address_type"])
    return {"changed": False, "nodes": nodes, "kube_clusters": states, "errors": errors}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
