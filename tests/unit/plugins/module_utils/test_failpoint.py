# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failpoints: a name that would kill nobody is an error, and the right process dies."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from support.collection import CHECKOUT, collections_path

# A parent as ansible-playbook is one: each task is a worker process of its own.
PARENT = """
import os
from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
for step in ("drain", "stop"):
    print("task", step, flush=True)
    worker = os.fork()
    if not worker:
        _failpoint.reach(step + ":after-begin")
        print("worked", step, flush=True)
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
    assert run(None) == (0, ["task drain", "worked drain", "task stop", "worked stop", "end"])
    assert run("stop:before-begin")[0] == 0


def test_parent_and_worker_die() -> None:
    assert run("stop:after-begin") == (-signal.SIGKILL, ["task drain", "worked drain", "task stop"])


@pytest.mark.parametrize("text", ["", "stop:before-begin", "vm_add:after-begin", "journal:start:before", "journal:bind:after"])
def test_names(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOSTNET_FAILPOINT", text)
    assert _failpoint.wanted() == text


@pytest.mark.parametrize(
    "text",
    [
        *("stop", "stop:begin", "stop:after-start", "stop:after-done", "stop:after-begin@2", "journal:begin:after", "journal:member:after"),
        *(":after-begin", "a:b:after-begin", "journal:after-begin"),
    ],
)
def test_names_that_mean_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOSTNET_FAILPOINT", text)
    with pytest.raises(_failpoint.FailpointError, match="HOSTNET_FAILPOINT"):
        _failpoint.wanted()


@pytest.mark.parametrize(
    ("op", "step", "member", "found"),
    [
        ("next", "stop", None, "stop:after-begin"),
        ("start", "", None, "journal:start:after"),
        ("member", "", {"member": "east-0", "steps": []}, "journal:note:after"),
        ("member", "", {"new": {}}, "journal:bind:after"),
        ("member", "", {"since": 3, "new": None}, "journal:bind:after"),
        ("member", "", None, "journal:end:after"),
        ("finish", "", None, "journal:finish:after"),
    ],
)
def test_places(op: str, step: str, member: dict[str, Any] | None, found: str) -> None:
    assert _failpoint.place(op, step, member, "after") == found
