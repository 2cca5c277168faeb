# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud chooses another VM than the rollout: nobody else is stopped meanwhile, and that member comes first.

Real API servers with made-up kubelets and members.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import made_up
from support.kube_api import KubeApi
from support.made_up import World, message
from support.pages import Shape
from support.reboots import Reboots
from support.run import PlayRun

AUTOSCALER = "ToBeDeletedByClusterAutoscaler"


@pytest.fixture
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made_up.deployed_world(list(_kube_servers), tmp_path_factory.mktemp("signs")) as found:
        yield found


class Chosen(Reboots):
    """The autoscaler's VM is not chosen any more once it has started again."""

    def goes_down(self, kube: KubeApi, node: str) -> None:
        taint(kube, node, [])


def taint(kube: KubeApi, node: str, taints: list[dict[str, str]]) -> None:
    kube.request_json("PATCH", f"/api/v1/nodes/{node}", {"spec": {"taints": taints}}, "application/merge-patch+json")


@pytest.mark.in_turn
def test_nobody_is_stopped_while_the_cloud_takes_another_vm(world: World) -> None:
    vms = Chosen(world.kubes, world.folder)
    vms.start()

    def upgrade(failpoint: str = "", **variables: object) -> PlayRun:
        given = {
            "hostnet_work": "reboot",
            "hostnet_replace_tasks": str(vms.hook()),
            "hostnet_soak_seconds": 0,
            "hostnet_step_timeout_seconds": 60,
        }
        return world.play("upgrade.yml", environment={"HOSTNET_FAILPOINT": failpoint} if failpoint else None, **{**given, **variables})

    try:
        # The play has east-0 in hand when the autoscaler chooses west-0's VM.
        assert upgrade("gate:before-begin", hostnet_members=["east-0"]).rc != 0
        taint(world.kubes[1], "west-1", [{"key": AUTOSCALER, "effect": "NoSchedule"}])
        page, metrics = world.folder / "status.html", world.folder / "status.prom"
        status = world.play("status.yml", hostnet_status_html=str(page), hostnet_status_metrics=str(metrics))
        assert f"the VM of west-0 is about to go: the cluster autoscaler takes it away within minutes ({AUTOSCALER})" in status.output
        assert "the cluster autoscaler takes it away within minutes" in Shape(page.read_text()).text
        told = {
            (sample.name, sample.labels.get("member"), sample.labels.get("level"))
            for family in text_string_to_metric_families(metrics.read_text())
            for sample in family.samples
            if sample.value == 1
        }
        assert {entry for entry in told if entry[2]} == {("hostnet_vm_marked", "west-0", "going")}
        assert ("hostnet_rollout_in_progress", None, None) in told
        # Where west-0 is no member to work on, somebody else has to be done with it first.
        refused = message(upgrade(hostnet_members=["east-0"], hostnet_step_timeout_seconds=5))
        assert "the VM of member west-0 is about to go: node west-1 of kube cluster west: the cluster autoscaler" in refused
        assert "Two members would be down, so east-0 was not stopped. Run again when that is over: the rollout resumes" in refused
        assert world.replicas() == 1
        assert not world.cordoned()
        assert vms.rebooted == []
        # Otherwise it goes first: nothing has taken east-0 down.
        run = upgrade(hostnet_members=["east-0", "west-0"])
        assert run.rc == 0, run.output
        assert vms.rebooted == ["west-1", "east-1"]
        journal = world.journal_of(0)
        assert (journal["state"], journal["done"]) == ("done", ["west-0", "east-0"])
    finally:
        vms.ended.set()
