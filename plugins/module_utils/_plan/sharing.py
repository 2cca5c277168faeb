# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout whose VMs have members of other deployments: who they are, what they speak against it, whose lock comes first. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import follow, journal, neighbours, steps

Json = dict[str, Any]


def shared(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    others: Mapping[str, Any],
    found: Mapping[str, Any] | None,
    request: Mapping[str, Any],
) -> Json:
    """Whose members are on the VMs that a rollout is about to take down (neighbours.shares)."""
    flying = found if found and journal.in_flight(found) else None
    stays_up = False
    if flying is not None:
        # Its VM has been down already, or is not going to be: what is undone touches no VM.
        done = bool({"vm", "retire"} & set(steps.finished_steps(flying)))
        stays_up = done or (bool(request.get("abort")) and not follow.past_return(flying, nodes))
    allowed = neighbours.as_names(request["neighbours"])
    return neighbours.shares(hostnet, plan, bindings, nodes, others, flying, allowed, stays_up)


def planned(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    members: Mapping[str, Sequence[Mapping[str, Any]]],
    others: Sequence[Mapping[str, Any]],
    seen: Sequence[Mapping[str, Any] | None],
    request: Mapping[str, Any],
    found: Mapping[str, Any] | None,
) -> Json:
    """{plan, neighbours}: the plan with what the neighbours need and speak against it, and those with what was `seen` of each, None where nothing could be.

    They come in the order of locks, by namespace and name, and `before` says whose lock is taken before this deployment's own.
    """
    mine = (hostnet["namespace"], hostnet["name"])
    described = [_judged(other, said, members, request, found) if said else dict(other) for other, said in zip(others, seen, strict=True)]
    ordered = sorted(described, key=lambda entry: (entry["namespace"], entry["name"]))
    result = [{**entry, "before": (entry["namespace"], entry["name"]) < mine} for entry in ordered]
    return {"plan": neighbours.extended(plan, members, result), "neighbours": result}


def _judged(
    neighbour: Mapping[str, Any],
    said: Mapping[str, Any],
    members: Mapping[str, Sequence[Mapping[str, Any]]],
    request: Mapping[str, Any],
    found: Mapping[str, Any] | None,
) -> Json:
    every = [share for mine in members.values() for share in mine]
    resumed: list[Json] = []
    if found and journal.in_flight(found) and "stop_neighbours" in steps.begun_steps(found):
        resumed = (found.get("member") or {}).get("neighbours") or []
    seen = said["deployment"]
    result = neighbours.judged(neighbour, seen["plan"], said["status"], seen["kube_clusters"], every, str(request["work"]), resumed)
    # An abort makes nothing worse, and gives back what was stopped.
    return {**result, "problems": []} if request.get("abort") else result


def pairs(record: Mapping[str, Any] | None, others: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The neighbours on the VM of the member in hand, by its `record`: {share, other (the deployment)}; none that was removed meanwhile."""
    known = {(entry["name"], entry["namespace"]): dict(entry) for entry in others}
    found = []
    for share in (record or {}).get("neighbours") or []:
        other = known.get((share["deployment"], share["namespace"]))
        if other is None:
            raise ValueError(f"deployment {share['deployment']} has a member on the VM in hand and was not observed: run again")
        found.append({"share": dict(share), "other": other})
    return [pair for pair in found if not pair["other"]["removed"]]
