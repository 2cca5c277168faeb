# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to a manifest, and when an object is ready."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import manifests as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.diff import APPLIED_ANNOTATION, applied_hash
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.manifests import Manifest, ManifestError, manifest_from

OURS = "hostnet.multicluster"


def config_map(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"a": "1"}, **more}


def entry(definition: Any, **more: Any) -> dict[str, Any]:
    return {"kube_cluster": "east", "definition": definition, **more}


def loaded(definition: Any, files: dict[str, bytes] | None = None, **more: Any) -> Manifest:
    return manifest_from(entry(definition, **more), "objects[0]", ["east"], files or {})


def test_manifest_names_itself() -> None:
    manifest = loaded(config_map())
    assert manifest.title == "ConfigMap n/c"
    assert manifest.key == ("east", "", "ConfigMap", "n", "c")
    assert loaded({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}).title == "Namespace n"
    applied = manifest.to_apply()
    assert applied["metadata"]["annotations"] == {APPLIED_ANNOTATION: applied_hash(manifest.definition)}
    assert "annotations" not in manifest.definition["metadata"]


def test_nulls_are_not_given() -> None:
    assert loaded(config_map(immutable=None)).definition == config_map()


def test_secret_data_comes_from_definition_and_files() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "n"},
        "stringData": {"t": "text"},
        "data": {"d": "ZA=="},
    }
    manifest = loaded(secret, {"f": b"\x00file"})
    assert manifest.definition["data"] == {"t": "dGV4dA==", "d": "ZA==", "f": base64.b64encode(b"\x00file").decode()}
    assert "stringData" not in manifest.definition
    empty = loaded({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}})
    assert "data" not in empty.definition


@pytest.mark.parametrize(
    ("definition", "more", "files", "text"),
    [
        ("text", {}, {}, "objects[0].definition must be a dictionary"),
        ({}, {}, {}, "definition.metadata is missing"),
        ({"metadata": {}, "kind": "A"}, {}, {}, "definition.apiVersion is missing"),
        ({"apiVersion": "v1", "metadata": {}}, {}, {}, "definition.kind is missing"),
        ({"apiVersion": "v1", "kind": "A", "metadata": {"name": 1}}, {}, {}, "definition.metadata.name is missing"),
        (config_map(), {"kube_cluster": "north"}, {}, "kube_cluster is 'north', which is not in kube_clusters (east)"),
        ({"apiVersion": "v1", "kind": "List", "metadata": {"name": "l"}}, {}, {}, "a List is not an object"),
        (config_map(metadata={"name": "c", "labels": {"a": 1}}), {}, {}, "definition.metadata.labels must map names to strings"),
        (config_map(metadata={"name": "c", "annotations": ["a"]}), {}, {}, "definition.metadata.annotations must map names to strings"),
        (config_map(), {}, {"a": b"b"}, "files is for Secrets only"),
        (config_map(kind="Secret", data="text"), {}, {}, "definition.data must map keys to values"),
        (config_map(kind="Secret"), {}, {"a": b"b"}, "the key a is given both in the definition and in files"),
    ],
)
def test_bad_manifests(definition: Any, more: dict[str, Any], files: dict[str, bytes], text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        loaded(definition, files, **more)
    assert text in str(caught.value)


def test_identity_is_enough_to_delete() -> None:
    item = entry({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}})
    assert manifest_from(item, "objects[0]", ["east"], {}, identity_only=True).name == "s"


def test_objects_given_twice() -> None:
    with pytest.raises(ManifestError, match=r"objects\[1\] and objects\[0\] are the same object, ConfigMap n/c in kube cluster east"):
        plan.check_unique([loaded(config_map()), loaded(config_map(data={}))])
    plan.check_unique([loaded(config_map()), loaded(config_map(kind="Secret", data={}))])


def live_of(manifest: Manifest, **more: Any) -> dict[str, Any]:
    applied = manifest.to_apply()
    metadata = {**applied["metadata"], "uid": "u", "resourceVersion": "1", **more.pop("metadata", {})}
    return {**applied, "metadata": metadata, **more}


def test_decisions() -> None:
    manifest = loaded(config_map())
    created = plan.decide(manifest, None, OURS)
    assert (created.action, created.before, created.after["data"]) == ("created", {}, {"a": "1"})
    assert plan.decide(manifest, live_of(manifest), OURS).action == "unchanged"
    drifted = plan.decide(manifest, live_of(manifest, data={"a": "2"}), OURS)
    assert (drifted.action, drifted.before, drifted.after) == ("verify", {"data": {"a": "2"}}, {"data": {"a": "1"}})
    foreign = plan.decide(manifest, config_map(), OURS)
    assert (foreign.action, foreign.before, foreign.after) == ("changed", {}, {})
    kept = plan.decide(loaded(config_map(data={"a": "9"}), create_only=True), live_of(manifest), OURS)
    assert (kept.action, kept.before, kept.after) == ("kept", {}, {})


def test_a_field_that_left_the_manifest_is_shown() -> None:
    old = loaded(config_map(data={"a": "1", "b": "2"}))
    fields = [{"manager": OURS, "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}}]
    step = plan.decide(loaded(config_map()), live_of(old, metadata={"managedFields": fields}), OURS)
    assert (step.action, step.before, step.after) == ("changed", {"data": {"b": "2"}}, {})


def test_decisions_show_no_secret() -> None:
    def secret(value: str) -> dict[str, Any]:
        return config_map(
            kind="Secret", data={"a": base64.b64encode(value.encode()).decode(), "gone": base64.b64encode(b"gone-secret").decode()}
        )

    old, new = loaded(secret("old-secret")), loaded({**secret("new-secret"), "data": {"a": secret("new-secret")["data"]["a"]}})
    fields = [{"manager": OURS, "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}, "f:gone": {}}}}]
    step = plan.decide(new, live_of(old, metadata={"managedFields": fields}), OURS)
    assert set(step.before) == {"data"}
    assert set(step.before["data"]) == {"a", "gone"}
    assert all(value.startswith("(sha256:") for value in (*step.before["data"].values(), *step.after["data"].values()))
    assert plan.deleted_diff(live_of(old))["data"]["a"].startswith("(sha256:")


def test_managers() -> None:
    fields: list[dict[str, Any]] = [
        {"manager": OURS, "operation": "Apply", "fieldsV1": {"f:a": {}}},
        {"manager": OURS, "operation": "Update", "fieldsV1": {"f:b": {}}},
        {"manager": OURS, "operation": "Apply", "subresource": "status", "fieldsV1": {"f:c": {}}},
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:d": {}}},
    ]
    assert plan.fields_of({"metadata": {"managedFields": fields}}, OURS) == [{"f:a": {}}]
    assert plan.managed_by({"metadata": {"managedFields": fields}}, OURS)
    assert not plan.managed_by({"metadata": {"managedFields": fields[3:]}}, OURS)
    assert not plan.managed_by({"metadata": {}}, OURS)


def test_stages() -> None:
    kinds = ["StatefulSet", "Secret", "Namespace", "Pod", "ServiceAccount", "PodDisruptionBudget"]
    assert sorted(kinds, key=plan.stage) == ["Namespace", "Secret", "ServiceAccount", "PodDisruptionBudget", "StatefulSet", "Pod"]


def test_shared_selector() -> None:
    def labelled(**labels: str) -> Manifest:
        return loaded(config_map(metadata={"name": "c", "labels": {key.replace("_", "/"): value for key, value in labels.items()}}))

    assert plan.shared_selector([labelled(a="1", b="2"), labelled(a="1", b="3")]) == "a=1"
    assert plan.shared_selector([labelled(a="1"), labelled()]) == ""
    assert plan.shared_selector([labelled(b="2", a="1", app_version="7")]) == "a=1,b=2"
    assert plan.shared_selector([]) == ""


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("a=1", True),
        ("a==1, b=2", True),
        ("a", True),
        ("a=2", False),
        ("c", False),
        ("!c", False),
        ("a!=2", False),
        ("a in (1)", False),
        ("", False),
    ],
)
def test_selects_only_where_it_is_sure(selector: str, matches: bool) -> None:
    assert plan.selects(selector, {"a": "1", "b": "2"}) is matches


def test_same_content_ignores_bookkeeping() -> None:
    first = {"metadata": {"name": "a", "resourceVersion": "1", "managedFields": []}, "spec": {"a": 1}, "status": {"x": 1}}
    second = {"metadata": {"name": "a", "resourceVersion": "2", "generation": 3}, "spec": {"a": 1}, "status": {"x": 2}}
    assert plan.same_content(first, second)
    assert not plan.same_content(first, {**second, "spec": {"a": 2}})
    assert not plan.same_content(first, {**second, "metadata": {"name": "a", "labels": {}}})


def workload(kind: str, spec: dict[str, Any], status: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": generation}, "spec": spec, "status": {"observedGeneration": 1, **status}}


ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}
ROLLING = {"updateStrategy": {"type": "RollingUpdate"}}


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (None, "it does not exist"),
        ({"kind": "ConfigMap"}, ""),
        (workload("StatefulSet", {"replicas": 1, **ON_DELETE}, {}), "0 of 1 pods ready"),
        (workload("StatefulSet", {"replicas": 1, **ON_DELETE}, {"readyReplicas": 1}), ""),
        (workload("StatefulSet", {"replicas": 1, **ROLLING}, {"readyReplicas": 1}), "0 of 1 pods updated"),
        (workload("StatefulSet", {"replicas": 1, **ROLLING}, {"readyReplicas": 1, "updatedReplicas": 1}), ""),
        (workload("StatefulSet", {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}}, {"readyReplicas": 2}), ""),
        (workload("StatefulSet", {"replicas": 0}, {}), ""),
        (workload("StatefulSet", {"replicas": 1}, {"readyReplicas": 1}, 2), "its controller has not seen generation 2 yet"),
        (workload("DaemonSet", {}, {}), ""),
        (workload("DaemonSet", {}, {"desiredNumberScheduled": 3, "numberReady": 2}), "2 of 3 pods ready"),
        (workload("DaemonSet", ON_DELETE, {"desiredNumberScheduled": 3, "numberReady": 3}), ""),
        (workload("DaemonSet", ROLLING, {"desiredNumberScheduled": 3, "numberReady": 3}), "0 of 3 pods updated"),
        (workload("DaemonSet", ROLLING, {"desiredNumberScheduled": 3, "numberReady": 3, "updatedNumberScheduled": 3}), ""),
        (workload("Deployment", {"replicas": 1}, {}), "0 of 1 pods available, 0 updated"),
        (workload("Deployment", {}, {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}), ""),
        (workload("Deployment", {}, {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}), "1 of 1 pods available, 1 updated"),
        ({"kind": "Pod", "status": {"phase": "Running"}}, "phase Running, not ready"),
        ({"kind": "Pod", "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}, ""),
        ({"kind": "Pod", "status": {"phase": "Succeeded"}}, ""),
        ({"kind": "Pod"}, "phase Pending, not ready"),
        ({"kind": "Namespace", "status": {"phase": "Active"}}, ""),
        ({"kind": "Namespace", "status": {"phase": "Terminating"}}, "phase Terminating"),
        ({"kind": "Namespace"}, "phase unknown"),
    ],
)
def test_readiness(live: dict[str, Any] | None, reason: str) -> None:
    assert plan.not_ready(live) == reason


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}]},
            "Unschedulable: no node",
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, "ContainerCreating"),
        (
            {"initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}]},
            "ErrImagePull: no such host",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}, "Error (exit code 3)"),
        ({"containerStatuses": [{"name": "main", "state": {"running": {}}, "ready": False}]}, "container main is running and not ready"),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "Evicted: disk"),
        ({"phase": "Pending"}, "phase Pending"),
    ],
)
def test_pod_trouble(status: dict[str, Any], text: str) -> None:
    assert plan.pod_trouble({"status": status}) == text


def test_owned_pods() -> None:
    pod = {"metadata": {"uid": "p", "labels": {"app": "x", "more": "y"}, "ownerReferences": [{"uid": "u"}]}}
    assert plan.owns({"kind": "StatefulSet", "metadata": {"uid": "u"}}, pod)
    assert not plan.owns({"kind": "StatefulSet", "metadata": {"uid": "other"}}, pod)
    assert plan.owns({"kind": "Pod", "metadata": {"uid": "p"}}, pod)
    assert plan.owns({"kind": "Deployment", "metadata": {}, "spec": {"selector": {"matchLabels": {"app": "x"}}}}, pod)
    assert not plan.owns({"kind": "Deployment", "metadata": {}, "spec": {"selector": {}}}, pod)
