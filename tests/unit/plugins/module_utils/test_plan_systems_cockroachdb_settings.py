# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster settings of CockroachDB as data. No database: what it prints is in the form of its documentation, and quoting is read back by SQLite."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import exec as plan_exec
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems.cockroachdb_settings import (
    changes,
    parse_all,
    quoted,
    refusal,
)

# As SHOW ALL CLUSTER SETTINGS prints them; defaults from the vendor's list of settings.
IN_FORCE = {
    "cluster.organization": ("", "s"),
    "kv.closed_timestamp.target_duration": ("3s", "d"),
    "kv.range_merge.queue_interval": ("5m0s", "d"),
    "kv.rangefeed.enabled": ("false", "b"),
    "kv.snapshot_rebalance.max_rate": ("32 MiB", "z"),
    "server.host_based_authentication.configuration": ("host all root all cert\nhost all all all cert", "s"),
    "server.jwt_authentication.jwks": ('{"keys":[]}', "s"),
    "server.consistency_check.max_rate": ("8.0 MiB", "z"),
    "sql.defaults.distsql": ("auto", "e"),
    "sql.stats.automatic_collection.fraction_stale_rows": ("0.2", "f"),
    "sql.stats.automatic_collection.min_stale_rows": ("500", "i"),
    "version": ("26.2", "m"),
}


def printed(
    values: dict[str, tuple[str, str]], columns: str = "variable,value,setting_type,public,description,default_value,origin"
) -> dict[str, Any]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns.split(","))
    for name, (value, kind) in values.items():
        known = {"variable": name, "value": value, "setting_type": kind, "description": 'in words, and "more"'}
        writer.writerow([known.get(column, "") for column in columns.split(",")])
    return {"rc": 0, "stdout": out.getvalue(), "stderr": "", "error": ""}


def statements(settings: dict[str, Any], in_force: dict[str, tuple[str, str]] | None = None) -> list[str]:
    found = changes(printed(in_force or IN_FORCE), settings)
    assert found["errors"] == []
    assert sorted(found["before"]) == sorted(found["after"])
    assert len(found["statements"]) == len(found["after"])
    result: list[str] = found["statements"]
    return result


@pytest.mark.parametrize(
    ("name", "value", "literal"),
    [
        ("cluster.organization", "Bob's \\ Café", "'Bob''s \\ Café'"),
        ("kv.range_merge.queue_interval", "10m", "'10m'"),
        ("kv.range_merge.queue_interval", "00:10:00", "'00:10:00'"),
        ("kv.rangefeed.enabled", True, "true"),
        ("kv.rangefeed.enabled", "on", "true"),
        ("kv.snapshot_rebalance.max_rate", "64MiB", "'64MiB'"),
        ("kv.snapshot_rebalance.max_rate", 67108864, "'67108864'"),
        ("server.host_based_authentication.configuration", "host all all all cert\n", "'host all all all cert\n'"),
        ("sql.defaults.distsql", "always", "'always'"),
        ("sql.stats.automatic_collection.fraction_stale_rows", 0.1, "0.1"),
        ("sql.stats.automatic_collection.fraction_stale_rows", 1, "1.0"),
        ("sql.stats.automatic_collection.min_stale_rows", "1000", "1000"),
        ("sql.stats.automatic_collection.min_stale_rows", -1, "-1"),
    ],
)
def test_a_setting_that_differs_is_set(name: str, value: Any, literal: str) -> None:
    assert statements({name: value}) == [f"SET CLUSTER SETTING {name} = {literal}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cluster.organization", ""),
        ("kv.closed_timestamp.target_duration", "3000ms"),
        ("kv.range_merge.queue_interval", "5m"),
        ("kv.range_merge.queue_interval", "00:05:00"),
        ("kv.rangefeed.enabled", False),
        ("kv.rangefeed.enabled", "off"),
        ("kv.snapshot_rebalance.max_rate", "32MiB"),
        ("kv.snapshot_rebalance.max_rate", 33554432),
        ("server.consistency_check.max_rate", "8192 KiB"),
        ("server.host_based_authentication.configuration", "host all root all cert\nhost all all all cert"),
        ("server.jwt_authentication.jwks", '{"keys":[]}'),
        ("sql.defaults.distsql", "AUTO"),
        ("sql.stats.automatic_collection.fraction_stale_rows", "0.20"),
        ("sql.stats.automatic_collection.min_stale_rows", "500"),
    ],
)
def test_a_setting_that_is_in_force_already_is_left_alone(name: str, value: Any) -> None:
    assert statements({name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("kv.rangefeed.enabld", True, "has no such cluster setting"),
        ("kv.rangefeed.enabled", 2, "'2' is not true or false"),
        ("kv.range_merge.queue_interval", 300, "'300' is not a duration"),
        ("kv.range_merge.queue_interval", "5 minutes'; DROP DATABASE x; --", "is not a duration"),
        ("kv.snapshot_rebalance.max_rate", "much", "'much' is not a size"),
        ("kv.snapshot_rebalance.max_rate", "64i", "'64i' is not a size"),
        ("sql.stats.automatic_collection.fraction_stale_rows", "nan", "'nan' is not a number"),
        ("sql.stats.automatic_collection.min_stale_rows", 0.5, "'0.5' is not a whole number"),
    ],
)
def test_what_does_not_fit_changes_nothing(name: str, value: Any, said: str) -> None:
    found = changes(printed(IN_FORCE), {name: value, "cluster.organization": "Example"})
    (error,) = found["errors"]
    assert error.startswith(f"system_cockroachdb_settings: {name}: ")
    assert said in error
    assert found["statements"] == []


def test_a_value_in_force_that_cannot_be_read_is_an_error() -> None:
    for kind, shown in {"b": "<redacted>", "d": "soon", "f": "", "i": "many", "z": "big", "q": "new"}.items():
        found = changes(printed({"a.b": (shown, kind)}), {"a.b": 1 if kind not in "bd" else {"b": True, "d": "1s"}[kind]})
        assert len(found["errors"]) == 1, kind
        assert found["statements"] == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version", "26.2", "a major upgrade"),
        ("cluster.preserve_downgrade_option", "26.1", "a major upgrade"),
        ("enterprise.license", "crl-0-x", "a secret"),
        ("server.oidc_authentication.client_secret", "x", "a secret"),
        ("server.ldap_authentication.client.tls_key", "x", "a secret"),
        ("a.b; DROP DATABASE x", 1, "not the name"),
        ("A.b", 1, "not the name"),
        ("rangefeed", 1, "not the name"),
        ("a.b", None, "its value must be"),
        ("a.b", [1], "its value must be"),
        ("a.b", float("inf"), "no number"),
        ("a.b", "x\0y", "zero byte"),
        ("a.b", "{certs}", "placeholder"),
    ],
)
def test_what_is_refused_before_any_database_is_asked(name: str, value: Any, said: str) -> None:
    assert said in refusal({name: value})
    assert said in changes(printed(IN_FORCE), {name: value})["errors"][0]
    # A secret is not in its own refusal.
    assert "crl-0-x" not in refusal({name: value})


def test_settings_that_are_no_dictionary_are_refused() -> None:
    assert "must have the name of each setting" in refusal(["kv.rangefeed.enabled=true"])
    assert refusal({}) == ""


@pytest.mark.parametrize("columns", ["variable,value,setting_type,public,description", "setting_type,origin,value,variable"])
def test_columns_are_found_by_name(columns: str) -> None:
    assert parse_all(printed(IN_FORCE, columns)) == IN_FORCE


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"rc": 1, "stderr": "ERROR: cannot dial server", "stdout": ""},
        {"rc": None, "error": "no answer within 60 s"},
        {"rc": 0, "stdout": ""},
        {"rc": 0, "stdout": "variable,value\na.b,1\n"},
        {"rc": 0, "stdout": "variable,value,setting_type\na.b,1\n"},
        {"rc": 0, "stdout": "variable\tvalue\tsetting_type\na.b\t1\ti\n"},
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error(answer: dict[str, Any]) -> None:
    found = changes(answer, {"a.b": 1})
    assert found["errors"][0].startswith("the cluster settings cannot be read: ")
    assert found["statements"] == []


@given(st.text(max_size=200))
def test_any_output_is_read_or_an_error(text: str) -> None:
    found = changes({"rc": 0, "stdout": text}, {"a.b": 1})
    assert found["errors"]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


@given(texts)
def test_a_quoted_text_is_one_literal_to_a_real_parser(text: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        assert database.execute(f"SELECT {quoted(text)}").fetchall() == [(text,)]


@given(texts)
def test_any_text_is_set_once_and_stays_one_word(text: str) -> None:
    settings = {"cluster.organization": text}
    if refusal(settings):
        return
    done = statements(settings)
    assert done == ([] if not text else [f"SET CLUSTER SETTING cluster.organization = {quoted(text)}"])
    for statement in done:
        assert plan_exec.render(f"--execute={statement}", {"certs": "/x", "host": "y"}) == f"--execute={statement}"
    assert statements(settings, {"cluster.organization": (text, "s")}) == []


def as_shown(size: int) -> str:
    """A size as github.com/dustin/go-humanize's IBytes prints it, which CockroachDB uses."""
    if size < 10:
        return f"{size} B"
    power = 0
    while size >= 1024 ** (power + 1) and power < 6:
        power += 1
    value = (size * 20 // 1024**power + 1) // 2 / 10
    return f"{value:.{0 if value >= 10 else 1}f} {['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][power]}"


@given(st.integers(0, 2**62))
def test_a_size_is_in_force_once_it_was_set_however_it_is_rounded(size: int) -> None:
    assert statements({"a.b": size}, {"a.b": (as_shown(size), "z")}) == []
    assert statements({"a.b": f"{size}B"}, {"a.b": (as_shown(size), "z")}) == []
    if size:
        assert statements({"a.b": size * 2}, {"a.b": (as_shown(size), "z")})


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_in_force_in_whatever_form_it_is_written(hours: int, minutes: int, seconds: int) -> None:
    shown = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"
    for wish in (shown, f"{hours * 3600 + minutes * 60 + seconds}s", f"{hours % 10**6}:{minutes:02}:{seconds:02}"):
        if wish.count(":") == 2 and hours == 10**6:
            continue
        assert statements({"a.b": wish}, {"a.b": (shown, "d")}) == []
    assert statements({"a.b": f"{shown}1ms"}, {"a.b": (shown, "d")})
