# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nats-server 2.15.2 answered (shortened), as an inspection; tests/integration/test_nats_server.py asks a real one."""

from __future__ import annotations

import base64
import itertools
import json
import posixpath
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.nats import FilterModule
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate, layout, placement
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats
from support.member import Json, binding, expanded, system_spec

ADDRESSES = {"east-0": "172.30.1.3", "east-1": "172.30.1.4", "west-0": "172.30.1.1"}
PEERS = {"east-0": "SzJoZiQg", "east-1": "qEhu2Hj6", "west-0": "kHCHMZFE"}
TOO_FEW = "groups whose other replicas that are up to date are no majority"
EMPTY = {
    "reachable": False,
    "healthy": False,
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


def answer(body: object, status: int = 200) -> Json:
    return {"status": status, "body": body if isinstance(body, str) else json.dumps(body), "error": ""}


def varz(name: str, leader: str = "west-0", meta: Json | None = None) -> Json:
    replicas = [{"name": other, "current": True, "active": 672795767, "peer": PEERS[other]} for other in PEERS if other != name]
    return {
        "server_id": "NAM2MFMWEJDORJGGDXCWSZEEBZIP7LI4BIFDQPR4MHDQW5O7C6J6PZ35",
        "server_name": name,
        "version": "2.15.2",
        "cluster": {"name": "nats-c3b41c50", "addr": ADDRESSES[name], "cluster_port": 6222, "pool_size": 3},
        "jetstream": {
            "config": {"store_dir": "/data/jetstream"},
            "meta": {
                "name": "nats-c3b41c50",
                "leader": leader,
                "peer": PEERS.get(leader, ""),
                "replicas": replicas,
                "cluster_size": 3,
                **(meta or {}),
            },
        },
    }


def routez(name: str) -> Json:
    # Three connections in a pool and one for the system account, to each server.
    others = [other for other in ADDRESSES if other != name]
    return {"routes": [{"remote_name": other, "ip": ADDRESSES[other], "did_solicit": True} for other in others for _pool in range(4)]}


def cluster(name: str, leader: str = "west-0", **states: Json) -> Json:
    """The group of a stream or consumer as `name` tells it, which is no replica of itself; `states` are by server."""
    replicas = [
        {"name": other, "current": True, "active": 5, "peer": PEERS[other], **states.get(other.replace("-", "_"), {})}
        for other in PEERS
        if other != name
    ]
    return {"name": "nats-c3b41c50", "raft_group": "S-R3F-x", "leader": leader, "replicas": replicas}


def jsz(name: str, meta: Json | None = None, stream: Json | None = None, **other: Json) -> Json:
    consumer = {"stream_name": "orders", "name": "desk", "cluster": cluster(name)}
    streams = [
        {"name": "orders", "cluster": stream or cluster(name), "consumer_detail": [consumer]},
        *({"name": own, "cluster": found} for own, found in other.items()),
    ]
    return {
        "meta_cluster": {**cluster(name), **(meta or {})},
        "account_details": [{"name": "$G", "id": "$G", "stream_detail": streams}, {"name": "team", "id": "team"}],
    }


def answers(name: str, **other: Json) -> Json:
    return {
        "varz": answer(varz(name)),
        "routez": answer(routez(name)),
        "healthz": answer({"status": "ok"}),
        "jsz": answer(jsz(name)),
        "raftz": answer({"$SYS": {"_meta_": {"term": 4, "applied": 17}}}),
        **other,
    }


def test_three_servers() -> None:
    seen = nats.inspection({name: answers(name) for name in ADDRESSES})
    assert seen["east-1"] == {
        "reachable": True,
        "healthy": True,
        "reason": "",
        "cluster_id": "nats-c3b41c50",
        "id": "qEhu2Hj6",
        "version": "2.15.2",
        "leader": False,
        "role": "node",
        "peers": [
            {"id": PEERS[name], "name": name, "address": ADDRESSES[name], "current": True, "offline": False, "live": True}
            for name in sorted(ADDRESSES)
        ],
        "lagging": [],
        "leads": 0,
        "alone": [],
        "assets": [],
        "groups": [],
        "term": 4,
        "applied_index": 17,
    }
    everybody = f"(up to date at {', '.join(sorted(ADDRESSES))}, of 3)"
    assert [(entry["text"], entry["quorum"]) for entry in seen["west-0"]["groups"]] == [
        (f"{asset} {everybody}", 2) for asset in ("meta group", "stream orders", "consumer orders/desk")
    ]
    assert [entry["asset"] for entry in seen["west-0"]["assets"]] == ["stream orders", "consumer orders/desk"]
    assert set(seen["west-0"]["assets"][0]["servers"]) == set(ADDRESSES)
    assert {name: entry["leads"] for name, entry in seen.items()} == {"east-0": 0, "east-1": 0, "west-0": 3}
    assert [name for name, entry in seen.items() if entry["leader"]] == ["west-0"]


@pytest.mark.parametrize("raftz", [{}, answer({}), {"status": 404, "body": "404 page not found", "error": ""}])
def test_a_server_that_does_not_tell_how_far_its_log_is(raftz: Json) -> None:
    one = nats.inspection({"east-0": answers("east-0", raftz=raftz)})["east-0"]
    assert one["reachable"]
    assert (one["term"], one["applied_index"]) == (0, 0)


def test_one_answer_alone_gives_the_addresses_that_it_dialled() -> None:
    one = nats.inspection({"east-0": answers("east-0")})["east-0"]
    assert {peer["name"]: peer["address"] for peer in one["peers"]} == ADDRESSES
    assert one["id"] == ""  # a server that does not lead does not say its own


def test_the_far_end_of_a_connection_that_came_in_is_no_address() -> None:
    routes = {"routes": [{"remote_name": "west-0", "ip": "10.9.9.9", "did_solicit": False}]}
    one = nats.inspection({"east-0": answers("east-0", routez=answer(routes))})["east-0"]
    assert {peer["name"]: peer["address"] for peer in one["peers"]}["west-0"] == ""
    both = nats.inspection({"east-0": answers("east-0", routez=answer(routes)), "west-0": answers("west-0")})["east-0"]
    assert {peer["name"]: peer["address"] for peer in both["peers"]}["west-0"] == ADDRESSES["west-0"]


def test_without_a_leader() -> None:
    health = answer(
        {
            "status": "error",
            "status_code": 503,
            "errors": [{"type": "JETSTREAM", "error": "JetStream has not established contact with a meta leader"}],
        },
        status=503,
    )
    one = nats.inspection({"east-0": answers("east-0", varz=answer(varz("east-0", leader="")), healthz=health)})["east-0"]
    assert one["reachable"]
    assert not one["healthy"]
    assert one["reason"] == "JetStream has not established contact with a meta leader; it knows no leader of JetStream"
    assert one["cluster_id"] == "nats-c3b41c50"


def lives(name: str, **other: Json) -> dict[str, bool | None]:
    return {peer["name"]: peer["live"] for peer in nats.inspection({name: answers(name, **other)})[name]["peers"]}


def test_a_server_that_is_connected_and_not_heard_cannot_tell() -> None:
    silent = answer(varz("west-0", meta=cluster("west-0", east_0={"active": 11 * 10**9}, east_1={"active": 0})))
    assert lives("west-0") == {"west-0": True, "east-0": True, "east-1": True}
    assert lives("west-0", varz=silent) == {"west-0": True, "east-0": None, "east-1": None}
    # Without a connection nobody is there; and one who does not say whom it is connected with tells nothing.
    assert lives("west-0", varz=silent, routez=answer({"routes": []})) == {"west-0": True, "east-0": False, "east-1": False}
    assert set(lives("west-0", varz=silent, routez=answer("", 500)).values()) == {True, None}
    # A connection that the other one dialled is one too.
    routes = {"routes": [{"remote_name": "east-0", "ip": "10.0.0.1"}]}
    assert lives("west-0", varz=silent, routez=answer(routes)) == {"west-0": True, "east-0": None, "east-1": False}


def test_a_peer_that_nobody_has_met_has_an_id_alone() -> None:
    meta = {"replicas": [{"name": "", "current": False, "offline": True, "peer": "TWOmTRhU"}]}
    one = nats.inspection({"west-0": answers("west-0", varz=answer(varz("west-0", meta=meta)))})["west-0"]
    assert one["peers"][-1] == {"id": "TWOmTRhU", "name": "", "address": "", "current": False, "offline": True, "live": False}
    assert one["healthy"]  # the missing one has a line of its own in the status


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "its monitoring answered nothing"),
        ({"varz": {"status": 0, "body": "", "error": "no pod"}}, "no pod"),
        ({"varz": answer("", status=404)}, "its monitoring answered 404"),
        ({"varz": answer("<html>")}, "its monitoring's answer cannot be read (JSONDecodeError"),
        ({"varz": answer({"version": "2.15.2"})}, "its monitoring's answer cannot be read (KeyError('server_name')"),
        ({"varz": answer([])}, "its monitoring's answer cannot be read (AttributeError"),
        ({"varz": answer(varz("east-0")), "routez": answer({"routes": None})}, "its monitoring's answer cannot be read (TypeError"),
        ({"varz": answer(varz("east-0")), "healthz": answer("[]")}, "its monitoring's answer cannot be read (AttributeError"),
        (
            {"varz": answer(varz("east-0")), "jsz": answer({"account_details": [1]})},
            "its monitoring's answer cannot be read (AttributeError",
        ),
    ],
)
def test_no_answer(said: Json, reason: str) -> None:
    one = nats.inspection({"east-0": said})["east-0"]
    assert one.pop("reason").startswith(reason)
    assert one == EMPTY


def test_health_that_was_not_told_is_not_good_health() -> None:
    one = nats.inspection({"east-0": answers("east-0", healthz={"status": 0, "body": "", "error": "timed out"})})["east-0"]
    assert not one["healthy"]
    assert one["reason"] == "timed out"
    silent = nats.inspection({"east-0": answers("east-0", healthz={})})["east-0"]
    assert silent["reason"] == "it does not say whether it is healthy"
    terse = nats.inspection({"east-0": answers("east-0", healthz=answer({"status": "unavailable"}, status=503))})["east-0"]
    assert terse["reason"] == "it says that it is not healthy"


def test_a_server_without_jetstream_is_not_healthy() -> None:
    said = varz("east-0")
    said["jetstream"] = {}
    one = nats.inspection({"east-0": answers("east-0", varz=answer(said))})["east-0"]
    assert one["reason"] == "it knows no leader of JetStream"


def seen_with(**leader: Any) -> dict[str, Json]:
    """What three servers say, where the leader of everything says `leader` of its assets."""
    return nats.inspection({name: answers(name, jsz=answer(jsz(name, **(leader if name == "west-0" else {})))) for name in ADDRESSES})


def closed(kind: str, member: str, seen: dict[str, Json]) -> list[str]:
    gates = [*gate.GENERIC[kind], *system_spec("nats")["gates"].get(kind, [])]
    return gate.evaluate(gates, gate.document(seen, member, list(ADDRESSES)))


def test_gates_of_healthy_servers_are_open() -> None:
    for kind in gate.GENERIC:
        assert closed(kind, "east-0", seen_with()) == []


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"current": False, "lag": 101}, "behind by 101"),
        ({"current": False, "offline": True}, "offline"),
        ({"current": False}, "unseen"),
        ({"current": False, "pending": True}, "unseen"),
    ],
)
def test_a_replica_that_is_not_up_to_date_closes_the_gates(state: Json, text: str) -> None:
    seen = seen_with(stream=cluster("west-0", east_1=state))
    shown = f"stream orders at east-1: {text}"
    assert [entry["text"] for entry in seen["west-0"]["lagging"]] == [shown]
    for kind in ("stop", "settled"):
        assert [entry for entry in closed(kind, "east-0", seen) if shown in entry], kind
    assert closed("admit", "east-0", seen) == [f"{TOO_FEW}: stream orders (up to date at east-0, west-0, of 3)"]
    # What is wrong with the member itself is no reason to keep it running or from coming back. It is not settled.
    assert closed("stop", "east-1", seen) == []
    assert closed("admit", "east-1", seen) == []
    assert closed("settled", "east-1", seen) != []


def test_only_an_empty_server_waits_for_the_very_last_entry() -> None:
    seen = seen_with(meta={"replicas": cluster("west-0", east_1={"current": False, "lag": 1})["replicas"]})
    assert closed("stop", "east-0", seen) == []
    assert closed("settled", "east-0", seen) == []
    assert closed("admit", "east-0", seen) == [f"{TOO_FEW}: meta group (up to date at east-0, west-0, of 3)"]


def five_with(*late: str, size: int = 5) -> dict[str, Json]:
    """What the leader says while east-0 is gone: a stream of `size` replicas is led by server-1, and the servers in `late` lack entries."""
    servers = [f"server-{number}" for number in range(1, 5)]
    replicas = [
        {"name": name, "current": name not in late, "lag": int(name in late), "peer": name} for name in [*servers[1:], "east-0"][: size - 1]
    ]
    replicas[-1].update(name="east-0", peer="east-0", current=False, offline=True)
    found = {"cluster": {"leader": "server-1", "replicas": replicas}, "name": "orders"}
    told = {"account_details": [{"name": "$G", "id": "$G", "stream_detail": [found]}]}
    server = {"server_name": "server-1", "version": "2.15.2", "jetstream": {"meta": {"leader": "server-1"}}}
    one = {"varz": answer(server), "routez": answer({"routes": []}), "healthz": answer({"status": "ok"}), "jsz": answer(told)}
    return nats.inspection({"server-1": one})


@pytest.mark.parametrize(
    ("size", "late", "opens"),
    [(5, (), True), (5, ("server-2",), True), (5, ("server-2", "server-3"), False), (3, (), True), (3, ("server-2",), False)],
)
def test_an_empty_server_comes_where_those_that_have_everything_are_a_majority_without_it(
    size: int, late: tuple[str, ...], opens: bool
) -> None:
    """With an empty one, whoever lacks an entry could else outvote those that have it."""
    own = system_spec("nats")["gates"]["admit"]
    found = gate.evaluate(own, gate.document(five_with(*late, size=size), "east-0", ["server-1", "east-0"]))
    assert (found == []) is opens, found
    assert opens or found[0].startswith(TOO_FEW)


def test_a_replica_on_a_server_that_is_broken_too_is_waited_for_with_that_one() -> None:
    seen = five_with("server-2")
    settled = system_spec("nats")["gates"]["settled"]
    text = "stream orders at east-0: offline"
    assert gate.evaluate(settled, gate.document(seen, "", ["server-1", "server-2"])) == []
    assert gate.evaluate(settled, gate.document(seen, "", ["server-1", "east-0"])) == [f"replicas that are not up to date: {text}"]


def test_a_leader_that_does_not_answer_is_none() -> None:
    """Its followers name it for some seconds after it is gone."""
    seen = nats.inspection({name: answers(name) for name in ("east-0", "east-1")})
    assert {entry["text"] for entry in seen["east-0"]["lagging"]} == {
        f"{asset} at east-0: leaderless (its leader west-0 does not answer)"
        for asset in ("meta group", "stream orders", "consumer orders/desk")
    }
    assert any(text.startswith("replicas that know of no leader") for text in closed("admit", "west-0", seen))


def test_followers_know_nothing_of_other_replicas_but_that_nobody_leads() -> None:
    follower = jsz("east-0", stream=cluster("east-0", east_1={"current": False}))
    seen = nats.inspection({"east-0": answers("east-0", jsz=answer(follower)), "west-0": answers("west-0")})
    assert seen["east-0"]["lagging"] == []
    headless = jsz("east-0", stream=cluster("east-0", leader=""))
    seen = nats.inspection({"east-0": answers("east-0", jsz=answer(headless)), "west-0": answers("west-0")})
    assert [entry["text"] for entry in seen["east-0"]["lagging"]] == ["stream orders at east-0: leaderless"]


def test_a_server_that_does_not_tell_its_assets_closes_the_gates() -> None:
    seen = {**seen_with(), **nats.inspection({"east-1": answers("east-1", jsz={"status": 0, "body": "", "error": "timed out"})})}
    assert [entry["text"] for entry in seen["east-1"]["lagging"]] == ["JetStream at east-1: unknown (timed out)"]
    for kind in gate.GENERIC:
        assert closed(kind, "east-0", seen) != []


def test_a_stream_without_replicas_is_named() -> None:
    own = jsz("east-0", cache={"name": "nats-c3b41c50", "leader": "east-0"})
    assert nats.inspection({"east-0": answers("east-0", jsz=answer(own))})["east-0"]["alone"] == ["stream cache"]


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["leader", "name", "peer", "current", "error"]), inner),
    max_leaves=6,
)
_META = st.fixed_dictionaries({}, optional=dict.fromkeys(("leader", "peer", "replicas"), _VALUE))
_SERVER = st.fixed_dictionaries(
    {"server_name": st.text(), "version": st.text()},
    optional={"cluster": _VALUE, "jetstream": st.fixed_dictionaries({"meta": _META}) | _VALUE},
)
_HEALTH = st.fixed_dictionaries({}, optional={"status": st.sampled_from(["ok", "error"]), "errors": _VALUE, "error": _VALUE})


def _answers(body: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {
            "status": st.sampled_from([200, 200, 200, 0, 503]),
            "body": (body | _VALUE).map(json.dumps) | st.text(),
            "error": st.sampled_from(["", "", "", "no pod"]),
        }
    )


_ROUTES = st.fixed_dictionaries({"routes": _VALUE})


_ASSETS = st.fixed_dictionaries({}, optional={"meta_cluster": _META, "account_details": _VALUE})
_LOG = st.fixed_dictionaries(
    {"$SYS": st.fixed_dictionaries({"_meta_": st.fixed_dictionaries({"term": _VALUE, "applied": _VALUE}) | _VALUE})}
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "varz": _answers(_SERVER),
            "routez": _answers(_ROUTES),
            "healthz": _answers(_HEALTH),
            "jsz": _answers(_ASSETS),
            "raftz": _answers(_LOG),
        },
    )
)
def test_any_answer_gives_an_inspection(said: Json) -> None:
    one = nats.inspection({"east-0": said})["east-0"]
    assert set(one) == {*EMPTY, "reason"}
    assert one["healthy"] != bool(one["reason"])
    assert one["reachable"] or not one["healthy"]
    assert {type(one[key]) for key in ("reason", "cluster_id", "id", "version", "role")} == {str}


@given(st.permutations(list(ADDRESSES)))
def test_the_order_of_answers_changes_nothing(order: Sequence[str]) -> None:
    assert nats.inspection({name: answers(name) for name in order}) == nats.inspection({name: answers(name) for name in ADDRESSES})


def objects_of(placing: str, address: str) -> list[Json]:
    spec = system_spec("nats")
    hostnet = {
        "name": "nats",
        "system": "nats",
        "placement": placing,
        "namespace": "n",
        "data_root": "/d",
        "pki_dir": "/pki",
        "image": spec["image"],
        "resources": {},
        "tolerations": [],
        "probe_image": "example.test/busybox:1",
        "kube_clusters": [{"name": "east"}],
        "nkeys": {"system": "UNKEY"},
    }
    bindings = [binding("east", 0, address)]
    issued = [{"name": "east-0", "file": "server", "certificate": "/c", "private_key": "/k", "serial": "1", "not_after": "2030"}]
    objects = placement.render_objects(hostnet, spec, {"token": "nats-1", "ca_fingerprint": "f"}, bindings, [address], "new", issued)
    return [item["definition"] for item in objects]


def server_file(placing: str, address: str) -> str:
    secret = next(item for item in objects_of(placing, address) if item["kind"] == "Secret")
    key = "east-worker0.server.conf" if placing == "daemonset" else "server.conf"
    return base64.b64decode(secret["data"][key]).decode()


def rendered(placing: str, address: str) -> tuple[Json, Json, dict[str, str]]:
    """Container, ConfigMaps by name, and the environment that the container would have."""
    found = objects_of(placing, address)
    workload = next(item for item in found if item["kind"] in ("StatefulSet", "DaemonSet"))
    maps = {item["metadata"]["name"]: item["data"] for item in found if item["kind"] == "ConfigMap"}
    container = workload["spec"]["template"]["spec"]["containers"][0]
    environment: dict[str, str] = {}
    downward = {"status.hostIP": address, "spec.nodeName": "east-worker0"}
    for entry in container["env"]:
        if "value" in entry:
            value = entry["value"]
        elif "fieldRef" in entry["valueFrom"]:
            value = downward[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            value = maps["nats-join"][entry["valueFrom"]["configMapKeyRef"]["key"]]
        environment[entry["name"]] = expanded(value, environment)
    return container, maps, environment


@pytest.mark.parametrize(("placing", "address"), [*itertools.product(("node_name", "daemonset"), ("192.0.2.1", "2001:db8::1"))])
def test_what_a_container_gets(placing: str, address: str) -> None:
    container, maps, environment = rendered(placing, address)
    folder = "/etc/hostnet/certs" + ("/east-worker0" if placing == "daemonset" else "")
    assert environment["HOSTNET_NATS_CERTIFICATE"] == f'"{folder}/server.crt"'
    assert environment["HOSTNET_NATS_HOST"] == f'"{address}"'
    config_folder = posixpath.normpath(posixpath.join(folder, "../../config" if placing == "daemonset" else "../config"))
    assert config_folder == layout.CONFIG_PATH
    # The name is the member's in both placements, which no variable of a DaemonSet's one template can be.
    assert server_file(placing, address) == f'server_name: "east-0"\ninclude "{posixpath.relpath(config_folder, folder)}/nats.conf"\n'
    assert environment["HOSTNET_NATS_CLUSTER"] == '"nats-1"'
    host = f"[{address}]" if ":" in address else address
    assert [expanded(word, environment) for word in container["args"]] == [
        f"--config={folder}/server.conf",
        f"--routes=nats://{host}:6222",
    ]
    config = maps["nats-config"]["nats.conf"]
    assert 'http: "127.0.0.1:8222"' in config
    assert 'store_dir: "/data"' in config
    assert "{{" not in config
    assert "ports[" not in config
    assert container["lifecycle"] == {"preStop": {"exec": {"command": ["/nats-server", "--signal", "ldm=1"]}}}


def test_the_grace_period_covers_lame_duck_mode() -> None:
    spec = system_spec("nats")
    assert "lame_duck_duration: 30s" in spec["config"]["nats.conf"]
    assert spec["grace_seconds"] >= 30 + 10


def test_users_lines_are_the_last_of_the_configuration() -> None:
    spec = system_spec("nats", system_nats_extra_config="max_payload: 2MB")
    assert spec["config"]["nats.conf"].rstrip().endswith("max_payload: 2MB")


def test_filters() -> None:
    assert FilterModule().filters()["nats_inspection"]({}) == {}


def test_only_the_public_half_of_the_systems_key_is_in_the_configuration() -> None:
    config = next(item for item in objects_of("node_name", "192.0.2.1") if "nats.conf" in item.get("data", {}))["data"]["nats.conf"]
    assert 'accounts { $SYS { users: [ { nkey: "UNKEY" } ] } }' in config
    spec = system_spec("nats", system_nats_system_account=False)
    assert "accounts" not in spec["config"]["nats.conf"].split("jetstream {")[1].replace("as it does without accounts", "")
    assert spec["nkeys"] == []
    texts = gate.evaluate(spec["gates"]["leave"], gate.document({}, "east-0", ["east-0", "east-1"]))
    assert len(texts) == 1
    assert "system_nats_system_account is false" in texts[0]


def five(leader: str = "e", **changes: Json) -> dict[str, Json]:
    """Inspections of four servers, where a fifth, `gone`, is down."""
    names = ["a", "b", "d", "e", "gone"]
    peers = [
        {
            "id": f"id-{name}",
            "name": name,
            "address": "10.0.0.1",
            "current": name != "gone",
            "offline": name == "gone",
            **changes.get(name, {}),
        }
        for name in names
    ]
    return {name: {"reachable": True, "leader": name == leader, "peers": peers} for name in names if name != "gone"}


GONE = {"member": "gone", "process": "gone", "id": "id-gone"}


def test_the_leader_is_asked_to_remove_who_is_down() -> None:
    assert nats.forgettable(five(), GONE) == {"ask": "e", "id": "id-gone"}
    # A leader that has never met it knows its id alone.
    assert nats.forgettable(five(gone={"name": "", "address": ""}), GONE) == {"ask": "e", "id": "id-gone"}
    done = {name: {**entry, "peers": entry["peers"][:-1]} for name, entry in five().items()}
    assert nats.forgettable(done, GONE) == {"ask": "", "id": ""}
    assert nats.removal(done, GONE) == []
    body = {"peer": "gone", "peer_id": "id-gone"}
    assert nats.removal(five(), GONE) == [{"ask": "e", "subject": "$JS.API.SERVER.REMOVE", "body": body}]


@pytest.mark.parametrize(
    ("inspected", "forget", "why"),
    [
        ({**five(), "gone": {"reachable": True, "leader": False, "peers": []}}, GONE, "it answers"),
        (five(gone={"offline": False}), GONE, "has not noticed yet"),
        (five(leader=""), GONE, "no leader"),
        ({**five(), "a": {**five()["a"], "leader": True}}, GONE, "more than one"),
        (five(a={"current": False}, b={"offline": True}), GONE, "2 of 5 servers are up to date, and 3 have to agree"),
        (five(gone={"name": "", "address": ""}), {**GONE, "id": ""}, "cannot be told"),
        (five(), {**GONE, "process": ""}, "names no process"),
    ],
)
def test_nobody_is_removed_where_it_may_be_wrong(inspected: dict[str, Json], forget: Json, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        nats.forgettable(inspected, forget)


@given(st.lists(st.booleans(), min_size=2, max_size=7), st.booleans())
def test_a_removal_is_agreed_on_by_a_majority_of_the_present_group(up: list[bool], listed_offline: bool) -> None:
    peers = [
        {"id": f"id{number}", "name": f"s{number}", "address": "x", "current": well, "offline": not well} for number, well in enumerate(up)
    ]
    peers.append({"id": "id-gone", "name": "gone", "address": "", "current": False, "offline": listed_offline})
    inspected = {f"s{number}": {"reachable": well, "leader": number == 0 and well, "peers": peers} for number, well in enumerate(up)}
    try:
        found = nats.forgettable(inspected, GONE)
    except ValueError:
        assert not up[0] or not listed_offline or sum(up) < len(peers) // 2 + 1
    else:
        assert found == {"ask": "s0", "id": "id-gone"}
        assert listed_offline
        assert sum(up) > len(peers) / 2


def test_a_stream_that_needs_more_servers_than_are_left_closes_the_gate() -> None:
    leave = system_spec("nats")["gates"]["leave"]
    wide = nats.inspection({name: answers(name) for name in ADDRESSES})
    wide["west-0"]["assets"][0]["wanted"] = 3
    wide["west-0"]["assets"][0]["text"] = "stream orders (3 replicas)"
    (text,) = gate.evaluate(leave, gate.document(wide, "east-0", list(ADDRESSES)))
    assert text.endswith("stream orders (3 replicas)")
    assert gate.evaluate(leave, {**gate.document(wide, "", list(ADDRESSES)), "left": 3}) == []
