# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of the role forget_kube_cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lost
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


def plan(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    seen: Deployment,
    status: Mapping[str, Any],
    inspection: Mapping[str, Mapping[str, Any]],
    name: str,
) -> dict[str, Any]:
    """What is to be done for the members of a lost kube cluster (lost.lost_plan)."""
    return lost.lost_plan(hostnet, spec, seen["plan"], status, inspection, name)


class FilterModule:
    """What is done for the members of a kube cluster that is gone for good."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"lost_plan": errors_of_input(plan)}
