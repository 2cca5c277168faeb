# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cloud does to the nodes of a pool: in which order, to which pods, for how long. Pure functions; pool_run.py does it.

Nothing here knows what runs on the nodes. Where clouds differ from version to version, this is their default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]

GKE, BLUE_GREEN, EKS, AKS, KARPENTER, MCO, CAPI = "gke", "gke-blue-green", "eks", "aks", "karpenter", "mco", "capi"
UPGRADES = (GKE, BLUE_GREEN, EKS, AKS, KARPENTER, MCO, CAPI)
REPAIRS = (GKE, AKS)
DEFAULT_FACTOR = 60.0

NO_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
DISRUPTED = "karpenter.sh/disrupted"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
FINALIZER = "karpenter.sh/termination"
AKS_DISABLED = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
AKS_REASON = "kubernetes.azure.com/azure-cluster-autoscaler-scale-down-disabled-reason"
_MCO = "machineconfiguration.openshift.io"
CURRENT, DESIRED, CONFIG_STATE = f"{_MCO}/currentConfig", f"{_MCO}/desiredConfig", f"{_MCO}/state"
_CAPI = "cluster.x-k8s.io"
OUTDATED = f"node.{_CAPI}/outdated-revision"
DRAIN = f"{_CAPI}/drain"  # a pod's label: skip, or wait-completed
_MIRROR = "kubernetes.io/config.mirror"
_CRITICAL = ("system-cluster-critical", "system-node-critical")
_POOL = "lab"


# -- times -----------------------------------------------------------------------------------------------------------

# Seconds, as the clouds' own documentation has them. What a cloud lets its user set has an option (pool_options.py).
_TIMES: dict[str, dict[str, float]] = {
    GKE: {"drain": 3600},
    BLUE_GREEN: {"drain": 3600, "batch soak": 300, "pool soak": 3600},
    EKS: {"drain": 900, "pause": 60},
    AKS: {"drain": 1800},
    KARPENTER: {},  # for ever, unless a NodeClaim has a terminationGracePeriod
    MCO: {"event": 3600},  # an event DrainFailed, and no end
    CAPI: {"drain loop": 20},  # for ever, unless a Machine has a nodeDrainTimeout
}
_REPAIR_TIMES: dict[str, dict[str, float]] = {GKE: {"not ready": 600, "drain": 3600}, AKS: {"not ready": 600, "after the reboot": 300}}
_TIMES_SET = {
    "grace": "drain",
    "batch_soak": "batch soak",
    "soak": "pool soak",
    "drain_timeout": "drain",
    "pre_drain": "pre-drain hook",
    "pre_terminate": "pre-terminate hook",
}


def times(cloud: str, factor: float, repair: bool = False, chosen: Mapping[str, float] | None = None) -> dict[str, float]:
    """The cloud's times in the lab's seconds; `chosen` are those that the user has set, in the cloud's seconds."""
    real = {**(_REPAIR_TIMES if repair else _TIMES)[cloud], **{_TIMES_SET[name]: value for name, value in (chosen or {}).items()}}
    return {name: seconds / factor for name, seconds in real.items()}


def retry(limit: float | None, loop: float = 5.0) -> float:
    """Seconds between two evictions of one pod: five, as kubectl has it, or the cloud's own `loop`, but several within any limit."""
    again = max(1.0, loop)
    return again if limit is None else min(again, max(1.0, limit / 6))


# -- what nodes are made of ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marks:
    """How a cloud's nodes say in which pool they are, and of what they were made."""

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    kubelet_version: str = ""  # empty: as it is


def marks(cloud: str, generation: int, version: str, name: str = "") -> Marks:
    """Of node `name` of this generation, in a kube cluster whose kubelets are of `version` (without v). No cloud: no marks.

    A new generation of GKE or OpenShift has another kubelet or OS image and no label. The lab has one kubelet, but that can be told
    to report another pre-release of its version, as GKE and EKS name theirs. OpenShift changes nodes in place: an annotation. Cluster API
    writes down whose Machine a node is, and nothing of the MachineDeployment but what the MachineSet's name begins with.
    """
    if cloud in (GKE, BLUE_GREEN):
        return Marks({"cloud.google.com/gke-nodepool": _POOL}, {}, f"v{version}-gke.{1000 + generation}")
    if cloud == EKS:
        image = {"eks.amazonaws.com/nodegroup": _POOL, "eks.amazonaws.com/nodegroup-image": f"ami-{generation:017x}"}
        return Marks(image, {}, f"v{version}-eks-{generation:07x}")
    if cloud == AKS:
        image_version = "kubernetes.azure.com/node-image-version"
        return Marks({"kubernetes.azure.com/agentpool": _POOL, image_version: f"AKSUbuntu-2204gen2containerd-2026.{generation}.0"})
    if cloud == KARPENTER:
        return Marks({"karpenter.sh/nodepool": _POOL}, {"karpenter.sh/nodepool-hash": str(10**18 + generation)})
    if cloud == MCO:
        return Marks({}, {CURRENT: config(generation), DESIRED: config(generation), CONFIG_STATE: "Done"})
    if cloud == CAPI:
        owner = f"{_POOL}-{generation:05x}"
        names = {"cluster-name": _POOL, "cluster-namespace": "default", "machine": f"{owner}-{name}"}
        names |= {"owner-kind": "MachineSet", "owner-name": owner}
        return Marks({}, {f"{_CAPI}/{key}": value for key, value in names.items()})
    return Marks()


def same_cloud(one: str, other: str) -> bool:
    """Two ways of upgrading that one cloud has share its marks."""
    return marks(one, 0, "") == marks(other, 0, "")


def config(generation: int) -> str:
    """OpenShift's name of a node's configuration."""
    return f"rendered-worker-{generation:032x}"


def mark_patch(item: Json, cloud: str, generation: int, version: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Merge patch that makes a node that was there before look like one of the cloud's pool; {} where it does. The marks of
    other clouds go: a kube cluster is in one. Those that it has of this cloud stay: they say what it was made of."""
    wanted = marks(cloud, generation, version, item["metadata"].get("name", ""))
    foreign = [marks(other, 0, version) for other in UPGRADES if not same_cloud(other, cloud)]
    metadata: dict[str, Any] = {}
    for kind in ("labels", "annotations"):
        has = item["metadata"].get(kind) or {}
        own: dict[str, str] = {**getattr(wanted, kind), **(labels if kind == "labels" else {})}
        change: dict[str, str | None] = {
            key: value for key, value in own.items() if key not in has or (key in labels and has[key] != value)
        }
        change |= {key: None for other in foreign for key in getattr(other, kind) if key in has and key not in own}
        if change:
            metadata[kind] = change
    return {"metadata": metadata} if metadata else {}


def told(patch: Mapping[str, Any]) -> str:
    """The labels and annotations of such a patch, for people."""
    changes = [change for kind in ("labels", "annotations") for change in (patch["metadata"].get(kind) or {}).items()]
    return ", ".join(f"{key}={value}" if value is not None else f"without {key}" for key, value in changes)


def target(generation: int, workers: Mapping[str, int], pool: Iterable[str], same: bool) -> int:
    """The generation that the upgrade is to. One that was cut short is gone on with; otherwise it is the next.

    `generation` is the one that new VMs of the kube cluster get, `workers` those of the present ones, `same` whether the cloud is.
    """
    begun = same and any(workers[name] < generation for name in pool if name in workers)
    return generation if begun else generation + 1


# -- order -----------------------------------------------------------------------------------------------------------


def order(cloud: str, zones: Mapping[str, str], seed: int) -> list[str]:
    """The nodes (with their zones) in the order in which the cloud takes them: at random, and in GKE one zone after the other."""

    def at_random(text: str) -> bytes:
        return hashlib.sha256(f"{seed}/{text}".encode()).digest()

    by_zone = cloud in (GKE, BLUE_GREEN)
    return sorted(zones, key=lambda name: (at_random(zones[name]) if by_zone else b"", at_random(name)))


@dataclass(frozen=True)
class Step:
    """One thing that a cloud does. pool_run.py has a function for each `do`."""

    do: str
    node: str = ""
    count: int = 1  # surge: nodes more than the pool's size


def first_steps(cloud: str, names: Sequence[str]) -> list[Step]:
    """Before the first node, which is names[0]."""
    if cloud == BLUE_GREEN:
        return [Step("surge", names[0], len(names)), *(Step("cordon", name) for name in names)]
    if cloud == EKS:
        return [Step("surge", names[0]), *(Step(do, name) for name in names for do in ("cordon", "out_of_balancers"))]
    if cloud == AKS:
        return [Step("budgets"), Step("surge")]  # a buffer's zone is not chosen
    if cloud == CAPI:
        return [Step("outdate", name) for name in names]
    return []


def node_steps(cloud: str, name: str) -> list[Step]:
    """For one node; done one node at a time."""
    names = {
        GKE: ("surge", "cordon", "drain", "remove"),
        BLUE_GREEN: ("drain", "batch_soak"),
        EKS: ("surge", "drain", "pause", "remove"),
        AKS: ("announce", "cordon", "drain", "reimage", "uncordon"),
        KARPENTER: ("disrupt", "surge", "delete", "out_of_balancers", "drain", "remove"),
        MCO: ("desire", "cordon", "drain", "reboot", "uncordon", "done"),
        # A Machine that is being deleted counts (maxSurge), so the next one comes when it is gone.
        CAPI: ("surge", "pre_drain", "cordon", "drain", "pre_terminate", "remove"),
    }[cloud]
    return [Step(do, name) for do in names]


def last_steps(cloud: str, names: Sequence[str]) -> list[Step]:
    """After the last node. A pool that has more nodes than its size loses those that came for the upgrade."""
    if cloud == BLUE_GREEN:
        return [Step("pool_soak"), *(Step("remove", name) for name in names), Step("trim")]
    return [] if cloud == MCO else [Step("trim")]


def choose(names: Sequence[str], blocked: Mapping[str, Sequence[str]]) -> str:
    """The first that nothing blocks, "" where there is none. Karpenter takes whichever node may go."""
    return next((name for name in names if not blocked.get(name)), "")


# -- pods ------------------------------------------------------------------------------------------------------------


def pod_name(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _by_daemon_set(pod: Json) -> bool:
    return any(owner.get("kind") == "DaemonSet" and owner.get("controller") for owner in pod["metadata"].get("ownerReferences") or [])


def _annotation(pod: Json, name: str) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(name, ""))


def _runs(pod: Json) -> bool:
    """Nothing of a finished pod is on the VM, and a mirror pod is only a picture of one that the kubelet has from a file."""
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") and not _annotation(pod, _MIRROR)


def tolerates(pod: Json, key: str, value: str = "", effect: str = "NoSchedule") -> bool:
    for toleration in (pod.get("spec") or {}).get("tolerations") or []:
        exists = toleration.get("operator") == "Exists"
        same_key = toleration.get("key") == key or (not toleration.get("key") and exists)
        if same_key and toleration.get("effect") in (None, "", effect) and (exists or (toleration.get("value") or "") == value):
            return True
    return False


def _drain_label(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(DRAIN, "")).lower()


def evictable(pods: Iterable[Json], cloud: str) -> list[Json]:
    """The pods that have to be gone from a node before its drain is over: Karpenter's rules, or those of `kubectl drain --ignore-daemonsets
    --force`, from which Cluster API excepts pods that say so."""
    if cloud == KARPENTER:
        return [pod for pod in pods if _runs(pod) and not tolerates(pod, DISRUPTED)]
    return [pod for pod in pods if _runs(pod) and not _by_daemon_set(pod) and not (cloud == CAPI and _drain_label(pod) == "skip")]


def wave(pods: Sequence[Json], cloud: str) -> list[Json]:
    """Those of the evictable pods that go now. Karpenter's come one after the other: normal pods, normal ones of DaemonSets, critical
    ones, critical ones of DaemonSets; the next when the one before is gone."""
    if cloud != KARPENTER:
        return list(pods)

    def rank(pod: Json) -> tuple[bool, bool]:
        return (pod.get("spec") or {}).get("priorityClassName") in _CRITICAL, _by_daemon_set(pod)

    first = min(map(rank, pods), default=None)
    return [pod for pod in pods if rank(pod) == first]


@dataclass(frozen=True)
class Drain:
    """What a drain does now: `over` (nothing is left), `limit` (time is up for those in `left`), or evict these and look again."""

    over: bool = False
    limit: bool = False
    left: tuple[str, ...] = ()
    evict: tuple[Json, ...] = ()


def drain(pods: Iterable[Json], cloud: str, spent: float, limit: float | None, asked: Mapping[str, float], loop: float = 5.0) -> Drain:
    """`spent` seconds after it began; `asked` says when (as `spent`) the eviction of a pod (by UID) was asked for last; `loop`: see retry()."""
    here = evictable(pods, cloud)
    left = tuple(sorted(map(pod_name, here)))
    if not here:
        return Drain(over=True)
    if limit is not None and spent >= limit:
        return Drain(limit=True, left=left)
    again = retry(limit, loop)

    def due(pod: Json) -> bool:
        if pod["metadata"].get("deletionTimestamp") or (cloud == KARPENTER and _annotation(pod, DO_NOT_DISRUPT) == "true"):
            return False
        if cloud == CAPI and _drain_label(pod) == "wait-completed":
            return False
        last = asked.get(str(pod["metadata"].get("uid")))
        return last is None or spent - last >= again

    return Drain(left=left, evict=tuple(pod for pod in wave(here, cloud) if due(pod)))


def forces(cloud: str, force: bool, surplus: bool) -> bool:
    """Whether the pods that are left at the limit are deleted; else the upgrade fails. EKS makes a group smaller without asking."""
    return cloud in (GKE, BLUE_GREEN, KARPENTER) or (cloud == EKS and (force or surplus))


def leaves(cloud: str) -> bool:
    """Whether the pods that are left at the limit go with the VM, instead of before it. Cluster API only stops to drain."""
    return cloud == CAPI


# -- budgets ---------------------------------------------------------------------------------------------------------


def _selects(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """As a PodDisruptionBudget (policy/v1) reads it: an empty selector is everything, none is nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or []:
        value, values = labels.get(rule["key"]), rule.get("values") or []
        held = {"In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None}
        if not held[rule["operator"]]:
            return False
    return True


def disruption_blocks(pods: Iterable[Json], budgets: Sequence[Json]) -> list[str]:
    """Why Karpenter does not choose the node of these pods, a text for each reason."""
    found = []
    for pod in filter(_runs, pods):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        if _annotation(pod, DO_NOT_DISRUPT) == "true":
            found.append(f"pod {pod_name(pod)} has {DO_NOT_DISRUPT}")
        if tolerates(pod, DISRUPTED):
            continue
        labels = pod["metadata"].get("labels") or {}
        over = [
            budget
            for budget in budgets
            if budget["metadata"]["namespace"] == pod["metadata"]["namespace"] and _selects(budget["spec"].get("selector"), labels)
        ]
        if len(over) > 1:
            found.append(f"pod {pod_name(pod)} has {len(over)} PodDisruptionBudgets")
        elif over and not (over[0].get("status") or {}).get("disruptionsAllowed"):
            found.append(f"PodDisruptionBudget {over[0]['metadata']['name']} does not allow the eviction of pod {pod_name(pod)}")
    return found


def unsatisfiable(budgets: Iterable[Json]) -> list[str]:
    """Budgets because of which AKS does not even begin: those with maxUnavailable 0. minAvailable is not looked at."""
    return sorted(pod_name(budget) for budget in budgets if str(budget["spec"].get("maxUnavailable", "")) in ("0", "0%"))


# -- what an interrupt leaves ------------------------------------------------------------------------------------------


def mended(item: Json) -> dict[str, Any]:
    """Merge patch for a node that was about to go and stays; {} where there is nothing to mend. Taints come on top."""
    labels, annotations = item["metadata"].get("labels") or {}, item["metadata"].get("annotations") or {}
    metadata: dict[str, Any] = {}
    if NO_BALANCERS in labels:
        metadata["labels"] = {NO_BALANCERS: None}
    gone: dict[str, str | None] = {key: None for key in (AKS_DISABLED, AKS_REASON) if key in annotations}
    if annotations.get(DESIRED) != annotations.get(CURRENT):
        gone |= {DESIRED: annotations.get(CURRENT), CONFIG_STATE: "Done"}
    if gone:
        metadata["annotations"] = gone
    patch: dict[str, Any] = {"metadata": metadata} if metadata else {}
    if (item.get("spec") or {}).get("unschedulable"):
        patch["spec"] = {"unschedulable": None}
    return patch


def tainted(item: Json, key: str) -> bool:
    return any(taint.get("key") == key for taint in (item.get("spec") or {}).get("taints") or [])
