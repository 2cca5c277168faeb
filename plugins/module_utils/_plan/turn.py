# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One member's turn in a rollout: how it begins, what the journal says of it, and how it comes up again when a step fails. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import before, dead, follow, progress, rebind, sharing, steps, successor
from .journal import in_flight

Json = dict[str, Any]

# What becomes of the binding of the member in hand (rebind.py).
STATES = ("stopped", "started", "booted", "placed", "certified")


def said(journal: Mapping[str, Any]) -> Json:
    """What a journal says of the member in hand without a look at anything else: `hostnet_turn`."""
    return {
        # The step that was begun last, of whatever member.
        "step": steps.last_step(journal),
        # A step was begun that cannot be undone.
        "must_finish": steps.past_return(journal),
        # What is noted when its steps were undone.
        "undone": steps.undone(journal),
        # Its old process, where its place is taken.
        "processes": dead.in_hand(journal.get("member")),
    }


def begun(
    entry: Mapping[str, Any],
    journal: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    inspection: Mapping[str, Mapping[str, Any]],
    own: str = "",
    neighbours: Sequence[Mapping[str, Any]] = (),
) -> Json:
    """The turn of `entry`, a member of a plan: its binding, its record in the journal, the steps that are left of it, its VM's part for a hook, and its
    `pairs` with members of other deployments (sharing.pairs).

    `own` is the user's label of node pools. Whoever leaves for good may have no binding any more: then what was recorded counts.
    """
    member = str(entry["member"])
    hand = journal.get("member") or {}
    known = [*bindings, *([hand["old"]] if hand.get("old") else [])]
    binding = next((dict(each) for each in known if each["member"] == member), None)
    if binding is None:
        raise ValueError(f"member {member} has no binding: run the playbook again, which plans anew")
    resumed = hand.get("member") == member
    record = dict(hand) if resumed else before.record(entry, binding, nodes, inspection, own)
    action = "add" if record["surge"] else str(record["work"])
    hooked = record["work"] in ("reboot", "replace") and not successor.vm_done(record, action, nodes, own)
    return {
        "binding": binding,
        "record": record,
        "resumed": resumed,
        # Whatever an earlier turn of it has done is worth nothing to this one (`since`).
        "steps": steps.next_steps(journal, bindings, inspection) if resumed else list(record["steps"]),
        "vm": successor.vm(record, action) if hooked else None,
        "pairs": sharing.pairs(record, neighbours),
    }


def ended(
    journal: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    noted: bool = True,
    away: Mapping[str, str] | None = None,
    neighbours: Sequence[Mapping[str, Any]] = (),
) -> Json:
    """How the member in hand comes up again after a failed step, or for an abort, by the `nodes` that there are.

    `noted` as in steps.bring_up_steps. `away`: kube clusters that do not answer, with the reasons.
    """
    undo = not follow.past_return(journal, nodes, True)
    return {
        "final": follow.past_return(journal, nodes),
        "undo": undo,
        "steps": follow.undo_steps(journal, nodes),
        "pairs": sharing.pairs(journal.get("member"), neighbours),
        # Where all answer, the step that failed past the point of no return is not tried again: it failed for another reason.
        "up": steps.bring_up_steps(journal, noted) if away and not undo else [],
    }


def bound(
    bindings: Sequence[Mapping[str, Any]],
    state: str,
    member: str,
    journal: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]] = (),
    inspection: Mapping[str, Mapping[str, Any]] | None = None,
    same_vm: bool = False,
    displaced: bool = True,
) -> list[Json]:
    """The bindings once the member in hand is `stopped`, `started` or `booted`, or has its new binding (`placed`).

    `certified` are those that certificates are for.

    Who starts is written down anyway, so with it how far each member's own log has come by the `inspection`: an older copy of a disk is told by that.
    """
    if state == "stopped":
        return rebind.stopped(bindings, member, True)
    if state == "started":
        return progress.with_progress(rebind.stopped(bindings, member, False), inspection or {})
    if state == "booted":
        return rebind.booted(bindings, member, nodes, same_vm)
    if state == "certified":
        return rebind.certified(bindings, journal if in_flight(journal) else {})
    record = journal.get("member") or {}
    if not record.get("new"):
        raise ValueError(f"the journal has no new binding of member {member}: step identify was not done")
    return rebind.with_member(bindings, record["new"], (record.get("displaced") or ()) if displaced else ())
