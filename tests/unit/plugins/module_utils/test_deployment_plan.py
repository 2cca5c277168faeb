# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy decides from what was observed: modes, refusals, bindings, batches."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, names, observation, settings_and_spec
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")


def plan_of(
    nodes: list[Json] | None = None, observed: dict[str, Json] | None = None, hostnet: Json | None = None, spec: Json | None = None
) -> Json:
    hostnet = hostnet or plans.settings()
    if observed is None:
        observed = {cluster["name"]: plans.nothing() for cluster in hostnet["kube_clusters"]}
    return deployment.deployment_plan(hostnet, spec or SPEC, plans.five_nodes() if nodes is None else nodes, observed)


def finished(hostnet: Json | None = None, nodes: list[Json] | None = None) -> tuple[Json, list[Json], list[Json], dict[str, Json]]:
    """Settings, nodes, bindings and observation of a deployment that is well."""
    hostnet = hostnet or plans.settings()
    nodes = nodes or plans.five_nodes()
    bindings = plans.admitted(hostnet, SPEC, nodes)
    return hostnet, plans.labelled(nodes, bindings), bindings, plans.running(hostnet, bindings)


def only(errors: list[str], *parts: str) -> None:
    """One error, which says all of `parts`."""
    assert len(errors) == 1, errors
    for part in parts:
        assert part in errors[0]


# -- settings ------------------------------------------------------------------------------------------------------


def test_good_settings_have_no_errors() -> None:
    assert settings_and_spec.settings_errors(plans.settings(), SPEC) == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "Ledger_1"}, ("hostnet_name", "'Ledger_1'", "not a DNS label", "a-z, 0-9")),
        ({"namespace": "-bank"}, ("hostnet_namespace", "'-bank'", "not a DNS label")),
        ({"placement": "anywhere"}, ("hostnet_placement", "'anywhere'", "node_name, daemonset")),
        ({"data_root": "var/lib"}, ("hostnet_data_root", "'var/lib'", "absolute path")),
        ({"data_root": "/var/../etc"}, ("hostnet_data_root", "'/var/../etc'", "absolute path")),
        ({"data_root": "/"}, ("hostnet_data_root", "root of the nodes' file system", "folder of their own")),
        ({"join_per_cluster": 0}, ("hostnet_join_per_cluster", "0", "at least 1")),
        ({"kube_clusters": []}, ("hostnet_kube_clusters is empty", "hostnet.multicluster.nodes")),
        ({"kube_clusters": ["gke_a_b"]}, ("kube cluster 'gke_a_b'", "not a DNS label", "`name:`")),
        ({"absent_kube_clusters": ["west"]}, ("kube cluster west did not answer", "unreachable is not dead", "Bring its API server back")),
        ({"placement": "daemonset", "address_type": "ExternalIP"}, ("hostnet_address_type", "'ExternalIP'", "hostnet_placement=node_name")),
    ],
)
def test_each_wrong_setting_is_one_error_with_its_field_and_a_remedy(changes: Json, parts: tuple[str, ...]) -> None:
    only(settings_and_spec.settings_errors(plans.settings(**changes), SPEC), *parts)


def test_invariants_1_and_9_nothing_is_deployed_while_a_kube_cluster_is_silent() -> None:
    errors = settings_and_spec.settings_errors(plans.settings(absent_kube_clusters=["north", "west"]), SPEC)
    assert [error.split(" did not")[0] for error in errors] == ["kube cluster north", "kube cluster west"]


@pytest.mark.parametrize("field", ["command", "ports", "data_path", "user", "grace_seconds", "certificates", "image"])
def test_a_spec_without_a_field_is_named(field: str) -> None:
    spec = {key: value for key, value in SPEC.items() if key != field}
    only(settings_and_spec.settings_errors(plans.settings(), spec), "system etcd", repr(field), "docs/systems.md")


def test_two_uses_of_one_port_are_an_error() -> None:
    only(
        settings_and_spec.settings_errors(plans.settings(), {**SPEC, "local_ports": {"metrics": 2379}}),
        "system etcd",
        "port 2379",
        "two uses",
    )


# -- first ---------------------------------------------------------------------------------------------------------


def test_first_deploy_gives_every_node_a_member_and_starts_all_together() -> None:
    plan = plan_of()
    assert (plan["mode"], plan["errors"], plan["warnings"]) == ("first", [], [])
    assert [(entry["member"], entry["node"], entry["address"]) for entry in plan["new"]] == [
        ("east-0", "east-worker", "10.0.0.1"),
        ("east-1", "east-worker2", "10.0.0.12"),
        ("east-2", "east-worker3", "10.0.0.3"),
        ("west-0", "west-worker", "10.0.1.1"),
        ("west-1", "west-worker2", "10.0.1.2"),
    ]
    assert plan["batches"] == [["east-0", "east-1", "east-2", "west-0", "west-1"]]
    assert (plan["identity"], plan["cluster_id"], plan["incomplete"], plan["members"], plan["seeds"]) == (None, "", False, [], [])
    assert [entry["name"] for entry in plan["probe"]] == [entry["node"] for entry in plan["new"]]
    assert {entry["process"] for entry in plan["new"]} == {entry["member"] for entry in plan["new"]}
    assert all(entry["admission"] == "" for entry in plan["new"])


@pytest.mark.parametrize("placement", ["node_name", "daemonset"])
def test_servers_of_nats_are_named_as_their_members_in_both_placements(placement: str) -> None:
    plan = plan_of(hostnet=plans.settings(placement=placement), spec=plans.spec_of("nats"))
    assert plan["errors"] == []
    assert [binding["process"] for binding in plan["new"]] == [binding["member"] for binding in plan["new"]]


def test_processes_of_a_daemonset_are_named_as_their_nodes() -> None:
    plan = plan_of(hostnet=plans.settings(placement="daemonset"))
    assert plan["errors"] == []
    assert [entry["process"] for entry in plan["new"]] == [entry["node"] for entry in plan["new"]]


def test_two_processes_of_one_name_are_refused() -> None:
    """To etcd and NATS a name is who somebody is; kube clusters may well have nodes of the same name."""
    nodes = [plans.node(cluster, "vm-1", f"10.0.{number}.1") for number, cluster in enumerate(("east", "west"))]
    nodes.append(plans.node("east", "vm-2", "10.0.0.2"))
    only(plan_of(nodes, hostnet=plans.settings(placement="daemonset"))["errors"], "both have a node vm-1", "hostnet_placement=node_name")
    assert plan_of(nodes)["errors"] == []


def test_nodes_are_numbered_in_natural_order() -> None:
    nodes = [plans.node("east", f"vm-{number}", f"10.0.0.{number}") for number in (10, 9, 2)]
    assert [(entry["member"], entry["node"]) for entry in plan_of(nodes)["new"]] == [
        ("east-0", "vm-2"),
        ("east-1", "vm-9"),
        ("east-2", "vm-10"),
    ]


def test_even_number_of_voters_is_a_warning_only() -> None:
    plan = plan_of(plans.five_nodes()[:4])
    assert plan["errors"] == []
    assert len(plan["warnings"]) == 1
    assert "4 voters" in plan["warnings"][0]
    assert plan_of(plans.five_nodes()[:4], spec={**SPEC, "warn_even": False})["warnings"] == []


def test_nobody_gets_a_member_while_no_selector_is_said() -> None:
    unsaid = plans.settings(selector_said=False)
    plan = plan_of(plans.five_nodes(), hostnet=unsaid)
    only(plan["errors"], "hostnet_node_selector is not set", "node_selector in the inventory", "-e hostnet_node_selector=", "gke-nodepool")
    assert (plan["new"], plan["batches"], plan["probe"]) == ([], [], [])
    _hostnet, nodes, bindings, observed = finished()
    plan = deployment.deployment_plan(unsaid, SPEC, nodes, observed)
    only(plan["errors"], "hostnet_node_selector is not set")
    # Whatever looks on, or removes, knows the members all the same.
    assert [entry["member"] for entry in plan["members"]] == [entry["member"] for entry in bindings]


def test_only_nodes_that_get_a_member_are_probed() -> None:
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    others = [
        plans.node("east", "east-out", "10.0.0.8", taints=[taint]),
        plans.node("east", "east-other", "10.0.0.9", selected=False, labels={"hostnet.multicluster/other": "east-0"}),
    ]
    plan = plan_of([*plans.five_nodes(), *others])
    assert [entry["name"] for entry in plan["probe"]] == [node["name"] for node in plans.five_nodes()]


SEVEN = [plans.node("east", f"vm-{number}", f"10.0.0.{number}", zone="a") for number in range(1, 8)]


def test_more_voters_than_the_system_is_made_for_are_refused() -> None:
    eight = [*SEVEN, plans.node("west", "vm-8", "10.0.1.8")]
    assert SPEC["max_members"]["count"] == 7
    assert plan_of(SEVEN)["errors"] == []
    only(
        plan_of(eight)["errors"],
        "8 members",
        "etcd",
        "at most 7",
        "https://etcd.io/docs/",
        "system_etcd_max_members=8",
        "hostnet_node_selector",
    )
    # Overridden by name, or without a limit.
    assert plan_of(eight, spec={**SPEC, "max_members": {**SPEC["max_members"], "count": 8}})["errors"] == []
    assert plan_of(eight, spec={key: value for key, value in SPEC.items() if key != "max_members"})["errors"] == []


def test_a_system_that_is_beyond_its_maximum_already_is_left_alone_and_does_not_grow() -> None:
    hostnet, nodes, _bindings, observed = finished()
    four = {**SPEC, "max_members": {**SPEC["max_members"], "count": 4}}
    assert deployment.deployment_plan(hostnet, four, nodes, observed)["errors"] == []
    grown = [*nodes, plans.node("east", "east-worker4", "10.0.0.4")]
    only(deployment.deployment_plan(hostnet, four, grown, observed)["errors"], "6 members", "at most 4")


def test_no_node_names_selector_and_kube_clusters() -> None:
    plan = plan_of([], hostnet=plans.settings(node_selector="role=db"))
    only(plan["errors"], "no node matches", "'role=db'", "east, west", "hostnet_node_selector")
    assert plan["batches"] == []


def test_too_few_nodes_are_an_error() -> None:
    only(plan_of(plans.five_nodes()[:2])["errors"], "2 nodes match", "east, west", "etcd needs at least 3", "let more nodes match")


def test_control_plane_nodes_are_a_warning() -> None:
    nodes = plans.five_nodes()
    nodes[0]["control_plane"] = True
    plan = plan_of(nodes)
    assert plan["errors"] == []
    assert len(plan["warnings"]) == 1
    assert "kube cluster east: node east-worker" in plan["warnings"][0]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"address": ""}, ("has no address of type InternalIP", "it has: InternalIP, Hostname", "hostnet_address_type")),
        ({"address": "", "addresses": []}, ("has no address of type InternalIP", "it has: none")),
        ({"address": "ten"}, ("InternalIP is 'ten'", "which is not a plain IP address")),
        (
            {"address": "10.0.1.2"},
            (
                "and node west-worker2 (kube cluster west) have the same address 10.0.1.2",
                "choose another hostnet_address_type (inventory: address_type) or hostnet_node_selector",
            ),
        ),
        ({"ready": False}, ("is not Ready", "no member can be admitted", "hostnet_node_selector")),
    ],
)
def test_each_wrong_node_is_one_error_with_node_and_kube_cluster(changes: Json, parts: tuple[str, ...]) -> None:
    nodes = plans.five_nodes()
    nodes.append(plans.node("east", "east-worker4", "10.0.0.4") | changes)
    errors = [error for error in plan_of(nodes)["errors"] if "node east-worker4" in error or "east-worker4" in error]
    only(errors, *parts)
    assert "kube cluster east" in errors[0]
    assert len(plan_of(nodes)["errors"]) == 1


def test_invariant_13_addresses_are_compared_whole() -> None:
    # Invariant 13: 10.0.0.1 is a prefix of 10.0.0.12, and both may be used.
    nodes = plans.five_nodes()
    assert {"10.0.0.1", "10.0.0.12"} <= {entry["address"] for entry in nodes}
    assert plan_of(nodes)["errors"] == []
    hostnet, nodes, bindings, observed = finished()
    grown = [*nodes, plans.node("east", "east-worker4", "10.0.0.120")]
    plan = deployment.deployment_plan(hostnet, SPEC, grown, observed)
    assert plan["errors"] == []
    live = observation.live_members(bindings, observed, [nodes[0] | {"address": "10.0.0.12"}, *nodes[1:]])
    assert [entry["live"] for entry in live] == [False, True, True, True, True]


def test_ipv6_is_refused_where_the_system_cannot_and_supported_elsewhere() -> None:
    nodes = [plans.node("east", f"vm-{number}", f"fd00::{number}") for number in (1, 2, 3)]
    assert plan_of(nodes)["errors"] == []
    errors = plan_of(nodes, spec={**SPEC, "ip_families": ["IPv4"]})["errors"]
    assert len(errors) == 3
    assert "kube cluster east: node vm-1 has the IPv6 address fd00::1, and etcd does not support IPv6" in errors[0]


def test_mixed_families() -> None:
    nodes = [*plans.five_nodes()[:2], plans.node("east", "vm-6", "fd00::1")]
    assert plan_of(nodes)["errors"] == []
    only(
        plan_of(nodes, hostnet=plans.settings(placement="daemonset"))["errors"],
        "kube cluster east mixes IPv4 and IPv6",
        "hostnet_placement=node_name",
    )
    only(plan_of(nodes, spec={**SPEC, "mixed_families": False})["errors"], "etcd does not support members with IPv4 and members with IPv6")


def test_one_family_in_each_kube_cluster_is_no_mix_for_a_daemonset() -> None:
    nodes = [*plans.five_nodes()[:3], plans.node("west", "vm-6", "fd00::1"), plans.node("west", "vm-7", "fd00::2")]
    assert plan_of(nodes, hostnet=plans.settings(placement="daemonset"))["errors"] == []


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_namespace_that_forbids_host_networking(level: str) -> None:
    observed = {
        "east": plans.nothing(),
        "west": plans.nothing(namespace={"labels": {"pod-security.kubernetes.io/enforce": level}, "phase": "Active"}),
    }
    only(plan_of(observed=observed)["errors"], "kube cluster west: namespace bank", f"enforce={level}", "label it privileged")


def test_namespace_that_is_being_deleted() -> None:
    observed = {"east": plans.nothing(namespace={"labels": {}, "phase": "Terminating"}), "west": plans.nothing()}
    only(plan_of(observed=observed)["errors"], "kube cluster east: namespace bank", "being deleted", "wait")


def test_names_too_long_for_a_workload_are_an_error() -> None:
    name = "a" * 45
    errors = plan_of(hostnet=plans.settings(name=name))["errors"]
    assert errors[0].startswith(f"{name}-east-0 is longer than 50 characters; choose a shorter hostnet_name")
    assert plan_of(hostnet=plans.settings(name=name, placement="daemonset"))["errors"] == []


# -- unfinished ----------------------------------------------------------------------------------------------------


def claimed(members: list[str], **changes: Any) -> dict[str, Json]:
    return {name: plans.nothing(identity=plans.identity(members, **changes)) for name in ("east", "west")}


EVERYBODY = ["east-0", "east-1", "east-2", "west-0", "west-1"]


def test_unfinished_deploy_goes_on_with_the_claim() -> None:
    plan = plan_of(observed=claimed(EVERYBODY))
    assert (plan["mode"], plan["errors"], plan["cluster_id"]) == ("unfinished", [], "")
    assert plan["identity"]["token"] == plans.TOKEN
    assert plan["batches"] == [EVERYBODY]


def test_unfinished_deploy_takes_the_members_that_it_has_bound() -> None:
    hostnet, nodes, _bindings, observed = finished()
    for found in observed.values():
        found["cluster_record"], found["join"]["HOSTNET_STATE"] = None, "new"
    observed["west"]["members"] = []
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["mode"], plan["state"], plan["errors"]) == ("unfinished", "new", [])
    assert [entry["member"] for entry in plan["members"]] == EVERYBODY[:3]
    assert plan["batches"] == [EVERYBODY]
    # Only nodes that get a member are asked again: the others hold data by now.
    assert [entry["name"] for entry in plan["probe"]] == ["west-worker", "west-worker2"]


def test_unfinished_deploy_with_other_nodes_is_refused() -> None:
    only(
        plan_of(plans.five_nodes()[:4], observed=claimed(EVERYBODY))["errors"],
        "deployment ledger was claimed for members east-0, east-1, east-2, west-0, west-1",
        "now the nodes give east-0, east-1, east-2, west-0",
        "discard it with playbooks/remove.yml -e hostnet_remove_data=true",
    )


# -- existing ------------------------------------------------------------------------------------------------------


def test_finished_deployment_needs_nothing() -> None:
    hostnet, nodes, bindings, observed = finished()
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["mode"], plan["errors"], plan["new"], plan["batches"], plan["probe"]) == ("existing", [], [], [], [])
    assert plan["members"] == bindings
    assert plan["seeds"] == [entry["address"] for entry in bindings]
    assert (plan["cluster_id"], plan["incomplete"]) == ("c1d", False)


@pytest.mark.parametrize("field", ["identity", "cluster_record"])
def test_a_record_that_one_kube_cluster_lacks_is_completed(field: str) -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["east"][field] = None
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["mode"], plan["errors"], plan["incomplete"]) == ("existing", [], True)


def test_a_new_kube_cluster_without_anything_makes_the_record_incomplete() -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["north"] = plans.nothing()
    assert deployment.deployment_plan(hostnet, SPEC, nodes, observed)["incomplete"]


@pytest.mark.parametrize(("field", "title"), [("identity", "identity record"), ("cluster_record", "cluster id")])
def test_records_that_differ_are_one_error(field: str, title: str) -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["west"][field]["token"] = "another"
    only(
        deployment.deployment_plan(hostnet, SPEC, nodes, observed)["errors"],
        f"the {title} of deployment ledger differs between kube clusters east and west",
        "docs/recovery.md",
    )


@pytest.mark.parametrize(("field", "value"), [("system", "nats"), ("placement", "daemonset")])
def test_another_system_or_placement_under_the_name_is_refused(field: str, value: str) -> None:
    hostnet, nodes, _bindings, observed = finished()
    errors = deployment.deployment_plan({**hostnet, field: value}, SPEC, nodes, observed)["errors"]
    assert f"deployment ledger in namespace bank is recorded with {field}" in errors[0]
    assert "Choose another hostnet_name" in errors[0]


def test_growth_admits_one_after_another_or_together_as_the_system_says() -> None:
    hostnet, nodes, _bindings, observed = finished()
    nodes += [plans.node("west", "west-worker3", "10.0.1.3"), plans.node("east", "east-worker4", "10.0.0.4")]
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["errors"], plan["batches"]) == ([], [["east-3"], ["west-2"]])
    assert [entry["name"] for entry in plan["probe"]] == ["east-worker4", "west-worker3"]
    together = deployment.deployment_plan(hostnet, {**SPEC, "admit": "together"}, nodes, observed)
    assert together["batches"] == [["east-3", "west-2"]]
    unsaid = {key: value for key, value in SPEC.items() if key != "admit"}
    assert deployment.deployment_plan(hostnet, unsaid, nodes, observed)["batches"] == [["east-3"], ["west-2"]]


@pytest.mark.parametrize("why", ["pod not ready", "pod terminating", "no pod", "node not ready", "another vm", "node gone"])
def test_invariant_9_nothing_grows_while_a_member_is_down(why: str) -> None:
    hostnet, nodes, _bindings, observed = finished()
    pods = observed["east"]["pods"]
    if why == "pod not ready":
        pods[1]["ready"] = False
    elif why == "pod terminating":
        pods[1]["terminating"] = True
    elif why == "no pod":
        del pods[1]
    elif why == "node not ready":
        nodes[1]["ready"] = False
    elif why == "another vm":
        nodes[1]["uid"] = "other"
    else:
        del nodes[1]
    without = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert [error for error in without["errors"] if "does not grow" in error] == []
    nodes.append(plans.node("west", "west-worker3", "10.0.1.3"))
    only(
        deployment.deployment_plan(hostnet, SPEC, nodes, observed)["errors"],
        "kube cluster east: member east-1 on node east-worker2 is not ready",
        "mend it first",
        "hostnet_node_selector",
    )


def test_a_node_that_is_another_vm_or_moved_is_a_warning_and_gets_no_second_member() -> None:
    hostnet, nodes, _bindings, observed = finished()
    nodes[0]["uid"] = "other"
    nodes[3]["address"] = "10.0.1.99"
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["errors"], plan["new"]) == ([], [])
    assert len(plan["warnings"]) == 2
    assert "node east-worker is another VM than the one that member east-0 was admitted to" in plan["warnings"][0]
    assert "node west-worker moved from 10.0.1.1 to 10.0.1.99 under member west-0" in plan["warnings"][1]


def test_a_node_that_no_longer_matches_gets_no_member_and_keeps_its_own() -> None:
    hostnet, nodes, _bindings, observed = finished()
    nodes[0]["selected"] = False
    nodes.append(plans.node("east", "east-worker9", "10.0.0.9", selected=False))
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["errors"], plan["new"], len(plan["members"])) == ([], [], 5)


def test_invariant_7_an_address_of_a_member_is_not_used_again() -> None:
    hostnet, nodes, _bindings, observed = finished()
    gone = nodes.pop(0)
    nodes.append(plans.node("west", "west-worker3", gone["address"]))
    errors = deployment.deployment_plan(hostnet, SPEC, nodes, observed)["errors"]
    mine = [error for error in errors if "west-worker3" in error]
    only(mine, "kube cluster west: node west-worker3 has address 10.0.0.1", "member east-0 on node east-worker", "forgotten the old one")


def test_ordinals_are_never_given_twice() -> None:
    hostnet, nodes, _bindings, observed = finished()
    # The node of east-2 is gone and another one came.
    nodes = [one for one in nodes if one["name"] != "east-worker3"]
    nodes.append(plans.node("east", "a-first-in-order", "10.0.0.77"))
    new = deployment.deployment_plan(hostnet, SPEC, nodes, observed)["new"]
    assert [(entry["member"], entry["ordinal"]) for entry in new] == [("east-3", 3)]


def test_what_was_read_again_takes_the_place_of_what_was_observed_and_of_nothing_else() -> None:
    observed = {"east": {"pods": ["old"], "join": {"seeds": "1", "gone": "x"}, "uid": "e"}, "west": {"pods": [], "uid": "w"}}
    before = copy.deepcopy(observed)
    renewed = observation.renewed(observed, {"east": {"pods": [], "join": {"seeds": "2"}}})
    assert renewed == {"east": {"pods": [], "join": {"seeds": "2"}, "uid": "e"}, "west": {"pods": [], "uid": "w"}}
    assert observed == before


def test_seeds_of_the_first_kube_cluster_with_a_list_count() -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["east"]["join"] = None
    observed["west"]["join"]["seeds"] = "10.0.1.1,,10.0.0.1"
    assert deployment.deployment_plan(hostnet, SPEC, nodes, observed)["seeds"] == ["10.0.1.1", "10.0.0.1"]


# -- lost record ---------------------------------------------------------------------------------------------------


def lost(**changes: Any) -> tuple[Json, list[Json], list[Json], dict[str, Json]]:
    hostnet, nodes, bindings, observed = finished(plans.settings(**changes))
    for found in observed.values():
        found["identity"] = found["cluster_record"] = None
    return hostnet, nodes, bindings, observed


@pytest.mark.parametrize("placement", ["node_name", "daemonset"])
def test_lost_record_is_restored_from_what_every_workload_carries(placement: str) -> None:
    hostnet, nodes, _bindings, observed = lost(placement=placement)
    nodes.append(plans.node("east", "east-worker4", "10.0.0.4"))
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert (plan["mode"], plan["errors"]) == ("lost_record", [])
    # Nobody is admitted before the record is back.
    assert (plan["new"], plan["batches"], plan["probe"]) == ([], [], [])
    assert plan["identity"] == {
        "token": plans.TOKEN,
        "system": "etcd",
        "placement": placement,
        "ca_fingerprint": plans.FINGERPRINT,
        "members": ",".join(EVERYBODY),
        "claimed_by": "restored",
    }


def _spoil(kind: str, hostnet: Json, nodes: list[Json], observed: dict[str, Json]) -> None:
    workloads = observed["east"]["workloads"]
    if kind == "another token in the cluster id":
        observed["west"]["cluster_record"] = {"cluster_id": "c1d", "token": "another"}
    elif kind == "two tokens":
        workloads[0]["token"] = "another"
    elif kind == "two CAs":
        workloads[0]["ca_fingerprint"] = "cd" * 32
    elif kind == "no token":
        for found in observed.values():
            for one in found["workloads"]:
                one["token"] = ""
    elif kind == "other placement":
        for found in observed.values():
            for one in found["workloads"]:
                one["kind"] = "DaemonSet"
    elif kind == "no bindings":
        for found in observed.values():
            found["members"] = []
    else:
        for found in observed.values():
            found.update(workloads=[], pods=[], members=[], join=None)
        if kind == "labels alone":
            assert any(names.node_label("ledger") in one["labels"] for one in nodes)
            return
        for one in nodes:
            one["labels"] = {}
        if kind == "a pod alone":
            observed["west"]["pods"] = [plans.pod({"member": "west-0", "node": "west-worker", "address": "10.0.1.1"})]
        elif kind == "a binding alone":
            observed["west"]["members"] = [{"member": "west-0", "kube_cluster": "west", "ordinal": 0, "node": "x", "address": "10.9.9.9"}]
        elif kind == "a join list alone":
            observed["west"]["join"] = {"seeds": "10.0.1.1"}
        elif kind == "a cluster id alone":
            observed["west"]["cluster_record"] = {"cluster_id": "c1d", "token": plans.TOKEN}


@pytest.mark.parametrize(
    "kind",
    [
        "two tokens",
        "another token in the cluster id",
        "two CAs",
        "no token",
        "other placement",
        "no bindings",
        "labels alone",
        "a pod alone",
        "a binding alone",
        "a join list alone",
        "a cluster id alone",
    ],
)
def test_invariant_1_nothing_is_initialised_where_anything_of_a_deployment_is_left(kind: str) -> None:
    hostnet, nodes, _bindings, observed = lost()
    _spoil(kind, hostnet, nodes, observed)
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    assert plan["mode"] == "lost_record"
    errors = [error for error in plan["errors"] if "no identity record" in error]
    only(errors, "deployment ledger has no identity record", "it exists: kube cluster", "Nothing is initialised", "docs/recovery.md")
    assert plan["errors"] == errors, "one reason, not what follows from it"
    assert (plan["new"], plan["batches"]) == ([], [])


def test_evidence_is_shortened() -> None:
    hostnet, nodes, _bindings, observed = lost()
    _spoil("no token", hostnet, nodes, observed)
    error = next(error for error in deployment.deployment_plan(hostnet, SPEC, nodes, observed)["errors"] if "no identity record" in error)
    assert "and 17 more" in error
    _spoil("a pod alone", hostnet, nodes, observed)
    error = next(error for error in deployment.deployment_plan(hostnet, SPEC, nodes, observed)["errors"] if "no identity record" in error)
    assert "more" not in error


def test_another_deployments_label_is_no_evidence() -> None:
    nodes = plans.five_nodes()
    nodes[0]["labels"] = {names.node_label("ledger2"): "east-0", names.node_label("ledge"): "east-0"}
    assert plan_of(nodes)["mode"] == "first"


# -- properties ----------------------------------------------------------------------------------------------------

CLUSTERS = ("east", "north", "west")


@st.composite
def fleets(draw: st.DrawFn) -> list[Json]:
    """Nodes of up to three kube clusters, each with an address of its own, some of them not Ready or of another VM."""
    count = draw(st.integers(3, 12))
    numbers = draw(st.lists(st.integers(1, 250), min_size=count, max_size=count, unique=True))
    ipv6 = draw(st.booleans())
    nodes = []
    for number in numbers:
        cluster = draw(st.sampled_from(CLUSTERS))
        address = f"fd00::{number:x}" if ipv6 else f"10.0.0.{number}"
        nodes.append(plans.node(cluster, f"vm-{number}", address, zone=f"z{number % 3}"))
    return nodes


@settings(max_examples=40)
@given(fleets(), st.randoms(use_true_random=False), st.sampled_from(settings_and_spec.PLACEMENTS), st.integers(0, 3))
def test_the_order_of_reading_never_changes_a_plan(nodes: list[Json], shuffler: random.Random, placement: str, damage: int) -> None:
    hostnet = plans.settings(CLUSTERS, placement=placement)
    later = [plans.node("east", f"late-{number}", f"10.9.0.{number}") for number in range(damage)]
    bindings = plans.admitted(hostnet, SPEC, nodes)
    seen = plans.labelled(nodes, bindings)
    for one in seen[:damage]:
        one["uid"] = "other"
    for one in seen[damage : 2 * damage]:
        one["address"] = seen[0]["address"]
    for observed in ({name: plans.nothing() for name in CLUSTERS}, plans.running(hostnet, bindings)):
        if damage == 3:
            for found in observed.values():
                found["identity"] = None
        first = deployment.deployment_plan(hostnet, SPEC, seen + later, observed)
        shuffled = copy.deepcopy(seen + later)
        shuffler.shuffle(shuffled)
        again = {}
        for name in shuffler.sample(CLUSTERS, len(CLUSTERS)):
            found = copy.deepcopy(observed[name])
            for field in ("members", "workloads", "pods"):
                shuffler.shuffle(found[field])
            again[name] = found
        assert deployment.deployment_plan(hostnet, SPEC, shuffled, again) == first


@settings(max_examples=40)
@given(fleets(), fleets(), st.sampled_from(settings_and_spec.PLACEMENTS))
def test_growing_keeps_every_binding_and_gives_no_name_address_or_node_twice(before: list[Json], after: list[Json], placement: str) -> None:
    hostnet = plans.settings(CLUSTERS, placement=placement)
    bindings = plans.admitted(hostnet, SPEC, before)
    observed = plans.running(hostnet, bindings)
    plan = deployment.deployment_plan(hostnet, SPEC, after, observed)
    assert sorted(entry["member"] for entry in plan["members"]) == sorted(entry["member"] for entry in bindings)
    for field in ("member", "address"):
        together = [entry[field] for entry in plan["members"] + plan["new"]]
        assert len(set(together)) == len(together)
    homes = [(entry["kube_cluster"], entry["node"]) for entry in plan["members"] + plan["new"]]
    assert len(set(homes)) == len(homes)
    # Every member is started by exactly one batch, and only new ones are.
    assert sorted(name for batch in plan["batches"] for name in batch) == sorted(entry["member"] for entry in plan["new"])
    assert all(len(batch) == 1 for batch in plan["batches"])


# -- rollouts ------------------------------------------------------------------------------------------------------


def journal(**changes: Any) -> Json:
    found = {"schema": 1, "generation": 2, "sequence": 5, "run_id": "r-1", "what": "replace", "state": "in_flight", "member": None}
    return {**found, **changes}


def test_a_rollout_in_flight_refuses_a_deploy_and_is_no_conflict_of_identity() -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["west"]["rollout"] = journal(member={"member": "east-1"})
    plan = plan_of(nodes, observed, hostnet)
    only(plan["errors"], "a rollout of ledger (replace, run r-1, at member east-1) was begun and not finished", "-e hostnet_abort=true")
    assert plan["conflicts"] == []


def test_who_may_have_no_guard_pods_changes_nothing() -> None:
    """The right is new: it is asked for before the first change, and not in the middle of a member's stop."""
    hostnet, nodes, _bindings, observed = finished()
    observed["west"]["guards"] = None
    plan = plan_of(nodes, observed, hostnet)
    only(plan["errors"], "kube cluster west: this user may not list Deployments in namespace", "apply docs/rbac.yaml of this version")
    assert plan["conflicts"] == plan["rights"] == plan["errors"]


def test_the_newest_journal_counts() -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["east"]["rollout"] = journal()
    observed["west"]["rollout"] = journal(sequence=6, state="done")
    assert plan_of(nodes, observed, hostnet)["errors"] == []
    observed["east"]["rollout"] = journal(generation=3, sequence=1)
    assert len(plan_of(nodes, observed, hostnet)["errors"]) == 1


def test_conflicts_are_those_of_identity_alone() -> None:
    hostnet, nodes, _bindings, observed = finished()
    observed["west"]["identity"]["token"] = "another"
    observed["west"]["rollout"] = journal()
    nodes.append(plans.node("east", "new", "10.0.0.9", ready=False))
    plan = plan_of(nodes, observed, hostnet)
    only(plan["conflicts"], "identity record of deployment ledger differs between kube clusters east and west")
    assert len(plan["errors"]) == 3


def test_bindings_keep_the_boot_id_of_their_node() -> None:
    nodes = [{**node, "boot_id": f"boot-{node['name']}"} for node in plans.five_nodes()]
    assert [entry["boot_id"] for entry in plan_of(nodes)["new"]] == [f"boot-{node['name']}" for node in plans.five_nodes()]
    assert {entry["boot_id"] for entry in plan_of()["new"]} == {""}
