# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the page about a rollout writes values: text, times, numbers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

_MOST_CHARACTERS = 800
# Controls, marks that turn the direction of text around, and lone surrogates, which no file in UTF-8 can hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")


def text(value: object) -> str:
    """One value as readable text: nothing for None, and characters that a page cannot show as `\\u202e`."""
    return "" if value is None else _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", str(value))


def clock(seconds: float | None, day: bool = False) -> str:
    """A time in UTC."""
    if not seconds:
        return "unknown"
    # Milliseconds are cut off, so that no time is shown before it came.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def duration(seconds: float) -> str:
    """So many seconds, as a reader counts them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def count(number: int, one: str) -> str:
    """A number of things."""
    return f"{number} {one if number == 1 else one + 's'}"


def as_json(value: object, most: int = _MOST_CHARACTERS) -> str:
    """A value of the journal, its end left out where it is long."""
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= most else f"{said[:most]} ... ({len(said) - most} more characters in the journal)"
