# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class of action plugins whose work has a meaning in the controller's own process alone."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ControllerOnly(InProcess):
    """The parent of this worker is the ansible-playbook that holds the lock: from anywhere else it could not be named."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self.in_process():
            become = " without become" if getattr(self._connection, "become", None) else ""
            raise AnsibleActionFail(
                f"{self._task.action} runs in the controller's own process{become}, where the lock's holder is, and the connection of this "
                f"task is {self._connection.transport}: give the task connection: local, or delegate_to: localhost"
            )
        return super().run(tmp, task_vars)
