# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_drain against real API servers. No kubelet and no controller is here: the tests do their work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.drain import CORDONED_BY_ANNOTATION
from ansible_collections.hostnet.multicluster.plugins.modules import node_drain
from support.in_process import call_module
from support.kube_api import KubeApi
from support.rbac import restricted_user

Json = dict[str, Any]
Run = Callable[..., Json]
MERGE = "application/merge-patch+json"
CONTROLLER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "web",
    "uid": "00000000-0000-0000-0000-000000000001",
    "controller": True,
}

pytestmark = pytest.mark.usefixtures("no_nodes")


@pytest.fixture(autouse=True)
def no_pods(kube_api: KubeApi, kube_api_two: KubeApi) -> Iterator[None]:
    """No pod and no budget is left for the next test: a list of pods by node sees all namespaces."""
    yield
    for kube in (kube_api, kube_api_two):
        for path in ("/api/v1", "/apis/policy/v1"):
            kind = "pods" if path == "/api/v1" else "poddisruptionbudgets"
            for item in kube.request_json("GET", f"{path}/{kind}")["items"]:
                metadata = item["metadata"]
                where = f"{path}/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
                kube.request_json("DELETE", where, {"gracePeriodSeconds": 0})
                if metadata.get("finalizers"):
                    kube.request_json("PATCH", where, {"metadata": {"finalizers": None}}, MERGE)


def pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def create_pod(
    kube: KubeApi,
    namespace: str,
    name: str,
    node: str,
    *,
    owner: Json | None = None,
    managed: bool = True,
    labels: Json | None = None,
    annotations: Json | None = None,
    phase: str = "Running",
    empty_dir: bool = False,
    finalizer: bool = False,
) -> None:
    metadata: Json = {"name": name, "labels": labels or {"app": "web"}, "annotations": annotations or {}}
    if owner or managed:
        metadata["ownerReferences"] = [owner or CONTROLLER]
    if finalizer:
        metadata["finalizers"] = ["example.com/kept"]
    spec: Json = {"nodeName": node, "containers": [{"name": "x", "image": "example.test/x:1"}]}
    if empty_dir:
        spec["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata, "spec": spec})
    if not phase:  # no kubelet has seen it yet
        return
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
    kube.request_json("PATCH", pod_path(namespace, name) + "/status", {"status": status}, MERGE)


def create_budget(kube: KubeApi, namespace: str, name: str, allowed: int) -> None:
    body = {"metadata": {"name": name}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}
    kube.request_json("POST", f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", body)
    allow(kube, namespace, name, allowed)


def allow(kube: KubeApi, namespace: str, name: str, allowed: int) -> None:
    """What the disruption controller does once enough pods are ready."""
    status = {"disruptionsAllowed": allowed, "currentHealthy": 2 + allowed, "desiredHealthy": 2, "expectedPods": 3, "observedGeneration": 1}
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{name}/status"
    kube.request_json("PATCH", path, {"status": status}, MERGE)


def cordon(kube: KubeApi, name: str) -> tuple[bool, str | None]:
    node = kube.request_json("GET", f"/api/v1/nodes/{name}")
    return node["spec"].get("unschedulable", False), node["metadata"].get("annotations", {}).get(CORDONED_BY_ANNOTATION)


def pods(kube: KubeApi) -> set[str]:
    return {item["metadata"]["name"] for item in kube.request_json("GET", "/api/v1/pods")["items"]}


def at(*names: str) -> list[Json]:
    """`nodes` of these names; the kube cluster is the first part of each."""
    return [{"kube_cluster": name.split("-")[0], "name": name} for name in names]


@pytest.fixture
def drain(kube_clusters: list[Json]) -> Run:
    """The module in this process, with short times and grace 0, which needs no kubelet."""

    def call(*names: str, check: bool = False, **args: Any) -> Json:
        given = {"kube_clusters": kube_clusters, "state": "drained", "owner": "ledger", "grace_seconds": 0, "timeout": 300}
        return call_module("node_drain", {**given, "nodes": at(*names), **args}, check=check, diff=True)

    return call


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is sent: LIST nodes, WATCH pods, GET nodes, POST eviction, ..."""
    found: Counter[str] = Counter()
    lock = threading.Lock()
    send = client.KubeCluster.send

    def counted(self: Any, method: str, path: str, what: str, **options: Any) -> Any:
        query = dict(options.get("query") or [])
        parts = path.split("/")
        collection = parts[-1] in ("nodes", "pods", "poddisruptionbudgets")
        verb = "WATCH" if query.get("watch") else "LIST" if collection and method == "GET" else method
        with lock:
            found[f"{verb} {parts[-1] if collection or parts[-1] == 'eviction' else parts[-2]}"] += 1
        return send(self, method, path, what, **options)

    monkeypatch.setattr(client.KubeCluster, "send", counted)
    return found


class Later:
    """Does something in another thread once `condition` holds: a controller, a kubelet or a human."""

    def __init__(self, condition: Callable[[], Any], action: Callable[[], Any]) -> None:
        self._condition, self._action = condition, action
        self._end = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._condition():
                if self._end.wait(0.1):
                    return
            self._action()
        except BaseException as error:  # shown by __exit__
            self.error = error

    def __enter__(self) -> Later:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()
        assert self.error is None, self.error


def test_cordon_check_mode_then_change_then_nothing_to_do(
    run_module: Run, kube_clusters: list[Json], kube_api: KubeApi, create_node: Run
) -> None:
    uid = create_node(kube_api, "east-1")["metadata"]["uid"]
    nodes = [{**at("east-1")[0], "uid": uid}]
    args = {"kube_clusters": kube_clusters[:1], "nodes": nodes, "state": "cordoned", "owner": "ledger"}
    checked = run_module("node_drain", args, check=True, diff=True)
    assert (checked["changed"], checked["requests"], cordon(kube_api, "east-1")) == (True, 1, (False, None))
    done = run_module("node_drain", args, diff=True)
    assert (done["changed"], done["requests"], cordon(kube_api, "east-1")) == (True, 2, (True, "ledger"))
    assert done["nodes"] == checked["nodes"]
    assert done["nodes"] == [
        {
            "kube_cluster": "east",
            "name": "east-1",
            "uid": uid,
            "gone": False,
            "changed": True,
            "cordoned": True,
            "unschedulable": True,
            "cordoned_by": "ledger",
            "pods": [],
        }
    ]
    assert done["diff"] == checked["diff"]
    assert done["diff"]["before"] == {"east/east-1": {"unschedulable": False, "cordoned_by": "", "pods": []}}
    assert done["diff"]["after"] == {"east/east-1": {"unschedulable": True, "cordoned_by": "ledger", "pods": []}}
    again = run_module("node_drain", args, diff=True)
    assert (again["changed"], again["requests"]) == (False, 1)
    assert again["nodes"][0]["cordoned"]
    freed = run_module("node_drain", {**args, "state": "uncordoned"})
    assert (freed["changed"], cordon(kube_api, "east-1")) == (True, (False, None))
    assert not run_module("node_drain", {**args, "state": "uncordoned"})["changed"]


def test_cordons_of_others_stay_theirs(drain: Run, kube_api: KubeApi, create_node: Run) -> None:
    create_node(kube_api, "east-human", unschedulable=True)
    create_node(kube_api, "east-other", unschedulable=True, annotations={CORDONED_BY_ANNOTATION: "other"})
    create_node(kube_api, "east-left", annotations={CORDONED_BY_ANNOTATION: "ledger"})
    names = ("east-human", "east-other", "east-left")
    result = drain(*names, state="drained")
    assert [(node["cordoned"], node["unschedulable"], node["cordoned_by"], node["changed"]) for node in result["nodes"]] == [
        (False, True, "", False),
        (False, True, "other", False),
        # Somebody took our cordon away: it is made again.
        (True, True, "ledger", True),
    ]
    result = drain(*names, state="uncordoned")
    assert [node["changed"] for node in result["nodes"]] == [False, False, True]
    assert [cordon(kube_api, name) for name in names] == [(True, None), (True, "other"), (False, None)]


def test_a_human_cordon_made_meanwhile_stays(drain: Run, kube_api: KubeApi, create_node: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    create_node(kube_api, "east-1")
    merge_patch = client.KubeCluster.merge_patch

    def late(self: Any, kind: Any, name: str, patch: Json, *args: Any, **options: Any) -> Json:
        if not cordon(kube_api, name)[0]:
            kube_api.request_json("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}}, MERGE)
        return merge_patch(self, kind, name, patch, *args, **options)

    monkeypatch.setattr(client.KubeCluster, "merge_patch", late)
    result = drain("east-1", state="cordoned")
    assert not result["changed"]
    assert cordon(kube_api, "east-1") == (True, None)


def test_a_node_that_changes_meanwhile_is_looked_at_again(
    drain: Run, kube_api: KubeApi, create_node: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_node(kube_api, "east-1")
    merge_patch = client.KubeCluster.merge_patch
    touches = iter(range(100))

    def touched(self: Any, kind: Any, name: str, patch: Json, *args: Any, **options: Any) -> Json:
        number = next(touches)
        if number < limit:
            kube_api.request_json("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": {"touched": str(number)}}}, MERGE)
        return merge_patch(self, kind, name, patch, *args, **options)

    limit = 2
    monkeypatch.setattr(client.KubeCluster, "merge_patch", touched)
    assert drain("east-1", state="cordoned")["changed"]
    assert cordon(kube_api, "east-1") == (True, "ledger")
    limit = 100
    failed = drain("east-1", state="uncordoned")
    assert failed["msg"].startswith("kube cluster east: Node east-1: another client keeps changing it")


def test_another_vm_under_the_same_name_is_refused(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str) -> None:
    old = create_node(kube_api, "east-1")["metadata"]["uid"]
    kube_api.request_json("DELETE", "/api/v1/nodes/east-1")
    new = create_node(kube_api, "east-1", unschedulable=True, annotations={CORDONED_BY_ANNOTATION: "ledger"})["metadata"]["uid"]
    create_pod(kube_api, namespace, "web-1", "east-1")
    nodes = [{**at("east-1")[0], "uid": old}]
    for state in ("cordoned", "drained"):
        failed = drain(nodes=nodes, state=state)
        assert failed["msg"].startswith(f"kube cluster east: Node east-1: it is another VM now (UID {new}, not {old})")
    freed = drain(nodes=nodes, state="uncordoned")
    assert (freed["changed"], freed["nodes"][0]["gone"], freed["nodes"][0]["uid"]) == (False, True, old)
    assert cordon(kube_api, "east-1") == (True, "ledger")
    assert pods(kube_api) == {"web-1"}


def test_a_node_that_is_replaced_while_it_is_cordoned_is_not_touched(
    drain: Run, kube_api: KubeApi, create_node: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_node(kube_api, "east-1")
    merge_patch = client.KubeCluster.merge_patch

    def replaced(self: Any, kind: Any, name: str, *args: Any, **options: Any) -> Json:
        kube_api.request_json("DELETE", f"/api/v1/nodes/{name}")
        create_node(kube_api, name)
        return merge_patch(self, kind, name, *args, **options)

    monkeypatch.setattr(client.KubeCluster, "merge_patch", replaced)
    assert "it is another VM now" in drain("east-1", state="cordoned")["msg"]
    assert cordon(kube_api, "east-1") == (False, None)


def test_a_node_that_is_gone(drain: Run, kube_api: KubeApi, create_node: Run) -> None:
    create_node(kube_api, "east-1")
    failed = drain("east-1", "east-2")
    assert failed["msg"] == "kube cluster east: Node east-2: there is no such node; correct its name or leave it out"
    assert cordon(kube_api, "east-1") == (False, None)
    freed = drain("east-1", "east-2", state="uncordoned")
    assert [node["gone"] for node in freed["nodes"]] == [False, True]
    assert not freed["changed"]
    left_out = drain("east-1", "east-2", state="cordoned", gone_ok=True)
    assert [node["gone"] for node in left_out["nodes"]] == [False, True]
    assert cordon(kube_api, "east-1") == (True, "ledger")


def test_all_nodes_may_be_uncordoned_and_nothing_else(
    run_module: Run, kube_api: KubeApi, kube_clusters: list[Json], create_node: Run
) -> None:
    create_node(kube_api, "east-human", unschedulable=True)
    create_node(kube_api, "east-ours", unschedulable=True, annotations={CORDONED_BY_ANNOTATION: "ledger"})
    args = {"kube_clusters": kube_clusters, "owner": "ledger"}
    assert "nodes is missing: only state=uncordoned" in run_module("node_drain", {**args, "state": "drained"})["msg"]
    done = run_module("node_drain", {**args, "state": "uncordoned"})
    assert [(node["name"], node["changed"]) for node in done["nodes"]] == [("east-human", False), ("east-ours", True)]
    assert [cordon(kube_api, name) for name in ("east-human", "east-ours")] == [(True, None), (False, None)]


def test_thirty_pods_on_three_nodes_of_two_kube_clusters_with_few_requests(
    drain: Run, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Run, namespace: str, sent: Counter[str]
) -> None:
    for kube, node in ((kube_api, "east-1"), (kube_api, "east-2"), (kube_api_two, "west-1")):
        create_node(kube, node)
        for number in range(10):
            # One of each node is being deleted by somebody else already, which its kubelet has to confirm.
            create_pod(kube, namespace, f"{node}-{number}", node)
        kube.request_json("DELETE", pod_path(namespace, f"{node}-9"), {"gracePeriodSeconds": 30})
    create_node(kube_api, "east-3")
    create_pod(kube_api, namespace, "elsewhere", "east-3")

    def kubelets() -> None:
        for kube, node in ((kube_api, "east-1"), (kube_api, "east-2"), (kube_api_two, "west-1")):
            kube.request_json("DELETE", pod_path(namespace, f"{node}-9"), {"gracePeriodSeconds": 0})

    with Later(lambda: sent["WATCH pods"] >= 2, kubelets):
        result = drain("east-1", "east-2", "west-1")
    assert not result.get("failed"), result
    assert sent == {
        "LIST nodes": 1,  # east
        "GET nodes": 1,  # west
        "LIST pods": 6,  # for each node before it was cordoned, and after
        "PATCH nodes": 3,
        "POST eviction": 27,
        "WATCH pods": 2,  # one in each kube cluster
    }
    assert result["requests"] == sent.total()
    assert pods(kube_api) == {"elsewhere"}
    assert pods(kube_api_two) == set()
    for node in result["nodes"]:
        assert Counter(pod["action"] for pod in node["pods"]) == {"evicted": 9, "awaited": 1}
    assert len(result["diff"]["before"]["west/west-1"]["pods"]) == 9
    assert result["diff"]["after"]["west/west-1"]["pods"] == []
    sent.clear()
    assert not drain("east-1", "east-2", "west-1")["changed"]
    assert sent == {"LIST nodes": 1, "GET nodes": 1, "LIST pods": 3}


def test_what_is_left_alone(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str]) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "a-daemon", "east-1", owner={**CONTROLLER, "kind": "DaemonSet"})
    create_pod(kube_api, namespace, "b-mirror", "east-1", managed=False, annotations={"kubernetes.io/config.mirror": "hash"})
    create_pod(kube_api, namespace, "c-finished", "east-1", managed=False, phase="Succeeded")
    create_pod(kube_api, namespace, "d-member", "east-1", managed=False, labels={"hostnet.multicluster/deployment": "ledger"})
    create_pod(kube_api, namespace, "e-web", "east-1", empty_dir=True)
    result = drain("east-1", exclude="hostnet.multicluster/deployment=ledger")
    assert [(pod["name"], pod["action"], pod["reason"]) for pod in result["nodes"][0]["pods"]] == [
        ("a-daemon", "skipped", "daemonset"),
        ("b-mirror", "skipped", "mirror"),
        ("c-finished", "skipped", "finished"),
        ("d-member", "skipped", "excluded"),
        ("e-web", "evicted", ""),
    ]
    assert pods(kube_api) == {"a-daemon", "b-mirror", "c-finished", "d-member"}
    assert sent["POST eviction"] == 1


def test_pods_that_may_not_go_are_named_before_anything_changes(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "bare", "east-1", managed=False)
    create_pod(kube_api, namespace, "scratch", "east-1", empty_dir=True)
    create_pod(kube_api, namespace, "web", "east-1")
    for check in (True, False):
        failed = drain("east-1", delete_empty_dir=False, check=check)
        assert failed["failures"] == [
            (
                f"kube cluster east: node east-1: pod {namespace}/bare: no controller recreates it elsewhere; delete it (kubectl -n {namespace} delete "
                "pod bare, in this kube cluster), then run the same command again"
            ),
            (
                f"kube cluster east: node east-1: pod {namespace}/scratch: what is in its emptyDir volumes would be lost; set "
                "delete_empty_dir: true, or exclude it"
            ),
        ]
        assert failed["msg"] == "; ".join(failed["failures"])
        assert not failed["changed"]
        assert [pod["action"] for pod in failed["nodes"][0]["pods"]] == ["refused", "refused", "kept"]
        assert cordon(kube_api, "east-1") == (False, None)
    assert pods(kube_api) == {"bare", "scratch", "web"}
    assert drain("east-1", force_unmanaged=True)["changed"]
    assert pods(kube_api) == set()


def test_check_mode_shows_what_a_budget_holds(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str]) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "db", "east-1", labels={"app": "db"})
    create_pod(kube_api, namespace, "web", "east-1")
    create_budget(kube_api, namespace, "web", allowed=0)
    result = drain("east-1", check=True)
    assert result["changed"]
    assert [(pod["name"], pod["action"], pod["budget"]) for pod in result["nodes"][0]["pods"]] == [
        ("db", "evicted", ""),
        ("web", "evicted", f"PodDisruptionBudget {namespace}/web (needs 2 healthy pods and has 2)"),
    ]
    assert result["diff"]["before"]["east/east-1"]["pods"] == [f"{namespace}/db", f"{namespace}/web"]
    assert sent == {"GET nodes": 1, "LIST pods": 1, "LIST poddisruptionbudgets": 1}
    assert cordon(kube_api, "east-1") == (False, None)
    assert pods(kube_api) == {"db", "web"}


def test_an_eviction_that_a_budget_refuses_is_tried_again(
    drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str]
) -> None:
    create_node(kube_api, "east-1")
    for number in (1, 2):
        create_pod(kube_api, namespace, f"web-{number}", "east-1")
    create_budget(kube_api, namespace, "web", allowed=0)
    # One may go once both were refused, the other once the first is gone.
    first = Later(lambda: sent["POST eviction"] >= 4, lambda: allow(kube_api, namespace, "web", 1))
    second = Later(lambda: len(pods(kube_api)) == 1, lambda: allow(kube_api, namespace, "web", 1))
    with first, second:
        result = drain("east-1")
    assert not result.get("failed"), result
    assert pods(kube_api) == set()
    assert {pod["action"] for pod in result["nodes"][0]["pods"]} == {"evicted"}
    # No tight loop: after 1, 2 and 4 seconds at most, one watch in between.
    assert sent["POST eviction"] <= 8
    assert sent["WATCH pods"] <= 4
    assert sent["LIST pods"] == 2
    assert cordon(kube_api, "east-1") == (True, "ledger")


def test_the_deadline_names_pod_and_budget_and_only_our_cordon_is_undone(
    drain: Run, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Run, namespace: str
) -> None:
    create_node(kube_api, "east-1")
    create_node(kube_api, "east-2", unschedulable=True)
    create_node(kube_api, "east-3", unschedulable=True, annotations={CORDONED_BY_ANNOTATION: "ledger"})
    create_node(kube_api_two, "west-1")
    create_pod(kube_api, namespace, "db", "east-1", labels={"app": "db"})
    create_pod(kube_api, namespace, "web", "east-1")
    create_budget(kube_api, namespace, "web", allowed=0)
    names = ("east-1", "east-2", "east-3", "west-1")
    started = time.monotonic()
    failed = drain(*names, timeout=2)
    assert 1.5 < time.monotonic() - started < 120
    assert failed["failed"]
    assert failed["failures"] == [
        (
            f"kube cluster east: node east-1: pod {namespace}/web: PodDisruptionBudget {namespace}/web (needs 2 healthy pods and has 2) allowed no "
            "eviction for 2 s; wait for its other pods to become ready, add one, or change the budget; then run again"
        )
    ]
    assert failed["msg"] == (
        f"{failed['failures'][0]}; node east-1 (kube cluster east) is uncordoned again; node west-1 (kube cluster west) is uncordoned again"
    )
    assert [pod["action"] for pod in failed["nodes"][0]["pods"]] == ["evicted", "kept"]
    assert failed["changed"]
    assert [cordon(kube_api, name) for name in names[:3]] == [(False, None), (True, None), (True, "ledger")]
    assert cordon(kube_api_two, "west-1") == (False, None)
    failed = drain(*names, timeout=1, keep_cordon=True)
    assert "node east-1 (kube cluster east) stays cordoned, as keep_cordon says" in failed["msg"]
    assert cordon(kube_api, "east-1") == (True, "ledger")


def test_a_run_that_loses_its_lock_while_it_waits_changes_nothing_more(
    drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str], kube_clusters: list[Json]
) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "web", "east-1")
    create_budget(kube_api, namespace, "web", allowed=0)
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {"holderIdentity": "run-1", "leaseTransitions": 3}
    kube_api.request_json("POST", leases, {"metadata": {"name": "ledger-rollout"}, "spec": spec})

    def take_over() -> None:
        kube_api.request_json("PATCH", f"{leases}/ledger-rollout", {"spec": {"holderIdentity": "run-2", "leaseTransitions": 4}}, MERGE)
        allow(kube_api, namespace, "web", 1)

    lock = {"name": "ledger", "namespace": namespace, "holder": "run-1", "generation": 3}
    with Later(lambda: sent["POST eviction"], take_over):
        failed = drain("east-1", lock=lock, kube_clusters=kube_clusters[:1])
    assert "the lock of deployment ledger was taken over by run-2" in failed["msg"]
    assert failed["msg"].endswith("node east-1 (kube cluster east) stays cordoned, for the run that has the lock now")
    assert pods(kube_api) == {"web"}
    assert cordon(kube_api, "east-1") == (True, "ledger")


def test_a_pod_that_does_not_end_is_named(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str]) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "web", "east-1", finalizer=True)
    failed = drain("east-1", timeout=2, grace_seconds=7)
    assert (
        f"pod {namespace}/web: is being deleted and was not gone after 2 s (its grace period is 7 s; finalizers example.com/kept)"
        in (failed["msg"])
    )
    assert sent["POST eviction"] == 1
    assert sent["LIST poddisruptionbudgets"] == 0
    assert cordon(kube_api, "east-1") == (False, None)


def test_a_pod_that_comes_meanwhile_has_to_go_as_well(
    drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, sent: Counter[str]
) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "slow", "east-1", finalizer=True)

    def come() -> None:
        # Without a status: it may be gone before one could be written.
        create_pod(kube_api, namespace, "late", "east-1", phase="")
        kube_api.request_json("PATCH", pod_path(namespace, "slow"), {"metadata": {"finalizers": None}}, MERGE)

    with Later(lambda: sent["WATCH pods"], come):
        result = drain("east-1")
    assert not result.get("failed"), result
    assert {(pod["name"], pod["action"]) for pod in result["nodes"][0]["pods"]} == {("slow", "evicted"), ("late", "evicted")}
    assert pods(kube_api) == set()


@pytest.mark.parametrize("status", [200, 410])
def test_a_watch_that_ends_early_is_begun_anew_from_a_list(
    drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, monkeypatch: pytest.MonkeyPatch, sent: Counter[str], status: int
) -> None:
    create_node(kube_api, "east-1", unschedulable=True)
    create_pod(kube_api, namespace, "slow", "east-1", finalizer=True)
    watch = client.KubeCluster.watch
    calls: list[int] = []

    def too_old(self: Any, *args: Any, **options: Any) -> Iterator[tuple[str, Json]]:
        calls.append(1)
        if len(calls) > 1:
            yield from watch(self, *args, **options)
        elif status == 410:
            raise client.KubeError("east", "watch of pods", "too old resource version", 410, "Expired")

    monkeypatch.setattr(client.KubeCluster, "watch", too_old)
    patch = {"metadata": {"finalizers": None}}
    with Later(lambda: sent["WATCH pods"], lambda: kube_api.request_json("PATCH", pod_path(namespace, "slow"), patch, MERGE)):
        result = drain("east-1")
    assert not result.get("failed"), result
    assert (sent["LIST pods"], sent["WATCH pods"], sent["POST eviction"]) == (2, 1, 1)
    assert pods(kube_api) == set()


def test_the_cordon_stays_where_it_cannot_be_undone(
    drain: Run, kube_api: KubeApi, create_node: Run, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "slow", "east-1", finalizer=True)
    merge_patch = client.KubeCluster.merge_patch

    def once(self: Any, kind: Any, name: str, patch: Json, *args: Any, **options: Any) -> Json:
        if patch["spec"]["unschedulable"]:
            return merge_patch(self, kind, name, patch, *args, **options)
        raise client.KubeError("east", f"Node {name}", "no answer from https://192.0.2.1")

    monkeypatch.setattr(client.KubeCluster, "merge_patch", once)
    failed = drain("east-1", timeout=1)
    assert failed["msg"].endswith(
        "node east-1 (kube cluster east) stays cordoned (no answer from https://192.0.2.1); uncordon it with state: uncordoned, owner: ledger"
    )
    assert failed["nodes"][0]["cordoned"]


def test_two_budgets_are_an_error_at_once(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "web", "east-1")
    for name in ("web", "all"):
        create_budget(kube_api, namespace, name, allowed=1)
    started = time.monotonic()
    failed = drain("east-1")
    assert time.monotonic() - started < 120
    assert f"kube cluster east: eviction of pod {namespace}/web: " in failed["msg"]
    assert "more than one PodDisruptionBudget" in failed["msg"]
    assert cordon(kube_api, "east-1") == (False, None)


def test_nothing_is_changed_where_a_kube_cluster_does_not_answer(
    drain: Run, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Run, namespace: str
) -> None:
    create_node(kube_api, "east-1")
    create_node(kube_api_two, "west-1")
    create_pod(kube_api, namespace, "web", "east-1")
    with kube_api_two.paused():
        failed = drain("east-1", "west-1")
    assert failed["msg"].startswith("kube cluster west: Node west-1: no answer from")
    assert cordon(kube_api, "east-1") == (False, None)
    assert pods(kube_api) == {"web"}


def test_wrong_options_cost_no_request(drain: Run) -> None:
    failed = drain("north-1", exclude="a b", owner="")
    assert failed["requests"] == 0
    for part in (
        "kube_clusters has no entry of that name; it has east, west",
        "owner: it is empty",
        "exclude: 'a b' is no label requirement",
    ):
        assert part in failed["msg"]


def test_rights_of_rbac_yaml_suffice_and_each_verb_is_needed(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str) -> None:
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "web", "east-1")
    create_budget(kube_api, namespace, "web", allowed=1)
    role = "hostnet-multicluster-nodes"
    for verb, what in (("patch", "nodes"), ("list", "pods"), ("create", "pods/eviction")):
        failed = drain("east-1", kube_clusters=[restricted_user(kube_api, role, without=verb)])
        assert f'cannot {verb} resource "{what}"' in failed["msg"]
        assert "grant it as docs/rbac.yaml does" in failed["msg"]
        assert cordon(kube_api, "east-1") == (False, None)
    create_pod(kube_api, namespace, "slow", "east-1", labels={"app": "slow"}, finalizer=True)
    failed = drain("east-1", kube_clusters=[restricted_user(kube_api, role, without="watch")])
    assert 'cannot watch resource "pods"' in failed["msg"]
    kube_api.request_json("PATCH", pod_path(namespace, "slow"), {"metadata": {"finalizers": None}}, MERGE)
    result = drain("east-1", kube_clusters=[restricted_user(kube_api, role)])
    assert not result.get("failed"), result
    assert pods(kube_api) == set()


def documented(entry: Json) -> set[str]:
    return set(entry["contains"])


def test_return_is_documented(drain: Run, kube_api: KubeApi, create_node: Run, namespace: str) -> None:
    known = yaml.safe_load(node_drain.RETURN)
    create_node(kube_api, "east-1")
    create_pod(kube_api, namespace, "bare", "east-1", managed=False)
    failed = drain("east-1")
    assert set(known) <= set(failed)
    result = drain("east-1", force_unmanaged=True)
    assert set(known) - {"failures"} <= set(result)
    (node,) = result["nodes"]
    assert set(node) == documented(known["nodes"])
    assert set(node["pods"][0]) == documented(known["nodes"]["contains"]["pods"])


def test_node_drain_examples(
    run_tasks: Callable[..., Any], kube_clusters: list[Json], kube_api: KubeApi, create_node: Run, namespace: str
) -> None:
    create_node(kube_api, "east-worker")
    create_pod(kube_api, namespace, "member", "east-worker", labels={"hostnet.multicluster/deployment": "ledger"})
    create_pod(kube_api, namespace, "web", "east-worker")
    # A kubelet, for pods that end with their own grace period.
    ended = Later(
        lambda: "deletionTimestamp" in kube_api.request_json("GET", pod_path(namespace, "web"))["metadata"],
        lambda: kube_api.request_json("DELETE", pod_path(namespace, "web"), {"gracePeriodSeconds": 0}),
    )
    with ended:
        run = run_tasks(yaml.safe_load(node_drain.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    cordoned, drained, uncordoned = run.of("node_drain")
    assert [entry["changed"] for entry in (cordoned, drained, uncordoned)] == [True, True, True]
    assert [(pod["name"], pod["action"]) for pod in drained["nodes"][0]["pods"]] == [("member", "skipped"), ("web", "evicted")]
    assert pods(kube_api) == {"member"}
    assert cordon(kube_api, "east-worker") == (False, None)
