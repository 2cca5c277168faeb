# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kube cluster that is gone for good: who is taken out, and what forbids it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment, journal, lost
from support import plans
from support.plans import Json

SPEC = {**plans.spec_of("etcd"), "minimum_members": 3}


def world(spare: Sequence[Json] = (), **changes: Any) -> tuple[Json, Json, Json, dict[str, Json]]:
    """Settings, plan, status and inspection of the survivors in `east`, who list everybody; `spare` nodes have no member, `changes` are of what east has."""
    whole = plans.settings()
    nodes = plans.five_nodes()
    found = plans.admitted(whole, SPEC, nodes)
    observed = plans.running(whole, found)
    del observed["west"]
    observed["east"].update(changes)
    hostnet = plans.settings(kube_clusters=("east",), without_kube_clusters=["west"])
    east = [node for node in plans.labelled(nodes, found) if node["kube_cluster"] == "east"] + [dict(node) for node in spare]
    plan = deployment.deployment_plan(hostnet, SPEC, east, observed)
    peers = [
        {
            "id": f"id-{entry['member']}",
            "name": entry["process"],
            "address": entry["address"],
            "role": "voter",
            "live": entry["kube_cluster"] == "east",
        }
        for entry in found
    ]
    inspection = plans.inspected([entry for entry in found if entry["kube_cluster"] == "east"], peers=peers)
    status = classify.deployment_status(hostnet, plan, east, observed, inspection)
    return hostnet, plan, status, inspection


def plan_of(hostnet: Json, plan: Json, status: Json, inspection: dict[str, Json], name: str = "west") -> Json:
    return lost.lost_plan(hostnet, SPEC, plan, status, inspection, name)


def test_its_members_are_taken_out() -> None:
    found = plan_of(*world())
    assert found["errors"] == []
    assert [(entry["member"], entry["id"]) for entry in found["forget"]] == [("west-0", "id-west-0"), ("west-1", "id-west-1")]
    assert [entry["member"] for entry in found["members"]] == ["east-0", "east-1", "east-2"]
    assert found["roster"]["revision"] == 2
    assert found["roster"]["kube_clusters"] == {"east": "uid-of-east"}
    assert found["roster"]["lost"] == {"west": "uid-of-west"}


def test_invariant_9_the_survivors_have_to_prove_that_they_are_dead() -> None:
    found = plan_of(*world())
    assert [(entry["member"], entry["id"], entry["address"]) for entry in found["prove"]] == [
        ("west-0", "id-west-0", "10.0.1.1"),
        ("west-1", "id-west-1", "10.0.1.2"),
    ]
    assert all("gone for good" in entry["why"] for entry in found["prove"])


def test_after_an_adoption_without_it_nothing_but_the_record_is_left_to_change() -> None:
    """The majority was lost with west: adopt.yml has taken its members out."""
    hostnet, plan, status, inspection = world()
    plan["members"] = [entry for entry in plan["members"] if entry["member"] == "east-0"]
    found = plan_of(hostnet, plan, status, inspection)
    assert (found["errors"], found["prove"], found["forget"]) == ([], [], [])
    assert found["roster"]["lost"] == {"west": "uid-of-west"}


def test_nodes_that_a_deploy_would_give_a_member_are_none_of_its_business() -> None:
    # One that a deploy would refuse, and one that it would grow to, but for the members of west, which are not ready.
    spare = [plans.node("east", "east-worker4", "10.0.0.4"), plans.node("east", "east-worker5", "10.0.0.5", ready=False)]
    hostnet, plan, status, inspection = world(spare)
    refused = "; ".join(plan["errors"])
    assert "node east-worker5 is not Ready" in refused
    assert "member west-0 on node west-worker is not ready, and a system that has a member down does not grow" in refused
    found = plan_of(hostnet, plan, status, inspection)
    assert found["errors"] == []
    assert [entry["member"] for entry in found["members"]] == ["east-0", "east-1", "east-2"]


def test_a_rollout_in_flight_forbids_it() -> None:
    flying = journal.advance({}, "start", now="2026-01-01T00:00:00.000Z", run_id="r1", generation=1, detail={"work": "repair"})
    errors = plan_of(*world(rollout=flying))["errors"]
    assert any("a rollout of ledger (repair, run r1) was begun and not finished" in error for error in errors)


def test_a_workload_without_a_binding_forbids_it() -> None:
    lost_one = {"kind": "StatefulSet", "name": "ledger-east-7", "member": "east-7"}
    errors = plan_of(*world(workloads=[lost_one]))["errors"]
    assert any("runs member east-7, and there is no such member" in error for error in errors)


@pytest.mark.parametrize("mode", ["lost_record", "unfinished", "first"])
def test_invariant_2_nobody_is_taken_out_without_the_identity_record(mode: str) -> None:
    hostnet, plan, status, inspection = world()
    found = plan_of(hostnet, {**plan, "mode": mode}, status, inspection)
    assert (found["forget"], found["prove"], found["roster"]) == ([], [], None)
    (error,) = found["errors"]
    for part in ("ledger has no complete identity record", "ledger-identity and ledger-cluster-id", "playbooks/deploy.yml restores them"):
        assert part in error


def test_a_second_run_has_nothing_to_do() -> None:
    hostnet, plan, status, inspection = world()
    plan["members"] = [entry for entry in plan["members"] if entry["kube_cluster"] == "east"]
    plan["roster"] = {"revision": 2, "kube_clusters": {"east": "uid-of-east"}, "lost": {"west": "uid-of-west"}, "data_root": "/data"}
    found = plan_of(hostnet, plan, status, inspection)
    assert (found["errors"], found["forget"], found["roster"]) == ([], [], None)
    assert "nothing to do" in found["lines"][0]


@pytest.mark.parametrize(
    ("name", "part"),
    [("", "hostnet_lost_kube_cluster is empty"), ("east", "kube cluster east is in the inventory"), ("wset", "has no such kube cluster")],
)
def test_a_name_that_cannot_be_meant(name: str, part: str) -> None:
    errors = plan_of(*world(), name=name)["errors"]
    assert len(errors) == 1
    assert part in errors[0]


def test_without_a_majority_nothing_is_forgotten() -> None:
    hostnet, plan, status, inspection = world()
    status = json.loads(json.dumps(status))
    status["members"][0].update(healthy=False, reason="it does not answer")
    inspection["east-0"].update(healthy=False)
    errors = plan_of(hostnet, plan, status, inspection)["errors"]
    assert any("2 of 5 members are healthy without kube cluster west, 3 are needed" in error for error in errors)
    assert any("run playbooks/adopt.yml with -e hostnet_lost_kube_cluster=west" in error for error in errors)
    assert any("member east-0 is ok (it does not answer): mend it first" in error for error in errors)
