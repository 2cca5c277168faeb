# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd 3.6.16 answered, as an inspection; tests/integration/test_etcd_server.py asks a real one."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.etcd import FilterModule
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd
from support.member import Json, system_spec

CLUSTER = 13237676143463371577  # b7b5c2d0..., above 2**63: etcd's ids are unsigned
IDS = {"east-0": 9372538179322589801, "east-1": 10501334649042878790, "west-0": 18249187646912138824}
ADDRESSES = {"east-0": "172.30.1.3", "east-1": "172.30.1.4", "west-0": "fd00::10"}
EMPTY = {
    "reachable": False,
    "healthy": False,
    "cluster_id": "",
    "id": "",
    "version": "",
    "leader": False,
    "role": "",
    "peers": [],
    "revision": 0,
    "applied_index": 0,
    "term": 0,
    "lag": None,
    "alarms": [],
}
TARGETS = [{"member": name, "variables": {"address": address}} for name, address in ADDRESSES.items()]


def ran(body: object, rc: int = 0, stderr: str = "") -> Json:
    return {"rc": rc, "stdout": body if isinstance(body, str) else json.dumps(body), "stderr": stderr, "error": ""}


def status(name: str, leader: str = "west-0", **other: Any) -> Json:
    said = {
        "header": {"cluster_id": CLUSTER, "member_id": IDS[name], "revision": 1, "raft_term": 2},
        "version": "3.6.16",
        "dbSize": 20480,
        "leader": IDS.get(leader, 0),
        "raftIndex": 8,
        "raftAppliedIndex": 8,
        "raftTerm": 2,
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
    return etcd.inspection({name: {"status": status(name), "members": listed(**learners)} for name in IDS}, TARGETS, {})


def without(seen: dict[str, Json], *gone: str) -> dict[str, Json]:
    """What is seen when some members are not there: those that are still list them."""
    return {name: entry for name, entry in seen.items() if name not in gone}


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
        "peers": [
            {"id": f"{IDS[name]:x}", "name": name, "member": name, "address": address, "role": "voter", "live": None}
            for name, address in ADDRESSES.items()
        ],
        "revision": 1,
        "applied_index": 8,
        "term": 2,
        "lag": 0,
        "alarms": [],
    }
    assert etcd.voters(seen) == ["west-0", "east-0", "east-1"]


def test_metrics_tell_who_is_connected() -> None:
    own, other, third = (f"{IDS[name]:x}" for name in ("east-0", "east-1", "west-0"))
    lines = [f'etcd_server_id{{server_id="{own}"}} 1', f'etcd_network_active_peers{{Local="{own}",Remote="{other}"}} 1']

    def lives(body: str, **other: Any) -> dict[str, bool | None]:
        metrics = {"status": 200, "body": body, "error": "", **other}
        seen = etcd.inspection({"east-0": {"status": status("east-0"), "members": listed(), "metrics": metrics}}, TARGETS, {})
        return {peer["name"]: peer["live"] for peer in seen["east-0"]["peers"]}

    assert lives("\n".join(lines)) == {"east-0": True, "east-1": True, "west-0": False}
    lines.append(f'etcd_network_active_peers{{Local="{own}",Remote="{third}"}} 0')
    assert lives("\n".join(lines)) == {"east-0": True, "east-1": True, "west-0": False}
    unknown = dict.fromkeys(("east-0", "east-1", "west-0"))
    assert lives("", status=0, error="timed out") == lives("", status=404) == unknown
    # Another server's.
    assert lives("\n".join(lines).replace(f'server_id="{own}"', 'server_id="1"')) == unknown


def test_a_learner_has_no_list_and_no_vote() -> None:
    refused = ran("", rc=1, stderr="Error: etcdserver: rpc not supported for learner\n")
    seen = etcd.inspection({"east-1": {"status": status("east-1", isLearner=True), "members": refused}})
    assert seen["east-1"]["role"] == "learner"
    assert seen["east-1"]["healthy"]
    assert seen["east-1"]["peers"] == []
    assert etcd.voters(seen) == []


def test_learners_are_found_by_their_whole_address() -> None:
    seen = three(new="10.0.0.12")
    bindings = [{"member": "east-3", "address": "10.0.0.12"}, {"member": "east-0", "address": "172.30.1.3"}]
    assert [entry["member"] for entry in etcd.learners(seen, bindings)] == ["east-3"]
    assert etcd.learners(seen, bindings[1:]) == []


def test_a_member_that_was_added_and_never_started_is_known() -> None:
    seen = three(unstarted="10.0.0.12")
    assert etcd.known(seen, "10.0.0.12")
    assert not etcd.known(seen, "10.0.0.1")


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (
            "172.30.1.4",
            ("172.30.1.4 as the voter east-1", "under somebody else's id", "restore the ConfigMap", "member remove 91bc3c398fb3c146"),
        ),
        ("fd00:0:0::10", ("as the voter west-0",)),
        ("10.0.0.12", ("as the learner new", "member remove ff")),
    ],
)
def test_invariant_8_an_empty_disk_gets_the_id_of_nobody_who_has_started(address: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no new member starts") as refused:
        etcd.known(three(new="10.0.0.12"), address)
    for part in parts:
        assert part in str(refused.value)


def test_a_learner_whose_vm_is_gone_keeps_nobody_out() -> None:
    """etcd takes one learner at a time: the member that is admitted next was already forgotten, and nothing could go on."""
    seen = three(unstarted="10.0.0.12")
    bound = {"member": "west-1", "kube_cluster": "west", "node": "vm-1", "node_uid": "u-1", "provider_id": "p-1", "address": "10.0.0.12"}
    node = {"kube_cluster": "west", "name": "vm-1", "uid": "u-1", "provider_id": "p-1"}
    assert etcd.abandoned(seen, "10.0.0.13", [bound], []) == ["ff"]
    assert etcd.abandoned(seen, "10.0.0.13", [], [node]) == ["ff"], "a deploy was killed, and its node taken away"
    # It may be starting there.
    assert etcd.abandoned(seen, "10.0.0.13", [bound], [node]) == []
    assert etcd.abandoned(seen, "10.0.0.12", [bound], []) == [], "that is the one to be announced"
    assert etcd.abandoned(three(new="10.0.0.12"), "10.0.0.13", [bound], []) == [], "it has started once"
    assert etcd.abandoned(three(), "10.0.0.13", [bound], []) == []


def test_without_an_answer_of_a_voter_nothing_is_known() -> None:
    assert etcd.voters({}) == []
    assert not etcd.known({}, "10.0.0.1")
    assert etcd.learners({}, [{"member": "east-0", "address": "10.0.0.1"}]) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "etcd gave no answer"),
        ({"status": {"rc": None, "stdout": "", "stderr": "", "error": "no pod"}}, "no pod"),
        ({"status": ran("", rc=1, stderr="warn\nError: context deadline exceeded\n\n")}, "Error: context deadline exceeded"),
        ({"status": ran("nonsense")}, "its answer cannot be read (JSONDecodeError"),
        ({"status": ran([])}, "its answer cannot be read (IndexError"),
        ({"status": ran([{"Status": {}}])}, "its answer cannot be read (KeyError('header')"),
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
    assert one["reason"].startswith("its answer cannot be read")


def test_a_member_without_a_leader_is_reachable_and_not_healthy() -> None:
    said = {"status": status("east-0", leader="", errors=["etcdserver: no leader"]), "members": listed()}
    one = etcd.inspection({"east-0": said})["east-0"]
    assert one["reachable"]
    assert not one["healthy"]
    assert not one["leader"]
    assert one["reason"] == "etcdserver: no leader; it knows no leader"


def test_a_voter_that_cannot_list_the_members_is_on_its_own() -> None:
    cut_off = {"status": 0, "body": "", "error": "port-forward to port 2379 of pod n/p: no end before the timeout"}
    one = etcd.inspection({"east-0": {"status": status("east-0"), "members": cut_off}})["east-0"]
    assert one["reachable"]
    assert not one["healthy"]
    assert one["reason"] == f"it does not list the members: {cut_off['error']}"


def over_http(answer: Json) -> Json:
    """The same answer as etcd's gateway gives it: a number of 64 bits is a text, and no endpoint is around it."""
    said = json.loads(answer["stdout"], parse_int=str)
    return {"status": 200, "body": json.dumps(said[0]["Status"] if isinstance(said, list) else said), "error": ""}


def test_answers_over_http_are_the_same() -> None:
    answers = {name: {"status": status(name), "members": listed(unstarted="10.0.0.12")} for name in IDS}
    http = {member: {name: over_http(answer) for name, answer in said.items()} for member, said in answers.items()}
    assert etcd.inspection(http, TARGETS, {}) == etcd.inspection(answers, TARGETS, {})
    nobody = over_http(status("east-0", leader=""))
    assert not etcd.inspection({"east-0": {"status": nobody, "members": over_http(listed())}})["east-0"]["leader"]
    refused = {"status": 503, "body": '{"error":"etcdserver: rpc not supported for learner","code":14}', "error": ""}
    learner = etcd.inspection({"east-1": {"status": over_http(status("east-1", isLearner=True)), "members": refused}})["east-1"]
    assert learner["healthy"]
    assert learner["peers"] == []


@given(st.permutations(list(IDS)))
def test_the_order_of_answers_changes_nothing(order: Sequence[str]) -> None:
    seen = etcd.inspection({name: {"status": status(name), "members": listed()} for name in order}, TARGETS, {})
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


_ASKED = st.fixed_dictionaries(
    {
        "status": st.sampled_from([0, 200, 200, 503]),
        "body": _VALUE.map(json.dumps) | st.text() | st.just(over_http(status("east-0"))["body"]),
        "error": st.sampled_from(["", "", "no pod"]),
    }
)


@given(st.fixed_dictionaries({}, optional={"status": _RAN | _ASKED, "members": _RAN | _ASKED}))
def test_any_answer_gives_an_inspection(said: Json) -> None:
    one = etcd.inspection({"east-0": said})["east-0"]
    assert set(one) == {*EMPTY, "reason"}
    assert not one["healthy"] or all("alarm:NOSPACE" in problem for problem in one["reason"].split("; ") if problem)
    assert one["healthy"] or one["reason"]
    assert one["reachable"] or not one["healthy"]


def test_lag_and_alarms() -> None:
    answers = {name: {"status": status(name), "members": listed()} for name in IDS}
    errors = ["memberID:9372538179322589801 alarm:NOSPACE ", "memberID:9372538179322589801 alarm:NOSPACE "]
    answers["east-0"] = {"status": status("east-0", raftAppliedIndex=3, errors=errors), "members": listed()}
    answers["east-1"] = {"status": ran("", rc=1, stderr="gone")}
    seen = etcd.inspection(answers, TARGETS, {})
    assert {name: entry["lag"] for name, entry in seen.items()} == {"east-0": 5, "east-1": None, "west-0": 0}
    assert seen["east-0"]["alarms"] == ["NOSPACE"]
    assert seen["east-0"]["healthy"], "a full one takes part, and gates look at its alarm"
    assert seen["east-0"]["reason"] == "memberID:9372538179322589801 alarm:NOSPACE ; memberID:9372538179322589801 alarm:NOSPACE "
    answers["east-0"] = {"status": status("east-0", errors=["memberID:1 alarm:CORRUPT "]), "members": listed()}
    assert not etcd.inspection(answers, TARGETS, {})["east-0"]["healthy"]


def test_who_leads_next() -> None:
    seen = three()
    assert etcd.transferee(seen, "east-0") == ""
    assert etcd.transferee(seen, "north-0") == ""
    seen["east-0"]["lag"] = 4
    assert etcd.transferee(seen, "west-0") == seen["east-1"]["id"]
    seen["east-1"]["healthy"] = False
    assert etcd.transferee(seen, "west-0") == seen["east-0"]["id"]
    with pytest.raises(ValueError, match="there is no other healthy voter"):
        etcd.transferee(without(seen, "east-0", "east-1"), "west-0")


def test_a_dead_member_is_forgotten_through_a_living_one() -> None:
    seen = without(three(), "east-1")
    old = f"{IDS['east-1']:x}"
    assert etcd.forgettable(seen, {"id": old}) == {"voter": "west-0", "id": old}
    assert etcd.forgettable(seen, {"address": ADDRESSES["east-1"]}) == {"voter": "west-0", "id": old}
    assert etcd.forgettable(seen, {"id": "abc"}) == {"voter": "", "id": ""}
    # 172.30.1.4 is no part of 172.30.1.40
    assert etcd.forgettable(seen, {"address": ADDRESSES["east-1"] + "0"})["id"] == ""


def test_who_is_not_forgotten() -> None:
    seen = three()
    old = seen["west-0"]["id"]
    with pytest.raises(ValueError, match="member west-0 still answers"):
        etcd.forgettable(seen, {"id": old})
    seen["west-0"]["healthy"] = False
    with pytest.raises(ValueError, match="member west-0 still answers"):
        etcd.forgettable(seen, {"id": old})
    assert etcd.forgettable(three(), {"id": old, "live": True}) == {"voter": "east-0", "id": old}
    with pytest.raises(ValueError, match="no other healthy voter"):
        etcd.forgettable(without(three(), "east-0", "east-1"), {"id": old, "live": True})
    with pytest.raises(ValueError, match="no healthy voter can list the members"):
        etcd.forgettable({}, {"id": old})
    with pytest.raises(ValueError, match="neither an id nor an address"):
        etcd.forgettable(three(), {})


def moved(member: str, address: str) -> Json:
    return {"member": member, "process": member, "address": address}


def test_a_moved_member_gets_its_new_address() -> None:
    seen = without(three(), "east-1")
    assert etcd.readdressing(seen, moved("east-1", ADDRESSES["east-1"])) == []
    assert etcd.readdressing(seen, moved("east-1", "172.30.1.40")) == [{"id": f"{IDS['east-1']:x}", "address": "172.30.1.40"}]
    with pytest.raises(ValueError, match="no healthy voter lists a member named north-0"):
        etcd.readdressing(seen, moved("north-0", "172.30.1.40"))
    with pytest.raises(ValueError, match=r"172\.30\.1\.3 of member east-1 is still that of member east-0, which answers there"):
        etcd.readdressing(seen, moved("east-1", ADDRESSES["east-0"]))


def test_members_that_swapped_their_addresses_never_claim_one_together() -> None:
    seen = without(three(), "east-0", "east-1")
    first = etcd.readdressing(seen, moved("east-1", ADDRESSES["east-0"]))
    assert [change["id"] for change in first] == [f"{IDS['east-0']:x}", f"{IDS['east-1']:x}"]
    assert ipaddress.ip_address(first[0]["address"]) in etcd.PLACEHOLDER_NETWORK
    assert first[1]["address"] == ADDRESSES["east-0"]
    for change in first:
        for peer in seen["west-0"]["peers"]:
            peer["address"] = change["address"] if peer["id"] == change["id"] else peer["address"]
        assert len({peer["address"] for peer in seen["west-0"]["peers"]}) == len(IDS)
    assert etcd.readdressing(seen, moved("east-1", ADDRESSES["east-0"])) == []
    assert etcd.readdressing(seen, moved("east-0", ADDRESSES["east-1"])) == [{"id": f"{IDS['east-0']:x}", "address": ADDRESSES["east-1"]}]


def closed(kind: str, member: str, seen: dict[str, Json]) -> list[str]:
    gates = [*gate.GENERIC[kind], *system_spec("etcd")["gates"].get(kind, [])]
    return gate.evaluate(gates, gate.document(seen, member, list(IDS)))


def test_gates_of_a_healthy_cluster_are_open() -> None:
    for kind in gate.GENERIC:
        assert closed(kind, "east-0", three()) == []


def test_a_learner_keeps_others_from_stopping_and_is_not_settled() -> None:
    # Added, and not started yet: it may be the one that is to be admitted.
    seen = three(unstarted="10.0.0.12")
    assert closed("stop", "east-0", seen) == ["learners without a vote: ff at 10.0.0.12"]
    assert closed("admit", "east-3", seen) == []
    assert closed("settled", "east-0", seen) == ["learners without a vote: ff at 10.0.0.12"]
    # Started: it cannot list the members, which is no disagreement, and it has no vote, which is no majority.
    refused = ran("", rc=1, stderr="Error: etcdserver: rpc not supported for learner\n")
    answers = {name: {"status": status(name), "members": listed(new="10.0.0.12")} for name in IDS}
    answers["east-3"] = {"status": status("east-0", isLearner=True), "members": refused}
    seen = etcd.inspection(answers, [*TARGETS, {"member": "east-3", "variables": {"address": "10.0.0.12"}}], {})
    assert closed("admit", "east-3", seen) == []
    assert closed("admit", "east-4", seen) == ["learners that have to get their vote first: ff at 10.0.0.12"]
    assert closed("settled", "east-3", seen) == ["learners without a vote: ff at 10.0.0.12"]
    assert closed("admit", "east-0", without(seen, "east-1"))[0].startswith("no majority without this member: 1 of ")


def test_a_repair_may_go_on_with_a_majority_and_not_without() -> None:
    assert closed("admit", "east-1", without(three(), "east-1")) == []
    assert closed("admit", "east-1", without(three(), "east-1", "west-0"))[0].startswith(
        "no majority without this member: 1 of 3 voters would be"
    )


def test_alarms_and_lag_close_gates() -> None:
    seen = three()
    seen["west-0"]["alarms"] = ["NOSPACE"]
    seen["east-1"]["lag"] = 5001
    for kind in gate.GENERIC:
        assert "alarms of etcd: NOSPACE" in closed(kind, "east-0", seen)
    text = "members that are more than 5000 entries behind: east-1: 5001"
    assert text in closed("stop", "east-0", seen)
    assert text not in closed("stop", "east-1", seen)
    assert text in closed("settled", "east-1", seen)


def test_filters() -> None:
    assert FilterModule().filters()["etcd_inspection"]({}) == {}
