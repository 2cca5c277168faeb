#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_changes
short_description: Says what a deploy would do
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Makes the plan of a deploy out of what its modules have returned in check mode. docs/status.md describes it.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the fact C(hostnet_deployment).
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
  issued:
    description:
      - What M(hostnet.multicluster.host_certificates) has returned in check mode.
    type: dict
    required: true
  would:
    description:
      - What M(hostnet.multicluster.deployment_apply) has returned in check mode, each time. Tasks that were skipped may be among them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Read a deployment
  hostnet.multicluster.deployment_observe:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
  register: seen

- name: Know it
  ansible.builtin.set_fact:
    hostnet_deployment: "{{ seen.deployment }}"

- name: Say what a deploy would do
  hostnet.multicluster.deployment_changes:
    hostnet: "{{ hostnet }}"
    issued: "{{ hostnet_certificates }}"
  register: planned

- name: Show it
  ansible.builtin.debug:
    msg: "{{ planned.plan.lines }}"
"""

RETURN = r"""
plan:
  description: The plan, with C(lines) for people.
  returned: success
  type: dict
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deploy_changes

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "issued": {"type": "dict", "required": True},
    "would": {"type": "list", "elements": "dict", "default": []},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("deployment_changes runs on the controller only, where facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    (seen,) = _call.known(facts, FACTS)
    return {"changed": False, "plan": deploy_changes.deploy_changes(params["hostnet"], seen["plan"], params["issued"], params["would"])}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
