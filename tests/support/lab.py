# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running lab, for tests that need kubelets. They are marked `lab`; without a lab they fail, they are never skipped."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes.client
import kubernetes.config
import pytest

from .collection import CHECKOUT, cache_root


class Lab:
    """Both kube clusters of the lab. `kube_clusters` is what the modules take, with the rights of docs/rbac.yaml."""

    def __init__(self) -> None:
        name = os.environ.get("HOSTNET_LAB_NAME", "")
        folder = cache_root() / (f"lab-{name}" if name else "lab")
        self.admin_kubeconfig = str(folder / "kubeconfig")
        kubeconfig = folder / "kubeconfig-collection"
        if not kubeconfig.is_file():
            pytest.fail("this test needs the running lab: run `make lab`", pytrace=False)
        self.kube_clusters = [{"name": kube, "kubeconfig": str(kubeconfig), "context": kube} for kube in ("east", "west")]
        version = re.search(r"^BUSYBOX=(\S+)$", (CHECKOUT / "molecule" / "lab" / "versions.env").read_text(), re.MULTILINE)
        self.image = f"docker.io/library/busybox:{version[1]}" if version else ""

    def core(self, kube: str) -> Any:
        """`kubernetes.client.CoreV1Api` as cluster admin."""
        return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(config_file=self.admin_kubeconfig, context=kube))

    def workers(self) -> list[tuple[str, str]]:
        """(kube cluster, node) of all workers."""
        selector = "!node-role.kubernetes.io/control-plane"
        return [
            (kube, node.metadata.name) for kube in ("east", "west") for node in self.core(kube).list_node(label_selector=selector).items
        ]

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace in both kube clusters that allows host paths and the host's network."""
        name = f"test-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": "privileged"}
        for kube in ("east", "west"):
            self.core(kube).create_namespace({"metadata": {"name": name, "labels": labels}})
        try:
            yield name
        finally:
            for kube in ("east", "west"):
                self.core(kube).delete_namespace(name)
