# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every place where a rollout can be killed by name. Computed from the plan of the steps, so that a new step has its names by itself."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout

WHENS = ("before", "after")


@dataclass(frozen=True)
class Task:
    """A kind of work, done to one member: the plan's `work`, `kind` and `surge`, and the lab's verb that goes before a repair."""

    name: str
    work: str
    kind: str = "ok"
    surge: bool = False
    verb: str = ""

    @property
    def playbook(self) -> str:
        return {"repair": "repair.yml", "scale_down": "scale_down.yml"}.get(self.work, "upgrade.yml")


TASKS = {
    task.name: task
    for task in (
        Task("reboot", "reboot"),
        Task("replace", "replace"),
        Task("replace-surge", "replace", surge=True),
        Task("version", "version"),
        Task("repair-missing", "repair", kind="missing", verb="replace-node"),
        Task("repair-reimaged", "repair", kind="reimaged", verb="reimage-node"),
        Task("repair-moved", "repair", kind="moved", verb="readdress-node"),
    )
}


@dataclass(frozen=True)
class Case:
    """One kill: at a failpoint, or (where that is empty) `seconds` after the start. `group`: everything that the playbook started
    dies with it, as when the controller's VM is lost; otherwise only ansible-playbook does, as with kill -9."""

    task: Task
    failpoint: str = ""
    seconds: float = 0.0
    group: bool = False

    @property
    def where(self) -> str:
        return self.failpoint or f"{self.seconds:.1f} s ({'all' if self.group else 'playbook'})"


def names(task: Task, forget: str) -> list[str]:
    """The failpoints that a rollout of one member reaches, in their order. `forget` is the system's word (see the plan's `steps`)."""
    steps = rollout.steps(task.work, task.kind, task.surge, forget)
    # The member is noted, told its new node, and done: each is an operation of its own on the same place.
    notes = 2 + steps.count("identify")
    found = [_failpoint.place("start", "", when) for when in WHENS]
    found += [_failpoint.place("member", "", when) for when in WHENS]
    note = 2
    for step in steps:
        found += [_failpoint.place("next", step, when) for when in WHENS]
        if step == "identify":
            found += [f"{_failpoint.place('member', '', when)}@{note}" for when in WHENS]
            note += 1
    found += [f"{_failpoint.place('member', '', when)}@{notes}" for when in WHENS]
    return found + [_failpoint.place("finish", "", when) for when in WHENS]


def every(forget: str, tasks: Sequence[str] = ()) -> list[Case]:
    """A case for every failpoint of every task."""
    return [Case(task, name) for task in TASKS.values() if not tasks or task.name in tasks for name in names(task, forget)]


def soak(forget: str, seed: str, tasks: Sequence[str] = ()) -> list[Case]:
    """Every failpoint once, in an order that the seed gives, and a kill at a random time after every third."""
    order = random.Random(seed)
    cases = every(forget, tasks)
    order.shuffle(cases)
    chosen = [task for task in TASKS.values() if not tasks or task.name in tasks]
    mixed: list[Case] = []
    for number, case in enumerate(cases, 1):
        mixed.append(case)
        if number % 3 == 0:
            mixed.append(Case(order.choice(chosen), seconds=round(order.uniform(2, 60), 1), group=order.random() < 0.5))
    return mixed


def rotating(forget: str, commit: str, count: int) -> list[Case]:
    """`count` cases that the commit chooses, each of another task."""
    order = random.Random(hashlib.sha256(commit.encode()).hexdigest())
    tasks = order.sample(sorted(TASKS), count)
    return [Case(TASKS[name], order.choice(names(TASKS[name], forget))) for name in tasks]
