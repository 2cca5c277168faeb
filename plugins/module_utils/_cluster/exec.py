# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in pods, each with a deadline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from .._plan import exec as plan
from .client import KubeCluster, KubeError
from .pod_socket import CUT_OFF, OUTPUT_LIMIT_BYTES, Socket, asked, open_to, shut_after

Json = dict[str, Any]

# Channels are the first byte of each message; source: remotecommand protocol v4 of Kubernetes.
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3


def run_command(
    cluster: KubeCluster, namespace: str, pod: str, container: str, argv: Sequence[str], deadline: float, safe: bool = False
) -> Json:
    """Run one command in a container: {rc, stdout, stderr, error}; rc None where it could not be started.

    Raises KubeError where there is no such pod, no answer, or no end before `deadline` (time.monotonic() seconds). A
    command that is cut off by the deadline goes on in the container. `safe`: it may be run twice.
    """
    return asked(lambda until: _run_once(cluster, namespace, pod, container, argv, until, safe), deadline, safe)


def _run_once(cluster: KubeCluster, namespace: str, pod: str, container: str, argv: Sequence[str], deadline: float, safe: bool) -> Json:
    query = [("command", argument) for argument in argv]
    query += [("container", container)] if container else []
    query += [("stdout", "true"), ("stderr", "true")]
    what = f"exec in pod {namespace}/{pod}"
    output = {_STDOUT: bytearray(), _STDERR: bytearray(), _ERROR: bytearray()}
    size = 0
    with shut_after(cluster, what, open_to(cluster, namespace, pod, "exec", query, what, deadline, safe)) as opened:
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
        raise KubeError(cluster.name, what, "the connection ended before the command did", 502, CUT_OFF)
    code, error = plan.parse_status(texts[_ERROR])
    return {"rc": code, "stdout": texts[_STDOUT], "stderr": texts[_STDERR], "error": error}


class Tunnel:
    """What a command in a container reads and writes, as a stream of bytes: `receive` gives what it wrote, b"" at its end."""

    def __init__(self, opened: Socket, cluster: str, what: str) -> None:
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
    with shut_after(cluster, what, open_to(cluster, namespace, pod, "exec", query, what, deadline, safe=False)) as opened:
        yield Tunnel(opened, cluster.name, what)
