# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is dead: what survivors say about a process, a human's word, and the VM whose Node object was made anew. Pure functions.

Kubernetes knows nothing about a process whose Node object is gone or not Ready: it may run on. The other members do, so they are asked before
anybody takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .names import OUT_OF_SERVICE
from .nodes import STATUS_ADDRESS_TYPES, same_address

Json = dict[str, Any]

# Classes of members whose place a repair gives to an empty disk.
TAKEN = ("reimaged", "replaced", "missing", "dead")
# The step that asks the survivors; after it the old process was proven dead.
_PROOF = "gate_repair"


def out_of_service(node: Mapping[str, Any]) -> bool:
    """Whether a human has said that this host is shut down."""
    return any(taint.get("key") == OUT_OF_SERVICE for taint in node.get("taints") or [])


def is_dead(node: Mapping[str, Any]) -> bool:
    """Whether the host is dead by a human's word, which Kubernetes does not contradict: a node that is Ready is not."""
    return out_of_service(node) and not node["ready"]


def taint_command(hostnet: Mapping[str, Any], kube_cluster: str, node: str, take_away: bool = False) -> str:
    """The command that says that a host is shut down, or takes that back."""
    found: Mapping[str, Any] = next((entry for entry in hostnet.get("kube_clusters") or [] if entry.get("name") == kube_cluster), {})
    context = str(found.get("context") or kube_cluster)
    return f"kubectl --context {context} taint nodes {node} {OUT_OF_SERVICE}{'-' if take_away else '=nodeshutdown:NoExecute'}"


def words(hostnet: Mapping[str, Any], kube_cluster: str, node: str) -> str:
    """How a human says that a host is dead."""
    return f"If its host is shut down for good, say so: {taint_command(hostnet, kube_cluster, node)} (or delete the Node), then run playbooks/repair.yml"


def lists_address(node: Mapping[str, Any], address: str) -> bool:
    """Whether the node has this address: as the one that was chosen, or further down in the list of its type.

    Kubelets and clouds change the order of that list. An address that comes from an annotation is in none.
    """
    chosen = str(node.get("address") or "")
    listed = node.get("addresses") or []
    types = {entry.get("type") for entry in listed if same_address(str(entry.get("address") or ""), chosen)}
    same = [str(entry.get("address") or "") for entry in listed if entry.get("type") in types]
    return any(same_address(found, address) for found in [chosen, *same])


def other_type(hostnet: Mapping[str, Any], binding: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """The type under which the bound node still lists the binding's address, where hostnet_address_type is another one; "" where it is not.

    Then not the VM has moved, but the setting. A DaemonSet's members have no other type than InternalIP.
    """
    address = str(binding["address"])
    if hostnet["placement"] == "daemonset" or node["uid"] != binding["node_uid"] or lists_address(node, address):
        return ""
    listed = [(str(entry.get("type")), str(entry.get("address") or "")) for entry in node.get("addresses") or []]
    others = [found for found in STATUS_ADDRESS_TYPES if found != hostnet["address_type"]]
    return next((kind for kind, found in listed if kind in others and same_address(found, address)), "")


def same_vm(binding: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether this Node object is of the very VM that the member was admitted to, as far as the VM itself says.

    A boot has an id that no other has. A machine id is the disk's; some images have one for all of their VMs, so it
    counts together with the address or the provider id alone.
    """
    boot, machine = str(binding.get("boot_id") or ""), str(binding.get("machine_id") or "")
    other_machine = bool(machine and node.get("machine_id") and node["machine_id"] != machine)
    if other_machine:
        return False
    if boot and node.get("boot_id") == boot:
        return True
    same_place = lists_address(node, str(binding["address"])) or bool(
        binding.get("provider_id") and node.get("provider_id") == binding["provider_id"]
    )
    return bool(machine and node.get("machine_id") == machine and same_place)


def followed(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> tuple[list[Json], list[str]]:
    """The bindings with the UIDs of Node objects that were made anew for the same VM, and the names of those members.

    A deleted Node object comes back when its kubelet registers again: another UID, but the same VM with the same disk. Should that
    be wrong, nothing starts: the member's folder is not on another VM's disk.
    """
    by_name = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    result, names = [], []
    for binding in bindings:
        node = by_name.get((str(binding["kube_cluster"]), str(binding["node"])))
        if node is not None and node["uid"] != binding["node_uid"] and same_vm(binding, node):
            result.append({**binding, "node_uid": node["uid"], "provider_id": node.get("provider_id") or binding.get("provider_id", "")})
            names.append(str(binding["member"]))
        else:
            result.append(dict(binding))
    return result, names


def process_of(binding: Mapping[str, Any], old_id: str, why: str = "") -> Json:
    """A process as survivors may know it: an entry of `processes` of member_inspect."""
    return {
        "member": str(binding["member"]),
        "process": str(binding.get("process") or binding["member"]),
        "id": old_id,
        "address": str(binding["address"]),
        "why": why,
    }


def in_hand(record: Mapping[str, Any] | None) -> list[Json]:
    """The process of the member in hand, where its place is taken: what its step asks the survivors about."""
    if not record or record.get("class") not in TAKEN or record.get("work") != "repair":
        return []
    return [process_of(record["old"], str(record.get("old_id") or ""))]


def to_prove(
    planned: Sequence[Mapping[str, Any]], processes: Mapping[str, Mapping[str, Any]], proven: Sequence[str], member: str
) -> list[Json]:
    """The processes to be proven dead before a repair's first change: of planned members whose place is taken.

    `proven` are the steps that the member in hand (`member`) is done with: after the proof its successor may run under the same name.
    """
    found = []
    for entry in planned:
        begun = entry["member"] == member
        if entry["work"] == "repair" and entry["class"] in TAKEN and not (begun and _PROOF in proven):
            process = dict(processes[str(entry["member"])])
            found.append(
                {**process, "why": f"{process['why']}; its repair was begun: end that with -e hostnet_abort=true"} if begun else process
            )
    return found


def verdicts(inspection: Mapping[str, Mapping[str, Any]], processes: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """What the members say about these processes: those that live, and those of which somebody cannot tell; a text for each.

    `live` of a peer is true, false, or null where a member that usually knows cannot tell now: then nothing may be concluded. A system that
    never says `live` has no voice here. Whoever does not list the process at all does not count it as a member.
    """
    alive, untold = [], []
    for process in processes:
        name, where = str(process["member"]), f"member {process['member']} at {process['address']}"
        seen, unsure = [], []
        for teller in sorted(inspection):
            said = inspection[teller]
            if not said.get("reachable"):
                continue
            if teller == name:
                seen.append("it answers itself")
                continue
            told = [peer["live"] for peer in said.get("peers") or [] if "live" in peer and is_peer(peer, process)]
            if any(live is True for live in told):
                seen.append(teller)
            elif any(live is None for live in told) and said.get("healthy") and said.get("role") != "learner":
                unsure.append(teller)
        if seen:
            alive.append(
                f"{where} ({'; '.join(seen) if name in inspection and 'it answers itself' in seen else 'seen by ' + ', '.join(seen)})"
            )
        elif unsure:
            untold.append(f"{where} ({', '.join(unsure)} cannot tell)")
    return alive, untold


def is_peer(peer: Mapping[str, Any], process: Mapping[str, Any]) -> bool:
    """Whether a peer is this process: by its id or its name; by its address only where it has no other name."""
    name = str(peer.get("name") or "")
    if process.get("id") and str(peer.get("id") or "") == process["id"]:
        return True
    if name and name == process["process"]:
        return True
    return name in ("", str(process["member"])) and same_address(str(peer.get("address") or ""), str(process["address"]))


def refusal(inspection: Mapping[str, Mapping[str, Any]], processes: Sequence[Mapping[str, Any]], timeout: float) -> str:
    """Why nobody's place is taken, one paragraph, with what to do; empty where nothing speaks against it."""
    alive, untold = verdicts(inspection, processes)
    reasons = "; ".join(f"{entry['member']}: {entry['why']}" for entry in processes if entry.get("why"))
    why = f" ({reasons})" if reasons else ""
    if alive:
        return (
            f"nothing was changed: still alive is {', '.join(alive)}, whatever became of its node{why}. Nobody takes its place while it runs. Shut "
            f"that VM down, or let its kubelet register again (the member then goes on with its disk), and run this playbook again. To mend "
            f"others first, name them in hostnet_members"
        )
    if untold:
        return (
            f"nothing was changed: after {timeout:g} s it cannot be told whether {', '.join(untold)} is dead{why}. A connection to a VM that is gone is "
            f"noticed within minutes: run this playbook again, and look at the members that cannot tell"
        )
    return ""
