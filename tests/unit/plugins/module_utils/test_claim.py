# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A claim without a cluster id: what went before it, and whether anybody may bootstrap."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import claim, deployment, node_scripts
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
EVERYBODY = ["east-0", "east-1", "east-2", "west-0", "west-1"]


class Case:
    """A first deploy that was cut short: `bound` has the members with a binding and a workload, all others were never admitted."""

    def __init__(self, bound: list[str] | None = None, placement: str = "node_name") -> None:
        self.hostnet = plans.settings(placement=placement)
        self.nodes = plans.five_nodes()
        self.bindings = plans.admitted(self.hostnet, SPEC, self.nodes)
        names = EVERYBODY if bound is None else bound
        some = [binding for binding in self.bindings if binding["member"] in names]
        self.observed = plans.running(self.hostnet, some, "")
        for found in self.observed.values():
            found["identity"] = plans.identity(EVERYBODY, placement=placement)
            found["join"]["HOSTNET_STATE"] = "new"
            for pod in found["pods"]:
                pod["ready"] = False
        self.inspection: dict[str, Json] = {}

    def plan(self) -> Json:
        return deployment.deployment_plan(self.hostnet, SPEC, self.nodes, self.observed)

    def looked(self, states: dict[str, str]) -> list[Json]:
        """node_run's results: `content`, `empty`, `gone` (no folder) or `unseen` by member; nothing where nobody was admitted."""
        results = []
        for binding in self.bindings:
            state = states.get(binding["member"], "gone")
            if state != "unseen":
                word = {"content": "data"}.get(state, state)
                text = f"content {binding['admission']} {word}\n" if state != "gone" else ""
                results.append({"kube_cluster": binding["kube_cluster"], "node": binding["node"], "stdout": text, "rc": 0})
        return results

    def judge(self, states: dict[str, str]) -> Json:
        plan = self.plan()
        assert (plan["mode"], plan["errors"]) == ("unfinished", [])
        return claim.judge(self.hostnet, plan, self.nodes, self.observed, self.inspection, self.looked(states))

    def well(self, *members: str, cluster_id: str = "c1d") -> None:
        said = plans.inspected(self.bindings, cluster_id)
        self.inspection.update({name: said[name] for name in members})


def all_of(state: str, **others: str) -> dict[str, str]:
    return {**dict.fromkeys(EVERYBODY, state), **{name.replace("_", "-"): found for name, found in others.items()}}


# -- the record was there once -----------------------------------------------------------------------------------------


def state_existing(observed: dict[str, Json]) -> None:
    observed["west"]["join"]["HOSTNET_STATE"] = "existing"


def journal(observed: dict[str, Json]) -> None:
    observed["east"]["rollout"] = {"state": "done", "generation": 1, "sequence": 1}


def grown(observed: dict[str, Json]) -> None:
    for found in observed.values():
        found["identity"]["members"] = "east-0,east-1,east-2,west-0"


def stopped(observed: dict[str, Json]) -> None:
    observed["east"]["members"][0]["stopped"] = True


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (state_existing, "kube cluster west: its join list has state existing"),
        (journal, "kube cluster east: it has the journal of a rollout"),
        (grown, "member west-1 was admitted after the first deploy"),
        (stopped, "member east-0 was stopped by a rollout"),
    ],
)
def test_invariant_1_a_claim_that_had_a_cluster_id_is_a_lost_record(change: Any, text: str) -> None:
    case = Case()
    change(case.observed)
    plan = case.plan()
    assert (plan["mode"], plan["state"], plan["errors"], plan["new"], plan["batches"]) == ("lost_record", "existing", [], [], [])
    assert plan["identity"]["token"] == plans.TOKEN
    assert claim.recorded_once(plan["identity"], plan["members"], case.observed) == [text]


def test_a_claim_that_had_a_cluster_id_and_has_no_bindings_is_refused() -> None:
    case = Case()
    state_existing(case.observed)
    for found in case.observed.values():
        found["members"] = []
    (error,) = case.plan()["errors"]
    for part in (
        "neither a cluster id nor bindings",
        "state existing",
        "ConfigMaps ledger-cluster-id and ledger-members",
        "docs/recovery.md",
    ):
        assert part in error


# -- disks and members -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["node_name", "daemonset"])
@pytest.mark.parametrize(
    ("bound", "states"),
    [
        # Killed right after the claim, after some folders, after some bindings, and while a minority had started.
        ([], {}),
        ([], all_of("empty")),
        (EVERYBODY[:3], {**dict.fromkeys(EVERYBODY[:3], "empty")}),
        (None, all_of("empty")),
        (None, all_of("empty", east_0="content", west_1="content")),
    ],
)
def test_a_first_deploy_that_was_cut_short_goes_on(bound: list[str] | None, states: dict[str, str], placement: str) -> None:
    case = Case(bound, placement)
    judged = case.judge(states)
    assert judged == {"mode": "unfinished", "state": "new", "batches": [EVERYBODY], "errors": []}


@pytest.mark.parametrize("placement", ["node_name", "daemonset"])
def test_invariant_8_with_content_on_a_majority_an_empty_disk_only_joins(placement: str) -> None:
    case = Case(None, placement)
    judged = case.judge(all_of("content", west_0="empty", west_1="empty"))
    assert judged == {"mode": "unfinished", "state": "existing", "batches": [EVERYBODY], "errors": []}


def test_content_beside_a_deleted_binding_counts() -> None:
    case = Case(EVERYBODY[:2])
    assert case.judge(all_of("content", west_0="empty", west_1="empty"))["state"] == "existing"


def test_a_member_that_is_healthy_says_that_a_majority_has_started() -> None:
    case = Case(EVERYBODY[:3])
    case.well("east-0")
    assert case.judge({**dict.fromkeys(EVERYBODY[:3], "content")})["state"] == "existing"
    case.inspection.clear()
    case.observed["east"]["pods"][0]["ready"] = True
    assert case.judge({"east-0": "content", "east-1": "empty", "east-2": "empty"})["state"] == "existing"


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_invariant_2_a_majority_that_agrees_is_recorded_again(silent: int) -> None:
    case = Case()
    case.well(*EVERYBODY[silent:])
    # Whatever the others' disks are: they wait, and a repair mends them.
    judged = case.judge(all_of("content", east_0="gone"))
    assert judged == {"mode": "lost_record", "state": "existing", "batches": [], "errors": []}


def test_a_majority_that_agrees_and_a_first_member_without_binding_admits_it_as_one_that_joins() -> None:
    case = Case(EVERYBODY[:4])
    case.well(*EVERYBODY[:4])
    judged = case.judge({**dict.fromkeys(EVERYBODY[:4], "content")})
    assert judged == {"mode": "unfinished", "state": "existing", "batches": [EVERYBODY], "errors": []}


def test_invariant_2_two_cluster_ids_are_refused() -> None:
    case = Case()
    case.well(*EVERYBODY[:4])
    case.well("west-1", cluster_id="other")
    judged = case.judge(all_of("content"))
    assert judged["state"] == "existing"
    assert judged["errors"] == [
        "members of ledger report different cluster ids: c1d: east-0, east-1, east-2, west-0; other: west-1. Change nothing; see docs/recovery.md"
    ]


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (all_of("empty", east_1="gone"), "east-1 (folder east-1-"),
        (all_of("empty", east_1="unreadable"), "cannot be read"),
        (all_of("empty", east_1="unseen"), "east-1 (node east-worker2 of kube cluster east could not be looked at)"),
    ],
)
def test_invariant_8_the_disk_of_a_first_member_is_another_one(states: dict[str, str], text: str) -> None:
    case = Case()
    judged = case.judge(states)
    assert judged["state"] == "existing"
    (error,) = judged["errors"]
    for part in (text, "has no cluster id", "Nothing is initialised", "playbooks/remove.yml -e hostnet_remove_data=true"):
        assert part in error


def test_invariant_8_the_vm_of_a_first_member_is_another_one() -> None:
    case = Case()
    case.nodes[1]["uid"] = "another"
    judged = case.judge(all_of("empty"))
    assert judged["state"] == "existing"
    assert "east-1 (node east-worker2 of kube cluster east is gone or another VM)" in judged["errors"][0]


FACTS = st.fixed_dictionaries(
    {
        name: st.tuples(st.sampled_from(["content", "empty", "gone", "unseen"]), st.sampled_from(["", "ready", "up", "well"]))
        for name in EVERYBODY
    }
)


@settings(max_examples=300)
@given(FACTS, st.sets(st.sampled_from(EVERYBODY)), st.sampled_from([[], [state_existing], [journal], [stopped]]))
def test_invariant_1_state_new_is_only_for_what_no_majority_can_have_started(
    facts: dict[str, tuple[str, str]], unbound: set[str], changes: list[Any]
) -> None:
    case = Case([name for name in EVERYBODY if name not in unbound])
    said = plans.inspected(case.bindings)
    for name, (_disk, life) in facts.items():
        if name in unbound:
            continue
        if life in ("up", "well"):
            case.inspection[name] = {**said[name], "healthy": life == "well"}
        for found in case.observed.values():
            for pod in found["pods"]:
                pod["ready"] = pod["ready"] or (pod["member"] == name and life == "ready")
    # A kube cluster's own copy counts for its own members; the first one in it is one of those where it has any.
    own = [entry for entry in case.observed["east"]["members"] if entry["kube_cluster"] == "east"]
    applied = [change for change in changes if not (change is stopped and not own)]
    for change in applied:
        change(case.observed)
    plan = case.plan()
    if plan["mode"] == "lost_record":
        assert applied
        assert plan["state"] == "existing"
        return
    if plan["errors"]:
        # A binding is missing in the middle: its node gets another ordinal, and that is not what was claimed.
        assert unbound
        return
    before = copy.deepcopy(plan)
    judged = claim.judge(
        case.hostnet, plan, case.nodes, case.observed, case.inspection, case.looked({name: disk for name, (disk, _life) in facts.items()})
    )
    assert plan == before
    assert not applied
    content = [name for name in EVERYBODY if facts[name][0] == "content"]
    lost = [name for name in EVERYBODY if facts[name][0] == "unseen" or (facts[name][0] == "gone" and name not in unbound)]
    alive = [name for name in EVERYBODY if name not in unbound and facts[name][1] in ("ready", "well")]
    may_bootstrap = len(content) < 3 and not lost and not alive
    assert (judged["state"] == "new") == may_bootstrap
    if judged["mode"] == "lost_record":
        assert sum(facts[name][1] == "well" for name in EVERYBODY) >= 3
        assert not unbound
    elif not judged["errors"]:
        assert not lost
        assert judged["batches"] == [EVERYBODY]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_only_nodes_of_members_are_looked_at_and_only_where_they_are_ready() -> None:
    nodes = plans.five_nodes()
    places = [{"kube_cluster": node["kube_cluster"], "node": node["name"]} for node in nodes]
    nodes[0]["ready"] = False
    others = [plans.node("east", "east-other", "10.0.0.9"), plans.node("west", "east-worker2", "10.0.1.9")]
    looked = claim.look_nodes(plans.settings(), {"members": places[:3], "new": places[3:]}, [*nodes, *others])
    assert [(entry["kube_cluster"], entry["name"]) for entry in looked] == [
        ("east", "east-worker2"),
        ("east", "east-worker3"),
        ("west", "west-worker"),
        ("west", "west-worker2"),
    ]
    looked = looked[1:]
    assert looked[0]["env"] == {"DEPLOYMENT": "ledger", "ROOT": "/var/lib/hostnet"}


def test_the_script_tells_content_from_what_the_collection_keeps(tmp_path: Path) -> None:
    for folder in ("ledger/one/etcd/member", "ledger/two", "ledger/three", "other/four/x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ledger" / "two" / ".hostnet-admission").write_text("")
    (tmp_path / "ledger" / "file").write_text("")
    script = node_scripts.SCRIPTS["probe"].replace("/look", str(tmp_path))

    def content(deployment: str) -> list[str]:
        env = {"DEPLOYMENT": deployment, "ROOT": "/", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line.startswith("content ")]

    assert content("ledger") == ["content one data", "content three empty", "content two marker"]
    assert content("gone") == []
    result = {"kube_cluster": "east", "node": "a", "stdout": "\n".join(content("ledger"))}
    assert claim.folders([result]) == {("east", "a"): {"one": "content", "three": "empty", "two": "empty"}}
