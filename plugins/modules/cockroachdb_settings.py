#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cockroachdb_settings
short_description: Sets cluster settings of CockroachDB that differ from those wanted
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads the cluster settings in force through one member, sets those that differ, and reads them again to prove that they are in force.
  - A value is compared by the type of its setting, so V(10m) and V(00:10:00) are the same duration.
  - Fails, having set nothing, where one of the settings is unknown to this version, or a value is not of its type.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.diff
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - The settings are read in check mode too, and not set.
options:
  name:
    description:
      - Name of the deployment, for messages.
    type: str
    required: true
  settings:
    description:
      - Cluster settings by name. What is not here is left as it is. Secrets, and settings of a major upgrade, are refused.
    type: dict
    required: true
  read:
    description:
      - The command that prints all settings as CSV (C(SHOW ALL CLUSTER SETTINGS)), as for M(hostnet.multicluster.member_exec).
    type: list
    elements: str
    required: true
  write:
    description:
      - The command that runs SQL. C(--execute) is added to it, once for each setting that differs.
    type: list
    elements: str
    required: true
  timeout:
    description:
      - Seconds for one command.
    type: int
    default: 90
  interval:
    description:
      - Seconds between two tries. A cluster that was made a moment ago may not answer yet, and a member may not have heard yet of what was set.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Have range feeds
  hostnet.multicluster.cockroachdb_settings:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    name: ledger
    members: "{{ hostnet_targets[:1] }}"
    settings: {kv.rangefeed.enabled: true}
    read: [/cockroach/cockroach, sql, "--certs-dir={certs}", "--host={host}:26257", --format=csv, "--execute=SHOW ALL CLUSTER SETTINGS"]
    write: [/cockroach/cockroach, sql, "--certs-dir={certs}", "--host={host}:26257"]
"""

RETURN = r"""
before:
  description: What the settings that differ were, by name.
  returned: success
  type: dict
  sample: {kv.rangefeed.enabled: "false"}
after:
  description: What they were set to.
  returned: success
  type: dict
  sample: {kv.rangefeed.enabled: "true"}
failures:
  description: One line for the command that failed.
  returned: where they cannot be set
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 2
"""

import time
from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.ask import ask_members, told
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb_settings as plan

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "members": members_argument(),
    "settings": {"type": "dict", "required": True},
    "read": {"type": "list", "elements": "str", "required": True},
    "write": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "int", "default": 90},
    "interval": {"type": "float", "default": 5},
}

# How often the settings are read before what was read counts: until there is an answer, and until it has what was set.
_READS = 6
_READS_AGAIN = 4


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    settings = params["settings"]
    # One of them may be a secret, which is refused.
    params["settings"] = "not shown"
    stray = _call.stray(params, "members")
    if stray:
        raise _call.Failure(stray)
    if not params["members"]:
        raise _call.Failure("members is empty: give the member to ask")
    member = Member(**params["members"][0])

    def drift(tries: int, enough: Callable[[dict[str, Any], dict[str, Any]], bool]) -> dict[str, Any]:
        """What differs, by the first answer that is enough, or the last one."""
        while True:
            said = ask_members(call.clusters, [member], {"all": params["read"]}, {}, params["timeout"], read_only=True)
            answer = said[member.member].get("all") or {}
            found = plan.changes(answer, settings)
            tries -= 1
            if tries <= 0 or enough(answer, found):
                return found
            time.sleep(params["interval"])

    found = drift(_READS, lambda answer, _found: answer.get("rc") == 0)
    if found["errors"]:
        raise _call.Failure(f"No cluster setting of {params['name']} was changed: {'; '.join(found['errors'])}")
    result = {"changed": bool(found["statements"]), "before": found["before"], "after": found["after"]}
    if call.diff and found["statements"]:
        result["diff"] = {"before": found["before"], "after": found["after"]}
    if call.check_mode or not found["statements"]:
        return result
    call.still_held()
    commands = {"set": [*params["write"], *(f"--execute={statement}" for statement in found["statements"])]}
    answers = ask_members(call.clusters, [member], commands, {}, params["timeout"], stop_at_failure=True)
    msg, more = told(answers, [member], commands)
    if msg:
        raise _call.Failure(msg, **more, **result)
    left = drift(_READS_AGAIN, lambda _answer, still: not still["errors"] and not still["statements"])
    # What SQL takes and then shows otherwise, such as the number of a name, would be set again by each deploy.
    if left["errors"] or left["statements"]:
        raise _call.Failure(
            f"The cluster settings of {params['name']} were set, and CockroachDB shows other values: {left['before']}. Write them in "
            f"system_cockroachdb_settings as it shows them. {'; '.join(left['errors'])}",
            **result,
        )
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
