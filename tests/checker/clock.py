# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time of a run, and everything that waits for it. Tests of the checker give it a time of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """The monotonic clock of this machine."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Until the event is set, at most `seconds`; whether it is set."""
        return event.wait(seconds)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def start(self, work: Callable[[], None]) -> Callable[[float], None]:
        """Does `work` in a thread. Returns what waits for its end, at most so many seconds."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread.join

    def stamp(self, at: float | None = None) -> str:
        """RFC 3339 with milliseconds, of a moment of this clock (default: now)."""
        moment = datetime.fromtimestamp((self.now() if at is None else at) + self._offset, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
