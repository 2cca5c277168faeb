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
    deployment,
    disk,
    join,
    member_certificates,
    member_labels,
    namespace,
    node_scripts,
    observation,
    placement,
    probe,
    progress,
    proof,
    removal,
    serving,
    settings_and_spec,
    trial,
    withheld,
    workloads,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings as copies
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input

Json = dict[str, Any]


def objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    live: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Any],
    state: str,
    issued: Mapping[str, Any],
) -> list[Json]:
    """Objects of the admitted `bindings` for `manifests`; the join list is made of the `live` ones and keeps entries of the one in force.

    `plan` has that list (`seeds`) and the highest `ordinals`; `issued` is what host_certificates returned.
    Where nobody is live there is nothing to choose from, and the list in force stays: it names where the members were.
    """
    seeds = plan["seeds"]
    candidates = (
        live if any(entry["live"] for entry in live) else [{**entry, "live": not seeds or entry["address"] in seeds} for entry in bindings]
    )
    entries = join.join_list(candidates, seeds, int(hostnet["join_per_cluster"]))
    settings = {**hostnet, "ordinals": plan["ordinals"], "nkeys": issued["nkeys"]}
    return placement.render_objects(settings, spec, identity, bindings, entries, state, issued["certificates"])


def strangers(plan: Mapping[str, Any], inspection: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Peers that the members list and that no binding of `plan` accounts for, a sentence each."""
    return copies.unknown_peers(plan["members"], plan["new"], inspection)


def script(name: str) -> str:
    """A script that node_run runs on nodes: `probe`, `admit`, `mark` or `remove`."""
    return node_scripts.SCRIPTS[name]


class FilterModule:
    """Filters of the roles; docs/design.md tells how a deploy uses them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "deployment_kube_clusters": withheld.withheld,
            "deployment_errors": settings_and_spec.settings_errors,
            "deployment_plan": deployment.deployment_plan,
            "deployment_admitted": admission.admitted,
            "deployment_renewed": observation.renewed,
            "deployment_live": observation.live_members,
            "deployment_certificates": member_certificates.wanted_certificates,
            "deployment_behind": serving.behind,
            "deployment_probe_errors": probe.probe_errors,
            "deployment_admit_nodes": admission.admit_nodes,
            "deployment_node_labels": member_labels.node_labels,
            "deployment_remove_nodes": removal.remove_nodes,
            "deployment_mark_nodes": admission.mark_nodes,
            "deployment_probe_nodes": probe.probe_nodes,
            "deployment_look_nodes": disk.look_nodes,
            "deployment_with_disks": admission.with_disks,
            "deployment_with_progress": progress.with_progress,
            "deployment_disk_facts": disk.facts_of,
            "deployment_removal": removal.removal,
            "deployment_confirmed": removal.confirmed,
            "deployment_data_root": data_root.normal_root,
            "deployment_expect": observation.expected,
            "deployment_verdict": proof.verdict,
            "deployment_script": script,
            "deployment_namespaces": namespace.namespace_objects,
            "deployment_objects": objects,
            "deployment_images": workloads.images,
            "deployment_trial_errors": trial.trial_errors,
            "deployment_trial_pods": trial.trial_pods,
            "deployment_targets": classify.member_targets,
            "deployment_strangers": strangers,
            "deployment_status": classify.deployment_status,
            "deployment_table": classify.status_table,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
