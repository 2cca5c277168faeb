# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kube clusters a deployment has: missing, additional, renamed, swapped and exchanged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import roster

Json = dict[str, Any]
UIDS = {"east": "uid-1", "west": "uid-2"}
RECORDED = roster.make(UIDS, "/var/lib/hostnet")


def found(**changes: Any) -> Json:
    return {"uid": "", "absent": False, "identity": None, "rosters": [], "members": [], **changes}


def claim(document: roster.Roster | None = None, **changes: str) -> Json:
    data = roster.dump(document or RECORDED)
    return {"token": "t", "members": "east-0,west-0", "kube_clusters": data["kube_clusters"], "data_root": data["data_root"], **changes}


def only(errors: list[str], *parts: str) -> None:
    assert len(errors) == 1, errors
    for part in parts:
        assert part in errors[0], errors[0]


def test_the_same_kube_clusters_are_right() -> None:
    assert roster.problems("ledger", RECORDED, UIDS) == []
    # One that does not answer has no UID; whether that is a problem is another question.
    assert roster.problems("ledger", RECORDED, {**UIDS, "west": ""}) == []
    assert roster.problems("ledger", None, UIDS) == []


def test_one_that_is_missing() -> None:
    only(roster.problems("ledger", RECORDED, {"east": "uid-1"}), "kube cluster west is missing", "east, west", "forget_kube_cluster.yml")
    assert roster.problems("ledger", RECORDED, {"east": "uid-1"}, without=["west"]) == []


def test_one_more_has_to_be_said() -> None:
    uids = {**UIDS, "north": "uid-3"}
    only(roster.problems("ledger", RECORDED, uids), "kube cluster north is none of ledger's", 'hostnet_new_kube_clusters": ["north"]')
    assert roster.problems("ledger", RECORDED, uids, joining=["north"]) == []
    grown = roster.grown(RECORDED, uids)
    assert grown == {"revision": 2, "kube_clusters": uids, "lost": {}, "data_root": "/var/lib/hostnet"}
    assert grown is not None
    assert roster.grown(grown, uids) is None


def test_what_is_said_to_join_must_be_there() -> None:
    only(roster.problems("ledger", RECORDED, UIDS, joining=["nroth"]), "hostnet_new_kube_clusters has 'nroth'", "correct the name")


def test_contexts_that_were_swapped() -> None:
    errors = roster.problems("ledger", RECORDED, {"east": "uid-2", "west": "uid-1"})
    assert len(errors) == 2
    assert "kube cluster east is not the one" in errors[0]
    assert "recorded as west" in errors[0]
    assert "swapped" in errors[0]


def test_another_server_behind_a_name() -> None:
    only(roster.problems("ledger", RECORDED, {**UIDS, "west": "uid-9"}), "kube cluster west is not the one", "uid-9", "uid-2", "re-created")


def test_a_new_name() -> None:
    errors = roster.problems("ledger", RECORDED, {"east": "uid-1", "occident": "uid-2"}, joining=["occident"])
    assert any("kube cluster occident is recorded under the name west" in error and "Name it west" in error for error in errors)


def test_two_names_of_one_server() -> None:
    only(roster.problems("ledger", None, {"east": "uid-1", "west": "uid-1"}), "east and west are the same Kubernetes cluster", "uid-1")


def test_a_lost_one_is_recorded() -> None:
    left = roster.without(RECORDED, "west")
    assert left == {"revision": 2, "kube_clusters": {"east": "uid-1"}, "lost": {"west": "uid-2"}, "data_root": "/var/lib/hostnet"}
    only(roster.problems("ledger", left, UIDS), "kube cluster west is none of ledger's")


def test_the_newest_revision_counts_even_where_a_killed_run_left_it_in_one_kube_cluster() -> None:
    next_one = roster.make({**UIDS, "north": "uid-3"}, "/var/lib/hostnet", 2)
    observed = {"east": found(identity=claim(), rosters=[roster.dump(next_one)]), "north": found(), "west": found(identity=claim())}
    assert roster.newest(observed) == (next_one, [])
    assert roster.missing_copies(next_one, observed) == ["north", "west"]
    assert roster.missing_copies(next_one, {**observed, "north": found(absent=True)}) == ["west"]


def test_records_that_disagree() -> None:
    other = roster.make({"east": "uid-1"}, "/var/lib/hostnet")
    _newest, errors = roster.newest({"east": found(identity=claim()), "west": found(identity=claim(other))})
    only(errors, "kube clusters east and west disagree on revision 1")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"east": 1}', "no json"])
def test_a_record_that_was_edited(text: str) -> None:
    _newest, errors = roster.newest({"east": found(identity=claim(kube_clusters=text))})
    only(errors, "kube cluster east", "cannot be read")


def test_what_a_deployment_of_0_2_0_must_have() -> None:
    old = {"token": "t", "members": "east-0,west-0,far-away-11"}
    observed = {"east": found(identity=old, members=[{"kube_cluster": "east"}]), "north": found(), "west": found()}
    assert roster.inferred(observed) == {
        "revision": 1,
        "kube_clusters": dict.fromkeys(("east", "far-away", "west"), ""),
        "lost": {},
        "data_root": "",
    }
    assert roster.inferred({"east": found()}) is None
    errors = roster.problems("ledger", roster.inferred(observed), {"east": "uid-1", "west": "uid-2"})
    only(errors, "kube cluster far-away is missing")


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.uuids().map(str), min_size=1),
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.uuids().map(str)),
    st.integers(1, 99),
)
def test_what_is_written_is_read(kube_clusters: dict[str, str], lost: dict[str, str], revision: int) -> None:
    document = roster.make(kube_clusters, "/data", revision, lost)
    assert roster.parse(json.loads(json.dumps(roster.dump(document)))) == document


@given(st.data())
def test_no_inventory_but_the_recorded_one_passes(data: st.DataObject) -> None:
    names = ["a", "b", "c"]
    recorded = roster.make({name: f"uid-{name}" for name in data.draw(st.sets(st.sampled_from(names), min_size=1))}, "/data")
    given_names = data.draw(st.sets(st.sampled_from(names), min_size=1))
    uids = {name: f"uid-{data.draw(st.sampled_from(names))}" for name in given_names}
    assert (roster.problems("ledger", recorded, uids) == []) == (uids == recorded["kube_clusters"])
