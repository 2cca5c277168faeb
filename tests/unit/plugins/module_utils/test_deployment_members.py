# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the nodes and of the members, and what is made of the answers: probe, admission, certificates, verdict."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    deployment,
    held,
    member_certificates,
    member_labels,
    observation,
    probe,
    proof,
    settings_and_spec,
)
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
NOW = 1_795_000_000.0


@pytest.fixture
def hostnet() -> Json:
    return plans.settings()


@pytest.fixture
def bindings(hostnet: Json) -> list[Json]:
    return plans.admitted(hostnet, SPEC, plans.five_nodes())


def first_plan(hostnet: Json, **changes: Any) -> Json:
    observed = {cluster["name"]: plans.nothing() for cluster in hostnet["kube_clusters"]}
    return {**deployment.deployment_plan(hostnet, SPEC, plans.five_nodes(), observed), **changes}


# -- probe ---------------------------------------------------------------------------------------------------------


def answer(stdout: str, node: str = "west-worker2", kube_cluster: str = "west") -> list[Json]:
    return [{"kube_cluster": kube_cluster, "node": node, "rc": 0, "stdout": stdout}]


def test_nodes_with_nothing_against_them_give_no_errors(hostnet: Json) -> None:
    text = f"clock {NOW:.0f}\nfolder ledger2/x\nfolder ledge/x\nport 22\n"
    assert probe.probe_errors(hostnet, SPEC, first_plan(hostnet), answer(text), [], NOW) == []


def test_invariant_1_nothing_is_initialised_beside_leftover_data(hostnet: Json) -> None:
    errors = probe.probe_errors(hostnet, SPEC, first_plan(hostnet), answer("folder ledger/east-0-abc\nfolder ledger/x"), [], NOW)
    assert len(errors) == 1
    for part in (
        "kube cluster west: node west-worker2",
        "data of a deployment named ledger (/var/lib/hostnet/ledger/east-0-abc)",
        "move it away",
        "docs/recovery.md",
    ):
        assert part in errors[0]


def test_leftover_data_counts_also_on_a_node_that_gets_no_member(hostnet: Json) -> None:
    errors = probe.probe_errors(hostnet, SPEC, first_plan(hostnet), answer("folder ledger/x", "elsewhere"), [], NOW)
    assert len(errors) == 1


def test_own_data_is_expected_once_claimed(hostnet: Json) -> None:
    plan = first_plan(hostnet, mode="unfinished")
    assert probe.probe_errors(hostnet, SPEC, plan, answer("folder ledger/west-1-abc"), [], NOW) == []


@pytest.mark.parametrize(("port", "use"), [(2379, "client"), (2380, "peer"), (2381, "metrics")])
def test_a_port_that_is_taken_is_named_with_its_use(hostnet: Json, port: int, use: str) -> None:
    errors = probe.probe_errors(hostnet, SPEC, first_plan(hostnet), answer(f"port {port}\nport 22"), [], NOW)
    assert len(errors) == 1
    assert f"kube cluster west: node west-worker2: port {port} ({use} of etcd) is already taken on the host" in errors[0]
    assert "hostnet_node_selector" in errors[0]


def test_ports_of_a_node_that_has_its_member_already_are_its_members(hostnet: Json) -> None:
    plan = first_plan(hostnet)
    plan["new"] = [binding for binding in plan["new"] if binding["member"] != "west-1"]
    assert probe.probe_errors(hostnet, SPEC, plan, answer("port 2379"), [], NOW) == []


def test_a_data_root_that_has_to_be_mounted_and_is_not(hostnet: Json) -> None:
    plan, mounted = first_plan(hostnet), "disk mounted={} mount=/ filesystem=ext4 id="
    wanted = {**hostnet, "data_mount": True}
    assert probe.probe_errors(hostnet, SPEC, plan, answer(mounted.format("false")), [], NOW) == []
    assert probe.probe_errors(wanted, SPEC, plan, answer(mounted.format("true")), [], NOW) == []
    (error,) = probe.probe_errors(wanted, SPEC, plan, answer(mounted.format("false")), [], NOW)
    assert "hostnet_data_mount wants /var/lib/hostnet to be a mount point, and it is not there, on /" in error
    (error,) = probe.probe_errors(wanted, SPEC, plan, answer("root /x\n" + mounted.format("false")), [], NOW)
    assert "and it is on /: mount the data disk there" in error
    assert probe.probe_errors(wanted, SPEC, plan, answer(""), [], NOW) != []


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("content {token} data\nmarker {token} member=west-0", True),
        ("content {token} unreadable", True),
        ("content {token} marker\nmarker {token} member=west-0", True),
        # What a run has left that was killed before it wrote the binding.
        ("content {token} marker\nmarker {token} member=west-1", False),
        ("content {token} empty", False),
        ("content another data", False),
        ("", False),
    ],
)
def test_a_node_that_had_a_member_of_a_daemonset_takes_no_other_one(hostnet: Json, said: str, refused: bool) -> None:
    plan = first_plan(hostnet, mode="existing", identity={"token": plans.TOKEN})
    daemonset = {**hostnet, "placement": "daemonset"}
    found = answer(said.format(token=plans.TOKEN))
    errors = probe.probe_errors(daemonset, SPEC, plan, found, [], NOW)
    assert len(errors) == refused
    if refused:
        for part in ("kube cluster west: node west-worker2", f"/var/lib/hostnet/ledger/{plans.TOKEN}", "move or delete that folder there"):
            assert part in errors[0]
    assert probe.probe_errors(hostnet, SPEC, plan, found, [], NOW) == []
    # Of a claim that is gone on with, _plan/claim.py decides.
    assert probe.probe_errors(daemonset, SPEC, {**plan, "mode": "unfinished"}, found, [], NOW) == []


def test_a_clock_behind_the_newest_certificate_is_an_error(hostnet: Json) -> None:
    certificates = [{"not_before": "2020-01-01T00:00:00Z"}, {"not_before": "2026-11-22T10:00:00Z"}]
    valid_from = probe._epoch("2026-11-22T10:00:00Z")
    plan = first_plan(hostnet)
    assert probe.probe_errors(hostnet, SPEC, plan, answer(f"clock {valid_from:.0f}"), certificates, NOW) == []
    errors = probe.probe_errors(hostnet, SPEC, plan, answer(f"clock {valid_from - 60:.0f}"), certificates, valid_from + 40)
    assert len(errors) == 1
    assert "kube cluster west: node west-worker2: its clock is 100 seconds behind" in errors[0]
    assert "synchronise its clock" in errors[0]
    assert probe.probe_errors(hostnet, SPEC, plan, answer("port 22"), certificates, NOW) == [], "no clock was read"


# -- nodes ---------------------------------------------------------------------------------------------------------


def test_expectations_and_labels_name_their_nodes(hostnet: Json, bindings: list[Json]) -> None:
    assert observation.expected(bindings[:1]) == [{"kube_cluster": "east", "member": "east-0", "node": "east-worker"}]
    nodes = plans.five_nodes()
    assert member_labels.node_labels(hostnet, bindings, nodes[1:])[0] == {
        "kube_cluster": "east",
        "name": "east-worker2",
        "labels": {"hostnet.multicluster/ledger": "east-1", "namespace.hostnet.multicluster/ledger": hostnet["namespace"]},
        "guarded": True,
    }
    assert len(member_labels.node_labels(hostnet, bindings, nodes[1:])) == 4, "a node that is gone is not labelled"
    nodes[1] |= {
        "labels": {"hostnet.multicluster/ledger": "east-1", "namespace.hostnet.multicluster/ledger": hostnet["namespace"]},
        "annotations": {held.SCALE_DOWN: "true", held.HOLDERS: "ledger"},
    }
    nodes[2] |= {"uid": "another VM"}
    labelled = member_labels.node_labels(hostnet, bindings, nodes)
    assert [entry["name"] for entry in labelled] == [nodes[index]["name"] for index in (0, 3, 4)], (
        "only what lacks its label, never another VM"
    )
    nodes[1]["annotations"] = {held.SCALE_DOWN: "true", held.HOLDERS: "other"}
    assert len(member_labels.node_labels(hostnet, bindings, nodes)) == 4, "it guards the node too"
    nodes[1]["annotations"] = {held.SCALE_DOWN: "true"}
    assert len(member_labels.node_labels(hostnet, bindings, nodes)) == 3, "somebody else guards it already"
    stopped = [{**binding, "stopped": True} for binding in bindings]
    without = member_labels.node_labels(hostnet, stopped, nodes)
    stays = {"namespace.hostnet.multicluster/ledger": hostnet["namespace"]}
    assert [entry["labels"] for entry in without] == [stays] * 3, "the other one would start the member of a DaemonSet"
    assert all(entry["guarded"] for entry in without), "its disk is as much worth as that of one that runs"


# -- live ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "why", ["well", "not ready", "terminating", "no pod", "node gone", "other vm", "other address", "kube cluster silent"]
)
def test_invariant_3_only_a_ready_member_at_its_own_address_is_live(hostnet: Json, bindings: list[Json], why: str) -> None:
    nodes, observed = plans.five_nodes(), plans.running(hostnet, bindings)
    pods = observed["east"]["pods"]
    if why == "not ready":
        pods[0]["ready"] = False
    elif why == "terminating":
        pods[0]["terminating"] = True
    elif why == "no pod":
        del pods[0]
    elif why == "node gone":
        del nodes[0]
    elif why == "other vm":
        nodes[0]["uid"] = "other"
    elif why == "other address":
        nodes[0]["address"] = "10.0.0.100"
    elif why == "kube cluster silent":
        del observed["east"]
    live = {entry["member"]: entry["live"] for entry in observation.live_members(bindings, observed, nodes)}
    assert live["east-0"] == (why == "well")
    assert live["west-0"]


# -- certificates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", plans.SYSTEMS)
@pytest.mark.parametrize("placement", settings_and_spec.PLACEMENTS)
def test_invariant_6_every_member_has_a_certificate_for_its_present_address(system: str, placement: str) -> None:
    spec = plans.spec_of(system)
    hostnet = plans.settings(system=system, placement=placement, certificate_hosts=["db.example.test", "192.0.2.9", "2001:db8::9"])
    bindings = plans.admitted(hostnet, spec, plans.five_nodes())
    wanted = member_certificates.wanted_certificates(hostnet, spec, bindings)
    keys = [(entry["name"], entry["file"]) for entry in wanted]
    assert len(set(keys)) == len(keys)
    for binding in bindings:
        own = [entry for entry in wanted if entry["name"] == binding["member"] and "ip_addresses" in entry]
        assert own
        for entry in own:
            assert entry["ip_addresses"] == [binding["address"], "127.0.0.1", "192.0.2.9", "2001:db8::9"]
            assert entry["dns_names"] == ["localhost", binding["node"], binding["member"], "db.example.test"]
            assert set(entry["usages"]) == {"server", "client"}
            assert "{" not in entry["common_name"]
            if system == "cockroachdb":
                assert entry["common_name"] == "node"
            else:
                assert entry["common_name"] == binding["process"]
    [client] = [entry for entry in wanted if (entry["name"], entry["file"]) == ("clients", "client")]
    assert (client["common_name"], client["usages"]) == ("client", ["client"])


def test_ipv6_members_get_both_loopbacks() -> None:
    hostnet = plans.settings()
    bindings = plans.admitted(hostnet, SPEC, [plans.node("east", f"vm-{n}", f"fd00::{n}") for n in (1, 2, 3)])
    wanted = member_certificates.wanted_certificates(hostnet, SPEC, bindings)
    assert wanted[0]["ip_addresses"] == ["fd00::1", "127.0.0.1", "::1"]


def test_shared_and_client_certificates_are_wanted_once() -> None:
    spec = plans.spec_of("cockroachdb")
    hostnet = plans.settings(system="cockroachdb", clients=["client.root", "client.app", "backup"])
    wanted = member_certificates.wanted_certificates(hostnet, spec, plans.admitted(hostnet, spec, plans.five_nodes()))
    clients = [(entry["name"], entry["file"], entry["common_name"]) for entry in wanted if "ip_addresses" not in entry]
    assert clients == [("clients", "client.root", "root"), ("clients", "client.app", "app"), ("clients", "backup", "backup")]


def test_names_of_members_in_common_names_and_a_host_given_twice() -> None:
    spec = {**SPEC, "certificates": [{"file": "x", "common_name": "{member}.{process}", "usages": ["server"], "hosts": True}]}
    hostnet = plans.settings(placement="daemonset", certificate_hosts=["localhost", "127.0.0.1"], clients=[])
    bindings = plans.admitted(hostnet, spec, plans.five_nodes())
    wanted = member_certificates.wanted_certificates(hostnet, spec, bindings)
    assert wanted[0]["common_name"] == "east-0.east-worker"
    assert wanted[0]["dns_names"] == ["localhost", "east-worker", "east-0"]
    assert wanted[0]["ip_addresses"] == ["10.0.0.1", "127.0.0.1"]
    del hostnet["clients"], hostnet["certificate_hosts"]
    assert len(member_certificates.wanted_certificates(hostnet, spec, bindings)) == 5


# -- verdict -------------------------------------------------------------------------------------------------------


def test_first_members_that_agree_give_the_cluster_id(bindings: list[Json]) -> None:
    plan = {"mode": "first", "cluster_id": ""}
    assert proof.verdict(plan, bindings, plans.inspected(bindings)) == {"errors": [], "cluster_id": "c1d"}


@pytest.mark.parametrize("mode", ["first", "unfinished"])
def test_every_first_member_must_answer_before_the_cluster_id_is_recorded(bindings: list[Json], mode: str) -> None:
    said = plans.inspected(bindings)
    said["west-1"] = {"reachable": False, "reason": "refused"}
    said["west-0"]["cluster_id"] = ""
    verdict = proof.verdict({"mode": mode, "cluster_id": ""}, bindings, said)
    assert verdict["cluster_id"] == ""
    assert len(verdict["errors"]) == 1
    assert "3 of 5 members report a cluster id, 5 must" in verdict["errors"][0]
    assert "west-0 (it does not answer), west-1 (refused)" in verdict["errors"][0]


def test_invariant_2_first_members_that_report_two_ids_are_never_recorded(bindings: list[Json]) -> None:
    said = plans.inspected(bindings)
    said["west-1"]["cluster_id"] = "other"
    verdict = proof.verdict({"mode": "first", "cluster_id": ""}, bindings, said)
    assert verdict["cluster_id"] == ""
    assert verdict["errors"] == ["members report different cluster ids: c1d: east-0, east-1, east-2, west-0; other: west-1"]


def test_invariant_2_a_member_of_another_cluster_stops_the_play(bindings: list[Json]) -> None:
    said = plans.inspected(bindings)
    said["west-0"]["cluster_id"] = said["west-1"]["cluster_id"] = "other"
    verdict = proof.verdict({"mode": "existing", "cluster_id": "c1d"}, bindings, said)
    assert verdict["cluster_id"] == "c1d"
    assert len(verdict["errors"]) == 1
    assert "members west-0, west-1 report cluster id other, the record says c1d: this is a second cluster" in verdict["errors"][0]
    assert "docs/recovery.md" in verdict["errors"][0]


def test_invariant_9_a_silent_member_is_no_other_cluster(bindings: list[Json]) -> None:
    assert proof.verdict({"mode": "existing", "cluster_id": "c1d"}, bindings, {}) == {"errors": [], "cluster_id": "c1d"}


@pytest.mark.parametrize(("silent", "enough"), [(2, True), (3, False)])
def test_a_lost_record_is_restored_by_a_majority(bindings: list[Json], silent: int, enough: bool) -> None:
    said = plans.inspected(bindings[silent:])
    verdict = proof.verdict({"mode": "lost_record", "cluster_id": ""}, bindings, said)
    assert (verdict["cluster_id"] == "c1d") == enough
    assert bool(verdict["errors"]) != enough
    if not enough:
        assert "2 of 5 members report a cluster id, 3 must" in verdict["errors"][0]


@given(st.lists(st.sampled_from(["", "a", "b"]), min_size=5, max_size=5), st.sampled_from(["first", "unfinished", "lost_record"]))
def test_a_cluster_id_is_only_ever_recorded_when_nobody_reports_another(ids: list[str], mode: str) -> None:
    bindings = plans.admitted(plans.settings(), SPEC, plans.five_nodes())
    said = plans.inspected(bindings)
    for binding, one in zip(bindings, ids, strict=True):
        said[binding["member"]]["cluster_id"] = one
    verdict = proof.verdict({"mode": mode, "cluster_id": ""}, bindings, said)
    if verdict["cluster_id"]:
        assert set(ids) - {""} == {verdict["cluster_id"]}
        assert ids.count("") <= (2 if mode == "lost_record" else 0)
    else:
        assert verdict["errors"]
