# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats


class FilterModule:
    """Filters of the role system_nats."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "nats_inspection": nats.inspection,
        }
