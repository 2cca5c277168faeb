# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A claim without a cluster id: a first deploy that was cut short, or a system that runs and whose record was deleted. Pure functions.

State `new` lets an empty disk bootstrap, so it is given only where nothing was ever acknowledged: no majority of the first members can have
started. What is known decides, in this order:

| what is known | mode | state |
|---|---|---|
| members report two cluster ids | refused | |
| the record was there once: a join list with state `existing`, a journal, a member beyond the claim, a member that a rollout stopped | lost_record | existing |
| a majority of the first members is healthy, they report one cluster id, and all have a binding | lost_record | existing |
| a first member's disk is not the one that it was admitted to, or cannot be looked at | refused | |
| somebody is healthy, or has a ready pod, or disks with content are a majority of the first members | unfinished | existing |
| everything else: disks with content are less than a majority, and nobody is healthy | unfinished | new |

With `lost_record` a majority proves the cluster id, and nobody is admitted. With `unfinished` every first member starts, and all of them have
to report one cluster id; with state `existing` an empty disk among them can only join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import join, names
from .gate import quorum
from .probe import probe_env

Json = dict[str, Any]

# What the script `probe` says of an admission folder. The marker that an admission leaves there is no data.
_STATES = {"empty": "empty", "marker": "empty", "data": "content", "unreadable": "unseen"}


def first_members(identity: Mapping[str, Any]) -> list[str]:
    """Names of the members that the claim is for."""
    return sorted({name for name in str(identity.get("members") or "").split(",") if name}, key=join.natural_key)


def recorded_once(identity: Mapping[str, Any], members: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """What shows that a claim without cluster id had one: all of it is written only after the record. One text each, empty for none."""
    proof = []
    for name in sorted(observed):
        found = observed[name]
        if (found.get("join") or {}).get("HOSTNET_STATE") == "existing":
            proof.append(f"kube cluster {name}: its join list has state existing")
        if found.get("rollout"):
            proof.append(f"kube cluster {name}: it has the journal of a rollout")
    claimed = first_members(identity)
    for binding in sorted(members, key=join.canonical_key):
        if binding["member"] not in claimed:
            proof.append(f"member {binding['member']} was admitted after the first deploy")
        elif binding.get("stopped"):
            proof.append(f"member {binding['member']} was stopped by a rollout")
    return proof


def without_members(hostnet: Mapping[str, Any], proof: Sequence[str]) -> str:
    """The error about a claim whose cluster id and bindings are gone, although it had them."""
    return (
        f"deployment {hostnet['name']} has neither a cluster id nor bindings of members, but it had them: {'; '.join(proof)}. Nothing is initialised. "
        f"Restore the ConfigMaps {names.cluster_record(str(hostnet['name']))} and {names.members(str(hostnet['name']))} (docs/recovery.md)"
    )


def look_nodes(hostnet: Mapping[str, Any], plan: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_run with the script `probe`: those of the plan's members, as far as they are Ready. No other one carries a disk that counts."""
    places = {(str(binding["kube_cluster"]), str(binding["node"])) for binding in [*plan["members"], *plan["new"]]}
    return [
        {"kube_cluster": node["kube_cluster"], "name": node["name"], "env": probe_env(hostnet)}
        for node in nodes
        if node["ready"] and (str(node["kube_cluster"]), str(node["name"])) in places
    ]


def folders(looked: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, str]]:
    """`empty`, `content` or `unseen` by folder, by kube cluster and node, from node_run's results of the script `probe`."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for result in looked:
        words = [line.split() for line in str(result["stdout"]).splitlines()]
        found[str(result["kube_cluster"]), str(result["node"])] = {
            line[1]: _STATES.get(line[2], "unseen") for line in words if len(line) == 3 and line[0] == "content"
        }
    return found


def disks(
    plan: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, str], dict[str, str]]:
    """(`content`, `empty`, `other` or `unseen` by first member, why the disks of those that are `other` or `unseen` do not count)."""
    current = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    seen = folders(looked)
    states: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for binding in [*plan["members"], *plan["new"]]:
        name, key = str(binding["member"]), (str(binding["kube_cluster"]), str(binding["node"]))
        where = f"node {key[1]} of kube cluster {key[0]}"
        node, here = current.get(key), seen.get(key)
        if node is None or node["uid"] != binding["node_uid"]:
            states[name], reasons[name] = "other", f"{where} is gone or another VM"
        elif here is None:
            states[name], reasons[name] = "unseen", f"{where} could not be looked at"
        elif not binding["admission"]:
            # Never admitted, as far as bindings tell; a folder that may have content says otherwise.
            states[name] = "empty" if set(here.values()) <= {"empty"} else "content"
        elif str(binding["admission"]) not in here:
            states[name], reasons[name] = "other", f"folder {binding['admission']} is not on {where}"
        else:
            states[name] = here[str(binding["admission"])]
            if states[name] == "unseen":
                reasons[name] = f"folder {binding['admission']} on {where} cannot be read"
    return states, reasons


def judge(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    observed: Mapping[str, Any],
    inspection: Mapping[str, Mapping[str, Any]],
    looked: Sequence[Mapping[str, Any]],
) -> Json:
    """`mode`, `state`, `batches` and `errors` of a plan of mode `unfinished`, now that members and disks were looked at (table above).

    `plan` is deployment_plan's: no proof that the record was there once, and the nodes give the very members that were claimed. `looked` is
    node_run's results of the script `probe`.
    """
    claimed = first_members(plan["identity"])
    needed = quorum(len(claimed))
    reported: dict[str, list[str]] = {}
    for name in sorted(inspection, key=join.natural_key):
        if inspection[name].get("reachable") and inspection[name].get("cluster_id"):
            reported.setdefault(str(inspection[name]["cluster_id"]), []).append(name)
    if len(reported) > 1:
        text = "; ".join(f"{found}: {', '.join(who)}" for found, who in sorted(reported.items()))
        return _judged(
            plan, "existing", [f"members of {hostnet['name']} report different cluster ids: {text}. Change nothing; see docs/recovery.md"]
        )
    healthy = [name for name in claimed if inspection.get(name, {}).get("healthy") and inspection[name].get("cluster_id")]
    bound = {str(binding["member"]) for binding in plan["members"]}
    if len(healthy) >= needed and bound >= set(claimed):
        return {"mode": "lost_record", "state": "existing", "batches": [], "errors": []}
    states, reasons = disks(plan, nodes, looked)
    ready = any(pod["ready"] for found in observed.values() for pod in found["pods"])
    ran = bool(healthy) or ready or sum(state == "content" for state in states.values()) >= needed
    wrong = [f"{name} ({reasons[name]})" for name in claimed if name in reasons]
    if wrong:
        # Together with these it may have been a majority.
        return _judged(
            plan,
            "existing",
            [
                (
                    f"deployment {hostnet['name']} was claimed and has no cluster id, and the disks of first members are not those that they were "
                    f"admitted to: {', '.join(wrong)}. Nothing is initialised beside a system that may have run. Bring these nodes back; if a majority "
                    f"of its members runs, it is recorded again without them; if it never stored anything, discard it with "
                    f"playbooks/remove.yml -e hostnet_remove_data=true (deletes the data of all members)"
                )
            ],
        )
    return _judged(plan, "existing" if ran else "new", [])


def _judged(plan: Mapping[str, Any], state: str, errors: list[str]) -> Json:
    return {"mode": "unfinished", "state": state, "batches": list(plan["batches"]), "errors": errors}
