# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy and the kube clusters of its deployment: what an inventory, a cloud or a person gets wrong between two runs."""

from __future__ import annotations

import copy
import itertools

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import membership
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment, roster, settings_and_spec
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")


def deployed(**changes: object) -> tuple[Json, list[Json], list[Json], dict[str, Json]]:
    hostnet = plans.settings(**changes)
    nodes = plans.five_nodes()
    found = plans.admitted(hostnet, SPEC, nodes)
    return hostnet, plans.labelled(nodes, found), found, plans.running(hostnet, found)


def plan_of(hostnet: Json, nodes: list[Json], observed: dict[str, Json]) -> Json:
    return deployment.deployment_plan(hostnet, SPEC, nodes, observed)


def only(errors: list[str], *parts: str) -> None:
    assert len(errors) == 1, errors
    for part in parts:
        assert part in errors[0], errors[0]


def test_invariant_15_an_inventory_that_has_lost_a_kube_cluster() -> None:
    hostnet, nodes, _found, observed = deployed()
    del observed["west"]
    hostnet["kube_clusters"] = [{"name": "east"}]
    plan = plan_of(hostnet, [node for node in nodes if node["kube_cluster"] == "east"], observed)
    only(plan["errors"], "kube cluster west is missing")
    assert plan["membership"] == plan["errors"]
    assert plan["errors"][0] in plan["conflicts"]
    # Its members are still counted.
    assert [entry["member"] for entry in plan["members"]] == ["east-0", "east-1", "east-2", "west-0", "west-1"]


def test_invariant_15_an_inventory_that_has_another_one_instead() -> None:
    hostnet, nodes, _found, observed = deployed()
    del observed["east"]
    observed["north"] = plans.nothing(uid="uid-of-north")
    hostnet["kube_clusters"] = [{"name": "north"}, {"name": "west"}]
    seen = [*(node for node in nodes if node["kube_cluster"] == "west"), plans.node("north", "north-worker", "10.0.2.1")]
    plan = plan_of(hostnet, seen, observed)
    assert len(plan["membership"]) == 2
    assert "kube cluster north is none of ledger's" in plan["membership"][0]
    assert "kube cluster east is missing" in plan["membership"][1]


def test_invariant_15_of_0_2_0_too() -> None:
    hostnet, nodes, _found, observed = deployed()
    old = plans.of_0_2_0(observed)
    del old["west"]
    hostnet["kube_clusters"] = [{"name": "east"}]
    plan = plan_of(hostnet, [node for node in nodes if node["kube_cluster"] == "east"], old)
    assert any("kube cluster west is missing" in error for error in plan["membership"])


def test_a_deployment_of_0_2_0_is_completed_and_it_is_said() -> None:
    hostnet, nodes, _found, observed = deployed()
    plan = plan_of(hostnet, nodes, plans.of_0_2_0(observed))
    assert plan["errors"] == []
    assert plan["incomplete"]
    assert not plan["roster_complete"]
    assert plan["roster"] == {
        "revision": 1,
        "kube_clusters": {"east": "uid-of-east", "west": "uid-of-west"},
        "lost": {},
        "data_root": "/var/lib/hostnet",
    }
    assert any("record of ledger's kube clusters is completed" in warning and "uid-of-west" in warning for warning in plan["warnings"])


def test_a_deployment_of_0_2_0_that_had_grown_into_a_third_kube_cluster() -> None:
    hostnet, nodes, _found, observed = deployed()
    old = plans.of_0_2_0(observed)
    for entry in old.values():
        entry["join"]["seeds"] += ",10.0.9.9"
    plan = plan_of(hostnet, nodes, old)
    assert len(plan["membership"]) == 2
    assert all("join list has 10.0.9.9" in error and "missing in the inventory" in error for error in plan["membership"])


def test_of_0_2_0_with_swapped_contexts() -> None:
    hostnet, nodes, _found, observed = deployed()
    old = plans.of_0_2_0(observed)
    plan = plan_of(hostnet, nodes, {"east": old["west"], "west": old["east"]})
    assert any("kube cluster east holds the members of west" in error for error in plan["membership"])


def test_nothing_is_written_twice() -> None:
    hostnet, nodes, _found, observed = deployed()
    plan = plan_of(hostnet, nodes, observed)
    assert (plan["errors"], plan["warnings"], plan["new"]) == ([], [], [])
    assert plan["roster_complete"]
    assert not plan["incomplete"]


def test_growing_into_a_further_kube_cluster_is_said() -> None:
    hostnet, nodes, _found, observed = deployed()
    hostnet["kube_clusters"] = [*hostnet["kube_clusters"], {"name": "north"}]
    observed["north"] = plans.nothing(uid="uid-of-north")
    nodes = [*nodes, plans.node("north", "north-worker", "10.0.2.1")]
    only(plan_of(hostnet, nodes, observed)["errors"], "kube cluster north is none of ledger's")
    plan = plan_of({**hostnet, "new_kube_clusters": ["north"]}, nodes, observed)
    assert plan["errors"] == []
    assert [entry["member"] for entry in plan["new"]] == ["north-0"]
    assert plan["roster"]["revision"] == 2
    assert plan["roster"]["kube_clusters"]["north"] == "uid-of-north"


def test_nobody_grows_into_a_kube_cluster_that_has_members_from_before() -> None:
    hostnet, nodes, found, observed = deployed()
    back = copy.deepcopy(observed["west"])
    hostnet["kube_clusters"] = [{"name": "east"}]
    left = [entry for entry in found if entry["kube_cluster"] == "east"]
    record = roster.make({"east": "uid-of-east"}, "/var/lib/hostnet", 2, {"west": "uid-of-west"})
    observed["east"].update(members=left, rosters=[roster.dump(record)])
    joining = {**hostnet, "kube_clusters": [{"name": "east"}, {"name": "west"}], "new_kube_clusters": ["west"]}
    errors = plan_of(joining, nodes, {"east": observed["east"], "west": back})["membership"]
    only(
        errors,
        "kube cluster west has members of ledger from before it was taken out of the record: west-0, west-1",
        "Delete there the namespace bank",
    )
    # Workloads alone say it too; a claim alone is what a growth leaves that was cut short.
    back.update(members=[], members_found=False)
    only(plan_of(joining, nodes, {"east": observed["east"], "west": back})["membership"], "west-0, west-1")
    clean = plans.nothing(uid="uid-of-west", identity=back["identity"])
    free = [{**node, "labels": {}} if node["kube_cluster"] == "west" else node for node in nodes]
    plan = plan_of(joining, free, {"east": observed["east"], "west": clean})
    assert plan["errors"] == []
    assert [entry["member"] for entry in plan["new"]] == ["west-2", "west-3"]


def test_who_is_not_said_to_be_lost_is_not_said_to_be_dead() -> None:
    """The record comes from before the deployment grew into west: its members live, and nobody is told to delete them."""
    hostnet, nodes, _found, observed = deployed()
    before = plans.identity(["east-0"], kube_clusters='{"east": "uid-of-east"}', data_root="/var/lib/hostnet")
    observed["east"]["identity"], observed["west"]["identity"] = before, None
    errors = plan_of({**hostnet, "new_kube_clusters": ["west"]}, nodes, observed)["membership"]
    only(errors, "west-0, west-1", "record and inventory disagree", "Delete nothing there", "ledger-kube-clusters-2")


def without_records(observed: dict[str, Json]) -> dict[str, Json]:
    return {name: {**found, "identity": None, "cluster_record": None, "rosters": []} for name, found in observed.items()}


def test_invariant_15_a_lost_record_and_a_part_of_the_inventory() -> None:
    """A record is restored by a majority of the members, which one kube cluster may have: the bindings still say that there is another one."""
    hostnet, nodes, _found, observed = deployed()
    part = {"east": without_records(observed)["east"]}
    hostnet["kube_clusters"] = [{"name": "east"}]
    plan = plan_of(hostnet, [node for node in nodes if node["kube_cluster"] == "east"], part)
    assert plan["mode"] == "lost_record"
    assert any("kube cluster west is missing" in error for error in plan["membership"])
    assert sorted(plan["roster"]["kube_clusters"]) == ["east", "west"]
    found = {"east": {**part["east"], "uid": "uid-of-east"}}
    only(membership.problems(found, "ledger", [], []), "kube cluster west is missing")


def test_a_lost_record_and_all_of_the_inventory() -> None:
    hostnet, nodes, _found, observed = deployed()
    # One that has no members any more, and one that left with its record: the ordinals alone name it.
    hostnet["kube_clusters"] = [*hostnet["kube_clusters"], {"name": "north"}]
    observed["north"] = {**observed["west"], "uid": "uid-of-north", "workloads": [], "pods": [], "secrets": []}
    for found in observed.values():
        found["ordinals"] = {**found["ordinals"], "south": 4}
    plan = plan_of(hostnet, nodes, without_records(observed))
    assert (plan["mode"], plan["errors"]) == ("lost_record", [])
    assert plan["roster"]["kube_clusters"] == {name: f"uid-of-{name}" for name in ("east", "north", "west")}


def test_a_first_deploy_records_all_of_the_inventory() -> None:
    hostnet = plans.settings()
    observed = {name: plans.nothing(uid=plans.uid_of(name)) for name in ("east", "west")}
    plan = plan_of(hostnet, plans.five_nodes(), observed)
    assert plan["errors"] == []
    assert plan["mode"] == "first"
    assert plan["roster"]["kube_clusters"] == {"east": "uid-of-east", "west": "uid-of-west"}


def test_another_data_root_is_refused() -> None:
    hostnet, nodes, _found, observed = deployed()
    only(plan_of({**hostnet, "data_root": "/mnt/data"}, nodes, observed)["errors"], "hostnet_data_root is /mnt/data", "/var/lib/hostnet")


@pytest.mark.parametrize("gone", ["east", "west"])
def test_a_namespace_that_was_deleted_comes_back_with_its_members(gone: str) -> None:
    hostnet, nodes, found, observed = deployed()
    observed[gone] = plans.nothing(uid=plans.uid_of(gone))
    plan = plan_of(hostnet, nodes, observed)
    assert (plan["mode"], plan["errors"], plan["new"]) == ("existing", [], [])
    assert plan["incomplete"]
    assert sorted(entry["member"] for entry in plan["members"]) == sorted(entry["member"] for entry in found)
    assert any(f"kube cluster {gone} has lost its bindings" in warning for warning in plan["warnings"])


def test_a_status_says_what_was_deleted() -> None:
    hostnet, nodes, found, observed = deployed()
    inspection = plans.inspected(found)

    def problems() -> list[str]:
        status = classify.deployment_status(hostnet, plan_of(hostnet, nodes, observed), nodes, observed, inspection)
        assert status["healthy"] is not bool(status["problems"])
        return list(status["problems"])

    assert problems() == []
    observed["west"].update(members=[], members_found=False)
    only(problems(), "kube cluster west has lost its bindings", "run playbooks/deploy.yml")
    observed["west"].update(identity=None, cluster_record=None)
    assert [text for text in problems() if "has no" in text] == [
        "kube cluster west has no identity record, which others have: run playbooks/deploy.yml",
        "kube cluster west has no cluster id, which others have: run playbooks/deploy.yml",
    ]
    observed["east"].update(members=[], members_found=False)
    assert sum("there is no such member" in text for text in problems()) == 10


def test_of_0_2_0_a_namespace_that_was_deleted_is_refused_with_the_facts() -> None:
    hostnet, nodes, _found, observed = deployed()
    old = plans.of_0_2_0(observed)
    old["east"] = plans.nothing(uid="uid-of-east")
    plan = plan_of(hostnet, nodes, old)
    assert any("node east-worker is labelled hostnet.multicluster/ledger=east-0" in error for error in plan["errors"])
    # And ordinals do not begin again.
    assert all(entry["ordinal"] > 2 for entry in plan["new"])


def test_a_scaled_down_ordinal_is_not_given_again() -> None:
    hostnet, nodes, found, observed = deployed()
    for name in observed:
        observed[name]["members"] = [entry for entry in observed[name]["members"] if entry["member"] != "east-2"]
        observed[name]["workloads"] = [entry for entry in observed[name]["workloads"] if entry["member"] != "east-2"]
        observed[name]["pods"] = [entry for entry in observed[name]["pods"] if entry["member"] != "east-2"]
    free = [{**node, "labels": {}} if node["name"] == "east-worker3" else node for node in nodes]
    plan = plan_of(hostnet, free, observed)
    assert [entry["member"] for entry in plan["new"]] == ["east-3"]
    assert found[2]["member"] == "east-2"


def test_a_plan_uses_no_ordinals_up() -> None:
    hostnet, nodes, _found, observed = deployed()
    spare = [*nodes, plans.node("west", "west-worker9", "10.0.1.9")]
    plan = plan_of(hostnet, spare, observed)
    assert [entry["member"] for entry in plan["new"]] == ["west-2"]
    # A rollout or an adoption that writes bindings now leaves that one for the deploy that gives it.
    assert plan["ordinals"] == {"east": 2, "west": 1}


def test_a_status_shows_what_it_can_reach() -> None:
    hostnet, nodes, found, observed = deployed(absent_ok=["east", "west"])
    observed["west"] = plans.nothing(absent=True, error="kube cluster west: nobody answers")
    seen = [node for node in nodes if node["kube_cluster"] == "east"]
    plan = plan_of(hostnet, seen, observed)
    inspection = {name: said for name, said in plans.inspected(found).items() if name.startswith("east")}
    status = classify.deployment_status(hostnet, plan, seen, observed, inspection)
    assert [(entry["member"], entry["class"]) for entry in status["members"]] == [
        ("east-0", "ok"),
        ("east-1", "ok"),
        ("east-2", "ok"),
        ("west-0", "unknown"),
        ("west-1", "unknown"),
    ]
    assert not status["healthy"]
    assert status["problems"][0] == "kube cluster west does not answer: kube cluster west: nobody answers"
    said = "kube cluster west: nobody answers"
    assert status["kube_clusters"][1] == {"name": "west", "uid": "", "absent": True, "error": said, "lock_read": False}
    lines = classify.status_table(status)
    assert any("west-0  unknown" in line for line in lines)


def test_a_deploy_does_not_go_on_without_a_part_of_the_inventory() -> None:
    errors = settings_and_spec.settings_errors(plans.settings(inventory_errors=["inventory source b.hostnet.yml: nobody answers"]), SPEC)
    only(errors, "inventory source b.hostnet.yml")
    tolerant = plans.settings(inventory_errors=["x"], absent_kube_clusters=["west"], absent_ok=["east", "west"])
    assert settings_and_spec.settings_errors(tolerant, SPEC) == []


def test_the_order_of_the_sources_does_not_matter() -> None:
    hostnet, nodes, _found, observed = deployed()
    plans_seen = []
    for order in itertools.permutations(observed):
        plans_seen.append(plan_of(hostnet, nodes, {name: observed[name] for name in order}))
    assert plans_seen[0] == plans_seen[1]
