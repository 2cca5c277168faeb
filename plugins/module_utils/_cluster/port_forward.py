# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests to ports of pods, each with a deadline; over TLS that reaches to the member, and over connections that may be kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from .._plan import exec as plan
from .client import MAX_CONNECTIONS, KubeCluster, KubeError
from .member import Member
from .pod_socket import CUT_OFF, OUTPUT_LIMIT_BYTES, Socket, asked, explained, open_to
from .tls import Files, Stream, Tls, TlsClosed, TlsError

_DATA_CHANNEL, _FORWARD_ERROR_CHANNEL = 0, 1
TLS_FILES = ("ca", "certificate", "private_key")


@dataclass(frozen=True)
class Http:
    """An HTTP request to a port of the pod: a POST where it has a body, else a GET; over TLS where it has `tls`.

    In path and files, `{key}` is replaced. `timeout` in seconds, 0 for no limit of its own.
    """

    port: int
    path: str
    body: str | None = None
    tls: Files | None = None
    timeout: float = 0.0

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Http:
        """Of an entry of `http`, as member_exec documents it."""
        files = request.get("tls")
        return cls(
            int(request["port"]),
            str(request.get("path", "/")),
            None if request.get("body") is None else json.dumps(request["body"]),
            Files(**{key: str(files[key]) for key in TLS_FILES}) if files else None,
            float(request.get("timeout") or 0),
        )

    def rendered(self, member: Member) -> Http:
        """The request to one member."""
        variables = member.all_variables()
        files = self.tls and Files(*(plan.render(path, variables) for path in (self.tls.ca, self.tls.certificate, self.tls.private_key)))
        return replace(self, path=plan.render(self.path, variables), tls=files)

    @property
    def way(self) -> tuple[int, Files | None]:
        """Whom it is for: requests with the same one can share a connection."""
        return self.port, self.tls

    @property
    def line(self) -> str:
        """Method and path, as in messages."""
        return f"{'GET' if self.body is None else 'POST'} {self.path}"

    def text(self, stay: bool) -> bytes:
        """What is sent; `stay`: the connection is used again."""
        head = f"{self.line} HTTP/1.1\r\nHost: localhost:{self.port}\r\nAccept: */*\r\n"
        if self.body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return f"{head}Connection: {'keep-alive' if stay else 'close'}\r\n\r\n{self.body or ''}".encode()


class _Forward:
    """A port-forward as a stream of bytes. `receive` raises KubeError where nothing listens on the port."""

    def __init__(self, opened: Socket, cluster: str, what: str) -> None:
        self._opened, self._cluster, self._what = opened, cluster, what
        # Each channel opens with the port's number, which says nothing new.
        self._announced: set[int] = set()
        self._answered = False

    def send(self, data: bytes) -> None:
        self._opened.send(bytes([_DATA_CHANNEL]) + data)

    def receive(self) -> bytes:
        while (message := self._opened.receive()) is not None:
            if not message:
                continue
            if message[0] not in self._announced:
                self._announced.add(message[0])
            elif message[0] == _FORWARD_ERROR_CHANNEL and self._answered:
                return b""  # it broke off; whether that was early shows in what came before
            elif message[0] == _FORWARD_ERROR_CHANNEL:
                raise KubeError(self._cluster, self._what, message[1:].decode("utf-8", "replace").strip(), 502)
            elif len(message) > 1:
                self._answered = True
                return message[1:]
        return b""


# Kube cluster, namespace and pod, and Http.way. A name for types alone; pylint takes the bar between them for an operation.
Way: TypeAlias = "tuple[str, str, str, tuple[int, Files | None]]"


@dataclass
class _Line:
    """An open connection to a member, for one request after another."""

    opened: Socket
    stream: Stream


class Kept:
    """Connections to members that stay open from one time that everybody is asked to the next; closed at the end of the block.

    For requests that change nothing: one whose connection turns out to be dead is sent a second time.
    """

    def __init__(self) -> None:
        self._lines: dict[Way, _Line] = {}

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_error: object) -> None:
        while self._lines:
            self._lines.popitem()[1].opened.shut()

    def take(self, key: Way) -> _Line | None:
        """Nobody else has it meanwhile."""
        return self._lines.pop(key, None)

    def keep(self, key: Way, line: _Line) -> None:
        """Keep it where there is none of its kind, and not too many of its kube cluster yet."""
        if key not in self._lines and sum(1 for cluster, *_rest in list(self._lines) if cluster == key[0]) < MAX_CONNECTIONS:
            self._lines[key] = line
        else:
            line.opened.shut()


def http_request(
    cluster: KubeCluster,
    namespace: str,
    pod: str,
    request: Http,
    host: str,
    deadline: float,
    kept: Kept | None = None,
    safe: bool = False,
    reached: Callable[[], None] = lambda: None,
) -> tuple[int, bytes]:
    """(status, body) of a request to 127.0.0.1:port of the pod: the host's own where the pod is on its network. `safe`: it may be sent twice.

    `reached` is called when there is a connection to send it over.

    With TLS, the server's certificate must be for `host`. Raises KubeError where there is no such pod, nothing listens, either side refuses
    the other's certificate, or no whole answer came before `deadline` (time.monotonic() seconds).
    """
    what = f"port-forward to port {request.port} of pod {namespace}/{pod}"
    key = (cluster.name, namespace, pod, request.way)

    def once(until: float) -> tuple[int, bytes]:
        line = kept.take(key) if kept else None
        if line:
            reached()
            line.opened.deadline = until
            # Whatever is the matter with it, a new connection tells.
            with contextlib.suppress(KubeError):
                return _answer(cluster, what, request, line, kept, key)
        # Nothing is sent to the pod before it is open.
        opened = open_to(cluster, namespace, pod, "portforward", [("ports", str(request.port))], what, until, safe=True)
        try:
            with explained(cluster, what):
                stream: Stream = _Forward(opened, cluster.name, what)
                if request.tls:
                    stream = Tls(stream, request.tls.context(), host)
        except TlsError as error:
            opened.shut()
            raise _no_answer(cluster, what, request, error) from error
        except BaseException:
            opened.shut()
            raise
        reached()
        return _answer(cluster, what, request, _Line(opened, stream), kept, key)

    return asked(once, deadline, safe)


def _answer(cluster: KubeCluster, what: str, request: Http, line: _Line, kept: Kept | None, key: Way) -> tuple[int, bytes]:
    """The answer over an open connection, which is kept where both sides want that, and shut otherwise. Raises KubeError."""
    stays = False
    try:
        with explained(cluster, what):
            status, body, stays = exchange(line.stream, request, stay=kept is not None)
            return status, body
    except _TooLarge as error:
        raise KubeError(cluster.name, what, str(error), 413) from error
    except (TlsError, ValueError) as error:
        raise _no_answer(cluster, what, request, error) from error
    finally:
        if kept and stays:
            kept.keep(key, line)
        else:
            line.opened.shut()


def _no_answer(cluster: KubeCluster, what: str, request: Http, error: TlsError | ValueError) -> KubeError:
    """A refusal of TLS comes again; a connection that was closed in the middle was cut off."""
    cut_off = isinstance(error, (TlsClosed, ValueError))
    return KubeError(cluster.name, what, f"{request.line}: {error}", 502, CUT_OFF if cut_off else "")


class _TooLarge(Exception):
    """An answer of more than OUTPUT_LIMIT_BYTES."""


def exchange(stream: Stream, request: Http, stay: bool = False) -> tuple[int, bytes, bool]:
    """(status, body, whether the connection can be used again) of a request over an open stream.

    `stay` asks the server to keep it open. Raises ValueError where the answer is none, and what the stream raises.
    """
    stream.send(request.text(stay))
    data = bytearray()
    while True:
        more = stream.receive()
        data += more
        if len(data) > OUTPUT_LIMIT_BYTES:
            raise _TooLarge(f"the answer to {request.line} is larger than {OUTPUT_LIMIT_BYTES >> 20} MiB")
        answer = plan.http_answer(bytes(data), ended=not more)
        if answer is not None:
            return answer.status, answer.body, stay and bool(more) and answer.stays
