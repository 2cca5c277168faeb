# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member's pod, and the Secrets that it needs, as a question to each API server before the first change: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .workloads import pod_template

Json = dict[str, Any]

# https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
_NO_SCOPE = "insufficient quota to match these scopes"
_NO_CLASS = "no PriorityClass with name"
_FULL = "exceeded quota"
# A namespace that was made just now: its service account comes a moment later, and controllers make pods again and again until it is there.
_NO_ACCOUNT = "error looking up service account"


def trial_pods(hostnet: Mapping[str, Any], spec: Mapping[str, Any], plan: Mapping[str, Any], observed: Mapping[str, Any]) -> list[Json]:
    """`pods` of module pod_trial: one member's pod for each kube cluster whose namespace is there, no pod where it is not."""
    entries: list[Json] = []
    for name in sorted(observed):
        if observed[name].get("absent"):
            continue
        mine = [binding for binding in [*plan["new"], *plan["members"]] if binding["kube_cluster"] == name]
        definition = None
        if mine and observed[name]["namespace"] is not None:
            template = pod_template(hostnet, spec, mine)
            metadata = {**template["metadata"], "name": f"{hostnet['name']}-trial", "namespace": hostnet["namespace"]}
            definition = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        entries.append({"kube_cluster": name, "definition": definition})
    return entries


def trial_errors(hostnet: Mapping[str, Any], plan: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the API servers said against a member's pod, one sentence for each kube cluster."""
    errors = _missing_secrets(hostnet, results)
    growing = {binding["kube_cluster"] for binding in plan["new"]}
    priority, namespace = hostnet.get("priority_class"), hostnet["namespace"]
    for result in results:
        where, said = f"kube cluster {result['kube_cluster']}", str(result["refused"])
        if not result["class_exists"] or _NO_CLASS in said:
            errors.append(
                f"{where} has no PriorityClass {priority} (hostnet_priority_class): make it there, name another one, or "
                f'set hostnet_priority_class to "" for none'
            )
        elif _NO_SCOPE in said:
            errors.append(
                f"{where}: namespace {namespace} lets no pod have the priority class {priority} (hostnet_priority_class): {said}. Make a ResourceQuota "
                f'there that allows it, as docs/rbac.yaml shows, or set hostnet_priority_class to another class, or to "" for none'
            )
        elif said and _NO_ACCOUNT not in said and (_FULL not in said or result["kube_cluster"] in growing):
            # A quota that is full matters only to members that come on top.
            errors.append(
                f"{where}: the API server refuses a member's pod in namespace {namespace}: {said}; change that there, or the setting that it names"
            )
    return errors


def _missing_secrets(hostnet: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """At most one sentence: a kubelet goes on without a Secret that is not there, and the registry's refusal is all that anybody sees later."""
    lacking = [
        f"kube cluster {result['kube_cluster']}: {', '.join(result['missing_secrets'])}" for result in results if result["missing_secrets"]
    ]
    if not lacking:
        return []
    text = (
        f"Secrets of hostnet_pull_secrets are not in namespace {hostnet['namespace']}, or are none for a registry (kubernetes.io/dockerconfigjson): "
        f"{'; '.join(lacking)}. Make them there (kubectl create secret docker-registry), the namespace before where it is missing, or leave them out"
    )
    return [text]
