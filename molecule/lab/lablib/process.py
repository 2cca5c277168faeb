# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs commands: with a log, with a sign of life every ten seconds, in parallel, and none left behind after an interrupt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, TypeVar

from .console import LabError, say

T = TypeVar("T")
TICK = 10.0  # seconds between two signs of life
_running: set[subprocess.Popen[bytes]] = set()
_guard = threading.Lock()
_stopping = threading.Event()


def _start(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    with _guard:
        if _stopping.is_set():
            raise LabError("interrupted")
        try:
            # a session of its own, so that stop_all() ends a command together with its children
            process = subprocess.Popen(argv, start_new_session=True, **options)
        except FileNotFoundError as error:
            raise LabError(f"{argv[0]}: command not found") from error
        _running.add(process)
        return process


def _ended(process: subprocess.Popen[bytes]) -> None:
    """A command is over for us; one that still runs (we were interrupted) is ended, with its children."""
    with _guard:
        _running.discard(process)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def stop_all() -> None:
    """Ends what this lab command has started (not: containers)."""
    with _guard:
        _stopping.set()
        for process in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def output(
    argv: Sequence[str],
    *,
    what: str = "",
    data: bytes | None = None,
    stdin: IO[bytes] | None = None,
    ok: tuple[int, ...] = (0,),
    timeout: float = 300,
) -> str:
    """Stdout of a command. Fails with its last line of stderr, or after `timeout` seconds."""
    # From a file: a pipe that was not written to its end within one look is never written by the next one.
    with tempfile.TemporaryFile() as source:
        source.write(data or b"")
        source.seek(0)
        feed = stdin if stdin is not None else source
        return _output(argv, what, feed, ok, timeout)


def _output(argv: Sequence[str], what: str, feed: IO[bytes], ok: tuple[int, ...], timeout: float) -> str:
    process = _start(argv, stdin=feed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    begun = time.monotonic()
    try:
        while True:
            try:
                out, err = process.communicate(timeout=min(TICK, timeout))
                break
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - begun
                if seconds >= timeout:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise LabError(f"{what or ' '.join(argv[:4])}: no end after {seconds:.0f} s") from None
                if what:
                    say(f"{what}: {seconds:.0f} s so far")
    finally:
        _ended(process)
    if process.returncode not in ok:
        lines = [line for line in err.decode(errors="replace").splitlines() if line.strip() and "legacy builder" not in line]
        raise LabError(f"{what or ' '.join(argv[:4])}: {lines[-1].strip() if lines else f'exit code {process.returncode}'}")
    return out.decode(errors="replace")


def succeeds(argv: Sequence[str], timeout: float = 30) -> bool:
    try:
        output(argv, timeout=timeout)
    except LabError:
        return False
    return True


def logged(
    argv: Sequence[str],
    *,
    what: str,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[str], str] | None = None,
    timeout: float = 3600,
) -> None:
    """Runs a long command with all output in `log`; `progress` turns the log so far into words for the sign of life."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("wb") as sink:
        sink.write(f"+ {' '.join(argv)}\n".encode())
        sink.flush()
        process = _start(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=cwd, env={**os.environ, **(env or {})})
        try:
            while True:
                try:
                    process.wait(TICK)
                    break
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - begun
                    if seconds >= timeout:
                        os.killpg(process.pid, signal.SIGKILL)
                        raise LabError(f"{what}: no end after {seconds:.0f} s", log) from None
                    say(f"{what}: {seconds:.0f} s so far{_tail(log, progress)}")
        finally:
            _ended(process)
    if process.returncode != 0:
        raise LabError(f"{what}: failed with exit code {process.returncode}{_tail(log, None)}", log)


def _tail(log: Path, progress: Callable[[str], str] | None) -> str:
    text = log.read_text(errors="replace")
    if progress:
        words = progress(text)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        words = lines[-1][:160] if lines else ""
    return f" ({words})" if words else ""


def parallel(work: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Runs the functions at the same time; when some fail, the others still end, then all failures are told together."""
    if len(work) < 2:
        return {name: call() for name, call in work.items()}
    with ThreadPoolExecutor(max_workers=len(work)) as pool:
        futures = {pool.submit(call): name for name, call in work.items()}
        pending = set(futures)
        try:
            while pending:
                _, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:
            stop_all()
            raise
    failed = [(name, future.exception()) for future, name in futures.items() if future.exception()]
    for _, error in failed:
        if not isinstance(error, LabError):
            raise error  # type: ignore[misc]
    if len(failed) == 1:
        raise failed[0][1]  # type: ignore[misc]
    if failed:
        logs = [error.log for _, error in failed if isinstance(error, LabError) and error.log]
        raise LabError("; ".join(f"{error}" for _, error in failed), logs[0] if logs else None)
    return {name: future.result() for future, name in futures.items()}


def rest(seconds: float) -> None:
    """Time that has to pass, whatever happens meanwhile; an interrupt ends it."""
    if _stopping.wait(max(0.0, seconds)):
        raise LabError("interrupted")


def poll(check: Callable[[], T | None], *, deadline: float, every: float = 0.3, missing: Callable[[], str], quiet: bool = False) -> T:
    """Calls `check` until it returns something, for at most `deadline` seconds; then fails with what `missing` says."""
    end = time.monotonic() + deadline
    told = time.monotonic()
    while True:
        if _stopping.is_set():
            raise LabError("interrupted")
        found = check()
        if found is not None and found is not False:
            return found
        if time.monotonic() >= end:
            raise LabError(f"{missing()} (waited {deadline:.0f} s)")
        if time.monotonic() - told >= TICK and not quiet:
            told = time.monotonic()
            say(f"waiting: {missing()}")
        time.sleep(every)
