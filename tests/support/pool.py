# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud that upgrades a node pool of made-up nodes: a fake, which sees of the playbooks what a cloud sees, their guard pods.

Without controllers there are no budgets that are counted, so an eviction that is allowed is a deletion here, and one that is not is none.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .kube_api import KubeApi, create_node
from .made_up import NAME, NAMESPACE

POOL = {"cloud.google.com/gke-nodepool": "db"}
OLD, NEW = "v1.36.3", "v1.37.0"


class SurgeUpgrade(threading.Thread):
    """For each node: a new one joins, the old one is cordoned and drained, and goes when nothing holds the drain.

    `all_at_once`: every new node joins and every old one is cordoned before the first is drained. `early` has what was down, as (node, members whose
    StatefulSet had no replica), when the drain of a node began; `most` is how many were down at once, as far as it was seen.
    """

    def __init__(self, kubes: Sequence[KubeApi], nodes: Sequence[str], first_address: str, all_at_once: bool = False) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.gone: list[str] = []
        self.early: list[tuple[str, list[str]]] = []
        self.most = 0
        self.problem: BaseException | None = None
        self._kubes, self._kube, self._nodes, self._all_at_once = kubes, kubes[0], list(nodes), all_at_once
        prefix, _dot, number = first_address.rpartition(".")
        self._addresses = {node: f"{prefix}.{int(number) + place}" for place, node in enumerate(self._nodes)}

    def run(self) -> None:
        try:
            if self._all_at_once:
                for node in self._nodes:
                    self._join(node)
                for node in self._nodes:
                    self._cordon(node)
            for node in self._nodes:
                if not self._all_at_once:
                    self._join(node)
                    self._cordon(node)
                self.early.append((node, self._down()))
                if not self._drained(node):
                    return
                self._kube.request_json("DELETE", f"/api/v1/nodes/{node}")
                self.gone.append(node)
        except BaseException as error:
            self.problem = error
            raise

    def _join(self, node: str) -> None:
        create_node(self._kube, f"{node}-new", address=self._addresses[node], labels=POOL, node_info={"kubeletVersion": NEW})

    def _cordon(self, node: str) -> None:
        self._kube.request_json("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}, "application/merge-patch+json")

    def _down(self) -> list[str]:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
        sets = [item for kube in self._kubes for item in kube.request_json("GET", path)["items"]]
        found = sorted(item["metadata"]["name"].removeprefix(f"{NAME}-") for item in sets if not item["spec"]["replicas"])
        self.most = max(self.most, len(found))
        return found

    def _drained(self, node: str) -> bool:
        """Evicts one guard of the node, and waits until there is no other pod of ours on it; False where the test ended before."""
        pods = self._pods(node)
        guard = next(name for name in pods if "-guard-" in name)
        self._kube.request_json("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{guard}?gracePeriodSeconds=0")
        while self._pods(node):
            self._down()
            if self.ended.wait(0.5):
                return False
        return True

    def _pods(self, node: str) -> list[str]:
        found = self._kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=spec.nodeName%3D{node}")["items"]
        return [pod["metadata"]["name"] for pod in found]
