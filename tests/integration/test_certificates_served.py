# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real servers show in a handshake, and how they come to show a new certificate. The lab has the way through pods and the kubelet.

Here a hand plays both, and is named a fake: it connects without a pod, and copies a Secret's files to where the server reads them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, serving
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import read
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import Lifetime
from ansible_collections.hostnet.multicluster.plugins.modules import certificates_served
from support.in_process import call_module
from support.kube_api import KubeApi, binary
from support.member import Deployment, Json, binding, on_wire, system_spec

ADDRESSES = {"east-0": "192.0.2.151", "east-1": "192.0.2.152", "west-0": "192.0.2.153"}


class Socket:
    """A stream without a pod in between."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=10)
        self.close = self._socket.close

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError as error:
            raise client.KubeError("east", "nc", str(error), 504) from error


class Refused:
    """As a tunnel whose nc has ended: it opens, and says so to whoever talks."""

    def __init__(self, why: str) -> None:
        self._why = why

    def send(self, _data: bytes) -> None:
        raise client.KubeError("east", "nc", f"exit code 1: {self._why}", 502)

    def receive(self) -> bytes:
        raise client.KubeError("east", "nc", f"exit code 1: {self._why}", 502)

    def close(self) -> None: ...


class FakeKubelet:
    """Has the files of the pki folder in a member's own folder as soon as it is made to look, and not before."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deployment, self.looked, self.signalled = deployment, [], []  # type: ignore[var-annotated]
        self.broken: set[str] = set()
        self.unreachable: set[str] = set()
        monkeypatch.setattr(serving, "pod_on_node", self._pod)
        monkeypatch.setattr(serving, "tunnel", self._tunnel)
        monkeypatch.setattr(serving, "run_command", self._command)
        monkeypatch.setattr(client.KubeCluster, "merge_patch", self._patch)

    @contextlib.contextmanager
    def _pod(self, _cluster: Any, target: Any, *_arguments: Any) -> Iterator[str]:
        if target.node in self.unreachable:
            raise client.KubeError("east", "Pod", "ErrImagePull", 0)
        yield "relay"

    @contextlib.contextmanager
    def _tunnel(self, _cluster: Any, _namespace: str, _pod: str, _container: str, argv: list[str], _deadline: float) -> Iterator[Any]:
        stream: Socket | Refused
        try:
            stream = Socket(on_wire(argv[1]), int(argv[2]))
        except OSError as error:
            stream = Refused(str(error))
        try:
            yield stream
        finally:
            stream.close()

    def _patch(self, _kind: Any, name: str, patch: Json, namespace: str) -> Json:
        assert list(patch["metadata"]["annotations"]) == [serving.LOOK_ANNOTATION]
        self.looked.append(name)
        if name not in self.broken:
            for file in [*(self.deployment.pki / name).iterdir(), self.deployment.pki / "ca.crt"]:
                # In one rename, as a kubelet does it.
                place = self.deployment.folder / name / "certs" / file.name
                shutil.copy(file, f"{place}.new")
                os.replace(f"{place}.new", place)
        return {}

    def _command(self, _cluster: Any, _namespace: str, pod: str, _container: str, _argv: list[str], _deadline: float, safe: bool) -> Json:
        assert safe
        self.signalled.append(pod)
        if pod in self.deployment.processes:
            self.deployment.processes[pod].send_signal(signal.SIGHUP)
        return {"rc": 0, "stdout": "", "stderr": "", "error": ""}


def start(folder: Path, system: str, executable: str) -> Deployment:
    bindings = [binding(member.rsplit("-", 1)[0], int(member.rsplit("-", 1)[1]), address) for member, address in ADDRESSES.items()]
    return Deployment(folder, system, system_spec(system), bindings, binary(executable))


def targets(deployment: Deployment) -> list[Json]:
    return [
        {
            "member": member,
            "kube_cluster": member.rsplit("-", 1)[0],
            "namespace": "default",
            "pod": member,
            "variables": {
                "address": address,
                "node": f"vm-{member}",
                "ca": str(deployment.pki / "ca.crt"),
                "pki": str(deployment.pki / member),
            },
        }
        for member, address in ADDRESSES.items()
    ]


def listening(member: str, ports: list[int]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            for port in ports:
                Socket(on_wire(ADDRESSES[member]), port).close()
        except OSError:
            assert time.monotonic() < deadline, f"{member} does not listen"
            time.sleep(0.1)
        else:
            return


@pytest.fixture(params=["nats", "etcd"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def running(system: str, tmp_path: Path) -> Iterator[Deployment]:
    deployment = start(tmp_path, system, {"nats": "nats-server", "etcd": "etcd"}[system])
    with deployment.running():
        for member in ADDRESSES:
            listening(member, list(deployment.spec["ports"].values()))
        yield deployment


@pytest.fixture
def serve(kube_clusters: list[dict[str, str]], running: Deployment) -> Callable[..., Json]:
    def call(issued: list[Json], **options: Any) -> Json:
        arguments = {
            "kube_clusters": kube_clusters,
            "members": targets(running),
            "spec": running.spec,
            "issued": issued,
            "objects": [],
            "name": "tls",
            "image": "i",
            "timeout": 40,
            **options,
        }
        return call_module("certificates_served", arguments)

    return call


def renewed(deployment: Deployment, *members: str) -> list[Json]:
    for member in members:
        for file in (deployment.pki / member).iterdir():
            file.unlink()
    return deployment.certificates()


def test_running_servers_come_to_serve_what_was_issued(
    system: str, running: Deployment, serve: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    kubelet = FakeKubelet(running, monkeypatch)
    pids = {member: process.pid for member, process in running.processes.items()}
    result = serve(running.certificates())
    assert not result.get("failed"), result["msg"]
    # Both ports of each member, and nobody was touched.
    assert (result["changed"], result["renewed"], kubelet.looked, kubelet.signalled) == (False, [], [], [])
    assert [entry["current"] for entry in result["served"]] == [True] * 6, result["served"]

    issued = renewed(running, "east-0", "west-0")
    read = serve(issued, state="read")
    assert (read["changed"], read["renewed"], kubelet.looked, kubelet.signalled) == (False, [], [], [])
    assert {entry["member"] for entry in read["served"] if not entry["current"]} == {"east-0", "west-0"}
    result = serve(issued)
    assert not result.get("failed"), result["msg"]
    assert result["renewed"] == ["east-0", "west-0"]
    assert sorted(set(kubelet.looked)) == ["east-0", "west-0"]
    assert sorted(set(kubelet.signalled)) == (["east-0", "west-0"] if system == "nats" else [])
    serials = {(entry["name"], entry["file"]): entry["serial"] for entry in issued}
    assert {(entry["member"], entry["file"], entry["port"]): entry["serial"] for entry in result["served"]} == {
        (entry["member"], entry["file"], entry["port"]): serials[(entry["member"], entry["file"])] for entry in result["served"]
    }
    assert len(result["served"]) == 6
    assert {member: process.pid for member, process in running.processes.items() if process.poll() is None} == pids
    assert sum("renewed" in line for line in result["lines"]) == 4


def test_the_first_one_that_does_not_serve_it_ends_the_rotation(
    running: Deployment, serve: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    kubelet = FakeKubelet(running, monkeypatch)
    running.certificates()
    kubelet.broken.add("east-1")
    before = {entry["member"]: entry["serial"] for entry in serve(running.certificates())["served"]}
    issued = renewed(running, *ADDRESSES)
    result = serve(issued, timeout=5)
    assert result["failed"]
    assert result["renewed"] == ["east-0", "east-1"]
    assert "west-0" not in kubelet.looked
    assert result["msg"].startswith("member east-1, port client (")
    assert f"it serves serial {before['east-1']}" in result["msg"]
    assert (
        "Look at the log of pod default/east-1 of kube cluster east, then run again without hostnet_renew_certificates; not begun: west-0"
        in result["msg"]
    )
    # Mended, the next run goes on with those that are left.
    kubelet.broken.clear()
    kubelet.looked.clear()
    again = serve(issued)
    assert (again.get("failed", False), again["renewed"]) == (False, ["east-1", "west-0"])
    assert all(entry["current"] for entry in again["served"])


def test_expired_certificates_are_replaced_in_members_that_run(
    system: str, tmp_path: Path, kube_clusters: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody trusts anybody any more. etcd's servers have even started like that, and show nothing before all of them have good certificates."""
    deployment = start(tmp_path, system, {"nats": "nats-server", "etcd": "etcd"}[system])
    then = datetime.now(UTC) - timedelta(days=20)
    deployment.clock = lambda: then
    with deployment.running():
        for member in ADDRESSES:
            listening(member, list(deployment.spec["ports"].values()))
        FakeKubelet(deployment, monkeypatch)
        deployment.clock = lambda: datetime.now(UTC)
        issued = deployment.certificates()
        assert all("expired at" in entry["reason"] for entry in issued if entry["name"] in ADDRESSES)
        arguments = {
            "kube_clusters": kube_clusters,
            "members": targets(deployment),
            "spec": deployment.spec,
            "issued": issued,
            "objects": [],
        }
        result = call_module("certificates_served", {**arguments, "name": "tls", "image": "i", "timeout": 40})
        assert not result.get("failed"), result["msg"]
        assert sorted(result["renewed"]) == list(ADDRESSES)
        assert all(entry["current"] for entry in result["served"])


def test_a_member_that_is_away_is_said_and_so_is_a_stray_one(
    running: Deployment, serve: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeKubelet(running, monkeypatch)
    running.certificates()
    running.stop("east-1", signal.SIGKILL)
    issued = renewed(running, *ADDRESSES)
    result = serve(issued, timeout=5)
    assert "member east-1, port client" in result["msg"]
    assert "refused" in result["msg"]
    # It is broken already: nobody else has to wait for it with a certificate that is about to expire.
    assert result["renewed"] == ["east-0", "west-0", "east-1"]
    assert (
        "members[0].variables has no node"
        in serve(issued, members=[{**targets(running)[0], "variables": {"address": "a", "ca": "c", "pki": "p"}}])["msg"]
    )
    assert "spec: reload must be" in serve(issued, spec={**running.spec, "reload": "x"})["msg"]
    assert "members[0].kube_cluster is 'south'" in serve(issued, members=[{**targets(running)[0], "kube_cluster": "south"}])["msg"]
    assert "give at least 1 second" in serve(issued, timeout=0)["msg"]


def test_a_member_that_nobody_can_look_at_keeps_what_it_has(
    running: Deployment, serve: Callable[..., Json], namespace: str, kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would prove what it serves then. The others have their turns."""
    kubelet = FakeKubelet(running, monkeypatch)
    running.certificates()
    issued = renewed(running, *ADDRESSES)
    kubelet.unreachable.add("vm-east-1")
    key = running.pki / "ca.crt"
    result = serve(issued, objects=[secret(member, namespace, key) for member in ("east-0", "east-1")])
    assert result["failed"]
    assert result["renewed"] == ["east-0", "west-0"]
    assert "left out, with the certificates that they have, because the way to them failed: member east-1: " in result["msg"]
    assert "ErrImagePull" in result["msg"]
    assert [(item["name"], item["action"]) for item in result["objects"]] == [("s-east-0", "created")]
    kubelet.unreachable = {f"vm-{member}" for member in ADDRESSES}
    nobody = serve(renewed(running, *ADDRESSES), objects=[secret("east-1", namespace, key)])
    assert (nobody["failed"], nobody["renewed"], nobody["objects"], nobody["changed"]) == (True, [], [], False)


def test_a_ca_is_exchanged_and_nobody_refuses_anybody(
    system: str, running: Deployment, serve: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real servers say which clients' certificates they take. NATS comes to trust other CAs by a reload, etcd when it is started anew."""
    kubelet = FakeKubelet(running, monkeypatch)
    assert running.spec.get("reload_ca", "reload") == {"nats": "reload", "etcd": "restart"}[system]
    pids = {member: process.pid for member, process in running.processes.items()}
    old = read.fingerprint_of(running.pki / "ca.crt")
    running.trust = plan.first(old)

    def shown(issued: list[Json]) -> list[Json]:
        assert running.trust
        return plan.shown(running.trust, issued)

    def proven() -> Json:
        issued = running.certificates()
        result = serve(issued, trust=shown(issued))
        assert not result.get("failed"), result["msg"]
        assert result["renewed"] == [], "somebody had to be mended before it could prove anything"
        return {entry["member"]: entry["clients"] for entry in result["served"]}

    def cas_read() -> None:
        """What the phases trust and drop do."""
        issued = running.certificates()
        if system == "nats":
            result = serve(issued, trust=shown(issued))
            assert not result.get("failed"), result["msg"]
            assert result["renewed"] == list(ADDRESSES)
            return
        assert serve(issued)["renewed"] == []
        behind = serve(issued, trust=shown(issued), timeout=3)
        assert behind["failed"]
        assert "member east-0, port client (2379): a client's certificate of the CA" in behind["msg"]
        for member in ADDRESSES:
            running.stop(member)
            running.start(member, state="existing")
            listening(member, list(running.spec["ports"].values()))

    assert set(map(str, proven().values())) == {str({old: "accepted"})}

    made = ensure_certificates(
        Request(running.pki, [], Lifetime(10, 3), ca_create=False, expected_ca_fingerprint=old, new_ca=True), None, datetime.now(UTC)
    )
    new = made["cas"]["new"]["fingerprint"]
    running.trust = plan.following(running.trust, "trust", new)
    cas_read()
    assert set(map(str, proven().values())) == {str({old: "accepted", new: "accepted"})}

    running.trust = plan.following(running.trust, "issue", "")
    issued = running.certificates()
    assert {entry["reason"] for entry in issued if entry["name"] in ADDRESSES} == {"issued by another CA"}
    result = serve(issued, trust=shown(issued))
    assert (result.get("failed", False), result["renewed"]) == (False, list(ADDRESSES)), result
    assert set(map(str, proven().values())) == {str({old: "accepted", new: "accepted"})}

    running.trust = plan.following(running.trust, "drop", "")
    cas_read()
    assert set(map(str, proven().values())) == {str({new: "accepted", old: "refused"})}
    # Whoever of two members does not take the other's certificate tells it so.
    assert [member for member in ADDRESSES if "remote error: tls" in running.log(member)] == []
    if system == "nats":
        assert {member: process.pid for member, process in running.processes.items() if process.poll() is None} == pids
    assert kubelet.broken == set()


def secret(member: str, namespace: str, text: Path) -> Json:
    return {
        "kube_cluster": member.rsplit("-", 1)[0],
        "definition": {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"s-{member}",
                "namespace": namespace,
                "annotations": {names.CERTIFICATES_ANNOTATION: f'{{"{member}": {{}}}}'},
            },
        },
        "files": {"server.key": str(text)},
    }


def test_certificates_served_examples(
    run_tasks: Any, kube_clusters: list[dict[str, str]], kube_api: KubeApi, namespace: str, tmp_path: Path
) -> None:
    """In check mode: who would have a turn, and which Secrets would be written, without a word of what is in them."""
    key = tmp_path / "key"
    key.write_text("very secret")
    members = [
        {
            "member": member,
            "kube_cluster": member.rsplit("-", 1)[0],
            "namespace": namespace,
            "pod": member,
            "variables": dict.fromkeys(("address", "node", "ca", "pki"), "x"),
        }
        for member in ADDRESSES
    ]
    variables = {
        "hostnet": {"kube_clusters": kube_clusters, "name": "db", "probe_image": "busybox"},
        "hostnet_targets": members,
        "hostnet_spec": {"ports": {}, "certificates": []},
        "hostnet_certificates": {"certificates": []},
        "secrets": [secret("east-1", namespace, key), secret("west-0", namespace, key)],
    }
    (task,) = yaml.safe_load(certificates_served.EXAMPLES)
    run = run_tasks([{**task, "check_mode": True, "diff": True}, {**task, "diff": True}, task], variables=variables)
    assert run.rc == 0, run.output
    planned, written, again = run.of("certificates_served")
    assert (planned["changed"], planned["renewed"]) == (True, ["east-1", "west-0"])
    assert [item["action"] for item in planned["objects"]] == ["created", "created"]
    assert (written["changed"], written["renewed"], again["changed"], again["renewed"]) == (True, ["east-1", "west-0"], False, [])
    assert "very secret" not in run.output
    assert "dmVyeSBzZWNyZXQ" not in run.output


def test_a_file_that_is_not_there_is_said_before_anybody_is_asked(
    kube_clusters: list[dict[str, str]], namespace: str, tmp_path: Path
) -> None:
    arguments = {"kube_clusters": kube_clusters, "members": [], "spec": {}, "issued": [], "name": "x", "image": "i"}
    result = call_module("certificates_served", {**arguments, "objects": [secret("east-0", namespace, tmp_path / "none")]})
    assert result["failed"]
    assert "objects[0].files.server.key" in result["msg"]
    assert result["requests"] == 0
