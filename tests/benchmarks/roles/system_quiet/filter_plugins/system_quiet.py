# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inspection without questions: everybody is well, because nobody was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def inspection(
    results: Mapping[str, Mapping[str, Any]], targets: Sequence[Mapping[str, Any]] = (), spec: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    del targets, spec
    said = {
        "reachable": True,
        "healthy": True,
        "reason": "",
        "cluster_id": "quiet",
        "version": "1.0.0",
        "leader": False,
        "role": "node",
        "peers": [],
    }
    return {member: {**said, "id": member} for member in results}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"system_quiet_inspection": inspection}
