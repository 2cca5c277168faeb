# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bindings of all members, from the copies that every kube cluster holds, and what is never taken for new."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings, deployment, documents, journal, names
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()


def deployed() -> tuple[list[Json], list[Json], dict[str, Json]]:
    nodes = plans.five_nodes()
    found = plans.admitted(HOSTNET, SPEC, nodes)
    return plans.labelled(nodes, found), found, plans.running(HOSTNET, found)


def emptied(observed: dict[str, Json], name: str) -> dict[str, Json]:
    """The namespace of a kube cluster is gone."""
    return {**observed, name: plans.nothing(uid=plans.uid_of(name))}


def test_every_copy_says_the_same() -> None:
    nodes, found, observed = deployed()
    merged = bindings.merge(HOSTNET, nodes, observed)
    assert merged.members == sorted(found, key=lambda entry: (entry["kube_cluster"], entry["zone"]))
    assert (merged.restored, merged.errors) == ([], [])


@pytest.mark.parametrize("name", ["east", "west"])
def test_a_namespace_that_is_gone_is_restored_from_the_others(name: str) -> None:
    nodes, _found, observed = deployed()
    everything = bindings.merge(HOSTNET, nodes, observed).members
    merged = bindings.merge(HOSTNET, nodes, emptied(observed, name))
    assert (merged.members, merged.restored, merged.errors) == (everything, [name], [])


def three() -> tuple[Json, dict[str, Json]]:
    """Settings and what is observed of three kube clusters."""
    hostnet = plans.settings(kube_clusters=("east", "north", "west"))
    nodes = [*plans.five_nodes(), plans.node("north", "north-worker", "10.0.2.1")]
    return hostnet, plans.running(hostnet, plans.admitted(hostnet, SPEC, nodes))


def changed(observed: dict[str, Json], where: str, member: str, **changes: Any) -> None:
    """Another binding of a member in the copy of one kube cluster; none where nothing is given."""
    found = observed[where]["members"]
    kept = [{**entry, **changes} if entry["member"] == member else entry for entry in found if changes or entry["member"] != member]
    observed[where]["members"] = kept


def flying(observed: dict[str, Json], work: str, member: Json | None = None, order: Sequence[str] = ()) -> None:
    """A journal that a run has left open everywhere."""
    detail: Json = {"work": work, "order": list(order)}
    open_one = journal.advance({}, "start", now="2026-01-01T00:00:00.000Z", run_id="r1", generation=1, detail=detail)
    for found in observed.values():
        found["rollout"] = {**open_one, "member": member}


def test_the_own_copy_counts_for_own_members_where_the_others_do_not_agree() -> None:
    hostnet, observed = three()
    changed(observed, "west", "east-0", node="elsewhere")
    merged = bindings.merge(hostnet, [], observed)
    assert merged.errors == []
    assert all(entry["node"] != "elsewhere" for entry in merged.members)


@pytest.mark.parametrize("away", [False, True])
def test_invariant_8_a_kube_cluster_restored_from_before_a_repair_is_refused(away: bool) -> None:
    """No ordinal was given since, so ordinals do not tell: its own copy has the former admission, the others the present one."""
    hostnet, observed = three()
    changed(observed, "west", "west-0", admission="west-0-former")
    if away:
        observed["north"] = plans.nothing(absent=True, error="it is away")
    merged = bindings.merge(hostnet, [], observed)
    (error,) = merged.errors
    for part in (
        "ConfigMap bank/ledger-members in kube cluster west says of member west-0",
        "admission west-0-former where the others say west-0-",
        "(east)" if away else "(east, north)",
        "docs/recovery.md (The copies of the bindings differ)",
    ):
        assert part in error
    plan = deployment.deployment_plan(hostnet, SPEC, [], observed)
    assert error in plan["conflicts"]


def test_invariant_15_a_member_that_left_does_not_come_back_with_an_older_backup_of_its_own_kube_cluster() -> None:
    hostnet, observed = three()
    for name in ("east", "north"):
        changed(observed, name, "west-1")
    merged = bindings.merge(hostnet, [], observed)
    (error,) = merged.errors
    assert "kube cluster west has member west-1" in error
    assert "which the others have not: it may have left since (east, north)" in error


@given(st.sets(st.sampled_from(["east", "north", "west"])), st.sampled_from(["rebind", "leave", "displaced", "adopt"]))
def test_a_run_killed_while_it_wrote_bindings_goes_on(written: set[str], what: str) -> None:
    """Any of the kube clusters may have been written, in every order."""
    hostnet, observed = three()
    for name in written:
        changed(observed, name, "west-1", **({} if what in ("leave", "adopt") else {"admission": "west-1-new", "address": "10.0.1.9"}))
    if what == "adopt":
        flying(observed, "adopt", order=["west-1"])
    elif what == "displaced":
        flying(observed, "repair", {"member": "west-0", "displaced": [{"member": "west-1", "kube_cluster": "west"}]})
    else:
        flying(observed, "scale_down" if what == "leave" else "replace", {"member": "west-1"})
    assert bindings.merge(hostnet, [], observed).errors == []


def test_a_rollout_in_flight_explains_nobody_but_its_member_in_hand() -> None:
    hostnet, observed = three()
    changed(observed, "west", "west-0", admission="west-0-former")
    flying(observed, "replace", {"member": "west-1"}, ["west-1", "west-0"])
    assert len(bindings.merge(hostnet, [], observed).errors) == 1
    # An open journal that the restored kube cluster alone has is none: a newer one is closed.
    flying(observed, "replace", {"member": "west-0"})
    for name in ("east", "north"):
        observed[name]["rollout"] = {**observed[name]["rollout"], "generation": 2, "state": "done"}
    assert len(bindings.merge(hostnet, [], observed).errors) == 1


@given(st.data())
def test_a_growth_killed_while_it_wrote_bindings_goes_on(data: st.DataObject) -> None:
    """A deploy has no journal: ordinals go with the members."""
    hostnet, observed = three()
    fresh = data.draw(st.sampled_from(["east-2", "west-1"]))
    home, _dash, ordinal = fresh.partition("-")
    for name in data.draw(st.sets(st.sampled_from(["east", "north", "west"]), max_size=2)):
        changed(observed, name, fresh)
        observed[name]["ordinals"] = {**observed[name]["ordinals"], home: int(ordinal) - 1}
    merged = bindings.merge(hostnet, [], observed)
    assert merged.errors == []
    assert fresh in {entry["member"] for entry in merged.members}


def test_what_no_disk_depends_on_is_no_contradiction() -> None:
    hostnet, observed = three()
    changed(observed, "west", "west-0", stopped=True, boot_id="b2", node_uid="made-anew", progress={"revision": 7})
    assert bindings.merge(hostnet, [], observed).errors == []


def test_bindings_of_version_0_2_0_have_no_copies_that_could_contradict() -> None:
    hostnet, observed = three()
    assert bindings.merge(hostnet, [], plans.of_0_2_0(observed)).errors == []


def test_copies_that_differ_restore_nothing() -> None:
    hostnet = plans.settings(kube_clusters=("east", "north", "west"))
    nodes = [*plans.five_nodes(), plans.node("north", "north-worker", "10.0.2.1")]
    observed = plans.running(hostnet, plans.admitted(hostnet, SPEC, nodes))
    observed["west"]["members"] = [
        {**entry, "address": "10.9.9.9"} if entry["member"] == "east-0" else entry for entry in observed["west"]["members"]
    ]
    merged = bindings.merge(hostnet, [], emptied(observed, "east"))
    assert len(merged.errors) == 1
    for part in ("gone in kube cluster east", "north and west differ", "member east-0", "address", "restore the ConfigMap"):
        assert part in merged.errors[0]


def older(observed: dict[str, Json], name: str, *lacking: str) -> dict[str, Json]:
    """A kube cluster from before these members were admitted: its copy, and what was applied there with them."""
    found = observed[name]
    members = [entry for entry in found["members"] if entry["member"] not in lacking]
    highest = max((entry["ordinal"] for entry in members if entry["kube_cluster"] == name), default=-1)
    workloads = [entry for entry in found["workloads"] if entry["member"] not in lacking]
    return {**observed, name: {**found, "members": members, "ordinals": {**found["ordinals"], name: highest}, "workloads": workloads}}


def unlabelled(nodes: list[Json], *members: str) -> list[Json]:
    return [{**node, "labels": {key: value for key, value in node["labels"].items() if value not in members}} for node in nodes]


def test_invariant_15_a_kube_cluster_restored_from_an_older_backup_loses_nobody() -> None:
    nodes, _found, observed = deployed()
    everything = bindings.merge(HOSTNET, nodes, observed).members
    merged = bindings.merge(HOSTNET, unlabelled(nodes, "west-1"), older(observed, "west", "west-1"))
    assert (merged.members, merged.outdated, merged.errors) == (everything, {"west": ["west-1"]}, [])
    plan = deployment.deployment_plan(HOSTNET, SPEC, unlabelled(nodes, "west-1"), older(observed, "west", "west-1"))
    assert (plan["mode"], plan["errors"], plan["new"], plan["members"]) == ("existing", [], [], everything)
    assert any("ledger-members lacks west-1" in warning for warning in plan["warnings"])


@given(st.data())
def test_invariant_15_a_deploy_killed_between_two_kube_clusters_goes_on(data: st.DataObject) -> None:
    """Any of the kube clusters may have been written, for any members that were about to be admitted: all that somebody knows of are members."""
    nodes, found, observed = deployed()
    fresh = data.draw(st.sampled_from([["west-1"], ["east-2"], ["east-2", "west-1"], ["east-1", "east-2"]]))
    for name in data.draw(st.sets(st.sampled_from(["east", "west"]), max_size=1)):
        kept = [entry for entry in observed[name]["members"] if entry["member"] not in fresh]
        highest = {one: max(entry["ordinal"] for entry in kept if entry["kube_cluster"] == one) for one in ("east", "west")}
        observed = older(observed, name, *fresh)
        observed[name]["ordinals"] = highest
    merged = bindings.merge(HOSTNET, unlabelled(nodes, *fresh), observed)
    assert merged.errors == []
    assert {entry["member"] for entry in merged.members} == {entry["member"] for entry in found}


def test_who_has_left_does_not_come_back_with_an_older_copy_elsewhere() -> None:
    """A scale-down or an adoption that was killed, or an older backup of east: west itself gave that ordinal and has the member no more."""
    nodes, _found, observed = deployed()
    observed["west"]["members"] = [entry for entry in observed["west"]["members"] if entry["member"] != "west-1"]
    merged = bindings.merge(HOSTNET, nodes, observed)
    assert (merged.outdated, merged.errors) == ({}, [])
    assert "west-1" not in {entry["member"] for entry in merged.members}


def test_a_copy_that_is_older_and_differs_restores_nothing() -> None:
    nodes, _found, observed = deployed()
    stale = older(observed, "west", "west-1")
    stale["west"]["members"] = [
        {**entry, "address": "10.9.9.9", "admission": "before"} if entry["member"] == "west-0" else entry
        for entry in stale["west"]["members"]
    ]
    merged = bindings.merge(HOSTNET, unlabelled(nodes, "west-1"), stale)
    assert len(merged.errors) == 1
    for part in (
        "bank/ledger-members in kube cluster west is older",
        "east knows of member west-1",
        "member west-0",
        "address 10.9.9.9",
        "of west",
    ):
        assert part in merged.errors[0]
    # Who left since the backup would come back with it.
    left = older(observed, "west", "west-1")
    left["east"] = {**left["east"], "members": [entry for entry in left["east"]["members"] if entry["member"] != "west-0"]}
    merged = bindings.merge(HOSTNET, unlabelled(nodes, "west-1"), left)
    assert len(merged.errors) == 1
    assert "It has member west-0, which that copy has not" in merged.errors[0]
    # Something in west says that the member is elsewhere.
    moved = [
        {**node, "labels": {names.node_label("ledger"): "west-1"}} if node["name"] == nodes[-2]["name"] else node for node in nodes[:-1]
    ]
    merged = bindings.merge(HOSTNET, moved, older(observed, "west", "west-1"))
    assert len(merged.errors) == 1
    assert "has its label" in merged.errors[0]


def test_a_node_object_made_anew_is_no_difference() -> None:
    nodes, _found, observed = deployed()
    stale = older(observed, "west", "west-1")
    stale["west"]["members"] = [
        {**entry, "node_uid": "before"} if entry["member"] == "west-0" else entry for entry in stale["west"]["members"]
    ]
    merged = bindings.merge(HOSTNET, unlabelled(nodes, "west-1"), stale)
    assert merged.errors == []
    assert all(entry["node_uid"] != "before" for entry in merged.members)


def test_newer_copies_that_differ_restore_nothing() -> None:
    hostnet = plans.settings(kube_clusters=("east", "north", "west"))
    nodes = [*plans.five_nodes(), plans.node("north", "north-worker", "10.0.2.1")]
    observed = plans.running(hostnet, plans.admitted(hostnet, SPEC, nodes))
    observed["north"]["members"] = [
        {**entry, "address": "10.9.9.9"} if entry["member"] == "west-1" else entry for entry in observed["north"]["members"]
    ]
    errors = bindings.merge(hostnet, [], older(observed, "west", "west-1")).errors
    assert len(errors) == 1
    assert "the copies in east and north differ for member west-1 in address" in errors[0]


def test_what_is_left_speaks_against_a_copy() -> None:
    nodes, _found, observed = deployed()
    label = names.node_label("ledger")
    swapped = [
        {**node, "labels": {label: {"east-0": "east-1", "east-1": "east-0"}.get(node["labels"][label], node["labels"][label])}}
        for node in nodes
    ]
    errors = bindings.merge(HOSTNET, swapped, emptied(observed, "east")).errors
    assert len(errors) == 2
    assert all("has its label" in error for error in errors)
    kept = {
        **emptied(observed, "east")["east"],
        "workloads": [plans.workload(observed["east"]["members"][0], node="other", address="10.0.0.1")],
    }
    errors = bindings.merge(HOSTNET, nodes, {**observed, "east": kept}).errors
    assert len(errors) == 1
    assert "has node east-worker" in errors[0]
    assert "has other" in errors[0]


def test_a_kube_cluster_that_does_not_answer_is_known_from_the_others() -> None:
    nodes, _found, observed = deployed()
    merged = bindings.merge(
        HOSTNET, [node for node in nodes if node["kube_cluster"] == "east"], {**observed, "west": plans.nothing(absent=True)}
    )
    assert [entry["member"] for entry in merged.members] == ["east-0", "east-1", "east-2", "west-0", "west-1"]
    # Nothing is restored there: nobody can write to it.
    assert merged.restored == []


def test_labels_and_workloads_without_a_binding_are_strangers() -> None:
    nodes, found, observed = deployed()
    assert bindings.strangers(HOSTNET, found, nodes, observed) == []
    errors = [entry["error"] for entry in bindings.strangers(HOSTNET, found[1:], nodes, observed)]
    assert len(errors) == 2
    assert "node east-worker is labelled hostnet.multicluster/ledger=east-0" in errors[0]
    assert "StatefulSet bank/ledger-east-0 runs member east-0" in errors[1]


def test_peers_without_a_binding() -> None:
    _nodes, found, _observed = deployed()
    peers = [{"id": f"id-{entry['member']}", "name": entry["process"], "address": entry["address"]} for entry in found]
    inspection = plans.inspected(found, peers=peers)
    assert bindings.unknown_peers(found, [], inspection) == []
    errors = bindings.unknown_peers(found[:-1], [], {name: said for name, said in inspection.items() if name != found[-1]["member"]})
    assert len(errors) == 1
    assert f"a member {found[-1]['member']} at {found[-1]['address']}" in errors[0]
    # Announced by a run that was killed before it wrote the binding: it has the address of a node that is about to be admitted, and no name yet.
    announced = [*peers, {"id": "1f", "name": "", "address": "10.0.7.7:2380"}]
    fresh = [{**found[0], "member": "east-9", "process": "east-9", "address": "10.0.7.7"}]
    assert bindings.unknown_peers(found, fresh, plans.inspected(found, peers=announced)) == []
    assert len(bindings.unknown_peers(found, [], plans.inspected(found, peers=announced))) == 1


@pytest.mark.parametrize("name", ["west-9", "west-worker9"])
def test_invariant_8_who_is_new_accounts_for_nobody_who_has_started(name: str) -> None:
    """The binding of a voter was lost, and its node is about to get a new member: also where the process is named as its node (daemonset)."""
    _nodes, found, _observed = deployed()
    peers = [{"id": f"id-{entry['member']}", "name": entry["process"], "address": entry["address"]} for entry in found[:-1]]
    lost = {"id": "1f", "name": name, "address": found[-1]["address"]}
    fresh = [{**found[-1], "member": "west-2", "process": "west-worker9"}]
    errors = bindings.unknown_peers(found[:-1], fresh, plans.inspected(found[:-1], peers=[*peers, lost]))
    assert len(errors) == 1
    assert f"lists a member {name} at {found[-1]['address']}" in errors[0]


def test_an_ordinal_is_never_given_twice() -> None:
    nodes, found, observed = deployed()
    assert bindings.highest_ordinals(HOSTNET, found, nodes, observed) == {"east": 2, "west": 1}
    left = [entry for entry in found if entry["member"] != "east-2"]
    assert bindings.highest_ordinals(HOSTNET, left, [], {"west": {"ordinals": {"east": 2}}}) == {"east": 2, "west": 1}


@given(st.lists(st.tuples(st.sampled_from(["east", "west"]), st.integers(0, 40)), unique=True, min_size=1))
def test_what_is_written_is_read(members: list[tuple[str, int]]) -> None:
    entries = [{"member": f"{name}-{ordinal}", "kube_cluster": name, "ordinal": ordinal, "zone": ""} for name, ordinal in members]
    data = bindings.dump(entries, {"east": 3})
    assert json.loads(data.pop(documents.ORDINALS_KEY)) == {"east": 3}
    assert {key: json.loads(text) for key, text in data.items()} == {entry["member"]: entry for entry in entries}
