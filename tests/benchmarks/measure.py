# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs commands, modules and playbooks, and tells what they took."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.collection import CHECKOUT, cache_root, collections_path
from support.kube_api import binary
from support.run import NAMESPACE, TaskResult, ansible_environment

from .processes import Counter
from .table import Measured
from .world import World

Json = dict[str, Any]

_MODULES = "ansible_collections.hostnet.multicluster.plugins.modules"
_ROLES = Path(__file__).resolve().parent / "roles"


# As where the collection is installed: Python compiles a file once, and not with every start because nothing may be written beside it.
_COMPILED_ONCE = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache_root() / "benchmark-pycache")}


class Failed(Exception):
    """A command that is measured has failed; the text has the end of its output."""


def command(
    world: World | None, *commands: Sequence[str], environment: Mapping[str, str] | None = None, data: bytes = b""
) -> tuple[Measured, str]:
    """Runs commands one after another: what they took together, the largest of them in memory, and what they printed.

    `data` is the standard input of each. `world`: where its API servers count the requests; None where there are none.
    """
    python_path = os.pathsep.join([str(collections_path()), str(CHECKOUT / "tests")])
    full = {**os.environ, "PYTHONPATH": python_path, **(environment or {}), **_COMPILED_ONCE}
    before = world.served() if world else 0
    seconds, cpu, megabytes, printed = 0.0, 0.0, 0.0, ""
    processes: int | None = 0
    for words in commands:
        counter = Counter()
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile("w+") as output:
            source.write(data)
            source.seek(0)
            begun = time.monotonic()
            process = subprocess.Popen(words, env=full, stdin=source, stdout=output, stderr=subprocess.STDOUT, cwd=CHECKOUT)
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:  # who ends the benchmark ends what it measures, before anything is taken away below it
                process.kill()
                process.wait()
                raise
            seconds += time.monotonic() - begun
            cpu += usage.ru_utime + usage.ru_stime
            process.returncode = os.waitstatus_to_exitcode(status)
            counted = counter.count(process.pid)
            processes = None if counted is None or processes is None else processes + counted
            output.seek(0)
            printed += output.read()
        # The kernel begins with what the parent had before it became this command, and goes over the children that were waited for too.
        megabytes = max(megabytes, usage.ru_maxrss / 1024)
        if process.returncode:
            raise Failed(f"{' '.join(words)[:300]} ended with {process.returncode}:\n{printed[-3000:]}")
    return Measured(seconds, world.served() - before if world else None, processes, megabytes, cpu), printed


def module(world: World, name: str, args: Json) -> tuple[Measured, Json]:
    """One module in a process of its own, as Ansible runs it where the connection is not local: with the start of Python and all imports."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as source:
        json.dump({"ANSIBLE_MODULE_ARGS": args}, source)
        source.flush()
        measured, printed = command(world, [sys.executable, "-m", f"{_MODULES}.{name}", source.name])
    result: Json = json.loads(printed.strip().splitlines()[-1])
    return measured, result


def inside(world: World | None, what: str, given: Json) -> tuple[Measured, Json]:
    """A function of worker.py in a process of its own: the seconds are those of the work alone, without start and imports."""
    measured, printed = command(world, [sys.executable, "-m", "benchmarks.worker", what], data=json.dumps(given).encode())
    result: Json = json.loads(printed.strip().splitlines()[-1])
    return dataclasses.replace(measured, seconds=result["seconds"]), result


def play(
    world: World | None, playbook: Path, inventory: Path, variables: Json, environment: Mapping[str, str] | None = None
) -> tuple[Measured, list[TaskResult]]:
    """One ansible-playbook, and the result of each task."""
    with tempfile.TemporaryDirectory(prefix="hostnet-bench-") as temporary:
        results = Path(temporary) / "results.jsonl"
        words = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(playbook)]
        full = ansible_environment(results, ANSIBLE_ROLES_PATH=str(_ROLES), **(environment or {}))
        measured, _printed = command(world, [*words, "-e", json.dumps(variables)], environment=full)
        lines = results.read_text().splitlines() if results.exists() else []
    return measured, [TaskResult(**json.loads(line)) for line in lines]


def told_requests(tasks: Sequence[TaskResult]) -> int:
    """The requests that our modules say they have sent."""
    return sum(int(task.result.get("requests", 0)) for task in tasks if task.action.startswith(f"{NAMESPACE}."))


def kubectl(kubeconfig: str, *arguments: str) -> list[str]:
    """The words of one kubectl."""
    return [str(binary("kubectl")), "--kubeconfig", kubeconfig, *arguments]
