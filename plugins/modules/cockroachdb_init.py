#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cockroachdb_init
short_description: Initialises a cluster of CockroachDB on one member, once
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Runs C(cockroach init) on one member, always the same one - the first, in the order of the join list, of those that the identity record claims.
  - Fails, having run nothing, where a member does not answer or has no running container, and where there are two clusters. Where all are of one cluster
    there is nothing to do.
  - Whoever calls this holds the claim, and has just asked the members.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Says in check mode whether it would run the command, without running it.
  diff_mode:
    support: none
options:
  bindings:
    description:
      - Bindings of all members.
    type: list
    elements: dict
    required: true
  claimed:
    description:
      - Names of the first members, as the identity record has them. Empty means all.
    type: list
    elements: str
    default: []
  inspection:
    description:
      - What the members said a moment ago, P(hostnet.multicluster.cockroachdb_inspection#filter).
    type: dict
    required: true
  command:
    description:
      - The command, as for M(hostnet.multicluster.member_exec).
    type: list
    elements: str
    required: true
  timeout:
    description:
      - Seconds for the command.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Initialise CockroachDB
  hostnet.multicluster.cockroachdb_init:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    members: "{{ hostnet_targets }}"
    bindings: "{{ hostnet_bindings }}"
    inspection: "{{ hostnet_inspection }}"
    command: [/cockroach/cockroach, init, "--certs-dir={certs}", "--host={host}:26257"]
"""

RETURN = r"""
member:
  description: The member that it is done on.
  returned: success
  type: str
  sample: east-0
outcome:
  description: V(initialized), V(already) where a cluster was there, or why it failed.
  returned: when the members can be initialised
  type: str
  sample: initialized
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 2
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.ask import ask_members
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "members": members_argument(),
    "bindings": {"type": "list", "elements": "dict", "required": True},
    "claimed": {"type": "list", "elements": "str", "default": []},
    "inspection": {"type": "dict", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "int", "default": 120},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    stray = _call.stray(params, "members")
    if stray:
        raise _call.Failure(stray)
    by_name = {member["member"]: Member(**member) for member in params["members"]}
    try:
        name = str(cockroachdb.init_member(params["bindings"], params["claimed"])["member"])
        cockroachdb.refuse_init(params["inspection"], params["bindings"], list(by_name))
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    if any(view["cluster_id"] for view in params["inspection"].values()):
        return {"changed": False, "member": name, "outcome": "already"}
    if call.check_mode:
        return {"changed": True, "member": name, "outcome": "initialized"}
    answers = ask_members(call.clusters, [by_name[name]], {"init": params["command"]}, {}, params["timeout"])
    outcome = cockroachdb.init_outcome(answers[name].get("init") or {})
    # Whatever is not understood is a failure.
    if outcome not in ("initialized", "already"):
        raise _call.Failure(f"CockroachDB was not initialised on member {name}: {outcome}", member=name, outcome=outcome)
    return {"changed": outcome == "initialized", "member": name, "outcome": outcome}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
