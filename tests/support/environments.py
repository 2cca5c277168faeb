# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments for what cannot share the tests' own, or what few need: made when they are asked for, and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

from .collection import CHECKOUT, cache_root


@cache
def made(name: str) -> Path:
    """The virtual environment with tools/requirements-<name>.txt, made once in the cache, whoever else asks for it meanwhile."""
    requirements = CHECKOUT / "tools" / f"requirements-{name}.txt"
    version = "{}.{}.{}".format(*sys.version_info[:3])
    folder = cache_root() / f"venv-{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}-py{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip: list[str | Path] = [
                folder / "bin" / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                requirements,
            ]
            subprocess.run(pip, check=True)
            (folder / "ready").touch()
    return folder
