# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kube clusters a deployment has, and whose bindings count: playbooks on three real API servers with made-up kubelets and members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import FIELD_MANAGER
from support.kube_api import KubeApi, create_node, delete_nodes
from support.made_up import NAME, NAMESPACE, Kubelets, World, message
from support.run import PlayRun

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Json = dict[str, Any]
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


@pytest.fixture(scope="module")
def kube_api_three() -> Iterator[KubeApi]:
    server = KubeApi("north")
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def world(kube_api: KubeApi, kube_api_two: KubeApi, kube_api_three: KubeApi, no_nodes: None, tmp_path: Path) -> Iterator[World]:
    """Three kube clusters, of which the deployment has `east` and `west` at first."""
    kubes = {"east": kube_api, "west": kube_api_two, "north": kube_api_three}
    delete_nodes(kube_api_three)
    places = (
        ("east", "east-1", "10.0.0.1"),
        ("east", "east-2", "10.0.0.12"),
        ("west", "west-1", "10.0.1.1"),
        ("north", "north-1", "10.0.2.1"),
    )
    for kube_cluster, name, address in places:
        create_node(kubes[kube_cluster], name, address=address)
    kubelets = Kubelets(list(kubes.values()))
    kubelets.start()
    found = World([kube_api, kube_api_two], tmp_path)
    for name, kube in kubes.items():
        source(found, name, kube)
    yield found
    removed = found.remove(hostnet_take_over=",".join({lease[0] for lease in found.leases() if lease and lease[0]}))
    kubelets.ended.set()
    kubelets.join()
    assert removed.rc == 0, removed.output
    assert kubelets.problem is None


def source(world: World, name: str, kube: KubeApi) -> Path:
    path = world.folder / f"{name}.hostnet.yml"
    path.write_text(yaml.safe_dump({"plugin": "hostnet.multicluster.nodes", "kube_clusters": [{**kube.entry, "name": name}]}))
    return path


def sources(world: World, *names: str) -> list[Path]:
    return [world.folder / f"{name}.hostnet.yml" for name in names]


def config_maps(kube: KubeApi) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in kube.request_json("GET", CONFIG_MAPS)["items"]}


def rosters(world: World) -> set[str]:
    """Names of all kube clusters that any record has."""
    found: set[str] = set()
    for kube in world.kubes:
        for item in config_maps(kube).values():
            found |= set(json.loads((item.get("data") or {}).get("kube_clusters", "{}")))
    return found


def refused(world: World, run: PlayRun, before: list[str], *parts: str) -> None:
    said = message(run)
    for part in parts:
        assert part in said, said
    assert not run.changed, run.output
    assert world.objects() == before


def test_inventory_files_in_any_order_are_one_deployment_and_a_part_of_them_is_none(world: World) -> None:
    first = world.deployed(sources=sources(world, "east", "west"))
    assert first.changed
    identity = config_maps(world.kubes[0])[f"{NAME}-identity"]["data"]
    assert sorted(json.loads(identity["kube_clusters"])) == ["east", "west"]
    before = world.objects()
    other_way = world.deployed(sources=sources(world, "west", "east"))
    assert "changed=0" in other_way.output
    assert world.objects() == before
    for playbook, more in (
        ("deploy.yml", {}),
        ("repair.yml", {}),
        ("remove.yml", {"hostnet_remove_name": NAME, "hostnet_remove_data": True}),
    ):
        refused(world, world.play(playbook, sources=sources(world, "west"), **more), before, "kube cluster east is missing")
    refused(
        world,
        world.play(sources=sources(world, "north", "west")),
        before,
        "kube cluster east is missing",
        "kube cluster north is none of locked's",
    )
    refused(world, world.play(sources=sources(world, "west", "north", "east")), before, 'hostnet_new_kube_clusters": ["north"]')
    checked = world.deployed(check=True, sources=sources(world, "east", "west", "north"), hostnet_new_kube_clusters=["north"])
    assert "revision 2" in checked.output
    assert world.objects() == before
    grown = world.deployed(sources=sources(world, "east", "west", "north"), hostnet_new_kube_clusters=["north"])
    assert "locked-north-0" in grown.output or grown.changed
    assert rosters(world) == {"east", "north", "west"}
    # From now on it is one of them.
    assert "changed=0" in world.deployed(sources=sources(world, "north", "west", "east")).output
    left = sources(world, "east", "west")
    assert "kube cluster north is missing" in message(world.play(sources=left))
    # Gone for good.
    lost: Json = {"hostnet_lost_kube_cluster": "north"}
    assert "kube cluster north is in the inventory" in message(
        world.play("forget_kube_cluster.yml", **lost, sources=[*left, *sources(world, "north")])
    )
    before = world.objects()
    checked = world.play("forget_kube_cluster.yml", check=True, sources=left, **lost)
    assert checked.rc == 0, checked.output
    assert "kube cluster north is gone for good: its members north-0 are taken out" in checked.output
    assert world.objects() == before
    forgotten = world.deployed(playbook="forget_kube_cluster.yml", sources=left, **lost)
    assert forgotten.changed
    for kube in world.kubes:
        found = config_maps(kube)
        assert json.loads(found[f"{NAME}-kube-clusters-3"]["data"]["lost"]).keys() == {"north"}
        assert "north-0" not in found[f"{NAME}-members"]["data"]
        assert "10.0.2.1" not in found[f"{NAME}-join"]["data"]["seeds"]
    again = world.deployed(playbook="forget_kube_cluster.yml", sources=left, **lost)
    assert "nothing to do" in again.output
    assert not again.changed
    assert "changed=0" in world.deployed(sources=left).output


def test_contexts_that_were_swapped_and_a_new_name(world: World) -> None:
    world.deployed()
    before = world.objects()
    east, west = (kube.entry for kube in world.kubes)
    swapped = [{**west, "name": "east"}, {**east, "name": "west"}]
    for playbook in ("deploy.yml", "upgrade.yml"):
        run = world.play(playbook, hostnet_kube_clusters=swapped, hostnet_work="reboot")
        refused(world, run, before, "kube cluster east is not the one", "swapped")
    renamed = world.play(hostnet_kube_clusters=[east, {**west, "name": "occident"}], hostnet_new_kube_clusters=["occident"])
    refused(world, renamed, before, "kube cluster occident is recorded under the name west")
    twice = world.play(hostnet_kube_clusters=[east, west, {**west, "name": "occident"}])
    refused(world, twice, before, "occident and west are the same Kubernetes cluster")


def test_what_was_deleted_in_one_kube_cluster_comes_back_from_the_other(world: World) -> None:
    world.deployed()
    west = world.kubes[1]
    bindings = config_maps(world.kubes[0])[f"{NAME}-members"]["data"]
    assert bindings == config_maps(west)[f"{NAME}-members"]["data"]
    # All that a deleted namespace takes with it.
    for group, kind in (
        ("/api/v1", "configmaps"),
        ("/api/v1", "secrets"),
        ("/apis/apps/v1", "statefulsets"),
        ("/apis/coordination.k8s.io/v1", "leases"),
        ("/apis/policy/v1", "poddisruptionbudgets"),
    ):
        west.request_json("DELETE", f"{group}/namespaces/{NAMESPACE}/{kind}")
    restored = world.deployed()
    assert "kube cluster west has lost its bindings" in restored.output
    assert {kube.name: config_maps(kube)[f"{NAME}-members"]["data"] for kube in world.kubes} == {"east": bindings, "west": bindings}
    assert "changed=0" in world.deployed().output


def test_a_deployment_of_0_2_0_is_completed_by_a_deploy_that_sees_all_of_it(world: World) -> None:
    world.deployed()
    for kube in world.kubes:
        found = config_maps(kube)
        claim, members = found[f"{NAME}-identity"], found[f"{NAME}-members"]
        old = {key: value for key, value in claim["data"].items() if key not in ("kube_clusters", "data_root")}
        kube.request_json("DELETE", f"{CONFIG_MAPS}/{NAME}-identity")
        metadata = {key: claim["metadata"][key] for key in ("name", "labels")}
        # Ours, as the removal at the end sees it.
        ours = f"{CONFIG_MAPS}?fieldManager={FIELD_MANAGER}"
        kube.request_json("POST", ours, {"metadata": metadata, "immutable": True, "data": old})
        local = {key: text for key, text in members["data"].items() if key.startswith(f"{kube.name}-")}
        kube.request_json("PUT", f"{CONFIG_MAPS}/{NAME}-members", {**members, "data": local})
    before = world.objects()
    refused(world, world.play(sources=sources(world, "east")), before, "kube cluster west is missing")
    completed = world.deployed()
    assert "the record of locked's kube clusters is completed, revision 1: east (" in completed.output
    for kube in world.kubes:
        assert f"{NAME}-kube-clusters-1" in config_maps(kube)
        assert "ordinals" in config_maps(kube)[f"{NAME}-members"]["data"]
    assert "changed=0" in world.deployed().output
