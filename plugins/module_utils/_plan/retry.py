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
HOPELESS = "hopeless"  # the same again cannot end otherwise: a certificate that nobody vouches for, a request that cannot be sent

# For how many seconds, from the first try on, a request is sent again. Who is busy and says for how long is believed; who reaches nobody is told so
# soon, because that is what a kube cluster that is down is like, and whoever waits for it asks again by itself.
SECONDS = {429: 60.0, 500: 5.0, 502: 5.0, 503: 5.0, 504: 5.0}
TOLD_SECONDS, BROKEN_SECONDS, UNREACHED_SECONDS = 30.0, 5.0, 2.0
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
    seconds = SECONDS.get(failure.status) if failure.status else {BROKEN: BROKEN_SECONDS, UNREACHED: UNREACHED_SECONDS}.get(failure.how)
    if seconds is None or not (safe or failure.status == 429):
        return None
    wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(tries - 1, 10)) * (0.5 + jitter() / 2)
    # The server's word counts; everybody who was told the same comes back a little apart.
    told = retry_after(failure.retry_after, now)
    if told is not None:
        wait, seconds = told + wait, max(seconds, TOLD_SECONDS)
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
