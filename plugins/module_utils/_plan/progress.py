# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a member's log has come, and whether it went back. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

# What a system's own log has reached, as its inspection tells it. None of it ever goes back on one disk.
_PROGRESS = ("applied_index", "revision", "term")


def with_progress(bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]) -> list[Json]:
    """The bindings with how far each healthy member's log has come (`progress`), where its system tells that. What is recorded never goes back."""
    result = []
    for binding in bindings:
        said = inspection.get(str(binding["member"]), {})
        now = {key: int(said[key]) for key in _PROGRESS if said.get(key)}
        if not said.get("healthy") or not said.get("cluster_id") or not now:
            result.append(dict(binding))
            continue
        before = binding.get("progress") or {}
        known = before if before.get("cluster_id") == said["cluster_id"] else {}
        reached = {key: max(value, int(known.get(key, 0))) for key, value in now.items()}
        result.append({**binding, "progress": {"cluster_id": said["cluster_id"], **reached}})
    return result


def went_back(binding: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Why a member that takes part runs on an older copy of its disk, or "". One that has just started may not have replayed its log, and has no leader yet."""
    before = binding.get("progress") or {}
    if not said.get("healthy") or before.get("cluster_id") != said.get("cluster_id"):
        return ""
    back = [
        f"{key} {said[key]} after {before[key]}"
        for key in _PROGRESS
        if before.get(key) and said.get(key) and int(said[key]) < int(before[key])
    ]
    if not back:
        return ""
    return (
        f"it runs on an older copy of its disk, from a snapshot for example: {', '.join(back)}. What it acknowledged since may be lost where a majority was "
        f"restored like that; see docs/recovery.md"
    )
