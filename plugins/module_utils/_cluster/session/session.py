# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to one API server that come to an end: sent again where that is safe and makes sense, within one deadline, and counted."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..._plan import retry
from .credentials import Access, access
from .errors import NO_CREDENTIALS, UNREADABLE, KubeError, explained, failure
from .options import AccessError
from .transport import CONNECT_TIMEOUT_SECONDS, Transport

with contextlib.suppress(ImportError):
    import urllib3

Json = dict[str, Any]

# Of credentials that are refused, for one request.
_RENEWALS = 5
# Of the deadline of a call, so that a connection that fell silent leaves time for another one.
_SHARE_OF_A_TRY = 0.5


class Session:
    """One API server. Safe to use from several threads; `requests` counts every request sent."""

    def __init__(self, options: Json) -> None:
        self.name: str = options["name"]
        self.requests = 0
        # Called before a write is sent again: what was true before the first try may not be true any more. Raises where it is not.
        self.before_again: Callable[[], object] = lambda: None
        # Of a run that holds the lock: it has a member in hand, and waits for an API server that is restarted.
        self.patient = False
        # Seconds by which this machine's clock was ahead of the API server's at its last answer; None before the first one, and where it does not say.
        self.clock_ahead: float | None = None
        self._count_lock = threading.Lock()
        try:
            self._access: Access = access(options)
        except AccessError as error:
            raise self._nobody(error) from error
        self._transport = Transport(self._access)

    @property
    def host(self) -> str:
        """URL of the API server."""
        return self._access.host

    @property
    def secrets(self) -> list[str]:
        """What must be in no output."""
        return self._access.secrets()

    def login(self) -> None:
        """Get the credentials now. Raises KubeError where there are none; nothing is sent to the API server."""
        try:
            self._transport.login()
        except AccessError as error:
            raise self._nobody(error) from error

    def send(
        self,
        method: str,
        path: str,
        what: str,
        query: Iterable[tuple[str, Any]] = (),
        body: Any = None,
        content_type: str = "application/json",
        accept: str | None = None,
        read_timeout: float = 0.0,
        safe: bool | None = None,
        final: Collection[int] = (),
        until: float | None = None,
        stream: bool = False,
    ) -> Any:
        """Send a request until it is answered or there is no sense in it (_plan/retry.py), and return urllib3's response. Raises KubeError.

        `safe`: doing it twice changes nothing more than once; reads are. `final`: statuses that are this request's answer, whatever they mean
        elsewhere. After `until` (time.monotonic() seconds) it is not sent again. `read_timeout` is of each try, in seconds; the deadline of all
        is the kube cluster's `request_timeout`.
        """
        harmless = method == "GET" if safe is None else safe
        limit = self._access.request_timeout
        # What may not be sent again has all the time there is.
        silence = read_timeout or (limit * _SHARE_OF_A_TRY if harmless else limit)
        headers = [("Accept", accept or "application/json")]
        if body is not None:
            headers.append(("Content-Type", content_type))
        query = list(query)

        def attempt() -> Any:
            answer = self._transport.send(method, path, query, body, headers, min(CONNECT_TIMEOUT_SECONDS, silence), silence, stream)
            self._compare_clocks(answer.headers.get("Date"))
            return answer

        return self._again(attempt, what, harmless, final, limit, until, writes=method != "GET")

    def websocket(self, path: str, query: Sequence[tuple[str, str]], protocol: str, what: str, safe: bool, seconds: float) -> Any:
        """An open WebSocket. `safe` as in `send`: what is asked for may be begun twice. Raises KubeError; `seconds` are for all tries."""
        limit = min(seconds, self._access.request_timeout)

        def attempt() -> Any:
            return self._transport.websocket(path, query, protocol, min(CONNECT_TIMEOUT_SECONDS, limit))

        return self._again(attempt, what, safe, (), limit, None, writes=not safe)

    def _again(
        self,
        attempt: Callable[[], Any],
        what: str,
        safe: bool,
        final: Collection[int],
        limit: float,
        until: float | None,
        writes: bool,
    ) -> Any:
        started, tries, renewals = time.monotonic(), 0, 0
        while True:
            tries += 1
            pause: float | None
            try:
                self._count()
                return attempt()
            except AccessError as error:
                # A plugin that fails once may have had no network for a moment. Nothing was sent.
                failed, pause = self._nobody(error, tries), self._pause(retry.Failure(how=retry.BROKEN), True, tries, started, limit)
                cause: Exception = error
            except Exception as error:  # urllib3's, ssl's, socket's and websocket's exceptions; all end the same way here
                failed, cause = self.explain(what, error, tries), error
                pause = None if failed.status in final else self._pause(failure(error), safe, tries, started, limit)
                # Credentials expire while somebody waits. Whoever was refused has changed nothing. New ones may be refused too, where another request
                # has got them long before this one used them.
                if failed.status == 401 and renewals < _RENEWALS and self._renewed():
                    renewals, pause = renewals + 1, 0.0
            if pause is None or (until is not None and time.monotonic() + pause > until):
                raise failed from cause
            time.sleep(pause)
            if writes:
                self.before_again()

    def _compare_clocks(self, date: str | None) -> None:
        with contextlib.suppress(TypeError, ValueError):  # no date, or none that can be read, says nothing
            self.clock_ahead = time.time() - parsedate_to_datetime(str(date)).timestamp()

    def _pause(self, failed: retry.Failure, safe: bool, tries: int, started: float, limit: float) -> float | None:
        return retry.pause(
            failed,
            safe=safe,
            tries=tries,
            elapsed=time.monotonic() - started,
            deadline=limit,
            now=datetime.now(UTC),
            jitter=random.random,
            patient=self.patient,
        )

    def _renewed(self) -> bool:
        try:
            return self._access.refused()
        except AccessError:
            return False

    def _count(self) -> None:
        with self._count_lock:
            self.requests += 1

    def _nobody(self, error: AccessError, tries: int = 1) -> KubeError:
        return KubeError(self.name, error.field, str(error), reason=NO_CREDENTIALS, tries=tries, passing=True)

    def explain(self, what: str, error: Exception, tries: int = 1) -> KubeError:
        """A KubeError for any exception of a connection."""
        return explained(self.name, self.host, what, error, tries)

    def request(self, method: str, path: str, what: str, object_hook: Callable[[Json], Any] | None = None, **options: Any) -> Json:
        """Send one request and return the decoded JSON. `what` names the object in errors, for example `node east-1`.

        `object_hook` is json's: it may drop what nobody needs before the whole answer is in memory. `options` are those of `send`.
        """
        data = self.send(method, path, what, **options).data
        if not data:
            return {}
        try:
            decoded: Json = json.loads(data, object_hook=object_hook)
        except ValueError as error:
            raise self.nonsense(what, f"no JSON ({error})") from error
        return decoded

    def nonsense(self, what: str, found: str) -> KubeError:
        """The error about an answer that no API server gives."""
        return KubeError(
            self.name,
            what,
            f"{self.host} answered with something that is {found}; check what stands between here and the API server",
            UNREADABLE,
        )

    def text(self, path: str, what: str, **options: Any) -> str:
        """GET something that is not JSON, such as a pod's log."""
        data: bytes = self.send("GET", path, what, accept="*/*", **options).data
        return data.decode("utf-8", "replace")

    def lines(self, path: str, what: str, query: Iterable[tuple[str, Any]], seconds: float, until: float) -> Iterator[bytes]:
        """The lines of an answer that goes on, such as a watch. Raises KubeError, `passing`, where it is cut off or silent for `seconds`."""
        response = self.send("GET", path, what, query=query, read_timeout=seconds, until=until, stream=True)
        try:
            buffer = b""
            for chunk in response.stream(amt=None, decode_content=False):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                yield from (line for line in lines if line.strip())
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.explain(what, error) from error
        finally:
            response.close()
            # Closed it is of no use, and yet one of those that there may be.
            response.release_conn()
