# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every place where a rollout can be killed by name, and chains of kills that have each of them once.

The names are computed from the plan of the steps, so that a new step has its names by itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import steps

T = TypeVar("T")

# Kinds of chains: at every failpoint, at random times, and without a kill, which is what a rollout costs.
KINDS = ("failpoints", "random", "clean")
# Kills at random times in one chain, and when: seconds after the start of the run.
RANDOM_KILLS = 10
RANDOM_SECONDS = (2.0, 30.0)


@dataclass(frozen=True)
class Task:
    """A kind of work: the plan's `work`, `kind` and `surge`, and the lab's verb that goes before the repair of one member."""

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
class Kill:
    """At a failpoint, or (where that is empty) `seconds` after the start. `group`: everything that the playbook started dies
    with it, as when the controller's VM is lost; otherwise only ansible-playbook does, as with kill -9."""

    failpoint: str = ""
    seconds: float = 0.0
    group: bool = False

    @property
    def where(self) -> str:
        return self.failpoint or f"{self.seconds:.1f} s ({'all' if self.group else 'playbook'})"


@dataclass(frozen=True)
class Chain:
    """Work on all members, one kill after another. `turns` has the kills of each member, in their order.

    An upgrade is one rollout of all members; the turns say only how its kills are spread. A repair is a rollout for each turn.
    """

    task: Task
    kind: str
    turns: tuple[tuple[Kill, ...], ...]

    @property
    def kills(self) -> list[Kill]:
        return [kill for turn in self.turns for kill in turn]

    def __str__(self) -> str:
        return f"{self.task.name} {self.kind}"


def names(task: Task, forget: str) -> list[str]:
    """The failpoints that the work on one member reaches, in their order. `forget` is the system's word (see the plan's `steps`)."""
    writes: list[tuple[str, str, dict[str, str] | None]] = [("start", "", None), ("member", "", {"member": "any"})]
    for step in steps.of(task.work, task.kind, task.surge, forget):
        writes.append(("next", step, None))
        if step == "identify":
            writes.append(("member", "", {"new": "binding"}))
    writes += [("member", "", None), ("finish", "", None)]
    return [_failpoint.place(*write, when) for write in writes for when in _failpoint.WHENS]


def deal(items: Sequence[T], turns: int, order: random.Random) -> list[list[T]]:
    """Each item into one turn, about every `turns`-th into the same. What is sorted is sorted within each turn."""
    dealt: list[list[T]] = [[] for _turn in range(turns)]
    for begin in range(0, len(items), turns):
        block = items[begin : begin + turns]
        for item, turn in zip(block, order.sample(range(turns), len(block)), strict=True):
            dealt[turn].append(item)
    return dealt


def at_failpoints(task: Task, found: Sequence[str], turns: int, seed: str) -> Chain:
    """A kill at each of these failpoints, which are in their order.

    A run that goes on after a kill may come to the next name only with the next member, at most once in each turn: so as many members are enough.
    What starts and ends the rollout is where a rollout of all members has it.
    """
    order = random.Random(f"{task.name} failpoints {seed}")
    if task.work == "repair":
        dealt = deal(found, turns, order)
    else:
        first = [name for name in found if name.startswith("journal:start:")]
        last = [name for name in found if name.startswith("journal:finish:")]
        dealt = deal([name for name in found if name not in (*first, *last)], turns, order)
        dealt[0] = [*first, *dealt[0]]
        dealt[-1] = [*dealt[-1], *last]
    return Chain(task, "failpoints", tuple(tuple(Kill(name) for name in turn) for turn in dealt))


def at_random_times(task: Task, turns: int, seed: str) -> Chain:
    order = random.Random(f"{task.name} random {seed}")
    kills = [Kill(seconds=round(order.uniform(*RANDOM_SECONDS), 1), group=order.random() < 0.5) for _kill in range(RANDOM_KILLS)]
    return Chain(task, "random", tuple(tuple(turn) for turn in deal(kills, turns, order)))


def clean(task: Task, turns: int) -> Chain:
    return Chain(task, "clean", ((),) * turns)


def soak(forget: str, turns: int, seed: str, tasks: Sequence[str] = (), kinds: Sequence[str] = (), only: Sequence[str] = ()) -> list[Chain]:
    """The chains of a soak: every task (in an order that the seed gives, or these in theirs) with its kinds. `only`: no other failpoints."""
    chosen = list(tasks) or random.Random(f"tasks {seed}").sample(list(TASKS), len(TASKS))
    chains = []
    for name in chosen:
        task = TASKS[name]
        for kind in kinds or ("failpoints", "random"):
            found = [place for place in names(task, forget) if not only or place in only]
            if kind == "failpoints" and found:
                chains.append(at_failpoints(task, found, turns, seed))
            elif kind == "random":
                chains.append(at_random_times(task, turns, seed))
            elif kind == "clean":
                chains.append(clean(task, turns))
    return chains


def rotating(forget: str, turns: int, commit: str, count: int) -> Chain:
    """`count` failpoints of one task, which the commit chooses."""
    order = random.Random(commit)
    task = TASKS[order.choice(sorted(TASKS))]
    every = names(task, forget)
    return at_failpoints(task, [every[index] for index in sorted(order.sample(range(len(every)), count))], turns, commit)
