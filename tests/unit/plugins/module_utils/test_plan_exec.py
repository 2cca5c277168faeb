# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placeholders, exit codes and HTTP answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.exec import failures, http_answer, parse_status, render


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("--endpoints={url}", "--endpoints=https://10.0.0.1:2379"),
        ("{a}{a}", "11"),
        ("{unknown}", "{unknown}"),
        ('{"a": 1}', '{"a": 1}'),
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("{{a}}", "{1}"),
        ("{}", "{}"),
    ],
)
def test_render(text: str, result: str) -> None:
    assert render(text, {"url": "https://10.0.0.1:2379", "a": 1}) == result


@given(st.text())
def test_render_does_not_render_twice(value: str) -> None:
    assert render("{a}", {"a": value, "b": "x"}) == value


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ({"status": "Success"}, (0, "")),
        ({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}, (3, "")),
        (
            {"status": "Failure", "message": "not found", "details": {"causes": [{"reason": "ExitCode", "message": "x"}]}},
            (None, "not found"),
        ),
        ({"status": "Failure", "message": "OCI runtime exec failed"}, (None, "OCI runtime exec failed")),
        ({"status": "Failure"}, (None, "the command could not be started")),
    ],
)
def test_status(status: dict[str, Any], result: Any) -> None:
    assert parse_status(json.dumps(status)) == result


def test_status_that_is_none() -> None:
    assert parse_status("") == (None, "the connection ended before the command did")
    assert parse_status("command terminated") == (None, "command terminated")
    assert parse_status("[]") == (None, "[]")


BODY = b"some body of the answer"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsome \r\n12\r\nbody of the answer\r\n0\r\n\r\n"
UNSIZED = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + BODY


@pytest.mark.parametrize("data", [SIZED, CHUNKED])
def test_http_answer_is_whole_at_its_own_end(data: bytes) -> None:
    for end in range(len(data)):
        assert http_answer(data[:end], ended=False) is None, data[:end]
    assert http_answer(data, ended=False) == (200, BODY, True)
    assert http_answer(data, ended=True) == (200, BODY, True)
    assert http_answer(data.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), ended=False) == (200, BODY, False)


def test_http_answer_without_length_ends_with_the_connection() -> None:
    assert http_answer(UNSIZED, ended=False) is None
    assert http_answer(UNSIZED, ended=True) == (200, BODY, False)
    assert http_answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", ended=False) == (503, b"", True)


@pytest.mark.parametrize("data", [SIZED[:-3], CHUNKED[:-9], b"", b"HTTP/1.1 200", b"\x15\x03\x01\x00\x02\x02\x16", b"SSH-2.0-x\r\n\r\n"])
def test_http_answer_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"ended too early|not an HTTP answer"):
        http_answer(data, ended=True)


def test_failures_name_member_and_command() -> None:
    good = {"rc": 0, "stdout": "", "stderr": "", "error": ""}
    results = {
        "east-0": {"a": good, "b": {**good, "rc": 2, "stderr": "one\ntwo\n"}, "c": {**good, "rc": None, "error": "no pod"}},
        "east-1": {"h": {"status": 200, "body": "", "error": ""}, "i": {"status": 503, "body": " down ", "error": ""}},
        "east-2": {"b": {**good, "rc": 1, "stdout": "said"}, "i": {"status": 0, "body": "", "error": "refused"}},
    }
    clusters = {"east-0": "east", "east-1": "east", "east-2": "east"}
    commands = {member: {"a": ["x"], "b": ["y", "1"], "c": ["z"]} for member in clusters}
    assert failures(results, clusters, commands) == [
        "kube cluster east: member east-0: command b ['y', '1'] ended with exit code 2: one / two",
        "kube cluster east: member east-0: command c ['z']: no pod",
        "kube cluster east: member east-1: HTTP request i: HTTP status 503: down",
        "kube cluster east: member east-2: command b ['y', '1'] ended with exit code 1: said",
        "kube cluster east: member east-2: HTTP request i: refused",
    ]
