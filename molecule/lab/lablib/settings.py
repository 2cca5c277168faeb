# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie and which versions are wanted: environment variables, folders of the cache, versions.env."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from .console import LabError

HERE = Path(__file__).resolve().parent.parent
CHECKOUT = HERE.parent.parent
RBAC_FILE = CHECKOUT / "docs" / "rbac.yaml"
DEFAULT_SHAPE = "east:3,west:2"

CACHE = Path(
    os.environ.get("HOSTNET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hostnet-multicluster"
).absolute()
BIN = CACHE / "bin"
IMAGES = CACHE / "images"
BUILD = CACHE / "build"
LOGS = CACHE / "log"

NAME = os.environ.get("HOSTNET_LAB_NAME", "")
PREFIX = f"{NAME}-" if NAME else ""
LAB = CACHE / (f"lab-{NAME}" if NAME else "lab")
NETWORK = f"{PREFIX}hostnet-lab"
IMAGE_POLICY = os.environ.get("HOSTNET_LAB_IMAGES") or "auto"


def check() -> None:
    """Refuses environment variables that the lab does not understand, before anything is done."""
    if NAME and not re.fullmatch(r"[a-z][a-z0-9]{0,9}", NAME):
        raise LabError(f"HOSTNET_LAB_NAME={NAME!r}: use at most 10 lower-case letters and digits, a letter first")
    if IMAGE_POLICY not in ("auto", "build", "pull"):
        raise LabError(f"HOSTNET_LAB_IMAGES={IMAGE_POLICY!r}: use auto, build or pull")
    if os.environ.get("HOSTNET_LAB_IP_FAMILY", "ipv4") != "ipv4":
        raise LabError("HOSTNET_LAB_IP_FAMILY: the lab has only ipv4 so far")


def _versions() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in (HERE / "versions.env").read_text().splitlines() if "=" in line and line[0] != "#")
    return {key.strip(): value.strip() for key, value in pairs}


VERSIONS = _versions()
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
NODE_IMAGE = f"kindest/node:v{VERSIONS['KUBERNETES']}"
WORKER_IMAGE = f"hostnet-lab/worker:v{VERSIONS['KUBERNETES']}"  # beside a node image of our own build
# reference under which playbooks know an image -> other places that hold the same image
SYSTEM_IMAGES: dict[str, tuple[str, ...]] = {
    f"quay.io/coreos/etcd:v{VERSIONS['ETCD']}": (f"gcr.io/etcd-development/etcd:v{VERSIONS['ETCD']}",),
    f"docker.io/library/nats:{VERSIONS['NATS']}": (),
    f"docker.io/library/busybox:{VERSIONS['BUSYBOX']}": (),
}
