# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is adopted after a disaster, and what never is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import adopt, deployment, names, refusals
from support import plans
from support.plans import Json

EVERYBODY = ["east-0", "east-1", "east-2", "west-0", "west-1"]


class Disaster:
    """A deployment of cluster id `old`; `survivors` run as cluster id `new` and list `listed`, the VMs of the others are gone."""

    def __init__(self, *survivors: str, listed: list[str] | None = None, system: str = "etcd", cluster_id: str = "new") -> None:
        self.hostnet = plans.settings(system=system)
        self.spec = plans.spec_of(system)
        nodes = plans.five_nodes()
        self.bindings = plans.admitted(self.hostnet, self.spec, nodes)
        self.observed = plans.running(self.hostnet, self.bindings, "old")
        gone = {binding["node"] for binding in self.bindings if binding["member"] not in survivors}
        self.nodes = [node for node in plans.labelled(nodes, self.bindings) if node["name"] not in gone]
        said = plans.inspected(self.bindings, cluster_id, peers=self.peers(*(listed or survivors)))
        self.inspection = {name: said[name] for name in survivors}
        self.wanted = cluster_id

    def peers(self, *members: str, **changes: Any) -> list[Json]:
        return [
            {"id": f"id-{entry['member']}", "name": entry["process"], "address": entry["address"], "role": "voter", **changes}
            for entry in self.bindings
            if entry["member"] in members
        ]

    def lost_node(self, member: str, **changes: Any) -> Json:
        """The node of a member that is not among the survivors, as it is seen now."""
        node = next(
            one for one in plans.labelled(plans.five_nodes(), self.bindings) if one["labels"].get("hostnet.multicluster/ledger") == member
        )
        node.update(changes)
        self.nodes.append(node)
        return node

    def adopt(self, wanted: str | None = None) -> Json:
        plan = deployment.deployment_plan(self.hostnet, self.spec, self.nodes, self.observed)
        before = copy.deepcopy((plan, self.observed, self.inspection))
        adopted = adopt.adoption(self.hostnet, plan, self.nodes, self.observed, self.inspection, self.wanted if wanted is None else wanted)
        assert before == (plan, self.observed, self.inspection)
        return adopted


def without_east(*survivors: str, without: tuple[str, ...] = ("east",)) -> Disaster:
    """East is gone for good, and the majority with it; the inventory has west alone."""
    disaster = Disaster(*survivors)
    disaster.hostnet = plans.settings(kube_clusters=("west",), without_kube_clusters=list(without))
    del disaster.observed["east"]
    disaster.nodes = [node for node in disaster.nodes if node["kube_cluster"] == "west"]
    return disaster


def test_a_kube_cluster_that_is_gone_for_good_with_the_majority() -> None:
    adopted = without_east("west-0", "west-1").adopt()
    assert adopted["errors"] == []
    assert [entry["member"] for entry in adopted["keep"]] == ["west-0", "west-1"]
    assert [entry["member"] for entry in adopted["drop"]] == ["east-0", "east-1", "east-2"]
    # Nobody can wait for their end there.
    assert adopted["awaited"] == []


@pytest.mark.parametrize(
    ("without", "part"),
    [
        ((), "playbooks/adopt.yml with -e hostnet_lost_kube_cluster=east"),
        (("east", "west"), "kube cluster west is in the inventory: take it out there first"),
        (("east", "wset"), "hostnet_lost_kube_cluster is 'wset', and ledger has no such kube cluster"),
    ],
)
def test_a_lost_kube_cluster_that_was_not_said_or_cannot_be_meant(without: tuple[str, ...], part: str) -> None:
    adopted = without_east("west-0", "west-1", without=without).adopt()
    assert len(adopted["errors"]) == 1
    assert part in adopted["errors"][0]
    assert adopted["keep"] == adopted["drop"] == []


def refused(adopted: Json, *parts: str) -> None:
    assert len(adopted["errors"]) == 1, adopted["errors"]
    for part in parts:
        assert part in adopted["errors"][0]
    assert (adopted["keep"], adopted["drop"], adopted["orphans"], adopted["lines"]) == ([], [], [], [])


def names_of(bindings: list[Json]) -> list[str]:
    return [binding["member"] for binding in bindings]


# -- what is adopted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["etcd", "nats"])
def test_one_survivor_is_adopted_and_the_others_lose_their_bindings(system: str) -> None:
    disaster = Disaster("west-0", system=system)
    for found in disaster.observed.values():
        for binding in found["members"]:
            binding["progress"] = {"cluster_id": "old", "applied_index": 9}
    adopted = disaster.adopt()
    assert adopted["errors"] == []
    assert (adopted["cluster_id"], adopted["former"], adopted["journal"]) == ("new", "old", "")
    assert names_of(adopted["keep"]) == ["west-0"]
    assert adopted["keep"][0] == disaster.bindings[3]
    assert names_of(adopted["drop"]) == ["east-0", "east-1", "east-2", "west-1"]
    folder = f"/var/lib/hostnet/ledger/{disaster.bindings[0]['admission']}"
    assert adopted["drop"][0]["folder"] == folder
    assert adopted["awaited"] == []
    text = "\n".join(adopted["lines"])
    for part in ("cluster id new replaces old", "that stay: west-0", f"{folder} on node east-worker of kube cluster east (member east-0)"):
        assert part in text


def test_the_same_cluster_id_is_adopted_too() -> None:
    """etcd with --force-new-cluster keeps it."""
    disaster = Disaster("west-0", cluster_id="old")
    adopted = disaster.adopt()
    assert (adopted["errors"], adopted["former"], names_of(adopted["keep"])) == ([], "", ["west-0"])


def test_where_nothing_was_lost_nothing_is_dropped() -> None:
    adopted = Disaster(*EVERYBODY, cluster_id="old").adopt()
    assert (adopted["errors"], adopted["drop"], adopted["orphans"]) == ([], [], [])
    assert names_of(adopted["keep"]) == EVERYBODY


def test_a_listed_member_that_is_down_keeps_its_binding() -> None:
    disaster = Disaster("east-0", "east-1", listed=EVERYBODY[:3])
    assert names_of(disaster.adopt()["keep"]) == EVERYBODY[:3]


def test_members_that_a_node_can_confirm_are_awaited() -> None:
    disaster = Disaster("west-0")
    disaster.lost_node("east-0")
    assert names_of(disaster.adopt()["awaited"]) == ["east-0"]


def test_a_run_that_was_killed_is_gone_on_with() -> None:
    disaster = Disaster("west-0")
    # Bindings are gone already, one record is replaced, and a workload was not reached.
    for found in disaster.observed.values():
        found["members"] = [entry for entry in found["members"] if entry["member"] == "west-0"]
        found["rollout"] = {
            "schema": 1,
            "state": "in_flight",
            "work": "adopt",
            "run_id": "r",
            "generation": 3,
            "sequence": 2,
            "settings": {"cluster_id": "new", "former": "old"},
        }
    disaster.observed["west"]["workloads"] = [entry for entry in disaster.observed["west"]["workloads"] if entry["member"] == "west-0"]
    disaster.observed["east"]["workloads"] = disaster.observed["east"]["workloads"][:1]
    disaster.observed["east"]["cluster_record"] = {"cluster_id": "new", "token": plans.TOKEN}
    adopted = disaster.adopt()
    assert (adopted["errors"], adopted["former"], adopted["orphans"], adopted["journal"]) == ([], "old", ["east-0"], "")
    # Killed between the deletion of the last old record and its successor.
    disaster.observed["west"]["cluster_record"] = None
    assert disaster.adopt()["former"] == "old"
    for found in disaster.observed.values():
        found["cluster_record"] = None
    adopted = disaster.adopt()
    assert (adopted["errors"], adopted["former"]) == ([], "old")


def test_everything_else_waits_until_it_is_adopted() -> None:
    disaster = Disaster("west-0")
    journal = {
        "schema": 1,
        "state": "in_flight",
        "work": "adopt",
        "run_id": "r",
        "generation": 3,
        "sequence": 2,
        "settings": {"cluster_id": "new"},
    }
    disaster.observed["east"]["rollout"] = journal
    plan = deployment.deployment_plan(disaster.hostnet, disaster.spec, disaster.nodes, disaster.observed)
    words = "ledger is being adopted (run r), and that was not finished: run playbooks/adopt.yml again with -e hostnet_adopt_cluster_id=new"
    assert any(error.startswith(words) for error in plan["errors"])
    for abort in (False, True):
        request = {"work": "reboot", "surge": False, "abort": abort}
        assert refusals.journal_errors(disaster.hostnet, request, journal)[0].startswith(words)
    assert adopt.in_progress("ledger", {**journal, "state": "done"}) == []
    assert adopt.in_progress("ledger", None) == []


def test_work_from_before_the_disaster_is_given_up() -> None:
    disaster = Disaster("west-0")
    journal = {"schema": 1, "state": "in_flight", "work": "replace", "run_id": "r7", "generation": 2, "sequence": 9, "saved": {"x": "1"}}
    disaster.observed["east"]["rollout"] = journal
    adopted = disaster.adopt()
    assert (adopted["journal"], adopted["saved"]) == ("replace (run r7)", ["x"])
    assert "what was under way is given up: replace (run r7)" in adopted["lines"]
    disaster.observed["east"]["rollout"] = {**journal, "state": "done"}
    assert disaster.adopt()["journal"] == ""


# -- what is not -------------------------------------------------------------------------------------------------------


def test_invariant_2_nobody_adopts_what_was_not_named() -> None:
    disaster = Disaster("west-0")
    refused(disaster.adopt(""), "hostnet_adopt_cluster_id is empty")
    refused(disaster.adopt("typo"), "'typo'", "another cluster id: new: west-0")


def test_invariant_2_two_cluster_ids_are_never_adopted() -> None:
    disaster = Disaster("west-0", "west-1")
    disaster.inspection["west-1"]["cluster_id"] = "other"
    refused(disaster.adopt(), "different cluster ids: new: west-0; other: west-1", "Stop those")


def test_invariant_2_members_that_do_not_agree_on_the_membership() -> None:
    disaster = Disaster("west-0", "west-1")
    disaster.inspection["west-0"]["peers"] = disaster.peers("west-0")
    refused(disaster.adopt(), "do not agree on who is a member", "west-0: id-west-0; west-1: id-west-0, id-west-1")


def test_a_minority_of_the_listed_voters_is_not_enough() -> None:
    refused(Disaster("west-0", listed=EVERYBODY).adopt(), "1 of 5 members that the system lists answer and are healthy, 3 have to")
    disaster = Disaster("west-0", "west-1", listed=["west-0", "west-1", "east-0", "east-1"])
    refused(disaster.adopt(), "2 of 4", "3 have to")


def test_a_learner_is_no_voter_and_keeps_its_binding() -> None:
    disaster = Disaster("west-0")
    peers = disaster.peers("west-0") + disaster.peers("west-1", role="learner", name="")
    disaster.inspection["west-0"]["peers"] = peers
    assert names_of(disaster.adopt()["keep"]) == ["west-0", "west-1"]
    only = Disaster("west-0")
    only.inspection["west-0"]["role"] = "learner"
    refused(only.adopt(), "only learners of ledger answer")


def test_a_member_that_answers_and_is_not_listed_has_to_be_stopped() -> None:
    disaster = Disaster("west-0", "west-1", listed=["west-0"])
    refused(disaster.adopt(), "member west-1 answers, and the others do not list it: stop it")


def test_a_member_that_is_not_healthy_or_lists_nobody() -> None:
    disaster = Disaster("west-0")
    disaster.inspection["west-0"].update(healthy=False, reason="it knows no leader")
    refused(disaster.adopt(), "member west-0 answers and is not healthy: it knows no leader")
    empty = Disaster("west-0")
    empty.inspection["west-0"]["peers"] = []
    refused(empty.adopt(), "member west-0 does not list the members")


def test_a_peer_without_a_binding_is_refused() -> None:
    disaster = Disaster("west-0", "west-1", "east-0")
    for said in disaster.inspection.values():
        said["peers"] = [*said["peers"], {"id": "ff", "name": "stranger", "address": "10.9.9.9", "role": "voter"}]
    refused(disaster.adopt(), "the system lists ff at 10.9.9.9, which is no member with a binding")


def test_invariant_13_a_peer_is_found_by_its_whole_address() -> None:
    disaster = Disaster("east-0")
    # 10.0.0.1 is a prefix of 10.0.0.12, which is east-1's.
    disaster.inspection["east-0"]["peers"] = [{"id": "1", "name": "", "address": "10.0.0.1:26257", "role": "voter"}]
    assert names_of(disaster.adopt()["keep"]) == ["east-0"]


def test_nobody_answers() -> None:
    disaster = Disaster("west-0")
    disaster.inspection = {"west-0": {"reachable": False, "reason": "refused"}}
    refused(disaster.adopt(), "no member of ledger answers", "west-0 (refused)", "docs/recovery.md")


def test_invariant_9_a_node_that_is_not_ready_may_still_run_its_member() -> None:
    disaster = Disaster("west-0")
    node = disaster.lost_node("east-1", ready=False)
    refused(disaster.adopt(), "node east-worker2 of member east-1", "is not Ready", "out-of-service")
    node["taints"] = [{"key": names.OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}]
    assert disaster.adopt()["errors"] == []
    node["taints"], node["uid"] = [], "another VM"
    assert disaster.adopt()["errors"] == []


def test_claims_that_differ_or_are_gone() -> None:
    disaster = Disaster("west-0")
    disaster.observed["west"]["identity"]["token"] = "another"
    refused(disaster.adopt(), "the identity record of deployment ledger differs between kube clusters east and west")
    for found in disaster.observed.values():
        found["identity"] = None
    refused(disaster.adopt(), "no identity record", "ledger-identity")


def test_another_system_or_placement() -> None:
    disaster = Disaster("west-0")
    for found in disaster.observed.values():
        found["identity"]["placement"] = "daemonset"
    refused(disaster.adopt(), "recorded with placement 'daemonset', not 'node_name'")


def test_invariant_2_a_third_cluster_id_in_a_record_is_refused() -> None:
    disaster = Disaster("west-0")
    disaster.observed["west"]["cluster_record"] = {"cluster_id": "third", "token": plans.TOKEN}
    refused(disaster.adopt(), "different cluster ids: old, third", "ledger-cluster-id")


def test_data_of_former_members_is_named_and_is_no_error() -> None:
    disaster = Disaster("west-0")
    text = "content east-0-abc data\nmarker east-0-abc member=east-0\ncontent x data\ncontent y empty\ncontent z marker\n"
    text += f"content {disaster.bindings[3]['admission']} data\n"
    results = [{"kube_cluster": "east", "node": "east-worker", "stdout": text}]
    plan = {"mode": "existing", "members": disaster.bindings[3:4], "new": []}
    assert adopt.former_data(disaster.hostnet, plan, results) == [
        "kube cluster east: node east-worker has data of a former member east-0, which stays: /var/lib/hostnet/ledger/east-0-abc",
        "kube cluster east: node east-worker has data of a former member, which stays: /var/lib/hostnet/ledger/x",
    ]
    assert adopt.former_data(disaster.hostnet, {**plan, "mode": "first"}, results) == []


SAID = st.fixed_dictionaries(
    {
        name: st.tuples(
            st.sampled_from(["gone", "silent", "down", "well"]),
            st.sampled_from(["new", "new", "other"]),
            st.sets(st.sampled_from(EVERYBODY)),
        )
        for name in EVERYBODY
    }
)


@settings(max_examples=100)
@given(SAID, st.booleans(), st.sampled_from(["new", "other", ""]))
def test_invariant_2_only_one_healthy_majority_that_agrees_is_ever_adopted(said: dict[str, Any], agree: bool, wanted: str) -> None:
    disaster = Disaster(*EVERYBODY)
    disaster.inspection = {}
    shared = said["east-0"][2] | {"west-0"}
    told = plans.inspected(disaster.bindings)
    for name, (life, cluster_id, listed) in said.items():
        if life == "gone":
            continue
        peers = disaster.peers(*(shared if agree else listed))
        disaster.inspection[name] = {
            **told[name],
            "reachable": life != "silent",
            "healthy": life == "well",
            "cluster_id": "" if life == "silent" else cluster_id,
            "peers": [] if life == "silent" else peers,
        }
    adopted = disaster.adopt(wanted)
    well = {name for name, (life, _id, _listed) in said.items() if life == "well"}
    answering = well | {name for name, (life, _id, _listed) in said.items() if life == "down"}
    if adopted["errors"]:
        assert not adopted["keep"]
        return
    keep = set(names_of(adopted["keep"]))
    assert answering == well
    assert {said[name][1] for name in well} == {wanted}
    assert len(well & keep) > len(keep) // 2
    assert well <= keep
    assert all(({*shared} if agree else said[name][2]) == keep for name in well)
    assert keep | set(names_of(adopted["drop"])) == set(EVERYBODY)
