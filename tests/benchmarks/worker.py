# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that is measured inside of its process: python -m benchmarks.worker WHAT < given.json prints {seconds, ...}.

For what Ansible does in a process that has been started and has imported everything: action plugins, filters, inventory plugins.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def host_certificates(given: Json) -> Json:
    """What the action plugin does once it has read its options. {certificates: wanted ones, folder}"""
    from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
    from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import Lifetime

    class NoVault:
        def encrypt(self, plain: bytes, where: str) -> bytes:
            raise AssertionError(where)

        decrypt = encrypt

        def check_encrypt(self, where: str) -> None:
            raise AssertionError(where)

    request = Request(Path(given["folder"]), given["certificates"], Lifetime(365, 30))
    begun = time.monotonic()
    result = ensure_certificates(request, NoVault(), datetime.datetime.now(datetime.UTC))
    seconds = time.monotonic() - begun
    issued = sum(certificate["reissued"] for certificate in result["certificates"])
    return {"seconds": seconds, "issued": issued}


def bare_certificates(given: Json) -> Json:
    """A key and a certificate for each host, with the library alone, and both as files. {certificates, folder}"""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder = Path(given["folder"])
    now = datetime.datetime.now(datetime.UTC)

    def builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=365))
        )

    begun = time.monotonic()
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare CA")])
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = builder(ca_name, ca_name, ca_key).add_extension(x509.BasicConstraints(True, None), critical=True).sign(ca_key, hashes.SHA256())
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    for wanted in given["certificates"]:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in wanted["ip_addresses"]]
        names += [x509.DNSName(name) for name in wanted["dns_names"]]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted["common_name"])])
        certificate = (
            builder(subject, ca_name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(usages, critical=False)
            .add_extension(authority, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        home = folder / wanted["name"]
        home.mkdir()
        (home / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (home / "server.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
    return {"seconds": time.monotonic() - begun}


def inventory(given: Json) -> Json:
    """What Ansible does with an inventory file before the first play. {file}"""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader, inventory_loader

    init_plugin_loader()
    inventory_loader.get("hostnet.multicluster.nodes")
    begun = time.monotonic()
    found = InventoryManager(loader=DataLoader(), sources=[given["file"]])
    seconds = time.monotonic() - begun
    return {"seconds": seconds, "hosts": len(found.get_hosts("hostnet_nodes"))}


def bare_lists(given: Json) -> Json:
    """The same nodes with nothing but LIST and json, of all kube clusters at the same time. {kubeconfigs, path}"""
    from benchmarks.plain import Connection

    def read(kubeconfig: str) -> int:
        connection = Connection(kubeconfig)
        try:
            return len(connection.items(given["path"]))
        finally:
            connection.close()

    begun = time.monotonic()
    with ThreadPoolExecutor(len(given["kubeconfigs"])) as pool:
        hosts = sum(pool.map(read, given["kubeconfigs"]))
    return {"seconds": time.monotonic() - begun, "hosts": hosts}


def _perform(name: str, args: Json) -> Json:
    import importlib

    return _performed(importlib.import_module(f"ansible_collections.hostnet.multicluster.plugins.modules.{name}"), args)


def _performed(module: Any, args: Json) -> Json:
    from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator

    from ansible_collections.hostnet.multicluster.plugins.module_utils import _call

    params = ModuleArgumentSpecValidator(module.ARGUMENTS).validate(args).validated_parameters
    result = _call.perform(module.ARGUMENTS, module.run, params, False, False)
    if result.get("failed"):
        raise RuntimeError(result["msg"])
    return result


def _seen(facts: Json) -> Any:
    """What is known about a deployment, as the module deployment_observe reads it; nobody is asked."""
    from ansible_collections.hostnet.multicluster.plugins.modules import deployment_observe

    class Run:
        """The module as its action plugin runs it."""

        ARGUMENTS = deployment_observe.ARGUMENTS

        @staticmethod
        def run(call: Any) -> Json:
            return deployment_observe.observe(call, None, lambda *_answers: {}, lambda _line: None, {})

    hostnet = facts["hostnet"]
    given = {"kube_clusters": hostnet["kube_clusters"], "hostnet": hostnet, "spec": facts["spec"]}
    return _performed(Run, given)["deployment"]


def plan(given: Json) -> Json:
    """The plan of a rollout of all members, and the reads that it needs. {facts: file} -> {seconds: of the plan, reads: of those}"""
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment, rollout

    facts = json.loads(Path(given["facts"]).read_text())
    hostnet, spec = facts["hostnet"], facts["spec"]
    named = {"kube_clusters": hostnet["kube_clusters"], "name": hostnet["name"], "namespace": hostnet["namespace"]}
    begun = time.monotonic()
    seen = _seen(facts)
    _perform("rollout_journal", {**named, "op": "read"})
    read = time.monotonic()
    nodes, observed = seen["nodes"], seen["kube_clusters"]
    # It was planned with the reading; what that takes belongs to the plan.
    planned = deployment.deployment_plan(hostnet, spec, nodes, observed)
    seconds = time.monotonic() - read
    status = classify.deployment_status(hostnet, planned, nodes, observed, facts["inspection"])
    rolled = rollout.rollout_plan(hostnet, spec, facts["request"], planned, nodes, status, None, facts["inspection"])
    whole = time.monotonic() - read
    if rolled["errors"]:
        raise RuntimeError("; ".join(rolled["errors"])[:2000])
    return {"seconds": whole, "reads": read - begun - seconds, "members": len(rolled["members"])}


def join_list(given: Json) -> Json:
    """The objects of a deployment, applied once as they are and once with a member fewer in the join lists. {facts} -> {requests: of both, changed}"""
    from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.placement import deployment_objects

    facts = json.loads(Path(given["facts"]).read_text())
    hostnet, spec = facts["hostnet"], facts["spec"]
    seen = _seen(facts)
    planned = seen["plan"]
    first = next(entry["member"] for entry in planned["members"] if entry["address"] == planned["seeds"][0])

    def apply(gone: str) -> tuple[Json, float]:
        there = {
            name: {**found, "pods": [{**pod, "ready": pod["ready"] and pod["member"] != gone} for pod in found["pods"]]}
            for name, found in seen["kube_clusters"].items()
        }
        known: Any = {**seen, "kube_clusters": there}
        objects = deployment_objects(hostnet, spec, planned["identity"], planned["members"], known, facts["certificates"])
        begun = time.monotonic()
        return _perform("manifests", {"kube_clusters": hostnet["kube_clusters"], "objects": objects}), time.monotonic() - begun

    nothing, _seconds = apply("")
    rewritten, seconds = apply(first)
    apply("")
    return {
        "seconds": seconds,
        "objects": len(rewritten["objects"]),
        "before": sum(item["action"] != "unchanged" for item in nothing["objects"]),
        "changed": sum(item["action"] == "changed" for item in rewritten["objects"]),
        "patches": rewritten["requests"] - nothing["requests"],
    }


WHAT: dict[str, Callable[[Json], Json]] = {
    function.__name__: function for function in (host_certificates, bare_certificates, inventory, bare_lists, plan, join_list)
}


def main() -> None:
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="hostnet-bench-") as folder:
        print(json.dumps(WHAT[sys.argv[1]]({"folder": folder, **given})))


if __name__ == "__main__":
    main()
