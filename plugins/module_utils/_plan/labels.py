# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which labels of which nodes have to change, so that they are as wanted and no others of ours are left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

# Names and values: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

# Labels that the kubelet, the cloud and kubeadm own. Losing them on every node would break scheduling and volumes.
_FOREIGN_DOMAINS = ("kubernetes.io", "k8s.io")
_ROLE_PREFIX = "node-role.kubernetes.io"
_CONTROL_PLANE_ROLES = ("control-plane", "master")

Labels = Mapping[str, str]


class LabelChange(TypedDict):
    """The labels of one node that change: key to value before and after; a key that is absent is absent on the node.

    The same for annotations, where some of them change.
    """

    name: str
    before: dict[str, str]
    after: dict[str, str]
    annotations_before: NotRequired[dict[str, str]]
    annotations_after: NotRequired[dict[str, str]]


def key_error(key: str) -> str:
    """Why `key` is no label key, or ""."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        return f"label key {key!r}: the part before the slash must be a DNS name of at most 253 characters"
    if not _NAME.fullmatch(name):
        return f"label key {key!r}: the name must be 1 to 63 letters, digits, '-', '_' or '.', and start and end with a letter or digit"
    return ""


def value_error(value: str) -> str:
    """Why `value` is no label value, or ""."""
    if value and not _NAME.fullmatch(value):
        return f"label value {value!r} must be at most 63 letters, digits, '-', '_' or '.', and start and end with a letter or digit"
    return ""


def owned_error(key: str) -> str:
    """Why a user may not own the label `key` (that is: have it taken from every node that is not listed), or ""."""
    error = key_error(key)
    if error:
        return error
    prefix, _slash, name = key.rpartition("/")
    if prefix == _ROLE_PREFIX and name not in _CONTROL_PLANE_ROLES:
        return ""
    if any(prefix == domain or prefix.endswith("." + domain) for domain in _FOREIGN_DOMAINS):
        return f"label key {key!r} belongs to Kubernetes itself and is not taken from nodes; own keys with a prefix of yours"
    return ""


def label_changes(current: Mapping[str, Labels], wanted: Mapping[str, Labels], owned: Sequence[str]) -> list[LabelChange]:
    """What has to change on the nodes of one kube cluster, sorted by name.

    `current` holds all nodes and their labels, `wanted` the labels of the nodes that shall have some. A key in `owned`
    is removed where it is not wanted; every other key that is not wanted is left alone. Raises KeyError for a wanted
    node that is not in `current`.
    """
    changes: list[LabelChange] = []
    for name in sorted(current.keys() | wanted.keys()):
        have, want = current[name], wanted.get(name, {})
        keys = sorted(key for key in {*want, *owned} if have.get(key) != want.get(key))
        if keys:
            changes.append(
                {
                    "name": name,
                    "before": {key: have[key] for key in keys if key in have},
                    "after": {key: want[key] for key in keys if key in want},
                }
            )
    return changes


def label_patch(change: LabelChange) -> dict[str, str | None]:
    """The body of metadata.labels in a JSON merge patch (RFC 7386) that makes `change`: null removes a key."""
    return {**dict.fromkeys(change["before"]), **change["after"]}


def annotation_patch(change: LabelChange) -> dict[str, str | None]:
    """As `label_patch`, for metadata.annotations."""
    return {**dict.fromkeys(change.get("annotations_before", {})), **change.get("annotations_after", {})}


def label_errors(nodes: Sequence[Mapping[str, Any]], owned: Sequence[str], kube_clusters: Sequence[str]) -> list[str]:
    """What is wrong with the options of module node_labels, one sentence each; [] where all is well."""
    errors = [error for error in map(owned_error, owned) if error]
    seen: set[tuple[str, str]] = set()
    for entry in nodes:
        where = f"nodes: node {entry['name']} (kube cluster {entry['kube_cluster']})"
        if entry["kube_cluster"] not in kube_clusters:
            errors.append(f"{where}: kube_clusters has no entry of that name; it has {', '.join(kube_clusters) or 'none'}")
        if (entry["kube_cluster"], entry["name"]) in seen:
            errors.append(f"{where} is listed twice; put all of its labels into one entry")
        seen.add((entry["kube_cluster"], entry["name"]))
        for key, value in entry["labels"].items():
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                errors.append(f"{where}: the value of label {key!r} is {value!r}, not a string; quote it")
            else:
                errors.extend(f"{where}: {error}" for error in (key_error(key), value_error(str(value))) if error)
    return errors


def labels_by_node(nodes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, str]]:
    """The option `nodes` of module node_labels by (kube cluster, node); numbers become the text that they were written as."""
    return {(entry["kube_cluster"], entry["name"]): {key: str(value) for key, value in entry["labels"].items()} for entry in nodes}


def changes_diff(changes: Mapping[str, Sequence[LabelChange]]) -> dict[str, dict[str, dict[str, str]]]:
    """The changes of all kube clusters in the form that Ansible prints with --diff."""
    entries = [(f"{kube_cluster}/{change['name']}", change) for kube_cluster, mine in changes.items() for change in mine]
    return {
        "before": {name: {**change["before"], **change.get("annotations_before", {})} for name, change in entries},
        "after": {name: {**change["after"], **change.get("annotations_after", {})} for name, change in entries},
    }
