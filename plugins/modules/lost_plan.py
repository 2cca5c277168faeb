#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: lost_plan
short_description: Says what is done for the members of a kube cluster that is gone for good
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says which members go with a kube cluster that is gone for good, and everything that forbids it. It asks nobody and changes nothing.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_deployment), C(hostnet_status) and C(hostnet_inspection).
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
  kube_cluster:
    description:
      - Name of the kube cluster.
    type: str
    required: true
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

- name: Find out what would be forgotten
  hostnet.multicluster.lost_plan:
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    kube_cluster: "{{ hostnet_lost_kube_cluster }}"
  register: lost

- name: Show it
  ansible.builtin.debug:
    msg: "{{ lost.errors + lost.lines }}"
"""

RETURN = r"""
errors:
  description: Why nothing may be changed.
  returned: success
  type: list
  elements: str
members:
  description: The bindings that stay.
  returned: success
  type: list
  elements: dict
forget:
  description: Members that the system has to forget.
  returned: success
  type: list
  elements: dict
prove:
  description: Processes that must be proven dead first, as M(hostnet.multicluster.member_inspect) takes them.
  returned: success
  type: list
  elements: dict
roster:
  description: The roster without the kube cluster, or null where it is recorded already.
  returned: success
  type: dict
lines:
  description: All of it, for people.
  returned: success
  type: list
  elements: str
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lost

FACTS = ("hostnet_deployment", "hostnet_status", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict", "required": True},
    "kube_cluster": {"type": "str", "required": True},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("lost_plan runs on the controller only, where facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    seen, status, inspection = _call.known(facts, FACTS)
    try:
        found = lost.lost_plan(params["hostnet"], params["spec"], seen["plan"], status, inspection, params["kube_cluster"])
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, **found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
