# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checker needs of a system, and what was written."""

from __future__ import annotations

import hashlib
import random
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Copy = dict[int, list[str]]  # number: the values that were found under it; -1: what has no number at all


class Unreachable(Exception):
    """No answer, or one that leaves open what happened."""


@dataclass(frozen=True)
class Answer:
    """A member's word about itself. cluster_id is "" where it could not be told now; `serving` is false for one that is not a full member."""

    cluster_id: str
    serving: bool = True


class Connection(ABC):
    """One connection to one member, used by one thread. Every method raises Unreachable, after which the connection is thrown away."""

    @abstractmethod
    def write(self, number: int, value: str) -> None:
        """Returns when the write is acknowledged."""

    @abstractmethod
    def status(self) -> Answer: ...

    @abstractmethod
    def read(self, authoritative: bool) -> Copy:
        """Everything, as this member has it now; `authoritative`: as the system as a whole has it. A member that lags is waited for."""

    def figures(self) -> dict[str, int]:
        """The system's own count of what is wrong with it, by the names in the system's `figures`."""
        return {}

    @abstractmethod
    def close(self) -> None: ...


class System(ABC):
    """`run` is in every key or subject: runs never see each other's values."""

    port: int
    client = "client"  # name of the client's certificate
    figures: tuple[str, ...] = ()  # what is watched while the run lasts, and has to be 0 at its end

    def __init__(self, run: str, pki: Path, port: int | None, timeout: float) -> None:
        self.run, self.pki, self.timeout = run, pki, timeout
        self.port = port or self.port

    def context(self) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        made.load_cert_chain(self.pki / "clients" / f"{self.client}.crt", self.pki / "clients" / f"{self.client}.key")
        return made

    @abstractmethod
    def connect(self, address: str) -> Connection:
        """Raises Unreachable."""

    @abstractmethod
    def prepare(self, connection: Connection) -> None:
        """Once, before the first write. May be called again."""

    @abstractmethod
    def clean(self, connection: Connection) -> None:
        """Removes what this run has written."""

    def stop(self) -> None:  # noqa: B027 - most have nothing to stop
        """After the last connection was closed."""


def values(run: str, seed: int) -> Callable[[int], str]:
    """The text that is written under a number: of different lengths, and nobody else's."""

    def value(number: int) -> str:
        digest = hashlib.sha256(f"{run} {number}".encode()).hexdigest()
        filling = random.Random(f"{seed} {number}").randrange(0, 256)
        return f"{number} {digest} {'.' * filling}"

    return value
