# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollout_next: what it makes of facts, of a hook and of an earlier plan. What it plans, test_plan_rollout.py has in full."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.action import rollout_next as action
from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_next
from support import plans
from support.in_process import call_module

Json = dict[str, Any]
SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
REQUEST = {"work": "replace", "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False, "hook": "/hook.yml"}
# Of a deployment that is not there.
FACTS: Json = {
    "hostnet_deployment": {
        "nodes": plans.five_nodes(),
        "kube_clusters": {},
        "plan": {"mode": "first", "conflicts": [], "members": []},
    },
    "hostnet_status": {"members": []},
    "hostnet_inspection": {},
}


def decide(facts: Json | None = None, **options: Any) -> Json:
    params = {"hostnet": HOSTNET, "spec": SPEC, "request": REQUEST, "hook_text": None, "journal": {}, "before": None, **options}
    return rollout_next.decide(_call.Call(params), action.read_hook, FACTS if facts is None else facts)


def errors(hook_text: str | None) -> list[str]:
    """What a plan says about this text of a hook."""
    return [line for line in decide(hook_text=hook_text)["errors"] if "hostnet_replace_tasks" in line]


@pytest.mark.parametrize(
    "text",
    [
        "- name: x\n  ansible.builtin.command: {argv: [date]}",
        "---\n- ansible.builtin.include_tasks: x.yml\n",
        "- name: x\n  vars: {a: !vault '$ANSIBLE_VAULT;1.1;AES256\n\n  6162', b: !unsafe '{{ x }}'}\n",
    ],
)
def test_hooks_as_ansible_reads_them(text: str) -> None:
    assert not errors(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is no file on the controller"),
        ("", "it must hold a list of Ansible tasks, at least one"),
        ("just words", "it must hold a list of Ansible tasks"),
        ("tasks: []", "it must hold a list of Ansible tasks"),
        ("- name: x\n bad indent: [", "which Ansible cannot read: YAML parsing failed"),
    ],
)
def test_hooks_that_would_fail_with_a_member_down(text: str | None, says: str) -> None:
    (line,) = errors(text)
    assert says in line


def test_what_was_not_observed_is_no_plan() -> None:
    with pytest.raises(_call.Failure, match="there is no fact hostnet_status: observe the deployment first") as failed:
        decide({**FACTS, "hostnet_status": None})
    assert failed.value.result == rollout.nothing([])


def test_what_cannot_be_planned_is_an_error_of_a_whole_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_args: Any) -> Json:
        raise ValueError("two members have one name")

    monkeypatch.setattr(rollout, "rollout_plan", wrong)
    assert decide() == {"changed": False, **rollout.nothing(["two members have one name"])}


def test_a_plan_has_all_that_a_plan_of_nothing_has() -> None:
    """Roles read it after a failure too."""
    assert set(decide()) == {"changed", *rollout.nothing([])}
    assert set(decide(before={**rollout.nothing([]), "shared": True})) == {"changed", "shared", "alone", *rollout.nothing([])}


def test_it_runs_on_the_controller_alone() -> None:
    said = call_module("rollout_next", {"hostnet": HOSTNET, "spec": SPEC, "request": REQUEST})
    assert said["msg"].startswith("rollout_next runs on the controller only")
