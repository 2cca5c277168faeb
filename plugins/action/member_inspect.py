# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""member_inspect always runs in Ansible's own process: a filter that is named by a variable can be found here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.plugins.loader import filter_loader

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.modules import member_exec, member_inspect
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


def _inspect(call: _call.Call, show: Callable[[str], None]) -> Json:
    questions = member_inspect.asked(call.params)
    wrong = member_exec.problem({**call.params, **{key: questions[key] for key in ("commands", "http", "timeout")}})
    if wrong:
        raise _call.Failure(wrong, inspection={}, samples=0, blocked=[], lost=[])
    return member_inspect.inspect(call, _filter(questions["filter"]), show)


def _filter(name: str) -> Callable[..., Any]:
    try:
        found = filter_loader.get(name)
    except Exception as error:  # a plugin that cannot be imported raises whatever it likes
        raise _call.Failure(f"inspect.filter: {name} cannot be loaded: {error}", inspection={}, samples=0, blocked=[], lost=[]) from error
    if found is None:
        raise _call.Failure(
            f"inspect.filter: there is no filter {name}; name it with its collection, or put it into the system role's filter_plugins",
            inspection={},
            samples=0,
            blocked=[],
            lost=[],
        )
    function: Callable[..., Any] = found.j2_function
    return function


class ActionModule(InProcess):
    """Brings the filter and the display to the module."""

    arguments = member_inspect.ARGUMENTS
    perform_run = _inspect
    shows = True

    def in_process(self) -> bool:
        return True
