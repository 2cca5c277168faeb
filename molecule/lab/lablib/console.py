# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person at the terminal sees: progress on stderr (stdout is kept for results), and one kind of error."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

START = time.monotonic()
_lock = threading.Lock()


class LabError(Exception):
    """One clear line for the user, and the log that has the rest, if there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def say(message: str) -> None:
    """Prints a progress line with the seconds since the command was started."""
    with _lock:
        print(f"[{time.monotonic() - START:4.0f}s] {message}", file=sys.stderr, flush=True)
