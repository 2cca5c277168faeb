# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate said to a run that was killed is worth nothing to the one that goes on, perhaps days later: it asks again before anybody is stopped.

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

GATE = "the stop of east-0"


@pytest.fixture(scope="module")
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made_up.deployed_world(list(_kube_servers), tmp_path_factory.mktemp("resumed")) as found:
        yield found


@pytest.mark.in_turn
@pytest.mark.parametrize("killed", ["drain:after-begin", "stop:after-begin"])
def test_the_gate_is_asked_again_before_the_stop(world: World, killed: str) -> None:
    vms = Reboots(world.kubes, world.folder)
    vms.start()

    def upgrade(**environment: str) -> PlayRun:
        given = {
            "hostnet_work": "reboot",
            "hostnet_replace_tasks": str(vms.hook()),
            "hostnet_members": ["east-0"],
            "hostnet_soak_seconds": 0,
            "hostnet_step_timeout_seconds": 60,
        }
        return world.play("upgrade.yml", environment=environment, **given)

    try:
        assert upgrade(HOSTNET_FAILPOINT=killed).rc != 0
        assert world.replicas() == 1
        refused = upgrade(TEST_CLOSED=GATE)
        assert f"{GATE}: closed (test)" in message(refused)
        assert (world.replicas(), world.journal_of(0)["state"]) == (1, "in_flight")
        run = upgrade()
        assert run.rc == 0, run.output
        assert [task.task for task in run.tasks if "Ask the gates whether it may stop" in task.task]
        assert (world.replicas(), world.journal_of(0)["state"], world.journal_of(0)["done"]) == (1, "done", ["east-0"])
    finally:
        vms.ended.set()
