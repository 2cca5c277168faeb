#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name: the lock's holder is the ansible-playbook process on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_lock
short_description: One run at a time, over all kube clusters
version_added: "0.2.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Takes, renews, frees or reads the lock of a deployment. It is one Lease in each kube cluster, named after the deployment and C(-rollout),
    and it is held in all of them or not at all.
  - The holder is the C(ansible-playbook) process that runs the task. The lock does not expire, because a rollout may wait for hours and a
    controller without news is not dead. It is taken over from a process that has certainly ended, that is one of the same host, boot and
    PID namespace as this one, when nothing is left of what it had started. Otherwise only when O(take_over) names its run, or by
    O(heartbeat_seconds).
  - Every acquisition has a generation that is higher than any before. Modules of this collection that were given RV(lock) refuse to
    work as soon as another generation holds the lock in any kube cluster.
  - The module runs on the controller, in the process of C(ansible-playbook). It fails where the connection of the task is not V(local).
  - In check mode it reads, and refuses as it would, and writes nothing. RV(lock) is then null, unless the lock is held already.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  namespace:
    description: Its namespace, which must exist in every kube cluster.
    type: str
    required: true
  state:
    description:
      - V(held) takes the lock, and renews it where this run has it in all kube clusters.
      - V(free) gives back what this run holds. What another one holds is left alone.
      - V(read) only says who holds it.
      - V(kept) says in which kube clusters this run can be seen to hold O(lock), and fails where one that answers says that it does not. Those that
        do not answer are in RV(away). A run that finds its generation in one kube cluster knows that nobody else has the lock, because whoever takes
        it takes it in all of them. That is enough for what brings a member up again, and for nothing else.
    type: str
    choices: [held, free, read, kept]
    default: held
  run_id:
    description:
      - Who this run is, of letters, digits, C(.), C(-) and C(_). Every run needs an id of its own, and one that another process holds the lock under is
        refused. Not needed to read.
    type: str
    default: ""
  heartbeat_seconds:
    description:
      - With O(state=held), a process is started that renews the lock that often, until this C(ansible-playbook) has ended and nothing is left that it
        started. V(0) means none. It needs Linux on the controller.
      - A holder with a heartbeat whose Leases stay unchanged for ten times its interval, by this controller's own clock, has ended, and its lock is taken
        over, where this option is set too. The call waits for so long. Set it where runs cannot see each other's processes, such as in containers.
      - A run that has not been able to renew for three times the interval has to do so before its next change.
    type: int
    default: 0
  what:
    description: What the run does, for people that find the lock held.
    type: str
    default: ""
  take_over:
    description:
      - The id of the run whose lock is taken even though it may still be running, as the error of a refusal gives it; several are separated
        by commas.
      - It is for a controller that is lost. A run that is still alive stops at its next task, but finishes the one it is in.
    type: str
    default: ""
  force:
    description: Take, or free, the lock whoever holds it.
    type: bool
    default: false
  joining:
    description:
      - Names of kube clusters that the deployment is to grow into. Any other one that its record does not name is an error, as is one that the record
        names and O(kube_clusters) does not have, or that is another Kubernetes cluster than the one recorded.
    type: list
    elements: str
    default: []
  without:
    description: Names of kube clusters of the deployment that are left out on purpose, because they have nothing left to lock or are gone for good.
    type: list
    elements: str
    default: []
  lock:
    description: The lock that O(state=kept) looks for. Not used by the others; accepted because the other modules have it.
seealso:
  - module: hostnet.multicluster.rollout_journal
"""

EXAMPLES = r"""
- name: Acquire the lock
  hostnet.multicluster.rollout_lock:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    run_id: "{{ hostnet_run_id }}"
    what: upgrade replace
    take_over: "{{ hostnet_take_over | default('') }}"
  register: lock

- name: Change something only while the lock is held
  hostnet.multicluster.node_labels:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    lock: "{{ lock.lock }}"
    nodes: []
    owned: [example.com/ledger]

- name: See who holds the lock
  hostnet.multicluster.rollout_lock:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    state: read

- name: See where the lock is still held, while a kube cluster may be away
  hostnet.multicluster.rollout_lock:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    state: kept
    lock: "{{ lock.lock }}"

- name: Release the lock
  hostnet.multicluster.rollout_lock:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    run_id: "{{ hostnet_run_id }}"
    state: free
"""

RETURN = r"""
lock:
  description: What the option O(lock) of the other modules takes. Null where this run does not hold the lock in all kube clusters.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the deployment.
      type: str
      returned: success
    namespace:
      description: Its namespace.
      type: str
      returned: success
    holder:
      description: The run that holds the lock.
      type: str
      returned: success
    generation:
      description: The generation of this acquisition.
      type: int
      returned: success
away:
  description: With O(state=kept), the kube clusters that could not be asked, each with the reason. Empty otherwise.
  returned: success
  type: dict
  sample: {west: "kube cluster west: Lease ledger/ledger-rollout: no answer from https://west.example.com:6443 (Connection refused)"}
generation:
  description: The generation of this acquisition; with O(state=read) and O(state=free) the highest that any kube cluster has.
  returned: success
  type: int
taken_over_from:
  description: Runs that held the lock before and lost it to this one. There is a warning for each.
  returned: success
  type: list
  elements: str
holders:
  description: The Lease of each kube cluster, by its name.
  returned: success, and when the lock is refused
  type: dict
  sample:
    east:
      state: own
      generation: 4
      renewed_at: "2026-01-01T00:00:00.000000Z"
      age_seconds: 0
      holder:
        run_id: 20260101T000000-5f0c
        host: controller
        user: root
        pid: 4711
        started: 1234567
        boot_id: 4f0c4b2e-7d1c-4f5e-9a55-0d9a7b0f6d11
        pid_namespace: "pid:[4026531836]"
        since: "2026-01-01T00:00:00.000000Z"
        what: upgrade replace
        mark: 0123456789abcdef0123456789abcdef
        cgroup: 0::/user.slice/user-0.slice/session-1.scope
        heartbeat: 0
requests:
  description: API requests sent.
  returned: always
  type: int
"""

import dataclasses
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hostnet.multicluster.plugins.module_utils._call import Call, Failure
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, heartbeat, lease, lock_taking
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as locks
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lock as plan

ARGUMENTS: client.Json = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["held", "free", "read", "kept"], "default": "held"},
    "run_id": {"type": "str", "default": ""},
    "what": {"type": "str", "default": ""},
    "heartbeat_seconds": {"type": "int", "default": 0},
    "take_over": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
    "joining": {"type": "list", "elements": "str", "default": []},
    "without": {"type": "list", "elements": "str", "default": []},
}


def run(call: Call) -> client.Json:
    params = call.params
    state, name, namespace = params["state"], params["name"], params["namespace"]
    # Not verified: with a lock that was lost this module says so itself.
    lock, params["lock"] = params["lock"], None
    if state == "kept":
        if not lock:
            raise Failure("lock is missing: state kept needs the lock that rollout_lock returned")
        away = locks.unasked(call.clusters, lock)
        return {"changed": False, "lock": lock, "generation": lock["generation"], "taken_over_from": [], "holders": {}, "away": away}
    if state != "read" and not params["run_id"]:
        raise Failure("run_id is missing: state held and free need the id of this run, any text that no other run has")
    problem = plan.run_id_problem(params["run_id"]) if params["run_id"] else ""
    if problem:
        raise Failure(f"run_id is {params['run_id']!r}, and {problem}")
    if params["heartbeat_seconds"] < 0:
        raise Failure(f"heartbeat_seconds is {params['heartbeat_seconds']}, and must be at least 0")
    # This is a worker of the ansible-playbook that holds the lock.
    me = lease.this_process(params["run_id"], params["what"], os.getppid(), lease.timestamp())
    me = dataclasses.replace(me, heartbeat=params["heartbeat_seconds"])
    try:
        if state == "read":
            outcome = lock_taking.read(call.clusters, name, namespace, me)
        elif state == "free":
            outcome = lock_taking.release(call.clusters, name, namespace, me, params["force"], call.check_mode)
        else:
            take_over = [run_id.strip() for run_id in params["take_over"].split(",") if run_id.strip()]
            outcome = lock_taking.acquire(
                call.clusters, name, namespace, me, take_over, params["force"], call.check_mode, params["joining"], params["without"]
            )
            if me.heartbeat and outcome.changed and outcome.lock:
                heartbeat.start(params["kube_clusters"], outcome.lock, me)
    except heartbeat.NoHeartbeat as error:
        lock_taking.release(call.clusters, name, namespace, me)
        raise Failure(f"the heartbeat of the lock of deployment {name} did not begin, and the lock was released: {error}") from error
    except lock_taking.LockRefused as error:
        raise Failure(str(error), holders=error.holders) from error
    result: client.Json = {
        "changed": outcome.changed,
        "lock": outcome.lock,
        "generation": outcome.generation,
        "taken_over_from": outcome.taken_over,
        "holders": outcome.holders,
        "away": {},
    }
    if outcome.warnings:
        result["warnings"] = outcome.warnings
    if call.diff and outcome.changed:
        said = f"lock of deployment {name}, generation {outcome.generation}: "
        after = "free" if state == "free" else f"held by run {params['run_id']}"
        result["diff"] = {"before": "", "after": f"{said}{after} in kube cluster {', '.join(call.clusters)}\n"}
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="rollout_lock runs on the controller, as an action plugin; give the task connection: local", requests=0)


if __name__ == "__main__":
    main()
