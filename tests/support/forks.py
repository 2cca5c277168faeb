# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in forks of the test, as tasks are forks of ansible-playbook."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def fork(work: Callable[[], Any]) -> int:
    """Starts `work` in a fork, and returns its process id; its exit code is 0 where it returned."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Waits for a fork: its exit code, or the number of the signal that ended it, negative."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def in_forks(work: Callable[[], Any], count: int) -> list[int]:
    """The exit codes of `count` forks at the same time."""
    return [ended(process) for process in [fork(work) for _number in range(count)]]
