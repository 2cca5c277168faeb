# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clouds, autoscalers and upgraders leave on a Node before they take its VM, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import signs
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.drain import CORDONED_BY_ANNOTATION

Json = dict[str, Any]
AKS = "kubernetes.azure.com/azure-cluster-autoscaler-scale-down-disabled-reason"
MCO = "machineconfiguration.openshift.io"


def node(*taints: str, unschedulable: bool = False, conditions: list[Json] | None = None, **metadata: Any) -> Json:
    spec = {"unschedulable": unschedulable, "taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    return {"metadata": {"name": "vm", **metadata}, "spec": spec, "status": {"conditions": conditions or []}}


SEEN = [
    # An autoscaler's opinion comes and goes; a taint of somebody else's means nothing here.
    ("nothing", node("DeletionCandidateOfClusterAutoscaler", "example.com/ledger", labels={"a": "b"}, annotations={"c": "d"}), [], ""),
    ("off", node("node.cloudprovider.kubernetes.io/shutdown"), ["node.cloudprovider.kubernetes.io/shutdown"], "off"),
    ("said to be off", node("node.kubernetes.io/out-of-service"), ["node.kubernetes.io/out-of-service"], "off"),
    ("autoscaler", node("ToBeDeletedByClusterAutoscaler"), ["ToBeDeletedByClusterAutoscaler"], "going"),
    ("Karpenter", node("karpenter.sh/disrupted"), ["karpenter.sh/disrupted"], "going"),
    ("deleted", node(deletionTimestamp="2026-01-01T00:00:00Z"), ["metadata.deletionTimestamp"], "going"),
    ("GKE terminates", node("cloud.google.com/impending-node-termination"), ["cloud.google.com/impending-node-termination"], "going"),
    (
        "GKE maintenance under way",
        node(labels={"cloud.google.com/active-node-maintenance": "ONGOING"}),
        ["cloud.google.com/active-node-maintenance"],
        "going",
    ),
    (
        "GKE maintenance to come",
        node(labels={"cloud.google.com/scheduled-maintenance-time": "1700000000"}),
        ["cloud.google.com/scheduled-maintenance-time"],
        "marked",
    ),
    ("spot", node("aws-node-termination-handler/spot-itn"), ["aws-node-termination-handler/spot-itn"], "going"),
    (
        "rebalance",
        node("aws-node-termination-handler/rebalance-recommendation"),
        ["aws-node-termination-handler/rebalance-recommendation"],
        "marked",
    ),
    (
        "EKS update",
        node(unschedulable=True, labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"}),
        ["node.kubernetes.io/exclude-from-external-load-balancers"],
        "marked",
    ),
    ("out of the load balancers alone", node(labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"}), [], ""),
    ("cordon", node(unschedulable=True), ["spec.unschedulable"], "marked"),
    ("our own cordon", node(unschedulable=True, annotations={CORDONED_BY_ANNOTATION: "ledger"}), [], ""),
    (
        "AKS upgrade",
        node(unschedulable=True, annotations={AKS: "upgrade"}),
        [AKS, "spec.unschedulable"],
        "going",
    ),
    (
        "AKS upgrade of one that we have cordoned",
        node(
            unschedulable=True,
            annotations={
                AKS: "upgrade",
                CORDONED_BY_ANNOTATION: "x",
            },
        ),
        [AKS],
        "marked",
    ),
    (
        "said to be off, and Ready",
        node("node.kubernetes.io/out-of-service", conditions=[{"type": "Ready", "status": "True"}]),
        [],
        "",
    ),
    (
        "AKS upgrade that is over for this one",
        node(annotations={AKS: "upgrade"}),
        [AKS],
        "marked",
    ),
    (
        "AKS gave up",
        node(labels={"kubernetes.azure.com/upgrade-status": "Quarantined"}),
        ["kubernetes.azure.com/upgrade-status"],
        "marked",
    ),
    (
        "Azure's event",
        node(conditions=[{"type": "VMEventScheduled", "status": "True", "reason": "RedeployScheduled"}]),
        ["VMEventScheduled"],
        "going",
    ),
    ("no event of Azure's", node(conditions=[{"type": "VMEventScheduled", "status": "False"}]), [], ""),
    (
        "OpenShift works",
        node(annotations={f"{MCO}/desiredConfig": "b", f"{MCO}/currentConfig": "a", f"{MCO}/state": "Working"}),
        [f"{MCO}/desiredConfig"],
        "going",
    ),
    (
        "OpenShift will",
        node(annotations={f"{MCO}/desiredConfig": "b", f"{MCO}/currentConfig": "a", f"{MCO}/state": "Done"}),
        [f"{MCO}/desiredConfig"],
        "marked",
    ),
    (
        "OpenShift is done",
        node(annotations={f"{MCO}/desiredConfig": "a", f"{MCO}/currentConfig": "a", f"{MCO}/state": "Done"}),
        [],
        "",
    ),
    ("kured", node(annotations={"weave.works/kured-reboot-in-progress": "2026"}), ["weave.works/kured-reboot-in-progress"], "going"),
    ("Cluster API's rollout", node("node.cluster.x-k8s.io/outdated-revision"), ["node.cluster.x-k8s.io/outdated-revision"], "marked"),
    (
        # Its own drain begins with a cordon, but so does a human's care; what says more is the eviction of a guard.
        "Cluster API's rollout, and a cordon",
        node("node.cluster.x-k8s.io/outdated-revision", unschedulable=True),
        ["node.cluster.x-k8s.io/outdated-revision", "spec.unschedulable"],
        "marked",
    ),
    (
        "whose Machine it is",
        node(
            "node.cluster.x-k8s.io/uninitialized",
            annotations={"cluster.x-k8s.io/machine": "a", "cluster.x-k8s.io/owner-kind": "MachineSet"},
        ),
        [],
        "",
    ),
    (
        "Karpenter deletes it",
        node(
            "karpenter.sh/disrupted",
            deletionTimestamp="2026-01-01T00:00:00Z",
            finalizers=["karpenter.sh/termination"],
            labels={"node.kubernetes.io/exclude-from-external-load-balancers": "karpenter"},
        ),
        ["karpenter.sh/disrupted", "metadata.deletionTimestamp"],
        "going",
    ),
    (
        "the surest first",
        node("cloud.google.com/maintenance-window-started", "ToBeDeletedByClusterAutoscaler", unschedulable=True),
        ["ToBeDeletedByClusterAutoscaler", "cloud.google.com/maintenance-window-started", "spec.unschedulable"],
        "going",
    ),
]


@pytest.mark.parametrize(("seen", "keys", "level"), [entry[1:] for entry in SEEN], ids=[entry[0] for entry in SEEN])
def test_what_a_node_tells(seen: Json, keys: list[str], level: str) -> None:
    found = signs.signs(seen)
    assert [sign["sign"] for sign in found] == keys
    assert signs.level(found) == level
    assert all(sign["text"] for sign in found)
    facts = {"signs": found}
    assert (signs.urgency(facts) > 0) == bool(keys)
    assert signs.goes(facts) == (level in ("off", "going"))


def test_what_goes_sooner_is_more_urgent() -> None:
    urgencies = [signs.urgency({"signs": signs.signs(one)}) for one in (node(), node(unschedulable=True), node("karpenter.sh/disrupted"))]
    urgencies.append(signs.urgency({"signs": signs.signs(node("node.kubernetes.io/out-of-service"))}))
    assert urgencies == sorted(set(urgencies))
    assert signs.urgency(None) == signs.urgency({}) == urgencies[0] == 0
