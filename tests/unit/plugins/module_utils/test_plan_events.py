# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event source tells, from what kube clusters say: the problems that there are, and one event for each begin and end."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import events
from support import plans

Json = dict[str, Any]
KEY = (plans.settings()["namespace"], "ledger")
AT = "2027-01-01T00:00:00Z"
DAYS = 30


def views(**changes: Any) -> dict[str, events.View]:
    """A deployment of five members that is well."""
    hostnet = plans.settings(**changes)
    nodes = [{**node, "signs": []} for node in plans.five_nodes()]
    observed = plans.running(hostnet, plans.admitted(hostnet, plans.spec_of("etcd"), nodes))
    return {
        name: events.View(
            read=True,
            nodes=[node for node in nodes if node["kube_cluster"] == name],
            pods={KEY: found["pods"]},
            records={KEY: {key: found[key] for key in ("identity", "members", "members_found", "ordinals")}},
            dates={KEY: found["secrets"][0]["certificates"]},
        )
        for name, found in observed.items()
    }


def found(world: dict[str, events.View], wanted: events.Deployment | None = KEY) -> list[Json]:
    return list(events.problems(world, wanted, AT, DAYS).values())


def types(world: dict[str, events.View], wanted: events.Deployment | None = KEY) -> list[tuple[str, str]]:
    return sorted((entry["type"], entry["member"]) for entry in found(world, wanted))


@pytest.mark.parametrize("placement", ["node_name", "daemonset"])
def test_who_is_well_has_no_problem(placement: str) -> None:
    assert found(views(placement=placement)) == []
    assert found(views(placement=placement), None) == []


def test_a_vm_that_is_gone_and_another_one() -> None:
    world = views()
    gone = world["east"].nodes.pop(0)
    assert types(world) == [("gone", "east-0")]
    (told,) = found(world)
    assert (told["kube_cluster"], told["node"], told["deployment"], told["namespace"]) == ("east", "east-worker", KEY[1], KEY[0])
    assert (told["system"], told["placement"], told["stopped"]) == ("etcd", "node_name", False)
    # In another zone, cordoned or not Ready it is no successor; nor is one that matches no selector.
    new = {**gone, "name": "new", "uid": "u2", "provider_id": "kind://new", "address": "10.0.0.9"}
    others = list(world["east"].nodes)
    for changes in ({"zone": "east-b"}, {"unschedulable": True}, {"ready": False}, {"selected": False}):
        world["east"].nodes = [*others, {**new, **changes}]
        assert types(world) == [("gone", "east-0")]
    world["east"].nodes[-1] = new
    assert types(world) == [("back", "east-0"), ("gone", "east-0")]
    # The same name for another VM.
    world["east"].nodes[-1] = {**new, "name": gone["name"]}
    assert types(world) == [("back", "east-0"), ("gone", "east-0")]


def test_signs_readiness_and_certificates() -> None:
    world = views()
    signs = [
        {"sign": "ToBeDeletedByClusterAutoscaler", "level": "going", "text": "it goes"},
        {"sign": "weave.works/kured-reboot-in-progress", "level": "going", "text": "kured reboots it"},
        {"sign": "node.kubernetes.io/out-of-service", "level": "off", "text": "it is off"},
    ]
    world["east"].nodes[1] |= {"signs": signs, "ready": False}
    world["west"].pods[KEY][0]["ready"] = False
    del world["west"].pods[KEY][1]
    world["east"].dates[KEY]["east-0"]["server"]["not_after"] = "2027-01-30T00:00:00Z"
    world["east"].dates[KEY]["east-1"]["server"]["not_after"] = "2026-12-30T00:00:00Z"
    told = {(entry["type"], entry["member"], entry["sign"]): entry for entry in found(world)}
    assert [(kind, member) for kind, member, _sign in sorted(told)] == [
        ("certificate_about_to_expire", "east-0"),
        ("certificate_about_to_expire", "east-1"),
        *[("marked", "east-1")] * 3,
        ("member_not_ready", "west-0"),
        ("member_not_ready", "west-1"),
        ("not_ready", "east-1"),
    ]
    assert [told["marked", "east-1", sign["sign"]]["work"] for sign in signs] == ["replace", "reboot", ""]
    soon = told["certificate_about_to_expire", "east-0", ""]
    assert (soon["not_after"], "expires in 29 days" in soon["text"]) == ("2027-01-30T00:00:00Z", True)
    assert "has expired" in told["certificate_about_to_expire", "east-1", ""]["text"]
    assert "has no pod" in told["member_not_ready", "west-1", ""]["text"]


def test_of_a_kube_cluster_that_does_not_answer_nothing_is_concluded() -> None:
    world = views()
    world["west"].nodes.clear()
    world["west"].error = "kube cluster west: no answer"
    (told,) = found(world)
    assert (told["type"], told["kube_cluster"], told["text"], told["member"]) == ("unreachable", "west", "kube cluster west: no answer", "")
    # Nor of one that was not read yet, which is no event.
    assert found({"east": world["east"], "west": events.View()}) == []
    # Nor is a deployment missing while somebody may have it.
    assert [entry["type"] for entry in found({"east": events.View(read=True), "west": world["west"]})] == ["unreachable"]


def test_what_the_source_was_not_told_or_cannot_read() -> None:
    world = views()
    (unnamed,) = found({"east": world["east"]})
    assert (unnamed["type"], unnamed["kube_cluster"]) == ("unreachable", "west")
    assert "which kube_clusters of the event source does not name" in unnamed["text"]
    (missing,) = found(world, ("other", "ledger"))
    assert (missing["type"], missing["namespace"]) == ("not_found", "other")
    world["east"].unreadable[KEY] = "somebody edited it"
    world["east"].records.clear()
    assert [entry["type"] for entry in found(world)] == ["unreadable"]
    # Two copies that contradict each other are no basis.
    world = views()
    del world["east"].records[KEY]
    world["west"].records[KEY] = copy.deepcopy(world["west"].records[KEY])
    world["east"].nodes[0]["labels"]["hostnet.multicluster/ledger"] = "east-2"
    assert ("unreadable", "") in types(world)


def test_every_event_has_the_same_fields() -> None:
    fields = set(events.event("gone", "text"))
    world = views()
    world["east"].nodes.pop(0)
    world["east"].nodes[0]["signs"] = [{"sign": "s", "level": "going", "text": "t"}]
    world["west"].error = "no answer"
    assert all(set(entry) == fields for entry in found(world))
    assert {entry["type"] for entry in found(world)} <= set(events.ENDS)


NAMES = [("gone", "a"), ("marked", "a"), ("member_not_ready", "b"), ("certificate_about_to_expire", "b")]
HOMES = {"a": "east", "b": "west"}


def present(names: Any) -> dict[events.Key, Json]:
    return {name: events.event(name[0], "text", kube_cluster=HOMES[name[1]], member=name[1]) for name in names}


# Steps of time: what is there, who does not answer, and seconds until the next look.
STEPS = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(["east", "west"]), max_size=1), st.integers(1, 100)), max_size=20
)


@given(STEPS, st.sampled_from([0, 30, 60]), st.sampled_from([0, 90]))
def test_each_change_is_told_once_and_nothing_that_did_not_last(steps: Any, lasting: int, remind: int) -> None:
    teller, now = events.Teller(lasting, remind), 0
    told: dict[events.Key, int] = {}
    since: dict[events.Key, int] = {}
    for names, away, seconds in steps:
        there = {name for name in names if HOMES[name[1]] not in away}
        said = teller.tell(present(there), away, now)
        for name in NAMES:
            mine = [entry for entry in said if entry["member"] == name[1] and entry["type"] in (name[0], events.ENDS[name[0]])]
            if HOMES[name[1]] in away:
                assert mine == []
                continue
            if name not in there:
                # Its end is told where its begin was, and nothing else.
                assert [entry["type"] for entry in mine] == ([events.ENDS[name[0]]] if name in told else [])
                told.pop(name, None)
                since.pop(name, None)
                continue
            since.setdefault(name, now)
            begins = name not in told and (name[0] not in events.LASTING or now - since[name] >= lasting)
            again = name in told and bool(remind) and now - told[name] >= remind
            assert [(entry["type"], entry["again"]) for entry in mine] == ([(name[0], again)] if begins or again else [])
            if mine:
                told[name] = now
        # It asks to be called in time, and in no circle: what is due was told.
        due = teller.due()
        assert due is None or due > now
        now += seconds


@given(st.sets(st.sampled_from(NAMES)))
def test_after_a_start_what_is_there_is_told_once(names: Any) -> None:
    teller = events.Teller(0, 0)
    assert sorted((entry["type"], entry["member"]) for entry in teller.tell(present(names), (), 5)) == sorted(names)
    assert teller.tell(present(names), (), 6) == []
    assert teller.due() is None


def test_a_kube_cluster_that_answers_again() -> None:
    teller = events.Teller(0, 0)
    world = views()
    world["west"].error = "no answer"

    def tell(now: float) -> list[str]:
        return [entry["type"] for entry in teller.tell(events.problems(world, KEY, AT, DAYS), events.away(world), now)]

    assert (tell(1), tell(2)) == (["unreachable"], [])
    world["west"].error = ""
    assert (tell(3), tell(4)) == (["reachable"], [])
    # One that the source does not name is known from the others' records alone.
    only = {"east": views()["east"]}
    world = only
    assert tell(5) == ["unreachable"]
    world = {"east": events.View(read=True, error="no answer")}
    assert tell(6) == ["unreachable"]
    world = only
    assert tell(7) == ["reachable"]
