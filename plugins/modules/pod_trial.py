#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pod_trial
short_description: Asks several kube clusters whether they would let a pod in
version_added: "0.3.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Sends each pod to its API server as a dry run, so that quotas, LimitRanges, Pod Security and admission webhooks answer and nothing is made.
  - A webhook that cannot be asked as a dry run counts as no objection.
  - Looks whether Secrets that images are pulled with are there. A kubelet goes on without one that is not.
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
  pods:
    description:
      - One entry for each kube cluster that is asked.
    type: list
    elements: dict
    default: []
    suboptions:
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      definition:
        description:
          - The pod, with a namespace that exists. Without it only O(priority_class) and O(pull_secrets) are looked for.
        type: dict
  hostnet:
    description:
      - The settings of a deployment. Then a pod of its members is tried in each kube cluster whose namespace is there, by the fact C(hostnet_deployment), and
        what speaks against it is a failure. All other options but O(spec) and O(new) come from there.
    type: dict
    version_added: "0.4.0"
  spec:
    description:
      - The spec of its system; docs/systems.md describes it. Required with O(hostnet).
    type: dict
    version_added: "0.4.0"
  new:
    description:
      - Whether members that a deploy would add count too, with O(hostnet). A quota that is full matters only to those.
    type: bool
    default: true
    version_added: "0.4.0"
  priority_class:
    description:
      - Name of the PriorityClass that has to be in each of these kube clusters. Those of Kubernetes itself (C(system-...)) always are.
    type: str
    default: ""
  namespace:
    description:
      - Where O(pull_secrets) are looked for. It may be missing, and they with it.
    type: str
    default: ""
    version_added: "0.4.0"
  pull_secrets:
    description:
      - Names of Secrets for registries that have to be in O(namespace) of each of these kube clusters.
    type: list
    elements: str
    default: []
    version_added: "0.4.0"
"""

EXAMPLES = r"""
- name: Ask whether a pod of this priority would be let in
  hostnet.multicluster.pod_trial:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    priority_class: system-cluster-critical
    pods:
      - kube_cluster: east
        definition:
          apiVersion: v1
          kind: Pod
          metadata:
            name: trial
            namespace: default
          spec:
            priorityClassName: system-cluster-critical
            containers:
              - name: trial
                image: example.com/trial:1
  register: trial
"""

RETURN = r"""
results:
  description: What each kube cluster said, in the order of O(pods).
  returned: success
  type: list
  elements: dict
  contains:
    kube_cluster:
      description: Name of the kube cluster.
      type: str
      returned: success
      sample: east
    refused:
      description: Why the API server would not let the pod in, in its words. Empty where it would.
      type: str
      returned: success
      sample: ""
    class_exists:
      description: Whether O(priority_class) is there.
      type: bool
      returned: success
      sample: true
    missing_secrets:
      description: Those of O(pull_secrets) that are not there, or are of a type that no kubelet pulls images with.
      type: list
      elements: str
      returned: success
      sample: []
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 2
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.trial import try_pods

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "pods": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "definition": {"type": "dict"},
        },
    },
    "hostnet": {"type": "dict"},
    "spec": {"type": "dict"},
    "new": {"type": "bool", "default": True},
    "priority_class": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    # Names of Secrets, not what is in them.
    "pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
}


def run(call: _call.Call) -> dict[str, Any]:
    stray = _call.stray(call.params, "pods")
    if stray:
        raise _call.Failure(stray)
    pods = {entry["kube_cluster"]: entry["definition"] for entry in call.params["pods"]}
    if len(pods) < len(call.params["pods"]):
        raise _call.Failure("pods names a kube cluster twice; give each of them once")
    if call.params["pull_secrets"] and not call.params["namespace"]:
        raise _call.Failure("pull_secrets are looked for in a namespace: give it in namespace")
    found = try_pods(call.clusters, pods, call.params["priority_class"], call.params["namespace"], call.params["pull_secrets"])
    return {"changed": False, "results": [{"kube_cluster": name, **found[name]} for name in pods]}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
