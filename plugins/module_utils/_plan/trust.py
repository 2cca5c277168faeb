# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the journal of one kube cluster is believed about a member of another one: pure functions.

Whoever may write ConfigMaps in one kube cluster could else have VMs of another one drained, replaced and forgotten: the newest journal is
gone by everywhere. So what it says of a member has to be what that member's own kube cluster says: in its binding, in its Nodes,
and in its own copy of the journal.

A run that is killed while it writes leaves the newer journal in some kube clusters only. Nothing was done after such a write, because a change
follows only when all of them have it. So the newest one may be ahead of another one by what one write adds, and by no step that was done.

One exception: while a kube cluster is away, a member of another one is brought up, and that is written where it can be, always into the copy of the member's
own kube cluster. A copy that is away may be behind by any number of writes then. It is not compared: what counts about a member is the copy of its own
kube cluster, which is never behind by a step that was done, and the settings to put back, which no such write changes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import journal as journals
from . import names
from .journal import BEGUN, DONE

Json = dict[str, Any]

# Where a member is: what its binding, its Node and the journal have to agree on.
_PLACE = ("node", "node_uid", "provider_id", "address")
# Written before the member's first change, and never again.
_FIXED = (
    "class",
    "work",
    "surge",
    "steps",
    "neighbours",
    "old_id",
    "boot_id",
    "pool",
    "pool_label",
    "generation",
    "created",
    "seen",
    "providers",
    "machines",
)


def journal_refusals(hostnet: Mapping[str, Any], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why the newest journal is not believed: one sentence that names the kube cluster that has it, and the field. Empty: it may be gone by.

    `observed` is deployment_info's, `nodes` are those of all kube clusters.
    """
    copies = {name: observed[name].get("rollout") for name in sorted(observed) if not observed[name].get("absent")}
    newest = journals.newest(copies)
    if newest is None or not journals.in_flight(newest):
        return []
    text = journals.dump(newest)
    sources = [name for name, copy in copies.items() if copy and journals.dump(copy) == text]
    problem = next(_problems(newest, sources, copies, observed, nodes), "")
    if not problem:
        return []
    return [
        (
            f"kube cluster {sources[0]}: its journal of the rollout in flight (ConfigMap {hostnet['namespace']}/{names.rollout(str(hostnet['name']))}) is not "
            f"believed: {problem}. What one kube cluster says never changes another one. Find out which of them is right; where the one in {sources[0]} was "
            f"edited, delete that ConfigMap there, so that the journals of the others count"
        )
    ]


def forgets_the_living(journal: Mapping[str, Any] | None, inspection: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A journal that would have another member forgotten, which answers under the id that it has for the old process."""
    if not journals.in_flight(journal):
        return []
    record = (journal or {}).get("member") or {}
    old_id = str(record.get("old_id") or "")
    return [
        (
            f"the journal would have the others forget id {old_id} as the old process of member {record['member']}, but member {name} answers under that id: "
            f"nothing is changed. Find out who edited the journal (ConfigMap of the rollout), or end the rollout with -e hostnet_abort=true"
        )
        for name in sorted(inspection)
        if old_id and name != record["member"] and inspection[name].get("reachable") and str(inspection[name].get("id", "")) == old_id
    ]


def _problems(
    newest: Json,
    sources: Sequence[str],
    copies: Mapping[str, Mapping[str, Any] | None],
    observed: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield from _saved(newest, copies)
    record = newest.get("member") or {}
    old = record.get("old")
    if not old:
        return
    member, home = str(record["member"]), str(old["kube_cluster"])
    if old["member"] != member:
        yield f"member.old.member is {old['member']!r}, and the member in hand is {member}"
    if home not in observed:
        yield f"member.old.kube_cluster is {home!r}, which is no kube cluster of the deployment"
        return
    if observed[home].get("absent"):
        return  # nothing is changed in a kube cluster that does not answer
    copy = copies.get(home)
    own = (copy or {}).get("member") or {}
    own = own if own.get("member") == member else {}
    yield from _own_copy(newest, record, copy, own, home, len(sources))
    yield from _binding(record, own, observed[home]["members"], home)
    yield from _new(record, own, home, nodes)
    for entry in record.get("displaced") or ():
        yield from _displaced(entry, copies, observed, nodes)


def _saved(newest: Json, copies: Mapping[str, Mapping[str, Any] | None]) -> Iterator[str]:
    """Old values of settings, which are put back at the end: the same in every copy of this rollout, but for what the last write added."""
    saved = newest.get("saved") or {}
    for name, copy in copies.items():
        if not copy or not journals.in_flight(copy) or copy.get("started_at") != newest.get("started_at"):
            continue
        theirs = copy.get("saved") or {}
        last = newest["sequence"] - copy["sequence"] <= 1
        for key in sorted({*saved, *theirs}):
            if saved.get(key) != theirs.get(key) and not (last and (key not in saved or key not in theirs)):
                yield f"saved.{key} is {saved.get(key)!r}, kube cluster {name} has {theirs.get(key)!r}"


def _own_copy(
    newest: Json, record: Mapping[str, Any], copy: Mapping[str, Any] | None, own: Mapping[str, Any], home: str, sources: int
) -> Iterator[str]:
    """What the member's own kube cluster has in its copy of the journal."""
    member = record["member"]
    if own:
        for key in _FIXED:
            if record.get(key) != own.get(key):
                yield f"member.{key} of {member} is {record.get(key)!r}, kube cluster {home} has {own.get(key)!r}"
        yield from _differences(f"member.old of {member}", record["old"], own.get("old") or {}, f"kube cluster {home}'s own journal")
    theirs = [entry for entry in (copy or {}).get("steps", []) if own and entry["member"] == member]
    ours = [entry for entry in newest.get("steps", []) if entry["member"] == member]
    # Several kube clusters that have lost nothing agree; alone, a copy proves no step.
    if copy is None and sources > 1:
        return
    begun = {entry["n"] for entry in theirs if entry["state"] == BEGUN}
    known = {entry["n"] for entry in theirs if entry["state"] == DONE}
    ahead = [entry for entry in ours if entry["state"] == DONE and entry["n"] not in known | begun]
    if ahead or len(ours) > len(theirs) + 1:
        step = (ahead or ours[-1:])[0]["step"]
        yield f"steps has {step!r} of {member}, of which kube cluster {home}, where that member is, knows nothing in its own journal"


def _binding(record: Mapping[str, Any], own: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], home: str) -> Iterator[str]:
    """The member's binding, as its own kube cluster has it: still the old one, or the new one already."""
    member = record["member"]
    binding = next((entry for entry in bindings if entry["member"] == member and entry["kube_cluster"] == home), None)
    if binding is None:
        # It left for good, or the binding was lost: its own journal tells.
        if not own:
            yield f"member.member is {member}, of which kube cluster {home} has neither a binding nor a journal"
        return
    if any(_same(wanted, binding) for wanted in (record["old"], record.get("new")) if wanted):
        return
    for line in _differences(f"member.old of {member}", record["old"], binding, f"the binding in kube cluster {home}"):
        # A VM whose Node object was made anew meanwhile is bound under the new UID; its own journal still has the old one.
        if not (own and ": node_uid is " in line):
            yield line


def _new(record: Mapping[str, Any], own: Mapping[str, Any], home: str, nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where the member goes: to a Node of its own kube cluster, with the address that this Node has."""
    new, member = record.get("new"), record["member"]
    if not new:
        return
    if new["kube_cluster"] != home:
        yield f"member.new.kube_cluster of {member} is {new['kube_cluster']!r}, and the member is of {home}"
    if new["member"] != member:
        yield f"member.new.member is {new['member']!r}, and the member in hand is {member}"
    if own.get("new") and _same(new, own["new"]):
        return
    node = next((node for node in nodes if node["kube_cluster"] == home and node["name"] == new["node"]), None)
    if node is not None:
        yield from _differences(f"member.new of {member}", new, _place_of(node), f"that Node in kube cluster {home}")


def _displaced(
    entry: Mapping[str, Any],
    copies: Mapping[str, Mapping[str, Any] | None],
    observed: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """A member whose address went to another one: recorded under the address that its own VM has now."""
    member, home = entry["member"], str(entry["kube_cluster"])
    if home not in observed:
        yield f"member.displaced names kube cluster {home!r}, which is none of the deployment"
        return
    record = (copies.get(home) or {}).get("member") or {}
    if any(other["member"] == member and _same(entry, other) for other in record.get("displaced") or ()):
        return
    binding = next((item for item in observed[home]["members"] if item["member"] == member and item["kube_cluster"] == home), None)
    if binding is not None and _same(entry, binding):
        return
    node = next((node for node in nodes if node["kube_cluster"] == home and node["name"] == entry["node"]), None)
    if binding is None or node is None:
        yield f"member.displaced names {member}, of which kube cluster {home} has no binding and Node"
        return
    yield from _differences(f"member.displaced of {member}", entry, _place_of(node), f"that Node in kube cluster {home}")


def _place_of(node: Mapping[str, Any]) -> Json:
    return {"node": node["name"], "node_uid": node["uid"], "provider_id": node["provider_id"], "address": node["address"]}


def _same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return not any(_differences("", left, right, ""))


def _differences(what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], who: str) -> Iterator[str]:
    # A Node has no admission, and a folder of another one would be deleted with it.
    for field in (*_PLACE, *(("admission",) if "admission" in ours and "admission" in theirs else ())):
        left, right = str(ours.get(field, "")), str(theirs.get(field, ""))
        if (_address(left) != _address(right)) if field == "address" else (left != right):
            yield f"{what}: {field} is {left!r}, {who} has {right!r}"


def _address(text: str) -> Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text
