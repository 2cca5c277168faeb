# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml and remove.yml hold the lock, on real API servers with made-up kubelets and members (support/made_up.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support import made_up
from support.kube_api import KubeApi
from support.made_up import NAME, NAMESPACE, World, message, requests

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]


@pytest.fixture
def world(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path) -> Iterator[World]:
    with made_up.world([kube_api, kube_api_two], tmp_path) as found:
        yield found


def test_a_second_deploy_takes_the_lock_and_changes_nothing(world: World) -> None:
    before = world.leases()
    checked = world.deployed(check=True)
    assert world.leases() == before, "check mode takes no lock"
    assert "preflight : Release the lock" in checked.output
    for said in ("first deployment", "+ member east-0: node ", "+ cluster: initialised once", " to create, 0 to change, 0 to delete"):
        assert said in checked.output, checked.output
    assert "NOT HEALTHY" not in checked.output, "what is not there yet has a plan, and no status"
    first = world.deployed()
    generation = world.free()
    assert first.changed
    objects = world.objects()
    second = world.deployed()
    assert not second.changed, second.output
    assert "changed=0" in second.output
    assert world.free() == generation + 1
    assert world.objects() == objects
    print(f"requests: {requests(first)}, then {requests(second)}; check {requests(checked)}")
    again = world.deployed(check=True)
    assert not again.changed
    assert f"Plan for {NAME} (" in again.output
    assert ": no changes." in again.output
    assert world.free() == generation + 1


def test_of_two_deploys_at_once_the_second_is_refused_and_an_order_ends_the_first(world: World, tmp_path: Path) -> None:
    wait = tmp_path / "wait"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.play, environment={"TEST_WAIT": str(wait)})
        try:
            deadline = time.monotonic() + 600
            while not wait.exists():
                assert time.monotonic() < deadline
                assert not first.done()
                time.sleep(0.1)
            held = world.leases()
            assert held[0] is not None
            assert held[0] == held[1]
            objects = world.objects()
            for run in (world.play(), world.remove()):
                said = message(run)
                assert f"the lock of deployment {NAME} (Lease {NAMESPACE}/{NAME}-rollout) is held in kube cluster east, west by run" in said
                assert f"{held[0][0]} (deploy) of" in said
                assert "s ago" in said
                assert f"-e hostnet_take_over={held[0][0]}" in said
                assert not [task for task in run.tasks if task.result.get("changed")], run.output
            assert world.objects() == objects
            assert world.leases() == held
            third = world.deployed(hostnet_take_over=held[0][0])
            assert "FORCED by hostnet_take_over" in third.output
            objects = world.objects()
        finally:
            wait.unlink(missing_ok=True)
        said = message(first.result())
    assert "this run changes nothing more" in said
    assert world.objects() == objects
    assert world.free() == held[0][1] + 1


def test_a_deploy_that_fails_gives_the_lock_back(world: World) -> None:
    run = world.play(environment={"TEST_FAIL": f"{NAME}-probe"})
    assert message(run) == "made to fail (test)"
    generation = world.free()
    world.deployed()
    assert world.free() == generation + 1


def test_a_deploy_between_two_rollouts(world: World) -> None:
    world.deployed()
    world.lock("r1")
    settings = {"detail": {"work": "reboot", "what": "reboot", "settings": {}, "order": ["east-0"]}}
    first = world.journal("r1", "start", {}, **settings)
    assert not first.get("failed"), first
    assert "is held in kube cluster" not in message(world.play()), "an open rollout is refused before the lock is tried"
    ended = world.journal("r1", "finish", first["journal"])
    assert not ended.get("failed"), ended
    assert "(upgrade reboot)" in message(world.play()), "the rollout has not given its lock back yet"
    world.lock("r1", "free")
    assert not world.deployed().changed
    world.lock("r2")
    second = world.journal("r2", "start", ended["journal"], **settings)
    assert not second.get("failed"), second
    assert second["journal"]["generation"] == first["journal"]["generation"] + 2
    late = world.journal("r2", "start", ended["journal"], **settings)
    assert late.get("failed"), "it does not know of the journal that is in flight"
    ended = world.journal("r2", "finish", second["journal"])
    assert not ended.get("failed"), ended
    world.lock("r2", "free")


@pytest.mark.in_turn
def test_no_playbook_begins_what_the_ca_has_to_finish(world: World) -> None:
    """Its key is gone from this controller: said before the first change and in check mode. status looks on, and removing needs none."""
    world.deployed()
    before, leases = world.objects(), world.leases()
    key = world.folder / "pki" / "ca.key"
    key.unlink()
    for playbook, check, variables in (
        ("deploy.yml", False, {}),
        ("upgrade.yml", True, {"hostnet_work": "reboot", "hostnet_replace_tasks": "wait"}),
        ("repair.yml", False, {}),
        ("scale_down.yml", True, {"hostnet_members": ["east-1"]}),
    ):
        run = world.play(playbook, check=check, **variables)
        said = message(run)
        assert f"deployment {NAME} relies on the CA with the SHA-256 fingerprint" in said, said
        assert f"its private key {key} does not exist on this controller" in said
        assert f"restore the folder {key.parent} with ca.crt and ca.key" in said
        assert not run.changed, run.output
    assert (world.objects(), world.leases()) == (before, leases)
    looked = world.play("status.yml")
    assert looked.rc == 0, looked.output
    assert f"{key} does not exist on this controller" in looked.output


def test_remove_leaves_the_lock_and_nothing_else(world: World) -> None:
    world.deployed()
    generation = world.free()
    run = world.remove()
    assert run.rc == 0, run.output
    assert world.free() == generation + 1
    assert world.objects() == []
    label = f"hostnet.multicluster/{NAME}"
    for kube in world.kubes:
        assert not any(label in node["metadata"]["labels"] for node in kube.request_json("GET", "/api/v1/nodes")["items"])
    world.deployed()
    assert world.free() == generation + 2
