# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source at work, loaded as ansible-rulebook loads it, and a deployment's records, pods and Secrets for it to see."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import runpy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings as copies
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names

from . import plans
from .collection import collections_path
from .kube_api import KubeApi, create_node

Json = dict[str, Any]
SOURCE = "ansible_collections/hostnet/multicluster/extensions/eda/plugins/event_source/nodes.py"
NAME = "ledger"
MERGE = "application/merge-patch+json"


class Running:
    """The source in an event loop of its own. `events` are those that were taken out of its queue."""

    def __init__(self, **args: Any) -> None:
        self.events: list[Json] = []
        self._found: queue.Queue[Json | BaseException] = queue.Queue()
        self._main = runpy.run_path(str(collections_path() / SOURCE))["main"]
        self._args = args
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        # It may have ended by itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        # As ansible-rulebook makes it.
        found: asyncio.Queue[Json] = asyncio.Queue(1)
        self._task = asyncio.ensure_future(self._main(found, self._args))
        while True:
            taking = asyncio.ensure_future(found.get())
            await asyncio.wait({self._task, taking}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                self._found.put(taking.result())
                continue
            taking.cancel()
            if not self._task.cancelled():
                self._found.put(self._task.exception() or RuntimeError("the source has ended"))
            return

    def next(self) -> Json:
        """The next event; what the source ends with is raised."""
        found = self._found.get(timeout=300)
        if isinstance(found, BaseException):
            raise found
        self.events.append(found)
        return found

    def some(self, count: int) -> list[tuple[str, str]]:
        """(type, member) of the next events, sorted."""
        return sorted((found["type"], found["member"]) for found in [self.next() for _number in range(count)])


def deployment(kubes: Sequence[KubeApi], namespace: str, per_kube_cluster: int = 2) -> list[Json]:
    """Nodes, records, ready pods and Secrets of a deployment that is well; its bindings."""
    nodes: list[Any] = []
    for kube in kubes:
        for number in range(per_kube_cluster):
            made = create_node(kube, f"{kube.name}-{number}", address=f"10.0.{len(nodes)}.1", zone=f"{kube.name}-a")
            nodes.append(
                plans.node(kube.name, f"{kube.name}-{number}", f"10.0.{len(nodes)}.1", uid=made["metadata"]["uid"], provider_id="")
            )
    hostnet = plans.settings([kube.name for kube in kubes], name=NAME, namespace=namespace)
    bindings = plans.admitted(hostnet, plans.spec_of("etcd"), nodes)
    record(kubes, namespace, bindings)
    for kube in kubes:
        for entry in bindings:
            if entry["kube_cluster"] == kube.name:
                pod(kube, namespace, entry)
                secret(kube, namespace, entry["member"], "2099-01-01T00:00:00Z")
    return bindings


def record(kubes: Sequence[KubeApi], namespace: str, bindings: Sequence[Mapping[str, Any]]) -> None:
    """Claim and bindings, the same in every kube cluster."""
    ordinals = {kube.name: sum(entry["kube_cluster"] == kube.name for entry in bindings) - 1 for kube in kubes}
    claim = plans.identity([str(entry["member"]) for entry in bindings])
    for kube in kubes:
        for name, data in ((names.identity(NAME), claim), (names.members(NAME), copies.dump(bindings, ordinals))):
            _apply(kube, "configmaps", namespace, name, {"data": data})


def secret(kube: KubeApi, namespace: str, member: str, not_after: str) -> None:
    dates = json.dumps({member: {"server": {"serial": "1f", "not_after": not_after}}})
    body = {"stringData": {"server.key": "made-up-secret"}}
    _apply(kube, "secrets", namespace, names.workload(NAME, member), body, {names.CERTIFICATES_ANNOTATION: dates})


def pod(kube: KubeApi, namespace: str, binding: Mapping[str, Any]) -> None:
    name = f"{names.workload(NAME, str(binding['member']))}-0"
    labels = {names.DEPLOYMENT_LABEL: NAME, names.MEMBER_LABEL: binding["member"]}
    spec = {"nodeName": binding["node"], "containers": [{"name": "etcd", "image": "example.test/x:1"}]}
    kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name, "labels": labels}, "spec": spec})
    ready(kube, namespace, str(binding["member"]), True)


def ready(kube: KubeApi, namespace: str, member: str, well: bool) -> None:
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(well)}]}}
    kube.request_json("PATCH", f"/api/v1/namespaces/{namespace}/pods/{names.workload(NAME, member)}-0/status", status, MERGE)


def touch(kube: KubeApi, namespace: str) -> None:
    """Write a record that says nothing else: the dates of certificates are read again then."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{names.identity(NAME)}"
    kube.request_json("PATCH", path, {"metadata": {"annotations": {"touched": "yes"}}}, MERGE)


def _apply(kube: KubeApi, plural: str, namespace: str, name: str, body: Json, annotations: Json | None = None) -> None:
    metadata = {"name": name, "labels": {names.DEPLOYMENT_LABEL: NAME}, "annotations": annotations or {}}
    kind = {"configmaps": "ConfigMap", "secrets": "Secret"}[plural]
    path = f"/api/v1/namespaces/{namespace}/{plural}/{name}?fieldManager=test&force=true"
    kube.request_json("PATCH", path, {"apiVersion": "v1", "kind": kind, "metadata": metadata, **body}, "application/apply-patch+yaml")
