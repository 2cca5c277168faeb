# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_etcd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.join import bracketed
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import refusal_as_text


class FilterModule:
    """Filters of the role system_etcd."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "etcd_inspection": etcd.inspection,
            "etcd_voters": etcd.voters,
            "etcd_known": refusal_as_text(etcd.known, "known", known=False),
            "etcd_abandoned": etcd.abandoned,
            "etcd_learners": etcd.learners,
            "etcd_transferee": refusal_as_text(etcd.transferee, "id", id=""),
            "etcd_forgettable": refusal_as_text(etcd.forgettable, voter="", id=""),
            "etcd_readdressing": refusal_as_text(etcd.readdressing, "changes", changes=[]),
            "host": bracketed,
        }
