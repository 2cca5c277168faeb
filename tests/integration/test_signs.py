# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud chooses another VM than the rollout: nobody else is stopped meanwhile, and that member comes first.

Real API servers with made-up kubelets and members.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import made_up
from support.kube_api import KubeApi
from support.made_up import World, message
from support.reboots import Reboots
from support.run import PlayRun

AUTOSCALER = "ToBeDeletedByClusterAutoscaler"


@pytest.fixture
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made_up.deployed_world(list(_kube_servers), tmp_path_factory.mktemp("signs")) as found:
        yield found


def test_nobody_is_stopped_while_the_cloud_takes_another_vm(world: World) -> None:
    vms = Reboots(world.kubes, world.folder)
    vms.start()
    west = world.kubes[1]

    def upgrade(failpoint: str = "", **variables: object) -> PlayRun:
        given = {
            "hostnet_work": "reboot",
            "hostnet_replace_tasks": str(vms.hook()),
            "hostnet_soak_seconds": 0,
            "hostnet_step_timeout_seconds": 60,
        }
        return world.play("upgrade.yml", environment={"HOSTNET_FAILPOINT": failpoint} if failpoint else None, **{**given, **variables})

    def chosen(taken_back: bool = False) -> None:
        taints = [] if taken_back else [{"key": AUTOSCALER, "effect": "NoSchedule"}]
        west.request_json("PATCH", "/api/v1/nodes/west-1", {"spec": {"taints": taints}}, "application/merge-patch+json")

    try:
        # The play has east-0 in hand when the autoscaler chooses west-0's VM.
        assert upgrade("gate:before-begin", hostnet_members=["east-0"]).rc != 0
        chosen()
        status = world.play("status.yml")
        assert f"the VM of west-0 is about to go: the cluster autoscaler takes it away within minutes ({AUTOSCALER})" in status.output
        refused = message(upgrade(hostnet_members=["east-0", "west-0"], hostnet_step_timeout_seconds=5))
        assert "the VM of member west-0 is about to go: node west-1 of kube cluster west: the cluster autoscaler" in refused
        assert "Two members would be down, so east-0 was not stopped. Run again when that is over" in refused
        assert "-e hostnet_abort=true, and name those that are left in hostnet_members: east-0,west-0" in refused
        assert world.replicas() == 1
        assert not world.cordoned()
        assert vms.rebooted == []
        aborted = upgrade(hostnet_members=["east-0", "west-0"], hostnet_abort=True)
        assert aborted.rc == 0, aborted.output
        # As said: it begins with the other one, and then nothing is left to wait for.
        run = upgrade(hostnet_members=["east-0", "west-0"], hostnet_max_members=1)
        assert run.rc == 0, run.output
        assert vms.rebooted == ["west-1"]
        chosen(taken_back=True)
        run = upgrade(hostnet_members=["east-0", "west-0"])
        assert run.rc == 0, run.output
        assert vms.rebooted == ["west-1", "east-1"]
        journal = world.journal_of(0)
        assert (journal["state"], journal["done"]) == ("done", ["west-0", "east-0"])
    finally:
        vms.ended.set()
