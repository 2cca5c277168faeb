#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: member_hold
short_description: Records that a member of another deployment is stopped while its VM is down, and lets it start again
version_added: "0.3.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Records in every kube cluster that the member is stopped, and then takes the replica of its StatefulSet, or its node's label where it is one of a
    DaemonSet. So nothing starts it until this module, or that deployment's own repair, says so.
  - It does not end the process. M(hostnet.multicluster.member_stop) does, and waits.
  - Whoever calls it holds that deployment's lock and has asked its gates.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the deployment.
    type: str
    required: true
  namespace:
    description:
      - Its namespace.
    type: str
    required: true
  placement:
    description:
      - How its members are placed.
    type: str
    choices: [node_name, daemonset]
    required: true
  kube_cluster:
    description:
      - Name of the kube cluster that the member is in, one of O(kube_clusters).
    type: str
    required: true
  member:
    description:
      - Name of the member.
    type: str
    required: true
  state:
    description:
      - V(stopped) records the stop, V(released) takes that back.
    type: str
    choices: [stopped, released]
    required: true
seealso:
  - module: hostnet.multicluster.member_stop
"""

EXAMPLES = r"""
- name: Have a member of ledger stay down while its VM reboots
  hostnet.multicluster.member_hold:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: hostnet-ledger
    placement: node_name
    kube_cluster: east
    member: east-0
    state: stopped
"""

RETURN = r"""
done:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
  sample: [record in kube cluster east, "replicas of StatefulSet hostnet-ledger/ledger-east-0 in kube cluster east: 0"]
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, neighbours

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "placement": {"type": "str", "choices": ["node_name", "daemonset"], "required": True},
    "kube_cluster": {"type": "str", "required": True},
    "member": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["stopped", "released"], "required": True},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    known = [entry["name"] for entry in params["kube_clusters"]]
    if params["kube_cluster"] not in known:
        raise _call.Failure(f"kube_cluster is {params['kube_cluster']!r}, which is not in kube_clusters ({', '.join(known)})")
    held = neighbours.Held(params["name"], params["namespace"], params["placement"], params["kube_cluster"], params["member"])
    done = neighbours.hold(call.clusters, held, params["state"] == "stopped", call.check_mode)
    result: dict[str, Any] = {"changed": bool(done), "done": done}
    if call.diff and done:
        who = f"member {params['member']} of deployment {params['name']}"
        result["diff"] = {"before": "", "after": "".join(f"{who}, {params['state']}: {line}\n" for line in done)}
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
