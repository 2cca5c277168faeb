# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CockroachDB as a SQL client with a certificate sees it: a row per number, in a table of several ranges, so that several nodes hold leases.

A node answers a read from whoever has the lease of the range, so what is read through a member is what its clients get, and not its own copy: that every
copy is there is what the counts of ranges say, which the nodes write down every 10 seconds for crdb_internal.kv_store_status. A node that is dead leaves
its last ones, so only live nodes' are summed up.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from typing import Any

import pg8000.exceptions
import pg8000.native

from .system import Answer, Connection, Copy, System, Unreachable

DATABASE = "hostnet_checker"
BUCKETS = 4
_PAGE = 2000
_READ_SECONDS = 15.0
_FAILURES = (pg8000.exceptions.Error, OSError, struct.error)

_CLUSTER_ID = "SELECT crdb_internal.cluster_id()"
_FIGURES = """
SELECT sum((s.metrics->>'ranges.underreplicated')::DECIMAL)::INT8, sum((s.metrics->>'ranges.unavailable')::DECIMAL)::INT8
FROM crdb_internal.kv_store_status AS s JOIN crdb_internal.gossip_nodes AS n ON n.node_id = s.node_id WHERE n.is_live
"""


def why(error: Exception) -> str:
    """A failure in one line: an answer of the database is a dictionary of fields, of which C is the code and M the message."""
    said = error.args[0] if error.args else ""
    if isinstance(said, dict):
        return f"{said.get('C', '')} {said.get('M', '')}".strip()
    return f"{type(error).__name__}: {error.__cause__ or error}"


def rows_as_copy(rows: Iterable[Iterable[Any]]) -> Copy:
    found: Copy = {}
    for number, value in rows:
        found.setdefault(int(number), []).append(str(value))
    return found


def definition(table: str, replicas: int) -> list[str]:
    """What is to be done once, and may be done again: the table, its ranges, and how many copies of them there are."""
    statements = [
        f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
        f"CREATE TABLE IF NOT EXISTS {table} (bucket INT8, number INT8, value STRING, PRIMARY KEY (bucket, number))",
        f"ALTER TABLE {table} SPLIT AT VALUES {', '.join(f'({bucket})' for bucket in range(1, BUCKETS))}",
    ]
    # Three is the default.
    return statements if replicas == 3 else [*statements, f"ALTER TABLE {table} CONFIGURE ZONE USING num_replicas = {replicas}"]


class CockroachdbConnection(Connection):
    def __init__(self, system: Cockroachdb, address: str) -> None:
        self.system, self.address = system, address
        self.sql = self._open(system.timeout)

    def _open(self, seconds: float) -> Any:
        try:
            made = pg8000.native.Connection(
                "root",
                host=self.address,
                port=self.system.port,
                database="defaultdb",
                ssl_context=self.system.tls,
                timeout=seconds,
                application_name="hostnet-checker",
            )
            # From v26.1 on crdb_internal is closed to sessions without this; older ones do not know it.
            with contextlib.suppress(pg8000.exceptions.DatabaseError):
                made.run("SET allow_unsafe_internals = on")
        except _FAILURES as error:
            raise Unreachable(why(error)) from error
        return made

    def ask(self, statement: str, sql: Any = None, **values: Any) -> list[list[Any]]:
        try:
            return list((sql or self.sql).run(statement, **values) or [])
        except _FAILURES as error:
            raise Unreachable(why(error)) from error

    def write(self, number: int, value: str) -> None:
        self.ask(f"INSERT INTO {self.system.table} VALUES (:bucket, :number, :value)", bucket=number % BUCKETS, number=number, value=value)

    def status(self) -> Answer:
        return Answer(str(self.ask(_CLUSTER_ID)[0][0]))

    def figures(self) -> dict[str, int]:
        found = self.ask(_FIGURES)[0]
        if any(number is None for number in found):
            raise Unreachable("no node has written its counts of ranges down")
        return {name: int(number) for name, number in zip(self.system.figures, found, strict=True)}

    def read(self, authoritative: bool) -> Copy:
        sql = self._open(_READ_SECONDS)
        found: Copy = {}
        last = (-1, 0)
        try:
            while True:
                rows = self.ask(
                    f"SELECT bucket, number, value FROM {self.system.table} WHERE (bucket, number) > (:bucket, :number)"
                    f" ORDER BY bucket, number LIMIT {_PAGE}",
                    sql,
                    bucket=last[0],
                    number=last[1],
                )
                if not rows:
                    return found
                found |= rows_as_copy(row[1:] for row in rows)
                last = (int(rows[-1][0]), int(rows[-1][1]))
        finally:
            with contextlib.suppress(*_FAILURES):
                sql.close()

    def close(self) -> None:
        with contextlib.suppress(*_FAILURES):
            self.sql.close()


class Cockroachdb(System):
    port = 26257
    client = "client.root"
    figures = ("ranges_underreplicated", "ranges_unavailable")

    def __init__(self, *arguments: Any, most_down: int) -> None:
        super().__init__(*arguments)
        self.replicas = 2 * max(most_down, 1) + 1
        self.tls = self.context()
        self.table = f'{DATABASE}."{self.run}"'

    def connect(self, address: str) -> CockroachdbConnection:
        return CockroachdbConnection(self, address)

    def prepare(self, connection: Connection) -> None:
        assert isinstance(connection, CockroachdbConnection)
        sql = connection._open(_READ_SECONDS)
        try:
            for statement in definition(self.table, self.replicas):
                connection.ask(statement, sql)
        finally:
            with contextlib.suppress(*_FAILURES):
                sql.close()

    def clean(self, connection: Connection) -> None:
        assert isinstance(connection, CockroachdbConnection)
        connection.ask(f"DROP TABLE IF EXISTS {self.table}", connection._open(_READ_SECONDS))
