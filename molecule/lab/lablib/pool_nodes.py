# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cloud asks of the Kubernetes API: cordons, marks, evictions. It knows nothing of what runs in the kube cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import pool
from .console import LabError, say
from .kube import kubectl, node_objects
from .process import poll, rest
from .state import Cluster, State

OVER, GONE, LIMIT = "over", "gone", "limit"  # how a drain ends
_LOOK = 1.0  # seconds between two looks at the pods of a node
_SIGN_OF_LIFE = 10.0
_ANSWER = 120.0  # seconds that an API server may be away


def _list(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    told = kubectl(cluster, "get", *words, "--all-namespaces", "--output", "json", "--request-timeout=20s")
    return list(json.loads(told)["items"])


def pods_on(cluster: Cluster, node: str) -> list[dict[str, Any]]:
    return _list(cluster, "pods", "--field-selector", f"spec.nodeName={node}")


def budgets(cluster: Cluster) -> list[dict[str, Any]]:
    return _list(cluster, "poddisruptionbudgets")


def _insist(cluster: Cluster, *words: str) -> None:
    """Does it to a node; a cloud tries again for a while. A Node object that is gone needs nothing."""
    told = ""

    def done() -> bool | None:
        nonlocal told
        try:
            kubectl(cluster, *words)
        except LabError as error:
            told = str(error)
            return True if "(NotFound)" in told else None
        return True

    poll(done, deadline=_ANSWER, missing=lambda: told)


def patch(cluster: Cluster, name: str, change: dict[str, Any]) -> None:
    _insist(cluster, "patch", "node", name, "--type=merge", "--patch", json.dumps(change))


def cordon(cluster: Cluster, name: str, on: bool = True) -> None:
    patch(cluster, name, {"spec": {"unschedulable": True if on else None}})
    say(f"{name}: {'cordoned' if on else 'uncordoned'}")


def taint(cluster: Cluster, name: str, text: str) -> None:
    """`KEY:EFFECT` sets it, `KEY-` takes it away."""
    _insist(cluster, "taint", "nodes", name, text, "--overwrite")


def delete_node(cluster: Cluster, name: str, finalizer: str) -> None:
    """Asks for it; `finalizer` holds the object until the VM is gone (nodes.destroy)."""
    patch(cluster, name, {"metadata": {"finalizers": [finalizer]}})
    _insist(cluster, "delete", "node", name, "--ignore-not-found", "--wait=false")


def _evict(cluster: Cluster, pod: Mapping[str, Any]) -> str:
    """ "" when it goes, else the API server's words."""
    metadata = pod["metadata"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "deleteOptions": {"preconditions": {"uid": metadata["uid"]}},
    }
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    try:
        kubectl(cluster, "create", "--raw", path, "--filename", "-", data=json.dumps(body), timeout=20)
    except LabError as error:
        # Another pod of its name is another pod.
        return "" if "(NotFound)" in str(error) or "(Conflict)" in str(error) else str(error).rpartition("Error from server ")[2]
    return ""


def delete_pods(cluster: Cluster, pods: Iterable[str]) -> None:
    """By force, as a cloud does at its limit: no budget is asked."""
    for name in pods:
        namespace, pod = name.split("/")
        kubectl(
            cluster, "delete", "pod", pod, "--namespace", namespace, "--grace-period=0", "--force", "--ignore-not-found", "--wait=false"
        )
        say(f"pod {name}: deleted by force, no grace")


def drain(
    cluster: Cluster,
    node: str,
    cloud: str,
    limit: float | None,
    there: Callable[[], bool],
    meanwhile: Callable[[float], None] = lambda _spent: None,
    loop: float = 5.0,
) -> tuple[str, tuple[str, ...]]:
    """Evicts the node's pods until none is left, the limit (in seconds) is over, or the node is not `there` any more. (how it
    ended, which pods are left). A pod's eviction is asked for every `loop` seconds."""
    begun = told = time.monotonic()
    asked: dict[str, float] = {}
    answers: dict[str, str] = {}
    left: tuple[str, ...] = ()
    while there():
        spent = time.monotonic() - begun
        try:
            step = pool.drain(pods_on(cluster, node), cloud, spent, limit, asked, loop)
            left = step.left
            if step.over:
                say(f"{node}: drained in {spent:.0f} s")
                return OVER, ()
            for pod in step.evict if not step.limit else ():
                name = pool.pod_name(pod)
                asked[pod["metadata"]["uid"]] = spent
                answer = _evict(cluster, pod)
                if answers.get(name) != answer:
                    say(f"pod {name}: {'held, tried again: ' + answer if answer else 'evicted'}")
                answers[name] = answer
            meanwhile(spent)
        except LabError as error:  # a cloud tries again, and its time goes on
            say(f"{node}: asking again: {error}")
        if limit is not None and spent >= limit:
            say(f"{node}: {limit:g} s are over, left: {', '.join(left) or 'unknown, nobody answered'}")
            return LIMIT, left
        if time.monotonic() - told >= _SIGN_OF_LIFE:
            told = time.monotonic()
            say(f"{node}: draining for {spent:.0f} s of {f'{limit:g} s' if limit is not None else 'any time'}, left: {', '.join(left)}")
        rest(_LOOK if limit is None else min(_LOOK, limit - (time.monotonic() - begun)))
    say(f"{node}: gone while it was drained")
    return GONE, ()


def mend(state: State, cluster: Cluster) -> None:
    """Undoes what an operation of a cloud that was cut short has left on the nodes. A VM that is being repaired or whose Node
    object is being deleted is made anew by `up`: nobody can stop that."""
    touched = [node for node in cluster.workers.values() if node.operation or node.surge]
    objects = node_objects(cluster) if touched else {}
    for node in touched:
        item = objects.get(node.name)
        if node.operation == "repair" or (item and item["metadata"].get("deletionTimestamp")):
            node.joined = False
        elif item:
            change = pool.mended(item)
            if change:
                say(f"{node.name}: undoing what a pool's upgrade has left")
                patch(cluster, node.name, change)
            for key in (pool.DISRUPTED, pool.OUTDATED):
                if pool.tainted(item, key):
                    taint(cluster, node.name, f"{key}-")
        node.operation = ""
    state.save()
