# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_cockroachdb; each is documented in its own file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


class FilterModule:
    """Filters of the role system_cockroachdb."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cockroachdb_inspection": errors_of_input(cockroachdb.inspection, "cockroachdb_inspection")}
