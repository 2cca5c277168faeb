# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker against real etcds and nats-servers, found through real API servers. Each fault is made for real, and each must be found."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT
from support.kube_api import KubeApi, _die_with_parent, binary, create_node, delete_nodes
from support.member import Deployment, Json, binding, on_wire, system_spec

ETCD = {"east-0": "192.0.2.201", "east-1": "192.0.2.202", "west-0": "192.0.2.203"}
SECOND = "192.0.2.205"
NATS = {"east-0": "192.0.2.211", "east-1": "192.0.2.212", "west-0": "192.0.2.213"}
MANY_HANGS = 300.0


class World:
    """Members as processes, and the kube objects that say where they are."""

    def __init__(self, system: str, members: dict[str, str], folder: Path, kubes: dict[str, KubeApi], namespace: str) -> None:
        self.system, self.members, self.folder, self.kubes, self.namespace = system, members, folder, kubes, namespace
        bound = [binding(name.rsplit("-", 1)[0], int(name.rsplit("-", 1)[1]), address) for name, address in members.items()]
        program = {"etcd": "etcd", "nats": "nats-server"}[system]
        self.deployment = Deployment(folder / "members", system, system_spec(system), bound, binary(program))
        for name, address in members.items():
            self.place(name.rsplit("-", 1)[0], f"{system}-{name}", on_wire(address))
        self.join([on_wire(address) for address in members.values()])

    def place(self, kube: str, node: str, address: str) -> None:
        """A Node and a pod of the deployment on it."""
        create_node(self.kubes[kube], node, address=address)
        labels = {"hostnet.multicluster/deployment": self.system}
        spec = {"nodeName": node, "hostNetwork": True, "containers": [{"name": "a", "image": "a"}], "tolerations": [{"operator": "Exists"}]}
        body = {"metadata": {"name": node, "labels": labels}, "spec": spec}
        self.kubes[kube].request_json("POST", f"/api/v1/namespaces/{self.namespace}/pods", body)

    def displace(self, kube: str, node: str) -> None:
        grace = "?gracePeriodSeconds=0"
        self.kubes[kube].request_json("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/{node}{grace}")
        self.kubes[kube].request_json("DELETE", f"/api/v1/nodes/{node}")

    def join(self, addresses: list[str], only: str = "") -> None:
        data = {"seeds": ",".join(addresses), "HOSTNET_STATE": "existing"}
        for name, kube in self.kubes.items():
            if only in ("", name):
                path = f"/api/v1/namespaces/{self.namespace}/configmaps"
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{self.system}-join"}, "data": data}
                with contextlib.suppress(Exception):
                    kube.request_json("POST", path, body)
                kube.request_json("PATCH", f"{path}/{self.system}-join", {"data": data}, "application/merge-patch+json")

    @contextlib.contextmanager
    def checking(self, *words: str) -> Iterator[Check]:
        check = Check(self, words)
        try:
            yield check
        finally:
            check.process.kill()
            check.process.communicate()


class Check:
    """A running checker."""

    def __init__(self, world: World, words: tuple[str, ...]) -> None:
        self.folder = world.folder / f"check-{time.monotonic_ns()}"
        clusters = [word for kube in world.kubes.values() for word in ("--kube-cluster", f"{kube.name}={kube.kubeconfig}")]
        own = ["--system", world.system, "--name", world.system, "--namespace", world.namespace, "--pki", str(world.deployment.pki)]
        own += ["--least-rate", "0"]  # what is written while others use this machine says nothing of the checker
        self.run = f"run{time.monotonic_ns()}"
        command = [sys.executable, str(CHECKOUT / "tests" / "checker"), *own, *clusters, "--folder", str(self.folder), "--run", self.run]
        self.process = subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only sets a flag of the new process
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def ready(self) -> None:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == "READY\n", line + self.process.stdout.read()

    def wrote(self, count: int) -> None:
        """Waits until so many more writes were acknowledged."""
        path = self.folder / f"acknowledged-{self.run}.log"
        wanted = len(path.read_text().splitlines()) + count
        deadline = time.monotonic() + MANY_HANGS
        while len(path.read_text().splitlines()) < wanted:
            assert time.monotonic() < deadline, f"{wanted} writes"
            assert self.process.poll() is None
            time.sleep(0.05)

    def end(self) -> tuple[int, Json]:
        self.process.send_signal(signal.SIGTERM)
        printed, _errors = self.process.communicate(timeout=240)
        print(printed)
        document: Json = json.loads((self.folder / "verdict.json").read_text())
        if document["reasons"] or self.process.returncode:
            print(json.dumps(document, indent=1))
        return self.process.returncode, document


@pytest.fixture(scope="module")
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> Iterator[dict[str, KubeApi]]:
    pair = {kube.name: kube for kube in (kube_api, kube_api_two)}
    for kube in pair.values():
        delete_nodes(kube)
    yield pair
    for kube in pair.values():
        delete_nodes(kube)


def namespace(kubes: dict[str, KubeApi], name: str) -> str:
    for kube in kubes.values():
        body = {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
        kube.request_json("POST", "/api/v1/namespaces", body)
    return name


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory, kubes: dict[str, KubeApi]) -> Iterator[World]:
    world = World("etcd", ETCD, tmp_path_factory.mktemp("etcd"), kubes, namespace(kubes, f"check-etcd-{os.getpid()}"))
    with world.deployment.running():
        yield world


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory, kubes: dict[str, KubeApi]) -> Iterator[World]:
    world = World("nats", NATS, tmp_path_factory.mktemp("nats"), kubes, namespace(kubes, f"check-nats-{os.getpid()}"))
    with world.deployment.running():
        yield world


def etcdctl(world: World, *words: str) -> str:
    pki = world.deployment.pki
    own = [f"--cacert={pki}/ca.crt", f"--cert={pki}/clients/client.crt", f"--key={pki}/clients/client.key"]
    command = [str(binary("etcdctl")), f"--endpoints=https://{on_wire(ETCD['east-0'])}:2379", *own, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_member_that_is_killed_and_comes_back_is_seen_and_costs_nothing(etcd: World) -> None:
    probe = etcd.folder / "probe.jsonl"
    with etcd.checking("--probe-file", str(probe)) as check:
        check.ready()
        check.wrote(100)
        etcd.deployment.stop("east-1", signal.SIGKILL)
        check.wrote(150)
        etcd.deployment.start("east-1", state="existing")
        check.wrote(300)
        code, document = check.end()
        acknowledged = (check.folder / f"acknowledged-{check.run}.log").read_text().splitlines()
    assert (code, document["result"], document["reasons"]) == (0, "holds", [])
    assert document["lost"] == 0
    assert document["writes"]["acknowledged"] == len(acknowledged) > 550
    assert set(document["read"].values()) <= set(range(len(acknowledged), document["writes"]["attempted"] + 1))
    assert len(document["read"]) == 4, "the whole, and three members"
    assert document["down"]["most_at_once"] == 1
    assert any("etcd-east-1" in name for entry in document["down"]["times"] for name in entry["silent"])
    assert len(document["cluster_ids"]) == 1
    assert document["members"]["expected"] == 3
    gaps = [json.loads(line) for line in probe.read_text().splitlines()] if probe.exists() else []
    assert [{key: entry[key] for key in ("time", "gap_ms")} for entry in document["gaps"]["longer_than_250_ms"]] == gaps
    assert document["gaps"]["longest_ms"] >= max((entry["gap_ms"] for entry in gaps), default=0)
    assert etcdctl(etcd, "get", "--prefix", f"/hostnet-checker/{check.run}/", "--keys-only").split() == [], "it cleans up"


def test_a_lost_a_changed_and_a_made_up_value_are_found(etcd: World) -> None:
    with etcd.checking() as check:
        check.ready()
        check.wrote(200)
        own = [int(line.split()[0]) for line in (check.folder / f"acknowledged-{check.run}.log").read_text().splitlines()]
        etcdctl(etcd, "del", f"/hostnet-checker/{check.run}/{own[50]:010}")
        etcdctl(etcd, "put", f"/hostnet-checker/{check.run}/{own[60]:010}", "something else")
        etcdctl(etcd, "put", f"/hostnet-checker/{check.run}/9999999999", "nobody's")
        etcdctl(etcd, "put", f"/hostnet-checker/{check.run}/x", "nobody's")
        code, document = check.end()
    assert (code, document["result"]) == (1, "violated")
    assert document["lost"] == 2
    assert len(document["lost_by_reader"]) == 4
    assert all(numbers == [own[50], own[60]] for numbers in document["lost_by_reader"].values())
    assert all(len(texts) == 3 for texts in document["made_up_by_reader"].values())


def test_what_was_acknowledged_survives_a_kill_of_the_checker(etcd: World) -> None:
    with etcd.checking() as check:
        check.ready()
        check.wrote(100)
        check.process.kill()
        check.process.wait()
        lines = (check.folder / f"acknowledged-{check.run}.log").read_text().splitlines()
    assert all(len(line.split()) == 3 for line in lines)
    kept = etcdctl(etcd, "get", "--prefix", f"/hostnet-checker/{check.run}/", "--keys-only").split()
    assert {int(line.split()[0]) for line in lines} <= {int(key.rsplit("/", 1)[1]) for key in kept}
    etcdctl(etcd, "del", "--prefix", f"/hostnet-checker/{check.run}/")


def test_too_few_writes_are_invalid(etcd: World) -> None:
    with etcd.checking("--rate", "20", "--least-rate", "50") as check:
        check.ready()
        check.wrote(60)
        code, document = check.end()
    assert (code, document["result"]) == (3, "invalid")
    assert "50 needed" in document["reasons"][0]
    assert document["lost"] == 0


def test_a_member_that_does_not_answer_at_the_start_makes_it_invalid(etcd: World) -> None:
    etcd.deployment.stop("east-1")
    try:
        with etcd.checking("--ready-seconds", "4") as check:
            assert check.process.wait(600) == 3  # its few lines fit into the pipe
            assert json.loads((check.folder / "verdict.json").read_text())["result"] == "invalid"
    finally:
        etcd.deployment.start("east-1", state="existing")


def test_a_second_cluster_is_found(etcd: World, tmp_path: Path) -> None:
    alone = Deployment(tmp_path, "etcd", {**etcd.deployment.spec}, [binding("west", 9, SECOND)], binary("etcd"), token="etcd-ffffffff")
    alone.pki.parent.mkdir(exist_ok=True)
    alone.pki.symlink_to(etcd.deployment.pki)
    with etcd.checking() as check, alone.running():
        check.ready()
        etcd.place("west", "etcd-west-9", on_wire(SECOND))
        try:
            check.wrote(300)
            code, document = check.end()
        finally:
            etcd.displace("west", "etcd-west-9")
    assert code == 1
    assert len(document["cluster_ids"]) == 2
    assert any(text.startswith("2 cluster ids were seen") for text in document["reasons"])
    assert any("lost" in text and on_wire(SECOND) in text for text in document["reasons"]), "its copy lacks what the first cluster has"


def test_two_members_down_at_once_are_found(etcd: World) -> None:
    with etcd.checking() as check:
        check.ready()
        check.wrote(60)
        for member in ("east-1", "west-0"):
            etcd.deployment.stop(member, signal.SIGKILL)
        time.sleep(6)
        for member in ("east-1", "west-0"):
            etcd.deployment.start(member, state="existing")
        check.wrote(300)
        code, document = check.end()
    assert code == 1
    assert document["reasons"] == ["2 members were down at once, 1 allowed"], "and nothing is lost"
    assert document["gaps"]["longest_ms"] > 2000
    assert max(document["gaps"]["longest_ms_while_down"].items(), key=lambda item: item[1])[0].count("etcd-") >= 1


def test_a_member_that_is_down_at_the_end_is_not_read_back(etcd: World) -> None:
    with etcd.checking("--read-seconds", "3") as check:
        check.ready()
        etcd.deployment.stop("east-1", signal.SIGKILL)
        try:
            check.wrote(100)
            code, document = check.end()
        finally:
            etcd.deployment.start("east-1", state="existing")
    assert code == 1
    assert "read back from 2 members, 3 expected" in document["reasons"]
    assert any(text.startswith("not read back from east/etcd-east-1") for text in document["reasons"])


def test_join_lists_are_compared_with_live_nodes(etcd: World) -> None:
    good = [on_wire(address) for address in ETCD.values()]
    etcd.join([*good, on_wire("192.0.2.20")], only="east")
    try:
        with etcd.checking() as check:
            check.ready()
            check.wrote(100)
            code, document = check.end()
    finally:
        etcd.join(good)
    assert code == 1
    assert sorted(document["reasons"]) == [
        f"kube cluster east: seeds names {on_wire('192.0.2.20')}, and no live node has this address",
        "seeds differs between the kube clusters east, west",
    ]


def test_an_api_server_that_hangs_stops_nobody(etcd: World) -> None:
    with etcd.checking() as check:
        check.ready()
        with etcd.kubes["east"].paused():
            check.wrote(400)
        code, document = check.end()
    assert (code, document["reasons"]) == (0, [])


def test_it_follows_a_member_to_another_address(etcd: World) -> None:
    """The pod of east-1 goes and comes again on a node with another name."""
    with etcd.checking() as check:
        check.ready()
        etcd.displace("east", "etcd-east-1")
        time.sleep(1.5)
        etcd.place("east", "etcd-other", on_wire(ETCD["east-1"]))
        try:
            check.wrote(200)
            code, document = check.end()
        finally:
            etcd.displace("east", "etcd-other")
            etcd.place("east", "etcd-east-1", on_wire(ETCD["east-1"]))
    assert (code, document["reasons"]) == (0, [])
    assert any("etcd-other" in name for name in document["read"])
    assert document["down"]["most_at_once"] == 1


def nats_request(world: World, subject: str, body: bytes = b"") -> Any:
    """One request with the library, from a process of its own."""
    code = (
        "import asyncio, json, ssl, sys, nats\n"
        "async def main():\n"
        "    context = ssl.create_default_context(cafile=sys.argv[1] + '/ca.crt')\n"
        "    context.load_cert_chain(sys.argv[1] + '/clients/client.crt', sys.argv[1] + '/clients/client.key')\n"
        "    client = await nats.connect('nats://' + sys.argv[2] + ':4222', tls=context, tls_hostname=sys.argv[2])\n"
        "    print((await client.request(sys.argv[3], sys.argv[4].encode(), timeout=10)).data.decode())\n"
        "    await client.close()\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", code, str(world.deployment.pki), on_wire(NATS["east-0"]), subject, body.decode()]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def test_nats_a_server_that_is_killed_and_comes_back_costs_nothing(nats: World) -> None:
    with nats.checking() as check:
        check.ready()
        check.wrote(100)
        nats.deployment.stop("east-1", signal.SIGKILL)
        check.wrote(150)
        nats.deployment.start("east-1", state="existing")
        check.wrote(300)
        code, document = check.end()
    assert (code, document["result"], document["reasons"]) == (0, "holds", [])
    assert document["down"]["most_at_once"] == 1
    assert len(document["cluster_ids"]) == 1
    assert len(document["read"]) == 4
    assert min(document["read"].values()) >= document["writes"]["acknowledged"] > 550


def test_nats_a_lost_and_a_made_up_message_are_found(nats: World) -> None:
    with nats.checking() as check:
        check.ready()
        check.wrote(200)
        stream = f"hostnet-checker-{check.run}"
        assert nats_request(nats, f"$JS.API.STREAM.MSG.DELETE.{stream}", b'{"seq": 77}')["success"]
        assert nats_request(nats, f"{stream}.1000000", b"nobody's")["seq"]
        code, document = check.end()
    assert (code, document["result"]) == (1, "violated")
    assert document["lost"] == 1
    assert len(document["lost_by_reader"]) == len(document["made_up_by_reader"]) == 4


def test_nats_a_stream_that_was_made_anew_is_another_cluster(nats: World) -> None:
    """What a second group of servers would show: the same name, and not the stream that was written to."""
    with nats.checking() as check:
        check.ready()
        check.wrote(100)
        assert nats_request(nats, f"$JS.API.STREAM.DELETE.hostnet-checker-{check.run}")["success"]
        time.sleep(6)
        code, document = check.end()
    assert code == 1
    assert len(document["cluster_ids"]) == 2
    assert document["lost"] >= 100


def test_wrong_usage(tmp_path: Path) -> None:
    program = [sys.executable, str(CHECKOUT / "tests" / "checker")]
    assert subprocess.run(program, capture_output=True, check=False).returncode == 2
    words = ["--system", "etcd", "--name", "a", "--kube-cluster", "east=/nowhere", "--pki", str(tmp_path)]
    assert subprocess.run([*program, *words], capture_output=True, check=False).returncode == 2
