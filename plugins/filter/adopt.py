# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find out what runs where the record does not say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import adopt
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input

Json = dict[str, Any]


def adoption(hostnet: Mapping[str, Any], seen: Deployment, inspection: Mapping[str, Mapping[str, Any]], wanted: str) -> Json:
    """What is adopted of a system that was brought back (adopt.adoption)."""
    return adopt.adoption(hostnet, seen["plan"], seen["nodes"], seen["kube_clusters"], inspection, wanted)


class FilterModule:
    """Filters of the roles members and adopt."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "adopt_plan": adoption,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
