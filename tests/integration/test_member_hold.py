# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module member_hold against real API servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import member_hold
from support.in_process import call_module
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]


def deployed(kubes: list[KubeApi], namespace: str, copies: int = 2, uid: str = "") -> None:
    binding = {"member": "east-0", "kube_cluster": "east", "node": "n1", "node_uid": uid}
    other = {"member": "east-1", "kube_cluster": "east", "node": "n2", "node_uid": "x"}
    data = {entry["member"]: json.dumps(entry, sort_keys=True) for entry in (binding, other)}
    for kube in kubes[:copies]:
        kube.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "ledger-members"}, "data": data})
    labels = {"app": "ledger"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "example.test/x:1"}]}}
    spec = {"replicas": 1, "serviceName": "x", "selector": {"matchLabels": labels}, "template": template}
    kubes[0].request_json(
        "POST", f"/apis/apps/v1/namespaces/{namespace}/statefulsets", {"metadata": {"name": "ledger-east-0"}, "spec": spec}
    )


def state(kubes: list[KubeApi], namespace: str, copies: int = 2) -> tuple[list[bool], int]:
    path = f"/api/v1/namespaces/{namespace}/configmaps/ledger-members"
    found = [json.loads(kube.request_json("GET", path)["data"]["east-0"]).get("stopped", False) for kube in kubes[:copies]]
    workload = kubes[0].request_json("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/ledger-east-0")
    return found, workload["spec"]["replicas"]


def hold(kube_clusters: list[Json], namespace: str, wanted: str, check: bool = False, **more: Any) -> Json:
    params = {"name": "ledger", "namespace": namespace, "placement": "node_name", "kube_cluster": "east", "member": "east-0", **more}
    return call_module("member_hold", {"kube_clusters": kube_clusters, **params, "state": wanted}, check=check)


@pytest.mark.parametrize("copies", [1, 2])
def test_recorded_everywhere_and_back(
    kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json], namespace: str, copies: int
) -> None:
    kubes = [kube_api, kube_api_two]
    deployed(kubes, namespace, copies)
    assert hold(kube_clusters, namespace, "released")["changed"] is False
    assert len(hold(kube_clusters, namespace, "stopped", check=True)["done"]) == copies + 1
    assert state(kubes, namespace, copies) == ([False] * copies, 1)
    assert hold(kube_clusters, namespace, "stopped")["changed"]
    assert state(kubes, namespace, copies) == ([True] * copies, 0)
    assert hold(kube_clusters, namespace, "stopped")["changed"] is False
    # A run that was killed between record and workload.
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/ledger-east-0"
    kube_api.request_json("PATCH", path, {"spec": {"replicas": 1}}, "application/merge-patch+json")
    assert len(hold(kube_clusters, namespace, "stopped")["done"]) == 1
    assert hold(kube_clusters, namespace, "released")["changed"]
    assert state(kubes, namespace, copies) == ([False] * copies, 1)


def test_a_daemonsets_member_loses_its_label_and_gets_it_back_on_the_same_vm_alone(
    kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json], namespace: str, no_nodes: None
) -> None:
    uid = create_node(kube_api, "n1", labels={"hostnet.multicluster/ledger": "east-0"})["metadata"]["uid"]
    deployed([kube_api, kube_api_two], namespace, uid=uid)

    def label() -> str | None:
        found: str | None = kube_api.request_json("GET", "/api/v1/nodes/n1")["metadata"]["labels"].get("hostnet.multicluster/ledger")
        return found

    assert hold(kube_clusters, namespace, "stopped", placement="daemonset")["changed"]
    assert label() is None
    assert hold(kube_clusters, namespace, "released", placement="daemonset")["changed"]
    assert label() == "east-0"
    hold(kube_clusters, namespace, "stopped", placement="daemonset")
    kube_api.request_json("DELETE", "/api/v1/nodes/n1")
    create_node(kube_api, "n1")
    assert hold(kube_clusters, namespace, "released", placement="daemonset")["done"] == [
        "record in kube cluster east",
        "record in kube cluster west",
    ]
    assert label() is None, "nobody was admitted to this VM"


def test_one_that_is_not_there(kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json], namespace: str) -> None:
    result = hold(kube_clusters, namespace, "stopped")
    assert result["failed"]
    assert f"kube cluster east: ConfigMap {namespace}/ledger-members: it has no member east-0" in result["msg"]
    assert "which is not in kube_clusters (east, west)" in hold(kube_clusters, namespace, "stopped", kube_cluster="north")["msg"]


def test_member_hold_examples(
    run_tasks: Callable[..., PlayRun], kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[Json]
) -> None:
    for kube in (kube_api, kube_api_two):
        kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "hostnet-ledger"}})
    deployed([kube_api, kube_api_two], "hostnet-ledger")
    run = run_tasks(yaml.safe_load(member_hold.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    assert state([kube_api, kube_api_two], "hostnet-ledger") == ([True, True], 0)
