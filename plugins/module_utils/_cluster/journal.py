# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the journal of a rollout into every kube cluster: one ConfigMap each, by the holder of the lock alone.

A run that has lost the lock must not write any more, and may not know yet that it has. So the ConfigMap carries a generation: whoever takes the lock
puts its own there (lock_taking.py), and the API server refuses a write that does not find the writer's. The first write of a generation replaces the very
object that it read before it renewed the lock.
"""

from __future__ import annotations

from .._plan import journal as plan
from .._plan import names
from . import kinds
from .client import UNREADABLE, Json, KubeCluster, KubeError, each_cluster
from .json_patch import json_patch
from .lease import labels
from .lock import GENERATION_PATH, LockLost, each_or_raise, renew, renew_one

_ATTEMPTS = 3


def read(clusters: dict[str, KubeCluster], name: str, namespace: str) -> dict[str, Json | None]:
    """The journals by kube cluster; None where there is none. Raises KubeError for one that this version cannot read."""
    found = each_cluster(clusters, lambda cluster: cluster.get(kinds.CONFIG_MAP, names.rollout(name), namespace))
    return {cluster: document(cluster, config_map) for cluster, config_map in found.items()}


def begin_generation(clusters: dict[str, KubeCluster], lock: Json) -> tuple[dict[str, Json | None], dict[str, Json | None]]:
    """What the first write of a generation needs: the ConfigMaps as they are, and the journals in them. Then renews the lock.

    Reading before renewing is what makes the write safe: whoever takes the lock later writes later, and that the API server notices.
    """
    name, namespace = lock["name"], lock["namespace"]
    found = each_cluster(clusters, lambda cluster: cluster.get(kinds.CONFIG_MAP, names.rollout(name), namespace))
    journals = {cluster: document(cluster, config_map) for cluster, config_map in found.items()}
    renew(clusters, lock)
    return found, journals


def write(clusters: dict[str, KubeCluster], lock: Json, document: Json, found: dict[str, Json | None] | None = None) -> None:
    """Write the journal into all kube clusters at the same time.

    `found` is begin_generation's, with the first write of a generation. All kube clusters are tried; then LockLost or KubeError is
    raised for all that failed. A call that failed is repeated with the same document.
    """
    text = plan.dump(document)
    each_or_raise(clusters, lambda cluster: _write_one(cluster, lock, text, found))


def _write_one(cluster: KubeCluster, lock: Json, text: str, found: dict[str, Json | None] | None) -> None:
    name, namespace, generation = names.rollout(lock["name"]), lock["namespace"], str(lock["generation"])
    if found is None:
        operations = [
            {"op": "test", "path": GENERATION_PATH, "value": generation},
            {"op": "add", "path": "/data/journal", "value": text},
        ]
        if json_patch(cluster, kinds.CONFIG_MAP, name, namespace, operations):
            return
    current = found[cluster.name] if found is not None else None
    read_it = found is not None
    for _attempt in range(_ATTEMPTS):
        if not read_it:
            current = cluster.get(kinds.CONFIG_MAP, name, namespace)
            renew_one(cluster, lock)
        read_it = False
        written_by = plan.generation_of(current)
        if written_by > lock["generation"]:
            raise LockLost(
                cluster.name,
                f"the journal of deployment {lock['name']} was written by generation {written_by} in kube cluster {cluster.name} "
                f"(ConfigMap {namespace}/{name}), this run has {lock['generation']}: its lock was taken over; this run changes nothing more",
            )
        try:
            _replace(cluster, current, name, namespace, lock, text)
        except KubeError as error:
            # Somebody else created, changed or deleted it since we read it: who it was shows when it is read again.
            if error.status != 409 and not (error.status == 404 and current is not None):
                raise
            continue
        return
    raise KubeError(
        cluster.name, f"ConfigMap {namespace}/{name}", "another client keeps changing it; find out which one, then run again", 409
    )


def _replace(cluster: KubeCluster, current: Json | None, name: str, namespace: str, lock: Json, text: str) -> None:
    old = (current or {}).get("metadata") or {}
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "labels": {**(old.get("labels") or {}), **labels(lock["name"])},
        "annotations": {**(old.get("annotations") or {}), plan.GENERATION_ANNOTATION: str(lock["generation"])},
    }
    definition: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"journal": text}}
    if current is None:
        cluster.create(definition)
    else:
        metadata["resourceVersion"] = old["resourceVersion"]
        cluster.replace(definition)


def document(cluster: str, config_map: Json | None) -> Json | None:
    """The journal in a ConfigMap; None where there is none. Raises KubeError for one that this version cannot read."""
    text = str(((config_map or {}).get("data") or {}).get("journal") or "")
    if not text:
        return None
    try:
        return plan.parse(text)
    except plan.JournalError as error:
        metadata = (config_map or {})["metadata"]
        raise KubeError(
            cluster,
            f"ConfigMap {metadata['namespace']}/{metadata['name']}",
            f"its journal cannot be read: {error}. If it was edited by hand, delete the ConfigMap there, so that the journals of the other kube clusters count",
            UNREADABLE,
        ) from error
