#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_observe
short_description: Reads all that is known about a deployment
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads the nodes, and what all kube clusters have of the deployment, and plans what a deploy has to do.
  - With O(ask) it asks the members as well, and says what has become of each of them.
  - Runs on the controller, because filters are there.
  - It changes nothing of the deployment. With O(look) it may start short-lived pods that look at disks; O(lock) is verified before.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - It reads and asks in check mode too, and starts no pods then.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
options:
  hostnet:
    description:
      - The settings of the deployment, the fact C(hostnet) of the role preflight.
    type: dict
    required: true
  spec:
    description:
      - The spec of its system; docs/systems.md describes it.
    type: dict
    required: true
  check_settings:
    description:
      - Whether settings and spec are checked before anything is read. Of a deployment that somebody else deploys less is known than that needs.
    type: bool
    default: true
  known:
    description:
      - Whether the deployment was read a moment ago, and is not read again. It is the fact C(hostnet_deployment) then, RV(deployment) of an earlier call,
        which is taken as it is - a template would need ten seconds to hand over a thousand members.
    type: bool
    default: false
  members:
    description:
      - Bindings that count in place of those that are recorded, where somebody is about to record others.
    type: list
    elements: dict
  read_lock:
    description:
      - Whether the holder of the lock is read too, which is one request more for each kube cluster.
    type: bool
    default: false
  ask:
    description:
      - Whether the members are asked.
    type: bool
    default: false
  inspected:
    description:
      - Whether the members were asked a moment ago, and are not asked again. What they said is the fact C(hostnet_inspection) then, RV(inspection) of an
        earlier call or of M(hostnet.multicluster.member_inspect).
    type: bool
    default: false
  patience:
    description:
      - For how many seconds the members are asked once more while no majority of them is well. An election, or a machine that is too busy to answer, is no
        lost majority.
    type: int
    default: 0
  look:
    description:
      - Whether nodes are asked why a member's folder is not there.
    type: bool
    default: false
  lost_disks:
    description:
      - Members whose disk is gone for good, as a human says. Only with O(look).
    type: list
    elements: str
    default: []
  journal:
    description:
      - The journal that is gone by, V(ansible_facts.hostnet_journal). The new binding of its member in hand is among RV(bindings) once that may start.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Read a deployment, and ask its members
  hostnet.multicluster.deployment_observe:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    ask: true
  register: seen

- name: Show what is wrong with it
  ansible.builtin.debug:
    msg: "{{ seen.status.problems }}"
"""

RETURN = r"""
deployment:
  description: What was seen of the deployment, and what a deploy would do now.
  returned: success, without O(known)
  type: dict
  contains:
    nodes:
      description: The nodes, as M(hostnet.multicluster.nodes_info) returns them.
      type: list
      elements: dict
      returned: success
    kube_clusters:
      description: What each kube cluster has of the deployment, by its name, as M(hostnet.multicluster.deployment_info) returns it.
      type: dict
      returned: success
    plan:
      description: What a deploy has to do, in C(errors) why nothing may be changed.
      type: dict
      returned: success
status:
  description: What has become of every member, as docs/status.md describes it. Null without O(ask).
  returned: success
  type: dict
bindings:
  description: The bindings of its members.
  returned: success
  type: list
  elements: dict
targets:
  description: Those of the members that can be asked, as M(hostnet.multicluster.member_exec) takes them.
  returned: success
  type: list
  elements: dict
inspection:
  description: What the members said, by member. Empty without O(ask).
  returned: success
  type: dict
verdict:
  description: Whether the recorded members are one cluster, C(errors) and the C(cluster_id) that they report. Null without O(ask).
  returned: success
  type: dict
silent:
  description: Names of those of RV(bindings) whose nodes are not Ready, so that nobody can confirm what becomes of their pods.
  returned: success
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 24
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, lock, state
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.inspect import Shape
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import proof, removal

FACTS = ("hostnet_deployment", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict", "required": True},
    "check_settings": {"type": "bool", "default": True},
    "known": {"type": "bool", "default": False},
    "members": {"type": "list", "elements": "dict"},
    "read_lock": {"type": "bool", "default": False},
    "ask": {"type": "bool", "default": False},
    "inspected": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 0},
    "look": {"type": "bool", "default": False},
    "lost_disks": {"type": "list", "elements": "str", "default": []},
    "journal": {"type": "dict", "default": {}},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("deployment_observe runs on the controller only, where filters are: it needs its action plugin")


def observe(
    call: _call.Call, questions: dict[str, Any] | None, shape: Shape, show: Callable[[str], None], facts: dict[str, Any]
) -> dict[str, Any]:
    """The module's result. `questions` is what members are asked, `shape` the filter that reads their answers, `show` takes a line for whoever watches.

    `facts` are those of FACTS.
    """
    params = call.params
    known, said = (facts.get(name) if wanted else None for name, wanted in zip(FACTS, (params["known"], params["inspected"]), strict=True))
    if params["known"] and known is None:
        raise _call.Failure("there is no fact hostnet_deployment: nothing is known yet, so leave known out")
    held = params["lock"]
    # Reading needs no look at the lock; whoever changes something after this looks at it.
    params["lock"] = None
    wanted = state.Wanted(
        params["hostnet"],
        params["spec"],
        params["journal"],
        known,
        said,
        questions,
        params["patience"],
        params["look"],
        params["lost_disks"],
        params["read_lock"],
        params["members"],
    )

    def still_held() -> None:
        if held:
            lock.verify(call.clusters, held)

    try:
        seen = state.observed(call.clusters, wanted, shape, show, call.check_mode, still_held)
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    deployment = seen["deployment"]
    plan, asked = deployment["plan"], seen["status"] is not None
    more = {
        "verdict": proof.verdict(plan, plan["members"], seen["inspection"]) if asked else None,
        "silent": removal.silent(seen["bindings"], deployment["nodes"]),
    }
    # What is known is not handed back: it is large, and as it was.
    return {"changed": False, **{key: value for key, value in seen.items() if key != "deployment" or known is None}, **more}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
