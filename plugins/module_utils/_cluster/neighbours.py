# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of other deployments: finds their pods, reads how they are asked, stops one for the time that its VM is down."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .._plan import names
from . import kinds
from .client import Json, KubeCluster, KubeError, each_cluster
from .json_patch import json_patch
from .kinds import Kind

_REFUSED = (401, 403)


def read_pods(clusters: dict[str, KubeCluster]) -> tuple[list[Json], dict[str, str]]:
    """The pods of all members of all deployments, and by kube cluster why they cannot be listed, where this user may not.

    One LIST for each kube cluster. Raises KubeError where one does not answer.
    """

    def read(cluster: KubeCluster) -> tuple[list[Json], str]:
        try:
            items, _version = cluster.list(kinds.POD, label_selector=names.DEPLOYMENT_LABEL)
        except KubeError as error:
            if error.status in _REFUSED:
                return [], error.detail
            raise
        return [_pod(cluster.name, item) for item in items], ""

    answers = each_cluster(clusters, read)
    pods = [pod for name in sorted(answers) for pod in answers[name][0]]
    return pods, {name: refused for name, (_pods, refused) in sorted(answers.items()) if refused}


def _pod(kube_cluster: str, item: Json) -> Json:
    metadata = item["metadata"]
    return {
        "kube_cluster": kube_cluster,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "deployment": metadata["labels"][names.DEPLOYMENT_LABEL],
        "member": metadata["labels"].get(names.MEMBER_LABEL, ""),
        "node": item["spec"].get("nodeName", ""),
    }


def read_about(clusters: dict[str, KubeCluster], name: str, namespace: str) -> dict[str, Json]:
    """What a deployment tells its neighbours, by kube cluster: {about: the ConfigMap's data or None, error: why it may not be read}.

    Raises KubeError where a kube cluster does not answer.
    """

    def read(cluster: KubeCluster) -> Json:
        try:
            found = cluster.get(kinds.CONFIG_MAP, names.about(name), namespace)
        except KubeError as error:
            if error.status in _REFUSED:
                return {"about": None, "error": error.detail}
            raise
        return {"about": None if found is None else dict(found.get("data") or {}), "error": ""}

    return each_cluster(clusters, read)


@dataclass(frozen=True)
class Held:
    """One member of another deployment: `name` and `namespace` are the deployment's, `kube_cluster` is the member's."""

    name: str
    namespace: str
    placement: str
    kube_cluster: str
    member: str


def hold(clusters: dict[str, KubeCluster], held: Held, stop: bool, dry_run: bool = False) -> list[str]:
    """Record that a member is stopped (or no longer), then take its workload or label away (or give it back); what changed, as texts.

    The record comes first, so nothing starts a member that is to stop, and every kube cluster's copy says the same. What is so already is left alone.
    Raises KubeError: the lock of that deployment is held, so nobody else changes these.
    """
    home = clusters[held.kube_cluster]
    # Read first: whoever may not is told so before the first change.
    guard = home.get(kinds.DEPLOYMENT, names.guard(held.name, held.member), held.namespace)
    recorded = each_cluster(clusters, lambda cluster: _record(cluster, held, stop, dry_run))
    binding = recorded[held.kube_cluster][0]
    if binding is None:
        raise KubeError(
            held.kube_cluster,
            f"ConfigMap {held.namespace}/{names.members(held.name)}",
            f"it has no member {held.member}; run playbooks/deploy.yml of deployment {held.name}",
            404,
            "NotFound",
        )
    said = [f"record in kube cluster {cluster}" for cluster, (_binding, changed) in sorted(recorded.items()) if changed]
    if held.placement == "daemonset":
        work = _label(home, held, binding, stop, dry_run)
    else:
        found = home.get(kinds.STATEFUL_SET, names.workload(held.name, held.member), held.namespace)
        work = _scale(home, kinds.STATEFUL_SET, found, 0 if stop else 1, dry_run)
    guarded = _scale(home, kinds.DEPLOYMENT, guard, 0 if stop else names.GUARDS, dry_run)
    return said + [line for line in (work, guarded) if line]


def _record(cluster: KubeCluster, held: Held, stop: bool, dry_run: bool) -> tuple[Json | None, bool]:
    """The binding of `member` in this kube cluster's copy (None where it has none), and whether it was changed."""
    what, namespace, member = names.members(held.name), held.namespace, held.member
    found = cluster.get(kinds.CONFIG_MAP, what, namespace)
    text = ((found or {}).get("data") or {}).get(member)
    if text is None:
        return None, False
    binding: Json = json.loads(text)
    if bool(binding.get("stopped")) == stop:
        return binding, False
    after = {key: value for key, value in binding.items() if key != "stopped"} | ({"stopped": True} if stop else {})
    operations = [
        {"op": "test", "path": f"/data/{member}", "value": text},
        {"op": "replace", "path": f"/data/{member}", "value": json.dumps(after, sort_keys=True)},
    ]
    if not dry_run and not json_patch(cluster, kinds.CONFIG_MAP, what, namespace, operations):
        raise KubeError(
            cluster.name,
            f"ConfigMap {namespace}/{what}",
            "it was changed in the meantime without the lock; run again",
            409,
            "Conflict",
        )
    return after, True


def _scale(cluster: KubeCluster, kind: Kind, found: Json | None, wanted: int, dry_run: bool) -> str:
    if found is None or found["spec"].get("replicas", 1) == wanted:
        return ""
    metadata = found["metadata"]
    if not dry_run:
        body = {"metadata": {"uid": metadata["uid"]}, "spec": {"replicas": wanted}}
        cluster.merge_patch(kind, metadata["name"], body, metadata["namespace"])
    return f"replicas of {kind.name} {metadata['namespace']}/{metadata['name']} in kube cluster {cluster.name}: {wanted}"


def _label(cluster: KubeCluster, held: Held, binding: Json, stop: bool, dry_run: bool) -> str:
    node, label = cluster.get(kinds.NODE, binding["node"]), names.node_label(held.name)
    # Another VM under the node's name: nobody was admitted to it.
    if node is None or node["metadata"]["uid"] != binding["node_uid"]:
        return ""
    wanted = None if stop else str(binding["member"])
    if (node["metadata"].get("labels") or {}).get(label) == wanted:
        return ""
    if not dry_run:
        body = {"metadata": {"uid": binding["node_uid"], "labels": {label: wanted}}}
        cluster.merge_patch(kinds.NODE, binding["node"], body)
    return f"label {label} of node {binding['node']} in kube cluster {cluster.name}: {wanted or 'taken away'}"
