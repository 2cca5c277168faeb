# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules for CockroachDB against real API servers, which have no kubelets. test_system_cockroachdb.py has members that answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import cockroachdb_init, cockroachdb_settings, cockroachdb_spec
from support.in_process import call_module
from support.run import PlayRun

Json = dict[str, Any]


def asked(kube_clusters: list[Json], namespace: str) -> Json:
    member = {"member": "east-0", "kube_cluster": "east", "namespace": namespace, "pod": "ledger-east-0"}
    return {
        "hostnet": {"kube_clusters": kube_clusters},
        "hostnet_targets": [member],
        "hostnet_bindings": [{"member": "east-0", "kube_cluster": "east", "zone": "a", "address": "10.0.0.1"}],
        "hostnet_inspection": {"east-0": {"reachable": True, "cluster_id": ""}},
    }


def test_cockroachdb_spec_examples(run_tasks: Callable[..., PlayRun]) -> None:
    run = run_tasks(yaml.safe_load(cockroachdb_spec.EXAMPLES), variables={})
    assert run.rc == 0, run.output
    (made,) = run.of("cockroachdb_spec")
    assert (made["changed"], made["requests"]) == (False, 0)
    assert run.tasks[-1].result["msg"] == ["start", "--log=sinks: {stderr: {filter: INFO}}", "--max-offset=250ms"]


def test_cockroachdb_init_examples(run_tasks: Callable[..., PlayRun], kube_clusters: list[Json], namespace: str) -> None:
    (task,) = yaml.safe_load(cockroachdb_init.EXAMPLES)
    run = run_tasks([{**task, "ignore_errors": True}], variables=asked(kube_clusters, namespace))
    (tried,) = run.of("cockroachdb_init")
    assert (tried["failed"], tried["member"]) == (True, "east-0")
    # There is no such pod.
    assert tried["msg"].startswith("CockroachDB was not initialised on member east-0: failed: ")
    joined = {**asked(kube_clusters, namespace), "hostnet_inspection": {"east-0": {"reachable": True, "cluster_id": "c1d"}}}
    run = run_tasks([task], variables=joined)
    (found,) = run.of("cockroachdb_init")
    assert (found["changed"], found["member"], found["outcome"], found["requests"]) == (False, "east-0", "already", 0)


def test_init_is_refused_before_anybody_is_asked(kube_clusters: list[Json], namespace: str) -> None:
    known = asked(kube_clusters, namespace)
    options = {
        "kube_clusters": kube_clusters,
        "members": known["hostnet_targets"],
        "bindings": [*known["hostnet_bindings"], {"member": "west-0", "kube_cluster": "west", "zone": "a", "address": "10.1.0.1"}],
        "inspection": known["hostnet_inspection"],
        "command": ["init"],
    }
    refused = call_module("cockroachdb_init", options)
    assert "Members without a running container: west-0." in refused["msg"]
    nobody = call_module("cockroachdb_init", {**options, "claimed": ["north-0"]})
    assert nobody["msg"] == "none of the claimed members north-0 exists: deploy them before init"
    assert (refused["requests"], nobody["requests"]) == (0, 0)
    checked = call_module("cockroachdb_init", {**options, "bindings": known["hostnet_bindings"]}, check=True)
    assert (checked["changed"], checked["requests"]) == (True, 0)


def test_cockroachdb_settings_examples(run_tasks: Callable[..., PlayRun], kube_clusters: list[Json], namespace: str) -> None:
    (task,) = yaml.safe_load(cockroachdb_settings.EXAMPLES)
    task["hostnet.multicluster.cockroachdb_settings"]["interval"] = 0.1
    run = run_tasks([{**task, "ignore_errors": True}], variables=asked(kube_clusters, namespace))
    (tried,) = run.of("cockroachdb_settings")
    assert tried["msg"].startswith("No cluster setting of ledger was changed: the cluster settings cannot be read: ")


def test_there_is_somebody_to_ask(kube_clusters: list[Json]) -> None:
    options = {"kube_clusters": kube_clusters, "name": "ledger", "members": [], "settings": {}, "read": ["r"], "write": ["w"]}
    assert call_module("cockroachdb_settings", options)["msg"] == "members is empty: give the member to ask"
