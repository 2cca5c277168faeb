# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back from a disaster, as docs/recovery.md says it: three of five VMs are lost for good, a human brings the system back by its own means, adopt.yml takes
it over, and deploy.yml grows it again.

With the manifest that the document has, filled in as it says. Beside the situations, these are minutes of the lab: `make test` leaves them out.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from checker.system_nats import Nats
from support.collection import CHECKOUT
from support.in_process import call_module
from support.kube_api import binary
from support.member import nats_peer_removed

from .harness import KUBE_CLUSTERS, Attempt, Choice, Json, Stage

# The connections of a module end with its process; here that is this process.
pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

DOCUMENT = CHECKOUT / "docs" / "recovery.md"


class Human(Stage):
    """A deployment, and what a human does with kubectl and the system's own tools."""

    def kubectl(self, kube: str, *words: str, given: str = "") -> str:
        command = [str(binary("kubectl")), "--kubeconfig", self.lab.admin_kubeconfig, "--context", kube, "-n", self.namespace, *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def etcdctl(self, member: str, *words: str) -> str:
        kube, _node = self.members()[member]
        address = self.binding(member)["address"]
        tls = ["--cacert=/etc/hostnet/certs/ca.crt", "--cert=/etc/hostnet/certs/server.crt", "--key=/etc/hostnet/certs/server.key"]
        tool = ["/usr/local/bin/etcdctl", f"--endpoints=https://{address}:2379", *tls, *words]
        return self.kubectl(kube, "exec", f"{self.choice.name}-{member}-0", "--", *tool).strip()

    def binding(self, member: str) -> Json:
        found: Json = json.loads(self.config_map(member.rpartition("-")[0], "members")[member])
        return found

    def bound(self) -> list[str]:
        return sorted(key for key in self.config_map("west", "members") if re.fullmatch(r".*-[0-9]+", key))

    def lose(self, kube: str) -> None:
        """All VMs of a kube cluster are gone for good; others, under new names, are there instead."""
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda node: self.verb("replace-node", node.metadata.name), self.nodes(kube)))

    def adopt(self, cluster_id: str, **variables: Any) -> Attempt:
        return self.play("adopt.yml", hostnet_adopt_name=self.choice.name, hostnet_adopt_cluster_id=cluster_id, **variables)


def ended(attempt: Attempt) -> Attempt:
    assert attempt.rc == 0, f"{attempt.failure}\n{attempt.log}"
    return attempt


def refused(attempt: Attempt, *parts: str) -> None:
    assert attempt.rc not in (0, None)
    assert not attempt.changed, attempt.changed
    for part in parts:
        assert re.search(part, attempt.failure), f"{part!r} is not in: {attempt.failure}\n{attempt.log}"


def manifest(heading: str, **values: str) -> str:
    """The YAML block below a heading of docs/recovery.md, its capital words replaced."""
    text = DOCUMENT.read_text().split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    block = str(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    for word, value in values.items():
        block = re.sub(rf"\b{word}\b", value, block)
    left = set(re.findall(r"\b[A-Z][A-Z_]+\b", block)) - {"NET_ADMIN"}
    assert not left, f"words that the document does not explain: {left}"
    return block


@pytest.fixture
def human(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Human]:
    stage = Human(Choice(request.param, "node_name", "disaster"), tmp_path)
    stage.verb("up", "east:3,west:2")
    stage.remove()
    try:
        stage.deploy()
        yield stage
    finally:
        stage.remove()
        # Data of members that were left out stays where it is, and is a human's to delete.
        for kube in KUBE_CLUSTERS:
            for node in stage.nodes(kube):
                subprocess.run(["docker", "exec", node.metadata.name, "rm", "-rf", "/var/lib/hostnet/disaster"], check=True)


def back_as_it_was(human: Human, read: Callable[[str], dict[str, str]], wanted: dict[str, str], cluster_id: str) -> None:
    """Five members under names of which three were never there before, every value in each, and nothing left to do."""
    ended(human.play("deploy.yml"))
    assert len(human.bound()) == 5
    assert human.problems(cluster_id) == []
    for member in human.bound():
        assert read(member) == wanted, member
    again = ended(human.play("deploy.yml"))
    assert not again.changed, again.changed


@pytest.mark.parametrize("human", ["etcd"], indirect=True)
def test_etcd_restored_from_the_disk_of_one_survivor(human: Human) -> None:
    before = human.cluster_ids()["west"]
    wanted = {f"key-{number}": f"value-{number}" for number in range(20)}
    for key, value in wanted.items():
        human.etcdctl("east-0", "put", key, value)

    def read(member: str) -> dict[str, str]:
        lines = human.etcdctl(member, "get", "key-", "--prefix").splitlines()
        return dict(zip(lines[::2], lines[1::2], strict=True))

    assert read("west-0") == wanted
    old = human.binding("west-0")
    token = human.config_map("west", "identity")["token"]
    human.lose("east")
    for playbook, settings in (("repair.yml", {}), ("upgrade.yml", {"hostnet_work": "reboot"})):
        refused(human.play(playbook, **settings), "majority")
    refused(human.adopt(before), "not healthy|no member of disaster answers")

    # What the document says.
    human.kubectl("west", "scale", "statefulset", "--replicas=0", "-l", "hostnet.multicluster/deployment=disaster")
    human.kubectl("west", "wait", "pod", "--for=delete", "--timeout=120s", "-l", "hostnet.multicluster/deployment=disaster")
    pod = manifest(
        "etcd: from a snapshot, or from the disk of one survivor",
        NAMESPACE=human.namespace,
        NODE=old["node"],
        FOLDER=f"/var/lib/hostnet/disaster/{old['admission']}",
        MEMBER=old["process"],
        HOST=old["address"],
        TOKEN=token,
    )
    human.kubectl("west", "apply", "-f", "-", given=pod)
    human.kubectl("west", "wait", "pod/etcd-restore", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    human.kubectl("west", "delete", "pod", "etcd-restore")
    human.kubectl("west", "scale", "statefulset", "disaster-west-0", "--replicas=1")
    human.until("the pod", lambda: bool(human.kubectl("west", "get", "pod", "-o", "name", "-l", "hostnet.multicluster/member=west-0")), 60)
    human.kubectl("west", "wait", "pod/disaster-west-0-0", "--for=condition=Ready", "--timeout=120s")
    status = json.loads(human.etcdctl("west-0", "endpoint", "status", "--write-out=json"))
    cluster_id = f"{int(status[0]['Status']['header']['cluster_id']):x}"
    assert cluster_id != before

    refused(human.play("deploy.yml"), "")
    refused(human.adopt(before), re.escape(cluster_id))
    adopted = ended(human.adopt(cluster_id))
    assert human.bound() == ["west-0"]
    assert "data that stays where it is: /var/lib/hostnet/disaster/" in adopted.log.read_text()
    assert set(human.cluster_ids().values()) == {cluster_id}
    assert not ended(human.adopt(cluster_id)).rc
    back_as_it_was(human, read, wanted, cluster_id)
    # Ordinals are never given again.
    assert human.bound() == ["east-3", "east-4", "east-5", "west-0", "west-2"]


@pytest.mark.parametrize("human", ["nats"], indirect=True)
def test_nats_rescued_by_two_survivors(human: Human) -> None:
    cluster_id = human.cluster_ids()["west"]
    lost = sorted(member for member in human.members() if member.startswith("east-"))

    def ask(member: str, subject: str, **body: Any) -> Json:
        kube, node = human.members()[member]
        target = {
            "member": member,
            "kube_cluster": kube,
            "namespace": human.namespace,
            "pod": f"disaster-{member}-0",
            "variables": {"address": human.binding(member)["address"], "node": node},
        }
        asked = call_module(
            "nats_request",
            {
                "kube_clusters": human.lab.kube_clusters,
                "member": target,
                "pki_dir": str(human.pki),
                "nkey": "system",
                "subject": subject,
                "body": body,
                "image": human.lab.image,
                "changes": True,
            },
        )
        assert not asked.get("failed"), asked
        return dict(asked["answer"])

    system = Nats("disaster", human.pki, None, 5.0, most_down=2)
    writer = system.connect(str(human.binding("east-0")["address"]))
    system.prepare(writer)
    wanted = {str(number): f"value-{number}" for number in range(20)}
    for number, value in wanted.items():
        writer.write(int(number), value)
    writer.close()

    def read(member: str) -> dict[str, str]:
        reader = system.connect(str(human.binding(member)["address"]))
        found = reader._run(reader._consume(), 60)
        reader.close()
        return {str(number): values[0] for number, values in found.items()}

    assert read("west-0") == wanted
    human.lose("east")
    refused(human.play("repair.yml"), "majority")
    refused(human.adopt(cluster_id), "not healthy|no member of disaster answers")

    # What the document says.
    for member in lost:
        human.until(f"{member} to be removed", functools.partial(nats_peer_removed, ask, member), 120)
    human.until("members that are ready", lambda: all_ready(human, 2), 120)

    ended(human.adopt(cluster_id))
    assert human.bound() == ["west-0", "west-1"]
    back_as_it_was(human, read, wanted, cluster_id)
    assert human.bound() == ["east-3", "east-4", "east-5", "west-0", "west-1"]


def all_ready(human: Human, count: int) -> bool:
    pods = [pod for kube in KUBE_CLUSTERS for pod in human.core(kube).list_namespaced_pod(human.namespace).items]
    ready = [pod for pod in pods if any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])]
    return len(ready) >= count
