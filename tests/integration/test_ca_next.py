# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module ca_next as a user's Ansible runs it. Whole exchanges, which plan by it, are in test_rotate_ca.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import ca_next
from support import plans
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}


def test_ca_next_examples(
    run_tasks: Callable[..., PlayRun], kube_api: KubeApi, no_nodes: None, kube_clusters: list[Json], namespace: str
) -> None:
    create_node(kube_api, "east-1", address="10.0.0.1")
    asked = plans.settings(namespace=namespace, pki={}, absent_ok=[], new_kube_clusters=[], without_kube_clusters=[])
    variables = {"hostnet": {**asked, "kube_clusters": kube_clusters}, "hostnet_spec": SPEC}
    run = run_tasks(yaml.safe_load(ca_next.EXAMPLES), variables=variables)
    assert run.rc == 0, run.output
    (plan,) = run.of("ca_next")
    why = "deployment ledger is not deployed, or its first deploy is not finished: run playbooks/deploy.yml"
    assert (plan["begins"], plan["resumes"], plan["lines"], plan["fresh"]) == (False, False, [], "")
    assert (plan["changed"], plan["requests"]) == (False, 0)
    assert plan["errors"][-1] == why
    assert run.tasks[-1].result["msg"] == plan["errors"]


def test_nothing_is_planned_without_what_was_observed(run_tasks: Callable[..., PlayRun]) -> None:
    options = {"hostnet": plans.settings(), "spec": {}, "phase": "trust"}
    run = run_tasks([{"name": "Plan", "hostnet.multicluster.ca_next": options, "ignore_errors": True}], variables={})
    (plan,) = run.of("ca_next")
    assert plan["msg"] == "there is no fact hostnet_deployment, hostnet_targets: observe the deployment first"
