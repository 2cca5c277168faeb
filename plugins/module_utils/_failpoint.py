# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failpoints: places where a test has the controller killed, as kill -9, a lost VM or a full disk would do it.

The environment variable HOSTNET_FAILPOINT names one:

* `<step>:<when>-<op>` with `when` one of before, after and `op` one of begin, done, fail. before-begin is before the intent is
  written, after-begin before the change, before-done after the change, after-done when its end is written.
  What ends one step and begins the next in one write is the beginning of the next one.
* `journal:<op>:<when>` with `op` one of start, member, finish.
* `@<n>` behind either: the n-th time that this ansible-playbook comes there, by default the first.

At its place the ansible-playbook process and the worker that is there die by SIGKILL. Without the variable this does nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import tempfile
import time

VARIABLE = "HOSTNET_FAILPOINT"
_FORM = re.compile(
    r"(?P<place>journal:(start|member|finish):(before|after)|[^:@]+:(before|after)-(begin|done|fail))(@(?P<nth>[1-9][0-9]*))?"
)


class FailpointError(ValueError):
    """HOSTNET_FAILPOINT is of no known form: a test with it would kill nobody and prove nothing."""


def place(op: str, step: str, when: str) -> str:
    """The name of a place in rollout_journal. `when` is before or after."""
    op = "begin" if op == "next" else op
    return f"{step}:{when}-{op}" if op in ("begin", "done", "fail") else f"journal:{op}:{when}"


def wanted() -> tuple[str, int] | None:
    """(place, how many times it is reached) of HOSTNET_FAILPOINT, or None without it. Raises FailpointError."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise FailpointError(
            f"{VARIABLE}={text} is no failpoint: write STEP:(before|after)-(begin|done|fail) or journal:(start|member|finish):"
        )
    return match["place"], int(match["nth"] or 1)


def reach(here: str) -> None:
    """Kills ansible-playbook (the parent of this worker) and this process where `here` is the failpoint."""
    failpoint = wanted()
    if failpoint is None or failpoint[0] != here:
        return
    playbook = os.getppid()
    if _count(here, playbook) < failpoint[1] or playbook <= 1:
        return
    os.kill(playbook, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # a signal to oneself is delivered before kill returns on Linux; nothing may be done after it anywhere
        time.sleep(1)


def _count(here: str, playbook: int) -> int:
    """How many times this ansible-playbook was here, this time included. Every task is a process of its own, so a file counts."""
    key = hashlib.sha256(f"{here}/{playbook}/{_started(playbook)}".encode()).hexdigest()[:16]
    path = os.path.join(tempfile.gettempdir(), f"hostnet-failpoint-{os.getuid()}-{key}")
    counter = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.write(counter, b".")
        return os.fstat(counter).st_size
    finally:
        os.close(counter)


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
