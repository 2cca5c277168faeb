# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions of a deployment to the roles. Most take the settings `hostnet` first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    classify,
    status_metrics,
    status_page,
)
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.html import render

Json = dict[str, Any]


def status_html(status: Mapping[str, Any]) -> str:
    """The status as one page of HTML."""
    return render("report", "status.html.j2", status_page.page(status))


class FilterModule:
    """Filters of the roles; docs/design.md tells how a deploy uses them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "deployment_table": classify.status_table,
            "deployment_html": status_html,
            "deployment_metrics": status_metrics.metrics,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
