# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a Go that is new enough; where there is none, the toolchain comes from the module proxy, fetched by an older Go."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

from . import host
from .console import LabError, say
from .process import output
from .settings import ARCH, CACHE, VERSIONS

MINIMUM = tuple(int(part) for part in VERSIONS["GO_MINIMUM"].split("."))
OWN = CACHE / "go" / VERSIONS["GO_TOOLCHAIN"]


def _version(go: str) -> tuple[int, ...]:
    words = output(["env", "GOTOOLCHAIN=local", go, "version"])
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", words)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)


@cache
def go() -> tuple[str, dict[str, str]]:
    """The `go` command and the environment to run it in. Never asks for cgo, never looks at a workspace around the cache."""
    return _find(), {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}


def _find() -> str:
    candidates = [shutil.which("go"), "/usr/local/go/bin/go", str(OWN / "bin" / "go")]
    present = [name for name in candidates if name and os.access(name, os.X_OK)]
    for name in present:
        if _version(name) >= MINIMUM:
            return name
    if not present:
        try:
            host.need_commands("go")
        except LabError as error:
            raise LabError(f"Go >= {VERSIONS['GO_MINIMUM']} is needed to build the lab (https://go.dev/dl); {error}", error.log) from error
        present = [shutil.which("go") or "go"]
        if _version(present[0]) >= MINIMUM:
            return present[0]
    return _fetch(present[0])


def _fetch(old: str) -> str:
    """A Go toolchain is a Go module, so any `go` since 1.12 can download and verify it, also one too old to switch to it."""
    name = f"golang.org/toolchain@v0.0.1-go{VERSIONS['GO_TOOLCHAIN']}.linux-{ARCH}"
    have = ".".join(map(str, _version(old)))
    say(f"host: Go {have} is older than {VERSIONS['GO_MINIMUM']}; fetching the Go module {name}")
    scratch = OWN.with_name(f"{OWN.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        # outside any module, so that an old `go` does not meet a go.mod it cannot read
        told = output(
            ["env", "-C", str(scratch.parent), "GOTOOLCHAIN=local", "GO111MODULE=on", "GOWORK=off", old, "mod", "download", "-json", name],
            what="host: fetching the Go toolchain",
            timeout=900,
        )
        folder = Path(json.loads(told)["Dir"])
    except (LabError, ValueError, KeyError) as error:
        raise LabError(
            f"Go >= {VERSIONS['GO_MINIMUM']} is needed, {old} is {have} and could not fetch {name} ({error}); install Go from https://go.dev/dl"
        ) from error
    shutil.copytree(folder, scratch, copy_function=shutil.copyfile)  # module caches are read-only, and without execute bits
    for tool in [*(scratch / "bin").iterdir(), *(scratch / "pkg" / "tool").rglob("*")]:
        if tool.is_file():
            tool.chmod(0o755)
    scratch.replace(OWN)
    return str(OWN / "bin" / "go")
