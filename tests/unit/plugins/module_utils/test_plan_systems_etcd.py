# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcdctl 3.6.16 printed, as an inspection; tests/integration/test_etcd_server.py asks a real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.etcd import FilterModule
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd
from support.member import Json

CLUSTER = 13237676143463371577  # b7b5c2d0..., above 2**63: etcd's ids are unsigned
IDS = {"east-0": 9372538179322589801, "east-1": 10501334649042878790, "west-0": 18249187646912138824}
ADDRESSES = {"east-0": "172.30.1.3", "east-1": "172.30.1.4", "west-0": "fd00::10"}
EMPTY = {"reachable": False, "healthy": False, "cluster_id": "", "id": "", "version": "", "leader": False, "role": "", "peers": []}


def ran(body: object, rc: int = 0, stderr: str = "") -> Json:
    return {"rc": rc, "stdout": body if isinstance(body, str) else json.dumps(body), "stderr": stderr, "error": ""}


def status(name: str, leader: str = "west-0", **other: Any) -> Json:
    said = {
        "header": {"cluster_id": CLUSTER, "member_id": IDS[name], "revision": 1, "raft_term": 2},
        "version": "3.6.16",
        "dbSize": 20480,
        "leader": IDS.get(leader, 0),
        "raftIndex": 8,
        **other,
    }
    return ran([{"Endpoint": f"https://{name}:2379", "Status": said}])


def listed(**learners: str) -> Json:
    entries: list[Json] = []
    for name, address in ADDRESSES.items():
        host = f"[{address}]" if ":" in address else address
        entries.append({"ID": IDS[name], "name": name, "peerURLs": [f"https://{host}:2380"], "clientURLs": []})
    for name, address in learners.items():
        # A member that was added and has not started has no name.
        entries.append({"ID": 255, "name": "" if name == "unstarted" else name, "peerURLs": [f"https://{address}:2380"], "isLearner": True})
    return ran({"header": {"cluster_id": CLUSTER}, "members": entries})


def three(**learners: str) -> dict[str, Json]:
    return etcd.inspection({name: {"status": status(name), "members": listed(**learners)} for name in IDS})


def test_three_members() -> None:
    seen = three()
    assert seen["east-0"] == {
        "reachable": True,
        "healthy": True,
        "reason": "",
        "cluster_id": f"{CLUSTER:x}",
        "id": f"{IDS['east-0']:x}",
        "version": "3.6.16",
        "leader": False,
        "role": "voter",
        "peers": [{"id": f"{IDS[name]:x}", "name": name, "address": address, "role": "voter"} for name, address in ADDRESSES.items()],
    }
    assert etcd.voters(seen) == ["west-0", "east-0", "east-1"]


def test_a_learner_has_no_list_and_no_vote() -> None:
    refused = ran("", rc=1, stderr="Error: etcdserver: rpc not supported for learner\n")
    seen = etcd.inspection({"east-1": {"status": status("east-1", isLearner=True), "members": refused}})
    assert seen["east-1"]["role"] == "learner"
    assert seen["east-1"]["healthy"]
    assert seen["east-1"]["peers"] == []
    assert etcd.voters(seen) == []


def test_learners_are_found_by_their_whole_address() -> None:
    seen = three(new="10.0.0.12")
    assert etcd.known(seen, "10.0.0.12")
    assert not etcd.known(seen, "10.0.0.1")
    assert etcd.known(seen, "fd00:0:0::10")
    bindings = [{"member": "east-3", "address": "10.0.0.12"}, {"member": "east-0", "address": "172.30.1.3"}]
    assert [entry["member"] for entry in etcd.learners(seen, bindings)] == ["east-3"]
    assert etcd.learners(seen, bindings[1:]) == []


def test_a_member_that_was_added_and_never_started_is_known() -> None:
    assert etcd.known(three(unstarted="10.0.0.12"), "10.0.0.12")


def test_without_an_answer_of_a_voter_nothing_is_known() -> None:
    assert etcd.voters({}) == []
    assert not etcd.known({}, "10.0.0.1")
    assert etcd.learners({}, [{"member": "east-0", "address": "10.0.0.1"}]) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "etcdctl gave no answer"),
        ({"status": {"rc": None, "stdout": "", "stderr": "", "error": "no pod"}}, "no pod"),
        ({"status": ran("", rc=1, stderr="warn\nError: context deadline exceeded\n\n")}, "Error: context deadline exceeded"),
        ({"status": ran("nonsense")}, "etcdctl's answer cannot be read (JSONDecodeError"),
        ({"status": ran([])}, "etcdctl's answer cannot be read (IndexError"),
        ({"status": ran([{"Status": {}}])}, "etcdctl's answer cannot be read (KeyError('header')"),
    ],
)
def test_no_answer(said: Json, reason: str) -> None:
    one = etcd.inspection({"east-0": said})["east-0"]
    assert one.pop("reason").startswith(reason)
    assert one == EMPTY


@pytest.mark.parametrize("body", [[], {"members": None}, {"members": ["x"]}, {"members": [{}]}])
def test_a_member_list_that_cannot_be_read_is_not_an_empty_one(body: object) -> None:
    one = etcd.inspection({"east-0": {"status": status("east-0"), "members": ran(body)}})["east-0"]
    assert one["cluster_id"] == f"{CLUSTER:x}"
    assert not one["healthy"]
    assert one["reason"].startswith("etcdctl's answer cannot be read")


def test_a_member_without_a_leader_is_reachable_and_not_healthy() -> None:
    one = etcd.inspection({"east-0": {"status": status("east-0", leader="", errors=["etcdserver: no leader"])}})["east-0"]
    assert one["reachable"]
    assert not one["healthy"]
    assert not one["leader"]
    assert one["reason"] == "etcdserver: no leader; it knows no leader"


@given(st.permutations(list(IDS)))
def test_the_order_of_answers_changes_nothing(order: Sequence[str]) -> None:
    seen = etcd.inspection({name: {"status": status(name), "members": listed()} for name in order})
    assert seen == three()
    assert etcd.voters(seen) == etcd.voters(three())


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Status", "header", "members", "ID", "leader"]), inner),
    max_leaves=8,
)
_RAN = st.fixed_dictionaries(
    {
        "rc": st.sampled_from([0, 0, 0, 1, None]),
        "stdout": _VALUE.map(json.dumps) | st.text() | st.just(status("east-0")["stdout"]),
        "stderr": st.text(),
        "error": st.sampled_from(["", "", "no pod"]),
    }
)


@given(st.fixed_dictionaries({}, optional={"status": _RAN, "members": _RAN}))
def test_any_answer_gives_an_inspection(said: Json) -> None:
    one = etcd.inspection({"east-0": said})["east-0"]
    assert set(one) == {*EMPTY, "reason"}
    assert one["healthy"] != bool(one["reason"])
    assert one["reachable"] or not one["healthy"]


def test_filters() -> None:
    filters = FilterModule().filters()
    assert filters["etcd_inspection"]({}) == {}
    assert filters["etcd_voters"]({}) == []
