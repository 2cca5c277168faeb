# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids a rollout, said before its first change. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import adopt, before, gate, join, order, signs, steps, successor
from . import bindings as copies
from .journal import MAX_BYTES, largest
from .layout import data_folder
from .listed import some
from .names import members as members_name
from .names import rollout as journal_name
from .pod import STAY_TOLERATIONS
from .sizes import DATA_BYTES

Json = dict[str, Any]

# Bytes by which a binding may grow when its member gets another VM.
_LONGER_IDS = 2048


def request_errors(request: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of a rollout by themselves, one sentence each; nothing has been changed by then.

    Beside what `rollout_plan` needs: `soak_seconds`, `step_timeout_seconds`, `hook` (the path in hostnet_replace_tasks, the name of a role, or `wait`),
    `hook_role` (that name, or empty), `hook_tasks` (what the file holds, null where there is none), `hook_unreadable` (why it cannot be read),
    `probe_file` and `probe_file_exists`.
    """
    errors = []
    if request["work"] not in steps.WORKS:
        errors.append(f"hostnet_work is {request['work']!r}: upgrade.yml needs -e hostnet_work=reboot, replace, version or restart")
    # Not with repair and scale_down: an inventory may have it for its upgrades, and those are needed at once.
    if request["surge"] and request["work"] in ("reboot", "version", "restart"):
        errors.append(
            f"hostnet_surge is for hostnet_work=replace, where a new VM comes; it means nothing with {request['work']}: leave it out"
        )
    least = {"max_members": 0, "soak_seconds": 0, "step_timeout_seconds": 1, "follow_seconds": 1}
    errors += [
        f"hostnet_{key} is {request[key]}: it must be a whole number of at least {minimum}"
        for key, minimum in least.items()
        if int(request.get(key, minimum)) < minimum
    ]
    # A role is asked itself, in check mode.
    if request["work"] in ("reboot", "replace") and not request.get("hook_role"):
        errors += _hook_errors(str(request.get("hook") or "wait"), request.get("hook_tasks"), str(request.get("hook_unreadable", "")))
    if request.get("probe_file") and not request.get("probe_file_exists"):
        errors.append(
            f"hostnet_probe_file is {request['probe_file']}, which is no file on the controller: start the probe first, or leave it out"
        )
    return errors


def _hook_errors(path: str, tasks: Any, unreadable: str) -> list[str]:
    """Why the file of tasks cannot be what does the VMs: a member would be down before Ansible finds that out."""
    if path == "wait":
        return []
    where = f"hostnet_replace_tasks is {path}"
    if not path.startswith("/"):
        example = "$PWD/hook.yml, or the whole name of a role, for example hostnet.multicluster.vm_command"
        return [f"{where}: it must be an absolute path on the controller, for example {example}, or the word wait"]
    if tasks is None:
        return [
            f"{where}, which is no file on the controller: give the path of a file of Ansible tasks, the whole name of a role, or the word wait"
        ]
    if unreadable:
        return [f"{where}, which Ansible cannot read: {unreadable}"]
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, Mapping) for task in tasks):
        return [f"{where}: it must hold a list of Ansible tasks, at least one; docs/upgrade.md has examples"]
    return []


def until_errors(until: Mapping[str, str], kube_clusters: Sequence[str], followed: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the kube clusters of hostnet_follow_until; its versions were checked before."""
    strange = sorted(set(until) - set(kube_clusters))
    if strange:
        return [
            f"hostnet_follow_until names kube cluster {', '.join(strange)}, which is none of the deployment: it has {', '.join(sorted(kube_clusters))}"
        ]
    if until and followed and not any(entry["kube_cluster"] in until for entry in followed):
        return [
            (
                f"hostnet_follow_until names kube cluster {', '.join(sorted(until))}, where no member is to be worked on: name those of the members in "
                f"hostnet_members and --limit, or leave it out"
            )
        ]
    return []


def pool_label(
    label: str, planned: Sequence[Mapping[str, Any]], bindings: Mapping[str, Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """(errors, notes) about hostnet_pool_label: kube clusters whose nodes do not have it. With it, a successor that never has it would be waited for."""
    errors, notes = [], []
    for kube in sorted({str(bindings[str(entry["member"])]["kube_cluster"]) for entry in planned}):
        mine = [node for node in nodes if node["kube_cluster"] == kube]
        clouds = sorted({found for node in mine for found in [successor.pool_of(node["labels"])[0]] if found})
        where = f"hostnet_pool_label is {label}, and no node of kube cluster {kube} has that label"
        if any(node["labels"].get(label) for node in mine):
            homes = [bindings[str(entry["member"])] for entry in planned]
            without = sorted(
                str(entry["node"])
                for entry in homes
                for node in mine
                if entry["kube_cluster"] == kube and entry["node"] == node["name"] and not node["labels"].get(label)
            )
            if without:
                notes.append(
                    f"hostnet_pool_label is {label}, and these nodes with a member in kube cluster {kube} do not have that label, so it does not choose what "
                    f"comes after them: {some(without, 5)}"
                )
        elif clouds:
            notes.append(f"{where}: its node pools are told by {', '.join(clouds)}")
        else:
            errors.append(
                f"{where}: label its nodes (all of a pool, and new ones from the pool's own settings), correct the name, or leave it out"
            )
    return errors, notes


def journal_errors(hostnet: Mapping[str, Any], request: Mapping[str, Any], journal: Mapping[str, Any] | None) -> list[str]:
    adopting = adopt.in_progress(str(hostnet["name"]), journal)
    if journal is None or request.get("abort") or adopting:
        return adopting
    begun = journal.get("settings", {})
    wanted = before.wanted_settings(str(request["work"]), bool(request["surge"]), str(hostnet["image"]))
    # A repair finishes the member in hand, mends the others, and leaves the rollout open. With another image it would finish that member wrongly.
    if begun == wanted or (
        request["work"] == "repair"
        and begun.get("work") in steps.WORKS_OF_UPGRADE
        and begun.get("image") in ("", None, str(hostnet["image"]))
    ):
        return []
    differs = ", ".join(f"{key} {begun.get(key)!r} instead of {wanted[key]!r}" for key in sorted(wanted) if begun.get(key) != wanted[key])
    playbook = {"repair": "repair.yml", "scale_down": "scale_down.yml"}.get(
        str(begun.get("work")), f"upgrade.yml -e hostnet_work={begun.get('work')}"
    )
    return [
        (
            f"a rollout of {hostnet['name']} was begun and not finished (run {journal.get('run_id')}, {differs}): finish it with playbooks/{playbook}"
            f"{' -e hostnet_surge=true' if begun.get('surge') else ''}{' -e hostnet_image=' + str(begun['image']) if begun.get('image') else ''}, "
            f"or end it with -e hostnet_abort=true"
        )
    ]


def not_startable(
    hostnet: Mapping[str, Any],
    planned: Sequence[Mapping[str, Any]],
    home: Mapping[str, Mapping[str, Any] | None],
    resumed: bool,
    down: str,
) -> list[str]:
    """Members whose process would end and whose pod would not start on their node again, because somebody has cordoned or tainted it.

    Pods that the scheduler places (node_name), and works after which the VM is the same. Of a rollout that was begun (`resumed`), the next one alone: the
    others may have their turn. `down` is in hand and down already: going on is what brings it up.
    """
    if hostnet["placement"] != "node_name":
        return []
    errors = []
    for entry in planned[:1] if resumed else planned:
        node = home.get(str(entry["member"]))
        stays = entry["work"] in ("version", "restart") or (entry["work"] == "reboot" and not entry["waits"])
        if not stays or node is None or entry["member"] == down:
            continue
        tolerations = [*STAY_TOLERATIONS, *hostnet["tolerations"]]
        why = "cordoned" if node["unschedulable"] and signs.urgency(node) else ""
        if not why:
            against = [taint for taint in node["taints"] if _keeps_away(taint) and not any(_tolerates(one, taint) for one in tolerations)]
            why = f"tainted with {against[0]['key']}, which hostnet_tolerations does not tolerate" if against else ""
        if why:
            errors.append(
                f"member {entry['member']} would not start again: node {node['name']} of kube cluster {node['kube_cluster']} is {why}. Where nobody takes "
                f"its VM, undo that ({'kubectl uncordon ' + str(node['name']) if why == 'cordoned' else 'kubectl taint'}), or leave the member out "
                f"with hostnet_members"
            )
    return errors


def _keeps_away(taint: Mapping[str, Any]) -> bool:
    """Whether new pods stay away from a node with this taint. The one of a cordon is told by the cordon, which may be ours."""
    return taint.get("effect") in ("NoSchedule", "NoExecute") and taint.get("key") != "node.kubernetes.io/unschedulable"


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    exists = toleration.get("operator") == "Exists"
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if not toleration.get("key"):
        return exists
    return toleration["key"] == taint.get("key") and (exists or (toleration.get("value") or "") == (taint.get("value") or ""))


def too_long(
    hostnet: Mapping[str, Any],
    planned: Sequence[Mapping[str, Any]],
    bindings: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    done: Sequence[str],
) -> list[str]:
    """A journal that would not fit into its ConfigMap: refused before the first change, and not met in the middle."""
    if planned:
        data = copies.dump(list(bindings.values()), {})
        # The one in hand may have longer ids afterwards.
        size = sum(len(value) for value in data.values()) + _LONGER_IDS
        if size > DATA_BYTES:
            return [
                (
                    f"the bindings of {len(bindings)} members (ConfigMap {hostnet['namespace']}/{members_name(str(hostnet['name']))}, the same in every kube "
                    f"cluster) may become {size} bytes long, and Kubernetes takes {DATA_BYTES}: take members out with playbooks/scale_down.yml first"
                )
            ]
    order = [*done, *(str(entry["member"]) for entry in planned)]
    # What was there before is noted of the member's own kube cluster, so one member of each is enough.
    some = {str(bindings[str(entry["member"])]["kube_cluster"]): entry for entry in planned}
    sizes = {name: largest(order, before.record(entry, bindings[str(entry["member"])], nodes, {})) for name, entry in some.items()}
    worst = max(sizes, key=lambda name: (sizes[name], name), default="")
    if not worst or sizes[worst] <= MAX_BYTES:
        return []
    there = len([node for node in nodes if node["kube_cluster"] == worst])
    return [
        (
            f"the journal of this rollout (ConfigMap {hostnet['namespace']}/{journal_name(str(hostnet['name']))}, the same in every kube cluster) may become "
            f"{sizes[worst]} bytes long, and at most {MAX_BYTES} fit: it is of {len(order)} members, and kube cluster {worst} has {there} nodes. "
            f"Name fewer members with hostnet_members, or narrow hostnet_node_selector"
        )
    ]


def state_errors(hostnet: Mapping[str, Any], spec: Mapping[str, Any], work: str, inspection: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the system says against any such work and waiting does not mend, its gates with `not_for`: said before a node is cordoned for it."""
    gates = [entry for entry in (spec.get("gates") or {}).get("stop", []) if gate.is_for(entry, work) and entry.get("not_for")]
    return [f"{hostnet['system']}: {text}" for text in gate.evaluate(gates, gate.document(inspection, ""))]


def scale_down_errors(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    request: Mapping[str, Any],
    names: Sequence[str],
    in_hand: str,
    inspection: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    errors = []
    if not request["members"]:
        errors.append('hostnet_members is empty: name the members that are to leave for good, as in -e \'{"hostnet_members": ["east-2"]}\'')
    if steps.leave(spec) == "never":
        errors.append(
            f"{hostnet['system']}: a member cannot be taken out for good yet, because its peers would count it for ever; see docs/systems.md"
        )
    left = len([name for name in names if name not in request["members"]])
    minimum = int(spec.get("minimum_members", 1))
    if left < minimum:
        errors.append(
            f"{left} members would be left, {hostnet['system']} needs at least {minimum} to survive the loss of one. Add a node in any kube cluster and run "
            f"playbooks/deploy.yml first, or have the node replaced and run playbooks/repair.yml"
        )
    # Waiting opens none of these: they are said at once, for all who are to leave. Whoever has begun to is finished.
    begins = any(name in names and name != in_hand for name in request["members"])
    gates = (spec.get("gates") or {}).get("leave", []) if begins else []
    errors += [f"{hostnet['system']}: {text}" for text in gate.evaluate(gates, {**gate.document(inspection, "", names), "left": left})]
    return errors


def majority_lost(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    bindings: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
) -> str:
    """The refusal where no majority is left: facts for the human who has to decide, and what was not done."""
    entries = status["members"]
    healthy = [str(entry["member"]) for entry in entries if entry["healthy"]]
    lines = [
        (
            f"{len(healthy)} of {len(entries)} members of {hostnet['name']} are healthy, {gate.quorum(len(entries))} are needed: the majority is lost, "
            "so nothing is removed, wiped, initialised or forgotten. Where the data was last seen:"
        )
    ]
    by_name = {(node["kube_cluster"], node["name"]): node for node in nodes}
    for entry in sorted(entries, key=lambda item: join.natural_key(str(item["member"]))):
        binding = bindings[str(entry["member"])]
        node = by_name.get((binding["kube_cluster"], binding["node"]))
        gone = (
            "there is no such node any more"
            if node is None
            else ("node Ready" if node["ready"] else "node not Ready: it may come back with its disk")
        )
        lines.append(
            f"* {entry['member']}: {order.state(entry) if not entry['healthy'] else 'healthy'}; disk {data_folder(hostnet, binding)} on node {binding['node']} "
            f"(kube cluster {binding['kube_cluster']}, {binding['provider_id'] or 'no provider id'}, address {binding['address']}): {gone}"
        )
    manual = spec.get("recovery") or "the system's own documentation on lost majorities"
    lines += [
        "1. Start the VMs listed above with their old disks and addresses; the members then start by themselves.",
        f"2. Once {gate.quorum(len(entries))} members are healthy, run playbooks/repair.yml for the rest.",
        (
            f"3. Only if disks are lost for good: docs/recovery.md#back-from-a-disaster (the system's own procedure: {manual}), then playbooks/adopt.yml, "
            "which takes over what you brought back"
        ),
    ]
    return "\n".join(lines)
