#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_undo
short_description: Says how the member in hand comes up again
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says, after a failed step or for an abort, whether the steps of the member in hand can be undone, by which steps, and what brings it up where they cannot.
    It asks nobody and changes nothing.
  - It goes by O(nodes), or by those of the fact C(hostnet_deployment).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  journal:
    description:
      - The journal of the rollout, V(ansible_facts.hostnet_journal).
    type: dict
    required: true
  nodes:
    description:
      - The nodes as they are now, as M(hostnet.multicluster.nodes_info) returns them. Without it those of the fact C(hostnet_deployment).
    type: list
    elements: dict
  noted:
    description:
      - Whether the step that was begun last may not be done. Otherwise only the write that says that it is done has failed.
    type: bool
    default: true
  away:
    description:
      - Kube clusters that do not answer, with the reasons.
    type: dict
    default: {}
  undone:
    description:
      - For RV(text), whether the steps were undone.
    type: bool
    default: false
  done:
    description:
      - For RV(text), the steps that were run without the kube clusters O(away).
    type: list
    elements: str
    default: []
  failure:
    description:
      - For RV(text), what went wrong meanwhile.
    type: str
    default: ""
  neighbours:
    description:
      - Other deployments with members on the VMs of this rollout, as M(hostnet.multicluster.neighbours_plan) returned them.
    type: list
    elements: dict
    default: []
seealso:
  - module: hostnet.multicluster.rollout_next
  - module: hostnet.multicluster.rollout_journal
"""

EXAMPLES = r"""
- name: Say what becomes of the member in hand
  hostnet.multicluster.rollout_undo:
    journal: "{{ ansible_facts.hostnet_journal }}"
    nodes: []
  register: back

- name: Show it
  ansible.builtin.debug:
    msg: "{{ 'its steps are undone: ' ~ back.steps | join(', ') if back.undo else 'it has to be finished' }}"
"""

RETURN = r"""
final:
  description: Whether the member has to be finished, because a step was begun that cannot be undone.
  returned: always
  type: bool
undo:
  description: Whether its steps may be undone now. Not on a node that somebody else has cordoned or marked to go.
  returned: always
  type: bool
steps:
  description: The steps that undo what was begun, in order.
  returned: always
  type: list
  elements: str
up:
  description: The steps that only bring it up, where O(away) is given and nothing can be undone.
  returned: always
  type: list
  elements: str
text:
  description: What was done without the kube clusters O(away), and what is left. Empty where all answer.
  returned: always
  type: str
pairs:
  description:
    - Members of O(neighbours) on its VM, each with C(share) (what the journal has of it) and C(other) (its deployment).
  returned: always
  type: list
  elements: dict
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import steps, turn

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "journal": {"type": "dict", "required": True},
    "nodes": {"type": "list", "elements": "dict"},
    "noted": {"type": "bool", "default": True},
    "away": {"type": "dict", "default": {}},
    "undone": {"type": "bool", "default": False},
    "done": {"type": "list", "elements": "str", "default": []},
    "failure": {"type": "str", "default": ""},
    "neighbours": {"type": "list", "elements": "dict", "default": []},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("rollout_undo runs on the controller only, where the facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    journal, nodes, away = params["journal"], params["nodes"], params["away"]
    if nodes is None:
        nodes = (facts.get("hostnet_deployment") or {}).get("nodes")
    if nodes is None:
        raise _call.Failure("there are neither nodes nor the fact hostnet_deployment: observe the deployment first")
    text = steps.outage_text(journal, away, params["undone"], params["done"], params["failure"]) if away else ""
    try:
        found = turn.ended(journal, nodes, params["noted"], away, params["neighbours"])
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, **found, "text": text}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
