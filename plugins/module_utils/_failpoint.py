# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failpoints: places where a test has the controller killed, as kill -9, a lost VM or a full disk would do it.

The environment variable HOSTNET_FAILPOINT names one. Each comes once in the work on one member:

* `<step>:before-begin` is after the change of the step before and before the intent of this one is written, `<step>:after-begin` is before
  the change of this one. What ends one step and begins the next is one write.
* `journal:<write>:before` and `journal:<write>:after` are around the other writes of the journal: `start` and `finish` of a rollout, `note` (a
  member begins), `bind` (something about the member in flight is written down, such as its new node), `save` (the old value of a setting, before it is
  changed) and `end` (a member is done).

At its place the ansible-playbook process and the worker that is there die by SIGKILL. Without the variable this does nothing.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from typing import Any

VARIABLE = "HOSTNET_FAILPOINT"
WRITES = ("start", "note", "bind", "drop", "save", "end", "finish")
WHENS = ("before", "after")
_FORM = re.compile(rf"journal:({'|'.join(WRITES)}):(before|after)|(?!journal:)[^:]+:(before|after)-begin")


class FailpointError(ValueError):
    """HOSTNET_FAILPOINT is of no known form: a test with it would kill nobody and prove nothing."""


def place(op: str, step: str, member: Mapping[str, Any] | None, when: str) -> str:
    """The name of a place in rollout_journal, from what the call writes. `when` is before or after."""
    if op == "next":
        return f"{step}:{when}-begin"
    if op == "member":
        op = "end" if member is None else "note" if member.get("member") else "bind"
    return f"journal:{op}:{when}"


def wanted() -> str:
    """The place that HOSTNET_FAILPOINT names, empty without it. Raises FailpointError."""
    text = os.environ.get(VARIABLE, "")
    if text and _FORM.fullmatch(text) is None:
        raise FailpointError(
            f"{VARIABLE}={text} is no failpoint: write STEP:(before|after)-begin or journal:({'|'.join(WRITES)}):(before|after)"
        )
    return text


def reach(here: str) -> None:
    """Kills ansible-playbook (the parent of this worker) and this process where `here` is the failpoint."""
    playbook = os.getppid()
    if wanted() != here or playbook <= 1:
        return
    os.kill(playbook, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # a signal to oneself is delivered before kill returns on Linux; nothing may be done after it anywhere
        time.sleep(1)
