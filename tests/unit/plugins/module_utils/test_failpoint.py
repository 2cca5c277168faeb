# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failpoints: a name that would kill nobody is an error, and the right process dies the n-th time."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from support.collection import CHECKOUT, collections_path

# A parent as ansible-playbook is one: each task is a worker process of its own.
PARENT = """
import os
from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
for number in range(3):
    print("task", number, flush=True)
    worker = os.fork()
    if not worker:
        _failpoint.reach("stop:after-begin")
        print("worked", number, flush=True)
        os._exit(0)
    os.waitpid(worker, 0)
print("end", flush=True)
"""


def run(failpoint: str | None) -> tuple[int, list[str]]:
    environment = {"PYTHONPATH": str(collections_path()), "PATH": "/usr/bin:/bin"}
    if failpoint:
        environment["HOSTNET_FAILPOINT"] = failpoint
    done = subprocess.run([sys.executable, "-c", PARENT], env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout.split("\n")[:-1]


def test_without_the_variable_nobody_dies() -> None:
    assert run(None) == (0, ["task 0", "worked 0", "task 1", "worked 1", "task 2", "worked 2", "end"])
    assert run("stop:before-begin")[0] == 0
    assert run("stop:after-begin@4")[0] == 0


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_parent_and_worker_die_the_nth_time(nth: int) -> None:
    code, lines = run(f"stop:after-begin@{nth}" if nth > 1 else "stop:after-begin")
    assert code == -signal.SIGKILL
    assert lines == [word for number in range(nth) for word in (f"task {number}", f"worked {number}")][:-1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("stop:before-begin", ("stop:before-begin", 1)),
        ("vm_add:after-fail@12", ("vm_add:after-fail", 12)),
        ("journal:start:before", ("journal:start:before", 1)),
        ("journal:member:after@2", ("journal:member:after", 2)),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, text: str, found: tuple[str, int] | None) -> None:
    monkeypatch.setenv("HOSTNET_FAILPOINT", text)
    assert _failpoint.wanted() == found


@pytest.mark.parametrize(
    "text", ["stop", "stop:begin", "stop:after-start", "stop:after-begin@0", "journal:begin:after", ":after-done", "a:b:after-done"]
)
def test_names_that_mean_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOSTNET_FAILPOINT", text)
    with pytest.raises(_failpoint.FailpointError, match="HOSTNET_FAILPOINT"):
        _failpoint.wanted()


def test_places() -> None:
    assert _failpoint.place("begin", "stop", "after") == "stop:after-begin"
    assert _failpoint.place("member", "", "before") == "journal:member:before"
