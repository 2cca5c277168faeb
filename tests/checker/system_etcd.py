# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd through its HTTPS gateway: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/

Each number is one key that is put once. A member's own copy is read with serializable ranges, at a revision that a linearizable one has
told, so that a member which lags is waited for and one that has lost something is found out.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time
from typing import Any

from .system import Answer, Connection, Copy, System, Unreachable

_PAGE = 2000
_READ_SECONDS = 10.0
_CATCH_UP_SECONDS = 60.0


def _text(value: str | bytes) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


class EtcdConnection(Connection):
    def __init__(self, system: Etcd, address: str) -> None:
        self.prefix, self.timeout = system.prefix, system.timeout
        self.http = http.client.HTTPSConnection(address, system.port, timeout=system.timeout, context=system.tls)
        try:
            self.http.connect()
        except OSError as error:
            raise Unreachable(str(error)) from error

    def ask(self, path: str, body: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        try:
            if self.http.sock:
                self.http.sock.settimeout(seconds or self.timeout)
            self.http.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            with self.http.getresponse() as answer:
                content = answer.read()
                status = answer.status
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if status != 200:
            raise Unreachable(f"HTTP {status}: {content[:200].decode(errors='replace')}")
        try:
            return dict(json.loads(content))
        except ValueError as error:
            raise Unreachable(f"not JSON: {error}") from error

    def write(self, number: int, value: str) -> None:
        answer = self.ask("/v3/kv/put", {"key": _text(f"{self.prefix}{number:010}"), "value": _text(value)})
        if "revision" not in answer.get("header", {}):
            raise Unreachable(f"an answer without revision: {answer}")

    def status(self) -> Answer:
        answer = self.ask("/v3/maintenance/status", {})
        return Answer(f"{int(answer['header']['cluster_id']):x}", not answer.get("isLearner", False))

    def read(self, authoritative: bool) -> Copy:
        end = self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1)
        newest = self.ask("/v3/kv/range", {"key": _text(self.prefix), "range_end": _text(end), "count_only": True}, _READ_SECONDS)
        revision = newest["header"]["revision"]
        key: bytes = self.prefix.encode()
        found: Copy = {}
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while True:
            asked = {"key": _text(key), "range_end": _text(end), "limit": _PAGE, "revision": revision, "serializable": not authoritative}
            try:
                page = self.ask("/v3/kv/range", asked, _READ_SECONDS)
            except Unreachable as error:
                # A member that has not reached this revision yet refuses to read at it.
                if "future revision" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                continue
            items = page.get("kvs", [])
            for item in items:
                name = base64.b64decode(item["key"]).decode(errors="replace").removeprefix(self.prefix)
                value = base64.b64decode(item.get("value", "")).decode(errors="replace")
                found.setdefault(int(name) if name.isdecimal() else -1, []).append(value)
            if not page.get("more"):
                return found
            key = base64.b64decode(items[-1]["key"]) + b"\0"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.http.close()


class Etcd(System):
    port = 2379

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tls = self.context()
        self.prefix = f"/hostnet-checker/{self.run}/"

    def connect(self, address: str) -> EtcdConnection:
        return EtcdConnection(self, address)

    def prepare(self, connection: Connection) -> None:
        """Nothing: keys need no place."""

    def clean(self, connection: Connection) -> None:
        assert isinstance(connection, EtcdConnection)
        end = self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1)
        connection.ask("/v3/kv/deleterange", {"key": _text(self.prefix), "range_end": _text(end)}, _READ_SECONDS)
