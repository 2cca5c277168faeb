# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials that a command prints (`exec` of a kubeconfig's user), such as the login of a cloud."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .credential import Credential, hidden
from .kubeconfig import Entry
from .options import AccessError

Json = dict[str, Any]

# The clouds' take a second or two; one that asks its server in vain must not hold a play for ever.
LIMIT_SECONDS = 60.0
_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_MODES = ("Never", "IfAvailable", "Always")
_EXTENSION = f"{_GROUP}/exec"


@dataclass(frozen=True)
class Plugin:
    """A command to run. `field` names it in errors, `info` is what it gets to know about the cluster."""

    field: str
    api_version: str
    command: str
    arguments: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    info: Json | None
    hint: str

    def identity(self) -> str:
        """What its credentials depend on. It is also the process' environment: in another one it may log in as somebody else."""
        parts = [self.api_version, self.command, self.arguments, self.variables, self.info, sorted(os.environ.items()), os.geteuid()]
        return json.dumps(parts)

    def run(self) -> Credential:
        """Run it once. Raises AccessError, with what it wrote to its stderr."""
        spec: Json = {"interactive": False, **({"cluster": self.info} if self.info is not None else {})}
        asked = json.dumps({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec})
        environment = {**os.environ, **dict(self.variables), "KUBERNETES_EXEC_INFO": asked}
        try:
            # It runs in Ansible's own process too, where there is no module with a run_command.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [self.command, *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Nobody is there to be asked for a password, and whatever it starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from None
        with process:
            try:
                output, said = process.communicate(timeout=LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise self._error(f"had not ended after {LIMIT_SECONDS:.0f} seconds; run it by hand") from None
            except BaseException:
                _kill(process)
                raise
        if process.returncode:
            words = hidden(said.decode("utf-8", "replace"), [*_words(output), *(value for _name, value in self.variables)])
            how = f"ended with exit code {process.returncode}" if process.returncode > 0 else f"was killed by signal {-process.returncode}"
            raise self._error(f"{how}{f': {words}' if words else ''}; run the login of your kubeconfig by hand")
        return self._read(output)

    def _error(self, text: str) -> AccessError:
        hint = hidden(self.hint, [])
        return AccessError(self.field, f"the credential plugin {os.path.basename(self.command)} {text}{f' ({hint})' if hint else ''}")

    def _read(self, output: bytes) -> Credential:
        now = time.time()
        try:
            answer = json.loads(output)
            status = answer.get("status") or {}
            kind, version = answer.get("kind"), answer.get("apiVersion")
            values = [status.get(key) or "" for key in ("token", "clientCertificateData", "clientKeyData")]
            expires = _seconds(status.get("expirationTimestamp"))
        except (AttributeError, TypeError, ValueError):
            raise self._error("wrote something that is no ExecCredential") from None
        if kind not in (None, "ExecCredential") or version != self.api_version:
            raise self._error(f"did not write an ExecCredential of the version {self.api_version} that the kubeconfig names")
        if not all(isinstance(value, str) for value in values):
            raise self._error("wrote an ExecCredential whose status is not made of texts")
        token, certificate, key = values
        if not token and not (certificate and key):
            raise self._error("gave neither a token nor a certificate with its key")
        if bool(certificate) != bool(key):
            raise self._error("gave only one of certificate and key")
        return Credential(token.strip(), certificate, key, expires, now)


def plugin(spec: Entry, cluster: Json) -> Plugin:
    """The plugin that `exec` of a user describes; `cluster` is `cluster_info`. Raises AccessError for what is missing, or needs a human."""
    version, command, mode = spec.text("apiVersion"), spec.text("command"), spec.text("interactiveMode")
    if version not in _VERSIONS:
        raise spec.problem(
            "apiVersion",
            f"must be {' or '.join(_VERSIONS)}, as kubectl wants it too; have your cloud's tool write the kubeconfig anew",
        )
    if not command:
        raise spec.problem("command", "is missing")
    if mode and mode not in _MODES:
        raise spec.problem("interactiveMode", f"must be one of {', '.join(_MODES)}")
    if mode == "Always":
        raise spec.problem(
            "interactiveMode",
            "is Always, so the command asks a human, and none is here; use a login without questions, or give api_key or client_cert",
        )
    if os.sep in command:
        command = spec.beside(command)
    variables = []
    for index, item in enumerate(spec.values.get("env") or []):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise spec.problem(f"env[{index}]", "must have a name and a value")
        variables.append((item["name"], Entry(spec.path, f"{spec.label}.env[{index}]", item).text("value")))
    return Plugin(
        spec.problem("", "").field,
        version,
        command,
        tuple(spec.texts("args")),
        tuple(variables),
        cluster if spec.flag("provideClusterInfo") else None,
        spec.text("installHint"),
    )


def cluster_info(cluster: Entry, server: str, ca: str | None, insecure: bool, tls_server_name: str) -> Json:
    """What a plugin may want to know about the kube cluster: `spec.cluster` of its question."""
    found: Json = {"server": server}
    if tls_server_name:
        found["tls-server-name"] = tls_server_name
    if insecure:
        found["insecure-skip-tls-verify"] = True
    if ca:
        found["certificate-authority-data"] = base64.b64encode(ca.encode()).decode()
    if cluster.text("proxy-url"):
        found["proxy-url"] = cluster.text("proxy-url")
    if cluster.flag("disable-compression"):
        found["disable-compression"] = True
    for item in cluster.values.get("extensions") or []:
        if isinstance(item, dict) and item.get("name") == _EXTENSION:
            found["config"] = item.get("extension")
    return found


def _seconds(timestamp: Any) -> float | None:
    """Seconds since the epoch of a time as Kubernetes writes it. Raises ValueError and TypeError."""
    if timestamp is None or timestamp == "":
        return None
    moment = datetime.fromisoformat(timestamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _words(output: bytes) -> list[str]:
    """What a plugin wrote before it failed: a token may be in it."""
    return [word for word in output.decode("utf-8", "replace").replace('"', " ").split() if len(word) > 7]


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
