# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether these are the kube clusters that a deployment was made with, and which record of them comes next. Pure functions.

The records themselves are roster.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import join, journal, names
from . import roster as rosters


def membership_errors(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """Why these are not the kube clusters, or not the data root, that the deployment was made with."""
    recorded, errors = rosters.newest(observed)
    uids = {name: str(found.get("uid", "")) for name, found in observed.items()}
    roster = recorded or rosters.inferred(observed)
    name = str(hostnet["name"])
    joining, without = hostnet.get("new_kube_clusters", []), hostnet.get("without_kube_clusters", [])
    errors += rosters.problems(name, roster, uids, joining, without)
    if roster is not None:
        errors += _leftovers(hostnet, observed, [kube for kube in joining if kube not in roster["kube_clusters"]], roster["lost"])
    if recorded is None and roster is not None:
        errors += _legacy_errors(hostnet, observed)
    root = recorded["data_root"] if recorded else ""
    if root and root != str(hostnet["data_root"]):
        errors.append(
            f"hostnet_data_root is {hostnet['data_root']}, and {name} is recorded with {root}: its members' data is there, so it keeps that folder. Give "
            f"hostnet_data_root={root}"
        )
    return errors


def _leftovers(hostnet: Mapping[str, Any], observed: Mapping[str, Any], joining: Sequence[str], lost: Collection[str]) -> list[str]:
    """Kube clusters to grow into that have members already: growth writes those only once the record names the kube cluster.

    Of those that were taken out of the record (`lost`) the members are no part of the system. Of any other one nobody knows that: they may be alive.
    """
    errors = []
    for kube in sorted(set(joining) & set(observed)):
        found = observed[kube]
        own = [str(entry["member"]) for entry in found["members"] if entry["kube_cluster"] == kube]
        left = sorted({*own, *(str(entry["member"]) for entry in found.get("workloads") or [])} - {""}, key=join.natural_key)
        if left and kube not in lost:
            records = f"{names.identity(str(hostnet['name']))} and {names.roster(str(hostnet['name']), 2)} (3, 4, ...)"
            errors.append(
                f"kube cluster {kube} has members of {hostnet['name']} ({', '.join(left)}), and the record of its kube clusters neither names it nor says "
                f"that it was taken out: record and inventory disagree, and these members may be alive. Delete nothing there. If {kube} is one of "
                f"{hostnet['name']}'s, the record was lost or comes from an older backup: restore the ConfigMaps {records} in all kube clusters from a newer "
                f"one. Otherwise take {kube} out of the inventory, or choose another hostnet_name"
            )
        elif left:
            errors.append(
                f"kube cluster {kube} has members of {hostnet['name']} from before it was taken out of the record: {', '.join(left)}. They are no part of the "
                f"system any more. Delete there the namespace {hostnet['namespace']}, the label {names.node_label(str(hostnet['name']))} of its nodes and "
                f"their folder {hostnet['data_root']}/{hostnet['name']}, then grow into it"
            )
    return errors


def _legacy_errors(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """What speaks against completing the record of a deployment of version 0.2.0 with the kube clusters at hand."""
    errors = []
    addresses = {str(binding["address"]) for found in observed.values() for binding in found["members"]}
    for name in sorted(observed):
        found = observed[name]
        # Version 0.2.0 kept in a kube cluster the bindings of its own members alone.
        elsewhere = sorted({str(binding["kube_cluster"]) for binding in found["members"]} - {name}) if not found.get("ordinals") else []
        if elsewhere:
            errors.append(
                f"kube cluster {name} holds the members of {', '.join(elsewhere)}: it was renamed, or contexts or hosts were swapped in the inventory. Name "
                f"each kube cluster as {hostnet['name']} was deployed"
            )
        lost = [entry for entry in str((found["join"] or {}).get("seeds", "")).split(",") if entry and entry not in addresses]
        # A rollout that was cut short may have been between a binding and the lists.
        if lost and addresses and not journal.in_flight(journal.newest({other: observed[other].get("rollout") for other in observed})):
            errors.append(
                f"kube cluster {name}: the join list has {', '.join(lost)}, which no member at hand has: a kube cluster of {hostnet['name']} is missing in "
                f"the inventory, or its bindings were deleted. Add it, or restore its ConfigMap {names.members(str(hostnet['name']))} from a backup"
            )
    return errors


def next_roster(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> tuple[rosters.Roster, list[str]]:
    """The roster that is to be in force, and the kube clusters that have to get it."""
    uids = {name: str(observed[name].get("uid", "")) for name in sorted(observed)}
    recorded, _errors = rosters.newest(observed)
    if recorded is None:
        # Whoever is not at hand is refused, and never left out.
        known = rosters.inferred(observed)
        roster = rosters.make({**(known["kube_clusters"] if known else {}), **uids}, str(hostnet["data_root"]))
    else:
        roster = rosters.grown(recorded, uids) or recorded
    return roster, rosters.missing_copies(roster, observed)
