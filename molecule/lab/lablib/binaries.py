# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds every binary from Go modules into the cache, each group only when its versions or flags have changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .console import LabError, say
from .golang import go
from .process import logged, output
from .settings import ARCH, BIN, BUILD, CACHE, HERE, LOGS, VERSIONS
from .state import exclusive

_K8S, _CONTAINERD = VERSIONS["KUBERNETES"], VERSIONS["CONTAINERD"]
_ETCD, _NATS, _KIND, _KWOK = VERSIONS["ETCD"], VERSIONS["NATS"], VERSIONS["KIND"], VERSIONS["KWOK"]


@dataclass(frozen=True)
class Group:
    """Binaries that are built from one go.mod (`requires`), or by `go install` (a package with its version)."""

    name: str
    packages: dict[str, str]  # binary -> package
    requires: dict[str, str] = field(default_factory=dict)  # module -> version
    variables: dict[str, str] = field(default_factory=dict)  # linker's -X
    tags: str = ""
    staging: str = ""  # version of the modules that the main module replaces with ./staging/...
    source: Path | None = None  # a folder of our own

    @property
    def flags(self) -> list[str]:
        values = "".join(f" -X {name}={value}" for name, value in sorted(self.variables.items()))
        return ["-trimpath", "-ldflags", f"-s -w{values}", *(["-tags", self.tags] if self.tags else [])]

    @property
    def key(self) -> str:
        own = self.source.read_text() if self.source else ""
        told = json.dumps([self.packages, self.requires, self.flags, self.staging, own, ARCH], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def stamp(self) -> Path:
        return CACHE / "stamps" / self.name

    @property
    def current(self) -> bool:
        built = all((BIN / binary).exists() for binary in self.packages)
        return built and self.stamp.exists() and self.stamp.read_text() == self.key


_component = "k8s.io/component-base/version"
GROUPS = {
    group.name: group
    for group in (
        Group("kind", {"kind": f"sigs.k8s.io/kind@v{_KIND}"}),
        Group("pause", {"pause": "main.go"}, source=HERE / "images" / "pause" / "main.go"),
        Group("nats", {"nats-server": f"github.com/nats-io/nats-server/v2@v{_NATS}"}),
        Group(
            "etcd",
            {"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3", "etcdutl": "go.etcd.io/etcd/etcdutl/v3"},
            requires={f"go.etcd.io/etcd/{part}/v3": _ETCD for part in ("server", "etcdctl", "etcdutl")},
        ),
        Group(
            "containerd",
            {name: f"github.com/containerd/containerd/v2/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
            requires={"github.com/containerd/containerd/v2": _CONTAINERD},
            variables={"github.com/containerd/containerd/v2/version.Version": f"v{_CONTAINERD}"},
            tags="no_btrfs no_devmapper no_zfs",
        ),
        Group(
            "kubernetes",
            {
                name: f"k8s.io/kubernetes/cmd/{name}"
                for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubeadm", "kubectl")
            },
            requires={"k8s.io/kubernetes": _K8S},
            variables={
                f"{_component}.gitVersion": f"v{_K8S}",
                f"{_component}.gitMajor": _K8S.partition(".")[0],
                f"{_component}.gitMinor": _K8S.split(".")[1],
            },
            staging=f"0.{_K8S.split('.', 1)[1]}",
        ),
        Group("kwok", {"kwok": f"sigs.k8s.io/kwok/cmd/kwok@v{_KWOK}"}),
    )
}


DEFAULT = tuple(name for name in GROUPS if name != "kwok")  # simulated nodes are for benchmarks only, and no lab needs them


def ensure(*names: str) -> None:
    """Builds the groups that are not current (without arguments all but kwok), one after the other: a build uses all cores itself."""
    stale = [GROUPS[name] for name in names or DEFAULT if not GROUPS[name].current]
    for number, group in enumerate(stale, start=1):
        with exclusive(f"build-{group.name}"):
            if group.current:  # built by somebody else, while we waited for the lock
                continue
            say(f"binaries {number}/{len(stale)}: {', '.join(group.packages)} from Go modules (incremental in Go's own cache)")
            _build(group)


def _build(group: Group) -> None:
    command, env = go()
    work = BUILD / f"go-{group.name}"
    result = work / "bin"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir(parents=True)
    log = LOGS / f"build-{group.name}.log"
    total = 0
    build = ["nice", "-n", "5", command]
    packages = list(group.packages.values())
    if group.source:
        build += ["build", *group.flags, "-o", f"{result}/{next(iter(group.packages))}", str(group.source)]
    elif group.requires:
        (work / "go.mod").write_text(_go_mod(group, command, env))
        (work / "go.sum").unlink(missing_ok=True)
        listing = ["env", "-C", str(work), *(f"{name}={value}" for name, value in env.items()), command, "list", "-mod=mod", "-deps"]
        if group.tags:
            listing += ["-tags", group.tags]
        total = len(output([*listing, *packages], what=f"{group.name}: fetching modules", timeout=1800).splitlines())
        build += ["build", "-mod=mod", "-v", *group.flags, "-o", f"{result}/", *packages]
    else:
        build += ["install", "-v", *group.flags, *packages]
        env = {**env, "GOBIN": str(result)}

    def progress(text: str) -> str:
        lines = text.splitlines()[1:]
        fetched = sum(line.startswith("go: downloading") for line in lines)
        compiled = [line for line in lines if not line.startswith("go:")]
        if not compiled:
            return f"{fetched} modules fetched"
        return f"{len(compiled)}{f' of at most {total}' if total else ''} packages compiled, now {compiled[-1]}"

    logged(build, what=f"{group.name}: compiling", log=log, cwd=work, env=env, progress=progress)
    BIN.mkdir(parents=True, exist_ok=True)
    for binary, package in group.packages.items():
        built = result / (binary if group.source else _default_name(package))
        if not built.exists():
            raise LabError(f"{group.name}: the build ended without {built.name}", log)
        built.replace(BIN / binary)
    group.stamp.parent.mkdir(parents=True, exist_ok=True)
    group.stamp.write_text(group.key)


def _default_name(package: str) -> str:
    """The name that `go build` gives a command: the last part of its path that is not a major version."""
    parts = [part for part in package.partition("@")[0].split("/") if not re.fullmatch(r"v[0-9]+", part)]
    return parts[-1]


def _go_mod(group: Group, command: str, env: dict[str, str]) -> str:
    """A go.mod of our own. Kubernetes' modules outside its repository need the replacements that its go.mod makes inside it."""
    lines = ["module lab", "", f"go {VERSIONS['GO_MINIMUM']}", ""]
    lines += [f"require {module} v{version}" for module, version in group.requires.items()]
    if group.staging:
        module, version = next(iter(group.requires.items()))
        variables = [f"{name}={value}" for name, value in env.items()]
        told = output(["env", "-C", os.sep, *variables, command, "mod", "download", "-json", f"{module}@v{version}"], timeout=900)
        upstream = Path(json.loads(told)["GoMod"]).read_text()
        names = sorted(set(re.findall(r"^\s*(\S+) => \./staging/", upstream, re.MULTILINE)))
        # required at that version too (upstream says v0.0.0, which the compiler would write into paths)
        used = re.findall(r"^\s*(\S+) v0\.0\.0(?: // indirect)?$", upstream, re.MULTILINE)
        lines += [f"require {name} v{group.staging}" for name in sorted(set(used) & set(names))]
        lines += [f"replace {name} => {name} v{group.staging}" for name in names]
    return "\n".join(lines) + "\n"
