# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions of a rollout to the role rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_labels, rollout
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


class FilterModule:
    """Filters of the role rollout; docs/design.md, section 7, tells how they are used."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "rollout_node_labels": member_labels.member_labels,
            "rollout_drain_nodes": rollout.drain_nodes,
            "rollout_cordoned": rollout.cordoned,
            "rollout_touched": rollout.touched,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
