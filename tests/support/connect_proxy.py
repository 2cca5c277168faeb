# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP proxy that opens tunnels (CONNECT) on loopback, spoken to in the clear or over TLS."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import socketserver
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .kube_api import Authority


class ConnectProxy:
    """`url` is what a client is given, `asked` the targets of all tunnels that were asked for, `refused` how often user and password were missing.

    With `tls`, its certificate is from `ca` (PEM). With `login` (user, password), nobody else may use it. `names` are those of hosts that it
    alone knows, and their addresses.
    """

    def __init__(
        self, folder: Path, tls: bool = False, login: tuple[str, str] | None = None, names: Mapping[str, str] | None = None
    ) -> None:
        self.asked: list[str] = []
        self.refused = 0
        self._login = login
        self._names = names or {}
        self._context: ssl.SSLContext | None = None
        self.ca = ""
        if tls:
            authority = Authority("proxy-ca")
            self.ca = authority.pem.decode()
            pair = folder / "proxy.pem"
            pair.write_bytes(b"".join(authority.issue("proxy", server=True)))
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pair)
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                client: Any = self.request
                with contextlib.suppress(OSError):
                    if proxy._context:
                        client = proxy._context.wrap_socket(client, server_side=True)
                    proxy._serve(client)

        return Handler

    def _serve(self, client: Any) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(4096)
                if not more:
                    return
                head += more
            lines = head.decode("latin-1").split("\r\n")
            method, target, _version = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines[1:])}
            if self._login and headers.get("proxy-authorization") != f"Basic {base64.b64encode(':'.join(self._login).encode()).decode()}":
                self.refused += 1
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            self.asked.append(target)
            host, _colon, port = target.rpartition(":")
            with socket.create_connection((self._names.get(host, host.strip("[]")), int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _relay(client, server)


def _relay(one: Any, other: Any) -> None:
    with selectors.DefaultSelector() as selector:
        for source, target in ((one, other), (other, one)):
            selector.register(source, selectors.EVENT_READ, target)
        while True:
            for key, _events in selector.select():
                ready: Any = key.fileobj
                data = ready.recv(65536)
                while isinstance(ready, ssl.SSLSocket) and ready.pending():
                    data += ready.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
