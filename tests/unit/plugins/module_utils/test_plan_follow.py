# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose VM goes now, as guard pods, signs and successors tell it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import follow, signs
from support import plans

Json = dict[str, Any]
MEMBERS = ["east-0", "east-1", "west-0"]
ORDER = ["", signs.MARKED, signs.GOING, signs.OFF]
LEVELS = st.sampled_from(ORDER)
POOL = {"cloud.google.com/gke-nodepool": "db"}


def world(levels: list[str]) -> tuple[list[Json], list[Json]]:
    """(bindings, nodes) of members whose VMs are of these levels."""
    nodes = [
        plans.node(
            name[:4],
            f"vm-{name}",
            f"10.0.0.{number}",
            signs=[{"sign": "s", "level": level, "text": "t"}] if level else [],
            unschedulable=bool(level),
            labels=POOL,
            generation="v1",
            created="2026-01-01T00:00:00Z",
        )
        for number, (name, level) in enumerate(zip(MEMBERS, levels, strict=True))
    ]
    bindings = [
        {
            "member": name,
            "kube_cluster": name[:4],
            "node": node["name"],
            "node_uid": node["uid"],
            "address": node["address"],
            "zone": node["zone"],
        }
        for name, node in zip(MEMBERS, nodes, strict=True)
    ]
    return bindings, nodes


def guarded(bindings: list[Json], **run: int) -> list[follow.Guards]:
    return [
        {
            "kube_cluster": entry["kube_cluster"],
            "member": entry["member"],
            "node": entry["node"],
            "run": run.get(entry["member"], 2),
            "ending": 0,
        }
        for entry in bindings
    ]


def successor(name: str = "vm-new", **changes: Any) -> Json:
    given = {"labels": POOL, "generation": "v2", "created": "2026-02-01T00:00:00Z", **changes}
    return plans.node("west", name, "10.0.0.99", **given)


@given(st.lists(LEVELS, min_size=3, max_size=3), st.sampled_from(MEMBERS))
def test_nobody_is_stopped_while_another_vm_goes_sooner(levels: list[str], member: str) -> None:
    bindings, nodes = world(levels)
    own = levels[MEMBERS.index(member)]
    sooner = [
        name for name, level in zip(MEMBERS, levels, strict=True) if level in ("going", "off") and ORDER.index(level) > ORDER.index(own)
    ]
    assert [(entry["member"], entry["lost"]) for entry in follow.leaving(bindings, nodes, member)] == [(name, False) for name in sooner]
    # A VM that is gone has no sign.
    assert [entry["member"] for entry in follow.leaving(bindings, [], member)] == [name for name in MEMBERS if name != member]
    assert all(entry["lost"] and entry["member"] in entry["text"] for entry in follow.leaving(bindings, [], member))


@given(st.lists(LEVELS, min_size=3, max_size=3))
def test_whoever_was_chosen_is_due_and_nobody_else(levels: list[str]) -> None:
    bindings, nodes = world(levels)
    expected = [name for name, level in zip(MEMBERS, levels, strict=True) if level in (signs.GOING, signs.OFF)]
    assert sorted(follow.due(bindings, nodes, guarded(bindings), MEMBERS)) == expected


def test_a_drain_is_seen_by_the_guard_that_it_evicts() -> None:
    bindings, nodes = world([signs.MARKED] * 3)
    assert follow.due(bindings, nodes, guarded(bindings), MEMBERS) == {}
    found = follow.due(bindings, nodes, guarded(bindings, **{"east-1": 1}), MEMBERS)
    assert found == {"east-1": "east: node vm-east-1 is drained: one of its guard pods was evicted"}
    # Others' drains are not this run's affair, and where no guard ever started nothing is known.
    assert follow.due(bindings, nodes, guarded(bindings, **{"east-1": 1}), ["east-0"]) == {}
    assert follow.due(bindings, nodes, guarded(bindings, **{"east-1": 0}), MEMBERS) == {}
    ending = [{**entry, "run": 0, "ending": 1} if entry["member"] == "east-1" else entry for entry in guarded(bindings)]
    assert list(follow.due(bindings, nodes, ending, MEMBERS)) == ["east-1"]
    # One that is gone from a node that takes pods comes back by itself.
    nodes[1]["unschedulable"] = False
    assert follow.due(bindings, nodes, guarded(bindings, **{"east-1": 1}), MEMBERS) == {}


def test_a_deployment_without_guards_is_followed_by_what_else_is_there() -> None:
    bindings, nodes = world(["", "", signs.MARKED])
    assert follow.due(bindings, nodes, [], MEMBERS) == {}
    found = follow.due(bindings, [*nodes, successor()], [], MEMBERS)
    assert found == {"west-0": "west: node vm-west-0 is cordoned, and its successor is there"}
    # Other signs of that kind may stay for ever, as Cluster API's taint does with the strategy OnDelete.
    nodes[2]["unschedulable"] = False
    assert follow.due(bindings, [*nodes, successor()], [], MEMBERS) == {}
    for other in (
        successor(generation="v1"),
        successor(labels={}),
        successor(created="2025-12-01T00:00:00Z"),
        successor(ready=False),
        successor(unschedulable=True),
    ):
        assert follow.due(bindings, [*nodes, other], [], MEMBERS) == {}


def test_of_several_that_are_cordoned_nobody_knows_whose_turn_it_is() -> None:
    bindings, nodes = world([signs.MARKED, signs.MARKED, ""])
    new = plans.node("east", "vm-new", "10.0.0.99", labels=POOL, generation="v2", created="2026-02-01T00:00:00Z")
    assert follow.due(bindings, [*nodes, new], [], MEMBERS) == {}


def test_whoever_has_lost_its_vm_is_due_as_soon_as_there_is_another_one() -> None:
    bindings, nodes = world(["", "", ""])
    left = nodes[:2]
    assert list(follow.due(bindings, [*left, successor()], [], [])) == ["west-0"], "whoever it is"
    assert follow.due(bindings, left, guarded(bindings), MEMBERS) == {}
    assert follow.due(bindings, [*left, successor()], [], MEMBERS) == {"west-0": "west: node vm-west-0 is gone, and node vm-new is there"}
    assert follow.due(bindings, [*left, successor(ready=False)], [], MEMBERS) == {}
    same_name = [*left, {**nodes[2], "uid": "another"}]
    assert list(follow.due(bindings, same_name, [], MEMBERS)) == ["west-0"]


def test_progress_says_what_is_waited_for() -> None:
    bindings, nodes = world(["", signs.MARKED, ""])
    east, west = follow.progress(bindings, nodes[:2], guarded(bindings[:1]), {}, ["east", "west"])
    assert east == "east: node vm-east-1: t (s); no guard pod runs for east-1"
    assert west.startswith("west: node vm-west-0 of member west-0 is gone, and no other one is Ready in zone ")
    assert follow.progress(bindings, nodes, guarded(bindings), {"west": "it does not answer"}, ["west"]) == ["west: it does not answer"]
    assert follow.progress(bindings, nodes, guarded(bindings), {}, ["west"]) == ["west: no VM is about to go"]
    left = {"east-0": "v1", "west-0": "v1"}
    assert follow.progress(bindings, nodes, guarded(bindings), {}, ["east", "west"], left) == [
        "east: node vm-east-1: t (s); still to come: east-0 (v1)",
        "west: no VM is about to go; still to come: west-0 (v1)",
    ]
    many = [{**bindings[2], "member": f"west-{number}"} for number in range(5)]
    (line,) = follow.progress(many, nodes, guarded(many), {}, ["west"], {entry["member"]: "v1" for entry in many})
    assert line.endswith("still to come: west-0 (v1), west-1 (v1), west-2 (v1), and 2 more")


def test_a_vm_of_another_pool_is_none_for_who_has_lost_its_own() -> None:
    own = "example.com/pool"
    bindings, nodes = world(["", "", ""])
    homes = {"west-0": {"generation": "v1", "pool_label": own, "pool": "a"}}
    for labels in (POOL, {own: "b"}):
        left = [*nodes[:2], successor(labels=labels)]
        assert follow.due(bindings, left, [], MEMBERS, homes, own) == {}
        (line,) = follow.progress(bindings, left, [], {}, ["west"], {}, homes, own)
        assert "of member west-0 is gone, and no other one with example.com/pool=a is Ready" in line
        # It is the user's label that keeps it away, and nothing else.
        assert list(follow.due(bindings, left, [], MEMBERS, homes)) == ["west-0"]
    assert list(follow.due(bindings, [*nodes[:2], successor(labels={own: "a"})], [], MEMBERS, homes, own)) == ["west-0"]


def test_a_successor_is_of_the_same_pool_by_the_users_label() -> None:
    own = "example.com/pool"
    bindings, nodes = world(["", "", signs.MARKED])
    nodes[2]["labels"] = {**POOL, own: "a"}
    for labels, expected in (({**POOL, own: "b"}, []), (POOL, []), ({own: "a"}, ["west-0"])):
        assert list(follow.due(bindings, [*nodes, successor(labels=labels)], [], MEMBERS, {}, own)) == expected


def test_guards_are_counted_where_they_run() -> None:
    bindings, _nodes = world(["", "", ""])
    pod = {"member": "east-0", "node": "vm-east-0", "running": True, "terminating": False}
    pods = [pod, {**pod, "terminating": True}, {**pod, "node": "", "running": False}, {**pod, "node": "vm-east-1"}]
    assert follow.guards_of("east", pods, bindings) == [
        {"kube_cluster": "east", "member": "east-0", "node": "vm-east-0", "run": 1, "ending": 1}
    ]
