# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running one script on many nodes of many kube clusters, each in a short-lived pod."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._plan import run as plan
from .._plan.run import Script
from .apply import last_warning
from .client import KubeCluster, KubeError, each_cluster, in_parallel
from .kinds import POD
from .watch import wait_gone, wait_until

Json = dict[str, Any]

LOG_LIMIT_BYTES = 1 << 20
_ACCOUNT_RETRY_SECONDS = 0.25


@dataclass(frozen=True)
class Target:
    """One node and the environment of the script there."""

    kube_cluster: str
    node: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """Results in the order of the targets; a node that gave none is in `failures`."""

    results: list[Json]
    failures: list[str]

    def failure_text(self) -> str:
        """The first failure and how many more there are."""
        more = len(self.failures) - 1
        return self.failures[0] + (f" (and {more} more failed: see failures)" if more > 0 else "")


def run_on_nodes(
    clusters: dict[str, KubeCluster], targets: Sequence[Target], script: Script, show: Callable[[str], None] = lambda _line: None
) -> Outcome:
    """Run `script` on all targets. All pods are deleted at the end, also after an error.

    `show` gets a line whenever a kubelet says something new of an image that it cannot pull. Raises KubeError where a kube cluster does not
    answer; failures of single nodes are collected.
    """
    deadline = time.monotonic() + script.timeout
    involved = {name: cluster for name, cluster in clusters.items() if any(target.kube_cluster == name for target in targets)}
    # Leftovers go first, everywhere: a kube cluster that does not answer is known before any pod is made.
    each_cluster(involved, lambda cluster: _remove_leftovers(cluster, script, deadline))
    found = each_cluster(
        involved, lambda cluster: _run(cluster, [t for t in targets if t.kube_cluster == cluster.name], script, deadline, show)
    )
    results, failures = [], []
    for target in targets:
        result = found[target.kube_cluster][target.node]
        if isinstance(result, str):
            failures.append(f"kube cluster {target.kube_cluster}: node {target.node}: {result}")
        else:
            results.append({"kube_cluster": target.kube_cluster, "node": target.node, **result})
    return Outcome(results, failures)


@contextlib.contextmanager
def pod_on_node(cluster: KubeCluster, target: Target, script: Script, deadline: float) -> Iterator[str]:
    """A pod whose script waits, on one node and for as long as the block lasts: its name. Raises KubeError where it does not run by `deadline`."""
    _remove_leftovers(cluster, script, deadline)
    pod = _create(cluster, plan.pod_for(script, target.node, target.env, secrets.token_hex(4)), deadline)
    name = str(pod["metadata"]["name"])
    last: list[Json | None] = [pod]

    def settled(_name: str, seen: Json | None) -> bool:
        last[0] = seen
        return plan.finished(seen) or plan.runs(seen)

    try:
        wait_until(cluster, POD, script.namespace, [name], settled, deadline)
        if not plan.runs(last[0]):
            why = "it was deleted by another client" if last[0] is None else plan.failure(last[0]) or f"the pod is {_state(last[0])}"
            raise KubeError(cluster.name, f"Pod {script.namespace}/{name} on node {target.node}", why)
        yield name
    finally:
        _delete(cluster, last[0] or pod, quiet=True)


def _remove_leftovers(cluster: KubeCluster, script: Script, deadline: float) -> None:
    """A run that was killed leaves pods behind, which may still hold what the next run asks about (a port)."""
    pods, _version = cluster.list(POD, script.namespace, script.selector)
    if not pods:
        return
    in_parallel(lambda pod: _delete(cluster, pod), pods)
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
    still = wait_gone(cluster, POD, script.namespace, uids, deadline)
    if still:
        raise KubeError(
            cluster.name, f"Pod {script.namespace}/{next(iter(still))}", "an earlier run left it, and it does not go away; delete it"
        )


def _run(
    cluster: KubeCluster, targets: Sequence[Target], script: Script, deadline: float, show: Callable[[str], None]
) -> dict[str, Json | str]:
    run_id = secrets.token_hex(4)
    bodies = {target.node: plan.pod_for(script, target.node, target.env, run_id) for target in targets}
    results: dict[str, Json | str] = {}
    created: dict[str, Json] = {}
    last: dict[str, Json | None] = {}
    missing: dict[str, dict[str, str]] = {}

    def create(node: str) -> None:
        try:
            created[node] = _create(cluster, bodies[node], deadline)
        except KubeError as error:
            if error.unreachable:
                raise
            results[node] = f"the pod cannot be created: {error.detail}"

    try:
        in_parallel(create, list(bodies))
        nodes = {pod["metadata"]["name"]: node for node, pod in created.items()}

        def settled(name: str, pod: Json | None) -> bool:
            last[name] = pod
            before = missing.get(name, {})
            missing[name] = plan.unpulled(pod or {}, before)
            for image, said in missing[name].items():
                if said != before.get(image, ""):
                    show(f"kube cluster {cluster.name}: node {nodes[name]}: image {image} is not there yet: {said}")
            return plan.finished(pod)

        if nodes:
            wait_until(cluster, POD, script.namespace, nodes, settled, deadline, f"{plan.RUN_ID_LABEL}={run_id}")
        names = sorted(nodes)
        found = in_parallel(lambda name: _result(cluster, last[name], missing[name], script), names)
        results.update(zip((nodes[name] for name in names), found, strict=True))
    finally:
        # The watch was on these very pods: the first list of the next run finds any that could not be deleted.
        in_parallel(lambda pod: _delete(cluster, last.get(pod["metadata"]["name"]) or pod, quiet=True), list(created.values()))
    return results


def _create(cluster: KubeCluster, body: Json, deadline: float) -> Json:
    """Create a pod. A namespace made a moment ago has no default service account yet, and refuses pods until it has."""
    while True:
        try:
            return cluster.create(body, unique=True)
        except KubeError as error:
            young = error.status == 403 and "serviceaccount" in error.detail and "not found" in error.detail
            if not young or time.monotonic() + _ACCOUNT_RETRY_SECONDS >= deadline:
                raise
        time.sleep(_ACCOUNT_RETRY_SECONDS)


def _result(cluster: KubeCluster, pod: Json | None, missing: dict[str, str], script: Script) -> Json | str:
    if pod is None:
        return "its pod was deleted by another client (another run with the same name?)"
    code = plan.exit_code(pod)
    if code is None or not plan.is_complete(pod):
        reason = plan.failure(pod)
        if reason:
            return reason
        complained = {image: said for image, said in missing.items() if said}
        if code is not None or complained:
            return plan.pull_failure(complained or missing, script.timeout)
        event = last_warning(cluster, pod)
        return f"no result after {script.timeout} s (the pod is {_state(pod)}{'; ' + event if event else ''})"
    metadata = pod["metadata"]
    try:
        stdout = cluster.pod_log(metadata["name"], script.namespace, "run", LOG_LIMIT_BYTES)
    except KubeError as error:
        return f"the script ended with {code}, and its output cannot be read: {error.detail}"
    return {"rc": code, "stdout": stdout, "stderr": plan.stderr(pod)}


def _state(pod: Json) -> str:
    status = pod.get("status", {})
    for container in plan.of_script(pod):
        for name, state in container.get("state", {}).items():
            return ": ".join(filter(None, (name, state.get("reason", ""), state.get("message", ""))))
    return f"{status.get('phase', 'unknown')}, its kubelet has not started it: is the node ready?"


def _delete(cluster: KubeCluster, pod: Json, quiet: bool = False) -> None:
    metadata = pod["metadata"]
    # Where nothing runs there is nothing to end gracefully, and a kubelet that is away would never confirm it.
    grace = None if plan.may_run(pod) else 0
    try:
        cluster.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace_seconds=grace)
    except KubeError as error:
        # 409: this name is another pod now. Quiet: an error is already under way, or the next run cleans up.
        if error.status != 409 and not quiet:
            raise
