# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cordons, drains and uncordons nodes of several kube clusters, all at once and under one deadline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._plan import drain as plan
from .._plan.drain import Cordon, Place, Rules, Verdict
from .client import POD_PATH, KubeCluster, KubeError, each_cluster, in_parallel
from .kinds import NODE, POD, POD_DISRUPTION_BUDGET
from .lock import LockLost, verify
from .watch import Seen, follow

Json = dict[str, Any]

# Between two tries to evict pods that a budget holds: doubled each time. A budget opens when a pod elsewhere becomes ready,
# which takes seconds; a try costs one request for each pod and one for the watch that fills the pause.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
_PATCH_ATTEMPTS = 5  # a Node changes a few times a minute; only something that fights for it changes it so often


@dataclass(frozen=True)
class Target:
    """One node; with `uid` (else "") only that very Node object, so only that VM."""

    kube_cluster: str
    name: str
    uid: str = ""


def cordoned(clusters: dict[str, KubeCluster]) -> list[Target]:
    """All nodes of these kube clusters that are cordoned, by whomever. Whose cordon may be taken away, change_nodes knows. Raises KubeError."""

    def of(cluster: KubeCluster) -> list[Target]:
        found = [item for items, _version in cluster.pages(NODE, object_hook=_slim) for item in items]
        return [
            Target(cluster.name, item["metadata"]["name"], item["metadata"]["uid"]) for item in found if item["spec"].get("unschedulable")
        ]

    return [target for targets in each_cluster(clusters, of).values() for target in targets]


@dataclass(frozen=True)
class Request:
    """What shall become of the nodes. `timeout` and `grace_seconds` in seconds; None: the pods' own grace periods. `gone_ok`: as gone nodes are to an uncordon.

    `lock` (None for none) was verified by the caller. It is verified again before anything that is written after a wait:
    minutes may have gone by.
    """

    state: str
    owner: str
    rules: Rules = field(default_factory=Rules)
    timeout: float = 300.0
    grace_seconds: int | None = None
    keep_cordon: bool = False
    gone_ok: bool = False
    dry_run: bool = False
    lock: Json | None = None


@dataclass
class Outcome:
    """One entry for each target in `nodes`, and what failed, one sentence each. `notes` says what became of the cordons then."""

    nodes: list[Json] = field(default_factory=list)
    diff: dict[str, Json] = field(default_factory=lambda: {"before": {}, "after": {}})
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(node["changed"] for node in self.nodes)

    def failure_text(self) -> str:
        """All that a user needs to read first, in one line."""
        return "; ".join([plan.summary(self.failures), *self.notes])


def change_nodes(clusters: dict[str, KubeCluster], targets: Sequence[Target], request: Request) -> Outcome:
    """Bring all nodes into `request.state`. Raises KubeError where reading fails: nothing was changed then.

    What fails later is in the outcome's `failures`, after the nodes that this call cordoned were uncordoned again (unless
    `keep_cordon`). Pods that may not be evicted are found before anything is changed.
    """
    deadline = time.monotonic() + request.timeout
    runs = {
        name: _ClusterRun(cluster, [target for target in targets if target.kube_cluster == name], request, deadline)
        for name, cluster in clusters.items()
        if any(target.kube_cluster == name for target in targets)
    }
    involved = {name: clusters[name] for name in runs}
    each_cluster(involved, lambda cluster: runs[cluster.name].read())
    if not request.dry_run and not _failures(runs):
        try:
            _change(involved, runs, request)
        except BaseException:
            each_cluster(involved, lambda cluster: runs[cluster.name].undo())
            raise
    outcome = Outcome(failures=_failures(runs), notes=[note for run in runs.values() for note in run.notes])
    for target in targets:
        node, before, after = runs[target.kube_cluster].result(target)
        outcome.nodes.append(node)
        if before != after:
            title = f"{target.kube_cluster}/{target.name}"
            outcome.diff["before"][title], outcome.diff["after"][title] = before, after
    return outcome


def _change(involved: dict[str, KubeCluster], runs: dict[str, _ClusterRun], request: Request) -> None:
    each_cluster(involved, lambda cluster: runs[cluster.name].cordon())
    if request.state == plan.DRAINED and not _failures(runs):
        each_cluster(involved, lambda cluster: runs[cluster.name].drain())
    if _failures(runs):
        each_cluster(involved, lambda cluster: runs[cluster.name].undo())


def _failures(runs: dict[str, _ClusterRun]) -> list[str]:
    return [failure for run in runs.values() for failure in run.failures]


class _ClusterRun:
    """The work in one kube cluster."""

    def __init__(self, cluster: KubeCluster, targets: list[Target], request: Request, deadline: float) -> None:
        self.cluster = cluster
        self.targets = {target.name: target for target in targets}
        self.request = request
        self.deadline = deadline
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.nodes: dict[str, Json] = {}  # those that are there, as last read or written
        self.before: dict[str, Cordon] = {}
        self.fresh: set[str] = set()  # nodes that this call cordoned
        self.pods: dict[str, Json] = {}  # by UID: every pod seen on these nodes, as last seen
        self.first: dict[str, Verdict] = {}  # what was to be done with each when it was first seen
        self.verdicts: dict[str, Verdict] = {}
        self.pending: set[str] = set()  # pods that have to go and are still there
        self.accepted: set[str] = set()  # pods whose eviction the API server accepted
        self.words: dict[str, str] = {}  # its last refusal for each of the others
        self.budgets: list[Json] = []
        self._pods_now = Seen()

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read the nodes and, to drain them, their pods. Raises KubeError where a node is not there or is another VM."""
        if len(self.targets) == 1:
            (name,) = self.targets
            node = self.cluster.get(NODE, name)
            found = {name: node} if node else {}
        else:
            found = {
                item["metadata"]["name"]: item
                for items, _version in self.cluster.pages(NODE, object_hook=_slim)
                for item in items
                if item["metadata"]["name"] in self.targets
            }
        for name, target in self.targets.items():
            live = self._checked(name, found.get(name), target.uid, self.request.state)
            if live is not None:
                self.nodes[name] = live
                self.before[name] = plan.cordon_of(live)
        if self.request.state != plan.DRAINED:
            return
        self._look()
        if not self._refuse() and self.request.dry_run and self.pending:
            self.budgets = self.cluster.list(POD_DISRUPTION_BUDGET)[0]

    def _checked(self, name: str, node: Json | None, uid: str, state: str) -> Json | None:
        """The node; or None where it is gone (or is another VM), which is fine for an uncordon and with `gone_ok`. Raises KubeError else."""
        if node is not None and uid in ("", node["metadata"]["uid"]):
            return node
        if state == plan.UNCORDONED or self.request.gone_ok:
            return None
        if node is None:
            raise KubeError(self.cluster.name, f"Node {name}", "there is no such node; correct its name or leave it out", 404, "NotFound")
        detail = f"it is another VM now (UID {node['metadata']['uid']}, not {uid}); observe the nodes again before anything is done to it"
        raise KubeError(self.cluster.name, f"Node {name}", detail, 409, "Conflict")

    def _list_pods(self) -> tuple[list[Json], str]:
        """All pods of all nodes, and the resourceVersion to watch from."""

        def pods_of(node: str) -> tuple[list[Json], str]:
            items: list[Json] = []
            version = ""
            for page, version in self.cluster.pages(POD, field_selector=f"spec.nodeName={node}", object_hook=_slim):  # noqa: B007
                items += page
            return items, version

        first, *rest = self.targets
        # The first list is read before the others, so no event of any node is missed by a watch from its version.
        found, version = pods_of(first)
        for items, _version in in_parallel(pods_of, rest):
            found += items
        return found, version

    def _look(self) -> None:
        """Look at all pods that there are now."""
        found, version = self._list_pods()
        self._pods_now = Seen({pod["metadata"]["uid"]: pod for pod in found}, version)
        self._take_in(self._pods_now.objects)

    def _take_in(self, there: Mapping[str, Json]) -> None:
        self.pending &= set(there)
        for uid, pod in there.items():
            if self.pods.get(uid) is not pod:
                self._see(pod)

    def _see(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        verdict = plan.judge(pod, self.request.rules)
        self.pods[uid] = pod
        self.first.setdefault(uid, verdict)
        self.verdicts[uid] = verdict
        (self.pending.discard if verdict.action == plan.SKIP else self.pending.add)(uid)

    def _refuse(self) -> bool:
        """Note every pod that may not be evicted; True where there is one."""
        refused = [uid for uid in self._sorted_pending() if self.verdicts[uid].action == plan.REFUSE]
        self.failures += [self._about(uid, plan.refusal(self.pods[uid], self.verdicts[uid])) for uid in refused]
        return bool(refused)

    def _sorted_pending(self) -> list[str]:
        def order(uid: str) -> tuple[str, str, str]:
            pod = self.pods[uid]
            return pod["spec"]["nodeName"], pod["metadata"]["namespace"], pod["metadata"]["name"]

        return sorted(self.pending, key=order)

    def _about(self, uid: str, text: str) -> str:
        return f"kube cluster {self.cluster.name}: node {self.pods[uid]['spec']['nodeName']}: {text}"

    # -- nodes -------------------------------------------------------------------------------------------------------

    def cordon(self) -> None:
        """Cordon or uncordon the nodes; failures are noted."""

        def attempt(name: str) -> None:
            try:
                if self._set_cordon(name, self.request.state) and self.request.state != plan.UNCORDONED:
                    self.fresh.add(name)
            except KubeError as error:
                self.failures.append(str(error))

        in_parallel(attempt, sorted(self.nodes))

    def _set_cordon(self, name: str, state: str) -> bool:
        """Make the node's cordon as `state` wants it; True where it was changed. Raises KubeError."""
        node = self.nodes[name]
        uid = node["metadata"]["uid"]
        for _attempt in range(_PATCH_ATTEMPTS):
            current = plan.cordon_of(node)
            if name not in self.fresh:
                self.before[name] = current  # what somebody else did since the first look is not our change
            wanted = plan.wanted_cordon(current, state, self.request.owner)
            if wanted == current:
                self.nodes[name] = node
                return False
            try:
                self.nodes[name] = self.cluster.merge_patch(NODE, name, plan.cordon_patch(node, wanted))
                return True
            except KubeError as error:
                # 404: gone. 409 and 422: changed since it was read, or another VM under this name. The next look tells.
                if error.status not in (404, 409, 422):
                    raise
                refused = error
            again = self._checked(name, self.cluster.get(NODE, name), uid, state)
            if again is None:
                del self.nodes[name]
                return False
            node = again
        raise KubeError(self.cluster.name, f"Node {name}", f"another client keeps changing it ({refused.detail})", 409, "Conflict")

    def undo(self) -> None:
        """Uncordon what this call cordoned, and only that."""
        why, remedy = "as keep_cordon says", ""
        if not self.request.keep_cordon:
            remedy = f"; uncordon it with state: uncordoned, owner: {self.request.owner}"
            try:
                if self.fresh:
                    self._verify_lock()
            except LockLost:
                # That run sees this cordon as the deployment's own, and may rely on it.
                why, remedy = "for the run that has the lock now", ""
            except KubeError as error:
                why = f"as the lock cannot be read ({error.detail})"
            else:
                why = ""
        for name in sorted(self.fresh):
            where = f"node {name} (kube cluster {self.cluster.name})"
            if why:
                self.notes.append(f"{where} stays cordoned, {why}{remedy}")
                continue
            try:
                if self._set_cordon(name, plan.UNCORDONED):
                    self.notes.append(f"{where} is uncordoned again")
            except KubeError as error:
                self.notes.append(f"{where} stays cordoned ({error.detail}){remedy}")

    def _verify_lock(self) -> None:
        """Raises LockLost where another run has the lock in this kube cluster by now."""
        if self.request.lock:
            verify({self.cluster.name: self.cluster}, self.request.lock)

    # -- pods --------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Evict the pods and wait until they are gone; failures are noted."""
        try:
            self._drain()
        except KubeError as error:
            self.failures.append(str(error))

    def _drain(self) -> None:
        if self.fresh:
            # Until its node was cordoned, the scheduler may have put another pod there.
            self._look()
        pause = _FIRST_PAUSE_SECONDS
        while self.pending:
            if self._refuse():
                return
            in_parallel(self._evict, self._to_evict())
            now = time.monotonic()
            if self.failures or not self.pending:
                return
            if now >= self.deadline:
                self._explain()
                return
            if self._to_evict():
                self._follow(min(self.deadline, now + pause))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._follow(self.deadline)
            if self._to_evict():
                self._verify_lock()

    def _to_evict(self) -> list[str]:
        return [uid for uid in self._sorted_pending() if self.verdicts[uid].action == plan.EVICT and uid not in self.accepted]

    def _evict(self, uid: str) -> None:
        metadata = self.pods[uid]["metadata"]
        options: Json = {"preconditions": {"uid": uid}}
        if self.request.grace_seconds is not None:
            options["gracePeriodSeconds"] = self.request.grace_seconds
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "deleteOptions": options,
        }
        path = POD_PATH.format(namespace=metadata["namespace"], name=metadata["name"]) + "/eviction"
        try:
            what = f"eviction of pod {metadata['namespace']}/{metadata['name']}"
            # 429 is what a budget says, which is this module's affair. With its UID the pod that is gone already is no other one.
            self.cluster.request("POST", path, what, body=body, safe=True, final=(409, 429, 504))
        except KubeError as error:
            meaning = plan.answer(error.status, error.detail)
            if meaning == plan.GONE:
                self.pending.discard(uid)
            elif meaning == plan.RETRY:
                self.words[uid] = error.detail
            else:
                self.failures.append(str(error))
            return
        self.accepted.add(uid)

    def _follow(self, until: float) -> None:
        """Follow the pods until all are gone, one comes that has to be evicted, or `until` (time.monotonic() seconds)."""
        known = set(self.pods)

        def done(pods: dict[str, Json]) -> bool:
            self._take_in(pods)
            fresh = self.pending - known
            return not self.pending or any(self.verdicts[uid].action in (plan.EVICT, plan.REFUSE) for uid in fresh)

        # A field selector takes one value: several nodes are told apart here, so that there is one watch for all.
        selector = f"spec.nodeName={next(iter(self.targets))}" if len(self.targets) == 1 else "spec.nodeName!="
        follow(
            self.cluster,
            POD,
            done,
            until,
            field_selector=selector,
            read=self._list_pods,
            wanted=lambda pod: (pod.get("spec") or {}).get("nodeName") in self.targets,
            last_look=until >= self.deadline,
            seen=self._pods_now,
        )

    def _explain(self) -> None:
        """Say of every pod that is still there what keeps it."""
        if any(uid not in self.accepted for uid in self.pending):
            # This only explains: without the right to list budgets, the API server's own words do.
            with contextlib.suppress(KubeError):
                self.budgets = self.cluster.list(POD_DISRUPTION_BUDGET)[0]
        for uid in self._sorted_pending():
            pod, going = self.pods[uid], uid in self.accepted or self.verdicts[uid].action == plan.WAIT
            text = plan.stuck_text(pod, self.request.timeout, self.words.get(uid, ""), plan.budget_text(pod, self.budgets), going)
            self.failures.append(self._about(uid, text))

    # -- result ------------------------------------------------------------------------------------------------------

    def result(self, target: Target) -> tuple[Json, Json, Json]:
        """The node as the module returns it, and its side of the diff, before and after."""
        node = self.nodes.get(target.name)
        gone = Cordon(False, "")
        before = self.before.get(target.name, gone)
        after = plan.cordon_of(node) if node else gone
        if node and self.request.dry_run and not self.failures:
            after = plan.wanted_cordon(before, self.request.state, self.request.owner)
        pods = [self._place(uid) for uid, pod in self.pods.items() if pod["spec"]["nodeName"] == target.name]
        pods.sort(key=lambda pod: (pod["namespace"], pod["name"], pod["uid"]))
        evicted = [f"{pod['namespace']}/{pod['name']}" for pod in pods if pod["action"] == "evicted"]
        result = {
            "kube_cluster": target.kube_cluster,
            "name": target.name,
            "uid": node["metadata"]["uid"] if node else target.uid,
            "gone": node is None,
            "changed": node is not None and (before != after or bool(evicted)),
            "cordoned": after.theirs(self.request.owner),
            "unschedulable": after.unschedulable,
            "cordoned_by": after.owner,
            "pods": pods,
        }
        if node is None:
            return result, {}, {}
        return result, _side(before, evicted), _side(after, [])

    def _place(self, uid: str) -> Place:
        verdict = self.first[uid]
        budget = plan.budget_text(self.pods[uid], self.budgets) if uid in self.pending else ""
        place = plan.place(self.pods[uid], verdict, budget)
        evicts = uid in self.accepted or (self.request.dry_run and not self.failures and verdict.action == plan.EVICT)
        place["action"] = "evicted" if evicts else _DONE[verdict.action]
        return place


# What is said of a pod that was not evicted, by what was to be done with it.
_DONE = {plan.EVICT: "kept", plan.WAIT: "awaited", plan.SKIP: "skipped", plan.REFUSE: "refused"}


def _side(cordon: Cordon, pods: list[str]) -> Json:
    return {"unschedulable": cordon.unschedulable, "cordoned_by": cordon.owner, "pods": pods}


def _slim(decoded: Json) -> Json:
    """Drop the bulk of an object while it is decoded: who manages which field, and the images on a node's disk."""
    for key in ("managedFields", "images"):
        # A label may have such a name; its value is a text.
        if isinstance(decoded.get(key), list):
            del decoded[key]
    return decoded
