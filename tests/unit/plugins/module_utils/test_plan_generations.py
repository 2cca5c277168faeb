# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node pool's upgrade is over: by generations of nodes, and by the version that was asked for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import generations, signs, versions
from support import plans

Json = dict[str, Any]
MEMBERS = ["west-0", "west-1", "west-2"]
POOL = {"cloud.google.com/gke-nodepool": "db"}
OLD, NEW = "v1.36.3", "v1.37.0"
OVER = "every member runs on the newest generation of its node pool, and none of their nodes is marked to go"


def vm(name: str, version: str = OLD, day: int = 1, image: str = "", **changes: Any) -> Json:
    """A node of a pool; `image` is what a cloud's label says of it."""
    given = {"labels": POOL, "kubelet_version": version, "generation": ", ".join(filter(None, [version, image]))}
    address = f"10.0.{day}.{sum(map(ord, name)) % 250}"
    return plans.node("west", name, address, **{**given, "created": f"2026-01-{day:02}T00:00:00Z", "zone": "west-a", **changes})


def bound(nodes: list[Json]) -> list[Json]:
    """Bindings of MEMBERS, each on one of these nodes."""
    return [
        {
            "member": name,
            "kube_cluster": "west",
            "node": node["name"],
            "node_uid": node["uid"],
            "address": node["address"],
            "zone": node["zone"],
        }
        for name, node in zip(MEMBERS, nodes, strict=True)
    ]


class Run:
    """What a run sees, look after look."""

    def __init__(self, own: str = "", until: str | Json = "") -> None:
        self.seen: Any = {}
        self.own, self.until = own, versions.by_kube_cluster(until, ["east", "west"])

    def look(self, on: list[Json], *others: Json, moved: tuple[str, ...] = (), followed: list[str] | None = None) -> generations.Standing:
        bindings = bound(on)
        nodes = [*on, *others]
        self.seen = generations.see(self.seen, bindings, nodes, self.own)
        names = MEMBERS if followed is None else followed
        return generations.standing(bindings, nodes, self.seen, names, moved, self.until, self.own)


OLDS = [vm("a"), vm("b", day=2), vm("c", day=3)]
NEWS = [vm("d", NEW, 10), vm("e", NEW, 11), vm("f", NEW, 12)]


def test_it_is_over_when_the_last_member_is_on_the_new_generation() -> None:
    run = Run()
    first = run.look(OLDS)
    assert (first["over"], first["new"]) == ("", [])
    assert first["text"] == "0 of 3 members are through; of no generation of their node pools is it certain that it is the newer one"
    # A node of the new generation comes, and takes one member after another.
    second = run.look(OLDS, NEWS[0])
    assert (second["over"], second["text"]) == ("", "0 of 3 members are on the new generation of their node pool")
    third = run.look([NEWS[0], *OLDS[1:]])
    assert third["text"] == "1 of 3 members is on the new generation of their node pool"
    assert third["left"] == {"west-1": OLD, "west-2": OLD}
    # The old nodes are gone by then, and are known all the same; west-2 had no turn of this run.
    assert run.look(NEWS, moved=("west-0", "west-1"))["over"] == OVER


def test_nothing_is_over_that_may_not_have_begun() -> None:
    # All are on one generation, or a node of an older one is left over from another upgrade: the one that is followed may be yet to come.
    assert Run().look(NEWS)["over"] == ""
    assert Run().look(NEWS, vm("z"))["over"] == ""
    assert Run().look(NEWS, vm("z"), moved=("west-0",))["over"] == ""


def test_vms_that_are_made_anew_as_they_were_are_told_by_their_turns_alone() -> None:
    run = Run()
    run.look(OLDS)
    again = run.look([vm("d", OLD, 10), *OLDS[1:]], moved=("west-0",))
    assert (again["over"], again["new"], again["again"]) == ("", ["west-0"], [])
    assert again["text"].startswith("1 of 3 members is through; ")


def test_a_node_that_is_marked_to_go_has_a_turn_to_come() -> None:
    run = Run()
    run.look(OLDS)
    marked = {**NEWS[0], "signs": [{"sign": "s", "level": signs.MARKED, "text": "t"}]}
    assert run.look([marked, *NEWS[1:]])["over"] == ""
    assert run.look(NEWS)["over"] == OVER


def test_whoever_has_lost_its_vm_is_not_through() -> None:
    run = Run()
    run.look(OLDS)
    bindings, nodes = bound(NEWS), NEWS[:2]
    found = generations.standing(bindings, nodes, generations.see(run.seen, bindings, nodes), MEMBERS, (), {})
    assert (found["over"], found["left"]) == ("", {"west-2": "its VM is gone"})


def test_an_image_is_a_generation_too() -> None:
    run = Run()
    run.look([vm(name, image="ami-1", day=day) for day, name in enumerate("abc", 1)])
    half = run.look([vm("d", day=10, image="ami-2"), *(vm(name, image="ami-1", day=day) for day, name in enumerate("bc", 2))])
    assert (half["over"], half["left"]) == ("", {"west-1": f"{OLD}, ami-1", "west-2": f"{OLD}, ami-1"})
    assert run.look([vm(name, day=day, image="ami-2") for day, name in enumerate("def", 10)])["over"] == OVER


def test_a_kubelet_that_is_upgraded_in_place_is_newer_on_a_node_that_is_as_old() -> None:
    run = Run()
    run.look(OLDS)
    done = [{**node, "kubelet_version": NEW, "generation": NEW} for node in OLDS]
    assert run.look([done[0], *OLDS[1:]])["over"] == ""
    assert run.look(done)["over"] == OVER
    # Of an image nobody knows which is the newer one then.
    run = Run()
    run.look([{**node, "generation": f"{OLD}, image-1"} for node in OLDS])
    assert run.look([{**node, "generation": f"{OLD}, image-2"} for node in OLDS])["over"] == ""


def test_of_a_rollback_nothing_is_concluded() -> None:
    # The younger nodes have the older kubelet.
    run = Run()
    on = [vm("a", NEW, 1), vm("b", NEW, 2), vm("c", NEW, 3)]
    run.look(on)
    assert run.look(on, vm("d", OLD, 10))["over"] == ""
    back = [vm("d", OLD, 10), *on[1:]]
    assert run.look(back, moved=("west-0",))["again"] == []
    assert run.look([vm("d", OLD, 10), vm("e", OLD, 11), vm("f", OLD, 12)])["over"] == ""


def test_another_pool_has_generations_of_its_own() -> None:
    other = {"cloud.google.com/gke-nodepool": "cache"}
    run = Run()
    run.look(OLDS, vm("x", "v1.38.0", 20, labels=other))
    assert run.look(NEWS, vm("x", "v1.38.0", 20, labels=other))["over"] == OVER
    # A member there counts where it is followed.
    run = Run()
    apart = vm("c", "v1.38.0", 20, labels=other)
    run.look([*OLDS[:2], apart])
    assert run.look([*NEWS[:2], apart])["over"] == ""
    assert run.look([*NEWS[:2], apart], followed=MEMBERS[:2])["over"] == OVER


def test_a_pool_whose_members_all_had_their_turn_holds_up_no_other_one() -> None:
    # What an earlier run has seen of it is not known to this one.
    cache = {"cloud.google.com/gke-nodepool": "cache"}
    done = vm("x", NEW, 20, labels=cache)
    run = Run()
    run.look([*OLDS[:2], done], moved=("west-2",))
    assert run.look([*NEWS[:2], done])["over"] == ""
    assert run.look([*NEWS[:2], done], moved=("west-2",))["over"] == OVER
    # But for one on an old node.
    assert run.look([*NEWS[:2], done], vm("y", "v1.38.0", 21, labels=cache), moved=("west-2",))["over"] == ""


def test_a_pool_is_over_for_all_of_its_members() -> None:
    run = Run()
    run.look(OLDS)
    assert run.look([*NEWS[:2], OLDS[2]], followed=MEMBERS[:2])["over"] == ""
    assert run.look(NEWS, followed=[])["over"] == ""


def test_the_control_plane_is_no_pool() -> None:
    run = Run()
    plain: Json = {"labels": {}}
    plane = vm("control", "v1.38.0", 20, **plain, control_plane=True)
    run.look([vm("a", **plain), vm("b", **plain), vm("c", **plain)], plane)
    assert run.look([vm("d", NEW, 10, **plain), vm("e", NEW, 10, **plain), vm("f", NEW, 10, **plain)], plane)["over"] == OVER


def test_the_users_label_comes_first() -> None:
    own = "example.com/pool"
    run = Run(own)
    mine = {**POOL, own: "a"}
    run.look([{**node, "labels": mine} for node in OLDS], vm("x", "v1.38.0", 20))
    assert list(run.seen["generations"]["west"]) == ["example.com/pool=a west-a", "cloud.google.com/gke-nodepool=db west-a"]
    assert run.seen["members"]["west-0"] == {"generation": OLD, "pool_label": own, "pool": "a"}
    assert run.look([{**node, "labels": mine} for node in NEWS], vm("x", "v1.38.0", 20))["over"] == OVER


def test_a_member_that_was_mended_on_an_old_node_comes_again() -> None:
    run = Run()
    spare = vm("spare", day=4)
    run.look(OLDS, spare)
    found = run.look([spare, NEWS[1], OLDS[2]], moved=("west-0", "west-1"))
    assert (found["again"], sorted(found["left"])) == (["west-0"], ["west-0", "west-2"])
    # Nodes without a pool may be of several generations for ever.
    bare = [{**node, "labels": {}} for node in (spare, NEWS[1], OLDS[2])]
    assert Run().look(bare, moved=("west-0", "west-1"))["again"] == []


def test_pools_of_zones_that_share_a_label_end_each_by_itself() -> None:
    """As Cluster API has one MachineDeployment for each zone, whose MachineSets all have names of their own."""
    zones = ("west-a", "west-b", "west-c")
    olds = [vm(f"o{zone}", OLD, day, image=f"set-{zone}-1", zone=zone) for day, zone in enumerate(zones, 1)]
    news = [vm(f"n{zone}", NEW, 10 + day, image=f"set-{zone}-2", zone=zone) for day, zone in enumerate(zones, 1)]
    run = Run()
    run.look(olds)
    assert run.look([news[0], *olds[1:]], moved=("west-0",))["over"] == ""
    found = run.look(news, moved=tuple(MEMBERS))
    assert (found["over"], found["again"]) == (OVER, [])
    # Somebody who is on another new generation than the newest one had its turn.
    found = run.look(news, vm("later", "v1.38.0", 20, zone="west-a"), moved=tuple(MEMBERS))
    assert (found["over"], found["again"]) == ("", [])


def test_a_node_whose_cloud_writes_its_marks_late_is_of_one_generation() -> None:
    run = Run()
    run.look(OLDS, vm("d", NEW, 10))
    run.look(OLDS, vm("d", NEW, 10, image="set-2"))
    marked = [vm(name, NEW, day, image="set-2") for name, day in (("d", 10), ("e", 11), ("f", 12))]
    assert run.look(marked)["over"] == OVER


def test_a_reboot_says_nothing_by_generations_and_nobody_has_two() -> None:
    for until in ({}, {"west": "1.37"}):
        seen = generations.see({}, bound(OLDS), [*OLDS, NEWS[0]])
        spare = [OLDS[0], *NEWS[1:]]
        found = generations.standing(bound(spare), [*spare, NEWS[0]], seen, MEMBERS, ("west-0",), until, "", in_place=True)
        assert (found["over"], found["again"]) == ("", [])
        found = generations.standing(bound(NEWS), NEWS, generations.see(seen, bound(NEWS), NEWS), MEMBERS, (), until, "", in_place=True)
        assert bool(found["over"]) == bool(until)


def test_a_member_that_is_not_waited_for_is_not_left_at_its_drain() -> None:
    marked = {**OLDS[2], "kube_cluster": "east", "signs": [{"sign": "s", "level": signs.MARKED, "text": "t"}]}
    nodes = [*NEWS[:2], marked]
    bindings = [*bound(nodes)[:2], {**bound(nodes)[2], "kube_cluster": "east"}]
    for node, over in ((marked, False), ({**marked, "signs": []}, True)):
        nodes = [*NEWS[:2], node]
        seen = generations.see({}, bindings, nodes)
        assert bool(generations.standing(bindings, nodes, seen, MEMBERS, (), {"west": "1.37"})["over"]) == over


def test_a_version_that_was_asked_for_is_all_that_counts() -> None:
    run = Run(until="1.37")
    first = run.look(OLDS, moved=("west-0",))
    assert (first["over"], first["again"]) == ("", MEMBERS), "whoever does not have it comes again"
    assert first["text"] == "0 of 3 members are on the kubelet of hostnet_follow_until"
    assert first["left"]["west-0"] == f"{OLD}, not 1.37"
    assert run.look([*NEWS[:2], OLDS[2]])["over"] == ""
    assert run.look(NEWS)["over"] == "every member's node has the kubelet of hostnet_follow_until (1.37)"
    # At once, too, and whatever a human has cordoned.
    marked = {**NEWS[0], "signs": [{"sign": "s", "level": signs.MARKED, "text": "t"}]}
    assert Run(until={"west": "1.37.0"}).look([marked, *NEWS[1:]])["over"].endswith("(1.37.0)")
    # No generation ends it.
    run = Run(until="1.38")
    run.look(OLDS)
    assert run.look(NEWS)["over"] == ""
    # Nobody who counts is nobody who has it.
    assert Run(until={"east": "1.1"}).look(NEWS)["over"] == ""
    assert Run(until="1.37").look([*NEWS[:2], OLDS[2]], followed=MEMBERS[:2])["over"] != ""


KINDS = [("", ""), *((version, image) for version in ("v1.35.9", OLD, NEW, "v1.36.3-eks-1a2b3c4") for image in ("", "ami-1", "ami-2"))]
NODES = st.builds(
    lambda number, kind, day, labelled, level: vm(
        f"n{number}",
        kind[0],
        day,
        kind[1],
        labels=POOL if labelled else {},
        signs=[{"sign": "s", "level": level, "text": "t"}] if level else [],
    ),
    st.integers(0, 8),
    st.sampled_from(KINDS),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from(["", "", "", signs.MARKED, signs.GOING]),
)
LOOKS = st.lists(st.lists(NODES, min_size=3, max_size=7, unique_by=lambda node: str(node["name"])), min_size=1, max_size=4)


@given(LOOKS, st.sets(st.sampled_from(MEMBERS)), st.sets(st.sampled_from(MEMBERS), min_size=1))
def test_it_never_ends_while_a_members_node_is_older_than_another_one_of_its_pool(
    looks: list[list[Json]], moved: set[str], followed: set[str]
) -> None:
    run = Run()
    for nodes in looks:
        found = run.look(nodes[:3], *nodes[3:], moved=tuple(moved), followed=sorted(followed))
        if found["over"]:
            pools = {generations._pool(node, "") for name, node in zip(MEMBERS, nodes[:3], strict=True) if name in followed}
            for node in nodes[:3]:
                if generations._pool(node, "") in pools:
                    known = run.seen["generations"].get("west", {}).get(generations._pool(node, ""), {})
                    mine = known.get(node["generation"])
                    assert not signs.urgency(node)
                    assert mine is None or not any(generations.older(mine, other) for other in known.values())


@given(st.lists(st.sets(st.sampled_from(MEMBERS)), min_size=1, max_size=5), st.sets(st.sampled_from(MEMBERS)))
def test_it_is_over_when_all_are_new_and_somebody_was_not_or_all_had_a_turn(upgraded: list[set[str]], moved: set[str]) -> None:
    run = Run()
    new: set[str] = set()
    for names in upgraded:
        # Nobody goes back.
        new |= names
        nodes = [young if name in new else old for name, old, young in zip(MEMBERS, OLDS, NEWS, strict=True)]
        found = run.look(nodes, moved=tuple(moved))
        was_old, all_moved = upgraded[0] != {*MEMBERS}, moved == {*MEMBERS}
        assert bool(found["over"]) == ((new == {*MEMBERS} and (was_old or all_moved)) or (not new and all_moved))


@given(LOOKS, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_members_does_not_matter(looks: list[list[Json]], order: random.Random) -> None:
    one: Any = {}
    other: Any = {}
    for nodes in looks:
        bindings = bound(nodes[:3])
        mixed, mixed_bindings = order.sample(nodes, len(nodes)), order.sample(bindings, len(bindings))
        one, other = generations.see(one, bindings, nodes), generations.see(other, mixed_bindings, mixed)
        assert one == other
        assert generations.standing(bindings, nodes, one, MEMBERS, ("west-1",), {}) == generations.standing(
            mixed_bindings, mixed, other, MEMBERS, ("west-1",), {}
        )


@given(LOOKS)
def test_what_was_seen_is_never_forgotten_and_seen_twice_is_seen_once(looks: list[list[Json]]) -> None:
    seen: Any = {}
    for nodes in looks:
        bindings = bound(nodes[:3])
        after = generations.see(seen, bindings, nodes)
        assert generations.see(after, bindings, nodes) == after
        for pool, known in seen.get("generations", {}).get("west", {}).items():
            for name, entry in known.items():
                now = after["generations"]["west"][pool]
                if name in now:
                    assert now[name]["created"] <= entry["created"]
                else:
                    assert any(whole.startswith(f"{name},") and now[whole]["created"] <= entry["created"] for whole in now)
        for name, home in seen.get("members", {}).items():
            assert after["members"][name]["generation"] == (home["generation"] or after["members"][name]["generation"])
        seen = after


@given(LOOKS, NODES)
def test_another_sign_or_a_newer_node_ends_nothing(looks: list[list[Json]], other: Json) -> None:
    """What speaks for a turn to come never makes it over: a mark on a member's node, and a node of a newer generation."""
    seen: Any = {}
    for nodes in looks:
        seen = generations.see(seen, bound(nodes[:3]), nodes)
    nodes = looks[-1]
    bindings = bound(nodes[:3])
    over = generations.standing(bindings, nodes, seen, MEMBERS, (), {})["over"]
    marked = [{**nodes[0], "signs": [{"sign": "s", "level": signs.MARKED, "text": "t"}]}, *nodes[1:]]
    assert generations.standing(bindings, marked, seen, MEMBERS, (), {})["over"] == ""
    newer = vm("newer", "v1.99.0", 28, labels=nodes[0]["labels"])
    more = generations.see(seen, bindings, [*nodes, newer])
    assert generations.standing(bindings, [*nodes, newer], more, MEMBERS, (), {})["over"] == ""
    assert over in ("", OVER)


@given(st.lists(st.sampled_from(KINDS[1:]), min_size=3, max_size=3), st.sampled_from(["1.35", "1.36.3", "1.37.0"]))
def test_a_version_is_reached_when_every_node_has_it(kinds: list[tuple[str, str]], wanted: str) -> None:
    nodes = [vm(name, version, 1, image) for name, (version, image) in zip("abc", kinds, strict=True)]
    found = Run(until=wanted).look(nodes)
    lacking = [name for name, (version, _image) in zip(MEMBERS, kinds, strict=True) if not versions.has(version, wanted)]
    assert (bool(found["over"]), sorted(found["left"])) == (not lacking, lacking)
    assert sorted([*found["new"], *found["left"]]) == MEMBERS


@pytest.mark.parametrize("gap", [{"created": ""}, {"generation": "", "kubelet_version": ""}])
def test_nodes_that_say_too_little_end_nothing(gap: Json) -> None:
    run = Run()
    run.look([{**node, **gap} for node in OLDS])
    assert run.look([{**node, **gap} for node in NEWS])["over"] == ""
