# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What members are asked, as a spec says it, and the filter that reads their answers: it can be found in Ansible's own process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.loader import filter_loader

from ansible_collections.hostnet.multicluster.plugins.modules import member_exec


def filter_named(name: str) -> Callable[..., Any]:
    """The filter of that name. Raises ValueError with a sentence where there is none, or where it cannot be imported."""
    try:
        found = filter_loader.get(name)
    except Exception as error:  # a plugin that cannot be imported raises whatever it likes
        raise ValueError(f"inspect.filter: {name} cannot be loaded: {error}") from error
    if found is None:
        raise ValueError(
            f"inspect.filter: there is no filter {name}; name it with its collection, or put it into the system role's filter_plugins"
        )
    function: Callable[..., Any] = found.j2_function
    return function


def problem(params: Mapping[str, Any], questions: Mapping[str, Any]) -> str:
    """What is wrong with the questions to `params["members"]`, or `` when nothing is."""
    return member_exec.problem({**params, **{key: questions[key] for key in ("commands", "http", "timeout")}})
