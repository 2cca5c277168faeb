#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_membership
short_description: Says what etcd has to be told so that its membership changes
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says by which commands of C(etcdctl) one change of etcd's membership is made, in which order, and which members are asked for it. Where everything is as
    it is to be, there are none.
  - Fails where the change would be wrong - a member that answers is not removed, and no new member starts under somebody else's id.
  - It asks nobody and changes nothing. It goes by what members said a moment ago.
  - Runs on the controller, where the fact C(hostnet_deployment) is.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  name:
    description:
      - Name of the deployment, for messages.
    type: str
    required: true
  inspection:
    description:
      - What the members said, RV(hostnet.multicluster.member_inspect#module:inspection) with P(hostnet.multicluster.etcd_inspection#filter).
    type: dict
    required: true
  members:
    description:
      - Names of the members that can be asked.
    type: list
    elements: str
    required: true
  bindings:
    description:
      - Bindings of all members. Needed with O(admit) and O(promote).
    type: list
    elements: dict
    default: []
  peer_port:
    description:
      - Port for the other members.
    type: int
    default: 2380
  admit:
    description:
      - Binding of a member that is to start. It is announced as a learner. One of the fact C(hostnet_deployment)'s nodes tells whether a learner that was
        announced before, and has never started, has lost its VM. Such a one is removed first, because etcd takes one learner at a time.
      - Exactly one of O(admit), O(promote), O(forget), O(readdress) and O(hand_over) is to be given.
    type: dict
  promote:
    description:
      - Whether learners get their vote.
    type: bool
    default: false
  forget:
    description:
      - Whom to remove, C(hostnet_forget) of a system role. It has C(id) or C(address), and C(live) where the member may still answer.
    type: dict
  readdress:
    description:
      - Binding of a member that is to start on its own disk under another address. Where that is still listed for another member which is down, as after two
        VMs have swapped their addresses, that one gets an address of 192.0.2.0/24 first.
    type: dict
  hand_over:
    description:
      - Name of a member that is to lead no more.
    type: str
"""

EXAMPLES = r"""
- name: Plan how a member that is gone is removed
  hostnet.multicluster.etcd_membership:
    name: ledger
    inspection: "{{ hostnet_inspection }}"
    members: [east-0, west-0]
    forget: {id: a1}
  register: plan

- name: Show by which commands
  ansible.builtin.debug:
    msg: "{{ plan.changes | map(attribute='arguments') }}"
"""

RETURN = r"""
changes:
  description: What etcd has to be told, in this order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the command, V(add), V(move), V(promote), V(remove) or V(update).
      type: str
      returned: always
    arguments:
      description: Arguments of C(etcdctl), without its options for endpoint and certificates.
      type: list
      elements: str
      returned: always
    ask:
      description: In which members' containers it runs. One of them is enough.
      type: list
      elements: str
      returned: always
    member:
      description: Name of the member that it is about. Empty where only etcd's id is known.
      type: str
      returned: always
    id:
      description: The id in etcd of whom it is about. Empty for a member that is yet to be added.
      type: str
      returned: always
  sample:
    - {name: remove, arguments: [member, remove, a1], ask: [west-0], member: "", id: a1}
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd_membership

FACTS = ("hostnet_deployment",)

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "name": {"type": "str", "required": True},
    "inspection": {"type": "dict", "required": True},
    "members": {"type": "list", "elements": "str", "required": True},
    "bindings": {"type": "list", "elements": "dict", "default": []},
    "peer_port": {"type": "int", "default": 2380},
    "admit": {"type": "dict"},
    "promote": {"type": "bool", "default": False},
    "forget": {"type": "dict"},
    "readdress": {"type": "dict"},
    "hand_over": {"type": "str"},
}

_CHANGES = ("admit", "promote", "forget", "readdress", "hand_over")


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("etcd_membership runs on the controller only, where the facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    if len([name for name in _CHANGES if params[name] not in (None, False)]) != 1:
        raise _call.Failure(f"give exactly one of {', '.join(_CHANGES)}", changes=[])
    try:
        return {"changed": False, "changes": _changes(params, facts)}
    except ValueError as error:
        raise _call.Failure(str(error), changes=[]) from error


def _changes(params: dict[str, Any], facts: dict[str, Any]) -> list[etcd_membership.Change]:
    there = etcd_membership.Etcd(params["name"], params["members"], params["inspection"], params["peer_port"])
    if params["admit"] is not None:
        if facts.get("hostnet_deployment") is None:
            raise ValueError("there is no fact hostnet_deployment: observe the deployment first")
        return etcd_membership.admit(there, params["admit"], params["bindings"], facts["hostnet_deployment"]["nodes"])
    if params["promote"]:
        return etcd_membership.promote(there, params["bindings"])
    if params["forget"] is not None:
        return etcd_membership.forget(there, params["forget"])
    if params["readdress"] is not None:
        return etcd_membership.readdress(there, params["readdress"])
    return etcd_membership.hand_over(there, params["hand_over"])


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
