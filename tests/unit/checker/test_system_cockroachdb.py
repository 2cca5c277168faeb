# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checker says to CockroachDB, and what it makes of the answers, with a driver that has a list instead of a database."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import pg8000.exceptions
import pg8000.native
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker.system import System, Unreachable, values
from checker.system_cockroachdb import BUCKETS, Cockroachdb, definition, rows_as_copy, why

CLUSTER = "6ce8e7e4-2b8f-4d8a-9d3c-8f0f5a7b1c2d"


class Driver:
    """In place of pg8000.native.Connection. `rows` is the table, `broken` a failure for statements that begin so."""

    rows: list[tuple[int, int, str]]
    broken: dict[str, Exception]
    figures: tuple[int | None, int | None]
    opened: list[dict[str, Any]]
    said: list[str]
    closed: int

    def __init__(self, user: str, **options: Any) -> None:
        self.opened.append({"user": user, **options})
        if "connect" in self.broken:
            raise self.broken["connect"]

    def run(self, statement: str, **given: Any) -> list[Any] | None:
        words = " ".join(statement.split())
        self.said.append(words)
        for beginning, error in self.broken.items():
            if words.startswith(beginning):
                raise error
        if words == "SELECT crdb_internal.cluster_id()":
            return [[CLUSTER]]
        if "kv_store_status" in words:
            return [list(self.figures)]
        if words.startswith("INSERT"):
            self.rows.append((given["bucket"], given["number"], given["value"]))
            return None
        if words.startswith("SELECT bucket"):
            (limit,) = re.findall(r"LIMIT (\d+)", words)
            after = [row for row in sorted(self.rows) if row[:2] > (given["bucket"], given["number"])]
            return [list(row) for row in after[: int(limit)]]
        return None

    def close(self) -> None:
        Driver.closed += 1


@pytest.fixture(name="system")
def system_fixture(monkeypatch: pytest.MonkeyPatch) -> Cockroachdb:
    Driver.rows, Driver.broken, Driver.figures, Driver.opened, Driver.said, Driver.closed = [], {}, (0, 0), [], [], 0
    monkeypatch.setattr(pg8000.native, "Connection", Driver)
    monkeypatch.setattr(System, "context", lambda self: f"tls of {self.client}")
    return Cockroachdb("run1", Path("/pki"), None, 2.0, most_down=1)


def test_a_connection_is_roots_with_its_certificate_and_ends_in_time(system: Cockroachdb) -> None:
    system.connect("fd00::1").close()
    (opened,) = Driver.opened
    assert (opened["user"], opened["host"], opened["port"], opened["timeout"]) == ("root", "fd00::1", 26257, 2.0)
    assert opened["ssl_context"] == "tls of client.root"
    assert Driver.closed == 1


def test_an_old_version_does_not_know_what_a_new_one_asks_for(system: Cockroachdb) -> None:
    Driver.broken["SET allow_unsafe_internals"] = pg8000.exceptions.DatabaseError(
        {"C": "42704", "M": "unrecognized configuration parameter"}
    )
    assert system.connect("10.0.0.1").status().cluster_id == CLUSTER


def test_every_row_is_read_back_over_all_pages(system: Cockroachdb) -> None:
    connection = system.connect("10.0.0.1")
    value = values("run1", 1)
    for number in range(1, 5001):
        connection.write(number, value(number))
    assert {bucket for bucket, _number, _value in Driver.rows} == set(range(BUCKETS))
    for authoritative in (True, False):
        assert connection.read(authoritative) == {number: [value(number)] for number in range(1, 5001)}
    assert Driver.closed == 2, "what reads has a connection of its own, with more time"


@pytest.mark.parametrize(
    "error",
    [
        pg8000.exceptions.InterfaceError("network error"),
        pg8000.exceptions.DatabaseError({"C": "40003", "M": "result is ambiguous"}),
        TimeoutError("timed out"),
        ssl.SSLError(1, "certificate expired"),
    ],
)
def test_no_failure_is_an_acknowledgement(system: Cockroachdb, error: Exception) -> None:
    connection = system.connect("10.0.0.1")
    Driver.broken["INSERT"] = error
    with pytest.raises(Unreachable):
        connection.write(1, "x")
    Driver.broken["connect"] = error
    with pytest.raises(Unreachable):
        system.connect("10.0.0.1")


def test_the_table_is_made_with_copies_that_outlive_who_may_be_down(system: Cockroachdb) -> None:
    system.prepare(system.connect("10.0.0.1"))
    made = [words for words in Driver.said if words.split()[0] in ("CREATE", "ALTER")]
    assert made == definition('hostnet_checker."run1"', 3)
    assert made[-1].endswith("SPLIT AT VALUES (1), (2), (3)")
    assert definition("t", 5)[-1] == "ALTER TABLE t CONFIGURE ZONE USING num_replicas = 5"
    assert Cockroachdb("run1", Path("/pki"), 26300, 2.0, most_down=2).replicas == 5
    system.clean(system.connect("10.0.0.1"))
    assert Driver.said[-1] == 'DROP TABLE IF EXISTS hostnet_checker."run1"'


def test_counts_of_ranges(system: Cockroachdb) -> None:
    Driver.figures = (15, 2)
    connection = system.connect("10.0.0.1")
    assert connection.figures() == {"ranges_underreplicated": 15, "ranges_unavailable": 2}
    Driver.figures = (None, 0)
    with pytest.raises(Unreachable):
        connection.figures()


def test_why() -> None:
    assert why(pg8000.exceptions.DatabaseError({"S": "ERROR", "C": "57P01", "M": "server is not accepting clients"})) == (
        "57P01 server is not accepting clients"
    )
    error = pg8000.exceptions.InterfaceError("network error")
    error.__cause__ = TimeoutError("timed out")
    assert why(error) == "InterfaceError: timed out"
    assert why(OSError()) == "OSError: "


@given(st.lists(st.tuples(st.integers(1, 99), st.text(max_size=5))))
def test_no_value_is_dropped(rows: list[tuple[int, str]]) -> None:
    copy = rows_as_copy(rows)
    assert sorted((number, text) for number, texts in copy.items() for text in texts) == sorted(rows)
