# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the upgrade of node pools is over for the members on them: by generations of nodes, or by the kubelet's version that was asked for. Pure functions.

No cloud says in the Kubernetes API that an upgrade is over. What tells is that all members of a pool run on the newest generation of its nodes, and that
one of them did not before: then no turn is left to wait for. Of two generations the newer one has the newer kubelet, or the same one and younger nodes;
where these contradict each other (a rollback, a pool that is none) nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

from . import join, signs, versions
from .follow import lost
from .successor import pool_of


class Known(TypedDict):
    """One generation of a pool: its kubelet, and when the first of its nodes was made, of those that were seen."""

    version: str
    created: str


class Home(TypedDict):
    """Where a member was seen: on which generation first, and in which pool last."""

    generation: str
    pool_label: str
    pool: str


class Seen(TypedDict):
    """What a run has seen of nodes, some of which are gone: generations by kube cluster and pool (`label=name`), and the members' homes."""

    generations: dict[str, dict[str, dict[str, Known]]]
    members: dict[str, Home]


class Standing(TypedDict):
    """How far an upgrade is. `members` are those whose end counts, `new` those of them that are through, `left` what the others have ({member: what}).

    `again`: members that get another turn although they had one. `text` is for people; `over` says why there is nothing left to wait for, or "".
    """

    members: list[str]
    new: list[str]
    left: dict[str, str]
    again: list[str]
    text: str
    over: str


def _pool(node: Mapping[str, Any], own: str) -> str:
    label, name = pool_of(node["labels"], own)
    return f"{label}={name}" if label else ""


def _place(node: Mapping[str, Any], own: str) -> str:
    """A pool in one zone. Where each zone has a pool of its own under one label, as Cluster API and EKS have them, their generations differ for ever."""
    return f"{_pool(node, own)} {node.get('zone') or ''}"


def see(before: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], own: str = "") -> Seen:
    """What was seen `before` (Seen, or {}), and what is seen now. It forgets none but halves. `own`: the user's label of node pools."""
    old = before.get("generations") or {}
    result: Seen = {
        "generations": {kube: {pool: dict(known) for pool, known in pools.items()} for kube, pools in old.items()},
        "members": dict(before.get("members") or {}),
    }
    home = signs.homes(bindings, nodes)
    carrying = {str(node["uid"]) for node in home.values() if node is not None}
    for node in nodes:
        generation = str(node.get("generation") or "")
        if not generation or (node.get("control_plane") and node["uid"] not in carrying):
            continue
        known = result["generations"].setdefault(str(node["kube_cluster"]), {}).setdefault(_place(node, own), {})
        created = [str(node.get("created") or ""), *([known[generation]["created"]] if generation in known else [])]
        known[generation] = {"version": str(node.get("kubelet_version") or ""), "created": min(created)}
    there = {(str(node["kube_cluster"]), _place(node, own), str(node["generation"])) for node in nodes if node.get("generation")}
    for kube, places in result["generations"].items():
        for where, known in places.items():
            for half in [name for name in known if (kube, where, name) not in there and _is_half(name, known)]:
                del known[half]
    for entry in bindings:
        name, place = str(entry["member"]), home[str(entry["member"])]
        if place is not None and not lost(entry, place):
            label, pool = pool_of(place["labels"], own)
            first = result["members"][name]["generation"] if name in result["members"] else ""
            result["members"][name] = {"generation": first or str(place.get("generation") or ""), "pool_label": label, "pool": pool}
    return result


def _is_half(name: str, known: Mapping[str, Known]) -> bool:
    """Whether this was seen of a node before its cloud had written all of its marks on it, which is no generation."""
    return any(whole.startswith(f"{name},") and known[whole]["created"] == known[name]["created"] for whole in known)


def older(left: Known, right: Known) -> bool:
    """Whether one generation of a pool is older than another one, where that is certain."""
    order = versions.compare(left["version"], right["version"])
    if order == 1 or not left["created"] or not right["created"]:
        return False
    # In place, nodes of both are as old.
    return left["created"] < right["created"] or (order == -1 and left["created"] == right["created"])


def newest(known: Mapping[str, Known]) -> str:
    """The generation that all others are older than, or "" where that cannot be told."""
    return next((name for name in sorted(known) if all(older(known[other], known[name]) for other in known if other != name)), "")


def standing(
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    seen: Seen,
    followed: Collection[str],
    moved: Collection[str],
    until: Mapping[str, str],
    own: str = "",
    in_place: bool = False,
) -> Standing:
    """How far the upgrade is for the members `followed`, of which `moved` had their turn. `seen` is of `see`, with these nodes.

    `in_place`: VMs stay and are rebooted. Their generations say nothing of that then, and nobody gets a second turn.

    With `until` (kube cluster: version of the kubelet) it is over when the followed members' nodes there have it. Otherwise by generations, pool by pool.
    """
    at = signs.homes(bindings, nodes)
    home = {str(entry["member"]): None if lost(entry, at[str(entry["member"])]) else at[str(entry["member"])] for entry in bindings}
    names = sorted((name for name in home if name in followed), key=join.natural_key)
    if until:
        return _by_version(bindings, home, names, until, in_place)
    pools = _pools(home, seen, see({}, bindings, nodes, own), own)
    left: dict[str, str] = {}
    for name in names:
        node = home[name]
        if node is None:
            left[name] = "its VM is gone"
        elif pools[name].is_behind(name) if pools[name].told else name not in moved:
            left[name] = pools[name].shown(node)
    new = [name for name in names if name not in left]
    told = any(name in pools and pools[name].told for name in names)
    return {
        "members": names,
        "new": new,
        "left": left,
        "again": [name for name in names if not in_place and name in moved and name in pools and pools[name].comes_again(name)],
        "text": _count(len(new), len(names), "on the new generation of their node pool")
        if told
        else f"{_count(len(new), len(names), 'through')}; of no generation of their node pools is it certain that it is the newer one",
        "over": "every member runs on the newest generation of its node pool, and none of their nodes is marked to go"
        if names and not in_place and all(name in pools and pools[name].is_over(names, moved) for name in names)
        else "",
    }


class _Pool:
    """The members of one pool, by their nodes; its generations as they were seen (`known`), and those that are there `now`."""

    def __init__(self, name: str, known: Mapping[str, Known], now: Mapping[str, Known], members: Mapping[str, Home]) -> None:
        self.home: dict[str, Mapping[str, Any]] = {}
        self._name, self._known, self._now, self._members = name, known, now, members
        self._newest, self._newest_now = newest(known), newest(now)

    @property
    def told(self) -> bool:
        """Whether a member of it is, or was, on a generation that is older than the newest one."""
        had = {self._members[name]["generation"] for name in self.home if name in self._members}
        had |= {str(node.get("generation") or "") for node in self.home.values()}
        return any(_is_older(old, self._newest, self._known) for old in had)

    def is_behind(self, member: str) -> bool:
        """Whether a member's node is of another generation than the newest; where nobody knows which that is, of one that is older than another one."""
        mine = str(self.home[member].get("generation") or "")
        return mine != self._newest if self._newest else any(_is_older(mine, other, self._known) for other in self._known)

    def is_over(self, followed: Collection[str], moved: Collection[str]) -> bool:
        """Whether no turn is left: all are on the newest generation, and somebody was not, or all who are followed had theirs."""
        if any(self.is_behind(name) or signs.urgency(node) for name, node in self.home.items()):
            return False
        return self.told or all(name in moved for name in self.home if name in followed)

    def comes_again(self, member: str) -> bool:
        """Whether a member that had its turn is on a node of the generation that it had before, and newer ones are there: it was mended on a spare one.

        Nodes without a pool may differ for ever.
        """
        mine = str(self.home[member].get("generation") or "")
        same = member in self._members and self._members[member]["generation"] == mine
        return bool(self._name) and same and _is_older(mine, self._newest_now, self._now)

    def shown(self, node: Mapping[str, Any]) -> str:
        """What an old node has: the version of its kubelet, or all that is told of its generation where that is the same."""
        version = str(node.get("kubelet_version") or "")
        last = self._known[self._newest]["version"] if self._newest else ""
        return version if version and version != last else str(node.get("generation") or "") or "no generation"


def _is_older(left: str, right: str, known: Mapping[str, Known]) -> bool:
    return left in known and right in known and older(known[left], known[right])


def _pools(home: Mapping[str, Mapping[str, Any] | None], seen: Seen, now: Seen, own: str) -> dict[str, _Pool]:
    """The pool of each member whose VM is there."""
    found: dict[tuple[str, str], _Pool] = {}
    result: dict[str, _Pool] = {}
    for name, node in home.items():
        if node is not None:
            kube, place = str(node["kube_cluster"]), _place(node, own)
            if (kube, place) not in found:
                known, current = (entry["generations"].get(kube, {}).get(place, {}) for entry in (seen, now))
                found[kube, place] = _Pool(_pool(node, own), known, current, seen["members"])
            found[kube, place].home[name] = node
            result[name] = found[kube, place]
    return result


def _by_version(
    bindings: Sequence[Mapping[str, Any]],
    home: Mapping[str, Mapping[str, Any] | None],
    names: Sequence[str],
    until: Mapping[str, str],
    in_place: bool,
) -> Standing:
    kube = {str(entry["member"]): str(entry["kube_cluster"]) for entry in bindings}
    asked = [name for name in names if kube[name] in until]
    left: dict[str, str] = {}
    for name in asked:
        node = home[name]
        if node is None:
            left[name] = "its VM is gone"
        elif not versions.has(str(node.get("kubelet_version") or ""), until[kube[name]]):
            left[name] = f"{node.get('kubelet_version') or 'no version'}, not {until[kube[name]]}"
    new = [name for name in asked if name not in left]
    # Whoever is not waited for may be at its drain all the same.
    going = any(signs.urgency(home[name]) for name in names if name not in asked)
    return {
        "members": asked,
        "new": new,
        "left": left,
        "again": [] if in_place else list(left),
        "text": _count(len(new), len(asked), "on the kubelet of hostnet_follow_until"),
        "over": "" if left or going or not asked else f"every member's node has the kubelet of hostnet_follow_until ({_shown(until)})",
    }


def _shown(until: Mapping[str, str]) -> str:
    wanted = sorted(set(until.values()))
    return wanted[0] if len(wanted) == 1 else ", ".join(f"{kube}: {until[kube]}" for kube in sorted(until))


def _count(some: int, all_of_them: int, what: str) -> str:
    return f"{some} of {all_of_them} members {'is' if some == 1 else 'are'} {what}"
