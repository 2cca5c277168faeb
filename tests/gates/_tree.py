# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gates share: the files of the project, a clean copy of them, and how a gate ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.collection import CHECKOUT, cache_root, collections_path

__all__ = ["CHECKOUT", "cache_root", "clean_copy", "collections_path", "files", "finish", "require", "run"]


def files(*patterns: str) -> list[Path]:
    """The project's own files, relative to the checkout: what git tracks and what it would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *patterns]
    names = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    return [Path(name) for name in names if name and (CHECKOUT / name).is_file()]


@contextmanager
def clean_copy(without: Sequence[str] = ()) -> Iterator[Path]:
    """A copy of the project's own files as `ansible_collections/hostnet/multicluster` in a folder of its own.

    `without` names top-level folders that are left out.
    """
    with TemporaryDirectory(prefix="hostnet-copy-") as temporary:
        root = Path(temporary) / "ansible_collections" / "hostnet" / "multicluster"
        for name in files():
            if name.parts[0] in without:
                continue
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target, follow_symlinks=False)
        yield root


def run(command: Sequence[object], cwd: Path = CHECKOUT, **environment: str) -> None:
    """Runs a command whose output is the gate's output; a failure ends the gate with the command's exit code."""
    print(f"$ {' '.join(str(word) for word in command)}", flush=True)
    own = str(Path(sys.executable).parent)
    path = environment.pop("PATH", os.environ["PATH"])
    merged = {**os.environ, **environment, "PATH": path if path.startswith(own) else f"{own}{os.pathsep}{path}"}
    code = subprocess.run([str(word) for word in command], cwd=cwd, env=merged, stdin=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        sys.exit(f"exit code {code} from {command[0]}")


def require(found: Sequence[object], what: str) -> None:
    """A gate with nothing to look at has proved nothing, so it fails."""
    if not found:
        sys.exit(f"nothing to check: there are no {what}")


def finish(problems: Sequence[str], checked: str) -> NoReturn:
    """Ends the gate: prints the problems, or what was checked when there are none."""
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems in {checked}")
    sys.exit(1 if problems else 0)
