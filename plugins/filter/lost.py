# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of the role forget_kube_cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lost
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


class FilterModule:
    """What is done for the members of a kube cluster that is gone for good."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"lost_plan": errors_of_input(lost.lost_plan)}
