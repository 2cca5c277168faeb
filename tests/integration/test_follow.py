# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout follows a cloud: its order, its drains, and VMs that it takes without asking.

Real API servers with made-up kubelets, members and cloud.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import made_up
from support.kube_api import KubeApi, create_node
from support.made_up import World
from support.pool import NEW, OLD, POOL, SurgeUpgrade
from support.run import PlayRun


@pytest.fixture
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made_up.deployed_world(list(_kube_servers), tmp_path_factory.mktemp("follow")) as found:
        for kube, node in ((0, "east-1"), (0, "east-2"), (1, "west-1")):
            found.kubes[kube].request_json("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": POOL}}, "application/merge-patch+json")
            info = found.kubes[kube].request_json("GET", f"/api/v1/nodes/{node}")["status"]["nodeInfo"]
            status = {"status": {"nodeInfo": {**info, "kubeletVersion": OLD}}}
            found.kubes[kube].request_json("PATCH", f"/api/v1/nodes/{node}/status", status, "application/merge-patch+json")
        yield found


def upgrade(world: World, failpoint: str = "", log: Path | None = None, **variables: object) -> PlayRun:
    given = {"hostnet_work": "replace", "hostnet_soak_seconds": 0, "hostnet_step_timeout_seconds": 60, "hostnet_follow_seconds": 60}
    environment = {"HOSTNET_FAILPOINT": failpoint, "ANSIBLE_LOG_PATH": str(log or "")}
    return world.play("upgrade.yml", environment={name: value for name, value in environment.items() if value}, **{**given, **variables})


def took(run: PlayRun) -> list[str]:
    """The members in the order in which they were stopped."""
    word = "Record that it is stopped - "
    return [task.task.rpartition(word)[2] for task in run.tasks if word in task.task]


@pytest.mark.in_turn
def test_the_clouds_order_counts_and_nobody_is_down_before_its_turn(world: World) -> None:
    # All nodes of east are cordoned at once, and the one that the play would take last is drained first.
    east, west = world.kubes
    clouds = [
        SurgeUpgrade([west, east], ["west-1"], "10.0.1.50"),
        SurgeUpgrade([east, west], ["east-2", "east-1"], "10.0.0.50", all_at_once=True),
    ]
    try:
        for cloud in clouds:
            cloud.start()
        run = upgrade(world)
        assert run.rc == 0, run.output
        assert [cloud.gone for cloud in clouds] == [["west-1"], ["east-2", "east-1"]]
        assert sorted(took(run)) == ["east-0", "east-1", "west-0"]
        assert took(run).index("east-1") < took(run).index("east-0")
        # Each drain found its member up, and both clouds together at most one that was down.
        members = {"west-1": "west-0", "east-2": "east-1", "east-1": "east-0"}
        assert not [(node, down) for cloud in clouds for node, down in cloud.early if members[node] in down]
        assert [cloud.most for cloud in clouds] == [1, 1]
        journal = world.journal_of(0)
        assert (journal["state"], sorted(journal["done"])) == ("done", ["east-0", "east-1", "west-0"])
        nodes = [node for kube in world.kubes for node in kube.request_json("GET", "/api/v1/nodes")["items"]]
        assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {NEW}
        again = upgrade(world, hostnet_follow_seconds=1)
        assert again.rc == 0, again.output
        assert took(again) == []
        assert "No VM was about to go for 1 seconds" in " ".join(again.output.split())
        assert upgrade(world, hostnet_abort=True).rc == 0
    finally:
        for cloud in clouds:
            cloud.ended.set()
            cloud.join()
    assert [cloud.problem for cloud in clouds] == [None, None]


@pytest.mark.in_turn
def test_a_vm_that_goes_without_asking_is_mended_by_the_same_run(world: World) -> None:
    west = world.kubes[1]
    # The run is killed with east-0 in hand, and the cloud takes west-0's VM.
    create_node(world.kubes[0], "east-9", address="10.0.0.90", labels=POOL, node_info={"kubeletVersion": NEW})
    taints = [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]
    world.kubes[0].request_json("PATCH", "/api/v1/nodes/east-1", {"spec": {"taints": taints}}, "application/merge-patch+json")
    assert upgrade(world, "gate:before-begin").rc != 0
    assert world.journal_of(0)["member"]["member"] == "east-0"
    west.request_json("DELETE", "/api/v1/nodes/west-1")
    create_node(west, "west-2", address="10.0.1.2", labels=POOL, node_info={"kubeletVersion": NEW})
    # Nothing has taken east-0 down, so whoever has lost its VM comes first; killed where that is written down, it goes on the same way.
    for failpoint in ("journal:drop:before", "journal:drop:after"):
        killed = upgrade(world, failpoint)
        assert killed.rc != 0
        assert world.replicas("east-0") == 1
    run = upgrade(world, hostnet_follow_seconds=5)
    assert run.rc == 0, run.output
    # Its successor was there before, so east-0 is down no longer than it takes to join there.
    assert took(run) == ["west-0", "east-0"]
    journal = world.journal_of(0)
    assert journal["done"] == ["west-0", "east-0"]
    aborted = upgrade(world, hostnet_abort=True)
    assert aborted.rc == 0, aborted.output


def test_nothing_is_stopped_where_nothing_is_about_to_go(world: World) -> None:
    # A human's cordon says nothing of the VM.
    world.kubes[1].request_json("PATCH", "/api/v1/nodes/west-1", {"spec": {"unschedulable": True}}, "application/merge-patch+json")
    run = upgrade(world, hostnet_follow_seconds=4)
    assert run.rc == 0, run.output
    assert took(run) == []
    assert "west: node west-1: it is cordoned (spec.unschedulable)" in " ".join(run.output.split())
    assert "Left: west-0, east-1, east-0" in " ".join(run.output.split()), "whoever leads comes last"
    assert world.journal_of(0)["state"] == "in_flight"
    aborted = upgrade(world, hostnet_abort=True)
    assert aborted.rc == 0, aborted.output


class InPlace(threading.Thread):
    """When the play has logged `said`, one more node gets the new kubelet without a drain: a fake, as `cloud` is."""

    def __init__(self, log: Path, said: str, kube: KubeApi, node: str) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._log, self._said, self._kube, self._node = log, said, kube, node

    def run(self) -> None:
        while not (self._log.exists() and self._said in self._log.read_text()):
            if self.ended.wait(0.5):
                return
        info = self._kube.request_json("GET", f"/api/v1/nodes/{self._node}")["status"]["nodeInfo"]
        status = {"status": {"nodeInfo": {**info, "kubeletVersion": NEW}}}
        self._kube.request_json("PATCH", f"/api/v1/nodes/{self._node}/status", status, "application/merge-patch+json")


@pytest.mark.in_turn
def test_the_run_ends_by_itself_when_all_are_on_the_new_generation(world: World) -> None:
    # No sign ever tells of east-1's node, so its member has no turn.
    east, west = world.kubes
    clouds = [SurgeUpgrade([west, east], ["west-1"], "10.0.1.50"), SurgeUpgrade([east, west], ["east-2"], "10.0.0.50")]
    log = world.folder / "upgrade.log"
    threads: list[SurgeUpgrade | InPlace] = [
        *clouds,
        InPlace(log, "2 of 3 members are on the new generation of their node pool", east, "east-1"),
    ]
    try:
        for thread in threads:
            thread.start()
        run = upgrade(world, log=log, hostnet_follow_seconds=300)
        assert run.rc == 0, run.output
        said = " ".join(run.output.split())
        assert "The rollout is over: every member runs on the newest generation of its node pool" in said
        assert "still to come: east-0 (v1.36.3)" in said
        assert sorted(took(run)) == ["east-1", "west-0"]
        journal = world.journal_of(0)
        assert (journal["state"], sorted(journal["done"])) == ("done", ["east-1", "west-0"])
    finally:
        for thread in threads:
            thread.ended.set()
            thread.join()


@pytest.mark.in_turn
def test_the_run_ends_when_the_nodes_have_the_version_that_was_asked_for(world: World) -> None:
    east, west = world.kubes
    # What they have already is nothing to do, and no lock is taken.
    there = upgrade(world, hostnet_follow_until="1.36")
    assert there.rc == 0, there.output
    assert "nothing to do: every member's node has the kubelet of hostnet_follow_until (1.36)" in " ".join(there.output.split())
    assert took(there) == []
    # What is wrong is said before the first change.
    before = world.objects()
    for wrong, said in (
        ({"hostnet_follow_until": {"north": NEW}}, "hostnet_follow_until names kube cluster north, which is none of the deployment"),
        ({"hostnet_follow_until": 1.3}, "hostnet_follow_until is 1.3, which is no version of a kubelet"),
        ({"hostnet_pool_label": "a b"}, 'hostnet_pool_label is "a b", which is no key of a label'),
    ):
        refused = upgrade(world, **wrong)
        assert refused.rc != 0
        assert said in " ".join(refused.output.split()).replace('\\"', '"')
    assert world.objects() == before
    cloud = SurgeUpgrade([west, east], ["west-1"], "10.0.1.50")
    try:
        cloud.start()
        run = upgrade(world, hostnet_follow_until={"west": NEW}, hostnet_follow_seconds=300)
        assert run.rc == 0, run.output
        assert "1 members are on the kubelet of hostnet_follow_until" in " ".join(run.output.split())
        assert took(run) == ["west-0"]
        assert world.journal_of(0)["state"] == "done"
    finally:
        cloud.ended.set()
        cloud.join()


@pytest.mark.in_turn
def test_the_successor_is_of_the_pool_that_the_users_label_names(world: World) -> None:
    east, west = world.kubes
    own = "example.com/pool"

    def labelled(kube: KubeApi, node: str, labels: dict[str, str | None]) -> None:
        kube.request_json("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}}, "application/merge-patch+json")

    for kube, node in ((east, "east-1"), (east, "east-2"), (west, "west-1")):
        labelled(kube, node, {**dict.fromkeys(POOL), own: "db"} if kube is east else dict.fromkeys(POOL))
    before = world.objects()
    refused = upgrade(world, hostnet_pool_label=own)
    assert refused.rc != 0
    assert f"hostnet_pool_label is {own}, and no node of kube cluster west has that label" in " ".join(refused.output.split())
    assert world.objects() == before
    labelled(west, "west-1", {own: "db"})
    # A newer node of another pool stands ready, and one of its own comes second.
    create_node(west, "west-5", address="10.0.1.40", labels={own: "cache"}, node_info={"kubeletVersion": NEW})
    create_node(west, "west-9", address="10.0.1.41", labels={own: "db"}, node_info={"kubeletVersion": NEW})
    taints = [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]
    west.request_json("PATCH", "/api/v1/nodes/west-1", {"spec": {"taints": taints}}, "application/merge-patch+json")
    run = upgrade(world, hostnet_pool_label=own, hostnet_follow_until={"west": NEW}, hostnet_members=["west-0"])
    assert run.rc == 0, run.output
    assert took(run) == ["west-0"]
    labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in west.request_json("GET", "/api/v1/nodes")["items"]}
    assert [name for name in labels if labels[name].get(f"hostnet.multicluster/{made_up.NAME}") == "west-0"] == ["west-9"]
