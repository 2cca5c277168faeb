# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which failed request to an API server is sent again, and after how long.

A rollout sends hundreds of requests for each member, through load balancers and to API servers that are upgraded meanwhile. One answer that says
"later" must not end it. What is sent again is only what changes nothing when it is done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# How no answer came, as `Failure.how`.
ANSWERED = "answered"
BROKEN = "broken"  # a connection was there, and ended before the answer did
UNREACHED = "unreached"  # refused, no such host, no route, or silence

# For how many seconds, from the first try on, a request is sent again. Busy servers come back; who reaches nobody is told so soon, because that is
# what kube clusters that are down are like, and whoever waits for them asks again by itself.
SECONDS = {429: 60.0, 500: 10.0, 502: 30.0, 503: 30.0, 504: 30.0}
BROKEN_SECONDS, UNREACHED_SECONDS = 10.0, 2.0
_FIRST_SECONDS, _LONGEST_SECONDS = 0.2, 5.0


@dataclass(frozen=True)
class Failure:
    """One try that failed: the HTTP `status` (0 without an answer), `how`, and the Retry-After header's value (empty without one)."""

    status: int = 0
    how: str = ANSWERED
    retry_after: str = ""


def pause(failure: Failure, *, safe: bool, tries: int, elapsed: float, now: datetime, jitter: Callable[[], float]) -> float | None:
    """Seconds until the request is sent again, None where it is not.

    `safe`: doing it twice changes nothing more than once, such as a read. Everything else is sent again only after 429, which says that the API
    server did nothing (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/). `tries` were made, `elapsed` seconds ago the
    first one was begun. `jitter` gives a number from 0 to 1, so that many clients do not come back at once.
    """
    if failure.status:
        seconds = SECONDS.get(failure.status)
    else:
        seconds = BROKEN_SECONDS if failure.how == BROKEN else UNREACHED_SECONDS
    if seconds is None or not (safe or failure.status == 429):
        return None
    wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(tries - 1, 10)) * (0.5 + jitter() / 2)
    # The server's word counts; everybody who was told the same comes back a little apart.
    told = retry_after(failure.retry_after, now)
    wait = wait if told is None else told + wait
    return wait if elapsed + wait <= seconds else None


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (a number, or a date): never negative; None without a header or with one that cannot be read."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())
