# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments of their own, for what some tests need and the others must not have. Made once, in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

from .collection import CHECKOUT, cache_root


@cache
def environment(name: str) -> Path:
    """The virtual environment with tools/requirements-`name`.txt."""
    requirements = CHECKOUT / "tools" / f"requirements-{name}.txt"
    version = "{}.{}.{}".format(*sys.version_info[:3])
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache_root() / f"venv-{name}-{digest}-py{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", requirements], check=True)
            (folder / "ready").touch()
    return folder
