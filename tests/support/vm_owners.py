# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fakes of Cluster API and Karpenter: their CRDs' shape in a real API server, and a small controller that plays them.

They know what the roles need: an object that is deleted keeps its finalizer while its VM ends; then Node and object go, and the owner has another one made.
Of the CRDs only names, versions, scope and the status subresource are theirs; the schema lets everything in.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import urllib.error
from collections.abc import Callable
from typing import Any

from .kube_api import KubeApi, create_node

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
CAPI = "cluster.x-k8s.io"
KARPENTER = "karpenter.sh"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define(kube: KubeApi, group: str, versions: list[str], kinds: dict[str, str], scope: str) -> None:
    """CRDs; `kinds` are plural to kind. The first version is stored and preferred. Waits until they are served."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    for plural, kind in kinds.items():
        names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
        served = [
            {"name": name, "served": True, "storage": number == 0, "schema": schema, "subresources": {"status": {}}}
            for number, name in enumerate(versions)
        ]
        body = {"metadata": {"name": f"{plural}.{group}"}, "spec": {"group": group, "names": names, "scope": scope, "versions": served}}
        with contextlib.suppress(urllib.error.HTTPError):
            kube.request_json("POST", _CRDS, body)
    ended = threading.Event()
    for plural in kinds:
        for _try in range(300):
            with contextlib.suppress(urllib.error.HTTPError):
                kube.request_json("GET", f"/apis/{group}/{versions[0]}/{plural}")
                # Discovery of the group comes a little later.
                kube.request_json("GET", f"/apis/{group}")
                break
            ended.wait(0.1)
        else:
            raise RuntimeError(f"{plural}.{group} is not served")


class _Controller(threading.Thread):
    """Looks again and again, until it is told to end. What goes wrong in it is raised by `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.deleted: list[str] = []
        # Called when an object is found deleted, before anything is done about that.
        self.at_delete: Callable[[str], None] = lambda _name: None
        self._problem: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.wait(0.05):
                self.look()
        except BaseException as error:
            self._problem = error

    def stop(self) -> None:
        self.ended.set()
        if self.ident is not None:
            self.join()
        if self._problem is not None:
            raise self._problem

    def look(self) -> None:
        raise NotImplementedError

    def _seen(self, item: Json) -> bool:
        """Whether it was deleted, told once."""
        name = str(item["metadata"]["name"])
        if "deletionTimestamp" not in item["metadata"]:
            return False
        if name not in self.deleted:
            self.deleted.append(name)
            self.at_delete(name)
        return True


def forget(kube: KubeApi, path: str) -> None:
    """Takes an object away, whatever still holds it."""
    for method, body in (("PATCH", {"metadata": {"finalizers": None}}), ("DELETE", None)):
        with contextlib.suppress(urllib.error.HTTPError):
            kube.request_json(method, path, body, MERGE)


def undefine(kube: KubeApi, group: str, version: str, plurals: list[str]) -> None:
    """Takes CRDs and their objects away, and waits until nothing of the group is served."""
    for plural in plurals:
        with contextlib.suppress(urllib.error.HTTPError):
            for item in kube.request_json("GET", f"/apis/{group}/{version}/{plural}")["items"]:
                forget(kube, f"/apis/{group}/{version}/namespaces/{item['metadata']['namespace']}/{plural}/{item['metadata']['name']}")
            kube.request_json("DELETE", f"{_CRDS}/{plural}.{group}")
    wait = threading.Event()
    for _try in range(600):
        try:
            kube.request_json("GET", f"/apis/{group}")
        except urllib.error.HTTPError:
            return
        wait.wait(0.1)
    raise RuntimeError(f"{group} is still served")


def _gone(kube: KubeApi, node: str) -> None:
    with contextlib.suppress(urllib.error.HTTPError):
        kube.request_json("DELETE", f"/api/v1/nodes/{node}")


class FakeClusterApi(_Controller):
    """A Cluster with one MachineSet in namespace `namespace` of `management`, whose nodes are those of `workload`."""

    def __init__(self, management: KubeApi, workload: KubeApi, namespace: str, versions: list[str], zone: str) -> None:
        super().__init__()
        define(management, CAPI, versions, {"machines": "Machine", "machinesets": "MachineSet", "clusters": "Cluster"}, "Namespaced")
        self.kube, self.workload, self.zone = management, workload, zone
        self.root = f"/apis/{CAPI}/{versions[0]}/namespaces/{namespace}"
        self.name = f"set-{secrets.token_hex(3)}"
        self.kube.request_json("POST", f"{self.root}/clusters", self._body("Cluster", self.name, {}))
        self.uid = self.kube.request_json("POST", f"{self.root}/machinesets", self._body("MachineSet", self.name, {"replicas": 0}))[
            "metadata"
        ]["uid"]

    def _body(self, kind: str, name: str, spec: Json, **metadata: Any) -> Json:
        return {
            "apiVersion": self.root.partition("/namespaces")[0].removeprefix("/apis/"),
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }

    def machine(self, node: str, address: str = "", **metadata: Any) -> Json:
        """One more Machine with its Node, which the MachineSet wants too; the Node."""
        made = self._make(node, address, **metadata)
        self._patch("machinesets", self.name, {"spec": {"replicas": len(self.machines())}})
        return made

    def _make(self, node: str, address: str = "", **metadata: Any) -> Json:
        provider = f"fake:////{node}"
        owner = {"apiVersion": "x/v1", "kind": "MachineSet", "name": self.name, "uid": self.uid, "controller": True}
        more = {"ownerReferences": [owner], "finalizers": ["machine.cluster.x-k8s.io"], **metadata}
        found = create_node(self.workload, node, zone=self.zone, provider_id=provider, address=address or None)
        body = self._body("Machine", f"machine-{node}", {"clusterName": self.name, "providerID": provider}, **more)
        self.kube.request_json("POST", f"{self.root}/machines", body)
        self._patch("machines", f"machine-{node}/status", {"status": {"nodeRef": {"name": node, "uid": found["metadata"]["uid"]}}})
        self._count()
        return found

    def machines(self) -> dict[str, Json]:
        return {item["metadata"]["name"]: item for item in self.kube.request_json("GET", f"{self.root}/machines")["items"]}

    def _patch(self, plural: str, name: str, body: Json) -> None:
        self.kube.request_json("PATCH", f"{self.root}/{plural}/{name}", body, MERGE)

    def _count(self) -> None:
        self._patch("machinesets", f"{self.name}/status", {"status": {"replicas": len(self.machines())}})

    def look(self) -> None:
        for name, item in self.machines().items():
            if self._seen(item):
                _gone(self.workload, item["status"]["nodeRef"]["name"])
                self._patch("machines", name, {"metadata": {"finalizers": None}})
                self._make(f"node-{secrets.token_hex(3)}", f"10.77.0.{len(self.deleted) + 1}")


class FakeKarpenter(_Controller):
    """One NodePool of a fixed size, or (`replicas` null) of none."""

    def __init__(self, kube: KubeApi, zone: str, replicas: int | None = 0) -> None:
        super().__init__()
        define(kube, KARPENTER, ["v1"], {"nodeclaims": "NodeClaim", "nodepools": "NodePool"}, "Cluster")
        self.kube, self.zone, self.fixed = kube, zone, replicas is not None
        self.root, self.name = f"/apis/{KARPENTER}/v1", f"pool-{secrets.token_hex(3)}"
        zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
        spec = {"template": {"spec": {"requirements": [zones]}}, **({"replicas": replicas} if self.fixed else {})}
        self.kube.request_json("POST", f"{self.root}/nodepools", self._body("NodePool", self.name, spec))

    def _body(self, kind: str, name: str, spec: Json, **metadata: Any) -> Json:
        return {"apiVersion": f"{KARPENTER}/v1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}

    def claim(self, node: str, address: str = "") -> Json:
        """One more NodeClaim with its Node; the Node."""
        made = self._make(node, address)
        if self.fixed:
            self.pool({"replicas": len(self.claims())})
        return made

    def adopt(self, node: str) -> None:
        """A NodeClaim for a Node that is there; it has to have a provider id."""
        provider = self.kube.request_json("GET", f"/api/v1/nodes/{node}")["spec"]["providerID"]
        more = {"labels": {"karpenter.sh/nodepool": self.name}, "finalizers": ["karpenter.sh/termination"]}
        self.kube.request_json("POST", f"{self.root}/nodeclaims", self._body("NodeClaim", f"{self.name}-{node}", {}, **more))
        body = {"status": {"providerID": provider, "nodeName": node}}
        self.kube.request_json("PATCH", f"{self.root}/nodeclaims/{self.name}-{node}/status", body, MERGE)

    def _make(self, node: str, address: str) -> Json:
        found = create_node(self.kube, node, zone=self.zone, provider_id=f"fake:///{self.zone}/{node}", address=address or None)
        self.adopt(node)
        return found

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            for name in self.claims():
                forget(self.kube, f"{self.root}/nodeclaims/{name}")
            forget(self.kube, f"{self.root}/nodepools/{self.name}")

    def pool(self, spec: Json) -> None:
        self.kube.request_json("PATCH", f"{self.root}/nodepools/{self.name}", {"spec": spec}, MERGE)

    def claims(self) -> dict[str, Json]:
        items = self.kube.request_json("GET", f"{self.root}/nodeclaims")["items"]
        return {item["metadata"]["name"]: item for item in items if item["metadata"]["labels"]["karpenter.sh/nodepool"] == self.name}

    def look(self) -> None:
        for name, item in self.claims().items():
            if self._seen(item):
                _gone(self.kube, item["status"]["nodeName"])
                self.kube.request_json("PATCH", f"{self.root}/nodeclaims/{name}", {"metadata": {"finalizers": None}}, MERGE)
                self._make(f"node-{secrets.token_hex(3)}", f"10.78.0.{len(self.deleted) + 1}")
