# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the steps of a rollout change bindings: stopped, on another VM, under another address. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import dead, join, steps
from .admission import admitted
from .new_members import other_addresses
from .nodes import same_address

Json = dict[str, Any]


def new_binding(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], record: Mapping[str, Any], node: Mapping[str, Any], token: str, nonce: str
) -> Json:
    """The binding of the member in hand on the node that `identify_for` found. What an earlier run has noted for that node stays in force."""
    if record.get("class") in steps.KEPT_DISK:
        return readdressed(record["old"], node)
    noted = record.get("new")
    fresh = rebound(hostnet, spec, record["old"], node, token, nonce)
    if noted and noted["node_uid"] == node["uid"]:
        return {**fresh, **{key: noted[key] for key in ("admission", "admission_id", "disk") if key in noted}}
    return fresh


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


def stopped(bindings: Sequence[Mapping[str, Any]], member: str, stop: bool) -> list[Json]:
    """The bindings with `stopped` set for (or taken from) one member."""
    result = []
    for entry in bindings:
        changed = {key: value for key, value in entry.items() if key != "stopped" or entry["member"] != member}
        if stop and entry["member"] == member:
            changed["stopped"] = True
        result.append(changed)
    return result


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


def certified(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any]) -> list[Json]:
    """The bindings that certificates are for: the new one of the member in hand as soon as it was certified, before it may start."""
    return _new_after(bindings, journal, {"certify"})


def bindings_in_force(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any]) -> list[Json]:
    """The bindings that a step works with: those that are recorded, with the new one of the member in hand once it may start."""
    return _new_after(bindings, journal, {"admit", "readdress"})


def _new_after(bindings: Sequence[Mapping[str, Any]], journal: Mapping[str, Any], done: set[str]) -> list[Json]:
    """The bindings, with the new one of the member in hand where one of these steps is done."""
    record = journal.get("member") or {}
    if record.get("new") and done & set(steps.finished_steps(journal)):
        return with_member(bindings, record["new"], record.get("displaced") or ())
    return [dict(entry) for entry in bindings]
