# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systems' images: pulled where a registry answers, built from the same versions under the same references elsewhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from functools import cache
from pathlib import Path

from . import binaries, docker
from .console import LabError, say
from .node_image import ensure_rootfs, rootfs_key
from .process import logged, output
from .settings import BIN, BUILD, HERE, IMAGE_POLICY, IMAGES, LOGS, SYSTEM_IMAGES

_HOSTS = {"docker.io": "registry-1.docker.io"}
_GROUPS = {"etcd": "etcd", "nats": "nats", "busybox": ""}  # folder in images/ -> group of binaries


@cache
def registry_answers(registry: str) -> bool:
    """One short try per registry and command; only this decides between pulling and building in `auto`."""
    where = _HOSTS.get(registry, registry)

    def connect() -> bool:
        with socket.create_connection((where, 443), timeout=3):
            return True

    pool = ThreadPoolExecutor(1)  # a name server that does not answer has no timeout of ours
    try:
        return pool.submit(connect).result(timeout=4)
    except (OSError, Late):
        return False
    finally:
        pool.shutdown(wait=False)


def pull(reference: str, sources: Iterable[str]) -> bool:
    """Tries the sources in order; the image then has `reference`. False: it has to be built."""
    if IMAGE_POLICY == "build":
        return False
    for source in sources:
        registry = source.split("/")[0] if "." in source.split("/")[0] else "docker.io"
        if not registry_answers(registry):
            continue
        say(f"pulling {source}")
        try:
            logged(["docker", "pull", source], what=f"pulling {source}", log=LOGS / f"pull-{_file_name(source)}.log", timeout=900)
        except LabError as error:
            say(f"{error}")
            continue
        if source != reference:
            docker.docker("tag", source, reference)
        return True
    if IMAGE_POLICY == "pull":
        raise LabError(f"{reference} cannot be pulled, and HOSTNET_LAB_IMAGES=pull forbids to build it")
    return False


def ensure_system_images() -> dict[str, str]:
    """Makes sure that every system's image is in the local Docker; returns reference -> image id."""
    for reference, others in SYSTEM_IMAGES.items():
        name = reference.rsplit("/", 1)[1].split(":")[0]
        present = docker.image(reference)
        if present and (present.pulled or present.key == _key(name)) and not (present.pulled and IMAGE_POLICY == "build"):
            continue
        if not pull(reference, (reference, *others)):
            _build(reference, name)
    return {reference: image_id(reference) for reference in SYSTEM_IMAGES}


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
    docker.build(reference, context(name, binaries.GROUPS[group].packages if group else ()), _key(name), LOGS / f"image-{name}.log")


def context(name: str, from_bin: Iterable[str], folder: Path | None = None) -> Path:
    """A build context in the cache: the files of images/<name> and links to the binaries."""
    work = BUILD / f"image-{name}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder or HERE / "images" / name, work)
    for binary in from_bin:
        try:
            os.link(BIN / binary, work / binary)
        except OSError:
            shutil.copy2(BIN / binary, work / binary)
    return work


def tar(reference: str, identity: str) -> Path:
    """The image as a file, saved once per image id, for nodes that come now or later."""
    path = IMAGES / f"{_file_name(reference)}-{identity.removeprefix('sha256:')[:12]}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        output(["docker", "save", "--output", str(fresh), reference], what=f"saving {reference}", timeout=600)
        fresh.replace(path)
        for old in path.parent.glob(f"{_file_name(reference)}-????????????.tar"):
            if old != path:
                old.unlink()
    return path


def _file_name(reference: str) -> str:
    return reference.replace("/", "_").replace(":", "_").replace("@", "_")
