# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nats-server's monitoring says, in the shape that every system's inspection has (docs/systems.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]


def inspection(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Json]:
    """Shape the answers of `/varz`, `/routez` and `/healthz?details=true`, asked of each member: member -> inspection.

    NATS has no cluster id of its own: the name of the cluster is one, because servers refuse routes from servers of
    another name. A server's own id is another one after each start; the id here is the one of its peer in JetStream's
    meta group, which stays, and which other servers know it by (a server does not tell its own unless it leads).
    """
    read = {member: _read(answers) for member, answers in results.items()}
    ids: dict[str, str] = {}
    for said in read.values():
        meta = said.get("meta", {})
        if meta.get("leader") and meta.get("peer"):
            ids[str(meta["leader"])] = str(meta["peer"])
        for peer in meta.get("replicas") or []:
            # A peer that a server has never met has no name yet, only an id.
            if peer.get("name") and peer.get("peer"):
                ids.setdefault(str(peer["name"]), str(peer["peer"]))
    hosts = {str(said["name"]): str(said["host"]) for said in read.values() if "name" in said}
    return {member: _one(said, ids, hosts) for member, said in read.items()}


def _read(answers: Mapping[str, Mapping[str, Any]]) -> Json:
    varz, routez, healthz = (answers.get(name, {}) for name in ("varz", "routez", "healthz"))
    if varz.get("error") or varz.get("status") != 200:
        return {"problem": str(varz.get("error") or f"its monitoring answered {varz.get('status', 'nothing')}")}
    try:
        server = json.loads(varz["body"])
        routes = json.loads(routez["body"])["routes"] if routez.get("status") == 200 else []
        # An unhealthy server answers 503 and says why.
        health = json.loads(healthz["body"]) if healthz.get("body") else {"status": "unknown", "error": str(healthz.get("error", ""))}
        said: Json = {
            "name": str(server["server_name"]),
            "version": str(server["version"]),
            "cluster": str((server.get("cluster") or {}).get("name", "")),
            "host": str((server.get("cluster") or {}).get("addr", "")),
            "meta": (server.get("jetstream") or {}).get("meta") or {},
            # Where the other server dialled, its end of the connection may have another address than the one it listens on.
            "routes": {str(route["remote_name"]): str(route["ip"]) for route in routes if route.get("did_solicit")},
            "health": health,
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"problem": f"its monitoring's answer cannot be read ({error!r})"}
    return said


def _one(said: Mapping[str, Any], ids: Mapping[str, str], hosts: Mapping[str, str]) -> Json:
    if "problem" in said:
        return {
            "reachable": False,
            "healthy": False,
            "reason": said["problem"],
            "cluster_id": "",
            "id": "",
            "version": "",
            "leader": False,
            "role": "",
            "peers": [],
        }
    meta, health = said["meta"], said["health"]
    problems = []
    if health.get("status") != "ok":
        texts = [str(problem.get("error", "")) for problem in health.get("errors") or []]
        problems.append("; ".join(text for text in [*texts, str(health.get("error") or "")] if text) or "it says that it is not healthy")
    if not meta.get("leader"):
        problems.append("it knows no leader of JetStream")
    leads = meta.get("leader") == said["name"]
    return {
        "reachable": True,
        "healthy": not problems,
        "reason": "; ".join(problems),
        "cluster_id": said["cluster"],
        "id": ids.get(said["name"], ""),
        "version": said["version"],
        "leader": leads,
        "role": "node",
        "peers": _peers(said, ids, hosts, leads),
    }


def _peers(said: Mapping[str, Any], ids: Mapping[str, str], hosts: Mapping[str, str], leads: bool) -> list[Json]:
    """The servers that this one counts as peers of the meta group, itself too. Only the leader knows who is `current`."""
    addresses = {**said["routes"], **hosts}
    meta = said["meta"]
    found = {said["name"]: {"current": leads or bool(meta.get("leader")), "offline": False}}
    if meta.get("leader"):
        found.setdefault(str(meta["leader"]), {"current": True, "offline": False})
    nameless = []
    for peer in meta.get("replicas") or []:
        state = {"current": bool(peer.get("current")), "offline": bool(peer.get("offline"))}
        if peer.get("name"):
            found[str(peer["name"])] = state
        else:
            nameless.append({"id": str(peer.get("peer", "")), "name": "", "address": "", **state})
    named = [{"id": ids.get(name, ""), "name": name, "address": addresses.get(name, ""), **state} for name, state in sorted(found.items())]
    return named + sorted(nameless, key=lambda peer: str(peer["id"]))


def not_joined(inspected: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Those servers of `names` that the leader of the meta group does not list as up to date. Without a leader: all of them."""
    wanted = list(names)
    for name in sorted(inspected):
        if inspected[name]["leader"]:
            current = {peer["name"] for peer in inspected[name]["peers"] if peer["current"] and not peer["offline"]}
            return [name for name in wanted if name not in current]
    return wanted
