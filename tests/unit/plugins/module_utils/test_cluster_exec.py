# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and GETs over a fake API server that speaks WebSocket on loopback: what kubelets do is in tests/integration."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import exec as exec_module
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import pod_socket, port_forward
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.ask import _parts, ask_members
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError, connect
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.exec import run_command, tunnel
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, rendered
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.port_forward import Http
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.tls import Files
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request, Vault
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import Lifetime

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FakeApiServer:
    """Accepts WebSockets and lets `answer(request line and headers, connection)` speak; `requests` keeps the heads."""

    def __init__(self, answer: Callable[[str, FakeConnection], None]) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        text = self._head(connection)
        if text.startswith("CONNECT"):
            # As a proxy that is the API server at the same time.
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            text = self._head(connection)
        fake = FakeConnection(connection, text)
        self.answer(text, fake)
        # A close with something unread, such as a pong, would reset the connection under a client that still reads.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(4096):
                pass
        connection.close()

    def _head(self, connection: socket.socket) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        self.requests.append(head.decode())
        return self.requests[-1]


class FakeConnection:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, head: str) -> None:
        self.connection = connection
        self.key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))

    def refuse(self, status: str, body: bytes) -> None:
        self.connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def accept(self) -> None:
        digest = base64.b64encode(hashlib.sha1(self.key.encode() + _GUID).digest()).decode()  # RFC 6455 asks for it
        head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {digest}\r\n"
        self.connection.sendall(f"{head}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode())

    def send(self, channel: int, data: bytes, opcode: int = 2) -> None:
        payload = bytes([channel]) + data
        size = bytes([len(payload)]) if len(payload) < 126 else b"\x7f" + struct.pack(">Q", len(payload))
        self.connection.sendall(bytes([0x80 | opcode]) + size + payload)

    def end(self) -> None:
        self.connection.sendall(bytes([0x88, 2]) + struct.pack(">H", 1000))

    def received(self) -> bytes:
        """The payload of one short masked frame."""
        first, second = self.connection.recv(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self.connection.recv(2))
        mask = self.connection.recv(4)
        data = self.connection.recv(size)
        assert first == 0x82
        return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, FakeConnection], None]], tuple[FakeApiServer, KubeCluster]]]:
    started: list[FakeApiServer] = []

    def start(answer: Callable[[str, FakeConnection], None], **options: Any) -> tuple[FakeApiServer, KubeCluster]:
        started.append(FakeApiServer(answer))
        return started[-1], connect([{"name": "east", "host": started[-1].url, **options}])["east"]

    yield start
    for server in started:
        server.listener.close()


def success(text: str, connection: FakeConnection) -> None:
    del text
    connection.accept()
    connection.send(1, b"out\n")
    connection.send(0, b"", opcode=9)
    connection.send(2, b"err\n")
    connection.send(1, b"\xffput\n")
    connection.send(3, json.dumps({"status": "Success"}).encode())
    connection.end()


# Far more than a busy machine needs: what has to end earlier is made to by the test.
LONG = 120.0


def command(cluster: KubeCluster, argv: list[str], seconds: float = LONG) -> dict[str, Any]:
    return run_command(cluster, "n", "p", "c", argv, time.monotonic() + seconds)


def get(cluster: KubeCluster, path: str = "/health", seconds: float = LONG) -> tuple[int, bytes]:
    return port_forward.http_request(cluster, "n", "p", Http(2381, path), "localhost", time.monotonic() + seconds)


def test_command(serve: Any) -> None:
    server, cluster = serve(success, api_key="token", impersonate_user="deployer")
    assert command(cluster, ["sh", "-c", "a b&c"]) == {"rc": 0, "stdout": "out\n\ufffdput\n", "stderr": "err\n", "error": ""}
    head = server.requests[0]
    line = "GET /api/v1/namespaces/n/pods/p/exec?command=sh&command=-c&command=a+b%26c&container=c&stdout=true&stderr=true HTTP/1.1"
    assert head.startswith(line)
    # The command runs as the one who asked for it.
    assert "Authorization: Bearer token" in head
    assert "Impersonate-User: deployer" in head
    assert cluster.requests == 1


def test_proxy(serve: Any) -> None:
    proxy, _cluster = serve(success)
    options = {"name": "east", "host": "http://api.example.test:6443/base/", "no_proxy": "other.example.test"}
    proxied = connect([{**options, "proxy": proxy.url.replace("http://", "http://user:word@")}])["east"]
    assert command(proxied, ["true"])["rc"] == 0
    assert proxy.requests[0].startswith("CONNECT api.example.test:6443 HTTP/1.1")
    assert "Proxy-Authorization: Basic " in proxy.requests[0]
    assert proxy.requests[1].startswith("GET /base/api/v1/namespaces/n/pods/p/exec?")
    avoided = connect([{**options, "proxy": proxy.url, "no_proxy": "api.example.test"}])["east"]
    with pytest.raises(KubeError, match="no answer from"):
        command(avoided, ["true"])


def test_refusals_keep_their_status(serve: Any) -> None:
    def refuse(_text: str, connection: FakeConnection) -> None:
        body = {"kind": "Status", "status": "Failure", "reason": "NotFound", "message": 'pods "p" not found'}
        connection.refuse("404 Not Found", json.dumps(body).encode())

    _server, cluster = serve(refuse)
    with pytest.raises(KubeError) as caught:
        command(cluster, ["true"])
    assert str(caught.value) == 'kube cluster east: exec in pod n/p: pods "p" not found'
    assert (caught.value.status, caught.value.reason, caught.value.unreachable) == (404, "NotFound", False)


def test_no_api_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    cluster = connect([{"name": "east", "host": f"http://127.0.0.1:{port}"}])["east"]
    with pytest.raises(KubeError, match="no answer from") as caught:
        command(cluster, ["true"])
    assert caught.value.unreachable


def test_a_command_that_does_not_end(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, passed = threading.Event(), [0.0]
    clock = time.monotonic
    monkeypatch.setattr(pod_socket, "time", SimpleNamespace(monotonic=lambda: clock() + passed[0]))

    def hang(_text: str, connection: FakeConnection) -> None:
        connection.accept()
        # The command is running, whatever that took: now its time is nearly over.
        passed[0] = LONG - 0.2
        connection.send(1, b"begun")
        ended.wait(LONG)

    _server, cluster = serve(hang)
    with pytest.raises(KubeError, match="no end before the timeout"):
        command(cluster, ["sleep"])
    with pytest.raises(KubeError, match="no end before the timeout"):
        command(cluster, ["sleep"], -1)
    ended.set()


def test_a_hanging_api_server_is_given_up(serve: Any) -> None:
    ended = threading.Event()
    _server, cluster = serve(lambda _text, _connection: ended.wait(LONG), request_timeout=0.3)
    with pytest.raises(KubeError, match="no answer from"):
        command(cluster, ["true"])
    ended.set()


def test_a_connection_that_breaks(serve: Any) -> None:
    def cut(_text: str, connection: FakeConnection) -> None:
        connection.accept()
        connection.send(1, b"half")

    server, cluster = serve(cut)
    with pytest.raises(KubeError, match="the connection ended before the command did"):
        command(cluster, ["true"])
    assert len(server.requests) == 1, "it may have changed something, so it is not run again"


@pytest.mark.parametrize("seconds", [5, LONG])
@pytest.mark.parametrize("times", [1, 2])
def test_a_question_whose_connection_breaks_is_asked_again(serve: Any, seconds: float, times: int) -> None:
    """Also one of few seconds: what breaks takes none of them."""

    def cut(text: str, connection: FakeConnection) -> None:
        connection.accept()
        if len(server.requests) > times:
            connection.send(3, json.dumps({"status": "Success"}).encode())
            connection.end()

    server, cluster = serve(cut)
    found = run_command(cluster, "n", "p", "c", ["true"], time.monotonic() + seconds, safe=True)
    assert found["rc"] == 0
    assert len(server.requests) == times + 1


def test_too_much_output(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_module, "OUTPUT_LIMIT_BYTES", 1 << 20)

    def flood(_text: str, connection: FakeConnection) -> None:
        connection.accept()
        with contextlib.suppress(OSError):  # the client hangs up
            for _number in range(20):
                connection.send(1, bytes(70000))

    _server, cluster = serve(flood)
    with pytest.raises(KubeError, match="wrote more than 1 MiB"):
        command(cluster, ["yes"])


def forward(*messages: tuple[int, bytes]) -> Callable[[str, FakeConnection], None]:
    """A port-forward whose server says `messages` after it received the request."""

    def answer(_text: str, connection: FakeConnection) -> None:
        connection.accept()
        connection.send(0, struct.pack("<H", 2381))
        connection.send(1, struct.pack("<H", 2381))
        request = connection.received()
        assert request[0] == 0
        assert request[1:].startswith(b"GET /health HTTP/1.1\r\nHost: localhost:2381\r\n")
        with contextlib.suppress(OSError):  # the client hangs up where it has seen enough
            for channel, data in messages:
                connection.send(channel, data)
            connection.end()

    return answer


def test_get(serve: Any) -> None:
    server, cluster = serve(forward((0, b"HTTP/1.1 200 OK\r\nContent-Le"), (0, b"ngth: 4\r\n\r\ngo"), (0, b"od")))
    assert get(cluster) == (200, b"good")
    assert server.requests[0].startswith("GET /api/v1/namespaces/n/pods/p/portforward?ports=2381 HTTP/1.1")


def test_get_where_nothing_listens(serve: Any) -> None:
    _server, cluster = serve(forward((1, b"dial tcp4 127.0.0.1:2381: connect: connection refused\n")))
    with pytest.raises(KubeError, match=r"port-forward to port 2381 of pod n/p: dial tcp4 127\.0\.0\.1:2381: connect: connection refused$"):
        get(cluster)


@pytest.mark.parametrize(
    ("messages", "text"),
    [([], "GET /health: not an HTTP answer"), ([(0, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")], "the answer ended too early")],
)
def test_get_with_a_broken_answer(serve: Any, messages: list[tuple[int, bytes]], text: str) -> None:
    _server, cluster = serve(forward(*messages))
    with pytest.raises(KubeError, match=text):
        get(cluster)


def test_get_with_too_large_an_answer(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "OUTPUT_LIMIT_BYTES", 1 << 20)
    _server, cluster = serve(forward(*[(0, b"HTTP/1.1 200 OK\r\n\r\n"), *[(0, bytes(60000))] * 20]))
    with pytest.raises(KubeError, match="is larger than 1 MiB"):
        get(cluster)


def again_and_again(*answers: bytes) -> Callable[[str, FakeConnection], None]:
    """A port-forward whose server answers one request after another over the same connection, and then closes it."""

    def answer(_text: str, connection: FakeConnection) -> None:
        connection.accept()
        connection.send(0, struct.pack("<H", 2381))
        connection.send(1, struct.pack("<H", 2381))
        with contextlib.suppress(OSError, ValueError):  # the client hangs up where it needs nothing more
            for data in answers:
                assert b"Connection: keep-alive" in connection.received()
                connection.send(0, data)
            connection.end()

    return answer


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%d "


class TestKeptConnections:
    def ask(self, cluster: KubeCluster, kept: port_forward.Kept, seconds: float = LONG) -> bytes:
        return port_forward.http_request(cluster, "n", "p", Http(2381, "/health"), "localhost", time.monotonic() + seconds, kept)[1]

    def test_one_request_to_the_api_server_for_many_questions(self, serve: Any) -> None:
        _server, cluster = serve(again_and_again(*(SIZED % number for number in range(3))))
        with port_forward.Kept() as kept:
            assert [self.ask(cluster, kept) for _time in range(3)] == [b"0 ", b"1 ", b"2 "]
        assert cluster.requests == 1

    def test_they_are_closed_at_the_end(self, serve: Any) -> None:
        _server, cluster = serve(again_and_again(SIZED % 1, SIZED % 2))
        with port_forward.Kept() as kept:
            self.ask(cluster, kept)
        with kept:
            assert self.ask(cluster, kept) == b"1 "
        assert cluster.requests == 2

    @pytest.mark.parametrize("last", [SIZED % 1, SIZED.replace(b"OK", b"OK\r\nConnection: close") % 1, b"HTTP/1.1 200 OK\r\n\r\n1 "])
    def test_one_that_the_server_has_closed_is_opened_anew(self, serve: Any, last: bytes) -> None:
        _server, cluster = serve(again_and_again(last))
        with port_forward.Kept() as kept:
            assert [self.ask(cluster, kept) for _time in range(2)] == [b"1 ", b"1 "]
        assert cluster.requests == 2

    def test_one_that_is_dead_costs_no_more_than_the_time_that_there_is(self, serve: Any) -> None:
        ended = threading.Event()

        def silent(_text: str, connection: FakeConnection) -> None:
            connection.accept()
            connection.send(0, struct.pack("<H", 2381))
            connection.send(1, struct.pack("<H", 2381))
            connection.received()
            connection.send(0, SIZED % 1)
            ended.wait(LONG)

        _server, cluster = serve(silent)
        with port_forward.Kept() as kept:
            self.ask(cluster, kept)
            began = time.monotonic()
            with pytest.raises(KubeError, match="no end before the timeout"):
                self.ask(cluster, kept, 0.3)
            assert time.monotonic() - began < LONG, "it did not wait for the server"
        ended.set()

    def test_questions_to_one_port_of_a_member_share_a_connection(self, serve: Any) -> None:
        _server, cluster = serve(again_and_again(*(SIZED % number for number in range(6))))
        questions = {"a": Http(2381, "/a"), "b": Http(2381, "/b")}
        asked = [Member("m0", "east", "n", "p0"), Member("m1", "east", "n", "p1")]
        with port_forward.Kept() as kept:
            for number in range(3):
                found = ask_members({"east": cluster}, asked, {}, questions, LONG, at_once=True, kept=kept)
                for answers in found.values():
                    assert [answer["body"] for answer in answers.values()] == [f"{2 * number} ", f"{2 * number + 1} "]
        assert cluster.requests == 2

    def test_questions_to_other_ports_have_connections_of_their_own(self, serve: Any) -> None:
        _server, cluster = serve(again_and_again(SIZED % 1))
        questions = {"a": Http(2381, "/a"), "b": Http(2382, "/b"), "c": Http(2381, "/c", tls=Files("ca", "certificate", "key"))}
        parts = _parts(Member("m0", "east", "n", "p0"), [*questions, "d"], {"d": ["x"]}, questions, True, True)
        assert [part.names for part in parts] == [["a"], ["b"], ["c"], ["d"]]
        with port_forward.Kept() as kept:
            plain = {name: questions[name] for name in "ab"}
            ask_members({"east": cluster}, [Member("m0", "east", "n", "p0")], {}, plain, LONG, at_once=True, kept=kept)
        assert cluster.requests == 2

    def test_each_speaks_for_itself_where_the_member_was_reached(self, serve: Any) -> None:
        ended = threading.Event()

        def slow_at_b(_text: str, connection: FakeConnection) -> None:
            connection.accept()
            connection.send(0, struct.pack("<H", 2381))
            connection.send(1, struct.pack("<H", 2381))
            with contextlib.suppress(OSError, ValueError):
                while (asked := connection.received()) is not None:
                    if b"/b " in asked:
                        ended.wait(LONG)
                        return
                    connection.send(0, SIZED % 1)

        _server, cluster = serve(slow_at_b)
        # Only the one that gets no answer has a limit: a busy machine may take seconds for the others.
        questions = {name: Http(2381, f"/{name}", timeout=1 if name == "b" else LONG) for name in "abcd"}
        with port_forward.Kept() as kept:
            found = ask_members({"east": cluster}, [Member("m0", "east", "n", "p0")], {}, questions, LONG, at_once=True, kept=kept)
        ended.set()
        assert {name: answer["status"] for name, answer in found["m0"].items()} == {"a": 200, "b": 0, "c": 200, "d": 200}
        assert "no end before the timeout" in found["m0"]["b"]["error"]
        assert list(found["m0"]) == list("abcd")

    def test_who_cannot_be_reached_is_asked_once(self, serve: Any) -> None:
        def refuse(_text: str, connection: FakeConnection) -> None:
            connection.refuse("404 Not Found", b"{}")

        _server, cluster = serve(refuse)
        questions = {name: Http(2381, f"/{name}") for name in "abcd"}
        with port_forward.Kept() as kept:
            found = ask_members({"east": cluster}, [Member("m0", "east", "n", "p0")], {}, questions, LONG, at_once=True, kept=kept)
        assert cluster.requests == 1
        assert len({answer["error"] for answer in found["m0"].values()}) == 1
        assert list(found["m0"]) == list("abcd")


def test_members_are_asked_together_and_none_stops_the_others(serve: Any) -> None:
    def answer(text: str, connection: FakeConnection) -> None:
        if "/pods/p1/" in text:
            connection.refuse("404 Not Found", b"{}")
        elif "portforward" in text:
            forward((0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))(text, connection)
        elif "command=false" in text:
            connection.accept()
            status = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}}
            connection.send(3, json.dumps(status).encode())
            connection.end()
        else:
            success(text, connection)

    _server, cluster = serve(answer)
    asked = [Member(f"east-{number}", "east", "n", f"p{number}" if number != 2 else "", variables={"x": number}) for number in range(3)]
    clusters = {"east": cluster}
    commands = {"first": ["false"], "second": ["echo", "{member}", "{x}"]}
    results = ask_members(clusters, asked, commands, {"health": Http(2381, "/health")}, 10)
    assert list(results) == ["east-0", "east-1", "east-2"]
    assert [(answer.get("rc"), answer["error"]) for answer in results["east-0"].values()] == [(1, ""), (0, ""), (None, "")]
    assert results["east-0"]["health"] == {"status": 200, "body": "ok", "error": ""}
    assert all(answer["error"] for answer in results["east-1"].values())
    assert {answer["error"] for answer in results["east-2"].values()} == {"the member has no pod"}
    assert rendered(asked[1], commands["second"]) == ["echo", "east-1", "1"]
    stopped = ask_members(clusters, asked[:1], commands, {"health": Http(2381, "/health")}, 10, stop_at_failure=True)
    assert list(stopped["east-0"]) == ["first"]
    assert ask_members(clusters, asked, commands, {"health": Http(2381, "/health")}, 10, at_once=True) == results
    assert ask_members(clusters, [], commands, {}, 10) == {}


def test_questions_wait_for_no_other_question(serve: Any) -> None:
    both = threading.Barrier(3)

    def answer(text: str, connection: FakeConnection) -> None:
        both.wait(10)  # nobody gets an answer before all three have asked
        (forward((0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) if "portforward" in text else success)(text, connection)

    _server, cluster = serve(answer)
    asked = [Member("east-0", "east", "n", "p0")]
    found = ask_members({"east": cluster}, asked, {"one": ["echo"], "two": ["echo"]}, {"health": Http(2381, "/health")}, 10, at_once=True)
    assert {name: answer["error"] for name, answer in found["east-0"].items()} == {"one": "", "two": "", "health": ""}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of east-0, and of a stranger's CA."""
    folder = tmp_path_factory.mktemp("pki")
    for name in ("ours", "theirs"):
        leaf = {
            "name": "east-0",
            "file": "server",
            "common_name": "east-0",
            "usages": ["server", "client"],
            "ip_addresses": ["10.0.0.1", "fd00::1"],
        }
        request = Request(folder / name, [leaf], Lifetime(valid_days=10, renew_days=3))
        ensure_certificates(request, cast(Vault, None), datetime.now(UTC))
    return folder


@pytest.fixture
def secure(pki: Path) -> Iterator[int]:
    """Port of a server that asks for a client certificate, and says over HTTP what it was asked."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = f"{self.path} {self.rfile.read(int(self.headers['Content-Length'])).decode()}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_arguments: Any) -> None:
            """A client that was refused is what a test is about."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ours/ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pki / "ours/east-0/server.crt", pki / "ours/east-0/server.key")
    server = Quiet(("127.0.0.1", 0), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def relay(port: int) -> Callable[[str, FakeConnection], None]:
    """A port-forward that ends at a real port."""

    def answer(_text: str, connection: FakeConnection) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := server.recv(4096):
                        connection.send(0, data)
                    connection.end()

            thread = threading.Thread(target=back)
            with contextlib.suppress(OSError, ValueError):  # the client hangs up where it has seen enough
                connection.accept()
                for channel in (0, 1):
                    connection.send(channel, struct.pack("<H", 2379))
                thread.start()
                while True:
                    server.sendall(connection.received()[1:])
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            if thread.ident:
                thread.join()

    return answer


ASKED: dict[str, Any] = {
    "port": 2379,
    "path": "/v3/{member}",
    "body": {"all": True},
    "timeout": 5,
    "tls": {"ca": "{pki}/ca.crt", "certificate": "{pki}/{member}/server.crt", "private_key": "{pki}/{member}/server.key"},
}


@pytest.mark.parametrize(
    ("folder", "address", "status", "text"),
    [
        ("ours", "10.0.0.1", 200, '/v3/east-0 {"all": true}'),
        ("ours", "fd00:0::1", 200, '/v3/east-0 {"all": true}'),
        ("ours", "10.0.0.2", 0, "POST /v3/east-0: TLS: IP address mismatch, certificate is not valid for '10.0.0.2'"),
        ("theirs", "10.0.0.1", 0, "POST /v3/east-0: TLS: self-signed certificate in certificate chain"),
        ("none", "10.0.0.1", 0, "none/east-0/server.crt cannot be used: No such file or directory"),
    ],
)
def test_a_request_over_tls(serve: Any, pki: Path, secure: int, folder: str, address: str, status: int, text: str) -> None:
    _server, cluster = serve(relay(secure))
    member = Member("east-0", "east", "n", "p0", variables={"pki": str(pki / folder), "address": address})
    answers = ask_members({"east": cluster}, [member], {}, {"list": Http.of(ASKED)}, 10)
    assert answers["east-0"]["list"]["status"] == status
    assert text in answers["east-0"]["list"]["body" if status else "error"]


def test_a_client_that_the_server_does_not_know(serve: Any, pki: Path, secure: int) -> None:
    _server, cluster = serve(relay(secure))
    own = f"{pki}/theirs/{{member}}/server"
    theirs = {**ASKED["tls"], "certificate": f"{own}.crt", "private_key": f"{own}.key"}
    member = Member("east-0", "east", "n", "p0", variables={"pki": str(pki / "ours"), "address": "10.0.0.1"})
    answers = ask_members({"east": cluster}, [member], {}, {"list": Http.of({**ASKED, "tls": theirs})}, 10)
    assert "POST /v3/east-0: TLS: " in answers["east-0"]["list"]["error"]


@pytest.mark.parametrize("folder", ["ours", "none"])
def test_a_command_stands_in_where_the_certificate_is_not_here(serve: Any, pki: Path, secure: int, folder: str) -> None:
    def answer(text: str, connection: FakeConnection) -> None:
        (relay(secure) if "portforward" in text else success)(text, connection)

    _server, cluster = serve(answer)
    member = Member("east-0", "east", "n", "p0", variables={"pki": str(pki / folder), "address": "10.0.0.1"})
    for at_once in (False, True):
        found = ask_members({"east": cluster}, [member], {"list": ["x"]}, {"list": Http.of(ASKED)}, 10, at_once=at_once)
        assert set(found["east-0"]) == {"list"}
        assert found["east-0"]["list"].get("status" if folder == "ours" else "rc") == (200 if folder == "ours" else 0)


def test_a_command_to_talk_to(serve: Any) -> None:
    def answer(text: str, connection: FakeConnection) -> None:
        assert "stdin=true" in text
        connection.accept()
        heard = connection.received()
        connection.send(1, b"")  # an empty one is no end
        connection.send(1, b"heard " + heard[1:])
        assert heard[0] == 0
        connection.send(2, b"nc: refused")
        status = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}}
        connection.send(3, json.dumps({"status": "Success"} if b"well" in heard else status).encode())
        connection.end()

    _server, cluster = serve(answer)
    for word in (b"well", b"ill"):
        with tunnel(cluster, "n", "p", "run", ["nc", "10.0.0.1", "4222"], time.monotonic() + LONG) as stream:
            stream.send(word)
            assert stream.receive() == b"heard " + word
            if word == b"well":
                assert stream.receive() == b""
            else:
                with pytest.raises(KubeError, match="exit code 1: nc: refused"):
                    stream.receive()
