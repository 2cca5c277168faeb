# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory that ansible-playbook shares with its forks, under forks that are killed at any moment."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import shared_cache
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.shared_cache import SharedCache
from support.forks import ended, fork

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)


def test_all_forks_see_what_one_has_put() -> None:
    cache = SharedCache()
    assert cache.get("a") is None
    assert ended(fork(lambda: cache.put("a", "one"))) == 0
    assert cache.get("a") == "one"

    def look() -> None:
        assert cache.get("a") == "one"
        cache.put("b", "two")

    assert ended(fork(look)) == 0
    assert (cache.get("a"), cache.get("b")) == ("one", "two")


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(max_size=300)), max_size=60))
def test_the_oldest_go_first_and_what_is_too_large_is_not_kept(writes: list[tuple[str, str]]) -> None:
    size = 2048
    cache = SharedCache(size)
    put: dict[str, str] = {}
    for key, value in writes:
        cache.put(key, value)
        put.pop(key, None)
        if len(value) + 1 <= size // 4:
            put[key] = value
        kept = [key for key in put if cache.get(key) is not None]
        assert all(cache.get(key) == put[key] for key in kept)
        # Nobody is gone who was put after somebody that is left.
        assert kept == list(put)[len(put) - len(kept) :]
    assert cache.get("none") is None


def test_one_at_a_time_in_threads_and_forks() -> None:
    cache = SharedCache()
    counted = mmap.mmap(-1, 2)

    def work() -> None:
        for _round in range(10):
            with cache.alone("key", 300) as alone:
                assert alone
                counted[0] += 1
                assert counted[0] == 1
                # A count that is read, and written later, is wrong as soon as two are in here.
                count = counted[1]
                os.sched_yield()
                counted[1] = count + 1
                counted[0] -= 1

    def several() -> None:
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(work) for _number in range(3)]:
                done.result()

    assert [ended(process) for process in [fork(several) for _number in range(5)]] == [0] * 5
    assert counted[1] == 150


def test_others_are_not_kept_waiting() -> None:
    cache = SharedCache()
    with cache.alone("a", 1), cache.alone("b", 1) as alone:
        assert alone
        with pipe() as (ready, tell):

            def other() -> None:
                with cache.alone("c", 1) as mine:
                    assert mine
                cache.put("x", "y")
                os.write(tell, b".")

            process = fork(other)
            assert os.read(ready, 1) == b"."
            assert ended(process) == 0
    assert cache.get("x") == "y"


def test_two_threads_that_wait_for_two_others_are_no_deadlock() -> None:
    # Each process holds what a thread of the other one waits for. A kernel that is asked to wait calls that a deadlock.
    cache = SharedCache()
    with pipe() as (hear_a, tell_b), pipe() as (hear_b, tell_a):

        def process(mine: str, other: str, hear: int, tell: int) -> None:
            done = threading.Event()

            def wait() -> None:
                with cache.alone(other, 300) as alone:
                    assert alone
                    done.set()

            with cache.alone(mine, 300) as alone:
                assert alone
                os.write(tell, b".")
                os.read(hear, 1)
                thread = threading.Thread(target=wait)
                thread.start()
            thread.join()
            assert done.is_set()

        first = fork(lambda: process("a", "b", hear_a, tell_a))
        second = fork(lambda: process("b", "a", hear_b, tell_b))
        assert [ended(first), ended(second)] == [0, 0]


def test_who_hangs_is_not_waited_for_without_end() -> None:
    cache = SharedCache()
    with pipe() as (ready, tell), pipe() as (end, stop):

        def hang() -> None:
            with cache.alone("key", 1):
                os.write(tell, b".")
                os.read(end, 1)

        process = fork(hang)
        os.read(ready, 1)
        with cache.alone("key", 0.05) as alone:
            assert not alone
        os.write(stop, b".")
        assert ended(process) == 0
    with cache.alone("key", 300) as alone:
        assert alone


def test_a_lock_goes_with_its_holder() -> None:
    cache = SharedCache()
    with pipe() as (ready, tell), pipe() as (never, _end):

        def hold() -> None:
            with cache.alone("key", 1), cache._lock(shared_cache._TABLE_BYTE, 1):
                os.write(tell, b".")
                os.read(never, 1)

        process = fork(hold)
        os.read(ready, 1)
        os.kill(process, signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
        with cache.alone("key", 300) as alone:
            assert alone
        cache.put("a", "b")
        assert cache.get("a") == "b"


def test_a_fork_is_not_kept_out_by_its_parents_threads() -> None:
    cache = SharedCache()
    with cache._guard, pipe() as (ready, tell):

        def look() -> None:
            cache.put("a", "b")
            os.write(tell, b".")

        process = fork(look)
        assert os.read(ready, 1) == b"."
        assert ended(process) == 0


def test_half_a_write_does_not_count() -> None:
    cache = SharedCache(4096)
    cache.put("a", "one")
    cache.put("a", "two")
    number, _entries = cache._read()
    half = (number % 2) * cache._half
    for begin in range(0, 200, 7):
        kept = cache._memory[half + begin]
        cache._memory[half + begin] = kept ^ 0xFF
        torn = cache.get("a")
        cache._memory[half + begin] = kept
        # Of the newest write a byte is wrong: what was there before it counts. Beyond its end nothing is looked at.
        assert torn in ("one", "two")
        assert torn == "one" or begin >= shared_cache._HEADER.size + len('{"a": "two"}')
    assert cache.get("a") == "two"


def test_without_a_file_to_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_arguments: Any) -> None:
        raise OSError("no folder for temporary files")

    monkeypatch.setattr(shared_cache.tempfile, "TemporaryFile", none)
    cache = SharedCache()
    assert ended(fork(lambda: cache.put("a", "b"))) == 0
    assert cache.get("a") == "b"
    with cache.alone("a", 1) as alone:
        assert alone


def test_forks_that_are_killed_at_any_moment_harm_nobody() -> None:
    """Values say by their form whether they are whole; after each kill the memory is read, and written, as before."""
    cache = SharedCache(64 << 10)
    drawn = random.Random(11)

    def value(key: str, number: int) -> str:
        return f"{key}:{number}:" + str(number % 10) * (100 + number % 900)

    def whole(key: str, text: str | None) -> bool:
        return text is None or text == value(key, int(text.split(":")[1]))

    def write(seed: int) -> None:
        mine = random.Random(seed)
        while True:
            key = mine.choice("abcdef")
            with cache.alone(key, 300):
                cache.put(key, value(key, mine.randrange(10000)))
            assert all(whole(one, cache.get(one)) for one in "abcdef")

    running: list[int] = []
    try:
        for round_number in range(60):
            while len(running) < 4:
                running.append(fork(lambda: write(drawn.randrange(1 << 30))))
            # Work done here is what passes the time until the next kill.
            for number in range(drawn.randrange(1, 8)):
                key = "abcdef"[number % 6]
                with cache.alone(key, 300) as alone:
                    assert alone
                    cache.put(key, value(key, round_number))
                    assert cache.get(key) == value(key, round_number)
            victim = running.pop(drawn.randrange(len(running)))
            os.kill(victim, signal.SIGKILL)
            assert ended(victim) == -signal.SIGKILL
            assert all(whole(key, cache.get(key)) for key in "abcdef")
    finally:
        for process in running:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
