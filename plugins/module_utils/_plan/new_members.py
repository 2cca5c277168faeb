# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes get a member that have none, and what forbids it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from . import dead, join, names
from .listed import some
from .nodes import Node, ip_family, is_own, node_errors, parse_address

Json = dict[str, Any]


def unusable_nodes(hostnet: Mapping[str, Any], spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What makes the selected nodes unusable: their addresses (as nodes_info says it), and what the system cannot do with them."""
    address_type = str(hostnet["address_type"])
    errors = [f"hostnet_address_type {address_type}: {error}" for error in node_errors([cast(Node, node) for node in nodes], address_type)]
    families: dict[str, set[str]] = {}
    for node in nodes:
        try:
            family = ip_family(str(node["address"]))
        except ValueError:
            continue  # named above
        families.setdefault(str(node["kube_cluster"]), set()).add(family)
        if family not in spec.get("ip_families", ["IPv4", "IPv6"]):
            errors.append(
                f"kube cluster {node['kube_cluster']}: node {node['name']} has the {family} address {node['address']}, "
                f"and {hostnet['system']} does not support {family}"
            )
    for name, found in sorted(families.items()):
        if len(found) > 1 and hostnet["placement"] == "daemonset":
            errors.append(
                f"kube cluster {name} mixes IPv4 and IPv6 nodes, and a DaemonSet has one template; use hostnet_placement=node_name"
            )
    if len(set().union(*families.values())) > 1 and not spec.get("mixed_families", True):
        errors.append(f"{hostnet['system']} does not support members with IPv4 and members with IPv6 addresses together")
    return errors


def address_type_errors(hostnet: Mapping[str, Any], members: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """One error where hostnet_address_type is another one than the members' addresses are of: every one of them would look as if its VM had moved."""
    by_name = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    found: dict[str, list[str]] = {}
    for binding in members:
        node = by_name.get((str(binding["kube_cluster"]), str(binding["node"])))
        kind = dead.other_type(hostnet, binding, node) if node else ""
        if node and kind:
            where = f"kube cluster {binding['kube_cluster']}: node {node['name']} of member {binding['member']}"
            found.setdefault(kind, []).append(f"{where} has {binding['address']} as {kind} and {node['address'] or 'nothing'} as address")
    return [
        (
            f"hostnet_address_type is {hostnet['address_type']}, but {hostnet['name']} was deployed with addresses of type {kind} ({some(texts, 3, '; ')}): "
            f"set hostnet_address_type={kind}, as before. Members keep the type of address that they were deployed with"
        )
        for kind, texts in sorted(found.items())
    ]


def new_bindings(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]],
    ordinals: Mapping[str, int],
    errors: list[str],
    warnings: list[str],
) -> list[Json]:
    """A binding for every matching node that has none.

    An ordinal is never given twice, not even after its member has left: `ordinals` has the highest ones that are known.
    """
    bound = {(str(binding["kube_cluster"]), str(binding["node"])): binding for binding in members}
    highest = dict(ordinals)
    addresses = {str(binding["address"]): binding for binding in members}
    for member in members:
        highest[str(member["kube_cluster"])] = max(highest.get(str(member["kube_cluster"]), -1), int(member["ordinal"]))
    new: list[Json] = []
    for node in sorted(nodes, key=lambda item: (join.natural_key(str(item["kube_cluster"])), join.natural_key(str(item["name"])))):
        where = f"kube cluster {node['kube_cluster']}: node {node['name']}"
        binding = bound.get((str(node["kube_cluster"]), str(node["name"])))
        if binding is not None:
            if binding["node_uid"] != node["uid"]:
                warnings.append(f"{where} is another VM than the one that member {binding['member']} was admitted to; the member waits")
            elif not dead.lists_address(node, str(binding["address"])) and not dead.other_type(hostnet, binding, node):
                warnings.append(
                    f"{where} moved from {binding['address']} to {node['address']} under member {binding['member']}; the member keeps waiting"
                )
            continue
        if dead.out_of_service(node):
            warnings.append(f"{where} is out of service (taint {names.OUT_OF_SERVICE}), so it gets no member")
            continue
        if node["control_plane"]:
            warnings.append(f"{where} runs the control plane of its kube cluster and will carry a member too")
        if not node["ready"]:
            errors.append(f"{where} is not Ready, so no member can be admitted to it; mend it, or narrow hostnet_node_selector")
            continue
        former = addresses.get(str(node["address"]))
        if former is not None:
            errors.append(
                f"{where} has address {node['address']}, which belongs to member {former['member']} on node {former['node']}: it is used again only "
                f"after every member has forgotten the old one"
            )
            continue
        ordinal = highest.get(str(node["kube_cluster"]), -1) + 1
        highest[str(node["kube_cluster"])] = ordinal
        name = names.member(str(node["kube_cluster"]), ordinal)
        new.append(
            {
                "member": name,
                "kube_cluster": node["kube_cluster"],
                "ordinal": ordinal,
                "node": node["name"],
                "node_uid": node["uid"],
                "provider_id": node["provider_id"],
                "address": node["address"],
                "other_addresses": other_addresses(node),
                "process": node["name"] if hostnet["placement"] == "daemonset" and spec.get("process") != "member" else name,
                "admission": "",
                "zone": node["zone"],
                "region": node["region"],
                "boot_id": node.get("boot_id", ""),
                "machine_id": node.get("machine_id", ""),
            }
        )
    return sorted(new, key=join.canonical_key)


def growth_errors(members: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A system grows only while every member it has is well: a member that is down is one failure already."""
    alive = {(str(node["kube_cluster"]), str(node["name"])): str(node["uid"]) for node in nodes if node["ready"]}
    errors = []
    for binding in members:
        key = (str(binding["kube_cluster"]), str(binding["node"]))
        pods = observed.get(key[0], {}).get("pods", [])
        ready = any(pod["ready"] and not pod["terminating"] and pod["node"] == key[1] for pod in pods)
        if alive.get(key) != binding["node_uid"] or not ready:
            errors.append(
                f"kube cluster {key[0]}: member {binding['member']} on node {key[1]} is not ready, and a system that has a member down does not grow; "
                f"mend it first (playbooks/status.yml shows why), or narrow hostnet_node_selector so that no new node matches"
            )
    return errors


def other_addresses(node: Mapping[str, Any]) -> list[str]:
    """The node's IP addresses beside the one that its member uses.

    A host with several addresses may dial others from any of them, and etcd compares where a peer's connection comes from with the
    peer's certificate. What a kubelet says of itself is no proof: what no host can have to itself is left out.
    """
    found = []
    for entry in node.get("addresses") or []:
        try:
            address = str(parse_address(str(entry["address"])))
        except ValueError:
            continue  # host names are addresses of a Node too
        if not is_own(address):
            continue
        if address != node["address"] and address not in found:
            found.append(address)
    return found
