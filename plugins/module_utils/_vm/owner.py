# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and deletes the object of Cluster API or Karpenter that owns a VM."""

from __future__ import annotations

from typing import Any

from .._cluster.client import KubeCluster, KubeError
from .._cluster.kinds import Kind
from .._plan.vm import node as vms
from .._plan.vm import owner
from .._plan.vm.node import Decision, Refused

Json = dict[str, Any]


def _served(cluster: KubeCluster, group: str, hint: str) -> str:
    """The version of an API group that the API server prefers."""
    try:
        return str(cluster.request("GET", f"/apis/{group}", f"API group {group}")["preferredVersion"]["groupVersion"])
    except KubeError as error:
        if error.status != 404:
            raise
        raise Refused(f"kube cluster {cluster.name}: it has no API group {group}. Nothing is deleted: {hint}") from error


class Owner:
    """The object of one VM, where it is kept."""

    def __init__(self, cluster: KubeCluster, vm: Json) -> None:
        self.cluster = cluster
        self.vm = vm
        self._kind: Kind | None = None
        self._item: Json | None = None

    def machine(self, state: str, namespace: str) -> Decision:
        """`namespace` is that of the Machines; all where it is empty."""
        hint = "vm_cluster_api_management names the management cluster, where the Machines are"
        version = _served(self.cluster, owner.CLUSTER_API, hint)
        self._kind = Kind(version, "Machine", "machines")
        self._item = owner.machine_of(self.vm, self.cluster.list(self._kind, namespace or None)[0])
        machine_set = cluster = None
        if self._item is not None:
            metadata = self._item["metadata"]
            reference = owner.owner_of(self._item)
            if reference.get("kind") == "MachineSet":
                machine_set = self.cluster.get(Kind(version, "MachineSet", "machinesets"), reference["name"], metadata["namespace"])
                if machine_set is not None and machine_set["metadata"]["uid"] != reference["uid"]:
                    machine_set = None
            named = (self._item.get("spec") or {}).get("clusterName")
            cluster = self.cluster.get(Kind(version, "Cluster", "clusters"), named, metadata["namespace"]) if named else None
        place = f"in {f'namespace {namespace}' if namespace else 'any namespace'} of management cluster {self.cluster.name}"
        return owner.decide_machine(self.vm, state, place, self._item, machine_set, cluster)

    def claim(self, state: str, pending_pods: bool) -> Decision:
        version = _served(self.cluster, owner.KARPENTER, "is Karpenter installed there?")
        self._kind = Kind(version, "NodeClaim", "nodeclaims", namespaced=False)
        claims, _version = self.cluster.list(self._kind)
        self._item = owner.claim_of(self.vm, claims)
        name = ((self._item or {"metadata": {}})["metadata"].get("labels") or {}).get(owner.NODE_POOL)
        pool = self.cluster.get(Kind(version, "NodePool", "nodepools", namespaced=False), name) if name else None
        return owner.decide_claim(self.vm, state, self._item, claims, pool, pending_pods)

    def do(self, call: vms.Call) -> None:
        """One change of that very object: by its UID, so that one of the same name that came meanwhile is left alone."""
        if self._kind is None or self._item is None:
            raise ValueError(f"{call.text}: there is no object")
        metadata, uid = self._item["metadata"], call.options["uid"]
        if call.does == "annotate":
            patch = {"metadata": {"uid": uid, "annotations": {call.options["annotation"]: "hostnet.multicluster"}}}
            self.cluster.merge_patch(self._kind, metadata["name"], patch, metadata.get("namespace"))
        else:
            self.cluster.delete(self._kind, metadata["name"], metadata.get("namespace"), uid=uid)
