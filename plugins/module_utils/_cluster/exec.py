# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in pods and HTTP requests to pods, many at a time, each with a deadline.

Both are WebSockets to the API server, spoken here directly.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from .._plan import exec as plan
from .client import MAX_CONNECTIONS, POD_PATH, KubeCluster, KubeError, each_cluster, in_parallel
from .tls import Files, Stream, Tls, TlsClosed, TlsError

# Its absence is reported by whoever opens a connection.
with contextlib.suppress(ImportError):
    import websocket

Json = dict[str, Any]
T = TypeVar("T")

# Channels are the first byte of each message; source: remotecommand protocol v4 of Kubernetes.
_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_DATA_CHANNEL, _FORWARD_ERROR_CHANNEL = 0, 1
OUTPUT_LIMIT_BYTES = 8 << 20
# A question whose connection broke or fell silent is asked again, so often. A try has half of the time that is left, or so many seconds where that is less.
_TRIES = 6
_SHORTEST_TRY_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
# `reason` of a KubeError about a connection that was open and did not bring what was asked for.
_CUT_OFF = "CutOff"
TLS_FILES = ("ca", "certificate", "private_key")


def members_argument() -> Json:
    """Argument spec of the option `members`, the same in every module that asks members."""
    return {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "member": {"type": "str", "required": True},
            "kube_cluster": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "pod": {"type": "str", "required": True},
            "container": {"type": "str", "default": ""},
            "variables": {"type": "dict", "default": {}},
        },
    }


@dataclass(frozen=True)
class Member:
    """A member and the pod it runs in; `pod` `` says that it has none."""

    member: str
    kube_cluster: str
    namespace: str
    pod: str
    container: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

    def all_variables(self) -> dict[str, Any]:
        """What `{key}` in commands and paths may name."""
        return {"member": self.member, "kube_cluster": self.kube_cluster, "namespace": self.namespace, "pod": self.pod, **self.variables}


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


class _Socket:
    """An open WebSocket: `receive` gives the next message, None at its end; `send` sends one. Both want an end before `deadline`."""

    def __init__(self, connected: Any, cluster: str, what: str, deadline: float) -> None:
        self._connected, self._cluster, self._what = connected, cluster, what
        self.deadline = deadline

    def send(self, data: bytes) -> None:
        self._connected.settimeout(_left(self._cluster, self._what, self.deadline))
        self._connected.send_binary(data)

    def receive(self) -> bytes | None:
        self._connected.settimeout(_left(self._cluster, self._what, self.deadline))
        try:
            code, frame = self._connected.recv_data_frame(True)
        except websocket.WebSocketTimeoutException as error:
            raise _late(self._cluster, self._what) from error
        except websocket.WebSocketConnectionClosedException:
            return None
        if code == websocket.ABNF.OPCODE_CLOSE:
            return None
        if code not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
            return b""
        return bytes(frame.data)

    def shut(self) -> None:
        """Not close(): it would wait for the other side, and all that is wanted of it has been read."""
        self._connected.shutdown()


def _late(cluster: str, what: str) -> KubeError:
    return KubeError(cluster, what, "no end before the timeout", 504, _CUT_OFF)


def _left(cluster: str, what: str, deadline: float) -> float:
    """Seconds until `deadline`. Raises KubeError where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _late(cluster, what)
    return seconds


def ask_members(
    clusters: dict[str, KubeCluster],
    members: Sequence[Member],
    commands: Mapping[str, Sequence[str]],
    http: Mapping[str, Http],
    timeout: float,
    *,
    stop_at_failure: bool = False,
    at_once: bool = False,
    read_only: bool = False,
    kept: Kept | None = None,
) -> dict[str, dict[str, Json]]:
    """Run all commands and HTTP requests on all members and return {member: {name: answer}}; nothing is raised.

    The members are asked in parallel, the commands of one member in their order. `stop_at_failure` leaves out what follows
    a failed command of the same member. `at_once` is for questions that need no order: a member that answers none of them
    costs the time limit of one then, not of all. `timeout` in seconds is for everything.

    What is in both `commands` and `http` is a request where its TLS files are here, and the command elsewhere. `read_only`: all of them change
    nothing, so what was lost on the way is asked again. `kept` has requests use the connections of the call before; they must change nothing then.
    With it, `at_once` has the requests to one port of a member share a connection, one after the other; where one has no answer, the rest of them
    have connections of their own, and where the member cannot be reached, none is sent.
    """
    deadline = time.monotonic() + timeout
    names = list(dict.fromkeys([*commands, *http]))

    def http_answer(part: _Part, name: str) -> tuple[Json, bool]:
        request = part.requests[name]
        return _request(clusters[part.member.kube_cluster], part.member, request, deadline, read_only or request.body is None, kept)

    def ask(part: _Part) -> dict[str, Json]:
        cluster = clusters[part.member.kube_cluster]
        answers: dict[str, Json] = {}
        for index, name in enumerate(part.names):
            if name in part.requests:
                answers[name], reached = http_answer(part, name)
                if part.shared and not answers[name]["status"]:
                    rest = part.names[index + 1 :]
                    # Of a member that was not reached the others would say the same. Of one that was, each speaks for itself, and none waits for another.
                    more = in_parallel(lambda other: http_answer(part, other)[0], rest) if reached else [answers[name]] * len(rest)
                    return {**answers, **dict(zip(rest, more, strict=True))}
                continue
            answers[name] = _command(cluster, part.member, rendered(part.member, commands[name]), deadline, read_only)
            if stop_at_failure and (answers[name]["error"] or answers[name]["rc"]):
                break
        return answers

    def ask_all(cluster: KubeCluster) -> list[tuple[str, dict[str, Json]]]:
        mine = [member for member in members if member.kube_cluster == cluster.name]
        parts = [part for member in mine for part in _parts(member, names, commands, http, at_once, kept is not None)]
        return [(part.member.member, answers) for part, answers in zip(parts, in_parallel(ask, parts), strict=True)]

    found: dict[str, dict[str, Json]] = {member.member: {} for member in members}
    involved = {name: cluster for name, cluster in clusters.items() if any(member.kube_cluster == name for member in members)}
    for answered in each_cluster(involved, ask_all).values():
        for name, answers in answered:
            found[name].update(answers)
    return {member: {name: answers[name] for name in names if name in answers} for member, answers in found.items()}


@dataclass(frozen=True)
class _Part:
    """Questions to one member that are asked in their order; `shared`: over one connection."""

    member: Member
    names: list[str]
    requests: dict[str, Http]
    shared: bool = False


def _parts(
    member: Member, names: Sequence[str], commands: Mapping[str, Sequence[str]], http: Mapping[str, Http], at_once: bool, kept: bool
) -> list[_Part]:
    """What is asked of one member; each part beside the others."""
    rendered_requests = {name: request.rendered(member) for name, request in http.items()}
    requests = {name: one for name, one in rendered_requests.items() if name not in commands or (one.tls and one.tls.present())}
    if not at_once:
        return [_Part(member, list(names), requests)]
    ways: dict[object, list[str]] = {}
    for name in names:
        ways.setdefault(requests[name].way if kept and name in requests else name, []).append(name)
    return [_Part(member, some, requests, shared=len(some) > 1) for some in ways.values()]


def rendered(member: Member, argv: Sequence[str]) -> list[str]:
    """The command of one member."""
    variables = member.all_variables()
    return [plan.render(str(argument), variables) for argument in argv]


def _command(cluster: KubeCluster, member: Member, argv: list[str], deadline: float, safe: bool) -> Json:
    answer: Json = {"rc": None, "stdout": "", "stderr": "", "error": ""}
    if not member.pod:
        return {**answer, "error": "the member has no pod"}
    try:
        return {**answer, **run_command(cluster, member.namespace, member.pod, member.container, argv, deadline, safe)}
    except KubeError as error:
        return {**answer, **_unknown(error)}


def _request(cluster: KubeCluster, member: Member, request: Http, deadline: float, safe: bool, kept: Kept | None) -> tuple[Json, bool]:
    """(answer, whether the member was reached, so that the request was sent to it)."""
    answer: Json = {"status": 0, "body": "", "error": ""}
    if not member.pod:
        return {**answer, "error": "the member has no pod"}, False
    reached = threading.Event()
    if request.timeout:
        deadline = min(deadline, time.monotonic() + request.timeout)
    host = str(member.all_variables().get("address", "localhost"))
    try:
        status, body = http_request(cluster, member.namespace, member.pod, request, host, deadline, kept, safe, reached.set)
    except KubeError as error:
        return {**answer, **_unknown(error)}, reached.is_set()
    return {**answer, "status": status, "body": body.decode("utf-8", "replace")}, True


def _unknown(error: KubeError) -> Json:
    """The part of an answer that says why there is none; `passing` where the same may well succeed later."""
    said: Json = {"error": f"{error.what}: {error.detail}"}
    return {**said, "passing": True} if _of_the_way(error) else said


def _of_the_way(error: KubeError) -> bool:
    """Whether only the way there failed, so that the same may well succeed later."""
    return error.passing or error.reason == _CUT_OFF


def _asked(ask: Callable[[float], T], deadline: float, safe: bool) -> T:
    """What `ask(deadline of this try)` returns. Where it is `safe` to ask twice, a connection that broke or fell silent is not the end of it."""
    for attempt in range(1, _TRIES + 1):
        now = time.monotonic()
        last = not safe or attempt == _TRIES
        try:
            return ask(deadline if last else min(deadline, now + max(_SHORTEST_TRY_SECONDS, (deadline - now) / 2)))
        except KubeError as error:
            # What the session has sent again until it gave up, and what the pod's side said, is not asked again here.
            if last or not _of_the_way(error) or error.tries > 1 or time.monotonic() + _PAUSE_SECONDS >= deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def run_command(
    cluster: KubeCluster, namespace: str, pod: str, container: str, argv: Sequence[str], deadline: float, safe: bool = False
) -> Json:
    """Run one command in a container: {rc, stdout, stderr, error}; rc None where it could not be started.

    Raises KubeError where there is no such pod, no answer, or no end before `deadline` (time.monotonic() seconds). A
    command that is cut off by the deadline goes on in the container. `safe`: it may be run twice.
    """
    return _asked(lambda until: _run_once(cluster, namespace, pod, container, argv, until, safe), deadline, safe)


def _run_once(cluster: KubeCluster, namespace: str, pod: str, container: str, argv: Sequence[str], deadline: float, safe: bool) -> Json:
    query = [("command", argument) for argument in argv]
    query += [("container", container)] if container else []
    query += [("stdout", "true"), ("stderr", "true")]
    what = f"exec in pod {namespace}/{pod}"
    output = {_STDOUT: bytearray(), _STDERR: bytearray(), _ERROR: bytearray()}
    size = 0
    with _shut_after(cluster, what, _open(cluster, namespace, pod, "exec", query, what, deadline, safe)) as opened:
        while (message := opened.receive()) is not None:
            if message and message[0] in output:
                output[message[0]] += message[1:]
                size += len(message)
                if size > OUTPUT_LIMIT_BYTES:
                    raise KubeError(
                        cluster.name, what, f"the command wrote more than {OUTPUT_LIMIT_BYTES >> 20} MiB; let it write less", 413
                    )
    texts = {channel: bytes(data).decode("utf-8", "replace") for channel, data in output.items()}
    if not texts[_ERROR]:
        # The kubelet says of every command how it ended.
        raise KubeError(cluster.name, what, "the connection ended before the command did", 502, _CUT_OFF)
    code, error = plan.parse_status(texts[_ERROR])
    return {"rc": code, "stdout": texts[_STDOUT], "stderr": texts[_STDERR], "error": error}


class Tunnel:
    """What a command in a container reads and writes, as a stream of bytes: `receive` gives what it wrote, b"" at its end."""

    def __init__(self, opened: _Socket, cluster: str, what: str) -> None:
        self._opened, self._cluster, self._what = opened, cluster, what
        self._stderr = bytearray()

    def send(self, data: bytes) -> None:
        self._opened.send(bytes([_STDIN]) + data)

    def receive(self) -> bytes:
        """Raises KubeError where the command ended with an error."""
        while (message := self._opened.receive()) is not None:
            if message and message[0] == _STDOUT and len(message) > 1:
                return message[1:]
            if message and message[0] == _STDERR:
                self._stderr += message[1:]
            if message and message[0] == _ERROR:
                code, error = plan.parse_status(message[1:].decode("utf-8", "replace"))
                said = self._stderr.decode("utf-8", "replace").strip()
                if code or error:
                    raise KubeError(self._cluster, self._what, error or f"exit code {code}: {said}", 502)
        return b""


@contextlib.contextmanager
def tunnel(cluster: KubeCluster, namespace: str, pod: str, container: str, argv: Sequence[str], deadline: float) -> Iterator[Tunnel]:
    """A command in a container to talk to. It sees the end of its input when the block ends. Raises KubeError."""
    query = [("command", argument) for argument in argv]
    query += [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    what = f"exec in pod {namespace}/{pod}"
    with _shut_after(cluster, what, _open(cluster, namespace, pod, "exec", query, what, deadline, safe=False)) as opened:
        yield Tunnel(opened, cluster.name, what)


class _Forward:
    """A port-forward as a stream of bytes. `receive` raises KubeError where nothing listens on the port."""

    def __init__(self, opened: _Socket, cluster: str, what: str) -> None:
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

    opened: _Socket
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
        opened = _open(cluster, namespace, pod, "portforward", [("ports", str(request.port))], what, until, safe=True)
        try:
            with _explained(cluster, what):
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

    return _asked(once, deadline, safe)


def _answer(cluster: KubeCluster, what: str, request: Http, line: _Line, kept: Kept | None, key: Way) -> tuple[int, bytes]:
    """The answer over an open connection, which is kept where both sides want that, and shut otherwise. Raises KubeError."""
    stays = False
    try:
        with _explained(cluster, what):
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
    return KubeError(cluster.name, what, f"{request.line}: {error}", 502, _CUT_OFF if cut_off else "")


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


@contextlib.contextmanager
def _shut_after(cluster: KubeCluster, what: str, opened: _Socket) -> Iterator[_Socket]:
    """An open WebSocket for as long as the block lasts."""
    try:
        with _explained(cluster, what):
            yield opened
    finally:
        opened.shut()


def _open(
    cluster: KubeCluster,
    namespace: str,
    pod: str,
    subresource: str,
    query: Sequence[tuple[str, str]],
    what: str,
    deadline: float,
    safe: bool,
) -> _Socket:
    path = f"{POD_PATH.format(namespace=namespace, name=pod)}/{subresource}"
    connected = cluster.websocket(path, query, _PROTOCOL, what, safe, _left(cluster.name, what, deadline))
    return _Socket(connected, cluster.name, what, deadline)


@contextlib.contextmanager
def _explained(cluster: KubeCluster, what: str) -> Iterator[None]:
    """Errors of a connection as KubeError."""
    try:
        yield
    except (websocket.WebSocketException, OSError) as error:
        raise cluster.explain(what, error) from error
