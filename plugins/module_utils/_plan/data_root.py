# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which folder of the nodes may be the data root. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Folders that are the node's own, with everything in them.
_SYSTEM_TREES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/run", "/sbin", "/sys"),
    *("/tmp", "/usr", "/var/log", "/var/run", "/var/tmp", "/var/spool/cron"),  # noqa: S108 - refused, not used
    *(
        f"/var/lib/{name}"
        for name in ("apt", "cni", "containerd", "containers", "crio", "docker", "dpkg", "etcd", "kubelet", "rpm", "systemd")
    ),
)
# Folders that hold other folders of the node: a folder of one's own in them is fine.
_SYSTEM_FOLDERS = ("/", "/home", "/opt", "/root", "/var", "/var/cache", "/var/lib", "/var/spool")
# What a path may have that is written into scripts' facts, line by line and word by word.
_PLAIN = re.compile(r"/[A-Za-z0-9._/+@:-]*")


def normal_root(path: str) -> str:
    """An absolute path with single slashes and none at its end. `..` stays, to be refused."""
    path = str(path)
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def root_errors(hostnet: Mapping[str, Any]) -> list[str]:
    """What is wrong with hostnet_data_root, and with the deployment's folder in it."""
    given = str(hostnet["data_root"])
    root = normal_root(given)
    if not root.startswith("/") or ".." in root.split("/"):
        return [f"hostnet_data_root is {given!r}: it must be an absolute path on the nodes"]
    if not _PLAIN.fullmatch(root):
        return [f"hostnet_data_root is {given!r}: use letters, digits and ._-+@: in its folders' names"]
    if root == "/":
        return ["hostnet_data_root is the root of the nodes' file system: give members a folder of their own"]
    own = f"{root}/{hostnet['name']}"
    for path, title in ((root, "hostnet_data_root"), (own, "the folder of the deployment below hostnet_data_root")):
        if _is_system(path):
            return [f"{title} is {path}, which is the nodes' own: give members a folder of their own, such as /var/lib/hostnet"]
    return []


def _is_system(path: str) -> bool:
    return path in _SYSTEM_FOLDERS or any(path == tree or path.startswith(f"{tree}/") for tree in _SYSTEM_TREES)


def mount_errors(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Members whose data is recorded to be on no mount of its own, where hostnet_data_mount asks for one."""
    if not hostnet.get("data_mount"):
        return []
    return [
        f"kube cluster {binding['kube_cluster']}: member {binding['member']} has its data on node {binding['node']} in a folder of "
        f"{binding['disk']['mount']}, and hostnet_data_mount wants {hostnet['data_root']} to be a mount point: replace the VM by one with a data disk first "
        f"(playbooks/upgrade.yml -e hostnet_work=replace with hostnet_data_mount=false), or leave hostnet_data_mount out"
        for binding in bindings
        if binding.get("disk") and not binding["disk"].get("mounted")
    ]
