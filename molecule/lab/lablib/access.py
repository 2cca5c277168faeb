# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two kubeconfigs: the administrator's, and one with nothing but the rights that docs/rbac.yaml gives the collection."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from .console import LabError, say
from .docker import containers, docker
from .kube import kubectl
from .process import parallel, poll
from .settings import LAB, RBAC_FILE
from .state import Cluster, State, write

ADMIN = LAB / "kubeconfig"
COLLECTION = LAB / "kubeconfig-collection"
ACCOUNT, NAMESPACE = "hostnet-collection", "hostnet-system"

_SERVICE_ACCOUNT = f"""\
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {ACCOUNT}
  namespace: {NAMESPACE}
---
apiVersion: v1
kind: Secret
metadata:
  name: {ACCOUNT}-token
  namespace: {NAMESPACE}
  annotations:
    kubernetes.io/service-account.name: {ACCOUNT}
type: kubernetes.io/service-account-token
"""
_BINDING = f"""\
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {ACCOUNT}-%(role)s
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: %(role)s
subjects:
- kind: ServiceAccount
  name: {ACCOUNT}
  namespace: {NAMESPACE}
"""


def write_kubeconfigs(state: State) -> None:
    """Writes both files, and applies docs/rbac.yaml again, so that a changed file takes effect with every `up`."""
    found = containers(cluster.kind_name for cluster in state.clusters.values())
    entries: dict[str, tuple[str, str, str, str]] = {}

    def one(cluster: Cluster) -> None:
        if not cluster.control:
            raise LabError(f"kube cluster {cluster.name} has no control plane")
        config = docker("exec", cluster.control.name, "cat", "/etc/kubernetes/admin.conf")
        values = dict(re.findall(r"(certificate-authority-data|client-certificate-data|client-key-data): (\S+)", config))
        server = f"https://127.0.0.1:{found[cluster.control.name].ports['6443/tcp']}"
        admin = f"    client-certificate-data: {values['client-certificate-data']}\n    client-key-data: {values['client-key-data']}\n"
        token = f"    token: {_collection_token(cluster)}\n"
        entries[cluster.name] = server, values["certificate-authority-data"], admin, token

    if not RBAC_FILE.exists():
        say(f"no {RBAC_FILE.name} in docs/: the collection's kubeconfig has no rights yet")
    parallel({cluster.name: lambda cluster=cluster: one(cluster) for cluster in state.clusters.values()})  # type: ignore[misc]
    ordered = {name: entries[name] for name in state.clusters}
    _write(ADMIN, "lab-admin", {name: (server, ca, admin) for name, (server, ca, admin, _) in ordered.items()})
    _write(COLLECTION, ACCOUNT, {name: (server, ca, token) for name, (server, ca, _, token) in ordered.items()})


def _collection_token(cluster: Cluster) -> str:
    """Long-lived, as a controller outside of the kube cluster needs it."""
    roles: list[str] = []
    if RBAC_FILE.exists():
        applied = kubectl(cluster, "apply", "--filename", "-", "--output", "name", data=RBAC_FILE.read_text())
        # All of them: in the lab the collection makes the namespaces itself.
        roles = [line.split("/", 1)[1] for line in applied.splitlines() if line.startswith("clusterrole.rbac.authorization.k8s.io/")]
    wanted = _SERVICE_ACCOUNT + "".join(_BINDING % {"role": role} for role in roles)
    kubectl(cluster, "apply", "--filename", "-", data=wanted)

    def token() -> str | None:
        secret = json.loads(kubectl(cluster, "get", "secret", f"{ACCOUNT}-token", "--namespace", NAMESPACE, "--output", "json"))
        encoded = secret.get("data", {}).get("token")
        return base64.b64decode(encoded).decode() if encoded else None

    return poll(token, deadline=60, missing=lambda: f"{cluster.name}: a token in the Secret {NAMESPACE}/{ACCOUNT}-token")


def _write(path: Path, user: str, entries: dict[str, tuple[str, str, str]]) -> None:
    lines = ["apiVersion: v1", "kind: Config", f"current-context: {next(iter(entries), '')}", "clusters:"]
    for name, (server, ca, _) in entries.items():
        lines += [f"- name: {name}", "  cluster:", f"    server: {server}", f"    certificate-authority-data: {ca}"]
    lines += ["users:"]
    for name, (_, _, credentials) in entries.items():
        lines += [f"- name: {name}-{user}", "  user:", credentials.rstrip("\n")]
    lines += ["contexts:"]
    for name in entries:
        lines += [f"- name: {name}", "  context:", f"    cluster: {name}", f"    user: {name}-{user}"]
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:
        write(path, text)
