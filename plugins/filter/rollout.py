# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that bring the pure functions of a rollout to the role rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    before,
    dead,
    follow,
    gate,
    journal,
    observation,
    rebind,
    rollout,
    steps,
    successor,
    versions,
)
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input

Json = dict[str, Any]


def gates(name: str, spec: Mapping[str, Any], work: str = "") -> list[Json]:
    """The gates `stop`, `replace` (stop, and the disk goes), `leave` (replace, and nobody comes), `admit`, `alive`, `dead` or `settled`.

    Those of every system, then the system's own, without those that are `not_for` this work.
    """
    gone = name in ("replace", "leave")
    kind = "stop" if gone else name
    generic = {**gate.GENERIC, **gate.PROOF}
    if kind not in generic:
        raise ValueError(f"there is no gate {name!r}; known are replace, leave, {', '.join(generic)}")
    own = spec.get("gates") or {}
    more = own.get("leave", []) if name == "leave" else []
    found = [*generic[kind], *(gate.ONLY_COPY if gone else []), *own.get(kind, []), *more]
    return [{key: value for key, value in entry.items() if key != "not_for"} for entry in found if gate.is_for(entry, work)]


def certified(recorded: Sequence[Mapping[str, Any]], found: Mapping[str, Any] | None) -> list[Json]:
    """The bindings that certificates are for (rebind.certified)."""
    return rebind.certified(recorded, found if journal.in_flight(found) and found else {})


def past_return(found: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]] = (), strict: bool = False) -> bool:
    """Whether the member in hand has to be finished (follow.past_return); without `nodes` by the journal alone."""
    return follow.past_return(found, nodes, strict)


class FilterModule:
    """Filters of the role rollout; docs/design.md, section 7, tells how they are used."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "rollout_gates": gates,
            "rollout_refusal": dead.refusal,
            "rollout_processes": dead.in_hand,
            "rollout_record": before.record,
            "rollout_remaining_steps": steps.next_steps,
            "rollout_undo_steps": follow.undo_steps,
            "rollout_bring_up": steps.bring_up_steps,
            "rollout_outage": steps.outage_text,
            "rollout_last_step": steps.last_step,
            "rollout_undone": steps.undone,
            "rollout_certified": certified,
            "rollout_past_return": past_return,
            "rollout_until": versions.by_kube_cluster,
            "rollout_with_member": rebind.with_member,
            "rollout_stopped": rebind.stopped,
            "rollout_booted": rebind.booted,
            "rollout_drain_nodes": rollout.drain_nodes,
            "rollout_cordoned": rollout.cordoned,
            "rollout_pods": rollout.stale_pods,
            "rollout_outdated": rollout.outdated,
            "rollout_vm": successor.vm,
            "rollout_vm_done": successor.vm_done,
            "rollout_join_problems": rollout.join_problems,
            "rollout_seeds": observation.seeds,
            "rollout_issued": before.issued,
        }
        return {name: errors_of_input(function) for name, function in functions.items()}
