# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about a node, and what makes a set of nodes unusable for host-network members."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from . import held
from . import signs as signs_of

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Address types of Node.status; any other address type is the name of an annotation.
STATUS_ADDRESS_TYPES = ("InternalIP", "ExternalIP")

_BROADCAST = ipaddress.ip_address("255.255.255.255")
# What is listed where nobody has said which nodes are meant. No playbook takes it for a selector.
LISTED = "!node-role.kubernetes.io/control-plane"
_CONTROL_PLANE_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
# The old names are still set by some clouds and kept on nodes that were made long ago.
_REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
# Of which image, template or set of settings a node was made: clouds make new nodes with another one, and mark the old ones with nothing.
_GENERATION_LABELS = (
    "eks.amazonaws.com/nodegroup-image",
    "eks.amazonaws.com/sourceLaunchTemplateVersion",
    "kubernetes.azure.com/node-image-version",
)
# In Cluster API the owner is a MachineSet, which has a name for each template of its MachineDeployment (of a MachinePool: always the pool's).
_GENERATION_ANNOTATIONS = ("karpenter.sh/nodepool-hash", "cluster.x-k8s.io/owner-name")
_ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")


class NodeAddress(TypedDict):
    """One entry of Node.status.addresses."""

    type: str
    address: str


class Node(TypedDict):
    """One node as modules and the inventory hand it out.

    `address` is the one chosen by the address type, in its canonical spelling, or "" where the node has none.
    `selected` is false for a node that is listed although it does not match the selector.
    `annotations` are only those that keep the cluster autoscaler away (held.py).
    `signs` say that the VM is about to go (signs.py), `generation` of what it was made.
    `created` is the object's creation time (RFC 3339). Texts are "" where the node does not say.
    """

    kube_cluster: str
    name: str
    uid: str
    provider_id: str
    address: str
    addresses: list[NodeAddress]
    region: str
    zone: str
    ready: bool
    unschedulable: bool
    control_plane: bool
    labels: dict[str, str]
    annotations: dict[str, str]
    taints: list[dict[str, Any]]
    signs: list[signs_of.Sign]
    generation: str
    boot_id: str
    machine_id: str
    system_uuid: str
    kubelet_version: str
    created: str
    selected: bool


def parse_address(text: str) -> IPAddress:
    """The IP address in `text`; an IPv4 address written as IPv6 (::ffff:10.0.0.1) counts as the IPv4 address that it is.

    Raises ValueError for anything else, also for an address with a scope (fe80::1%eth0), which means nothing on another host.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError(f"{text!r} has a scope, which means nothing on another host")
        return address.ipv4_mapped or address
    return address


def is_own(text: str) -> bool:
    """Whether a host can have this address to itself: 0.0.0.0, loopback, multicast, link-local and broadcast are every host's, or nobody's."""
    address = parse_address(text)
    everybodys = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not everybodys and address != _BROADCAST


def peer_address(text: str) -> IPAddress | None:
    """The IP address in `address`, `address:port` or `[address]:port`, as systems list their peers; None where there is none."""
    for candidate in (text, text.rpartition(":")[0].strip("[]")):
        try:
            return parse_address(candidate)
        except ValueError:
            continue
    return None


def same_address(left: str, right: str) -> bool:
    """Whether both texts have one IP address, whatever their spelling and port: 10.0.0.1 is never 10.0.0.12, and fd00::1 is fd00:0::1."""
    found = peer_address(left)
    return found is not None and found == peer_address(right)


def ip_family(address: str) -> Literal["IPv4", "IPv6"]:
    """`IPv4` or `IPv6`. Raises ValueError where `address` is no IP address."""
    return "IPv4" if parse_address(address).version == 4 else "IPv6"


def _first(mapping: Mapping[str, str], keys: Sequence[str]) -> str:
    return next((mapping[key] for key in keys if mapping.get(key)), "")


def _chosen_address(node: Mapping[str, Any], address_type: str) -> str:
    if address_type in STATUS_ADDRESS_TYPES:
        # The first one is the node's primary address; a dual-stack node has a second one of the other family.
        found = [entry["address"] for entry in node.get("status", {}).get("addresses") or [] if entry["type"] == address_type]
        text = found[0] if found else ""
    else:
        text = (node["metadata"].get("annotations") or {}).get(address_type) or ""
    text = text.strip()
    try:
        return str(parse_address(text))
    except ValueError:
        # Kept as it is, so that node_errors can show it.
        return text


def node_facts(node_object: Mapping[str, Any], kube_cluster: str, address_type: str, selected: bool = True) -> Node:
    """What matters about a Node object (its JSON) of kube cluster `kube_cluster`.

    `address_type` is InternalIP, ExternalIP, or the name of an annotation that holds the address.
    """
    metadata = node_object["metadata"]
    spec = node_object.get("spec") or {}
    status = node_object.get("status") or {}
    info = status.get("nodeInfo") or {}
    labels = dict(metadata.get("labels") or {})
    return {
        "kube_cluster": kube_cluster,
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "provider_id": spec.get("providerID", ""),
        "address": _chosen_address(node_object, address_type),
        "addresses": [{"type": entry["type"], "address": entry["address"]} for entry in status.get("addresses") or []],
        "region": _first(labels, _REGION_LABELS),
        "zone": _first(labels, _ZONE_LABELS),
        "ready": any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions") or []),
        "unschedulable": bool(spec.get("unschedulable", False)),
        "control_plane": any(label in labels for label in _CONTROL_PLANE_LABELS),
        "labels": labels,
        "annotations": held.own(metadata.get("annotations")),
        "taints": [dict(taint) for taint in spec.get("taints") or []],
        "signs": signs_of.signs(node_object),
        "generation": _generation(info, labels, metadata.get("annotations") or {}),
        "boot_id": info.get("bootID", ""),
        "machine_id": info.get("machineID", ""),
        "system_uuid": info.get("systemUUID", ""),
        "kubelet_version": info.get("kubeletVersion", ""),
        "created": metadata.get("creationTimestamp") or "",
        "selected": selected,
    }


def _generation(info: Mapping[str, Any], labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Kubelet's version, and what clouds say of the image and the settings. The same text is the same generation of nodes in a pool."""
    told = [info.get("kubeletVersion", ""), *map(labels.get, _GENERATION_LABELS), *map(annotations.get, _GENERATION_ANNOTATIONS)]
    return ", ".join(str(part) for part in told if part)


def _describe(node: Node) -> str:
    return f"node {node['name']} (kube cluster {node['kube_cluster']})"


def _address_error(node: Node, address_type: str) -> str:
    """Why this node's own address cannot be used, or ""."""
    if not node["address"]:
        if address_type in STATUS_ADDRESS_TYPES:
            has = ", ".join(dict.fromkeys(entry["type"] for entry in node["addresses"])) or "none"
            return f"{_describe(node)} has no address of type {address_type} (it has: {has}); choose another hostnet_address_type (inventory: address_type)"
        return (
            f"{_describe(node)} has no annotation {address_type} with its address; annotate it or choose another hostnet_address_type "
            "(inventory: address_type)"
        )
    try:
        address = parse_address(node["address"])
    except ValueError:
        where = f"annotation {address_type}" if address_type not in STATUS_ADDRESS_TYPES else address_type
        return f"{_describe(node)}: {where} is {node['address']!r}, which is not a plain IP address"
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        return f"{_describe(node)}: {address} is not an address that other hosts can reach it by"
    return ""


def node_errors(nodes: Sequence[Node], address_type: str) -> list[str]:
    """What makes these nodes unusable together, one sentence each; [] where all is well.

    A node without an address of the wanted type, an address that is no usable IP, and addresses that several nodes
    have. Addresses are compared as IPs, never as text: 10.0.0.1 is no prefix of 10.0.0.12, and fd00::1 is fd00:0::1.
    The result does not depend on the order of `nodes`.
    """
    ordered = sorted(nodes, key=lambda node: (node["kube_cluster"], node["name"]))
    errors: list[str] = []
    owners: dict[IPAddress, list[Node]] = {}
    for node in ordered:
        error = _address_error(node, address_type)
        if error:
            errors.append(error)
        else:
            owners.setdefault(parse_address(node["address"]), []).append(node)
    for address, same in owners.items():
        if len(same) > 1:
            names = " and ".join(_describe(node) for node in same)
            errors.append(
                f"{names} have the same address {address}; choose another hostnet_address_type (inventory: address_type) or hostnet_node_selector"
            )
    return errors


def unknown_error(option: str, names: Sequence[str], kube_clusters: Sequence[str]) -> str:
    """What is wrong where `option` names kube clusters that are not in `kube_clusters`, or ""."""
    unknown = [name for name in names if name not in kube_clusters]
    if not unknown:
        return ""
    return f"{option}: {', '.join(unknown)} is not in kube_clusters, which has {', '.join(kube_clusters) or 'none'}; correct the name"


def host_names(nodes: Sequence[Node], qualified: bool) -> list[str]:
    """The inventory's host name of each node: its name, or `<node>.<kube cluster>`.

    Raises ValueError where two nodes would have the same name.
    """
    if qualified:
        return [f"{node['name']}.{node['kube_cluster']}" for node in nodes]
    homes: dict[str, str] = {}
    for node in nodes:
        other = homes.setdefault(node["name"], node["kube_cluster"])
        if other != node["kube_cluster"]:
            raise ValueError(f"kube clusters {other} and {node['kube_cluster']} both have a node {node['name']}; set qualified_names: true")
    return [node["name"] for node in nodes]


def merge_sources(known: Sequence[Mapping[str, Any]], added: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The kube clusters of several inventory sources together, sorted by name, and what they contradict each other in (or "").

    The result does not depend on the order of the sources.
    """
    entries: dict[str, dict[str, Any]] = {}
    for entry in [*known, *added]:
        name = str(entry["name"])
        first = entries.setdefault(name, dict(entry))
        differs = sorted(key for key in {*first, *entry} if first.get(key) != entry.get(key))
        if differs:
            return [], (
                f"kube cluster {name} is in two inventory sources (or twice in one), which differ in {', '.join(differs)}: two kube clusters need two names, "
                f"and one is named once"
            )
    return [entries[name] for name in sorted(entries)], ""
