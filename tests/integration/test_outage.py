# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kube cluster stops answering in the middle of a rollout, and the member in hand is brought up all the same, as far as the lock can promise.

Real API servers with made-up kubelets and members. `west` is reached through a balancer that cuts off every request from a moment on that the
state of `east` gives.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import made_up
from support.faults import RESET_BEFORE, Balancer
from support.kube_api import KubeApi, create_node, delete_nodes
from support.made_up import NAME, NAMESPACE, NODES, Kubelets, World, message
from support.reboots import Reboots
from support.run import PlayRun

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Json = dict[str, Any]


class Outage(World):
    """Three members; `west` answers no more once `when` has come true."""

    vms: Reboots
    balancer: Balancer

    def upgrade(self, when: Callable[[], bool] | None = None, environment: dict[str, str] | None = None, **variables: Any) -> PlayRun:
        away = threading.Event()

        def choose(_number: int, _method: str, _path: str) -> str:
            if when is not None and not away.is_set() and when():
                away.set()
            return RESET_BEFORE if away.is_set() else ""

        hook = self.vms.hook()
        given = {
            "hostnet_work": "reboot",
            "hostnet_replace_tasks": str(hook),
            "hostnet_members": ["east-0"],
            "hostnet_soak_seconds": 0,
            "hostnet_step_timeout_seconds": 60,
            "hostnet_kube_clusters": [self.kubes[0].entry, self.balancer.entry],
        }
        self.balancer.choose = choose
        try:
            run = self.play("upgrade.yml", environment=environment, **{**given, **variables})
        finally:
            self.balancer.choose = lambda *_request: ""
        assert when is None or away.is_set(), run.output
        return run

    def recorded_as_stopped(self) -> list[bool]:
        """Whether east-0 is, in the bindings of each kube cluster."""
        found = [kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-members")["data"] for kube in self.kubes]
        return [bool(json.loads(data["east-0"]).get("stopped")) for data in found]

    def finished(self, run_id: str) -> None:
        """The next run, with everybody answering, goes on by itself and comes to the end; it is another one than `run_id`."""
        run = self.upgrade()
        assert run.rc == 0, run.output
        journals = [self.journal_of(index) for index in (0, 1)]
        assert journals[0] == journals[1]
        assert (journals[0]["state"], journals[0]["done"], journals[0]["member"]) == ("done", ["east-0"], None)
        assert journals[0]["run_id"] != run_id
        self.free()
        assert (self.replicas(), self.cordoned(), self.recorded_as_stopped()) == (1, False, [False, False])


@pytest.fixture(scope="module")
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    kubes, folder = list(_kube_servers), tmp_path_factory.mktemp("outage")
    for kube in kubes:
        delete_nodes(kube)
    for kube_cluster, name, address in NODES:
        create_node({kube.name: kube for kube in kubes}[kube_cluster], name, address=address)
    found = Outage(kubes, folder)
    found.vms = Reboots(kubes, folder)
    kubelets = Kubelets(kubes)
    kubelets.start()
    found.vms.start()
    with Balancer(kubes[1]).running() as found.balancer:
        try:
            found.deployed()
            yield found
        finally:
            removed = found.remove(hostnet_take_over=",".join({lease[0] for lease in found.leases() if lease}))
            kubelets.ended.set()
            found.vms.ended.set()
            kubelets.join()
    assert removed.rc == 0, removed.output
    assert kubelets.problem is None


def test_away_before_it_is_undone(world: Outage) -> None:
    """The member is down when west stops answering, and its VM was not touched: it is started again, with the others."""
    run = world.upgrade(lambda: world.replicas() == 0)
    said = message(run)
    assert "kube cluster west could not be asked; the steps of member east-0 were undone without it, and it is up" in said
    assert "Run the playbook again as soon as it answers: it goes on from there" in said
    assert (world.replicas(), world.cordoned()) == (1, False)
    assert world.recorded_as_stopped()[0] is False
    east, west = (world.journal_of(index) for index in (0, 1))
    assert east["member"]["since"] > 0
    assert west["sequence"] < east["sequence"]
    assert west["generation"] == east["generation"]
    held = world.leases()
    assert held == [("", east["generation"]), (east["run_id"], east["generation"])]
    assert f"The lock is still held there by run {east['run_id']}" in said
    assert world.vms.rebooted == []
    world.finished(east["run_id"])


def test_away_while_it_is_undone(world: Outage) -> None:
    """A budget forbids an eviction. West stops answering when the node is uncordoned again: what is left of the undoing is done without it."""
    east, pods, budgets = world.kubes[0], "/api/v1/namespaces/default/pods", "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    metadata = {"name": "busy", "labels": {"app": "busy"}}
    east.request_json("POST", budgets, {"metadata": metadata, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "busy"}}}})
    east.request_json("POST", pods, {"metadata": metadata, "spec": {"nodeName": "east-1", "containers": [{"name": "busy", "image": "x"}]}})
    east.request_json("PATCH", f"{pods}/busy/status", {"status": {"phase": "Running"}}, "application/merge-patch+json")
    seen: list[bool] = []

    def uncordoned() -> bool:
        seen.append(world.cordoned())
        return True in seen and not seen[-1]

    run = world.upgrade(uncordoned, hostnet_step_timeout_seconds=10)
    east.request_json("DELETE", f"{pods}/busy?gracePeriodSeconds=0")
    east.request_json("DELETE", f"{budgets}/busy")
    said = message(run)
    assert "busy" in said
    assert "kube cluster west could not be asked; the steps of member east-0 were undone without it, and it is up" in said
    journals = [world.journal_of(index) for index in (0, 1)]
    assert journals[0]["member"]["since"] > 0
    assert journals[1]["member"].get("since", 0) == 0
    world.finished(journals[0]["run_id"])


def test_away_past_the_point_of_no_return(world: Outage) -> None:
    """The VM has started again when west stops answering: the member is started on it, and what needs all kube clusters is left."""
    before = len(world.vms.rebooted)
    run = world.upgrade(lambda: len(world.vms.rebooted) > before)
    said = message(run)
    assert "kube cluster west could not be asked; done without it for member east-0: uncordon, start, settle; left: soak" in said
    assert (world.replicas(), world.cordoned()) == (1, False)
    assert world.recorded_as_stopped() == [False, True]
    journals = [world.journal_of(index) for index in (0, 1)]
    assert journals[0] == journals[1], "nothing of it is written down: the next run does it again, with west"
    assert journals[0]["steps"][-1]["step"] == "vm"
    world.finished(journals[0]["run_id"])
    assert len(world.vms.rebooted) == before + 1, "the VM is not rebooted a second time"


def test_taken_over_meanwhile(world: Outage) -> None:
    """Somebody takes the lock over, by order, while west does not answer to this run: it changes nothing more, and the member stays as it is."""

    def taken() -> bool:
        if world.replicas() != 0:
            return False
        made_up.lock({"kube_clusters": [kube.entry for kube in world.kubes], "name": NAME, "namespace": NAMESPACE}, "other-run", force=True)
        return True

    run = world.upgrade(taken)
    assert run.rc != 0
    said = " ".join(str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed")
    assert "was taken over by other-run in kube cluster east" in said
    assert "this run changes nothing more" in said
    assert (world.replicas(), world.cordoned()) == (0, True)
    assert [lease[0] for lease in world.leases() if lease] == ["other-run", "other-run"]
    world.lock("other-run", "free")
    world.finished("")


def test_its_own_kube_cluster_is_away(world: Outage) -> None:
    """Nothing can be done for a member whose own kube cluster does not answer. It is waited for, as long as a step may take."""
    run = world.upgrade(lambda: world.replicas("west-0") == 0, hostnet_members=["west-0"], hostnet_step_timeout_seconds=10)
    said = message(run)
    assert "kube cluster west could not be asked; member west-0 is there, so nothing was done for it, and it may be down; left: " in said
    assert world.replicas("west-0") == 0
    assert world.journal_of(0)["member"]["member"] == "west-0"
    again = world.upgrade(hostnet_members=["west-0"])
    assert again.rc == 0, again.output
    assert world.replicas("west-0") == 1
    assert world.journal_of(0)["done"] == ["west-0"]


def test_its_own_kube_cluster_comes_back(world: Outage) -> None:
    """It answers again while it is waited for: then the steps are undone as ever."""
    cut: list[int] = []

    def choose(_number: int, _method: str, _path: str) -> str:
        if not cut and world.replicas("west-0") != 0:
            return ""
        cut.append(1)
        # More than one call of a module sends before it gives up, and the wait's first ones too.
        return RESET_BEFORE if len(cut) < 20 else ""

    given = {
        "hostnet_work": "reboot",
        "hostnet_members": ["west-0"],
        "hostnet_soak_seconds": 0,
        "hostnet_step_timeout_seconds": 600,
        "hostnet_kube_clusters": [world.kubes[0].entry, world.balancer.entry],
    }
    world.balancer.choose = choose
    run = world.play("upgrade.yml", **given)
    world.balancer.choose = lambda *_request: ""
    assert run.rc != 0
    assert len(cut) >= 20
    assert (world.replicas("west-0"), world.cordoned("west-1", 1)) == (1, False)
    journals = [world.journal_of(index) for index in (0, 1)]
    assert journals[0] == journals[1]
    assert journals[0]["member"]["since"] > 0
    world.free()
    assert world.upgrade(hostnet_members=["west-0"]).rc == 0
