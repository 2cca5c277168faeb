#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_apply
short_description: Applies the objects of a deployment
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Makes the objects of a deployment's members, with the join list of those that live, and applies those that differ, as
    M(hostnet.multicluster.manifests) does.
  - Who lives, which join list is in force and which namespaces there are, it takes from the fact C(hostnet_deployment),
    RV(hostnet.multicluster.deployment_observe#module:deployment), as it is - a template would need ten seconds to hand over a thousand members.
  - Runs on the controller, where that fact is.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
options:
  hostnet:
    description:
      - The settings of the deployment, the fact C(hostnet) of the role preflight. Only objects of O(kube_clusters) are applied.
    type: dict
    required: true
  members:
    description:
      - Bindings of all members. Without this option there are no objects but those of O(namespaces).
    type: list
    elements: dict
  spec:
    description:
      - The spec of its system; docs/systems.md describes it. Required with O(members).
    type: dict
  identity:
    description:
      - The identity record. Required with O(members).
    type: dict
  issued:
    description:
      - What M(hostnet.multicluster.host_certificates) has returned. Required with O(members).
    type: dict
  state:
    description:
      - V(new), an empty disk may bootstrap. V(existing), it can only join.
    type: str
    choices: [new, existing]
    default: existing
  together:
    description:
      - Whether the members start together, so that each of them is as good to join as any other.
    type: bool
    default: false
  namespaces:
    description:
      - Whether the namespace is made where it is not there, with what it needs.
    type: bool
    default: false
  labels:
    description:
      - Whether nodes of members that lack their labels get them, and are kept from the cluster autoscaler, as M(hostnet.multicluster.node_labels) does.
    type: bool
    default: false
  kinds:
    description:
      - Only objects of these kinds. Empty for all.
    type: list
    elements: str
    default: []
  named:
    description:
      - Of O(kinds) only those whose name this regular expression finds.
    type: str
    default: ""
  journal:
    description:
      - The journal of a rollout, V(ansible_facts.hostnet_journal). While that is in progress, certificates of members that are not in hand stay as they are,
        and with another image the workloads of members whose turn has not come.
    type: dict
  wait:
    description:
      - Whether to wait until what was applied is ready.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds for O(wait).
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Create the namespace
  hostnet.multicluster.deployment_apply:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    namespaces: true
    wait: true

- name: Apply bindings and join lists
  hostnet.multicluster.deployment_apply:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    identity: "{{ hostnet_identity }}"
    members: "{{ hostnet_bindings }}"
    issued: "{{ hostnet_certificates }}"
    kinds: [ConfigMap]
"""

RETURN = r"""
objects:
  description: What happened, or in check mode would happen, to each object, as M(hostnet.multicluster.manifests) returns it.
  returned: success
  type: list
  elements: dict
nodes:
  description: The nodes whose labels changed, or in check mode would change, as M(hostnet.multicluster.node_labels) returns them.
  returned: success
  type: list
  elements: dict
failures:
  description: One line for each object that failed.
  returned: on failure
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 4
"""

import re
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import placement
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.namespace import namespace_objects
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.rollout import touched

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "hostnet": {"type": "dict", "required": True},
    "members": {"type": "list", "elements": "dict"},
    "spec": {"type": "dict"},
    "identity": {"type": "dict"},
    "issued": {"type": "dict"},
    "state": {"type": "str", "choices": ["new", "existing"], "default": "existing"},
    "together": {"type": "bool", "default": False},
    "namespaces": {"type": "bool", "default": False},
    "labels": {"type": "bool", "default": False},
    "kinds": {"type": "list", "elements": "str", "default": []},
    "named": {"type": "str", "default": ""},
    "journal": {"type": "dict"},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 120},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("deployment_apply runs on the controller only, where facts are: it needs its action plugin")


def objects_of(params: dict[str, Any], seen: Any) -> list[dict[str, Any]]:
    """What is to be applied, for `manifests`. Raises ValueError for bindings or settings that give no objects."""
    hostnet = params["hostnet"]
    found = namespace_objects(hostnet, seen["kube_clusters"]) if params["namespaces"] else []
    if params["members"] is not None:
        lacking = [option for option in ("spec", "identity", "issued") if params[option] is None]
        if lacking:
            raise ValueError(f"with members there has to be {' and '.join(lacking)} too")
        own = placement.deployment_objects(
            hostnet, params["spec"], params["identity"], params["members"], seen, params["issued"], params["state"], params["together"]
        )
        found += touched(own, params["journal"], params["members"])
    names = [options["name"] for options in params["kube_clusters"]]
    return [
        entry
        for entry in found
        if entry["kube_cluster"] in names
        and (
            not params["kinds"]
            or (entry["definition"]["kind"] in params["kinds"] and re.search(params["named"], entry["definition"]["metadata"]["name"]))
        )
    ]


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
