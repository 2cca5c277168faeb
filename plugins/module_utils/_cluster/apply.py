# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying, pruning, deleting and awaiting many objects in many kube clusters.

Everything is read first; nothing is written before every kube cluster has answered. Then the kube clusters are worked on
side by side, each with at most MAX_CONNECTIONS requests at a time, in stages (see _plan/manifests.stage).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._plan import manifests as plan
from .._plan.collisions import stranger
from .._plan.manifests import Manifest, Step
from .client import FIELD_MANAGER, METADATA_OF_ONE, KubeCluster, KubeError, each_cluster, in_parallel
from .kinds import BUILT_IN, EVENT, NAMESPACE, POD, Kind
from .watch import wait_gone, wait_until

Json = dict[str, Any]
T = TypeVar("T")
_PODS_NAMED = 3  # pods whose trouble a timeout error spells out, per workload
_MESSAGE_LENGTH = 300


@dataclass
class Prune:
    """What may be deleted: objects of `kinds` in `namespace` with `label_selector` that we applied and nobody wants."""

    label_selector: str
    kinds: list[str]
    namespace: str


@dataclass
class Outcome:
    """What was done, in the order of the manifests; then what was pruned."""

    objects: list[Json] = field(default_factory=list)
    diff: list[Json] = field(default_factory=list)
    failures: list[KubeError] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(item["action"] in (plan.CREATED, plan.CHANGED, plan.DELETED) for item in self.objects)

    def failure_text(self) -> str:
        """The first failure and how many more there are."""
        more = len(self.failures) - 1
        return str(self.failures[0]) + (f" (and {more} more failed: see failures)" if more > 0 else "")


def apply_manifests(
    clusters: dict[str, KubeCluster], manifests: Sequence[Manifest], prune: Prune | None, wait: bool, wait_timeout: float, dry_run: bool
) -> Outcome:
    """Bring all manifests to life. Raises KubeError where reading fails; failures of single objects are collected."""
    deadline = time.monotonic() + wait_timeout
    prune_kinds = _prune_kinds(prune)
    runs = {name: _ClusterRun(cluster, [m for m in manifests if m.kube_cluster == name], dry_run) for name, cluster in clusters.items()}
    each_cluster(clusters, lambda cluster: runs[cluster.name].read(prune, prune_kinds))
    for run in runs.values():
        run.refuse_strangers()
    each_cluster(clusters, lambda cluster: runs[cluster.name].apply(deadline if wait else None))
    outcome = _gather(manifests, runs.values())
    if not outcome.failures:
        each_cluster(clusters, lambda cluster: runs[cluster.name].delete_surplus())
        if wait and not dry_run:
            each_cluster(clusters, lambda cluster: runs[cluster.name].wait_deleted(deadline, wait_timeout))
            each_cluster(clusters, lambda cluster: runs[cluster.name].wait_ready(deadline, wait_timeout))
        outcome = _gather(manifests, runs.values())
    return outcome


class InTurns:
    """Manifests that are read and compared at once, and applied some now and some later. Raises KubeError where reading fails."""

    def __init__(self, clusters: dict[str, KubeCluster], manifests: Sequence[Manifest], dry_run: bool) -> None:
        self._manifests = manifests
        involved = {name: cluster for name, cluster in clusters.items() if any(manifest.kube_cluster == name for manifest in manifests)}
        self._runs = {
            name: _ClusterRun(cluster, [m for m in manifests if m.kube_cluster == name], dry_run) for name, cluster in involved.items()
        }
        each_cluster(involved, lambda cluster: self._runs[cluster.name].read(None, []))
        for run in self._runs.values():
            run.refuse_strangers()

    def differs(self) -> list[bool]:
        """Of each manifest, whether it would be written."""
        return [self._runs[manifest.kube_cluster].differs(manifest) for manifest in self._manifests]

    def apply(self, indices: Sequence[int]) -> Outcome:
        """Apply these of the manifests; what has become of all that were applied until now. Failures of single objects are collected."""
        for index in indices:
            manifest = self._manifests[index]
            self._runs[manifest.kube_cluster].apply_now(manifest)
        return _gather(self._manifests, self._runs.values())


def delete_manifests(
    clusters: dict[str, KubeCluster], manifests: Sequence[Manifest], wait: bool, wait_timeout: float, dry_run: bool
) -> Outcome:
    """Delete all objects that the manifests name: workloads first, Namespaces last."""
    deadline = time.monotonic() + wait_timeout
    runs = {name: _ClusterRun(cluster, [m for m in manifests if m.kube_cluster == name], dry_run) for name, cluster in clusters.items()}
    each_cluster(clusters, lambda cluster: runs[cluster.name].read(None, []))
    each_cluster(clusters, lambda cluster: runs[cluster.name].delete_all())
    outcome = _gather(manifests, runs.values())
    if wait and not dry_run and not outcome.failures:
        each_cluster(clusters, lambda cluster: runs[cluster.name].wait_deleted(deadline, wait_timeout))
        outcome = _gather(manifests, runs.values())
    return outcome


def _prune_kinds(prune: Prune | None) -> list[Kind]:
    kinds = []
    for text in prune.kinds if prune else ():
        api_version, _slash, name = text.rpartition("/")
        found = [kind for kind in BUILT_IN.values() if kind.name == name and api_version in ("", kind.api_version)]
        if not found or found[0] == NAMESPACE:
            known = sorted(kind.name for kind in BUILT_IN.values() if kind != NAMESPACE)
            raise plan.ManifestError(f"prune.kinds: {text!r} cannot be pruned; use one of {', '.join(known)}")
        kinds.append(found[0])
    return kinds


def _gather(manifests: Sequence[Manifest], runs: Iterable[_ClusterRun]) -> Outcome:
    outcome = Outcome()
    all_runs = list(runs)
    results = {key: result for run in all_runs for key, result in run.results.items()}
    for manifest in manifests:
        result = results.get(manifest.key)
        if result:
            outcome.objects.append(
                _object(manifest.kube_cluster, manifest.api_version, manifest.kind, manifest.namespace, manifest.name, result[0])
            )
            if result[0] not in (plan.UNCHANGED, plan.KEPT):
                outcome.diff.append({"title": f"{manifest.kube_cluster}: {manifest.title}", "before": result[1], "after": result[2]})
    for run in all_runs:
        for item in run.pruned:
            metadata = item["metadata"]
            namespace = metadata.get("namespace", "")
            outcome.objects.append(_object(run.cluster.name, item["apiVersion"], item["kind"], namespace, metadata["name"], plan.DELETED))
            title = f"{run.cluster.name}: {item['kind']} {namespace + '/' if namespace else ''}{metadata['name']}"
            outcome.diff.append({"title": title, "before": plan.deleted_diff(item), "after": {}})
        outcome.failures.extend(run.failures)
    return outcome


def _object(kube_cluster: str, api_version: str, kind: str, namespace: str, name: str, action: str) -> Json:
    return {"kube_cluster": kube_cluster, "api_version": api_version, "kind": kind, "namespace": namespace, "name": name, "action": action}


class _ClusterRun:
    """The part of one call that concerns one kube cluster; used by one thread at a time, which starts its own pool."""

    def __init__(self, cluster: KubeCluster, manifests: list[Manifest], dry_run: bool) -> None:
        self.cluster = cluster
        self.manifests = manifests
        self.dry_run = dry_run
        self.live: dict[tuple[str, ...], Json] = {}
        self.surplus: list[Json] = []
        # manifest key -> (action, before, after)
        self.results: dict[tuple[str, ...], tuple[str, Json, Json]] = {}
        self.pruned: list[Json] = []
        self.failures: list[KubeError] = []
        # (kind, namespace) -> name -> UID, of what was deleted by this run
        self.deleted: dict[tuple[Kind, str], dict[str, str]] = {}

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, prune: Prune | None, prune_kinds: list[Kind]) -> None:
        groups: dict[tuple[Kind, str], list[Manifest]] = {}
        for manifest in self.manifests:
            kind = self.cluster.kind(manifest.api_version, manifest.kind)
            if kind.namespaced and not manifest.namespace:
                raise KubeError(
                    self.cluster.name, manifest.title, "metadata.namespace is missing; give one, there is no default namespace here"
                )
            groups.setdefault((kind, manifest.namespace if kind.namespaced else ""), []).append(manifest)
        prunable: dict[tuple[Kind, str], list[Json]] = {}

        def read_group(entry: tuple[Kind, str]) -> None:
            kind, namespace = entry
            found = groups[entry]
            # Of kinds without a namespace, such as Namespace itself, the collection's user may not see all (docs/rbac.yaml).
            if len(found) == 1 or not kind.namespaced:
                self._remember(*[self._get(kind, manifest) for manifest in found])
                return
            items, _version = self.cluster.list(kind, namespace or None, plan.shared_selector(found) or None)
            self._remember(*items)

        def read_prunable(entry: tuple[Kind, str]) -> None:
            prunable[entry] = self.cluster.list(entry[0], entry[1] or None, prune.label_selector if prune else None)[0]

        prune_entries = [(kind, prune.namespace if kind.namespaced else "") for kind in prune_kinds] if prune else []
        # Where the list of what may be pruned holds all that is wanted, one LIST does for both.
        shared = {
            entry
            for entry in groups
            if prune and entry in prune_entries and all(plan.selects(prune.label_selector, manifest.labels) for manifest in groups[entry])
        }
        tasks: list[tuple[Callable[[tuple[Kind, str]], None], tuple[Kind, str]]]
        tasks = [(read_group, entry) for entry in groups if entry not in shared]
        tasks += [(read_prunable, entry) for entry in prune_entries]
        in_parallel(lambda task: task[0](task[1]), tasks)
        for items in prunable.values():
            self._remember(*items)
        selected = {entry for entry, found in groups.items() if entry[0].namespaced and len(found) > 1 and plan.shared_selector(found)}
        self._read_unlabelled(groups, selected | shared)
        wanted = {manifest.key for manifest in self.manifests}
        for items in prunable.values():
            self.surplus += [item for item in items if self._key(item) not in wanted and plan.managed_by(item, FIELD_MANAGER)]

    def refuse_strangers(self) -> None:
        """Nothing of another deployment, and nothing that a person made, is taken over because it has a name that is wanted here."""
        for manifest in self.manifests:
            why = stranger(manifest.definition, self.live.get(manifest.key), FIELD_MANAGER)
            if why:
                raise KubeError(self.cluster.name, manifest.title, f"{why}. Nothing was changed", 409)

    def _read_unlabelled(self, groups: dict[tuple[Kind, str], list[Manifest]], selected: set[tuple[Kind, str]]) -> None:
        """An object that lost its labels is not in a selected list: look again before calling it absent."""
        fresh = self._new_namespaces()

        def again(entry: tuple[Kind, str]) -> None:
            kind, namespace = entry
            missing = [manifest for manifest in groups[entry] if manifest.key not in self.live]
            if len(missing) == 1 or not kind.namespaced:
                self._remember(*[self._get(kind, manifest) for manifest in missing])
            elif missing:
                self._remember(*self.cluster.list(kind, namespace or None)[0])

        in_parallel(again, [entry for entry in groups if entry in selected and entry[1] not in fresh])

    def _get(self, kind: Kind, manifest: Manifest) -> Json | None:
        return self.cluster.get(kind, manifest.name, manifest.namespace or None)

    def _remember(self, *items: Json | None) -> None:
        self.live.update({self._key(item): item for item in items if item})

    def _key(self, item: Json) -> tuple[str, ...]:
        return Manifest(self.cluster.name, item).key

    def _new_namespaces(self) -> set[str]:
        """Namespaces among the manifests that do not exist yet, or are on their way out."""
        return {
            manifest.name
            for manifest in self.manifests
            if manifest.kind == "Namespace" and (manifest.key not in self.live or self._terminating(manifest))
        }

    def _terminating(self, manifest: Manifest) -> bool:
        return bool(self.live.get(manifest.key, {}).get("metadata", {}).get("deletionTimestamp"))

    # -- applying --------------------------------------------------------------------------------------------------

    def differs(self, manifest: Manifest) -> bool:
        return plan.decide(manifest, self.live.get(manifest.key), FIELD_MANAGER).action not in (plan.KEPT, plan.UNCHANGED)

    def apply_now(self, manifest: Manifest) -> None:
        self._each(lambda one: self._apply_one(one, None, set()), [manifest])

    def apply(self, deadline: float | None) -> None:
        """Apply in stages. With a `deadline`, objects that are being deleted are waited for until they are gone."""
        fresh = self._new_namespaces()
        for stage in sorted({plan.stage(manifest.kind) for manifest in self.manifests}):
            members = [manifest for manifest in self.manifests if plan.stage(manifest.kind) == stage]
            self._each(lambda manifest: self._apply_one(manifest, deadline, fresh), members)
            if self.failures:
                return

    def _apply_one(self, manifest: Manifest, deadline: float | None, fresh: set[str]) -> None:
        live = self.live.get(manifest.key)
        if self._terminating(manifest):
            self._until_gone(manifest, deadline)
            live = None
        elif live is not None and manifest.namespace in fresh:
            live = None  # it goes with its namespace, which was waited for
        step = plan.decide(manifest, live, FIELD_MANAGER)
        action = step.action
        if action not in (plan.KEPT, plan.UNCHANGED) and not (self.dry_run and manifest.namespace in fresh):
            # Whoever waits looks at its status, and a dry run at what would have changed.
            whole = self.dry_run or (deadline is not None and plan.has_readiness(manifest.kind))
            action = self._send(step, whole)
        self.results[manifest.key] = (action, step.before, step.after)

    def _send(self, step: Step, whole: bool) -> str:
        """Write it, and say what that did. `whole`: the answer is needed with all its fields."""
        manifest = step.manifest
        try:
            if manifest.create_only:
                self._remember(self.cluster.create(manifest.definition, dry_run=self.dry_run))
                return plan.CREATED
            after = self.cluster.apply(manifest.to_apply(), dry_run=self.dry_run, accept=None if whole else METADATA_OF_ONE)
        except KubeError as error:
            if manifest.create_only and error.status == 409:
                return plan.KEPT
            raise self._explained(error, manifest) from error
        if not whole:
            after.update(apiVersion=manifest.api_version, kind=manifest.kind)
        self._remember(after)
        if step.action != plan.VERIFY or step.live is None:
            return step.action
        if self.dry_run:
            same = plan.same_content(step.live, after)
        else:
            same = step.live["metadata"].get("resourceVersion") == after["metadata"].get("resourceVersion")
        return plan.UNCHANGED if same else plan.CHANGED

    def _explained(self, error: KubeError, manifest: Manifest) -> KubeError:
        if error.status == 403 and "because it is being terminated" in error.detail:
            detail = f"namespace {manifest.namespace} is being deleted: run again once it is gone (or put it into objects, with wait: true)"
        elif error.status == 404 and manifest.namespace and f'namespaces "{manifest.namespace}" not found' in error.detail:
            detail = f"namespace {manifest.namespace} does not exist: playbooks/deploy.yml creates a deployment's (a task of yours: put it into objects)"
        else:
            return error
        return KubeError(self.cluster.name, error.what, detail, error.status, error.reason)

    def _until_gone(self, manifest: Manifest, deadline: float | None) -> None:
        if deadline is None:
            raise KubeError(self.cluster.name, manifest.title, "it is being deleted; run again when it is gone, or set wait: true")
        if self.dry_run:
            return
        kind = self.cluster.kind(manifest.api_version, manifest.kind)
        uid = self.live[manifest.key]["metadata"]["uid"]
        if wait_gone(self.cluster, kind, manifest.namespace or None, {manifest.name: uid}, deadline):
            raise KubeError(self.cluster.name, manifest.title, _still_there(self.live[manifest.key], "before it could be made anew"))

    def _each(self, function: Callable[[T], None], items: Sequence[T]) -> None:
        """Call `function` for all items in parallel and collect the failures in the order of the items."""

        def attempt(item: T) -> KubeError | None:
            try:
                function(item)
            except KubeError as error:
                return error
            return None

        self.failures += [error for error in in_parallel(attempt, items) if error]

    # -- deleting --------------------------------------------------------------------------------------------------

    def delete_surplus(self) -> None:
        self.surplus.sort(key=lambda item: (-plan.stage(item["kind"]), self._key(item)))
        self._each(self._delete_pruned, self.surplus)
        self.pruned.sort(key=self._key)

    def _delete_pruned(self, item: Json) -> None:
        if not self.dry_run and not self._delete(item):
            return
        self.pruned.append(item)

    def delete_all(self) -> None:
        for stage in (2, 1, 0):
            self._each(self._delete_one, [manifest for manifest in self.manifests if plan.stage(manifest.kind) == stage])
            if self.failures:
                return

    def _delete_one(self, manifest: Manifest) -> None:
        live = self.live.get(manifest.key)
        if live is None:
            self.results[manifest.key] = (plan.UNCHANGED, {}, {})
            return
        if live["metadata"].get("deletionTimestamp"):
            # Somebody deleted it already; there is nothing to change, only something to wait for.
            self._to_wait_for(live)
            self.results[manifest.key] = (plan.UNCHANGED, {}, {})
            return
        gone = not self.dry_run and not self._delete(live)
        self.results[manifest.key] = (plan.UNCHANGED if gone else plan.DELETED, plan.deleted_diff(live), {})

    def _delete(self, live: Json) -> bool:
        kind, name, namespace = self.cluster.locate(live)
        done = self.cluster.delete(kind, name, namespace, uid=live["metadata"]["uid"])
        if done:
            self._to_wait_for(live)
        return done

    def _to_wait_for(self, live: Json) -> None:
        kind, name, namespace = self.cluster.locate(live)
        self.deleted.setdefault((kind, namespace or ""), {})[name] = live["metadata"]["uid"]

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait_ready(self, deadline: float, seconds: float) -> None:
        """Wait until everything that was applied is ready; what the last answer showed to be ready costs no request."""
        groups: dict[tuple[Kind, str], list[Manifest]] = {}
        for manifest in self.manifests:
            live = self.live.get(manifest.key)
            if live is not None and plan.not_ready(live):
                kind = self.cluster.kind(manifest.api_version, manifest.kind)
                groups.setdefault((kind, manifest.namespace if kind.namespaced else ""), []).append(manifest)
        self._each(lambda entry: self._wait_ready(entry[0], entry[1], groups[entry], deadline, seconds), list(groups))

    def wait_deleted(self, deadline: float, seconds: float) -> None:
        """Wait until everything that was deleted is gone."""
        self._each(lambda entry: self._wait_gone(entry[0], entry[1], self.deleted[entry], deadline, seconds), list(self.deleted))

    def _wait_ready(self, kind: Kind, namespace: str, manifests: list[Manifest], deadline: float, seconds: float) -> None:
        names = {manifest.name: manifest for manifest in manifests}
        pending = wait_until(
            self.cluster, kind, namespace or None, names, lambda _name, item: not plan.not_ready(_as(kind, item)), deadline
        )
        if not pending:
            return
        pods = [] if kind == POD or not namespace else self.cluster.list(POD, namespace)[0]
        errors = []
        for name, live in pending.items():
            detail = plan.not_ready(_as(kind, live))
            troubles = self._troubles(_as(kind, live), pods) if live else []
            text = f"not ready after {seconds:g} s: {detail}" + "".join(f"; {trouble}" for trouble in troubles)
            errors.append(KubeError(self.cluster.name, names[name].title, text))
        self.failures += errors[1:]
        raise errors[0]

    def _troubles(self, live: Json | None, pods: list[Json]) -> list[str]:
        if live is None:
            return []
        mine = [live] if live.get("kind") == "Pod" else [pod for pod in pods if plan.owns(live, pod)]
        mine = [pod for pod in mine if plan.not_ready(_as(POD, pod))]
        return [f"pod {pod['metadata']['name']}: {self._trouble(pod)}" for pod in mine[:_PODS_NAMED]]

    def _trouble(self, pod: Json) -> str:
        """What the pod's status says, and its last warning: a failed mount is told by an event alone."""
        text = plan.pod_trouble(pod)
        event = last_warning(self.cluster, pod)
        return f"{text} ({event})" if event and event not in text else text

    def _wait_gone(self, kind: Kind, namespace: str, uids: dict[str, str], deadline: float, seconds: float) -> None:
        pending = wait_gone(self.cluster, kind, namespace or None, uids, deadline)
        errors = []
        for name, live in pending.items():
            title = f"{kind.name} {namespace}/{name}" if namespace else f"{kind.name} {name}"
            errors.append(KubeError(self.cluster.name, title, _still_there(live, f"after {seconds:g} s")))
        if errors:
            self.failures += errors[1:]
            raise errors[0]


def last_warning(cluster: KubeCluster, pod: Json) -> str:
    """`reason: message` of the pod's newest warning event, or `` where there is none or events may not be read."""
    metadata = pod["metadata"]
    selector = f"involvedObject.kind=Pod,involvedObject.name={metadata['name']},involvedObject.uid={metadata['uid']},type=Warning"
    try:
        events, _version = cluster.list(EVENT, metadata["namespace"], field_selector=selector)
    except KubeError:
        return ""  # this only explains another error, which must not be lost
    if not events:
        return ""
    newest = max(
        events,
        key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", "")),
    )
    return f"{newest.get('reason', '')}: {newest.get('message', '')}"[:_MESSAGE_LENGTH]


def _as(kind: Kind, item: Json | None) -> Json | None:
    # Items of a list carry no kind of their own.
    return None if item is None else {"apiVersion": kind.api_version, "kind": kind.name, **item}


def _still_there(live: Json | None, when: str) -> str:
    metadata = (live or {}).get("metadata", {})
    finalizers = ", ".join(metadata.get("finalizers", ()))
    conditions = (live or {}).get("status", {}).get("conditions", ())
    blocked = "; ".join(
        str(condition.get("message", ""))
        for condition in conditions
        if condition.get("status") == "True" and "Remaining" in condition.get("type", "")
    )
    reasons = "; ".join(filter(None, (f"finalizers {finalizers}" if finalizers else "", blocked)))
    return f"it is being deleted and was not gone {when}" + (f" ({reasons})" if reasons else "")
