#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ca_next
short_description: Says what a phase of an exchange of the CA does
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says what a run for one phase of an exchange of the CA does, and everything that forbids it; docs/certificates.md tells the phases. It asks nobody and
    changes nothing.
  - It goes by what M(hostnet.multicluster.deployment_observe) has seen, the facts C(hostnet_deployment) and C(hostnet_targets), which are taken as they are.
  - Runs on the controller, where these facts are.
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
  phase:
    description:
      - The phase that is asked for, C(hostnet_ca_phase).
    type: str
    choices: [trust, issue, drop, abandon]
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
    hostnet_targets: "{{ seen.targets }}"

- name: Plan the first phase of an exchange of the CA
  hostnet.multicluster.ca_next:
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    phase: trust
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.errors + plan.lines }}"
"""

RETURN = r"""
errors:
  description: Why nothing may be changed.
  returned: success
  type: list
  elements: str
lines:
  description: Where the exchange is, and what this phase and the later ones do, for people.
  returned: success
  type: list
  elements: str
begins:
  description: Whether the phase is yet to be recorded.
  returned: success
  type: bool
resumes:
  description: Whether a restart of members is in flight, which goes on first.
  returned: success
  type: bool
fresh:
  description: SHA-256 fingerprint of the new CA, where the user has brought one. Empty where one is to be made.
  returned: success
  type: str
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions

FACTS = ("hostnet_deployment", "hostnet_targets")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict", "required": True},
    "phase": {"type": "str", "choices": [*trust_revisions.PHASES, trust_revisions.ABANDON], "required": True},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("ca_next runs on the controller only, where the facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    seen, targets = _call.known(facts, FACTS)
    trust = seen["plan"]["trust"]
    try:
        found = trust_revisions.plan(params["hostnet"], params["spec"], seen, params["phase"], targets)
        return {"changed": False, **found, "fresh": trust_revisions.fresh(params["hostnet"], trust) if trust else ""}
    except ValueError as error:
        raise _call.Failure(str(error)) from error


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
