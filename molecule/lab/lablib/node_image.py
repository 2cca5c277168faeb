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
from .console import say
from .process import output, parallel
from .registry import pull
from .rootfs import ensure_rootfs, rootfs_key
from .settings import BIN, HERE, IMAGE_POLICY, IMAGES, LOGS, NODE_IMAGE, VERSIONS, WORKER_IMAGE
from .state import exclusive

BASE = "hostnet-lab/node-base"
FILES = HERE / "node-image"
_GROUPS = ("kubernetes", "containerd", "etcd", "pause")


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
    if not _current():
        with exclusive("build-node"):
            if not _current():
                _pull_or_build()


def _current() -> bool:
    present = docker.image(NODE_IMAGE)
    return bool(present and present.key == _key() and worker_image() == WORKER_IMAGE)


def _pull_or_build() -> None:
    present = docker.image(NODE_IMAGE)
    official = IMAGE_POLICY == "pull" or (IMAGE_POLICY == "auto" and official_runs_here())
    if official and ((present and present.pulled) or pull(NODE_IMAGE, (NODE_IMAGE,))):
        return
    parallel({"binaries": lambda: binaries.ensure(*_GROUPS), "rootfs": ensure_rootfs})
    _build()


def _build() -> None:
    references = _control_plane_references()
    say(f"building {NODE_IMAGE} (control plane: {', '.join(sorted(references))})")
    key = _key()
    tars = _control_plane_images(references, key)
    log = LOGS / "image-node.log"
    folder = docker.context("node", ("kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr"), folder=FILES)
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("@PAUSE@", references["pause"]))
    docker.build(BASE, folder, key, log, {"KUBERNETES": VERSIONS["KUBERNETES"]})
    parallel(
        {
            image: lambda image=image, tar=tar: _preload(image, tar, key)  # type: ignore[misc]
            for image, tar in ((WORKER_IMAGE, tars["worker"]), (NODE_IMAGE, tars["control-plane"]))
        }
    )
    shutil.rmtree(folder)
    docker.prune()


def worker_image() -> str:
    """What workers are made of. Our own node image has a sister without the control plane's images (300 MB less to copy for each)."""
    node, worker = docker.image(NODE_IMAGE), docker.image(WORKER_IMAGE)
    return WORKER_IMAGE if node and worker and node.key and node.key == worker.key else NODE_IMAGE


def _control_plane_references() -> dict[str, str]:
    """Names that kubeadm will ask for, by program. Without kube-proxy and CoreDNS: members on the host's network need neither."""
    told = output([str(BIN / "kubeadm"), "config", "images", "list", "--kubernetes-version", f"v{VERSIONS['KUBERNETES']}"])
    listed = {reference.rsplit("/", 1)[1].split(":")[0]: reference for reference in told.split()}
    return {name: reference for name, reference in listed.items() if name not in ("coredns", "kube-proxy")}


def _control_plane_images(references: dict[str, str], key: str) -> dict[str, Path]:
    for name, reference in references.items():
        if name == "etcd":
            docker.build(reference, docker.context("etcd", ("etcd", "etcdctl", "etcdutl")), key, LOGS / f"image-{name}.log")
        elif name == "pause":
            docker.build(reference, docker.context("pause", ("pause",)), key, LOGS / f"image-{name}.log")
        else:
            docker.build(reference, docker.context("control-plane", (name,)), key, LOGS / f"image-{name}.log", {"BINARY": name})
    tars = {}
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, saved in {"control-plane": list(references.values()), "worker": [references["pause"]]}.items():
        tars[name] = IMAGES / f"preload-{name}.tar"
        output(["docker", "save", "--output", str(tars[name]), *saved], what=f"saving the images of a {name}")
    return tars


def _preload(image: str, tar: Path, key: str) -> None:
    """Puts images into containerd's store of a node image: a container runs containerd, then is committed."""
    name = f"hostnet-lab-{tar.stem}-{os.getpid()}"
    flags = ["--privileged", "--entrypoint", "sleep", "--volume", f"{tar}:/images.tar:ro"]
    docker.docker("run", "--detach", "--name", name, *flags, BASE, "infinity")
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
        output(["docker", "exec", name, "sh", "-c", script], what=f"{image}: putting images into it", timeout=300)
        changes = ('ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]', "CMD []", f"LABEL {docker.KEY_LABEL}={key}")
        options = [part for change in changes for part in ("--change", change)]
        output(["docker", "commit", *options, name, image], what=f"committing {image}", timeout=300)
    finally:
        docker.remove([name])
