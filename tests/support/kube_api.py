# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real kube-apiserver and etcd processes for module tests, on loopback and on free ports.

There are no controllers and no kubelets here: a StatefulSet gets no pods, a deleted namespace stays Terminating and
a Node has the status that a test gives it. RBAC, Pod Security, server-side apply and watches are the real thing.
The ServiceAccount admission plugin is off, because nothing makes the default accounts.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import datetime
import io
import ipaddress
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .collection import cache_root

LIMITED_CLASS = "limited"
_START_SECONDS = 90.0
_PR_SET_PDEATHSIG = 1
_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def binary(name: str) -> Path:
    """The path of a Kubernetes or etcd binary.

    Raises FileNotFoundError with the remedy when there is none.
    """
    folder = Path(os.environ.get("HOSTNET_TEST_BIN") or cache_root() / "bin")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `molecule/lab/lab binaries` (or set HOSTNET_TEST_BIN)")
    return path


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on.

    Below those that the kernel gives to outgoing connections: between this and the start of the server one of them may take any of those.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = random.randint(12000, 29999)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    return found


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Authority:
    """A throw-away CA: `issue` gives (certificate, key) in PEM."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(subject, subject, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(_CA_USAGE, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    @staticmethod
    def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    def issue(self, name: str, groups: Sequence[str] = (), server: bool = False) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            self._builder(x509.Name(attributes), self.certificate.subject, key)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            # Python 3.13 verifies with VERIFY_X509_STRICT, which wants this extension in every leaf.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if server:
            loopback: list[x509.GeneralName] = [
                x509.DNSName("localhost"),
                x509.DNSName("kubernetes.default.svc"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(loopback), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return certificate, private_pem(key)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class KubeApi:
    """One kube cluster that is only its API server.

    `name` is the context's name, `kubeconfig` the path of a kubeconfig with that one context (cluster admin), `url`
    the server. `entry` is the shape that the modules' `kube_clusters` option takes.
    """

    def __init__(self, name: str, *flags: str) -> None:
        """`flags` are further ones of the kube-apiserver."""
        self.name = name
        self.flags = flags
        self.folder = Path(tempfile.mkdtemp(prefix=f"hostnet-kube-{name}-"))
        self.kubeconfig = str(self.folder / "kubeconfig")
        self.url = self.etcd_url = ""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._authority = Authority(f"{name}-ca")
        self._clients: list[Any] = []

    @property
    def context(self) -> str:
        return self.name

    @property
    def entry(self) -> dict[str, str]:
        return {"name": self.name, "kubeconfig": self.kubeconfig, "context": self.name}

    def start(self) -> None:
        """Starts both processes without waiting for them; `wait` does that."""
        etcd_port, peer_port, api_port = _free_ports(3)
        self.url = f"https://127.0.0.1:{api_port}"
        self.etcd_url = f"http://127.0.0.1:{etcd_port}"
        self._write_keys()
        self._spawn(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={api_port}",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.folder}/server.crt",
            f"--tls-private-key-file={self.folder}/server.key",
            f"--client-ca-file={self.folder}/ca.crt",
            f"--service-account-key-file={self.folder}/accounts.pub",
            f"--service-account-signing-key-file={self.folder}/accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--disable-admission-plugins=ServiceAccount",
            f"--admission-control-config-file={self._write_admission()}",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.255.0.0/24",
            "--endpoint-reconciler-type=none",
            "--shutdown-delay-duration=0s",
            *self.flags,
        )
        self._write_kubeconfig(Path(self.kubeconfig), "admin", ["system:masters"])

    def _write_admission(self) -> Path:
        """As GKE does with its critical classes: a pod of class LIMITED_CLASS needs a quota of its namespace that covers it."""
        scope = {"scopeName": "PriorityClass", "operator": "In", "values": [LIMITED_CLASS]}
        limited = [{"resource": "pods", "matchScopes": [scope]}]
        quota = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": limited}
        plugins = [{"name": "ResourceQuota", "configuration": quota}]
        path = self.folder / "admission.yaml"
        path.write_text(yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}))
        return path

    def wait(self, seconds: float = _START_SECONDS) -> None:
        """Waits until /readyz answers; raises RuntimeError with the end of the logs when it does not."""
        trust = ssl.create_default_context(cadata=self._authority.pem.decode())
        certificate, key = self._authority.issue("probe", ["system:masters"])
        pair = self.folder / "probe.pem"
        pair.write_bytes(certificate + key)
        trust.load_cert_chain(pair)
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", context=trust, timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                ended = [process.args for process in self._processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"the API server {self.name} did not become ready: {error}\n{self._logs()}") from error
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the processes and removes their folder."""
        for client in self._clients:
            client.close()
        for process in reversed(self._processes):
            if process.poll() is None:
                # A stopped process would never see SIGTERM, and nothing here is worth a clean shutdown.
                process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def compact(self) -> None:
        """Makes etcd forget all versions but the present one, as the API server itself does every few minutes."""
        command = [str(binary("etcdctl")), "--endpoints", self.etcd_url]
        said = subprocess.run([*command, "endpoint", "status", "--write-out=json"], check=True, capture_output=True).stdout
        revision = json.loads(said)[0]["Status"]["header"]["revision"]
        subprocess.run([*command, "compact", str(revision)], check=True, capture_output=True)

    def pause(self) -> None:
        """Makes the API server hang: connections are accepted by the kernel and never answered."""
        self._processes[-1].send_signal(signal.SIGSTOP)
        # On a busy machine it serves on until one of its threads gets to read the signal.
        os.waitid(os.P_PID, self._processes[-1].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._processes[-1].send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """`pause` for the length of a with statement."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def admin(self) -> Any:
        """A `kubernetes.client.ApiClient` as cluster admin."""
        import kubernetes.config

        client = kubernetes.config.new_client_from_config(config_file=self.kubeconfig, context=self.name)
        self._clients.append(client)
        return client

    def core(self) -> Any:
        """`kubernetes.client.CoreV1Api` as cluster admin, made once."""
        import kubernetes.client

        if not hasattr(self, "_core"):
            self._core = kubernetes.client.CoreV1Api(self.admin())
        return self._core

    def user_kubeconfig(self, user: str, groups: Sequence[str] = ()) -> str:
        """The path of a kubeconfig whose user has no rights but those that a test binds to `user` or `groups`."""
        path = self.folder / f"kubeconfig-{user.replace(':', '-')}"
        self._write_kubeconfig(path, user, groups)
        return str(path)

    def request_json(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One raw API request as cluster admin: the decoded JSON answer.

        Raises urllib.error.HTTPError with the server's status.
        """
        if not hasattr(self, "_trust"):
            self._trust = ssl.create_default_context(cadata=self._authority.pem.decode())
            self._trust.load_cert_chain(self.folder / "probe.pem")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", content_type)
        request.add_header("Accept", "application/json")
        try:
            with urllib.request.urlopen(request, context=self._trust, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # It holds the connection, and lives as long as the test that expects it.
            with error:
                said = io.BytesIO(error.read())
            raise urllib.error.HTTPError(error.url, error.code, error.msg, error.headers, said) from None

    def _spawn(self, name: str, *arguments: str) -> None:
        log = open(self.folder / f"{name}.log", "wb")  # noqa: SIM115  # the child keeps it
        with log:
            self._processes.append(
                subprocess.Popen(
                    [str(binary(name)), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  # no threads yet: fixtures start these
                )
            )

    def _logs(self) -> str:
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def _write_keys(self) -> None:
        (self.folder / "ca.crt").write_bytes(self._authority.pem)
        certificate, key = self._authority.issue("kube-apiserver", server=True)
        (self.folder / "server.crt").write_bytes(certificate)
        (self.folder / "server.key").write_bytes(key)
        accounts = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "accounts.key").write_bytes(private_pem(accounts))
        (self.folder / "accounts.pub").write_bytes(
            accounts.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def _write_kubeconfig(self, path: Path, user: str, groups: Sequence[str]) -> None:
        certificate, key = self._authority.issue(user, groups)

        def encoded(value: bytes) -> str:
            return base64.b64encode(value).decode()

        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": self.name,
                    "cluster": {"server": self.url, "certificate-authority-data": encoded(self._authority.pem)},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
                }
            ],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user}}],
            "current-context": self.name,
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        path.chmod(0o600)


def create_node(
    kube: KubeApi,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    address: str | None = None,
    addresses: Sequence[Mapping[str, str]] | None = None,
    region: str | None = None,
    zone: str | None = None,
    provider_id: str | None = None,
    unschedulable: bool = False,
    taints: Sequence[Mapping[str, str]] = (),
    ready: bool = True,
    conditions: Sequence[Mapping[str, str]] | None = None,
    node_info: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Makes a Node with its status and returns the object as the API server keeps it.

    `address` is the InternalIP; `addresses` gives the whole `status.addresses` instead. `conditions` replaces the
    single Ready condition that `ready` gives. The name and host name labels are set as a kubelet sets them.
    """
    all_labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})}
    if region is not None:
        all_labels["topology.kubernetes.io/region"] = region
    if zone is not None:
        all_labels["topology.kubernetes.io/zone"] = zone
    spec: dict[str, Any] = {"unschedulable": unschedulable, "taints": [dict(taint) for taint in taints]}
    if provider_id is not None:
        spec["providerID"] = provider_id
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": all_labels, "annotations": dict(annotations or {})},
        "spec": spec,
    }
    kube.request_json("POST", "/api/v1/nodes", body)
    if addresses is None:
        addresses = [{"type": "Hostname", "address": name}]
        if address is not None:
            addresses = [{"type": "InternalIP", "address": address}, *addresses]
    if conditions is None:
        conditions = [{"type": "Ready", "status": "True" if ready else "False", "reason": "Test", "message": "test"}]
    info = {
        "kubeletVersion": "v1.36.3",
        "osImage": "test",
        "kernelVersion": "6.0.0",
        "machineID": name,
        "systemUUID": name,
        "bootID": f"boot-{name}",
        "architecture": "amd64",
        "operatingSystem": "linux",
        "containerRuntimeVersion": "containerd://2.4.2",
        "kubeProxyVersion": "",
        **(node_info or {}),
    }
    status = {"addresses": [dict(one) for one in addresses], "conditions": [dict(one) for one in conditions], "nodeInfo": info}
    patch = "application/merge-patch+json"
    kube.request_json("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, patch)
    # Admission taints each new Node as not ready, and no controller is here to take the taint away.
    result: dict[str, Any] = kube.request_json("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": spec["taints"]}}, patch)
    return result


def delete_nodes(kube: KubeApi) -> None:
    """Removes every Node."""
    kube.request_json("DELETE", "/api/v1/nodes")
