# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pool-upgrade and pool-repair from their words to what they do to VMs and API server, which are played by one class, with a clock of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from support.collection import CHECKOUT

Json = dict[str, Any]
OLD = ("west-worker", "west-worker2")


class World:
    """One kube cluster. `log` has what was done to it, in order; `at` has what happens when a line is logged for the first time."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.now = 0.0
        self.log: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.budgets: list[Json] = []
        self.configurations: dict[str, Json] = {}
        self.vms: set[str] = set()

    def done(self, line: str) -> None:
        self.log.append(line)
        self.at.pop(line, lambda: None)()

    def pod(self, name: str, node: str, **metadata: Any) -> None:
        self.pods[name] = {
            "metadata": {"namespace": "ns", "name": name, "uid": name, **metadata},
            "spec": {"nodeName": node},
            "status": {"phase": "Running"},
        }

    def hold(self) -> None:
        """A budget that allows nothing."""
        budget: Json = {"metadata": {"namespace": "ns", "name": "b"}, "spec": {"selector": {}, "minAvailable": 9}}
        self.budgets = [{**budget, "status": {"disruptionsAllowed": 0}}]

    def rest(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)
        assert self.now < 10_000, "it never ends"

    # -- Kubernetes --------------------------------------------------------------------------------------------------------

    def kubectl(self, _cluster: Any, *words: str, data: str | None = None, timeout: float = 0) -> str:
        match words[:2]:
            case ("get", "pods"):
                node = words[3].removeprefix("spec.nodeName=")
                return json.dumps({"items": [pod for pod in self.pods.values() if pod["spec"]["nodeName"] == node]})
            case ("get", "poddisruptionbudgets"):
                return json.dumps({"items": self.budgets})
            case ("get", "node"):
                return json.dumps(self.nodes.get(words[2], {"metadata": {}})["metadata"].get("finalizers") or "").strip('"')
            case ("patch", "node"):
                self.patch(words[2], json.loads(words[5] if words[4] == "--patch" else words[4]))
            case ("create", "--raw"):
                self.evict(words[2].split("/")[6], json.loads(data or ""))
            case ("delete", "pod"):
                self.pods.pop(words[2], None)
                self.done(f"delete {words[2]}")
            case ("taint", "nodes"):
                key, _colon, effect = words[3].partition(":")
                taints = self.nodes[words[2]]["spec"].setdefault("taints", [])
                taints[:] = [{"key": key, "effect": effect}] if effect else []
                self.done(f"taint {words[2]} {words[3]}")
            case ("annotate", "node"):
                self.nodes[words[2]]["metadata"]["annotations"] |= dict(word.split("=", 1) for word in words[4:])
            case ("delete", "node"):
                item = self.nodes.get(words[2])
                if item and item["metadata"].get("finalizers"):
                    assert "--wait=false" in words, "this would wait for ever"
                    item["metadata"]["deletionTimestamp"] = "now"
                    self.done(f"deletionTimestamp {words[2]}")
                elif item:
                    del self.nodes[words[2]]
                    self.done(f"no node {words[2]}")
            case _:
                raise AssertionError(words)
        return ""

    def patch(self, name: str, change: Json) -> None:
        if name not in self.nodes:
            raise self.lab.console.LabError('west: kubectl patch: Error from server (NotFound): nodes "x" not found')
        item = self.nodes[name]
        for kind in ("labels", "annotations"):
            for key, value in (change.get("metadata", {}).get(kind) or {}).items():
                if value is None:
                    item["metadata"][kind].pop(key, None)
                else:
                    item["metadata"][kind][key] = value
                self.done(f"{kind[:-1]} {name} {key.split('/')[-1]}={value}")
        if "finalizers" in change.get("metadata", {}):
            item["metadata"]["finalizers"] = change["metadata"]["finalizers"]
            self.done(f"finalizers {name} {change['metadata']['finalizers']}")
        if "spec" in change:
            item["spec"] |= change["spec"]
            self.done(f"{'cordon' if change['spec']['unschedulable'] else 'uncordon'} {name}")

    def evict(self, name: str, body: Json) -> None:
        assert body["deleteOptions"] == {"preconditions": {"uid": name}}
        if self.budgets:
            self.done(f"429 {name}")
            raise self.lab.console.LabError("west: kubectl create: Error from server (TooManyRequests): Cannot evict pod")
        self.pods.pop(name)
        self.done(f"evict {name}")

    # -- VMs ---------------------------------------------------------------------------------------------------------------

    def docker(self, *words: str, data: bytes | None = None, timeout: float = 0) -> str:
        if words[0] == "run":
            name = words[words.index("--name") + 1]
            self.vms.add(name)
            self.done(f"vm {name}")
            return "0123456789abcdef"
        self.configurations[words[2]] = json.loads(data or b"")
        return ""

    def output(self, command: list[str], **_options: Any) -> str:
        name = command[2]
        if command[3] == "systemctl":
            self.nodes[name]["status"]["conditions"][0]["status"] = "False"
            self.done(f"{command[4]} kubelet {name}")
            return ""
        assert command[3:5] == ["kubeadm", "join"]
        told = {entry["name"]: entry["value"] for entry in self.configurations[name]["nodeRegistration"]["kubeletExtraArgs"]}
        self.nodes[name] = {
            "metadata": {"name": name, "labels": dict(pair.split("=") for pair in told["node-labels"].split(",")), "annotations": {}},
            "spec": {"providerID": told["provider-id"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": told.get("version", "v1")}},
        }
        self.done(f"join {name}")
        return ""

    def remove(self, names: list[str]) -> None:
        for name in set(names) & self.vms:
            self.vms.discard(name)
            for pod in [pod for pod, found in self.pods.items() if found["spec"]["nodeName"] == name]:
                del self.pods[pod]
            self.done(f"wipe {name}")


@pytest.fixture
def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A lab west:2, in zones west-a and west-b."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "molecule" / "lab"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import lablib
    from lablib import cli, nodes, pool_nodes, pool_repair, pool_run, state

    made = World(lablib)
    monkeypatch.setattr(state, "PREFIX", "")
    monkeypatch.setattr(state, "CACHE", tmp_path)
    monkeypatch.setattr(state.State, "path", tmp_path / "state.json")
    for module in (pool_nodes, pool_repair, pool_run):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now))
        monkeypatch.setattr(module, "rest", made.rest)
        monkeypatch.setattr(module, "node_objects", lambda _cluster: made.nodes)
    for module in (pool_repair, pool_run):
        monkeypatch.setattr(module, "wait_ready", lambda _cluster, wanted, _since=0: made.done(f"ready {wanted[0].name}"))
    for module in (nodes, pool_nodes):
        monkeypatch.setattr(module, "kubectl", made.kubectl)
    monkeypatch.setattr(nodes, "docker", made.docker)
    monkeypatch.setattr(nodes, "output", made.output)
    monkeypatch.setattr(pool_repair, "output", made.output)
    monkeypatch.setattr(nodes, "remove", made.remove)
    for name in ("wait_boot", "prepare_inside", "load"):
        monkeypatch.setattr(nodes, name, lambda *_words: None)
    monkeypatch.setattr(nodes, "worker_image", lambda: "image")
    monkeypatch.setattr(nodes, "join_token", lambda _cluster: "token")
    monkeypatch.setattr(nodes, "taken_addresses", set)
    monkeypatch.setattr(nodes, "present", lambda _state: {name: SimpleNamespace(status="running") for name in made.vms})
    monkeypatch.setattr(nodes, "power_off", lambda some, **_options: made.done(f"off {some[0].name}"))
    monkeypatch.setattr(nodes, "power_on", lambda _state, some: made.done(f"on {some[0].name}"))
    monkeypatch.setattr(cli.host, "daemon_answers", lambda: True)

    lab = state.State()
    lab.subnet = "172.30.0.0/16"
    cluster = lab.clusters["west"] = state.Cluster("west", 2, created=True, control=state.Node("control", "west"))
    for _number in range(2):
        nodes.create_worker(lab, cluster, nodes.plan_worker(lab, cluster))
    lab.save()
    made.log.clear()
    yield made
    for name in [name for name in sys.modules if name.split(".")[0] == "lablib"]:
        del sys.modules[name]


def run(world: World, words: str) -> list[str]:
    """Runs the verb; what it did, without the marks that old nodes get first."""
    world.log.clear()
    code = world.lab.cli.main(words.split())
    world.done(f"exit {code}")
    marked = ("gke-nodepool", "nodegroup", "agentpool", "nodepool", "node-image-version", "currentConfig=rendered-worker-" + "0" * 32)
    marked += (" cluster-name=", " cluster-namespace=", " machine=", " owner-kind=", " owner-name=")
    return [line for line in world.log if not any(text in line for text in marked)]


def cluster(world: World) -> Any:
    return world.lab.state.State().clusters["west"]


def whole(world: World, names: set[str]) -> None:
    """The lab has these workers, all of the new generation and of the pool, and nothing is left of the upgrade."""
    found = cluster(world)
    assert set(found.workers) == set(world.nodes) == world.vms == names
    assert found.wanted == found.size == 2
    assert all(node.joined and node.generation == 1 and not node.surge and not node.operation for node in found.workers.values())
    assert not any(item["spec"].get("unschedulable") or item["spec"].get("taints") for item in world.nodes.values())


def order_of(world: World, seed: int, cloud: str) -> list[str]:
    found: list[str] = world.lab.pool.order(cloud, {"west-worker": "west-a", "west-worker2": "west-b"}, seed)
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gke(world: World, seed: int) -> None:
    first, second = order_of(world, seed, "gke")
    world.pod("a", first)
    world.pod("d", first, ownerReferences=[{"kind": "DaemonSet", "controller": True}])
    log = run(world, f"pool-upgrade west --as gke --seed {seed} --labels team=x")
    assert [line for line in log if "team" not in line] == [
        *("vm west-worker3", "join west-worker3", "ready west-worker3", f"cordon {first}", "evict a"),
        *(f"off {first}", f"wipe {first}", f"no node {first}"),
        *("vm west-worker4", "join west-worker4", "ready west-worker4", f"cordon {second}"),
        *(f"off {second}", f"wipe {second}", f"no node {second}", "exit 0"),
    ]
    whole(world, {"west-worker3", "west-worker4"})
    zones = {name: item["metadata"]["labels"]["topology.kubernetes.io/zone"] for name, item in world.nodes.items()}
    assert zones == {"west-worker3": {"west-worker": "west-a", "west-worker2": "west-b"}[first], "west-worker4": zones["west-worker4"]}
    assert set(zones.values()) == {"west-a", "west-b"}
    for item in world.nodes.values():
        assert item["metadata"]["labels"] | {"cloud.google.com/gke-nodepool": "lab", "team": "x"} == item["metadata"]["labels"]
        assert item["status"]["nodeInfo"]["kubeletVersion"].endswith("-gke.1001")


def test_gke_waits_for_a_budget_until_its_limit_and_no_longer(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pod("a", "west-worker")
    world.hold()
    log = run(world, "pool-upgrade west --as gke --nodes west-worker")
    at = log.index("cordon west-worker")
    assert log[at + 1 : at + 13] == ["429 a"] * 12, "every five of 60 seconds"
    assert log[at + 13 :] == ["delete a", "off west-worker", "wipe west-worker", "no node west-worker", "exit 0"]
    told = capsys.readouterr()
    assert told.out.split() == ["west-worker2", "west-worker3"]
    assert "drain 3600 s, here 60 s" in told.err
    assert cluster(world).workers["west-worker2"].generation == 0, "another pool"


def test_blue_green(world: World) -> None:
    log = run(world, "pool-upgrade west --as gke-blue-green")
    first, second = OLD if log.index(f"cordon {OLD[0]}") < log.index(f"cordon {OLD[1]}") else OLD[::-1]
    new = [f"{do} {name}" for name in ("west-worker3", "west-worker4") for do in ("vm", "join", "ready")]
    gone = [f"{do} {name}" for name in (first, second) for do in ("off", "wipe", "no node")]
    assert log == [*new, f"cordon {first}", f"cordon {second}", *gone, "exit 0"]
    assert world.now >= 60 + 2 * 5, "the soaks"
    whole(world, {"west-worker3", "west-worker4"})
    assert {node.zone for node in cluster(world).workers.values()} == {"west-a", "west-b"}


def test_eks(world: World) -> None:
    first, second = order_of(world, 5, "eks")
    world.pod("a", second)
    log = run(world, "pool-upgrade west --as eks --seed 5")
    label = "exclude-from-external-load-balancers=true"
    assert log == [
        *("vm west-worker3", "join west-worker3", "ready west-worker3"),
        *(f"cordon {first}", f"label {first} {label}", f"cordon {second}", f"label {second} {label}"),
        *(f"off {first}", f"wipe {first}", f"no node {first}"),
        *("vm west-worker4", "join west-worker4", "ready west-worker4", "evict a"),
        *(f"off {second}", f"wipe {second}", f"no node {second}", "exit 0"),
    ]
    whole(world, {"west-worker3", "west-worker4"})


def test_eks_fails_at_its_limit_and_can_be_forced(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = order_of(world, 5, "eks")
    world.pod("a", first)
    world.hold()
    log = run(world, "pool-upgrade west --as eks --seed 5")
    assert log[-1] == "exit 1"
    assert "PodEvictionFailure" in capsys.readouterr().err
    assert [world.nodes[name]["spec"].get("unschedulable") for name in (first, second, "west-worker3")] == [True, True, None]
    assert world.vms == {first, second, "west-worker3"}
    log = run(world, "pool-upgrade west --as eks --seed 5 --force")
    assert "it goes on" in capsys.readouterr().err
    assert not any("west-worker3" in line for line in log), "the new node of before is taken"
    assert [line for line in log if not line.startswith(("429", "cordon", "label"))] == [
        *("delete a", f"off {first}", f"wipe {first}", f"no node {first}", "vm west-worker4", "join west-worker4", "ready west-worker4"),
        *(f"off {second}", f"wipe {second}", f"no node {second}", "exit 0"),
    ]
    whole(world, {"west-worker3", "west-worker4"})


def test_aks(world: World) -> None:
    first, second = order_of(world, 5, "aks")
    for name in OLD:
        world.nodes[name]["metadata"]["labels"]["by-hand"] = "x"
    before = {name: (node.address, node.provider_id) for name, node in cluster(world).workers.items()}
    world.pod("a", first)
    log = run(world, "pool-upgrade west --as aks --seed 5")

    def one(name: str, *evicted: str) -> list[str]:
        signs = [f"annotation {name} scale-down-disabled=true"]
        signs.append(f"annotation {name} azure-cluster-autoscaler-scale-down-disabled-reason=upgrade")
        anew = [f"{do} {name}" for do in ("off", "wipe", "vm", "no node", "join", "ready", "uncordon")]
        return [*signs, f"cordon {name}", *evicted, *anew]

    buffer = [f"{do} west-worker3" for do in ("vm", "join", "ready")]
    last = [f"{do} west-worker3" for do in ("cordon", "off", "wipe", "no node")]
    assert log == [*buffer, *one(first, "evict a"), *one(second), *last, "exit 0"]
    whole(world, set(OLD))
    assert before == {name: (node.address, node.provider_id) for name, node in cluster(world).workers.items()}
    assert not any("by-hand" in item["metadata"]["labels"] for item in world.nodes.values())


def test_aks_refuses_and_fails(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.hold()
    world.budgets[0]["spec"] = {"maxUnavailable": 0, "selector": {}}
    assert run(world, "pool-upgrade west --as aks") == ["exit 1"]
    assert "UnsatisfiablePDB: ns/b" in capsys.readouterr().err
    world.budgets[0]["spec"] = {"minAvailable": 9, "selector": {}}
    world.pod("a", order_of(world, 5, "aks")[0])
    log = run(world, "pool-upgrade west --as aks --seed 5")
    assert log[-2:] == [f"uncordon {order_of(world, 5, 'aks')[0]}", "exit 1"]
    assert world.vms == {*OLD, "west-worker3"}
    assert cluster(world).size == cluster(world).wanted == 2, "the buffer does not count"
    world.budgets.clear()
    assert run(world, "pool-upgrade west --as aks --seed 5")[-1] == "exit 0"
    whole(world, set(OLD))


def test_karpenter(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = order_of(world, 5, "karpenter")
    world.pod("a", first, ownerReferences=[{"kind": "DaemonSet", "controller": True}])
    world.hold()
    world.at[f"no node {second}"] = world.budgets.clear
    log = run(world, "pool-upgrade west --as karpenter --seed 5")

    def one(name: str, new: str, *evicted: str) -> list[str]:
        come = [f"taint {name} karpenter.sh/disrupted:NoSchedule", f"vm {new}", f"join {new}", f"ready {new}"]
        going = [f"finalizers {name} ['karpenter.sh/termination']", f"deletionTimestamp {name}"]
        going.append(f"label {name} exclude-from-external-load-balancers=karpenter")
        return [*come, *going, *evicted, f"off {name}", f"wipe {name}", f"finalizers {name} None", f"no node {name}"]

    assert log == [*one(second, "west-worker3"), *one(first, "west-worker4", "evict a"), "exit 0"], "it takes the one that may go"
    whole(world, {"west-worker3", "west-worker4"})
    assert {item["metadata"]["annotations"]["karpenter.sh/nodepool-hash"] for item in world.nodes.values()} == {"1000000000000000001"}


def test_karpenter_waits_before_the_taint_or_has_a_grace_period(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pod("a", "west-worker")
    world.hold()
    with pytest.raises(AssertionError, match="never ends"):
        run(world, "pool-upgrade west --as karpenter --nodes west-worker")
    assert not any(line.startswith(("taint", "vm", "429")) for line in world.log)
    assert "Karpenter waits: west-worker: PodDisruptionBudget b does not allow the eviction of pod ns/a" in capsys.readouterr().err
    world.now = 0
    log = run(world, "pool-upgrade west --as karpenter --nodes west-worker --grace 600")
    assert log.count("429 a") == 5
    assert log[-7:] == [
        *("429 a", "delete a", "off west-worker", "wipe west-worker", "finalizers west-worker None", "no node west-worker", "exit 0"),
    ]


def test_openshift(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = order_of(world, 5, "mco")
    world.pod("a", first)
    world.hold()
    original = world.rest

    def rest(seconds: float) -> None:
        original(seconds)
        if world.now > 300 and world.budgets:
            world.budgets.clear()
            world.nodes[first]["spec"]["unschedulable"] = None  # somebody meddles

    world.lab.pool_nodes.rest = rest
    log = run(world, "pool-upgrade west --as mco --seed 5")
    wanted = "rendered-worker-" + "0" * 31 + "1"
    log = [line for line in log if not line.startswith("429") and "=rendered-worker-" + "0" * 32 not in line]

    def one(name: str, *during: str) -> list[str]:
        start = [f"annotation {name} desiredConfig={wanted}", f"annotation {name} state=Working", f"cordon {name}"]
        end = [f"{do} {name}" for do in ("off", "on", "ready", "uncordon")]
        return [*start, *during, *end, f"annotation {name} currentConfig={wanted}", f"annotation {name} state=Done"]

    assert log.count(f"cordon {first}") == 2, "and again, after somebody has uncordoned it"
    del log[len(log) - log[::-1].index(f"cordon {first}") - 1]
    assert log == [*(f"annotation {name} state=Done" for name in OLD), *one(first, "evict a"), *one(second), "exit 0"]
    assert "DrainFailed" in capsys.readouterr().err
    whole(world, set(OLD))


def test_cluster_api(world: World) -> None:
    first, second = order_of(world, 5, "capi")
    world.pod("a", first)
    world.pod("d", first, ownerReferences=[{"kind": "DaemonSet", "controller": True}])
    log = run(world, "pool-upgrade west --as capi --seed 5 --pre-drain 600 --pre-terminate 1200")
    taint = "node.cluster.x-k8s.io/outdated-revision:PreferNoSchedule"
    assert log == [
        *(f"taint {first} {taint}", f"taint {second} {taint}"),
        *("vm west-worker3", "join west-worker3", "ready west-worker3", f"cordon {first}", "evict a"),
        *(f"off {first}", f"wipe {first}", f"no node {first}"),
        *("vm west-worker4", "join west-worker4", "ready west-worker4", f"cordon {second}"),
        *(f"off {second}", f"wipe {second}", f"no node {second}", "exit 0"),
    ]
    assert world.now >= 2 * (10 + 20), "the hooks"
    whole(world, {"west-worker3", "west-worker4"})
    for name, item in world.nodes.items():
        told = item["metadata"]["annotations"]
        assert (told["cluster.x-k8s.io/machine"], told["cluster.x-k8s.io/owner-name"]) == (f"lab-00001-{name}", "lab-00001")


def test_cluster_api_waits_for_ever_and_cordons_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pod("a", "west-worker")
    world.hold()
    original = world.rest

    def rest(seconds: float) -> None:
        original(seconds)
        if world.now > 995 and world.budgets:
            world.budgets.clear()
            world.nodes["west-worker"]["spec"]["unschedulable"] = None  # somebody meddles

    world.lab.pool_nodes.rest = rest
    log = run(world, "pool-upgrade west --as capi --nodes west-worker --factor 1")
    begun = log.index("cordon west-worker")
    assert log[begun + 1 : begun + 51] == ["429 a"] * 50, "every 20 of 1000 seconds"
    assert log[begun + 51 :] == ["cordon west-worker", "evict a", "off west-worker", "wipe west-worker", "no node west-worker", "exit 0"]
    told = capsys.readouterr().err
    assert "drain loop 20 s, here 20 s" in told
    assert "DrainFailed" not in told


def test_cluster_api_takes_the_vm_with_its_pods_when_its_timeout_is_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pod("a", "west-worker")
    world.hold()
    log = run(world, "pool-upgrade west --as capi --nodes west-worker --drain-timeout 3600")
    assert log.count("429 a") == 60
    assert "delete a" not in log
    assert log[-4:] == ["off west-worker", "wipe west-worker", "no node west-worker", "exit 0"]
    assert "60 s are over, left: ns/a" in capsys.readouterr().err


def test_somebody_else_replaces_a_vm_meanwhile(world: World) -> None:
    """As a rollout's hook does: that VM is of the new generation, and the surge node that is too much goes."""
    first, second = order_of(world, 1, "gke")
    world.pod("a", first)
    world.hold()

    def replace() -> None:
        world.budgets.clear()
        world.lab.cli.wait_ready = lambda *_words: None
        assert world.lab.cli.main(["replace-node", first]) == 0

    world.at["429 a"] = replace
    log = run(world, "pool-upgrade west --as gke --seed 1")
    assert f"off {first}" not in log
    assert world.vms == {"west-worker3", "west-worker4"}
    whole(world, {"west-worker3", "west-worker4"})
    assert world.nodes["west-worker4"]["status"]["nodeInfo"]["kubeletVersion"].endswith("-gke.1001")
    assert log[-4:] == [f"off {second}", f"wipe {second}", f"no node {second}", "exit 0"]
    assert "vm west-worker5" not in log, "the surge node of before is taken"


def test_an_api_server_that_is_away_does_not_stop_the_clock(world: World) -> None:
    world.pod("a", "west-worker")
    world.hold()
    original = world.kubectl

    def away() -> None:
        def kubectl(cluster: Any, *words: str, **options: Any) -> str:
            if words[1] == "pods" and world.now < 100:
                raise world.lab.console.LabError("west: no answer")
            return original(cluster, *words, **options)

        world.lab.pool_nodes.kubectl = kubectl

    world.at["429 a"] = away
    log = run(world, "pool-upgrade west --as gke --nodes west-worker")
    assert log.count("429 a") == 1
    assert log[-5:] == ["delete a", "off west-worker", "wipe west-worker", "no node west-worker", "exit 0"]


def test_one_operation_on_a_pool_at_a_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    state = world.lab.state
    with state.claim("west"):
        assert state.claims() == ["west"]
        assert run(world, "pool-upgrade west --as gke") == ["exit 1"]
        with pytest.raises(world.lab.console.LabError, match="a cloud is at work on west"):
            world.lab.clusters.up(state.State(), None)
    assert state.claims() == []
    assert "an operation is in progress" in capsys.readouterr().err
    assert run(world, "pool-upgrade west --as gke --nodes none") == ["exit 1"]
    assert run(world, "pool-upgrade west --as gke --nodes west-worker,none") == ["exit 1"]


def test_gke_repairs_a_node(world: World) -> None:
    node = cluster(world).workers["west-worker"]
    world.pod("a", "west-worker")
    world.hold()
    log = run(world, "pool-repair west-worker --as gke")
    assert [line for line in log if not line.startswith("429")] == [
        *("stop kubelet west-worker", "cordon west-worker", "delete a"),
        *("wipe west-worker", "vm west-worker", "no node west-worker", "join west-worker", "ready west-worker", "exit 0"),
    ]
    assert log.count("429 a") == 12
    assert world.now >= 10 + 60
    after = cluster(world).workers["west-worker"]
    assert (after.address, after.provider_id, after.operation, after.joined) == (node.address, node.provider_id, "", True)


def test_aks_repairs_a_node(world: World) -> None:
    world.pod("a", "west-worker")
    log = run(world, "pool-repair west-worker --as aks")
    anew = [f"{do} west-worker" for do in ("wipe", "vm", "no node", "join", "ready")]
    assert log == ["disable kubelet west-worker", "off west-worker", "on west-worker", *anew, "exit 0"], "no drain"


@pytest.mark.parametrize("cloud", ["gke", "aks"])
def test_a_node_that_is_well_again_is_not_repaired(world: World, cloud: str) -> None:
    original = world.rest

    def rest(seconds: float) -> None:
        original(seconds)
        if world.now > 5:
            world.nodes["west-worker"]["status"]["conditions"][0]["status"] = "True"

    world.lab.pool_repair.rest = rest
    assert len(run(world, f"pool-repair west-worker --as {cloud}")) == 2
    assert cluster(world).workers["west-worker"].operation == ""


@pytest.mark.parametrize("cloud", ["gke", "gke-blue-green", "eks", "aks", "karpenter", "mco", "capi"])
def test_an_upgrade_that_is_killed_anywhere_is_mended_and_goes_on(world: World, cloud: str) -> None:
    """`mend` is what `lab up` does; then a kube cluster has no mark of an upgrade, and the same call ends it."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    path = world.lab.state.State.path
    before = path.read_text()
    saved = json.dumps([world.nodes, sorted(world.vms)])

    def again() -> None:
        path.write_text(before)
        nodes, vms = json.loads(saved)
        world.nodes.clear()
        world.nodes.update(nodes)
        world.vms, world.now = set(vms), 0.0
        world.pods.clear()
        world.pod("a", "west-worker")

    again()
    lines = list(dict.fromkeys(run(world, f"pool-upgrade west --as {cloud} --seed 5")))[:-1]
    assert len(lines) > 8
    for line in lines:
        again()
        world.at = {line: kill}
        with pytest.raises(Killed):
            run(world, f"pool-upgrade west --as {cloud} --seed 5")
        state = world.lab.state.State()
        west = state.clusters["west"]
        # as `up` does it
        world.remove([name for name in world.vms if name not in west.workers])
        for name in set(world.nodes) - set(west.workers):
            world.lab.nodes.destroy(west, name)
        world.lab.pool_nodes.mend(state, west)
        for node in west.workers.values():
            item = world.nodes.get(node.name)
            assert not node.operation, line
            if item and node.joined:
                assert not item["spec"].get("unschedulable"), line
                assert not item["spec"].get("taints"), line
                assert "deletionTimestamp" not in item["metadata"], line
                assert not {world.lab.pool.NO_BALANCERS, world.lab.pool.AKS_REASON} & {
                    *item["metadata"]["labels"],
                    *item["metadata"]["annotations"],
                }
            if not node.joined:
                world.lab.nodes.create_worker(state, west, node)
        assert west.size <= west.wanted <= len(west.workers), line
        assert run(world, f"pool-upgrade west --as {cloud} --seed 5")[-1] == "exit 0", line
        found = cluster(world)
        assert set(found.workers) == set(world.nodes) == world.vms, line
        assert len(found.workers) == found.wanted == found.size == 2, line
