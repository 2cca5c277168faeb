# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a cloud that upgrades a node pool: which member's VM goes now, and what is waited for. Pure functions.

A cordon says that a VM is old, and on some clouds nothing of when it goes. What says so everywhere is the drain: it evicts. So each node with a member
has two guard pods (guards.guard_objects) and a budget that lets one of them go. The first eviction shows that this node's drain has begun,
the second one is refused until the member is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from . import dead, signs, steps, successor
from .listed import some
from .names import GUARDS


class Guards(TypedDict):
    """The guard pods of one member: how many `run` on its `node`, and how many are `ending` there."""

    kube_cluster: str
    member: str
    node: str
    run: int
    ending: int


def lost(binding: Mapping[str, Any], node: Mapping[str, Any] | None) -> bool:
    """Whether a member's VM is gone: there is no Node of its name any more, or that is of another VM."""
    return node is None or (node["uid"] != binding["node_uid"] and not dead.same_vm(binding, node))


class Leaving(TypedDict):
    """A member whose VM is `lost` (gone), or about to go. `text` says so, for people."""

    member: str
    lost: bool
    text: str


def leaving(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], member: str) -> list[Leaving]:
    """Why `member` may not be stopped now: each other member whose VM is gone, was chosen to go, or is off, while its own was not.

    Both would be down. Where its own VM goes as soon, nobody gains by waiting. `bindings` are of those who count on each other.
    """
    at = signs.homes(bindings, nodes)
    least = max(signs.urgency(at.get(member)) + 1, signs.GOES)
    found: list[Leaving] = []
    for entry in bindings:
        name, node = str(entry["member"]), at[str(entry["member"])]
        where = f"node {entry['node']} of kube cluster {entry['kube_cluster']}"
        if name == member:
            continue
        if lost(entry, node):
            found.append({"member": name, "lost": True, "text": f"the VM of member {name} is gone: {where}"})
        elif signs.urgency(node) >= least:
            found.append({"member": name, "lost": False, "text": f"the VM of member {name} is about to go: {where}: {signs.told(node)}"})
    return found


def due(
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    guards: Sequence[Guards],
    among: Sequence[str],
    homes: Mapping[str, Mapping[str, Any]] | None = None,
    own: str = "",
) -> dict[str, str]:
    """Whose turn has come, {member: why}: who has lost its VM and can have another one, and which of the members `among` has a VM that was chosen to go.

    `homes` (generations.Home by member) tells the pool of a VM that is gone, where the user has a label for that (`own`).
    """
    at = signs.homes(bindings, nodes)
    pods = {(entry["kube_cluster"], entry["member"], entry["node"]): entry for entry in guards}
    marked = Counter(str(home["kube_cluster"]) for home in at.values() if home is not None and signs.urgency(home))
    found: dict[str, str] = {}
    for entry in bindings:
        name, node = str(entry["member"]), at[str(entry["member"])]
        where = f"{entry['kube_cluster']}: node {entry['node']}"
        if lost(entry, node):
            free = successor.free_nodes(entry, nodes, bindings, (homes or {}).get(name), own)
            if free:
                found[name] = f"{where} is gone, and node {free[0]['name']} is there"
        elif node is None or name not in among:
            continue
        elif signs.goes(node):
            found[name] = f"{where}: {signs.told(node)}"
        elif _drained(entry, node, pods.get((str(entry["kube_cluster"]), name, str(entry["node"])))):
            found[name] = f"{where} is drained: one of its guard pods was evicted"
        elif node.get("unschedulable") and marked[str(node["kube_cluster"])] == 1 and _has_successor(entry, node, nodes, bindings, own):
            # The one node with a member that is cordoned there: a surge upgrade's next one.
            found[name] = f"{where} is cordoned, and its successor is there"
    return found


def _drained(binding: Mapping[str, Any], node: Mapping[str, Any], guards: Guards | None) -> bool:
    """Whether the drain of a node has begun: one of its guards is there, and the other one was evicted, or is being.

    One that is gone from a node that takes pods comes back by itself. Where none is there, none may ever have started.
    """
    if guards is None or binding.get("stopped") or not node.get("unschedulable"):
        return False
    return guards["run"] < GUARDS and guards["run"] + guards["ending"] > 0


def _has_successor(
    binding: Mapping[str, Any],
    node: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    own: str,
) -> bool:
    """Whether a node of a newer generation of the pool stands ready for the member."""
    label, pool = successor.pool_of(node["labels"], own)
    known = {key: node.get(key) for key in ("generation", "created")} | {"pool_label": label, "pool": pool}
    return any(successor.came_early(other, binding, known) for other in successor.free_nodes(binding, nodes, bindings))


def progress(
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    guards: Sequence[Guards],
    away: Mapping[str, str],
    clusters: Sequence[str],
    left: Mapping[str, str] | None = None,
    homes: Mapping[str, Mapping[str, Any]] | None = None,
    own: str = "",
) -> list[str]:
    """What is waited for, a line for each kube cluster. `away`: why a kube cluster does not answer.

    `left`: who is still to come, and on what ({member: what} of generations.standing); `homes` and `own` as for `due`.
    """
    at = signs.homes(bindings, nodes)
    running = {(entry["kube_cluster"], entry["member"], entry["node"]): entry["run"] for entry in guards}
    lines = []
    for kube in clusters:
        mine = [entry for entry in bindings if entry["kube_cluster"] == kube]
        told = []
        for entry in mine:
            node = at[str(entry["member"])]
            if lost(entry, node):
                was = (homes or {}).get(str(entry["member"])) or {}
                pool = f" with {own}={was['pool']}" if own and was.get("pool_label") == own else ""
                told.append(
                    f"node {entry['node']} of member {entry['member']} is gone, and no other one{pool} is Ready in zone {entry['zone'] or '(none)'}"
                )
            elif signs.told(node):
                told.append(f"node {entry['node']}: {signs.told(node)}")
        bare = [str(entry["member"]) for entry in mine if not running.get((kube, str(entry["member"]), str(entry["node"])))]
        shown = some(told, 3, "; ", "; and ")
        waiting = [f"{entry['member']} ({left[str(entry['member'])]})" for entry in mine if left and entry["member"] in left]
        still = f"; still to come: {some(waiting, 3, ', ', ', and ')}" if waiting else ""
        unguarded = f"; no guard pod runs for {', '.join(bare[:3])}{' and others' if len(bare) > 3 else ''}" if bare else ""
        lines.append(f"{kube}: {away[kube]}" if kube in away else f"{kube}: {shown or 'no VM is about to go'}{still}{unguarded}")
    return lines


def guards_of(kube_cluster: str, pods: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]]) -> list[Guards]:
    """The guard pods of each member of a kube cluster that are on its node, from pod_summary. A member that never had any is not there."""
    found: list[Guards] = []
    for entry in bindings:
        own = [pod for pod in pods if pod["member"] == entry["member"]]
        if entry["kube_cluster"] == kube_cluster and own:
            here = [pod for pod in own if pod["node"] == entry["node"]]
            run = sum(bool(pod["running"] and not pod["terminating"]) for pod in here)
            ending = sum(bool(pod["terminating"]) for pod in here)
            found.append(
                {"kube_cluster": kube_cluster, "member": str(entry["member"]), "node": str(entry["node"]), "run": run, "ending": ending}
            )
    return found


class Again(TypedDict):
    """A member in hand whose VM is gone. `announced`: the system may know it as the member's, although its binding is not recorded yet."""

    member: str
    announced: bool


def again(journal: Mapping[str, Any] | None, nodes: Sequence[Mapping[str, Any]], in_vain: bool = False) -> Again | None:
    """Whether the VM that the member in hand has, or was to go on with, is gone past the point of no return.

    Then it is in hand no more, and mended like any other that has lost its VM: whoever was there is proven dead first, and another node is found. Not
    where two processes would have to be forgotten, where the old VM is still there, and where members of other deployments wait for that VM.
    `in_vain`: a step has waited in vain for the VM that was to come, or to come back. There may be another one, which was there before (a second pool takes
    over from the first) or has another name than is waited for, and a VM that was to be rebooted may have been replaced.
    """
    record: Mapping[str, Any] = (journal or {}).get("member") or {}
    if not journal or not record.get("old") or record.get("work") == "scale_down" or record.get("surge") or record.get("neighbours"):
        return None
    names, begun, finished = record.get("steps") or [], steps.begun_steps(journal), steps.finished_steps(journal)
    new = record.get("new")
    # Of a repair that keeps the VM nothing has to be finished before, and without that VM it cannot be.
    kept = record.get("work") == "repair" and record.get("class") in steps.KEPT_DISK
    if not (kept or steps.past_return(journal)) or not is_lost(record["old"], nodes):
        # With a disk that was kept, and in a reboot, the old VM is the only one.
        return None
    if not new:
        # It waits for a VM that is to come, or to come back.
        waits = not in_vain and ("identify" in names or ("vm" in names and "vm" not in finished))
        return None if waits else {"member": str(record["member"]), "announced": False}
    if not is_lost(new, nodes):
        return None
    if "forget_after" in names and "start" in begun and "forget_after" not in finished:
        return None
    return {"member": str(record["member"]), "announced": "admit" in begun and not ("forget_after" in names and "start" not in begun)}


def past_return(journal: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], strict: bool = False) -> bool:
    """As `steps.past_return`, by what is there: a VM that somebody else was to take (`waits` of the record), and that is there and well, was not taken.

    A cloud gives up, or a human cancels an upgrade, between the stop of a member and the end of its VM. Then its disk is there, and it starts where it was.
    `strict`: not on a node that still has a sign of its end, such as somebody else's cordon, once the stop was begun. A drain may be waiting for another
    pod's budget, and neither the member's pod nor its guards start there.
    """
    record = journal.get("member") or {}
    begun = set(steps.begun_steps(journal))
    final = begun & set(steps.POINT_OF_NO_RETURN)
    node = signs.homes([record["old"]], nodes)[str(record["old"]["member"])] if record.get("old") else None
    if not final:
        gone = node is None or lost(record["old"], node)
        return strict and bool(record.get("waits")) and "stop" in begun and not gone and signs.urgency(node) > 0
    if not record.get("waits") or record.get("new") or final != {"vm"}:
        return True
    if node is None or lost(record["old"], node) or successor.is_new(node, record):
        return True
    return not node["ready"] or (signs.urgency(node) > 0 if strict else signs.goes(node)) or dead.out_of_service(node)


def undo_steps(journal: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """As `steps.undo_steps`, without starting a member on a VM that is gone: it has to be mended."""
    old = (journal.get("member") or {}).get("old")
    gone = old is not None and is_lost(old, nodes)
    return [name for name in steps.undo_steps(journal) if not (gone and name in steps.BY_NAME["stop"].undo)]


def is_lost(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the VM of a binding is gone: `lost`, by the nodes that there are."""
    return lost(binding, signs.homes([binding], nodes)[str(binding["member"])])
