# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a rollout wait for at a member's VM, judged by the nodes as they are. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from . import follow, rebind, steps, successor

Json = dict[str, Any]


class Verdict(TypedDict):
    """What a look at the nodes said. `done`: it has come true. `never`: why it will not. `missing`: what is waited for. `found`: what else is told."""

    done: bool
    never: str
    missing: str
    found: Json


def vm_done(journal: Mapping[str, Any], action: str, nodes: Sequence[Mapping[str, Any]], own: str = "") -> Verdict:
    """Whether the VM of the member in hand was rebooted, replaced, added or removed (successor.vm_done)."""
    record = journal["member"]
    where = f"node {record['old']['node']} of kube cluster {record['old']['kube_cluster']}"
    missing = {
        "reboot": f"{where} is not Ready with another boot id, and its VM was to be rebooted. Look at the VM, then run the playbook again",
        "remove": f"the VM of {where} is still there",
    }.get(action, f"no new VM has come for {where}")
    return _verdict(successor.vm_done(record, action, nodes, own), missing=missing)


def vm_lost(journal: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], in_vain: bool = False) -> Verdict:
    """Whether the VM that the member in hand has, or was to go on with, is gone past the point of no return (follow.again)."""
    return _verdict(follow.again(journal, nodes, in_vain) is not None, missing="the VM of the member in hand is there, or may yet be")


def new_node(
    journal: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    token: str,
    nonce: str,
    patient: bool,
    own: str = "",
) -> Verdict:
    """The node that the member in hand goes on with (successor.identify_for): its new `binding`, and the bindings `displaced` by that."""
    record = journal["member"]
    said = successor.identify_for(record, nodes, bindings, patient, own)
    if said["node"] is None:
        return _verdict(False, said["error"], said["waiting"])
    binding = rebind.new_binding(hostnet, spec, record, said["node"], token, nonce)
    return _verdict(True, binding=binding, displaced=rebind.displaced(bindings, binding, nodes))


def turn(
    journal: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], among: Sequence[str]
) -> Verdict:
    """Whether no other member's VM goes while the member in hand is yet to be stopped: two would be down.

    `bindings` are of those who count on each other. Whoever has lost its VM `goes_first`, and so does a member whose VM is about to go and who is
    `among` those that are to have a turn: nothing is to be waited for then.
    """
    member = str(journal["member"]["member"])
    leaving = [] if steps.past_return(journal) else follow.leaving(bindings, nodes, member)
    if not leaving:
        return _verdict(True, goes_first=[])
    leaves = journal["member"]["work"] == "scale_down"
    first = [] if leaves else [entry["member"] for entry in leaving if entry["lost"] or entry["member"] in among]
    said = f"{'; '.join(entry['text'] for entry in leaving)}. Two members would be down, so {member} was not stopped. "
    if first:
        return _verdict(False, f"{said}It comes later", goes_first=first)
    return _verdict(False, missing=f"{said}Run again when that is over: the rollout resumes", goes_first=first)


def _verdict(done: bool, never: str = "", missing: str = "", **found: Any) -> Verdict:
    return {"done": done, "never": never, "missing": "" if done or never else missing, "found": found}
