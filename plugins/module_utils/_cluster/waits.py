# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for something that nodes tell, by looking at them again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .._plan.waits import Verdict
from .client import KubeError

# Nodes that one look a second may list: large deployments are looked at less often.
NODES_A_SECOND = 25
_TOLD_SECONDS = 600.0


class Progress:
    """Shows what is waited for whenever that has changed, and every ten minutes."""

    def __init__(self, show: Callable[[str], None], timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._timeout, self._clock = show, timeout, clock
        self._shown, self._told = "", 0.0

    def tell(self, text: str, waited: float) -> None:
        if text == self._shown and self._clock() - self._told < _TOLD_SECONDS:
            return
        minutes = self._timeout >= 600
        passed = f"{waited / 60:.0f} of {self._timeout / 60:.0f} minutes" if minutes else f"{waited:.0f} of {self._timeout:g} s"
        self._show(f"{text} ({passed})")
        self._shown, self._told = text, self._clock()


@dataclass(frozen=True)
class Ended:
    """How a wait ended: what the last look said that was answered, and the nodes of it; `away`: why a kube cluster did not answer at the end."""

    said: Verdict | None
    nodes: Sequence[Any]
    away: str
    waited: float

    @property
    def done(self) -> bool:
        return self.said is not None and self.said["done"]

    @property
    def missing(self) -> str:
        """What did not come true, or never will, and which kube cluster did not answer."""
        never, missing = (self.said["never"], self.said["missing"]) if self.said else ("", "")
        return never or f"after {self.waited:.0f} seconds: {'; '.join(filter(None, [self.away, missing]))}"


def wait(
    read: Callable[[], Sequence[Any]],
    judge: Callable[[Sequence[Any]], Verdict],
    interval: float,
    timeout: float,
    patient: bool,
    show: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Ended:
    """Read the nodes until `judge` says that it is done, or never will be, or until `timeout` seconds are over. The last look is made after that.

    `patient`: a kube cluster that does not answer is asked again. Otherwise, and where one refuses, KubeError is raised.
    """
    started, progress = clock(), Progress(show, timeout, clock)
    deadline = started + timeout
    nodes: Sequence[Any] = []
    said: Verdict | None = None
    while True:
        began, away = clock(), ""
        last = began >= deadline
        try:
            nodes = read()
            said = judge(nodes)
        except KubeError as error:
            if not (patient and error.passing):
                raise
            away = str(error)
        waited = clock() - started
        if last or (said is not None and (said["done"] or said["never"])):
            return Ended(said, nodes, away, round(waited, 1))
        progress.tell(f"waiting: {away or (said['missing'] if said else '')}", waited)
        pause(max(0.0, min(began + max(interval, len(nodes) / NODES_A_SECOND), deadline) - clock()))
