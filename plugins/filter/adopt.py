# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find out what runs where the record does not say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import adopt, claim
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


class FilterModule:
    """Filters of the roles members and adopt."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "adopt_former_data": adopt.former_data,
            "adopt_plan": adopt.adoption,
            "claim_judged": claim.judge,
            "claim_look_nodes": claim.look_nodes,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
