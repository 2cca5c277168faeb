#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_take
short_description: Says how a member's turn in a rollout begins
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says what a rollout is about to do with one member of its plan - what is journaled before the first change, which steps are left, and what a VM hook is
    told. It asks nobody and changes nothing.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_deployment), C(hostnet_bindings) and C(hostnet_inspection).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  entry:
    description:
      - The member, one of C(members) of M(hostnet.multicluster.rollout_next).
    type: dict
    required: true
  journal:
    description:
      - The journal of the rollout, V(ansible_facts.hostnet_journal). Empty where there is none.
    type: dict
    default: {}
  pool_label:
    description:
      - The user's own label of node pools, C(hostnet_pool_label).
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
- name: Begin with the first member
  hostnet.multicluster.rollout_take:
    entry: "{{ hostnet_entry }}"
  register: turn

- name: Show its steps
  ansible.builtin.debug:
    msg: "{{ turn.steps }}"
"""

RETURN = r"""
binding:
  description: The binding of the member.
  returned: always
  type: dict
record:
  description: What the journal keeps of it, as M(hostnet.multicluster.rollout_journal) takes it with C(op=member).
  returned: always
  type: dict
resumed:
  description: Whether it is the member that the journal has in hand.
  returned: always
  type: bool
steps:
  description: The steps that are left, in order.
  returned: always
  type: list
  elements: str
vm:
  description: What a hook is told of its VM, C(hostnet_vm); null where the VM needs no hook, or was done already.
  returned: always
  type: dict
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import turn

FACTS = ("hostnet_deployment", "hostnet_bindings", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "entry": {"type": "dict", "required": True},
    "journal": {"type": "dict", "default": {}},
    "pool_label": {"type": "str", "default": ""},
    "neighbours": {"type": "list", "elements": "dict", "default": []},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("rollout_take runs on the controller only, where the facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    seen, bindings, inspection = _call.known(facts, FACTS)
    try:
        found = turn.begun(
            params["entry"], params["journal"], bindings, seen["nodes"], inspection, params["pool_label"], params["neighbours"]
        )
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, **found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
