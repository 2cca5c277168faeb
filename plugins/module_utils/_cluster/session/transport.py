# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to one API server, directly or through a proxy: one request, or one WebSocket. Nothing is sent twice here."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import proxies
from .credentials import Access, client_context, proxy_context
from .errors import Answered

# Their absence is reported by whoever opens a connection.
with contextlib.suppress(ImportError):
    import urllib3
    import websocket
    from urllib3.connection import HTTPConnection, HTTPSConnection

MAX_CONNECTIONS = 8  # to each API server: what saturates one API server on two cores; more only queues there
CONNECT_TIMEOUT_SECONDS = 10.0
USER_AGENT = "hostnet.multicluster"

# A peer that is gone without a word is noticed after half a minute, in the middle of a watch too. Not all of them exist everywhere.
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))


def _socket_options() -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    return options + [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _KEEPALIVE if hasattr(socket, name)]


class Transport:
    """The connections to one API server, at most MAX_CONNECTIONS for requests. Safe to use from several threads."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._certificate: tuple[str, str] | None = None
        self._manager: Any = None
        self._context: Any = None

    def login(self) -> None:
        """Get the credentials, so that nobody finds out in the middle that there are none. Raises AccessError."""
        self._access.headers()
        self._connections()

    def send(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, Any]],
        body: Any,
        headers: Sequence[tuple[str, str]],
        connect_timeout: float,
        read_timeout: float,
        stream: bool,
    ) -> Any:
        """Send one request and return urllib3's response. Raises Answered for a status of 400 and above, AccessError, and what urllib3 raises."""
        fields = urlencode([(key, value) for key, value in query if value is not None])
        sent = urllib3.HTTPHeaderDict([("User-Agent", USER_AGENT), *headers])
        for name, value in self._access.headers():
            sent.add(name, value)
        response = self._connections().request(
            method,
            f"{self._access.host}{path}{'?' + fields if fields else ''}",
            body=None if body is None else json.dumps(body).encode(),
            headers=sent,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            pool_timeout=connect_timeout + read_timeout,
            # urllib3 knows neither which writes are safe nor the API server's word; _plan/retry.py does.
            retries=False,
            redirect=False,
            preload_content=not stream,
        )
        if response.status >= 300:
            raise Answered(response.status, str(response.reason or ""), response.headers, response.data)
        return response

    def websocket(self, path: str, query: Sequence[tuple[str, str]], protocol: str, timeout: float) -> Any:
        """An open WebSocket. Raises as `send`."""
        headers = [f"{name}: {value}" for name, value in [("User-Agent", USER_AGENT), *self._access.headers()]]
        connected = self._connect(timeout)
        try:
            opened: Any = websocket.WebSocket(enable_multithread=False)
            # It answers pings and closes by itself; a server that is gone by then must not cost what it said before.
            opened.pong = _attempt(opened.pong)
            opened.send_close = _attempt(opened.send_close)
            host = urlsplit(self._access.host)
            url = f"{'ws' if host.scheme == 'http' else 'wss'}://{host.netloc}{host.path}{path}?{urlencode(query)}"
            opened.connect(url, header=headers, subprotocols=[protocol], timeout=timeout, suppress_origin=True, socket=connected)
        except websocket.WebSocketBadStatusException as error:
            connected.close()
            raise Answered(
                error.status_code, str(error.status_message or ""), urllib3.HTTPHeaderDict(error.resp_headers or {}), error.resp_body or b""
            ) from error
        except BaseException:
            connected.close()
            raise
        return opened

    def _connections(self) -> Any:
        """The pool of connections; a new one where the client's certificate is another one than before."""
        certificate = self._access.client_certificate()
        with self._lock:
            if self._manager is None or certificate != self._certificate:
                self._context = client_context(self._access)
                self._certificate = certificate
                if not self._access.verify:
                    # One warning for each request would say no more than the option does.
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                options = {
                    "maxsize": MAX_CONNECTIONS,
                    "block": True,
                    "ssl_context": self._context,
                    "socket_options": _socket_options(),
                    **({"server_hostname": self._access.tls_server_name} if self._access.tls_server_name else {}),
                }
                proxy = self._access.proxy
                if proxy:
                    url, login = proxies.split(proxy)
                    context = proxy_context(self._access) if url.startswith("https:") else None
                    self._manager = urllib3.ProxyManager(url, proxy_headers=login, proxy_ssl_context=context, **options)
                else:
                    self._manager = urllib3.PoolManager(**options)
            return self._manager

    def _connect(self, timeout: float) -> Any:
        """A connected socket to the API server, with TLS where it has that, through the proxy where there is one."""
        manager = self._connections()
        target = urlsplit(self._access.host)
        port = target.port or (80 if target.scheme == "http" else 443)
        options: dict[str, Any] = {"timeout": timeout, "socket_options": _socket_options()}
        if self._access.proxy:
            options.update(proxy=manager.proxy, proxy_config=manager.proxy_config)
        host, to = (manager.proxy.host, manager.proxy.port) if self._access.proxy else (str(target.hostname), port)
        if target.scheme == "http":
            connection: Any = HTTPConnection(host, to, **options)
        else:
            connection = HTTPSConnection(host, to, ssl_context=self._context, server_hostname=self._access.tls_server_name, **options)
        if self._access.proxy:
            connection.set_tunnel(str(target.hostname), port, headers=manager.proxy_headers, scheme=manager.proxy.scheme)
        connection.connect()
        return connection.sock


def _attempt(send: Callable[..., Any]) -> Callable[..., None]:
    def attempt(*arguments: Any) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            send(*arguments)

    return attempt
