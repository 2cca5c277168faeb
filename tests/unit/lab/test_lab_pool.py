# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cloud does to a pool: order, pods, times, marks, options. Pure functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.collection import CHECKOUT

Json = dict[str, Any]
DISRUPTED = {"key": "karpenter.sh/disrupted", "operator": "Exists"}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package, with its modules pool and pool_options."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "molecule" / "lab"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import lablib
    from lablib import pool, pool_options  # noqa: F401

    yield lablib
    for name in [name for name in sys.modules if name.split(".")[0] == "lablib"]:
        del sys.modules[name]


@pytest.fixture
def pool(lab: Any) -> Any:
    return lab.pool


def pod(name: str, **told: Any) -> Json:
    """`owner` is the kind of its controller, `spec`, `phase`, `annotations`, `labels` are its own, `going` that it is being deleted."""
    metadata: Json = {"namespace": "ns", "name": name, "uid": f"uid-{name}"}
    metadata |= {key: told[key] for key in ("labels", "annotations") if key in told}
    if "owner" in told:
        metadata["ownerReferences"] = [{"kind": told["owner"], "controller": True}]
    if told.get("going"):
        metadata["deletionTimestamp"] = "2026-11-01T00:00:00Z"
    return {"metadata": metadata, "spec": told.get("spec", {}), "status": {"phase": told.get("phase", "Running")}}


def budget(name: str, selector: Json | None, allowed: int = 0, **spec: Any) -> Json:
    return {
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"selector": selector, **spec},
        "status": {"disruptionsAllowed": allowed},
    }


def names(pods: Any) -> list[str]:
    return [found["metadata"]["name"] for found in pods]


PODS = [
    pod("stateful", owner="StatefulSet"),
    pod("alone"),
    pod("daemon", owner="DaemonSet"),
    pod("mirror", annotations={"kubernetes.io/config.mirror": "x"}),
    pod("finished", phase="Succeeded"),
    pod("tolerant", spec={"tolerations": [{"operator": "Exists"}]}),
]


@pytest.mark.parametrize(
    ("cloud", "left"),
    [(cloud, ["stateful", "alone", "tolerant"]) for cloud in ("gke", "gke-blue-green", "eks", "aks", "mco", "capi")]
    + [("karpenter", ["stateful", "alone", "daemon"])],
)
def test_evictable_pods(pool: Any, cloud: str, left: list[str]) -> None:
    assert names(pool.evictable(PODS, cloud)) == left


@pytest.mark.parametrize(
    ("toleration", "does"),
    [
        ({"operator": "Exists"}, True),
        (DISRUPTED, True),
        ({**DISRUPTED, "effect": "NoSchedule"}, True),
        ({**DISRUPTED, "effect": "NoExecute"}, False),
        ({"key": "karpenter.sh/disrupted"}, True),
        ({"key": "karpenter.sh/disrupted", "value": "x"}, False),
        ({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}, False),
        ({"effect": "NoSchedule"}, False),
    ],
)
def test_tolerations(pool: Any, toleration: Json, does: bool) -> None:
    assert pool.tolerates(pod("x", spec={"tolerations": [toleration]}), pool.DISRUPTED) is does


def test_karpenter_drains_in_waves(pool: Any) -> None:
    critical = {"priorityClassName": "system-cluster-critical"}
    left = [pod("d", owner="DaemonSet", spec=critical), pod("c", spec=critical), pod("b", owner="DaemonSet"), pod("a")]
    seen = []
    while left:
        step = pool.drain(left, "karpenter", 0.0, None, {})
        seen.append(names(step.evict))
        left = [found for found in left if found not in step.evict]
    assert seen == [["a"], ["b"], ["c"], ["d"]]
    waits = pool.drain([pod("a", annotations={pool.DO_NOT_DISRUPT: "true"})], "karpenter", 0.0, None, {})
    assert (waits.over, waits.evict, waits.left) == (False, (), ("ns/a",))
    assert names(pool.drain([pod("a", going=True), pod("c", spec=critical)], "karpenter", 0.0, None, {}).evict) == [], (
        "the wave before is not gone"
    )


def test_pods_say_how_cluster_api_drains_them(pool: Any) -> None:
    skipped, awaited = pod("a", labels={pool.DRAIN: "Skip"}), pod("b", labels={pool.DRAIN: "wait-completed"})
    step = pool.drain([skipped, awaited, pod("c")], "capi", 0.0, None, {}, 20.0)
    assert (names(step.evict), step.left) == (["c"], ("ns/b", "ns/c"))
    assert pool.drain([skipped], "capi", 0.0, None, {}, 20.0).over
    assert names(pool.drain([pod("c")], "capi", 19.0, None, {"uid-c": 0.0}, 20.0).evict) == []
    assert names(pool.drain([pod("c")], "capi", 20.0, None, {"uid-c": 0.0}, 20.0).evict) == ["c"]
    assert names(pool.drain([skipped, awaited], "gke", 0.0, None, {}).evict) == ["a", "b"], "that label means nothing elsewhere"


def test_a_drain_evicts_again_waits_and_ends(pool: Any) -> None:
    here = [pod("a"), pod("b", going=True), pod("c", owner="DaemonSet")]
    first = pool.drain(here, "gke", 0.0, 60.0, {})
    assert (names(first.evict), first.left, first.over, first.limit) == (["a"], ("ns/a", "ns/b"), False, False)
    assert names(pool.drain(here, "gke", 4.0, 60.0, {"uid-a": 0.0}).evict) == []
    assert names(pool.drain(here, "gke", 5.0, 60.0, {"uid-a": 0.0}).evict) == ["a"]
    late = pool.drain(here, "gke", 60.0, 60.0, {"uid-a": 55.0})
    assert (late.limit, late.left, late.evict) == (True, ("ns/a", "ns/b"), ())
    assert pool.drain([pod("c", owner="DaemonSet")], "gke", 99.0, 60.0, {}).over, "nothing is left, however late"
    assert not pool.drain(here, "mco", 10**6, None, {}).limit


def test_times(pool: Any) -> None:
    assert pool.times("gke", 60) == {"drain": 60}
    assert pool.times("gke-blue-green", 60, chosen={"soak": 7200}) == {"drain": 60, "batch soak": 5, "pool soak": 120}
    assert pool.times("eks", 60) == {"drain": 15, "pause": 1}
    assert pool.times("aks", 360) == {"drain": 5}
    assert pool.times("karpenter", 60) == {}
    assert pool.times("karpenter", 60, chosen={"grace": 600}) == {"drain": 10}
    assert pool.times("mco", 60) == {"event": 60}
    assert pool.times("capi", 20) == {"drain loop": 1}
    chosen = {"drain_timeout": 600, "pre_drain": 100, "pre_terminate": 20}
    wanted = {"drain loop": 2, "drain": 60, "pre-drain hook": 10, "pre-terminate hook": 2}
    assert pool.times("capi", 10, chosen=chosen) == wanted
    assert pool.times("gke", 60, repair=True) == {"not ready": 10, "drain": 60}
    assert [pool.retry(limit) for limit in (None, 3600, 12, 2)] == [5, 5, 2, 1]
    assert [pool.retry(limit, loop) for limit, loop in ((None, 20), (3600, 20), (12, 20), (None, 0.3))] == [20, 20, 2, 1]


def test_who_goes_on_at_the_limit(pool: Any) -> None:
    assert [cloud for cloud in pool.UPGRADES if pool.forces(cloud, False, False)] == ["gke", "gke-blue-green", "karpenter"]
    assert pool.forces("eks", True, False)
    assert pool.forces("eks", False, True)
    assert not pool.forces("aks", False, True)
    assert [cloud for cloud in pool.UPGRADES if pool.leaves(cloud)] == ["capi"]


def test_order(pool: Any) -> None:
    zones = {"a1": "a", "b1": "b", "a2": "a", "b2": "b", "a3": "a", "b3": "b"}
    found = {tuple(pool.order("eks", zones, seed)) for seed in range(20)}
    assert len(found) > 10
    assert all(sorted(one) == sorted(zones) for one in found)
    assert pool.order("eks", zones, 3) == pool.order("eks", dict(reversed(zones.items())), 3)
    for seed in range(20):
        at = [zones[name] for name in pool.order("gke", zones, seed)]
        assert at in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3), "one zone after the other"
    assert len({tuple(pool.order("gke", zones, seed)) for seed in range(20)}) > 5


def plan(pool: Any, cloud: str) -> list[str]:
    """All steps for a pool of two, as they are done."""
    pair = ["n1", "n2"]
    each = [step for name in pair for step in pool.node_steps(cloud, name)]
    return [f"{step.do} {step.node}".strip() for step in [*pool.first_steps(cloud, pair), *each, *pool.last_steps(cloud, pair)]]


def test_gke_takes_one_node_after_the_other_came(pool: Any) -> None:
    one = ["surge {0}", "cordon {0}", "drain {0}", "remove {0}"]
    assert plan(pool, "gke") == [text.format(name) for name in ("n1", "n2") for text in one] + ["trim"]


def test_blue_green_cordons_all_before_the_first_drain_and_removes_all_after_the_soak(pool: Any) -> None:
    drains = ["drain n1", "batch_soak n1", "drain n2", "batch_soak n2"]
    assert plan(pool, "gke-blue-green") == ["surge n1", "cordon n1", "cordon n2", *drains, "pool_soak", "remove n1", "remove n2", "trim"]
    assert pool.first_steps("gke-blue-green", ["n1", "n2"])[0].count == 2


def test_eks_cordons_all_before_the_first_drain(pool: Any) -> None:
    first = ["surge n1", "cordon n1", "out_of_balancers n1", "cordon n2", "out_of_balancers n2"]
    each = [f"{do} {name}" for name in ("n1", "n2") for do in ("surge", "drain", "pause", "remove")]
    assert plan(pool, "eks") == [*first, *each, "trim"]


def test_aks_looks_at_the_budgets_first_and_removes_its_buffer_last(pool: Any) -> None:
    each = [f"{do} {name}" for name in ("n1", "n2") for do in ("announce", "cordon", "drain", "reimage", "uncordon")]
    assert plan(pool, "aks") == ["budgets", "surge", *each, "trim"]


def test_karpenter_replaces_before_it_deletes(pool: Any) -> None:
    each = [f"{do} {name}" for name in ("n1", "n2") for do in ("disrupt", "surge", "delete", "out_of_balancers", "drain", "remove")]
    assert plan(pool, "karpenter") == [*each, "trim"]


def test_openshift_keeps_the_nodes(pool: Any) -> None:
    each = [f"{do} {name}" for name in ("n1", "n2") for do in ("desire", "cordon", "drain", "reboot", "uncordon", "done")]
    assert plan(pool, "mco") == each


def test_cluster_api_marks_all_and_replaces_one_after_the_other(pool: Any) -> None:
    each = [f"{do} {name}" for name in ("n1", "n2") for do in ("surge", "pre_drain", "cordon", "drain", "pre_terminate", "remove")]
    assert plan(pool, "capi") == ["outdate n1", "outdate n2", *each, "trim"]


def test_what_keeps_karpenter_from_a_node(pool: Any) -> None:
    labels = {"app": "db", "tier": "1"}
    expression = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}, {"key": "new", "operator": "DoesNotExist"}]}
    for selector, matches in (
        ({"matchLabels": {"app": "db"}}, True),
        ({"matchLabels": {"app": "web"}}, False),
        (expression, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({}, True),
        (None, False),
    ):
        assert bool(pool.disruption_blocks([pod("a", labels=labels)], [budget("b", selector)])) is matches, selector
    everything: Json = {}
    assert pool.disruption_blocks([pod("a")], [budget("b", everything, allowed=1)]) == []
    assert pool.disruption_blocks([pod("a")], [budget("b", everything, 1), budget("c", everything, 1)]) == [
        "pod ns/a has 2 PodDisruptionBudgets"
    ]
    other = budget("b", everything)
    other["metadata"]["namespace"] = "other"
    assert pool.disruption_blocks([pod("a")], [other]) == []
    assert pool.disruption_blocks([pod("a", owner="DaemonSet")], [budget("b", everything)]), "pods of DaemonSets count"
    free = [pod("a", spec={"tolerations": [DISRUPTED]}), pod("b", phase="Failed"), pod("c", going=True)]
    assert pool.disruption_blocks(free, [budget("b", everything)]) == []
    assert pool.disruption_blocks([pod("a", annotations={pool.DO_NOT_DISRUPT: "true"})], []) == [f"pod ns/a has {pool.DO_NOT_DISRUPT}"]
    assert pool.choose(["a", "b"], {"a": ["x"], "b": []}) == "b"
    assert pool.choose(["a"], {"a": ["x"]}) == ""


def test_budgets_that_aks_does_not_begin_with(pool: Any) -> None:
    selector = {"matchLabels": {"app": "db"}}
    found = [
        budget("none", selector, maxUnavailable=0),
        budget("one", selector, maxUnavailable=1),
        budget("least", selector, minAvailable=3),
    ]
    assert pool.unsatisfiable([*found, budget("percent", selector, maxUnavailable="0%")]) == ["ns/none", "ns/percent"]


@pytest.mark.parametrize(
    ("generation", "workers", "same", "wanted"),
    [
        (0, {"a": 0, "b": 0}, True, 1),
        (1, {"a": 1, "b": 1}, True, 2),
        (1, {"a": 1, "b": 0}, True, 1),
        (1, {"a": 1, "b": 0}, False, 2),
    ],
)
def test_an_upgrade_that_was_cut_short_goes_on(pool: Any, generation: int, workers: dict[str, int], same: bool, wanted: int) -> None:
    assert pool.target(generation, workers, workers, same) == wanted
    assert pool.target(1, {"a": 1, "b": 0}, ["a"], True) == 2, "the others are of another pool"


def test_generations_differ_as_the_collection_reads_them(pool: Any) -> None:
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import node_facts

    for cloud in pool.UPGRADES:
        seen = []
        for generation in (0, 1, 2):
            found = pool.marks(cloud, generation, "1.36.3", "n")
            item = {
                "metadata": {"name": "n", "labels": found.labels, "annotations": found.annotations},
                "status": {"nodeInfo": {"kubeletVersion": found.kubelet_version or "v1.36.3"}},
            }
            seen.append(node_facts(item, "west", "InternalIP")["generation"])
            assert ("lab" in found.labels.values()) is (cloud not in ("mco", "capi")), "the pool's name"
        assert len(set(seen)) == (1 if cloud == "mco" else 3), "OpenShift changes nodes in place"


def test_the_collection_follows_what_cluster_api_shows(pool: Any) -> None:
    """The taint alone begins nobody's turn, the drain does, and the node that came before it is the successor."""
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import follow, successor
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import node_facts

    def seen(name: str, generation: int, cordoned: bool = False) -> Any:
        metadata = {"name": name, "uid": f"uid-{name}", "labels": {"topology.kubernetes.io/zone": "a"}}
        metadata |= {
            "annotations": pool.marks("capi", generation, "1.36.3", name).annotations,
            "creationTimestamp": f"2026-01-0{generation + 1}",
        }
        spec = {"providerID": f"lab:///{name}", "unschedulable": cordoned}
        spec["taints"] = [] if generation else [{"key": pool.OUTDATED, "effect": "PreferNoSchedule"}]
        status = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": f"10.0.0.{len(name)}"}],
        }
        return node_facts(
            {"metadata": metadata, "spec": spec, "status": {**status, "nodeInfo": {"kubeletVersion": "v1.36.3"}}}, "west", "InternalIP"
        )

    bindings = [
        {
            "member": f"m-{name}",
            "kube_cluster": "west",
            "node": name,
            "node_uid": f"uid-{name}",
            "address": f"10.0.0.{len(name)}",
            "zone": "a",
        }
        for name in ("n", "nn")
    ]
    guards: Any = [{"kube_cluster": "west", "member": entry["member"], "node": entry["node"], "run": 2, "ending": 0} for entry in bindings]
    members, new = ["m-n", "m-nn"], seen("nnn", 1)
    assert follow.due(bindings, [seen("n", 0), seen("nn", 0), new], guards, members) == {}
    guards[1]["run"] = 1
    found = follow.due(bindings, [seen("n", 0), seen("nn", 0, cordoned=True), new], guards, members)
    assert found == {"m-nn": "west: node nn is drained: one of its guard pods was evicted"}
    known = {"seen": [node["uid"] for node in (seen("n", 0), seen("nn", 0), new)], "generation": seen("nn", 0)["generation"], "pool": ""}
    nodes = [seen("n", 0), seen("nn", 0, cordoned=True), new]
    chosen = successor.identify(bindings[1], nodes, bindings, {**known, "created": seen("nn", 0)["created"]}, True)
    assert chosen["node"]["name"] == "nnn"
    older = successor.identify(bindings[1], [*nodes[:2], seen("nnn", 0)], bindings, {**known, "created": seen("nn", 0)["created"]}, True)
    assert older["node"] is None, "a free node of the old MachineSet goes too"


def test_old_nodes_are_marked_once(pool: Any) -> None:
    item: Json = {"metadata": {"labels": {"zone": "a"}}}
    patch = pool.mark_patch(item, "eks", 0, "1.36.3", {"team": "x"})
    labels = {"eks.amazonaws.com/nodegroup": "lab", "eks.amazonaws.com/nodegroup-image": "ami-00000000000000000", "team": "x"}
    assert patch == {"metadata": {"labels": labels}}
    item["metadata"]["labels"] |= labels
    assert pool.mark_patch(item, "eks", 1, "1.36.3", {"team": "x"}) == {}, "what it was made of does not change"
    change = pool.mark_patch(item, "karpenter", 0, "1.36.3", {"team": "y"})["metadata"]
    assert change["labels"] == {
        "karpenter.sh/nodepool": "lab",
        "team": "y",
        "eks.amazonaws.com/nodegroup": None,
        "eks.amazonaws.com/nodegroup-image": None,
    }
    assert list(change["annotations"]) == ["karpenter.sh/nodepool-hash"]
    assert "without eks.amazonaws.com/nodegroup" in pool.told({"metadata": change})
    change = pool.mark_patch({"metadata": {"name": "n"}}, "capi", 1, "1.36.3", {})["metadata"]["annotations"]
    assert {key.removeprefix("cluster.x-k8s.io/"): value for key, value in change.items()} == {
        "cluster-name": "lab",
        "cluster-namespace": "default",
        "machine": "lab-00001-n",
        "owner-kind": "MachineSet",
        "owner-name": "lab-00001",
    }
    both = {"metadata": {"labels": {"cloud.google.com/gke-nodepool": "lab"}}}
    assert pool.mark_patch(both, "gke-blue-green", 0, "1.36.3", {}) == {}, "two ways of one cloud"


def test_what_an_interrupt_leaves_is_undone(pool: Any) -> None:
    assert pool.mended({"metadata": {"labels": {"a": "b"}}, "spec": {}}) == {}
    item = {
        "metadata": {
            "labels": {pool.NO_BALANCERS: "true"},
            "annotations": {pool.AKS_DISABLED: "true", pool.AKS_REASON: "upgrade", pool.DESIRED: "new", pool.CURRENT: "old"},
        },
        "spec": {"unschedulable": True, "taints": [{"key": pool.DISRUPTED}]},
    }
    assert pool.mended(item) == {
        "metadata": {
            "labels": {pool.NO_BALANCERS: None},
            "annotations": {pool.AKS_DISABLED: None, pool.AKS_REASON: None, pool.DESIRED: "old", pool.CONFIG_STATE: "Done"},
        },
        "spec": {"unschedulable": None},
    }
    assert pool.tainted(item, pool.DISRUPTED)


def test_options(lab: Any) -> None:
    upgrade, error = lab.pool_options.upgrade, lab.console.LabError
    assert upgrade(["west", "--as", "gke"]) == lab.pool_options.Options("west", "gke")
    full = upgrade(["west", "--as", "eks", "--factor", "360", "--nodes", "a,b", "--seed", "7", "--labels", "team=x,d.io/e=", "--force"])
    assert (full.factor, full.nodes, full.seed, full.labels, full.force) == (360, ("a", "b"), 7, {"team": "x", "d.io/e": ""}, True)
    assert upgrade(["west", "--as", "gke-blue-green", "--batch-soak", "0", "--soak", "600"]).times == {"batch_soak": 0, "soak": 600}
    chosen = ["--drain-timeout", "600", "--pre-drain", "60", "--pre-terminate", "0"]
    assert upgrade(["west", "--as", "capi", *chosen]).times == {"drain_timeout": 600, "pre_drain": 60, "pre_terminate": 0}
    for words in (
        "west",
        "west --as capi --drain-timeout 0",
        "west --as capi --grace 5",
        "west --as gke --pre-drain 5",
        "west --as none",
        "west --as gke --factor 0",
        "west --as gke --factor x",
        "west --as gke --labels x",
        "west --as gke --force",
        "west --as gke --grace 5",
        "west --as karpenter --grace -1",
        "west east --as gke",
    ):
        with pytest.raises(error, match="usage: lab pool-upgrade CLUSTER"):
            upgrade(words.split())
    assert lab.pool_options.repair(["west-worker", "--as", "aks", "--factor", "120"]).factor == 120
    with pytest.raises(error, match="usage: lab pool-repair NODE"):
        lab.pool_options.repair(["west-worker", "--as", "eks"])
