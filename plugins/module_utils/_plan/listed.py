# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists in texts for people. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence


def some(texts: Sequence[str], most: int, between: str = ", ", last: str = " and ") -> str:
    """The first `most` of them, and how many more there are: `a, b and 3 more`."""
    more = f"{last}{len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more
