# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the role rollout that are more than a pure function under another name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.filter import rollout as filters
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from support import plans

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
NODES = plans.five_nodes()


def test_gates_that_do_not_hold_for_a_work() -> None:
    own = {"gates": {"stop": [{"say": "full", "find": "full", "not_for": ["restart"]}, {"say": "sick", "find": "sick"}]}}
    said = [
        [gate["say"] for gate in filters.gates("stop", own, work) if gate["say"] in ("full", "sick")] for work in ("", "reboot", "restart")
    ]
    assert said == [["full", "sick"], ["full", "sick"], ["sick"]]
    assert all(set(gate) == {"say", "find"} for gate in filters.gates("stop", own))


def errors(hook_text: str | None) -> list[str]:
    """What a plan says about this text of a hook, for a deployment that is not there."""
    request = {"work": "replace", "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False}
    plan = {"mode": "first", "conflicts": [], "members": []}
    nodes: Any = NODES
    seen: Deployment = {"nodes": nodes, "kube_clusters": {}, "plan": plan}
    found = filters.plan(HOSTNET, SPEC, {**request, "hook": "/hook.yml", "hook_text": hook_text}, seen, {"members": []}, None, {})
    return [line for line in found["errors"] if "hostnet_replace_tasks" in line]


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
