# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to each manifest, decided from what is live: no I/O, so that check mode decides the same."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .diff import APPLIED_ANNOTATION, BOOKKEEPING, applied_hash, clean, difference, dropped, merge, redact, visible, without
from .sizes import DATA_BYTES, data_bytes

Json = dict[str, Any]

CREATED, CHANGED, UNCHANGED, DELETED, KEPT = "created", "changed", "unchanged", "deleted", "kept"
# The live object differs from a manifest that was applied before: whether anything really changes, the server knows.
VERIFY = "verify"

_WORKLOADS = frozenset({"Pod", "StatefulSet", "DaemonSet", "Deployment", "ReplicaSet", "Job", "CronJob"})
_WITH_READINESS = frozenset({"StatefulSet", "DaemonSet", "Deployment", "Pod", "Namespace"})


class ManifestError(ValueError):
    """A manifest that cannot be used; the text names the field, the object and the remedy."""


@dataclass(frozen=True)
class Manifest:
    """One wanted object. `definition` has no nulls, no stringData and not our annotation."""

    kube_cluster: str
    definition: Json
    create_only: bool = False

    @property
    def api_version(self) -> str:
        return str(self.definition["apiVersion"])

    @property
    def kind(self) -> str:
        return str(self.definition["kind"])

    @property
    def namespace(self) -> str:
        return str(self.definition["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        return str(self.definition["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.definition["metadata"].get("labels", {})
        return labels

    @property
    def title(self) -> str:
        """`StatefulSet hostnet/etcd-east-0`, as errors and diffs name it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        # Without the API version's version, so that apps/v1 and apps/v1beta1 of one object are the same object.
        group = self.api_version.rpartition("/")[0]
        return (self.kube_cluster, group, self.kind, self.namespace, self.name)

    def to_apply(self) -> Json:
        """The definition with the annotation that lets the next run see that nothing changed."""
        metadata = self.definition["metadata"]
        annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: applied_hash(self.definition)}
        return {**self.definition, "metadata": {**metadata, "annotations": annotations}}


@dataclass(frozen=True)
class Step:
    """What happens to one manifest. `before` and `after` hold the differing fields only, without secrets."""

    manifest: Manifest
    live: Json | None
    action: str
    before: Json
    after: Json


def manifest_from(
    entry: Mapping[str, Any], where: str, kube_clusters: Sequence[str], file_data: Mapping[str, bytes], identity_only: bool = False
) -> Manifest:
    """Check one item of the option `objects` (`where` names it, for example `objects[3]`) and make a Manifest of it.

    `file_data` is the content of its `files`. With `identity_only` nothing but kind and name is needed (deletion).
    Raises ManifestError.
    """
    definition = clean(entry.get("definition"))
    if not isinstance(definition, dict):
        raise ManifestError(f"{where}.definition must be a dictionary, the manifest of one object")
    metadata = definition.get("metadata")
    if not isinstance(metadata, dict):
        raise ManifestError(f"{where}.definition.metadata is missing; give at least metadata.name")
    for field, holder, name in (
        ("apiVersion", definition, "apiVersion"),
        ("kind", definition, "kind"),
        ("metadata.name", metadata, "name"),
    ):
        if not isinstance(holder.get(name), str) or not holder[name]:
            raise ManifestError(f"{where}.definition.{field} is missing; every object needs apiVersion, kind and metadata.name")
    kube_cluster = str(entry.get("kube_cluster", ""))
    if kube_cluster not in kube_clusters:
        raise ManifestError(f"{where}.kube_cluster is {kube_cluster!r}, which is not in kube_clusters ({', '.join(kube_clusters)})")
    manifest = Manifest(kube_cluster, definition, bool(entry.get("create_only")))
    title = f"{where} ({manifest.title} in kube cluster {kube_cluster})"
    if definition["kind"] == "List":
        raise ManifestError(f"{title}: a List is not an object; give each of its items as an object of its own")
    for field in ("labels", "annotations"):
        values = metadata.get(field, {})
        if not isinstance(values, dict) or any(not isinstance(value, str) for value in values.values()):
            raise ManifestError(f"{title}: definition.metadata.{field} must map names to strings; put quotes around numbers and booleans")
    if file_data and manifest.kind != "Secret":
        raise ManifestError(f"{title}: files is for Secrets only")
    if identity_only:
        return manifest
    if manifest.kind == "Secret":
        _fill_secret(definition, file_data, title)
    data = data_bytes(definition) if manifest.kind in ("ConfigMap", "Secret") and isinstance(definition.get("data", {}), dict) else 0
    if data > DATA_BYTES:
        raise ManifestError(
            f"{title}: its data is {data} bytes long, and Kubernetes takes {DATA_BYTES} of a {manifest.kind}; nothing was changed"
        )
    return manifest


def _fill_secret(definition: Json, file_data: Mapping[str, bytes], title: str) -> None:
    # The API server turns stringData into data and never shows it again: only data can be compared later.
    for field in ("data", "stringData"):
        if not isinstance(definition.get(field, {}), dict):
            raise ManifestError(f"{title}: definition.{field} must map keys to values")
    data = dict(definition.get("data", {}))
    for key, text in definition.pop("stringData", {}).items():
        data[key] = base64.b64encode(str(text).encode()).decode()
    for key, content in file_data.items():
        if key in data:
            raise ManifestError(f"{title}: the key {key} is given both in the definition and in files; give it once")
        data[key] = base64.b64encode(content).decode()
    if data:
        definition["data"] = data


def check_unique(manifests: Sequence[Manifest]) -> None:
    """Raise ManifestError where one object is given twice: the second would undo the first on every run."""
    seen: dict[tuple[str, ...], int] = {}
    for index, manifest in enumerate(manifests):
        if manifest.key in seen:
            raise ManifestError(
                f"objects[{index}] and objects[{seen[manifest.key]}] are the same object, "
                f"{manifest.title} in kube cluster {manifest.kube_cluster}; give it once"
            )
        seen[manifest.key] = index


def decide(manifest: Manifest, live: Json | None, manager: str) -> Step:
    """The step for one manifest whose live object is `live` (None: there is none). `manager` is our field manager."""
    if live is None:
        return Step(manifest, live, CREATED, {}, redact(manifest.definition))
    if manifest.create_only:
        return Step(manifest, live, KEPT, {}, {})
    recorded = live.get("metadata", {}).get("annotations", {}).get(APPLIED_ANNOTATION)
    same_manifest = recorded == applied_hash(manifest.definition)
    differs = difference(manifest.definition, live)
    if same_manifest and differs is None:
        return Step(manifest, live, UNCHANGED, {}, {})
    changed_fields = difference(redact(manifest.definition), redact(live))
    before, after = changed_fields if changed_fields else ({}, {})
    for owned in fields_of(live, manager):
        before = merge(before, redact_like(dropped(owned, manifest.definition, live), live))
    return Step(manifest, live, VERIFY if same_manifest else CHANGED, before, after)


def redact_like(part: Any, whole: Mapping[str, Any]) -> Any:
    """Redact a part of an object that no longer says which kind it is."""
    if not isinstance(part, Mapping):
        return part
    shown = redact({**part, "kind": whole.get("kind")})
    if "kind" not in part:
        del shown["kind"]
    return shown


def fields_of(live: Mapping[str, Any], manager: str) -> list[Json]:
    """The `fieldsV1` of everything that `manager` applied to this object (not what it wrote to subresources)."""
    return [
        entry["fieldsV1"]
        for entry in live.get("metadata", {}).get("managedFields", ())
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource") and "fieldsV1" in entry
    ]


def managed_by(live: Mapping[str, Any], manager: str) -> bool:
    """True where `manager` wrote any field of this object."""
    return any(entry.get("manager") == manager for entry in live.get("metadata", {}).get("managedFields", ()))


def stage(kind: str) -> int:
    """When a kind is created: Namespaces (0), then what workloads refer to (1), then workloads (2)."""
    if kind == "Namespace":
        return 0
    return 2 if kind in _WORKLOADS else 1


def shared_selector(manifests: Sequence[Manifest]) -> str:
    """A label selector that finds all these manifests, or `` where they share no label."""
    common = dict(manifests[0].labels) if manifests else {}
    for manifest in manifests:
        common = {key: value for key, value in common.items() if manifest.labels.get(key) == value}
    # A version label changes with each upgrade: it would hide what is live.
    return ",".join(f"{key}={value}" for key, value in sorted(common.items()) if "version" not in key and "chart" not in key)


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """True where a label selector made of `key=value` and `key` alone certainly matches; False also for any other selector."""
    for term in selector.split(","):
        key, equals, value = (part.strip() for part in term.replace("==", "=").partition("="))
        if not re.fullmatch(r"[A-Za-z0-9._/-]+", key) or key not in labels or (equals and labels[key] != value):
            return False
    return True


def same_content(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """True where two versions of a live object differ in bookkeeping only. Tells what a dry run would have changed."""
    pair = []
    for value in (first, second):
        plain = {key: item for key, item in value.items() if key != "status"}
        plain["metadata"] = without(value.get("metadata", {}), BOOKKEEPING)
        pair.append(plain)
    return pair[0] == pair[1]


def has_readiness(kind: str) -> bool:
    """False for kinds that are ready as soon as they exist."""
    return kind in _WITH_READINESS


def not_ready(live: Json | None) -> str:
    """Why an object is not ready yet, or `` when it is (or when its kind has no readiness)."""
    if live is None:
        return "it does not exist"
    kind, spec, status = live.get("kind"), live.get("spec") or {}, live.get("status") or {}
    if kind in ("StatefulSet", "DaemonSet", "Deployment"):
        generation = int(live.get("metadata", {}).get("generation", 0))
        if int(status.get("observedGeneration", 0)) < generation:
            return f"its controller has not seen generation {generation} yet"
    if kind == "StatefulSet":
        return _stateful_set(spec, status)
    if kind == "DaemonSet":
        wanted, ready = int(status.get("desiredNumberScheduled", 0)), int(status.get("numberReady", 0))
        if ready != wanted:
            return f"{ready} of {wanted} pods ready"
        updated = int(status.get("updatedNumberScheduled", 0))
        if updated < wanted and _strategy(spec) != "OnDelete":
            return f"{updated} of {wanted} pods updated"
        return ""
    if kind == "Deployment":
        wanted, updated, available = (
            int(spec.get("replicas", 1)),
            int(status.get("updatedReplicas", 0)),
            int(status.get("availableReplicas", 0)),
        )
        if updated < wanted or available < wanted or int(status.get("replicas", 0)) > updated:
            return f"{available} of {wanted} pods available, {updated} updated"
        return ""
    if kind == "Pod":
        phase = status.get("phase", "Pending")
        ready_now = any(
            condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions", ())
        )
        return "" if ready_now or phase == "Succeeded" else f"phase {phase}, not ready"
    if kind == "Namespace":
        phase = status.get("phase", "")
        return "" if phase == "Active" else f"phase {phase or 'unknown'}"
    return ""


def _stateful_set(spec: Json, status: Json) -> str:
    wanted, ready = int(spec.get("replicas", 1)), int(status.get("readyReplicas", 0))
    if ready != wanted:
        return f"{ready} of {wanted} pods ready"
    # With OnDelete old pods stay until somebody deletes them: that is not for us to wait for.
    if _strategy(spec) != "OnDelete" and not (spec.get("updateStrategy") or {}).get("rollingUpdate", {}).get("partition"):
        updated = int(status.get("updatedReplicas", 0))
        if wanted and updated < wanted:
            return f"{updated} of {wanted} pods updated"
    return ""


def _strategy(spec: Json) -> str:
    return str((spec.get("updateStrategy") or {}).get("type", ""))


def pod_trouble(pod: Mapping[str, Any]) -> str:
    """Why a pod is not ready, as its own status says: scheduler's message, waiting or terminated reasons."""
    status = pod.get("status", {})
    found = []
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            found.append(f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}")
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state = container.get("state", {})
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting:
            found.append(": ".join(filter(None, (waiting.get("reason", "waiting"), waiting.get("message", "")))))
        elif ended and ended.get("exitCode"):
            found.append(
                ": ".join(filter(None, (f"{ended.get('reason', 'Error')} (exit code {ended['exitCode']})", ended.get("message", ""))))
            )
        elif not container.get("ready"):
            found.append(f"container {container.get('name')} is running and not ready")
    if not found:
        found.append(
            ": ".join(filter(None, (status.get("reason", ""), status.get("message", "")))) or f"phase {status.get('phase', 'unknown')}"
        )
    return "; ".join(found)


def owns(workload: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """True where `pod` belongs to `workload`: by its owner's UID, or for Deployments by the selector."""
    if workload.get("kind") == "Pod":
        return bool(pod["metadata"].get("uid") == workload["metadata"].get("uid"))
    if workload.get("kind") == "Deployment":
        wanted = workload.get("spec", {}).get("selector", {}).get("matchLabels", {})
        labels = pod["metadata"].get("labels", {})
        return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
    return any(owner.get("uid") == workload["metadata"].get("uid") for owner in pod["metadata"].get("ownerReferences", ()))


def as_diff(step: Step) -> Json:
    """The fields of a step as data for people."""
    return {"title": f"{step.manifest.kube_cluster}: {step.manifest.title}", "before": step.before, "after": step.after}


def deleted_diff(live: Json) -> Json:
    """What a deletion takes away, without secrets."""
    return visible(live)
