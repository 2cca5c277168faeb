# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real etcds and nats-servers whose hosts have IPv6 addresses, and deployments of one IPv4 and two IPv6 members.

What only IPv6 can get wrong: brackets in flags, configuration and join lists, addresses in certificates, and addresses that come
back from the systems in another spelling. The rest of both systems is in test_etcd_server.py and test_nats_server.py.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from jinja2 import Environment

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate, join
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd, nats
from support.collection import CHECKOUT
from support.kube_api import binary
from support.member import IPV6_NETWORK, Deployment, Json, binding, ipv6_addresses, loopback, not_joined, on_wire, system_spec

# With letters and a zero at the end, so that a comparison as text, in another case or with a shorter address, shows. Last bytes differ.
_EAST_0, _WEST_0, _WEST_1, _OTHER = (str(IPV6_NETWORK[number]) for number in (0xAB10, 0xAB20, 0xABC0, 0xABD0))
FAMILIES = {
    "ipv6": {"east-0": _EAST_0, "west-0": _WEST_0, "west-1": _WEST_1},
    "mixed": {"east-0": "192.0.2.171", "west-0": _WEST_0, "west-1": _WEST_1},
}
# An IPv6 member in both; the reader is the IPv4 member of a mixed deployment.
WRITER, READER = "west-1", "east-0"
SECONDS = 180.0


@pytest.fixture(scope="module", autouse=True)
def _addresses() -> Iterator[None]:
    missing = ""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ipv6_addresses([_EAST_0, _WEST_0, _WEST_1, _OTHER]))
        except OSError as error:
            missing = str(error)
        if missing:
            pytest.fail(missing, pytrace=False)
        yield


def made(folder: Path, system: str, addresses: Mapping[str, str], certificate_hosts: Sequence[str] = ()) -> Deployment:
    bindings = [binding(member.rsplit("-", 1)[0], int(member[-1]), address) for member, address in addresses.items()]
    deployment = Deployment(folder, system, system_spec(system), bindings, binary("nats-server" if system == "nats" else system))
    deployment.hostnet["certificate_hosts"] = list(certificate_hosts)
    return deployment


def url_host(address: str) -> str:
    return join.bracketed(on_wire(address))


def wait_for(condition: Callable[[], Any], what: str, deployment: Deployment) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        if any(process.poll() is not None for process in deployment.processes.values()):
            break
        time.sleep(0.2)
    logs = "\n".join(f"{member}: {deployment.log(member)[-2000:]}" for member in deployment.processes)
    raise AssertionError(f"not within {SECONDS} s, or a process has ended: {what}\n{logs}")


def http(address: str, port: int, path: str) -> Json:
    """One answer as member_exec's `http` gives it."""
    try:
        with urllib.request.urlopen(f"http://{loopback(address)}:{port}{path}", timeout=10) as answer:
            return {"status": answer.status, "body": answer.read().decode(), "error": ""}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, "body": error.read().decode(), "error": ""}
    except OSError as error:
        return {"status": 0, "body": "", "error": str(error)}


def probe_statuses(deployment: Deployment, addresses: Mapping[str, str]) -> set[int]:
    """What the HTTP probes of the spec get from all members; a probe's port is the one of loopback."""
    (port,) = deployment.spec["local_ports"].values()
    paths = [deployment.spec[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    return {http(address, int(port), path)["status"] for address in addresses.values() for path in paths}


def named_addresses(certificate: Path) -> set[str]:
    names = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(address) for address in names.value.get_values_for_type(x509.IPAddress)}


def context(pki: Path, client: bool = True) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if client:
        made.load_cert_chain(pki / "clients" / "client.crt", pki / "clients" / "client.key")
    return made


def refused(deployment: Deployment, address: str, port: int, client: bool, greeting: bool = False) -> bool:
    """Whether the server ends the connection of somebody who trusts it, with a `client` certificate or with none."""
    with socket.create_connection((on_wire(address), port), timeout=30) as raw:
        if greeting:
            _line(raw)
        try:
            with context(deployment.pki, client).wrap_socket(raw, server_hostname=on_wire(address)) as stream:
                # In TLS 1.3 the client learns of it with the first bytes that it reads; a server that is content may wait for ours.
                stream.settimeout(2 if client else 30)
                return stream.recv(1) == b""
        except TimeoutError:
            return False
        except (ssl.SSLError, ConnectionError):
            return True


def _line(raw: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):  # not a byte more: the rest of the stream is TLS
        byte = raw.recv(1)
        if not byte:
            raise ConnectionError("the server closed the connection")
        line += byte
    return line


# etcd


def etcdctl(deployment: Deployment, address: str, certificate: Path, words: Sequence[str]) -> Json:
    """etcdctl with the role's own argument list, as member_exec runs and returns it."""
    role = yaml.safe_load((CHECKOUT / "roles/system_etcd/vars/main.yml").read_text())
    defaults = yaml.safe_load((CHECKOUT / "roles/system_etcd/defaults/main.yml").read_text())
    environment = Environment(autoescape=False)  # noqa: S701 - no HTML
    argv = [environment.from_string(word).render(defaults) for word in role["system_etcd_ctl"]]
    argv = [word.replace("{host}", url_host(address)) for word in argv]
    argv = [word.replace("{certs}/ca.crt", str(deployment.pki / "ca.crt")) for word in argv]
    argv = [word.replace("{certs}/server", str(certificate)) for word in argv]
    done = subprocess.run([str(binary("etcdctl")), *argv[1:], *words], capture_output=True, text=True, check=False)
    return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "error": ""}


def etcd_inspect(deployment: Deployment, addresses: Mapping[str, str]) -> dict[str, Json]:
    asked = {"status": ["endpoint", "status", "--write-out=json"], "members": ["member", "list", "--write-out=json"]}
    answers = {
        member: {
            name: etcdctl(deployment, address, deployment.folder / member / "certs" / "server", words) for name, words in asked.items()
        }
        for member, address in addresses.items()
    }
    targets = [{"member": member, "variables": {"address": on_wire(address)}} for member, address in addresses.items()]
    return etcd.inspection(answers, targets, deployment.spec)


def etcd_formed(deployment: Deployment, addresses: Mapping[str, str]) -> dict[str, Json] | None:
    seen = etcd_inspect(deployment, addresses)
    # The name of a member is in the list from its first start on.
    return seen if all(entry["healthy"] and all(peer["name"] for peer in entry["peers"]) for entry in seen.values()) else None


@pytest.fixture(scope="module", params=list(FAMILIES))
def etcds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, dict[str, str]]]:
    addresses = FAMILIES[request.param]
    # etcd compares the address that a peer's connection comes from with the peer's certificate. All members here have one
    # host, and Linux takes the dialled IPv6 address for the source too where it is the host's own.
    hosts = [address for address in addresses.values() if ":" in address]
    deployment = made(tmp_path_factory.mktemp(request.param), "etcd", addresses, hosts)
    with deployment.running():
        wait_for(lambda: etcd_formed(deployment, addresses), "three healthy etcds", deployment)
        yield deployment, addresses


def test_flags_of_etcd_have_brackets(tmp_path: Path) -> None:
    addresses = FAMILIES["mixed"]
    deployment = made(tmp_path, "etcd", addresses)
    wanted = {member: url_host(address) for member, address in addresses.items()}
    assert wanted["west-0"] == f"[{_WEST_0}]"
    assert wanted["east-0"] == on_wire("192.0.2.171")
    for member, host in wanted.items():
        argv, environment = deployment.command(member)
        assert f"--listen-peer-urls=https://{host}:2380" in argv
        assert f"--initial-advertise-peer-urls=https://{host}:2380" in argv
        assert f"--listen-client-urls=https://{host}:2379,https://{loopback(addresses[member])}:2379" in argv
        assert f"--advertise-client-urls=https://{host}:2379" in argv
        assert f"--listen-metrics-urls=http://{loopback(addresses[member])}:2381" in argv
        joined = ",".join(f"{name}=https://{other}:2380" for name, other in wanted.items())
        assert environment["HOSTNET_INITIAL_CLUSTER"] == joined
        assert f"--initial-cluster={joined}" in argv
        assert environment["HOSTNET_ADDRESS"] == on_wire(addresses[member])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("system", "files"), [("etcd", ["server", "peer"]), ("nats", ["server"])])
def test_certificates_name_the_addresses(tmp_path: Path, system: str, files: Sequence[str], family: str) -> None:
    deployment = made(tmp_path, system, FAMILIES[family])
    deployment.certificates()
    for member, address in FAMILIES[family].items():
        for file in files:
            on_loopback = {"127.0.0.1", "::1"} if ":" in address else {"127.0.0.1"}
            assert named_addresses(deployment.pki / member / f"{file}.crt") == {on_wire(address), *on_loopback}


def test_etcds_are_one_cluster(etcds: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = etcds
    seen = wait_for(lambda: etcd_formed(deployment, addresses), "three healthy etcds", deployment)
    assert len({entry["cluster_id"] for entry in seen.values()} - {""}) == 1
    assert [entry["leader"] for entry in seen.values()].count(True) == 1
    for entry in seen.values():
        assert {peer["name"]: peer["address"] for peer in entry["peers"]} == {name: on_wire(address) for name, address in addresses.items()}
        assert {peer["name"]: peer["member"] for peer in entry["peers"]} == {name: name for name in addresses}
    for name, address in addresses.items():
        with pytest.raises(ValueError, match=f"as the voter {name}"):
            etcd.known(seen, ipaddress.ip_address(on_wire(address)).exploded.upper())
    assert not etcd.known(seen, str(IPV6_NETWORK[0xAB1]))
    # The member has the same address in another spelling: nothing is to be changed.
    moved = {"member": WRITER, "process": WRITER, "address": ipaddress.ip_address(addresses[WRITER]).exploded}
    assert etcd.readdressing(seen, moved) == []
    for kind in gate.GENERIC:
        gates = [*gate.GENERIC[kind], *deployment.spec["gates"].get(kind, [])]
        assert gate.evaluate(gates, gate.document(seen, "west-0", list(addresses))) == []


def test_probes_of_etcd_succeed_on_loopback_alone(etcds: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = etcds
    assert wait_for(lambda: probe_statuses(deployment, addresses) == {200}, "all probes to succeed", deployment)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((addresses[WRITER], 2381), timeout=30)


def test_a_key_written_through_one_etcd_is_read_from_another(etcds: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = etcds
    client = deployment.pki / "clients" / "client"

    def done(address: str, *words: str) -> Json:
        answer: Json = wait_for(
            lambda: (said := etcdctl(deployment, address, client, words))["rc"] == 0 and said, " ".join(words), deployment
        )
        return answer

    done(addresses[WRITER], "put", "colour", "green")
    assert done(addresses[READER], "get", "colour", "--print-value-only")["stdout"] == "green\n"


def test_etcd_refuses_clients_without_a_certificate(etcds: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = etcds
    for port in (2379, 2380):
        assert not refused(deployment, addresses[WRITER], port, client=True)
        assert refused(deployment, addresses[WRITER], port, client=False)


def test_etcd_refuses_a_peer_whose_certificate_lacks_the_address_that_it_comes_from(tmp_path: Path) -> None:
    """Why hostnet_certificate_hosts needs the other addresses of hosts in a deployment of both families."""
    # Other addresses than those of the running three.
    deployment = made(tmp_path, "etcd", {"east-0": "192.0.2.172", "west-0": _OTHER})
    with deployment.running():
        wait_for(lambda: "does not match any of DNSNames" in deployment.log("west-0"), "west-0 to refuse east-0", deployment)


# NATS


def nats_inspect(addresses: Mapping[str, str]) -> dict[str, Json]:
    questions = yaml.safe_load((CHECKOUT / "roles/system_nats/vars/main.yml").read_text())["system_nats_questions"]
    return nats.inspection(
        {
            member: {name: http(address, 8222, str(question["path"])) for name, question in questions.items()}
            for member, address in addresses.items()
        }
    )


def nats_formed(addresses: Mapping[str, str]) -> dict[str, Json] | None:
    seen = nats_inspect(addresses)
    formed = all(entry["healthy"] for entry in seen.values()) and not not_joined(seen, list(addresses))
    return seen if formed and all(peer["address"] for entry in seen.values() for peer in entry["peers"]) else None


def nats_request(address: str, tls: ssl.SSLContext, subject: str, body: bytes = b"") -> Json:
    """One request as a client: https://docs.nats.io/reference/reference-protocols/nats-protocol"""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(socket.create_connection((on_wire(address), 4222), timeout=60))
        assert _line(raw).startswith(b"INFO ")
        stream = stack.enter_context(tls.wrap_socket(raw, server_hostname=on_wire(address)))
        reader = stack.enter_context(stream.makefile("rb"))
        said = b'CONNECT {"verbose":false,"pedantic":false,"lang":"test","version":"1"}\r\nSUB _INBOX.test 1\r\n'
        stream.sendall(said + f"PUB {subject} _INBOX.test {len(body)}\r\n".encode() + body + b"\r\n")
        while True:
            words = reader.readline().split()
            if not words or words[0] == b"-ERR":
                raise ConnectionError(b" ".join(words).decode() or "the server closed the connection")
            if words[0] == b"MSG":
                return dict(json.loads(reader.read(int(words[-1]) + 2)))


@pytest.fixture(scope="module", params=list(FAMILIES))
def natses(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, dict[str, str]]]:
    addresses = FAMILIES[request.param]
    deployment = made(tmp_path_factory.mktemp(request.param), "nats", addresses)
    with deployment.running():
        wait_for(lambda: nats_formed(addresses), "three healthy nats-servers", deployment)
        yield deployment, addresses


def test_routes_of_nats_have_brackets(tmp_path: Path) -> None:
    addresses = FAMILIES["mixed"]
    deployment = made(tmp_path, "nats", addresses)
    joined = ",".join(f"nats://{url_host(address)}:6222" for address in addresses.values())
    assert f"nats://[{_WEST_0}]:6222" in joined
    for member, address in addresses.items():
        argv, environment = deployment.command(member)
        assert f"--routes={joined}" in argv
        assert environment["HOSTNET_NATS_HOST"] == f'"{on_wire(address)}"'
        assert f'http: "{loopback(address)}:8222"' in (tmp_path / member / "config" / "nats.conf").read_text()


def test_nats_servers_are_one_cluster(natses: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = natses
    seen = wait_for(lambda: nats_formed(addresses), "three healthy nats-servers", deployment)
    assert {entry["cluster_id"] for entry in seen.values()} == {deployment.token}
    assert [entry["leader"] for entry in seen.values()].count(True) == 1
    for entry in seen.values():
        assert {peer["name"]: peer["address"] for peer in entry["peers"]} == {name: on_wire(address) for name, address in addresses.items()}
    for member, address in addresses.items():
        assert json.loads(http(address, 8222, "/varz")["body"])["jetstream"]["meta"]["cluster_size"] == len(addresses)
        for kind in gate.GENERIC:
            gates = [*gate.GENERIC[kind], *deployment.spec["gates"].get(kind, [])]
            assert wait_for(
                lambda: not gate.evaluate(gates, gate.document(nats_inspect(addresses), member, list(addresses))),  # noqa: B023 - used at once
                f"an open gate {kind} of {member}",
                deployment,
            )


def test_probes_of_nats_succeed_on_loopback_alone(natses: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = natses
    assert wait_for(lambda: probe_statuses(deployment, addresses) == {200}, "all probes to succeed", deployment)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((addresses[WRITER], 8222), timeout=30)


def test_a_message_stored_through_one_server_is_read_from_another(natses: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = natses
    tls = context(deployment.pki)
    stream = b'{"name": "orders", "subjects": ["orders.>"], "num_replicas": 3}'

    def done(address: str, subject: str, body: bytes) -> Json:
        def answered() -> Json | None:
            said = nats_request(address, tls, subject, body)
            return None if "error" in said else said

        answer: Json = wait_for(answered, f"an answer on {subject}", deployment)
        return answer

    done(addresses[WRITER], "$JS.API.STREAM.CREATE.orders", stream)
    assert done(addresses[WRITER], "orders.1", b"hello")["seq"] == 1
    read = done(addresses[READER], "$JS.API.STREAM.MSG.GET.orders", b'{"seq": 1}')
    assert read["message"]["data"] == "aGVsbG8="


def test_nats_refuses_clients_without_a_certificate(natses: tuple[Deployment, dict[str, str]]) -> None:
    deployment, addresses = natses
    assert not refused(deployment, addresses[WRITER], 4222, client=True, greeting=True)
    assert refused(deployment, addresses[WRITER], 4222, client=False, greeting=True)
    assert not refused(deployment, addresses[WRITER], 6222, client=True)
    assert refused(deployment, addresses[WRITER], 6222, client=False)
