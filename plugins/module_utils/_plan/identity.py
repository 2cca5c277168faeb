# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's identity record: what kube clusters agree on, what shows that a lost one existed, and what brings it back. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import join, names
from .listed import some

Json = dict[str, Any]


def agreed(observed: Mapping[str, Any], field: str, title: str, hostnet: Mapping[str, Any], errors: list[str]) -> Json | None:
    """The record that all kube clusters with one agree on. Missing ones are mended by the identity module, create-only."""
    found = {name: observed[name][field] for name in sorted(observed) if observed[name][field]}
    if not found:
        return None
    first = next(iter(found))
    for name, record in found.items():
        if record != found[first]:
            errors.append(
                f"the {title} of deployment {hostnet['name']} differs between kube clusters {first} and {name}: two deployments share this name, "
                f"or a record was edited. docs/recovery.md says how to tell which one holds your data"
            )
            return dict(found[first])
    return dict(found[first])


def evidence_of(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """Everything that shows that a deployment of this name exists or existed, without its record."""
    evidence = []
    # Every kube cluster has all bindings; each is told once.
    told: set[str] = set()
    for name in sorted(observed):
        found = observed[name]
        workloads = sorted(found["workloads"], key=lambda entry: join.natural_key(str(entry["name"])))
        pods = sorted(found["pods"], key=lambda pod: join.natural_key(str(pod["name"])))
        evidence += [f"kube cluster {name}: {entry['kind']} {hostnet['namespace']}/{entry['name']}" for entry in workloads]
        evidence += [f"kube cluster {name}: pod {hostnet['namespace']}/{pod['name']}" for pod in pods]
        members = sorted((binding for binding in found["members"] if binding["member"] not in told), key=join.canonical_key)
        evidence += [f"kube cluster {name}: binding of member {binding['member']}" for binding in members]
        told |= {binding["member"] for binding in members}
        # Either is written only after the claim, so somebody deleted the claim alone.
        if found["cluster_record"]:
            evidence.append(f"kube cluster {name}: ConfigMap {hostnet['namespace']}/{names.cluster_record(str(hostnet['name']))}")
        if found["join"]:
            evidence.append(f"kube cluster {name}: ConfigMap {hostnet['namespace']}/{names.join(str(hostnet['name']))}")
    label = names.node_label(str(hostnet["name"]))
    evidence += [
        f"kube cluster {node['kube_cluster']}: node {node['name']} is labelled {label}={node['labels'][label]}"
        for node in nodes
        if label in node["labels"]
    ]
    return evidence


def restored_identity(
    hostnet: Mapping[str, Any], observed: Mapping[str, Any], evidence: Sequence[str], bindings: Sequence[Mapping[str, Any]]
) -> tuple[Json | None, list[str]]:
    """The identity that every workload carries, where they all agree; members that run then prove the cluster id."""
    workloads = [(name, entry) for name in sorted(observed) for entry in observed[name]["workloads"]]
    tokens = {str(entry["token"]) for _name, entry in workloads}
    tokens |= {str(found["cluster_record"].get("token", "")) for found in observed.values() if found["cluster_record"]}
    fingerprints = {str(entry["ca_fingerprint"]) for _name, entry in workloads}
    placements = {"daemonset" if entry["kind"] == "DaemonSet" else "node_name" for _name, entry in workloads}
    if (
        len(tokens) == 1
        and len(fingerprints) == 1
        and "" not in tokens | fingerprints
        and bindings
        and placements == {hostnet["placement"]}
    ):
        return {
            "token": tokens.pop(),
            "system": hostnet["system"],
            "placement": hostnet["placement"],
            "ca_fingerprint": fingerprints.pop(),
            "members": ",".join(sorted((str(binding["member"]) for binding in bindings), key=join.natural_key)),
            "claimed_by": "restored",
        }, []
    shown = some(evidence, 5, "; ", "; and ")
    return None, [
        (
            f"deployment {hostnet['name']} has no identity record in any kube cluster, but it exists: {shown}. Nothing is initialised, because that "
            f"would make a second cluster. docs/recovery.md says how to bring the record back. Or discard the deployment with playbooks/remove.yml "
            f"-e hostnet_remove_data=true (deletes the data of all members)"
        )
    ]


def identity_errors(hostnet: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    return [
        f"deployment {hostnet['name']} in namespace {hostnet['namespace']} is recorded with {field} {identity.get(field)!r}, not {hostnet[field]!r}. "
        f"Choose another hostnet_name for another deployment; a running one never changes its {field}"
        for field in ("system", "placement")
        if identity.get(field) != hostnet[field]
    ]
