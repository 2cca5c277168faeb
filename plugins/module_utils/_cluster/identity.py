# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity record: written once, create-only, in every kube cluster (invariants 1 and 2 of docs/design.md).

Two immutable ConfigMaps hold it. The claim gives the right to initialise: it is created in every kube cluster in
sorted order, so of two controllers that race, the one that loses the first kube cluster has lost and adopts what it finds
there. The cluster record says which cluster id the system reported after that. Neither is ever updated.
"""

from __future__ import annotations

from .._plan import names
from . import kinds
from .client import Json, KubeCluster, KubeError


class IdentityConflict(Exception):
    """Two kube clusters (or the caller and a kube cluster) disagree on the identity of one deployment."""


def write_record(
    clusters: dict[str, KubeCluster], namespace: str, object_name: str, labels: dict[str, str], data: dict[str, str], dry_run: bool
) -> tuple[Json, list[str]]:
    """Create one immutable record in every kube cluster, in sorted order.

    Returns the record that is in force and the kube clusters where it was created. A record that any kube cluster has
    wins over `data`, and is what the others get; callers compare the two. Raises IdentityConflict where kube clusters
    hold different records; where they did so from the start, nothing is created.
    """
    created: list[str] = []
    in_force: Json | None = None
    holder = ""

    def adopt(name: str, found: Json) -> None:
        nonlocal in_force, holder
        record = dict(found.get("data") or {})
        if in_force is None:
            in_force, holder = record, name
        elif record != in_force:
            different = sorted(key for key in set(record) | set(in_force) if record.get(key) != in_force.get(key))
            raise IdentityConflict(
                f"ConfigMap {namespace}/{object_name} differs between kube clusters {holder} and {name} in {', '.join(different)}: "
                f"two deployments share the name. Nothing was initialised. Keep the record of the cluster that holds your data; "
                f"docs/recovery.md says how to tell"
            )

    # Before anything is created: the only record left may be in the last kube cluster.
    missing = []
    for name in sorted(clusters):
        found = clusters[name].get(kinds.CONFIG_MAP, object_name, namespace)
        if found is None:
            missing.append(name)
        else:
            adopt(name, found)
    for name in missing:
        cluster = clusters[name]
        definition = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": object_name, "namespace": namespace, "labels": labels},
            "immutable": True,
            "data": data if in_force is None else in_force,
        }
        try:
            found = definition if dry_run else cluster.create(definition)
            created.append(name)
        except KubeError as error:
            if error.status != 409:
                raise
            found = cluster.get(kinds.CONFIG_MAP, object_name, namespace)
            if found is None:
                raise IdentityConflict(
                    f"kube cluster {name}: {object_name} was created and deleted by another client in the meantime; run again"
                ) from error
        adopt(name, found)
    return in_force or {}, created


def record_labels(name: str, system: str) -> dict[str, str]:
    """Labels of the records: found by the deployment's selector, and deleted only when the deployment's data is removed."""
    return {
        names.DEPLOYMENT_LABEL: name,
        names.MANAGED_BY_LABEL: names.PREFIX,
        "app.kubernetes.io/name": system,
        "app.kubernetes.io/instance": name,
    }
