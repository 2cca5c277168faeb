# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the guards of the invariants out, one at a time, and wants a test to fail each time.

A guard is a piece of text in a file of the collection. In a copy of the project it is replaced, and the tests that are named beside it run: one of
them must fail. Unchanged, all of them must pass. A text that is not there exactly once is an error, so that a guard that was rewritten
is looked at again here. Invariants are those of docs/design.md, section 6; each has a guard here.

Usage: mutations.py [--all | WORD ...]     a third of the guards, chosen by the commit; all of them; or only those whose description has one of the words
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from _tree import CHECKOUT, clean_copy

from support.commit import commit, part

INVARIANTS = range(1, 17)
_SECONDS = 240  # for the tests of one guard
# pytest's exit code 1 is also that of an error in a fixture, which says nothing about a guard.
_FAILED = re.compile(r"^1 failed\b(?!.*\berrors?\b)", re.MULTILINE)

PLAN = "plugins/module_utils/_plan"
CLUSTER = "plugins/module_utils/_cluster"
UNIT = "tests/unit/plugins/module_utils"


@dataclass(frozen=True)
class Guard:
    """`without` is what stands in the place of `text` when the guard of `invariant` is out; `tests` are pytest's arguments."""

    invariant: int
    what: str
    file: str
    text: str
    without: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"invariant {self.invariant:2}, {self.what}"


def _some(file: str, *words: str) -> tuple[str, ...]:
    return (file, "-k", " or ".join(words)) if words else (file,)


_DEPLOY = f"{UNIT}/test_deployment_plan.py"
_MEMBERS = f"{UNIT}/test_deployment_members.py"
_DISK = f"{UNIT}/test_plan_disk.py"
_ROLLOUT = f"{UNIT}/test_plan_rollout.py"
_CLAIM = f"{UNIT}/test_claim.py"
_ADOPT = f"{UNIT}/test_plan_adopt.py"
_ADOPT_RECORD = "tests/integration/test_adopt_record.py"
_JOIN = f"{UNIT}/test_plan_join.py"
_NEIGHBOURS = f"{UNIT}/test_plan_neighbours.py"
_CLASSIFY = f"{UNIT}/test_classify.py"
_PLACEMENT = f"{UNIT}/test_placement.py"
_GATE = f"{UNIT}/test_gate.py"
_GENERATIONS = f"{UNIT}/test_plan_generations.py"
_DEAD = f"{UNIT}/test_plan_dead.py"
_JOURNAL = f"{UNIT}/test_plan_journal.py"
_DOCUMENTS = f"{UNIT}/test_documents.py"
_PKI_PLACE = f"{UNIT}/test_plan_pki_place.py"
_TRUST_REVISIONS = f"{UNIT}/test_plan_trust_revisions.py"
_SERVING = f"{UNIT}/test_plan_serving.py"
_SETTINGS = f"{UNIT}/test_settings_check.py"
_BINDINGS = f"{UNIT}/test_plan_bindings.py"
_ETCD = f"{UNIT}/test_plan_systems_etcd.py"
_STATE = f"{UNIT}/test_cluster_state.py"
_LIMITS = f"{UNIT}/test_plan_limits.py"
_AZURE = f"{UNIT}/test_plan_vm_azure.py"
_LOCK = "tests/integration/test_rollout_lock.py"
_FAULTS = "tests/integration/test_faults.py"

GUARDS = (
    Guard(
        12,
        "the count of an Azure pool is written down before a VM of it is deleted",
        f"{PLAN}/vm/azure.py",
        "if not begun(vm, group):",
        "if False:",
        _some(_AZURE, "killed_anywhere"),
    ),
    Guard(
        12,
        "the count of an Azure pool is brought back by whoever finds the VM deleted",
        f"{PLAN}/vm/azure.py",
        "if begun(vm, group) and (instance is None or is_going):",
        "if False:",
        _some(_AZURE, "killed_anywhere"),
    ),
    Guard(
        12,
        "the count of an Azure pool that another replacement has still to bring back is not written over",
        f"{PLAN}/vm/azure.py",
        "if uid and not begun(vm, group) and len(instances) < marked:",
        "if False:",
        _some(_AZURE, "the_tag_of_another_node"),
    ),
    Guard(
        4,
        "no instance of Azure is touched whose Node is gone",
        f"{PLAN}/vm/azure.py",
        'if state in ("gone", "other"):',
        "if False:",
        _some(_AZURE, "whose_node_is_not_there"),
    ),
    Guard(
        4,
        "no instance of Azure is deleted where the next one would come in another zone",
        f"{PLAN}/vm/azure.py",
        "if any(count[zone] < count[mine] for zone in zones if zone != mine):",
        "if False:",
        _some(_AZURE, "whose_node_is_not_there"),
    ),
    Guard(
        9,
        "nothing is done to a pool of Azure at which somebody else is at work",
        f"{PLAN}/vm/azure.py",
        "if is_busy(group) and not begun(vm, group):",
        "if False:",
        _some(_AZURE, "test_what_passes"),
    ),
    Guard(
        6,
        "the key of a NATS user that the servers know is not replaced",
        "plugins/module_utils/_pki/folder.py",
        "if not public[name]] if request.known_nkeys else []",
        "if not public[name]] if False else []",
        _some(f"{UNIT}/test_pki_certificates.py", "servers_know_is_not_replaced"),
    ),
    Guard(
        2,
        "nobody is taken out without the identity record",
        f"{PLAN}/lost.py",
        'if plan["mode"] != "existing":',
        "if False:",
        _some(f"{UNIT}/test_plan_lost.py", "invariant_2"),
    ),
    Guard(
        15,
        "a lost record and a part of the inventory",
        f"{PLAN}/roster.py",
        """        known |= {str(binding["kube_cluster"]) for binding in found.get("members") or []}
""",
        "",
        _some(f"{UNIT}/test_deployment_membership.py", "lost_record_and_a_part"),
    ),
    Guard(
        15,
        "nobody is told to delete members that may be alive",
        f"{PLAN}/membership.py",
        "if left and kube not in lost:",
        "if False:",
        _some(f"{UNIT}/test_deployment_membership.py", "said_to_be_lost"),
    ),
    Guard(
        9,
        "the node of a stopped member that matches no selector",
        f"{PLAN}/names.py",
        "return node_label(name), namespace_label(name)",
        "return node_label(name), node_label(name)",
        _some(_STATE, "matches_no_longer"),
    ),
    Guard(
        9,
        "a bound node that no list has is read by its name",
        f"{CLUSTER}/state.py",
        "with_bound(clusters, nodes, _bound(kube_clusters), ",
        "with_bound(clusters, nodes, [], ",
        _some(_STATE, "before_anybody_calls_it_missing"),
    ),
    Guard(
        15,
        "a kube cluster whose own copy is older than the others'",
        f"{PLAN}/bindings.py",
        "            if newer:\n",
        "            if False:\n",
        _some(_BINDINGS, "older_backup"),
    ),
    Guard(
        15,
        "a copy that is older and differs",
        f"{PLAN}/bindings.py",
        "        elif apart:\n",
        "        elif False:\n",
        _some(_BINDINGS, "older_and_differs"),
    ),
    Guard(
        8,
        "who is new accounts for nobody who has started",
        f"{PLAN}/bindings.py",
        "(bound if name else announced)",
        "announced",
        _some(_BINDINGS, "invariant_8"),
    ),
    Guard(
        8,
        "nobody starts under the id of a voter",
        f"{PLAN}/systems/etcd.py",
        'if peer["name"] or peer["role"] != "learner":',
        "if False:",
        _some(_ETCD, "invariant_8"),
    ),
    Guard(
        9,
        "what is refused once the lock is held is no success",
        "roles/rollout/tasks/main.yml",
        "- name: Roll the members, and always release the locks of other deployments\n",
        "- name: Roll the members, and always release the locks of other deployments\n"
        "  when: not ansible_check_mode and (rollout_plan.members | length > 0 or rollout_plan.resume)\n",
        _some(_FAULTS, "refused_after_the_lock"),
    ),
    Guard(
        16,
        "nobody said which nodes carry members, at a deploy",
        f"{PLAN}/deployment.py",
        'if node.get("selected", True)] if hostnet["selector_said"] else []',
        'if node.get("selected", True)]',
        _some(_DEPLOY, "no_selector_is_said"),
    ),
    Guard(
        16,
        "nobody said which nodes carry members, at a repair or a replacement",
        f"{PLAN}/rollout.py",
        """        errors += selector_errors(hostnet)
""",
        """        errors += []
""",
        _some(_ROLLOUT, "selector_is_needed"),
    ),
    Guard(
        16,
        "more voters than the system is made for",
        f"{PLAN}/deployment.py",
        'if not limit or not new or len(everybody) <= int(limit["count"]):',
        "if True:",
        _some(_DEPLOY, "more_voters_than"),
    ),
    Guard(
        16,
        "objects that would not fit",
        f"{PLAN}/deployment.py",
        "        errors += too_large\n",
        "",
        _some(_LIMITS, "two_thousand_are_refused"),
    ),
    Guard(
        16,
        "a variable that Linux refuses",
        f"{PLAN}/sizes.py",
        "if size > VARIABLE_BYTES:",
        "if False:",
        _some(_LIMITS, "linux_refuses"),
    ),
    Guard(
        16,
        "a journal that would not fit",
        f"{PLAN}/refusals.py",
        "if not worst or sizes[worst] <= MAX_BYTES:",
        "if True:",
        _some(_ROLLOUT, "would_not_fit"),
    ),
    Guard(
        16,
        "bindings that would not fit, in a rollout",
        f"{PLAN}/refusals.py",
        "if size > DATA_BYTES:",
        "if False:",
        _some(_ROLLOUT, "bindings_that_would_not_fit"),
    ),
    Guard(
        16,
        "a pod on a node that gets no member, while a claim is looked at",
        f"{PLAN}/claim.py",
        'if node["ready"] and (str(node["kube_cluster"]), str(node["name"])) in places',
        'if node["ready"]',
        _some(_CLAIM, "only_nodes_of_members"),
    ),
    Guard(
        16,
        "a pod on a node that holds no member, at a removal",
        f"{PLAN}/removal.py",
        'if not owner and not node.get("selected", True) and not labels & set(node.get("labels") or {}):',
        "if False:",
        _some(_DISK, "visits_no_node"),
    ),
    Guard(
        16,
        "a host that has left keeps the others of a DaemonSet from starting again",
        f"{PLAN}/workloads.py",
        '"items": items, "optional": True}',
        '"items": items}',
        _some(_PLACEMENT, "folder_for_each_node"),
    ),
    Guard(
        16,
        "whoever comes moves the certificates of others into another Secret",
        f"{PLAN}/certificate_secrets.py",
        'return int(binding["ordinal"]) // HOSTS_PER_SECRET',
        'return int(binding["address"].rpartition(".")[2]) // HOSTS_PER_SECRET',
        _some(_PLACEMENT, "several_secrets", "changes_one_secret"),
    ),
    Guard(
        8,
        "a VM that was there before, by a journal of version 0.2.0",
        f"{PLAN}/successor.py",
        "return digest(value) in known or value in known",
        "return digest(value) in known",
        _some(_ROLLOUT, "journal_of_version_0_2_0"),
    ),
    Guard(
        15,
        "a kube cluster that the record names is missing",
        f"{PLAN}/roster.py",
        "if name not in uids and name not in without:",
        "if False:",
        _some(f"{UNIT}/test_plan_roster.py", "missing"),
    ),
    Guard(
        15,
        "a kube cluster that the record does not name",
        f"{PLAN}/roster.py",
        "elif name not in joining:",
        "elif False:",
        _some(f"{UNIT}/test_plan_roster.py", "one_more"),
    ),
    Guard(
        15,
        "another Kubernetes cluster behind a recorded name",
        f"{PLAN}/roster.py",
        "if uid and recorded[name] and uid != recorded[name]:",
        "if False:",
        _some(f"{UNIT}/test_plan_roster.py", "another_server"),
    ),
    Guard(
        15,
        "two names of one Kubernetes cluster",
        f"{PLAN}/roster.py",
        "first = owners.setdefault(uid, name) if uid else name",
        "first = name",
        _some(f"{UNIT}/test_plan_roster.py", "two_names"),
    ),
    Guard(
        15,
        "the kube clusters of a deployment of version 0.2.0",
        f"{PLAN}/membership.py",
        "roster = recorded or rosters.inferred(observed)",
        "roster = recorded",
        _some(f"{UNIT}/test_deployment_membership.py", "of_0_2_0_too"),
    ),
    Guard(
        15,
        "the lock compares the kube clusters",
        f"{CLUSTER}/lock_taking.py",
        "wrong = membership.problems(found, name, joining, without)",
        "wrong: list[str] = []",
        _some(_LOCK, "invariant_15"),
    ),
    Guard(
        15,
        "an inventory source that could not be read",
        f"{PLAN}/settings_and_spec.py",
        'errors += [] if tolerant else [str(error) for error in hostnet.get("inventory_errors", [])]',
        "errors += []",
        _some(f"{UNIT}/test_deployment_membership.py", "without_a_part"),
    ),
    Guard(
        8,
        "copies of bindings that differ",
        f"{PLAN}/bindings.py",
        "if differs:",
        "if False:",
        _some(f"{UNIT}/test_plan_bindings.py", "copies_that_differ"),
    ),
    Guard(
        8,
        "labels and workloads without a binding",
        f"{PLAN}/deployment.py",
        'errors += [entry["error"] for entry in strangers]',
        "errors += []",
        _some(f"{UNIT}/test_deployment_membership.py", "deleted_is_refused"),
    ),
    Guard(
        15,
        "members from before in a kube cluster that is to be grown into",
        f"{PLAN}/membership.py",
        "        elif left:\n",
        "        elif False:\n",
        _some(f"{UNIT}/test_deployment_membership.py", "members_from_before"),
    ),
    Guard(
        15,
        "a status that says what was deleted",
        f"{PLAN}/classify.py",
        'problems += [f"{text}: run playbooks/deploy.yml" for text in plan.get("restored", [])]',
        "problems += []",
        _some(f"{UNIT}/test_deployment_membership.py", "says_what_was_deleted"),
    ),
    Guard(
        15,
        "a voter without a binding in a rollout",
        f"{PLAN}/rollout.py",
        'errors += [entry["error"] for entry in plan.get("strangers", []) if entry["member"] not in finished]',
        "errors += []",
        _some(f"{UNIT}/test_plan_rollout.py", "voter_that_nobody_counts"),
    ),
    Guard(
        8,
        "an ordinal that was given before",
        f"{PLAN}/new_members.py",
        "highest = dict(ordinals)",
        "highest: dict[str, int] = {}",
        _some(f"{UNIT}/test_deployment_membership.py", "scaled_down_ordinal"),
    ),
    Guard(
        8,
        "a binding from before a repair, in a kube cluster that was restored",
        f"{PLAN}/bindings.py",
        "if member in writing or len(views) != 1 or views == {mine}:",
        "if True:",
        _some(f"{UNIT}/test_plan_bindings.py", "invariant_8_a_kube_cluster"),
    ),
    Guard(
        9,
        "members of a lost kube cluster are proven dead",
        f"{PLAN}/lost.py",
        "why) for entry in gone]",
        "why) for entry in []]",
        _some(f"{UNIT}/test_plan_lost.py", "invariant_9"),
    ),
    Guard(
        1,
        "evidence of a deployment without record",
        f"{PLAN}/deployment.py",
        'mode = "lost_record" if evidence else "first"',
        'mode = "first"',
        _some(_DEPLOY, "invariant_1"),
    ),
    Guard(
        1,
        "a kube cluster that did not answer",
        f"{PLAN}/settings_and_spec.py",
        'for absent in [] if tolerant else hostnet.get("absent_kube_clusters", []):',
        "for absent in []:",
        _some(_DEPLOY, "invariants_1_and_9"),
    ),
    Guard(
        1,
        "data of an earlier deployment on a node",
        f"{PLAN}/probe.py",
        'if plan["mode"] == "first" and own:',
        "if False:",
        _some(_MEMBERS, "invariant_1"),
    ),
    Guard(
        1,
        "a claim for other members",
        f"{PLAN}/deployment.py",
        "if claimed == planned:",
        "if True:",
        _some(_DEPLOY, "unfinished"),
    ),
    Guard(
        1,
        "a claim that had a cluster id once",
        f"{PLAN}/deployment.py",
        '"lost_record" if claim.recorded_once(identity, members, observed) else "unfinished"',
        '"unfinished"',
        _some(_CLAIM, "invariant_1"),
    ),
    Guard(
        1,
        "a join list with state existing says that the system ran",
        f"{PLAN}/claim.py",
        '(found.get("join") or {}).get("HOSTNET_STATE") == "existing"',
        "False",
        _some(_CLAIM, "invariant_1"),
    ),
    Guard(
        1,
        "a member that is healthy or ready says that the system runs",
        f"{PLAN}/claim.py",
        "ran = bool(healthy) or ready or ",
        "ran = ",
        _some(_CLAIM, "healthy"),
    ),
    Guard(
        8,
        "disks with content of a majority of the first members",
        f"{PLAN}/claim.py",
        'sum(state == "content" for state in states.values()) >= needed',
        "False",
        _some(_CLAIM, "invariant_8"),
    ),
    Guard(
        8,
        "a first member's disk that is another one",
        f"{PLAN}/claim.py",
        "    if wrong:",
        "    if False:",
        _some(_CLAIM, "invariant_8"),
    ),
    Guard(
        2,
        "two cluster ids beside a claim",
        f"{PLAN}/claim.py",
        "if len(reported) > 1:",
        "if False:",
        _some(_CLAIM, "invariant_2"),
    ),
    Guard(
        1,
        "who loses the first kube cluster adopts what is there",
        f"{CLUSTER}/identity.py",
        '"data": data if in_force is None else in_force,',
        '"data": data,',
        _some(f"{UNIT}/test_identity.py"),
    ),
    Guard(
        2,
        "records that differ",
        f"{CLUSTER}/identity.py",
        "elif record != in_force:",
        "elif False:",
        _some(f"{UNIT}/test_identity.py"),
    ),
    Guard(
        2,
        "a record that cannot be changed",
        f"{CLUSTER}/identity.py",
        '"immutable": True,',
        '"immutable": False,',
        _some("tests/integration/test_identity.py", "immutable"),
    ),
    Guard(
        2,
        "a member that reports another cluster id",
        f"{PLAN}/proof.py",
        "if found != recorded",
        "if False",
        _some(_MEMBERS, "invariant_2"),
    ),
    Guard(
        2,
        "first members that report two ids",
        f"{PLAN}/proof.py",
        "if len(reported) > 1:",
        "if False:",
        _some(_MEMBERS, "invariant_2"),
    ),
    Guard(
        2,
        "adopting what no human has named",
        f"{PLAN}/adopt.py",
        "if wanted and wanted not in reported:",
        "if False:",
        _some(_ADOPT, "not_named"),
    ),
    Guard(
        2,
        "adopting members that report two cluster ids",
        f"{PLAN}/adopt.py",
        "if len(reported) > 1:",
        "if False:",
        _some(_ADOPT, "two_cluster_ids"),
    ),
    Guard(
        2,
        "adopting members that do not agree on the membership",
        f"{PLAN}/adopt.py",
        "if len({view for view in views.values() if view}) > 1:",
        "if False:",
        _some(_ADOPT, "do_not_agree"),
    ),
    Guard(
        2,
        "adopting a minority of the listed voters",
        f"{PLAN}/adopt.py",
        "if len(well) < quorum(len(voters)):",
        "if False:",
        _some(_ADOPT, "minority"),
    ),
    Guard(
        2,
        "adopting beside a member that is not listed and answers",
        f"{PLAN}/adopt.py",
        'if binding["member"] not in listed\n    ]',
        "if False\n    ]",
        _some(_ADOPT, "has_to_be_stopped"),
    ),
    Guard(
        2,
        "adopting a member that is not healthy",
        f"{PLAN}/adopt.py",
        'if not inspection[binding["member"]].get("healthy")',
        "if False",
        _some(_ADOPT, "not_healthy"),
    ),
    Guard(
        2,
        "adopting a system with a member that nobody has bound",
        f"{PLAN}/adopt.py",
        "if owner is None\n    ]",
        "if False\n    ]",
        _some(_ADOPT, "without_a_binding"),
    ),
    Guard(
        9,
        "adopting while a node that is left out may still run its member",
        f"{PLAN}/adopt.py",
        'if node is None or node["ready"] or',
        'if True or node is None or node["ready"] or',
        _some(_ADOPT, "may_still_run"),
    ),
    Guard(
        2,
        "a third cluster id in a record that is to be replaced",
        f"{CLUSTER}/adopt.py",
        'held.get("cluster_id") not in (former, wanted)',
        "False",
        _some(_ADOPT_RECORD, "invariant_2"),
    ),
    Guard(
        2,
        "a foreign member is told",
        f"{PLAN}/classify.py",
        'and inspected["cluster_id"] != cluster_id:',
        "and False:",
        _some(_CLASSIFY, "foreign"),
    ),
    Guard(
        2,
        "a rollout beside a foreign member",
        f"{PLAN}/rollout.py",
        'if entry["class"] == "foreign":',
        "if False:",
        _some(_ROLLOUT, "another_system_answers"),
    ),
    Guard(
        2,
        "gates with two cluster ids",
        f"{PLAN}/gate.py",
        '"find": "length(cluster_ids) > `1` && cluster_ids"',
        '"find": "length(cluster_ids) > `9` && cluster_ids"',
        _some(_GATE, "closes"),
    ),
    Guard(
        3,
        "only live members are listed",
        f"{PLAN}/join.py",
        "live = [member for member in checked if member.live]\n    if not live",
        "live = checked\n    if not live",
        _some(_JOIN, "only_live"),
    ),
    Guard(
        3,
        "two entries where two live",
        f"{PLAN}/join.py",
        "limit = max(per_cluster, MINIMUM_ENTRIES) if len(by_cluster) == 1 else per_cluster",
        "limit = per_cluster",
        _some(_JOIN, "two_entries", "still_gets_two"),
    ),
    Guard(
        3,
        "a surviving entry is kept",
        f"{PLAN}/join.py",
        "surviving = [member for member in candidates if member.name in kept_names or member.address in kept_addresses]",
        "surviving = []",
        _some(_JOIN, "surviving", "stability"),
    ),
    Guard(
        3,
        "the same list whatever the order of reading",
        f"{PLAN}/join.py",
        "return sorted(checked, key=lambda one: one.order)",
        "return checked",
        _some(_JOIN, "order_of_reading"),
    ),
    Guard(
        3,
        "spread over zones",
        f"{PLAN}/join.py",
        "member = min(rest, key=lambda one: used[one.zone])",
        "member = rest[0]",
        _some(_JOIN, "zones"),
    ),
    Guard(
        3,
        "a list in force with a dead address",
        f"{PLAN}/join.py",
        "if address not in live:",
        "if False:",
        _some(_ROLLOUT, "somebody_who_does_not_live"),
    ),
    Guard(
        3,
        "a member counts as live only at its own address",
        f"{PLAN}/observation.py",
        '"live": bool(ready and same)',
        '"live": bool(ready)',
        _some(_MEMBERS, "invariant_3"),
    ),
    Guard(
        4,
        "a rollout beside a member that is down",
        f"{PLAN}/rollout.py",
        'others = [] if request.get("abort") else [name for name in broken if name != in_hand and name not in leaving]',
        "others = []",
        _some(_ROLLOUT, "TestRefused"),
    ),
    Guard(
        4,
        "the majority is lost",
        f"{PLAN}/rollout.py",
        "if len(healthy) < gate.quorum(len(entries)):",
        "if False:",
        _some(_ROLLOUT, "majority"),
    ),
    Guard(
        4,
        "a majority without the member that stops",
        f"{PLAN}/gate.py",
        '"quorum_short": max(0, quorum(voters) - healthy_others),',
        '"quorum_short": 0,',
        _some(_GATE, "closes", "leaves_a_majority"),
    ),
    Guard(
        4,
        "the new member counts as failed",
        f"{PLAN}/gate.py",
        "quorum(voters) - healthy_others",
        "quorum(voters) - len(tellers)",
        _some(_GATE, "closes", "leaves_a_majority"),
    ),
    Guard(
        4,
        "a majority is more than half",
        f"{PLAN}/gate.py",
        "return members // 2 + 1",
        "return members // 2",
        _some(_GATE, "closes", "leaves_a_majority"),
    ),
    Guard(
        4,
        "members that do not answer close the gate",
        f"{PLAN}/gate.py",
        '{"say": "members that do not answer", "find": "missing_others"},',
        "",
        _some(_GATE, "closes"),
    ),
    Guard(
        4,
        "the gate comes before the stop",
        f"{PLAN}/steps.py",
        '_TAKE_DOWN = ("cordon", "evict", "gate", "lead", "drain", "stop")',
        '_TAKE_DOWN = ("cordon", "evict", "lead", "drain", "stop", "gate")',
        _some(_ROLLOUT, "TestSteps"),
    ),
    Guard(
        4,
        "a run that goes on asks the gate again before the stop",
        f"{PLAN}/steps.py",
        'if not asked < following <= down or "leave" in begun:',
        "if True:",
        _some(_ROLLOUT, "test_a_run_that_goes_on_asks_the_gate_before_the_stop"),
    ),
    Guard(
        4,
        "nobody is stopped while another member's VM goes sooner",
        f"{PLAN}/follow.py",
        "elif signs.urgency(node) >= least:",
        "elif signs.urgency(node) > 99:",
        _some(f"{UNIT}/test_plan_follow.py", "test_nobody_is_stopped"),
    ),
    Guard(
        4,
        "nobody is stopped while another member's VM is gone",
        f"{PLAN}/follow.py",
        "        if lost(entry, node):\n            found.append({",
        "        if False:\n            found.append({",
        _some(f"{UNIT}/test_plan_follow.py", "test_nobody_is_stopped"),
    ),
    Guard(
        4,
        "a rollout that follows takes nobody down before its turn",
        f"{PLAN}/rollout.py",
        "and (bool(waits) or (bool(planned) and not order.is_due(",
        "and (bool(waits) or (False and not order.is_due(",
        _some(_ROLLOUT, "test_nobody_is_taken_before"),
    ),
    Guard(
        4,
        "nor while a member is down that nobody can mend yet",
        f"{PLAN}/rollout.py",
        "and (bool(waits) or (bool(planned) and not order.is_due(",
        "and (False or (bool(planned) and not order.is_due(",
        _some(_ROLLOUT, "test_a_vm_that_has_not_come_yet", "test_nobody_is_taken_in_the_end"),
    ),
    Guard(
        4,
        "nobody is left to a drain that is yet to come: a rollout that follows is not over while a member's node is old, or marked to go",
        f"{PLAN}/generations.py",
        "if any(self.is_behind(name) or signs.urgency(node) for name, node in self.home.items()):",
        "if False:",
        _some(_GENERATIONS, "test_it_never_ends", "test_another_sign", "test_a_node_that_is_marked"),
    ),
    Guard(
        4,
        "nor where the upgrade may be one that has not begun",
        f"{PLAN}/generations.py",
        "return self.told or all(name in moved",
        "return True or all(name in moved",
        _some(_GENERATIONS, "test_nothing_is_over_that_may_not_have_begun"),
    ),
    Guard(
        4,
        "a member in hand that is up gives way to one that has lost its VM",
        f"{PLAN}/rollout.py",
        "(bool(mends or waits) or another_ones or vm_gone or not order.may_go_on(request, record, home))",
        "(another_ones or vm_gone or not order.may_go_on(request, record, home))",
        _some(_ROLLOUT, "test_one_in_hand_comes_before_it"),
    ),
    Guard(
        9,
        "the place of a member in hand that has lost its VM while it was up is taken only with a proof",
        f"{PLAN}/rollout.py",
        "another_ones or vm_gone or not",
        "another_ones or not",
        _some(_ROLLOUT, "test_one_in_hand_that_has_lost_its_vm_while_it_was_up"),
    ),
    Guard(
        4,
        "nobody is stopped where its pod would not start again",
        f"{PLAN}/rollout.py",
        "errors += refusals.not_startable(",
        "refusals.not_startable(",
        _some(_ROLLOUT, "test_nobody_is_stopped_where_its_pod"),
    ),
    Guard(
        4,
        "a stop on a node that somebody else has cordoned is not undone",
        f"{PLAN}/follow.py",
        'return strict and bool(record.get("waits"))',
        'return False and bool(record.get("waits"))',
        _some(_ROLLOUT, "test_a_stop_on_a_node_that_somebody_else"),
    ),
    Guard(
        4,
        "a member in hand that is up waits again where the cloud has given up",
        f"{PLAN}/rollout.py",
        "(bool(mends or waits) or another_ones or vm_gone or not order.may_go_on(request, record, home))",
        "(bool(mends or waits) or another_ones or vm_gone)",
        _some(_ROLLOUT, "test_one_in_hand_is_put_back"),
    ),
    Guard(
        4,
        "a repair takes nobody down whose turn another rollout had begun",
        f"{PLAN}/rollout.py",
        'another_ones = another and record.get("work")',
        'another_ones = False and record.get("work")',
        _some(_ROLLOUT, "test_a_repair_takes_nobody_down"),
    ),
    Guard(
        4,
        "a member that may run again after an undo that was cut short is not taken down without its gates",
        f"{PLAN}/steps.py",
        "if started_again(journal, bindings):\n        # It takes members",
        "if False:\n        # It takes members",
        _some(_ROLLOUT, "test_an_undo_that_was_cut_short"),
    ),
    Guard(
        8,
        "a member is not started again on a VM that is another one by now",
        f"{PLAN}/follow.py",
        'lost(record["old"], node) or successor.is_new(node, record)',
        "False",
        _some(_ROLLOUT, "test_not_where_the_vm_is_not_the_one"),
    ),
    Guard(
        4,
        "one VM with members of other deployments is replaced in a run, in a plan that is made anew too",
        f"{PLAN}/order.py",
        '(before.get("shared") and was is None)',
        "False",
        _some(_ROLLOUT, "test_a_plan_that_is_made_anew_keeps"),
    ),
    Guard(
        4,
        "a member whose VM is gone ends the wait for the gate",
        f"{CLUSTER}/inspect.py",
        "if gone and not without and blocked:",
        "if False:",
        _some(_GATE, "test_nobody_waits_for_a_member_whose_vm"),
    ),
    Guard(
        4,
        "guards hold a drain: one of them may go, and no more",
        f"{PLAN}/guards.py",
        '"spec": {"minAvailable": names.GUARDS - 1, ',
        '"spec": {"minAvailable": 0, ',
        _some(_PLACEMENT, "test_every_node_with_a_member_has_guards"),
    ),
    Guard(
        4,
        "a stop that was cut short is not done because the gate is asked again",
        f"{PLAN}/journal.py",
        "again = order[order.index(following) :] if following in order else [following]",
        "again = [following]",
        _some(f"{UNIT}/test_plan_journal.py", "test_a_step_that_was_cut_short_is_not_done"),
    ),
    Guard(
        4,
        "a member is well before the next one",
        f"{PLAN}/steps.py",
        'return [*pull, *take_down, "vm", "uncordon", "start", "settle", "soak"]',
        'return [*pull, *take_down, "vm", "uncordon", "start", "soak"]',
        _some(_ROLLOUT, "TestSteps"),
    ),
    Guard(
        5,
        "lists that differ between kube clusters",
        f"{PLAN}/rollout.py",
        "for name in data if data[name] != data[first]]",
        "for name in data if False]",
        _some(_ROLLOUT, "TestJoinLists"),
    ),
    Guard(
        5,
        "the lists lose the address before anybody forgets it",
        f"{PLAN}/steps.py",
        'arrive = ["unlist", *before, "certify",',
        'arrive = [*before, "unlist", "certify",',
        _some(_ROLLOUT, "TestSteps"),
    ),
    Guard(
        5,
        "the lists have the new address before the member is done",
        f"{PLAN}/steps.py",
        '"join", *after, "list", "settle"]',
        '"join", *after, "settle", "list"]',
        _some(_ROLLOUT, "TestSteps"),
    ),
    Guard(
        6,
        "a certificate before the start",
        f"{PLAN}/steps.py",
        '"certify", "admit", "start", "join", *after',
        '"admit", "start", "certify", "join", *after',
        _some(_ROLLOUT, "TestSteps"),
    ),
    Guard(
        6,
        "the CA's key is here before a VM goes",
        f"{PLAN}/pki_place.py",
        'elif recorded and not pki["has_key"]:',
        "elif False:",
        _some(_PKI_PLACE, "recorded_ca_that_is_not_here"),
    ),
    Guard(
        6,
        "a rollout refuses without the recorded CA",
        f"{PLAN}/deployment.py",
        "    conflicts += lost_ca\n",
        "",
        _some(_PKI_PLACE, "every_plan_says_so"),
    ),
    Guard(
        6,
        "no default for the CA inside of a collection",
        f"{PLAN}/pki_place.py",
        "if collection:\n        why",
        "if False:\n        why",
        _some(_PKI_PLACE, "nothing_lasts"),
    ),
    Guard(
        6,
        "no default for the CA in a container",
        f"{PLAN}/pki_place.py",
        'elif reason := (surroundings.throw_away or {}).get(folder, ""):',
        'elif reason := "":',
        _some(_PKI_PLACE, "nothing_lasts"),
    ),
    Guard(
        6,
        "the order of inventories chooses no CA",
        f"{PLAN}/pki_place.py",
        "if len(found) > 1:",
        "if len(found) > 2:",
        _some(_PKI_PLACE, "several_folders"),
    ),
    Guard(
        6,
        "a run that goes on certifies the new address",
        f"{PLAN}/rebind.py",
        'return _new_after(bindings, journal, {"certify"})',
        'return _new_after(bindings, journal, {"start"})',
        _some(_ROLLOUT, "TestResuming"),
    ),
    Guard(
        6,
        "the present address is in the certificate",
        f"{PLAN}/member_certificates.py",
        '_unique([str(binding["address"]), *loopback,',
        "_unique([*loopback,",
        _some(_MEMBERS, "invariant_6"),
    ),
    Guard(
        6,
        "no phase of an exchange of the CA is skipped",
        f"{PLAN}/trust_revisions.py",
        "    if not _begins(phase(trust), wanted):\n",
        "    if False:\n",
        _some(_TRUST_REVISIONS, "no_phase_is_skipped"),
    ),
    Guard(
        6,
        "a CA that was dropped has to be refused",
        f"{PLAN}/trust_revisions.py",
        '**dict.fromkeys(trust["dropped"], False)',
        "",
        _some(_TRUST_REVISIONS, "what_members_are_shown"),
    ),
    Guard(
        6,
        "no CA is to issue whose key is lost",
        f"{PLAN}/trust_revisions.py",
        "    if begins and wanted == ISSUE and not",
        "    if False and not",
        _some(_TRUST_REVISIONS, "whose_key_is_lost"),
    ),
    Guard(
        6,
        "a port that takes any client proves nothing",
        f"{PLAN}/serving.py",
        ".get(stranger.ca) == ACCEPTED",
        ".get(stranger.ca) == REFUSED",
        _some(_SERVING, "takes_every_client"),
    ),
    Guard(
        6,
        "who does not run proves nothing",
        f"{PLAN}/trust_revisions.py",
        "    if not away:\n",
        "    if True:\n",
        _some(_TRUST_REVISIONS, "what_forbids_a_run"),
    ),
    Guard(
        7,
        "a new VM with another member's address",
        f"{PLAN}/successor.py",
        "        if owner:\n",
        "        if False:\n",
        _some(_ROLLOUT, "TestIdentifying"),
    ),
    Guard(
        7,
        "a VM that moved to another member's address",
        f"{PLAN}/successor.py",
        'if holder["member"] not in away:',
        "if False:",
        _some(_ROLLOUT, "TestIdentifying"),
    ),
    Guard(
        7,
        "a deploy on a former member's address",
        f"{PLAN}/new_members.py",
        "if former is not None:",
        "if False:",
        _some(_DEPLOY, "invariant_7"),
    ),
    Guard(
        8,
        "no folder, no start",
        f"{PLAN}/workloads.py",
        '"type": "Directory"}',
        '"type": "DirectoryOrCreate"}',
        _some(_PLACEMENT, "invariant_8"),
    ),
    Guard(
        8,
        "another VM has another folder",
        f"{PLAN}/admission.py",
        "{entry['member']}/{entry['node_uid']}",
        "{entry['member']}",
        _some(_DISK, "invariant_8"),
    ),
    Guard(
        8,
        "a replaced member is admitted anew",
        f"{PLAN}/rebind.py",
        '"admission": "",\n    }\n    return admitted(',
        '"admission": binding["admission"],\n    }\n    return admitted(',
        _some(_ROLLOUT, "TestBindings"),
    ),
    Guard(
        8,
        "admission to a folder with content",
        f"{PLAN}/node_scripts.py",
        '  if [ -n "$(ls -A "$folder")" ]; then',
        "  if false; then",
        _some(_DISK, "invariant_8"),
    ),
    Guard(
        8,
        "an empty disk under the same name and address is told",
        f"{PLAN}/classify.py",
        '    if no_folder:\n        return (\n            "reimaged",',
        '    if False:\n        return (\n            "reimaged",',
        _some(_CLASSIFY, "invariant_8"),
    ),
    Guard(
        8,
        "a disk of the same VM that is not mounted is no empty disk",
        f"{PLAN}/classify.py",
        '        if kind != "reimaged":\n            return kind, empty',
        "        pass",
        _some(_CLASSIFY, "invariant_8"),
    ),
    Guard(
        8,
        "a data disk that was mounted and is not any more",
        f"{PLAN}/disk.py",
        """if (hostnet.get("data_mount") or recorded.get("mounted")) and not seen["mounted"]:""",
        "if False:",
        _some(_DISK, "not_mounted", "required"),
    ),
    Guard(
        8,
        "another disk than the recorded one",
        f"{PLAN}/disk.py",
        """if recorded["filesystem"] != seen["filesystem"] or _differ(recorded["id"], seen["id"]):""",
        "if False:",
        _some(_DISK, "folder_is_not_there"),
    ),
    Guard(
        8,
        "a disk without identity proves nothing",
        f"{PLAN}/disk.py",
        """if not recorded["id"] or recorded["id"] != seen["id"]:""",
        "if False:",
        _some(_DISK, "only_where_that_is_proven"),
    ),
    Guard(
        8,
        "a log that went back is told",
        f"{PLAN}/classify.py",
        "    if older:",
        "    if False:",
        _some(_DISK, "went_back"),
    ),
    Guard(
        8,
        "NATS' log of the meta group is told",
        f"{PLAN}/systems/nats.py",
        """if len(groups) == 1 else {}""",
        "if False else {}",
        _some(f"{UNIT}/test_plan_systems_nats.py", "three_servers"),
    ),
    Guard(
        8,
        "an admission has a random part",
        f"{PLAN}/admission.py",
        "/{nonce}",
        "",
        _some(_DISK, "random_part_and"),
    ),
    Guard(
        8,
        "no folder on the disk below a mount point that has to be mounted",
        f"{PLAN}/node_scripts.py",
        'if [ "$MUST_MOUNT" = true ] && [ "$mounted" = false ]; then',
        "if false; then",
        _some(_DISK, "no_folder_is_made"),
    ),
    Guard(
        8,
        "only a folder whose marker is the recorded member's is deleted",
        f"{PLAN}/node_scripts.py",
        """if proven "$folder" && grep -qxF "member=$MEMBER" "$folder/$marker" && grep -qxF "admission=$ADMISSION_ID" "$folder/$marker"; then""",
        "if true; then",
        _some(_DISK, "says_something_else"),
    ),
    Guard(
        8,
        "what no record names is not deleted",
        f"{PLAN}/node_scripts.py",
        """elif proven "$folder" && [ "$(ls -A "$folder")" = "$marker" ]; then\n    rm "$folder/$marker"\n    rmdir "$folder\"""",
        """elif true; then\n    rm -r "$folder\"""",
        _some(_DISK, "no_record_names"),
    ),
    Guard(
        8,
        "the nodes' own folders are no data root",
        f"{PLAN}/data_root.py",
        "        if _is_system(path):",
        "        if False:",
        _some(_DISK, "system"),
    ),
    Guard(
        9,
        "a node that is not Ready is no dead one",
        f"{PLAN}/classify.py",
        '    if not node["ready"]:\n        return (\n            "unknown",',
        '    if not node["ready"]:\n        return (\n            "missing",',
        _some(_CLASSIFY, "invariant_9"),
    ),
    Guard(
        9,
        "no force against a node that exists",
        f"{PLAN}/rollout.py",
        '"force": bool(pod["node"]) and (kube_cluster, pod["node"]) not in alive,',
        '"force": True,',
        _some(_ROLLOUT, "TestPods"),
    ),
    Guard(
        9,
        "a holder of the lock on another machine may live",
        f"{PLAN}/lock.py",
        "if (holder.host, holder.boot_id, holder.pid_namespace) != (me.host, me.boot_id, me.pid_namespace):",
        "if False:",
        _some(f"{UNIT}/test_plan_lock.py"),
    ),
    Guard(
        9,
        "a process that cannot be looked at may live",
        f"{PLAN}/lock.py",
        "return started is not None and started != holder.started",
        "return started != holder.started",
        _some(f"{UNIT}/test_plan_lock.py"),
    ),
    Guard(
        9,
        "a gate that cannot be evaluated is closed",
        f"{PLAN}/gate.py",
        "        return f\"{say}: cannot be evaluated, {find!r}: {' '.join(str(error).split())}\"",
        '        return ""',
        _some(_GATE, "cannot_be_evaluated"),
    ),
    Guard(
        9,
        "Kubernetes takes no pod from a node that it cannot reach",
        f"{PLAN}/pod.py",
        '"tolerations": STAY_TOLERATIONS + list',
        '"tolerations": list',
        _some(_PLACEMENT, "invariant_9"),
    ),
    Guard(
        9,
        "whom another member sees keeps its place",
        f"{PLAN}/dead.py",
        "if any(live is True for live in told):",
        "if False:",
        _some(_DEAD, "enough"),
    ),
    Guard(
        9,
        "a survivor that cannot tell keeps the place of the other",
        f"{PLAN}/dead.py",
        "elif any(live is None for live in told) and",
        "elif False and",
        _some(_DEAD, "cannot_tell"),
    ),
    Guard(
        9,
        "a majority has to call the other dead",
        f"{PLAN}/gate.py",
        '"find": "untold"}, *_QUORUM]',
        '"find": "untold"}]',
        _some(_DEAD, "nobody_speaks"),
    ),
    Guard(
        9,
        "the old process is looked up by its address too",
        f"{PLAN}/dead.py",
        'return name in ("", str(process["member"])) and same_address(',
        "return False and same_address(",
        _some(_DEAD, "dead_id"),
    ),
    Guard(
        9,
        "a repair proves death before its first change",
        f"{PLAN}/dead.py",
        'if entry["work"] == "repair" and entry["class"] in TAKEN and not',
        "if False and not",
        _some(_DEAD, "asks_again", "dead_host"),
    ),
    Guard(
        9,
        "a repair asks again in its step",
        f"{PLAN}/dead.py",
        'if not record or record.get("class") not in TAKEN',
        'if record or record.get("class") not in TAKEN',
        _some(_DEAD, "asks_again"),
    ),
    Guard(
        9,
        "a taint on a node that is Ready is no word for dead",
        f"{PLAN}/dead.py",
        'return out_of_service(node) and not node["ready"]',
        "return out_of_service(node)",
        _some(_DEAD, "humans_word", "forced"),
    ),
    Guard(
        9,
        "JetStream's open connection is no proof of death",
        f"{PLAN}/systems/nats.py",
        'name not in said["connected"] else None',
        'name not in said["connected"] else False',
        _some(f"{UNIT}/test_plan_systems_nats.py", "cannot_tell"),
    ),
    Guard(
        9,
        "metrics that etcd did not give are no proof of death",
        f"{PLAN}/systems/etcd.py",
        '"live": None if active is None else',
        '"live": False if active is None else',
        _some(f"{UNIT}/test_plan_systems_etcd.py", "three_members"),
    ),
    Guard(
        8,
        "another machine under a node's name is not followed",
        f"{PLAN}/dead.py",
        "    if other_machine:\n        return False\n",
        "",
        _some(_DEAD, "same_vm"),
    ),
    Guard(
        10,
        "each module looks at the lock",
        "plugins/module_utils/_call.py",
        "                still_held()\n",
        "                pass\n",
        _some(_LOCK, "lock_that_was_lost"),
    ),
    Guard(
        10,
        "a write is sent again only while the lock is held",
        "plugins/module_utils/_call.py",
        "cluster.before_again = still_held",
        "pass",
        _some(_FAULTS, "lock_is_held"),
    ),
    Guard(
        10,
        "a lost lock is no conflict",
        f"{CLUSTER}/lock.py",
        "status=423",
        "status=409",
        _some(_FAULTS, "lock_is_held"),
    ),
    Guard(
        10,
        "a write that may have been done is not done again",
        f"{PLAN}/retry.py",
        "if seconds is None or not (safe or failure.undone):",
        "if seconds is None:",
        _some(f"{UNIT}/test_plan_retry.py", "may_have_been_done"),
    ),
    Guard(
        10,
        "the lock is that of this generation",
        f"{CLUSTER}/lock.py",
        'and (seen.holder.run_id, seen.generation) == (lock["holder"], lock["generation"]):',
        'and seen.holder.run_id == lock["holder"]:',
        _some(_LOCK, "verify"),
    ),
    Guard(
        9,
        "something that a dead run has started may still change VMs",
        f"{PLAN}/lock.py",
        "return LEFT if left(seen.holder) else DEAD",
        "return DEAD",
        _some(f"{UNIT}/test_plan_lock.py", "dead_means"),
    ),
    Guard(
        9,
        "a process that cannot be looked at may be a dead run's",
        f"{CLUSTER}/processes.py",
        'return Left(pid, f"process {pid} ({name}), which this user may not look at", sure=False)',
        "return None",
        _some(f"{UNIT}/test_processes.py", "unknown_is_not_dead"),
    ),
    Guard(
        9,
        "silence proves nothing of a run without a heartbeat",
        f"{PLAN}/lock.py",
        "return EXPIRED if 0 < expires_after(seen.holder, me) <= silent else OTHER",
        "return EXPIRED if expires_after(seen.holder, me) <= silent else OTHER",
        _some(f"{UNIT}/test_plan_lock.py", "silence", "each_reason"),
    ),
    Guard(
        9,
        "a run that could not renew for long does so before it changes anything",
        f"{PLAN}/lock.py",
        "return holder.heartbeat > 0 and (age is None or not 0 <= age <= STOPS_AFTER * holder.heartbeat)",
        "return False",
        _some(f"{UNIT}/test_plan_lock.py", "has_to_renew", "seven_intervals"),
    ),
    Guard(
        10,
        "a generation that only a journal knows",
        f"{PLAN}/lock.py",
        "*(entry.generation for entry in seen.values()), *(journals or {}).values()",
        "*(entry.generation for entry in seen.values())",
        _some(f"{UNIT}/test_plan_lock.py", "never_used_again"),
    ),
    Guard(
        10,
        "without every kube cluster a member is brought up and nothing else is done",
        f"{PLAN}/steps.py",
        "itertools.takewhile(lambda name: name in BRING_UP, names)",
        "names",
        _some(_ROLLOUT, "TestBringingUp"),
    ),
    Guard(
        10,
        "a write that failed counts less than the one after it",
        f"{PLAN}/journal.py",
        "+ (2 if after_failure else 1)",
        "+ 1",
        _some(_JOURNAL, "counts_more"),
    ),
    Guard(
        10,
        "a lock that is lost in one kube cluster is lost",
        f"{CLUSTER}/lock.py",
        "    if lost:\n        _raise_all(dict(lost))\n",
        "",
        _some(_LOCK, "in_one_kube_cluster"),
    ),
    Guard(
        10,
        "the journal's writer is the holder",
        f"{PLAN}/journal.py",
        'if journal.get("run_id") != run_id or journal.get("generation") != generation:',
        "if False:",
        _some(_JOURNAL, "resumption"),
    ),
    Guard(
        10,
        "the API server refuses the journal of a former holder",
        f"{CLUSTER}/journal.py",
        '            {"op": "test", "path": GENERATION_PATH, "value": generation},\n',
        "",
        _some("tests/integration/test_rollout_journal.py", "between_renewal_and_write"),
    ),
    Guard(
        10,
        "whoever takes the lock bars the journal to those before",
        f"{CLUSTER}/lock_taking.py",
        "        each_or_raise(clusters, lambda cluster: _fence(cluster, lock, known.get(cluster.name, 0)))\n",
        "",
        _some("tests/integration/test_rollout_journal.py", "between_renewal_and_write"),
    ),
    Guard(
        10,
        "an eviction that is tried again",
        f"{CLUSTER}/drain.py",
        "verify({self.cluster.name: self.cluster}, self.request.lock)",
        "pass",
        _some("tests/integration/test_node_drain.py", "loses_its_lock"),
    ),
    Guard(
        4,
        "a neighbour that nobody named",
        f"{PLAN}/neighbours.py",
        'if share["deployment"] not in named_ones})',
        "if False})",
        _some(_NEIGHBOURS, "refused_unless"),
    ),
    Guard(
        4,
        "a neighbour that is stopped, by its namespace's label",
        f"{PLAN}/neighbours.py",
        "for prefix in (label, stays) if key.startswith(prefix)",
        "for prefix in (label,) if key.startswith(prefix)",
        _some(_NEIGHBOURS, "stopped_member_is_found"),
    ),
    Guard(
        4,
        "a neighbour that is not well",
        f"{PLAN}/neighbours.py",
        'if not entry["healthy"] and str(entry["member"]) not in ours',
        "if False",
        _some(_NEIGHBOURS, "not_well_elsewhere"),
    ),
    Guard(
        4,
        "a neighbour's own rollout",
        f"{PLAN}/neighbours.py",
        'if rollout.get("member"):',
        "if False:",
        _some(_NEIGHBOURS, "rollout_of_its_own"),
    ),
    Guard(
        4,
        "one VM of a neighbour's is replaced in a run",
        f"{PLAN}/neighbours.py",
        'lost += [str(share["deployment"]) for share in mine]',
        "pass",
        _some(_NEIGHBOURS, "ends_with_the_first"),
    ),
    Guard(
        4,
        "a neighbour's gates come before our stop",
        f"{PLAN}/neighbours.py",
        'result.insert(result.index("gate"), "gate_neighbours")',
        'result.append("gate_neighbours")',
        _some(_NEIGHBOURS, "test_reboot"),
    ),
    Guard(
        4,
        "a neighbour that came after the turn had begun",
        f"{PLAN}/neighbours.py",
        "late = [] if stays_up else fresh",
        "late = []",
        _some(_NEIGHBOURS, "who_came_after"),
    ),
    Guard(
        4,
        "a neighbour's kube clusters that are not at hand",
        f"{PLAN}/neighbours.py",
        "    if away:\n",
        "    if False:\n",
        _some(_NEIGHBOURS, "not_at_hand"),
    ),
    Guard(
        4,
        "a pod of another deployment is not evicted",
        f"{PLAN}/drain.py",
        "return Verdict(REFUSE, MEMBER)",
        "pass",
        _some(f"{UNIT}/test_plan_drain.py", "test_judge"),
    ),
    Guard(
        8,
        "a deployment of the same name in another namespace",
        f"{PLAN}/deployment.py",
        "membership_errors(hostnet, observed) + neighbours.namesakes(hostnet, nodes)",
        "membership_errors(hostnet, observed)",
        _some(_NEIGHBOURS, "a_deploy_refuses"),
    ),
    Guard(
        10,
        "the locks of neighbours are verified too",
        f"{CLUSTER}/lock.py",
        '*(lock.get("neighbours") or [])',
        "",
        _some("tests/integration/test_rollout_lock.py", "neighbours"),
    ),
    Guard(
        11,
        "a workload gets another image with its member's turn",
        f"{PLAN}/rollout.py",
        "return member in turns if member else kube_cluster in kube_clusters",
        "return True",
        _some(_ROLLOUT, "another_image"),
    ),
    Guard(
        11,
        "a StatefulSet restarts nobody",
        f"{PLAN}/workloads.py",
        '"podManagementPolicy": "Parallel",\n            "updateStrategy": {"type": "OnDelete"},',
        '"podManagementPolicy": "Parallel",\n            "updateStrategy": {"type": "RollingUpdate"},',
        _some(_PLACEMENT, "invariant_11"),
    ),
    Guard(
        11,
        "a DaemonSet restarts nobody",
        f"{PLAN}/workloads.py",
        '"spec": {\n            "updateStrategy": {"type": "OnDelete"},',
        '"spec": {\n            "updateStrategy": {"type": "RollingUpdate"},',
        _some(_PLACEMENT, "invariant_11"),
    ),
    Guard(
        12,
        "a rollout is not done with settings that are not put back",
        f"{PLAN}/journal.py",
        'if state == DONE and journal["saved"]:',
        "if False:",
        _some(_JOURNAL, "refused", "start_to_end"),
    ),
    Guard(
        12,
        "the value from before the rollout is not overwritten",
        f"{PLAN}/settings.py",
        "for name in differ if name not in saved}",
        "for name in differ}",
        _some(f"{UNIT}/test_plan_settings.py"),
    ),
    Guard(
        12,
        "a setting that cannot be read is not changed",
        f"{PLAN}/settings.py",
        'if answer.get("error") or answer.get("rc") != 0 or not lines:',
        "if not lines:",
        _some(f"{UNIT}/test_plan_settings.py"),
    ),
    Guard(
        12,
        "only our own cordon is taken away",
        f"{PLAN}/drain.py",
        'return Cordon(False, "") if current.owner == owner else current',
        'return Cordon(False, "")',
        _some(f"{UNIT}/test_plan_drain.py", "only_its_owner"),
    ),
    Guard(
        12,
        "a cordon that a human makes meanwhile",
        f"{PLAN}/drain.py",
        '            "resourceVersion": metadata["resourceVersion"],\n',
        "",
        _some("tests/integration/test_node_drain.py", "human_cordon"),
    ),
    Guard(
        13,
        "addresses are compared whole",
        f"{PLAN}/nodes.py",
        "return found is not None and found == peer_address(right)",
        "return left.startswith(right) or right.startswith(left)",
        _some(_ROLLOUT, "compared_whole"),
    ),
    Guard(
        13,
        "the address is the node's, not the pod's",
        f"{PLAN}/workloads.py",
        '"fieldPath": "status.hostIP"',
        '"fieldPath": "status.podIP"',
        _some(_PLACEMENT, "invariant_13"),
    ),
    Guard(
        13,
        "two spellings of one address",
        f"{PLAN}/nodes.py",
        "return str(parse_address(text))",
        "return text",
        _some(f"{UNIT}/test_plan_nodes.py"),
    ),
    Guard(
        14,
        "what looks like a secret in the journal",
        f"{PLAN}/journal.py",
        "    if named:\n",
        "    if False:\n",
        _some(_JOURNAL, "secrets"),
    ),
    Guard(
        14,
        "secrets in a module's result",
        "plugins/module_utils/_call.py",
        "secrets = _list_no_log_values(arguments, params)",
        "secrets = set()",
        _some(f"{UNIT}/test_call.py"),
    ),
    Guard(
        14,
        "a token in the words of a credential plugin that failed",
        f"{CLUSTER}/session/credential.py",
        'text = text.replace(secret, "***")',
        "pass",
        _some(f"{UNIT}/test_session_credentials.py", "a_plugin_that_fails"),
    ),
    Guard(
        14,
        "a key in a temporary file of a process that was killed",
        f"{CLUSTER}/session/client_tls.py",
        'if hasattr(os, "memfd_create"):',
        "if False:",
        _some(f"{UNIT}/test_session_client_tls.py", "keys_go_through_memory"),
    ),
    Guard(
        14,
        "keys of a Secret in a diff",
        f"{PLAN}/diff.py",
        'if shown.get("kind") == "Secret":',
        "if False:",
        _some(f"{UNIT}/test_plan_diff.py"),
    ),
    Guard(
        14,
        "the CA's key never enters a cluster",
        f"{PLAN}/certificate_secrets.py",
        'files[prefix + spec.get("ca_file", "ca.crt")] = ca_certificate(hostnet)',
        'files[prefix + spec.get("ca_file", "ca.crt")] = ca_certificate(hostnet).replace(".crt", ".key")',
        _some(_PLACEMENT, "invariant_14"),
    ),
    Guard(
        8,
        "an admission id in a binding that somebody edited",
        f"{PLAN}/documents.py",
        'if not _ADMISSION.fullmatch(found["admission"]):',
        "if False:",
        _some(_DOCUMENTS, "test_bindings"),
    ),
    Guard(
        7,
        "two members of one node or address in edited bindings",
        f"{PLAN}/documents.py",
        "if other != key:",
        "if False:",
        _some(_DOCUMENTS, "one_place"),
    ),
    Guard(
        10,
        "a journal that somebody edited",
        f"{PLAN}/journal.py",
        "problem = documents.journal_problem(found)",
        'problem = ""',
        _some(_DOCUMENTS, "test_journals"),
    ),
    Guard(
        10,
        "a member in hand that is nobody",
        f"{PLAN}/documents.py",
        'if name not in members and found["work"] != "scale_down":',
        "if False:",
        _some(_DOCUMENTS, "nobody"),
    ),
    Guard(
        2,
        "records that somebody edited",
        f"{CLUSTER}/membership.py",
        "if edited:",
        "if False:",
        _some(f"{UNIT}/test_observe.py", "edited"),
    ),
    Guard(
        4,
        "a timeout or limit below what makes sense",
        f"{PLAN}/settings_check.py",
        "if least is not None and value < least",
        "if False",
        _some(_SETTINGS, "test_what_is_wrong"),
    ),
    Guard(
        1,
        "a text where a list is wanted",
        f"{PLAN}/settings_check.py",
        "if isinstance(value, (list, tuple)) or (name in _TEXT_FOR_LIST and _is_text(value)):",
        "if True:",
        _some(_SETTINGS, "test_what_is_wrong"),
    ),
    Guard(
        8,
        "a misspelt variable",
        f"{PLAN}/settings_check.py",
        "meant = _near(name, options, 0.8)",
        'meant = ""',
        _some(_SETTINGS, "misspelt"),
    ),
    Guard(
        10,
        "a journal of one kube cluster about a member of another one",
        f"{PLAN}/deployment.py",
        "errors += trust.journal_refusals(hostnet, observed, nodes)",
        "errors += []",
        _some(f"{UNIT}/test_trust.py", "refuse_it"),
    ),
    Guard(
        10,
        "a journal that says another place than the member's binding",
        f"{PLAN}/trust.py",
        '    yield from _binding(record, own, observed[home]["members"], home)\n',
        "",
        _some(f"{UNIT}/test_trust.py", "held_to_its_binding"),
    ),
    Guard(
        10,
        "a journal with steps that the member's own kube cluster does not know",
        f"{PLAN}/trust.py",
        "if ahead or len(ours) > len(theirs) + 1:",
        "if False:",
        _some(f"{UNIT}/test_trust.py", "does_not_steer", "only_east"),
    ),
    Guard(
        8,
        "a journal that forgets a member that lives",
        f"{PLAN}/trust.py",
        "if old_id and name != record",
        "if False and name != record",
        _some(f"{UNIT}/test_trust.py", "forgotten"),
    ),
    Guard(
        12,
        "an autoscaler's annotation that somebody else had set",
        f"{PLAN}/held.py",
        "if SCALE_DOWN in annotations and not holders:",
        "if False:",
        _some(f"{UNIT}/test_held.py", "somebody"),
    ),
    Guard(
        12,
        "an autoscaler's annotation that another deployment holds",
        f"{PLAN}/held.py",
        "    if rest:\n",
        "    if False:\n",
        _some(f"{UNIT}/test_held.py", "last_deployment"),
    ),
    Guard(
        9,
        "an image that nothing proves to be on the new VM",
        f"{PLAN}/run.py",
        "code is not None and (code != 0 or not unpulled(pod))",
        "code is not None",
        _some(f"{UNIT}/test_plan_run.py", "tried_to_start_it"),
    ),
    Guard(
        9,
        "a container that there never was proves no image",
        f"{PLAN}/run.py",
        ' or ended.get("reason") != "ContainerStatusUnknown"',
        " or True",
        _some(f"{UNIT}/test_plan_run.py", "tried_to_start_it"),
    ),
    Guard(
        4,
        "an image is pulled before a member stops for it",
        f"{PLAN}/steps.py",
        'pull = ["pull"] if pulls or work == "version" else []',
        "pull: list[str] = []",
        _some(_ROLLOUT, "image_that_changes"),
    ),
    Guard(
        4,
        "a pod that the API server would refuse",
        f"{PLAN}/trial.py",
        "elif _NO_SCOPE in said:",
        "elif False:",
        _some(f"{UNIT}/test_trial.py", "remedy"),
    ),
    Guard(
        1,
        "names that another deployment's workloads have",
        f"{PLAN}/deployment.py",
        "errors += collisions.errors(hostnet, everybody, observed)",
        "pass",
        _some(f"{UNIT}/test_collisions.py", "plan"),
    ),
    Guard(
        1,
        "an object of another deployment is not taken over",
        f"{PLAN}/collisions.py",
        "if owner == mine or (not owner and written_by(live, manager)):",
        "if True:",
        _some(f"{UNIT}/test_collisions.py", "taken_over"),
    ),
)


def _pytest(root: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def _fault(root: Path, guard: Guard) -> str:
    """What is wrong with a guard in this copy, or ""."""
    path = root / guard.file
    whole = path.read_text()
    path.write_text(whole.replace(guard.text, guard.without))
    try:
        code, output = _pytest(root, guard.tests)
    finally:
        path.write_text(whole)
    if code == 0:
        return f"without it all tests pass: {' '.join(guard.tests)}"
    if not _FAILED.search(output):
        return f"its tests did not run (exit code {code}): {' '.join(guard.tests)}\n{output[-2000:]}"
    return ""


def _astray(guard: Guard) -> list[str]:
    """That a guard's text is not where it says: told of all of them at every commit, before somebody relies on one that is none any more."""
    count = (CHECKOUT / guard.file).read_text().count(guard.text)
    return [] if count == 1 else [f"{guard}: its text is {count} times in {guard.file}, not once: {guard.text!r}"]


def _try(guards: list[Guard]) -> list[str]:
    """The faults of these guards, in a copy of their own."""
    faults = []
    with clean_copy() as root:
        for guard in guards:
            began = time.monotonic()
            fault = _fault(root, guard)
            print(f"{guard}: {fault or 'a test fails without it'} ({time.monotonic() - began:.1f} s)", flush=True)
            faults += [f"{guard}: {fault}"] if fault else []
    return faults


def _rotating(guards: list[Guard]) -> list[Guard]:
    """A third of them, another one with each commit; the commit's name gives the same ones again."""
    chosen = part(guards, -(-len(guards) // 3))
    print(f"{len(chosen)} of {len(guards)} guards, chosen by commit {commit() or '(none)'}; make soak tries all", flush=True)
    return chosen


def _unchanged(guards: list[Guard]) -> list[str]:
    """Without a change all of these tests must pass: otherwise a failure says nothing."""
    chosen: dict[str, set[str]] = {}
    for guard in guards:
        chosen.setdefault(guard.tests[0], set()).add(" ".join(guard.tests[2:]))
    faults = []
    with clean_copy() as root:
        for file, words in chosen.items():
            wanted = (file,) if "" in words else (file, "-k", " or ".join(sorted(words)))
            code, output = _pytest(root, wanted)
            faults += [f"unchanged, {' '.join(wanted)} fails (exit code {code}):\n{output[-2000:]}"] if code else []
    return faults


def main() -> None:
    words = sys.argv[1:]
    guards = [guard for guard in GUARDS if not words or words == ["--all"] or any(word in str(guard) for word in words)]
    guards = guards if words else _rotating(guards)
    faults = [f"invariant {number} has no guard here" for number in INVARIANTS if number not in {guard.invariant for guard in GUARDS}]
    faults += [fault for guard in GUARDS for fault in _astray(guard)]
    if faults:
        sys.exit("\n".join(faults))
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda run: run(), (lambda: _unchanged(guards), lambda: _try(guards))):
            faults += found
    for fault in faults:
        print(f"! {fault}")
    print(
        f"{len(guards) - sum(fault.startswith('invariant') for fault in faults)} of {len(guards)} guards are missed by a test when they are out"
    )
    sys.exit(1 if faults or not guards else 0)


if __name__ == "__main__":
    main()
