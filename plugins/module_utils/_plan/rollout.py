# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a rollout does: who is next, by which steps, on which node, and what forbids it. Pure functions.

A rollout works on one member at a time. Its steps are the same for every run, and each of them is done again without
harm: so a run that was killed is finished by running the steps of its member once more, from the first that may be missing.
The journal (docs/design.md, section 7) says which member that is and what was known about it before the first change.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from . import adopt, dead, documents, gate, join, settings, signs, trust
from . import bindings as copies
from .classify import WELL
from .deployment import other_addresses, selector_errors
from .disk import admitted
from .journal import MAX_BYTES, in_flight, largest
from .names import members as members_name
from .names import rollout as journal_name
from .nodes import same_address
from .placement import data_folder
from .sizes import DATA_BYTES

Json = dict[str, Any]

# What each playbook may be asked to do with a member.
WORKS = ("reboot", "replace", "version", "repair", "scale_down")
# Classes (docs/design.md, section 7) that a repair mends, the most broken first.
BROKEN = ("reimaged", "replaced", "missing", "dead", "swapped", "moved", "returned", "rebooted")
# Classes that say what is wrong with a disk that may still be there: a human has to bring it back, or say that it is gone.
DISK_CLASSES = ("no_folder", "not_mounted", "other_disk", "older_copy")
# Classes of members whose VM kept its disk and has another address.
KEPT_DISK = ("moved", "swapped", "stopped")
# Steps after whose beginning a VM may be gone: an abort does not undo them, it finishes the member.
POINT_OF_NO_RETURN = (
    "vm",
    "vm_add",
    "forget",
    "readdress",
    "admit",
    "start",
    "join",
    "list",
    "settle",
    "forget_after",
    "retire",
    "soak",
    "restart",
    "leave",
)

# Steps that ask whether the member may be taken down, in their order, and those that do it.
GATES = ("gate_neighbours", "gate", "gate_repair")
TAKES_DOWN = ("stop", "restart")

# Steps that only bring a member up that was admitted before. A run that cannot ask every kube cluster does these and no others: none of them stops or
# forgets anybody, takes anybody in, or changes a join list (docs/design.md, section 7).
BRING_UP = ("uncordon", "start", "start_neighbours", "join", "settle")
# Works that a repair may come into, with the rollout left open.
_INTERRUPTIBLE = ("reboot", "replace", "version")
# How often one run mends the same member, whose VMs die one after another.
_MENDED_AT_MOST = 3
# Bytes by which a binding may grow when its member gets another VM.
_LONGER_IDS = 2048

# Evictions take long and may be refused by a budget, so they come while the member still serves; and the gate right before the stop.
_TAKE_DOWN = ("cordon", "evict", "gate", "lead", "drain", "stop")


def leave(spec: Mapping[str, Any]) -> str:
    """How a member leaves for good: `stopped` (the others forget one that is down), `running` (its data moves away first), or `never`."""
    return str(spec.get("leave") or {"before_join": "stopped", "after_join": "running"}.get(str(spec.get("forget")), "never"))


def steps(work: str, kind: str, surge: bool, forget: str, leaves: str = "") -> list[str]:
    """Names of the steps of one member, in order.

    `work` is one of WORKS, `kind` the member's class before the first change, `forget` the system's word for when the old
    process is taken out of its membership: `before_join`, `after_join` or `never`. `leaves` is `leave` of its spec, by default what `forget` says.
    """
    before = ["forget"] if forget == "before_join" else []
    after = ["forget_after"] if forget == "after_join" else []
    arrive = ["unlist", *before, "certify", "admit", "start", "join", *after, "list", "settle"]
    if work == "version":
        return ["gate", "lead", "drain", "restart", "settle", "soak"]
    if work == "reboot":
        # A pod that the scheduler places does not start on a cordoned node.
        return [*_TAKE_DOWN, "vm", "uncordon", "start", "settle", "soak"]
    if work == "replace" and surge:
        return ["vm_add", "identify", "gate", "lead", "drain", "stop", *arrive, "cordon", "evict", "retire", "soak"]
    if work == "replace":
        # A VM that was re-imaged under its Node object is still cordoned, and a pod that the scheduler places does not start there.
        return [*_TAKE_DOWN, "vm", "identify", "uncordon", *arrive, "soak"]
    if work == "scale_down" and (leaves or leave({"forget": forget})) == "stopped":
        return ["gate", "lead", "drain", "stop", "unlist", "forget", "remove", "settle"]
    if work == "scale_down":
        # Its data moves away while it still serves.
        return ["gate", "lead", "drain", "leave", "stop", "unlist", "remove", "settle"]
    if kind in KEPT_DISK:
        return ["gate_repair", "stop", "identify", "unlist", "readdress", "certify", "start", "list", "settle", "soak"]
    if kind in dead.TAKEN:
        return ["gate_repair", "stop", "identify", *arrive, "soak"]
    if kind == "returned":
        # Its Node object is another one: without label and, for a DaemonSet, without pod.
        return ["note", "start", "settle"]
    return ["note"]


def wanted_settings(work: str, surge: bool, image: str) -> Json:
    """What must be the same when a rollout is gone on with after a kill."""
    return {"work": work, "surge": surge, "image": image if work == "version" else ""}


def old_id(inspection: Mapping[str, Mapping[str, Any]], binding: Mapping[str, Any]) -> str:
    """The id under which the system knows a member, as the member itself or healthy others tell it; "" where nobody does.

    Its name decides, then its address, compared as an IP address and never as text.
    """
    own = inspection.get(str(binding["member"]), {})
    if own.get("reachable") and own.get("id"):
        return str(own["id"])
    for name in sorted(inspection):
        if not inspection[name].get("healthy"):
            continue
        peers = inspection[name].get("peers", [])
        for wanted in (
            lambda peer: peer.get("name") == binding["process"],
            lambda peer: same_address(str(peer.get("address", "")), str(binding["address"])) and not peer.get("live"),
        ):
            found = [str(peer["id"]) for peer in peers if peer.get("id") and wanted(peer)]
            if found:
                return found[0]
    return ""


def is_new(node: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> bool:
    """Whether the node is a VM that was not there before: `known` has the `seen` UIDs of Node objects, `providers` ids and `machines` ids.

    A UID and a provider id that nobody had make a new VM. So does a machine id that nobody had: a VM that is made anew under its old name has
    the old provider id on some clouds, and one that is re-imaged in place may keep its Node object. A VM that only starts again keeps
    its machine id, and a Node object that is only made again keeps provider id and machine id.
    """
    machine, provider = str(node.get("machine_id") or ""), str(node["provider_id"] or "")
    if machine and known.get("machines") and not _is_among(machine, known["machines"]):
        return True
    return not _is_among(str(node["uid"]), known.get("seen", ())) and not (provider and _is_among(provider, known.get("providers", ())))


def digest(value: str) -> str:
    """An id of a VM as the journal keeps it: 12 hexadecimal digits instead of up to 200 characters.

    Two of 5,000 ids and a new one have the same digest once in 10^10 times, and then a rollout waits for another VM.
    """
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def _is_among(value: str, known: Sequence[str]) -> bool:
    # Journals of schema 1 have the ids themselves.
    return digest(value) in known or value in known


def candidates(
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    known: Mapping[str, Sequence[str]] | None = None,
) -> list[Json]:
    """Nodes that the member may get: of its kube cluster, matching the selector, carrying nobody else, and no VM that was `known` before.

    The node of its own name comes first (a re-imaged VM, or a pool that gives old names to new VMs), then those without a sign of their end.
    """
    taken = {(entry["kube_cluster"], entry["node"]) for entry in bindings if entry["member"] != binding["member"]}
    found = [
        dict(node)
        for node in nodes
        if node["kube_cluster"] == binding["kube_cluster"]
        and node.get("selected", True)
        and (node["kube_cluster"], node["name"]) not in taken
        and is_new(node, known or {})
    ]
    return sorted(
        found,
        key=lambda node: (
            node["name"] != binding["node"],
            node["zone"] != binding["zone"],
            signs.urgency(node),
            join.natural_key(str(node["name"])),
        ),
    )


def identify(
    binding: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    known: Mapping[str, Any],
    patient: bool,
) -> Json:
    """The node that a member goes on with after its VM was replaced: {node: the node or null, waiting: why not yet, error: why never}.

    `known` are the VMs that existed before (is_new), with `pool` and `generation` of the old one, and
    `in_place` where the cloud makes VMs anew under their names. `patient`: somebody else replaces the
    VM, so that a node in another zone may be anybody's, and only time tells; otherwise it is the hook's, and wrong. A pool's upgrade brings the new
    node before the old one goes, and perhaps before this rollout looked: then it is told by its generation.
    """
    where = f"kube cluster {binding['kube_cluster']}"
    found = candidates(binding, nodes, bindings, known)
    if patient:
        found += [node for node in candidates(binding, nodes, bindings) if node not in found and came_early(node, binding, known)]
    if patient and known.get("in_place"):
        found = [node for node in found if node["name"] == binding["node"]]
    right = [node for node in found if node["zone"] == binding["zone"]]
    wrong = [node for node in found if node["zone"] != binding["zone"]]
    owners = {str(entry["address"]): str(entry["member"]) for entry in bindings if entry["member"] != binding["member"]}
    for node in right:
        owner = next((name for address, name in owners.items() if same_address(address, str(node["address"]))), "")
        if owner:
            return {
                "node": None,
                "waiting": "",
                "error": f"{where}: the new node {node['name']} has address {node['address']}, which belongs to member {owner}: it is used again only after "
                f"every member has forgotten the old one. Give the VM another address, or repair {owner} first",
            }
    # What this rollout has cordoned under a Node object that stays, it uncordons before the member starts.
    ready = [
        node
        for node in right
        if node["ready"]
        and node["address"]
        and not (node.get("unschedulable") and node["uid"] != binding["node_uid"])
        and not dead.out_of_service(node)
        and not signs.goes(node)
    ]
    if ready:
        return {"node": ready[0], "waiting": "", "error": ""}
    if right:
        return {
            "node": None,
            "waiting": f"{where}: node {right[0]['name']} is not Ready, is cordoned, about to go or out of service, or has no address",
            "error": "",
        }
    if wrong and not patient:
        return {
            "node": None,
            "waiting": "",
            "error": f"{where}: the VM that came for member {binding['member']} is node {wrong[0]['name']} in zone {wrong[0]['zone'] or '(none)'}, its place "
            f"is in zone {binding['zone'] or '(none)'}. Remove that VM, bring one into the right zone, and run again",
        }
    return {"node": None, "waiting": f"{where}: no new node that matches the selector, in zone {binding['zone'] or '(none)'}", "error": ""}


def came_early(node: Mapping[str, Any], binding: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a node that was there before is of the pool's new generation, and so a successor as good as one that comes later.

    It is younger than the node that it follows, and another VM: that one may have got a new kubelet in place, and a new Node object.
    """
    generation = str(node.get("generation") or "")
    if not generation or not known.get("generation") or generation == known["generation"]:
        return False
    if str(node.get("created") or "") <= str(known.get("created") or "~"):
        return False
    same = any(binding.get(key) and node.get(key) == binding[key] for key in ("provider_id", "machine_id"))
    return not same and node["uid"] != binding["node_uid"] and pool(node["labels"]) == str(known.get("pool") or "")


def identify_for(
    record: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], patient: bool
) -> Json:
    """`identify` for the member in hand, as the journal knows it."""
    old = record["old"]
    if record.get("class") in KEPT_DISK:
        # The VM is the one it was; only its address is another.
        same = [node for node in nodes if node["kube_cluster"] == old["kube_cluster"] and node["name"] == old["node"]]
        ready = [node for node in same if node["ready"] and node["address"]]
        if not ready:
            return {"node": None, "waiting": f"node {old['node']} is not Ready, or has no address", "error": ""}
        holders = [
            entry
            for entry in bindings
            if entry["member"] != old["member"] and same_address(str(entry["address"]), str(ready[0]["address"]))
        ]
        away = {entry["member"] for entry in displaced(bindings, {**old, "address": ready[0]["address"]}, nodes)}
        for holder in holders:
            if holder["member"] not in away:
                return {
                    "node": None,
                    "waiting": "",
                    "error": f"node {old['node']} has address {ready[0]['address']}, which belongs to member {holder['member']}: it is used again only "
                    f"after every member has forgotten the old one. Repair {holder['member']} first, or give the VM another address",
                }
        return {"node": ready[0], "waiting": "", "error": ""}
    chosen = record.get("new")
    if chosen:
        same = [
            node for node in nodes if node["kube_cluster"] == chosen["kube_cluster"] and node["uid"] == chosen["node_uid"] and node["ready"]
        ]
        if same:
            return {"node": same[0], "waiting": "", "error": ""}
    return identify(old, nodes, bindings, record, patient)


def new_binding(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], record: Mapping[str, Any], node: Mapping[str, Any], token: str, nonce: str
) -> Json:
    """The binding of the member in hand on the node that `identify_for` found. What an earlier run has noted for that node stays in force."""
    if record.get("class") in KEPT_DISK:
        return readdressed(record["old"], node)
    noted = record.get("new")
    fresh = rebound(hostnet, spec, record["old"], node, token, nonce)
    if noted and noted["node_uid"] == node["uid"]:
        return {**fresh, **{key: noted[key] for key in ("admission", "admission_id", "disk") if key in noted}}
    return fresh


def booted(bindings: Sequence[Mapping[str, Any]], member: str, nodes: Sequence[Mapping[str, Any]], same_vm: bool = False) -> list[Json]:
    """The bindings with the present boot id of one member's node.

    `same_vm`: the member was seen on its own disk there, so that a Node object with another UID is of the same VM, and is followed.
    """
    result = []
    for entry in bindings:
        node = next((node for node in nodes if node["kube_cluster"] == entry["kube_cluster"] and node["name"] == entry["node"]), None)
        if node is None or entry["member"] != member or not (same_vm or node["uid"] == entry["node_uid"]):
            result.append(dict(entry))
        else:
            machine = node.get("machine_id") or entry.get("machine_id", "")
            result.append({**entry, "boot_id": node["boot_id"], "node_uid": node["uid"], "machine_id": machine})
    return result


def drain_nodes(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_drain: the VMs of these bindings, as far as they are still there."""
    current = {(node["kube_cluster"], node["name"]): str(node["uid"]) for node in nodes}
    return [
        {"kube_cluster": binding["kube_cluster"], "name": binding["node"], "uid": binding["node_uid"]}
        for binding in bindings
        if current.get((binding["kube_cluster"], binding["node"])) == binding["node_uid"]
    ]


def cordoned(nodes: Sequence[Mapping[str, Any]], kube_clusters: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_drain: those of these kube clusters that are cordoned, by whomever. node_drain knows whose cordon it may take away."""
    names = [entry["name"] for entry in kube_clusters]
    return [
        {"kube_cluster": node["kube_cluster"], "name": node["name"], "uid": node["uid"]}
        for node in nodes
        if node["unschedulable"] and node["kube_cluster"] in names
    ]


def outdated(pods: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], image: str) -> list[Json]:
    """Those of `pods` (of stale_pods) that do not run `image`: a pod that was started anew before a kill is not stopped a second time."""
    images = {pod["uid"]: pod["image"] for found in observed.values() for pod in found["pods"]}
    return [dict(pod) for pod in pods if images.get(pod["uid"]) != image]


def issued(certificates: Sequence[Mapping[str, Any]], member: str) -> list[Json]:
    """What the journal notes about the certificates of a member: nothing secret."""
    return [
        {
            "file": entry["file"],
            "serial": entry["serial"],
            "not_after": entry["not_after"],
            "addresses": [name.removeprefix("IP:") for name in entry.get("sans", []) if name.startswith("IP:")],
            "reason": entry.get("reason", ""),
        }
        for entry in certificates
        if entry["name"] == member
    ]


def past_return(journal: Mapping[str, Any]) -> bool:
    """Whether the member in hand has begun a step that cannot be undone, so that it has to be finished."""
    return bool(set(begun_steps(journal)) & set(POINT_OF_NO_RETURN))


def is_down(journal: Mapping[str, Any]) -> bool:
    """Whether a step was begun that takes the member in hand down, so that finishing it is what brings it up."""
    return past_return(journal) or bool(set(begun_steps(journal)) & set(TAKES_DOWN))


def rebound(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], binding: Mapping[str, Any], node: Mapping[str, Any], token: str, nonce: str
) -> Json:
    """The binding of a member on a new VM: a new admission, so no folder of the old VM can be taken for its own."""
    fresh = {
        **{key: value for key, value in binding.items() if key not in ("stopped", "admission_id", "disk", "progress")},
        "node": node["name"],
        "node_uid": node["uid"],
        "provider_id": node["provider_id"],
        "address": node["address"],
        "other_addresses": other_addresses(node),
        "boot_id": node.get("boot_id", ""),
        "machine_id": node.get("machine_id", ""),
        "zone": node["zone"],
        "region": node["region"],
        "process": node["name"] if hostnet["placement"] == "daemonset" and spec.get("process") != "member" else binding["member"],
        "admission": "",
    }
    return admitted([fresh], token, str(hostnet["placement"]), nonce)[0]


def readdressed(binding: Mapping[str, Any], node: Mapping[str, Any]) -> Json:
    """The binding of a member whose VM kept its disk and has another address: the same admission."""
    return {
        **{key: value for key, value in binding.items() if key != "stopped"},
        "address": node["address"],
        "other_addresses": other_addresses(node),
        "boot_id": node.get("boot_id", ""),
        "machine_id": node.get("machine_id", ""),
    }


def with_member(
    bindings: Sequence[Mapping[str, Any]], binding: Mapping[str, Any], displaced: Sequence[Mapping[str, Any]] = ()
) -> list[Json]:
    """The bindings with this one in the place of the member's old one, and with those that it displaced."""
    changed = {entry["member"]: dict(entry) for entry in [*displaced, binding]}
    rest = [dict(entry) for entry in bindings if entry["member"] not in changed]
    return sorted([*rest, *changed.values()], key=join.canonical_key)


def displaced(bindings: Sequence[Mapping[str, Any]], new: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The bindings of other members that still have the address of `new`, although their own VMs have another one by now.

    Two VMs that exchanged addresses are an example. Such a member cannot run under its old address; it is recorded under the address of its
    VM and as stopped, until its own turn comes, so no address ever belongs to two members. A member whose VM still has the
    address is no such one: `identify` refuses then.
    """
    current = {(node["kube_cluster"], node["name"], node["uid"]): node for node in nodes}
    found = []
    for entry in bindings:
        if entry["member"] == new["member"] or not same_address(str(entry["address"]), str(new["address"])):
            continue
        node = current.get((entry["kube_cluster"], entry["node"], entry["node_uid"]))
        if node and node["address"] and not dead.lists_address(node, str(entry["address"])):
            found.append({**entry, "address": node["address"], "stopped": True})
    return found


def stopped(bindings: Sequence[Mapping[str, Any]], member: str, stop: bool) -> list[Json]:
    """The bindings with `stopped` set for (or taken from) one member."""
    result = []
    for entry in bindings:
        changed = {key: value for key, value in entry.items() if key != "stopped" or entry["member"] != member}
        if stop and entry["member"] == member:
            changed["stopped"] = True
        result.append(changed)
    return result


def rollout_plan(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    request: Mapping[str, Any],
    plan: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    journal: Mapping[str, Any] | None,
    inspection: Mapping[str, Mapping[str, Any]] | None = None,
) -> Json:
    """What a rollout would do now.

    `request`: {work, surge, members (names; empty for all), limit_nodes (host names; null for all), max_members (0: all), abort, ended (the turns of this
    run: {member, work}), due (follow.due: {member: why its VM goes now})}, and what request_errors looks at. `plan` is
    deployment_plan's, `status` deployment_status's, `journal` the newest one (or null), `inspection` what the members said.

    Returns {errors, resume (the journal is gone on with), in_hand, members: [{member, class, reason, why, steps, node, work, surge}], left (members
    that max_members leaves for the next run), broken, unmended, waits (lines: what has to come back, or get a VM, before anybody else is taken down),
    follows (somebody else does the VMs), yields (the member in hand is up, and others are broken: they come first), hold (nobody is taken down now: no VM
    is about to go), prove (processes that must be proven dead before the first change), lines}. Errors are raised before anything is changed.

    Members that are broken are mended first, whatever the rollout is for, as a repair mends them.
    """
    work = str(request["work"])
    errors = [*request_errors(request), *plan.get("conflicts", [])]
    # Of the wrong kube clusters nothing else is worth a word: members that nobody looked for are not lost.
    if work not in WORKS or plan.get("membership"):
        return _nothing(errors)
    entries = {str(entry["member"]): entry for entry in status["members"]}
    bindings = {str(entry["member"]): entry for entry in plan["members"]}
    flying = in_flight(journal)
    record: Mapping[str, Any] = (journal or {}).get("member") or {}
    in_hand = str(record.get("member", "")) if flying else ""
    if plan["mode"] != "existing":
        errors.append(
            f"deployment {hostnet['name']} in namespace {hostnet['namespace']} is not deployed, or not finished: run playbooks/deploy.yml first"
        )
        return _nothing(errors)
    errors += _journal_errors(hostnet, request, journal if flying else None)
    # An abort forgets nobody.
    errors += [] if request.get("abort") else trust.forgets_the_living(journal, inspection or {})
    errors += documents.in_hand_errors(journal if flying else None, bindings)
    known = set(bindings)
    # Whoever left for good in the rollout that is gone on with is no member any more.
    finished = [*(journal or {}).get("done", []), in_hand] if flying else []
    errors += [
        f"hostnet_members has {name!r}, which is no member of {hostnet['name']}: its members are {', '.join(sorted(known, key=join.natural_key))}"
        for name in request["members"]
        if name not in known and name not in finished
    ]
    errors += [
        f"hostnet_lost_disks has {name!r}, which is no member of {hostnet['name']}: its members are {', '.join(sorted(known, key=join.natural_key))}"
        for name in request.get("lost_disks") or ()
        if name not in known
    ]
    # Of whom nothing is known is not counted as a voter either: a gate would be too easy. Only who is leaving has lost its binding already.
    errors += [entry["error"] for entry in plan.get("strangers", []) if entry["member"] not in finished]
    if not bindings:
        return _nothing(errors or [f"deployment {hostnet['name']} in namespace {hostnet['namespace']} has no members"])
    for name, entry in entries.items():
        if entry["class"] == "foreign":
            errors.append(f"member {name}: {entry['reason']}. Another system answers there: a human has to look, nothing is changed")
    broken = [name for name, entry in entries.items() if entry["class"] not in WELL or not entry["healthy"]]
    patient = follows(request)
    turns = [(str(entry["member"]), str(entry["work"])) for entry in request.get("ended") or ()]
    mended = [name for name, its in turns if its == "repair"]
    worn_out = {name for name in mended if mended.count(name) >= _MENDED_AT_MOST}
    healthy = [name for name in entries if name not in broken]
    if len(healthy) < gate.quorum(len(entries)):
        errors.append(majority_lost(hostnet, status, bindings, nodes))
        return {**_nothing(errors), "broken": broken}
    if in_hand and in_hand not in bindings and record.get("old"):
        # It is leaving for good, and its binding is gone already: what is left to do is still done.
        bindings[in_hand] = record["old"]
        entries[in_hand] = {
            "class": str(record.get("class", "")),
            "reason": "it is leaving",
            "healthy": False,
            "leader": False,
            "image": "",
        }
    home = signs.homes(bindings.values(), nodes)
    mends: list[Json] = []
    unmended: list[str] = []
    waits: list[str] = []
    # A repair in the middle of a rollout of another kind: that one stays open.
    another = work == "repair" and flying and (journal or {}).get("settings", {}).get("work") not in (None, "repair")
    if work == "repair":
        chosen, unmended = _to_mend(entries, bindings, nodes, record if in_hand else {})
        again = [entry for entry in chosen if entry["member"] in worn_out - {in_hand}]
        unmended += [
            f"member {entry['member']} was mended {_MENDED_AT_MOST} times by this run, and is broken again: {entry['why']}"
            for entry in again
        ]
        chosen = [entry for entry in chosen if entry not in again]
        if another:
            mends = [entry for entry in chosen if entry["member"] != in_hand]
    else:
        chosen = _to_roll(request, entries, bindings, journal if flying else None, home, hostnet)
        # An abort makes nothing worse, and has to be possible where neither the rollout nor a repair goes on. Whoever leaves need not be well.
        leaving = request["members"] if work == "scale_down" else []
        others = [] if request.get("abort") else [name for name in broken if name != in_hand and name not in leaving]
        if work != "scale_down":
            found, _left_alone = _to_mend(entries, bindings, nodes, record, [name for name in others if name not in worn_out])
            mends = _narrowed([{**entry, "work": "repair"} for entry in found], request, bindings, "")
        mending = [entry["member"] for entry in mends]
        # Whoever is in hand is finished first: half of it may be done.
        chosen = [
            *(entry for entry in chosen if entry["member"] == in_hand),
            *mends,
            *(entry for entry in chosen if entry["member"] not in (in_hand, *mending)),
        ]
        worse = [name for name in others if name not in mending and entries[name]["class"] != "foreign"]
        lines = [f"member {name} is {_state(entries[name])}" for name in worse]
        if patient and flying:
            # A cloud is at work. Its VM may come, or come back; until then nobody else is taken down.
            waits = lines
        else:
            errors += [
                f"{line}: a rollout starts only while every member is well. Mend it first with playbooks/repair.yml" for line in lines
            ]
    if work == "scale_down" and not request.get("abort"):
        errors += _scale_down_errors(hostnet, spec, request, list(bindings), in_hand, inspection or {})
    chosen = _narrowed(chosen, request, bindings, in_hand)
    # Nobody stays broken, and nobody in the middle, because enough others had their turn.
    head = [entry for entry in chosen if entry["member"] == in_hand or (work != "repair" and entry in mends)]
    rest = [entry for entry in chosen if entry not in head]
    had = len([its for _name, its in turns if its == work]) + len([entry for entry in head if entry["member"] == in_hand])
    room = max(0, int(request["max_members"]) - had) if request.get("max_members") else len(rest)
    chosen, left = [*head, *rest[:room]], [str(entry["member"]) for entry in rest[room:]]
    if another:
        left += [
            name
            for name in (journal or {}).get("order", [])
            if name in bindings and name not in (*(journal or {}).get("done", []), in_hand, *left)
        ]
    if work in ("replace", "scale_down") and not request.get("abort"):
        errors += [
            f"member {entry['member']} has the only copy of {', '.join(entries[entry['member']]['alone'])}: it would be lost with the VM. Give it more "
            f"replicas first, or leave this member out with hostnet_members"
            for entry in chosen
            if entries.get(entry["member"], {}).get("alone")
        ]
    planned = []
    for entry in chosen:
        name = entry["member"]
        # A member that an earlier repair stopped, because its VM has another address, goes the way of those that moved.
        now = (
            "stopped"
            if (entry.get("work") or work) == "repair" and bindings[name].get("stopped") and entries[name]["class"] == "unknown"
            else entries[name]["class"]
        )
        kind = str(record.get("class") or now) if name == in_hand else str(now)
        in_work = str(record.get("work") or work) if name == in_hand else str(entry.get("work") or work)
        in_surge = bool(record.get("surge", request["surge"])) if name == in_hand else bool(request["surge"]) and in_work == work
        planned.append(
            {
                "member": name,
                "class": kind,
                "reason": entries[name]["reason"],
                "why": entry["why"],
                "node": entry.get("node", bindings[name]["node"]),
                "work": in_work,
                "surge": in_surge,
                "steps": steps(in_work, kind, in_surge, str(spec.get("forget", "never")), leave(spec)),
            }
        )
    # An abort needs a node only where it finishes the member in hand.
    if any(entry["work"] in ("replace", "repair") for entry in planned) and not (request.get("abort") and not past_return(journal or {})):
        errors += selector_errors(hostnet)
    if not request.get("abort") and work != "scale_down":
        errors += _too_long(hostnet, planned, bindings, nodes, list((journal or {}).get("done", [])) if flying else [])
    result: Json = {
        "errors": errors,
        "resume": flying,
        "in_hand": in_hand,
        "members": planned,
        "left": left,
        "broken": broken,
        "unmended": unmended,
        "waits": waits,
        "follows": patient,
        "yields": bool(in_hand) and not is_down(journal or {}) and (bool(mends or waits) or not _may_go_on(request, record, home)),
        "hold": patient
        and not in_hand
        and not mends
        and (bool(waits) or (bool(planned) and not _is_due(str(planned[0]["member"]), request, home))),
        # An abort takes nobody's place.
        "prove": []
        if request.get("abort")
        else dead.to_prove(
            planned,
            {
                name: dead.process_of(binding, old_id(inspection or {}, binding), str(entries[name]["reason"]))
                for name, binding in bindings.items()
            },
            finished_steps(journal) if flying and journal else (),
            in_hand,
        ),
    }
    result["lines"] = _lines(hostnet, spec, result, bindings, status)
    return result


def follows(request: Mapping[str, Any]) -> bool:
    """Whether somebody else replaces or reboots the VMs, one by one and in an order of his own, so that a rollout waits until he is about to."""
    return (
        request["work"] in ("reboot", "replace")
        and (request.get("hook") or "wait") == "wait"
        and not request["surge"]
        and not request.get("abort")
    )


def _is_due(member: str, request: Mapping[str, Any], home: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether a member is to be taken down now, in a rollout that follows."""
    node = home.get(member)
    return member in (request.get("due") or {}) or (node is not None and signs.goes(node))


def _may_go_on(request: Mapping[str, Any], record: Mapping[str, Any], home: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether the member in hand, which is up, may be taken down. A cloud may have given up since the run that was cut short: then its turn comes again."""
    return not follows(request) or record.get("work") != request["work"] or _is_due(str(record.get("member", "")), request, home)


def _too_long(
    hostnet: Mapping[str, Any],
    planned: Sequence[Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    done: Sequence[str],
) -> list[str]:
    """A journal that would not fit into its ConfigMap: refused before the first change, and not met in the middle."""
    if planned:
        data = copies.dump(list(bindings.values()), {})
        # The one in hand may have longer ids afterwards.
        size = sum(len(value) for value in data.values()) + _LONGER_IDS
        if size > DATA_BYTES:
            return [
                (
                    f"the bindings of {len(bindings)} members (ConfigMap {hostnet['namespace']}/{members_name(str(hostnet['name']))}, the same in every kube "
                    f"cluster) may become {size} bytes long, and Kubernetes takes {DATA_BYTES}: take members out with playbooks/scale_down.yml first"
                )
            ]
    order = [*done, *(str(entry["member"]) for entry in planned)]
    # What was there before is noted of the member's own kube cluster, so one member of each is enough.
    some = {str(bindings[str(entry["member"])]["kube_cluster"]): entry for entry in planned}
    sizes = {name: largest(order, record(entry, bindings[str(entry["member"])], nodes, {})) for name, entry in some.items()}
    worst = max(sizes, key=lambda name: (sizes[name], name), default="")
    if not worst or sizes[worst] <= MAX_BYTES:
        return []
    there = len([node for node in nodes if node["kube_cluster"] == worst])
    return [
        (
            f"the journal of this rollout (ConfigMap {hostnet['namespace']}/{journal_name(str(hostnet['name']))}, the same in every kube cluster) may become "
            f"{sizes[worst]} bytes long, and at most {MAX_BYTES} fit: it is of {len(order)} members, and kube cluster {worst} has {there} nodes. "
            f"Name fewer members with hostnet_members, or narrow hostnet_node_selector"
        )
    ]


def request_errors(request: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of a rollout by themselves, one sentence each; nothing has been changed by then.

    Beside what `rollout_plan` needs: `soak_seconds`, `step_timeout_seconds`, `hook` (the path in hostnet_replace_tasks, or `wait`), `hook_tasks`
    (what the file holds, null where there is none), `hook_unreadable` (why it cannot be read), `probe_file` and `probe_file_exists`.
    """
    errors = []
    if request["work"] not in WORKS:
        errors.append(f"hostnet_work is {request['work']!r}: upgrade.yml needs -e hostnet_work=reboot, replace or version")
    # Not with repair and scale_down: an inventory may have it for its upgrades, and those are needed at once.
    if request["surge"] and request["work"] in ("reboot", "version"):
        errors.append(
            f"hostnet_surge is for hostnet_work=replace, where a new VM comes; it means nothing with {request['work']}: leave it out"
        )
    least = {"max_members": 0, "soak_seconds": 0, "step_timeout_seconds": 1, "follow_seconds": 1}
    errors += [
        f"hostnet_{key} is {request[key]}: it must be a whole number of at least {minimum}"
        for key, minimum in least.items()
        if int(request.get(key, minimum)) < minimum
    ]
    if request["work"] in ("reboot", "replace"):
        errors += _hook_errors(str(request.get("hook") or "wait"), request.get("hook_tasks"), str(request.get("hook_unreadable", "")))
    if request.get("probe_file") and not request.get("probe_file_exists"):
        errors.append(
            f"hostnet_probe_file is {request['probe_file']}, which is no file on the controller: start the probe first, or leave it out"
        )
    return errors


def _hook_errors(path: str, tasks: Any, unreadable: str) -> list[str]:
    """Why the file of tasks cannot be what does the VMs: a member would be down before Ansible finds that out."""
    if path == "wait":
        return []
    where = f"hostnet_replace_tasks is {path}"
    if not path.startswith("/"):
        return [f"{where}: it must be an absolute path on the controller, for example $PWD/hook.yml, or the word wait"]
    if tasks is None:
        return [f"{where}, which is no file on the controller: give the path of a file of Ansible tasks, or the word wait"]
    if unreadable:
        return [f"{where}, which Ansible cannot read: {unreadable}"]
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, Mapping) for task in tasks):
        return [f"{where}: it must hold a list of Ansible tasks, at least one; docs/upgrade.md has examples"]
    return []


def _nothing(errors: list[str]) -> Json:
    return {
        "errors": errors,
        "resume": False,
        "in_hand": "",
        "members": [],
        "left": [],
        "broken": [],
        "unmended": [],
        "waits": [],
        "follows": False,
        "yields": False,
        "hold": False,
        "prove": [],
        "lines": [],
    }


def _state(entry: Mapping[str, Any]) -> str:
    return f"{entry['class'] if entry['class'] != 'ok' else 'not healthy'} ({entry['reason']})"


def _journal_errors(hostnet: Mapping[str, Any], request: Mapping[str, Any], journal: Mapping[str, Any] | None) -> list[str]:
    adopting = adopt.in_progress(str(hostnet["name"]), journal)
    if journal is None or request.get("abort") or adopting:
        return adopting
    begun = journal.get("settings", {})
    wanted = wanted_settings(str(request["work"]), bool(request["surge"]), str(hostnet["image"]))
    # A repair finishes the member in hand, mends the others, and leaves the rollout open. With another image it would finish that member wrongly.
    if begun == wanted or (
        request["work"] == "repair" and begun.get("work") in _INTERRUPTIBLE and begun.get("image") in ("", None, str(hostnet["image"]))
    ):
        return []
    differs = ", ".join(f"{key} {begun.get(key)!r} instead of {wanted[key]!r}" for key in sorted(wanted) if begun.get(key) != wanted[key])
    playbook = {"repair": "repair.yml", "scale_down": "scale_down.yml"}.get(
        str(begun.get("work")), f"upgrade.yml -e hostnet_work={begun.get('work')}"
    )
    return [
        (
            f"a rollout of {hostnet['name']} was begun and not finished (run {journal.get('run_id')}, {differs}): finish it with playbooks/{playbook}"
            f"{' -e hostnet_surge=true' if begun.get('surge') else ''}{' -e hostnet_image=' + str(begun['image']) if begun.get('image') else ''}, "
            f"or end it with -e hostnet_abort=true"
        )
    ]


def majority_lost(
    hostnet: Mapping[str, Any], status: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> str:
    """The refusal where no majority is left: facts for the human who has to decide, and what was not done."""
    entries = status["members"]
    healthy = [str(entry["member"]) for entry in entries if entry["healthy"]]
    lines = [
        (
            f"{len(healthy)} of {len(entries)} members of {hostnet['name']} are healthy, {gate.quorum(len(entries))} are needed: the majority is lost, "
            "so nothing is removed, wiped, initialised or forgotten. Where the data was last seen:"
        )
    ]
    by_name = {(node["kube_cluster"], node["name"]): node for node in nodes}
    for entry in sorted(entries, key=lambda item: join.natural_key(str(item["member"]))):
        binding = bindings[str(entry["member"])]
        node = by_name.get((binding["kube_cluster"], binding["node"]))
        gone = (
            "there is no such node any more"
            if node is None
            else ("node Ready" if node["ready"] else "node not Ready: it may come back with its disk")
        )
        lines.append(
            f"* {entry['member']}: {_state(entry) if not entry['healthy'] else 'healthy'}; disk {data_folder(hostnet, binding)} on node {binding['node']} "
            f"(kube cluster {binding['kube_cluster']}, {binding['provider_id'] or 'no provider id'}, address {binding['address']}): {gone}"
        )
    manual = {
        "etcd": "https://etcd.io/docs/v3.6/op-guide/recovery/ (restore a snapshot, or --force-new-cluster on the one member that you choose)",
        "nats": "https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/disaster_recovery",
        "cockroachdb": "https://www.cockroachlabs.com/docs/stable/disaster-recovery-planning (backups; cockroach debug recover)",
    }.get(str(hostnet["system"]), "the system's own documentation on lost majorities")
    lines.append(
        f"In this order: bring back VMs or disks that still exist (an address may change, playbooks/repair.yml follows it); wait for what is only unreachable; "
        f"and only where disks are lost for good, the system's own procedure by hand: {manual}. docs/recovery.md has more"
    )
    return "\n".join(lines)


def _to_mend(
    entries: Mapping[str, Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any],
    among: Sequence[str] | None = None,
) -> tuple[list[Json], list[str]]:
    """Whom a repair mends, the most broken first, and a line for each member that it cannot mend; of those `among` which it is asked for (null: all)."""
    chosen: list[Json] = []
    unmended: list[str] = []
    in_hand = str(record.get("member", ""))
    # A node that the member in flight has chosen is not free, although its binding may not be recorded yet.
    given: list[Json] = [dict(record["new"])] if record.get("new") else []
    order = sorted(
        entries if among is None else among,
        key=lambda name: (
            name != in_hand,
            BROKEN.index(entries[name]["class"]) if entries[name]["class"] in BROKEN else 99,
            join.canonical_key(bindings[name]),
        ),
    )
    for name in order:
        entry, binding = entries[name], bindings[name]
        kind = entry["class"]
        if name == in_hand:
            chosen.append({"member": name, "why": "in flight"})
        elif kind in dead.TAKEN:
            others = [*(other for other in bindings.values() if other["member"] != name), *given]
            free = free_nodes(binding, nodes, others)
            if kind in ("replaced", "reimaged"):
                free = [node for node in free if node["name"] == binding["node"]] or free
            if free:
                chosen.append({"member": name, "why": f"{kind}: {entry['reason']}", "node": free[0]["name"]})
                given.append({"member": name, "kube_cluster": free[0]["kube_cluster"], "node": free[0]["name"]})
            else:
                unmended.append(
                    f"member {name} is {_state(entry)}, and kube cluster {binding['kube_cluster']} has no free node that is Ready in zone "
                    f"{binding['zone'] or '(none)'}: bring one, or take the member out for good with playbooks/scale_down.yml"
                )
        elif kind in ("moved", "swapped"):
            chosen.append({"member": name, "why": f"{kind}: {entry['reason']}"})
        elif kind == "returned":
            chosen.append({"member": name, "why": "its Node object was made anew for the same VM; that is followed"})
        elif kind == "rebooted" and entry["healthy"]:
            chosen.append({"member": name, "why": "its VM has started again; that is noted"})
        elif kind != "ok" or not entry["healthy"]:
            # The process may just be starting: a repair may wait for it, and start what somebody stopped, and no more.
            if kind in DISK_CLASSES:
                unmended.append(f"member {name} is {_state(entry)}")
            elif binding.get("stopped"):
                chosen.append({"member": name, "why": f"it was stopped: {entry['reason']}"})
            else:
                unmended.append(f"member {name} is {_state(entry)}: unreachable is not dead, so it is left alone")
    return chosen, unmended


def free_nodes(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The `candidates` that could carry the member now."""
    return [node for node in candidates(binding, nodes, bindings) if _usable(node, binding)]


def _usable(node: Mapping[str, Any], binding: Mapping[str, Any]) -> bool:
    if node.get("unschedulable") or dead.out_of_service(node) or signs.goes(node):
        return False
    return bool(node["ready"] and node["zone"] == binding["zone"])


def _to_roll(
    request: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    journal: Mapping[str, Any] | None,
    home: Mapping[str, Mapping[str, Any] | None],
    hostnet: Mapping[str, Any],
) -> list[Json]:
    done = list((journal or {}).get("done", []))
    in_hand = str(((journal or {}).get("member") or {}).get("member", ""))
    chosen: list[Json] = [{"member": in_hand, "why": "in flight"}] if in_hand in bindings else []
    rest = [name for name in bindings if name != in_hand and name not in done]
    if request["work"] == "version":
        rest = [name for name in rest if entries[name]["image"] != hostnet["image"]]
    if request["work"] == "scale_down":
        rest = [name for name in rest if name in request["members"]]
    # A node pool's upgrade goes by an order of its own, and takes the VM that it has chosen whether we are ready or not.
    due: Mapping[str, str] = request.get("due") or {}
    # Whoever leads comes last, so leadership moves once and not with every member.
    rest.sort(
        key=lambda name: (-signs.urgency(home[name]), name not in due, bool(entries[name]["leader"]), join.canonical_key(bindings[name]))
    )
    for name in rest:
        told = due.get(name) or signs.told(home[name])
        why = f"first: {told}" if told else "last: it leads" if entries[name]["leader"] else "follows"
        chosen.append({"member": name, "why": why})
    return chosen


def replanned(plan: Mapping[str, Any], before: Mapping[str, Any]) -> Json:
    """A plan that was made anew in the middle of a run, with what the one `before` it knows of members of other deployments on the same VMs (`shared`).

    Whoever was not among its members was not looked at for that, or has to wait until those are mended: it is left for the next run.
    """
    known = {(entry["member"], entry["work"]): entry for entry in before["members"]}
    kept, left = [], []
    for entry in plan["members"]:
        was = known.get((entry["member"], entry["work"]))
        if before.get("shared") and was is None and entry["work"] != "repair" and entry["member"] != plan["in_hand"]:
            left.append(str(entry["member"]))
        elif was is not None and was.get("neighbours") and was["class"] == entry["class"]:
            kept.append({**entry, "steps": was["steps"], "neighbours": was["neighbours"]})
        else:
            kept.append(dict(entry))
    return {**plan, "members": kept, "left": [*left, *plan["left"]], "shared": bool(before.get("shared"))}


def _narrowed(chosen: list[Json], request: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], in_hand: str) -> list[Json]:
    """The members that the user asked for; the one in flight is always finished first."""
    if request.get("abort"):
        return [entry for entry in chosen if entry["member"] == in_hand]
    wanted = chosen
    if request["members"]:
        wanted = [entry for entry in wanted if entry["member"] in request["members"] or entry["member"] == in_hand]
    if request.get("limit_nodes") is not None:
        hosts = set(request["limit_nodes"])

        def listed(name: str) -> bool:
            binding = bindings[name]
            return bool(hosts & {binding["node"], f"{binding['node']}.{binding['kube_cluster']}"})

        wanted = [entry for entry in wanted if listed(entry["member"]) or entry["member"] == in_hand]
    return wanted


def _scale_down_errors(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    request: Mapping[str, Any],
    names: Sequence[str],
    in_hand: str,
    inspection: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    errors = []
    if not request["members"]:
        errors.append('hostnet_members is empty: name the members that are to leave for good, as in -e \'{"hostnet_members": ["east-2"]}\'')
    if leave(spec) == "never":
        errors.append(
            f"{hostnet['system']}: a member cannot be taken out for good yet, because its peers would count it for ever; see docs/systems.md"
        )
    left = len([name for name in names if name not in request["members"]])
    minimum = int(spec.get("minimum_members", 1))
    if left < minimum:
        errors.append(f"{left} members would be left, {hostnet['system']} needs at least {minimum} to survive the loss of one")
    # Waiting opens none of these: they are said at once, for all who are to leave. Whoever has begun to is finished.
    begins = any(name in names and name != in_hand for name in request["members"])
    gates = (spec.get("gates") or {}).get("leave", []) if begins else []
    errors += [f"{hostnet['system']}: {text}" for text in gate.evaluate(gates, {**gate.document(inspection, "", names), "left": left})]
    return errors


def _lines(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any],
    bindings: Mapping[str, Mapping[str, Any]],
    status: Mapping[str, Any],
) -> list[str]:
    """The plan as lines for people."""
    lines = []
    if plan["resume"]:
        lines.append("an earlier run was cut short: it is gone on with")
    if plan["hold"]:
        lines.append("held: no member is stopped before the cloud is about to take its VM, and the cloud's order counts")
    if not plan["members"]:
        lines.append("nothing to do")
    else:
        values = settings.wanted(spec, str(plan["members"][-1]["work"]))
        lines += [f"setting {name} becomes {value} where it is not that already; put back at the end" for name, value in values.items()]
    lists = status["join_lists"]
    before: list[str] = next(iter(lists.values()), [])
    live = [{**dict(entry), "live": name not in plan["broken"]} for name, entry in bindings.items()]
    for number, entry in enumerate(plan["members"], 1):
        binding = bindings[entry["member"]]
        lines.append(
            f"{number}. {entry['member']} on node {binding['node']} ({binding['kube_cluster']}, {binding['address']}), {entry['work']}: {entry['why']}"
        )
        lines.append("   " + " > ".join(entry["steps"]))
        if "unlist" in entry["steps"] and any(other["live"] and other["member"] != entry["member"] for other in live):
            without = join.join_list(
                [{**other, "live": other["live"] and other["member"] != entry["member"]} for other in live],
                before,
                int(hostnet["join_per_cluster"]),
            )
            lines.append(
                f"   join list {', '.join(before)} > {', '.join(without)} > the same with the new address where it is among the "
                f"{hostnet['join_per_cluster']} of {binding['kube_cluster']}"
            )
            before = without
        if "certify" in entry["steps"]:
            lines.append(f"   {len([wish for wish in spec['certificates'] if wish.get('hosts')])} certificates for the new address")
    if plan["left"]:
        lines.append(f"left for the next run: {', '.join(plan['left'])}")
    lines += [f"! {line}" for line in [*plan["unmended"], *plan["waits"]]]
    return lines


def record(entry: Mapping[str, Any], binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], inspection: Mapping[str, Any]) -> Json:
    """What the journal keeps about a member before its first change: a resumed run cannot observe it any more."""
    mine = [node for node in nodes if node["kube_cluster"] == binding["kube_cluster"]]
    node = next((node for node in mine if node["name"] == binding["node"]), None)
    return {
        "member": entry["member"],
        "class": entry["class"],
        "work": entry["work"],
        "surge": entry["surge"],
        "steps": list(entry["steps"]),
        # Members of other deployments on its VM: once they are stopped, nothing on the node may tell of them.
        "neighbours": [dict(share) for share in entry.get("neighbours") or []],
        "old": {key: value for key, value in binding.items() if key != "stopped"},
        "old_id": old_id(inspection, binding),
        "new": None,
        "boot_id": node["boot_id"] if node else "",
        "pool": pool(node["labels"]) if node else "",
        "in_place": bool(node and node["labels"].get(_IN_PLACE)),
        "generation": str(node.get("generation") or "") if node else "",
        "created": str(node.get("created") or "") if node else "",
        # A repair takes what is there; a replacement must be a VM that was not.
        "seen": [] if entry["work"] == "repair" else sorted(digest(str(node["uid"])) for node in mine),
        "providers": [] if entry["work"] == "repair" else sorted(map(digest, {str(node["provider_id"]) for node in mine} - {""})),
        "machines": [] if entry["work"] == "repair" else sorted(map(digest, {str(node.get("machine_id") or "") for node in mine} - {""})),
    }


# AKS gives the VM a new disk under its name and address; the node that comes before is a buffer, and goes again.
_IN_PLACE = "kubernetes.azure.com/agentpool"
_POOL_LABELS = ("cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", _IN_PLACE, "karpenter.sh/nodepool")


def pool(labels: Mapping[str, str]) -> str:
    """Name of the node pool as the clouds write it into labels."""
    return next((str(labels[label]) for label in _POOL_LABELS if labels.get(label)), "")


def remaining_steps(journal: Mapping[str, Any], up: bool = False) -> list[str]:
    """The steps of the member in hand that are not known to be done, with the gate before whatever takes the member down.

    All of them after the last one that is done. Steps are safe to do twice, so the one that was begun is done again. What a gate said to the run
    that was cut short is worth nothing to this one, which may be a later day's: it is asked again, and so is everything after it that
    leaves the member up, for it may lead by now. Where the stop or the restart was begun, the gate alone, and only of a member that is `up`: one that
    is down would close gates by its own absence, and going on is what brings it up.
    """
    record = journal.get("member") or {}
    names = list(record.get("steps", []))
    finished, begun = finished_steps(journal), set(begun_steps(journal))
    following = max((names.index(name) for name in finished if name in names), default=-1) + 1
    asked = min((names.index(name) for name in GATES if name in names), default=len(names))
    down = min((names.index(name) for name in TAKES_DOWN if name in names), default=-1)
    # Whoever leaves for good is no member any more once that was begun, and closes a gate himself.
    if not asked < following <= down or "leave" in begun:
        return names[following:]
    if names[down] in begun:
        return [*(name for name in GATES if name in names and up), *names[down:]]
    return names[asked:]


def next_steps(journal: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`remaining_steps`, by what is recorded of the member in hand and what it says: up is who answers, and is not recorded as stopped."""
    name = str((journal.get("member") or {}).get("member", ""))
    is_stopped = any(entry.get("stopped") for entry in bindings if entry["member"] == name)
    return remaining_steps(journal, not is_stopped and bool(inspection.get(name, {}).get("reachable")))


def _entries(journal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The journal's entries about the member in hand, since its beginning or since its steps were last undone (`since`, a step's number)."""
    record = journal.get("member") or {}
    return [
        entry
        for entry in journal.get("steps", [])
        if entry["member"] == record.get("member") and int(entry["n"]) > int(record.get("since") or 0)
    ]


def finished_steps(journal: Mapping[str, Any]) -> list[str]:
    """The steps of the member in hand that are done."""
    return [str(entry["step"]) for entry in _entries(journal) if entry["state"] == "done"]


def begun_steps(journal: Mapping[str, Any]) -> list[str]:
    """The steps of the member in hand that were begun, whatever became of them."""
    return [str(entry["step"]) for entry in _entries(journal)]


def bring_up_steps(journal: Mapping[str, Any], noted: bool = True) -> list[str]:
    """The next steps of the member in hand as far as they do nothing but bring it up. The first other one, and all after it, are for the next run.

    `noted`: the step that was begun last may not be done. Otherwise it is, and only the write that says so, and begins the next one, has failed.
    """
    names = remaining_steps(journal)
    if not noted and names and names[0] in begun_steps(journal):
        names = names[1:]
    return list(itertools.takewhile(lambda name: name in BRING_UP, names))


def outage_text(journal: Mapping[str, Any], away: Mapping[str, str], undone: bool, done: Sequence[str] = (), failure: str = "") -> str:
    """The end of a run that could not ask the kube clusters `away` (with the reasons): what was done for the member in hand, and what is left.

    `undone`: its steps were undone, because it was not past the point of no return. `done`: those of its steps that were done without these kube
    clusters, which the journal does not know. `failure`: what went wrong meanwhile.
    """
    record = journal.get("member") or {}
    member, home = str(record.get("member", "")), str((record.get("old") or {}).get("kube_cluster", ""))
    them, they = ("it", "it answers") if len(away) == 1 else ("them", "they answer")
    if home in away:
        said = f"member {member} is there, so nothing was done for it, and it may be down"
    elif failure:
        said = f"bringing member {member} up without {them} failed ({failure}), and it may be down"
    elif undone:
        said = f"the steps of member {member} were undone without {them}, and it is up"
    elif done:
        said = f"done without {them} for member {member}: {', '.join(done)}"
    else:
        said = f"member {member} cannot be brought up without {them}, and it may be down"
    left = [] if undone and not failure and home not in away else remaining_steps(journal)
    left = left[left.index(done[-1]) + 1 :] if done else left
    rest = f"; left: {', '.join(left)}" if left else ""
    return (
        f"kube cluster {', '.join(sorted(away))} could not be asked; {said}{rest}. Run the playbook again as soon as {they}: it goes on from there. "
        f"{'; '.join(away[name] for name in sorted(away))}"
    )


def last_step(journal: Mapping[str, Any]) -> str:
    """The step that was begun last, of whatever member; empty before the first one."""
    entries = journal.get("steps") or [{}]
    return str(entries[-1].get("step", ""))


def undone(journal: Mapping[str, Any]) -> Json:
    """What the journal notes when the steps of the member in hand were undone: the next run begins with the first one again."""
    return {"since": max((int(entry["n"]) for entry in journal.get("steps", [])), default=0), "new": None}


def certified(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any]) -> list[Json]:
    """The bindings that certificates are for: the new one of the member in hand as soon as it was certified, before it may start."""
    return _new_after(bindings, journal, {"certify"})


def bindings_in_force(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any]) -> list[Json]:
    """The bindings that a step works with: those that are recorded, with the new one of the member in hand once it may start."""
    return _new_after(bindings, journal, {"admit", "readdress"})


def _new_after(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any], done: set[str]) -> list[Json]:
    """The bindings, with the new one of the member in hand where one of these steps is done."""
    record = journal.get("member") or {}
    if record.get("new") and done & set(finished_steps(journal)):
        return with_member(bindings, record["new"], record.get("displaced") or ())
    return [dict(entry) for entry in bindings]


def vm_done(record: Mapping[str, Any], action: str, nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `action` (reboot, replace, add, remove) is done already, so a hook that ran before a kill is not asked a second time."""
    old = record["old"]
    node = next((node for node in nodes if node["kube_cluster"] == old["kube_cluster"] and node["name"] == old["node"]), None)
    fresh = [
        entry for entry in nodes if entry["kube_cluster"] == old["kube_cluster"] and entry["zone"] == old["zone"] and is_new(entry, record)
    ]
    if action == "reboot":
        return node is not None and node["ready"] and bool(record["boot_id"]) and node["boot_id"] != record["boot_id"]
    if action == "add":
        return bool(fresh)
    if action == "remove":
        return node is None or is_new(node, record)
    # A hook that was killed between the end of the old VM and the start of the new one is called again.
    return bool(fresh) and (node is None or is_new(node, record))


def vm(record: Mapping[str, Any], action: str) -> Json:
    """`hostnet_vm`: what the user's hook is told about the VM."""
    old = record["old"]
    return {
        "action": action,
        "kube_cluster": old["kube_cluster"],
        "node": old["node"],
        "node_uid": old["node_uid"],
        "provider_id": old["provider_id"],
        "pool": record["pool"],
        "region": old["region"],
        "zone": old["zone"],
        "address": old["address"],
    }


def stale_pods(binding: Mapping[str, Any], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`pods` of member_stop: every pod of a member, and whether its VM is gone, so that no kubelet will ever confirm its end.

    A pod of a node that exists is never forced, because its process may run; but where a human has said that the host is shut down (dead.is_dead),
    as Kubernetes itself does it then.
    """
    alive = {(node["kube_cluster"], node["name"]) for node in nodes if not dead.is_dead(node)}
    kube_cluster = str(binding["kube_cluster"])
    pods = observed.get(kube_cluster, {}).get("pods", [])
    return [
        {
            "kube_cluster": kube_cluster,
            "name": pod["name"],
            "uid": pod["uid"],
            "force": bool(pod["node"]) and (kube_cluster, pod["node"]) not in alive,
        }
        for pod in pods
        if (pod["member"] == binding["member"] if pod["member"] else pod["node"] == binding["node"])
    ]


def join_problems(bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """What is wrong with the join lists in force (invariants 3 and 5): unequal, or with an address that is nobody's.

    `bindings` have `live`.
    """
    problems = []
    data = {name: observed[name]["join"] for name in sorted(observed)}
    first = next(iter(data))
    problems += [f"the join list of kube cluster {name} differs from that of {first}" for name in data if data[name] != data[first]]
    for name, found in data.items():
        entries = [entry for entry in str((found or {}).get("seeds", "")).split(",") if entry]
        problems += [f"kube cluster {name}: {line}" for line in join.violations(entries, bindings)]
    return problems
