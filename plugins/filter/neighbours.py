# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions about other deployments on the same VMs to the roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import follow, journal, neighbours, steps
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input

Json = dict[str, Any]


def shares(
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


def judged(
    neighbour: Mapping[str, Any],
    seen: Deployment,
    status: Mapping[str, Any],
    shared: Mapping[str, Sequence[Mapping[str, Any]]],
    request: Mapping[str, Any],
    found: Mapping[str, Any] | None,
) -> Json:
    """A neighbour, and why its members may not be taken down now (neighbours.judged)."""
    every = [share for mine in shared.values() for share in mine]
    resumed: list[Json] = []
    if found and journal.in_flight(found) and "stop_neighbours" in steps.begun_steps(found):
        resumed = (found.get("member") or {}).get("neighbours") or []
    result = neighbours.judged(neighbour, seen["plan"], status, seen["kube_clusters"], every, str(request["work"]), resumed)
    # An abort makes nothing worse, and gives back what was stopped.
    return {**result, "problems": []} if request.get("abort") else result


def order(others: Sequence[Mapping[str, Any]], hostnet: Mapping[str, Any], before: bool) -> list[Json]:
    """Those whose lock is taken before this deployment's own, or after it: all locks in one order, by namespace and name."""
    mine = (hostnet["namespace"], hostnet["name"])
    ordered = sorted(others, key=lambda entry: (entry["namespace"], entry["name"]))
    return [dict(entry) for entry in ordered if ((entry["namespace"], entry["name"]) < mine) == before]


def of_member(found: Mapping[str, Any] | None, others: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The neighbours on the VM of the member in hand, by the journal: {share, other (the deployment)}; none that was removed meanwhile."""
    known = {(entry["name"], entry["namespace"]): dict(entry) for entry in others}
    pairs = []
    for share in ((found or {}).get("member") or {}).get("neighbours") or []:
        other = known.get((share["deployment"], share["namespace"]))
        if other is None:
            raise ValueError(f"deployment {share['deployment']} has a member on the VM in hand and was not observed: run again")
        pairs.append({"share": dict(share), "other": other})
    return [pair for pair in pairs if not pair["other"]["removed"]]


class FilterModule:
    """Filters of the role rollout; docs/design.md, section 7, tells how they are used."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "neighbours_shares": shares,
            "neighbours_described": neighbours.neighbour,
            "neighbours_judged": judged,
            "neighbours_plan": neighbours.extended,
            "neighbours_order": order,
            "neighbours_of_member": of_member,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
