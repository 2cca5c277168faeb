# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd answers, in the shape that every system's inspection has (docs/systems.md)."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .. import follow, signs

Json = dict[str, Any]

# `Status.errors` has one text for each alarm: "memberID:123 alarm:NOSPACE ".
_FULL = re.compile(r"\balarm:NOSPACE\b")
_ALARM = re.compile(r"\balarm:([A-Z_]+)")
# Whether a member is connected with another one: 1 or 0; no line where it never was.
# https://etcd.io/docs/v3.6/metrics/
_ACTIVE = re.compile(r'^etcd_network_active_peers\{Local="[0-9a-f]+",Remote="([0-9a-f]+)"\} ([0-9.e+]+)$', re.MULTILINE)
# RFC 5737: addresses of documentation, which no network routes.
PLACEHOLDER_NETWORK = ipaddress.ip_network("192.0.2.0/24")
# Least values of the role's variables.
LEAST = {
    "system_etcd_max_members": 1,
    "system_etcd_heartbeat_milliseconds": 1,
    "system_etcd_election_milliseconds": 1,
    "system_etcd_quota_bytes": 0,
}


def inspection(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], targets: Sequence[Mapping[str, Any]] = (), spec: Mapping[str, Any] | None = None
) -> dict[str, Json]:
    """Shape the answers of `endpoint status` and `member list` (or of the same two over HTTP), asked of each member: member -> inspection.

    Ids are written as etcdctl's tables have them: hexadecimal without prefix. A learner does not answer `member list`
    (etcd refuses it there), so its `peers` may be empty. `lag` is how many entries of the log a member has applied less
    than the member that has applied most, null where it did not answer; `alarms` are the cluster's, as each member knows them.
    `live` of a peer is whether the member is connected with it, by its `metrics`; null where it was not asked for them or gave none.
    """
    del spec
    members = {_plain(str(target.get("variables", {}).get("address", ""))): str(target["member"]) for target in targets}
    shaped = {member: _one(answers, members) for member, answers in results.items()}
    newest = max((int(entry["applied_index"]) for entry in shaped.values()), default=0)
    for entry in shaped.values():
        entry["lag"] = newest - int(entry["applied_index"]) if entry["reachable"] else None
    return shaped


def _one(answers: Mapping[str, Mapping[str, Any]], members: Mapping[str, str]) -> Json:
    status, listed = answers.get("status", {}), answers.get("members", {})
    shape: Json = {
        "reachable": False,
        "healthy": False,
        "reason": "",
        "cluster_id": "",
        "id": "",
        "version": "",
        "leader": False,
        "role": "",
        "peers": [],
        "revision": 0,
        "applied_index": 0,
        "term": 0,
        "lag": None,
        "alarms": [],
    }
    try:
        said = _said(status)
        if isinstance(said, list):  # etcdctl's, for one endpoint
            said = said[0]["Status"]
        header = said["header"]
        problems = [str(problem) for problem in said.get("errors") or []]
        leader = int(said.get("leader") or 0)
        shape.update(
            cluster_id=_hex(header["cluster_id"]),
            id=_hex(header["member_id"]),
            version=str(said.get("version", "")),
            leader=bool(leader) and leader == int(header["member_id"]),
            role="learner" if said.get("isLearner") else "voter",
            # The JSON leaves out what is 0.
            revision=int(header.get("revision", 0)),
            applied_index=int(said.get("raftAppliedIndex", 0)),
            term=int(said.get("raftTerm", 0)),
            alarms=sorted({found[1] for problem in problems for found in _ALARM.finditer(problem)}),
            reachable=True,
        )
        try:
            active = _active(answers.get("metrics") or {}, shape["id"])
            shape["peers"] = [_peer(entry, members, active) for entry in _said(listed)["members"]]
        except _NoAnswer as error:
            # A majority has to agree to the list, so a voter without it is on its own, whomever it still takes for the leader.
            if shape["role"] == "voter":
                problems.append(f"it does not list the members: {error}")
    except _NoAnswer as error:
        shape["reason"] = str(error)
        return shape
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        shape["reason"] = f"its answer cannot be read ({error!r})"
        return shape
    if not leader:
        problems.append("it knows no leader")
    shape["reason"] = "; ".join(problems)
    # A full one serves reads, and takes part in everything but writes of clients: gates look at its alarm.
    shape["healthy"] = all(_FULL.search(problem) for problem in problems)
    return shape


class _NoAnswer(Exception):
    """Why there is none, in one line."""


def _said(answer: Mapping[str, Any]) -> Any:
    """The JSON of an answer: of an HTTP request, whose numbers are texts, or of etcdctl."""
    if answer.get("error"):
        raise _NoAnswer(str(answer["error"]))
    if answer.get("rc") == 0:
        return json.loads(answer["stdout"])
    if answer.get("status") == 200:
        return json.loads(answer["body"])
    text = _last_line(str(answer.get("stderr") or answer.get("body") or ""))
    raise _NoAnswer(text or "etcd gave no answer")


def _active(metrics: Mapping[str, Any], own: str) -> set[str] | None:
    """Ids of the members that this one is connected with, itself too; None where it does not say."""
    text = str(metrics.get("body") or "")
    # Metrics of another server say nothing.
    if metrics.get("error") or metrics.get("status") != 200 or f'etcd_server_id{{server_id="{own}"}} 1' not in text:
        return None
    return {own, *(found[1] for found in _ACTIVE.finditer(text) if float(found[2]) > 0)}


def _peer(entry: Mapping[str, Any], members: Mapping[str, str], active: set[str] | None) -> Json:
    """A listed member. `member` is the one of those asked that has its address; `name` is empty until its process has started once."""
    urls = entry.get("peerURLs") or []
    address = str(urlsplit(urls[0]).hostname) if urls else ""
    return {
        "id": _hex(entry["ID"]),
        "name": entry.get("name", ""),
        "member": members.get(_plain(address), ""),
        "address": address,
        "role": "learner" if entry.get("isLearner") else "voter",
        "live": None if active is None else _hex(entry["ID"]) in active,
    }


def _hex(number: int | str) -> str:
    return f"{int(number):x}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def voters(inspected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the healthy voters, the leader first: a change of membership is asked of it."""
    names = [name for name, entry in inspected.items() if entry["healthy"] and entry["role"] == "voter"]
    return sorted(names, key=lambda name: (not inspected[name]["leader"], name))


def known(inspected: Mapping[str, Mapping[str, Any]], address: str) -> bool:
    """Whether a healthy voter lists a learner with this very address that was announced and has never started.

    Addresses are compared as IP addresses, never as text. Raises ValueError where it lists anybody else with it: that one has started, or has a vote,
    and an empty disk under its id would be a member that has forgotten what it has promised the others.
    """
    found = [peer for peer in _listed(inspected) if peer["address"] and _same(peer["address"], address)]
    for peer in found:
        if peer["name"] or peer["role"] != "learner":
            raise ValueError(
                f"etcd lists {address} as the {peer['role']} {peer['name'] or '(without a name)'} (id {peer['id']}), and no new member starts under somebody "
                f"else's id. If a binding of that member was lost, restore the ConfigMap with it from a backup; if it is gone for good, remove it from etcd "
                f"(etcdctl member remove {peer['id']})"
            )
    return bool(found)


def abandoned(
    inspected: Mapping[str, Mapping[str, Any]], address: str, bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Ids of learners that were announced, never started and never will: nobody is bound to their address, or the VM of whoever is is gone.

    etcd takes one learner at a time, so each of them keeps the member from being announced that is to start at `address`. Whoever is bound there is
    announced again when it is mended.
    """
    at = signs.homes(bindings, nodes)
    found = []
    for peer in _listed(inspected):
        if peer["role"] != "learner" or peer["name"] or _same(peer["address"], address):
            continue
        owners = [entry for entry in bindings if _same(str(entry["address"]), peer["address"])]
        if all(follow.lost(entry, at[str(entry["member"])]) for entry in owners):
            found.append(str(peer["id"]))
    return found


def learners(inspected: Mapping[str, Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The learners that healthy voters list and that have a binding, each with its `member` name: those to promote.

    A learner without a binding was announced by a run that was cut short before the member could start; it is left
    until that member is admitted.
    """
    owners = {ipaddress.ip_address(str(binding["address"])): str(binding["member"]) for binding in bindings}
    found = []
    for peer in _listed(inspected):
        owner = owners.get(ipaddress.ip_address(peer["address"])) if peer["address"] else None
        if peer["role"] == "learner" and owner:
            found.append({**peer, "member": owner})
    return sorted(found, key=lambda peer: str(peer["member"]))


def _listed(inspected: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    for name in voters(inspected):
        if inspected[name]["peers"]:
            return list(inspected[name]["peers"])
    return []


def transferee(inspected: Mapping[str, Mapping[str, Any]], member: str) -> str:
    """Id of the member that is to lead instead of `member`: the healthy voter with the smallest lag; empty where `member` does not lead.

    Raises ValueError where it leads and nobody else can.
    """
    if not inspected.get(member, {}).get("leader"):
        return ""
    others = [name for name in voters(inspected) if name != member]
    if not others:
        raise ValueError(f"member {member} leads, and there is no other healthy voter to lead instead")
    best = min(others, key=lambda name: (inspected[name]["lag"] or 0, name))
    return str(inspected[best]["id"])


def forgettable(inspected: Mapping[str, Mapping[str, Any]], forget: Mapping[str, Any]) -> Json:
    """Who removes a member, and which: {`voter`, `id`}; `id` is empty where nothing is to be done.

    `forget` names the member by `id`, or without one by its old `address`. Raises ValueError where it still answers and
    `live` is not true, and where no healthy voter other than itself can be asked.
    """
    number, address = str(forget.get("id") or ""), str(forget.get("address") or "")
    if not number and not address:
        raise ValueError("hostnet_forget names neither an id nor an address: which member to forget is unknown")
    by_id = {str(entry["id"]): name for name, entry in inspected.items() if entry["reachable"] and entry["id"]}
    found = [peer for peer in _listed(inspected) if (peer["id"] == number if number else _same(peer["address"], address))]
    if not found:
        # Only a voter's list says that it is gone.
        if not any(inspected[name]["peers"] for name in voters(inspected)):
            raise ValueError("no healthy voter can list the members, so no member can be removed now")
        return {"voter": "", "id": ""}
    peer = found[0]
    alive = by_id.get(str(peer["id"]), "")
    if alive and not forget.get("live"):
        raise ValueError(
            f"member {alive} still answers, so etcd's member {peer['id']} ({peer['name'] or peer['address']}) was not removed. To remove a live member for "
            f"good: playbooks/scale_down.yml -e '{json.dumps({'hostnet_members': [alive]})}'"
        )
    helpers = [name for name in voters(inspected) if name != alive]
    if not helpers:
        raise ValueError(f"etcd's member {peer['id']} was not removed: no other healthy voter can be asked to")
    return {"voter": helpers[0], "id": str(peer["id"])}


def readdressing(inspected: Mapping[str, Mapping[str, Any]], binding: Mapping[str, Any]) -> list[Json]:
    """Changes of peer addresses, in this order, that let the member of `binding` start under its new address: [{`id`, `address`}].

    Where two VMs have swapped their addresses, another dead member is still listed under the new one: it gets an address
    out of 192.0.2.0/24 first, so that no two members ever claim one address; its own turn gives it its new one. Raises
    ValueError where that other member answers, and where the cluster does not list the member by the name of its process.
    """
    address, process = str(binding["address"]), str(binding["process"])
    listed = _listed(inspected)
    own = next((peer for peer in listed if peer["name"] == process), None)
    if own is None:
        raise ValueError(
            f"no healthy voter lists a member named {process}, so that the address of {binding['member']} cannot be changed: it was removed or never "
            f"started, and has to be admitted anew with an empty folder"
        )
    if _same(own["address"], address):
        return []
    alive = {str(entry["id"]): name for name, entry in inspected.items() if entry["reachable"]}
    taken = {peer["address"] for peer in listed}
    changes: list[Json] = []
    for other in listed:
        if other["id"] == own["id"] or not _same(other["address"], address):
            continue
        if other["id"] in alive:
            raise ValueError(
                f"address {address} of member {binding['member']} is still that of member {alive[str(other['id'])]}, which answers there: "
                f"two members cannot have one address"
            )
        start = int(str(other["id"]), 16)
        hosts = [str(host) for host in PLACEHOLDER_NETWORK.hosts()]
        free = next(host for offset in range(len(hosts)) if (host := hosts[(start + offset) % len(hosts)]) not in taken and host != address)
        taken.add(free)
        changes.append({"id": other["id"], "address": free})
    return [*changes, {"id": own["id"], "address": address}]


def _plain(address: str) -> str:
    """An IP address in its one spelling, any other text as it is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _same(left: str, right: str) -> bool:
    """Whether two texts are one IP address, compared as addresses and never as text."""
    return bool(left) and bool(right) and ipaddress.ip_address(left) == ipaddress.ip_address(right)
