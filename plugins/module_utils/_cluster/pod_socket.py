# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WebSockets to a pod by way of its API server, spoken here directly: what exec.py and port_forward.py are made of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from .client import POD_PATH, KubeCluster, KubeError

# Its absence is reported by whoever opens a connection.
with contextlib.suppress(ImportError):
    import websocket

T = TypeVar("T")
# Each message begins with a byte that says of which channel it is.
_PROTOCOL = "v4.channel.k8s.io"
OUTPUT_LIMIT_BYTES = 8 << 20
# A question whose connection broke or fell silent is asked again, so often. A try has half of the time that is left, or so many seconds where that is less.
_TRIES = 6
_SHORTEST_TRY_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
# `reason` of a KubeError about a connection that was open and did not bring what was asked for.
CUT_OFF = "CutOff"


class Socket:
    """An open WebSocket: `receive` gives the next message, None at its end; `send` sends one. Both want an end before `deadline`."""

    def __init__(self, connected: Any, cluster: str, what: str, deadline: float) -> None:
        self._connected, self._cluster, self._what = connected, cluster, what
        self.deadline = deadline

    def send(self, data: bytes) -> None:
        self._connected.settimeout(left(self._cluster, self._what, self.deadline))
        self._connected.send_binary(data)

    def receive(self) -> bytes | None:
        self._connected.settimeout(left(self._cluster, self._what, self.deadline))
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
    return KubeError(cluster, what, "no end before the timeout", 504, CUT_OFF)


def left(cluster: str, what: str, deadline: float) -> float:
    """Seconds until `deadline`. Raises KubeError where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _late(cluster, what)
    return seconds


def of_the_way(error: KubeError) -> bool:
    """Whether only the way there failed, so that the same may well succeed later."""
    return error.passing or error.reason == CUT_OFF


def asked(ask: Callable[[float], T], deadline: float, safe: bool) -> T:
    """What `ask(deadline of this try)` returns. Where it is `safe` to ask twice, a connection that broke or fell silent is not the end of it."""
    for attempt in range(1, _TRIES + 1):
        now = time.monotonic()
        last = not safe or attempt == _TRIES
        try:
            return ask(deadline if last else min(deadline, now + max(_SHORTEST_TRY_SECONDS, (deadline - now) / 2)))
        except KubeError as error:
            # What the session has sent again until it gave up, and what the pod's side said, is not asked again here.
            if last or not of_the_way(error) or error.tries > 1 or time.monotonic() + _PAUSE_SECONDS >= deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def shut_after(cluster: KubeCluster, what: str, opened: Socket) -> Iterator[Socket]:
    """An open WebSocket for as long as the block lasts."""
    try:
        with explained(cluster, what):
            yield opened
    finally:
        opened.shut()


def open_to(
    cluster: KubeCluster,
    namespace: str,
    pod: str,
    subresource: str,
    query: Sequence[tuple[str, str]],
    what: str,
    deadline: float,
    safe: bool,
) -> Socket:
    path = f"{POD_PATH.format(namespace=namespace, name=pod)}/{subresource}"
    connected = cluster.websocket(path, query, _PROTOCOL, what, safe, left(cluster.name, what, deadline))
    return Socket(connected, cluster.name, what, deadline)


@contextlib.contextmanager
def explained(cluster: KubeCluster, what: str) -> Iterator[None]:
    """Errors of a connection as KubeError."""
    try:
        yield
    except (websocket.WebSocketException, OSError) as error:
        raise cluster.explain(what, error) from error
