# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Five real nats-servers with the flags, configuration and certificates that the role system_nats renders."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.systems import nats as nats_client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate, progress
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats
from support.collection import CHECKOUT
from support.kube_api import binary
from support.member import Deployment, Json, Wire, binding, loopback, not_joined, on_wire, system_spec

ADDRESSES = {
    "east-0": "192.0.2.11",
    "east-1": "192.0.2.12",
    "east-2": "192.0.2.13",
    "west-0": "192.0.2.21",
    "west-1": "192.0.2.22",
}
STREAM = b'{"name": "orders", "subjects": ["orders.>"], "num_replicas": 5}'
MONITOR, CLIENT = 8222, 4222


def bindings(members: Sequence[str]) -> list[Json]:
    return [binding(member.rsplit("-", 1)[0], int(member.rsplit("-", 1)[1]), ADDRESSES[member]) for member in members]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def get(address: str, path: str) -> Json:
    """One answer as member_exec's `http` gives it."""
    try:
        with urllib.request.urlopen(f"http://{loopback(address)}:{MONITOR}{path}", timeout=5) as answer:
            return {"status": answer.status, "body": answer.read().decode(), "error": ""}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(), "error": ""}
    except OSError as error:
        return {"status": 0, "body": "", "error": str(error)}


def questions() -> dict[str, str]:
    asked = yaml.safe_load((CHECKOUT / "roles/system_nats/vars/main.yml").read_text())["system_nats_questions"]
    return {name: str(one["path"]) for name, one in asked.items()}


def inspect(members: Sequence[str]) -> dict[str, Json]:
    answers = {member: {name: get(ADDRESSES[member], path) for name, path in questions().items()} for member in members}
    return nats.inspection(answers, [], {})


def closed(deployment: Deployment, kind: str, member: str, members: Sequence[str]) -> list[str]:
    gates = [*gate.GENERIC[kind], *deployment.spec["gates"].get(kind, [])]
    return gate.evaluate(gates, gate.document(inspect(members), member, list(ADDRESSES)))


def all_current(members: Sequence[str]) -> dict[str, Json] | None:
    seen = inspect(members)
    formed = all(entry["healthy"] for entry in seen.values()) and not not_joined(seen, members)
    meshed = all(all(peer["address"] for peer in entry["peers"]) for entry in seen.values())
    return seen if formed and meshed else None


class Client:
    """Just enough of a NATS client for a test: https://docs.nats.io/reference/reference-protocols/nats-protocol"""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.count = 0
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(socket.create_connection((on_wire(address), CLIENT), timeout=10))
            greeting = b""
            while not greeting.endswith(b"\r\n"):  # not a byte more: the rest of the stream is TLS
                greeting += raw.recv(1)
            self.stream = stack.enter_context(context.wrap_socket(raw, server_hostname=on_wire(address)))
            self.unread = b""
            self._greet()
            self.close = stack.pop_all().close

    def _greet(self) -> None:
        self.stream.sendall(b'CONNECT {"verbose":false,"pedantic":false,"lang":"test","version":"1"}\r\nPING\r\n')
        line = self._line()
        while line.startswith(b"INFO"):
            line = self._line()
        if line != b"PONG":
            raise ConnectionError(line.decode())

    def _read(self) -> None:
        more = self.stream.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        self.unread += more

    def _line(self) -> bytes:
        while b"\r\n" not in self.unread:
            self._read()
        line, _end, self.unread = self.unread.partition(b"\r\n")
        return line

    def request(self, subject: str, body: bytes = b"") -> Json:
        """Sent again where nobody answers: a server drops what it has no receiver for, and a stream's new leader takes a moment to be known everywhere."""
        self.count += 1
        inbox = f"_INBOX.test.{self.count}"
        self.stream.sendall(f"SUB {inbox} {self.count}\r\n".encode())
        self.stream.settimeout(2)
        for _try in range(10):
            self.stream.sendall(f"PUB {subject} {inbox} {len(body)}\r\n".encode() + body + b"\r\n")
            with contextlib.suppress(TimeoutError):
                return self._answer(inbox)
        raise TimeoutError(f"no answer to {subject}")

    def _answer(self, inbox: str) -> Json:
        while True:
            words = self._line().split()
            if words[0] == b"-ERR":
                raise ConnectionError(b" ".join(words).decode())
            if words[0] == b"MSG":
                size = int(words[-1]) + 2
                while len(self.unread) < size:
                    self._read()
                answer, self.unread = self.unread[:size], self.unread[size:]
                if words[1].decode() == inbox:
                    return dict(json.loads(answer))


def context(pki: Path, client: str = "client") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if client:
        made.load_cert_chain(pki / "clients" / f"{client}.crt", pki / "clients" / f"{client}.key")
    return made


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("nats"), "nats", system_spec("nats"), bindings(list(ADDRESSES)), binary("nats-server"))
    with deployment.running():
        try:
            wait_for(lambda: all_current(list(ADDRESSES)), "five servers with one leader, all of them caught up")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{deployment.log('east-0')[-4000:]}") from None
        yield deployment


def test_the_servers_are_one_cluster(five: Deployment) -> None:
    seen = all_current(list(ADDRESSES))
    assert seen
    assert {entry["cluster_id"] for entry in seen.values()} == {five.token}
    assert [entry["leader"] for entry in seen.values()].count(True) == 1
    assert {entry["version"] for entry in seen.values()} == {"2.15.2"}
    assert len({entry["id"] for entry in seen.values()} - {""}) == len(ADDRESSES)
    for entry in seen.values():
        assert [peer["name"] for peer in entry["peers"]] == sorted(ADDRESSES)
        assert {peer["name"]: peer["address"] for peer in entry["peers"]} == {name: on_wire(address) for name, address in ADDRESSES.items()}
        assert {peer["id"] for peer in entry["peers"]} == {other["id"] for other in seen.values()}
    assert json.loads(get(ADDRESSES["west-1"], "/varz")["body"])["jetstream"]["meta"]["cluster_size"] == len(ADDRESSES)


def test_the_probes_of_the_spec_succeed(five: Deployment) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = five.spec[probe]["httpGet"]["path"]
        assert [get(address, path)["status"] for address in ADDRESSES.values()] == [200] * len(ADDRESSES), probe


def test_a_value_written_in_the_east_is_read_in_the_west(five: Deployment) -> None:
    east = Client(ADDRESSES["east-0"], context(five.pki))
    made = east.request("$JS.API.STREAM.CREATE.orders", STREAM)
    assert "error" not in made
    assert east.request("orders.1", b"hello")["seq"] == 1
    east.close()
    west = Client(ADDRESSES["west-1"], context(five.pki))
    read = west.request("$JS.API.STREAM.MSG.GET.orders", b'{"seq": 1}')
    west.close()
    assert read["message"]["data"] == "aGVsbG8="


def test_gates_follow_the_replicas_of_a_stream(five: Deployment) -> None:
    """A server that is away while a client writes: the others may not stop, it may come back, and settles once it has caught up."""
    members = list(ADDRESSES)
    east = Client(ADDRESSES["east-0"], context(five.pki))
    east.request("$JS.API.STREAM.CREATE.parcels", STREAM.replace(b"orders", b"parcels"))
    durable = {"durable_name": "desk", "ack_policy": "explicit", "num_replicas": 5}
    made = east.request("$JS.API.CONSUMER.CREATE.parcels.desk", json.dumps({"stream_name": "parcels", "config": durable}).encode())
    assert "error" not in made, made
    single = b'{"name": "cache", "subjects": ["cache.>"], "num_replicas": 1}'
    assert "error" not in east.request("$JS.API.STREAM.CREATE.cache", single)
    wait_for(lambda: not closed(five, "settled", "west-1", members), "open gates")
    seen = inspect(members)
    # At least the meta group, a stream and a consumer.
    assert sum(entry["leads"] for entry in seen.values()) >= 3
    assert [name for entry in seen.values() for name in entry["alone"]] == ["stream cache"]
    for kind in gate.GENERIC:
        assert closed(five, kind, "west-1", members) == []
    holder = next(name for name, entry in seen.items() if entry["alone"])
    gone = next(name for name in ("west-1", "west-0", "east-2") if name != holder and not seen[name]["leader"])
    five.stop(gone, signal.SIGKILL)
    rest = [name for name in members if name != gone]
    for number in range(50):
        assert "seq" in east.request(f"parcels.{number}", b"x" * 100)

    def told() -> set[str]:
        return {str(found["asset"]) for entry in inspect(rest).values() for found in entry["lagging"] if found["server"] == gone}

    wait_for(lambda: told() >= {"stream parcels", "meta group"}, "the leaders to miss a replica")
    other = next(name for name in rest if name != "east-0")
    assert any("replicas on other servers" in text for text in closed(five, "stop", other, rest))
    assert wait_for(lambda: not closed(five, "admit", gone, rest), "the others to be up to date") is True
    assert closed(five, "settled", gone, rest) != []
    five.start(gone, state="existing")
    wait_for(lambda: not closed(five, "settled", gone, members), "the server to have caught up")
    for name in ("parcels", "cache"):
        assert east.request(f"$JS.API.STREAM.DELETE.{name}")["success"]
    east.close()


def undead(process: str, members: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who sees this server, and who cannot tell, of `members`: the gates `alive` and `dead`."""
    wanted = {"member": process, "process": process, "id": "", "address": on_wire(ADDRESSES[process])}
    seen = gate.document(inspect(members), process, list(ADDRESSES), [wanted])
    return gate.evaluate(gate.PROOF["alive"], seen), gate.evaluate(gate.PROOF["dead"], seen)


def test_the_others_tell_whether_a_server_lives(five: Deployment) -> None:
    """One that runs is seen; one without a word is not taken for dead while its connections are open; one that was killed is dead."""
    seen = wait_for(lambda: all_current(list(ADDRESSES)), "five servers")
    leader = next(name for name, entry in seen.items() if entry["leader"])
    one = next(name for name in ADDRESSES if name != leader)
    rest = [name for name in ADDRESSES if name != one]
    alive, proof = undead(one, rest)
    assert alive == proof == [f"still alive: member {one} at {on_wire(ADDRESSES[one])} (seen by {leader})"]
    # Without the leader nobody hears from it: they are connected with it, and that is no proof of anything.
    assert undead(one, [name for name in rest if name != leader])[0] == []
    assert "cannot tell" in undead(one, [name for name in rest if name != leader])[1][0]
    five.processes[one].send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: not undead(one, rest)[0], "the leader to hear nothing", seconds=20)
        assert "cannot tell" in undead(one, rest)[1][0]
    finally:
        five.processes[one].send_signal(signal.SIGCONT)
    wait_for(lambda: undead(one, rest)[0], "the leader to hear from it again")
    five.stop(one, signal.SIGKILL)
    assert wait_for(lambda: not undead(one, rest)[1], "everybody to know that it is dead", seconds=20)
    five.start(one, state="existing")
    wait_for(lambda: undead(one, rest)[0] and all_current(list(ADDRESSES)), "the server back")


def test_clients_are_refused_without_a_certificate_of_the_ca(five: Deployment, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(ADDRESSES["east-0"], context(five.pki, client=""))
    other = Deployment(tmp_path, "nats", five.spec, bindings(["east-0"]), five.executable)
    other.certificates()
    foreign = context(five.pki, client="")
    foreign.load_cert_chain(other.pki / "clients" / "client.crt", other.pki / "clients" / "client.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(ADDRESSES["east-0"], foreign)
    with socket.create_connection((on_wire(ADDRESSES["east-0"]), CLIENT), timeout=10) as plain:
        plain.sendall(b"CONNECT {}\r\nPING\r\n")
        said = b""
        while chunk := plain.recv(65536):
            said += chunk
    assert b"PONG" not in said


def test_a_client_with_what_is_in_its_folder(five: Deployment) -> None:
    """The variables are those of the nats CLI, which is not here: this client reads the files that they name."""
    folder, environment = five.client("alice")
    known = ssl.create_default_context(cafile=str(folder / environment["NATS_CA"]))
    known.load_cert_chain(folder / environment["NATS_CERT"], folder / environment["NATS_KEY"])
    urls = [urllib.parse.urlsplit(url) for url in environment["NATS_URL"].split(",")]
    assert [(url.scheme, url.hostname, url.port) for url in urls] == [("tls", on_wire(address), CLIENT) for address in ADDRESSES.values()]
    with contextlib.closing(Client(ADDRESSES["west-1"], known)) as client:
        assert client.request("$SYS.REQ.USER.INFO")["data"]["account"] == "$G"


def test_monitoring_is_on_loopback_alone(five: Deployment) -> None:
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((on_wire(ADDRESSES["east-0"]), MONITOR), timeout=5)


def test_a_server_of_another_token_or_another_ca_stays_outside(five: Deployment, tmp_path: Path) -> None:
    spec = five.spec
    stranger = [binding("north", 0, "192.0.2.31")]
    other_token = Deployment(tmp_path / "token", "nats", spec, [*five.bindings, *stranger], five.executable, token="nats-ffffffff")
    other_token.pki.parent.mkdir()
    other_token.pki.symlink_to(five.pki)
    with other_token.running(["north-0"]):
        wait_for(lambda: "cluster name" in other_token.log("north-0") or "cluster name" in five.log("east-0"), "a refusal by name")
    other_ca = Deployment(tmp_path / "ca", "nats", spec, [*five.bindings, *stranger], five.executable, token=five.token)
    other_ca.pki.parent.mkdir()
    with other_ca.running(["north-0"]):
        wait_for(lambda: re.search(r"certificate signed by unknown authority|bad certificate", other_ca.log("north-0")), "a refusal by TLS")
    seen = all_current(list(ADDRESSES))
    assert seen
    assert {peer["name"] for entry in seen.values() for peer in entry["peers"]} == set(ADDRESSES)


def test_a_reload_reads_certificates_again_and_keeps_the_routes(five: Deployment) -> None:
    expires = json.loads(get(ADDRESSES["west-0"], "/varz")["body"])["tls_cert_not_after"]
    time.sleep(1.1)  # certificates carry whole seconds
    for file in ("west-0/server.crt", "west-0/server.key"):
        (five.pki / file).unlink()
    five.command("west-0")  # writes the certificates anew
    five.processes["west-0"].send_signal(signal.SIGHUP)
    wait_for(lambda: re.search(r"Reloaded server configuration|Failed to reload.*", five.log("west-0")), "the reload")
    assert "Failed to reload" not in five.log("west-0")
    now = json.loads(get(ADDRESSES["west-0"], "/varz")["body"])
    assert now["tls_cert_not_after"] > expires
    assert now["cluster"]["tls_cert_not_after"] == now["tls_cert_not_after"]
    assert wait_for(lambda: all_current(list(ADDRESSES)), "all current after the reload")


def test_lame_duck_ends_a_server_and_hands_its_leadership_over(five: Deployment) -> None:
    leader = next(name for name, entry in inspect(list(ADDRESSES)).items() if entry["leader"])
    started = time.monotonic()
    five.processes[leader].send_signal(signal.SIGUSR2)
    five.processes[leader].send_signal(signal.SIGTERM)  # as the kubelet does right after the hook
    assert five.processes.pop(leader).wait(40) in (0, 1)
    assert time.monotonic() - started < five.spec["grace_seconds"]
    others = [name for name in ADDRESSES if name != leader]
    seen = wait_for(lambda: (found := inspect(others)) and all(entry["healthy"] for entry in found.values()) and found, "a new leader")
    assert [entry["leader"] for entry in seen.values()].count(True) == 1
    gone = inspect([leader])[leader]
    assert not gone["reachable"]
    assert gone["reason"]
    five.start(leader)
    wait_for(lambda: all_current(list(ADDRESSES)), "the server back")


def test_servers_on_older_copies_of_their_disks_are_told(five: Deployment) -> None:
    members = list(ADDRESSES)
    five.copy_disks()
    wait_for(lambda: all_current(members), "all servers back")
    with contextlib.closing(Client(ADDRESSES["east-0"], context(five.pki))) as client:
        for number in range(20):
            stream = {"name": f"later-{number}", "subjects": [f"later.{number}"], "num_replicas": 1}
            assert "error" not in client.request(f"$JS.API.STREAM.CREATE.later-{number}", json.dumps(stream).encode())
    # Whoever has applied all of it says so itself.
    wait_for(lambda: len({entry["applied_index"] for entry in inspect(members).values()}) == 1, "everybody to have applied it")
    seen = inspect(members)
    recorded = progress.with_progress(five.bindings, seen)
    assert [progress.went_back(entry, seen[entry["member"]]) for entry in recorded] == [""] * 5
    five.restore_disks()
    seen = wait_for(lambda: all_current(members), "all servers back again")
    for entry in recorded:
        assert re.search("older copy of its disk.* applied_index .* after ", progress.went_back(entry, seen[entry["member"]])), seen


def test_empty_servers_without_a_majority_of_the_routes_elect_nobody(tmp_path: Path) -> None:
    """The reason for naming all members in the routes: two of five that are cut off must not become a cluster."""
    members = list(ADDRESSES)
    # Other addresses than the running five have.
    moved = [binding(m.rsplit("-", 1)[0], int(m.rsplit("-", 1)[1]), ADDRESSES[m].replace("192.0.2.", "192.0.2.1")) for m in members]
    alone = Deployment(tmp_path, "nats", system_spec("nats"), moved, binary("nats-server"))
    with alone.running(["west-0", "west-1"]):
        address = {item["member"]: item["address"] for item in moved}
        for member in ("west-0", "west-1"):
            wait_for(lambda: get(address[member], "/healthz?js-enabled-only=true")["status"] == 200, "the start")  # noqa: B023
        deadline = time.monotonic() + 12  # elections take 4 to 9 seconds
        while time.monotonic() < deadline:
            for member in ("west-0", "west-1"):
                assert get(address[member], "/healthz?js-meta-only=true")["status"] != 200
            time.sleep(0.5)


def test_growth_from_three_to_four(tmp_path: Path) -> None:
    first = [binding("east", ordinal, f"192.0.2.{151 + ordinal}") for ordinal in range(3)]
    address = {item["member"]: item["address"] for item in [*first, binding("west", 0, "192.0.2.161")]}
    small = Deployment(tmp_path, "nats", system_spec("nats"), first, binary("nats-server"))

    def look(members: Sequence[str]) -> dict[str, Json]:
        return nats.inspection({m: {name: get(address[m], path) for name, path in questions().items()} for m in members})

    with small.running():
        names = [item["member"] for item in first]
        wait_for(lambda: not not_joined(look(names), names), "three servers")
        assert not_joined(look(names), ["west-0"]) == ["west-0"]
        small.bindings.append(binding("west", 0, "192.0.2.161"))
        small.hostnet["kube_clusters"].append({"name": "west"})
        small.start("west-0", state="existing")
        names.append("west-0")
        wait_for(lambda: not not_joined(look(names), names), "the fourth server")
        assert json.loads(get(address["east-0"], "/varz")["body"])["jetstream"]["meta"]["cluster_size"] == 4


def as_system(deployment: Deployment, member: str, subject: str, seed: bytes = b"", **body: Any) -> Json:
    address = next(str(item["address"]) for item in deployment.bindings if item["member"] == member)
    pki = deployment.pki
    files = nats_client.Files(
        str(pki / "ca.crt"), str(pki / member / "server.crt"), str(pki / member / "server.key"), str(pki / "system.nk")
    )
    question = nats_client.Question(subject, body)
    with contextlib.closing(Wire(on_wire(address), CLIENT)) as wire:
        return nats_client.converse(wire, files.context(), on_wire(address), seed or nats_client.read_seed(files.nkey), question)


def test_a_server_leaves_for_good(tmp_path: Path) -> None:
    """From servers that know no accounts: a reload, the removal of a server that is down, and its replicas elsewhere."""
    address = {member: text.replace("192.0.2.", "192.0.2.2") for member, text in ADDRESSES.items()}
    moved = [binding(m.rsplit("-", 1)[0], int(m.rsplit("-", 1)[1]), address[m]) for m in ADDRESSES]
    before = system_spec("nats", system_nats_system_account=False)
    deployment = Deployment(tmp_path, "nats", before, moved, binary("nats-server"))
    gone_gates = yaml.safe_load((CHECKOUT / "roles/system_nats/vars/main.yml").read_text())["system_nats_gone"]
    members = list(ADDRESSES)

    def look(asked: Sequence[str]) -> dict[str, Json]:
        return nats.inspection({m: {name: get(address[m], path) for name, path in questions().items()} for m in asked})

    def closed_gates(gates: Sequence[Json], member: str, asked: Sequence[str]) -> list[str]:
        return gate.evaluate(gates, gate.document(look(asked), member, asked))

    def ready(asked: Sequence[str]) -> bool:
        return not closed_gates([*gate.GENERIC["settled"], *before["gates"]["settled"]], "", asked)

    with deployment.running(), contextlib.ExitStack() as clients:
        wait_for(lambda: ready(members) and not not_joined(look(members), members), "five servers")
        old = clients.enter_context(contextlib.closing(Client(address["east-0"], context(deployment.pki))))
        for name, replicas in (("orders", 3), ("wide", 4), ("pairs", 2)):
            made = old.request(
                f"$JS.API.STREAM.CREATE.{name}",
                json.dumps({"name": name, "subjects": [f"{name}.>"], "num_replicas": replicas}).encode(),
            )
            assert "error" not in made, made
        durable = {"durable_name": "desk", "ack_policy": "explicit"}
        made = old.request("$JS.API.CONSUMER.CREATE.orders.desk", json.dumps({"stream_name": "orders", "config": durable}).encode())
        assert "error" not in made, made
        for number in range(20):
            assert old.request(f"orders.{number}", b"x")["seq"] == number + 1
            assert "seq" in old.request(f"pairs.{number}", b"y")
        wait_for(lambda: ready(members), "all replicas")

        # A configuration without accounts: nobody is the system's user.
        deployment.spec = system_spec("nats")
        for member in members:
            deployment.command(member)
        leader = next(name for name, entry in look(members).items() if entry["leader"])
        with pytest.raises(nats_client.Unknown):
            as_system(deployment, leader, "$SYS.REQ.USER.INFO")
        started = {m: json.loads(get(address[m], "/varz")["body"])["start"] for m in members}
        for member in members:
            deployment.processes[member].send_signal(signal.SIGHUP)
            wait_for(lambda: "Reloaded server configuration" in deployment.log(member), "the reload")  # noqa: B023
            assert "Failed to reload" not in deployment.log(member)
        assert as_system(deployment, leader, "$SYS.REQ.USER.INFO")["data"]["account"] == "$SYS"
        with pytest.raises(nats_client.Unknown, match="refuses"):
            as_system(deployment, leader, "$SYS.REQ.USER.INFO", seed=bytes(range(32)))
        # Neither a client that was there nor a new one needs credentials, and both are where they were. Nothing has restarted.
        assert "seq" in old.request("orders.20", b"x")
        fresh = clients.enter_context(contextlib.closing(Client(address["west-1"], context(deployment.pki))))
        assert fresh.request("$JS.API.STREAM.INFO.orders")["state"]["messages"] == 21
        assert fresh.request("$SYS.REQ.USER.INFO")["data"]["account"] == "$G"
        assert {m: json.loads(get(address[m], "/varz")["body"])["start"] for m in members} == started
        # A second reload keeps it so, as every rotation of certificates will.
        deployment.processes[leader].send_signal(signal.SIGHUP)
        wait_for(lambda: deployment.log(leader).count("Reloaded server configuration") == 2, "the second reload")
        assert as_system(deployment, leader, "$SYS.REQ.USER.INFO")["data"]["account"] == "$SYS"
        assert "seq" in old.request("orders.21", b"x")
        wait_for(lambda: ready(members), "all current after the reload")

        leave = deployment.spec["gates"]["leave"]
        assert closed_gates(leave, "west-1", members) == []
        assert gate.evaluate(leave, {**gate.document(look(members), "", members), "left": 3}) == [
            "streams with more replicas than servers would be left (nats stream edit STREAM --replicas N): stream wide (4 replicas)"
        ]
        holders = {a["asset"]: a["servers"] for entry in look(members).values() for a in entry["assets"]}
        gone = next(m for m in holders["stream orders"] if m != leader)
        number = look(members)[gone]["id"]
        forget = {"member": gone, "process": gone, "id": number, "address": address[gone]}
        with pytest.raises(ValueError, match="it answers"):
            nats.forgettable(look(members), forget)
        deployment.stop(gone)
        rest = [m for m in members if m != gone]

        def chosen() -> Json | None:
            with contextlib.suppress(ValueError):
                return nats.forgettable(look(rest), forget)
            return None

        found = wait_for(chosen, "the leader to know")
        assert found["id"] == number
        assert as_system(deployment, found["ask"], "$JS.API.SERVER.REMOVE", peer=gone, peer_id=number)["success"] is True
        filled = json.loads(json.dumps(gone_gates).replace("{{ hostnet_forget.id }}", number))
        wait_for(lambda: not closed_gates(filled, gone, rest), "its replicas elsewhere", 90)
        assert nats.forgettable(look(rest), forget) == {"ask": "", "id": ""}
        again = as_system(deployment, found["ask"], "$JS.API.SERVER.REMOVE", peer=gone, peer_id=number)
        assert again["error"]["err_code"] == 10044
        seen = wait_for(lambda: (now := look(rest)) and ready(rest) and now, "four servers")
        for entry in seen.values():
            assert [peer["name"] for peer in entry["peers"]] == sorted(rest)
        left = next(m for m in rest if seen[m]["leader"])
        assert json.loads(get(address[left], "/varz")["body"])["jetstream"]["meta"]["cluster_size"] == 4
        last = clients.enter_context(contextlib.closing(Client(address[rest[0]], context(deployment.pki))))
        for stream, replicas in (("orders", 3), ("wide", 4), ("pairs", 2)):
            info = last.request(f"$JS.API.STREAM.INFO.{stream}")
            group = info["cluster"]
            servers = {group["leader"], *(peer["name"] for peer in group["replicas"])}
            assert len(servers) == replicas, stream
            assert servers <= set(rest), stream
            assert all(peer["current"] for peer in group["replicas"]), stream
        assert last.request("$JS.API.STREAM.INFO.orders")["state"]["messages"] == 22
        for sequence in range(1, 23):
            assert last.request("$JS.API.STREAM.MSG.GET.orders", json.dumps({"seq": sequence}).encode())["message"]["data"] == "eA=="
        assert last.request("orders.22", b"x")["seq"] == 23
