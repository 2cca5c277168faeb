# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a nats-server through a pod: when the question is asked again, and what is refused. A real server is in tests/integration."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.systems import nats
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import Script
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems.nats_nkeys import seed_nkey
from ansible_collections.hostnet.multicluster.plugins.modules import nats_request

MEMBER = Member("east-0", "east", "n", "p", "nats", {"address": "10.0.0.1", "node": "worker"})
SCRIPT = Script(name="nats", namespace="n", image="i", text="sleep 9", timeout=9, host_network=True)
FILES = nats.Files("ca", "crt", "key", "nkey")


class FakeCluster:
    name = "east"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done, in its order; the server knows the user once it has reloaded twice."""
    found: list[Any] = []

    @contextlib.contextmanager
    def pod(_cluster: Any, target: Any, _script: Any, _deadline: float) -> Iterator[str]:
        found.append(("pod", target.node))
        yield "relay"
        found.append("gone")

    @contextlib.contextmanager
    def tunnel(_cluster: Any, _namespace: str, name: str, _container: str, argv: list[str], _deadline: float) -> Iterator[Any]:
        found.append((name, *argv))
        yield object()

    def converse(*_arguments: Any) -> dict[str, Any]:
        if found.count("reload") < 2:
            raise nats.Unknown("it refuses the user")
        return {"success": True}

    monkeypatch.setattr(nats, "pod_on_node", pod)
    monkeypatch.setattr(nats, "tunnel", tunnel)
    monkeypatch.setattr(nats, "converse", converse)
    monkeypatch.setattr(nats, "run_command", lambda *arguments: found.append(arguments[4][0]))
    monkeypatch.setattr(nats.Files, "context", lambda _files: None)
    monkeypatch.setattr(nats, "read_seed", lambda _path: bytes(32))
    monkeypatch.setattr(nats, "REFRESH_SECONDS", 0.01)
    return found


def ask(refresh: list[str], seconds: float = 120) -> dict[str, Any]:
    question = nats.Question("$JS.API.SERVER.REMOVE", {})
    return nats.ask(FakeCluster(), MEMBER, 4222, FILES, question, SCRIPT, refresh, time.monotonic() + seconds)  # type: ignore[arg-type]


def test_a_server_that_does_not_know_the_user_yet_is_asked_again(done: list[Any]) -> None:
    assert ask(["reload"]) == {"success": True}
    relay = ("relay", "nc", "10.0.0.1", "4222")
    assert done == [("pod", "worker"), relay, "reload", relay, "reload", relay, "gone"]


def test_without_a_command_it_is_an_error_at_once(done: list[Any]) -> None:
    with pytest.raises(nats.Unknown, match="refuses"):
        ask([])
    assert "reload" not in done


def test_the_time_ends(done: list[Any]) -> None:
    with pytest.raises(nats.Unknown):
        ask(["reload"], seconds=0.01)
    assert "reload" not in done


def test_a_seed_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "system.nk"
    with pytest.raises(nats.NatsError, match="No such file"):
        nats.read_seed(str(path))
    path.write_text(seed_nkey(bytes(32))[:-1])
    with pytest.raises(nats.NatsError, match="not the seed") as caught:
        nats.read_seed(str(path))
    assert path.read_text() not in str(caught.value)
    path.write_text(seed_nkey(bytes(32)))
    assert nats.read_seed(str(path)) == bytes(32)


def test_a_certificate_that_cannot_be_read() -> None:
    with pytest.raises(nats.NatsError, match="the certificate crt cannot be used: No such file"):
        ask([])


class Written:
    """A server that says `words`, whatever it hears, and then closes."""

    def __init__(self, *words: bytes) -> None:
        self.words = list(words)

    def send(self, data: bytes) -> None:
        """It does not listen."""

    def receive(self) -> bytes:
        return self.words.pop(0) if self.words else b""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([b"INFO {}\r\n"], "knows no users with nkeys"),
        ([b"INFO x\r\n"], "greeting cannot be read"),
        ([b"HTTP/1.1 400\r\n"], "not the protocol"),
        ([b"INFO {"], "closed the connection"),
        ([b'INFO {"nonce": "n"}\r\n', b"no TLS at all"], "TLS"),
        ([b'INFO {"nonce": "n"}\r\n'], "TLS"),
    ],
)
def test_a_server_that_is_none(words: list[bytes], why: str) -> None:
    with pytest.raises(nats.NatsError, match=why):
        nats.converse(Written(*words), ssl.create_default_context(), "10.0.0.1", bytes(32), nats.Question("x", {}))


ARGS: dict[str, Any] = {
    "kube_clusters": [{"name": "east"}],
    "member": {"member": "east-0", "kube_cluster": "east", "namespace": "n", "pod": "p", "container": "", "variables": MEMBER.variables},
    "port": 4222,
    "pki_dir": "/pki",
    "certificate": "server",
    "ca_certificate": None,
    "nkey": "system",
    "subject": "$JS.API.SERVER.REMOVE",
    "body": {},
    "refresh": [],
    "image": "i",
    "pull_secrets": [],
    "name": "nats",
    "changes": True,
    "timeout": 30,
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"member": {**ARGS["member"], "kube_cluster": "south"}}, "not in kube_clusters"),
        ({"member": {**ARGS["member"], "variables": {}}}, "no address and no node"),
        ({"port": 0}, "port must be"),
        ({"subject": "a b"}, "subject"),
        ({"timeout": 0}, "at least 1 second"),
    ],
)
def test_what_the_module_refuses(change: dict[str, Any], why: str) -> None:
    with pytest.raises(_call.Failure, match=why):
        nats_request.run(_call.Call({**ARGS, **change}, clusters={}))


def test_a_check_asks_nobody() -> None:
    assert nats_request.run(_call.Call(ARGS, check_mode=True)) == {"changed": True, "answer": {}}


def test_the_module_gives_paths_of_the_members_own_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def answered(*arguments: Any) -> dict[str, Any]:
        seen.extend(arguments)
        return {"success": True}

    monkeypatch.setattr(nats, "ask", answered)
    result = nats_request.run(_call.Call(ARGS, clusters={"east": FakeCluster()}))  # type: ignore[dict-item]
    assert result == {"changed": True, "answer": {"success": True}}
    assert seen[3] == nats.Files("/pki/ca.crt", "/pki/east-0/server.crt", "/pki/east-0/server.key", "/pki/system.nk")

    def refused(*_arguments: Any) -> dict[str, Any]:
        raise nats.Unknown("it refuses the user")

    monkeypatch.setattr(nats, "ask", refused)
    with pytest.raises(_call.Failure, match=r"member east-0.*refuses the user"):
        nats_request.run(_call.Call(ARGS, clusters={"east": FakeCluster()}))  # type: ignore[dict-item]
