# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers that misbehave, on loopback with TLS, before real API servers: they count requests, and do what they are told to some of them.

A Balancer stands before one API server, and Traffic counts what comes to several of them. Whoever tests goes to the API servers directly: only what
is tested goes through here.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import hmac
import http.client
import io
import json
import random
import re
import secrets
import select
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from .kube_api import Authority, KubeApi

Json = dict[str, Any]

# Before the request reaches the API server: an answer of the balancer's own, or none.
STATUS = ("429", "500", "502", "503", "504")
# Somebody else changed the object meanwhile, as an API server says it.
CONFLICT = "409"
# 401, to this token until a new one comes.
EXPIRED = "expired-token"
RESET_BEFORE, SILENT_BEFORE = "reset-before", "silence-before"
# The API server has done it, and the answer is lost.
RESET_AFTER, HALF, SILENT_AFTER = "reset-after", "half-answer", "silence-after"
# A watch ends in the middle, without a word; it stays open and says nothing more; its packets are swallowed, those of TCP itself too.
CUT, STALLED, DEAD = "cut", "stalled", "dead"
# A page for people, with status 200.
GARBLED = "garbled"
# What any request may meet, at once.
FAULTS = (*STATUS, RESET_BEFORE, RESET_AFTER, HALF)
# What a rollout has to bear at each of its requests.
EVERY = (
    *("429", "500", "503", RESET_BEFORE, RESET_AFTER, HALF, SILENT_BEFORE, SILENT_AFTER, EXPIRED, CONFLICT),
    *(CUT, STALLED, DEAD),
)
_WATCHES = (CUT, STALLED, DEAD)
# A token that has expired by itself.
OLD_TOKEN = "old-token"

SILENCE_SECONDS = 20.0
# Longer than anybody waits for a watch.
STALL_SECONDS = 600.0
_REASONS = {"401": "Unauthorized", "409": "Conflict", "429": "TooManyRequests", "500": "InternalError", "503": "ServiceUnavailable"}
_SAID = {
    "401": "Unauthorized",
    "409": "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again",
}
# For the first event of a watch that is cut.
_CUT_SECONDS = 1.0
# Of connections to the API server: older ones may be closed over there just now.
_IDLE_SECONDS = 20.0
_UPSTREAM_SECONDS = 120.0

# Shorter messages in WebSockets are those that only open them.
_LONG_BYTES = 64

# linux/filter.h
_SO_ATTACH_FILTER = 26
_BPF_RETURN = 0x06


@dataclass
class Seen:
    """One request that came.

    `number` counts from 1 over all balancers of one Traffic, `of_kube` those of this kube cluster. `label` says where in the work it is, whatever came
    more often or less before it. `fault` is what it met (empty: nothing). `again`: the same request met a fault before, and was not answered since.
    `status` is the API server's own answer, 0 where the request never reached it or got none; `uid` and `version` are of the object in it.
    """

    number: int
    kube: str
    of_kube: int
    method: str
    path: str
    label: str = ""
    fault: str = ""
    again: bool = False
    status: int = 0
    uid: str = ""
    version: str = ""
    key: str = field(default="", repr=False)

    @property
    def watches(self) -> bool:
        return watches(self.path)

    @property
    def writes(self) -> bool:
        """Whether it may change something in the API server's own objects."""
        return self.method != "GET" and "dryRun=" not in self.path and not upgrades(self.path)


def watches(path: str) -> bool:
    return "watch" in parse_qs(urlsplit(path).query)


def upgrades(path: str) -> bool:
    """A WebSocket to a pod."""
    return urlsplit(path).path.endswith(("/exec", "/portforward"))


_PATH = re.compile(r"^/(?:api|apis/[^/]+)/[^/]+/(?:namespaces/[^/]+/)?(?P<kind>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$")


def path_kind(path: str) -> str:
    """What a path is of, without what another run would name otherwise: `pods`, `watch pods`, `pods/*/exec`, `configmaps/soak-rollout`."""
    split = urlsplit(path)
    found = _PATH.match(split.path)
    if not found:
        return split.path
    # Nodes and pods come and go; a deployment's records have one name each.
    name = found["name"] and (found["name"] if found["kind"] in ("configmaps", "leases") else "*")
    kind = "/".join(part for part in (found["kind"], name, found["sub"]) if part)
    return f"watch {kind}" if watches(path) else kind


def applies(fault: str, seen: Seen) -> bool:
    """Whether this request can meet the fault: only watches are cut, and a conflict is told to writes alone."""
    if fault in _WATCHES:
        return seen.watches
    return fault != CONFLICT or (seen.method != "GET" and not upgrades(seen.path))


class Covering:
    """This fault at each request that has not met it yet, `spacing` requests after the one before; what met it is added to `covered`.

    The first `skipped` requests do not meet it.
    """

    def __init__(self, fault: str, spacing: int, covered: set[str], skipped: int = 0) -> None:
        self.fault, self.spacing, self.covered = fault, spacing, covered
        self._since = spacing - 1 - skipped

    def __call__(self, seen: Seen) -> str:
        if seen.again:
            return ""
        self._since += 1
        if self._since < self.spacing or seen.label in self.covered or not applies(self.fault, seen):
            return ""
        self._since = 0
        self.covered.add(seen.label)
        return self.fault


def only(fault: str, labels: Iterable[str]) -> Callable[[Seen], str]:
    """This fault at the requests with these labels."""
    wanted = set(labels)
    return lambda seen: fault if seen.label in wanted and not seen.again else ""


def at_random(probability: float, seed: str) -> Callable[[Seen], str]:
    """Any fault at any request, also where it comes again."""
    order = random.Random(f"faults {seed}")
    return lambda seen: order.choice([fault for fault in EVERY if applies(fault, seen)]) if order.random() < probability else ""


class Traffic:
    """All requests to some balancers, in their order. `choose` names the fault of each that was not refused for its token.

    `step` says where the work is that sends them, as the first word of their labels.
    """

    def __init__(self, choose: Callable[[Seen], str] = lambda _seen: "", step: Callable[[], str] = lambda: "") -> None:
        self.choose, self.step = choose, step
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._ordinals: Counter[str] = Counter()
        self._unanswered: dict[str, str] = {}  # key of a request that met a fault: its label

    def came(self, kube: str, method: str, path: str, body: bytes, refused: str = "") -> Seen:
        key = f"{kube} {method} {path} {hashlib.sha256(body).hexdigest()}"
        with self._lock:
            of_kube = sum(entry.kube == kube for entry in self.seen) + 1
            label = self._unanswered.pop(key, "")
            seen = Seen(len(self.seen) + 1, kube, of_kube, method, path, label, again=bool(label), key=key)
            if not label:
                place = " ".join(part for part in (self.step(), kube, method, path_kind(path)) if part)
                self._ordinals[place] += 1
                seen.label = f"{place} {self._ordinals[place]}"
            seen.fault = refused or self.choose(seen)
            if seen.fault and seen.fault not in _WATCHES:
                self._unanswered[key] = seen.label
            self.seen.append(seen)
        return seen


def twice(seen: Iterable[Seen]) -> list[str]:
    """What was done two times although it was meant once, of the writes whose answer was lost and which came again.

    Told by what the API server answered: a second object; another object under the same name that was deleted or evicted; an object that the
    second time has changed once more (its version of what the user wants, which is `generation` where the kind has one).
    """
    found, done = [], dict[str, Seen]()
    for entry in seen:
        if not entry.writes or not 200 <= entry.status < 300:
            continue
        before = done.get(entry.key) if entry.again else None
        done[entry.key] = entry
        if before is None:
            continue
        changed = {
            "POST": not entry.uid or before.uid != entry.uid,
            "DELETE": before.uid != entry.uid,
        }.get(entry.method, (before.uid, before.version) != (entry.uid, entry.version))
        # An eviction's uid is that of the pod: the same one may be told to go two times.
        if changed:
            found.append(f"{entry.label}: request {before.number} ({before.fault}) and request {entry.number}: {entry.method} {entry.path}")
    return found


def commands_twice(seen: Iterable[Seen]) -> list[str]:
    """Commands in pods that were begun, whose answer was lost, and that were begun again: whether that did something twice the system alone knows."""
    found, done = [], dict[str, Seen]()
    for entry in seen:
        if urlsplit(entry.path).path.endswith("/exec") and entry.status == 101:
            if entry.again and entry.key in done:
                words = " ".join(parse_qs(urlsplit(entry.path).query).get("command", []))
                found.append(
                    f"{entry.label}: request {done[entry.key].number} ({done[entry.key].fault}) and request {entry.number}: {words}"
                )
            done[entry.key] = entry
    return found


@dataclass(frozen=True)
class Upstream:
    """A real API server, and the credentials that the balancer comes with."""

    name: str
    url: str
    trust: ssl.SSLContext
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, kube: KubeApi) -> Upstream:
        """With the administrator's certificate, as KubeApi.request_json."""
        kube.request_json("GET", "/version")
        return cls(kube.name, kube.url, kube._trust)

    @classmethod
    def of_context(cls, kubeconfig: str, context: str) -> Upstream:
        """As a kubeconfig has it, with its CA and its token in the file itself."""
        document = yaml.safe_load(Path(kubeconfig).read_text())

        def named(kind: str, name: str) -> Json:
            return dict(next(entry[kind] for entry in document[f"{kind}s"] if entry["name"] == name))

        chosen = named("context", context)
        cluster, user = named("cluster", chosen["cluster"]), named("user", chosen["user"])
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        return cls(context, cluster["server"], trust, {"Authorization": f"Bearer {user['token']}"})


class Tokens:
    """Tokens that live for `seconds`, from an exec credential plugin in `folder`.

    Whether a token is good is written in it, so that the plugin and the balancers share nothing but a secret.
    """

    def __init__(self, folder: Path, seconds: float = 60.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.seconds = seconds
        self._secret = secrets.token_hex(16)
        self._plugin, self._made = folder / "token.py", folder / "tokens"
        self._revoked: set[str] = set()
        self._plugin.touch(mode=0o600)
        self._plugin.write_text(_PLUGIN.format(secret=self._secret, seconds=seconds, made=str(self._made)))

    @property
    def made(self) -> int:
        """How often the plugin was run."""
        return len(self._made.read_text().splitlines()) if self._made.exists() else 0

    def user(self, kube: str) -> Json:
        """A kubeconfig's user."""
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": sys.executable}
        return {"exec": {**plugin, "args": [str(self._plugin), kube]}}

    def good(self, token: str) -> bool:
        said, _dot, mark = token.rpartition(".")
        expected = hmac.new(self._secret.encode(), said.encode(), "sha256").hexdigest()
        return hmac.compare_digest(mark, expected) and token not in self._revoked and float(said.split("_")[1]) > time.time()

    def revoke(self, token: str) -> None:
        self._revoked.add(token)


_PLUGIN = """\
import hmac, json, sys, time
ends = int(time.time() + {seconds})
said = f"{{sys.argv[1]}}_{{ends}}_{{time.time_ns()}}"
with open({made!r}, "a") as made:
    made.write(said + "\\n")
token = said + "." + hmac.new(b"{secret}", said.encode(), "sha256").hexdigest()
status = {{"token": token, "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""


class Balancer:
    """Stands before one API server. `choose(number, method, path)` names the fault of each request, or gives an empty text; a `traffic` that is given
    does that in its place, for several balancers.

    `retry_after` is the header of its own answers. With `tokens`, nobody is let in without one of those.
    """

    def __init__(
        self,
        kube: KubeApi | Upstream,
        choose: Callable[[int, str, str], str] = lambda _number, _method, _path: "",
        *,
        retry_after: str = "0",
        traffic: Traffic | None = None,
        tokens: Tokens | None = None,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.kube: Any = kube
        self.name = kube.name
        self.choose = choose
        self.retry_after = retry_after
        self.traffic = traffic or Traffic(lambda seen: self.choose(seen.number, seen.method, seen.path))
        self.tokens = tokens
        self.silence = silence
        self.url = self.ca_file = ""
        self.ended = threading.Event()

    @property
    def seen(self) -> list[Seen]:
        return self.traffic.seen

    @property
    def entry(self) -> dict[str, str]:
        """What a user's kube_clusters names. It comes without credentials: the balancer has its own."""
        return {"name": self.name, "host": self.url, "ca_cert": self.ca_file}

    @contextlib.contextmanager
    def running(self) -> Iterator[Balancer]:
        upstream = self.kube if isinstance(self.kube, Upstream) else Upstream.of(self.kube)
        with tempfile.TemporaryDirectory(prefix="hostnet-balancer-") as temporary:
            folder, authority = Path(temporary), Authority(f"balancer-{self.name}")
            self.ca_file = str(folder / "ca.crt")
            Path(self.ca_file).write_bytes(authority.pem)
            (folder / "server.pem").write_bytes(b"".join(authority.issue("balancer", server=True)))
            identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            identity.load_cert_chain(folder / "server.pem")
            server = _Server(self, upstream, identity)
            self.url = f"https://127.0.0.1:{server.server_address[1]}"
            self.ended.clear()
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self.ended.set()
                server.shutdown()
                thread.join()
                server.server_close()


def write_kubeconfig(path: Path, balancers: Sequence[Balancer], tokens: Tokens) -> None:
    """A kubeconfig with a context for each of the balancers, which run."""
    document: Json = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": balancers[0].name,
        "clusters": [],
        "users": [],
        "contexts": [],
    }
    for balancer in balancers:
        name, ca = balancer.name, base64.b64encode(Path(balancer.ca_file).read_bytes()).decode()
        document["clusters"].append({"name": name, "cluster": {"server": balancer.url, "certificate-authority-data": ca}})
        document["users"].append({"name": name, "user": tokens.user(name)})
        document["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, balancer: Balancer, upstream: Upstream, identity: ssl.SSLContext) -> None:
        self.balancer, self.upstream, self.identity = balancer, upstream, identity
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connected, address = super().get_request()
        # The handshake is done by the connection's own thread, with the first byte that it reads.
        return self.identity.wrap_socket(connected, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Whoever is cut off, or does not trust the certificate, has nothing more to say.
        if not isinstance(sys.exception(), (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the API server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.balancer = self.server.balancer
        self.above: http.client.HTTPSConnection | None = None
        self.used = 0.0

    def finish(self) -> None:
        if self.above:
            self.above.close()
        super().finish()

    def log_message(self, *_words: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        tokens, token = self.balancer.tokens, str(self.headers.get("Authorization") or "").removeprefix("Bearer ")
        refused = OLD_TOKEN if tokens and not tokens.good(token) else ""
        seen = self.balancer.traffic.came(self.balancer.name, self.command, self.path, body, refused)
        fault = seen.fault
        if fault in (EXPIRED, OLD_TOKEN):
            if tokens:
                tokens.revoke(token)
            self.own_answer("401")
        elif fault in (*STATUS, CONFLICT):
            self.own_answer(fault)
        elif fault == RESET_BEFORE:
            self.reset()
        elif fault == SILENT_BEFORE:
            self.silence()
        elif fault == GARBLED:
            self.page()
        elif "upgrade" in (self.headers.get("Connection") or "").lower():
            self.upgrade(seen)
        else:
            self.forward(seen, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815  # names of http.server

    # -- answers of its own -------------------------------------------------------------------------------------------

    def own_answer(self, code: str) -> None:
        said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": _SAID.get(code, "the balancer is busy")}
        self.whole(int(code), "application/json", json.dumps({**said, "reason": _REASONS.get(code, ""), "code": int(code)}).encode())

    def page(self) -> None:
        self.whole(200, "text/html", b"<html>\nlog in first\n</html>\n")

    def whole(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.balancer.retry_after and str(status) in STATUS:
            self.send_header("Retry-After", self.balancer.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        # Closing with nothing to linger for sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.close_connection = True
        self.connection.close()

    def silence(self) -> None:
        self.balancer.ended.wait(self.balancer.silence)
        self.close()

    # -- the API server's answers -------------------------------------------------------------------------------------

    def above_headers(self, *without: str) -> dict[str, str]:
        """The request's, with the balancer's credentials for the client's."""
        dropped = ("host", "content-length", "authorization", *without)
        return {
            **{key: value for key, value in self.headers.items() if key.lower() not in dropped},
            **self.server.upstream.headers,
        }

    def connect(self) -> http.client.HTTPSConnection:
        host = urlsplit(self.server.upstream.url)
        return http.client.HTTPSConnection(str(host.hostname), host.port, context=self.server.upstream.trust, timeout=_UPSTREAM_SECONDS)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self.above and time.monotonic() - self.used > _IDLE_SECONDS:
            self.above.close()
            self.above = None
        self.above = self.above or self.connect()
        self.above.request(method, path, body=body or None, headers=headers)
        self.used = time.monotonic()
        return self.above.getresponse()

    def forward(self, seen: Seen, body: bytes) -> None:
        pods, _slash, rest = urlsplit(self.path).path.rpartition("/pods/")
        evicted = ""
        if rest.endswith("/eviction"):
            # The answer to an eviction does not say which pod it was. Those who may evict may list.
            one = f"{pods}/pods?fieldSelector=metadata.name%3D{rest.removesuffix('/eviction')}"
            with contextlib.suppress(ValueError, KeyError, IndexError):
                evicted = json.loads(self.ask("GET", one, b"", dict(self.server.upstream.headers)).read())["items"][0]["metadata"]["uid"]
        answer = self.ask(self.command, self.path, body, self.above_headers("connection"))
        seen.status = answer.status
        if seen.watches and answer.getheader("Transfer-Encoding") == "chunked":
            self.stream(answer, seen.fault)
            return
        content = answer.read()
        if seen.writes:
            self.note(seen, content, evicted)
        if seen.fault == RESET_AFTER:
            self.reset()
        elif seen.fault == SILENT_AFTER:
            self.silence()
        else:
            self.pass_on(answer.status, answer.getheaders(), content, half=seen.fault == HALF)

    def note(self, seen: Seen, content: bytes, evicted: str) -> None:
        """What the API server says of the object that was written."""
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(content)
            metadata = said.get("metadata") or {}
            # Of what is deleted, some kinds give the object and others a word about it.
            seen.uid = evicted or metadata.get("uid") or (said.get("details") or {}).get("uid", "")
            seen.version = str(metadata.get("generation") or metadata.get("resourceVersion") or "")

    def pass_on(self, status: int, headers: Iterable[tuple[str, str]], content: bytes, half: bool) -> None:
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.reset()

    def stream(self, answer: http.client.HTTPResponse, fault: str) -> None:
        above, self.above = self.above, None
        assert above is not None
        # It is of no use for another request, whichever way it ends.
        with contextlib.closing(above), contextlib.closing(answer):
            if fault in (RESET_AFTER, SILENT_AFTER):
                self.reset() if fault == RESET_AFTER else self.silence()
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if fault in (STALLED, DEAD):
                self.stall(dead=fault == DEAD)
                return
            if fault in (CUT, HALF) and above.sock:
                # Where nothing happens that it could be in the middle of.
                above.sock.settimeout(_CUT_SECONDS)
            try:
                while line := answer.readline():
                    if fault == HALF:
                        line = line[: len(line) // 2]
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                    if fault in (CUT, HALF):
                        break
                else:
                    self.wfile.write(b"0\r\n\r\n")
            except TimeoutError:
                if fault not in (CUT, HALF):
                    raise
            if fault in (CUT, HALF):
                self.reset()

    def stall(self, dead: bool) -> None:
        """Says nothing more until the client has gone; when `dead`, it cannot be told any more that it has."""
        self.close_connection = True
        if dead:
            swallow(self.connection)
            self.balancer.ended.wait(STALL_SECONDS)
            return
        until = time.monotonic() + STALL_SECONDS
        while not self.balancer.ended.is_set() and time.monotonic() < until:
            if select.select([self.connection], [], [], 1.0)[0] and not self.connection.recv(1):
                return

    # -- WebSockets to pods -------------------------------------------------------------------------------------------

    def upgrade(self, seen: Seen) -> None:
        self.close_connection = True
        with contextlib.closing(self.connect()) as above:
            above.connect()
            host = urlsplit(self.server.upstream.url)
            lines = [f"{self.command} {self.path} HTTP/1.1", f"Host: {host.netloc}"]
            lines += [f"{key}: {value}" for key, value in self.above_headers().items()]
            above.sock.sendall("\r\n".join([*lines, "", ""]).encode())
            head = b""
            while b"\r\n\r\n" not in head:
                received = above.sock.recv(65536)
                if not received:
                    raise ConnectionResetError("the API server closed the connection")
                head += received
            head, _blank, rest = head.partition(b"\r\n\r\n")
            first, _end, fields = head.partition(b"\r\n")
            seen.status = int(first.split()[1])
            if seen.status != 101:
                said = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
                while len(rest) < int(said.get("Content-Length") or 0) and (received := above.sock.recv(65536)):
                    rest += received
                self.pass_on(seen.status, said.items(), rest, half=seen.fault == HALF)
                return
            self.upgraded(seen, head + b"\r\n\r\n", rest, above.sock)

    def upgraded(self, seen: Seen, head: bytes, rest: bytes, above: Any) -> None:
        """Both sides talk. What is lost is all that a command said, or half of the first long message; a port-forward is lost at once, for nobody
        but its two ends knows when something was done."""
        command = urlsplit(self.path).path.endswith("/exec")
        if seen.fault == SILENT_AFTER:
            if command:
                self.relay(above, rest, deliver=False)
            self.silence()
            return
        self.wfile.write(head)
        if seen.fault == RESET_AFTER:
            if command:
                self.relay(above, rest, deliver=False)
            self.reset()
        elif seen.fault == HALF:
            self.relay(above, rest, half=True)
            self.reset()
        else:
            self.relay(above, rest)
            self.close()

    def relay(self, above: Any, rest: bytes, deliver: bool = True, half: bool = False) -> None:
        """Passes bytes on until one side ends. Without `deliver` the client gets nothing, and what is not over after the balancer's `silence` is left."""
        client: Any = self.connection
        until = time.monotonic() + (_UPSTREAM_SECONDS * 10 if deliver else self.balancer.silence)
        for side in (client, above):
            side.setblocking(False)
        said: bytes | None = rest
        while time.monotonic() < until and not self.balancer.ended.is_set():
            if said and half and len(said) > _LONG_BYTES:
                _send(client, said[: len(said) // 2])
                return
            if said and deliver:
                _send(client, said)
            if not (client.pending() or above.pending()):
                select.select([client, above], [], [], 1.0)
            asked, said = _receive(client), _receive(above)
            if asked:
                _send(above, asked)
            if said == b"" or (asked == b"" and deliver):
                return


def _receive(side: Any) -> bytes | None:
    """What has come, None where nothing has, b"" at the end."""
    try:
        return bytes(side.recv(65536))
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except OSError:
        return b""


def _send(side: Any, data: bytes) -> None:
    while data:
        try:
            data = data[side.send(data) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            select.select([side], [side], [], 1.0)


def swallow(connected: socket.socket) -> None:
    """From now on the kernel drops whatever comes for this connection and acknowledges nothing, probes of TCP's keepalive included."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    connected.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(instruction)))
