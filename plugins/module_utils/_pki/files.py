# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the pki folder: its lock, their modes, and writing many of them, all or none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .request import PkiError

T = TypeVar("T")
LOCK_FILE = ".lock"
IGNORE_FILE = ".gitignore"
LOCK_SECONDS = 120.0
LOCK_POLL_SECONDS = 0.05
FOLDER_MODE = 0o700
CERTIFICATE_MODE = 0o644
KEY_MODE = 0o600
# fsync waits for the disk, not for the processor, and a file system commits several of them together.
WRITERS = 16


@dataclass(frozen=True, slots=True)
class File:
    # Text: there are thousands, and pathlib takes its time with each.
    path: str
    data: bytes = field(repr=False)
    mode: int


def wrong_mode(path: Path, wanted: int) -> tuple[Path, int, int] | None:
    """(path, mode, wanted mode) for a private key that others may read; None where the mode is as narrow or there is no file."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return None
    return (path, mode, wanted) if mode & ~wanted else None


def shared_folder(folder: Path) -> tuple[Path, int, int] | None:
    """(folder, mode, wanted mode) where other users may write into a folder of ours, and so replace a key; None where they may not, and where there is none.

    Raises PkiError where it is not ours alone to say who may: of another user, with a sticky bit as /tmp has, or with something else in it.
    """
    try:
        found = folder.stat()
        if not stat.S_ISDIR(found.st_mode) or not found.st_mode & 0o022:
            return None
        ours = (folder / LOCK_FILE).exists() or (folder.parent / LOCK_FILE).exists() or not any(folder.iterdir())
    except OSError:
        # Whoever reads or writes there finds out.
        return None
    mode = found.st_mode & 0o7777
    if mode & stat.S_ISVTX or not ours or os.geteuid() not in (0, found.st_uid):
        raise PkiError(
            f"pki folder: other users may write into {folder} (mode {mode:04o}, owner {found.st_uid}), and so replace the keys in it: run "
            f"`chmod go-w {shlex.quote(str(folder))}`, or set pki_dir to a folder of yours alone"
        )
    return folder, mode, mode & ~0o022


def check_writable(folders: set[str]) -> None:
    """Raise PkiError where a file could not be created in one of the folders (or the folder itself could not)."""
    tried: set[str] = set()
    for folder in sorted(folders):
        nearest = folder
        while not os.path.lexists(nearest) and nearest != os.path.dirname(nearest):
            nearest = os.path.dirname(nearest)
        if nearest in tried:  # a thousand new folders are all made in one
            continue
        tried.add(nearest)
        if not os.path.isdir(nearest):
            raise PkiError(f"pki folder: {folder} cannot be created, because {nearest} is not a folder")
        try:
            # A file without a name that is gone at once. Modes alone say nothing of root and of file systems that take no files.
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            raise PkiError(
                f"pki folder: {nearest} is not writable for this user ({error.strerror}): set pki_dir to a folder of yours, or correct its "
                "owner or mode"
            ) from error


def _temporary(path: str) -> str:
    # A fixed name: what a killed run left behind is taken away by the next one. The lock keeps writers apart.
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.new")


def _write_temporary(file: File) -> None:
    # A file of our own making, or none: one that somebody else has put there would stay theirs.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_temporary(file.path))
    handle = os.open(_temporary(file.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, KEY_MODE)
    try:
        os.fchmod(handle, file.mode)
        data = file.data
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _side_by_side(function: Callable[[T], None], items: Sequence[T]) -> None:
    """Calls `function` for all items, with so many at a time as there are WRITERS. Raises what the first one to fail raises."""

    def some(first: int) -> None:
        for item in items[first::WRITERS]:
            function(item)

    with ThreadPoolExecutor(max_workers=WRITERS) as pool:
        list(pool.map(some, range(min(WRITERS, len(items)))))


def write_files(files: Sequence[File]) -> None:
    """Write all files beside their places, and only when all are on disk move them there. Raises PkiError."""
    moved = 0
    try:
        folders = dict.fromkeys(os.path.dirname(file.path) for file in files)
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, FOLDER_MODE)
        _side_by_side(_write_temporary, files)
        for file in files:
            os.replace(_temporary(file.path), file.path)
            moved += 1
        _side_by_side(_sync_folder, list({**folders, **dict.fromkeys(os.path.dirname(folder) for folder in folders)}))
    except OSError as error:
        for file in files[moved:]:
            with contextlib.suppress(OSError):
                os.unlink(_temporary(file.path))
        raise PkiError(
            f"pki folder: {error.filename or os.path.dirname(files[0].path)} cannot be written: {error.strerror} "
            f"({moved} of {len(files)} files are in place; run again when this is repaired)"
        ) from error


@contextlib.contextmanager
def folder_lock(pki_dir: Path, *, create: bool) -> Iterator[bool]:
    """Hold the folder's lock; yields False, without a lock, where the lock file does not exist and must not be made.

    The kernel gives the lock back when its holder dies, so the file itself means nothing and stays.
    """
    path = pki_dir / LOCK_FILE
    try:
        if create:
            pki_dir.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            # An inventory is in a version control more often than not. Only in a folder of our own: another one has its own rules.
            if not any(pki_dir.iterdir()):
                ignore = pki_dir / IGNORE_FILE
                ignore.write_text("*\n")
                ignore.chmod(CERTIFICATE_MODE)
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), KEY_MODE)
    except OSError as error:
        if create:
            raise PkiError(f"pki folder: {path} cannot be written: {error.strerror}") from error
        yield False
        return
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise PkiError(f"pki folder: {path} cannot be locked: {error.strerror}") from error
                if time.monotonic() >= deadline:
                    raise PkiError(
                        f"pki folder: another run has held {path} for {LOCK_SECONDS:g} seconds: wait for it to end, then run again"
                    ) from None
                time.sleep(LOCK_POLL_SECONDS)
        yield True
    finally:
        os.close(handle)
