# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller and the kube clusters agree on what time it is. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Certificates are good from a day before they are issued, so an hour does no harm yet. It is far more than any clock that is synchronised is wrong, and
# whatever has made it wrong may make it worse by the next renewal.
MOST_SECONDS = 3600


def clock_errors(observed: Mapping[str, Any]) -> list[str]:
    """One error for all kube clusters whose API server's clock is far from the controller's (`clock_ahead` of deployment_info)."""
    ahead = {name: int(found.get("clock_ahead") or 0) for name, found in observed.items()}
    wrong = [
        f"{abs(seconds) / 3600:.1f} hours {'ahead of' if seconds > 0 else 'behind'} that of kube cluster {name}"
        for name, seconds in sorted(ahead.items())
        if abs(seconds) > MOST_SECONDS
    ]
    if not wrong:
        return []
    if len(wrong) == len(observed):
        means = "certificates would be renewed too early or too late, and members may refuse them. Synchronise the controller's clock"
    else:
        means = "members would not agree which certificates are valid. Synchronise the clocks there"
    return [f"the controller's clock is {' and '.join(wrong)}: {means}, then run again. Nothing was changed"]
