# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the Kubernetes objects of a deployment, for both placements: pure functions.

`hostnet` is the deployment's settings, `spec` a system spec (docs/systems.md), `bindings` say where each member is. The pod is in pod.py, what
holds it in workloads.py, its certificates in certificate_secrets.py, the guards in guards.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import bindings as copies
from . import join, names, neighbours, observation
from .certificate_secrets import HOSTS_PER_SECRET, certificate_secret, secret_number
from .guards import guard_objects
from .layout import all_ports
from .metadata import metadata_of
from .pod import fill, is_ipv6
from .state import Deployment
from .workloads import daemon_set, stateful_set

Json = dict[str, Any]


def deployment_objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    seen: Deployment,
    issued: Mapping[str, Any],
    state: str = "existing",
    together: bool = False,
) -> list[Json]:
    """Objects of the admitted `bindings` for `manifests`; the join list is made of the live ones and keeps entries of the one in force.

    The plan of what was `seen` has that list (`seeds`) and the highest `ordinals`; `issued` is what host_certificates returned. Members that start
    `together` are as good to join as any other. Where nobody is live there is nothing to choose from, and the list in force stays: it names where the
    members were.
    """
    plan = seen["plan"]
    seeds = plan["seeds"]
    alive = observation.live_members(bindings, seen["kube_clusters"], seen["nodes"])
    live = [{**entry, "live": True} for entry in bindings] if together else alive
    candidates = (
        live if any(entry["live"] for entry in live) else [{**entry, "live": not seeds or entry["address"] in seeds} for entry in bindings]
    )
    entries = join.join_list(candidates, seeds, int(hostnet["join_per_cluster"]))
    settings = {
        **hostnet,
        "ordinals": plan["ordinals"],
        "nkeys": issued["nkeys"],
        "trust": plan.get("trust"),
        "trusted_file": issued.get("ca", {}).get("trusted"),
    }
    return render_objects(settings, spec, identity, bindings, entries, state, issued["certificates"])


def render_objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    seeds: Sequence[str],
    state: str,
    certificates: Sequence[Mapping[str, Any]],
) -> list[Json]:
    """Objects for the module `manifests`, for every kube cluster of the deployment.

    `identity` gives `token` and `ca_fingerprint`; `bindings` are all admitted members; `seeds` is the join list;
    `state` is `new` (first start of the system) or `existing`; `certificates` is what host_certificates returned.
    """
    join_data = {
        "seeds": ",".join(seeds),
        "HOSTNET_STATE": state,
        "HOSTNET_TOKEN": str(identity["token"]),
        **join.join_values(spec.get("join", {}), bindings, seeds, all_ports(spec)),
    }
    issued = {(entry["name"], entry["file"]): entry for entry in certificates}
    # In every kube cluster all of them: they outlive the loss of one.
    known = {"": {"ordinals": hostnet.get("ordinals") or {}}}
    copy = copies.dump(sorted(bindings, key=join.canonical_key), copies.highest_ordinals(hostnet, bindings, [], known))
    objects: list[Json] = []
    for cluster in hostnet["kube_clusters"]:
        local = sorted(
            (binding for binding in bindings if binding["kube_cluster"] == cluster["name"]), key=lambda item: int(item["ordinal"])
        )
        objects += _cluster_objects(hostnet, spec, identity, str(cluster["name"]), local, copy, join_data, issued)
    return objects


def _cluster_objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    kube_cluster: str,
    bindings: Sequence[Mapping[str, Any]],
    copy: Mapping[str, str],
    join_data: Mapping[str, str],
    issued: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[Json]:
    name = str(hostnet["name"])
    objects: list[Json] = []

    def add(definition: Json, **extra: Any) -> None:
        objects.append({"kube_cluster": kube_cluster, "definition": definition, **extra})

    add(_config_map(hostnet, names.members(name), copy))
    add(_config_map(hostnet, names.join(name), dict(join_data)))
    add(_config_map(hostnet, names.about(name), neighbours.about(hostnet, spec)))
    if spec.get("config"):
        config = {file: fill(str(text), hostnet, spec, ipv6=is_ipv6(bindings)) for file, text in spec["config"].items()}
        add(_config_map(hostnet, names.config(name), config))
    if not bindings:
        return objects
    add(_budget(hostnet, len(bindings)))
    if hostnet["placement"] == "daemonset":
        last = max([int(binding["ordinal"]) for binding in bindings] + [int((hostnet.get("ordinals") or {}).get(kube_cluster, 0))])
        # Also those whose members have all left: their keys go from there.
        for number in range(last // HOSTS_PER_SECRET + 1):
            mine = [binding for binding in bindings if secret_number(binding) == number]
            secret, files = certificate_secret(hostnet, spec, names.certificates(name, number), mine, issued, per_node=True)
            add(secret, files=files)
        add(daemon_set(hostnet, spec, identity, bindings))
    else:
        for binding in bindings:
            secret, files = certificate_secret(
                hostnet, spec, names.workload(name, str(binding["member"])), [binding], issued, per_node=False
            )
            add(secret, files=files)
            add(stateful_set(hostnet, spec, identity, binding))
    for binding in bindings:
        for definition in guard_objects(hostnet, binding):
            add(definition)
    return objects


def _config_map(hostnet: Mapping[str, Any], name: str, data: Mapping[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata_of(hostnet, name), "data": dict(data)}


def _budget(hostnet: Mapping[str, Any], members: int) -> Json:
    # A budget sees one kube cluster alone, so it cannot know how many members are down elsewhere: no eviction is allowed
    # but the playbooks' own. AKS begins no upgrade where a budget has maxUnavailable 0.
    # https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/error-codes/unsatisfiablepdb-error
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata_of(hostnet, names.workload(str(hostnet["name"]))),
        "spec": {"minAvailable": members, "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: hostnet["name"]}}},
    }
