# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join lists: each rule of invariant 3 as a property, and the texts that go into flags."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.join_list import FilterModule
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.join import (
    JoinError,
    bracketed,
    join_list,
    join_values,
    natural_key,
    render,
    violations,
)

Member = dict[str, Any]


def member(name: str, address: str, zone: str = "a", live: bool = True) -> Member:
    return {"member": name, "kube_cluster": name.rsplit("-", 1)[0], "zone": zone, "address": address, "live": live}


@st.composite
def deployments(draw: st.DrawFn, min_live: int = 1) -> list[Member]:
    """Members of up to three kube clusters in up to four zones; both IP families, some members not live."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
    members = []
    for cluster, size in enumerate(sizes):
        for ordinal in range(size):
            number = cluster * 100 + ordinal + 1
            address = f"fd00::{number:x}" if draw(st.booleans()) else f"10.0.{number // 100}.{number % 100}"
            zone = draw(st.sampled_from(["", "z1", "z2", "z10"]))
            members.append(member(f"kube{cluster}-{ordinal}", address, zone, draw(st.booleans())))
    assume(sum(one["live"] for one in members) >= min_live)
    return members


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Member], list[str], int]:
    """A deployment, a join list made at some other time (by name or address, partly of strangers), and a wanted number."""
    members = draw(deployments())
    known = [one["member"] for one in members] + [one["address"] for one in members]
    current = draw(st.lists(st.sampled_from([*known, "10.9.9.9", "north-0", "fd00::ffff"]), max_size=6))
    return members, current, draw(st.integers(1, 5))


def entry_of(current: list[str], one: Member) -> bool:
    return one["member"] in current or one["address"] in current


def chosen(members: list[Member], addresses: list[str]) -> list[Member]:
    by_address = {one["address"]: one for one in members}
    return [by_address[address] for address in addresses]


@given(cases(), st.randoms())
def test_order_of_reading_changes_nothing(case: tuple[list[Member], list[str], int], random: Any) -> None:
    members, current, per_cluster = case
    shuffled, shuffled_current = list(members), list(current)
    random.shuffle(shuffled)
    random.shuffle(shuffled_current)
    assert join_list(shuffled, shuffled_current, per_cluster) == join_list(members, current, per_cluster)


@given(cases())
def test_only_live_members_and_none_twice(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    result = join_list(members, current, per_cluster)
    assert len(set(result)) == len(result)
    assert all(one["live"] for one in chosen(members, result))


@given(cases())
def test_every_kube_cluster_with_a_live_member_gets_what_it_can(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    result = Counter(one["kube_cluster"] for one in chosen(members, join_list(members, current, per_cluster)))
    live = Counter(one["kube_cluster"] for one in members if one["live"])
    limit = max(per_cluster, 2) if len(live) == 1 else per_cluster
    assert result == Counter({name: min(count, limit) for name, count in live.items()})


@given(cases())
def test_two_entries_where_two_are_live(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    assert len(join_list(members, current, per_cluster)) >= min(2, sum(one["live"] for one in members))


@given(cases())
def test_surviving_entries_stay_as_long_as_there_is_room(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    result = chosen(members, join_list(members, current, per_cluster))
    for cluster in {one["kube_cluster"] for one in result}:
        here = [one for one in result if one["kube_cluster"] == cluster]
        surviving = [one for one in members if one["kube_cluster"] == cluster and one["live"] and entry_of(current, one)]
        kept = [one for one in here if entry_of(current, one)]
        assert len(kept) == min(len(surviving), len(here))


@given(deployments(), st.integers(1, 5))
def test_a_fresh_list_covers_as_many_zones_as_it_can(members: list[Member], per_cluster: int) -> None:
    result = chosen(members, join_list(members, [], per_cluster))
    for cluster in {one["kube_cluster"] for one in result}:
        here = [one["zone"] for one in result if one["kube_cluster"] == cluster]
        zones = {one["zone"] for one in members if one["kube_cluster"] == cluster and one["live"]}
        assert len(set(here)) == min(len(here), len(zones))


@given(cases())
def test_free_places_go_to_unrepresented_zones(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    result = chosen(members, join_list(members, current, per_cluster))
    for cluster in {one["kube_cluster"] for one in result}:
        here = [one for one in result if one["kube_cluster"] == cluster]
        new = [one for one in here if not entry_of(current, one)]
        unrepresented = {one["zone"] for one in members if one["kube_cluster"] == cluster and one["live"]} - {one["zone"] for one in here}
        if unrepresented:  # then no new entry may double a zone
            zones = Counter(one["zone"] for one in here)
            assert all(zones[one["zone"]] == 1 for one in new)


@given(cases())
def test_applied_to_its_own_result_nothing_changes(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    result = join_list(members, current, per_cluster)
    assert join_list(members, result, per_cluster) == result
    assert join_list(members, [one["member"] for one in chosen(members, result)], per_cluster) == result


@given(cases(), st.data())
def test_the_death_of_one_member_changes_only_its_own_entry(case: tuple[list[Member], list[str], int], data: st.DataObject) -> None:
    members, current, per_cluster = case
    before = join_list(members, current, per_cluster)
    dead = data.draw(st.sampled_from(members))
    assume(sum(one["live"] for one in members if one is not dead) >= 1)
    after = join_list([{**one, "live": False} if one is dead else one for one in members], before, per_cluster)
    assert set(before) - set(after) <= {dead["address"]}


@given(cases())
def test_a_computed_list_violates_nothing(case: tuple[list[Member], list[str], int]) -> None:
    members, current, per_cluster = case
    assert violations(join_list(members, current, per_cluster), members) == []


@given(deployments())
def test_the_result_is_in_canonical_order(members: list[Member]) -> None:
    result = chosen(members, join_list(members, [], 6))
    keys = [(one["kube_cluster"], natural_key(one["zone"]), int(one["member"].rsplit("-", 1)[1])) for one in result]
    assert keys == sorted(keys)


def test_stability_wins_over_spread() -> None:
    members = [member("east-0", "10.0.0.1", "a"), member("east-1", "10.0.0.2", "a"), member("east-2", "10.0.0.3", "b")]
    assert join_list(members, [], 2) == ["10.0.0.1", "10.0.0.3"]
    assert join_list(members, ["10.0.0.1", "10.0.0.2"], 2) == ["10.0.0.1", "10.0.0.2"]


def test_a_new_kube_cluster_takes_no_place_from_another() -> None:
    east = [member("east-0", "10.0.0.1"), member("east-1", "10.0.0.2")]
    west = [member("west-0", "10.1.0.1")]
    assert join_list(east + west, join_list(east, [], 2), 2) == ["10.0.0.1", "10.0.0.2", "10.1.0.1"]


def test_lowering_the_number_keeps_the_entries_that_spread_best() -> None:
    east = [member("east-0", "10.0.0.1", "a"), member("east-1", "10.0.0.2", "a"), member("east-2", "10.0.0.3", "b")]
    members = [*east, member("west-0", "10.1.0.1")]
    assert join_list(members, ["east-0", "east-1", "east-2"], 2) == ["10.0.0.1", "10.0.0.3", "10.1.0.1"]


def test_one_kube_cluster_with_one_wanted_entry_still_gets_two() -> None:
    assert join_list([member("east-0", "10.0.0.1"), member("east-1", "10.0.0.2")], [], 1) == ["10.0.0.1", "10.0.0.2"]


def test_addresses_are_compared_whole() -> None:
    members = [member(f"east-{n}", f"10.0.0.{n}") for n in (1, 12, 11)]
    assert join_list(members, ["10.0.0.12"], 2) == ["10.0.0.1", "10.0.0.12"]
    assert join_list(members, ["10.0.0.1", "10.0.0.11"], 2) == ["10.0.0.1", "10.0.0.11"]


def test_other_spellings_of_an_ipv6_address_are_the_same_entry() -> None:
    members = [member(f"east-{n}", f"fd00:0:0::{n}") for n in (1, 2, 3)]
    assert join_list(members, ["FD00:0000::3"], 2) == ["fd00::1", "fd00::3"]


def test_a_moved_member_survives_by_name_only() -> None:
    members = [member("east-0", "10.0.0.1"), member("east-1", "10.0.0.2"), member("east-2", "10.0.0.33")]
    assert join_list(members, ["east-2"], 2) == ["10.0.0.1", "10.0.0.33"]
    assert join_list(members, ["10.0.0.3"], 2) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("members", "per_cluster", "text"),
    [
        ([], 2, "none of 0 members is live"),
        ([member("east-0", "10.0.0.1", live=False)], 2, "none of 1 members is live"),
        ([member("east-0", "east.example")], 2, "member east-0: address 'east.example' is not an IP address"),
        ([member("east-0", "")], 2, "member east-0: address '' is not an IP address"),
        ([member("east-0", "10.0.0.1:26257")], 2, "is not an IP address"),
        ([member("east-0", "0.0.0.0")], 2, "cannot be reached"),
        ([member("east-0", "::1")], 2, "cannot be reached"),
        ([member("east-0", "fe80::1%eth0")], 2, "cannot be reached"),
        ([member("east-10", "fd00::1"), member("east-2", "fd00:0::1", live=False)], 2, "east-2 and east-10 have one address, fd00::1"),
        ([member("east-0", "10.0.0.1"), member("east-0", "10.0.0.2")], 2, "two members are named east-0"),
        ([{**member("east-0", "10.0.0.1"), "live": "yes"}], 2, "member east-0: 'live' is 'yes'"),
        ([{"address": "10.0.0.1", "live": True}], 2, "it has only address, live"),
        ([member("east-0", "10.0.0.1")], 0, "per_cluster is 0"),
        ([member("east-0", "10.0.0.1")], True, "per_cluster is True"),
    ],
)
def test_bad_input_is_named(members: list[Member], per_cluster: int, text: str) -> None:
    with pytest.raises(JoinError) as caught:
        join_list(members, [], per_cluster)
    assert text in str(caught.value)


def test_a_text_is_not_a_list_of_entries() -> None:
    with pytest.raises(JoinError, match="must be a list"):
        join_list([member("east-0", "10.0.0.1")], "10.0.0.1")


def test_a_dead_member_may_have_no_address() -> None:
    assert join_list([member("east-0", "", live=False), member("east-1", "10.0.0.2")], []) == ["10.0.0.2"]


def test_violations_are_told() -> None:
    members = [member("east-0", "10.0.0.1"), member("east-1", "10.0.0.2", live=False), member("west-0", "10.1.0.1")]
    assert violations(["10.0.0.1", "10.1.0.1"], members) == []
    assert violations(["10.0.0.1", "10.0.0.1", "10.0.0.2"], members) == [
        "10.0.0.1 is listed twice",
        "10.0.0.2 is the address of no live member",
        "no entry from kube cluster west, which has a live member",
        "fewer than 2 live entries, although 2 members are live",
    ]


BINDINGS = [
    {"member": "east-10", "process": "node-x", "kube_cluster": "east", "zone": "a", "address": "fd00:0::10", "node": "x", "region": "r"},
    {"member": "east-2", "process": "node-y", "kube_cluster": "east", "zone": "a", "address": "10.0.0.2", "node": "y", "region": "r"},
    {"member": "east-0", "process": "node-z", "kube_cluster": "east", "zone": "b", "address": "10.0.0.1", "node": "z", "region": ""},
]


def test_entries_are_rendered_in_canonical_order_with_brackets_around_ipv6() -> None:
    assert render(BINDINGS, "{process}=https://{host}:{ports[peer]}", ",", {"peer": 2380}) == (
        "node-y=https://10.0.0.2:2380,node-x=https://[fd00::10]:2380,node-z=https://10.0.0.1:2380"
    )
    assert render(BINDINGS, "{address}", "\n", {}) == "10.0.0.2\nfd00::10\n10.0.0.1"
    assert render([], "{address}", ",", {}) == ""


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{hots}", "unknown placeholder {hots}"),
        ("{}", "unknown placeholder {}"),
        ("{host.__class__}", "unknown placeholder"),
        ("{ports[sql]}", "there is no port 'sql'; the ports are peer"),
        ("{region}", "member east-0 has no 'region'"),
    ],
)
def test_a_bad_template_is_named(template: str, text: str) -> None:
    with pytest.raises(JoinError) as caught:
        render(BINDINGS, template, ",", {"peer": 2380})
    assert text in str(caught.value)


def test_join_values_of_a_spec() -> None:
    spec = {
        "HOSTNET_JOIN": {"members": "seeds", "format": "{host}:{ports[client]}"},
        "HOSTNET_ALL": {"members": "all", "format": "{member}={address}", "separator": " "},
    }
    assert join_values(spec, BINDINGS, ["fd00::0010", "10.0.0.1"], {"client": 2379}) == {
        "HOSTNET_JOIN": "[fd00::10]:2379,10.0.0.1:2379",
        "HOSTNET_ALL": "east-2=10.0.0.2 east-10=fd00::10 east-0=10.0.0.1",
    }


@pytest.mark.parametrize(
    ("spec", "bindings", "seeds", "text"),
    [
        ({}, [], [], "no live member"),
        ({}, BINDINGS, [], "the join list is empty"),
        ({}, BINDINGS, ["10.0.0.9"], "10.0.0.9, which is the address of no live member"),
        ({}, [*BINDINGS, {**BINDINGS[0], "member": "west-0"}], ["fd00::10"], "member west-0 and member east-10 have one address"),
        ({"A": {"members": "some", "format": "x"}}, BINDINGS, ["10.0.0.1"], "join.A.members is 'some'"),
        ({"A": {}}, BINDINGS, ["10.0.0.1"], "join.A.format is missing"),
        ({"A": {"format": "{x}"}}, BINDINGS, ["10.0.0.1"], "join.A.format: unknown placeholder {x}"),
    ],
)
def test_bad_join_settings_are_named(spec: Any, bindings: Any, seeds: list[str], text: str) -> None:
    with pytest.raises(JoinError) as caught:
        join_values(spec, bindings, seeds, {})
    assert text in str(caught.value)


@given(st.ip_addresses())
def test_brackets_can_be_undone(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    text = bracketed(str(address))
    assert ipaddress.ip_address(text.strip("[]")) == address
    assert text.startswith("[") == (address.version == 6)


@given(st.lists(st.text(alphabet="ab-0129", max_size=8)))
def test_natural_keys_can_always_be_compared(names: list[str]) -> None:
    assert sorted(sorted(names, reverse=True), key=lambda name: (natural_key(name), name)) == sorted(
        names, key=lambda name: (natural_key(name), name)
    )


def test_the_filter() -> None:
    join_filter = FilterModule().filters()["join_list"]
    members = [member("east-0", "10.0.0.1"), member("east-1", "10.0.0.2"), member("east-2", "10.0.0.3")]
    assert join_filter(members) == ["10.0.0.1", "10.0.0.2"]
    assert join_filter(members, ["10.0.0.3"], per_cluster=1) == ["10.0.0.1", "10.0.0.3"]
    with pytest.raises(AnsibleFilterError, match="join_list: per_cluster is 0"):
        join_filter(members, per_cluster=0)
    with pytest.raises(AnsibleFilterError, match="must be a list of members"):
        join_filter("10.0.0.1")
