#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_next
short_description: Says what a rollout does next
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says whom a rollout works on, in which order and by which steps, and everything that forbids it. It asks nobody and changes nothing.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_deployment), C(hostnet_status) and C(hostnet_inspection), which
    are taken as they are - a template would need ten seconds to hand over a thousand members.
  - Runs on the controller, because the hook's tasks are read as Ansible reads them.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
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
  request:
    description:
      - What is asked for, with C(work), C(surge), C(members) (names, empty for all), C(limit_nodes) (names of hosts, or null), C(max_members) (0 for all)
        and C(abort). May have C(pool_label), C(follow_until) and C(seen) (of an earlier call in the same run), and C(soak_seconds),
        C(step_timeout_seconds), C(hook) (the path of a file of tasks, the name of a role, or C(wait)), C(hook_role) (that name, or empty),
        C(probe_file) and C(probe_file_exists), which are checked.
    type: dict
    required: true
  hook_text:
    description:
      - What the file of C(hook) in O(request) holds. Without it there is no such file.
    type: str
  journal:
    description:
      - The newest journal of a rollout, V(ansible_facts.hostnet_journal). Empty where there is none.
    type: dict
    default: {}
  before:
    description:
      - What this module said earlier in the same run. What it knows of members of other deployments on the same VMs stays, and whoever was not looked at for
        that is left for the next run.
    type: dict
"""

EXAMPLES = r"""
- name: Read a deployment, and ask its members
  hostnet.multicluster.deployment_observe:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    ask: true
  register: seen

- name: Know it
  ansible.builtin.set_fact:
    hostnet_deployment: "{{ seen.deployment }}"
    hostnet_status: "{{ seen.status }}"
    hostnet_inspection: "{{ seen.inspection }}"

- name: Plan a rollout
  hostnet.multicluster.rollout_next:
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    request: {work: restart, surge: false, members: [], limit_nodes: null, max_members: 0, abort: false, neighbours: []}
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.errors + plan.lines }}"
"""

RETURN = r"""
errors:
  description: Why nothing may be changed.
  returned: always
  type: list
  elements: str
members:
  description:
    - Whom it works on, in order, each with C(member), C(class), C(reason), C(why), C(node), C(work), C(surge) and C(steps).
  returned: always
  type: list
  elements: dict
resume:
  description: Whether a rollout that was cut short is resumed.
  returned: always
  type: bool
in_hand:
  description: The member that it has in hand, or an empty text.
  returned: always
  type: str
settings:
  description: What a run that goes on with this rollout has to be asked for again, C(work), C(surge) and C(image).
  returned: always
  type: dict
left:
  description: Members that are left for the next run.
  returned: always
  type: list
  elements: str
broken:
  description: Members that are not well.
  returned: always
  type: list
  elements: str
unmended:
  description: Who is broken and is not mended, and why.
  returned: always
  type: list
  elements: str
waits:
  description: What has to come back, or get a VM, before anybody else is taken down.
  returned: always
  type: list
  elements: str
waiting:
  description: Names of the members that RV(waits) tells of.
  returned: always
  type: list
  elements: str
stuck:
  description: Those of RV(waiting) whose VM is gone, and another one there, and that cannot be mended nevertheless.
  returned: success
  type: list
  elements: str
again:
  description: The member in hand, where it needs another node, and whether it was C(announced) to the system; else null.
  returned: always
  type: dict
yields:
  description: Whether the member in hand is up, and others come first.
  returned: always
  type: bool
follows:
  description: Whether somebody else does the VMs.
  returned: always
  type: bool
hold:
  description: Whether nobody is taken down now, because no VM is about to go.
  returned: always
  type: bool
over:
  description: Why a cloud's upgrade is over, or an empty text.
  returned: always
  type: str
followed:
  description: Members whose end counts while a cloud is followed.
  returned: always
  type: list
  elements: str
seen:
  description: What M(hostnet.multicluster.rollout_follow) goes on with.
  returned: always
  type: dict
standing:
  description: How far a cloud's upgrade is.
  returned: always
  type: str
notes:
  description: What else is worth a word.
  returned: always
  type: list
  elements: str
prove:
  description: Processes that must be proven dead first, as M(hostnet.multicluster.member_inspect) takes them.
  returned: always
  type: list
  elements: dict
lines:
  description: All of it, for people.
  returned: always
  type: list
  elements: str
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import order, rollout

FACTS = ("hostnet_deployment", "hostnet_status", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict", "required": True},
    "request": {"type": "dict", "required": True},
    # Whatever a user has written into it.
    "hook_text": {"type": "str", "no_log": True},
    "journal": {"type": "dict", "default": {}},
    "before": {"type": "dict"},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("rollout_next runs on the controller only, where Ansible reads the hook's tasks: it needs its action plugin")


def decide(call: _call.Call, read_hook: Callable[[str | None], dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `read_hook` says what a file of tasks holds. `facts` are those of FACTS."""
    params = call.params
    seen, status, inspection = _call.known(facts, FACTS, **rollout.nothing([]))
    request = {**params["request"], **read_hook(params["hook_text"])}
    try:
        found = rollout.rollout_plan(
            params["hostnet"], params["spec"], request, seen["plan"], seen["nodes"], status, params["journal"] or None, inspection
        )
        if params["before"] is not None:
            found = order.replanned(found, params["before"], request.get("ended") or [])
    except ValueError as error:
        # An error of the plan as all others: who reads it after a failure finds it whole.
        found = rollout.nothing([str(error)])
    return {"changed": False, **found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
