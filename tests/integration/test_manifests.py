# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module manifests against real API servers.

No controllers run there: readiness is written into the status by the tests, and a deleted namespace stays Terminating
until a test removes its finalizer.
"""

from __future__ import annotations

import base64
import copy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import manifests
from support.in_process import call_module
from support.kube_api import KubeApi

MERGE = "application/merge-patch+json"


def config_map(name: str, namespace: str, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "test"}, **metadata},
        "data": data or {"key": "value"},
    }


def stateful_set(name: str, namespace: str, **container: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "test"}},
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "containers": [
                        {
                            "name": "main",
                            "image": "example.test/image:1",
                            "env": [{"name": "A", "value": "1"}],
                            "ports": [{"name": "client", "containerPort": 2379, "hostPort": 2379}],
                            "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
                            **container,
                        }
                    ],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }


def wanted(kube_cluster: str, definition: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kube_cluster": kube_cluster, "definition": definition, **more}


def actions(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["kube_cluster"], item["name"], item["action"]) for item in result["objects"]]


def secret(name: str, namespace: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "test"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **more}


def namespace_object(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@pytest.fixture
def call(kube_clusters: Any) -> Callable[..., dict[str, Any]]:
    """The module in this process, with both kube clusters."""

    def run(objects: list[dict[str, Any]], *, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        args = {"kube_clusters": kube_clusters, "objects": copy.deepcopy(objects), **options}
        return call_module("manifests", args, check=check, diff=diff)

    return run


def succeeded(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result
    return result


@pytest.fixture
def terminating(kube_api: KubeApi) -> Iterator[str]:
    """A namespace of `east` that is being deleted and, without its controller, never goes."""
    name = f"ending-{time.monotonic_ns()}"
    kube_api.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    kube_api.request_json("DELETE", f"/api/v1/namespaces/{name}")
    yield name
    finalize(kube_api, name)


def finalize(kube: KubeApi, name: str) -> None:
    """What the namespace controller does at the end."""
    if is_terminating(kube, name):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}}
        kube.request_json("PUT", f"/api/v1/namespaces/{name}/finalize", body)


def once(condition: Callable[[], Any], then: Callable[[], Any], seconds: float = 300) -> threading.Thread:
    """Does `then` beside the caller as soon as `condition` holds: however slow the machine is, never before what it waits for."""

    def waiting() -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        then()

    thread = threading.Thread(target=waiting, daemon=True)
    thread.start()
    return thread


def is_terminating(kube: KubeApi, name: str) -> bool:
    live = kube.core().list_namespace(field_selector=f"metadata.name={name}").items
    return bool(live and live[0].metadata.deletion_timestamp)


def test_manifests_apply_is_idempotent_and_reads_little(run_module: Any, kube_clusters: Any, namespace: str) -> None:
    objects = [wanted(kube, config_map(f"c{i}", namespace)) for kube in ("east", "west") for i in range(5)]
    objects += [wanted(kube, stateful_set("s", namespace)) for kube in ("east", "west")]
    args = {"kube_clusters": kube_clusters, "objects": objects}
    first = run_module("manifests", args)
    assert not first.get("failed"), first
    assert first["changed"]
    assert {item["action"] for item in first["objects"]} == {"created"}
    again = run_module("manifests", args)
    assert not again["changed"], again
    assert {item["action"] for item in again["objects"]} == {"unchanged"}
    # In each kube cluster one LIST of ConfigMaps and one GET of the only StatefulSet.
    assert again["requests"] == 4
    for entry in objects:
        if entry["kube_cluster"] == "east" and entry["definition"]["metadata"]["name"] == "c2":
            entry["definition"]["data"]["key"] = "other"
    third = run_module("manifests", args, diff=True)
    assert [item for item in actions(third) if item[2] != "unchanged"] == [("east", "c2", "changed")]
    assert third["requests"] == 5
    assert [(d["before_header"], d["before"], d["after"]) for d in third["diff"]] == [
        (f"east: ConfigMap {namespace}/c2", "data:\n  key: value\n", "data:\n  key: other\n")
    ]


def test_manifests_check_mode_makes_the_same_plan(call: Any, namespace: str) -> None:
    objects = [
        wanted("east", config_map("a", namespace)),
        wanted("west", stateful_set("s", namespace)),
        wanted("west", secret("x", namespace)),
    ]
    planned = succeeded(call(objects, check=True, diff=True))
    done = succeeded(call(objects, diff=True))
    assert planned["changed"]
    assert actions(planned) == actions(done) == [("east", "a", "created"), ("west", "s", "created"), ("west", "x", "created")]
    assert planned["diff"] == done["diff"]
    objects[1]["definition"]["spec"]["template"]["spec"]["containers"][0]["image"] = "example.test/image:2"
    planned = succeeded(call(objects, check=True, diff=True))
    assert actions(planned) == [("east", "a", "unchanged"), ("west", "s", "changed"), ("west", "x", "unchanged")]
    assert [yaml.safe_load(entry["after"]) for entry in planned["diff"]] == [
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.test/image:2"}]}}}}
    ]
    assert call(objects, check=True)["changed"], "check mode changed something"
    assert actions(call(objects)) == actions(planned)
    assert not call(objects, check=True)["changed"]


def test_manifests_check_mode_sees_what_the_server_refuses(call: Any, namespace: str) -> None:
    broken = stateful_set("s", namespace)
    del broken["spec"]["template"]["spec"]["containers"][0]["image"]
    broken["spec"]["selector"]["matchLabels"] = {"other": "label"}
    result = call([wanted("east", broken), wanted("east", config_map("a", namespace))], check=True)
    assert result["failed"]
    assert result["msg"].startswith(f"kube cluster east: StatefulSet {namespace}/s: StatefulSet.apps")
    assert "selector" in result["msg"]


def test_manifests_check_mode_before_the_namespace_exists(call: Any, kube_api: KubeApi) -> None:
    name = f"new-{time.monotonic_ns()}"
    objects = [wanted("east", config_map("a", name)), wanted("east", config_map("b", name)), wanted("east", namespace_object(name))]
    planned = succeeded(call(objects, check=True))
    assert actions(planned) == [("east", "a", "created"), ("east", "b", "created"), ("east", name, "created")]
    assert not kube_api.core().list_namespace(field_selector=f"metadata.name={name}").items
    done = succeeded(call(objects, wait=True))
    assert actions(done) == actions(planned)
    # A GET of the Namespace, a LIST of the ConfigMaps, three PATCHes; readiness was in the answers.
    assert done["requests"] == 5
    missing = call([wanted("east", config_map("a", "not-there"))], check=True)
    assert missing["msg"] == (
        "kube cluster east: ConfigMap not-there/a: namespace not-there does not exist: playbooks/deploy.yml creates a deployment's (a task of yours: "
        "put it into objects)"
    )


def test_manifests_repairs_what_somebody_else_changed(call: Any, kube_api: KubeApi, namespace: str) -> None:
    objects = [wanted("east", config_map("a", namespace)), wanted("east", stateful_set("s", namespace))]
    succeeded(call(objects))
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    kube_api.request_json("PATCH", path, {"data": {"key": "foreign", "more": "kept"}}, MERGE)
    for check in (True, False):
        result = succeeded(call(objects, check=check, diff=True))
        assert actions(result) == [("east", "a", "changed"), ("east", "s", "unchanged")]
        assert [(entry["before"], entry["after"]) for entry in result["diff"]] == [("data:\n  key: foreign\n", "data:\n  key: value\n")]
    assert kube_api.request_json("GET", path)["data"] == {"key": "value", "more": "kept"}
    assert not call(objects)["changed"]


def test_manifests_removes_fields_that_left_the_manifest(call: Any, kube_api: KubeApi, namespace: str) -> None:
    objects = [wanted("east", config_map("a", namespace, {"key": "value", "old": "gone soon"}))]
    succeeded(call(objects))
    del objects[0]["definition"]["data"]["old"]
    result = succeeded(call(objects, diff=True))
    assert actions(result) == [("east", "a", "changed")]
    assert [(entry["before"], entry["after"]) for entry in result["diff"]] == [("data:\n  old: gone soon\n", "")]
    assert kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/a")["data"] == {"key": "value"}


def test_manifests_takes_over_what_another_manager_made(call: Any, kube_api: KubeApi, namespace: str) -> None:
    kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map("a", namespace))
    objects = [wanted("east", config_map("a", namespace))]
    assert actions(call(objects)) == [("east", "a", "changed")]
    assert actions(call(objects)) == [("east", "a", "unchanged")]


def test_manifests_server_decides_whether_a_normalised_value_changed(call: Any, namespace: str) -> None:
    # The server drops a false hostPID: the manifest is never carried, and nothing changes all the same.
    definition = stateful_set("s", namespace)
    definition["spec"]["template"]["spec"]["hostPID"] = False
    objects = [wanted("east", definition)]
    assert actions(succeeded(call(objects))) == [("east", "s", "created")]
    for check in (True, False):
        again = succeeded(call(objects, check=check))
        assert actions(again) == [("east", "s", "unchanged")]
        assert not again["changed"]
        assert again["requests"] == 2


def test_manifests_finds_objects_that_lost_their_labels(call: Any, kube_api: KubeApi, namespace: str) -> None:
    objects = [wanted("east", config_map(name, namespace)) for name in ("a", "b", "c")]
    succeeded(call(objects))
    for name in ("a", "b"):
        path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        kube_api.request_json("PATCH", path, {"metadata": {"labels": None}}, MERGE)
    result = succeeded(call(objects))
    assert actions(result) == [("east", "a", "changed"), ("east", "b", "changed"), ("east", "c", "unchanged")]
    kube_api.request_json("PATCH", f"/api/v1/namespaces/{namespace}/configmaps/a", {"metadata": {"labels": None}}, MERGE)
    assert actions(call(objects))[0] == ("east", "a", "changed")


def test_manifests_never_shows_secrets(call: Any, kube_api: KubeApi, namespace: str, tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    key.write_bytes(b"-----PRIVATE-----\x00\xff")
    objects = [wanted("east", secret("s", namespace, stringData={"password": "a-long-password"}), files={"node.key": str(key)})]
    shown = [call(objects, check=True, diff=True), call(objects, diff=True)]
    stored = kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/secrets/s")["data"]
    assert {name: base64.b64decode(value) for name, value in stored.items()} == {
        "password": b"a-long-password",
        "node.key": key.read_bytes(),
    }
    assert not call(objects)["changed"]
    key.write_bytes(b"-----OTHER-----")
    shown += [
        call(objects, diff=True),
        call(objects, diff=True, prune={"label_selector": "a=b", "kinds": ["Namespace"], "namespace": namespace}),
    ]
    assert actions(shown[2]) == [("east", "s", "changed")]
    assert set(yaml.safe_load(shown[2]["diff"][0]["after"])["data"]) == {"node.key"}
    assert shown[3]["failed"]
    shown.append(call(objects, diff=True, state="absent"))
    for result in shown:
        text = str(result)
        for value in (b"a-long-password", b"-----PRIVATE-----\x00\xff", b"-----OTHER-----"):
            assert value.decode("latin-1") not in text
            assert base64.b64encode(value).decode() not in text
    assert "(sha256:" in str(shown[0]["diff"])


def test_manifests_create_only_leaves_alone(call: Any, kube_api: KubeApi, namespace: str) -> None:
    objects = [wanted("east", config_map("record", namespace, {"id": "1"}), create_only=True)]
    assert actions(call(objects, check=True)) == [("east", "record", "created")]
    assert actions(call(objects)) == [("east", "record", "created")]
    objects[0]["definition"]["data"]["id"] = "2"
    for check in (True, False):
        again = succeeded(call(objects, check=check, diff=True))
        assert actions(again) == [("east", "record", "kept")]
        assert (again["changed"], again["diff"]) == (False, [])
    assert kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/record")["data"] == {"id": "1"}


def test_manifests_prune_only_what_is_ours(call: Any, kube_api: KubeApi, namespace: str) -> None:
    kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map("foreign", namespace))
    objects = [wanted(kube, config_map(name, namespace)) for kube in ("east", "west") for name in ("a", "b", "c")]
    prune = {"label_selector": "app.kubernetes.io/part-of=test", "kinds": ["ConfigMap", "apps/v1/StatefulSet"], "namespace": namespace}
    unlabelled = config_map("unlabelled", namespace)
    del unlabelled["metadata"]["labels"]
    first = succeeded(call([*objects, wanted("east", stateful_set("s", namespace)), wanted("east", unlabelled)], prune=prune))
    assert {item["action"] for item in first["objects"]} == {"created"}
    # Nothing of `west` is wanted any more, and `b` of `east`.
    kept = [objects[0], objects[2]]
    planned = succeeded(call(kept, prune=prune, check=True, diff=True))
    done = succeeded(call(kept, prune=prune, diff=True, wait=True))
    expected = [("east", "b"), ("east", "s"), ("west", "a"), ("west", "b"), ("west", "c")]
    assert [item[:2] for item in actions(done) if item[2] == "deleted"] == expected
    assert actions(planned) == actions(done)
    assert [entry["after"] for entry in done["diff"]] == [""] * 5
    again = succeeded(call(kept, prune=prune))
    assert not again["changed"]
    # Two LISTs in each kube cluster: that of ConfigMaps tells what is live and what may be pruned.
    assert again["requests"] == 4
    names = {item["metadata"]["name"] for item in kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]}
    assert names == {"a", "c", "foreign", "unlabelled"}


def test_manifests_does_not_prune_after_a_failure(call: Any, kube_api: KubeApi, namespace: str) -> None:
    prune = {"label_selector": "app.kubernetes.io/part-of=test", "kinds": ["ConfigMap"], "namespace": namespace}
    succeeded(call([wanted("east", config_map("old", namespace))]))
    bad = config_map("bad", namespace)
    bad["metadata"]["labels"]["x"] = "not a label!"
    worse = copy.deepcopy(bad)
    worse["metadata"]["name"] = "worse"
    result = call([wanted("east", bad), wanted("east", config_map("good", namespace)), wanted("west", worse)], prune=prune)
    assert result["failed"]
    assert result["msg"].startswith(f"kube cluster east: ConfigMap {namespace}/bad: ")
    assert result["msg"].endswith("(and 1 more failed: see failures)")
    assert len(result["failures"]) == 2
    assert actions(result) == [("east", "good", "created")]
    assert kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/old")


def test_manifests_does_not_start_workloads_without_what_they_refer_to(call: Any, kube_api: KubeApi, namespace: str) -> None:
    bad = config_map("bad", namespace, {"not a key!": "x"})
    result = call([wanted("east", stateful_set("s", namespace)), wanted("east", bad), wanted("west", stateful_set("s", namespace))])
    assert result["failed"]
    assert actions(result) == [("west", "s", "created")]
    assert not kube_api.request_json("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets")["items"]


def test_manifests_waits_for_readiness_together(call: Any, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str) -> None:
    objects = [wanted(kube, stateful_set(name, namespace)) for kube in ("east", "west") for name in ("s", "t")]

    def become_ready() -> None:
        for kube in (kube_api, kube_api_two):
            for name in ("s", "t"):
                path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}/status"
                kube.request_json("PATCH", path, {"status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}}, MERGE)

    def created() -> bool:
        path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
        return all(len(kube.request_json("GET", path)["items"]) == 2 for kube in (kube_api, kube_api_two))

    readying = once(created, become_ready)
    # Nothing else makes them ready, so that it ends in time is proof enough that it waited for them.
    result = succeeded(call(objects, wait=True, wait_timeout=300))
    readying.join()
    # Per kube cluster: a LIST by label and, as that finds nothing, one without; two PATCHes; for the wait a LIST and, where that
    # was before they became ready, a watch.
    assert 10 <= result["requests"] <= 12
    # What is ready already costs nothing more.
    assert call(objects, wait=True)["requests"] == 2


def test_manifests_names_what_is_not_ready(call: Any, kube_api: KubeApi, namespace: str) -> None:
    succeeded(call([wanted("east", stateful_set("s", namespace))]))
    owner = kube_api.request_json("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/s")["metadata"]["uid"]
    pod = {
        "metadata": {
            "name": "s-0",
            "namespace": namespace,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": owner}],
        },
        "spec": {"containers": [{"name": "main", "image": "example.test/image:1"}]},
    }
    made = kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    waiting = {
        "name": "main",
        "image": "i",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }
    status = {"status": {"phase": "Pending", "containerStatuses": [waiting]}}
    kube_api.request_json("PATCH", f"/api/v1/namespaces/{namespace}/pods/s-0/status", status, MERGE)
    event = {
        "metadata": {"generateName": "s-0.", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": "s-0", "namespace": namespace, "uid": made["metadata"]["uid"]},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "hostPath type check failed",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/events", event)
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/s/status"
    kube_api.request_json("PATCH", path, {"status": {"observedGeneration": 1, "replicas": 1}}, MERGE)
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": namespace}, "spec": pod["spec"]}
    result = call([wanted("east", stateful_set("s", namespace)), wanted("east", alone)], wait=True, wait_timeout=1)
    assert result["failed"]
    assert sorted(result["failures"]) == [
        f"kube cluster east: Pod {namespace}/alone: not ready after 1 s: phase Pending, not ready; pod alone: phase Pending",
        (
            f"kube cluster east: StatefulSet {namespace}/s: not ready after 1 s: 0 of 1 pods ready; "
            "pod s-0: ContainerCreating (FailedMount: hostPath type check failed)"
        ),
    ]
    # What was applied is reported all the same.
    assert len(result["objects"]) == 2


def test_manifests_in_a_namespace_that_is_being_deleted(call: Any, kube_api: KubeApi, terminating: str) -> None:
    alone = [wanted("east", config_map("a", terminating))]
    assert call(alone)["msg"] == (
        f"kube cluster east: ConfigMap {terminating}/a: namespace {terminating} is being deleted: "
        "run again once it is gone (or put it into objects, with wait: true)"
    )
    objects = [*alone, wanted("east", namespace_object(terminating))]
    for check in (True, False):
        refused = call(objects, check=check)
        assert (
            refused["msg"]
            == f"kube cluster east: Namespace {terminating}: it is being deleted; run again when it is gone, or set wait: true"
        )
    late = call(objects, wait=True, wait_timeout=1)
    assert f"Namespace {terminating}: it is being deleted and was not gone before it could be made anew" in late["msg"]
    assert actions(succeeded(call(objects, wait=True, check=True))) == [("east", "a", "created"), ("east", terminating, "created")]
    # It terminates already, so the run may find it gone as well as see it go.
    timer = once(lambda: True, lambda: finalize(kube_api, terminating))
    assert actions(succeeded(call(objects, wait=True, wait_timeout=300))) == [("east", "a", "created"), ("east", terminating, "created")]
    timer.join()


def test_manifests_absent(call: Any, kube_api: KubeApi, namespace: str) -> None:
    objects = [
        wanted("east", stateful_set("s", namespace)),
        wanted("east", config_map("a", namespace)),
        wanted("west", config_map("a", namespace)),
    ]
    succeeded(call(objects))
    names = [
        wanted(entry["kube_cluster"], {key: entry["definition"][key] for key in ("apiVersion", "kind", "metadata")})
        for entry in [*objects, wanted("east", namespace_object(namespace))]
    ]
    planned = succeeded(call(names, state="absent", check=True, diff=True))
    timer = once(lambda: is_terminating(kube_api, namespace), lambda: finalize(kube_api, namespace))
    done = succeeded(call(names, state="absent", diff=True, wait=True, wait_timeout=300))
    timer.join()
    assert [item[2] for item in actions(done)] == ["deleted"] * 4
    assert (actions(planned), planned["diff"]) == (actions(done), done["diff"])
    again = succeeded(call(names, state="absent", wait=True))
    assert ({item[2] for item in actions(again)}, again["changed"]) == ({"unchanged"}, False)


def test_manifests_absent_names_what_stays(call: Any, kube_api: KubeApi, namespace: str) -> None:
    stuck = config_map("stuck", namespace, finalizers=["example.test/keep"])
    succeeded(call([wanted("east", stuck)]))
    result = call([wanted("east", stuck)], state="absent", wait=True, wait_timeout=1)
    assert result["msg"] == (
        f"kube cluster east: ConfigMap {namespace}/stuck: it is being deleted and was not gone after 1 s (finalizers example.test/keep)"
    )
    # Deleted already: nothing to change, and not there to be applied either.
    again = call([wanted("east", stuck)], state="absent")
    assert (actions(again), again["changed"]) == ([("east", "stuck", "unchanged")], False)
    assert "it is being deleted" in call([wanted("east", stuck)])["msg"]
    kube_api.request_json("PATCH", f"/api/v1/namespaces/{namespace}/configmaps/stuck", {"metadata": {"finalizers": None}}, MERGE)


def test_manifests_changes_nothing_while_a_kube_cluster_does_not_answer(kube_api: KubeApi, kube_clusters: Any, namespace: str) -> None:
    clusters = [kube_clusters[0], {"name": "west", "host": "https://127.0.0.1:1"}]
    objects = [wanted("east", config_map("a", namespace)), wanted("west", config_map("a", namespace))]
    result = call_module("manifests", {"kube_clusters": clusters, "objects": objects})
    assert result["failed"]
    assert result["msg"].startswith("kube cluster west: ConfigMap ")
    assert not kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]


@pytest.mark.parametrize(
    ("objects", "options", "text"),
    [
        ([wanted("north", config_map("a", "n"))], {}, "objects[0].kube_cluster is 'north', which is not in kube_clusters (east, west)"),
        ([wanted("east", {"kind": "ConfigMap"})], {}, "objects[0].definition.metadata is missing"),
        ([wanted("east", config_map("a", "n"))] * 2, {}, "objects[1] and objects[0] are the same object"),
        (
            [wanted("east", secret("a", "n"), files={"k": "/not/there"})],
            {},
            "objects[0].files.k: /not/there cannot be read on the controller",
        ),
        ([wanted("east", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})], {}, "metadata.namespace is missing"),
        (
            [wanted("east", config_map("a", "n", kind="x"))],
            {"state": "absent", "prune": {"label_selector": "a", "kinds": [], "namespace": "n"}},
            "prune and",
        ),
        ([], {"prune": {"label_selector": "a=b", "kinds": ["Nothing"], "namespace": "n"}}, "prune.kinds: 'Nothing' cannot be pruned"),
        ([wanted("east", {"apiVersion": "example.test/v1", "kind": "X", "metadata": {"name": "a"}})], {}, "API version example.test/v1"),
        (
            [wanted("east", {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}})],
            {},
            "v1 X: the API server does not serve this kind",
        ),
    ],
)
def test_manifests_bad_input(call: Any, objects: Any, options: dict[str, Any], text: str) -> None:
    result = call(objects, **options)
    assert result["failed"]
    assert text in result["msg"]


def test_manifests_of_a_kind_that_is_not_built_in(call: Any, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": namespace},
        "spec": {"hard": {"pods": "1000m"}},
    }
    assert actions(succeeded(call([wanted("east", quota)]))) == [("east", "q", "created")]
    assert not call([wanted("east", quota)])["changed"]


def test_manifests_examples(run_tasks: Any, kube_clusters: Any, kube_api: KubeApi, tmp_path: Path) -> None:
    for name in ("node.crt", "node.key"):
        (tmp_path / name).write_text(name)
    tasks = yaml.safe_load(manifests.EXAMPLES)
    run = run_tasks(tasks, variables={"hostnet_kube_clusters": kube_clusters, "pki_dir": str(tmp_path)})
    assert run.rc == 0, run.output
    assert [result["changed"] for result in run.of("manifests")] == [True, True, True]
    assert kube_api.request_json("GET", "/api/v1/namespaces/hostnet-example/secrets/etcd-east-0-certs")["data"]
