# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kube clusters that an inventory has not, that lost what they knew, and that are gone for good; writes go on meanwhile.

One deployment for all of them, of HOSTNET_SITUATION_SYSTEM and HOSTNET_SITUATION_PLACEMENT (default: etcd, node_name).
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from support.collection import CHECKOUT

from .harness import KUBE_CLUSTERS, Attempt, Json, Stage
from .test_situations import CHOICE, NETWORK, ended, failed, writing

pytestmark = pytest.mark.lab


class Clusters(Stage):
    def source(self, kube: str) -> Path:
        """An inventory file for one kube cluster, as many people have them, beside the lab's variables."""
        folder = self.folder / "inventory"
        if not folder.exists():
            folder.mkdir()
            (folder / "group_vars").symlink_to(CHECKOUT / "inventories" / "lab" / "group_vars")
        (entry,) = (entry for entry in self.lab.kube_clusters if entry["name"] == kube)
        path = folder / f"{kube}.hostnet.yml"
        workers = "!node-role.kubernetes.io/control-plane"
        path.write_text(yaml.safe_dump({"plugin": "hostnet.multicluster.nodes", "kube_clusters": [entry], "node_selector": workers}))
        return path

    def with_sources(self, playbook: str, *kubes: str, **variables: Any) -> Attempt:
        return self.play(playbook, sources=[self.source(kube) for kube in kubes], **variables)

    def bindings(self, kube: str) -> Json:
        return {key: json.loads(text) for key, text in self.config_map(kube, "members").items() if re.fullmatch(r".*-[0-9]+", key)}

    def has_no_namespace(self, kube: str) -> bool:
        try:
            self.core(kube).read_namespace(self.namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            return True
        return False

    def clear(self, *kubes: str) -> None:
        """By hand, as docs/recovery.md says: namespace, label and folders."""
        for kube in kubes:
            if not self.has_no_namespace(kube):
                self.core(kube).delete_namespace(self.namespace)
        for kube in kubes:
            self.until("the namespace to be gone", functools.partial(self.has_no_namespace, kube))
            for node in self.nodes(kube):
                name = node.metadata.name
                self.core(kube).patch_node(name, {"metadata": {"labels": {f"hostnet.multicluster/{self.choice.name}": None}}})
                folder = f"/var/lib/hostnet/{self.choice.name}"
                subprocess.run(["docker", "exec", name, "rm", "-rf", folder], check=True, capture_output=True)

    def hosts(self, kube: str) -> list[str]:
        """The containers that are the hosts of a kube cluster."""
        command = ["docker", "ps", "-a", "--filter", f"network={NETWORK}", "--format", "{{.Names}}"]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return sorted(name for name in names if f"{kube}-" in name)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    found = Clusters(replace(CHOICE, name="kubes"), tmp_path_factory.mktemp("kube-clusters"))
    found.verb("up", "east:3,west:2")
    # Where a record says that a kube cluster is lost, no removal is one of everything.
    found.clear(*KUBE_CLUSTERS)
    try:
        ended(found.with_sources("deploy.yml", "east", "west"))
        yield found
    finally:
        found.clear(*KUBE_CLUSTERS)


def test_two_inventory_files_in_any_order_are_one_cluster(stage: Clusters) -> None:
    ids = stage.cluster_ids()
    assert len(set(ids.values())) == 1
    with writing(stage):
        other_way = ended(stage.with_sources("deploy.yml", "west", "east"))
        assert not other_way.changed, other_way.changed
        before = stage.state()
        for kube in KUBE_CLUSTERS:
            missing = next(name for name in KUBE_CLUSTERS if name != kube)
            for playbook, settings in (("deploy.yml", {}), ("repair.yml", {}), ("upgrade.yml", {"hostnet_work": "reboot"})):
                refused = failed(stage.with_sources(playbook, kube, **settings), f"kube cluster {missing} is missing")
                assert not refused.changed
        assert stage.state() == before
    assert stage.cluster_ids() == ids


def comes_back(stage: Clusters, known: Json) -> None:
    """A status says what west has lost, a deploy restores it as it was, and the next one has nothing to do."""
    shown = ended(stage.play("status.yml"))
    assert "kube cluster west has lost its bindings" in shown.log.read_text()
    ended(stage.play("deploy.yml"))
    assert {kube: stage.bindings(kube) for kube in KUBE_CLUSTERS} == dict.fromkeys(KUBE_CLUSTERS, known)
    again = ended(stage.play("deploy.yml"))
    assert not again.changed, again.changed


def test_bindings_that_somebody_deleted_come_back_from_the_other_kube_cluster(stage: Clusters) -> None:
    ids, known = stage.cluster_ids(), stage.bindings("east")
    with writing(stage):
        stage.core("west").delete_namespaced_config_map(f"{stage.choice.name}-members", stage.namespace)
        comes_back(stage, known)
    assert stage.cluster_ids() == ids


def test_a_kube_cluster_whose_namespace_somebody_deleted_gets_its_members_back_with_their_disks(stage: Clusters) -> None:
    ids, known = stage.cluster_ids(), stage.bindings("east")
    with writing(stage, most_down=2):
        stage.core("west").delete_namespace(stage.namespace)
        stage.until("the namespace to be gone", functools.partial(stage.has_no_namespace, "west"))
        comes_back(stage, known)
    assert stage.cluster_ids() == ids
    assert stage.problems(ids["east"]) == []


def test_a_kube_cluster_is_gone_for_good_comes_back_and_is_grown_into(stage: Clusters) -> None:
    ids = stage.cluster_ids()
    lost: Json = {"hostnet_lost_kube_cluster": "west"}
    with writing(stage, most_down=2):
        # It may be alive, and it is in the inventory: nothing is forgotten.
        failed(stage.play("forget_kube_cluster.yml", **lost), "kube cluster west is in the inventory")
        # The checker's stream of NATS has as many replicas as there are servers: somebody has to say first with how many it goes on.
        many = "streams with more replicas than servers would be left"
        # That is told by the stream's leader alone, which may be in west, where nobody is asked.
        alive = "still alive is member west-"
        why = f"{alive}|{many}" if stage.choice.system == "nats" else alive
        living = failed(stage.with_sources("forget_kube_cluster.yml", "east", **lost), why)
        assert not living.changed, living.changed
        hosts = stage.hosts("west")
        subprocess.run(["docker", "kill", *hosts], check=True, capture_output=True)
        try:
            shown = ended(stage.play("status.yml"))
            assert "west" in shown.log.read_text()
            failed(stage.play("deploy.yml"), "kube cluster west")
            if stage.choice.system == "nats":
                failed(stage.with_sources("forget_kube_cluster.yml", "east", **lost), many)
                return
            ended(stage.with_sources("forget_kube_cluster.yml", "east", **lost))
            assert sorted(stage.bindings("east")) == ["east-0", "east-1", "east-2"]
            again = ended(stage.with_sources("forget_kube_cluster.yml", "east", **lost))
            assert not again.changed, again.changed
            same = ended(stage.with_sources("deploy.yml", "east"))
            assert not same.changed, same.changed
        finally:
            subprocess.run(["docker", "start", *hosts], check=True, capture_output=True)
        # What was forgotten is back, with disks and workloads: it is no part of the deployment, and stays none by itself.
        stage.verb("up", "east:3,west:2")
        failed(stage.play("deploy.yml"), "kube cluster west is none of")
        failed(stage.play("deploy.yml", hostnet_new_kube_clusters=["west"]), "west has members of kubes from before")
        assert sorted(stage.bindings("east")) == ["east-0", "east-1", "east-2"]
        # Cleared as the refusal says, it is as good as a new one.
        stage.clear("west")
        ended(stage.play("deploy.yml", hostnet_new_kube_clusters=["west"]))
        assert sorted(stage.bindings("east")) == ["east-0", "east-1", "east-2", "west-2", "west-3"]
        again = ended(stage.play("deploy.yml"))
        assert not again.changed, again.changed
    assert set(stage.cluster_ids().values()) == {ids["east"]}
