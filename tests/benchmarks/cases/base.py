# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case is given, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..table import Findings, Mark, Measured
from ..world import World

MOST_MEGABYTES = 400


@dataclass(frozen=True)
class Bench:
    """`world`: the kube clusters; `rounds`: how often each side is measured; `say`: takes a line for whoever watches."""

    world: World
    rounds: int
    say: Callable[[str], None]


Case = Callable[[Bench], Findings]
Side = Callable[[], Measured]


def alternate(number: int, ours: Side, peer: Side) -> tuple[Measured, Measured]:
    """Both sides, once: in odd rounds the peer comes first, so that neither always finds the caches warm."""
    if number % 2:
        other = peer()
        return ours(), other
    mine = ours()
    return mine, peer()


def memory(case: str, findings: Findings) -> Mark:
    """No process of this collection is larger than this."""
    largest = [run.megabytes for row in findings.rows for run in row.ours if run.megabytes is not None]
    return Mark(case, "megabytes of the largest process of ours", max(largest) if largest else None, MOST_MEGABYTES)


def off(case: str, what: str, found: int | None, wanted: int) -> Mark:
    """A count that has to be exact: the mark is how far it is off."""
    return Mark(
        case,
        f"{what}: {found if found is not None else 'none'} requests served where {wanted} are right; off by",
        abs((found or 0) - wanted),
        0,
    )
