# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of the nodes that carry members. Pure functions; labels.py says how a label is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import held, names

Json = dict[str, Any]


def member_labels(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_labels: every node that carries a member: the label with the namespace, and that with the
    member where it may run, whatever the node has already.

    The cluster autoscaler is to leave the disk of a stopped member alone too. Another VM under the node's name is nobody's: no member was
    admitted to it.
    """
    current = {(node["kube_cluster"], node["name"]): node for node in nodes}
    label, stays = names.node_label(str(hostnet["name"])), names.namespace_label(str(hostnet["name"]))
    return [
        {
            "kube_cluster": binding["kube_cluster"],
            "name": binding["node"],
            "labels": {stays: str(hostnet["namespace"]), **({} if binding.get("stopped") else {label: str(binding["member"])})},
            "guarded": True,
        }
        for binding in bindings
        if current.get((binding["kube_cluster"], binding["node"]), {}).get("uid") == binding["node_uid"]
    ]


def node_labels(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Those of `member_labels` whose nodes lack something of it."""
    current = {(node["kube_cluster"], node["name"]): node for node in nodes}
    return [
        entry
        for entry in member_labels(hostnet, bindings, nodes)
        if any(current[entry["kube_cluster"], entry["name"]]["labels"].get(label) != value for label, value in entry["labels"].items())
        or held.hold(current[entry["kube_cluster"], entry["name"]].get("annotations") or {}, str(hostnet["name"]))
    ]
