#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nats_membership
short_description: Says what JetStream has to be told so that a server is in its meta group no more
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says what is asked of JetStream's leader, with M(hostnet.multicluster.nats_request), so that a server leaves the meta group. Where it is in it no more,
    nothing is.
  - Fails where that would be wrong - where the server answers, the leader does not count it as offline, or the others are no majority of the group.
  - It asks nobody and changes nothing. It goes by what members said a moment ago.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  inspection:
    description:
      - What the members said, RV(hostnet.multicluster.member_inspect#module:inspection) with P(hostnet.multicluster.nats_inspection#filter).
    type: dict
    required: true
  forget:
    description:
      - Which server leaves, C(hostnet_forget) of a system role. C(process) is its name, C(id) its peer's, which a leader knows that has never met it, and
        C(member) that of its member.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Plan how a server that is gone leaves JetStream's meta group
  hostnet.multicluster.nats_membership:
    inspection: "{{ hostnet_inspection }}"
    forget: {member: west-1, process: west-1}
  register: plan

- name: Show who is asked, and what
  ansible.builtin.debug:
    msg: "{{ plan.changes }}"
"""

RETURN = r"""
changes:
  description: What JetStream has to be told. Empty, or one.
  returned: always
  type: list
  elements: dict
  contains:
    ask:
      description: Name of the member that leads, which is asked.
      type: str
      returned: always
    subject:
      description: What it is asked, O(hostnet.multicluster.nats_request#module:subject).
      type: str
      returned: always
    body:
      description: The request, O(hostnet.multicluster.nats_request#module:body).
      type: dict
      returned: always
  sample:
    - {ask: east-0, subject: $JS.API.SERVER.REMOVE, body: {peer: west-1, peer_id: bXcSMrZA}}
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "inspection": {"type": "dict", "required": True},
    "forget": {"type": "dict", "required": True},
}


def run(call: _call.Call) -> dict[str, Any]:
    try:
        return {"changed": False, "changes": nats.removal(call.params["inspection"], call.params["forget"])}
    except ValueError as error:
        raise _call.Failure(str(error), changes=[]) from error


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
