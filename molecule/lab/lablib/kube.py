# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to a kube cluster as its administrator, from inside its control plane, so that it works while the API is cut off outside."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from .console import LabError
from .process import output, poll
from .state import Cluster, Node

_READY_DEADLINE = 120.0  # seconds; a node needs about five, more while all of them start on two cores


def kubectl(cluster: Cluster, *arguments: str, data: str | None = None, timeout: float = 60) -> str:
    if not cluster.control:
        raise LabError(f"kube cluster {cluster.name} has no control plane yet; run `lab up`")
    command = ["docker", "exec", "--interactive", cluster.control.name, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *arguments]
    return output(command, what=f"{cluster.name}: kubectl {' '.join(arguments[:3])}", data=data.encode() if data else None, timeout=timeout)


def answers(cluster: Cluster) -> bool:
    try:
        return kubectl(cluster, "get", "--raw", "/readyz", "--request-timeout=5s", timeout=15).strip() == "ok"
    except LabError:
        return False


def node_objects(cluster: Cluster) -> dict[str, dict[str, Any]]:
    items = json.loads(kubectl(cluster, "get", "nodes", "--output", "json", "--request-timeout=20s"))["items"]
    return {item["metadata"]["name"]: item for item in items}


def ready(item: dict[str, Any]) -> bool:
    return any(found["type"] == "Ready" and found["status"] == "True" for found in item["status"].get("conditions", []))


def address(item: dict[str, Any]) -> str:
    return next((str(found["address"]) for found in item["status"].get("addresses", []) if found["type"] == "InternalIP"), "")


def wait_ready(cluster: Cluster, nodes: list[Node], since: float = 0) -> None:
    """Waits until the API shows these nodes Ready, each with the address that the lab gave it, and (with `since`, in seconds of
    the epoch) a sign of life of the kubelet that is younger: a node that has just been stopped is still called Ready."""
    left: dict[str, str] = {node.name: "not looked at" for node in nodes}

    def check() -> bool | None:
        left.clear()
        try:
            objects = node_objects(cluster)
            leases = json.loads(kubectl(cluster, "get", "leases", "-n", "kube-node-lease", "--output", "json"))["items"] if since else []
        except LabError as error:
            left.update({node.name: f"API: {error}" for node in nodes})
            return None
        renewed = {item["metadata"]["name"]: datetime.fromisoformat(item["spec"]["renewTime"]).timestamp() for item in leases}
        for node in nodes:
            item = objects.get(node.name)
            if item is None:
                left[node.name] = "no Node object"
            elif node.address and address(item) != node.address:
                left[node.name] = f"address {address(item) or 'none'} instead of {node.address}"
            elif not ready(item):
                left[node.name] = "not Ready"
            elif since and renewed.get(node.name, 0) < since:
                left[node.name] = "kubelet silent since the start"
        return True if not left else None

    poll(
        check,
        deadline=_READY_DEADLINE,
        every=0.5,
        missing=lambda: f"{cluster.name}: " + ", ".join(f"{name} ({reason})" for name, reason in sorted(left.items())),
    )
