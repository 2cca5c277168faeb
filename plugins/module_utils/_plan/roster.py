# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kube clusters a deployment has, and whether the ones at hand are those: pure functions.

The roster names each kube cluster with the UID of its namespace `kube-system`, which no two Kubernetes clusters share and which lasts as long
as the cluster does. Revision 1 is part of the claim (ConfigMap `<name>-identity`). Each later one is an immutable ConfigMap
`<name>-kube-clusters-<revision>` of its own in every kube cluster, so an old roster is never changed, only succeeded. Deployments of
version 0.2.0 have none: `inferred` says which kube clusters they must have had, and the next deploy that sees them all writes revision 1.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

Json = dict[str, Any]


class Roster(TypedDict):
    """`kube_clusters` and `lost` are UID by name; "" is a UID that nobody recorded. `lost` were taken out because they are gone for good."""

    revision: int
    kube_clusters: dict[str, str]
    lost: dict[str, str]
    data_root: str


def make(kube_clusters: Mapping[str, str], data_root: str, revision: int = 1, lost: Mapping[str, str] | None = None) -> Roster:
    """A roster of these kube clusters (name -> UID)."""
    return {
        "revision": revision,
        "kube_clusters": dict(sorted(kube_clusters.items())),
        "lost": dict(sorted((lost or {}).items())),
        "data_root": data_root,
    }


def dump(roster: Roster) -> dict[str, str]:
    """A roster as the data of a ConfigMap."""
    return {
        "revision": str(roster["revision"]),
        "kube_clusters": json.dumps(roster["kube_clusters"], sort_keys=True),
        "lost": json.dumps(roster["lost"], sort_keys=True),
        "data_root": roster["data_root"],
    }


def parse(data: Mapping[str, Any]) -> Roster | None:
    """The roster in a ConfigMap's data, also in that of a claim; None where there is none, or it cannot be read."""
    try:
        kube_clusters = json.loads(str(data["kube_clusters"]))
        lost = json.loads(str(data.get("lost", "{}")))
        revision = int(str(data.get("revision", "1")))
    except (KeyError, ValueError):
        return None
    for found in (kube_clusters, lost):
        if not isinstance(found, dict) or not all(isinstance(uid, str) for uid in found.values()):
            return None
    if not kube_clusters or revision < 1:
        return None
    return make(kube_clusters, str(data.get("data_root", "")), revision, lost)


def newest(observed: Mapping[str, Mapping[str, Any]]) -> tuple[Roster | None, list[str]]:
    """The roster in force, and what is wrong with those that were found.

    A run that is killed while it writes leaves the newest revision in some kube clusters only. It was written under the lock, and create-only
    in sorted order, so it counts everywhere.
    """
    found: dict[int, tuple[str, Roster]] = {}
    errors: list[str] = []
    for name in sorted(observed):
        documents = list(observed[name].get("rosters") or [])
        claim = observed[name].get("identity") or {}
        if "kube_clusters" in claim:
            documents.append(claim)
        for data in documents:
            roster = parse(data)
            if roster is None:
                errors.append(
                    f"kube cluster {name}: the record of the deployment's kube clusters cannot be read ({json.dumps(dict(data), sort_keys=True)[:200]}): "
                    f"it was edited, or a newer version of the collection wrote it. Use that version, or restore the ConfigMap from another kube cluster"
                )
                continue
            first = found.setdefault(roster["revision"], (name, roster))
            if first[1] != roster:
                errors.append(
                    f"kube clusters {first[0]} and {name} disagree on revision {roster['revision']} of the record of the deployment's kube clusters: two "
                    f"deployments share the name, or a record was edited. docs/recovery.md says how to tell which one holds your data"
                )
    return (found[max(found)][1] if found else None), errors


def inferred(observed: Mapping[str, Mapping[str, Any]]) -> Roster | None:
    """What a deployment without a roster (of version 0.2.0, or whose record was deleted) must have; None where nothing of one is left. No UID is known.

    Who holds its claim or a copy of its bindings, and where its first members and all bindings are. The highest ordinals also name kube clusters whose
    members have left, or were forgotten with it: those are its own where they are at hand, and nobody misses them where they are not.
    """
    known: set[str] = set()
    for name in sorted(observed):
        found = observed[name]
        claim = found.get("identity")
        if claim or found.get("members_found") or found.get("members"):
            known.add(name)
        known |= {member.rpartition("-")[0] for member in str((claim or {}).get("members", "")).split(",") if member.rpartition("-")[0]}
        known |= {str(binding["kube_cluster"]) for binding in found.get("members") or []}
        known |= set(found.get("ordinals") or {}) & set(observed)
    return make(dict.fromkeys(known, ""), "") if known else None


def same_server(uids: Mapping[str, str]) -> list[str]:
    """Names that lead to one Kubernetes cluster: two of them would be one failure domain that looks like two."""
    owners: dict[str, str] = {}
    errors = []
    for name in sorted(uids):
        uid = uids[name]
        first = owners.setdefault(uid, name) if uid else name
        if first != name:
            errors.append(
                f"kube clusters {first} and {name} are the same Kubernetes cluster (namespace kube-system has UID {uid} in both): correct the context "
                f"or host of one of them in the inventory, or leave one out"
            )
    return errors


def problems(
    deployment: str, roster: Roster | None, uids: Mapping[str, str], joining: Collection[str] = (), without: Collection[str] = ()
) -> list[str]:
    """Why these kube clusters (name -> UID, "" where one does not answer) are not those of the deployment; empty where they are.

    `joining` are the names that the user has said it grows into, `without` those that are left out on purpose.
    """
    errors = same_server(uids)
    if roster is None:
        return errors
    recorded = roster["kube_clusters"]
    owners = {uid: name for name, uid in recorded.items() if uid}
    known = ", ".join(sorted(recorded))
    for name in sorted(uids):
        uid = uids[name]
        former = owners.get(uid, "") if uid else ""
        if name in recorded:
            if uid and recorded[name] and uid != recorded[name]:
                errors.append(
                    f"kube cluster {name} is not the one that {deployment} was deployed to: namespace kube-system has UID {uid}, recorded is {recorded[name]}. "
                    + (
                        f"It is the one recorded as {former}: contexts or hosts were swapped in the inventory, correct them"
                        if former
                        else "Its context or host leads to another Kubernetes cluster: correct the inventory. If that cluster was made anew, its members are "
                        "lost: playbooks/forget_kube_cluster.yml takes them out"
                    )
                )
        elif former:
            errors.append(
                f"kube cluster {name} is recorded under the name {former} for {deployment}: members are named after it, so it keeps that name. Name it "
                f"{former} in the inventory"
            )
        elif name not in joining:
            errors.append(
                f"kube cluster {name} is none of {deployment}'s, which was deployed to {known}: leave it out of the inventory, or, if {deployment} is to grow "
                f'into it, say so with -e \'{{"hostnet_new_kube_clusters": ["{name}"]}}\''
            )
    for name in sorted(recorded):
        if name not in uids and name not in without:
            errors.append(
                f"kube cluster {name} is missing: {deployment} was deployed to {known}, and the inventory has {', '.join(sorted(uids)) or 'none'}. Add it (one "
                f"inventory with all kube clusters, or all inventory files with -i); if it is gone for good, playbooks/forget_kube_cluster.yml takes its "
                f"members out (with the majority: playbooks/adopt.yml with -e hostnet_lost_kube_cluster={name}, see docs/recovery.md)"
            )
    for name in sorted(joining):
        if name not in uids:
            errors.append(
                f"hostnet_new_kube_clusters has {name!r}, which is not in the inventory ({', '.join(sorted(uids)) or 'none'}): correct the name"
            )
    return errors


def not_lost(deployment: str, roster: Roster, name: str, named: Collection[str], known: Collection[str] = ()) -> list[str]:
    """Why `name` cannot be a kube cluster that is gone for good. `named` are those of the inventory, `known` others that are known to have been one."""
    if name in named:
        return [
            f"kube cluster {name} is in the inventory: take it out there first. One whose members still run is no lost one; scale_down.yml has them leave"
        ]
    if name in (*roster["kube_clusters"], *roster["lost"], *known):
        return []
    return [
        f"hostnet_lost_kube_cluster is {name!r}, and {deployment} has no such kube cluster: it has {', '.join(sorted(roster['kube_clusters'])) or 'none'}"
    ]


def grown(roster: Roster, uids: Mapping[str, str]) -> Roster | None:
    """The next revision, where `uids` (checked by `problems`) has kube clusters that are not recorded yet; None where it has none."""
    fresh = {name: uid for name, uid in uids.items() if name not in roster["kube_clusters"]}
    if not fresh:
        return None
    return make({**roster["kube_clusters"], **fresh}, roster["data_root"], roster["revision"] + 1, roster["lost"])


def without(roster: Roster, name: str) -> Roster:
    """The next revision, without a kube cluster that is gone for good."""
    kept = {other: uid for other, uid in roster["kube_clusters"].items() if other != name}
    return make(kept, roster["data_root"], roster["revision"] + 1, {**roster["lost"], name: roster["kube_clusters"].get(name, "")})


def missing_copies(roster: Roster, observed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Kube clusters of the roster that do not have its newest revision, as those that a killed run did not reach."""
    lacking = []
    for name in sorted(roster["kube_clusters"]):
        found = observed.get(name)
        if found is None or found.get("absent"):
            continue
        documents: Sequence[Mapping[str, Any]] = [*(found.get("rosters") or []), *([found["identity"]] if found.get("identity") else [])]
        if not any(parse(data) == roster for data in documents):
            lacking.append(name)
    return lacking
