# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several deployments on one VM: who else has a member there, how it is asked, and what a rollout has to do about it. Pure functions.

A rollout that reboots or replaces a VM takes everything on it down. A member of another deployment there, a neighbour, is found by
its node's labels and by its pod. What its gates are, and how its members are asked, its own deploy has written down beside its
records (`about`), so nobody has to repeat another deployment's settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import names
from .listed import some

Json = dict[str, Any]

SCHEMA = 1
# Works that take a VM down, and everything on it.
VM_WORKS = ("reboot", "replace")
# The settings of a deployment that its neighbours need to plan and to ask as it would itself. No credentials, no paths of a controller.
SETTINGS = (
    "name",
    "namespace",
    "system",
    "placement",
    "node_selector",
    "address_type",
    "join_per_cluster",
    "image",
    "data_root",
    "timeout",
)
_SHARE = ("kube_cluster", "node", "deployment", "namespace", "member")
_MEMBERS_LINE = re.compile(r"\d+\. (\S+) on node ")
_DATA = ("kube_clusters", "settings", "spec")
# What is ours alone: our CA and its place, and what this run was told about our kube clusters.
_NOT_THEIRS: Json = {
    "pki_dir": "",
    "pki": {},
    "ca": {},
    "absent_ok": [],
    "absent_kube_clusters": [],
    "new_kube_clusters": [],
    "without_kube_clusters": [],
    "inventory_errors": [],
}
# Whoever can write the ConfigMap chooses the filter that reads the answers on the controller: of all filters there, only one of these.
_FILTER = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*_inspection")


def about(hostnet: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, str]:
    """What a deployment tells its neighbours, as the data of a ConfigMap. It is the same in every kube cluster."""
    return {
        "schema": str(SCHEMA),
        "kube_clusters": json.dumps(sorted(str(entry["name"]) for entry in hostnet["kube_clusters"])),
        "settings": json.dumps({key: hostnet[key] for key in SETTINGS if key in hostnet}, sort_keys=True),
        "spec": json.dumps(dict(spec), sort_keys=True),
    }


def _described(deployment: Mapping[str, Any]) -> str:
    where = f" (namespace {deployment['namespace']})" if deployment.get("namespace") else ""
    return f"deployment {deployment['name']}{where}"


def _share(entry: Mapping[str, Any]) -> str:
    return (
        f"member {entry['member'] or '(unnamed)'} of {_described({'name': entry['deployment'], 'namespace': entry['namespace']})} "
        f"on node {entry['node']} of kube cluster {entry['kube_cluster']}"
    )


# -- who is there ----------------------------------------------------------------------------------------------------


def found(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Members of other deployments on `nodes`: {kube_cluster, node, deployment, namespace, member}, sorted.

    By the nodes' labels, of which the one with the namespace outlives a stop of the member, and by `pods` ({kube_cluster, namespace, deployment, member,
    node}). `namespace` is "" where only a label of version 0.2.0 tells of the member, and so is `member` where only a DaemonSet's pod does.
    """
    label, stays = names.node_label(""), names.namespace_label("")
    seen: dict[tuple[str, str, str, str], str] = {}

    def see(kube_cluster: str, node: str, deployment: str, namespace: str, member: str) -> None:
        if (deployment, namespace or hostnet["namespace"]) == (hostnet["name"], hostnet["namespace"]):
            return
        key = (kube_cluster, node, deployment, namespace)
        seen[key] = member or seen.get(key, "")

    for node in nodes:
        kube_cluster, name = str(node["kube_cluster"]), str(node["name"])
        labels = node.get("labels") or {}
        here = [pod for pod in pods if (pod["kube_cluster"], pod["node"]) == (kube_cluster, name)]
        deployments = {key.removeprefix(prefix) for key in labels for prefix in (label, stays) if key.startswith(prefix)}
        for deployment in deployments | {str(pod["deployment"]) for pod in here}:
            spaces = {str(pod["namespace"]) for pod in here if pod["deployment"] == deployment}
            spaces |= {str(labels[stays + deployment])} if labels.get(stays + deployment) else set()
            for namespace in spaces or {""}:
                own = [
                    str(pod["member"]) for pod in here if (pod["deployment"], pod["namespace"]) == (deployment, namespace) and pod["member"]
                ]
                see(kube_cluster, name, deployment, namespace, own[0] if own else str(labels.get(label + deployment, "")))
    keys = ("kube_cluster", "node", "deployment", "namespace")
    return [{**dict(zip(keys, key, strict=True)), "member": member} for key, member in sorted(seen.items())]


def namesakes(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Another deployment of this name in another namespace: both would use, and take away, the same label of nodes."""
    label = names.namespace_label(str(hostnet["name"]))
    others: dict[str, list[str]] = {}
    for node in nodes:
        namespace = str((node.get("labels") or {}).get(label, ""))
        if namespace and namespace != hostnet["namespace"]:
            others.setdefault(namespace, []).append(f"{node['name']} (kube cluster {node['kube_cluster']})")
    return [
        f"deployment {hostnet['name']} in namespace {namespace} has members on node {some(sorted(where), 3)}, "
        f"and hostnet_namespace is {hostnet['namespace']}: two deployments of one name "
        f"would share the label {names.node_label(str(hostnet['name']))} of the nodes. Choose another hostnet_name, or give the "
        f"namespace of the deployment that you mean"
        for namespace, where in sorted(others.items())
    ]


def as_names(value: Any) -> list[str]:
    """`hostnet_neighbours` as a list; on the command line, -e hostnet_neighbours=[nats,etcd] is a text."""
    if isinstance(value, str):
        value = [part.strip().strip("'\"") for part in value.strip().strip("[]").split(",")]
    if not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"hostnet_neighbours is {value!r}: it must be a list of names of deployments")
    wrong = [name for name in value if name and not names.is_dns_label(name)]
    if wrong:
        raise ValueError(f"hostnet_neighbours has {wrong[0]!r}, which is no name of a deployment: use names as in hostnet_name")
    return [name for name in value if name]


# -- what a rollout makes of it --------------------------------------------------------------------------------------


def shares(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    others: Mapping[str, Any],
    journal: Mapping[str, Any] | None,
    allowed: Sequence[str],
    stays_up: bool = False,
) -> Json:
    """Whose members are on the VMs that a rollout is about to take down: {errors, members: {member of ours: [those of others]}, deployments}.

    `plan` is rollout_plan's, `others` what neighbours_info returned (`pods` and `refused`), `allowed` the deployments that the user names. What the
    journal has about the member in hand counts as allowed: it was, when its VM's turn came. `stays_up`: that VM is not taken down any more.
    """
    record = (journal or {}).get("member") or {}
    places = {str(entry["member"]): entry for entry in bindings}
    named_ones = set(allowed)
    members: dict[str, list[Json]] = {}
    errors: list[str] = []
    for entry in plan["members"]:
        if entry["work"] not in VM_WORKS:
            continue
        name = str(entry["member"])
        place, known = places.get(name, {}), []
        if name == record.get("member") and name == plan["in_hand"]:
            place, known = record["old"], list(record.get("neighbours") or [])
            if not all(isinstance(share, Mapping) and set(_SHARE) <= set(share) for share in known):
                errors.append(
                    f"the journal's member.neighbours of {name} was edited: {json.dumps(known)[:200]}. Delete its ConfigMap where that was done"
                )
                known = []
            named_ones |= {str(share["deployment"]) for share in known}
        vm = [node for node in nodes if (node["kube_cluster"], node["name"]) == (place.get("kube_cluster"), place.get("node"))]
        # A new VM under the old one's name is another one: what is there by now is not taken down.
        here = found(hostnet, [node for node in vm if not place.get("node_uid") or node["uid"] == place["node_uid"]], others["pods"])
        keys = {(share["deployment"], share["namespace"]) for share in known}
        fresh = [share for share in here if (share["deployment"], share["namespace"]) not in keys]
        if name == plan["in_hand"] and name == record.get("member"):
            late = [] if stays_up else fresh
            errors += [
                f"{_share(share)} came to the VM of {name} after its turn had begun: end this rollout with -e hostnet_abort=true and begin it again, or take "
                f"that member off the node with playbooks/scale_down.yml of {share['deployment']}"
                for share in late
            ]
            fresh = []
        members[name] = known + fresh
    all_shares = [(name, share) for name, mine in members.items() for share in mine]
    unnamed = sorted({share["deployment"] for _name, share in all_shares if share["deployment"] not in named_ones})
    for name, share in all_shares:
        if share["deployment"] == hostnet["name"]:
            errors.append(
                f"{_share(share)} has the name of this deployment, which is in namespace {hostnet['namespace']}: two deployments of one name share the "
                f"label of the nodes. Remove one of them before a VM is touched"
            )
        elif share["deployment"] in unnamed:
            errors.append(
                f"{_share(share)} is on the VM of {name}: it would go down with it, and the gates of {share['deployment']} would not be asked. Allow it "
                f"with -e '{json.dumps({'hostnet_neighbours': sorted({*allowed, *unnamed})})}': then the gates of {share['deployment']} are asked, its "
                f"lock is held, and its member is stopped before the VM goes down; or leave {name} out with hostnet_members"
            )
        elif not share["namespace"]:
            refused = others.get("refused", {}).get(share["kube_cluster"], "")
            errors.append(
                f"{_share(share)}: its namespace is not known{f' ({refused})' if refused else ''}, so its gates cannot be asked. Run "
                f"playbooks/deploy.yml of {share['deployment']} once with this version of the collection, which labels its nodes"
            )
    deployments = sorted({(share["namespace"], share["deployment"]) for _name, share in all_shares})
    return {
        "errors": errors,
        "members": members,
        "deployments": [] if errors else [{"name": name, "namespace": namespace} for namespace, name in deployments],
    }


def steps(planned: Sequence[str], work: str, surge: bool) -> list[str]:
    """The steps of a member whose VM carries members of others, too.

    They are asked before our own member stops, and once more right before theirs does. Theirs stop last and start again first, next to the VM.
    """
    result = list(planned)
    result.insert(result.index("gate"), "gate_neighbours")
    if work == "replace" and surge:
        at = result.index("retire")
        return [*result[:at], "stop_neighbours", "retire", "start_neighbours", *result[at + 1 :]]
    result.insert(result.index("vm"), "stop_neighbours")
    # The member of a VM that is replaced has lost its disk, and that is a repair of its own deployment's.
    result.insert(result.index("vm" if work == "replace" else "start") + 1, "start_neighbours")
    return result


def extended(plan: Mapping[str, Any], members: Mapping[str, Sequence[Mapping[str, Any]]], neighbours: Sequence[Mapping[str, Any]]) -> Json:
    """A rollout's plan with the neighbours' steps, what they speak against it, and lines for people.

    `members` is shares' and `neighbours` are the deployments as `neighbour` and `judged` describe them. Where VMs are replaced, one VM with neighbours is
    done in a run: their members lost their disks with it, and have to be mended before the next one may go. Where a cloud is followed, that is the one
    that it takes first: the others are left then (order.replanned, by `alone`).
    """
    known = {(entry["name"], entry["namespace"]): entry for entry in neighbours}
    planned: list[Json] = []
    left: list[str] = []
    lines: list[str] = []
    lost: list[str] = []
    alone: list[str] = []
    for entry in plan["members"]:
        if lost and not plan.get("follows"):
            left.append(str(entry["member"]))
            continue
        mine = []
        for share in members.get(str(entry["member"]), []):
            other = known.get((share["deployment"], share["namespace"]))
            if other is not None and not other["removed"]:
                mine.append(named(share, other["members"]))
        at_hand = entry["member"] == plan["in_hand"]
        its = steps(entry["steps"], entry["work"], entry["surge"]) if mine and not at_hand else entry["steps"]
        planned.append({**entry, "neighbours": mine, "steps": its})
        if entry["work"] == "replace" and mine:
            lost += [str(share["deployment"]) for share in mine]
            alone.append(str(entry["member"]))
        ends = "is lost with the VM" if entry["work"] == "replace" else "is started again"
        lines += [f"with {entry['member']}: {_share(share)} is asked and stopped, and {ends}" for share in mine]
    if lost:
        again = f", and this playbook again for {', '.join(left)}" if left else ", and this playbook again" if len(planned) > 1 else ""
        lines.append(
            f"one VM with members of others is replaced in a run: then run playbooks/repair.yml for {', '.join(sorted(set(lost)))}{again}"
        )
    return {
        **plan,
        "errors": [*plan["errors"], *(text for entry in neighbours for text in entry["problems"])],
        "members": planned,
        "left": [*left, *plan.get("left", [])],
        "shared": bool(neighbours),
        "alone": alone,
        "lines": [*_relined(plan["lines"], planned, left), *lines],
    }


def _relined(lines: Sequence[str], planned: Sequence[Mapping[str, Any]], left: Sequence[str]) -> list[str]:
    """The lines of a rollout's plan with the steps that its members have by now, and without those of the members that are left.

    A member's lines are `1. east-0 on node ...`, its steps, and what is indented below them.
    """
    steps_of = {str(entry["member"]): entry["steps"] for entry in planned}
    result: list[str] = []
    member, first = "", False
    for line in lines:
        begins = _MEMBERS_LINE.match(line)
        if begins:
            member = begins[1]
        elif not line.startswith("   "):
            member = ""
        is_steps, first = first and not begins, bool(begins)
        if member not in left:
            result.append("   " + " > ".join(steps_of[member]) if is_steps and member in steps_of else line)
    return result


def named(share: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> Json:
    """`share` with the member's name from its bindings, where neither label nor pod tells it (it is stopped, or a DaemonSet's)."""
    there = [str(entry["member"]) for entry in members if (entry["kube_cluster"], entry["node"]) == (share["kube_cluster"], share["node"])]
    return {**share, "member": share["member"] or (there[0] if there else "")}


# -- how a neighbour is asked ----------------------------------------------------------------------------------------


def neighbour(hostnet: Mapping[str, Any], deployment: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> Json:
    """A neighbour as its own ConfigMaps describe it: {name, namespace, problems, hostnet, spec, kube_clusters, members, removed}.

    `answers` are by kube cluster {about: data or null, error}. Settings that a deployment tells nobody are this one's own; its certificates are
    not at hand, so its members are asked inside of their containers.
    """
    who, name = _described(deployment), str(deployment["name"])
    result: Json = {"name": name, "namespace": deployment["namespace"], "problems": [], "hostnet": {}, "spec": {}}
    result |= {"kube_clusters": [], "members": [], "removed": False}
    problems: list[str] = result["problems"]
    problems += [
        f"{who} cannot be asked in kube cluster {cluster}: {answer['error']}. It has a member on a VM of this rollout: give this user the rights of "
        f"docs/rbac.yaml in that namespace, or have the VM rolled with an account that has them"
        for cluster, answer in sorted(answers.items())
        if answer["error"]
    ]
    if problems:
        return result
    told = {cluster: answer["about"] for cluster, answer in answers.items() if answer["about"] is not None}
    again = f"run playbooks/deploy.yml of {name} once with this version of the collection"
    if not told:
        problems.append(f"{who} does not say how it is asked (ConfigMap {deployment['namespace']}/{names.about(name)}): {again}")
        return result
    texts = {json.dumps(data, sort_keys=True) for data in told.values()}
    try:
        data = next(iter(told.values()))
        clusters, settings, spec = (json.loads(data[key]) for key in _DATA)
        readable = data.get("schema") == str(SCHEMA) and (settings["name"], settings["namespace"]) == (name, deployment["namespace"])
        readable = readable and bool(_FILTER.fullmatch(str(spec["inspect"]["filter"]))) and clusters == sorted(map(str, clusters))
    except (KeyError, TypeError, ValueError):
        readable = False
    if len(texts) > 1 or not readable:
        said = "differs between kube clusters" if len(texts) > 1 else "cannot be read by this version"
        problems.append(f"{who}: ConfigMap {deployment['namespace']}/{names.about(name)} {said}: {again}")
        return result
    at_hand = {str(entry["name"]): entry for entry in hostnet["kube_clusters"]}
    away = [cluster for cluster in clusters if cluster not in at_hand]
    if away:
        problems.append(
            f"{who} also has kube cluster {', '.join(away)}, which is not in this inventory: its gates cannot be asked from here. Do these VMs with the "
            f"inventory of {name}, and name {hostnet['name']} in hostnet_neighbours there"
        )
        return result
    entries = [at_hand[cluster] for cluster in clusters]
    result["kube_clusters"] = entries
    result["spec"] = spec
    told_settings = {key: settings[key] for key in SETTINGS if key in settings}
    result["hostnet"] = {**hostnet, **told_settings, **_NOT_THEIRS, "kube_clusters": entries}
    return result


def judged(
    neighbour: Mapping[str, Any],
    plan: Mapping[str, Any],
    status: Mapping[str, Any],
    observed: Mapping[str, Any],
    shared: Iterable[Mapping[str, Any]],
    work: str,
    resumed: Iterable[Mapping[str, Any]] = (),
) -> Json:
    """`neighbour` with its `members` (bindings), whether it was `removed`, and in `problems` why its member may not be taken down now.

    `plan` and `status` are the neighbour's own, `shared` the members of others on the VMs of this rollout, `resumed` those of them that this rollout
    has stopped in an earlier run.
    """
    key = (neighbour["name"], neighbour["namespace"])
    here = [named(share, plan["members"]) for share in shared if (share["deployment"], share["namespace"]) == key]
    # playbooks/remove.yml was there: nothing runs, and the data waits for the next deploy.
    removed = not any(found["workloads"] or found["pods"] for found in observed.values())
    result = {**neighbour, "members": [dict(entry) for entry in plan["members"]], "removed": removed}
    who, name = _described(neighbour), str(neighbour["name"])
    if removed:
        lost = [f"{_share(share)}: its deployment is stopped, and its data is on that VM" for share in here] if work == "replace" else []
        result["problems"] = [f"{text}. Remove it with -e hostnet_remove_data=true, or leave the VM out" for text in lost]
        return result
    errors = [f"{who}: {text}" for text in plan.get("conflicts", [])]
    if plan["mode"] != "existing":
        errors.append(f"{who} is not finished: run its playbooks/deploy.yml first")
    rollout = status.get("rollout") or {}
    if rollout.get("member"):
        errors.append(
            f"a rollout of {who} is in progress at member {rollout['member']} ({rollout['work']}, run {rollout['run_id']}): finish it, or end it with "
            f"-e hostnet_abort=true, before its VMs are touched"
        )
    ours = {str(share["member"]) for share in resumed if (share["deployment"], share["namespace"]) == key}
    errors += [
        f"member {entry['member']} of {who} is {entry['class'] if entry['class'] != 'ok' else 'not healthy'} ({entry['reason']}): a VM that carries its "
        f"members is taken down only while all of them are well. Mend it first with playbooks/repair.yml of {name}"
        for entry in status["members"]
        if not entry["healthy"] and str(entry["member"]) not in ours
    ]
    known = {str(entry["member"]): entry for entry in status["members"]}
    for share in here:
        if share["member"] in ours:
            continue
        if share["member"] not in known:
            errors.append(
                f"{_share(share)} is no member that its records know: run playbooks/deploy.yml of {name}, or take its label off the node"
            )
        elif work == "replace" and known[share["member"]].get("alone"):
            errors.append(
                f"{_share(share)} has the only copy of {', '.join(known[share['member']]['alone'])}: it would be lost with the VM. Give it more "
                f"replicas first"
            )
    result["problems"] = errors
    return result
