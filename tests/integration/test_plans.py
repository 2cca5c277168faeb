# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that plan by facts, and the one that checks the variables, as a user's Ansible runs them. What they say, unit tests have in full."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import adopt_plan, deployment_changes, lost_plan, settings
from support import plans
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]
Tasks = Callable[..., PlayRun]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}


@pytest.fixture
def variables(kube_api: KubeApi, no_nodes: None, kube_clusters: list[Json], namespace: str) -> Json:
    create_node(kube_api, "east-1", address="10.0.0.1")
    asked = plans.settings(namespace=namespace, pki={}, absent_ok=[], new_kube_clusters=[], without_kube_clusters=[])
    return {"hostnet": {**asked, "kube_clusters": kube_clusters}, "hostnet_spec": SPEC}


def planned(run_tasks: Tasks, module: ModuleType, name: str, variables: Json) -> tuple[Json, Any]:
    """What the example's module returned, and what the example shows. Without facts it plans nothing."""
    examples = yaml.safe_load(module.EXAMPLES)
    plan = next(task for task in examples if f"hostnet.multicluster.{name}" in task)
    run = run_tasks([{**plan, "ignore_errors": True}, *examples], variables=variables)
    assert run.rc == 0, run.output
    unknown, found = run.of(name)
    assert unknown["msg"].startswith("there is no fact hostnet_deployment")
    assert (found["changed"], found["requests"]) == (False, 0)
    return found, run.tasks[-1].result["msg"]


def test_adopt_plan_examples(run_tasks: Tasks, variables: Json) -> None:
    found, shown = planned(run_tasks, adopt_plan, "adopt_plan", {**variables, "hostnet_adopt_cluster_id": 5})
    assert "has no identity record in any kube cluster" in found["errors"][0]
    assert shown[0] == found["errors"][0]


def test_lost_plan_examples(run_tasks: Tasks, variables: Json) -> None:
    found, shown = planned(run_tasks, lost_plan, "lost_plan", {**variables, "hostnet_lost_kube_cluster": "north"})
    assert any("has no complete identity record" in error for error in found["errors"])
    assert shown[0] == found["errors"][0]


def test_deployment_changes_examples(run_tasks: Tasks, variables: Json) -> None:
    issued = {"certificates": [], "ca": {"created": True}}
    found, shown = planned(run_tasks, deployment_changes, "deployment_changes", {**variables, "hostnet_certificates": issued})
    assert [entry["member"] for entry in found["plan"]["admit"]] == ["east-0"]
    assert shown == found["plan"]["lines"]


def test_settings_examples(run_tasks: Tasks) -> None:
    given: Json = {
        "hostnet_system": "etcd",
        "hostnet_kube_clusters": [{"name": "east", "api_key": "sesame-open"}],
        "hostnet_data_root": "//data//x/",
        "hostnet_of_my_own": 1,
    }
    examples = yaml.safe_load(settings.EXAMPLES)
    run = run_tasks(examples, variables=given)
    assert run.rc == 0, run.output
    (found,) = run.of("settings")
    assert (found["system"], found["system_role"], found["data_root"]) == ("etcd", "hostnet.multicluster.system_etcd", "/data/x")
    assert found["kube_clusters"] == [{"name": "east", "secrets_from": "hostnet_kube_clusters"}]
    assert "hostnet_of_my_own is no variable of the collection" in run.tasks[-1].result["msg"][0]
    assert "sesame-open" not in str(run.tasks)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "hostnet_system is not set: give -e hostnet_system=..."),
        (
            {"hostnet_system": "none"},
            'hostnet_system is "none", and there is no role system_none: use one of cockroachdb, etcd, nats, or write that',
        ),
        ({"hostnet_system": "etcd", "hostnet_timeout_seconds": "soon"}, "hostnet_timeout_seconds"),
    ],
)
def test_what_is_wrong_with_a_variable_is_a_failure(run_tasks: Tasks, given: Json, says: str) -> None:
    run = run_tasks([{"name": "Check", "hostnet.multicluster.settings": {}}], variables=given)
    (found,) = run.of("settings")
    assert (found["failed"], found["msg"].startswith(says)) == (True, True), found
