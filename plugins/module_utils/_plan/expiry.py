# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the members' certificates end, and whom that should worry. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import certificates, listed, timeline

_DAY = 86400
_NAMED = 5
# As host_certificates has it.
_VALID_DAYS = 365


def days_left(not_after: object, at: object) -> int | None:
    """Whole days from `at` to `not_after` (RFC 3339), negative where it has ended; None where one of them is not known."""
    end, now = timeline.moment(not_after), timeline.moment(at)
    return None if end is None or now is None else int((end - now) // _DAY)


def least_days(hostnet: Mapping[str, Any]) -> int:
    """With fewer days left than this a certificate is worth a warning: those of the user, but no more than those with which a deploy renews it."""
    given = hostnet.get("certificate") or {}
    renew = given.get("renew_days")
    lifetime = certificates.lifetime_of(int(given.get("valid_days") or _VALID_DAYS), None if renew is None else int(renew))
    return min(int(hostnet.get("certificate_days") or 0), lifetime.renew_days)


def warnings(members: Sequence[Mapping[str, Any]], at: str, days: int) -> list[str]:
    """One sentence for the certificates that have ended, and one for those with fewer than so many days left, of members of the status."""
    left = [(found, str(entry["member"])) for entry in members if (found := days_left(entry["certificate"]["not_after"], at)) is not None]
    ended = [name for found, name in sorted(left) if found < 0]
    soon = [f"{name} ({found} days)" for found, name in sorted(left) if 0 <= found < days]
    said = []
    if ended:
        said.append(f"the certificates of {listed.some(ended, _NAMED)} have expired: run playbooks/rotate_certificates.yml")
    if soon:
        said.append(f"certificates end in less than {days} days: {listed.some(soon, _NAMED)}: run playbooks/rotate_certificates.yml")
    return said
