# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker in the background of something that is no Python: load.py begin FOLDER CHECKER-ARGUMENT..., and later load.py end FOLDER.

`begin` ends when the checker is READY. `end` prints its table and has its exit code. What an earlier `begin` left running is ended first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CHECKER = Path(__file__).resolve().parents[1] / "checker"
READY_SECONDS, END_SECONDS = 330.0, 900.0


def started(pid: int) -> str:
    """Which process has this number: empty where none has, or where it is no checker any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if stat[0] in ("Z", "X") else stat[19]
    except (OSError, IndexError):
        return ""


def running(folder: Path) -> int:
    """The checker of this folder, 0 where there is none."""
    try:
        pid, ticks = (folder / "pid").read_text().split()
    except (OSError, ValueError):
        return 0
    return int(pid) if started(int(pid)) == ticks else 0


def until_gone(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def begin(folder: Path, words: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if pid := running(folder):
        os.kill(pid, signal.SIGKILL)
        until_gone(folder, 10)
    for name in ("verdict.json", "code"):
        (folder / name).unlink(missing_ok=True)
    log = folder / "output.log"
    # The exit code outlives this program, which is not there to ask for it at the end.
    keep = "import pathlib, subprocess, sys, signal; signal.signal(signal.SIGTERM, lambda *_: run.terminate());\n"
    keep += "run = subprocess.Popen(sys.argv[2:]); pathlib.Path(sys.argv[1]).write_text(str(run.wait()))"
    command = [sys.executable, "-c", keep, str(folder / "code"), sys.executable, str(CHECKER), "--folder", str(folder), *words]
    with log.open("wb") as target:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.STDOUT, start_new_session=True)
    (folder / "pid").write_text(f"{process.pid} {started(process.pid)}")
    deadline = time.monotonic() + READY_SECONDS
    while "READY" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            print(log.read_text(errors="replace"))
            return 1
        time.sleep(0.2)
    return 0


def end(folder: Path) -> int:
    pid = running(folder)
    if pid:
        os.kill(pid, signal.SIGTERM)
    gone = until_gone(folder, END_SECONDS)
    print((folder / "output.log").read_text(errors="replace"))
    if not gone:
        os.killpg(pid, signal.SIGKILL)
        print(f"the checker did not end within {END_SECONDS:g} s")
        return 1
    try:
        return int((folder / "code").read_text())
    except (OSError, ValueError):
        print("the checker has been killed")
        return 1


if __name__ == "__main__":
    order, where, *rest = sys.argv[1:]
    sys.exit(begin(Path(where), rest) if order == "begin" else end(Path(where)))
