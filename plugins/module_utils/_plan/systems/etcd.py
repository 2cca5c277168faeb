# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcdctl answers, in the shape that every system's inspection has (docs/systems.md)."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]


def inspection(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Json]:
    """Shape the answers of `endpoint status` and `member list`, asked of each member: member -> inspection.

    Ids are written as etcdctl's tables have them: hexadecimal without prefix. A learner does not answer `member list`
    (etcd refuses it there), so its `peers` may be empty.
    """
    return {member: _one(answers) for member, answers in results.items()}


def _one(answers: Mapping[str, Mapping[str, Any]]) -> Json:
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
    }
    if status.get("error") or status.get("rc") != 0:
        shape["reason"] = str(status.get("error") or _last_line(str(status.get("stderr", ""))) or "etcdctl gave no answer")
        return shape
    try:
        said = json.loads(status["stdout"])[0]["Status"]
        header = said["header"]
        shape.update(
            reachable=True,
            cluster_id=_hex(header["cluster_id"]),
            id=_hex(header["member_id"]),
            version=str(said.get("version", "")),
            leader=bool(said.get("leader")) and said["leader"] == header["member_id"],
            role="learner" if said.get("isLearner") else "voter",
        )
        if listed.get("rc") == 0:
            shape["peers"] = [_peer(entry) for entry in json.loads(listed["stdout"])["members"]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        shape["reason"] = f"etcdctl's answer cannot be read ({error!r})"
        return shape
    problems = [str(problem) for problem in said.get("errors") or []]
    if not said.get("leader"):
        problems.append("it knows no leader")
    shape["reason"] = "; ".join(problems)
    shape["healthy"] = not problems
    return shape


def _peer(entry: Mapping[str, Any]) -> Json:
    urls = entry.get("peerURLs") or []
    return {
        "id": _hex(entry["ID"]),
        "name": entry.get("name", ""),
        "address": str(urlsplit(urls[0]).hostname) if urls else "",
        "role": "learner" if entry.get("isLearner") else "voter",
    }


def _hex(number: int) -> str:
    return f"{int(number):x}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def voters(inspected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the healthy voters, the leader first: a change of membership is asked of it."""
    names = [name for name, entry in inspected.items() if entry["healthy"] and entry["role"] == "voter"]
    return sorted(names, key=lambda name: (not inspected[name]["leader"], name))


def known(inspected: Mapping[str, Mapping[str, Any]], address: str) -> bool:
    """Whether a healthy voter lists a member with this very address (compared as IP addresses, never as text)."""
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(peer["address"]) == wanted for peer in _listed(inspected) if peer["address"])


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
