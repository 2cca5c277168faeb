# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the cluster autoscaler away from nodes with members: an annotation that several deployments may want, and a user too.

An autoscaler sees a VM that little runs on, not the only copy of some data on its disk. Who holds the annotation is written beside
it, so that the last deployment takes it away, and none takes away what somebody else had set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from .labels import LabelChange

# https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
SCALE_DOWN = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
HOLDERS = "hostnet.multicluster/scale-down-disabled-by"
KEYS = (SCALE_DOWN, HOLDERS)

# A name for types alone; pylint takes the bar between them for an operation.
Change: TypeAlias = "dict[str, str | None]"


def own(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Of a node's annotations those that this is about."""
    return {key: str(annotations[key]) for key in KEYS if annotations and key in annotations}


def _holders(annotations: Mapping[str, str]) -> set[str]:
    return {name for name in annotations.get(HOLDERS, "").split(",") if name}


def hold(annotations: Mapping[str, str], name: str) -> Change:
    """What has to change on a node so that deployment `name` holds its annotation; {} where it does, or where it is somebody else's."""
    holders = _holders(annotations)
    if SCALE_DOWN in annotations and not holders:
        return {}
    wanted = {SCALE_DOWN: "true", HOLDERS: ",".join(sorted({*holders, name}))}
    return {key: value for key, value in wanted.items() if annotations.get(key) != value}


def release(annotations: Mapping[str, str], name: str) -> Change:
    """What has to change on a node so that deployment `name` holds its annotation no more. The last holder takes it away."""
    holders = _holders(annotations)
    if name not in holders:
        return {}
    rest = ",".join(sorted(holders - {name}))
    if rest:
        return {HOLDERS: rest}
    # What is not ours any more, because somebody gave it another value, stays.
    return {HOLDERS: None, **({SCALE_DOWN: None} if annotations.get(SCALE_DOWN) == "true" else {})}


def with_annotations(
    changes: Sequence[LabelChange],
    annotations: Mapping[str, Mapping[str, str]],
    guarded: Collection[str],
    name: str,
    release_others: bool,
) -> list[LabelChange]:
    """The changes of the nodes of one kube cluster, with those of the annotation.

    `annotations` are those of all nodes. Nodes in `guarded` are held for `name`; with `release_others` the other ones are released.
    """
    merged: dict[str, LabelChange] = {change["name"]: change for change in changes}
    for node in sorted(annotations):
        have = annotations[node]
        wanted = hold(have, name) if node in guarded else release(have, name) if release_others else {}
        if wanted:
            merged[node] = annotated(merged.get(node, {"name": node, "before": {}, "after": {}}), have, wanted)
    return [merged[node] for node in sorted(merged)]


def annotated(change: LabelChange, have: Mapping[str, str], wanted: Change) -> LabelChange:
    """`change` with the annotations in `wanted` (None: taken away)."""
    return {
        **change,
        "annotations_before": {key: have[key] for key in wanted if key in have},
        "annotations_after": {key: value for key, value in wanted.items() if value is not None},
    }
