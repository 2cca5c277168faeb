# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that ansible-playbook and all its forks share, for credentials that are costly to get.

It is made when this is imported, which ansible-playbook does before it forks, and is never a file: it goes with the last of these processes. In a
module's own process it is that process' memory.

Any of them may be killed at any time. The memory has two halves, of which the older one is written: half a write does not fit its checksum,
and the other half counts. Locks are the kernel's, on a file without name and content, and go with their holder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

try:
    import fcntl
except ImportError:  # not a Unix: nothing forks there
    fcntl = None  # type: ignore[assignment]

SIZE_BYTES = 1 << 20
# Longest wait for the memory itself, which nobody needs for longer than a copy takes.
_TABLE_SECONDS = 5.0
_TABLE_BYTE = 0
_HEADER = struct.Struct("<QQ32s")  # number of the write, length, SHA-256
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.05


class SharedCache:
    """Texts by key. Safe to use from all threads of all processes that were forked from the one that made it.

    It is bounded: whatever was put first goes first, and what is larger than a quarter of it is not kept.
    """

    def __init__(self, size: int = SIZE_BYTES) -> None:
        self._half = size // 2
        self._memory = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_DONTDUMP"):
            # A core file is a file.
            with contextlib.suppress(OSError):
                self._memory.madvise(mmap.MADV_DONTDUMP)
        self._file: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            # Its descriptor must never be closed: with any of its descriptors a process loses all its locks of a file.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._unlock_all()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock_all)

    def _unlock_all(self) -> None:
        # What threads of the parent held at the fork nobody would ever release in the child.
        self._guard = threading.Lock()
        self._threads: dict[int, threading.Lock] = {}

    def get(self, key: str) -> str | None:
        """What was put under `key`, None where nothing is left of it."""
        with self._lock(_TABLE_BYTE, _TABLE_SECONDS):
            # Without the lock too: what is being written does not fit its checksum.
            return self._read()[1].get(key)

    def put(self, key: str, value: str) -> None:
        """Keep `value`, where there is room."""
        with self._lock(_TABLE_BYTE, _TABLE_SECONDS) as locked:
            if locked:
                number, entries = self._read()
                entries.pop(key, None)
                if len(key) + len(value) <= self._half // 2:
                    entries[key] = value
                self._write(number + 1, entries)

    def alone(self, key: str, seconds: float) -> contextlib.AbstractContextManager[bool]:
        """A block in which no other thread or process is with this `key`. False where others were in it for all of `seconds`: then it is entered too."""
        return self._lock(1 + int(hashlib.sha256(key.encode()).hexdigest()[:12], 16), seconds)

    # -- locks ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self, byte: int, seconds: float) -> Iterator[bool]:
        """Locks of one process do not keep its own threads apart, so each has one for them too."""
        deadline = time.monotonic() + seconds
        with self._guard:
            threads = self._threads.setdefault(byte, threading.Lock())
        if not threads.acquire(timeout=seconds):
            yield False
            return
        try:
            locked = self._lock_file(byte, deadline)
            try:
                yield locked
            finally:
                if locked:
                    self._unlock_file(byte)
        finally:
            threads.release()

    def _lock_file(self, byte: int, deadline: float) -> bool:
        """True also where there is no file to lock: then the checksums have to do."""
        if self._file is None or fcntl is None:
            return True
        pause = _FIRST_PAUSE_SECONDS
        while True:
            # Asked again and again, as a kernel that is asked to wait knows no time limit, and sees a deadlock of processes where two
            # threads of one wait for two of another.
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return True
            except (BlockingIOError, PermissionError):
                pass
            except OSError:  # a file system that has no locks
                return True
            if time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _unlock_file(self, byte: int) -> None:
        if self._file is not None and fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    # -- memory --------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[int, dict[str, str]]:
        """(number of the last whole write, what it wrote)."""
        found: tuple[int, dict[str, str]] = (0, {})
        for start in (0, self._half):
            number, length, checksum = _HEADER.unpack(self._memory[start : start + _HEADER.size])
            if number <= found[0] or length > self._half - _HEADER.size:
                continue
            begin = start + _HEADER.size
            data = self._memory[begin : begin + length]
            if _checksum(number, data) == checksum:
                found = (number, json.loads(data))
        return found

    def _write(self, number: int, entries: dict[str, Any]) -> None:
        """Over the older half. Entries are in the order in which they were put."""
        room = self._half - _HEADER.size
        data = json.dumps(entries).encode()
        while len(data) > room:
            del entries[next(iter(entries))]
            data = json.dumps(entries).encode()
        # Numbers of whole writes take turns, whatever became of one that was cut off: it had the number that this one has.
        start = (number % 2) * self._half
        self._memory[start : start + _HEADER.size] = bytes(_HEADER.size)
        self._memory[start + _HEADER.size : start + _HEADER.size + len(data)] = data
        self._memory[start : start + _HEADER.size] = _HEADER.pack(number, len(data), _checksum(number, data))


def _checksum(number: int, data: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<Q", number) + data).digest()


CREDENTIALS = SharedCache()
