# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images are pulled when, and what has been done by then where a registry does not give one.

Real API servers with made-up kubelets and members; what real kubelets say of an image is in test_node_run.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support import made_up
from support.kube_api import KubeApi, create_node
from support.made_up import NAME, NAMESPACE, World
from support.run import PlayRun

Json = dict[str, Any]
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


@pytest.fixture(scope="module")
def deployed(_kube_servers: tuple[KubeApi, KubeApi], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, PlayRun]]:
    for kube in _kube_servers:
        made_up.delete_nodes(kube)
    with made_up.world(list(_kube_servers), tmp_path_factory.mktemp("pulls")) as world:
        yield world, world.deployed()


def pulled(run: PlayRun) -> list[list[str]]:
    return [result["pulled"] for result in run.of("node_job") if result.get("pulled")]


def begun(world: World) -> set[str]:
    """The steps of the rollout that was run last."""
    return {str(entry["step"]) for entry in world.journal_of(0)["steps"]}


def members(world: World) -> Json:
    """UID and image of each member's pod, and the image of its workload."""
    found: Json = {}
    for kube in world.kubes:
        for kind, path in (("pod", f"/api/v1/namespaces/{NAMESPACE}/pods"), ("set", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets")):
            selector = f"?labelSelector=hostnet.multicluster/deployment={NAME}"
            for item in kube.request_json("GET", path + selector)["items"]:
                spec = item["spec"] if kind == "pod" else item["spec"]["template"]["spec"]
                found[kube.name, kind, item["metadata"]["name"]] = (item["metadata"]["uid"], spec["containers"][0]["image"])
    return found


def test_a_deploy_pulls_before_the_system_hears_of_a_member(deployed: tuple[World, PlayRun]) -> None:
    _world, run = deployed
    ((image,),) = pulled(run)
    assert "etcd" in image


def test_an_image_that_is_not_to_be_had_stops_nobody(deployed: tuple[World, PlayRun]) -> None:
    world, _run = deployed
    before = members(world)
    settings: Json = {"hostnet_work": "version", "hostnet_image": "example.test/etcd:2", "hostnet_step_timeout_seconds": 30}
    run = world.play("upgrade.yml", environment={"TEST_FAIL": f"{NAME}-pull"}, **settings)
    assert "made to fail (test)" in made_up.message(run)
    assert begun(world) & {"pull", "gate", "drain", "restart"} == {"pull"}
    assert members(world) == before
    world.free()
    # It goes on with the pull. A gate that is closed then has found the image on the node.
    again = world.play("upgrade.yml", environment={"TEST_CLOSED": "the stop of"}, **settings)
    assert "closed (test)" in made_up.message(again)
    assert pulled(again) == [["example.test/etcd:2"]]
    assert members(world) == before
    aborted = world.play("upgrade.yml", hostnet_abort=True, hostnet_work="version")
    assert aborted.rc == 0, aborted.output


def test_a_secret_that_is_missing_is_refused_before_anything_is_changed(deployed: tuple[World, PlayRun]) -> None:
    world, _run = deployed
    before = world.objects()
    given: Json = {"hostnet_pull_secrets": ["mirror"]}
    config = {".dockerconfigjson": "e30="}
    body = {"metadata": {"name": "mirror"}, "type": "kubernetes.io/dockerconfigjson", "data": config}
    expected = f"are not in namespace {NAMESPACE}, or are none for a registry (kubernetes.io/dockerconfigjson): kube cluster"
    for playbook, more in (("deploy.yml", {}), ("upgrade.yml", {"hostnet_work": "reboot", "hostnet_replace_tasks": "wait"})):
        run = world.play(playbook, **given, **more)
        assert f"{expected} east: mirror; kube cluster west: mirror. Make them there" in made_up.message(run)
        assert world.objects() == before
    world.kubes[0].request_json("POST", SECRETS, body)
    try:
        assert f"{expected} west: mirror. Make them there" in made_up.message(world.play(**given))
    finally:
        world.kubes[0].request_json("DELETE", f"{SECRETS}/mirror")
    assert world.objects() == before


@pytest.mark.in_turn
def test_nobody_is_forgotten_for_a_vm_that_gets_no_image(deployed: tuple[World, PlayRun]) -> None:
    world, _run = deployed
    west = world.kubes[1]
    west.request_json("DELETE", "/api/v1/nodes/west-1")
    create_node(west, "west-9", address="10.0.1.9")
    run = world.play("repair.yml", environment={"TEST_FAIL": f"{NAME}-admit"}, hostnet_soak_seconds=0, hostnet_step_timeout_seconds=30)
    assert "made to fail (test)" in made_up.message(run)
    assert "identify" in begun(world)
    assert not {"unlist", "forget", "certify", "admit", "start"} & begun(world)
    mended = world.play("repair.yml", hostnet_soak_seconds=0, hostnet_step_timeout_seconds=60)
    assert mended.rc == 0, mended.output
    ((image,),) = pulled(mended)
    assert "etcd" in image
    assert {"forget", "admit", "start", "join"} <= begun(world)
