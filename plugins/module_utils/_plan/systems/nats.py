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
        for peer in said.get("replicas", []):
            # A peer that a server has never met has no name yet, only an id.
            if peer["name"]:
                ids.setdefault(peer["name"], peer["id"])
    for said in read.values():
        if said.get("leader"):
            ids.setdefault(said["leader"], said["leader_id"])
    hosts = {said["name"]: said["host"] for said in read.values() if "name" in said}
    return {member: _one(said, ids, hosts) for member, said in read.items()}


def _read(answers: Mapping[str, Mapping[str, Any]]) -> Json:
    """What one server said, or {problem: why it said nothing}."""
    varz, routez, healthz = (answers.get(name, {}) for name in ("varz", "routez", "healthz"))
    if varz.get("error") or varz.get("status") != 200:
        return {"problem": str(varz.get("error") or f"its monitoring answered {varz.get('status', 'nothing')}")}
    try:
        server = json.loads(varz["body"])
        cluster = server.get("cluster") or {}
        meta = (server.get("jetstream") or {}).get("meta") or {}
        routes = json.loads(routez["body"])["routes"] if routez.get("status") == 200 else []
        return {
            "name": str(server["server_name"]),
            "version": str(server["version"]),
            "cluster": str(cluster.get("name", "")),
            "host": str(cluster.get("addr", "")),
            "leader": str(meta.get("leader") or ""),
            "leader_id": str(meta.get("peer") or ""),
            "replicas": [
                {
                    "id": str(peer.get("peer") or ""),
                    "name": str(peer.get("name") or ""),
                    "current": bool(peer.get("current")),
                    "offline": bool(peer.get("offline")),
                }
                for peer in meta.get("replicas") or []
            ],
            # Where the other server dialled, its end of the connection may have another address than the one it listens on.
            "routes": {str(route["remote_name"]): str(route["ip"]) for route in routes if route.get("did_solicit")},
            "unhealthy": _unhealthy(healthz),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"problem": f"its monitoring's answer cannot be read ({error!r})"}


def _unhealthy(healthz: Mapping[str, Any]) -> str:
    """Why a server is not healthy, empty where it is. An unhealthy one answers 503 (500 while it starts) and says why."""
    if not healthz.get("body"):
        return str(healthz.get("error") or "it does not say whether it is healthy")
    health = json.loads(healthz["body"])
    if health.get("status") == "ok":
        return ""
    texts = [str(problem.get("error") or "") for problem in health.get("errors") or []]
    return "; ".join(text for text in [*texts, str(health.get("error") or "")] if text) or "it says that it is not healthy"


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
    problems = [said["unhealthy"]] if said["unhealthy"] else []
    if not said["leader"]:
        problems.append("it knows no leader of JetStream")
    return {
        "reachable": True,
        "healthy": not problems,
        "reason": "; ".join(problems),
        "cluster_id": said["cluster"],
        "id": ids.get(said["name"], ""),
        "version": said["version"],
        "leader": said["leader"] == said["name"],
        "role": "node",
        "peers": _peers(said, ids, hosts),
    }


def _peers(said: Mapping[str, Any], ids: Mapping[str, str], hosts: Mapping[str, str]) -> list[Json]:
    """The servers that this one counts as peers of the meta group, itself too. What a leader says of `current` counts."""
    addresses = {**said["routes"], **hosts}
    states = {said["name"]: {"current": bool(said["leader"]), "offline": False}}
    if said["leader"]:
        states.setdefault(said["leader"], {"current": True, "offline": False})
    nameless = []
    for peer in said["replicas"]:
        state = {"current": peer["current"], "offline": peer["offline"]}
        if peer["name"]:
            states[peer["name"]] = state
        else:
            nameless.append({"id": peer["id"], "name": "", "address": "", **state})
    named = [{"id": ids.get(name, ""), "name": name, "address": addresses.get(name, ""), **state} for name, state in sorted(states.items())]
    return named + sorted(nameless, key=lambda peer: str(peer["id"]))


def not_joined(inspected: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Those servers of `names` that the leader of the meta group does not list as up to date. Without a leader: all of them."""
    wanted = list(names)
    for name in sorted(inspected):
        if inspected[name]["leader"]:
            current = {peer["name"] for peer in inspected[name]["peers"] if peer["current"] and not peer["offline"]}
            return [name for name in wanted if name not in current]
    return wanted
