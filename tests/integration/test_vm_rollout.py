# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""upgrade.yml with a role as its hook: asked before the first change, killed in it, gone on with. Members are made up, and a fake plays Karpenter."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import made_up
from support.kube_api import KubeApi, delete_nodes
from support.made_up import World, message
from support.run import PlayRun
from support.vm_owners import MERGE, FakeKarpenter

ROLE = "hostnet.multicluster.vm_karpenter"


@pytest.fixture
def world(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Deployed on VMs with provider ids."""
    kubes = list(_kube_servers)
    for kube in kubes:
        delete_nodes(kube)
    with made_up.world(kubes, tmp_path_factory.mktemp("vm-rollout")) as found:
        for name, node, _address in made_up.NODES:
            body = {"spec": {"providerID": f"fake:///{node}"}}
            {kube.name: kube for kube in kubes}[name].request_json("PATCH", f"/api/v1/nodes/{node}", body, MERGE)
        found.deployed()
        yield found


def replace(world: World, **options: Any) -> PlayRun:
    known = {"hostnet_work": "replace", "hostnet_replace_tasks": ROLE, "hostnet_members": ["east-0"], "hostnet_soak_seconds": 0}
    return world.play("upgrade.yml", **{**known, "hostnet_step_timeout_seconds": 90, **options})


def playbooks() -> list[int]:
    """ansible-playbook processes that this test itself has started, and no others."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == os.getpid() and any(word.endswith(b"/ansible-playbook") for word in words):
            found.append(int(path.name))
    return found


@pytest.mark.in_turn
def test_a_role_is_asked_first_and_gone_on_with_after_a_kill(world: World) -> None:
    # Nobody is stopped for a VM that the role cannot do, nor for a role that is not there.
    # Another file's tests may have left its kinds in these API servers.
    refused = message(replace(world))
    assert "is Karpenter installed there?" in refused or "there is no NodeClaim with that provider id" in refused
    assert "was not found" in replace(world, hostnet_replace_tasks="hostnet.multicluster.vm_nobody").output
    assert "must be an absolute path on the controller" in message(replace(world, hostnet_replace_tasks="vm_karpenter"))
    karpenter = FakeKarpenter(world.kubes[0], "")
    try:
        assert "there is no NodeClaim with that provider id" in message(replace(world))
        assert (world.replicas(), world.cordoned()) == (1, False)
        for node in ("east-1", "east-2"):
            karpenter.adopt(node)
        karpenter.pool({"replicas": 2})
        checked = replace(world, check=True)
        assert checked.rc == 0, checked.output
        assert f"east-1: would delete NodeClaim {karpenter.name}-east-1 (UID " in checked.output
        assert not karpenter.deleted

        def kill(_name: str) -> None:
            for pid in playbooks():
                os.kill(pid, signal.SIGKILL)

        karpenter.at_delete = kill
        karpenter.start()
        killed = replace(world)
        assert killed.rc == -signal.SIGKILL, killed.output
        karpenter.at_delete = lambda _name: None
        done = replace(world)
        assert done.rc == 0, done.output
        # One NodeClaim, and no second one.
        assert karpenter.deleted == [f"{karpenter.name}-east-1"]
        journal = world.journal_of(0)
        assert (journal["state"], journal["done"]) == ("done", ["east-0"])
    finally:
        karpenter.stop()
