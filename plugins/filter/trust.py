# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions of the exchange of a CA to the role certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


class FilterModule:
    """Filters of the exchange of a CA; docs/certificates.md tells its phases."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "trust_following": trust_revisions.following,
            "trust_fresh": trust_revisions.fresh,
            "trust_plan": trust_revisions.plan,
            "trust_probes": trust_revisions.probes,
            "trust_shown": trust_revisions.shown,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
