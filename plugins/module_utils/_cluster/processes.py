# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of this host belong to a run, and whether they live. Linux tells by /proc (see proc(5)); elsewhere nothing can be told.

kill -9 of ansible-playbook ends ansible-playbook alone. A worker goes on with its task, and so does what a hook has started: ssh, a cloud's command
line, a script. Ansible gives each worker a session of its own, so neither session nor process group nor parent tells whose they were. So
ansible-playbook marks itself: with a variable in its environment, which all inherit that are started from then on, and with a file in
memory, which all inherit that are forked and never started anything, such as a worker between two tries.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable

from .._plan.lock import Left

MARK_VARIABLE = "HOSTNET_RUN_MARK"
_MEMORY = "hostnet-run-"  # /proc/PID/fd shows it as /memfd:hostnet-run-MARK (deleted)
# linux/sched.h: a thread of the kernel, which has neither environment nor files.
_PF_KTHREAD = 0x00200000

# The mark of the process that has given itself one, by its id: what is forked has that too.
_marked: dict[int, str] = {}


def mark_this_process() -> None:
    """Mark this process, and with it all that it forks or starts from now on.

    Does nothing in a worker of Ansible's, in a process that is marked already, and where the system has no such files. Without a mark nobody is ever
    proven to have left nothing behind.
    """
    if multiprocessing.parent_process() is not None or os.getpid() in _marked:
        return
    mark = secrets.token_hex(16)
    try:
        os.memfd_create(_MEMORY + mark)  # never closed: that is the mark of what is forked
    except (AttributeError, OSError):
        return
    os.environ[MARK_VARIABLE] = mark
    _marked[os.getpid()] = mark


def mark_of(pid: int) -> str:
    """The mark of process `pid`, from which this one was forked; empty where it has none."""
    return _marked.get(pid, "")


def boot_id() -> str:
    """What tells this boot of the host from others. Raises OSError."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


def uptime() -> float:
    """Seconds since this host has booted, the time in which it slept included. Raises OSError where it has no such clock."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except AttributeError as error:
        raise OSError("no clock that counts from the boot on") from error


def cgroup_of(pid: int) -> str:
    """The control groups of a process, as /proc has them; empty where that cannot be told."""
    try:
        return _read(pid, "cgroup").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def started(pid: int) -> int | None:
    """When a process of this PID namespace started, in clock ticks since boot; 0 where it has ended, None where that cannot be told."""
    try:
        os.kill(pid, 0)  # unlike /proc this sees the processes of other users too, where they are hidden
    except ProcessLookupError:
        return 0
    except (OSError, OverflowError):
        pass
    try:
        _name, fields = _stat(pid)
        # A killed process whose parent does not ask for its end stays as a zombie for ever; it does nothing more.
        return 0 if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def left_of(mark: str, since: int, cgroup: str, read: Callable[[int, str], bytes] | None = None) -> list[Left]:
    """The living processes with this mark, and those that may have it and do not let this user look; empty means that certainly none is left.

    `since` is when the marked process started (in ticks since boot), `cgroup` its control groups: a process that was there before, or that cannot be
    looked at and is in other ones, is none of its. `read` gives a file of /proc/PID, for tests.
    """
    if not mark:
        return [Left(0, "whatever it started, which it had not marked", sure=False)]
    look = read or _read
    found = []
    try:
        look(1, "stat")
    except FileNotFoundError:
        return [Left(0, "processes of other users, which this host hides (hidepid)", sure=False)]
    except OSError:
        pass  # its stat cannot be read, nor can others': each is named below
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            left = _left(pid, mark, since, cgroup, look)
            if left:
                found.append(left)
    return found


def _left(pid: int, mark: str, since: int, cgroup: str, look: Callable[[int, str], bytes]) -> Left | None:
    try:
        name, fields = _stat(pid, look)
    except PermissionError:
        return Left(pid, f"process {pid}, which this user may not look at", sure=False)
    if fields[0] in ("Z", "X") or int(fields[6]) & _PF_KTHREAD or int(fields[19]) < since:
        return None
    try:
        marked = f"{MARK_VARIABLE}={mark}".encode() in look(pid, "environ").split(b"\0")
        if not marked:
            marked = any(_has_memory(pid, number, mark) for number in os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        with contextlib.suppress(PermissionError):
            if cgroup and look(pid, "cgroup").decode("utf-8", "replace").strip() != cgroup:
                return None
        return Left(pid, f"process {pid} ({name}), which this user may not look at", sure=False)
    return Left(pid, f"process {pid} ({name})") if marked else None


def _has_memory(pid: int, number: str, mark: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}").startswith(f"/memfd:{_MEMORY}{mark}")
    except FileNotFoundError:  # closed meanwhile
        return False


def _stat(pid: int, look: Callable[[int, str], bytes] | None = None) -> tuple[str, list[str]]:
    """Name and fields of /proc/PID/stat, the first one being the state."""
    head, _closing, rest = (look or _read)(pid, "stat").decode("utf-8", "replace").rpartition(")")
    # The name in parentheses may hold anything, parentheses and spaces too.
    return head.partition("(")[2], rest.split()


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as source:
        return source.read()
