# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module neighbours_info against real API servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import neighbours_info
from support.in_process import call_module
from support.kube_api import KubeApi
from support.rbac import restricted_user
from support.run import PlayRun

Json = dict[str, Any]


def member(kube: KubeApi, namespace: str, deployment: str, name: str, node: str) -> None:
    labels = {"hostnet.multicluster/deployment": deployment, "hostnet.multicluster/member": name}
    spec = {"nodeName": node, "containers": [{"name": "x", "image": "example.test/x:1"}]}
    body = {"metadata": {"name": f"{deployment}-{name}-0", "labels": labels}, "spec": spec}
    kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", body)


def mine(result: Json, namespace: str) -> list[Json]:
    return [pod for pod in result["pods"] if pod["namespace"] == namespace]


def test_pods_of_all_members_and_what_a_deployment_tells(kube_api: KubeApi, kube_clusters: list[Json], namespace: str) -> None:
    member(kube_api, namespace, "ledger", "east-0", "n1")
    bare = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "x", "image": "example.test/x:1"}]}}
    kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", bare)
    found = call_module("neighbours_info", {"kube_clusters": kube_clusters})
    assert mine(found, namespace) == [
        {
            "kube_cluster": "east",
            "namespace": namespace,
            "name": "ledger-east-0-0",
            "deployment": "ledger",
            "member": "east-0",
            "node": "n1",
        }
    ]
    assert (found["refused"], found["deployments"], found["requests"]) == ({}, [], 2)
    kube_api.request_json(
        "POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "ledger-about"}, "data": {"schema": "1"}}
    )
    wanted = {"name": "ledger", "namespace": namespace}
    told = call_module("neighbours_info", {"kube_clusters": kube_clusters, "deployments": [wanted]})
    answers = {"east": {"about": {"schema": "1"}, "error": ""}, "west": {"about": None, "error": ""}}
    assert (told["pods"], told["deployments"]) == ([], [{**wanted, "kube_clusters": answers}])


def test_what_a_user_may_not_see_is_said_and_no_error(kube_api: KubeApi, namespace: str) -> None:
    entry = restricted_user(kube_api, "hostnet-multicluster-namespace", namespace=namespace)
    found = call_module("neighbours_info", {"kube_clusters": [entry]})
    assert not found.get("failed"), found
    assert "forbidden" in found["refused"]["east"]
    told = call_module("neighbours_info", {"kube_clusters": [entry], "deployments": [{"name": "ledger", "namespace": "kube-system"}]})
    answer = told["deployments"][0]["kube_clusters"]["east"]
    assert answer["about"] is None
    assert "forbidden" in answer["error"]


def test_neighbours_info_examples(run_tasks: Callable[..., PlayRun], kube_clusters: list[Json]) -> None:
    run = run_tasks(yaml.safe_load(neighbours_info.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
