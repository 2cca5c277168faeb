# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Never two clusters: what people do to a deployment, done to a real etcd on the lab's kubelets.

After every test all members that run are asked by themselves for their cluster id, without any of the collection's code.
etcd's ports are fixed, so nothing else may run etcd on the lab's nodes meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT
from support.kube_api import binary
from support.lab import Lab
from support.run import PlayRun, run_playbook

pytestmark = pytest.mark.lab

Json = dict[str, Any]
NAME = "guard"
KUBE_CLUSTERS = ("east", "west")
RECORDS = (f"{NAME}-identity", f"{NAME}-cluster-id")


class Guard:
    """The deployment `guard`, and everything that can be done to it from outside."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab()
        self.folder = folder
        self.namespace = f"hostnet-{NAME}"
        self.pki = folder / "pki"

    def playbook(self, name: str, check: bool = False, **variables: Any) -> PlayRun:
        given = {
            "hostnet_system": "etcd",
            "hostnet_name": NAME,
            "hostnet_pki_dir": str(self.pki),
            "hostnet_timeout_seconds": 240,
            **variables,
        }
        return run_playbook(name, CHECKOUT / "inventories" / "lab", check=check, variables=given)

    def deploy(self, **variables: Any) -> PlayRun:
        return self.playbook("deploy.yml", **variables)

    def remove(self, **variables: Any) -> None:
        run = self.playbook("remove.yml", hostnet_remove_name=NAME, hostnet_remove_data=True, **variables)
        assert run.rc == 0, run.output

    def refused(self, *parts: str, **variables: Any) -> None:
        run = self.deploy(**variables)
        assert run.rc != 0, run.output
        message = [str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed"][-1]
        for part in parts:
            assert part in message, f"{part!r} is not in: {message}"
        assert not run.changed, run.output

    def kubectl(self, kube: str, *arguments: str) -> str:
        command = [str(binary("kubectl")), "--kubeconfig", self.lab.admin_kubeconfig, "--context", kube, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    def verb(self, *arguments: str) -> None:
        subprocess.run([str(CHECKOUT / "molecule" / "lab" / "lab"), *arguments], check=True, capture_output=True, timeout=300)

    def pods(self, kube: str, namespace: str = "") -> list[Json]:
        selector = f"hostnet.multicluster/deployment={NAME}"
        where = ["-n", namespace or self.namespace] if namespace != "*" else ["-A"]
        return list(json.loads(self.kubectl(kube, "get", "pods", *where, "-l", selector, "-o", "json"))["items"])

    def cluster_ids(self) -> dict[str, str]:
        """Cluster id by member, in hexadecimal digits, from the members themselves, wherever they run."""
        found = {}
        for kube in KUBE_CLUSTERS:
            for pod in self.pods(kube, "*"):
                host = pod["status"].get("hostIP", "")
                etcdctl = [
                    "/usr/local/bin/etcdctl",
                    f"--endpoints=https://{host}:2379",
                    "--cacert=/etc/hostnet/certs/ca.crt",
                    "--cert=/etc/hostnet/certs/server.crt",
                    "--key=/etc/hostnet/certs/server.key",
                    "endpoint",
                    "status",
                    "--write-out=json",
                ]
                metadata = pod["metadata"]
                answer = self.kubectl(kube, "exec", "-n", metadata["namespace"], metadata["name"], "--", *etcdctl)
                found[f"{kube}/{metadata['namespace']}/{metadata['name']}"] = f"{json.loads(answer)[0]['Status']['header']['cluster_id']:x}"
        return found

    def starts(self) -> dict[str, str]:
        """When each member's container was started."""
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
            for kube in KUBE_CLUSTERS
            for pod in self.pods(kube)
        }

    def delete(self, kube: str, kind: str, *names: str) -> None:
        self.kubectl(kube, "delete", "-n", self.namespace, kind, *names, "--wait=true")

    def record(self, kube: str, name: str) -> Json:
        return dict(json.loads(self.kubectl(kube, "get", "-n", self.namespace, "configmap", name, "-o", "json"))["data"])


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """One at a time on this machine: parallel workers of pytest share the lab."""
    with open(Path(tempfile.gettempdir()) / "hostnet-guard.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guard, str]]:
    """The deployment, running, and its cluster id."""
    guard = Guard(tmp_path_factory.mktemp("guard"))
    guard.remove()
    try:
        run = guard.deploy()
        assert run.rc == 0, run.output
        ids = guard.cluster_ids()
        assert len(ids) == len(guard.lab.workers())
        assert len(set(ids.values())) == 1, ids
        yield guard, sorted(ids.values())[0]
    finally:
        guard.remove()


@pytest.fixture
def guard(deployed: tuple[Guard, str]) -> Iterator[Guard]:
    """The deployment; afterwards the same members are in the same cluster, and none was restarted."""
    found, cluster_id = deployed
    before = found.starts()
    yield found
    ids = found.cluster_ids()
    assert set(ids.values()) == {cluster_id}, ids
    assert len(ids) == len(found.lab.workers())
    assert found.starts() == before
    for kube in KUBE_CLUSTERS:
        assert found.record(kube, RECORDS[1])["cluster_id"] == cluster_id


def test_deploy_again_changes_nothing(guard: Guard) -> None:
    run = guard.deploy()
    assert run.rc == 0, run.output
    assert not run.changed, run.output
    assert "changed=0" in run.output


def test_deploy_while_one_kube_cluster_is_paused_is_refused(guard: Guard) -> None:
    guard.verb("pause-api", "west")
    try:
        run = guard.deploy()
        assert run.rc != 0, run.output
        assert "west" in run.output
        assert "no answer from" in run.output
        assert not run.changed
    finally:
        guard.verb("resume-api", "west")


@pytest.mark.parametrize("records", [RECORDS[:1], RECORDS[1:], RECORDS], ids=["claim", "cluster id", "both"])
def test_records_deleted_in_all_kube_clusters_come_back_as_they_were(guard: Guard, records: tuple[str, ...]) -> None:
    before = {name: guard.record("east", name) for name in RECORDS}
    for kube in KUBE_CLUSTERS:
        guard.delete(kube, "configmap", *records)
    run = guard.deploy()
    assert run.rc == 0, run.output
    for kube in KUBE_CLUSTERS:
        for name in RECORDS:
            found = guard.record(kube, name)
            for field in ("token", "system", "placement", "ca_fingerprint", "cluster_id"):
                assert found.get(field) == before[name].get(field)
    again = guard.deploy()
    assert not again.changed, again.output


@pytest.mark.parametrize("kube", KUBE_CLUSTERS)
def test_records_deleted_in_one_kube_cluster_are_completed(guard: Guard, kube: str) -> None:
    before = {name: guard.record(kube, name) for name in RECORDS}
    guard.delete(kube, "configmap", *RECORDS)
    run = guard.deploy()
    assert run.rc == 0, run.output
    assert run.changed
    assert {name: guard.record(kube, name) for name in RECORDS} == before


def test_second_deployment_with_the_same_name_in_another_namespace_is_refused(guard: Guard, tmp_path: Path) -> None:
    guard.refused(f"deployment {NAME} has no identity record", hostnet_namespace="hostnet-guard-two", hostnet_pki_dir=str(tmp_path / "pki"))


def test_deploy_with_another_ca_is_refused(guard: Guard, tmp_path: Path) -> None:
    guard.refused("does not exist on this controller", hostnet_pki_dir=str(tmp_path / "pki"))


def test_stale_data_folders_without_anything_else_are_refused(deployed: tuple[Guard, str]) -> None:
    """The last one: it ends this deployment. Its data is on the nodes, and nothing else is left of it."""
    guard, _cluster_id = deployed
    selector = "!node-role.kubernetes.io/control-plane"
    for kube in KUBE_CLUSTERS:
        guard.kubectl(kube, "delete", "namespace", guard.namespace, "--wait=true", "--timeout=100s")
    # Nodes still say that they carry members.
    guard.refused(f"deployment {NAME} has no identity record", "is labelled")
    for kube in KUBE_CLUSTERS:
        guard.kubectl(kube, "label", "node", "-l", selector, f"hostnet.multicluster/{NAME}-")
    # Now the data folders alone speak. The namespace is made, because the nodes are asked from a pod.
    run = guard.deploy()
    assert run.rc != 0, run.output
    assert f"has data of a deployment named {NAME}" in run.output
    assert guard.cluster_ids() == {}
    for kube in KUBE_CLUSTERS:
        names = [
            item["metadata"]["name"] for item in json.loads(guard.kubectl(kube, "get", "cm", "-n", guard.namespace, "-o", "json"))["items"]
        ]
        assert not set(RECORDS) & set(names)
    # Without a record nothing of it is ever deleted by the collection: that is a human's to do.
    guard.remove()
    for _kube, node in guard.lab.workers():
        folder = f"/var/lib/hostnet/{NAME}"
        subprocess.run(["docker", "exec", node, "test", "-d", folder], check=True, capture_output=True)
        subprocess.run(["docker", "exec", node, "rm", "-rf", folder], check=True, capture_output=True)


@pytest.mark.parametrize("same_pki", [False, True], ids=["two pki folders", "one pki folder"])
def test_two_controllers_that_deploy_at_once_make_one_cluster_at_most(tmp_path: Path, same_pki: bool) -> None:
    guard = Guard(tmp_path)
    guard.remove()
    folders = [tmp_path / "pki-0", tmp_path / ("pki-0" if same_pki else "pki-1")]
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = list(pool.map(lambda folder: guard.deploy(hostnet_pki_dir=str(folder)), folders))
        for run in runs:
            print(run.output)
        ids = guard.cluster_ids()
        assert len(set(ids.values())) <= 1
        # Whoever has the lock is stopped by nobody.
        assert any(run.rc == 0 for run in runs), [run.rc for run in runs]
        tokens = {guard.record(kube, RECORDS[0])["token"] for kube in KUBE_CLUSTERS}
        assert len(tokens) == 1
        # Whoever was refused runs again, with the winner's pki folder, and all is well.
        winner = folders[0] if same_pki or runs[0].rc == 0 else folders[1]
        last = guard.deploy(hostnet_pki_dir=str(winner))
        assert last.rc == 0, last.output
        ids = guard.cluster_ids()
        assert len(ids) == len(guard.lab.workers())
        assert len(set(ids.values())) == 1, ids
    finally:
        guard.remove(hostnet_pki_dir=str(folders[0]))
