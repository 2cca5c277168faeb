# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module rollout_next as a user's Ansible runs it. Whole rollouts, which plan by it, are in test_signs.py, test_follow.py and test_outage.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_next
from support import plans
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}


def test_rollout_next_examples(
    run_tasks: Callable[..., PlayRun], kube_api: KubeApi, no_nodes: None, kube_clusters: list[Json], namespace: str
) -> None:
    create_node(kube_api, "east-1", address="10.0.0.1")
    asked = plans.settings(namespace=namespace, pki={}, absent_ok=[], new_kube_clusters=[], without_kube_clusters=[])
    variables = {"hostnet": {**asked, "kube_clusters": kube_clusters}, "hostnet_spec": SPEC}
    run = run_tasks(yaml.safe_load(rollout_next.EXAMPLES), variables=variables)
    assert run.rc == 0, run.output
    (plan,) = run.of("rollout_next")
    why = f"deployment ledger in namespace {namespace} is not deployed, or not finished: run playbooks/deploy.yml first"
    assert (plan["errors"], plan["members"], plan["changed"], plan["requests"]) == ([why], [], False, 0)
    assert run.tasks[-1].result["msg"] == [why]


def test_what_a_hook_holds_is_shown_nowhere(run_tasks: Callable[..., PlayRun]) -> None:
    task = {
        "name": "Plan",
        "hostnet.multicluster.rollout_next": {
            "hostnet": plans.settings(),
            "spec": {},
            "request": {"work": "replace", "members": [], "hook": "/hook.yml"},
            "hook_text": "- name: x\n  ansible.builtin.uri: {url: https://cloud.example.test, headers: {token: sesame-open}}\n",
        },
        "ignore_errors": True,
    }
    run = run_tasks([task], variables={})
    (plan,) = run.of("rollout_next")
    assert plan["msg"] == "there is no fact hostnet_deployment, hostnet_status, hostnet_inspection: observe the deployment first"
    assert "sesame-open" not in str(plan)
