# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads which kube clusters a deployment has, and refuses others: what the lock compares before it is taken.

The journal is in the same list of ConfigMaps, so the generation of its last writer costs no request more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from .._plan import documents, journal, names, roster
from .._plan.documents import ORDINALS_KEY
from . import kinds
from .client import UNREADABLE, Json, KubeCluster, KubeError, each_cluster

# Every Kubernetes cluster makes it once and never again, so its UID is the cluster's.
SYSTEM_NAMESPACE = "kube-system"


def uid_of(namespace: Json | None) -> str:
    """UID of a namespace; "" where there is none."""
    return str(((namespace or {}).get("metadata") or {}).get("uid", ""))


def data_of(config_map: Json | None) -> Json | None:
    """The data of a ConfigMap; None where there is none."""
    return None if config_map is None else dict(config_map.get("data") or {})


def refuse_edited(cluster: KubeCluster, name: str, namespace: str, config_maps: Sequence[Json]) -> None:
    """Raises KubeError for the first of the deployment's ConfigMaps that somebody has edited into something else."""
    edited = documents.unusable(name, {item["metadata"]["name"]: item.get("data") or {} for item in config_maps})
    if edited:
        raise KubeError(cluster.name, f"ConfigMap {namespace}/{edited[0]}", edited[1], UNREADABLE)


def records_of(name: str, config_maps: Sequence[Json]) -> Json:
    """Claim, rosters, trust revisions and bindings in the ConfigMaps of a deployment: {identity, rosters, trusts, members, members_found, ordinals}."""
    by_name = {item["metadata"]["name"]: item for item in config_maps}
    bindings = data_of(by_name.get(names.members(name)))
    return {
        "identity": data_of(by_name.get(names.identity(name))),
        "rosters": [data_of(item) for object_name, item in sorted(by_name.items()) if names.is_roster(name, object_name)],
        "trusts": [data_of(item) for object_name, item in sorted(by_name.items()) if names.is_trust(name, object_name)],
        "members": [json.loads(text) for key, text in sorted((bindings or {}).items()) if key != ORDINALS_KEY],
        "members_found": bindings is not None,
        "ordinals": json.loads((bindings or {}).get(ORDINALS_KEY, "{}")),
    }


def read(clusters: dict[str, KubeCluster], name: str, namespace: str) -> dict[str, Json]:
    """What `records_of` says of each kube cluster, with its `uid` and the `generation` of the lock that its journal knows (0 without one).

    Two requests for each kube cluster; raises KubeError where one does not answer.
    """

    def one(cluster: KubeCluster) -> Json:
        system = cluster.get(kinds.NAMESPACE, SYSTEM_NAMESPACE)
        config_maps, _version = cluster.list(kinds.CONFIG_MAP, namespace, names.deployment_selector(name))
        refuse_edited(cluster, name, namespace, config_maps)
        written = next((item for item in config_maps if item["metadata"]["name"] == names.rollout(name)), None)
        return {**records_of(name, config_maps), "uid": uid_of(system), "generation": journal.generation_of(written)}

    return each_cluster(clusters, one)


def problems(found: dict[str, Json], name: str, joining: Collection[str], without: Collection[str]) -> list[str]:
    """Why these are not the kube clusters of the deployment (see roster.problems); `found` is what `read` returned."""
    recorded, errors = roster.newest(found)
    uids = {cluster: str(entry["uid"]) for cluster, entry in found.items()}
    return errors + roster.problems(name, recorded or roster.inferred(found), uids, joining, without)
