# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Goes through a chain of kills: each run is killed at its place, the next one goes on, and the last one comes to the end.

Nothing is done between a kill and the next run. The checker writes all the time and has one verdict on the whole chain.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from .failpoints import Chain, Kill, Task
from .harness import Attempt, Load, Stuck

Json = dict[str, Any]

# Runs in a row that fail by themselves until a chain is given up.
MOST_RUNS = 4


class Deployment(Protocol):
    """What a chain needs of a Stage."""

    def say(self, text: str) -> None: ...
    def load(self) -> AbstractContextManager[Load]: ...
    def prepare(self, task: Task, member: str) -> None: ...
    def run(self, task: Task, kill: Kill | None, members: Sequence[str]) -> Attempt: ...
    def generation(self) -> int: ...
    def ended(self, generation: int) -> bool: ...
    def done(self) -> list[str]: ...
    def cluster_ids(self) -> Json: ...
    def problems(self, cluster_id: str, ends: Sequence[str] = ("done",)) -> list[str]: ...


@dataclass
class Link:
    """One kill, and the members that were done by then.

    `seconds` is how long the run was that it ended, `next_seconds` the one that went on, with those that failed before it.
    A run that fails by itself is a problem of the kill before it in the same rollout; where there is none, of the one that it was on its way to.
    """

    where: str
    named: bool
    killed: bool = False
    seconds: float = 0.0
    next_seconds: float = 0.0
    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of a chain."""

    chain: Chain
    links: list[Link] = field(default_factory=list)
    runs: int = 0
    run_seconds: float = 0.0
    seconds: float = 0.0
    verdict: Json = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems and not self.failed and not self.not_tried

    @property
    def failed(self) -> list[Link]:
        return [link for link in self.links if link.problems]

    @property
    def not_tried(self) -> list[str]:
        tried = {link.where for link in self.links}
        return [kill.failpoint for kill in self.chain.kills if kill.failpoint and kill.failpoint not in tried]

    def row(self) -> list[str]:
        writes, found = self.verdict.get("writes", {}), self.verdict.get("gaps", {})
        return [
            self.chain.task.name,
            self.chain.kind,
            str(len(self.links)),
            str(sum(link.killed and not link.problems for link in self.links)),
            str(self.runs),
            f"{self.seconds:.0f}",
            f"{self.run_seconds / max(len(self.chain.turns), 1):.0f}",
            str(writes.get("acknowledged", "-")),
            str(self.verdict.get("lost", "-")),
            str(writes.get("unknown", "-")),
            str(found.get("longest_ms", "-")),
            str(found.get("late_ms_of_the_checker", "-")),
            str(self.verdict.get("down", {}).get("most_at_once", "-")),
            str(self.verdict.get("result", "-")),
            "PASSED" if self.passed else "FAILED",
        ]

    def line(self) -> str:
        told = ", ".join(f"{heading} {cell}" for heading, cell in list(zip(HEADINGS, self.row(), strict=True))[2:-1])
        problems = [*self.problems, *(f"{link.where}: {problem}" for link in self.links for problem in link.problems)]
        return "\n".join([f"{self.chain}: {self.row()[-1]}: {told}", *(f"    ! {problem}" for problem in problems)])

    def document(self) -> Json:
        kept = {key: self.verdict.get(key) for key in ("result", "reasons", "writes", "lost", "gaps", "down", "cluster_ids")}
        return {
            "task": self.chain.task.name,
            "kind": self.chain.kind,
            "turns": [[kill.where for kill in turn] for turn in self.chain.turns],
            "passed": self.passed,
            "problems": self.problems,
            "links": [asdict(link) for link in self.links],
            "not_tried": self.not_tried,
            "runs": self.runs,
            "run_seconds": round(self.run_seconds, 1),
            "seconds": round(self.seconds, 1),
            "verdict": kept if self.verdict else {},
        }


# Seconds are of the whole chain with the checker's reading at its end; those per member are of the runs alone.
HEADINGS = [
    *("work", "kills", "tried", "passed", "runs", "seconds", "s/member", "acknowledged", "lost", "unknown", "gap ms", "late ms", "down"),
    *("checker", "result"),
]


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [HEADINGS, *(outcome.row() for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def go(stage: Deployment, chain: Chain, members: Sequence[str]) -> Outcome:
    """Work on these members, as many as the chain has turns. Never raises for what went wrong in it."""
    outcome = Outcome(chain)
    began = time.monotonic()
    try:
        ids = {str(identity) for identity in stage.cluster_ids().values()}
        if len(ids) != 1:
            raise Stuck(f"the kube clusters record other cluster ids before the chain: {ids}")
        with stage.load() as load:
            try:
                _work(stage, outcome, members)
            except Stuck as error:
                outcome.problems.append(f"given up: {error}")
            outcome.problems += stage.problems(next(iter(ids)))
            outcome.verdict = load.end()
        if outcome.verdict["result"] != "holds":
            outcome.problems.append(f"the checker says {outcome.verdict['result']}: {'; '.join(outcome.verdict['reasons'])}")
    except (Stuck, ApiException, HTTPError, subprocess.SubprocessError) as error:
        outcome.problems.append(f"{type(error).__name__}: {error}")
    outcome.seconds = time.monotonic() - began
    return outcome


def _work(stage: Deployment, outcome: Outcome, members: Sequence[str]) -> None:
    chain = outcome.chain
    if chain.task.work != "repair":
        stage.prepare(chain.task, "")
        _Rollout(stage, outcome, members).go(chain.kills)
        return
    for member, turn in zip(members, chain.turns, strict=True):
        stage.prepare(chain.task, member)
        _Rollout(stage, outcome, [member]).go(turn)


class _Rollout:
    """One rollout, from its first run to its end."""

    def __init__(self, stage: Deployment, outcome: Outcome, members: Sequence[str]) -> None:
        self.stage, self.outcome, self.members = stage, outcome, members
        self.generation = stage.generation()
        self.before: Link | None = None  # the kill before the run that is next
        self.failures = 0  # runs in a row

    def go(self, kills: Sequence[Kill]) -> None:
        for kill in kills:
            # Killed behind its last write, a rollout has ended: another run would be another rollout.
            if self.stage.ended(self.generation) or not self._kill(kill):
                return
        while not self.stage.ended(self.generation):
            attempt = self._run(None, None)
            if attempt.rc == 0:
                return

    def _kill(self, kill: Kill) -> bool:
        """Runs until it is killed there. False: the rollout came to its end instead."""
        link = Link(kill.where, bool(kill.failpoint))
        self.outcome.links.append(link)
        while True:
            attempt = self._run(kill, link)
            if attempt.killed:
                link.killed, link.seconds, link.done = True, round(attempt.seconds, 1), self.stage.done()
                self._say(link, "killed")
                self.before = link
                return True
            if attempt.rc == 0 or self.stage.ended(self.generation):
                if link.named:
                    link.problems.append(f"not reached: the rollout came to its end ({attempt.log})")
                link.seconds, link.done = round(attempt.seconds, 1), self.stage.done()
                self._say(link, "not reached")
                return False

    def _run(self, kill: Kill | None, towards: Link | None) -> Attempt:
        attempt = self.stage.run(self.outcome.chain.task, kill, self.members)
        self.outcome.runs += 1
        self.outcome.run_seconds += attempt.seconds
        if self.before is not None:
            self.before.next_seconds += attempt.seconds
        if attempt.rc == 0 or attempt.killed:
            self.failures = 0
            return attempt
        problem = (
            f"the run {f'on its way to {towards.where}' if towards else 'to the end'} failed: {attempt.failure[:1500]} ({attempt.log})"
        )
        blamed = self.before or towards
        (blamed.problems if blamed else self.outcome.problems).append(problem)
        self.stage.say(f"    ! {problem}")
        self.failures += 1
        if self.failures >= MOST_RUNS:
            raise Stuck(f"{self.failures} runs in a row failed")
        return attempt

    def _say(self, link: Link, what: str) -> None:
        number, total = len(self.outcome.links), len(self.outcome.chain.kills)
        self.stage.say(
            f"  {self.outcome.chain} {number}/{total} {link.where}: {what} after {link.seconds:.1f} s, done: {', '.join(link.done) or 'nobody'}"
        )
