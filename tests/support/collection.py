# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the collection under test lies, as Python and Ansible must be told."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def cache_root() -> Path:
    """The folder outside the checkout that keeps what is slow to make: binaries, virtual environments."""
    given = os.environ.get("HOSTNET_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hostnet-multicluster"


@cache
def collections_path() -> Path:
    """A folder holding `ansible_collections/hostnet/multicluster` as a link to this checkout.

    Made fresh for each process when tools/setup has not made the checkout's own, so that a plain `pytest` in any
    virtual environment works too.
    """
    own = CHECKOUT / ".ansible" / "collections"
    link = own / "ansible_collections" / "hostnet" / "multicluster"
    if link.is_dir() and link.resolve() == CHECKOUT:
        return own
    folder = Path(tempfile.mkdtemp(prefix="hostnet-collections-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = folder / "ansible_collections" / "hostnet"
    home.mkdir(parents=True)
    (home / "multicluster").symlink_to(CHECKOUT)
    return folder
