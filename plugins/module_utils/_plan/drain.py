# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods of a node are evicted, left alone or refused, and whose cordon a node's is.

The rules for pods are those of `kubectl drain --ignore-daemonsets`, except that finished pods are left alone: nothing of
them runs on the VM any more (https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from .names import DEPLOYMENT_LABEL, GUARD_LABEL, PREFIX
from .selector import Requirement, from_object, matches, parse_selector

Json = Mapping[str, Any]

CORDONED_BY_ANNOTATION = f"{PREFIX}/cordoned-by"
CORDONED, DRAINED, UNCORDONED = STATES = ("cordoned", "drained", "uncordoned")

# What is done with a pod.
EVICT, WAIT, SKIP, REFUSE = "evict", "wait", "skip", "refuse"
# Why, in the order in which the reasons are looked at; "" for an eviction.
EXCLUDED, MIRROR, FINISHED, GUARD, DAEMON_SET, TERMINATING = "excluded", "mirror", "finished", "guard", "daemonset", "terminating"
MEMBER, UNMANAGED, EMPTY_DIR = "member", "unmanaged", "empty_dir"

_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_FINISHED_PHASES = ("Succeeded", "Failed")
_REMEDIES = {
    MEMBER: "it is a member of deployment {deployment}, which alone knows whether it may go: name that one in hostnet_neighbours, or leave this VM out",
    UNMANAGED: "no controller recreates it elsewhere; delete it (kubectl -n {namespace} delete pod {name}, in this kube cluster), "
    "then run the same command again",
    EMPTY_DIR: "what is in its emptyDir volumes would be lost; set delete_empty_dir: true, or exclude it",
}
_NAMED = 5  # pods that an error spells out; all are in the result
_WORDS = 300  # characters of an API server's own words that an error repeats


class Rules(NamedTuple):
    """What the user allows. `exclude` is None where no pod is excluded."""

    exclude: tuple[Requirement, ...] | None = None
    force_unmanaged: bool = False
    delete_empty_dir: bool = True


class Verdict(NamedTuple):
    """What is done with a pod, and why."""

    action: str
    reason: str = ""


class Cordon(NamedTuple):
    """Whether a node takes new pods, and which owner's annotation it carries ("" for none)."""

    unschedulable: bool
    owner: str

    def theirs(self, owner: str) -> bool:
        """True where this is a cordon that `owner` made. An annotation alone is what is left after a human's uncordon."""
        return self.unschedulable and self.owner == owner


class Place(TypedDict):
    """One pod of the result: `action` and `reason` as in Verdict, `budget` what keeps it from being evicted now."""

    namespace: str
    name: str
    uid: str
    action: str
    reason: str
    budget: str


def rules(exclude: str, force_unmanaged: bool, delete_empty_dir: bool) -> Rules:
    """Rules from the module's options. Raises ValueError where `exclude` is no label selector."""
    # An empty selector matches everything; as an option it means that nothing is excluded.
    return Rules(parse_selector(exclude) or None, force_unmanaged, delete_empty_dir)


def option_errors(params: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of module node_drain, one sentence each; [] where all is well."""
    errors = []
    if params["nodes"] is None and params["state"] != UNCORDONED:
        errors.append(f"nodes is missing: only state={UNCORDONED} may be for all nodes")
    known = [entry["name"] for entry in params["kube_clusters"]]
    seen: set[tuple[str, str]] = set()
    for entry in params["nodes"] or []:
        where = f"nodes: node {entry['name']} (kube cluster {entry['kube_cluster']})"
        if entry["kube_cluster"] not in known:
            errors.append(f"{where}: kube_clusters has no entry of that name; it has {', '.join(known) or 'none'}")
        if (entry["kube_cluster"], entry["name"]) in seen:
            errors.append(f"{where} is listed twice; list it once")
        seen.add((entry["kube_cluster"], entry["name"]))
    if not params["owner"].strip():
        errors.append("owner: it is empty; give the name of the deployment that the nodes are cordoned for")
    if params["timeout"] <= 0:
        errors.append(f"timeout: {params['timeout']} s is no time; give at least 1")
    if params["grace_seconds"] is not None and params["grace_seconds"] < 0:
        errors.append(f"grace_seconds: {params['grace_seconds']} is negative; leave it out for the pods' own grace periods")
    try:
        parse_selector(params["exclude"])
    except ValueError as error:
        errors.append(f"exclude: {error}")
    return errors


# -- nodes -----------------------------------------------------------------------------------------------------------


def cordon_of(node: Json) -> Cordon:
    """The cordon of a Node object."""
    annotations = node["metadata"].get("annotations") or {}
    return Cordon(bool((node.get("spec") or {}).get("unschedulable", False)), str(annotations.get(CORDONED_BY_ANNOTATION, "")))


def wanted_cordon(current: Cordon, state: str, owner: str) -> Cordon:
    """The cordon that a node shall have; equal to `current` where nothing is to be done.

    A cordon that is not `owner`'s is never touched. `owner`'s annotation on a node that takes pods is left from a cordon
    that somebody else took away; it goes with the next uncordon.
    """
    if state == UNCORDONED:
        return Cordon(False, "") if current.owner == owner else current
    return current if current.unschedulable else Cordon(True, owner)


def cordon_patch(node: Json, wanted: Cordon) -> dict[str, Any]:
    """JSON merge patch (RFC 7386) that makes `wanted`, and only of this very version of this very Node.

    Both in one patch: a run that is killed in between would leave a cordon that is nobody's. The resourceVersion keeps a
    human's cordon, made since `node` was read, from becoming ours.
    """
    metadata = node["metadata"]
    return {
        "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "annotations": {CORDONED_BY_ANNOTATION: wanted.owner or None},
        },
        "spec": {"unschedulable": wanted.unschedulable or None},
    }


# -- pods ------------------------------------------------------------------------------------------------------------


def judge(pod: Json, allowed: Rules) -> Verdict:
    """What is done with a Pod object on a node that is drained."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if allowed.exclude is not None and matches(allowed.exclude, metadata.get("labels") or {}):
        return Verdict(SKIP, EXCLUDED)
    if _MIRROR_ANNOTATION in (metadata.get("annotations") or {}):
        return Verdict(SKIP, MIRROR)
    if status.get("phase") in _FINISHED_PHASES:
        return Verdict(SKIP, FINISHED)
    if GUARD_LABEL in (metadata.get("labels") or {}):
        # It guards a member, which has steps of its own.
        return Verdict(SKIP, GUARD)
    if DEPLOYMENT_LABEL in (metadata.get("labels") or {}):
        # No budget and no DaemonSet's controller knows whether another deployment can do without it.
        return Verdict(REFUSE, MEMBER)
    controller = next((owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")), None)
    if controller is not None and controller.get("kind") == "DaemonSet" and str(controller.get("apiVersion", "")).startswith("apps/"):
        return Verdict(SKIP, DAEMON_SET)
    if metadata.get("deletionTimestamp"):
        return Verdict(WAIT, TERMINATING)
    if controller is None and not allowed.force_unmanaged:
        return Verdict(REFUSE, UNMANAGED)
    if not allowed.delete_empty_dir and any("emptyDir" in volume for volume in spec.get("volumes") or ()):
        return Verdict(REFUSE, EMPTY_DIR)
    return Verdict(EVICT)


def pod_name(pod: Json) -> str:
    """`pod namespace/name`, for errors."""
    return f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"


def place(pod: Json, verdict: Verdict, budget: str = "") -> Place:
    """One pod as the module returns it."""
    metadata = pod["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "action": verdict.action,
        "reason": verdict.reason,
        "budget": budget,
    }


def refusal(pod: Json, verdict: Verdict) -> str:
    """Why a pod with the action REFUSE is not evicted, and what to do."""
    metadata = pod["metadata"]
    deployment = (metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")
    remedy = _REMEDIES[verdict.reason].format(deployment=deployment, namespace=metadata["namespace"], name=metadata["name"])
    return f"{pod_name(pod)}: {remedy}"


# -- budgets ---------------------------------------------------------------------------------------------------------


def budgets_of(pod: Json, budgets: Iterable[Json]) -> list[Json]:
    """The PodDisruptionBudgets (of any namespace) that cover a pod.

    An empty selector covers every pod of its namespace, a missing one none (policy/v1).
    """
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    return [
        budget
        for budget in budgets
        if budget["metadata"]["namespace"] == metadata["namespace"]
        and (budget.get("spec") or {}).get("selector") is not None
        and matches(from_object(budget["spec"]["selector"]), labels)
    ]


def budget_text(pod: Json, budgets: Iterable[Json]) -> str:
    """The budgets that do not let a pod go now, or "" where none is in the way."""
    covering = budgets_of(pod, budgets)
    names = [f"PodDisruptionBudget {budget['metadata']['namespace']}/{budget['metadata']['name']}" for budget in covering]
    if len(covering) > 1:
        return f"{' and '.join(names)} (Kubernetes evicts no pod that is covered by more than one)"
    blocking = [(name, budget) for name, budget in zip(names, covering, strict=True) if _blocks(budget)]
    return "; ".join(f"{name} ({_why(budget)})" for name, budget in blocking)


def _status(budget: Json) -> Json:
    status: Json = budget.get("status") or {}
    return status


def _seen(budget: Json) -> bool:
    return int(_status(budget).get("observedGeneration", 0)) >= int(budget["metadata"].get("generation", 0))


def _blocks(budget: Json) -> bool:
    return not _seen(budget) or int(_status(budget).get("disruptionsAllowed", 0)) < 1


def _why(budget: Json) -> str:
    if not _seen(budget):
        return "its controller has not looked at it yet"
    status = _status(budget)
    return f"needs {status.get('desiredHealthy', 0)} healthy pods and has {status.get('currentHealthy', 0)}"


# -- what an eviction was answered ---------------------------------------------------------------------------------------

RETRY, GONE, FATAL = "retry", "gone", "fatal"


def answer(status: int, detail: str) -> str:
    """What a refused eviction means: RETRY (later, it may be allowed), GONE (that very pod is not there) or FATAL.

    `status` is the HTTP status, `detail` the API server's words. 429: a budget allows no disruption now, or the API server
    is busy. 504: it lost a race for the budget's status. A webhook's refusal is how operators ask for time to move what runs in
    the pod. A pod in a namespace that is being deleted is deleted with it.
    """
    if status == 404 or (status == 409 and "uid" in detail.lower()):
        return GONE
    waits = status in (409, 429, 504) or "denied the request" in detail or "is being terminated" in detail
    return RETRY if waits else FATAL


def stuck_text(pod: Json, seconds: float, words: str, budget: str, evicted: bool) -> str:
    """Why a pod is still there after `seconds`, and what to do.

    `words` is the API server's last refusal ("" for none), `budget` what budget_text found, `evicted` whether the
    eviction was accepted (or the pod was being deleted anyway).
    """
    who = pod_name(pod)
    if not evicted and budget:
        remedy = "wait for its other pods to become ready, add one, or change the budget; then run again"
        return f"{who}: {budget} allowed no eviction for {seconds:g} s; {remedy}"
    if not evicted:
        return f"{who}: not evicted after {seconds:g} s: {words[:_WORDS] or 'no time was left to ask'}; remove the cause and run again"
    metadata = pod["metadata"]
    finalizers = ", ".join(metadata.get("finalizers") or ())
    details = [f"its grace period is {metadata.get('deletionGracePeriodSeconds', 'unknown')} s"]
    if finalizers:
        details.append(f"finalizers {finalizers}")
    remedy = "look at its node's kubelet; run the same command again once it is gone, or allow more time (hostnet_step_timeout_seconds of a rollout)"
    return f"{who}: is being deleted and was not gone after {seconds:g} s ({'; '.join(details)}); {remedy}"


def summary(failures: Sequence[str]) -> str:
    """The first failures in one line, and how many more there are."""
    more = len(failures) - _NAMED
    return "; ".join(failures[:_NAMED]) + (f"; and {more} more: see failures" if more > 0 else "")
