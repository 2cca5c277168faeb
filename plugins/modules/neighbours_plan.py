#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: neighbours_plan
short_description: Says what a rollout does about other deployments on its VMs
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Adds to the plan of a rollout what the members of other deployments on its VMs need, and what they speak against it. It asks nobody and changes nothing.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  hostnet:
    description:
      - The settings of the deployment that is rolled, the fact C(hostnet) of the role preflight.
    type: dict
    required: true
  plan:
    description:
      - The plan of the rollout, as M(hostnet.multicluster.rollout_next) returned it.
    type: dict
    required: true
  members:
    description:
      - C(members) of RV(hostnet.multicluster.neighbours_info#module:shared).
    type: dict
    required: true
  neighbours:
    description:
      - RV(hostnet.multicluster.neighbours_info#module:neighbours).
    type: list
    elements: dict
    required: true
  observed:
    description:
      - What M(hostnet.multicluster.deployment_observe) returned for each of O(neighbours), in their order. One that was skipped was not observed.
    type: list
    elements: dict
    required: true
  request:
    description:
      - What is asked for, as for M(hostnet.multicluster.rollout_next).
    type: dict
    required: true
  journal:
    description:
      - The newest journal of a rollout, V(ansible_facts.hostnet_journal). Empty where there is none.
    type: dict
    default: {}
seealso:
  - module: hostnet.multicluster.rollout_next
  - module: hostnet.multicluster.rollout_journal
"""

EXAMPLES = r"""
- name: Plan with nobody else on the VMs
  hostnet.multicluster.neighbours_plan:
    hostnet: {name: ledger, namespace: hostnet-ledger}
    plan: "{{ hostnet_plan }}"
    members: {}
    neighbours: []
    observed: []
    request: {work: reboot, abort: false}
  register: planned

- name: Show it
  ansible.builtin.debug:
    msg: "{{ planned.plan.lines }}"
"""

RETURN = r"""
plan:
  description: The plan with all of that.
  returned: success
  type: dict
neighbours:
  description:
    - The other deployments in the order of their locks, each with its C(members), C(problems), whether it was C(removed), and whether its lock is taken
      C(before) this deployment's own.
  returned: success
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import sharing

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "plan": {"type": "dict", "required": True},
    "members": {"type": "dict", "required": True},
    "neighbours": {"type": "list", "elements": "dict", "required": True},
    "observed": {"type": "list", "elements": "dict", "required": True},
    "request": {"type": "dict", "required": True},
    "journal": {"type": "dict", "default": {}},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    others, observed = params["neighbours"], params["observed"]
    if len(others) != len(observed):
        raise _call.Failure(f"observed has {len(observed)} entries for {len(others)} neighbours; give one for each, in their order")
    seen = [None if entry.get("skipped") else entry for entry in observed]
    try:
        found = sharing.planned(
            params["hostnet"], params["plan"], params["members"], others, seen, params["request"], params["journal"] or None
        )
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, **found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
