# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to a nats-server, as a user of its own with an nkey, over TLS on both sides.

The server listens on its host's address alone, where neither an exec (its image has nothing but the server) nor a port-forward (that
ends at the loopback address) leads. So the bytes go through a short-lived pod on the host's network: TLS is spoken here, from end to end, and the
pod sees nothing.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._plan.run import Script
from ..._plan.systems import nats_nkeys
from ..._plan.systems import nats_protocol as plan
from .. import tls
from ..client import KubeCluster
from ..exec import run_command, tunnel
from ..member import Member
from ..run import Target, pod_on_node

with contextlib.suppress(ImportError):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

# The kubelet brings a changed file to a running pod within about a minute.
REFRESH_SECONDS = 5.0


class NatsError(Exception):
    """The server does not answer, or says no."""


class Unknown(NatsError):
    """The server does not know the user."""


@dataclass(frozen=True)
class Files(tls.Files):
    """And the path of the seed of the user's nkey."""

    nkey: str


@dataclass(frozen=True)
class Question:
    subject: str
    body: Mapping[str, Any]


class _Reader:
    """The messages of a stream, one after another."""

    def __init__(self, stream: tls.Stream) -> None:
        self._stream, self._data = stream, b""

    def next(self) -> plan.Message:
        while True:
            try:
                message, self._data = plan.parse(self._data)
            except ValueError as error:
                raise NatsError(str(error)) from error
            if message is not None:
                return message
            more = self._stream.receive()
            if not more:
                raise NatsError("the server closed the connection")
            self._data += more


def read_seed(path: str) -> bytes:
    """The seed in this file. Raises NatsError."""
    try:
        return nats_nkeys.seed_of(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise NatsError(f"{path} cannot be used: {error.strerror if isinstance(error, OSError) else error}") from error


def converse(stream: tls.Stream, context: ssl.SSLContext, host: str, seed: bytes, question: Question) -> Json:
    """The answer to a question. Raises Unknown where the server does not know the user, and NatsError.

    `stream` is a new connection to the server's port, `host` what the server's certificate must be for.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    try:
        greeting = _Reader(stream).next()
        try:
            nonce = str(json.loads(greeting.text).get("nonce") or "") if greeting.verb == "INFO" else ""
        except ValueError as error:
            raise NatsError("its greeting cannot be read") from error
        if not nonce:
            raise Unknown("it knows no users with nkeys")
        encrypted = tls.Tls(stream, context, host)
        reader = _Reader(encrypted)
        public = nats_nkeys.public_nkey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        encrypted.send(plan.connect(public, key.sign(nonce.encode())))
        _await(encrypted, reader, "PONG")
        encrypted.send(plan.publish(question.subject, f"_INBOX.{secrets.token_hex(11)}", question.body))
        answer = _await(encrypted, reader, "MSG")
    except tls.TlsError as error:
        raise NatsError(str(error)) from error
    if answer.status == "503":
        raise NatsError(f"nobody listens to {question.subject}: is there a leader?")
    try:
        return dict(json.loads(answer.payload))
    except (ValueError, TypeError) as error:
        raise NatsError(f"the answer to {question.subject} cannot be read") from error


def _await(stream: tls.Stream, reader: _Reader, verb: str) -> plan.Message:
    while True:
        message = reader.next()
        if message.verb == verb:
            return message
        if message.verb == "PING":
            stream.send(b"PONG\r\n")
        if message.verb == "-ERR":
            if "authorization" in message.text.lower():
                raise Unknown(f"it refuses the user: {message.text}")
            raise NatsError(message.text)


def ask(
    cluster: KubeCluster,
    member: Member,
    port: int,
    files: Files,
    question: Question,
    script: Script,
    refresh: Sequence[str],
    deadline: float,
) -> Json:
    """Ask the server of `member`, through a pod as `script` describes it on the member's node.

    `refresh` is a command in the member's container. It runs where the server does not know the user yet, whose configuration may just be on its
    way, and the question is asked again until `deadline` (time.monotonic() seconds). Raises NatsError and KubeError.
    """
    variables = member.all_variables()
    address = str(variables["address"])
    try:
        context, seed = files.context(), read_seed(files.nkey)
    except tls.TlsError as error:
        raise NatsError(str(error)) from error
    with pod_on_node(cluster, Target(cluster.name, str(variables["node"])), script, deadline) as pod:
        while True:
            try:
                with tunnel(cluster, script.namespace, pod, "run", ["nc", address, str(port)], deadline) as stream:
                    return converse(stream, context, address, seed, question)
            except Unknown:
                if not refresh or time.monotonic() + 2 * REFRESH_SECONDS >= deadline:
                    raise
            run_command(cluster, member.namespace, member.pod, member.container, refresh, deadline)
            time.sleep(REFRESH_SECONDS)
