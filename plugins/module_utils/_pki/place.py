# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What _plan.pki_place has to know of the controller: reads folders, mounts and the environment, and changes nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._plan import pki_place
from .authority import CaState
from .files import LOCK_FILE
from .read import fingerprint_of

# Made by Docker and by Podman at the root of every container.
_MARKERS = ("/.dockerenv", "/run/.containerenv")
_PODS = {"KUBERNETES_SERVICE_HOST": "a pod of Kubernetes", "AWX_PRIVATE_DATA_DIR": "a job of AWX", "AWX_HOST": "a job of AWX"}
_SYSTEM_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - places to keep away from, nothing is written there
_THROW_AWAY_FILE_SYSTEMS = ("overlay", "aufs", "fuse.fuse-overlayfs", "tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mountinfo")


def source_folders(sources: Iterable[str]) -> dict[str, str]:
    """Folder of each inventory source -> the same without links. A list of hosts (`a,b,`) and what does not exist have none."""
    folders: dict[str, str] = {}
    for source in sources:
        path = Path(os.path.abspath(source))
        if "," in source or not path.exists():
            continue
        folder = path if path.is_dir() else path.parent
        folders[str(folder)] = str(folder.resolve())
    return folders


def throw_away(folder: str, environment: Mapping[str, str]) -> str:
    """What takes this folder away when it ends, or an empty string. A volume of a container lasts, that of a pod is nobody's to judge."""
    for variable, what in _PODS.items():
        if environment.get(variable):
            return what
    try:
        device = _device(folder)
        if any(os.path.exists(marker) for marker in _MARKERS) and device == _device("/"):
            return "the container that Ansible runs in"
    except OSError:
        return ""
    kind = _file_system(device)
    return f"its file system ({kind})" if kind in _THROW_AWAY_FILE_SYSTEMS else ""


def _device(path: str) -> int:
    return os.stat(path).st_dev


def _file_system(device: int) -> str:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""


def look(
    name: str,
    given: str,
    sources: Sequence[str],
    old_roots: Iterable[str],
    temporary: Iterable[str],
    ca_state: Callable[[Path], CaState],
    clients: Callable[[Path], list[str]],
) -> dict[str, Any]:
    """What the module ca_info returns. `old_roots` are folders in which an older version may have made a folder `pki`."""
    folders = source_folders(sources)
    candidates = {
        f"{folder}/{sub}/{name}" for folder in {*folders.values(), *old_roots} for sub in (pki_place.FOLDER, pki_place.OLD_FOLDER)
    }
    authorities = {path for path in candidates if any(Path(path, file).exists() for file in ("ca.crt", "ca.key", LOCK_FILE))}
    surroundings = pki_place.Surroundings(
        folders,
        {os.path.realpath(folder) for folder in (*_SYSTEM_TEMPORARY, tempfile.gettempdir(), *temporary)},
        {folder: throw_away(folder, os.environ) for folder in folders.values()},
        authorities,
    )
    place = pki_place.place(name, given, os.path.realpath(given) if given else "", surroundings)
    # Also where it must not stay: whoever is told to move it wants to know whether it is the right one.
    where = place.path or given
    state = ca_state(Path(where)) if where.startswith("/") else None
    left = []
    for path in sorted({os.path.realpath(path) for path in [*authorities, *([given] if place.problem and given else [])]}):
        has_key = Path(path, "ca.key").exists()
        if (not place.path or path != os.path.realpath(place.path)) and (has_key or Path(path, "ca.crt").exists()):
            fingerprint = fingerprint_of(Path(path, "ca.crt"))
            left.append(
                {"path": path, "fingerprint": fingerprint, "has_key": has_key, "new_exists": bool(place.path) and Path(place.path).exists()}
            )
    return {
        "path": place.path,
        "certificate": str(state.certificate) if state else "",
        "private_key": str(state.private_key) if state else "",
        "fingerprint": state.fingerprint if state else "",
        "has_key": bool(state and state.has_key),
        "authorities": list(state.authorities) if state else [],
        "trusted": state.trusted if state else "",
        "clients": clients(Path(where)) if where.startswith("/") else [],
        "problem": place.problem or (state.problem if state else ""),
        "left": left,
        "warnings": [place.warning] if place.warning else [],
    }
