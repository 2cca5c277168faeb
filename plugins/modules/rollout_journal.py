#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name: the lock's holder is the ansible-playbook process on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_journal
short_description: Writes down in every kube cluster what a rollout is about to do
version_added: "0.2.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - The journal says what a rollout was about to change and what it had changed, so that a run that is killed anywhere can be resumed.
    It is one document in a ConfigMap of each kube cluster, named after the deployment and C(-rollout), and written to all of them at the
    same time. A call fails unless all of them have it.
  - Each call is one operation that makes the document longer. It renews the lock in the same call, and nothing is written where the lock
    is lost in any kube cluster. A holder that loses the lock while it writes is refused by the API server.
  - With what the kube clusters hold, the newest document counts (highest generation, then highest sequence). See M(hostnet.multicluster.deployment_info).
  - Secrets do not belong into it. A key of that name (key, certificate, password, secret, kubeconfig and the like) that holds text, a list or
    a dictionary is refused, and so is PEM text.
  - Steps of members that are done are forgotten, the oldest first, as the document grows. It never exceeds what a ConfigMap takes.
  - In check mode no request is sent and the lock is not needed.
  - For tests, the environment variable E(HOSTNET_FAILPOINT) kills C(ansible-playbook) at a place of this module. V(STEP:before-begin) is before
    the intent of a step is written (O(op=next)), and V(STEP:after-begin) before its change. V(journal:WRITE:before) and V(journal:WRITE:after) are
    around the other writes, C(start), C(note) (a member begins), C(bind) (something about the member in flight is written down), C(end) (a
    member is done) and C(finish).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  namespace:
    description: Its namespace, which must exist in every kube cluster.
    type: str
    required: true
  lock:
    description: The lock, as M(hostnet.multicluster.rollout_lock) returned it. Needed, except in check mode.
  journal:
    description: The document so far, as this module returned it, or the newest one that the kube clusters hold. Empty for the first rollout.
    type: dict
    default: {}
  op:
    description:
      - V(start) begins a rollout, or goes on with the one in O(journal) that has not ended. O(detail) may hold C(work), C(what),
        C(controller), C(settings), C(order) and C(saved).
      - V(next) writes down the intent of O(step), for the member in flight or without one. The step under way, if any, is done with it, with
        O(detail). Where that is the same step, its run died in it, and it is closed as failed.
      - V(member) merges O(member) into the member in flight. Without O(member), the member in flight is done, and so is its last
        step, with O(detail).
      - V(save) writes O(saved) alone.
      - V(read) writes nothing and returns the newest journal of all kube clusters, or an empty one. It needs no lock.
      - V(drop) puts the member in flight back among those that had no turn. Its steps were undone before.
      - V(finish) ends the rollout.
    type: str
    choices: [start, next, member, drop, save, finish, read]
    required: true
  step:
    description: Name of the step that begins, with O(op=next).
    type: str
    default: ""
  detail:
    description: What belongs to the operation - with O(op=start) the rollout, otherwise what is noted of the step that ends.
    type: dict
    default: {}
  member:
    description: The member in flight, or what changes of it. Its key C(member) is the name.
    type: dict
  saved:
    description:
      - Settings of the system that are changed for the rollout, and the values that they had, merged into C(saved) of the journal with any O(op).
      - A null says that it was put back.
    type: dict
    default: {}
  after_failure:
    description:
      - A write of this run failed before, and some kube clusters may have it all the same, also some that do not answer now. This one is numbered so
        that it counts more.
    type: bool
    default: false
  state:
    description: How O(op=finish) ends. A rollout is done only when no member is in flight and all that was saved has been put back.
    type: str
    choices: [done, aborted]
    default: done
seealso:
  - module: hostnet.multicluster.rollout_lock
"""

EXAMPLES = r"""
- name: Acquire the lock
  hostnet.multicluster.rollout_lock:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    run_id: "{{ hostnet_run_id }}"
    what: upgrade reboot
  register: lock

- name: Begin the rollout
  hostnet.multicluster.rollout_journal:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    lock: "{{ lock.lock }}"
    op: start
    detail:
      work: upgrade
      what: reboot
      order: [east-0]
  register: journal

- name: Write down that it is the turn of east-0
  hostnet.multicluster.rollout_journal:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    lock: "{{ lock.lock }}"
    journal: "{{ journal.journal }}"
    op: member
    member:
      member: east-0
      steps: [stop]
  register: journal

- name: Write down that east-0 is about to stop
  hostnet.multicluster.rollout_journal:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    lock: "{{ lock.lock }}"
    journal: "{{ journal.journal }}"
    op: next
    step: stop
  register: journal

- name: Write down that it has stopped, and that nothing else is to be done with it
  hostnet.multicluster.rollout_journal:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    lock: "{{ lock.lock }}"
    journal: "{{ journal.journal }}"
    op: member
    detail:
      seconds: 4
  register: journal

- name: End the rollout
  hostnet.multicluster.rollout_journal:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    lock: "{{ lock.lock }}"
    journal: "{{ journal.journal }}"
    op: finish
"""

RETURN = r"""
journal:
  description: The document after the operation. It is also the fact C(hostnet_journal), so C(ansible_facts.hostnet_journal) in later tasks.
  returned: success
  type: dict
  sample:
    schema: 2
    run_id: 20260101T000000-5f0c
    generation: 4
    sequence: 3
    work: upgrade
    what: reboot
    state: in_flight
    started_at: "2026-01-01T00:00:00.000Z"
    ended_at: null
    controller: {host: controller, user: root, pid: 4711}
    settings: {}
    order: [east-0]
    done: []
    member: {member: east-0, class: "", steps: [stop], old: null, new: null}
    saved: {}
    steps:
      - n: 1
        member: east-0
        step: stop
        state: begun
        began_at: "2026-01-01T00:00:00.250Z"
        ended_at: null
        detail: {}
ansible_facts:
  description: The journal as a fact.
  returned: success
  type: dict
  contains:
    hostnet_journal:
      description: The same as RV(journal).
      type: dict
      returned: success
    hostnet_turn:
      description: What it says of the member in hand - C(step) (the step that was begun last), C(must_finish) (one was begun that cannot be undone),
        C(undone) (what is noted when its steps were undone) and C(processes) (its old process, where its place is taken).
      type: dict
      returned: success
requests:
  description: API requests sent.
  returned: always
  type: int
"""

import os
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._call import Call, Failure
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, lease
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import journal as journals
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as locks
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import turn

ARGUMENTS: client.Json = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "journal": {"type": "dict", "default": {}},
    "op": {"type": "str", "choices": [*plan.OPS, "read"], "required": True},
    "step": {"type": "str", "default": ""},
    "detail": {"type": "dict", "default": {}},
    "member": {"type": "dict"},
    "saved": {"type": "dict", "default": {}},
    "after_failure": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": [plan.DONE, plan.ABORTED], "default": plan.DONE},
}


def _checked_lock(call: Call) -> client.Json:
    params = call.params
    lock: client.Json | None = params["lock"]
    # Verified by the renewal, not once more before it.
    params["lock"] = None
    if lock is None:
        if not call.check_mode:
            raise Failure("lock is missing: give the lock that rollout_lock returned; the journal is written by its holder alone")
        given = params["journal"]
        lock = {"holder": given.get("run_id") or "check", "generation": given.get("generation") or 0}
        return {"name": params["name"], "namespace": params["namespace"], **lock}
    for field in ("name", "namespace"):
        if lock[field] != params[field]:
            raise Failure(f"lock is of {field} {lock[field]}, the journal of {params[field]}; give the lock of this deployment")
    return lock


def _refuse_to_forget(given: client.Json, found: dict[str, client.Json | None]) -> None:
    """A rollout in flight that the caller does not know of must not be written over."""
    latest = plan.newest(found)
    if latest is None or not plan.in_flight(latest):
        return
    if (given.get("generation", 0), given.get("sequence", 0)) < (latest["generation"], latest["sequence"]):
        where = [name for name, document in found.items() if document == latest]
        raise Failure(
            f"a rollout is in flight that this call does not know of: run {latest['run_id']}, generation {latest['generation']}, sequence "
            f"{latest['sequence']}, in kube cluster {', '.join(where)}. Read the journals again and give the newest as journal"
        )


def _facts(journal: client.Json) -> client.Json:
    return {"hostnet_journal": journal, "hostnet_turn": turn.said(journal)}


def run(call: Call) -> client.Json:
    params = call.params
    given, op, step = params["journal"], params["op"], params["step"]
    if op == "read":
        # Whoever changes something after this looks at it.
        params["lock"] = None
        latest = plan.newest(journals.read(call.clusters, params["name"], params["namespace"])) or {}
        return {"changed": False, "journal": latest, "ansible_facts": _facts(latest)}
    try:
        _failpoint.wanted()
        lock = _checked_lock(call)
        detail = dict(params["detail"])
        if op == "start" and not detail.get("controller"):
            me = lease.this_process(lock["holder"], "", os.getppid(), "")
            detail["controller"] = {"host": me.host, "user": me.user, "pid": me.pid}
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        after = plan.advance(
            given,
            op,
            now=now,
            run_id=lock["holder"],
            generation=lock["generation"],
            step=step,
            detail=detail,
            member=params["member"],
            state=params["state"],
            saved=params["saved"],
            after_failure=params["after_failure"],
        )
    except (plan.JournalError, _failpoint.FailpointError) as error:
        raise Failure(f"journal of deployment {params['name']}: {error}") from error
    if not call.check_mode:
        clusters = call.clusters
        _failpoint.reach(_failpoint.place(op, step, params["member"], "before"))
        found = None
        if given.get("generation") == lock["generation"]:
            # Whoever takes the lock gives the journal its own generation first, and with it the API server refuses this write. So the steps of a
            # member need no renewal as well, which is half of what a write costs; for people who read Leases the others are enough.
            if op != "next":
                locks.renew(clusters, lock)
        else:
            found, documents = journals.begin_generation(clusters, lock)
            _refuse_to_forget(given, documents)
        journals.write(clusters, lock, after, found)
        _failpoint.reach(_failpoint.place(op, step, params["member"], "after"))
    result: client.Json = {"changed": True, "journal": after, "ansible_facts": _facts(after)}
    if call.diff:
        result["diff"] = {"before": "", "after": f"journal {after['sequence']}: {plan.describe(op, step, after)}\n"}
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="rollout_journal runs on the controller, as an action plugin; give the task connection: local", requests=0)


if __name__ == "__main__":
    main()
