#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: neighbours_info
short_description: Lists the members of all deployments, and how other deployments are asked
version_added: "0.3.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Lists the pods of the members of all deployments, in all namespaces, with one request to each kube cluster. So a rollout finds out whose members
    are on the VMs that it is about to take down.
  - With O(deployments) it lists no pods, and reads what these deployments tell their neighbours.
  - With O(plan) it lists pods, says whose members are on the VMs of that plan, and reads how their deployments are asked. It goes by what
    M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_bindings) and C(hostnet_deployment).
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
  deployments:
    description:
      - The deployments to read about.
    type: list
    elements: dict
    default: []
    suboptions:
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
  plan:
    description:
      - The plan of a rollout, as M(hostnet.multicluster.rollout_next) returned it.
    type: dict
    version_added: "0.4.0"
  hostnet:
    description:
      - The settings of the deployment that is rolled, the fact C(hostnet) of the role preflight. Needed with O(plan).
    type: dict
    version_added: "0.4.0"
  request:
    description:
      - What is asked for, as for M(hostnet.multicluster.rollout_next). Needed with O(plan).
    type: dict
    version_added: "0.4.0"
  journal:
    description:
      - The newest journal of a rollout, V(ansible_facts.hostnet_journal). Empty where there is none.
    type: dict
    default: {}
    version_added: "0.4.0"
"""

EXAMPLES = r"""
- name: Find all members of all deployments
  hostnet.multicluster.neighbours_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
  register: everybody

- name: Show the deployments that share VMs with others
  ansible.builtin.debug:
    msg: "{{ everybody.pods | groupby('node') | selectattr('1.1', 'defined') }}"

- name: Read how one of them is asked
  hostnet.multicluster.neighbours_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    deployments:
      - {name: ledger, namespace: hostnet-ledger}
"""

RETURN = r"""
pods:
  description: The pods of members. Empty with O(deployments).
  returned: success
  type: list
  elements: dict
  sample: [{kube_cluster: east, namespace: hostnet-ledger, name: ledger-east-0-0, deployment: ledger, member: east-0, node: east-worker}]
refused:
  description: By name of the kube cluster, why this user may not list the pods there.
  returned: success
  type: dict
  sample: {}
deployments:
  description:
    - For each entry of O(deployments) its C(name), its C(namespace) and in C(kube_clusters), by name, C(about) (the data of the ConfigMap in which it tells
      its neighbours, null where there is none) and C(error) (why this user may not read it, else empty).
  returned: success
  type: list
  elements: dict
  sample: [{name: ledger, namespace: hostnet-ledger, kube_clusters: {east: {about: null, error: ""}}}]
shared:
  description:
    - With O(plan), C(errors) (why that must not be), and C(members) (by name of a member of the plan, the members of others on its VM).
  returned: success
  type: dict
neighbours:
  description:
    - With O(plan), the deployments of those others, each with C(name), C(namespace), C(problems), and C(kube_clusters), C(hostnet) and C(spec) to observe it
      with.
  returned: success
  type: list
  elements: dict
requests:
  description: API requests sent.
  returned: always
  type: int
  sample: 2
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, neighbours
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import sharing
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.neighbours import neighbour

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "deployments": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "namespace": {"type": "str", "required": True}},
    },
    "plan": {"type": "dict"},
    "hostnet": {"type": "dict"},
    "request": {"type": "dict"},
    "journal": {"type": "dict", "default": {}},
}

FACTS = ("hostnet_bindings", "hostnet_deployment")


def run(call: _call.Call, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    params = call.params
    wanted, shared = params["deployments"], {}
    pods, refused = ([], {}) if wanted else neighbours.read_pods(call.clusters)
    if params["plan"] is not None:
        shared = _shared(params, {"pods": pods, "refused": refused}, facts or {})
        wanted = [] if shared["errors"] else shared["deployments"]
    told = [{**entry, "kube_clusters": neighbours.read_about(call.clusters, entry["name"], entry["namespace"])} for entry in wanted]
    described = [] if params["plan"] is None else [neighbour(params["hostnet"], entry, entry["kube_clusters"]) for entry in told]
    return {"changed": False, "pods": pods, "refused": refused, "deployments": told, "shared": shared, "neighbours": described}


def _shared(params: dict[str, Any], others: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Whose members are on the VMs of `plan`."""
    lacking = [name for name in FACTS if facts.get(name) is None]
    if lacking:
        raise _call.Failure(f"there is no fact {', '.join(lacking)}: observe the deployment first, and give the task connection: local")
    if params["hostnet"] is None or params["request"] is None:
        raise _call.Failure("plan needs hostnet and request")
    bindings, seen = (facts[name] for name in FACTS)
    try:
        return sharing.shared(
            params["hostnet"], params["plan"], bindings, seen["nodes"], others, params["journal"] or None, params["request"]
        )
    except ValueError as error:
        raise _call.Failure(str(error)) from error


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
