# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs that a VM is about to go, as clouds, autoscalers and upgraders leave them on a Node object. Pure functions.

None of them asks before it takes a VM: a PodDisruptionBudget delays most of them for a while. So what can be done is to see it coming, and to stop
nobody else meanwhile. Only what the Kubernetes API shows of a Node is looked at; the phases of a cloud's own API are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

from .drain import cordon_of
from .names import OUT_OF_SERVICE

Level: TypeAlias = Literal["off", "going", "marked"]
# The VM is off; it was chosen, and goes next; it is one of those that will go, and others may go first.
OFF: Final = "off"
GOING: Final = "going"
MARKED: Final = "marked"
_URGENCY: dict[str, int] = {MARKED: 1, GOING: 2, OFF: 3}
# The least `urgency` of a node whose VM goes next.
GOES: Final = 2


class Sign(TypedDict):
    """One sign. `sign` is the key that it was read from, `text` says what it means, for people."""

    sign: str
    level: Level
    text: str


# Taints by their key: (level, what it means). Effects differ from version to version, and mean nothing here.
_TAINTS: dict[str, tuple[Level, str]] = {
    # https://kubernetes.io/docs/reference/labels-annotations-taints/
    "node.cloudprovider.kubernetes.io/shutdown": (OFF, "its cloud says that the VM is shut down"),
    OUT_OF_SERVICE: (OFF, "its host is marked as shut down"),
    # https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md; DeletionCandidateOfClusterAutoscaler comes and goes.
    "ToBeDeletedByClusterAutoscaler": (GOING, "the cluster autoscaler takes it away within minutes"),
    # https://karpenter.sh/docs/concepts/disruption/; the second is of versions before 1.0.
    "karpenter.sh/disrupted": (GOING, "Karpenter replaces it"),
    "karpenter.sh/disruption": (GOING, "Karpenter replaces it"),
    # https://cloud.google.com/kubernetes-engine/docs/how-to/handle-disruption-gpu-tpu
    "cloud.google.com/impending-node-termination": (GOING, "GKE terminates it"),
    "cloud.google.com/maintenance-window-started": (MARKED, "its host's maintenance window at Google has begun"),
    # https://github.com/aws/aws-node-termination-handler
    "aws-node-termination-handler/spot-itn": (GOING, "EC2 takes the spot instance back within two minutes"),
    "aws-node-termination-handler/asg-lifecycle-termination": (GOING, "its Auto Scaling group terminates it"),
    "aws-node-termination-handler/scheduled-maintenance": (MARKED, "EC2 has scheduled maintenance for it"),
    "aws-node-termination-handler/rebalance-recommendation": (MARKED, "EC2 recommends to rebalance the spot instance"),
    # https://cluster-api.sigs.k8s.io/reference/api/taint-propagation. All nodes of the older MachineSets have it from the beginning, and with the
    # strategy OnDelete until somebody deletes their Machines. Nor is it a choice where one is cordoned as well: people cordon what is old.
    "node.cluster.x-k8s.io/outdated-revision": (MARKED, "its MachineDeployment in Cluster API has a newer revision, and will replace it"),
}
_MAINTENANCE = "cloud.google.com/active-node-maintenance"
_SCHEDULED = "cloud.google.com/scheduled-maintenance-time"
# https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html; Karpenter writes its own name as the value.
_NO_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
# https://learn.microsoft.com/azure/aks/upgrade-aks-cluster and node-auto-repair
_AKS_REASON = "kubernetes.azure.com/azure-cluster-autoscaler-scale-down-disabled-reason"
_AKS_STATUS = "kubernetes.azure.com/upgrade-status"
_AKS_EVENT = "VMEventScheduled"
# https://github.com/openshift/machine-config-operator/blob/master/docs/MachineConfigDaemon.md
_MCO = "machineconfiguration.openshift.io"
# https://kured.dev/docs/configuration/
_KURED = "weave.works/kured-reboot-in-progress"
# Signs of nodes that are rebooted, and keep their VM.
REBOOTS = (f"{_MCO}/desiredConfig", _KURED)


def signs(node: Mapping[str, Any]) -> list[Sign]:
    """What a Node object (its JSON) tells of the end of its VM, the surest first; [] where nothing does.

    A cordon that a rollout of this collection has made is none.
    """
    metadata, spec = node["metadata"], node.get("spec") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = (node.get("status") or {}).get("conditions") or []
    cordon = cordon_of(node)
    cordoned = cordon.unschedulable and not cordon.owner
    ready = any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)
    found: list[Sign] = []

    def add(sign: str, level: Level, text: str) -> None:
        found.append({"sign": sign, "level": level, "text": text})

    for taint in spec.get("taints") or []:
        # A human's word is none where Kubernetes contradicts it (dead.is_dead).
        if taint.get("key") in _TAINTS and not (taint["key"] == OUT_OF_SERVICE and ready):
            add(str(taint["key"]), *_TAINTS[str(taint["key"])])
    if metadata.get("deletionTimestamp"):
        add("metadata.deletionTimestamp", GOING, "its Node object is being deleted")
    if labels.get(_MAINTENANCE) == "ONGOING":
        add(_MAINTENANCE, GOING, "its host's maintenance at Google is under way")
    if annotations.get(_AKS_REASON) == "upgrade":
        # Once it was made anew it takes pods again, and may still be marked.
        add(_AKS_REASON, GOING if cordoned else MARKED, "AKS upgrades it: it is drained, then its disk is re-created")
    for condition in conditions:
        if condition.get("type") == _AKS_EVENT and condition.get("status") == "True":
            add(
                _AKS_EVENT,
                GOING,
                f"Azure has scheduled an event for it: {condition.get('reason') or condition.get('message') or 'unknown'}",
            )
    wanted, current = annotations.get(f"{_MCO}/desiredConfig"), annotations.get(f"{_MCO}/currentConfig")
    if wanted and current and wanted != current:
        working = annotations.get(f"{_MCO}/state") == "Working"
        add(
            f"{_MCO}/desiredConfig",
            GOING if working else MARKED,
            "OpenShift drains and reboots it" if working else "OpenShift has another configuration for it, and will reboot it",
        )
    if annotations.get(_KURED):
        add(_KURED, GOING, "kured reboots it")
    for label in (_SCHEDULED, f"{_SCHEDULED}-latest"):
        if labels.get(label):
            add(label, MARKED, f"Google has scheduled maintenance of its host for {labels[label]}")
    if labels.get(_AKS_STATUS) == "Quarantined":
        add(_AKS_STATUS, MARKED, "AKS could not drain it, and upgrades it when this label is gone")
    if cordoned:
        old = labels.get(_NO_BALANCERS) == "true"
        add(
            _NO_BALANCERS if old else "spec.unschedulable",
            MARKED,
            "it is cordoned and out of the load balancers, as EKS does with nodes that it replaces" if old else "it is cordoned",
        )
    return sorted(found, key=lambda sign: (-_URGENCY[sign["level"]], sign["sign"]))


def level(found: Sequence[Mapping[str, Any]]) -> str:
    """The surest level of these signs, "" where there are none."""
    return max((str(sign["level"]) for sign in found), key=_URGENCY.__getitem__, default="")


def urgency(node: Mapping[str, Any] | None) -> int:
    """How soon the VM of this node (of nodes_info) goes: 0 for one without a sign, more for one that goes sooner."""
    return _URGENCY.get(level((node or {}).get("signs") or []), 0)


def goes(node: Mapping[str, Any]) -> bool:
    """Whether the VM of this node was chosen to go, or is off: no place for a member."""
    return urgency(node) >= GOES


def told(node: Mapping[str, Any] | None) -> str:
    """The signs of a node of nodes_info as text, the surest first; "" where there are none."""
    return "; ".join(f"{sign['text']} ({sign['sign']})" for sign in (node or {}).get("signs") or [])


def homes(bindings: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any] | None]:
    """The node of each member that is bound, as it is now; None where there is none of the name."""
    by_name = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    return {str(entry["member"]): by_name.get((str(entry["kube_cluster"]), str(entry["node"]))) for entry in bindings}
