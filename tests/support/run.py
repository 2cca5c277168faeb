# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules and tasks of the collection as a user's Ansible does: own process, AnsiballZ, callbacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .collection import CHECKOUT, collections_path

NAMESPACE = "hostnet.multicluster"
_CALLBACKS = Path(__file__).resolve().parent / "callbacks"


@dataclass(frozen=True)
class TaskResult:
    """One task's end: `outcome` is ok, failed, skipped or unreachable; `result` is what the module returned, after `seconds`."""

    outcome: str
    task: str
    action: str
    seconds: float
    result: dict[str, Any]


@dataclass(frozen=True)
class PlayRun:
    rc: int
    tasks: list[TaskResult]
    output: str

    @property
    def changed(self) -> bool:
        return any(task.result.get("changed") for task in self.tasks)

    def of(self, action: str) -> list[dict[str, Any]]:
        """The results of every task that ran `action`, with or without the collection's name."""
        wanted = {action, f"{NAMESPACE}.{action}"}
        return [task.result for task in self.tasks if task.action in wanted]


def ansible_environment(results: Path, **extra: str) -> dict[str, str]:
    """The environment for an ansible command that sees this checkout as the installed collection."""
    # ansible's own PATH entries matter too: modules run on the controller with the tests' interpreter.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    folder = results.parent
    environment.update(
        ANSIBLE_COLLECTIONS_PATH=str(collections_path()),
        ANSIBLE_CALLBACK_PLUGINS=str(_CALLBACKS),
        ANSIBLE_CALLBACKS_ENABLED="test_results",
        ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
        ANSIBLE_CONFIG=str(_CALLBACKS.parent / "ansible.cfg"),
        ANSIBLE_HOME=str(folder / "home"),
        ANSIBLE_LOCAL_TEMP=str(folder / "local"),
        ANSIBLE_REMOTE_TEMP=str(folder / "remote"),
        ANSIBLE_LOCALHOST_WARNING="0",
        ANSIBLE_INVENTORY_UNPARSED_WARNING="0",
        ANSIBLE_NOCOLOR="1",
        HOSTNET_TEST_RESULTS=str(results),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    )
    environment.update(extra)
    return environment


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> PlayRun:
    results = folder / "results.jsonl"
    done = subprocess.run(
        command,
        env=ansible_environment(results, **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    lines = results.read_text().splitlines() if results.exists() else []
    return PlayRun(done.returncode, [TaskResult(**json.loads(line)) for line in lines], done.stdout)


def _tool(name: str) -> list[str]:
    return [sys.executable, str(Path(sys.executable).parent / name)]


def run_module(
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    check: bool = False,
    diff: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs one module of the collection on the controller and returns its whole result.

    A failed module returns its result too, with `failed` true. Raises RuntimeError with Ansible's output when the
    module never ran.
    """
    full = name if "." in name else f"{NAMESPACE}.{name}"
    with tempfile.TemporaryDirectory(prefix="hostnet-run-") as temporary:
        command = [*_tool("ansible"), "localhost", "-m", full, "-a", json.dumps(dict(args or {}))]
        command += ["--check"] * check + ["--diff"] * diff
        run = _run(command, Path(temporary), environment or {})
    if not run.tasks:
        raise RuntimeError(f"{full} gave no result (exit code {run.rc}):\n{run.output}")
    return run.tasks[-1].result


def run_tasks(
    tasks: Sequence[Mapping[str, Any]],
    *,
    check: bool = False,
    diff: bool = False,
    variables: Mapping[str, Any] | None = None,
    module_defaults: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> PlayRun:
    """Runs a list of tasks, for example a module's EXAMPLES, in one play on localhost."""
    play: dict[str, Any] = {"hosts": "localhost", "gather_facts": False, "tasks": [dict(task) for task in tasks]}
    if variables:
        play["vars"] = dict(variables)
    if module_defaults:
        play["module_defaults"] = dict(module_defaults)
    with tempfile.TemporaryDirectory(prefix="hostnet-run-") as temporary:
        playbook = Path(temporary) / "playbook.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        command = [*_tool("ansible-playbook"), str(playbook)] + ["--check"] * check + ["--diff"] * diff
        return _run(command, Path(temporary), environment or {})


def run_playbook(
    playbook: str,
    inventory: Path,
    *,
    check: bool = False,
    variables: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> PlayRun:
    """Runs one of the collection's playbooks, for example `deploy.yml`, as a user does from a checkout."""
    with tempfile.TemporaryDirectory(prefix="hostnet-run-") as temporary:
        command = [*_tool("ansible-playbook"), "-i", str(inventory), str(CHECKOUT / "playbooks" / playbook), *arguments]
        command += ["--check"] * check
        if variables:
            command += ["-e", json.dumps(dict(variables))]
        return _run(command, Path(temporary), environment or {})
