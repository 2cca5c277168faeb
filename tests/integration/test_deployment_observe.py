# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module deployment_observe against real API servers, as a user's Ansible runs it; the playbooks' own tests have it with members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import deployment_observe
from support import plans
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}


@pytest.fixture
def hostnet(kube_clusters: list[Json], namespace: str) -> Json:
    asked = plans.settings(namespace=namespace, pki={}, absent_ok=[], new_kube_clusters=[], without_kube_clusters=[])
    return {**asked, "kube_clusters": kube_clusters}


def test_deployment_observe_examples(run_tasks: Callable[..., PlayRun], kube_api: KubeApi, no_nodes: None, hostnet: Json) -> None:
    create_node(kube_api, "east-1", address="10.0.0.1")
    run = run_tasks(yaml.safe_load(deployment_observe.EXAMPLES), variables={"hostnet": hostnet, "hostnet_spec": SPEC})
    assert run.rc == 0, run.output
    (seen,) = run.of("deployment_observe")
    assert [node["name"] for node in seen["deployment"]["nodes"]] == ["east-1"]
    assert (seen["deployment"]["plan"]["mode"], sorted(seen["deployment"]["kube_clusters"])) == ("first", ["east", "west"])
    assert run.tasks[-1].result["msg"] == ["it is not deployed"]
    assert (seen["bindings"], seen["targets"], seen["inspection"], seen["changed"]) == ([], [], {}, False)


def test_what_is_known_is_not_read_again_and_nobody_gets_a_member_by_no_selector(
    run_tasks: Callable[..., PlayRun], kube_api: KubeApi, no_nodes: None, hostnet: Json
) -> None:
    create_node(kube_api, "east-1", address="10.0.0.1")
    asked = {"kube_clusters": "{{ hostnet.kube_clusters }}", "hostnet": "{{ hostnet }}", "spec": "{{ hostnet_spec }}"}
    facts = {"hostnet_deployment": "{{ first.deployment }}", "hostnet_inspection": {}}
    again = {**asked, "known": True, "ask": True, "inspected": True}
    tasks = [
        {"name": "Nothing is known", "hostnet.multicluster.deployment_observe": {**asked, "known": True}, "ignore_errors": True},
        {"name": "Read", "hostnet.multicluster.deployment_observe": asked, "register": "first"},
        {"name": "Remember", "ansible.builtin.set_fact": facts},
        {"name": "Go by that", "hostnet.multicluster.deployment_observe": again},
    ]
    run = run_tasks(tasks, variables={"hostnet": {**hostnet, "selector_said": False}, "hostnet_spec": SPEC})
    assert run.rc == 0, run.output
    unknown, read, found = run.of("deployment_observe")
    assert unknown["msg"] == "there is no fact hostnet_deployment: nothing is known yet, so leave known out"
    assert [node["selected"] for node in read["deployment"]["nodes"]] == [False]
    assert (read["status"], read["requests"] > 0, found["requests"]) == (None, True, 0)
    assert ("deployment" in found, found["status"]["problems"]) == (False, ["it is not deployed"])


def test_what_is_wrong_is_said_before_anybody_is_asked(run_tasks: Callable[..., PlayRun], hostnet: Json) -> None:
    def said(**changes: Any) -> Any:
        given = {"kube_clusters": hostnet["kube_clusters"], "hostnet": {**hostnet, "join_per_cluster": 0}, "spec": SPEC, **changes}
        run = run_tasks([{"name": "Read", "hostnet.multicluster.deployment_observe": given}])
        (found,) = run.of("deployment_observe")
        assert (found["failed"], found["requests"]) == (True, 0)
        return found["msg"]

    assert said() == "hostnet_join_per_cluster is 0: at least 1 entry per kube cluster is needed"
    without = {key: value for key, value in SPEC.items() if key != "inspect"}
    assert "missing required arguments" in said(check_settings=False, ask=True, spec=without)
    nobody = {**SPEC, "inspect": {**SPEC["inspect"], "filter": "nobody.has.this"}}
    assert "inspect.filter: nobody.has.this cannot be loaded" in said(check_settings=False, ask=True, spec=nobody)
