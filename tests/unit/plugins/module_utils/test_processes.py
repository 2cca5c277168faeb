# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes a run has left behind: found by their mark, and whoever cannot be looked at may be one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from support.collection import collections_path

# A main process that marks itself as ansible-playbook does, and what it leaves behind when it is killed.
MAIN = """
import os, signal, subprocess, sys, time
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes

processes.mark_this_process()
processes.mark_this_process()
mark = processes.mark_of(os.getpid())
if sys.argv[1] == "started":
    # In a session of its own, and its parent ends: nothing but the mark says whose it is.
    command = "setsid sleep 1000 > /dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=True).stdout)
elif sys.argv[1] == "forked":
    pid = os.fork()
    if not pid:
        os.setsid()
        os.close(1)
        signal.pause()
else:
    pid = 0
print(os.getpid(), mark, pid, flush=True)
signal.pause()
"""


@contextlib.contextmanager
def main(kind: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """The process, its mark, and the id of what it leaves."""
    environment = {**os.environ, "PYTHONPATH": str(collections_path())}
    environment.pop(processes.MARK_VARIABLE, None)
    process = subprocess.Popen([sys.executable, "-c", MAIN, kind], stdout=subprocess.PIPE, text=True, env=environment)
    left = 0
    try:
        assert process.stdout is not None
        _pid, mark, pid = process.stdout.readline().split()
        left = int(pid)
        yield process, mark, left
    finally:
        process.kill()
        process.communicate()
        if left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def left(mark: str, since: int, cgroup: str = "") -> list[int]:
    return [entry.pid for entry in processes.left_of(mark, since, cgroup)]


def ended(pid: int) -> None:
    """Kills a process that is no child of this one, and waits until the kernel says so."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [])
    finally:
        os.close(handle)


@pytest.mark.parametrize("kind", ["started", "forked"])
def test_what_outlives_a_killed_process_is_found_until_it_ends(kind: str) -> None:
    with main(kind) as (process, mark, pid):
        since = processes.started(process.pid)
        assert since
        assert left(mark, since) == sorted([pid, process.pid]), "the process itself has the mark too"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        until = time.monotonic() + 60
        while kind == "started" and Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < until, "setsid has not become sleep for a minute"
            os.sched_yield()
        found = processes.left_of(mark, since, "")
        assert [entry.pid for entry in found] == [pid], "a zombie is not"
        assert found[0].text == f"process {pid} ({'sleep' if kind == 'started' else Path(f'/proc/{pid}/comm').read_text().strip()})"
        assert left(mark, since + 10**9) == [], "whoever was there before was not started by it"
        assert left("0" * 32, since) == []
        ended(pid)
        assert left(mark, since) == []


def test_the_mark_is_of_the_process_that_took_it() -> None:
    with main("none") as (process, mark, _pid):
        since = processes.started(process.pid) or 0
        assert len(mark) == 32
        assert processes.mark_of(process.pid) == "", "it is another process' own knowledge"
        assert [entry.pid for entry in processes.left_of(mark, since, "")] == [process.pid]
    assert processes.left_of(mark, since, "") == []


def test_without_a_mark_nothing_is_proven() -> None:
    assert [entry.pid for entry in processes.left_of("", 1, "")] == [0]


def hidden(files: dict[str, bytes | OSError]) -> Callable[[int, str], bytes]:
    """A /proc where this process is another user's: of its files these can be read, and of the others' all."""

    def read(pid: int, name: str) -> bytes:
        if pid == os.getpid() and name in files:
            found = files[name]
            if isinstance(found, OSError):
                raise found
            return found
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return source.read()

    return read


@pytest.mark.parametrize(
    ("cgroup", "named"),
    [("0::/user.slice/ours", True), ("", True), ("0::/system.slice/other", False), (None, True)],
)
def test_unknown_is_not_dead(cgroup: str | None, named: bool) -> None:
    """A process that cannot be looked at is none of ours only where its control groups say so."""
    files: dict[str, bytes | OSError] = {
        "environ": PermissionError(),
        "cgroup": PermissionError() if cgroup is None else (cgroup or "0::/any").encode() + b"\n",
    }
    ours = "" if cgroup == "" else "0::/user.slice/ours"
    # Those of the machine that were there before are of no interest here.
    since = processes.started(os.getpid()) or 0
    found = [entry for entry in processes.left_of("0" * 32, since, ours, hidden(files)) if entry.pid == os.getpid()]
    assert [entry.pid for entry in found] == ([os.getpid()] if named else [])
    assert all(entry.text.endswith("), which this user may not look at") for entry in found)
    assert os.getpid() not in [entry.pid for entry in processes.left_of("0" * 32, since + 1, ours, hidden(files))], "it was there before"


def test_processes_that_are_hidden_altogether() -> None:
    since = 10**12
    found = processes.left_of("0" * 32, since, "0::/", hidden({"stat": PermissionError()}))
    assert [entry.text for entry in found] == [f"process {os.getpid()}, which this user may not look at"]

    def invisible(pid: int, name: str) -> bytes:
        if pid == 1:
            raise FileNotFoundError
        return hidden({})(pid, name)

    assert "hidepid" in processes.left_of("0" * 32, since, "0::/", invisible)[0].text
