# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time for tests of threads that wait: it passes only while all of them do, and then at once. How fast the machine is means nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from checker.clock import Clock

_STUCK_SECONDS = 300.0


@dataclass(eq=False)
class _Waiter:
    event: threading.Event
    until: float
    bell: threading.Event = field(default_factory=threading.Event)


class VirtualClock(Clock):
    """The thread that makes it counts as the first one. Of those that may go on at one moment, whoever waited first goes first."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._lock = threading.Lock()
        self._awake = 1
        self._waiting: list[_Waiter] = []
        self._over = threading.Event()

    def close(self) -> None:
        """The first thread waits no more: the others go on until they end."""
        with self._lock:
            self._falls_asleep()
        assert self._over.wait(_STUCK_SECONDS), "a thread does not end"

    def now(self) -> float:
        return self._now

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        waiter = _Waiter(event, math.inf if seconds is None else self._now + max(0.0, seconds))
        with self._lock:
            self._waiting.append(waiter)
            self._falls_asleep()
        # Real time: only a test that hangs needs it.
        assert waiter.bell.wait(_STUCK_SECONDS), "a thread is stuck in something else than this clock"
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        self.wait(threading.Event(), seconds)

    def start(self, work: Callable[[], None]) -> Callable[[float], None]:
        ended = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                ended.set()
                with self._lock:
                    self._falls_asleep()

        def join(seconds: float) -> None:
            self.wait(ended, seconds)

        with self._lock:
            self._awake += 1
        threading.Thread(target=run, daemon=True).start()
        return join

    def _falls_asleep(self) -> None:
        self._awake -= 1
        if self._awake:
            return
        if not self._waiting:
            self._over.set()
            return
        told = [waiter for waiter in self._waiting if waiter.event.is_set()]
        first = told[0] if told else min(self._waiting, key=lambda waiter: waiter.until)
        if not told:
            self._now = max(self._now, first.until)
        self._waiting.remove(first)
        self._awake += 1
        first.bell.set()
