# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a member, in one table, and which of them are done, left, or to be undone, as its journal tells. Pure functions.

What there is to know about a step stands in its row: the order that they take, how a run that was cut short goes on, what an abort undoes, the report and
the tables of docs/upgrade.md come from here. Its tasks are in roles/rollout/tasks/steps/, under its name.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import dead

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a member: what there is to know about it.

    name: of its file of tasks, and in the journal. text: what it does, for the report; "the member ..." or "it ..." is its subject.
    more: what else docs/upgrade.md says of it. time: whose time it takes: `own`, `vm`, `process`, `catch_up` or `soak`.
    undo: the steps that put back what it did. final: a VM may be gone once it has begun, so that the member is finished and not undone. asks: it is a
    gate, and has to be fresh when a step with `down` begins, which takes the member down. up: it does nothing but bring a member up that was
    admitted before, so that a run that cannot ask every kube cluster does it: nobody is stopped, forgotten or taken in by it, and no join
    list changes (docs/design.md, section 7).
    """

    name: str
    text: str
    more: str = ""
    time: str = "own"
    undo: tuple[str, ...] = ()
    final: bool = False
    asks: bool = False
    down: bool = False
    up: bool = False


# In the order of a member's life. Which of them a member takes, and in which order, says `of`.
TABLE = (
    Step(
        "pull",
        "pulls the image that the member is to start from",
        "where that is another one than it runs: on its node, while it still runs, by a short-lived pod. A wrong name, or a registry that does not "
        "give it, is found before anything stops",
    ),
    Step(
        "gate_neighbours",
        "makes sure that the other deployments on the VM can do without their members there",
        "by their own gates, with three samples in a row",
        asks=True,
    ),
    Step(
        "gate",
        "makes sure that the others can do without this member",
        "lets a member go first [whose VM is gone or goes sooner](#signs-that-a-vm-is-about-to-go), then asks all members until three samples in a row "
        "allow it: the others are well and a majority without this one, one cluster id, and the system's own conditions ([docs/systems.md](systems.md)). "
        "An unknown state closes the gate",
        asks=True,
    ),
    Step(
        "gate_repair",
        "makes sure that the others are well enough for a repair",
        "as `gate`, and asks once more whether [whose place is taken is dead](#dead-is-proven)",
        asks=True,
    ),
    Step("cordon", "keeps new pods from the node", undo=("uncordon",)),
    Step(
        "evict",
        "moves the node's other pods away",
        "by evictions that obey PodDisruptionBudgets, tried again until the deadline. DaemonSet, static and finished pods stay. A pod that no controller "
        "would make again is refused by name: move it yourself. `emptyDir` volumes are lost, as with any eviction. Not with `hostnet_replace_tasks=wait`: "
        "whoever takes the VM evicts them",
    ),
    Step("lead", "moves leadership to another member", "etcd; the others do it by themselves"),
    Step("drain", "asks the system to move its work away from the member", "NATS sends its clients away, CockroachDB drains"),
    Step(
        "leave",
        "lets the member leave the system, while its process still runs",
        "CockroachDB: its data moves away first",
        final=True,
    ),
    Step(
        "stop",
        "stops the member's process",
        "recorded first, so nothing starts it again; when the process has ended, its node's [guard pods](#guard-pods) go",
        time="process",
        undo=("start", "settle"),
        down=True,
    ),
    Step(
        "restart",
        "starts the member's process anew",
        "ends the pod; the workload makes one from its newest template",
        time="process",
        final=True,
        down=True,
    ),
    Step(
        "stop_neighbours",
        "stops the members of other deployments on the VM",
        "their gates once more, then the stop is recorded and the process ends in its own grace period, in which etcd hands its leadership on and "
        "NATS goes into lame duck mode",
        undo=("start_neighbours",),
    ),
    Step("vm", "reboots or replaces the VM", "the hook, or waiting", time="vm", final=True),
    Step(
        "vm_add",
        "adds the new VM beside the old one",
        "the hook. An undo leaves it there, and a member that has lost its VM may take it",
        time="vm",
    ),
    Step(
        "identify",
        "finds the member's node and makes sure that it is the right one",
        "its kube cluster and zone, Ready, matches `hostnet_node_selector`, a VM that was not there before (below), and an address of no other member. "
        "A repair takes any such node that carries no member. Before anybody is forgotten, its ports are free, its clock is right, its disk is there, and "
        "it has pulled every image of the member's pod",
    ),
    Step("uncordon", "lets pods come back to the node", "only a cordon of our own is taken away", up=True),
    Step(
        "unlist",
        "takes the old address out of the join lists",
        "read back in every kube cluster, and equal and right, or the step fails",
    ),
    Step("forget", "takes the old process out of the system's membership", "before the new one starts: etcd", final=True),
    Step("readdress", "tells the system the member's new address", "etcd", final=True),
    Step("note", "notes that the member's VM has started again, or has another Node object"),
    Step("certify", "issues a certificate for the present address", "from the recorded CA"),
    Step("admit", "lets the member start on this node", "announces it to the system, and makes its data folder", final=True),
    Step(
        "start",
        "starts the member's process",
        "with guard pods on its node",
        time="process",
        final=True,
        up=True,
    ),
    Step(
        "start_neighbours",
        "lets the members of other deployments on the VM start again",
        "after a reboot they are waited for until they are well; after a replacement they wait for their data folder, as after any VM that a "
        "cloud has replaced",
        up=True,
    ),
    Step("join", "waits until the member has joined", time="catch_up", final=True, up=True),
    Step(
        "forget_after",
        "takes the old process out of the system's membership",
        "once the new one has joined: CockroachDB",
        final=True,
    ),
    Step("list", "puts the new address into the join lists", "read back as in `unlist`", final=True),
    Step("remove", "deletes what belongs to this member alone"),
    Step(
        "settle",
        "waits until the member has caught up and all are well",
        "three samples in a row without anything to be said against going on",
        time="catch_up",
        final=True,
        up=True,
    ),
    Step("retire", "takes the old VM away", "the hook", time="vm", final=True),
    Step("soak", "watches for a while whether all stays well", "for `hostnet_soak_seconds` without a break", time="soak", final=True),
)
BY_NAME = {step.name: step for step in TABLE}
# Steps after whose beginning a VM may be gone: an abort does not undo them, it finishes the member.
POINT_OF_NO_RETURN = tuple(step.name for step in TABLE if step.final)
# Steps that ask whether the member may be taken down, in their order, and those that do it.
GATES = tuple(step.name for step in TABLE if step.asks)
TAKES_DOWN = tuple(step.name for step in TABLE if step.down)
# All that a run does that cannot ask every kube cluster.
BRING_UP = tuple(step.name for step in TABLE if step.up)

# What upgrade.yml may be asked to do with a member; a repair may come into it, with the rollout left open.
WORKS_OF_UPGRADE = ("reboot", "replace", "version", "restart")
# What each playbook may be asked to do.
WORKS = (*WORKS_OF_UPGRADE, "repair", "scale_down")
# Classes of members whose VM kept its disk and has another address.
KEPT_DISK = ("moved", "swapped", "stopped")
# Evictions take long and may be refused by a budget, so they come while the member still serves; and the gate right before the stop.
_TAKE_DOWN = ("cordon", "evict", "gate", "lead", "drain", "stop")


def leave(spec: Mapping[str, Any]) -> str:
    """How a member leaves for good: `stopped` (the others forget one that is down), `running` (its data moves away first), or `never`."""
    return str(spec.get("leave") or {"before_join": "stopped", "after_join": "running"}.get(str(spec.get("forget")), "never"))


def of(work: str, kind: str, surge: bool, forget: str, leaves: str = "", pulls: bool = False, waits: bool = False) -> list[str]:
    """Names of the steps of one member, in order.

    `work` is one of WORKS, `kind` the member's class before the first change, `forget` the system's word for when the old
    process is taken out of its membership: `before_join`, `after_join` or `never`. `leaves` is `leave` of its spec, by default what `forget` says.
    `pulls`: a member whose VM stays is to start from another image than it runs; `version` is always that. `waits`: somebody else takes the VM, and its
    other pods with it: an eviction of ours that a budget forbids would only spend the time after which that VM goes with a member that runs.
    """
    take_down = [name for name in _TAKE_DOWN if not (waits and name == "evict")]
    pull = ["pull"] if pulls or work == "version" else []
    before = ["forget"] if forget == "before_join" else []
    after = ["forget_after"] if forget == "after_join" else []
    arrive = ["unlist", *before, "certify", "admit", "start", "join", *after, "list", "settle"]
    if work in ("version", "restart"):
        return [*pull, "gate", "lead", "drain", "restart", "settle", "soak"]
    if work == "reboot":
        # A pod that the scheduler places does not start on a cordoned node.
        return [*pull, *take_down, "vm", "uncordon", "start", "settle", "soak"]
    if work == "replace" and surge:
        return ["vm_add", "identify", "gate", "lead", "drain", "stop", *arrive, "cordon", "evict", "retire", "soak"]
    if work == "replace":
        # A VM that was re-imaged under its Node object is still cordoned, and a pod that the scheduler places does not start there.
        return [*take_down, "vm", "identify", "uncordon", *arrive, "soak"]
    if work == "scale_down" and (leaves or leave({"forget": forget})) == "stopped":
        return ["gate", "lead", "drain", "stop", "unlist", "forget", "remove", "settle"]
    if work == "scale_down":
        # Its data moves away while it still serves.
        return ["gate", "lead", "drain", "leave", "stop", "unlist", "remove", "settle"]
    if kind in KEPT_DISK:
        return ["gate_repair", "stop", "identify", "unlist", "readdress", "certify", "start", "list", "settle", "soak"]
    if kind in dead.TAKEN:
        return ["gate_repair", "stop", "identify", *arrive, "soak"]
    if kind == "returned":
        # Its Node object is another one: without label and, for a DaemonSet, without pod.
        return ["note", "start", "settle"]
    return ["note"]


def _entries(journal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The journal's entries about the member in hand, since its beginning or since its steps were last undone (`since`, a step's number)."""
    record = journal.get("member") or {}
    return [
        entry
        for entry in journal.get("steps", [])
        if entry["member"] == record.get("member") and int(entry["n"]) > int(record.get("since") or 0)
    ]


def finished_steps(journal: Mapping[str, Any]) -> list[str]:
    """The steps of the member in hand that are done."""
    return [str(entry["step"]) for entry in _entries(journal) if entry["state"] == "done"]


def begun_steps(journal: Mapping[str, Any]) -> list[str]:
    """The steps of the member in hand that were begun, whatever became of them."""
    return [str(entry["step"]) for entry in _entries(journal)]


def last_step(journal: Mapping[str, Any]) -> str:
    """The step that was begun last, of whatever member; empty before the first one."""
    entries = journal.get("steps") or [{}]
    return str(entries[-1].get("step", ""))


def remaining_steps(journal: Mapping[str, Any], up: bool = False) -> list[str]:
    """The steps of the member in hand that are not known to be done, with the gate before whatever takes the member down.

    All of them after the last one that is done. Steps are safe to do twice, so the one that was begun is done again. What a gate said to the run
    that was cut short is worth nothing to this one, which may be a later day's: it is asked again, and so is everything after it that
    leaves the member up, for it may lead by now. Where the stop or the restart was begun, the gate alone, and only of a member that is `up`: one that
    is down would close gates by its own absence, and going on is what brings it up.
    """
    record = journal.get("member") or {}
    names = list(record.get("steps", []))
    finished, begun = finished_steps(journal), set(begun_steps(journal))
    following = max((names.index(name) for name in finished if name in names), default=-1) + 1
    asked = min((names.index(name) for name in GATES if name in names), default=len(names))
    down = min((names.index(name) for name in TAKES_DOWN if name in names), default=-1)
    # Whoever leaves for good is no member any more once that was begun, and closes a gate himself.
    if not asked < following <= down or "leave" in begun:
        return names[following:]
    if names[down] in begun:
        return [*(name for name in GATES if name in names and up), *names[down:]]
    return names[asked:]


def next_steps(journal: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`remaining_steps`, by what is recorded of the member in hand and what it says: up is who answers, and is not recorded as stopped."""
    name = str((journal.get("member") or {}).get("member", ""))
    if started_again(journal, bindings):
        # It takes members, and its gates have to be asked again: whatever was asked when it stopped is long ago.
        names = list(journal["member"]["steps"])
        return names[min(names.index(gate) for gate in GATES if gate in names) :]
    is_stopped = any(entry.get("stopped") for entry in bindings if entry["member"] == name)
    return remaining_steps(journal, not is_stopped and bool(inspection.get(name, {}).get("reachable")))


def past_return(journal: Mapping[str, Any]) -> bool:
    """Whether the member in hand has begun a step that cannot be undone, so that it has to be finished."""
    return bool(set(begun_steps(journal)) & set(POINT_OF_NO_RETURN))


def started_again(journal: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the member in hand may run on its old VM although its stop is done: that was undone because nobody had taken the VM (follow.past_return).

    It is recorded first that it may start, and last that its steps are undone. Whatever is left of them after a kill between the two is worth nothing.
    """
    record = journal.get("member") or {}
    begun, finished = set(begun_steps(journal)), finished_steps(journal)
    # After a reboot it starts as well, in a step of its own.
    back = record.get("work") == "reboot" and "vm" in finished
    if not record.get("waits") or record.get("new") or back or "stop" not in begun or begun & set(POINT_OF_NO_RETURN) != {"vm"}:
        return False
    return any(not entry.get("stopped") for entry in bindings if entry["member"] == record.get("member"))


def is_down(journal: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]] = ()) -> bool:
    """Whether a step was begun that takes the member in hand down, so that finishing it is what brings it up; and it was not `started_again`."""
    if started_again(journal, bindings):
        return False
    return past_return(journal) or bool(set(begun_steps(journal)) & set(TAKES_DOWN))


def bring_up_steps(journal: Mapping[str, Any], noted: bool = True) -> list[str]:
    """The next steps of the member in hand as far as they do nothing but bring it up. The first other one, and all after it, are for the next run.

    `noted`: the step that was begun last may not be done. Otherwise it is, and only the write that says so, and begins the next one, has failed.
    """
    names = remaining_steps(journal)
    if not noted and names and names[0] in begun_steps(journal):
        names = names[1:]
    return list(itertools.takewhile(lambda name: name in BRING_UP, names))


def undone(journal: Mapping[str, Any]) -> Json:
    """What the journal notes when the steps of the member in hand were undone: the next run begins with the first one again."""
    return {"since": max((int(entry["n"]) for entry in journal.get("steps", [])), default=0), "new": None}


def undo_steps(journal: Mapping[str, Any]) -> list[str]:
    """The steps that put back what those of the member in hand did, in the order of a member's life. A node is always uncordoned.

    A member that is repaired could not serve before either, so it is not started for an undo.
    """
    record = journal.get("member") or {}
    back = {name for step in begun_steps(journal) if step in BY_NAME for name in BY_NAME[step].undo}
    back -= set(BY_NAME["stop"].undo) if record.get("work") == "repair" else set()
    return [step.name for step in TABLE if step.name in {"uncordon", *back}]


def outage_text(journal: Mapping[str, Any], away: Mapping[str, str], undone: bool, done: Sequence[str] = (), failure: str = "") -> str:
    """The end of a run that could not ask the kube clusters `away` (with the reasons): what was done for the member in hand, and what is left.

    `undone`: its steps were undone, because it was not past the point of no return. `done`: those of its steps that were done without these kube
    clusters, which the journal does not know. `failure`: what went wrong meanwhile.
    """
    record = journal.get("member") or {}
    member, home = str(record.get("member", "")), str((record.get("old") or {}).get("kube_cluster", ""))
    them, they = ("it", "it answers") if len(away) == 1 else ("them", "they answer")
    if home in away:
        said = f"member {member} is there, so nothing was done for it, and it may be down"
    elif failure:
        said = f"bringing member {member} up without {them} failed ({failure}), and it may be down"
    elif undone:
        said = f"the steps of member {member} were undone without {them}, and it is up"
    elif done:
        said = f"done without {them} for member {member}: {', '.join(done)}"
    else:
        said = f"member {member} cannot be brought up without {them}, and it may be down"
    left = [] if undone and not failure and home not in away else remaining_steps(journal)
    left = left[left.index(done[-1]) + 1 :] if done else left
    rest = f"; left: {', '.join(left)}" if left else ""
    return (
        f"kube cluster {', '.join(sorted(away))} could not be asked; {said}{rest}. Run the playbook again as soon as {they}: it goes on from there. "
        f"{'; '.join(away[name] for name in sorted(away))}"
    )
