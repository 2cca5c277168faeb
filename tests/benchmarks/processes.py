# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the processes that a command starts, by the kernel's own events: exact, and without slowing the command down.

The kernel tells root alone (the netlink family connector), in the first PID namespace alone. Elsewhere the count is not known.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Sequence

# linux/netlink.h, linux/connector.h, linux/cn_proc.h
_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = 1
_PROC_CN_MCAST_LISTEN = 1
_PROC_EVENT_FORK = 1
_SO_RCVBUFFORCE = 33
_HEADERS = 16 + 20  # nlmsghdr, cn_msg
_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp
_FORK = struct.Struct("=iiii")  # parent's pid and tgid, child's pid and tgid
_BUFFER_BYTES = 64 << 20

Fork = tuple[int, int]


def descendants(root: int, forks: Sequence[Fork]) -> int:
    """How many processes `root` and its descendants are, from (parent, child) in the order of the events."""
    family = {root}
    for parent, child in forks:
        if parent in family:
            family.add(child)
    return len(family)


class Counter:
    """Listens from its beginning on; `count` tells of one process that has ended."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._socket = self._listening()

    @staticmethod
    def _listening() -> socket.socket:
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        try:
            # Everybody's events come, and nobody reads them before the command has ended.
            heard.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            heard.bind((0, _CN_IDX_PROC))
            asked = struct.pack("=I", _PROC_CN_MCAST_LISTEN)
            message = struct.pack("=IIIIHH", _CN_IDX_PROC, 1, 0, 0, len(asked), 0) + asked
            heard.send(struct.pack("=IHHII", 16 + len(message), 3, 0, 0, os.getpid()) + message)
            heard.setblocking(False)
        except OSError:
            heard.close()
            raise
        return heard

    def count(self, root: int) -> int | None:
        """Processes that `root` was, with all that it has started; None where the kernel does not tell. Ends the listening."""
        if self._socket is None:
            return None
        forks: list[Fork] = []
        with self._socket as heard:
            try:
                while True:
                    event = heard.recv(4096)[_HEADERS:]
                    what, _cpu, _time = _EVENT.unpack_from(event)
                    if what == _PROC_EVENT_FORK:
                        _pid, parent, child, group = _FORK.unpack_from(event, _EVENT.size)
                        if child == group:  # a thread is no process
                            forks.append((parent, child))
            except BlockingIOError:
                pass
            except OSError:  # more events than the buffer holds
                return None
        # In a PID namespace of its own a process hears nothing, and sees other numbers.
        return descendants(root, forks) if any(child == root for _parent, child in forks) else None
