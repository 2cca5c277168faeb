# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls official images where a registry answers, within a short deadline; elsewhere the callers build."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from functools import cache

from . import docker
from .console import LabError, say
from .process import logged
from .settings import IMAGE_POLICY, LOGS

_HOSTS = {"docker.io": "registry-1.docker.io"}


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
            logged(["docker", "pull", source], what=f"pulling {source}", log=LOGS / f"pull-{docker.file_name(source)}.log", timeout=900)
        except LabError as error:
            say(f"{error}")
            continue
        if source != reference:
            docker.docker("tag", source, reference)
        return True
    if IMAGE_POLICY == "pull":
        raise LabError(f"{reference} cannot be pulled, and HOSTNET_LAB_IMAGES=pull forbids to build it")
    return False
