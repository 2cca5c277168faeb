# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systems' images: pulled where a registry answers, built from the same versions under the same references elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import binaries, docker
from .console import LabError, say
from .process import output
from .registry import pull
from .rootfs import ensure_rootfs, rootfs_key
from .settings import HERE, IMAGE_POLICY, IMAGES, LOGS, SYSTEM_IMAGES
from .state import exclusive

_GROUPS = {"etcd": "etcd", "nats": "nats", "busybox": ""}  # folder in images/ -> group of binaries


def ensure_system_images() -> dict[str, str]:
    """Makes sure that every system's image is in the local Docker; returns reference -> image id."""
    for reference, others in SYSTEM_IMAGES.items():
        name = reference.rsplit("/", 1)[1].split(":")[0]
        if _current(reference, name):
            continue
        with exclusive(f"build-image-{name}"):
            if not _current(reference, name) and not pull(reference, (reference, *others)):
                _build(reference, name)
    return {reference: image_id(reference) for reference in SYSTEM_IMAGES}


def _current(reference: str, name: str) -> bool:
    present = docker.image(reference)
    return bool(present and (present.key == _key(name) or (present.pulled and IMAGE_POLICY != "build")))


def image_id(reference: str) -> str:
    present = docker.image(reference)
    if not present:
        raise LabError(f"no image {reference!r} in the local Docker; build or pull it first")
    return present.id


def _key(name: str) -> str:
    digest = hashlib.sha256()
    for path in sorted((HERE / "images" / name).iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    if _GROUPS[name]:
        digest.update(binaries.GROUPS[_GROUPS[name]].key.encode())
    digest.update(rootfs_key().encode())
    return digest.hexdigest()


def _build(reference: str, name: str) -> None:
    group = _GROUPS[name]
    if group:
        binaries.ensure(group)
    ensure_rootfs()
    say(f"building {reference}")
    docker.build(reference, docker.context(name, binaries.GROUPS[group].packages if group else ()), _key(name), LOGS / f"image-{name}.log")


def tar(reference: str, identity: str) -> Path:
    """The image as a file, saved once per image id, for nodes that come now or later."""
    path = IMAGES / f"{docker.file_name(reference)}-{identity.removeprefix('sha256:')[:12]}.tar"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # The first workers of a lab come at the same time, and all of them want it.
    with exclusive(f"save-{docker.file_name(reference)}"):
        if not path.exists():
            fresh = path.with_suffix(".new")
            output(["docker", "save", "--output", str(fresh), reference], what=f"saving {reference}", timeout=600)
            fresh.replace(path)
            for old in path.parent.glob(f"{docker.file_name(reference)}-????????????.tar"):
                if old != path:
                    old.unlink()
    return path
