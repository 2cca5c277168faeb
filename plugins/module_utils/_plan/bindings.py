# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bindings of all members, from the copies that every kube cluster holds: pure functions.

ConfigMap `<name>-members` has all bindings in every kube cluster, and the highest ordinal that was ever given in each of them. A kube
cluster's own copy counts for its own members. Where that was deleted (the ConfigMap, the namespace, or the whole kube cluster), the copies of the others
count instead, as far as nothing that is left there speaks against them.

So they do where its own copy is older: it was written before an ordinal was given that another copy knows. Either its etcd was restored from a backup, or a
deploy was killed between two kube clusters. An ordinal is never given twice, so a member that its own copy lacks and whose ordinal that copy knows has
left: whoever still lists it (a scale-down or an adoption that was killed, a backup there) is the older one.

Ordinals do not tell about a repair or a replacement since the backup, nor about who has left: there all other copies together contradict the own one.
Outside of a rollout that has the member in hand no run leaves them so, because all kube clusters are written at once and a rollout goes on only
when all of them have it. So that is refused, and a human says which copy is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import adopt, join, journal, names
from .documents import ORDINALS_KEY
from .nodes import peer_address

Json = dict[str, Any]
Observed = Mapping[str, Mapping[str, Any]]

# What tells where a member runs, and from which disk.
_PLACE = ("node", "node_uid", "address", "admission", "ordinal")
# The same, where a Node object may have been made anew since for the same VM.
_SAME_DISK = ("node", "address", "admission", "ordinal")
_REMEDY = "nothing is restored from a guess: restore the ConfigMap from a backup, or correct what is wrong"


@dataclass
class Merged:
    """`members` of all kube clusters; `restored`: kube clusters whose own copy is gone; `outdated`: those whose own copy is older than another one, with the
    members that it lacks; `errors`: why the copies cannot be trusted."""

    members: list[Json] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    outdated: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def dump(bindings: Sequence[Mapping[str, Any]], ordinals: Mapping[str, int]) -> dict[str, str]:
    """The data of ConfigMap `<name>-members`, the same in every kube cluster."""
    data = {str(entry["member"]): json.dumps(dict(entry), sort_keys=True) for entry in bindings}
    return {**data, ORDINALS_KEY: json.dumps(dict(sorted(ordinals.items())), sort_keys=True)}


def _config_map(hostnet: Mapping[str, Any]) -> str:
    return f"{hostnet['namespace']}/{names.members(str(hostnet['name']))}"


def has_copy(found: Mapping[str, Any]) -> bool:
    """Whether this kube cluster has its ConfigMap `<name>-members`."""
    return bool(found.get("members_found", bool(found.get("members"))))


def merge(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], observed: Observed) -> Merged:
    """The bindings in force. Kube clusters that only the copies name (absent, or not at hand) have theirs too."""
    result = Merged()
    everywhere = sorted({*observed, *(str(entry["kube_cluster"]) for found in observed.values() for entry in found.get("members") or [])})
    for name in everywhere:
        found = observed.get(name, {})
        if has_copy(found):
            own = [dict(entry) for entry in found["members"] if entry["kube_cluster"] == name]
            newer = _newer_copies(name, observed)
            if newer:
                own = _caught_up(hostnet, name, own, newer, nodes, observed, result)
            else:
                result.errors += _contradicted(hostnet, name, own, observed)
            result.members += own
            continue
        lost = f"ConfigMap {_config_map(hostnet)} is gone in kube cluster {name}"
        # A deployment of version 0.2.0 has no copies; its kube clusters hold bindings of their own members alone.
        holders = [other for other in sorted(observed) if other != name and _entries(observed[other], name)]
        chosen, errors = _from_copies(lost, name, holders, observed)
        absent = name not in observed or bool(found.get("absent"))
        if chosen and not absent:
            result.restored.append(name)
            errors += _contradictions(hostnet, lost, name, chosen, nodes, found)
        # Of a kube cluster that does not answer nothing is changed, so what was known last is good enough to show.
        result.errors += [] if absent else errors
        result.members += chosen
    result.members.sort(key=join.canonical_key)
    return result


def _entries(found: Mapping[str, Any], kube_cluster: str) -> list[Json]:
    """The bindings of a kube cluster's members in what was found in this or another one."""
    return [dict(entry) for entry in found.get("members") or [] if entry["kube_cluster"] == kube_cluster]


def _highest(found: Mapping[str, Any], kube_cluster: str) -> int:
    """The highest ordinal of a kube cluster that this copy knows of; -1 where it knows of none."""
    given = (found.get("ordinals") or {}).get(kube_cluster, -1)
    return max([int(given), *(int(entry["ordinal"]) for entry in _entries(found, kube_cluster))])


def _newer_copies(name: str, observed: Observed) -> list[str]:
    """The kube clusters whose copies know of the highest ordinal of kube cluster `name`, where that is higher than any that its own copy knows of."""
    highest = {other: _highest(observed[other], name) for other in sorted(observed)}
    newest = max(highest.values())
    return [other for other, ordinal in highest.items() if ordinal == newest] if newest > highest[name] else []


def _caught_up(
    hostnet: Mapping[str, Any],
    name: str,
    own: Sequence[Mapping[str, Any]],
    newer: Sequence[str],
    nodes: Sequence[Mapping[str, Any]],
    observed: Observed,
    result: Merged,
) -> list[Json]:
    """The bindings of kube cluster `name`, whose own copy is older than those in `newer`; what of it is certain, and else what is against it, goes to `result`.

    A deploy that is killed between two kube clusters leaves copies that differ in the new members alone, whose folders and announcements were made before.
    Then, and after an old backup since which nothing else has changed, the newer copy has all that the older one has, and nothing contradicts it.
    """
    chosen, errors = _from_copies(f"the copy in kube cluster {name} is out of date", name, newer, observed)
    fresh = {str(entry["member"]): entry for entry in chosen}
    known = {str(entry["member"]): entry for entry in own}
    lacking = sorted(set(fresh) - set(known), key=join.natural_key)
    where = f"kube cluster {newer[0]} knows of member {names.member(name, _highest(observed[newer[0]], name))}, and kube cluster {name} itself does not"
    remedy = f"nothing is restored from a guess: if the copy in {newer[0]} is right, put its data into that ConfigMap of {name}"
    older = f"ConfigMap {_config_map(hostnet)} in kube cluster {name} is older than the copy in {newer[0]} ({where}), as after a restore of its etcd"
    for member, entry in known.items():
        apart = [key for key in _SAME_DISK if entry.get(key) != fresh.get(member, {}).get(key)]
        if member not in fresh:
            errors.append(f"{older}. It has member {member}, which that copy has not, because it has left since: {remedy}")
        elif apart:
            told = ", ".join(f"{key} {entry.get(key)} and {fresh[member].get(key)}" for key in apart)
            errors.append(f"{older}. They differ for member {member} in {told}: {remedy}")
    errors += _contradictions(hostnet, older, name, chosen, nodes, observed[name])
    if errors:
        result.errors += errors
        return [*(dict(entry) for entry in own), *(fresh[member] for member in lacking)]
    if lacking:
        result.outdated[name] = lacking
    return chosen


def _contradicted(hostnet: Mapping[str, Any], name: str, own: Sequence[Mapping[str, Any]], observed: Observed) -> list[str]:
    """Where all other copies agree on a member of kube cluster `name`, and its own copy, which knows of no other ordinals, says something else.

    A member that its own copy alone lacks has left, and is none of them. What a rollout in flight writes may be in some kube clusters only. Before the
    deployment is finished, or where its records are gone, other refusals come first.
    """
    if not all(any(found.get(key) for found in observed.values()) for key in ("identity", "cluster_record")):
        return []
    writing = _being_written(observed)
    highest = _highest(observed[name], name)
    # Whoever knows of less was written before, and has nothing to say: a deploy that was killed, or version 0.2.0.
    others = [
        other for other in sorted(observed) if other != name and has_copy(observed[other]) and _highest(observed[other], name) == highest
    ]
    errors = []
    for entry in own:
        member = str(entry["member"])
        said = [next((one for one in _entries(observed[other], name) if one["member"] == member), None) for other in others]
        views = {None if one is None else tuple(str(one.get(key)) for key in _SAME_DISK) for one in said}
        mine = tuple(str(entry.get(key)) for key in _SAME_DISK)
        if member in writing or len(views) != 1 or views == {mine}:
            continue
        theirs = said[0]
        told = (
            f"has member {member} (node {entry['node']}, admission {entry.get('admission')}), which the others have not: it may have left since"
            if theirs is None
            else f"says of member {member} "
            + ", ".join(
                f"{key} {entry.get(key)} where the others say {theirs.get(key)}" for key in _SAME_DISK if entry.get(key) != theirs.get(key)
            )
        )
        errors.append(
            f"ConfigMap {_config_map(hostnet)} in kube cluster {name} {told} ({', '.join(others)}). No rollout has the member in hand, so one side was "
            f"restored from a backup, or edited. Nothing is changed before a human has compared them with the marker on the disk: docs/recovery.md (The "
            f"copies of the bindings differ) has the commands"
        )
    return errors


def _being_written(observed: Observed) -> set[str]:
    """The members whose bindings a run that is in flight, or was killed, may have written to some kube clusters only."""
    found = journal.newest({name: observed[name].get("rollout") for name in observed if not observed[name].get("absent")})
    if not found or not journal.in_flight(found):
        return set()
    record = found.get("member") or {}
    displaced = [str(entry["member"]) for entry in record.get("displaced") or ()]
    # An adoption takes out all that it lists at once, with none of them in hand.
    leaving = [str(name) for name in found.get("order") or ()] if found.get("work") == adopt.WORK else []
    return {str(record.get("member", "")), *displaced, *leaving}


def _from_copies(lost: str, name: str, holders: Sequence[str], observed: Observed) -> tuple[list[Json], list[str]]:
    """The bindings of kube cluster `name` as `holders` have them, and where those differ. `lost` says why its own copy does not count."""
    chosen: dict[str, Json] = {}
    source: dict[str, str] = {}
    errors: list[str] = []
    for other in holders:
        for entry in _entries(observed[other], name):
            member = str(entry["member"])
            known = chosen.setdefault(member, dict(entry))
            source.setdefault(member, other)
            differs = [key for key in _PLACE if known.get(key) != entry.get(key)]
            if differs:
                errors.append(
                    f"{lost}, and the copies in {source[member]} and {other} differ for member {member} in {', '.join(differs)}: restore the "
                    f"ConfigMap in {name} from a backup"
                )
    return sorted(chosen.values(), key=join.canonical_key), errors


def _contradictions(
    hostnet: Mapping[str, Any],
    lost: str,
    name: str,
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
) -> list[str]:
    """What is left in a kube cluster whose own bindings are gone or older, and does not fit the copies of the others. `lost` says which of the two."""
    label = names.node_label(str(hostnet["name"]))
    by_member = {str(entry["member"]): entry for entry in bindings}
    elsewhere = f"{lost}, and the copies elsewhere say that member"
    errors = []
    for node in nodes:
        member = node["labels"].get(label, "") if node["kube_cluster"] == name else ""
        if member in by_member and by_member[member]["node"] != node["name"]:
            errors.append(
                f"{elsewhere} {member} is on node {by_member[member]['node']}, but node {node['name']} has its label {label}={member}: {_REMEDY}"
            )
    for entry in found.get("workloads") or []:
        binding = by_member.get(str(entry["member"]))
        if binding is None:
            continue
        for field_name in ("node", "address"):
            carried = str(entry.get(field_name) or "")
            if carried and carried != str(binding[field_name]):
                errors.append(
                    f"{elsewhere} {entry['member']} has {field_name} {binding[field_name]}, but {entry['kind']} {entry['name']} has {carried}: {_REMEDY}"
                )
    return errors


def strangers(
    hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], observed: Observed
) -> list[Json]:
    """Labels of nodes and workloads that carry a member without a binding, as {member, error}: they are never taken for something new."""
    known = {str(entry["member"]) for entry in bindings}
    label = names.node_label(str(hostnet["name"]))
    remedy = (
        f"its binding was deleted (ConfigMap {_config_map(hostnet)}), so nothing is known about its disk and its place: restore that ConfigMap "
        f"from a backup"
    )
    errors: list[Json] = []
    for node in nodes:
        member = str(node["labels"].get(label, ""))
        if member and member not in known:
            text = (
                f"kube cluster {node['kube_cluster']}: node {node['name']} is labelled {label}={member}, and there is no such member: {remedy}; if the member "
                f"left long ago, take the label away"
            )
            errors.append({"member": member, "error": text})
    for name in sorted(observed):
        for entry in observed[name].get("workloads") or []:
            member = str(entry["member"])
            if member and member not in known:
                what = f"{entry['kind']} {hostnet['namespace']}/{entry['name']}"
                text = f"kube cluster {name}: {what} runs member {member}, and there is no such member: {remedy}"
                errors.append({"member": member, "error": text})
    return errors


def unknown_peers(
    bindings: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Peers that healthy members list and that no binding accounts for: a system that has them is not all here, and does not grow.

    `new` are bindings about to be admitted: a run that was killed may have announced them already. They have not started, so they account for nobody
    who has a name: that one has been a member at this address, and its binding was lost.
    """
    processes = {str(entry[key]) for entry in bindings for key in ("process", "member")}
    ids = {str(said["id"]) for said in inspection.values() if said.get("id")}
    bound = {peer_address(str(entry["address"])) for entry in bindings}
    announced = bound | {peer_address(str(entry["address"])) for entry in new}
    errors = {}
    for teller in sorted(inspection):
        said = inspection[teller]
        if not said.get("healthy"):
            continue
        for peer in said.get("peers") or []:
            shown = str(peer.get("name") or peer.get("id") or "")
            name, address = str(peer.get("name") or ""), str(peer.get("address") or "")
            if name in processes or str(peer.get("id") or "") in ids or (peer_address(address) or "") in (bound if name else announced):
                continue
            said_by = f"{shown or '(without a name)'}{' at ' + address if address else ''} (says {teller})"
            errors[shown, address] = (
                f"the system lists a member {said_by} that has no binding: a kube cluster or a ConfigMap with its binding is missing, or it was "
                f"added by hand. It is never taken for new: restore the binding, or take that member out of the system first"
            )
    return list(errors.values())


def highest_ordinals(
    hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], observed: Observed
) -> dict[str, int]:
    """The highest ordinal that was ever given in each kube cluster, from everything that may still know: an ordinal is never given twice."""
    highest: dict[str, int] = {}

    def seen(kube_cluster: str, ordinal: int) -> None:
        highest[kube_cluster] = max(highest.get(kube_cluster, -1), ordinal)

    def seen_name(member: str) -> None:
        kube_cluster, _dash, ordinal = member.rpartition("-")
        if kube_cluster and ordinal.isascii() and ordinal.isdigit():
            seen(kube_cluster, int(ordinal))

    for entry in bindings:
        seen(str(entry["kube_cluster"]), int(entry["ordinal"]))
    for found in observed.values():
        for kube_cluster, ordinal in (found.get("ordinals") or {}).items():
            seen(str(kube_cluster), int(ordinal))
        for member in str((found.get("identity") or {}).get("members", "")).split(","):
            seen_name(member)
        for workload in found.get("workloads") or []:
            seen_name(str(workload["member"]))
    label = names.node_label(str(hostnet["name"]))
    for node in nodes:
        seen_name(str(node["labels"].get(label, "")))
    return dict(sorted(highest.items()))
