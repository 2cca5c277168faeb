# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer that misbehaves, on loopback, before a real API server: it counts requests, and does what it is told to some of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .kube_api import KubeApi

# Before the request reaches the API server: an answer of the balancer's own, or none.
STATUS = ("429", "500", "502", "503", "504")
RESET_BEFORE = "reset before"
# The API server has done it, and the answer is lost.
RESET_AFTER, HALF = "reset after", "half an answer"
# A watch ends in the middle, without a word.
CUT = "cut"
# A page for people, with status 200.
GARBLED = "garbled"
FAULTS = (*STATUS, RESET_BEFORE, RESET_AFTER, HALF)


@dataclass
class Seen:
    """One request that came: its number from 1, and the fault that it met (empty: none)."""

    number: int
    method: str
    path: str
    fault: str


@dataclass
class Balancer:
    """`choose(number, method, path)` names the fault of each request, or gives an empty text. `retry_after` is the header of its own answers."""

    kube: KubeApi
    choose: Callable[[int, str, str], str] = lambda _number, _method, _path: ""
    retry_after: str = "0"
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    @property
    def entry(self) -> dict[str, str]:
        """What a user's kube_clusters names. It comes without credentials: the balancer has an administrator's."""
        return {"name": self.kube.name, "host": self.url}

    @contextlib.contextmanager
    def running(self) -> Iterator[Balancer]:
        balancer, lock = self, threading.Lock()
        # It has the administrator's certificate, as KubeApi.request_json.
        self.kube.request_json("GET", "/version")
        trust: ssl.SSLContext = self.kube._trust

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_words: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                # Whoever is cut off has nothing more to say.
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    number = len(balancer.seen) + 1
                    fault = balancer.choose(number, self.command, self.path)
                    balancer.seen.append(Seen(number, self.command, self.path, fault))
                if fault in STATUS:
                    self.own_answer(int(fault))
                elif fault == RESET_BEFORE:
                    self.reset()
                elif fault == GARBLED:
                    self.page()
                else:
                    self.forward(body, fault)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815  # names of http.server

            def own_answer(self, status: int) -> None:
                said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "the balancer is busy", "code": status}
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if balancer.retry_after:
                    self.send_header("Retry-After", balancer.retry_after)
                self.end_headers()
                self.wfile.write(body)

            def page(self) -> None:
                body = b"<html>\nlog in first\n</html>\n"
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def reset(self) -> None:
                # Closing with nothing to linger for sends RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

            def forward(self, body: bytes, fault: str) -> None:
                host = urlsplit(balancer.kube.url)
                with contextlib.closing(http.client.HTTPSConnection(str(host.hostname), host.port, context=trust, timeout=120)) as upstream:
                    headers = {
                        key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection", "content-length")
                    }
                    upstream.request(self.command, self.path, body=body or None, headers=headers)
                    answer = upstream.getresponse()
                    if answer.getheader("Transfer-Encoding") == "chunked" and "watch=true" in self.path:
                        self.stream(answer, fault)
                        return
                    content = answer.read()
                    if fault == RESET_AFTER:
                        self.reset()
                        return
                    self.send_response(answer.status)
                    for key, value in answer.getheaders():
                        if key.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                            self.send_header(key, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    if fault == HALF:
                        self.wfile.write(content[: len(content) // 2])
                        self.wfile.flush()
                        self.reset()
                        return
                    self.wfile.write(content)

            def stream(self, answer: http.client.HTTPResponse, fault: str) -> None:
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while line := answer.readline():
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                    self.wfile.flush()
                    if fault == CUT:
                        self.reset()
                        return
                self.wfile.write(b"0\r\n\r\n")

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
