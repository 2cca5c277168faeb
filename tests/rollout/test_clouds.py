# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node pools of the lab are upgraded as clouds do it while upgrade.yml follows, and the checker writes all the time.

What the clouds do here (`lab pool-upgrade`) knows nothing of the playbooks: it evicts, waits as long as that cloud waits, and takes the VM. The commit
chooses which cloud, system and placement `make test` runs; `make soak` runs all.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names, steps
from support.commit import part

from .harness import LAB, Choice, Json, Playbook, Stage

pytestmark = pytest.mark.lab

# By what the cloud's times are divided. Its limit is longer than one member takes here: some 30 seconds beside a checker on two cores, and a minute and a half
# where the machine has more to do.
FACTORS = {"gke": 40, "gke-blue-green": 40, "eks": 8, "aks": 12, "mco": 40, "capi": 20, "karpenter": 40}
# Karpenter begins with no node that has a member, unless its NodePool sets a terminationGracePeriod.
WORDS = {"karpenter": ("--grace", "3600")}
CASES = [(cloud, system, placement) for cloud in FACTORS for system in ("etcd", "nats") for placement in ("node_name", "daemonset")]


@pytest.fixture
def staged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """The deployment of the case, in a lab whose nodes no cloud has marked."""
    system, placement = request.param
    stage = Stage(Choice(system, placement, "clouds"), tmp_path)
    stage.verb("up", "east:3,west:2")
    stage.remove()
    stage.deploy()
    try:
        yield stage
    finally:
        stage.remove()
        stage.verb("down")
        stage.verb("up", "east:3,west:2")


@pytest.fixture
def spread(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """The same with a member in each of three kube clusters, none of which has a majority."""
    system, placement = request.param
    stage = Stage(Choice(system, placement, "clouds"), tmp_path)
    stage.kube_clusters = ("east", "west", "north")
    stage.verb("down")
    stage.verb("up", "east:1,west:1,north:1")
    try:
        stage.deploy()
        yield stage
        stage.remove()
    finally:
        stage.verb("down")
        stage.verb("up", "east:3,west:2")


def chosen(cases: Sequence[tuple[str, str, str]]) -> list[object]:
    now = set(part(cases, 1))
    return [
        pytest.param((system, placement), cloud, id=f"{cloud}-{system}-{placement}", marks=[] if case in now else [pytest.mark.long])
        for case in cases
        for cloud, system, placement in [case]
    ]


class Pool:
    """What a cloud does to a node pool, at work."""

    def __init__(self, stage: Stage, verb: str, where: str, cloud: str, factor: int = 0, *words: str) -> None:
        self.log = stage.folder / f"{verb}-{where}.log"
        command = [str(LAB), verb, where, "--as", cloud, "--factor", str(factor or FACTORS[cloud]), *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    @classmethod
    def upgrade(cls, stage: Stage, kube: str, cloud: str, factor: int = 0, *words: str) -> Pool:
        return cls(stage, "pool-upgrade", kube, cloud, factor, "--seed", "7", *WORDS.get(cloud, ()), *words)

    def drop(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> str:
        """What it printed; what the cloud does has to end well."""
        rc = self.process.wait(1500)
        text = self.log.read_text(errors="replace")
        assert rc == 0, text
        return text


def followed(
    stage: Stage,
    clouds: dict[str, str],
    *,
    factor: int = 0,
    most_down: int = 1,
    kill_at: Sequence[str] = (),
    lost: str = "",
    meanwhile: Callable[[str], Pool] | None = None,
) -> Json:
    """Upgrades these kube clusters' pools beside the playbook; the checker's verdict.

    The controller is killed at the failpoints `kill_at`, in as many runs, and one more ends it. While the first member is down, `meanwhile` has
    another cloud begin with the node of member `lost`, which it gets.
    """
    first = stage.cluster_ids()
    members = sorted(member for member, (kube, _node) in stage.members().items() if kube in clouds)
    before = {node.metadata.uid for kube in clouds for node in stage.nodes(kube)}
    work = "reboot" if "mco" in clouds.values() else "replace"
    wanted: Json = {"hostnet_work": work, "hostnet_replace_tasks": "wait", "hostnet_members": [*members, *([lost] if lost else [])]}
    with stage.load(most_down) as load:
        playbook = stage.start("upgrade.yml", failpoint=kill_at[0] if kill_at else "", hostnet_follow_seconds=240, **wanted)
        clouds_work = [Pool.upgrade(stage, kube, cloud, factor) for kube, cloud in clouds.items()]
        try:
            if meanwhile:
                stage.until("a member that is stopped", lambda: playbook.said("Check whether it has already happened"), 900)
                clouds_work.append(meanwhile(stage.members()[lost][1]))
            run = playbook.wait()
            for failpoint in kill_at[1:]:
                assert run.killed, (failpoint, run.failure)
                run = stage.start("upgrade.yml", failpoint=failpoint, hostnet_follow_seconds=240, **wanted).wait()
            if kill_at:
                assert run.killed, (kill_at[-1], run.failure)
                run = stage.start("upgrade.yml", hostnet_follow_seconds=240, **wanted).wait()
            texts = [work.end() for work in clouds_work]
        finally:
            for cloud in clouds_work:
                cloud.drop()
        verdict = load.end()
    print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert run.rc == 0, f"{run.failure}\n{run.log.read_text(errors='replace')[-3000:]}"
    assert verdict["result"] == "holds", (verdict["reasons"], texts)
    assert verdict["lost"] == 0
    assert sorted(name for name in stage.done() if name != lost) == members
    assert stage.problems(first["east"]) == []
    # They are all members again, and on VMs of the new generation.
    assert sorted(member for member, (kube, _node) in stage.members().items() if kube in clouds) == members
    after = {node.metadata.uid for kube in clouds for node in stage.nodes(kube)}
    assert (after == before) if work == "reboot" else not after & before
    return verdict


@pytest.mark.parametrize(("staged", "cloud"), chosen(CASES), indirect=["staged"])
def test_a_pools_upgrade_is_followed(staged: Stage, cloud: str) -> None:
    followed(staged, {"west": cloud})


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "node_name"), ("nats", "daemonset")], ids=["etcd", "nats"], indirect=True)
def test_two_pools_are_upgraded_in_the_same_minute(staged: Stage) -> None:
    # Both wait at the same time for one member after another, and their limit is longer than all members take together.
    followed(staged, {"east": "gke", "west": "gke"}, factor=6)


@pytest.mark.long
@pytest.mark.parametrize(
    ("spread", "cloud"),
    [(("etcd", "node_name"), "gke"), (("nats", "daemonset"), "gke"), (("etcd", "daemonset"), "eks"), (("nats", "node_name"), "eks")],
    ids=["gke-etcd", "gke-nats", "eks-etcd", "eks-nats"],
    indirect=["spread"],
)
def test_three_members_in_three_kube_clusters(spread: Stage, cloud: str) -> None:
    followed(spread, {"east": cloud, "north": cloud}, factor={"gke": 12, "eks": 3}[cloud])


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "node_name"), ("nats", "node_name")], ids=["etcd", "nats"], indirect=True)
def test_a_limit_passes_while_another_member_is_in_hand(staged: Stage) -> None:
    # That cloud waits for 15 seconds, which is less than one member takes: two may be down, by its doing, and the play goes on.
    def meanwhile(node: str) -> Pool:
        return Pool.upgrade(staged, "east", "gke", 240, "--nodes", node)

    followed(staged, {"west": "gke"}, most_down=2, lost="east-1", meanwhile=meanwhile)


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "daemonset"), ("nats", "node_name")], ids=["etcd", "nats"], indirect=True)
def test_a_vm_is_repaired_by_its_cloud_while_another_member_is_in_hand(staged: Stage) -> None:
    def meanwhile(node: str) -> Pool:
        return Pool(staged, "pool-repair", node, "gke", 60)

    followed(staged, {"west": "gke"}, most_down=2, lost="east-1", meanwhile=meanwhile)


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "node_name"), ("nats", "daemonset")], ids=["etcd", "nats"], indirect=True)
def test_the_controller_is_killed_at_every_step_and_the_cloud_goes_on(staged: Stage) -> None:
    names = steps.of("replace", "ok", False, str(staged.spec.get("forget", "never")), waits=True)
    # The cloud waits for 15 minutes.
    followed(staged, {"west": "gke"}, factor=4, kill_at=[f"{name}:after-begin" for name in names])


# -- a drain that is no pool's upgrade -----------------------------------------------------------------------------------------


def held(stage: Stage, failpoint: str = "") -> Playbook:
    """upgrade.yml for west-0, waiting for a cloud, which a node's drain then begins: west-0 is stopped for it, or is about to be."""
    playbook = stage.start("upgrade.yml", failpoint=failpoint, **HELD)
    stage.until("the run to hold its members", lambda: playbook.said("Wait until the cloud is about to take the VM of a member"), 300)
    begin_drain(stage, *stage.members()["west-0"])
    return playbook


HELD: Json = {
    "hostnet_work": "replace",
    "hostnet_replace_tasks": "wait",
    "hostnet_members": ["west-0"],
    "hostnet_step_timeout_seconds": 90,
}


def begin_drain(stage: Stage, kube: str, node: str) -> None:
    """What `kubectl drain` does at first: it cordons, and evicts the guards as far as their budget allows."""
    core = stage.core(kube)
    core.patch_node(node, {"spec": {"unschedulable": True}})
    evicted = 0
    for pod in core.list_namespaced_pod(stage.namespace, label_selector=names.guard_selector(stage.choice.name)).items:
        if pod.spec.node_name == node:
            meta = kubernetes.client.V1ObjectMeta(name=pod.metadata.name, namespace=stage.namespace)
            try:
                core.create_namespaced_pod_eviction(pod.metadata.name, stage.namespace, kubernetes.client.V1Eviction(metadata=meta))
                evicted += 1
            except ApiException as error:
                if error.status != 429:
                    raise
    assert evicted == 1, "the budget lets one of two go"


def uid(stage: Stage, kube: str, node: str) -> str:
    return str(stage.core(kube).read_node(node).metadata.uid)


@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True], ids=["the-step-fails", "killed-and-aborted"])
@pytest.mark.parametrize("staged", [("etcd", "node_name"), ("nats", "daemonset")], ids=["etcd", "nats"], indirect=True)
def test_nobody_takes_the_vm_after_all(staged: Stage, killed: bool) -> None:
    """A drain that is given up after the member was stopped: its VM and its disk are there, so it is not left down."""
    first, at = staged.cluster_ids(), staged.members()["west-0"]
    vm = uid(staged, *at)
    with staged.load() as load:
        playbook = held(staged, "identify:after-begin" if killed else "")
        if killed:
            run = playbook.wait()
            assert run.killed, run.failure
        else:
            staged.until("a member that is stopped", lambda: playbook.said("Check whether it has already happened"), 300)
        staged.core(at[0]).patch_node(at[1], {"spec": {"unschedulable": None}})
        if not killed:
            run = playbook.wait()
            assert run.rc
            assert "no new node that matches the selector" in run.failure
            assert staged.members()["west-0"] == at, "it was started where it was"
        aborted = staged.play("upgrade.yml", **HELD, hostnet_abort=True)
        verdict = load.end()
    assert aborted.rc == 0, aborted.failure
    assert (staged.members()["west-0"], uid(staged, *at)) == (at, vm)
    assert staged.problems(first["east"], ("aborted",)) == []
    assert (verdict["result"], verdict["lost"]) == ("holds", 0), verdict["reasons"]


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "daemonset"), ("nats", "node_name")], ids=["etcd", "nats"], indirect=True)
def test_a_second_pool_takes_over_from_the_first(staged: Stage) -> None:
    """Its nodes were there before the run, and no cloud says that one of them follows the VM that goes."""
    first, (kube, node) = staged.cluster_ids(), staged.members()["west-0"]
    zone = staged.core(kube).read_node(node).metadata.labels["topology.kubernetes.io/zone"]
    spare = staged.verb("add-node", kube, "--zone", zone)
    with staged.load() as load:
        playbook = held(staged)
        staged.until("a member that is stopped", lambda: playbook.said("Check whether it has already happened"), 300)
        staged.verb("remove-node", node)
        run = playbook.wait()
        verdict = load.end()
    assert run.rc == 0, run.failure
    assert staged.members()["west-0"] == (kube, spare)
    assert staged.problems(first["east"]) == []
    assert (verdict["result"], verdict["lost"]) == ("holds", 0), verdict["reasons"]
