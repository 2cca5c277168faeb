#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_binding
short_description: Says what the bindings are once a step is done
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Says the bindings of all members with that of one member as a step of a rollout makes it. It asks nobody and changes nothing - the step writes them.
  - It goes by the facts C(hostnet_bindings) and, with O(state=started), C(hostnet_inspection).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  state:
    description:
      - V(stopped), nothing may start it. V(started), it may start.
      - V(booted), with the boot id of its node in O(nodes).
      - V(placed), on the node, and with the address, that C(new) in the member in hand of O(journal) has.
      - V(certified), which are no bindings in force, but those that certificates are for.
    type: str
    choices: [stopped, started, booted, placed, certified]
    required: true
  member:
    description:
      - Name of the member. Needed except with V(placed) and V(certified).
    type: str
    default: ""
  journal:
    description:
      - The journal of the rollout, V(ansible_facts.hostnet_journal). Needed with V(placed) and V(certified).
    type: dict
    default: {}
  nodes:
    description:
      - The nodes as they are now, for O(state=booted).
    type: list
    elements: dict
    default: []
  same_vm:
    description:
      - The member was seen on its own disk, so that a Node object with another UID is of the same VM, and is followed.
    type: bool
    default: false
  displaced:
    description:
      - With O(state=placed), whether bindings of others whose address it takes change with it.
    type: bool
    default: true
seealso:
  - module: hostnet.multicluster.rollout_next
  - module: hostnet.multicluster.rollout_journal
"""

EXAMPLES = r"""
- name: Say the bindings with east-0 stopped
  hostnet.multicluster.rollout_binding:
    state: stopped
    member: east-0
  register: bound

- name: Show them
  ansible.builtin.debug:
    msg: "{{ bound.bindings }}"
"""

RETURN = r"""
bindings:
  description: The bindings of all members.
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

FACTS = ("hostnet_bindings", "hostnet_inspection")

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "state": {"type": "str", "choices": list(turn.STATES), "required": True},
    "member": {"type": "str", "default": ""},
    "journal": {"type": "dict", "default": {}},
    "nodes": {"type": "list", "elements": "dict", "default": []},
    "same_vm": {"type": "bool", "default": False},
    "displaced": {"type": "bool", "default": True},
}


def run(_call_of_a_module: _call.Call) -> dict[str, Any]:
    raise _call.Failure("rollout_binding runs on the controller only, where the facts are: it needs its action plugin")


def decide(call: _call.Call, facts: dict[str, Any]) -> dict[str, Any]:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    (bindings,) = _call.known(facts, ["hostnet_bindings"])
    try:
        found = turn.bound(
            bindings,
            params["state"],
            params["member"],
            params["journal"],
            params["nodes"],
            facts.get("hostnet_inspection"),
            params["same_vm"],
            params["displaced"],
        )
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return {"changed": False, "bindings": found}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
