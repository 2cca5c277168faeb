# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are renewed in the lab while clients write: everybody serves the new ones, nobody is restarted. Looked at with OpenSSL's own eyes.

The commit chooses the system and placement of `make test`; `make soak` runs both.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from support.commit import part

from .harness import Choice, Json, Stage

pytestmark = pytest.mark.lab

CASES = [("etcd", "daemonset"), ("etcd", "node_name"), ("nats", "daemonset"), ("nats", "node_name")]


def chosen() -> list[Any]:
    now = set(part(CASES, 1))
    return [pytest.param(case, id="-".join(case), marks=[] if case in now else [pytest.mark.long]) for case in CASES]


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    system, placement = request.param
    found = Stage(Choice(system, placement, "certificates"), tmp_path)
    found.verb("up", "east:3,west:2")
    found.remove()
    found.deploy()
    try:
        yield found
    finally:
        found.remove()


def address(stage: Stage, kube: str, node: str) -> str:
    found = next(item for item in stage.nodes(kube) if item.metadata.name == node)
    return str(next(entry.address for entry in found.status.addresses if entry.type == "InternalIP"))


def served(stage: Stage, member: str) -> dict[str, str]:
    """Serial by port, as a client that knows nothing of the collection sees it."""
    kube, node = stage.members()[member]
    folder, found = stage.pki / member, {}
    for wish in stage.spec["certificates"]:
        for port, begins in wish.get("ports", {}).items():
            context = ssl.create_default_context(cafile=str(stage.pki / "ca.crt"))
            context.load_cert_chain(folder / f"{wish['file']}.crt", folder / f"{wish['file']}.key")
            host = address(stage, kube, node)
            with socket.create_connection((host, int(stage.spec["ports"][port])), timeout=10) as raw:
                while begins == "greeting" and raw.recv(1) != b"\n":
                    pass
                with context.wrap_socket(raw, server_hostname=host) as stream:
                    found[port] = f"{x509.load_der_x509_certificate(stream.getpeercert(binary_form=True) or b'').serial_number:x}"
    return found


def on_controller(stage: Stage, member: str) -> dict[str, str]:
    return {
        port: f"{x509.load_pem_x509_certificate((stage.pki / member / (wish['file'] + '.crt')).read_bytes()).serial_number:x}"
        for wish in stage.spec["certificates"]
        for port in wish.get("ports", {})
    }


def processes(stage: Stage) -> dict[str, tuple[str, int, datetime]]:
    """Pod, restarts and beginning of each member's process: what a rotation must not change."""
    found = {}
    for kube in stage.kube_clusters:
        pods = stage.core(kube).list_namespaced_pod(stage.namespace, label_selector=names.deployment_selector(stage.choice.name)).items
        for pod in pods:
            status = pod.status.container_statuses[0]
            found[pod.spec.node_name] = (pod.metadata.uid, status.restart_count, status.state.running.started_at)
    return found


def secrets(stage: Stage) -> Json:
    selector = names.deployment_selector(stage.choice.name)
    return {
        item.metadata.name: item.metadata.annotations.get(names.CERTIFICATES_ANNOTATION)
        for kube in stage.kube_clusters
        for item in stage.core(kube).list_namespaced_secret(stage.namespace, label_selector=selector).items
    }


@pytest.mark.parametrize("stage", chosen(), indirect=True)
def test_all_certificates_are_rotated_by_a_run_that_is_killed_and_one_that_goes_on(stage: Stage, tmp_path: Path) -> None:
    members = sorted(stage.members())
    before = {member: served(stage, member) for member in members}
    assert before == {member: on_controller(stage, member) for member in members}
    running, stored = processes(stage), secrets(stage)

    planned = stage.start("rotate_certificates.yml", check=True, hostnet_renew_certificates=["all"]).wait()
    assert planned.rc == 0, planned.failure
    assert before == {member: on_controller(stage, member) for member in members}
    assert secrets(stage) == stored

    unknown = stage.play("rotate_certificates.yml", hostnet_renew_certificates=["east-9"])
    assert unknown.rc
    assert "renew (hostnet_renew_certificates): 'east-9' has no certificate here" in unknown.failure

    with stage.load(most_down=0) as load:
        first = stage.start("rotate_certificates.yml", hostnet_renew_certificates=["all"])
        stage.until("the first Secret with a new certificate", lambda: first.process.poll() is not None or secrets(stage) != stored, 300)
        first.kill(group=True)
        first.wait()
        # It issued all of them, and brought some: the next run brings the others, and issues nothing.
        wanted = {member: on_controller(stage, member) for member in members}
        second = stage.play("rotate_certificates.yml")
        assert second.rc == 0, second.failure
        assert {member: on_controller(stage, member) for member in members} == wanted
        assert {member: served(stage, member) for member in members} == wanted
        third = stage.play("rotate_certificates.yml")
        verdict = load.end()
    print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert (third.rc, third.changed) == (0, []), (third.failure, third.changed)
    assert verdict["result"] == "holds", verdict["reasons"]
    assert all(wanted[member][port] != before[member][port] for member in members for port in before[member])
    assert processes(stage) == running, "somebody was restarted"

    # deploy.yml does the same with what it reissues: here because there is one more name.
    deployed = stage.play("deploy.yml", hostnet_certificate_hosts=["db.example.test"])
    assert deployed.rc == 0, deployed.failure
    assert {member: served(stage, member) for member in members} == {member: on_controller(stage, member) for member in members}
    assert all(served(stage, member) != wanted[member] for member in members)
    assert processes(stage) == running, "somebody was restarted"
    again = stage.play("deploy.yml", hostnet_certificate_hosts=["db.example.test"])
    assert (again.rc, again.changed) == (0, []), (again.failure, again.changed)

    # And the status says what those eyes see.
    file = tmp_path / "status.json"
    looked = stage.play(
        "status.yml", hostnet_status_served=True, hostnet_status_file=str(file), hostnet_certificate_hosts=["db.example.test"]
    )
    assert (looked.rc, looked.changed) == (0, []), (looked.failure, looked.changed)
    status = json.loads(file.read_text())
    assert status["warnings"] == []
    said = {entry["member"]: {port["port"]: f"{int(port['serial'], 16):x}" for port in entry["served"]} for entry in status["members"]}
    assert said == {member: served(stage, member) for member in members}
    assert all("DNS:db.example.test" in port["sans"] and port["current"] for entry in status["members"] for port in entry["served"])


def taken(stage: Stage, member: str, certificate: Path, key: Path) -> dict[str, bool]:
    """Whether each port takes this client's certificate, as a client that knows nothing of the collection finds out in TLS 1.2."""
    kube, node = stage.members()[member]
    host, found = address(stage, kube, node), {}
    for wish in stage.spec["certificates"]:
        for port, begins in wish.get("ports", {}).items():
            context = ssl.create_default_context(cafile=str(stage.pki / "ca.crt"))
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate, key)
            with socket.create_connection((host, int(stage.spec["ports"][port])), timeout=10) as raw:
                while begins == "greeting" and raw.recv(1) != b"\n":
                    pass
                try:
                    context.wrap_socket(raw, server_hostname=host).close()
                except ssl.SSLError as error:
                    if "ALERT" not in str(error.reason):
                        raise
                    found[port] = False
                else:
                    found[port] = True
    return found


@pytest.mark.parametrize("stage", chosen(), indirect=True)
def test_the_ca_is_exchanged_and_nobody_is_cut_off(stage: Stage, tmp_path: Path) -> None:
    """Three phases, each under load, the first one killed on the way. etcd is restarted member by member for two of them, NATS never."""
    members = sorted(stage.members())
    restarts = stage.spec.get("reload_ca") == "restart"
    most_down = 1 if restarts else 0
    old_client = [tmp_path / name for name in ("client.crt", "client.key")]
    for place in old_client:
        place.write_bytes((stage.pki / "clients" / place.name).read_bytes())
        place.chmod(0o600)
    ports = sorted(served(stage, members[0]))
    everybody, nobody = ({member: dict.fromkeys(ports, said) for member in members} for said in (True, False))

    def cas() -> list[str]:
        found = x509.load_pem_x509_certificates((stage.pki / "ca.crt").read_bytes())
        return [certificate.fingerprint(hashes.SHA256()).hex() for certificate in found]

    def exchange(phase: str) -> None:
        run = stage.play("rotate_ca.yml", hostnet_ca_phase=phase)
        assert run.rc == 0, run.failure

    def settled(phase: str) -> None:
        assert {member: served(stage, member) for member in members} == {member: on_controller(stage, member) for member in members}
        again = stage.play("rotate_ca.yml", hostnet_ca_phase=phase)
        assert (again.rc, again.changed) == (0, []), (again.failure, again.changed)
        deployed = stage.play("deploy.yml")
        assert (deployed.rc, deployed.changed) == (0, []), (deployed.failure, deployed.changed)

    (old,) = cas()
    running, before = processes(stage), {member: served(stage, member) for member in members}
    with stage.load(most_down=most_down) as load:
        first = stage.start("rotate_ca.yml", hostnet_ca_phase="trust")
        stage.until("the first trust revision", lambda: first.process.poll() is not None or bool(stage.config_map("east", "trust-2")), 600)
        first.kill(group=True)
        first.wait()
        exchange("trust")
        verdicts = [load.end()]
    (new,) = set(cas()) - {old}
    assert {member: served(stage, member) for member in members} == before
    assert {member: taken(stage, member, *old_client) for member in members} == everybody
    probe = [stage.pki / "trust" / f"{new[:16]}.{ending}" for ending in ("crt", "key")]
    assert {member: taken(stage, member, *probe) for member in members} == everybody
    settled("trust")
    both = processes(stage)
    assert (both == running) != restarts

    with stage.load(most_down=0) as load:
        exchange("issue")
        verdicts.append(load.end())
    assert cas() == [new, old]
    assert processes(stage) == both, "somebody was restarted for another issuer"
    settled("issue")

    with stage.load(most_down=most_down) as load:
        exchange("drop")
        verdicts.append(load.end())
    assert cas() == [new]
    assert {member: taken(stage, member, *old_client) for member in members} == nobody
    assert {
        member: taken(stage, member, stage.pki / "clients/client.crt", stage.pki / "clients/client.key") for member in members
    } == everybody
    settled("drop")
    assert (processes(stage) == both) != restarts
    for verdict in verdicts:
        print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert [verdict["result"] for verdict in verdicts] == ["holds"] * 3, [verdict["reasons"] for verdict in verdicts]
