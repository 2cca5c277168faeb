#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_info
short_description: Reads what one deployment has in all kube clusters
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads identity record, bindings, join list, workloads, pods and the dates of certificates of one deployment, with one LIST per kind
    and kube cluster, whatever the number of members.
  - With O(expect) it first waits until the pods of these members run or are ready, with one watch per kube cluster, and fails with a line
    for each member that is missing at the deadline.
  - With O(nodes) it reads the nodes as well, in the same call and at the same time.
  - Keys and certificates are not read.
  - It changes nothing, so O(lock), which roles give to all modules at once, is not read.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  expect:
    description:
      - Bindings of the members to wait for. Of each C(kube_cluster), C(member) and C(node) count, the node that it is bound to.
      - The wait ends before its time where the node of one of them is gone; such members are C(lost) in what the failure returns.
    type: list
    elements: dict
    default: []
  absent_ok:
    description:
      - Names of kube clusters that may fail to answer. They are C(absent) in the result then, with nothing else. Only to look on.
      - A kube cluster that refuses the credentials is an error even so.
    type: list
    elements: str
    default: []
  read_lock:
    description: Whether the holder of the lock is read too, which is one request more for each kube cluster.
    type: bool
    default: false
  only:
    description:
      - Reads no more than this, for who has read everything a moment ago and knows what can have changed since - the V(pods), or the V(records),
        which are all that is kept in ConfigMaps. A kube cluster in the result has nothing else then, and O(absent_ok) and O(read_lock) are not looked at.
      - Empty for everything.
    type: list
    elements: str
    choices: [pods, records]
    default: []
    version_added: "0.4.0"
  renew:
    description:
      - Whether what is read takes the place of what the fact C(hostnet_deployment) has of it. The whole of that is in RV(deployment) then, for the next fact.
      - The fact is taken as it is - a template would need ten seconds to hand over a thousand members.
    type: bool
    default: false
    version_added: "0.4.0"
  members:
    description:
      - Bindings of members, about which RV(targets) and RV(members) say something.
    type: list
    elements: dict
    default: []
    version_added: "0.4.0"
  hostnet:
    description:
      - The settings of the deployment, as the role preflight makes them, for RV(targets).
    type: dict
    version_added: "0.4.0"
  nodes:
    description: Which nodes are read too, as M(hostnet.multicluster.nodes_info) does. None without this option.
    type: dict
    version_added: "0.4.0"
    suboptions:
      node_selector:
        description: Label selector of the nodes. Empty for all nodes.
        type: str
        default: ""
      extra_selector:
        description: Label selector of nodes that come with them and are not C(selected).
        type: str
        default: ""
      address_type:
        description: Which address of a node counts.
        type: str
        default: InternalIP
  condition:
    description: What is waited for - V(running) containers, V(ready) pods, or pods that are V(gone).
    type: str
    choices: [running, ready, gone]
    default: ready
  timeout:
    description: Deadline of the wait, in seconds.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Read a deployment
  hostnet.multicluster.deployment_info:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
  register: ledger
"""

RETURN = r"""
kube_clusters:
  description: What each kube cluster has of the deployment, by name of the kube cluster.
  returned: success
  type: dict
  contains:
    absent:
      description: Whether it did not answer, as O(absent_ok) allows. All else is empty then.
      type: bool
      returned: success
    error:
      description: Why it is absent; empty where it is not.
      type: str
      returned: success
    uid:
      description: UID of its namespace C(kube-system), which no other Kubernetes cluster has.
      type: str
      returned: success
    namespace:
      description: Labels and phase of the namespace, or null where it does not exist.
      type: dict
      returned: success
    identity:
      description: The claim, or null.
      type: dict
      returned: success
    cluster_record:
      description: The recorded cluster id, or null.
      type: dict
      returned: success
    rosters:
      description: Data of the ConfigMaps that record which kube clusters the deployment has, beside the one in the claim.
      type: list
      elements: dict
      returned: success
    trusts:
      description: Data of the ConfigMaps with the trust revisions of the deployment, from the second one on.
      type: list
      elements: dict
      returned: success
    clock_ahead:
      description: Seconds by which the controller's clock is ahead of the API server's, less than 0 where it is behind.
      type: int
      returned: success
    members:
      description: Bindings of the members of all kube clusters, as this one holds them.
      type: list
      elements: dict
      returned: success
    members_found:
      description: Whether it has the ConfigMap with bindings.
      type: bool
      returned: success
    ordinals:
      description: The highest ordinal that was ever given in each kube cluster.
      type: dict
      returned: success
    rollout:
      description: The journal of the latest rollout, or null.
      type: dict
      returned: success
    lock:
      description: Who holds the lock (run_id, what, host, user, since, renewed_at), or null. Null without O(read_lock).
      type: dict
      returned: success
    join:
      description: Data of the join ConfigMap, or null.
      type: dict
      returned: success
    nkeys:
      description: Public keys of NATS users that the configuration in its ConfigMap names.
      type: list
      elements: str
      returned: success
    others:
      description:
        - StatefulSets and DaemonSets of the namespace that are not this deployment's - kind, name, owner (the deployment they belong to, or empty).
      type: list
      elements: dict
      returned: success
    workloads:
      description:
        - StatefulSets and DaemonSets - kind, name, member, token, CA fingerprint, image, node and address that it is made for, path of its data,
          revision, waiting (why a pod of it was never created, from its newest warning event).
      type: list
      elements: dict
      returned: success
    pods:
      description: Pods - name, uid, member, node, phase, running, ready, started_at, restarts, waiting (the reason, with the newest warning event).
      type: list
      elements: dict
      returned: success
    secrets:
      description: Names of Secrets, with serial and dates of the certificates in them.
      type: list
      elements: dict
      returned: success
    guards:
      description: Of the guard pods of each member C(member), how many are C(wanted) and how many are C(ready). Null where this user may not list Deployments.
      type: list
      elements: dict
      returned: success
nodes:
  description: The nodes, as M(hostnet.multicluster.nodes_info) returns them.
  returned: with O(nodes)
  type: list
  elements: dict
deployment:
  description: The fact C(hostnet_deployment) with what was read, and with the join list that is in force by it where only records or only pods were read.
  returned: success, with O(renew)
  type: dict
members:
  description: O(members), with C(live), whether each has a ready pod on the VM that it was admitted to, under the address that it was admitted with.
  returned: success, with O(renew)
  type: list
  elements: dict
problems:
  description: What is wrong with the join lists, unequal or with an address that is nobody's of O(members) who is live.
  returned: success, with O(renew) and O(only=records)
  type: list
  elements: str
targets:
  description: Those of O(members) whose container runs, as M(hostnet.multicluster.member_exec) takes them.
  returned: success, with O(hostnet)
  type: list
  elements: dict
requests:
  description: API requests sent.
  returned: always
  type: int
"""

import time
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, nodes, observe
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import observation
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "expect": {"type": "list", "elements": "dict", "default": []},
    "absent_ok": {"type": "list", "elements": "str", "default": []},
    "read_lock": {"type": "bool", "default": False},
    "only": {"type": "list", "elements": "str", "choices": ["pods", "records"], "default": []},
    "renew": {"type": "bool", "default": False},
    "members": {"type": "list", "elements": "dict", "default": []},
    "hostnet": {"type": "dict"},
    "nodes": {
        "type": "dict",
        "options": {
            "node_selector": {"type": "str", "default": ""},
            "extra_selector": {"type": "str", "default": ""},
            "address_type": {"type": "str", "default": "InternalIP"},
        },
    },
    "condition": {"type": "str", "choices": ["running", "ready", "gone"], "default": "ready"},
    "timeout": {"type": "int", "default": 300},
}


def run(call: _call.Call) -> dict[str, Any]:
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    name, namespace = call.params["name"], call.params["namespace"]
    try:
        expect = observation.expected(call.params["expect"])
    except KeyError as error:
        raise _call.Failure(f"expect: a member has no {error.args[0]}; give its binding") from error
    # Nothing was created in check mode, so there is nothing to wait for.
    if expect and not call.check_mode:
        condition, timeout = call.params["condition"], call.params["timeout"]
        began = time.monotonic()
        missing, lost = observe.wait_for_members(call.clusters, name, namespace, expect, condition, timeout)
        if missing:
            after = f"after {time.monotonic() - began:.0f} seconds" if lost else f"after {timeout} seconds"
            text = f"{after} {len(missing)} of {len(expect)} members are not {condition}: {'; '.join(missing)}"
            raise _call.Failure(text, missing=missing, lost=lost)
    clusters, absent_ok = call.clusters, call.params["absent_ok"]

    def read_nodes() -> dict[str, Any]:
        wanted = call.params["nodes"]
        if wanted is None:
            return {}
        found, _states = nodes.read_nodes(
            clusters, wanted["node_selector"], wanted["address_type"], absent_ok, [wanted["extra_selector"]], with_version=False
        )
        return {"nodes": found}

    def read_deployment() -> dict[str, Any]:
        if call.params["only"]:
            return {"kube_clusters": observe.observe_part(clusters, name, namespace, call.params["only"])}
        return {"kube_clusters": observe.observe(clusters, name, namespace, absent_ok, call.params["read_lock"])}

    of_nodes, of_deployment = client.in_parallel(lambda read: read(), (read_nodes, read_deployment))
    return {"changed": False, **of_deployment, **of_nodes}


def renewed(seen: Deployment, parts: dict[str, Any], whole: bool) -> Deployment:
    """What was `seen` of a deployment, with what was read again: a part of it, and the join list in force by that, or the `whole` of it."""
    if whole:
        return {**seen, "kube_clusters": parts}
    kube_clusters = observation.renewed(seen["kube_clusters"], parts)
    listed = any("join" in part for part in parts.values())
    plan = {**seen["plan"], "seeds": observation.seeds(kube_clusters)} if listed else seen["plan"]
    return {**seen, "kube_clusters": kube_clusters, "plan": plan}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
