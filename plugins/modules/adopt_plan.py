#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: adopt_plan
short_description: Says what would be adopted of a system that was brought back
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Finds out what runs of a system that a human has brought back from a disaster, what of it is adopted, and everything that forbids it. It asks nobody and
    changes nothing.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_deployment) and C(hostnet_inspection).
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
  cluster_id:
    description:
      - The cluster id that the human expects.
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

- name: Find out what would be adopted
  hostnet.multicluster.adopt_plan:
    hostnet: "{{ hostnet }}"
    cluster_id: "{{ hostnet_adopt_cluster_id }}"
  register: adoption

- name: Show it
  ansible.builtin.debug:
    msg: "{{ adoption.errors + adoption.lines }}"
"""

RETURN = r"""
errors:
  description: Why it cannot be adopted.
  returned: success
  type: list
  elements: str
cluster_id:
  description: The cluster id that the members report.
  returned: success
  type: str
former:
  description: The cluster id that is replaced, empty where none is.
  returned: success
  type: str
keep:
  description: The bindings that stay.
  returned: success
  type: list
  elements: dict
drop:
  description: The bindings that go, each with its C(folder).
  returned: success
  type: list
  elements: dict
orphans:
  description: Names of members without binding that still have a workload.
  returned: success
  type: list
  elements: str
awaited:
  description: Those of RV(drop) whose end their kubelets confirm.
  returned: success
  type: list
  elements: dict
journal:
  description: The work of a rollout that is abandoned, or an empty text.
  returned: success
  type: str
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
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import adopt

FACTS = ("hostnet_deployment", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "cluster_id": {"type": "str", "required": True},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("adopt_plan runs on the controller only, where facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    seen, inspection = _call.known(facts, FACTS)
    try:
        found = adopt.adoption(params["hostnet"], seen["plan"], seen["nodes"], seen["kube_clusters"], inspection, params["cluster_id"])
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, **found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
