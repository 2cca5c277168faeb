# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a deploy does, from what was observed: pure functions.

Nothing here starts a member. The plan says which members exist, which nodes get new ones, in which batches, and every
reason for which nothing may be changed at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import adopt, claim, collisions, dead, join, journal, limits, names, neighbours, pki_place, trust, trust_revisions
from . import bindings as copies
from .clocks import clock_errors
from .data_root import mount_errors
from .identity import agreed, evidence_of, identity_errors, restored_identity
from .membership import membership_errors, next_roster
from .new_members import address_type_errors, growth_errors, new_bindings, unusable_nodes
from .observation import seeds
from .settings_and_spec import selector_errors

Json = dict[str, Any]

# Pods of a StatefulSet carry its name and a revision hash as one label value of at most 63 characters.
MAX_WORKLOAD_NAME = 50


def deployment_plan(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]
) -> Json:
    """What a deploy has to do.

    `nodes` are the nodes that match the selector (nodes_info), `observed` is deployment_info's `kube_clusters`.

    Returns: `mode` (`first`: nothing exists; `unfinished`: claimed, and nothing here says that it was ever finished; `existing`; `lost_record`:
    members exist but no record, or a part of it), `state` (whether an empty disk may bootstrap, `new`, or can only join, `existing`), `errors`,
    `open` (those of the errors that are about a rollout that is in progress), `conflicts` (those about the deployment's identity), `membership` (those of them
    that are about its kube clusters),
    `lost_ca` (those about its CA), `rights` (those about what this user may do), `strangers` (those about members without a binding: {member, error}),
    `warnings`, `restored` (those of them about bindings that come from copies), `identity` (the record found, or null), `cluster_id`,
    `incomplete` (a kube cluster lacks a record that others have), `nkeys` (public keys of NATS users that the
    configuration in force names), `roster` (the record of the kube clusters that is to be in force),
    `roster_complete` (it is, everywhere), `trust` (the trust revision in force, null where nothing is recorded), `trust_complete` (every kube cluster has
    it), `members` (bindings that exist),
    `returned` (those of them whose Node object was made anew for the same VM: `members` has the new UID), `ordinals` (the highest ones that were ever
    given, by kube cluster), `new` (bindings to admit, their admission still empty), `batches` (lists of names of members that are started together,
    one batch after another), `seeds` (the join list now), `probe` (nodes to look at before anything starts).

    `nodes` may hold nodes that do not match the selector (`selected` false): they tell what became of members, and never get one.
    """
    errors: list[str] = []
    warnings: list[str] = []
    # Whatever the order in which they were read, the plan and its messages are the same.
    nodes = sorted(
        nodes, key=lambda node: (join.natural_key(str(node["kube_cluster"])), join.natural_key(str(node["name"])), str(node["name"]))
    )
    errors += _rollout_errors(hostnet, observed)
    unfinished = len(errors)
    membership = membership_errors(hostnet, observed) + neighbours.namesakes(hostnet, nodes)
    errors += membership + clock_errors(observed)
    identity = agreed(observed, "identity", "identity record", hostnet, errors)
    record = agreed(observed, "cluster_record", "cluster id", hostnet, errors)
    merged = copies.merge(hostnet, nodes, observed)
    members, returned = dead.followed(merged.members, nodes)
    errors += merged.errors + address_type_errors(hostnet, members, nodes)
    restored = [
        f"kube cluster {name} has lost its bindings (ConfigMap {hostnet['namespace']}/{names.members(str(hostnet['name']))}); they are restored from the other "
        f"kube clusters' copies"
        for name in merged.restored
    ]
    restored += [
        f"kube cluster {name} has older bindings than the others (ConfigMap {hostnet['namespace']}/{names.members(str(hostnet['name']))} lacks "
        f"{', '.join(lacking)}), as after a restore from a backup or a deploy that was killed; they are restored from the other kube clusters' copies"
        for name, lacking in merged.outdated.items()
    ]
    warnings += restored
    errors += trust.journal_refusals(hostnet, observed, nodes)
    rights = [
        f"kube cluster {name}: this user may not list Deployments in namespace {hostnet['namespace']}, and the guard pods of nodes with members are in some: "
        f"apply docs/rbac.yaml of this version"
        for name in sorted(observed)
        if observed[name].get("guards", []) is None
    ]
    errors += rights
    conflicts = errors[unfinished:]
    evidence = evidence_of(hostnet, nodes, observed)
    if identity is not None:
        mode = "existing" if record else "lost_record" if claim.recorded_once(identity, members, observed) else "unfinished"
        conflicts += identity_errors(hostnet, identity)
        errors += identity_errors(hostnet, identity)
    else:
        mode = "lost_record" if evidence else "first"
    errors += _namespace_errors(hostnet, observed)
    selected = [node for node in nodes if node.get("selected", True)] if hostnet["selector_said"] else []
    errors += unusable_nodes(hostnet, spec, selected)
    strangers: list[Json] = []
    ordinals: dict[str, int] = {}
    if mode in ("existing", "lost_record"):
        # A run that was cut short before that gives the claimed names once more.
        ordinals = copies.highest_ordinals(hostnet, members, nodes, observed)
    before = len(errors)
    new = [] if mode == "lost_record" else new_bindings(hostnet, spec, selected, members, ordinals, errors, warnings)
    refused = len(errors) - before
    if mode == "lost_record" and identity is None:
        identity, lost = restored_identity(hostnet, observed, evidence, members)
        errors += lost
    elif mode == "lost_record" and not members:
        errors.append(claim.without_members(hostnet, claim.recorded_once(identity or {}, members, observed)))
    if mode in ("existing", "lost_record") and identity is not None and (members or mode == "existing"):
        strangers = copies.strangers(hostnet, members, nodes, observed)
        errors += [entry["error"] for entry in strangers]
    if mode == "unfinished" and identity is not None and not errors:
        errors += _unfinished_errors(hostnet, identity, members, new)
    everybody = members + new
    minimum = int(spec.get("minimum_members", 1))
    if mode == "lost_record":
        # Members that are not known cannot be counted.
        pass
    elif not hostnet["selector_said"]:
        errors += selector_errors(hostnet)
    elif not everybody and not refused:
        errors.append(
            f"no node matches: selector {hostnet['node_selector']!r} finds nothing in kube clusters {_cluster_names(hostnet)}; check hostnet_node_selector"
        )
    elif len(everybody) + refused < minimum:
        errors.append(
            f"{len(everybody) + refused} nodes match in kube clusters {_cluster_names(hostnet)}, but {hostnet['system']} needs at least {minimum} members "
            f"to survive the loss of one; let more nodes match"
        )
    errors += _too_many(hostnet, spec, everybody, new)
    if spec.get("warn_even") and everybody and len(everybody) % 2 == 0:
        warnings.append(f"{len(everybody)} voters: an even number survives no more failures than {len(everybody) - 1} and has more to lose")
    errors += mount_errors(hostnet, members)
    if mode == "existing" and new:
        errors += growth_errors(members, observed, nodes)
    for binding in everybody:
        workload = names.workload(str(hostnet["name"]), str(binding["member"]))
        if hostnet["placement"] == "node_name" and len(workload) > MAX_WORKLOAD_NAME:
            errors.append(f"{workload} is longer than {MAX_WORKLOAD_NAME} characters; choose a shorter hostnet_name or kube cluster name")
    errors += collisions.errors(hostnet, everybody, observed)
    owners: dict[str, str] = {}
    for binding in everybody:
        process = str(binding.get("process") or binding["member"])
        first = owners.setdefault(process, str(binding["kube_cluster"]))
        if first != binding["kube_cluster"]:
            errors.append(
                f"kube clusters {first} and {binding['kube_cluster']} both have a node {process}, and with placement daemonset a process "
                f"is named as its node: two of one name would be one to {hostnet['system']}. Use hostnet_placement=node_name, or let fewer "
                f"nodes match"
            )
    trusted, disagreed = trust_revisions.newest(identity, observed)
    errors += disagreed
    conflicts += disagreed
    lost_ca = pki_place.refusals(hostnet, identity, trusted)
    errors += lost_ca
    conflicts += lost_ca
    warnings += pki_place.warnings(hostnet, identity) + trust_revisions.warning(hostnet, trusted)
    if not errors:
        # What is wrong already may be why it cannot be rendered.
        too_large, many = limits.deployment_limits(hostnet, spec, identity, members, new)
        errors += too_large
        warnings += many
    roster, lacking = next_roster(hostnet, observed)
    untold = trust_revisions.missing_copies(trusted, observed)
    if mode != "first" and lacking and not errors:
        known = ", ".join(f"{name} ({uid})" for name, uid in roster["kube_clusters"].items())
        warnings.append(f"the record of {hostnet['name']}'s kube clusters is completed, revision {roster['revision']}: {known}")
    return {
        "mode": mode,
        # Of mode `unfinished` the role members decides, which looks at members and disks first (_plan/claim.py).
        "state": "new" if mode in ("first", "unfinished") else "existing",
        "errors": errors,
        "conflicts": conflicts,
        "open": errors[:unfinished],
        "membership": membership,
        "lost_ca": lost_ca,
        "rights": rights,
        "strangers": strangers,
        "warnings": warnings,
        "restored": restored,
        "identity": identity,
        "cluster_id": str((record or {}).get("cluster_id", "")),
        "nkeys": sorted({key for found in observed.values() for key in found.get("nkeys", [])}) if identity else [],
        "roster": roster,
        "roster_complete": not lacking,
        "trust": trusted,
        "trust_complete": not untold,
        "members": members,
        "returned": returned,
        # Of those that were given. Who is new gets one when its binding is written, and a plan that admits nobody uses none up.
        "ordinals": copies.highest_ordinals(hostnet, members, [], {"": {"ordinals": ordinals}}),
        "new": new,
        "incomplete": mode == "existing"
        and (
            bool(lacking + untold)
            or any(
                not found["identity"] or (record and not found["cluster_record"]) for found in observed.values() if not found.get("absent")
            )
        ),
        "batches": _batches(mode, spec, members, new),
        "seeds": seeds(observed),
        "probe": [{"kube_cluster": binding["kube_cluster"], "name": binding["node"]} for binding in new],
    }


def _too_many(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], everybody: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[str]:
    """More members than the system's own documents call sensible, of whom some are new: a selector that matches too much must not make 500 voters."""
    limit = spec.get("max_members") or {}
    if not limit or not new or len(everybody) <= int(limit["count"]):
        return []
    override = f", or say that it is meant with -e {limit['variable']}={len(everybody)}" if limit.get("variable") else ""
    return [
        (
            f"{len(everybody)} members would be in {hostnet['name']}, and {hostnet['system']} is made for at most {limit['count']} ({limit['source']}): "
            f"narrow hostnet_node_selector{override}"
        )
    ]


def _batches(mode: str, spec: Mapping[str, Any], members: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Who starts together. The first members of a system always do; a run that was cut short starts them all again."""
    if mode in ("first", "unfinished"):
        everybody = sorted([*members, *new], key=join.canonical_key)
        return [[str(binding["member"]) for binding in everybody]] if everybody else []
    fresh = [str(binding["member"]) for binding in new]
    if spec.get("admit", "serial") == "together":
        return [fresh] if fresh else []
    return [[name] for name in fresh]


def _cluster_names(hostnet: Mapping[str, Any]) -> str:
    return ", ".join(sorted(str(cluster["name"]) for cluster in hostnet["kube_clusters"]))


def _rollout_errors(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """A deploy does not meddle with a rollout that was begun: it would start what the rollout has stopped."""
    found = journal.newest({name: observed[name].get("rollout") for name in observed})
    adopting = adopt.in_progress(str(hostnet["name"]), found)
    if found is None or not journal.in_flight(found) or adopting:
        return adopting
    member = (found.get("member") or {}).get("member", "")
    return [
        (
            f"a rollout of {hostnet['name']} ({found.get('what') or found.get('work')}, run {found.get('run_id')}"
            f"{', at member ' + member if member else ''}) was begun and not finished: run its playbook again, which goes on with it, "
            f"or end it with -e hostnet_abort=true"
        )
    ]


def _namespace_errors(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    errors = []
    for name in sorted(observed):
        namespace = observed[name]["namespace"]
        if namespace is None:
            continue
        level = namespace["labels"].get("pod-security.kubernetes.io/enforce", "")
        if level in ("baseline", "restricted"):
            errors.append(
                f"kube cluster {name}: namespace {hostnet['namespace']} forbids host networking (pod-security.kubernetes.io/enforce={level}); "
                f"label it privileged or choose another hostnet_namespace"
            )
        if namespace["phase"] == "Terminating":
            errors.append(f"kube cluster {name}: namespace {hostnet['namespace']} is being deleted; wait until it is gone")
    return errors


def _unfinished_errors(
    hostnet: Mapping[str, Any], identity: Mapping[str, Any], members: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[str]:
    claimed = {name for name in str(identity.get("members", "")).split(",") if name}
    planned = {str(binding["member"]) for binding in [*members, *new]}
    if claimed == planned:
        return []
    return [
        (
            f"deployment {hostnet['name']} was claimed for members {', '.join(sorted(claimed, key=join.natural_key))} and not finished; now the nodes give "
            f"{', '.join(sorted(planned, key=join.natural_key)) or 'none'}. Finish it with the same nodes, or discard it with "
            f"playbooks/remove.yml -e hostnet_remove_data=true (deletes the data of all members)"
        )
    ]
