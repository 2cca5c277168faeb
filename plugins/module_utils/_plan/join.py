# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which members a starting member contacts first, and how they are written into a system's flags: pure functions.

Addresses are compared as parsed IP addresses, so 10.0.0.1 never matches 10.0.0.12, and fd00::1 matches fd00:0::1.
The rules are invariant 3 of the design: only live members, every kube cluster that has one, spread over zones, at least
two where two exist, the same list whatever the order of reading, and a surviving entry is kept.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

DEFAULT_PER_CLUSTER = 2
# With a single entry the loss of that one member keeps every other member from starting.
MINIMUM_ENTRIES = 2

IpAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
NaturalKey = tuple[tuple[int, int, str], ...]

_DIGITS = re.compile(r"([0-9]+)")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_INDEXED = re.compile(r"([a-z_]+)\[([A-Za-z0-9_-]+)\]")


class JoinError(ValueError):
    """A join list that cannot be made from this input. The text names the member, the field and the remedy."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    kube_cluster: str
    zone: str
    address: IpAddress | None  # None: a member that is not live and has no address now
    live: bool
    order: tuple[Any, ...]


def natural_key(text: str) -> NaturalKey:
    """Key that sorts east-2 before east-10; digits sort before letters."""
    parts = _DIGITS.split(text)
    return tuple((0, int(part), "") if index % 2 else (1, 0, part) for index, part in enumerate(parts) if part)


def canonical_key(member: Mapping[str, Any]) -> tuple[Any, ...]:
    """Key of the order in which members are always written: kube cluster, zone, member name, each in natural order.

    The plain texts come last: names that natural order calls equal (east-1, east-01) must not depend on the input's order.
    """
    names = (str(member["kube_cluster"]), str(member.get("zone") or ""), str(member["member"]))
    return (*(natural_key(name) for name in names), *names)


def parse_address(text: object, where: str) -> IpAddress:
    """The IP address in `text`, which others can connect to. `where` names it in the error, as in "member east-0"."""
    try:
        address = ipaddress.ip_address(str(text).strip())
    except ValueError:
        raise JoinError(f"{where}: address {str(text)!r} is not an IP address; set the address of its node") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback or getattr(address, "scope_id", None):
        raise JoinError(
            f"{where}: address {address} cannot be reached from other hosts; choose another hostnet_address_type (inventory: address_type)"
        )
    return address


def bracketed(address: str) -> str:
    """The address as it is written before a port: brackets around IPv6."""
    parsed = ipaddress.ip_address(address.strip())
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


def join_list(members: Sequence[Mapping[str, Any]], current: Sequence[str], per_cluster: int = DEFAULT_PER_CLUSTER) -> list[str]:
    """The addresses that a starting member contacts first, in canonical order.

    `members` are mappings with `member`, `kube_cluster`, `zone`, `address` and `live` (a bool). `current` is the list in
    use now, as addresses or as names of members: an entry given by name survives a change of its member's address, an
    entry given by address does not. Entries of `current` that no live member has are dropped without complaint.

    Every kube cluster with a live member gets up to `per_cluster` entries (at least two when there is one such kube cluster only,
    because the invariant of two entries is stronger than a wish for one). Within a kube cluster surviving entries come first, even where
    a new choice would spread better, because a stable list is worth more than one more zone; free places go to the
    zones with the fewest entries. When more entries survive than there are places (`per_cluster` was lowered), those
    that spread best over the zones stay. Kube clusters never compete for places, so an entry never makes room for
    another kube cluster.

    `join_list(members, join_list(members, current))` is `join_list(members, current)`.
    Raises JoinError: no live member, an address that is none, two members with one name or one address, `per_cluster` below 1.
    """
    if isinstance(per_cluster, bool) or not isinstance(per_cluster, int) or per_cluster < 1:
        raise JoinError(f"per_cluster is {per_cluster!r}: it must be a whole number of at least 1 (hostnet_join_per_cluster)")
    if isinstance(current, str):
        raise JoinError(f"current is the text {current!r}: it must be a list of addresses or member names")
    checked = _checked(members)
    live = [member for member in checked if member.live]
    if not live:
        raise JoinError(f"none of {len(checked)} members is live: there is no member to join; start a member or repair one first")
    kept_names, kept_addresses = _current_entries(current)
    by_cluster: dict[str, list[_Member]] = {}
    for member in live:
        by_cluster.setdefault(member.kube_cluster, []).append(member)
    limit = max(per_cluster, MINIMUM_ENTRIES) if len(by_cluster) == 1 else per_cluster
    chosen: list[_Member] = []
    for candidates in by_cluster.values():
        surviving = [member for member in candidates if member.name in kept_names or member.address in kept_addresses]
        others = [member for member in candidates if member not in surviving]
        kept = _spread(surviving, [], limit)
        chosen += kept + _spread(others, kept, limit - len(kept))
    return [str(member.address) for member in sorted(chosen, key=lambda member: member.order)]


def violations(entries: Sequence[str], members: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a join list that exists, one sentence each; empty when it may be used as it is.

    Checks what must hold at every moment (live members only, every kube cluster, two entries where two exist, nothing
    twice), not what `join_list` would merely prefer.
    """
    live = {member.address: member for member in _checked(members) if member.live}
    problems: list[str] = []
    seen: set[IpAddress] = set()
    for entry in entries:
        address = parse_address(entry, "the join list")
        if address in seen:
            problems.append(f"{address} is listed twice")
        seen.add(address)
        if address not in live:
            problems.append(f"{address} is the address of no live member")
    present = {live[address].kube_cluster for address in seen if address in live}
    missing = {member.kube_cluster for member in live.values()} - present
    problems += [f"no entry from kube cluster {name}, which has a live member" for name in sorted(missing, key=natural_key)]
    if len(seen & live.keys()) < min(MINIMUM_ENTRIES, len(live)):
        problems.append(f"fewer than {MINIMUM_ENTRIES} live entries, although {len(live)} members are live")
    return problems


def render(entries: Iterable[Mapping[str, Any]], template: str, separator: str, ports: Mapping[str, int]) -> str:
    """One value of a system's join settings: `template` for each entry, in canonical order, with `separator` between.

    An entry is a binding. `template` knows {host} (the address, in brackets for IPv6), {address} (without), {member},
    {process}, {node}, {kube_cluster}, {zone}, {region} and {ports[NAME]}. Raises JoinError on any other placeholder.
    """
    return separator.join(_fill(template, entry, ports) for entry in sorted(entries, key=canonical_key))


def join_values(
    spec_join: Mapping[str, Mapping[str, Any]],
    bindings_live: Sequence[Mapping[str, Any]],
    seeds: Sequence[str],
    ports: Mapping[str, int],
) -> dict[str, str]:
    """The ConfigMap data that a system spec's `join` asks for: variable name -> text.

    Each item of `spec_join` has `members` (`seeds`: those in the join list, the default; `all`: every live member), `format` and
    `separator` (a comma by default). `seeds` are the addresses that `join_list` returned. A seed that no binding has is an
    error: a list made for other members must not reach a ConfigMap.
    """
    by_address: dict[IpAddress, Mapping[str, Any]] = {}
    for binding in bindings_live:
        where = f"member {binding.get('member')}"
        address = parse_address(binding.get("address"), where)
        if address in by_address:
            raise JoinError(f"{where} and member {by_address[address].get('member')} have one address, {address}")
        by_address[address] = binding
    if not by_address:
        raise JoinError("no live member: the join settings would be empty; start a member or repair one first")
    chosen = []
    for seed in seeds:
        address = parse_address(seed, "the join list")
        if address not in by_address:
            raise JoinError(f"the join list has {address}, which is the address of no live member; compute it anew")
        chosen.append(by_address[address])
    if not chosen:
        raise JoinError("the join list is empty; compute it from the live members first")
    values = {}
    for key, wish in spec_join.items():
        which = wish.get("members", "seeds")
        if which not in ("seeds", "all"):
            raise JoinError(f"join.{key}.members is {which!r}: it must be 'seeds' or 'all'")
        if not wish.get("format"):
            raise JoinError(f"join.{key}.format is missing: say how one entry is written, for example '{{host}}:{{ports[client]}}'")
        try:
            values[key] = render(chosen if which == "seeds" else by_address.values(), wish["format"], wish.get("separator", ","), ports)
        except JoinError as error:
            raise JoinError(f"join.{key}.format: {error}") from None
    return values


def _checked(members: Sequence[Mapping[str, Any]]) -> list[_Member]:
    """The members with their addresses parsed, in canonical order."""
    checked: list[_Member] = []
    names: set[str] = set()
    owners: dict[IpAddress, str] = {}
    for member in members:
        name = str(member.get("member") or "")
        if not name or not member.get("kube_cluster"):
            raise JoinError(f"a member without 'member' or 'kube_cluster': it has only {', '.join(sorted(map(str, member))) or 'nothing'}")
        live = member.get("live")
        if not isinstance(live, bool):
            raise JoinError(f"member {name}: 'live' is {live!r}; it must be true or false")
        if name in names:
            raise JoinError(f"two members are named {name}: names must be unique in a deployment")
        names.add(name)
        text = str(member.get("address") or "").strip()
        address = parse_address(text, f"member {name}") if live or text else None
        if address is not None:
            if address in owners:
                first, second = sorted((owners[address], name), key=natural_key)
                raise JoinError(
                    f"members {first} and {second} have one address, {address}: "
                    "forget the member whose node is gone, or correct the address of its node"
                )
            owners[address] = name
        checked.append(_Member(name, str(member["kube_cluster"]), str(member.get("zone") or ""), address, live, canonical_key(member)))
    return sorted(checked, key=lambda one: one.order)


def _current_entries(current: Sequence[str]) -> tuple[set[str], set[IpAddress]]:
    """The entries in use, as names of members and as addresses. What is no address is taken for a name."""
    names: set[str] = set()
    addresses: set[IpAddress] = set()
    for entry in current:
        try:
            addresses.add(ipaddress.ip_address(str(entry).strip()))
        except ValueError:
            names.add(str(entry).strip())
    return names, addresses


def _spread(candidates: Sequence[_Member], taken: Sequence[_Member], count: int) -> list[_Member]:
    """Up to `count` of `candidates` (in canonical order), one at a time from the zone that has the fewest of `taken` and of those chosen."""
    rest = list(candidates)
    used = Counter(member.zone for member in taken)
    chosen: list[_Member] = []
    while rest and len(chosen) < count:
        member = min(rest, key=lambda one: used[one.zone])  # the first of the least used, so canonical order breaks ties
        rest.remove(member)
        used[member.zone] += 1
        chosen.append(member)
    return chosen


def _fill(template: str, entry: Mapping[str, Any], ports: Mapping[str, int]) -> str:
    member = entry.get("member")
    address = str(parse_address(entry.get("address"), f"member {member}"))
    known: dict[str, Any] = {
        **{key: entry.get(key) for key in ("member", "process", "node", "kube_cluster", "zone", "region")},
        "address": address,
        "host": bracketed(address),
    }

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        indexed = _INDEXED.fullmatch(name)
        if indexed and indexed.group(1) == "ports":
            if indexed.group(2) not in ports:
                raise JoinError(f"there is no port {indexed.group(2)!r}; the ports are {', '.join(sorted(ports)) or 'none'}")
            return str(ports[indexed.group(2)])
        if name not in known:
            raise JoinError(f"unknown placeholder {{{name}}}; known are {', '.join(sorted(known))} and ports[NAME]")
        if not known[name]:
            raise JoinError(f"member {member} has no {name!r}")
        return str(known[name])

    return _PLACEHOLDER.sub(value, template)
