# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes every task's whole result as one JSON line; Ansible's own callbacks drop `diff` or mix results with text.

And, before a task begins, the file that it is in: so that whoever looks on from outside knows where in the work it is.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: test_results
type: notification
short_description: Task results as JSON lines, for tests
description:
  - Appends one line to the file named by E(HOSTNET_TEST_RESULTS) for each task result, and one to E(HOSTNET_TEST_TASKS), where that is set, for each
    task that begins, with the path of its file.
options: {}
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "test_results"

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._begun[(host.get_name(), task._uuid)] = time.monotonic()

    def _write(self, outcome: str, result: Any) -> None:
        values = getattr(result, "_result", None)
        if values is None:
            values = result.result
        task = getattr(result, "_task", None) or result.task
        # Newer ansible-core keeps `failed` beside the result, not in it.
        values = {**values, "failed": outcome in {"failed", "unreachable"}}
        host = getattr(result, "_host", None) or result.host
        seconds = time.monotonic() - self._begun.get((host.get_name(), task._uuid), time.monotonic())
        line = {"outcome": outcome, "task": task.get_name(), "action": task.action, "seconds": seconds, "result": values}
        with open(os.environ["HOSTNET_TEST_RESULTS"], "a", encoding="utf-8") as target:
            target.write(json.dumps(line, default=str) + "\n")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if "HOSTNET_TEST_TASKS" in os.environ:
            with open(os.environ["HOSTNET_TEST_TASKS"], "a", encoding="utf-8") as target:
                target.write(f"{task.get_path()}\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)
