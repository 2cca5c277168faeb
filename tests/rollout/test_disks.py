# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data disk that is not mounted after a reboot is no empty disk, and an empty one on the same mount is mended; writes go on meanwhile.

Of HOSTNET_SITUATION_SYSTEM and HOSTNET_SITUATION_PLACEMENT (default: etcd, node_name).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.admission import admission_id

from .harness import Choice, Json, Stage
from .test_situations import CHOICE

pytestmark = pytest.mark.lab

ROOT, DISK = "/var/lib/hostnet", "/var/data-disk"


class Disks(Stage):
    """Three members, one of which has its data on a mount of its own."""

    def variables(self, **more: Any) -> Json:
        return super().variables(hostnet_node_selector="topology.kubernetes.io/zone in (east-a,east-b,west-a)", **more)

    def on_node(self, node: str, *command: str) -> str:
        return subprocess.run(["docker", "exec", node, *command], check=True, capture_output=True, text=True).stdout

    def mount(self, node: str) -> None:
        self.on_node(node, "mkdir", "-p", DISK, ROOT)
        self.on_node(node, "mount", "--bind", DISK, ROOT)

    def binding(self, member: str) -> Json:
        found: Json = json.loads(self.config_map(self.members()[member][0], "members")[member])
        return found

    def restart(self, member: str) -> None:
        """A new pod, which asks the kubelet for its folder at once."""
        kube, _node = self.members()[member]
        for pod in self.pods(member):
            self.core(kube).delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=1)

    def pods(self, member: str) -> list[Any]:
        """Its pods, but for those that go."""
        kube, node = self.members()[member]
        found = (
            self.core(kube).list_namespaced_pod(self.namespace, label_selector=f"hostnet.multicluster/deployment={self.choice.name}").items
        )
        return [pod for pod in found if pod.spec.node_name == node and not pod.metadata.deletion_timestamp]

    def ready(self, member: str) -> bool:
        return any(
            condition.type == "Ready" and condition.status == "True"
            for pod in self.pods(member)
            for condition in pod.status.conditions or []
        )

    def stuck(self, member: str) -> bool:
        """Whether the kubelet has said that the folder is not there."""
        core = self.core(self.members()[member][0])
        uids = {pod.metadata.uid for pod in self.pods(member)}
        events = core.list_namespaced_event(self.namespace, field_selector="reason=FailedMount").items
        return any(event.involved_object.uid in uids and "is not a directory" in event.message for event in events) and not self.ready(
            member
        )


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Disks, str]]:
    stage = Disks(Choice(CHOICE.system, CHOICE.placement, "disks"), tmp_path)
    node = min(found.metadata.name for found in stage.nodes("east"))
    stage.remove()
    stage.mount(node)
    try:
        stage.deploy()
        (member,) = (member for member, (_kube, where) in stage.members().items() if where == node)
        yield stage, member
    finally:
        stage.remove()
        subprocess.run(["docker", "exec", node, "sh", "-c", f"umount {ROOT}; rm -rf {DISK}"], check=False, capture_output=True)


def test_a_disk_that_is_not_mounted_is_no_empty_one_and_an_empty_one_is_mended(disks: tuple[Disks, str]) -> None:
    stage, member = disks
    cluster_id, node = stage.cluster_ids()["east"], stage.members()[member][1]
    first = stage.binding(member)
    assert {name: stage.binding(name)["disk"]["mounted"] for name in stage.members()} == {name: name == member for name in stage.members()}
    with stage.load() as load:
        # Nothing mounts it again at boot.
        stage.verb("reboot-node", node)
        stage.until("the kubelet that misses the folder", lambda: stage.stuck(member))
        before = stage.state()
        refused = stage.play("repair.yml")
        assert refused.rc not in (0, None)
        for words in (f"member {member} is not_mounted", f"no disk is mounted at {ROOT}", "hostnet_lost_disks"):
            assert words in refused.failure, refused.failure
        assert stage.state() == before
        assert stage.on_node(node, "ls", "-A", ROOT).split() == [], "a folder was made by looking"

        stage.mount(node)
        stage.restart(member)
        stage.until("the member on its disk", lambda: stage.ready(member))
        assert admission_id(stage.binding(member)) == admission_id(first)

        stage.on_node(node, "sh", "-c", f"rm -rf {DISK}/{stage.choice.name}")
        stage.restart(member)
        stage.until("the kubelet that misses the folder again", lambda: stage.stuck(member))
        mended = stage.play("repair.yml")
        assert mended.rc == 0, mended.failure
        again = stage.binding(member)
        # The folder of a DaemonSet's members has the same name on every node; what it is, its marker says.
        assert admission_id(again) != admission_id(first), "an empty disk under an old admission"
        assert again["disk"] == first["disk"]
        verdict = load.end()
    print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert (verdict["result"], verdict["lost"]) == ("holds", 0), verdict["reasons"]
    assert stage.problems(cluster_id) == []
