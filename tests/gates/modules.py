# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation promises exists: the action group, the modules' examples and their tests, YAML in docs/."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from _tree import CHECKOUT, collections_path, files, finish, require
from ansible.playbook.task import Task

_NAMESPACE = "hostnet.multicluster"
_FENCE = re.compile(r"^ *```(?:yaml|yml)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ENVIRONMENT = {"ANSIBLE_COLLECTIONS_PATH": str(collections_path()), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_TASK_WORDS = set(Task.fattributes) | {"block", "rescue", "always", "local_action"}


def documentation(kind: str, names: list[str]) -> dict[str, Any]:
    """What ansible-doc knows of the collection's plugins, by name without the collection's."""
    command = [sys.executable, str(Path(sys.executable).parent / "ansible-doc"), "-t", kind, "-j"]
    command += [f"{_NAMESPACE}.{name}" for name in names]
    done = subprocess.run(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    return {name.rsplit(".", 1)[1]: entry for name, entry in json.loads(done.stdout).items()}


def undocumented(kind: str) -> list[str]:
    """Plugins of the collection that ansible-doc can say nothing of."""
    command = [sys.executable, str(Path(sys.executable).parent / "ansible-doc"), "-t", kind, "--list", "-j", _NAMESPACE]
    done = subprocess.run(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return [name for name, text in json.loads(done.stdout).items() if not text or text.upper() == "UNDOCUMENTED"]


def action_group(modules: list[str]) -> list[str]:
    runtime = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text())
    group = runtime["action_groups"]["hostnet"]
    problems = [f"meta/runtime.yml: the action group lacks {name}" for name in modules if name not in group]
    problems += [f"meta/runtime.yml: the action group names {name}, which is no module" for name in group if name not in modules]
    return problems


def example_problems(where: str, tasks: Any, entries: dict[str, Any]) -> list[str]:
    """What is wrong with a list of tasks: unknown modules, unknown options of the collection's own."""
    if not isinstance(tasks, list) or not tasks:
        return [f"{where}: not a list of tasks"]
    problems = []
    for task in tasks:
        actions = [word for word in task if word not in _TASK_WORDS and not word.startswith("with_")]
        if "name" not in task or len(actions) != 1:
            problems.append(f"{where}: a task needs a name and one action: {task}")
            continue
        action, options = actions[0], task[actions[0]] or {}
        collection, _dot, name = action.rpartition(".")
        if collection == _NAMESPACE and name not in entries:
            problems.append(f"{where}: there is no module {action}")
        elif collection == _NAMESPACE:
            known = entries[name]["doc"]["options"]
            problems += [f"{where}: {action} has no option {option}" for option in options if option not in known]
            problems += [
                f"{where}: {action} needs the option {option}"
                for option, details in known.items()
                if details.get("required") and option not in options
            ]
        elif not collection:
            problems.append(f"{where}: {action} is not a whole name")
    return problems


def test_names() -> set[str]:
    found: set[str] = set()
    for path in files("tests/integration/*.py"):
        for node in ast.walk(ast.parse((CHECKOUT / path).read_text())):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
    return found


def yaml_blocks() -> Iterator[tuple[str, str]]:
    for path in files("*.md"):
        text = (CHECKOUT / path).read_text()
        for match in _FENCE.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}", match.group(1)


def main() -> None:
    modules = [path.stem for path in files("plugins/modules/*.py")]
    require(modules, "modules")
    problems = action_group(modules)
    entries = documentation("module", modules)
    tests = test_names()
    for module in modules:
        where = f"plugins/modules/{module}.py EXAMPLES"
        try:
            problems += example_problems(where, yaml.safe_load(entries[module]["examples"] or ""), entries)
        except yaml.YAMLError as error:
            problems.append(f"{where}: {error}")
        if f"test_{module}_examples" not in tests:
            problems.append(f"{where}: tests/integration has no test_{module}_examples, which runs them")
        if not entries[module].get("return"):
            problems.append(f"plugins/modules/{module}.py: no RETURN")
    for kind in ("filter", "test", "lookup", "inventory", "module"):
        problems += [f"{kind} {name}: ansible-doc has no documentation of it" for name in undocumented(kind)]
    blocks = 0
    for where, text in yaml_blocks():
        blocks += 1
        try:
            list(yaml.safe_load_all(text))
        except yaml.YAMLError as error:
            problems.append(f"{where}: {error}")
    finish(problems, f"{len(modules)} modules and {blocks} YAML blocks in documents")


if __name__ == "__main__":
    main()
