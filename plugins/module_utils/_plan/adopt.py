# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back from a disaster: what is adopted after a human has brought a system back by its own means. Pure functions.

The system itself says who its members are. Whoever it does not list has no part in it any more: binding, workload and label go, and the data on
disks stays. This is the only way in which a recorded cluster id is ever replaced (invariant 2 of docs/design.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import join, names, probe, roster
from . import journal as journals
from .gate import quorum
from .layout import data_folder
from .nodes import same_address

Json = dict[str, Any]

WORK = "adopt"


def adoption(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    observed: Mapping[str, Any],
    inspection: Mapping[str, Mapping[str, Any]],
    wanted: str,
) -> Json:
    """What is adopted: {errors, cluster_id, former, keep, drop, orphans, awaited, journal, lines}.

    `plan` is deployment_plan's, `wanted` the cluster id that the human expects, `inspection` of all members that have a binding and run. `keep`
    are bindings, `drop` too, each with its `folder`; `orphans` are names of members without binding that still have a workload; `awaited` those
    of `drop` whose end their kubelets confirm; `former` is the cluster id that is replaced, empty where none is; `journal` is the work that is
    given up, empty where none was under way.
    """
    found = journals.newest({name: observed[name].get("rollout") for name in observed}) or {}
    flying = journals.in_flight(found)
    resumed = flying and found.get("work") == WORK
    errors = [str(error) for error in plan.get("membership") or []]
    for lost in hostnet.get("without_kube_clusters") or []:
        errors += roster.not_lost(
            str(hostnet["name"]), plan["roster"], str(lost), observed, [str(entry["kube_cluster"]) for entry in plan["members"]]
        )
    wrong, former = _record(hostnet, observed, found if resumed else {}, wanted)
    bindings = sorted(plan["members"], key=join.canonical_key)
    errors += wrong + _answers(hostnet, bindings, inspection, wanted)
    keep: list[Json] = []
    if not errors:
        errors, keep = _membership(hostnet, bindings, inspection)
    kept = {str(binding["member"]) for binding in keep}
    drop = [{**binding, "folder": data_folder(hostnet, binding)} for binding in bindings if binding["member"] not in kept]
    if not errors:
        errors += _alive(drop, nodes)
    if errors:
        keep, drop = [], []
    known = {str(binding["member"]) for binding in bindings}
    workloads = {str(entry["member"]) for entry in (item for name in observed for item in observed[name]["workloads"]) if entry["member"]}
    orphans = sorted(workloads - known, key=join.natural_key) if not errors else []
    abandoned = f"{found.get('work')} (run {found.get('run_id')})" if flying and not resumed else ""
    return {
        "errors": errors,
        "cluster_id": wanted,
        "former": former,
        "keep": keep,
        "drop": drop,
        "orphans": orphans,
        "awaited": [binding for binding in drop if _confirms(binding, nodes)],
        "journal": abandoned,
        "saved": sorted(found.get("saved") or {}) if flying and not resumed else [],
        "lines": [] if errors else _lines(hostnet, wanted, former, keep, drop, orphans, abandoned),
    }


def in_progress(name: str, journal: Mapping[str, Any] | None) -> list[str]:
    """Why nothing else may be done while a system is adopted: half adopted is neither the old system nor the new one. An abort neither."""
    if not journals.in_flight(journal) or (journal or {}).get("work") != WORK:
        return []
    wanted = ((journal or {}).get("settings") or {}).get("cluster_id", "")
    return [
        (
            f"{name} is being adopted (run {(journal or {}).get('run_id')}), and that was not finished: run playbooks/adopt.yml again with "
            f"-e hostnet_adopt_cluster_id={wanted}, which goes on with it"
        )
    ]


def _record(hostnet: Mapping[str, Any], observed: Mapping[str, Any], found: Mapping[str, Any], wanted: str) -> tuple[list[str], str]:
    """(errors, the cluster id that is replaced). A run that was killed has left the new one, or none, in some kube clusters."""
    errors = []
    claims = {name: observed[name]["identity"] for name in sorted(observed) if observed[name]["identity"]}
    if not claims:
        errors.append(
            f"deployment {hostnet['name']} has no identity record in any kube cluster, so there is nothing to adopt by: restore the ConfigMap "
            f"{names.identity(str(hostnet['name']))} first (docs/recovery.md)"
        )
    first = next(iter(claims), "")
    for name, claim in claims.items():
        if claim != claims[first]:
            errors.append(
                f"the identity record of deployment {hostnet['name']} differs between kube clusters {first} and {name}: two deployments share this "
                f"name, or a record was edited. Nothing is adopted"
            )
    for field in ("system", "placement"):
        if claims and claims[first].get(field) != hostnet[field]:
            errors.append(
                f"deployment {hostnet['name']} is recorded with {field} {claims[first].get(field)!r}, not {hostnet[field]!r}: give the recorded one"
            )
    if not wanted:
        errors.append(
            "hostnet_adopt_cluster_id is empty: give the cluster id that you expect, as the system's own tools show it (docs/recovery.md)"
        )
    recorded = {str(observed[name]["cluster_record"]["cluster_id"]) for name in observed if observed[name]["cluster_record"]}
    others = sorted(recorded - {wanted})
    if len(others) > 1:
        errors.append(
            f"the kube clusters have recorded different cluster ids: {', '.join(sorted(recorded))}. Delete the ConfigMap "
            f"{names.cluster_record(str(hostnet['name']))} where it is wrong, then adopt"
        )
    before = str((found.get("settings") or {}).get("former") or "")
    former = others[0] if others else before if before != wanted else ""
    return errors, former


def _answers(
    hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]], wanted: str
) -> list[str]:
    """What the members that answer say against adopting them: nothing but one cluster id, the expected one, will do."""
    reported: dict[str, list[str]] = {}
    for binding in bindings:
        said = inspection.get(str(binding["member"]), {})
        if said.get("reachable"):
            reported.setdefault(str(said.get("cluster_id") or ""), []).append(str(binding["member"]))
    if not reported:
        reasons = [f"{name} ({entry.get('reason') or 'no answer'})" for name, entry in sorted(inspection.items())]
        return [
            f"no member of {hostnet['name']} answers, so there is nothing to adopt"
            + (f": {', '.join(reasons)}" if reasons else "")
            + ". Bring the system back by its own means first (docs/recovery.md)"
        ]
    text = "; ".join(f"{found or 'none'}: {', '.join(who)}" for found, who in sorted(reported.items()))
    if len(reported) > 1:
        return [f"members of {hostnet['name']} report different cluster ids: {text}. Stop those that are not to go on, then adopt"]
    if wanted and wanted not in reported:
        return [
            f"hostnet_adopt_cluster_id is {wanted!r}, but the members report another cluster id: {text}. Find out why before anything is adopted"
        ]
    return []


def _membership(
    hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[Json]]:
    """(errors, the bindings of those that the system lists), by what all members that answer say of the membership."""
    answering = [binding for binding in bindings if inspection.get(str(binding["member"]), {}).get("reachable")]
    errors = [
        f"member {binding['member']} answers and is not healthy: {inspection[binding['member']].get('reason') or 'it does not say why'}"
        for binding in answering
        if not inspection[binding["member"]].get("healthy")
    ]
    # A learner is told nothing of the membership.
    tellers = [binding for binding in answering if inspection[binding["member"]].get("role") != "learner"]
    views = {
        str(binding["member"]): tuple(sorted((_key(peer), str(peer.get("role") or "")) for peer in inspection[binding["member"]]["peers"]))
        for binding in tellers
    }
    errors += [f"member {name} does not list the members" for name, view in views.items() if not view]
    if len({view for view in views.values() if view}) > 1:
        shown = "; ".join(f"{name}: {', '.join(key for key, _role in view)}" for name, view in views.items())
        errors.append(
            f"the members do not agree on who is a member ({shown}): more than one system runs, or a change is under way. Stop those that are not to go on"
        )
    if errors or not tellers:
        return errors or [f"only learners of {hostnet['name']} answer; wait until one has a vote"], []
    peers = inspection[tellers[0]["member"]]["peers"]
    owners = [_owner(peer, bindings) for peer in peers]
    errors += [
        f"the system lists {_key(peer)} at {peer.get('address') or 'an unknown address'}, which is no member with a binding: take it out of the system first"
        for peer, owner in zip(peers, owners, strict=True)
        if owner is None
    ]
    listed = {str(owner["member"]) for owner in owners if owner is not None}
    errors += [
        f"member {binding['member']} answers, and the others do not list it: stop it before the others are adopted"
        for binding in answering
        if binding["member"] not in listed
    ]
    voters = [owner for peer, owner in zip(peers, owners, strict=True) if peer.get("role") != "learner"]
    well = [owner for owner in voters if owner is not None and inspection.get(str(owner["member"]), {}).get("healthy")]
    if len(well) < quorum(len(voters)):
        errors.append(f"{len(well)} of {len(voters)} members that the system lists answer and are healthy, {quorum(len(voters))} have to")
    # How far a member's log had come belongs to the system that was: what runs now is what is adopted.
    kept = [{key: value for key, value in binding.items() if key != "progress"} for binding in bindings if binding["member"] in listed]
    return errors, [] if errors else kept


def _key(peer: Mapping[str, Any]) -> str:
    return str(peer.get("id") or peer.get("name") or peer.get("address") or "")


def _owner(peer: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The binding of a listed peer: the name decides, then the address, compared as an IP address."""
    name = str(peer.get("name") or peer.get("member") or "")
    if name:
        for binding in bindings:
            if name in (binding["process"], binding["member"]):
                return binding
    for binding in bindings:
        if same_address(str(binding["address"]), str(peer.get("address") or "")):
            return binding
    return None


def _node(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The node of the binding, where it is still the VM that it was."""
    return next(
        (
            node
            for node in nodes
            if node["kube_cluster"] == binding["kube_cluster"] and node["name"] == binding["node"] and node["uid"] == binding["node_uid"]
        ),
        None,
    )


def _confirms(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> bool:
    node = _node(binding, nodes)
    return node is not None and bool(node["ready"])


def _alive(drop: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Members that may still run where nobody can see them: together they may be the system that was there before."""
    errors = []
    for binding in drop:
        node = _node(binding, nodes)
        if node is None or node["ready"] or any(taint.get("key") == names.OUT_OF_SERVICE for taint in node.get("taints") or []):
            continue
        errors.append(
            f"kube cluster {binding['kube_cluster']}: node {binding['node']} of member {binding['member']}, which the system does not list, is not Ready: its "
            f"process may still run, and with others like it be the system that was there before. Bring the node back; or, where its VM is certainly "
            f"dead, say so: delete the Node, or taint it {names.OUT_OF_SERVICE}=nodeshutdown:NoExecute"
        )
    return errors


def _lines(
    hostnet: Mapping[str, Any],
    wanted: str,
    former: str,
    keep: Sequence[Mapping[str, Any]],
    drop: Sequence[Mapping[str, Any]],
    orphans: Sequence[str],
    abandoned: str,
) -> list[str]:
    lines = [
        f"{hostnet['name']}: cluster id {wanted}" + (f" replaces {former}" if former else " is recorded already, or not at all"),
        f"members that the system lists, and that stay: {', '.join(str(binding['member']) for binding in keep)}",
    ]
    if drop:
        lines.append(
            f"members that it does not list, and that lose binding, workload and label: {', '.join(str(one['member']) for one in drop)}"
        )
    lines += [
        f"data that stays where it is: {binding['folder']} on node {binding['node']} of kube cluster {binding['kube_cluster']} (member {binding['member']})"
        for binding in drop
    ]
    if orphans:
        lines.append(f"workloads of members that have no binding any more go too: {', '.join(orphans)}")
    if abandoned:
        lines.append(f"what was under way is given up: {abandoned}")
    return lines


def former_data(hostnet: Mapping[str, Any], plan: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Folders with data on nodes that get a member, which are of nobody who has a binding: said once, and left alone. `results` are of PROBE_SCRIPT."""
    admissions = {str(binding["admission"]) for binding in [*plan["members"], *plan["new"]]}
    lines = []
    for result in results if plan["mode"] == "existing" else []:
        facts = probe.parse_probe(str(result["stdout"]))
        for folder, state in sorted(facts["content"].items()):
            if folder in admissions or state in ("empty", "marker"):
                continue
            whose = facts["markers"].get(folder, {}).get("member", "")
            lines.append(
                f"kube cluster {result['kube_cluster']}: node {result['node']} has data of a former member{' ' + whose if whose else ''}, which stays: "
                f"{hostnet['data_root']}/{hostnet['name']}/{folder}"
            )
    return lines
