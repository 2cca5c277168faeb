# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is: whom a rollout works on, who comes first, and who waits. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import dead, join, signs, successor

Json = dict[str, Any]

# Classes (docs/design.md, section 7) that a repair mends, the most broken first.
BROKEN = ("reimaged", "replaced", "missing", "dead", "swapped", "moved", "returned", "rebooted")
# Classes that say what is wrong with a disk that may still be there: a human has to bring it back, or say that it is gone.
DISK_CLASSES = ("no_folder", "not_mounted", "other_disk", "older_copy")
# How often one run mends the same member, whose VMs die one after another.
MENDED_AT_MOST = 3


def follows(request: Mapping[str, Any]) -> bool:
    """Whether somebody else replaces or reboots the VMs, one by one and in an order of his own, so that a rollout waits until he is about to."""
    return (
        request["work"] in ("reboot", "replace")
        and (request.get("hook") or "wait") == "wait"
        and not request["surge"]
        and not request.get("abort")
    )


def is_due(member: str, request: Mapping[str, Any], home: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether a member is to be taken down now, in a rollout that follows."""
    node = home.get(member)
    return member in (request.get("due") or {}) or (node is not None and signs.goes(node))


def may_go_on(request: Mapping[str, Any], record: Mapping[str, Any], home: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether the member in hand, which is up, may be taken down. A cloud may have given up since the run that was cut short: then its turn comes again."""
    return not follows(request) or record.get("work") != request["work"] or is_due(str(record.get("member", "")), request, home)


def to_mend(
    entries: Mapping[str, Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any],
    among: Sequence[str] | None = None,
    homes: Mapping[str, Mapping[str, Any]] | None = None,
    own: str = "",
) -> tuple[list[Json], list[str]]:
    """Whom a repair mends, the most broken first, and a line for each member that it cannot mend; of those `among` which it is asked for (null: all).

    `homes` (generations.Home by member) tells the pool of a VM that is gone, where the user has a label for that (`own`).
    """
    chosen: list[Json] = []
    unmended: list[str] = []
    in_hand = str(record.get("member", ""))
    # A node that the member in flight has chosen is not free, although its binding may not be recorded yet.
    given: list[Json] = [dict(record["new"])] if record.get("new") else []
    order = sorted(
        entries if among is None else among,
        key=lambda name: (
            name != in_hand,
            BROKEN.index(entries[name]["class"]) if entries[name]["class"] in BROKEN else 99,
            join.canonical_key(bindings[name]),
        ),
    )
    for name in order:
        entry, binding = entries[name], bindings[name]
        kind = entry["class"]
        if name == in_hand:
            chosen.append({"member": name, "why": "in flight"})
        elif kind in dead.TAKEN:
            others = [*(other for other in bindings.values() if other["member"] != name), *given]
            free = successor.free_nodes(binding, nodes, others, (homes or {}).get(name), own)
            if kind in ("replaced", "reimaged"):
                free = [node for node in free if node["name"] == binding["node"]] or free
            if free:
                chosen.append({"member": name, "why": f"{kind}: {entry['reason']}", "node": free[0]["name"]})
                given.append({"member": name, "kube_cluster": free[0]["kube_cluster"], "node": free[0]["name"]})
            else:
                unmended.append(
                    f"member {name} is {state(entry)}, and kube cluster {binding['kube_cluster']} has no free node that is Ready in zone "
                    f"{binding['zone'] or '(none)'}: bring one, or take the member out for good with playbooks/scale_down.yml"
                )
        elif kind in ("moved", "swapped"):
            chosen.append({"member": name, "why": f"{kind}: {entry['reason']}"})
        elif kind == "returned":
            chosen.append({"member": name, "why": "its Node object was made anew for the same VM; that is followed"})
        elif kind == "rebooted" and entry["healthy"]:
            chosen.append({"member": name, "why": "its VM has started again; that is noted"})
        elif kind != "ok" or not entry["healthy"]:
            # The process may just be starting: a repair may wait for it, and start what somebody stopped, and no more.
            if kind in DISK_CLASSES:
                unmended.append(f"member {name} is {state(entry)}")
            elif binding.get("stopped"):
                chosen.append({"member": name, "why": f"it was stopped: {entry['reason']}"})
            else:
                unmended.append(f"member {name} is {state(entry)}: unreachable is not dead, so it is left alone")
    return chosen, unmended


def to_roll(
    request: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    journal: Mapping[str, Any] | None,
    home: Mapping[str, Mapping[str, Any] | None],
    hostnet: Mapping[str, Any],
    again: Collection[str] = (),
) -> list[Json]:
    """Whom a rollout that mends nobody works on, in their order. `again`: members that get another turn although they had one."""
    done = list((journal or {}).get("done", []))
    in_hand = str(((journal or {}).get("member") or {}).get("member", ""))
    chosen: list[Json] = [{"member": in_hand, "why": "in flight"}] if in_hand in bindings else []
    rest = [name for name in bindings if name != in_hand and (name not in done or name in again)]
    if request["work"] == "version":
        rest = [name for name in rest if entries[name]["image"] != hostnet["image"]]
    if request["work"] == "restart":
        rest = [name for name in rest if entries[name].get("outdated")]
    if request["work"] == "scale_down":
        rest = [name for name in rest if name in request["members"]]
    # A node pool's upgrade goes by an order of its own, and takes the VM that it has chosen whether we are ready or not.
    due: Mapping[str, str] = request.get("due") or {}
    # Where the VM stays, one that is about to go is no reason to begin with it: its pod may not start there again.
    stays = request["work"] in ("version", "restart")
    # Whoever leads comes last, so leadership moves once and not with every member.
    rest.sort(
        key=lambda name: (
            0 if stays else -signs.urgency(home[name]),
            name not in due,
            bool(entries[name]["leader"]),
            join.canonical_key(bindings[name]),
        )
    )
    for name in rest:
        told = "" if stays else due.get(name) or signs.told(home[name])
        why = f"first: {told}" if told else "last: it leads" if entries[name]["leader"] else "follows"
        chosen.append({"member": name, "why": why})
    return chosen


def narrowed(chosen: list[Json], request: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], in_hand: str) -> list[Json]:
    """The members that the user asked for; the one in flight is always finished first."""
    if request.get("abort"):
        return [entry for entry in chosen if entry["member"] == in_hand]
    wanted = chosen
    if request["members"]:
        wanted = [entry for entry in wanted if entry["member"] in request["members"] or entry["member"] == in_hand]
    if request.get("limit_nodes") is not None:
        hosts = set(request["limit_nodes"])

        def listed(name: str) -> bool:
            binding = bindings[name]
            return bool(hosts & {binding["node"], f"{binding['node']}.{binding['kube_cluster']}"})

        wanted = [entry for entry in wanted if listed(entry["member"]) or entry["member"] == in_hand]
    return wanted


def replanned(plan: Mapping[str, Any], before: Mapping[str, Any], ended: Sequence[Mapping[str, Any]] = ()) -> Json:
    """A plan that was made anew in the middle of a run, with what the one `before` it knows of members of other deployments on the same VMs (`shared`).

    Whoever was not among its members was not looked at for that, or has to wait until those are mended: it is left for the next run. So is everybody once a
    VM was replaced (`ended`, the turns of this run) that took members of others with it (`alone`).
    """
    alone = [str(name) for name in before.get("alone") or ()]
    spent = any(turn["member"] in alone and turn["work"] == "replace" for turn in ended)
    known = {(entry["member"], entry["work"]): entry for entry in before["members"]}
    kept, left = [], []
    for entry in plan["members"]:
        was = known.get((entry["member"], entry["work"]))
        if (spent or (before.get("shared") and was is None)) and entry["work"] != "repair" and entry["member"] != plan["in_hand"]:
            left.append(str(entry["member"]))
        elif was is not None and was.get("neighbours") and was["class"] == entry["class"]:
            kept.append({**entry, "steps": was["steps"], "neighbours": was["neighbours"]})
        else:
            kept.append(dict(entry))
    hold = plan["hold"] and bool(kept or plan["waits"])
    if kept and kept[0]["member"] != plan["members"][0]["member"]:
        # Nobody knows yet whether it is this one's turn.
        hold = bool(plan["followed"]) and not plan["in_hand"] and kept[0]["work"] != "repair"
    return {**plan, "members": kept, "left": [*left, *plan["left"]], "hold": hold, "shared": bool(before.get("shared")), "alone": alone}


def state(entry: Mapping[str, Any]) -> str:
    return f"{entry['class'] if entry['class'] != 'ok' else 'not healthy'} ({entry['reason']})"
