# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a node: the official one where it can run, else Debian's packages, our binaries and the control plane's images."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from . import binaries, docker, host
from .console import LabError, say
from .process import logged, output, parallel
from .settings import ARCH, BIN, BUILD, HERE, IMAGE_POLICY, IMAGES, LOGS, NODE_IMAGE, VERSIONS

ROOTFS = "hostnet-lab/rootfs"
BASE = "hostnet-lab/node-base"
FILES = HERE / "node-image"
_GROUPS = ("kubernetes", "containerd", "etcd", "pause")


def _packages() -> list[str]:
    lines = (FILES / "packages").read_text().splitlines()
    return sorted(word for line in lines if not line.startswith("#") for word in line.split())


def rootfs_key() -> str:
    return hashlib.sha256(" ".join([VERSIONS["DEBIAN"], ARCH, *_packages()]).encode()).hexdigest()


def ensure_rootfs() -> None:
    """Debian's root file system as an image, kept as a tar in the cache so that a pruned Docker does not mean debootstrap again."""
    key = rootfs_key()
    present = docker.image(ROOTFS)
    if present and present.key == key:
        return
    tar = IMAGES / f"rootfs-{key[:12]}.tar"
    if not tar.exists():
        _debootstrap(tar)
    say(f"importing {tar.name}")
    output(
        ["docker", "import", "--change", f"LABEL {docker.KEY_LABEL}={key}", str(tar), f"{ROOTFS}:latest"], what="importing the root file system", timeout=300
    )


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


def _key() -> str:
    digest = hashlib.sha256(rootfs_key().encode())
    for folder in (FILES, HERE / "images" / "control-plane", HERE / "images" / "etcd", HERE / "images" / "pause"):
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
    for name in _GROUPS:
        digest.update(binaries.GROUPS[name].key.encode())
    return digest.hexdigest()


def official_runs_here() -> bool:
    """kind's own images carry a systemd that no longer starts on cgroup v1, and units that need CAP_SYS_RESOURCE."""
    return not host.cgroup_v1() and not host.lacks_sys_resource()


def ensure_node_image() -> None:
    from .images import pull  # images.py builds upon this module

    present = docker.image(NODE_IMAGE)
    if present and present.key == _key():
        return
    if IMAGE_POLICY == "pull" or (IMAGE_POLICY == "auto" and official_runs_here()):
        if (present and present.pulled) or pull(NODE_IMAGE, (NODE_IMAGE,)):
            return
    parallel({"binaries": lambda: binaries.ensure(*_GROUPS), "rootfs": ensure_rootfs})
    _build()


def _build() -> None:
    from .images import context

    references = _control_plane_references()
    say(f"building {NODE_IMAGE} (control plane: {', '.join(sorted(references))})")
    key = _key()
    tars = _control_plane_images(references, key)
    log = LOGS / "image-node.log"
    folder = context(
        "node", ("kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr"), folder=FILES
    )
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("@PAUSE@", references["pause"]))
    docker.build(BASE, folder, key, log, {"KUBERNETES": VERSIONS["KUBERNETES"]})
    _preload(tars, key)
    shutil.rmtree(folder)


def _control_plane_references() -> dict[str, str]:
    """Names that kubeadm will ask for, by program. Without kube-proxy and CoreDNS: members on the host's network need neither."""
    told = output([str(BIN / "kubeadm"), "config", "images", "list", "--kubernetes-version", f"v{VERSIONS['KUBERNETES']}"])
    listed = {reference.rsplit("/", 1)[1].split(":")[0]: reference for reference in told.split()}
    return {name: reference for name, reference in listed.items() if name not in ("coredns", "kube-proxy")}


def _control_plane_images(references: dict[str, str], key: str) -> Path:
    from .images import context

    for name, reference in references.items():
        if name == "etcd":
            docker.build(reference, context("etcd", ("etcd", "etcdctl", "etcdutl")), key, LOGS / f"image-{name}.log")
        elif name == "pause":
            docker.build(reference, context("pause", ("pause",)), key, LOGS / f"image-{name}.log")
        else:
            docker.build(reference, context("control-plane", (name,)), key, LOGS / f"image-{name}.log", {"BINARY": name})
    tar = IMAGES / "control-plane.tar"
    output(["docker", "save", "--output", str(tar), *references.values()], what="saving the control plane's images")
    return tar


def _preload(tar: Path, key: str) -> None:
    """Puts the control plane's images into containerd's store of the node image: a container runs containerd, then is committed."""
    name = f"hostnet-lab-preload-{os.getpid()}"
    docker.docker("run", "--detach", "--name", name, "--privileged", "--entrypoint", "sleep", "--volume", f"{tar}:/images.tar:ro", BASE, "infinity")
    script = """set -eu
        containerd > /tmp/containerd.log 2>&1 & pid=$!
        tries=0
        until ctr version > /dev/null 2>&1; do
            tries=$((tries + 1)); [ "$tries" -lt 300 ] && kill -0 "$pid" || { tail -n 1 /tmp/containerd.log >&2; exit 1; }
            sleep 0.2
        done
        ctr -n k8s.io images import --all-platforms --no-unpack /images.tar > /dev/null
        kill "$pid"; wait "$pid" || true
        rm -f /tmp/containerd.log"""
    try:
        output(["docker", "exec", name, "sh", "-c", script], what="putting the control plane's images into the node image", timeout=300)
        changes = ('ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]', "CMD []", f"LABEL {docker.KEY_LABEL}={key}")
        options = [part for change in changes for part in ("--change", change)]
        output(["docker", "commit", *options, name, NODE_IMAGE], what=f"committing {NODE_IMAGE}", timeout=300)
    finally:
        docker.remove([name])
