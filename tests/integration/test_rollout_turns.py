# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that decide about one member's turn, as a user's Ansible runs them. What they decide, test_plan_turn.py has in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout
from ansible_collections.hostnet.multicluster.plugins.modules import neighbours_plan, rollout_binding, rollout_take, rollout_undo
from support import plans
from support.run import PlayRun

Json = dict[str, Any]
Tasks = Callable[..., PlayRun]
NODES = [{**node, "boot_id": "b"} for node in plans.five_nodes()]
BINDINGS = plans.admitted(plans.settings(), plans.spec_of("etcd"), NODES)
STEPS = ["cordon", "gate", "stop", "vm", "identify", "start"]
ENTRY: Json = {"member": "east-0", "class": "ok", "work": "replace", "surge": False, "steps": STEPS}
KNOWN: Json = {
    "hostnet_deployment": {"nodes": NODES, "kube_clusters": {}, "plan": {}},
    "hostnet_bindings": BINDINGS,
    "hostnet_inspection": plans.inspected(BINDINGS),
    "hostnet_entry": ENTRY,
}


def test_rollout_take_examples(run_tasks: Tasks) -> None:
    run = run_tasks(yaml.safe_load(rollout_take.EXAMPLES), variables=KNOWN)
    assert run.rc == 0, run.output
    (turn,) = run.of("rollout_take")
    assert (turn["steps"], turn["vm"]["action"], turn["binding"]["member"], turn["changed"]) == (STEPS, "replace", "east-0", False)


@pytest.mark.parametrize(("begun", "says"), [("cordon", "its steps are undone: uncordon"), ("forget", "it has to be finished")])
def test_rollout_undo_examples(run_tasks: Tasks, begun: str, says: str) -> None:
    old = {key: value for key, value in BINDINGS[0].items() if key != "stopped"}
    steps = [{"n": 1, "member": "east-0", "step": begun, "state": "begun"}]
    journal = {"state": "in_flight", "steps": steps, "done": [], "member": {**ENTRY, "old": old, "new": None}}
    tasks = [
        {"name": "Know it", "ansible.builtin.set_fact": {"hostnet_journal": journal, "cacheable": True}},
        *yaml.safe_load(rollout_undo.EXAMPLES),
    ]
    run = run_tasks(tasks, variables={})
    assert run.rc == 0, run.output
    assert run.tasks[-1].result["msg"] == says


def test_rollout_binding_examples(run_tasks: Tasks) -> None:
    run = run_tasks(yaml.safe_load(rollout_binding.EXAMPLES), variables=KNOWN)
    assert run.rc == 0, run.output
    (bound,) = run.of("rollout_binding")
    assert [entry["member"] for entry in bound["bindings"] if entry.get("stopped")] == ["east-0"]


def test_neighbours_plan_examples(run_tasks: Tasks) -> None:
    run = run_tasks(
        yaml.safe_load(neighbours_plan.EXAMPLES), variables={"hostnet_plan": {**rollout.nothing([]), "lines": ["nothing is to be done"]}}
    )
    assert run.rc == 0, run.output
    (planned,) = run.of("neighbours_plan")
    assert (planned["neighbours"], planned["plan"]["members"]) == ([], [])
    assert run.tasks[-1].result["msg"] == ["nothing is to be done"]


def test_neighbours_have_an_answer_each(run_tasks: Tasks) -> None:
    asked = {"hostnet": {}, "plan": {}, "members": {}, "neighbours": [{"name": "other"}], "observed": [], "request": {}}
    run = run_tasks([{"name": "Plan", "hostnet.multicluster.neighbours_plan": asked, "ignore_errors": True}], variables={})
    (planned,) = run.of("neighbours_plan")
    assert planned["msg"] == "observed has 0 entries for 1 neighbours; give one for each, in their order"
