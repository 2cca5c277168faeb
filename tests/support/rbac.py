# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users who have the rights of docs/rbac.yaml and no others."""

from __future__ import annotations

import secrets
from typing import Any

import yaml

from .collection import CHECKOUT
from .kube_api import KubeApi

Json = dict[str, Any]
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_APPLY = "application/apply-patch+yaml"


def roles() -> dict[str, Json]:
    """The ClusterRoles of docs/rbac.yaml by name."""
    objects = yaml.safe_load((CHECKOUT / "docs" / "rbac.yaml").read_text())["items"]
    return {item["metadata"]["name"]: item for item in objects}


def restricted_user(kube: KubeApi, role: str, *, namespace: str | None = None, without: str = "", user: str = "") -> Json:
    """An entry of kube_clusters whose user has `role` of docs/rbac.yaml alone, less the verb `without`.

    With `namespace` the role is bound there, else for the whole kube cluster. A `user` of another call has both roles then.
    """
    user = user or f"restricted-{secrets.token_hex(4)}"
    definition = dict(roles()[role])
    if without:
        rules = [{**rule, "verbs": [verb for verb in rule["verbs"] if verb != without]} for rule in definition["rules"]]
        definition = {**definition, "metadata": {"name": f"{role}-{user}"}, "rules": [rule for rule in rules if rule["verbs"]]}
    name = definition["metadata"]["name"]
    kube.request_json("PATCH", f"{_RBAC}/clusterroles/{name}?fieldManager=test&force=true", definition, _APPLY)
    binding = {
        "metadata": {"name": f"{user}-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    }
    path = f"/namespaces/{namespace}/rolebindings" if namespace else "/clusterrolebindings"
    kube.request_json("POST", _RBAC + path, binding)
    return {"name": kube.name, "kubeconfig": kube.user_kubeconfig(user), "context": kube.context}
