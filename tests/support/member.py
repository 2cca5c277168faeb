# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of a system as plain processes on 127.0.0.x, started as their rendered pods say: command, environment, files.

What is tested is the system role and the rendering: a wrong flag, a wrong path in a configuration or a certificate that
does not cover the address shows here in seconds, without a kube cluster. There is no kubelet: probes and hooks do not run.

Bindings have addresses of 192.0.2.0/24, because the plan refuses loopback; on the wire 192.0.2.N is 127.77.W.N, and the
loopback address of the member's host, which all members share here, is 127.78.W.N. W is the number of pytest's worker, so that two
of them may use one address. Addresses of IPV6_NETWORK are used as they are, because loopback has one IPv6 address only: `ipv6_addresses`
gives them to the interface. There 127.79.W.N is the host's loopback address, N being the last byte.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import yaml
from ansible.module_utils.parsing.convert_bool import boolean
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.clients import manage
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request, Vault
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import layout, member_certificates, placement, trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import Lifetime
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.trust_revisions import Trust

from .collection import CHECKOUT
from .kube_api import _die_with_parent

Json = dict[str, Any]

# A unique local network (RFC 4193) of these tests' own: nothing routes it, and no host has it by chance.
IPV6_NETWORK = ipaddress.ip_network("fd4b:7d1e:a52c:7001::/64")
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_HOST = re.compile(r"\b192\.0\.2\.(\d+)\b")
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def system_spec(system: str, role: Path | None = None, **variables: Any) -> Json:
    """The spec of a system role, templated with the role's own variables as Ansible does."""
    folder = role or CHECKOUT / "roles" / f"system_{system}"
    files = [path for path in (folder / "defaults" / "main.yml", folder / "vars" / "main.yml") if path.exists()]
    known = {key: value for path in files for key, value in (yaml.safe_load(path.read_text()) or {}).items()} | variables
    environment = NativeEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["bool"] = boolean

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return environment.from_string(value).render(known) if "{{" in value else value
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else value

    return cast(Json, filled(known[f"system_{system}_spec"]))


def binding(kube_cluster: str, ordinal: int, address: str, **other: Any) -> Json:
    member = f"{kube_cluster}-{ordinal}"
    return {
        "member": member,
        "kube_cluster": kube_cluster,
        "ordinal": ordinal,
        "node": f"{kube_cluster}-worker{ordinal}",
        "node_uid": f"uid-{member}",
        "provider_id": "",
        "address": address,
        "process": member,
        "admission": f"{member}-0123456789ab",
        "zone": f"zone-{ordinal}",
        "region": kube_cluster,
        **other,
    }


def on_wire(text: str, loopback_of: str = "") -> str:
    """`text` with the addresses that the processes really use; `loopback_of` is the member's address."""
    if loopback_of:
        text = re.sub(r"\b127\.0\.0\.1\b", loopback(loopback_of), text)
    return _HOST.sub(rf"127.77.{_WORKER}.\1", text)


def loopback(address: str) -> str:
    if ":" in address:
        return f"127.79.{_WORKER}.{ipaddress.ip_address(address).packed[-1]}"
    return _HOST.sub(rf"127.78.{_WORKER}.\1", address)


@contextlib.contextmanager
def ipv6_addresses(addresses: Sequence[str]) -> Iterator[None]:
    """Gives the loopback interface the `addresses` of IPV6_NETWORK; takes them away at the end.

    Raises PermissionError where that is not allowed, OSError where the system has no IPv6 or no `ip`.
    """

    def ip(verb: str, address: str) -> None:
        command = ["ip", "-6", "address", verb, f"{address}/128", "dev", "lo"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise OSError("`ip` is missing, which gives the loopback interface IPv6 addresses: install iproute2") from None
        if done.returncode:
            kind, remedy = (PermissionError, "run the test as root") if "not permitted" in done.stderr else (OSError, "is IPv6 enabled?")
            raise kind(f"`{' '.join(command)}` failed ({done.stderr.strip()}): {remedy}")

    with contextlib.ExitStack() as added:
        for address in addresses:
            if ipaddress.ip_address(address) not in IPV6_NETWORK:
                raise ValueError(f"{address} is not in {IPV6_NETWORK}: an address of somebody else's may not be taken away at the end")
            # Not `add`: a run that was killed has left its addresses.
            ip("replace", address)
            added.callback(ip, "delete", address)
        yield


class Wire:
    """A stream as _cluster.tls takes it, here without an API server between."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=20)
        self.send, self.close = self._socket.sendall, self._socket.close

    def receive(self) -> bytes:
        return self._socket.recv(65536)


class Deployment:
    """Renders a deployment of `bindings` into files below `folder` and starts members from them."""

    def __init__(self, folder: Path, system: str, spec: Json, bindings: Sequence[Json], executable: Path, token: str = "") -> None:
        self.folder, self.spec, self.executable = folder, spec, executable
        self.pki = folder / "pki"
        self.token = token or f"{system}-0a1b2c3d"
        self.hostnet: Json = {
            "name": system,
            "system": system,
            "placement": "node_name",
            "namespace": "test",
            "data_root": "/var/lib/hostnet",
            "pki_dir": str(self.pki),
            "image": spec["image"],
            "resources": {},
            "tolerations": [],
            "probe_image": "example.test/busybox:1",
            "clients": ["client"],
            "kube_clusters": [{"name": cluster} for cluster in sorted({str(item["kube_cluster"]) for item in bindings})],
        }
        self.bindings = list(bindings)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # The trust revision in force, None as long as there is only one CA, and no CA is exchanged.
        self.trust: Trust | None = None
        # When certificates are issued.
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def certificates(self) -> list[Json]:
        wanted = member_certificates.wanted_certificates(self.hostnet, self.spec, self.bindings)
        for entry in wanted:
            if "ip_addresses" in entry:
                entry["ip_addresses"] = [on_wire(address) for address in entry["ip_addresses"]]
        trust = self.trust
        request = Request(
            pki_dir=self.pki,
            certificates=wanted + trust_revisions.probes(trust),
            expected_ca_fingerprint=trust["issuer"] if trust else "",
            trusted_ca_fingerprints=trust["trusted"] if trust and trust["revision"] > 1 else [],
            lifetime=Lifetime(valid_days=10, renew_days=3),
            nkeys=self.spec.get("nkeys", []),
        )
        result = ensure_certificates(request, cast(Vault, None), self.clock())
        self.hostnet["nkeys"] = result["nkeys"]
        return cast(list[Json], result["certificates"])

    def client(self, user: str) -> tuple[Path, dict[str, str]]:
        """Has clients.yml's module issue a certificate for `user`; its folder, and what the environment file there sets."""
        request = Request(pki_dir=self.pki, certificates=[], lifetime=Lifetime(valid_days=10, renew_days=3))
        hostnet = {**self.hostnet, "pki_dir": str(self.pki)}
        manage(request, cast(Vault, None), hostnet, self.spec, self.bindings, None, ["east"], user, "", self.clock(), check_mode=False)
        folder = self.pki / "clients" / user
        (environment,) = folder.glob("*.env")
        return folder, dict(on_wire(line).split("=", 1) for line in environment.read_text().splitlines())

    def render(self, state: str = "new", seeds: Sequence[str] | None = None) -> list[Json]:
        identity = {"token": self.token, "ca_fingerprint": "00"}
        seeds = seeds or [str(item["address"]) for item in self.bindings]
        return placement.render_objects(self.hostnet, self.spec, identity, self.bindings, seeds, state, self.certificates())

    def command(self, member: str, state: str = "new") -> tuple[list[str], dict[str, str]]:
        """The member's argv and environment; its certificates and configuration are written where they say."""
        objects = self.render(state)
        by_name = {(item["definition"]["kind"], item["kube_cluster"], item["definition"]["metadata"]["name"]): item for item in objects}
        mine = next(item for item in self.bindings if item["member"] == member)
        key = (mine["kube_cluster"], f"{self.hostnet['name']}-{member}")
        pod = by_name[("StatefulSet", *key)]["definition"]["spec"]["template"]["spec"]
        home = self.folder / member
        places = {
            layout.CERTIFICATES_PATH: home / "certs",
            layout.CONFIG_PATH: home / "config",
            str(self.spec["data_path"]): home / "data",
        }
        for path in places.values():
            path.mkdir(parents=True, exist_ok=True)

        def local(text: str) -> str:
            for inside, outside in places.items():
                # Only whole paths: /data is not in https://host/database.
                text = re.sub(rf"(?<![\w/]){re.escape(inside)}(?![\w-])", str(outside), text)
            return on_wire(text, str(mine["address"]))

        for file, source in by_name[("Secret", *key)]["files"].items():
            shutil.copy(source, home / "certs" / file)
        for file, text in by_name[("Secret", *key)]["definition"].get("data", {}).items():
            (home / "certs" / file).write_text(local(base64.b64decode(text).decode()))
        config = by_name.get(("ConfigMap", mine["kube_cluster"], f"{self.hostnet['name']}-config"))
        for file, text in (config["definition"]["data"] if config else {}).items():
            (home / "config" / file).write_text(local(text))
        join = by_name[("ConfigMap", mine["kube_cluster"], f"{self.hostnet['name']}-join")]["definition"]["data"]
        container = pod["containers"][0]
        environment: dict[str, str] = {}
        for entry in container["env"]:
            value = entry["value"] if "value" in entry else join[entry["valueFrom"]["configMapKeyRef"]["key"]]
            environment[entry["name"]] = local(expanded(value, environment))
        words = [local(expanded(word, environment)) for word in container["args"]]
        return [str(self.executable), *words], environment

    def start(self, member: str, state: str = "new") -> subprocess.Popen[bytes]:
        argv, environment = self.command(member, state)
        with (self.folder / member / "log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                env={"PATH": os.environ["PATH"], **environment},
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only sets a flag of the new process
            )
        self.processes[member] = process
        return process

    def log(self, member: str) -> str:
        return (self.folder / member / "log").read_text()

    def stop(self, member: str, with_signal: int = signal.SIGTERM, seconds: float = 20) -> int:
        process = self.processes.pop(member)
        process.send_signal(with_signal)
        return process.wait(seconds)

    def copy_disks(self) -> None:
        """All members stop, snapshots are made of their disks, and they start again."""
        self._all_stopped(shutil.copytree)

    def restore_disks(self) -> None:
        """All members stop, and start again on what copy_disks has kept."""

        def restore(disk: Path, copy: Path) -> None:
            shutil.rmtree(disk)
            copy.rename(disk)

        self._all_stopped(restore)

    def _all_stopped(self, change: Callable[[Path, Path], object]) -> None:
        members = list(self.processes)
        for member in members:
            self.processes[member].kill()
        for member in members:
            self.processes.pop(member).wait()
            change(self.folder / member / "data", self.folder / member / "data-copy")
        for member in members:
            self.start(member, state="existing")

    @contextlib.contextmanager
    def running(self, members: Sequence[str] | None = None) -> Iterator[Deployment]:
        try:
            for item in self.bindings:
                if members is None or item["member"] in members:
                    self.start(str(item["member"]))
            yield self
        finally:
            for process in self.processes.values():
                process.kill()
            for process in self.processes.values():
                process.wait()
            self.processes.clear()


# JSClusterServerNotMemberErr of nats-server.
_NO_MEMBER = 10044


def nats_peer_removed(ask: Callable[..., Json], member: str) -> bool:
    """One try of a rescue by two survivors that takes `member` out of JetStream; `ask` is (whom, subject, body as keywords).

    Either may be carried out without an answer in time, while a leader is elected. A rescue is then told "a leader is known" for ever after, and a
    removal that the server is no member: what counts is who is listed in the end, which the caller looks at.
    """
    rescue = ask("west-0", "$JS.API.META.RESCUE", quorum_needed=2)
    removal = ask("west-1", "$JS.API.SERVER.REMOVE", peer=member)
    print(rescue, removal)
    error = removal.get("error")
    return bool(removal.get("success")) or (isinstance(error, dict) and error.get("err_code") == _NO_MEMBER)


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: variables defined before, anything else left as it is."""
    return _REFERENCE.sub(lambda match: environment.get(match.group(1), match.group(0)), text)


def not_joined(seen: Mapping[str, Json], names: Sequence[str]) -> list[str]:
    """Those NATS servers of `names` that the leader does not list as up to date, as the role's task `joined` has it. Without a leader: all of them."""
    peers: list[Json] = next((entry["peers"] for _name, entry in sorted(seen.items()) if entry["leader"]), [])
    return [name for name in names if name not in {peer["name"] for peer in peers if peer["current"] and not peer["offline"]}]
