# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn a rollout's journal into a page and into figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout_page, timeline
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.html import render


def rollout_html(journal: Mapping[str, Any], gaps: Sequence[Mapping[str, Any]] = (), name: str = "") -> str:
    """The report of a run as one page of HTML."""
    try:
        return render("rollout", "rollout.html.j2", rollout_page.page(journal, gaps, name))
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def rollout_summary(journal: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Seconds of a run by member and by step."""
    try:
        return timeline.summary(journal, name)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of the rollout's report."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollout_html": rollout_html, "rollout_summary": rollout_summary}
