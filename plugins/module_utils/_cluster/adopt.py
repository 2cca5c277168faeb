# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces the recorded cluster id after a disaster: the one exception to the record being create-only (invariant 2 of docs/design.md).

The record stays immutable: the very object that was read is deleted (by its UID) and a new one is created, one kube cluster after another, in
sorted order. A run that is killed in between leaves it replaced in some, missing in one at most, and old in the others; the next run goes on.
"""

from __future__ import annotations

from .. import _failpoint
from .._plan import names
from . import kinds
from .client import Json, KubeCluster, KubeError
from .identity import IdentityConflict

FORMER_ANNOTATION = f"{names.PREFIX}/former-cluster-id"
STEP = "record"


def replace_record(
    clusters: dict[str, KubeCluster],
    namespace: str,
    object_name: str,
    labels: dict[str, str],
    data: dict[str, str],
    former: str,
    dry_run: bool,
) -> list[str]:
    """Write the record `data` in every kube cluster, where there is none or the one of cluster id `former`. Returns the kube clusters that got it.

    Raises IdentityConflict, before anything is changed, where a kube cluster has a third cluster id or another token; and where somebody else
    writes the record meanwhile.
    """
    wanted = data["cluster_id"]
    found = {name: clusters[name].get(kinds.CONFIG_MAP, object_name, namespace) for name in sorted(clusters)}
    for name, record in found.items():
        held = dict((record or {}).get("data") or {})
        if record is not None and (held.get("cluster_id") not in (former, wanted) or held.get("token") != data["token"]):
            raise IdentityConflict(
                f"ConfigMap {namespace}/{object_name} of kube cluster {name} has cluster id {held.get('cluster_id')} and token {held.get('token')!r}; "
                f"only {former or 'none'} is replaced by {wanted}, and only for token {data['token']!r}. Nothing was replaced: another run is working on it, "
                f"or it was edited; look at it and run again"
            )
    written = []
    for name, record in found.items():
        if record is not None and record["data"]["cluster_id"] == wanted:
            continue
        written.append(name)
        if not dry_run:
            _replace(clusters[name], namespace, object_name, labels, data, former, record)
    return written


def _replace(
    cluster: KubeCluster, namespace: str, object_name: str, labels: dict[str, str], data: dict[str, str], former: str, record: Json | None
) -> None:
    _failpoint.reach(f"{STEP}-{cluster.name}:before-begin")
    if record is not None:
        cluster.delete(kinds.CONFIG_MAP, object_name, namespace, uid=record["metadata"]["uid"])
    _failpoint.reach(f"{STEP}-{cluster.name}:after-begin")
    definition = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": object_name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {FORMER_ANNOTATION: former} if former else {},
        },
        "immutable": True,
        "data": data,
    }
    try:
        cluster.create(definition)
    except KubeError as error:
        if error.status != 409:
            raise
        raise IdentityConflict(
            f"ConfigMap {namespace}/{object_name} of kube cluster {cluster.name} was created by another client in the meantime; look at it and run again"
        ) from error
