# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions of a deployment to the roles. Most take the settings `hostnet` first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    admission,
    classify,
    data_root,
    deploy_changes,
    join,
    member_certificates,
    member_labels,
    namespace,
    node_scripts,
    observation,
    placement,
    probe,
    removal,
    serving,
    status_metrics,
    status_page,
    trial,
    withheld,
    workloads,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.html import render

Json = dict[str, Any]


def objects(
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
    live = [{**entry, "live": True} for entry in bindings] if together else alive(bindings, seen)
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
    return placement.render_objects(settings, spec, identity, bindings, entries, state, issued["certificates"])


def alive(bindings: Sequence[Mapping[str, Any]], seen: Deployment) -> list[Json]:
    """The bindings with `live`, by what was `seen` of their pods and nodes (observation.live_members)."""
    return observation.live_members(bindings, seen["kube_clusters"], seen["nodes"])


def mark_nodes(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], seen: Deployment, token: str
) -> list[Json]:
    """The nodes of members whose folders have no marker yet (admission.mark_nodes)."""
    return admission.mark_nodes(hostnet, spec, bindings, seen["nodes"], seen["kube_clusters"], token)


def status_html(status: Mapping[str, Any]) -> str:
    """The status as one page of HTML."""
    return render("report", "status.html.j2", status_page.page(status))


def script(name: str) -> str:
    """A script that node_run runs on nodes: `probe`, `admit`, `mark` or `remove`."""
    return node_scripts.SCRIPTS[name]


class FilterModule:
    """Filters of the roles; docs/design.md tells how a deploy uses them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "deployment_changes": deploy_changes.deploy_changes,
            "deployment_kube_clusters": withheld.withheld,
            "deployment_admitted": admission.admitted,
            "deployment_certificates": member_certificates.wanted_certificates,
            "deployment_behind": serving.behind,
            "deployment_probe_errors": probe.probe_errors,
            "deployment_admit_nodes": admission.admit_nodes,
            "deployment_node_labels": member_labels.node_labels,
            "deployment_remove_nodes": removal.remove_nodes,
            "deployment_mark_nodes": mark_nodes,
            "deployment_probe_nodes": probe.probe_nodes,
            "deployment_with_disks": admission.with_disks,
            "deployment_removal": removal.removal,
            "deployment_data_root": data_root.normal_root,
            "deployment_script": script,
            "deployment_namespaces": namespace.namespace_objects,
            "deployment_objects": objects,
            "deployment_images": workloads.images,
            "deployment_trial_errors": trial.trial_errors,
            "deployment_trial_pods": trial.trial_pods,
            "deployment_table": classify.status_table,
            "deployment_html": status_html,
            "deployment_metrics": status_metrics.metrics,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
