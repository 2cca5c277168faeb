# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a rollout does: who is next, by which steps, on which node, and what forbids it. Pure functions.

A rollout works on one member at a time. Its steps are the same for every run, and each of them is done again without
harm: so a run that was killed is finished by running the steps of its member once more, from the first that may be missing.
The journal (docs/design.md, section 7) says which member that is and what was known about it before the first change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import before, dead, documents, follow, gate, generations, join, order, refusals, settings, signs, steps, trust, versions
from .classify import WELL, is_outdated
from .journal import in_flight
from .names import MEMBER_LABEL
from .settings_and_spec import selector_errors

Json = dict[str, Any]


def rollout_plan(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    request: Mapping[str, Any],
    plan: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    journal: Mapping[str, Any] | None,
    inspection: Mapping[str, Mapping[str, Any]] | None = None,
) -> Json:
    """What a rollout would do now.

    `request`: {work, surge, members (names; empty for all), limit_nodes (host names; null for all), max_members (0: all), abort, ended (the turns of this
    run: {member, work}), due (follow.due: {member: why its VM goes now}), pool_label, follow_until, seen (generations.Seen of this run so far)}, and what
    request_errors looks at. `plan` is
    deployment_plan's, `status` deployment_status's, `journal` the newest one (or null), `inspection` what the members said.

    Returns {errors, resume (the journal is gone on with), settings (what whoever goes on with it has to be asked for), in_hand, members: [{member, class,
    reason, why, steps, node, work, surge}], left (members that max_members leaves for the next run), broken, unmended, waits (lines: what has to come back,
    or get a VM, before anybody else is taken down), follows (somebody else does the VMs), again (follow.again: the member in hand needs another node),
    yields (the member in hand is up, and others are broken: they come first), hold (nobody is taken down now: no VM is about to go), over (why the cloud's
    upgrade is over for all who are left, or ""), followed (whose end counts), seen, standing (how far the upgrade is, for people), prove (processes that
    must be proven dead before the first change),
    lines}. Errors are raised before anything is changed.

    Members that are broken are mended first, whatever the rollout is for, as a repair mends them.
    """
    work = str(request["work"])
    errors = [*refusals.request_errors(request), *plan.get("conflicts", [])]
    # Of the wrong kube clusters nothing else is worth a word: members that nobody looked for are not lost.
    if work not in steps.WORKS or plan.get("membership"):
        return nothing(errors)
    entries = {str(entry["member"]): entry for entry in status["members"]}
    bindings = {str(entry["member"]): entry for entry in plan["members"]}
    flying = in_flight(journal)
    record: Mapping[str, Any] = (journal or {}).get("member") or {}
    in_hand = str(record.get("member", "")) if flying else ""
    if plan["mode"] != "existing":
        errors.append(
            f"deployment {hostnet['name']} in namespace {hostnet['namespace']} is not deployed, or not finished: run playbooks/deploy.yml first"
        )
        return nothing(errors)
    errors += refusals.journal_errors(hostnet, request, journal if flying else None)
    # An abort forgets nobody.
    errors += [] if request.get("abort") else trust.forgets_the_living(journal, inspection or {})
    errors += documents.in_hand_errors(journal if flying else None, bindings)
    known = set(bindings)
    # Whoever left for good in the rollout that is gone on with is no member any more.
    finished = [*(journal or {}).get("done", []), in_hand] if flying else []
    errors += [
        f"hostnet_members has {name!r}, which is no member of {hostnet['name']}: its members are {', '.join(sorted(known, key=join.natural_key))}"
        for name in request["members"]
        if name not in known and name not in finished
    ]
    errors += [
        f"hostnet_lost_disks has {name!r}, which is no member of {hostnet['name']}: its members are {', '.join(sorted(known, key=join.natural_key))}"
        for name in request.get("lost_disks") or ()
        if name not in known
    ]
    # Of whom nothing is known is not counted as a voter either: a gate would be too easy. Only who is leaving has lost its binding already.
    errors += [entry["error"] for entry in plan.get("strangers", []) if entry["member"] not in finished]
    if not bindings:
        return nothing(errors or [f"deployment {hostnet['name']} in namespace {hostnet['namespace']} has no members"])
    for name, entry in entries.items():
        if entry["class"] == "foreign":
            errors.append(f"member {name}: {entry['reason']}. Another system answers there: a human has to look, nothing is changed")
    broken = [name for name, entry in entries.items() if entry["class"] not in WELL or not entry["healthy"]]
    patient = order.follows(request)
    turns = [(str(entry["member"]), str(entry["work"])) for entry in request.get("ended") or ()]
    mended = [name for name, its in turns if its == "repair"]
    worn_out = {name for name in mended if mended.count(name) >= order.MENDED_AT_MOST}
    healthy = [name for name in entries if name not in broken]
    if len(healthy) < gate.quorum(len(entries)):
        errors.append(refusals.majority_lost(hostnet, spec, status, bindings, nodes))
        return {**nothing(errors), "broken": broken}
    if in_hand and in_hand not in bindings and record.get("old"):
        # It is leaving for good, and its binding is gone already: what is left to do is still done.
        bindings[in_hand] = record["old"]
        entries[in_hand] = {
            "class": str(record.get("class", "")),
            "reason": "it is leaving",
            "healthy": False,
            "leader": False,
            "image": "",
        }
    home = signs.homes(bindings.values(), nodes)
    own = str(request.get("pool_label") or "")
    seen = generations.see(request.get("seen") or {}, list(bindings.values()), nodes, own)
    followed = (
        [entry["member"] for entry in order.narrowed([{"member": name} for name in bindings], request, bindings, "")] if patient else []
    )
    done = list((journal or {}).get("done", [])) if flying else []
    kube_clusters = [str(entry["name"]) for entry in hostnet["kube_clusters"]]
    until = versions.by_kube_cluster(request.get("follow_until"), kube_clusters)
    standing = generations.standing(list(bindings.values()), nodes, seen, followed, done, until, own, work != "replace")
    if patient:
        errors += refusals.until_errors(until, kube_clusters, [bindings[name] for name in followed])
    mends: list[Json] = []
    unmended: list[str] = []
    waits: list[str] = []
    waiting: list[str] = []
    # A repair in the middle of a rollout of another kind: that one stays open.
    another = work == "repair" and flying and (journal or {}).get("settings", {}).get("work") not in (None, "repair")
    if work == "repair":
        chosen, unmended = order.to_mend(entries, bindings, nodes, record if in_hand else {})
        again = [entry for entry in chosen if entry["member"] in worn_out - {in_hand}]
        unmended += [
            f"member {entry['member']} was repaired {order.MENDED_AT_MOST} times by this run, and is broken again: {entry['why']}"
            for entry in again
        ]
        chosen = [entry for entry in chosen if entry not in again]
        if another:
            mends = [entry for entry in chosen if entry["member"] != in_hand]
    else:
        chosen = order.to_roll(request, entries, bindings, journal if flying else None, home, hostnet, standing["again"])
        # An abort makes nothing worse, and has to be possible where neither the rollout nor a repair goes on. Whoever leaves need not be well.
        leaving = request["members"] if work == "scale_down" else []
        others = [] if request.get("abort") else [name for name in broken if name != in_hand and name not in leaving]
        if work != "scale_down":
            able = [name for name in others if name not in worn_out]
            found, _left_alone = order.to_mend(entries, bindings, nodes, record, able, seen["members"], own)
            mends = order.narrowed([{**entry, "work": "repair"} for entry in found], request, bindings, "")
        mending = [entry["member"] for entry in mends]
        # Whoever is in hand is finished first: half of it may be done.
        chosen = [
            *(entry for entry in chosen if entry["member"] == in_hand),
            *mends,
            *(entry for entry in chosen if entry["member"] not in (in_hand, *mending)),
        ]
        worse = [name for name in others if name not in mending and entries[name]["class"] != "foreign"]
        lines = [f"member {name} is {order.state(entries[name])}" for name in worse]
        if patient and flying:
            # A cloud is at work. Its VM may come, or come back; until then nobody else is taken down.
            waits, waiting = lines, worse
        else:
            errors += [
                f"{line}: a rollout starts only while every member is well. Repair it first with playbooks/repair.yml" for line in lines
            ]
    if work == "scale_down" and not request.get("abort"):
        errors += refusals.scale_down_errors(hostnet, spec, request, list(bindings), in_hand, inspection or {})
    if work in steps.WORKS_OF_UPGRADE and not flying:
        errors += refusals.state_errors(hostnet, spec, work, inspection or {})
    chosen = order.narrowed(chosen, request, bindings, in_hand)
    # Nobody stays broken, and nobody in the middle, because enough others had their turn.
    head = [entry for entry in chosen if entry["member"] == in_hand or (work != "repair" and entry in mends)]
    rest = [entry for entry in chosen if entry not in head]
    had = len([its for _name, its in turns if its == work]) + len([entry for entry in head if entry["member"] == in_hand])
    room = max(0, int(request["max_members"]) - had) if request.get("max_members") else len(rest)
    chosen, left = [*head, *rest[:room]], [str(entry["member"]) for entry in rest[room:]]
    if another:
        left += [
            name
            for name in (journal or {}).get("order", [])
            if name in bindings and name not in (*(journal or {}).get("done", []), in_hand, *left)
        ]
    if work in ("replace", "scale_down") and not request.get("abort"):
        errors += [
            f"member {entry['member']} has the only copy of {', '.join(entries[entry['member']]['alone'])}: it would be lost with the VM. Give it more "
            f"replicas first, or leave this member out with hostnet_members"
            for entry in chosen
            if entries.get(entry["member"], {}).get("alone")
        ]
    planned = []
    for entry in chosen:
        name = entry["member"]
        # A member that an earlier repair stopped, because its VM has another address, goes the way of those that moved.
        now = (
            "stopped"
            if (entry.get("work") or work) == "repair" and bindings[name].get("stopped") and entries[name]["class"] == "unknown"
            else entries[name]["class"]
        )
        kind = str(record.get("class") or now) if name == in_hand else str(now)
        in_work = str(record.get("work") or work) if name == in_hand else str(entry.get("work") or work)
        in_surge = bool(record.get("surge", request["surge"])) if name == in_hand else bool(request["surge"]) and in_work == work
        # Somebody else takes its VM, and may never do it.
        in_waits = (request.get("hook") or "wait") == "wait" and in_work in ("reboot", "replace")
        planned.append(
            {
                "member": name,
                "class": kind,
                "reason": entries[name]["reason"],
                "why": entry["why"],
                "node": entry.get("node", bindings[name]["node"]),
                "work": in_work,
                "surge": in_surge,
                "waits": in_waits,
                "steps": steps.of(
                    in_work,
                    kind,
                    in_surge,
                    str(spec.get("forget", "never")),
                    steps.leave(spec),
                    entries[name]["image"] != hostnet["image"],
                    in_waits,
                ),
            }
        )
    hold = (
        patient
        and not in_hand
        and not mends
        and (bool(waits) or (bool(planned) and not order.is_due(str(planned[0]["member"]), request, home)))
    )
    over = standing["over"] if hold and not waits else ""
    if over:
        planned, left, hold = [], [], False
    notes: list[str] = []
    if not flying and own and (work == "replace" or patient):
        wrong, notes = refusals.pool_label(own, planned, bindings, nodes)
        errors += wrong
    # An abort needs a node only where it finishes the member in hand.
    if any(entry["work"] in ("replace", "repair") for entry in planned) and not (
        request.get("abort") and not follow.past_return(journal or {}, nodes)
    ):
        errors += selector_errors(hostnet)
    if not request.get("abort") and work != "scale_down":
        errors += refusals.too_long(hostnet, planned, bindings, nodes, done)
    is_down = steps.is_down(journal or {}, list(bindings.values()))
    if not request.get("abort"):
        errors += refusals.not_startable(hostnet, planned, home, flying, in_hand if is_down else "")
    # Nothing was done yet for which its VM was needed, and whose VM is gone has to be proven dead before somebody takes its place.
    vm_gone = bool(record.get("old")) and record.get("work") not in ("repair", "scale_down") and follow.is_lost(record["old"], nodes)
    # A repair that comes into a rollout mends, and takes nobody down whose turn that rollout had begun. One that drains is not well until it was stopped.
    another_ones = another and record.get("work") not in ("repair", "scale_down") and "drain" not in steps.begun_steps(journal or {})
    # A VM that goes after this is news (rollout_follow).
    gone = follow.due(list(bindings.values()), nodes, (), ()) if waiting else {}
    result: Json = {
        "errors": errors,
        "resume": flying,
        "settings": (journal or {}).get("settings", {})
        if flying
        else before.wanted_settings(work, bool(request["surge"]), str(hostnet["image"])),
        "in_hand": in_hand,
        "members": planned,
        "left": left,
        "broken": broken,
        "unmended": unmended,
        "waits": waits,
        "waiting": waiting,
        "stuck": [name for name in waiting if name in gone],
        "follows": patient,
        "again": follow.again(
            journal if flying and not request.get("abort") else None, nodes, bool(in_hand) and request.get("in_vain") == in_hand
        ),
        "yields": bool(in_hand)
        and not request.get("abort")
        and not is_down
        and (bool(mends or waits) or another_ones or vm_gone or not order.may_go_on(request, record, home)),
        "hold": hold,
        "over": over,
        "followed": followed,
        "seen": seen,
        "standing": standing["text"] if followed else "",
        "notes": notes,
        # An abort takes nobody's place.
        "prove": []
        if request.get("abort")
        else dead.to_prove(
            planned,
            {
                name: dead.process_of(binding, before.old_id(inspection or {}, binding), str(entries[name]["reason"]))
                for name, binding in bindings.items()
            },
            steps.finished_steps(journal) if flying and journal else (),
            in_hand,
        ),
    }
    result["lines"] = _lines(hostnet, spec, result, bindings, status)
    return result


def nothing(errors: list[str]) -> Json:
    """A plan that does nothing, for these reasons."""
    return {
        "errors": errors,
        "resume": False,
        "settings": {},
        "in_hand": "",
        "members": [],
        "left": [],
        "broken": [],
        "unmended": [],
        "waits": [],
        "waiting": [],
        "stuck": [],
        "follows": False,
        "again": None,
        "yields": False,
        "hold": False,
        "over": "",
        "followed": [],
        "seen": {},
        "standing": "",
        "notes": [],
        "prove": [],
        "lines": [],
    }


def _lines(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any],
    bindings: Mapping[str, Mapping[str, Any]],
    status: Mapping[str, Any],
) -> list[str]:
    """The plan as lines for people."""
    lines = []
    if plan["resume"]:
        lines.append("an earlier run was cut short: its rollout is resumed")
    if plan["again"]:
        lines.append(f"the VM that member {plan['in_hand']} was to go on with is gone too: another node is found for it")
    if plan["hold"]:
        lines.append("held: no member is stopped before the cloud is about to take its VM, and the cloud's order counts")
        lines.append(str(plan["standing"]))
    if not plan["members"]:
        lines.append(f"nothing to do: {plan['over']}" if plan["over"] else "nothing to do")
    else:
        values = settings.wanted(spec, str(plan["members"][-1]["work"]))
        lines += [f"setting {name} becomes {value} where it is not that already; put back at the end" for name, value in values.items()]
    lists = status["join_lists"]
    before: list[str] = next(iter(lists.values()), [])
    live = [{**dict(entry), "live": name not in plan["broken"]} for name, entry in bindings.items()]
    for number, entry in enumerate(plan["members"], 1):
        binding = bindings[entry["member"]]
        lines.append(
            f"{number}. {entry['member']} on node {binding['node']} ({binding['kube_cluster']}, {binding['address']}), {entry['work']}: {entry['why']}"
        )
        lines.append("   " + " > ".join(entry["steps"]))
        if "unlist" in entry["steps"] and any(other["live"] and other["member"] != entry["member"] for other in live):
            without = join.join_list(
                [{**other, "live": other["live"] and other["member"] != entry["member"]} for other in live],
                before,
                int(hostnet["join_per_cluster"]),
            )
            lines.append(
                f"   join list {', '.join(before)} > {', '.join(without)} > the same with the new address where it is among the "
                f"{hostnet['join_per_cluster']} of {binding['kube_cluster']}"
            )
            before = without
        if "certify" in entry["steps"]:
            lines.append(f"   {len([wish for wish in spec['certificates'] if wish.get('hosts')])} certificates for the new address")
    if plan["left"]:
        lines.append(f"left for the next run: {', '.join(plan['left'])}")
    lines += [f"! {line}" for line in [*plan["unmended"], *plan["waits"], *plan["notes"]]]
    return lines


def drain_nodes(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_drain: the VMs of these bindings, as far as they are still there."""
    current = {(node["kube_cluster"], node["name"]): str(node["uid"]) for node in nodes}
    return [
        {"kube_cluster": binding["kube_cluster"], "name": binding["node"], "uid": binding["node_uid"]}
        for binding in bindings
        if current.get((binding["kube_cluster"], binding["node"])) == binding["node_uid"]
    ]


def outdated(pods: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], image: str) -> list[Json]:
    """Those of `pods` (of stale_pods) that have to end, so that others come: a pod that was started anew before a kill is not stopped a second time.

    With an `image`, those that do not run it; without one, those that are older than what their workload says (classify.is_outdated).
    """
    found = {pod["uid"]: (pod, there["workloads"]) for there in observed.values() for pod in there["pods"]}

    def old(uid: str) -> bool:
        if uid not in found:
            return True
        pod, workloads = found[uid]
        return bool(pod["image"] != image) if image else is_outdated(pod, workloads, str(pod["member"]))

    return [dict(pod) for pod in pods if old(str(pod["uid"]))]


def touched(objects: Sequence[Mapping[str, Any]], journal: Mapping[str, Any] | None, bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The `objects` of a deployment without the certificates of members that are not in hand, and without the workloads whose turn has not come, while a
    rollout brings another image.

    A renewed certificate is brought to its process by a rotation alone (serving.py).
    A pod that is lost before is made anew from them, and nothing may bring it the new version without a gate. A DaemonSet is one for all of a
    kube cluster: it gets the new image with the first member's turn.
    """
    if not in_flight(journal) or not journal:
        return [dict(entry) for entry in objects]
    in_hand = ("", str((journal.get("member") or {}).get("member", "")))
    objects = [
        entry
        for entry in objects
        if entry["definition"]["kind"] != "Secret" or entry["definition"]["metadata"]["labels"].get(MEMBER_LABEL, "") in in_hand
    ]
    if not journal["settings"].get("image"):
        return [dict(entry) for entry in objects]
    turns = {*journal["done"], str((journal.get("member") or {}).get("member", ""))} - {""}
    kube_clusters = {entry["kube_cluster"] for entry in bindings if entry["member"] in turns}

    def has_its_turn(kube_cluster: str, definition: Mapping[str, Any]) -> bool:
        if definition["kind"] not in ("StatefulSet", "DaemonSet"):
            return True
        member = definition["metadata"]["labels"].get(MEMBER_LABEL, "")
        return member in turns if member else kube_cluster in kube_clusters

    return [dict(entry) for entry in objects if has_its_turn(str(entry["kube_cluster"]), entry["definition"])]


def stale_pods(binding: Mapping[str, Any], observed: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`pods` of member_stop: every pod of a member, and whether its VM is gone, so that no kubelet will ever confirm its end.

    A pod of a node that exists is never forced, because its process may run; but where a human has said that the host is shut down (dead.is_dead),
    as Kubernetes itself does it then.
    """
    alive = {(node["kube_cluster"], node["name"]) for node in nodes if not dead.is_dead(node)}
    kube_cluster = str(binding["kube_cluster"])
    pods = observed.get(kube_cluster, {}).get("pods", [])
    return [
        {
            "kube_cluster": kube_cluster,
            "name": pod["name"],
            "uid": pod["uid"],
            "force": bool(pod["node"]) and (kube_cluster, pod["node"]) not in alive,
        }
        for pod in pods
        if (pod["member"] == binding["member"] if pod["member"] else pod["node"] == binding["node"])
    ]


def join_problems(bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[str]:
    """What is wrong with the join lists in force (invariants 3 and 5): unequal, or with an address that is nobody's.

    `bindings` have `live`.
    """
    problems = []
    data = {name: observed[name]["join"] for name in sorted(observed)}
    first = next(iter(data))
    problems += [f"the join list of kube cluster {name} differs from that of {first}" for name in data if data[name] != data[first]]
    for name, found in data.items():
        entries = [entry for entry in str((found or {}).get("seeds", "")).split(",") if entry]
        problems += [f"kube cluster {name}: {line}" for line in join.violations(entries, bindings)]
    return problems
