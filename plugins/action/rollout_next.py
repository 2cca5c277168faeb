# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollout_next always runs in Ansible's own process: what was observed is there, and a file of tasks is read as Ansible reads it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_next
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


def read_hook(text: str | None) -> Json:
    """What a file of tasks holds as Ansible reads it, `hook_tasks`, or in `hook_unreadable` why it cannot."""
    try:
        # An empty file is not a missing one.
        return {"hook_tasks": None if text is None else DataLoader().load(text, show_content=False) or []}
    except AnsibleError as error:
        return {"hook_tasks": [], "hook_unreadable": " ".join(str(error).split())}


def _decide(call: _call.Call, facts: Json) -> Json:
    return rollout_next.decide(call, read_hook, facts)


class ActionModule(InProcess):
    """Brings what was observed to the module."""

    arguments = rollout_next.ARGUMENTS
    always = True
    perform_run = _decide
    facts = rollout_next.FACTS
