# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clouds, autoscalers and upgraders leave on a Node before they take its VM, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout, signs
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.drain import CORDONED_BY_ANNOTATION
from support import plans

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


LEVELS = st.sampled_from(["", signs.MARKED, signs.GOING, signs.OFF])
MEMBERS = ["east-0", "east-1", "west-0"]


def world(levels: list[str]) -> tuple[list[Json], list[Json]]:
    """(bindings, nodes) of members whose VMs are of these levels."""
    nodes = [
        {**plans.node(name[:4], f"vm-{name}", "10.0.0.1"), "signs": [{"sign": "s", "level": level, "text": "t"}] if level else []}
        for name, level in zip(MEMBERS, levels, strict=True)
    ]
    return [{"member": name, "kube_cluster": name[:4], "node": f"vm-{name}"} for name in MEMBERS], nodes


@given(st.lists(LEVELS, min_size=3, max_size=3), st.sampled_from(MEMBERS))
def test_nobody_is_stopped_while_another_vm_goes_sooner(levels: list[str], member: str) -> None:
    bindings, nodes = world(levels)
    own = levels[MEMBERS.index(member)]
    order = ["", "marked", "going", "off"]
    sooner = [
        name for name, level in zip(MEMBERS, levels, strict=True) if level in ("going", "off") and order.index(level) > order.index(own)
    ]
    found = signs.leaving(bindings, nodes, member)
    assert [next(name for name in MEMBERS if f"member {name} " in line) for line in found] == sooner
    # A VM that is gone has no sign; its member is no reason here.
    assert signs.leaving(bindings, [], member) == []


@given(st.lists(LEVELS, min_size=3, max_size=3), st.sets(st.sampled_from(MEMBERS), max_size=2), st.sampled_from(["replace", "repair"]))
def test_whose_turn_it_is(levels: list[str], ended: set[str], work: str) -> None:
    bindings, nodes = world(levels)
    plan = {"members": [{"member": name, "work": work} for name in reversed(MEMBERS)], "ended": sorted(ended)}
    found = rollout.following(plan, {}, nodes, bindings)["member"]
    left = [name for name in reversed(MEMBERS) if name not in ended]
    order = ["", "marked", "going", "off"]
    urgency = {name: order.index(level) for name, level in zip(MEMBERS, levels, strict=True)}
    assert found in left
    if work == "repair":
        assert found == left[0]
    else:
        assert found == next(name for name in left if urgency[name] == max(urgency[other] for other in left))
    in_hand = left[-1]
    assert rollout.following(plan, {"member": {"member": in_hand}}, nodes, bindings)["member"] == in_hand
