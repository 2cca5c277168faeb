# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a deploy does, from what was observed: pure functions.

Nothing here starts a member. The plan says which members exist, which nodes get new ones, in which batches, and every
reason for which nothing may be changed at all.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, cast

from . import adopt, claim, collisions, dead, held, join, journal, limits, names, neighbours, pki_place, trust
from . import bindings as copies
from . import roster as rosters
from .disk import mount_errors, parse_probe, root_errors
from .gate import quorum
from .nodes import Node, ip_family, node_errors, parse_address
from .placement import all_ports, certificate_folder

Json = dict[str, Any]

PLACEMENTS = ("node_name", "daemonset")
# Pods of a StatefulSet carry its name and a revision hash as one label value of at most 63 characters.
MAX_WORKLOAD_NAME = 50


def settings_errors(hostnet: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings alone, one sentence each, before any kube cluster is asked."""
    errors = []
    for field in ("name", "namespace"):
        if not names.is_dns_label(str(hostnet[field])):
            errors.append(
                f"hostnet_{field} is {hostnet[field]!r}, which is not a DNS label: use at most 63 of a-z, 0-9 and '-', "
                f"starting and ending with a letter or a digit"
            )
    if hostnet["placement"] not in PLACEMENTS:
        errors.append(f"hostnet_placement is {hostnet['placement']!r}: it must be one of {', '.join(PLACEMENTS)}")
    errors += root_errors(hostnet)
    if int(hostnet["join_per_cluster"]) < 1:
        errors.append(f"hostnet_join_per_cluster is {hostnet['join_per_cluster']}: at least 1 entry per kube cluster is needed")
    clusters = hostnet["kube_clusters"]
    if not clusters:
        errors.append(
            "hostnet_kube_clusters is empty: use an inventory of the plugin hostnet.multicluster.nodes, or list the kube clusters"
        )
    for cluster in clusters:
        if not names.is_dns_label(str(cluster["name"])):
            errors.append(
                f"kube cluster {cluster['name']!r} has a name that is not a DNS label; give it one with `name:` in hostnet_kube_clusters"
            )
    # A status shows what it can reach.
    tolerant = bool(hostnet.get("absent_ok"))
    errors += [] if tolerant else [str(error) for error in hostnet.get("inventory_errors", [])]
    for absent in [] if tolerant else hostnet.get("absent_kube_clusters", []):
        errors.append(
            f"kube cluster {absent} did not answer: the inventory may go on without it, a deploy may not (unreachable is not dead). Bring its API server back"
        )
    if hostnet["placement"] == "daemonset" and hostnet["address_type"] != "InternalIP":
        errors.append(
            f"hostnet_address_type is {hostnet['address_type']!r} with placement daemonset: a DaemonSet has one template for all nodes, and Kubernetes "
            f"tells its pods their InternalIP alone. Use hostnet_placement=node_name"
        )
    for required in ("command", "ports", "data_path", "user", "grace_seconds", "certificates", "image"):
        if not spec.get(required):
            errors.append(f"system {hostnet['system']}: its spec has no {required!r}; docs/systems.md describes the fields")
    numbers = list(all_ports(spec).values())
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        errors.append(f"system {hostnet['system']}: port {number} is given to two uses")
    return errors


def selector_errors(hostnet: Mapping[str, Any]) -> list[str]:
    """Why no node may get a member: nobody has said which ones are meant."""
    if hostnet["selector_said"]:
        return []
    return [
        (
            "hostnet_node_selector is not set: say which nodes carry members, because every node that matches gets one. Set node_selector in the inventory "
            "(or -e hostnet_node_selector=...) to the label of a node pool, for example cloud.google.com/gke-nodepool=db, "
            "eks.amazonaws.com/nodegroup=db, kubernetes.azure.com/agentpool=db or example.com/pool=db; '!node-role.kubernetes.io/control-plane' "
            "means every worker"
        )
    ]


def deployment_plan(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]
) -> Json:
    """What a deploy has to do.

    `nodes` are the nodes that match the selector (nodes_info), `observed` is deployment_info's `kube_clusters`.

    Returns: `mode` (`first`: nothing exists; `unfinished`: claimed, and nothing here says that it was ever finished; `existing`; `lost_record`:
    members exist but no record, or a part of it), `state` (whether an empty disk may bootstrap, `new`, or can only join, `existing`), `errors`,
    `conflicts` (those of the errors that are about the deployment's identity), `membership` (those of them that are about its kube clusters),
    `lost_ca` (those about its CA), `rights` (those about what this user may do), `strangers` (those about members without a binding: {member, error}),
    `warnings`, `restored` (those of them about bindings that come from copies), `identity` (the record found, or null), `cluster_id`,
    `incomplete` (a kube cluster lacks a record that others have), `roster` (the record of the kube clusters that is to be in force),
    `roster_complete` (it is, everywhere), `members` (bindings that exist),
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
    membership = _membership_errors(hostnet, observed) + neighbours.namesakes(hostnet, nodes)
    errors += membership
    identity = _agreed(observed, "identity", "identity record", hostnet, errors)
    record = _agreed(observed, "cluster_record", "cluster id", hostnet, errors)
    merged = copies.merge(hostnet, nodes, observed)
    members, returned = dead.followed(merged.members, nodes)
    errors += merged.errors
    restored = [
        f"kube cluster {name} has lost its bindings (ConfigMap {hostnet['namespace']}/{names.members(str(hostnet['name']))}); they are restored from the other "
        f"kube clusters' copies"
        for name in merged.restored
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
    evidence = _evidence(hostnet, nodes, observed)
    if identity is not None:
        mode = "existing" if record else "lost_record" if claim.recorded_once(identity, members, observed) else "unfinished"
        conflicts += _identity_errors(hostnet, identity)
        errors += _identity_errors(hostnet, identity)
    else:
        mode = "lost_record" if evidence else "first"
    errors += _namespace_errors(hostnet, observed)
    selected = [node for node in nodes if node.get("selected", True)] if hostnet["selector_said"] else []
    errors += _node_errors(hostnet, spec, selected)
    strangers: list[Json] = []
    ordinals: dict[str, int] = {}
    if mode in ("existing", "lost_record"):
        # A run that was cut short before that gives the claimed names once more.
        ordinals = copies.highest_ordinals(hostnet, members, nodes, observed)
    before = len(errors)
    new = [] if mode == "lost_record" else _new_bindings(hostnet, spec, selected, members, ordinals, errors, warnings)
    refused = len(errors) - before
    if mode == "lost_record" and identity is None:
        identity, lost = _restored_identity(hostnet, observed, evidence, members)
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
        errors += _growth_errors(members, observed, nodes)
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
    lost_ca = pki_place.refusals(hostnet, identity)
    errors += lost_ca
    conflicts += lost_ca
    warnings += pki_place.warnings(hostnet, identity)
    if not errors:
        # What is wrong already may be why it cannot be rendered.
        too_large, many = limits.deployment_limits(hostnet, spec, identity, members, new)
        errors += too_large
        warnings += many
    roster, lacking = _next_roster(hostnet, observed)
    if mode != "first" and lacking and not errors:
        known = ", ".join(f"{name} ({uid})" for name, uid in roster["kube_clusters"].items())
        warnings.append(f"the record of {hostnet['name']}'s kube clusters is completed, revision {roster['revision']}: {known}")
    return {
        "mode": mode,
        # Of mode `unfinished` the role members decides, which looks at members and disks first (_plan/claim.py).
        "state": "new" if mode in ("first", "unfinished") else "existing",
        "errors": errors,
        "conflicts": conflicts,
        "membership": membership,
        "lost_ca": lost_ca,
        "rights": rights,
        "strangers": strangers,
        "warnings": warnings,
        "restored": restored,
        "identity": identity,
        "cluster_id": str((record or {}).get("cluster_id", "")),
        "roster": roster,
        "roster_complete": not lacking,
        "members": members,
        "returned": returned,
        # Of those that were given. Who is new gets one when its binding is written, and a plan that admits nobody uses none up.
        "ordinals": copies.highest_ordinals(hostnet, members, [], {"": {"ordinals": ordinals}}),
        "new": new,
        "incomplete": mode == "existing"
        and (
            bool(lacking)
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


def _membership_errors(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """Why these are not the kube clusters, or not the data root, that the deployment was made with."""
    recorded, errors = rosters.newest(observed)
    uids = {name: str(found.get("uid", "")) for name, found in observed.items()}
    roster = recorded or rosters.of_claims(observed)
    name = str(hostnet["name"])
    joining, without = hostnet.get("new_kube_clusters", []), hostnet.get("without_kube_clusters", [])
    errors += rosters.problems(name, roster, uids, joining, without)
    if roster is not None:
        errors += _leftovers(hostnet, observed, [kube for kube in joining if kube not in roster["kube_clusters"]])
    if recorded is None and roster is not None:
        errors += _legacy_errors(hostnet, observed)
    root = recorded["data_root"] if recorded else ""
    if root and root != str(hostnet["data_root"]):
        errors.append(
            f"hostnet_data_root is {hostnet['data_root']}, and {name} is recorded with {root}: its members' data is there, so it keeps that folder. Give "
            f"hostnet_data_root={root}"
        )
    return errors


def _leftovers(hostnet: Mapping[str, Any], observed: Mapping[str, Any], joining: Sequence[str]) -> list[str]:
    """Kube clusters to grow into that have members already: growth writes those only once the record names the kube cluster."""
    errors = []
    for kube in sorted(set(joining) & set(observed)):
        found = observed[kube]
        own = [str(entry["member"]) for entry in found["members"] if entry["kube_cluster"] == kube]
        left = sorted({*own, *(str(entry["member"]) for entry in found.get("workloads") or [])} - {""}, key=join.natural_key)
        if left:
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


def _next_roster(hostnet: Mapping[str, Any], observed: Mapping[str, Any]) -> tuple[rosters.Roster, list[str]]:
    """The roster that is to be in force, and the kube clusters that have to get it."""
    uids = {name: str(observed[name].get("uid", "")) for name in sorted(observed)}
    recorded, _errors = rosters.newest(observed)
    if recorded is None:
        roster = rosters.make(uids, str(hostnet["data_root"]))
    else:
        roster = rosters.grown(recorded, uids) or recorded
    return roster, rosters.missing_copies(roster, observed)


def _agreed(observed: Mapping[str, Any], field: str, title: str, hostnet: Mapping[str, Any], errors: list[str]) -> Json | None:
    """The record that all kube clusters with one agree on. Missing ones are mended by the identity module, create-only."""
    found = {name: observed[name][field] for name in sorted(observed) if observed[name][field]}
    if not found:
        return None
    first = next(iter(found))
    for name, record in found.items():
        if record != found[first]:
            errors.append(
                f"the {title} of deployment {hostnet['name']} differs between kube clusters {first} and {name}: two deployments share this name, "
                f"or a record was edited. docs/recovery.md says how to tell which one holds your data"
            )
            return dict(found[first])
    return dict(found[first])


def _evidence(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """Everything that shows that a deployment of this name exists or existed, without its record."""
    evidence = []
    # Every kube cluster has all bindings; each is told once.
    told: set[str] = set()
    for name in sorted(observed):
        found = observed[name]
        workloads = sorted(found["workloads"], key=lambda entry: join.natural_key(str(entry["name"])))
        pods = sorted(found["pods"], key=lambda pod: join.natural_key(str(pod["name"])))
        evidence += [f"kube cluster {name}: {entry['kind']} {hostnet['namespace']}/{entry['name']}" for entry in workloads]
        evidence += [f"kube cluster {name}: pod {hostnet['namespace']}/{pod['name']}" for pod in pods]
        members = sorted((binding for binding in found["members"] if binding["member"] not in told), key=join.canonical_key)
        evidence += [f"kube cluster {name}: binding of member {binding['member']}" for binding in members]
        told |= {binding["member"] for binding in members}
        # Either is written only after the claim, so somebody deleted the claim alone.
        if found["cluster_record"]:
            evidence.append(f"kube cluster {name}: ConfigMap {hostnet['namespace']}/{names.cluster_record(str(hostnet['name']))}")
        if found["join"]:
            evidence.append(f"kube cluster {name}: ConfigMap {hostnet['namespace']}/{names.join(str(hostnet['name']))}")
    label = names.node_label(str(hostnet["name"]))
    evidence += [
        f"kube cluster {node['kube_cluster']}: node {node['name']} is labelled {label}={node['labels'][label]}"
        for node in nodes
        if label in node["labels"]
    ]
    return evidence


def _restored_identity(
    hostnet: Mapping[str, Any], observed: Mapping[str, Any], evidence: Sequence[str], bindings: Sequence[Mapping[str, Any]]
) -> tuple[Json | None, list[str]]:
    """The identity that every workload carries, where they all agree; members that run then prove the cluster id."""
    workloads = [(name, entry) for name in sorted(observed) for entry in observed[name]["workloads"]]
    tokens = {str(entry["token"]) for _name, entry in workloads}
    tokens |= {str(found["cluster_record"].get("token", "")) for found in observed.values() if found["cluster_record"]}
    fingerprints = {str(entry["ca_fingerprint"]) for _name, entry in workloads}
    placements = {"daemonset" if entry["kind"] == "DaemonSet" else "node_name" for _name, entry in workloads}
    if (
        len(tokens) == 1
        and len(fingerprints) == 1
        and "" not in tokens | fingerprints
        and bindings
        and placements == {hostnet["placement"]}
    ):
        return {
            "token": tokens.pop(),
            "system": hostnet["system"],
            "placement": hostnet["placement"],
            "ca_fingerprint": fingerprints.pop(),
            "members": ",".join(sorted((str(binding["member"]) for binding in bindings), key=join.natural_key)),
            "claimed_by": "restored",
        }, []
    shown = "; ".join(evidence[:5]) + (f"; and {len(evidence) - 5} more" if len(evidence) > 5 else "")
    return None, [
        (
            f"deployment {hostnet['name']} has no identity record in any kube cluster, but it exists: {shown}. Nothing is initialised, because that "
            f"would make a second cluster. docs/recovery.md says how to bring the record back, or playbooks/remove.yml removes what is left"
        )
    ]


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


def _identity_errors(hostnet: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    return [
        f"deployment {hostnet['name']} in namespace {hostnet['namespace']} is recorded with {field} {identity.get(field)!r}, not {hostnet[field]!r}. "
        f"Choose another hostnet_name for another deployment; a running one never changes its {field}"
        for field in ("system", "placement")
        if identity.get(field) != hostnet[field]
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


def _node_errors(hostnet: Mapping[str, Any], spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What makes the selected nodes unusable: their addresses (as nodes_info says it), and what the system cannot do with them."""
    address_type = str(hostnet["address_type"])
    errors = [f"hostnet_address_type {address_type}: {error}" for error in node_errors([cast(Node, node) for node in nodes], address_type)]
    families: dict[str, set[str]] = {}
    for node in nodes:
        try:
            family = ip_family(str(node["address"]))
        except ValueError:
            continue  # named above
        families.setdefault(str(node["kube_cluster"]), set()).add(family)
        if family not in spec.get("ip_families", ["IPv4", "IPv6"]):
            errors.append(
                f"kube cluster {node['kube_cluster']}: node {node['name']} has the {family} address {node['address']}, "
                f"and {hostnet['system']} does not support {family}"
            )
    for name, found in sorted(families.items()):
        if len(found) > 1 and hostnet["placement"] == "daemonset":
            errors.append(
                f"kube cluster {name} mixes IPv4 and IPv6 nodes, and a DaemonSet has one template; use hostnet_placement=node_name"
            )
    if len(set().union(*families.values())) > 1 and not spec.get("mixed_families", True):
        errors.append(f"{hostnet['system']} does not support members with IPv4 and members with IPv6 addresses together")
    return errors


def _new_bindings(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]],
    ordinals: Mapping[str, int],
    errors: list[str],
    warnings: list[str],
) -> list[Json]:
    """A binding for every matching node that has none.

    An ordinal is never given twice, not even after its member has left: `ordinals` has the highest ones that are known.
    """
    bound = {(str(binding["kube_cluster"]), str(binding["node"])): binding for binding in members}
    highest = dict(ordinals)
    addresses = {str(binding["address"]): binding for binding in members}
    for member in members:
        highest[str(member["kube_cluster"])] = max(highest.get(str(member["kube_cluster"]), -1), int(member["ordinal"]))
    new: list[Json] = []
    for node in sorted(nodes, key=lambda item: (join.natural_key(str(item["kube_cluster"])), join.natural_key(str(item["name"])))):
        where = f"kube cluster {node['kube_cluster']}: node {node['name']}"
        binding = bound.get((str(node["kube_cluster"]), str(node["name"])))
        if binding is not None:
            if binding["node_uid"] != node["uid"]:
                warnings.append(f"{where} is another VM than the one that member {binding['member']} was admitted to; the member waits")
            elif not dead.lists_address(node, str(binding["address"])):
                warnings.append(
                    f"{where} moved from {binding['address']} to {node['address']} under member {binding['member']}; the member keeps waiting"
                )
            continue
        if dead.out_of_service(node):
            warnings.append(f"{where} is out of service (taint {names.OUT_OF_SERVICE}), so it gets no member")
            continue
        if node["control_plane"]:
            warnings.append(f"{where} runs the control plane of its kube cluster and will carry a member too")
        if not node["ready"]:
            errors.append(f"{where} is not Ready, so no member can be admitted to it; mend it, or narrow hostnet_node_selector")
            continue
        former = addresses.get(str(node["address"]))
        if former is not None:
            errors.append(
                f"{where} has address {node['address']}, which belongs to member {former['member']} on node {former['node']}: it is used again only "
                f"after every member has forgotten the old one"
            )
            continue
        ordinal = highest.get(str(node["kube_cluster"]), -1) + 1
        highest[str(node["kube_cluster"])] = ordinal
        name = names.member(str(node["kube_cluster"]), ordinal)
        new.append(
            {
                "member": name,
                "kube_cluster": node["kube_cluster"],
                "ordinal": ordinal,
                "node": node["name"],
                "node_uid": node["uid"],
                "provider_id": node["provider_id"],
                "address": node["address"],
                "other_addresses": other_addresses(node),
                "process": node["name"] if hostnet["placement"] == "daemonset" and spec.get("process") != "member" else name,
                "admission": "",
                "zone": node["zone"],
                "region": node["region"],
                "boot_id": node.get("boot_id", ""),
                "machine_id": node.get("machine_id", ""),
            }
        )
    return sorted(new, key=join.canonical_key)


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
            f"{', '.join(sorted(planned, key=join.natural_key)) or 'none'}. Finish it with the same nodes, or give it up with playbooks/remove.yml"
        )
    ]


def _growth_errors(members: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A system grows only while every member it has is well: a member that is down is one failure already."""
    alive = {(str(node["kube_cluster"]), str(node["name"])): str(node["uid"]) for node in nodes if node["ready"]}
    errors = []
    for binding in members:
        key = (str(binding["kube_cluster"]), str(binding["node"]))
        pods = observed.get(key[0], {}).get("pods", [])
        ready = any(pod["ready"] and not pod["terminating"] and pod["node"] == key[1] for pod in pods)
        if alive.get(key) != binding["node_uid"] or not ready:
            errors.append(
                f"kube cluster {key[0]}: member {binding['member']} on node {key[1]} is not ready, and a system that has a member down does not grow; "
                f"mend it first (playbooks/status.yml shows why), or narrow hostnet_node_selector so that no new node matches"
            )
    return errors


def renewed(observed: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was observed of each kube cluster, with those `parts` of it that were read again."""
    return {name: {**found, **parts.get(name, {})} for name, found in observed.items()}


def seeds(observed: Mapping[str, Any]) -> list[str]:
    """The join list in force. Where a run was ended between two kube clusters, the first one's counts: entries are only kept, never trusted."""
    for name in sorted(observed):
        data = observed[name]["join"]
        if data and data.get("seeds"):
            return [entry for entry in str(data["seeds"]).split(",") if entry]
    return []


def live_members(bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The bindings with `live`: a ready pod on the very node it was admitted to, under the address it was admitted with."""
    current = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    result = []
    for binding in bindings:
        node = current.get((str(binding["kube_cluster"]), str(binding["node"])), {})
        pods = observed.get(binding["kube_cluster"], {}).get("pods", [])
        ready = any(pod["ready"] and not pod["terminating"] and pod["node"] == binding["node"] for pod in pods)
        same = bool(node) and node["uid"] == binding["node_uid"] and dead.lists_address(node, str(binding["address"]))
        result.append({**binding, "live": bool(ready and same)})
    return result


def wanted_certificates(hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The `certificates` of host_certificates: one per file and member, then the clients'."""
    wanted: list[Json] = []
    shared: set[str] = set()
    for binding in bindings:
        for wish in spec["certificates"]:
            if wish.get("shared"):
                if wish["file"] in shared:
                    continue
                shared.add(wish["file"])
            entry: Json = {
                "name": certificate_folder(wish, binding),
                "file": wish["file"],
                "common_name": str(wish["common_name"])
                .replace("{process}", str(binding["process"]))
                .replace("{member}", str(binding["member"])),
                "usages": list(wish["usages"]),
            }
            if wish.get("hosts"):
                loopback = ["127.0.0.1", "::1"] if ipaddress.ip_address(str(binding["address"])).version == 6 else ["127.0.0.1"]
                extra_ips, extra_names = _split_hosts(hostnet.get("certificate_hosts", []))
                entry["ip_addresses"] = _unique([str(binding["address"]), *loopback, *binding.get("other_addresses", []), *extra_ips])
                entry["dns_names"] = _unique(["localhost", str(binding["node"]), str(binding["member"]), *extra_names])
            wanted.append(entry)
    for client in hostnet.get("clients", []):
        if client not in shared:
            wanted.append({"name": "clients", "file": client, "common_name": client.removeprefix("client."), "usages": ["client"]})
    return wanted


def other_addresses(node: Mapping[str, Any]) -> list[str]:
    """The node's IP addresses beside the one that its member uses.

    A host with several addresses may dial others from any of them, and etcd compares where a peer's connection comes from with the
    peer's certificate.
    """
    found = []
    for entry in node.get("addresses") or []:
        try:
            address = str(parse_address(str(entry["address"])))
        except ValueError:
            continue  # host names are addresses of a Node too
        if address != node["address"] and address not in found:
            found.append(address)
    return found


def _split_hosts(hosts: Sequence[str]) -> tuple[list[str], list[str]]:
    addresses, dns_names = [], []
    for host in hosts:
        try:
            addresses.append(str(ipaddress.ip_address(host)))
        except ValueError:
            dns_names.append(host)
    return addresses, dns_names


def _unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))


def probe_errors(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    certificates: Sequence[Mapping[str, Any]],
    now: float,
) -> list[str]:
    """What the nodes themselves say against starting members: leftover data, ports in use, clocks.

    `results` come from node_run with PROBE_SCRIPT, `now` is the controller's clock in seconds since the epoch.
    """
    errors: list[str] = []
    ports = {number: name for name, number in all_ports(spec).items()}
    newest = max((_epoch(str(entry["not_before"])) for entry in certificates), default=0.0)
    planned = {(binding["kube_cluster"], binding["node"]) for binding in plan["new"]}
    for result in results:
        where = f"kube cluster {result['kube_cluster']}: node {result['node']}"
        facts = parse_probe(str(result["stdout"]))
        own = [folder for folder in facts["folders"] if folder.split("/", 1)[0] == hostnet["name"]]
        if plan["mode"] == "first" and own:
            errors.append(
                f"{where} has data of a deployment named {hostnet['name']} ({hostnet['data_root']}/{own[0]}): nothing is initialised beside data that may be "
                f"the only copy. If it is not needed, move it away; if it is, docs/recovery.md says how to bring the deployment back"
            )
        if (result["kube_cluster"], result["node"]) not in planned:
            continue
        if hostnet.get("data_mount") and not facts["disk"].get("mounted"):
            errors.append(
                f"{where}: hostnet_data_mount wants {hostnet['data_root']} to be a mount point, and it is {'' if facts['root'] else 'not there, '}"
                f"on {facts['disk'].get('mount') or 'an unknown mount'}: mount the data disk there, or narrow hostnet_node_selector"
            )
        for port in sorted(set(facts["ports"]) & set(ports)):
            errors.append(
                f"{where}: port {port} ({ports[port]} of {hostnet['system']}) is already taken on the host; free it or narrow hostnet_node_selector"
            )
        if facts["clock"] and newest and facts["clock"] < newest:
            errors.append(
                f"{where}: its clock is {int(now - facts['clock'])} seconds behind the controller's, so its certificate would not be valid yet there; "
                f"synchronise its clock"
            )
    return errors


def _epoch(timestamp: str) -> float:

    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def expected(bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`expect` of deployment_info: the members to wait for."""
    return [{key: binding[key] for key in ("kube_cluster", "member", "node")} for binding in bindings]


def verdict(plan: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Any]) -> Json:
    """Whether the members are one cluster: {`errors`, `cluster_id`}.

    Before the cluster id is recorded, every first member must report the same one; where a lost record is restored, a
    majority of all members must, and nobody another one. Afterwards a member that does not answer is no error here
    (unreachable is not dead), one that reports another cluster id always is.
    """
    reported: dict[str, list[str]] = {}
    silent: list[str] = []
    for binding in bindings:
        said = inspection.get(binding["member"], {})
        if said.get("reachable") and said.get("cluster_id"):
            reported.setdefault(str(said["cluster_id"]), []).append(str(binding["member"]))
        else:
            silent.append(f"{binding['member']} ({said.get('reason') or 'it does not answer'})")
    errors: list[str] = []
    recorded = str(plan["cluster_id"])
    if recorded:
        errors += [
            f"members {', '.join(who)} report cluster id {found}, the record says {recorded}: this is a second cluster. "
            f"Change nothing by hand; see docs/recovery.md"
            for found, who in sorted(reported.items())
            if found != recorded
        ]
        return {"errors": errors, "cluster_id": recorded}
    if len(reported) > 1:
        errors.append(
            "members report different cluster ids: " + "; ".join(f"{found}: {', '.join(who)}" for found, who in sorted(reported.items()))
        )
    answered = len(bindings) - len(silent)
    needed = quorum(len(bindings)) if plan["mode"] == "lost_record" else len(bindings)
    if answered < needed:
        errors.append(f"{answered} of {len(bindings)} members report a cluster id, {needed} must; no answer from {', '.join(silent)}")
    return {"errors": errors, "cluster_id": next(iter(reported)) if len(reported) == 1 and not errors else ""}


def member_labels(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_labels: every node that carries a member: the label with the namespace, and that with the
    member where it may run, whatever the node has already.

    The cluster autoscaler is to leave the disk of a stopped member alone too. Another VM under the node's name is nobody's: no member was
    admitted to it.
    """
    current = {(node["kube_cluster"], node["name"]): node for node in nodes}
    label, stays = names.node_label(str(hostnet["name"])), names.namespace_label(str(hostnet["name"]))
    return [
        {
            "kube_cluster": binding["kube_cluster"],
            "name": binding["node"],
            "labels": {stays: str(hostnet["namespace"]), **({} if binding.get("stopped") else {label: str(binding["member"])})},
            "guarded": True,
        }
        for binding in bindings
        if current.get((binding["kube_cluster"], binding["node"]), {}).get("uid") == binding["node_uid"]
    ]


def node_labels(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Those of `member_labels` whose nodes lack something of it."""
    current = {(node["kube_cluster"], node["name"]): node for node in nodes}
    return [
        entry
        for entry in member_labels(hostnet, bindings, nodes)
        if any(current[entry["kube_cluster"], entry["name"]]["labels"].get(label) != value for label, value in entry["labels"].items())
        or held.hold(current[entry["kube_cluster"], entry["name"]].get("annotations") or {}, str(hostnet["name"]))
    ]
