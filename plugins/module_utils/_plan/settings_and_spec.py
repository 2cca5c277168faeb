# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a deployment's settings and its system's spec together, before any kube cluster is asked. Pure functions.

Each variable by itself is settings_check.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import clients, names
from .data_root import root_errors
from .layout import all_ports
from .serving import spec_problems

PLACEMENTS = ("node_name", "daemonset")


def settings_errors(hostnet: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings alone, one sentence each, before any kube cluster is asked."""
    errors = []
    for field in ("name", "namespace"):
        if not names.is_dns_label(str(hostnet[field])):
            errors.append(
                f"hostnet_{field} is {hostnet[field]!r}, which is not a DNS label: use at most 63 of a-z, 0-9 and '-', "
                f"starting and ending with a letter or a digit"
            )
    if hostnet["placement"] not in PLACEMENTS:
        errors.append(f"hostnet_placement is {hostnet['placement']!r}: it must be one of {', '.join(PLACEMENTS)}")
    errors += root_errors(hostnet)
    if int(hostnet["join_per_cluster"]) < 1:
        errors.append(f"hostnet_join_per_cluster is {hostnet['join_per_cluster']}: at least 1 entry per kube cluster is needed")
    clusters = hostnet["kube_clusters"]
    if not clusters:
        errors.append(
            "hostnet_kube_clusters is empty: use an inventory of the plugin hostnet.multicluster.nodes, or list the kube clusters"
        )
    for cluster in clusters:
        if not names.is_dns_label(str(cluster["name"])):
            errors.append(
                f"kube cluster {cluster['name']!r} has a name that is not a DNS label; give it one with `name:` in hostnet_kube_clusters"
            )
    # A status shows what it can reach.
    tolerant = bool(hostnet.get("absent_ok"))
    errors += [] if tolerant else [str(error) for error in hostnet.get("inventory_errors", [])]
    for absent in [] if tolerant else hostnet.get("absent_kube_clusters", []):
        errors.append(
            f"kube cluster {absent} did not answer: the inventory may go on without it, a deploy may not (unreachable is not dead). Bring its API server back"
        )
    if hostnet["placement"] == "daemonset" and hostnet["address_type"] != "InternalIP":
        errors.append(
            f"hostnet_address_type is {hostnet['address_type']!r} with placement daemonset: a DaemonSet has one template for all nodes, and Kubernetes "
            f"tells its pods their InternalIP alone. Use hostnet_placement=node_name"
        )
    for required in ("command", "ports", "data_path", "user", "grace_seconds", "certificates", "image"):
        if not spec.get(required):
            errors.append(f"system {hostnet['system']}: its spec has no {required!r}; docs/systems.md describes the fields")
    errors += [f"system {hostnet['system']}: {problem}" for problem in spec_problems(spec) + clients.spec_problems(spec)]
    numbers = list(all_ports(spec).values())
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        errors.append(f"system {hostnet['system']}: port {number} is given to two uses")
    return errors


def selector_errors(hostnet: Mapping[str, Any]) -> list[str]:
    """Why no node may get a member: nobody has said which ones are meant."""
    if hostnet["selector_said"]:
        return []
    return [
        (
            "hostnet_node_selector is not set: say which nodes carry members, because every node that matches gets one. Set node_selector in the inventory "
            "(or -e hostnet_node_selector=...) to the label of a node pool, for example cloud.google.com/gke-nodepool=db, "
            "eks.amazonaws.com/nodegroup=db, kubernetes.azure.com/agentpool=db or example.com/pool=db; '!node-role.kubernetes.io/control-plane' "
            "means every worker"
        )
    ]
