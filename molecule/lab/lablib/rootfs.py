# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's root file system, which nodes and the busybox image are made of."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from . import docker, host
from .console import LabError, say
from .process import logged, output
from .settings import ARCH, BUILD, HERE, IMAGES, LOGS, VERSIONS
from .state import exclusive

ROOTFS = "hostnet-lab/rootfs"


def _packages() -> list[str]:
    lines = (HERE / "node-image" / "packages").read_text().splitlines()
    return sorted(word for line in lines if not line.startswith("#") for word in line.split())


def rootfs_key() -> str:
    return hashlib.sha256(" ".join([VERSIONS["DEBIAN"], ARCH, *_packages()]).encode()).hexdigest()


def ensure_rootfs() -> None:
    """Debian's root file system as an image, kept as a tar in the cache so that a pruned Docker does not mean debootstrap again."""
    key = rootfs_key()
    if _current(key):
        return
    with exclusive("build-rootfs"):
        if not _current(key):
            _import(key)


def _current(key: str) -> bool:
    present = docker.image(ROOTFS)
    return bool(present and present.key == key)


def _import(key: str) -> None:
    tar = IMAGES / f"rootfs-{key[:12]}.tar"
    if not tar.exists():
        _debootstrap(tar)
    say(f"importing {tar.name}")
    command = ["docker", "import", "--change", f"LABEL {docker.KEY_LABEL}={key}", str(tar), f"{ROOTFS}:latest"]
    output(command, what="importing the root file system", timeout=300)


def _debootstrap(tar: Path) -> None:
    host.need_commands("debootstrap")
    if os.geteuid() != 0:
        raise LabError("debootstrap needs root; run `lab up` as root the first time")
    mirror = host.default_mirror()
    say(f"root file system: debootstrap {VERSIONS['DEBIAN']} from {mirror}")
    folder = BUILD / "rootfs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tar.parent.mkdir(parents=True, exist_ok=True)
    # a host that is not Debian may lack its keyring; debootstrap then says so
    logged(
        ["debootstrap", "--variant=minbase", f"--include={','.join(_packages())}", VERSIONS["DEBIAN"], str(folder), mirror],
        what="root file system: debootstrap",
        log=LOGS / "debootstrap.log",
    )
    for path in (folder / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()
    fresh = tar.with_suffix(".new")
    output(["tar", "-C", str(folder), "--exclude=./var/lib/apt/lists/*", "-cf", str(fresh), "."], what="root file system: tar")
    fresh.replace(tar)
    shutil.rmtree(folder)
