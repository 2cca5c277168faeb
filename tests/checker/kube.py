# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where members are, from Kubernetes' own objects: Nodes with their addresses, and pods with the deployment's label.

The collection's ConfigMaps are not asked for this: what they say is what is to be checked. A pod's status.podIP is not asked either, it may
be of a former address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import kubernetes.client
import kubernetes.config

Json = dict[str, Any]

_SECONDS = (2.0, 4.0)  # to connect, to read: an API server that hangs must not hold up the others


@dataclass(frozen=True)
class Seen:
    """One look at a kube cluster."""

    members: dict[str, str] = field(default_factory=dict)  # address: "kube cluster/node", of nodes with a pod of the deployment
    live: list[str] = field(default_factory=list)  # addresses of Ready nodes


class KubeCluster:
    def __init__(self, name: str, kubeconfig: str, name_of_deployment: str, namespace: str, address_type: str) -> None:
        self.name, self.deployment, self.namespace, self.address_type = name, name_of_deployment, namespace, address_type
        client = kubernetes.config.new_client_from_config(config_file=kubeconfig, context=name)
        self.core = kubernetes.client.CoreV1Api(client)

    def _json(self, answer: Any) -> Json:
        return dict(json.loads(answer.data))

    def look(self) -> Seen:
        """Raises what the client raises where the API server does not answer."""
        options: Json = {"_preload_content": False, "_request_timeout": _SECONDS}
        nodes = self._json(self.core.list_node(**options))["items"]
        selector = f"hostnet.multicluster/deployment={self.deployment}"
        pods = self._json(self.core.list_namespaced_pod(self.namespace, label_selector=selector, **options))["items"]
        return self._seen(nodes, pods)

    def _seen(self, nodes: list[Json], pods: list[Json]) -> Seen:
        address: dict[str, str] = {}
        live = []
        for node in nodes:
            listed = [entry["address"] for entry in node.get("status", {}).get("addresses") or [] if entry["type"] == self.address_type]
            if not listed:
                continue
            address[node["metadata"]["name"]] = listed[0]
            if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions") or []):
                live += listed
        members = {}
        for pod in pods:
            on = pod["spec"].get("nodeName") or ""
            if on in address and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded"):
                members[address[on]] = f"{self.name}/{on}"
        return Seen(members, sorted(live))

    def join_list(self) -> dict[str, str] | None:
        """The data of ConfigMap `<deployment>-join`, None where there is none."""
        try:
            answer = self.core.read_namespaced_config_map(
                f"{self.deployment}-join", self.namespace, _preload_content=False, _request_timeout=_SECONDS
            )
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return dict(self._json(answer).get("data") or {})
