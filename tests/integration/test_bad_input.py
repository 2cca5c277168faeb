# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml with bad input: one clear error, and nothing was changed. Real API servers, no kubelets: it never gets that far.

What only the nodes can tell (a port already taken, leftover data, clocks) is in the tests of probe_errors.
"""

from __future__ import annotations

import datetime
import secrets
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.kube_api import KubeApi, create_node
from support.run import PlayRun, run_playbook

Json = dict[str, Any]

NODES = (("east", "east-1", "10.0.0.1"), ("east", "east-2", "10.0.0.12"), ("west", "west-1", "10.0.1.1"))


class Deployment:
    """One deploy with a name, namespace and pki folder of its own; `changes` are variables that differ from a good run."""

    def __init__(self, kubes: Mapping[str, KubeApi], folder: Path) -> None:
        self.kubes = dict(kubes)
        self.folder = folder
        self.name = f"bad-{secrets.token_hex(3)}"
        self.pki = folder / "pki"
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": {"ansible_connection": "local"}}}}))
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.variables: Json = {
            "hostnet_system": "etcd",
            "hostnet_name": self.name,
            "hostnet_pki_dir": str(self.pki),
            "hostnet_kube_clusters": [kube.entry for kube in kubes.values()],
            "hostnet_timeout_seconds": 20,
            "hostnet_node_selector": "!node-role.kubernetes.io/control-plane",
        }

    @property
    def namespace(self) -> str:
        return f"hostnet-{self.name}"

    def kube_clusters(self, name: str, **changes: Any) -> None:
        """Change how one kube cluster is reached; an option of None is left out."""
        entries = []
        for kube in self.kubes.values():
            entry = {**kube.entry, **changes} if kube.name == name else kube.entry
            entries.append({key: value for key, value in entry.items() if value is not None})
        self.variables["hostnet_kube_clusters"] = entries

    def nodes(self, *nodes: tuple[str, str, str], **options: Any) -> None:
        for kube_cluster, name, address in nodes:
            create_node(self.kubes[kube_cluster], name, address=address, **options)

    def run(self, check: bool = False) -> PlayRun:
        return run_playbook(
            "deploy.yml",
            self.inventory,
            check=check,
            variables=self.variables,
            arguments=self.arguments,
            environment=self.environment,
        )

    def state(self) -> Json:
        """Everything that a deploy could have changed."""
        found: Json = {"pki": sorted(str(path.relative_to(self.folder)) for path in self.pki.rglob("*") if path.name != ".lock")}
        for name, kube in self.kubes.items():
            listed = kube.request_json("GET", "/api/v1/nodes")["items"]
            found[f"{name} nodes"] = {node["metadata"]["name"]: node["metadata"]["labels"] for node in listed}
            for path in (
                "/api/v1/configmaps",
                "/api/v1/secrets",
                "/api/v1/pods",
                "/apis/apps/v1/statefulsets",
                "/apis/apps/v1/daemonsets",
                "/apis/policy/v1/poddisruptionbudgets",
            ):
                items = kube.request_json("GET", path)["items"]
                found[f"{name} {path}"] = sorted(
                    item["metadata"]["name"] for item in items if item["metadata"]["namespace"] == self.namespace
                )
            try:
                kube.request_json("GET", f"/api/v1/namespaces/{self.namespace}")
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
            else:
                found[f"{name} namespace"] = True
        return found

    def refused(self, *parts: str, check: bool = False) -> str:
        """The one error of a run, which says all of `parts` and changed nothing."""
        before = self.state()
        run = self.run(check)
        after = self.state()
        assert run.rc != 0, run.output
        messages = [str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed"]
        assert len(messages) == 1, run.output
        message = messages[0]
        for part in parts:
            assert part in message, f"{part!r} is not in: {message}"
        assert "Traceback" not in run.output
        assert "\n" not in message.strip()
        assert after == before
        return message


@pytest.fixture
def deployment(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path) -> Deployment:
    return Deployment({"east": kube_api, "west": kube_api_two}, tmp_path)


# -- settings ------------------------------------------------------------------------------------------------------


def test_unknown_system(deployment: Deployment) -> None:
    deployment.variables["hostnet_system"] = "etdc"
    deployment.refused('hostnet_system is "etdc"', "use one of cockroachdb, etcd, nats", "docs/systems.md")


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("hostnet_placement", "deployment", ("hostnet_placement is 'deployment'", "node_name, daemonset")),
        ("hostnet_name", "Ledger_1", ("hostnet_name is 'Ledger_1'", "not a DNS label")),
    ],
)
def test_settings(deployment: Deployment, variable: str, value: str, parts: tuple[str, ...]) -> None:
    deployment.variables[variable] = value
    if variable == "hostnet_name":
        deployment.variables["hostnet_namespace"] = deployment.namespace
    message = deployment.refused(*parts)
    assert ";" not in message, "one error"


# -- kube clusters -------------------------------------------------------------------------------------------------


def test_kubeconfig_that_is_missing(deployment: Deployment) -> None:
    deployment.kube_clusters("west", kubeconfig="/nowhere/kubeconfig")
    deployment.refused("kube cluster west: kubeconfig: /nowhere/kubeconfig is missing")


def test_context_that_is_missing(deployment: Deployment) -> None:
    deployment.kube_clusters("west", context="wets")
    deployment.refused("kube cluster west: context: kubeconfig", "check the name of the context")


def test_kube_cluster_that_is_unreachable(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    deployment.kube_clusters("west", kubeconfig=None, context=None, host="https://127.0.0.1:9", api_key="x")
    deployment.refused("kube cluster west", "no answer from https://127.0.0.1:9", "check the kubeconfig")


def test_credentials_that_are_refused(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    west = deployment.kubes["west"]
    deployment.kube_clusters("west", kubeconfig=None, context=None, host=west.url, api_key="wrong", ca_cert=str(west.folder / "ca.crt"))
    message = deployment.refused("kube cluster west", "credentials were refused", "renew the token")
    assert "Bearer" not in message


def test_rights_that_are_missing(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    deployment.kube_clusters("west", kubeconfig=deployment.kubes["west"].user_kubeconfig("nobody"))
    deployment.refused("kube cluster west", "forbidden", "docs/rbac.yaml")


def test_kube_cluster_that_the_inventory_lists_as_absent(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    del deployment.variables["hostnet_kube_clusters"]
    source = {
        "plugin": "hostnet.multicluster.nodes",
        "kube_clusters": [
            *(kube.entry for kube in deployment.kubes.values()),
            {"name": "north", "host": "https://127.0.0.1:9", "api_key": "x"},
        ],
        "absent_ok": ["north"],
    }
    deployment.inventory = deployment.folder / "test.hostnet.yml"
    deployment.inventory.write_text(yaml.safe_dump(source))
    deployment.refused("kube cluster north did not answer", "unreachable is not dead", "Bring its API server back")


# -- nodes ---------------------------------------------------------------------------------------------------------


def test_nobody_said_which_nodes(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    del deployment.variables["hostnet_node_selector"]
    said = deployment.refused("hostnet_node_selector is not set", "node_selector in the inventory", "-e hostnet_node_selector=")
    assert said == deployment.refused("for example", check=True)
    # Nor in an inventory of the plugin, which lists all of them then.
    del deployment.variables["hostnet_kube_clusters"]
    source = {"plugin": "hostnet.multicluster.nodes", "kube_clusters": [kube.entry for kube in deployment.kubes.values()]}
    deployment.inventory = deployment.folder / "test.hostnet.yml"
    deployment.inventory.write_text(yaml.safe_dump(source))
    assert deployment.refused("hostnet_node_selector is not set") == said


def test_a_selector_that_would_make_too_many_voters(deployment: Deployment) -> None:
    deployment.nodes(*(("east", f"east-{number}", f"10.0.0.{number}") for number in range(1, 9)))
    deployment.refused("8 members would be", "at most 7", "https://etcd.io/docs/", "-e system_etcd_max_members=8")


def test_no_node_matches(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    deployment.variables["hostnet_node_selector"] = "role=db"
    deployment.refused("no node matches: selector 'role=db'", "kube clusters east, west", "hostnet_node_selector")


def test_fewer_nodes_than_the_system_needs(deployment: Deployment) -> None:
    deployment.nodes(*NODES[:2])
    deployment.refused("2 nodes match in kube clusters east, west, but etcd needs at least 3")


def test_two_nodes_with_one_address(deployment: Deployment) -> None:
    deployment.nodes(*NODES, ("west", "west-2", "10.0.0.1"))
    deployment.refused("node east-1 (kube cluster east) and node west-2 (kube cluster west) have the same address 10.0.0.1")


def test_node_without_the_address_type(deployment: Deployment) -> None:
    deployment.nodes(*NODES[:2])
    create_node(deployment.kubes["west"], "west-1", addresses=[{"type": "Hostname", "address": "west-1"}])
    deployment.refused("node west-1 (kube cluster west) has no address of type InternalIP (it has: Hostname)", "hostnet_address_type")


def test_annotation_that_is_no_address(deployment: Deployment) -> None:
    for number, address in enumerate(("192.0.2.1", "192.0.2.2", "backbone")):
        create_node(deployment.kubes["east"], f"east-{number}", address=f"10.0.0.{number}", annotations={"example.com/ip": address})
    deployment.variables["hostnet_address_type"] = "example.com/ip"
    deployment.refused(
        "node east-2 (kube cluster east): annotation example.com/ip is 'backbone', which is not a plain IP address", "annotation"
    )


def test_daemonset_with_both_address_families(deployment: Deployment) -> None:
    deployment.nodes(*NODES, ("west", "west-2", "fd00::1"))
    deployment.variables["hostnet_placement"] = "daemonset"
    deployment.refused("kube cluster west mixes IPv4 and IPv6 nodes", "hostnet_placement=node_name")


def test_even_number_of_voters_is_a_warning_and_check_changes_nothing(deployment: Deployment) -> None:
    deployment.nodes(*NODES, ("west", "west-2", "10.0.1.2"))
    before = deployment.state()
    run = deployment.run(check=True)
    assert run.rc == 0, run.output
    assert "4 voters: an even number survives no more failures than 3" in run.output
    assert deployment.state() == before


# -- namespace and records -----------------------------------------------------------------------------------------


def make_namespace(deployment: Deployment, **labels: str) -> None:
    body = {"metadata": {"name": deployment.namespace, "labels": {key.replace("__", "/"): value for key, value in labels.items()}}}
    for kube in deployment.kubes.values():
        kube.request_json("POST", "/api/v1/namespaces", body)


def test_namespace_that_forbids_host_networking(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    body = {"metadata": {"name": deployment.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    deployment.kubes["west"].request_json("POST", "/api/v1/namespaces", body)
    deployment.refused(
        f"kube cluster west: namespace {deployment.namespace} forbids host networking",
        "pod-security.kubernetes.io/enforce=restricted",
        "label it privileged",
    )


def record(deployment: Deployment, **changes: str) -> None:
    make_namespace(deployment)
    data = {
        "token": "t",
        "system": "etcd",
        "placement": "node_name",
        "ca_fingerprint": "ab" * 32,
        "members": "east-0,east-1,west-0",
        "claimed_by": "x",
        **changes,
    }
    labels = {"hostnet.multicluster/deployment": deployment.name}
    for kube in deployment.kubes.values():
        body = {"metadata": {"name": f"{deployment.name}-identity", "labels": labels}, "data": data}
        kube.request_json("POST", f"/api/v1/namespaces/{deployment.namespace}/configmaps", body)


@pytest.mark.parametrize(("field", "value"), [("system", "nats"), ("placement", "daemonset")])
def test_name_of_another_deployment(deployment: Deployment, field: str, value: str) -> None:
    deployment.nodes(*NODES)
    record(deployment, **{field: value})
    deployment.refused(
        f"deployment {deployment.name} in namespace {deployment.namespace} is recorded with {field} '{value}'", "another hostnet_name"
    )


def test_identity_of_another_ca(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    record(deployment)
    own_ca(deployment, authority())
    deployment.refused("ab" * 32, "fingerprint")


def test_identity_without_the_ca_on_this_controller(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    record(deployment)
    deployment.refused(
        "relies on the CA", "ab" * 32, "does not exist on this controller", "restore the folder", "with ca.crt and ca.key from a backup"
    )


# -- CA and pki folder ---------------------------------------------------------------------------------------------


def authority(ca: bool = True, begin: int = -10, end: int = 3650) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM; `begin` and `end` are days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begin))
        .not_valid_after(now + datetime.timedelta(days=end))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def own_ca(deployment: Deployment, pair: tuple[bytes, bytes]) -> None:
    certificate, key = deployment.folder / "own.crt", deployment.folder / "own.key"
    certificate.write_bytes(pair[0])
    key.write_bytes(pair[1])
    key.chmod(0o600)
    deployment.variables["hostnet_ca"] = {"certificate": str(certificate), "private_key": str(key)}


@pytest.mark.parametrize(
    ("pair", "parts"),
    [
        pytest.param(
            lambda: authority(ca=False), ("own.crt", "is not a CA certificate", "give the CA's own certificate"), id="cannot sign"
        ),
        pytest.param(lambda: authority(begin=-20, end=-10), ("own.crt", "expired"), id="expired"),
        pytest.param(lambda: authority(end=100), ("own.crt", "valid_days"), id="ends before its leaf"),
        pytest.param(lambda: (authority()[0], authority()[1]), ("own.key", "does not match", "own.crt"), id="key of another one"),
    ],
)
def test_ca_that_cannot_be_used(deployment: Deployment, pair: Callable[[], tuple[bytes, bytes]], parts: tuple[str, ...]) -> None:
    deployment.nodes(*NODES)
    own_ca(deployment, pair())
    deployment.refused(*parts)


def test_wrong_vault_password(deployment: Deployment) -> None:
    from ansible.constants import DEFAULT_VAULT_ID_MATCH
    from ansible.parsing.vault import VaultLib, VaultSecret

    deployment.nodes(*NODES)
    certificate, key = authority()
    secret = VaultSecret(b"right")
    own_ca(deployment, (certificate, VaultLib([(DEFAULT_VAULT_ID_MATCH, secret)]).encrypt(key, secret)))
    password = deployment.folder / "password"
    password.write_text("not-this-one\n")
    deployment.arguments = ["--vault-password-file", str(password)]
    message = deployment.refused("own.key", "wrong vault password")
    assert "not-this-one" not in message


def test_pki_folder_that_cannot_be_written(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    # Not even root can write here.
    deployment.variables["hostnet_pki_dir"] = "/proc/hostnet-pki"
    deployment.refused("pki folder", "/proc")


def test_pki_folder_below_a_file(deployment: Deployment) -> None:
    deployment.nodes(*NODES)
    (deployment.folder / "file").write_text("")
    deployment.variables["hostnet_pki_dir"] = str(deployment.folder / "file" / "pki")
    deployment.refused("pki folder", "is not a folder")
