# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads nodes of several kube clusters and sets their labels, with few requests and little memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from .._plan import held, names
from .._plan.labels import LabelChange, annotation_patch, label_changes, label_patch
from .._plan.listed import some
from .._plan.nodes import Node, node_facts
from . import kinds
from .client import METADATA_OF_ONE, METADATA_ONLY, NOT_TRUSTED, Json, KubeCluster, KubeError, each_cluster, in_parallel

R = TypeVar("R")

# Kubelets and controllers write to Nodes too, so a write that goes by what was read is tried again.
_ATTEMPTS = 4


class ClusterState(TypedDict):
    """How a kube cluster answered. `error` is "" unless it is `absent`; `version` is the API server's, such as v1.36.3."""

    host: str
    version: str
    absent: bool
    error: str


class NodeLabels(TypedDict):
    """Identity, labels and (of held.py) annotations of a node, as of `version`."""

    uid: str
    labels: dict[str, str]
    annotations: dict[str, str]
    version: str


class Guard(TypedDict):
    """Whose nodes the cluster autoscaler shall leave alone: (kube cluster, node) of deployment `name`; `release`: and its others no more."""

    name: str
    nodes: set[tuple[str, str]]
    release: bool


def does_not_answer(error: KubeError) -> bool:
    """True where nobody serves the API: no connection, or a proxy's or dying API server's 5xx.

    Refused credentials and a certificate that is not trusted are answers: somebody has to repair something.
    """
    return (error.unreachable and error.reason != NOT_TRUSTED) or error.status >= 500


def _all_or_error(clusters: dict[str, KubeCluster], function: Callable[[KubeCluster], R]) -> tuple[dict[str, R], dict[str, KubeError]]:
    """Call `function` for every kube cluster at the same time; results and errors by name of the kube cluster."""

    def attempt(cluster: KubeCluster) -> tuple[R | None, KubeError | None]:
        try:
            return function(cluster), None
        except KubeError as error:
            return None, error

    results: dict[str, R] = {}
    errors: dict[str, KubeError] = {}
    for name, (result, error) in each_cluster(clusters, attempt).items():
        if error is not None:
            errors[name] = error
        elif result is not None:
            results[name] = result
    return results, errors


def _raise(errors: Sequence[KubeError]) -> None:
    """Raise the first error; the others are told in its text, so that one run shows all that has to be repaired."""
    if errors:
        first, rest = errors[0], errors[1:]
        if rest:
            first.args = (some([str(error) for error in errors], 5, "; ", "; and "),)
        raise first


def _slim(decoded: Json) -> Json:
    """Drop the bulk of a Node while it is decoded: who manages which field, and the images on its disk."""
    decoded.pop("managedFields", None)
    decoded.pop("images", None)
    return decoded


def _read_one(
    cluster: KubeCluster, node_selector: str, address_type: str, extra_selectors: Sequence[str], with_version: bool
) -> tuple[str, list[Node]]:
    version = str(cluster.version().get("gitVersion", "")) if with_version else ""
    nodes: dict[str, Node] = {}
    # A node that matches several counts as selected, so the other lists only add.
    selectors = [(node_selector, True), *((selector, False) for selector in extra_selectors if node_selector and selector)]
    for selector, selected in selectors:
        for items, _version in cluster.pages(kinds.NODE, label_selector=selector or None, object_hook=_slim):
            for item in items:
                nodes.setdefault(item["metadata"]["name"], node_facts(item, cluster.name, address_type, selected))
    return version, list(nodes.values())


def read_nodes(
    clusters: dict[str, KubeCluster],
    node_selector: str,
    address_type: str,
    absent_ok: Sequence[str] = (),
    extra_selectors: Sequence[str] = (),
    with_version: bool = True,
) -> tuple[list[Node], dict[str, ClusterState]]:
    """Nodes that match `node_selector` ("" for all) of all kube clusters, sorted by kube cluster and name, and how each answered.

    Nodes that match one of `extra_selectors` alone come with them, `selected` false: those that carry a member and match no longer.
    Without `with_version` no version is asked for, which is a request less for each kube cluster.
    Raises KubeError where a kube cluster does not answer and is not in `absent_ok`, and always where it refuses.
    """
    answers, errors = _all_or_error(
        clusters, lambda cluster: _read_one(cluster, node_selector, address_type, extra_selectors, with_version)
    )
    _raise([error for name, error in errors.items() if not (name in absent_ok and does_not_answer(error))])
    nodes = [node for _version, found in answers.values() for node in found]
    states: dict[str, ClusterState] = {
        name: {
            "host": cluster.host,
            "version": answers[name][0] if name in answers else "",
            "absent": name in errors,
            "error": str(errors[name]) if name in errors else "",
        }
        for name, cluster in clusters.items()
    }
    return sorted(nodes, key=lambda node: (node["kube_cluster"], node["name"])), states


def read_named(clusters: dict[str, KubeCluster], wanted: Collection[tuple[str, str]], address_type: str) -> list[Node]:
    """Those of these nodes, (kube cluster, name), that exist, `selected` false. One GET each. Raises KubeError where a kube cluster does not answer."""

    def read(cluster: KubeCluster) -> list[Node]:
        found = in_parallel(lambda name: cluster.get(kinds.NODE, name), sorted(name for owner, name in wanted if owner == cluster.name))
        return [node_facts(item, cluster.name, address_type, False) for item in found if item is not None]

    owners = {owner for owner, _name in wanted}
    answers = each_cluster({name: cluster for name, cluster in clusters.items() if name in owners}, read)
    return [node for name in sorted(answers) for node in answers[name]]


def with_bound(
    clusters: dict[str, KubeCluster], nodes: Sequence[Node], bindings: Iterable[Mapping[str, Any]], address_type: str
) -> list[Node]:
    """`nodes`, and those that `bindings` name and that no list has: somebody took their labels, or their kubelet has registered them anew. Whose VM is
    there is not gone. Sorted as read_nodes has them. Raises KubeError where a kube cluster does not answer.
    """
    bound = {(str(entry["kube_cluster"]), str(entry["node"])) for entry in bindings if entry["kube_cluster"] in clusters}
    more = read_named(clusters, bound - {(node["kube_cluster"], node["name"]) for node in nodes}, address_type)
    return sorted([*nodes, *more], key=lambda node: (node["kube_cluster"], node["name"]))


def read_of_members(
    clusters: dict[str, KubeCluster],
    name: str,
    node_selector: str,
    address_type: str,
    bindings: Iterable[Mapping[str, Any]],
    extra_selectors: Sequence[str] = (),
) -> list[Node]:
    """All nodes that may matter to deployment `name`: those that match, those with its labels, and those that `bindings` name (with_bound)."""
    own = (*names.member_selectors(name), *extra_selectors)
    nodes, _states = read_nodes(clusters, node_selector, address_type, extra_selectors=own, with_version=False)
    return with_bound(clusters, nodes, bindings, address_type)


def read_labels(clusters: dict[str, KubeCluster]) -> dict[str, dict[str, NodeLabels]]:
    """Labels of all nodes: kube cluster -> node -> labels. Raises KubeError where a kube cluster does not answer."""

    def read(cluster: KubeCluster) -> dict[str, NodeLabels]:
        found: dict[str, NodeLabels] = {}
        for items, _version in cluster.pages(kinds.NODE, accept=METADATA_ONLY, object_hook=_slim):
            for item in items:
                metadata = item["metadata"]
                found[metadata["name"]] = _node_labels(metadata)
        return found

    answers, errors = _all_or_error(clusters, read)
    _raise(list(errors.values()))
    return answers


def _node_labels(metadata: Json) -> NodeLabels:
    return {
        "uid": metadata["uid"],
        "labels": dict(metadata.get("labels") or {}),
        "annotations": held.own(metadata.get("annotations")),
        "version": metadata["resourceVersion"],
    }


def plan_labels(
    current: Mapping[str, Mapping[str, NodeLabels]],
    wanted: Mapping[tuple[str, str], Mapping[str, str]],
    owned: Sequence[str],
    guard: Guard | None = None,
    gone_ok: bool = False,
) -> dict[str, list[LabelChange]]:
    """The changes of each kube cluster. `wanted` is by (kube cluster, node). Raises KubeError for a node that does not exist, unless `gone_ok`."""
    gone = {(kube_cluster, name) for kube_cluster, name in wanted if name not in current[kube_cluster]}
    if gone_ok:
        wanted = {node: labels for node, labels in wanted.items() if node not in gone}
        guard = guard and {**guard, "nodes": guard["nodes"] - gone}
    else:
        for kube_cluster, name in sorted(gone):
            raise KubeError(kube_cluster, f"Node {name}", "there is no such node; correct its name or leave it out", 404, "NotFound")
    changes = {
        kube_cluster: label_changes(
            {name: node["labels"] for name, node in nodes.items()},
            {name: labels for (cluster, name), labels in wanted.items() if cluster == kube_cluster},
            owned,
        )
        for kube_cluster, nodes in current.items()
    }
    if guard is None:
        return changes
    return {
        kube_cluster: held.with_annotations(
            changes[kube_cluster],
            {name: node["annotations"] for name, node in nodes.items()},
            {name for cluster, name in guard["nodes"] if cluster == kube_cluster},
            guard["name"],
            guard["release"],
        )
        for kube_cluster, nodes in current.items()
    }


def _body(node: NodeLabels, change: LabelChange) -> Json:
    """The PATCH of one node. With the UID the API server refuses it where another VM has come under the old name."""
    metadata: Json = {"uid": node["uid"], "labels": label_patch(change)}
    annotations = annotation_patch(change)
    if annotations:
        # Who holds an annotation is read and written back: nobody's name may get lost in between.
        metadata |= {"annotations": annotations, "resourceVersion": node["version"]}
    return {"metadata": metadata}


def _another_vm(cluster: KubeCluster, what: str) -> KubeError:
    return KubeError(cluster.name, what, "another VM has come under this name meanwhile; run again", 409, "Conflict")


def write_labels(
    clusters: dict[str, KubeCluster],
    current: Mapping[str, Mapping[str, NodeLabels]],
    changes: Mapping[str, Sequence[LabelChange]],
    guard: Guard | None = None,
    gone_ok: bool = False,
) -> dict[str, list[LabelChange]]:
    """Send one PATCH for each change and return those that were made.

    All are tried; then KubeError tells the ones that failed. A node that was replaced under the same name meanwhile is
    not touched (status 409), and one that is gone has lost its labels as well: an error where it was to get some, unless `gone_ok`.
    """

    def write(cluster: KubeCluster) -> tuple[list[LabelChange], list[KubeError]]:
        def patch(change: LabelChange) -> KubeError | None:
            node = current[cluster.name][change["name"]]
            for attempt in range(_ATTEMPTS):
                try:
                    body = _body(node, change)
                    # A Node is large, with the images on its disk, and nobody reads the answer.
                    cluster.merge_patch(kinds.NODE, change["name"], body, accept=METADATA_OF_ONE, object_hook=_slim)
                except KubeError as error:
                    if error.status == 404 and (gone_ok or not (change["after"] or change.get("annotations_after"))):
                        return None
                    if error.status in (409, 422) and "uid" in error.detail.lower():
                        return _another_vm(cluster, error.what)
                    if error.status != 409 or guard is None or attempt == _ATTEMPTS - 1:
                        return error
                    # Somebody wrote to the Node meanwhile, perhaps another deployment that holds it too.
                    fresh = cluster.get(kinds.NODE, change["name"])
                    if fresh is None and gone_ok:
                        return None
                    if fresh is None or fresh["metadata"]["uid"] != node["uid"]:
                        return _another_vm(cluster, error.what)
                    node = _node_labels(fresh["metadata"])
                    guarded = (cluster.name, change["name"]) in guard["nodes"]
                    wanted = (held.hold if guarded else held.release)(node["annotations"], guard["name"])
                    change = held.annotated(change, node["annotations"], wanted)
                    continue
                return None
            return None

        mine = changes[cluster.name]
        failed = in_parallel(patch, mine)
        return [change for change, error in zip(mine, failed, strict=True) if error is None], [error for error in failed if error]

    involved = {name: cluster for name, cluster in clusters.items() if changes.get(name)}
    answers = each_cluster(involved, write)
    _raise([error for _made, errors in answers.values() for error in errors])
    return {name: made for name, (made, _errors) in answers.items()}
