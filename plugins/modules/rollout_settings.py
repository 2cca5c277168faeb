#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_settings
short_description: Changes settings of a system for as long as a rollout is open, and puts them back
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - The C(settings) of a system's spec name the settings that are another while a rollout is open, and the commands that read and write one of them
    (docs/systems.md). They are run in one healthy member, another one than the member in hand where there is one.
  - Between O(state=compared) and O(state=changed) RV(save) is written into the journal with M(hostnet.multicluster.rollout_journal), so that what a run
    changes that is killed is put back by the next one.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Settings are read in check mode too, and not written.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - What O(state=compared) says is to be changed differs from what is in force. A value is written again when it is asked for again.
options:
  state:
    description:
      - V(compared) reads the settings in force and says what is to be done. It fails where one cannot be read, because that could not be put back.
      - V(changed) writes O(values).
      - V(restored) writes what C(saved) of O(journal) has.
    type: str
    choices: [compared, changed, restored]
    required: true
  spec:
    description:
      - The spec of the system.
    type: dict
    required: true
  journal:
    description:
      - The journal of the rollout, V(ansible_facts.hostnet_journal).
    type: dict
    required: true
  work:
    description:
      - The kind of work, for O(state=compared).
    type: str
    default: ""
  values:
    description:
      - Values by setting, RV(write), for O(state=changed).
    type: dict
    default: {}
  inspection:
    description:
      - What the members said, by member. It tells who is healthy.
    type: dict
    required: true
  timeout:
    description:
      - Seconds for all commands.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Read the settings in force
  hostnet.multicluster.rollout_settings:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    state: compared
    spec: "{{ hostnet_spec }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    work: reboot
    members: "{{ hostnet_targets }}"
    inspection: "{{ hostnet_inspection }}"
  register: compared

- name: Change them
  hostnet.multicluster.rollout_settings:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    state: changed
    spec: "{{ hostnet_spec }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    values: "{{ compared.write }}"
    members: "{{ hostnet_targets }}"
    inspection: "{{ hostnet_inspection }}"
  when: compared.write | length > 0
"""

RETURN = r"""
save:
  description: Values in force, by setting, that the journal does not have yet.
  returned: success, with O(state=compared)
  type: dict
  sample: {server.time_until_store_dead: "00:05:00"}
write:
  description: Values that are to be written, by setting.
  returned: success, with O(state=compared)
  type: dict
  sample: {server.time_until_store_dead: "00:30:00"}
failures:
  description: One line for each command that failed.
  returned: where a setting cannot be written
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 2
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.ask import ask_members, told
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "state": {"type": "str", "choices": ["compared", "changed", "restored"], "required": True},
    "spec": {"type": "dict", "required": True},
    "journal": {"type": "dict", "required": True},
    "work": {"type": "str", "default": ""},
    "values": {"type": "dict", "default": {}},
    "members": members_argument(),
    "inspection": {"type": "dict", "required": True},
    "timeout": {"type": "int", "default": 60},
}


def _ask(call: _call.Call, commands: Mapping[str, list[str]], member: Member, write: bool) -> dict[str, Any]:
    return ask_members(call.clusters, [member], commands, {}, call.params["timeout"], stop_at_failure=write, read_only=not write)


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    stray = _call.stray(params, "members")
    if stray:
        raise _call.Failure(stray)
    spec, journal, reads = params["spec"], params["journal"], params["state"] == "compared"
    if reads:
        # Whoever changes something after this looks at it.
        params["lock"] = None
    saved = journal.get("saved") or {}
    values = {"compared": settings.wanted(spec, params["work"]), "changed": params["values"], "restored": saved}[params["state"]]
    if not values:
        return {"changed": False, **({"save": {}, "write": {}} if reads else {})}
    try:
        commands = settings.commands(spec, values, "read" if reads else "write")
        helper = settings.helper(params["inspection"], params["members"], str((journal.get("member") or {}).get("member", "")))
        if helper is None:
            raise ValueError(
                f"no member is healthy, so settings cannot be {params['state']}: {', '.join(sorted(values))}. Run again when one is"
            )
        member = Member(**helper)
        if reads:
            return {"changed": False, **settings.changes(values, _ask(call, commands, member, write=False), saved)}
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    if not call.check_mode:
        msg, more = told(_ask(call, commands, member, write=True), [member], commands)
        if msg:
            raise _call.Failure(msg, changed=True, **more)
    return {"changed": True}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
