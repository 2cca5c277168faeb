# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about nodes, and what makes a set of nodes unusable."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import (
    Node,
    host_names,
    ip_family,
    node_errors,
    node_facts,
    parse_address,
    unknown_error,
)

ANNOTATION = "example.com/backbone-ip"


def node_object(name: str = "vm-1", address: str | None = "10.0.0.1", **metadata: Any) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}]
    if address is not None:
        addresses.insert(0, {"type": "InternalIP", "address": address})
    return {"metadata": {"name": name, "uid": f"uid-{name}", **metadata}, "status": {"addresses": addresses}}


def facts(kube_cluster: str, name: str, address: str | None, address_type: str = "InternalIP") -> Node:
    if address_type == "InternalIP":
        return node_facts(node_object(name, address), kube_cluster, address_type)
    annotations = {} if address is None else {address_type: address}
    return node_facts(node_object(name, annotations=annotations), kube_cluster, address_type)


# Addresses that can be a node's: of both families, no loopback, no multicast, not 0.0.0.0, and no IPv4 in IPv6 clothes.
ADDRESSES = st.one_of(
    st.integers(min_value=0x0A000000, max_value=0x0AFFFFFF).map(ipaddress.IPv4Address),
    st.integers(min_value=0xFD << 120, max_value=(0xFE << 120) - 1).map(ipaddress.IPv6Address),
)


def test_facts_of_a_whole_node() -> None:
    node = node_facts(
        {
            "metadata": {
                "name": "vm-1",
                "uid": "u",
                "creationTimestamp": "2026-11-22T10:00:00Z",
                "labels": {
                    "topology.kubernetes.io/region": "r",
                    "topology.kubernetes.io/zone": "z",
                    "node-role.kubernetes.io/control-plane": "",
                },
            },
            "spec": {"providerID": "kind://x", "unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "10.0.0.1"},
                    {"type": "InternalIP", "address": "fd00::1"},
                    {"type": "ExternalIP", "address": "FD00:0::2"},
                ],
                "conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "True"}],
                "nodeInfo": {"bootID": "b", "machineID": "m", "systemUUID": "s", "kubeletVersion": "v1.36.3"},
            },
        },
        "east",
        "ExternalIP",
    )
    assert node == {
        "kube_cluster": "east",
        "name": "vm-1",
        "uid": "u",
        "provider_id": "kind://x",
        "address": "fd00::2",
        "addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "InternalIP", "address": "fd00::1"},
            {"type": "ExternalIP", "address": "FD00:0::2"},
        ],
        "region": "r",
        "zone": "z",
        "ready": True,
        "unschedulable": True,
        "control_plane": True,
        "labels": {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z", "node-role.kubernetes.io/control-plane": ""},
        "annotations": {},
        "taints": [{"key": "k", "effect": "NoSchedule"}],
        "signs": [{"sign": "spec.unschedulable", "level": "marked", "text": "it is cordoned"}],
        "generation": "v1.36.3",
        "boot_id": "b",
        "machine_id": "m",
        "system_uuid": "s",
        "kubelet_version": "v1.36.3",
        "created": "2026-11-22T10:00:00Z",
        "selected": True,
    }


def test_a_generation_is_what_kubelet_and_cloud_say() -> None:
    labels = {"kubernetes.azure.com/node-image-version": "AKSUbuntu-1", "eks.amazonaws.com/nodegroup-image": "ami-1"}
    metadata = {"name": "n", "labels": labels, "annotations": {"karpenter.sh/nodepool-hash": "77"}}
    node = node_facts({"metadata": metadata, "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}}}, "east", "InternalIP")
    assert node["generation"] == "v1.36.3, ami-1, AKSUbuntu-1, 77"
    metadata = {"name": "n", "annotations": {"cluster.x-k8s.io/owner-kind": "MachineSet", "cluster.x-k8s.io/owner-name": "database-x7k2p"}}
    node = node_facts({"metadata": metadata, "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}}}, "east", "InternalIP")
    assert node["generation"] == "v1.36.3, database-x7k2p"


def test_facts_of_a_node_that_has_said_nothing_yet() -> None:
    node = node_facts({"metadata": {"name": "new"}}, "east", "InternalIP")
    assert (node["address"], node["ready"], node["region"], node["labels"], node["taints"]) == ("", False, "", {}, [])
    assert set(node) == set(Node.__annotations__)


def test_old_topology_labels_count_where_the_new_are_missing() -> None:
    labels = {
        "failure-domain.beta.kubernetes.io/zone": "old",
        "failure-domain.beta.kubernetes.io/region": "r",
        "topology.kubernetes.io/region": "new",
    }
    node = node_facts(node_object(labels=labels), "east", "InternalIP")
    assert (node["region"], node["zone"]) == ("new", "old")


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_node_is_ready_only_where_it_says_true(status: str) -> None:
    node = node_facts({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": status}]}}, "east", "InternalIP")
    assert not node["ready"]


@given(ADDRESSES, st.sampled_from(["", " ", "\n", "\t "]))
def test_annotation_is_stripped_and_spelled_canonically(address: ipaddress.IPv4Address | ipaddress.IPv6Address, space: str) -> None:
    for text in (str(address), address.exploded, address.exploded.upper()):
        node = facts("east", "vm", space + text + space, ANNOTATION)
        assert node["address"] == str(address)
        assert node_errors([node], ANNOTATION) == []


@given(st.text())
def test_any_annotation_text_is_an_address_or_an_error(text: str) -> None:
    node = facts("east", "vm", text, ANNOTATION)
    errors = node_errors([node], ANNOTATION)
    try:
        parse_address(text.strip())
    except ValueError:
        assert len(errors) == 1
        assert "node vm (kube cluster east)" in errors[0]
        assert ANNOTATION in errors[0]


@given(st.lists(st.tuples(st.sampled_from(["east", "west"]), ADDRESSES), max_size=8), st.randoms(use_true_random=False))
def test_errors_are_exactly_the_shared_addresses_in_any_order(entries: list[tuple[str, Any]], random: Any) -> None:
    nodes = [facts(kube_cluster, f"vm-{index}", address.exploded) for index, (kube_cluster, address) in enumerate(entries)]
    errors = node_errors(nodes, "InternalIP")
    addresses = [address for _cluster, address in entries]
    shared = {address for address in addresses if addresses.count(address) > 1}
    assert len(errors) == len(shared)
    for address in shared:
        (error,) = [text for text in errors if f"the same address {address};" in text]
        for index, (kube_cluster, other) in enumerate(entries):
            assert (f"node vm-{index} (kube cluster {kube_cluster})" in error) == (other == address)
    random.shuffle(nodes)
    assert node_errors(nodes, "InternalIP") == errors


def test_addresses_are_compared_whole_and_as_addresses() -> None:
    assert node_errors([facts("east", "a", "10.0.0.1"), facts("west", "b", "10.0.0.12")], "InternalIP") == []
    for first, second in (("fd00::1", "fd00:0:0::1"), ("10.0.0.1", "::ffff:10.0.0.1"), ("10.0.0.1", " 10.0.0.1")):
        (error,) = node_errors([facts("east", "a", first), facts("west", "b", second)], "InternalIP")
        assert "node a (kube cluster east) and node b (kube cluster west)" in error


@pytest.mark.parametrize(
    ("address", "part"),
    [
        (None, "has no address of type InternalIP (it has: Hostname)"),
        ("10.0.0.256", "'10.0.0.256', which is not a plain IP address"),
        ("010.0.0.1", "not a plain IP address"),
        ("10.0.0.1/24", "not a plain IP address"),
        ("fe80::1%eth0", "not a plain IP address"),
        ("vm-1", "not a plain IP address"),
        ("0.0.0.0", "0.0.0.0 is not an address that other hosts can reach it by"),
        ("127.0.0.1", "not an address that other hosts"),
        ("::1", "not an address that other hosts"),
        ("ff02::1", "not an address that other hosts"),
    ],
)
def test_unusable_addresses(address: str | None, part: str) -> None:
    (error,) = node_errors([facts("east", "vm-1", address)], "InternalIP")
    assert error.startswith("node vm-1 (kube cluster east)")
    assert part in error


def test_a_missing_annotation_is_named() -> None:
    (error,) = node_errors([facts("east", "vm-1", None, ANNOTATION)], ANNOTATION)
    assert (
        error == f"node vm-1 (kube cluster east) has no annotation {ANNOTATION} with its address; annotate it or choose another "
        "hostnet_address_type (inventory: address_type)"
    )


def test_ip_family() -> None:
    assert (ip_family("10.0.0.1"), ip_family("fd00::1"), ip_family("::ffff:10.0.0.1")) == ("IPv4", "IPv6", "IPv4")
    with pytest.raises(ValueError, match="vm-1"):
        ip_family("vm-1")


def test_host_names() -> None:
    nodes = [facts("east", "vm-1", "10.0.0.1"), facts("east", "vm-2", "10.0.0.2"), facts("west", "vm-3", "10.0.0.3")]
    assert host_names(nodes, qualified=False) == ["vm-1", "vm-2", "vm-3"]
    nodes.append(facts("west", "vm-1", "10.0.0.4"))
    assert host_names(nodes, qualified=True) == ["vm-1.east", "vm-2.east", "vm-3.west", "vm-1.west"]
    with pytest.raises(ValueError, match="kube clusters east and west both have a node vm-1; set qualified_names: true"):
        host_names(nodes, qualified=False)


def test_unknown_names() -> None:
    assert unknown_error("absent_ok", ["east"], ["east", "west"]) == ""
    assert unknown_error("absent_ok", ["north"], ["east", "west"]).startswith(
        "absent_ok: north is not in kube_clusters, which has east, west"
    )
