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
SILENT = "silent"  # a connection is there, and no answer came in time
UNREACHED = "unreached"  # refused, no such host, no route: nothing was sent
HOPELESS = "hopeless"  # the same again cannot end otherwise: a certificate that nobody vouches for, a request that cannot be sent

# For how many seconds, from the first try on, a request is sent again, and never longer than the call's deadline. Who is busy and says for how long
# is believed. Who reaches nobody is told so soon, because that is what a kube cluster that is down is like; but a run that holds the lock has a member
# in hand, and API servers are restarted in that time. A conflict (409) of a write that carries no precondition is one of the API server with itself.
SECONDS = {409: 5.0, 429: 60.0, 500: 30.0, 502: 30.0, 503: 30.0, 504: 30.0}
BROKEN_SECONDS, UNREACHED_SECONDS, PATIENT_SECONDS = 30.0, 2.0, 20.0
_FIRST_SECONDS, _LONGEST_SECONDS = 0.2, 5.0


@dataclass(frozen=True)
class Failure:
    """One try that failed: the HTTP `status` (0 without an answer), `how`, and the Retry-After header's value (empty without one)."""

    status: int = 0
    how: str = ANSWERED
    retry_after: str = ""

    @property
    def undone(self) -> bool:
        """Whether nothing was done for certain.

        429 says so (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/), and what was never sent is not done either.
        """
        return self.status == 429 or (not self.status and self.how == UNREACHED)


def pause(
    failure: Failure,
    *,
    safe: bool,
    tries: int,
    elapsed: float,
    deadline: float,
    now: datetime,
    jitter: Callable[[], float],
    patient: bool = False,
) -> float | None:
    """Seconds until the request is sent again, None where it is not.

    `safe`: doing it twice changes nothing more than once, such as a read. Everything else is sent again only where nothing was done. `tries` were
    made, `elapsed` seconds ago the first one was begun; the last one begins before `deadline` seconds from then. `jitter` gives a number from 0 to 1,
    so that many clients do not come back at once. `patient`: of a run that holds the lock.
    """
    if failure.status:
        seconds = SECONDS.get(failure.status)
    else:
        seconds = {BROKEN: BROKEN_SECONDS, SILENT: deadline, UNREACHED: PATIENT_SECONDS if patient else UNREACHED_SECONDS}.get(failure.how)
    if seconds is None or not (safe or failure.undone):
        return None
    wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(tries - 1, 10)) * (0.5 + jitter() / 2)
    # The server's word counts; everybody who was told the same comes back a little apart.
    told = retry_after(failure.retry_after, now)
    if told is not None:
        wait, seconds = told + wait, deadline
    return wait if elapsed + wait <= min(seconds, deadline) else None


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
