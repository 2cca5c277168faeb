# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nats-server's monitoring says, in the shape that every system's inspection has (docs/systems.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

# JetStream itself counts a peer as lost after that long without a word (lostQuorumInterval of nats-server).
HEARD_SECONDS = 10


def inspection(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], targets: Sequence[Mapping[str, Any]] = (), spec: Mapping[str, Any] | None = None
) -> dict[str, Json]:
    """Shape the answers of `/varz`, `/routez`, `/healthz?details=true`, `/jsz` and `/raftz`, asked of each member: member -> inspection.

    NATS has no cluster id of its own: the name of the cluster is one, because servers refuse routes from servers of
    another name. A server's own id is another one after each start; the id here is the one of its peer in JetStream's
    meta group, which stays, and which other servers know it by (a server does not tell its own unless it leads).

    An asset of JetStream is a stream, a consumer or the meta group. `lagging` has an entry for each replica of an asset that is not
    up to date, as the asset's leader tells it: {asset, server, state, lag (entries), text}. `state` is `behind` (it lacks `lag` entries that a
    majority has), `offline`, `unseen` (the leader knows nothing of it yet), `leaderless` (told by a replica, also where the leader that it
    names does not answer), or `unknown` (the server did not say). `assets` are the streams and consumers that the server leads: {asset,
    servers, ids (of those servers, without the leader's), wanted (replicas, 0 for as many as the stream has), text}. `leads` is how many
    assets with several replicas the server leads, `alone` names those that have no other replica: they are gone with its disk. `groups` are
    those that it leads and that have other replicas, the meta group too: {asset, current (servers that have everything, itself too), quorum
    (of all replicas), text}. `live` of a peer is whether the server sees that process now, null where it cannot tell (_live).
    `term` and `applied_index` are those of the server's log of the meta group, 0 where it does not say. On one disk neither ever goes back.
    """
    del targets, spec
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
    for said in read.values():
        # For some seconds a replica still names a leader that is gone.
        for asset, leader in said.get("follows", []):
            if leader not in hosts:
                said["lagging"].append(_lagging(asset, said["name"], "leaderless", 0, f"its leader {leader} does not answer"))
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
                    # Nanoseconds since the server heard from it in the group; 0 where it never has. A leader hears from everybody once a second.
                    "heard": 0 < int(peer.get("active") or 0) < HEARD_SECONDS * 10**9,
                }
                for peer in meta.get("replicas") or []
            ],
            # Where the other server dialled, its end of the connection may have another address than the one it listens on.
            "routes": {str(route["remote_name"]): str(route["ip"]) for route in routes if route.get("did_solicit")},
            # The servers that it is connected with, whoever dialled; None where it does not say.
            "connected": {str(route["remote_name"]) for route in routes} if routez.get("status") == 200 else None,
            "unhealthy": _unhealthy(healthz),
            **_assets(str(server["server_name"]), answers.get("jsz", {})),
            "log": _log(answers.get("raftz", {})),
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


def _log(raftz: Mapping[str, Any]) -> Json:
    """`term` and `applied_index` of one server's log of the meta group, from /raftz; empty where it does not say."""
    if raftz.get("status") != 200:
        return {}
    groups = [group for account in json.loads(raftz["body"]).values() for group in account.values()]
    return {"term": int(groups[0]["term"]), "applied_index": int(groups[0]["applied"])} if len(groups) == 1 else {}


def _assets(server: str, jsz: Mapping[str, Any]) -> Json:
    """`lagging`, `leads` and `alone` of one server, from /jsz with details of streams and consumers.

    Source: `Jsz` and `clusterInfo` of nats-server: replicas do not name the leader itself, and only what a leader says of `current` and
    `lag` means anything. An asset with one replica has no group, and its server as leader.
    """
    if jsz.get("error") or jsz.get("status") != 200:
        why = str(jsz.get("error") or f"its monitoring answered {jsz.get('status', 'nothing')}")
        return {
            "lagging": [_lagging("JetStream", server, "unknown", 0, why)],
            "leads": 0,
            "alone": [],
            "assets": [],
            "groups": [],
            "follows": [],
        }
    said = json.loads(jsz["body"])
    assets: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    if said.get("meta_cluster"):
        assets.append(("meta group", said["meta_cluster"], {}))
    for account in said.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            # The default account needs no name.
            name = stream["name"] if account["name"] == "$G" else f"{account['name']}/{stream['name']}"
            assets.append((f"stream {name}", stream.get("cluster") or {}, stream.get("config") or {}))
            consumers = stream.get("consumer_detail") or []
            assets += [(f"consumer {name}/{one['name']}", one.get("cluster") or {}, one.get("config") or {}) for one in consumers]
    lagging, alone, leads, led, groups, follows = [], [], 0, [], [], []
    for asset, cluster, config in assets:
        replicas = cluster.get("replicas") or []
        leader = str(cluster.get("leader") or "")
        if leader == server and asset != "meta group":
            led.append(_led(asset, leader, replicas, int(config.get("num_replicas") or 0)))
        if not leader:
            lagging.append(_lagging(asset, server, "leaderless", 0))
        elif leader == server and not replicas:
            # A consumer is made anew by its client; what a stream has stored is nowhere else.
            if asset.startswith("stream "):
                alone.append(asset)
        elif leader == server:
            leads += 1
            behind = [found for found in (_replica(asset, peer) for peer in replicas) if found]
            lagging += behind
            groups.append(_group(asset, leader, replicas, behind))
        else:
            follows.append((asset, leader))
    return {"lagging": lagging, "leads": leads, "alone": alone, "assets": led, "groups": groups, "follows": follows}


def _led(asset: str, leader: str, replicas: Sequence[Mapping[str, Any]], wanted: int) -> Json:
    servers = [leader, *(str(peer.get("name") or peer.get("peer") or "") for peer in replicas)]
    ids = [str(peer.get("peer") or "") for peer in replicas]
    return {"asset": asset, "servers": servers, "ids": ids, "wanted": wanted, "text": f"{asset} ({wanted or len(servers)} replicas)"}


def _group(asset: str, leader: str, replicas: Sequence[Mapping[str, Any]], behind: Sequence[Mapping[str, Any]]) -> Json:
    size, late = 1 + len(replicas), {str(found["server"]) for found in behind}
    names = [str(peer.get("name") or peer.get("peer") or "") for peer in replicas]
    current = [leader, *(name for name in names if name not in late)]
    return {
        "asset": asset,
        "current": current,
        "quorum": size // 2 + 1,
        "text": f"{asset} (up to date at {', '.join(sorted(current))}, of {size})",
    }


def _replica(asset: str, peer: Mapping[str, Any]) -> Json | None:
    name, lag = str(peer.get("name") or peer.get("peer") or ""), int(peer.get("lag") or 0)
    if peer.get("offline"):
        return _lagging(asset, name, "offline", lag)
    if peer.get("pending"):
        return _lagging(asset, name, "unseen", lag)
    if lag:
        return _lagging(asset, name, "behind", lag)
    return None if peer.get("current") else _lagging(asset, name, "unseen", lag)


def _lagging(asset: str, server: str, state: str, lag: int, why: str = "") -> Json:
    text = f"{asset} at {server}: {state}" + (f" by {lag}" if state == "behind" else "") + (f" ({why})" if why else "")
    return {"asset": asset, "server": server, "state": state, "lag": lag, "text": text}


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
            "lagging": [],
            "leads": 0,
            "alone": [],
            "assets": [],
            "groups": [],
            "term": 0,
            "applied_index": 0,
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
        **{key: said[key] for key in ("lagging", "leads", "alone", "assets", "groups")},
        "term": said["log"].get("term", 0),
        "applied_index": said["log"].get("applied_index", 0),
    }


def _peers(said: Mapping[str, Any], ids: Mapping[str, str], hosts: Mapping[str, str]) -> list[Json]:
    """The servers that this one counts as peers of the meta group, itself too. What a leader says of `current` counts."""
    addresses = {**said["routes"], **hosts}
    states: dict[str, Json] = {said["name"]: {"current": bool(said["leader"]), "offline": False, "live": True}}
    if said["leader"]:
        states.setdefault(said["leader"], {"current": True, "offline": False, "live": _live(said, said["leader"], False)})
    nameless = []
    for peer in said["replicas"]:
        state = {"current": peer["current"], "offline": peer["offline"], "live": _live(said, peer["name"], peer["heard"])}
        if peer["name"]:
            states[peer["name"]] = state
        else:
            nameless.append({"id": peer["id"], "name": "", "address": "", **state})
    named = [{"id": ids.get(name, ""), "name": name, "address": addresses.get(name, ""), **state} for name, state in sorted(states.items())]
    return named + sorted(nameless, key=lambda peer: str(peer["id"]))


def _live(said: Mapping[str, Any], name: str, heard: bool) -> bool | None:
    """Whether a server sees another one's process: true where it heard from it just now, false where it is not connected with it.

    A connection alone says nothing: after a VM has gone without a word it counts as open for up to 90 seconds (two pings), and who is no
    leader hears from nobody but the leader. JetStream's own `offline` comes minutes after a kill, and says nothing here.
    """
    if heard:
        return True
    return False if said["connected"] is not None and name not in said["connected"] else None


def forgettable(inspected: Mapping[str, Mapping[str, Any]], forget: Mapping[str, Any]) -> Json:
    """Through whom a server is taken out of JetStream's meta group, and which: {`ask`, `id`}; both empty where it is in it no more.

    `forget` names the server by `process`, and by `id` (of its peer), because a leader that never met it does not know its name. Raises
    ValueError where it is up, where the leader does not count it as offline, where it cannot be told whether it is
    listed, and where the others are not the majority of the present group, which has to agree.
    """
    name, number = str(forget.get("process") or ""), str(forget.get("id") or "")
    if not name:
        raise ValueError("hostnet_forget names no process: which server to remove is unknown")
    if inspected.get(str(forget.get("member") or ""), {}).get("reachable"):
        raise ValueError(f"NATS' server {name} was not removed: it answers. Stop it first")
    leaders = [member for member in sorted(inspected) if inspected[member]["leader"] and inspected[member]["reachable"]]
    if len(leaders) != 1:
        raise ValueError(
            f"NATS' server {name} was not removed: there is no leader of JetStream to ask, or more than one says that it leads"
        )
    peers = inspected[leaders[0]]["peers"]
    listed = [peer for peer in peers if peer["name"] == name or (number and peer["id"] == number)]
    if not listed:
        if not number and not all(peer["id"] and peer["address"] for peer in peers):
            raise ValueError(f"it cannot be told whether NATS' server {name} is listed: the leader lists servers that it has never met")
        return {"ask": "", "id": ""}
    if not listed[0]["offline"]:
        raise ValueError(f"NATS' server {name} was not removed: JetStream's leader has not noticed yet that it is down")
    up = [peer for peer in peers if peer is not listed[0] and peer["current"] and not peer["offline"]]
    if len(up) < len(peers) // 2 + 1:
        raise ValueError(
            f"NATS' server {name} was not removed: {len(up)} of {len(peers)} servers are up to date, and {len(peers) // 2 + 1} have to agree"
        )
    return {"ask": leaders[0], "id": str(listed[0]["id"])}


def removal(inspected: Mapping[str, Mapping[str, Any]], forget: Mapping[str, Any]) -> list[Json]:
    """What JetStream is told so that the server of `forget` leaves the meta group: empty, or one {`ask`, `subject`, `body`}. Raises as `forgettable`."""
    found = forgettable(inspected, forget)
    if not found["ask"]:
        return []
    body = {"peer": str(forget["process"]), "peer_id": found["id"]}
    return [{"ask": found["ask"], "subject": "$JS.API.SERVER.REMOVE", "body": body}]
