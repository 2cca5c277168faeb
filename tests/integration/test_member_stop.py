# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module member_stop against a real API server. No kubelet is here: pods with a grace period stay until the test ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import member_stop
from support.in_process import call_module
from support.kube_api import KubeApi
from support.run import PlayRun

Json = dict[str, Any]
Run = Callable[..., Json]

pytestmark = pytest.mark.usefixtures("no_nodes")


def path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def create_pod(kube: KubeApi, namespace: str, name: str, node: str = "") -> str:
    """The UID of a new pod. One that is bound to a node has a grace period, which only its kubelet ends."""
    spec: Json = {"containers": [{"name": "x", "image": "example.test/x:1"}], "terminationGracePeriodSeconds": 30}
    if node:
        spec["nodeName"] = node
    made = kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})
    return str(made["metadata"]["uid"])


def pods_of(kube: KubeApi, namespace: str) -> dict[str, Json]:
    items = kube.request_json("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return {item["metadata"]["name"]: item["metadata"] for item in items}


def end(kube: KubeApi, namespace: str, name: str) -> None:
    """What a kubelet does once the process has ended."""
    kube.request_json("DELETE", path(namespace, name), {"gracePeriodSeconds": 0})


@pytest.fixture
def stop(kube_clusters: list[Json], namespace: str) -> Run:
    def call(*pods: tuple[str, str, str], force: bool = False, timeout: int = 30, check: bool = False, **other: Any) -> Json:
        given = [{"kube_cluster": cluster, "name": name, "uid": uid, "force": force} for cluster, name, uid in pods]
        arguments = {"kube_clusters": kube_clusters, "namespace": namespace, "pods": given, "timeout": timeout, **other}
        return call_module("member_stop", arguments, check=check)

    return call


def test_pods_of_two_kube_clusters_are_deleted_and_those_that_are_gone_are_fine(
    stop: Run, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str
) -> None:
    first = ("east", "a", create_pod(kube_api, namespace, "a"))
    second = ("west", "b", create_pod(kube_api_two, namespace, "b"))
    kept = create_pod(kube_api, namespace, "kept")
    checked = stop(first, second, check=True)
    assert (checked["changed"], set(pods_of(kube_api, namespace))) == (True, {"a", "kept"})
    done = stop(first, second)
    assert done["changed"], done
    assert [(pod["kube_cluster"], pod["name"], pod["uid"]) for pod in done["deleted"]] == [first, second]
    assert {name: pod["uid"] for name, pod in pods_of(kube_api, namespace).items()} == {"kept": kept}
    assert pods_of(kube_api_two, namespace) == {}
    again = stop(first, second)
    assert (again["changed"], again["deleted"]) == (False, [])


@pytest.mark.parametrize("force", [False, True])
def test_a_successor_of_the_same_name_is_untouched(stop: Run, kube_api: KubeApi, namespace: str, force: bool) -> None:
    old = create_pod(kube_api, namespace, "ledger-east-0-0")
    end(kube_api, namespace, "ledger-east-0-0")
    successor = create_pod(kube_api, namespace, "ledger-east-0-0", "east-gone")
    done = stop(("east", "ledger-east-0-0", old), force=force)
    assert (done["changed"], done["deleted"]) == (False, []), done
    (found,) = pods_of(kube_api, namespace).values()
    assert found["uid"] == successor
    assert "deletionTimestamp" not in found


def test_it_waits_for_the_kubelet(stop: Run, kube_api: KubeApi, namespace: str, create_node: Run) -> None:
    create_node(kube_api, "east-1")
    uid = create_pod(kube_api, namespace, "a", "east-1")
    ended = threading.Event()

    def kubelet() -> None:
        while "deletionTimestamp" not in pods_of(kube_api, namespace)["a"]:
            if ended.wait(0.1):
                return
        end(kube_api, namespace, "a")

    thread = threading.Thread(target=kubelet)
    thread.start()
    try:
        done = stop(("east", "a", uid))
    finally:
        ended.set()
        thread.join()
    assert done["changed"], done
    assert pods_of(kube_api, namespace) == {}


def test_nobody_is_forced_while_the_node_object_exists(stop: Run, kube_api: KubeApi, namespace: str, create_node: Run) -> None:
    create_node(kube_api, "east-1")
    uid = create_pod(kube_api, namespace, "a", "east-1")
    done = stop(("east", "a", uid), force=True, timeout=1)
    assert done["failed"]
    assert "after 1 seconds 1 pods are not gone" in done["msg"]
    assert done["missing"] == [f"kube cluster east: pod {namespace}/a on node east-1 is still there; is its kubelet alive?"]
    assert pods_of(kube_api, namespace)["a"]["deletionGracePeriodSeconds"] == 30
    end(kube_api, namespace, "a")


def test_less_time_than_a_pods_own_also_for_one_that_is_stopping(stop: Run, kube_api: KubeApi, namespace: str, create_node: Run) -> None:
    create_node(kube_api, "east-1")
    uid = create_pod(kube_api, namespace, "a", "east-1")
    for seconds, expected in ((None, 30), (7, 7), (20, 7)):
        assert stop(("east", "a", uid), timeout=1, grace_seconds=seconds)["failed"]
        assert pods_of(kube_api, namespace)["a"]["deletionGracePeriodSeconds"] == expected
    assert "grace_seconds is 0" in stop(("east", "a", uid), grace_seconds=0)["msg"]
    end(kube_api, namespace, "a")


@pytest.mark.parametrize("ready", [True, False])
def test_a_pod_is_forced_by_a_humans_word_unless_its_node_is_ready(
    stop: Run, kube_api: KubeApi, namespace: str, create_node: Run, ready: bool
) -> None:
    create_node(kube_api, "east-1")
    merge = "application/merge-patch+json"
    conditions = [{"type": "Ready", "status": str(ready)}]
    kube_api.request_json("PATCH", "/api/v1/nodes/east-1/status", {"status": {"conditions": conditions}}, merge)
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    kube_api.request_json("PATCH", "/api/v1/nodes/east-1", {"spec": {"taints": [taint]}}, merge)
    uid = create_pod(kube_api, namespace, "a", "east-1")
    done = stop(("east", "a", uid), force=True, timeout=2)
    assert bool(done.get("failed")) is ready, done
    assert set(pods_of(kube_api, namespace)) == ({"a"} if ready else set())
    if ready:
        end(kube_api, namespace, "a")


def test_a_pod_whose_node_object_is_gone_is_forced_when_asked(stop: Run, kube_api: KubeApi, namespace: str) -> None:
    uid = create_pod(kube_api, namespace, "a", "east-gone")
    waited = stop(("east", "a", uid), timeout=1)
    assert waited["failed"]
    assert "a" in pods_of(kube_api, namespace)
    done = stop(("east", "a", uid), force=True)
    assert not done.get("failed"), done
    assert pods_of(kube_api, namespace) == {}


def test_what_is_wrong_with_options(stop: Run, kube_api: KubeApi, namespace: str) -> None:
    assert "pods[0].kube_cluster is 'north', which is not in kube_clusters (east, west)" in stop(("north", "a", "u"))["msg"]
    assert "timeout is 0; give at least 1 second" in stop(("east", "a", "u"), timeout=0)["msg"]
    nothing = stop()
    assert (nothing["changed"], nothing["deleted"]) == (False, [])


def test_member_stop_examples(run_tasks: Callable[..., PlayRun], kube_api: KubeApi, kube_clusters: list[Json]) -> None:
    if "hostnet-example" not in {item["metadata"]["name"] for item in kube_api.request_json("GET", "/api/v1/namespaces")["items"]}:
        kube_api.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "hostnet-example"}})
    uid = create_pod(kube_api, "hostnet-example", "example-east-0-0")
    tasks = yaml.safe_load(member_stop.EXAMPLES)
    variables = {"hostnet_kube_clusters": kube_clusters}
    # The example's UID is nobody's: the pod that has the name now is another one.
    run = run_tasks(tasks, variables=variables)
    assert run.rc == 0, run.output
    assert run.of("member_stop")[0]["deleted"] == []
    tasks[0]["hostnet.multicluster.member_stop"]["pods"][0]["uid"] = uid
    run = run_tasks(tasks, variables=variables)
    assert run.rc == 0, run.output
    assert [pod["uid"] for pod in run.of("member_stop")[0]["deleted"]] == [uid]
    assert "example-east-0-0" not in pods_of(kube_api, "hostnet-example")
