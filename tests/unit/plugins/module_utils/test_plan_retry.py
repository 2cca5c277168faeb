# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import retry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pause(failure: retry.Failure, **other: Any) -> float | None:
    given_ = {"safe": True, "tries": 1, "elapsed": 0.0, "deadline": 60.0, "now": NOW, "jitter": lambda: 1.0, **other}
    return retry.pause(failure, **given_)


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503, 504])
def test_what_says_later_is_asked_again(status: int) -> None:
    assert pause(retry.Failure(status)) == 0.2
    assert pause(retry.Failure(status), tries=3) == 0.8
    assert pause(retry.Failure(status), tries=60) == 5.0
    assert pause(retry.Failure(status), elapsed=retry.SECONDS[status]) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 415, 422, 501])
def test_what_is_an_answer_is_not(status: int) -> None:
    assert pause(retry.Failure(status)) is None


def test_a_write_that_may_have_been_done_is_not_done_again() -> None:
    for failure in (retry.Failure(429), retry.Failure(how=retry.UNREACHED)):
        assert pause(failure, safe=False) is not None
    for failure in (
        *(retry.Failure(status) for status in (409, 500, 502, 503, 504)),
        *(retry.Failure(how=how) for how in (retry.BROKEN, retry.SILENT)),
    ):
        assert pause(failure, safe=False) is None


def test_who_reaches_nobody_is_told_soon() -> None:
    assert pause(retry.Failure(how=retry.UNREACHED), elapsed=1.0) is not None
    assert pause(retry.Failure(how=retry.UNREACHED), elapsed=2.0) is None
    # Whoever holds the lock has a member in hand.
    assert pause(retry.Failure(how=retry.UNREACHED), elapsed=2.0, patient=True) is not None
    assert pause(retry.Failure(how=retry.UNREACHED), elapsed=20.0, patient=True) is None
    assert pause(retry.Failure(how=retry.BROKEN), elapsed=2.0) is not None
    # Silence has cost the time of many tries already.
    assert pause(retry.Failure(how=retry.SILENT), elapsed=30.0) is not None
    assert pause(retry.Failure(how=retry.SILENT), elapsed=60.0) is None


def test_the_deadline_of_the_call_counts() -> None:
    for failure in (retry.Failure(429, retry_after="1"), retry.Failure(503), retry.Failure(how=retry.SILENT)):
        assert pause(failure, elapsed=1.0, deadline=3.0) is not None
        assert pause(failure, elapsed=3.0, deadline=3.0) is None


def test_the_word_of_the_server_counts() -> None:
    assert pause(retry.Failure(429, retry_after="7")) == 7.2
    assert pause(retry.Failure(503, retry_after="59")) == 59.2
    assert pause(retry.Failure(503, retry_after="60")) is None
    assert pause(retry.Failure(503, retry_after=format_datetime(NOW + timedelta(seconds=3), usegmt=True))) == 3.2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("soon", None), ("-1", None), ("1.5", None), ("²", None), ("0", 0), (" 12 ", 12), ("Wed, 31 Dec 2025 00:00:00 GMT", 0)],
)
def test_headers(text: str, seconds: float | None) -> None:
    assert retry.retry_after(text, NOW) == seconds


@given(st.text())
def test_any_header(text: str) -> None:
    seconds = retry.retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@given(
    st.sampled_from([0, *retry.SECONDS]),
    st.sampled_from([retry.BROKEN, retry.UNREACHED]),
    st.sampled_from(["", "0", "1", "9"]),
    st.lists(st.floats(0, 1), min_size=1, max_size=400),
)
def test_it_always_ends_in_its_time(status: int, how: str, header: str, jitters: list[float]) -> None:
    elapsed, tries = 0.0, 1
    bound = 60.0 if header else retry.SECONDS.get(status, retry.BROKEN_SECONDS)
    while True:
        seconds = pause(retry.Failure(status, how, header), tries=tries, elapsed=elapsed, jitter=lambda: jitters[tries % len(jitters)])  # noqa: B023
        if seconds is None:
            break
        assert seconds > 0
        elapsed, tries = elapsed + seconds, tries + 1
        assert elapsed <= bound
    assert tries < 700
