# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an API server is shown, and how what is costly to get is got once for all processes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from .options import AccessError
from .shared_cache import CREDENTIALS, SharedCache

# What expires within that, or within a tenth of its life, is renewed: a request that is sent with it is still to be answered.
_MARGIN_SECONDS = 60.0
_SHOWN = 300
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
# Tokens look like this, whoever made them.
_TOKENS = re.compile(r"(?i)(bearer\s+)\S+|eyJ[\w-]{8,}[\w.-]*|-----BEGIN [^-]*PRIVATE KEY-----.*?(-----END [^-]*-----|$)", re.DOTALL)


@dataclass(frozen=True)
class Credential:
    """A bearer token, a client certificate with its key (PEM), or both. Times are seconds since the epoch; `expires` None: nobody knows.

    `refresh_token` is the one that the next one is got with.
    """

    token: str = ""
    certificate: str = ""
    key: str = ""
    expires: float | None = None
    got: float = 0.0
    refresh_token: str = ""

    def fresh(self, now: float) -> bool:
        """Whether it can be used for a while."""
        return self.expires is None or self.expires - now > min(_MARGIN_SECONDS, (self.expires - self.got) / 10)

    def same(self, other: Credential) -> bool:
        """Whether an API server sees no difference."""
        return (self.token, self.certificate, self.key) == (other.token, other.certificate, other.key)

    def text(self) -> str:
        """For the cache; `of_text` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Credential:
        return cls(**json.loads(text))


class Once:
    """A credential that `make` gets, for as long as it is fresh, in all processes that share `cache`.

    `key` identifies it. Where several want it at the same time, one gets it, and the others wait and take what it got, also its error: else a
    command that hangs would be waited for once by each of them, one after the other. They wait for `seconds`, in which `make` has to end; whoever
    waited in vain gets it for itself.
    """

    def __init__(self, key: str, make: Callable[[Credential | None], Credential], seconds: float, cache: SharedCache = CREDENTIALS) -> None:
        self._key, self._make, self._seconds, self._cache = key, make, seconds, cache

    def get(self, refused: Credential | None = None) -> Credential:
        """A fresh one. What is the same as one that was `refused` does not count. Raises AccessError."""
        # The clock that all processes of a machine have.
        begun = time.monotonic()
        found = self._kept(refused)
        if found:
            return found
        with self._cache.alone(self._key, self._seconds):
            found = self._kept(refused)
            if found:
                return found
            failed = self._cache.get(f"{self._key} failed")
            if failed:
                when, field, text = json.loads(failed)
                if when >= begun:
                    raise AccessError(field, text)
            text = self._cache.get(self._key)
            try:
                made = self._make(Credential.of_text(text) if text else None)
            except AccessError as error:
                self._cache.put(f"{self._key} failed", json.dumps([time.monotonic(), error.field, str(error)]))
                raise
            self._cache.put(self._key, made.text())
            return made

    def _kept(self, refused: Credential | None) -> Credential | None:
        text = self._cache.get(self._key)
        found = Credential.of_text(text) if text else None
        return found if found and found.fresh(time.time()) and not (refused and found.same(refused)) else None


def hidden(text: str, secrets: Iterable[str]) -> str:
    """One line of what a command or server said, without `secrets` and what looks like one, and not too long."""
    # The longest first: one may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, "***")
    text = _TOKENS.sub(lambda match: f"{match.group(1) or ''}***", _ESCAPES.sub("", text))
    return " ".join(text.split())[:_SHOWN]
