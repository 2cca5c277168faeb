# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has every fault (support/faults.py) meet every request of one member's replacement in the running lab, under load.

A run replaces the VM of one member, through balancers before both API servers; its tokens live for a minute. It meets one kind of fault, again and
again, at requests that have not met it yet, far enough apart that each was got over before the next. So about as many runs as requests lie between
two faults go through all of them. Requests are told by their labels: step, kube cluster, method, kind of path, and which of these it is.
Each run has to end DONE by itself, with nothing lost (the checker) and nothing done twice. The faults take turns, so that whatever the time is enough
for is some of each; `--resume` goes on from an earlier table.

Prints the seed, a line for each run, and the table (request, fault, runs, outcome); all requests with their labels are in requests.tsv.
Exit code: 0 when every run passed, 1 when one failed, 2 when none was made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from support.collection import CHECKOUT
from support.commit import commit
from support.faults import (
    EVERY,
    OLD_TOKEN,
    Balancer,
    Covering,
    Seen,
    Tokens,
    Traffic,
    Upstream,
    applies,
    commands_twice,
    only,
    twice,
    write_kubeconfig,
)

from .harness import Attempt, Choice, Stage, Stuck
from .soak import mend

Json = dict[str, Any]

OUTPUT = CHECKOUT / "tests" / "output" / "faults"
LAB = CHECKOUT / "inventories" / "lab"
# Requests from one fault to the next.
SPACING = 10
# Runs of one fault, in turns of `spacing`: how often a request comes differs from run to run, where something is waited for.
MOST_TURNS = 2.5
RETRY_AFTER = "1"
# Without a fault, until one ends well.
CLEAN_RUNS = 3


class Position:
    """In which step of the rollout a playbook is, from the files of its tasks, which a callback writes into `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._step = "begin"

    def __call__(self) -> str:
        if self.path.exists():
            with self.path.open() as tasks:
                tasks.seek(self._read)
                for line in tasks:
                    # One that is being written is read next time.
                    if not line.endswith("\n"):
                        break
                    self._read += len(line.encode())
                    self._step = self._after(line.rsplit(":", 1)[0])
        return self._step

    def _after(self, task_file: str) -> str:
        """What is in no step's own file belongs to the step before it, until the rollout ends."""
        path = Path(task_file)
        if path.parent.name == "steps":
            return path.stem
        return "end" if path.match("rollout/tasks/work.yml") and self._step != "begin" else self._step


class Through(Stage):
    """A deployment whose rollouts go through balancers with faults; everything else goes to the API servers directly."""

    def __init__(self, choice: Choice, folder: Path, say: Callable[[str], None] = lambda text: print(text, flush=True)) -> None:
        super().__init__(choice, folder, say)
        self.tokens = Tokens(folder / "tokens")
        self.inventory = folder / "inventory"
        self.balancers = [
            Balancer(Upstream.of_context(entry["kubeconfig"], entry["context"]), retry_after=RETRY_AFTER, tokens=self.tokens)
            for entry in self.lab.kube_clusters
        ]

    @contextlib.contextmanager
    def balanced(self) -> Iterator[None]:
        """The balancers run, and the inventory names them."""
        with contextlib.ExitStack() as stack:
            for balancer in self.balancers:
                stack.enter_context(balancer.running())
            self.inventory.mkdir(exist_ok=True)
            kubeconfig = self.inventory.parent / "kubeconfig-balancers"
            write_kubeconfig(kubeconfig, self.balancers, self.tokens)
            source = {**yaml.safe_load((LAB / "lab.hostnet.yml").read_text()), "kubeconfig": str(kubeconfig)}
            (self.inventory / "lab.hostnet.yml").write_text(yaml.safe_dump(source))
            if not (self.inventory / "group_vars").exists():
                (self.inventory / "group_vars").symlink_to(LAB / "group_vars")
            yield

    def replace(self, choose: Callable[[Seen], str], members: Sequence[str]) -> tuple[Attempt, list[Seen]]:
        """One run of the playbook that replaces the VMs of these members, and what came through the balancers."""
        tasks = self.folder / f"tasks-{secrets.token_hex(4)}"
        traffic = Traffic(choose, Position(tasks))
        for balancer in self.balancers:
            balancer.traffic = traffic
        work: Json = {"hostnet_work": "replace", "hostnet_members": list(members)}
        run = self.start("upgrade.yml", sources=(self.inventory,), environment={"HOSTNET_TEST_TASKS": str(tasks)}, **work)
        return run.wait(), traffic.seen


@dataclass
class Round:
    """One run, and what became of it. `met` are the requests that met a fault."""

    fault: str
    members: list[str]
    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    verdict: Json = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def met(self) -> list[Seen]:
        return [entry for entry in self.seen if entry.fault and (not entry.again or entry.fault != OLD_TOKEN)]

    @property
    def outcome(self) -> str:
        return "FAILED" if self.problems else "DONE"

    @property
    def lost(self) -> str:
        return str(self.verdict.get("lost", "-"))

    def line(self) -> str:
        faults = Counter(entry.fault for entry in self.met)
        told = ", ".join(f"{count} x {fault}" for fault, count in faults.items()) or "no fault"
        head = f"{self.fault or 'no fault'} on {', '.join(self.members)}: {self.outcome} after {self.seconds:.0f} s: {len(self.seen)} requests, {told}"
        head += f", lost {self.lost}, {self.tokens} tokens"
        last = [f"    ! met last: {entry.fault} --at '{entry.label}'  ({entry.method} {entry.path[:200]})" for entry in self.met[-2:]]
        commands = [f"    a command was begun twice: {text}" for text in commands_twice(self.seen)]
        return "\n".join([head, *(f"    ! {problem}" for problem in self.problems), *(last if self.problems else []), *commands])


def go(stage: Through, fault: str, choose: Callable[[Seen], str], members: Sequence[str]) -> Round:
    """One run under load. Never raises for what went wrong in it."""
    found = Round(fault, list(members))
    began, tokens = time.monotonic(), stage.tokens.made
    try:
        ids = {str(identity) for identity in stage.cluster_ids().values()}
        if len(ids) != 1:
            raise Stuck(f"the kube clusters record other cluster ids before the run: {ids}")
        generation = stage.generation()
        with stage.load() as load:
            attempt, found.seen = stage.replace(choose, members)
            if attempt.rc:
                found.problems.append(f"{attempt.failure[:1500]} ({attempt.log})")
            elif not stage.ended(generation):
                found.problems.append(f"the run ended, and the rollout did not ({attempt.log})")
            found.problems += stage.problems(next(iter(ids)))
            found.verdict = load.end()
        if found.verdict["result"] != "holds":
            found.problems.append(f"the checker says {found.verdict['result']}: {'; '.join(found.verdict['reasons'])}")
        found.problems += [f"done twice: {text}" for text in twice(found.seen)]
    except (Stuck, ApiException, HTTPError, subprocess.SubprocessError) as error:
        found.problems.append(f"{type(error).__name__}: {error}")
    found.seconds, found.tokens = time.monotonic() - began, stage.tokens.made - tokens
    return found


@dataclass
class Coverage:
    """Which requests met which fault. `known`: the requests of a run without faults, by their labels."""

    known: dict[str, Seen] = field(default_factory=dict)
    covered: dict[str, set[str]] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (label, fault): outcomes of the runs

    def add(self, found: Round) -> None:
        for entry in found.met:
            self.rows.setdefault((entry.label, entry.fault), []).append(found.outcome)

    def open(self, fault: str) -> list[str]:
        """Labels of known requests that can meet this fault and have not."""
        met = self.covered.setdefault(fault, set())
        return [label for label, seen in self.known.items() if applies(fault, seen) and label not in met]

    def text(self) -> str:
        """One line for each label and fault."""
        lines = ["request\tfault\truns\toutcome"]
        for (label, fault), outcomes in sorted(self.rows.items()):
            lines.append(f"{label}\t{fault}\t{len(outcomes)}\t{_outcome(outcomes)}")
        return "\n".join(lines) + "\n"

    def load(self, path: Path) -> None:
        """What an earlier soak wrote. Requests of runs that failed are tried again."""
        for line in path.read_text().splitlines()[1:]:
            label, fault, runs, outcome = line.split("\t")
            if outcome == "DONE":
                self.covered.setdefault(fault, set()).add(label)
                self.rows[label, fault] = ["DONE"] * int(runs)

    def table(self) -> str:
        """One line for each kind of request and fault, whatever the step and the kube cluster."""
        kinds: dict[tuple[str, str], list[list[str]]] = {}
        for (label, fault), outcomes in self.rows.items():
            _step, _kube, *kind, _ordinal = label.split(" ")
            kinds.setdefault((" ".join(kind), fault), []).append(outcomes)
        rows = [("request", "fault", "places", "runs", "outcome")]
        for (request, fault), places in sorted(kinds.items()):
            every = [outcome for place in places for outcome in place]
            rows.append((request, fault, str(len(places)), str(len(every)), _outcome(every)))
        return _columns(rows)


def _outcome(outcomes: Sequence[str]) -> str:
    failed = sum(outcome != "DONE" for outcome in outcomes)
    return f"FAILED {failed} of {len(outcomes)}" if failed else "DONE"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def summary(coverage: Coverage, rounds: Sequence[Round], faults: Sequence[str]) -> str:
    """One line for each fault."""
    rows = [("fault", "runs", "DONE", "failed", "lost", "places", "of the known", "not met", "s/run")]
    for fault in faults:
        mine = [found for found in rounds if found.fault == fault]
        done = sum(not found.problems for found in mine)
        possible = sum(applies(fault, seen) for seen in coverage.known.values())
        rows.append(
            (
                *(fault, str(len(mine)), str(done), str(len(mine) - done)),
                str(sum(int(found.lost) for found in mine if found.lost.isdigit())),
                str(sum(name == fault for _label, name in coverage.rows)),
                *(str(possible), str(len(coverage.open(fault)))),
                f"{sum(found.seconds for found in mine) / max(1, len(mine)):.0f}",
            )
        )
    return _columns(rows)


def work(stage: Through, coverage: Coverage, faults: Sequence[str], spacing: int, seconds: float) -> Iterator[Round]:
    """Runs with the faults in turn, as many as begin within the time, until each has met every known request."""
    started, runs = time.monotonic(), Counter[str]()
    members = sorted(stage.members())

    def run(fault: str, choose: Callable[[Seen], str]) -> Iterator[Round]:
        found = go(stage, fault, choose, [members[runs.total() % len(members)]])
        runs[fault] += 1
        coverage.add(found)
        stage.say(f"{runs.total()}: {found.line()}")
        yield found
        if found.problems:
            mend(stage)

    for _try in range(CLEAN_RUNS):
        for found in run("", lambda _seen: ""):
            yield found
            if not found.problems:
                coverage.known = {entry.label: entry for entry in found.seen if not entry.again}
        if coverage.known:
            break
    else:
        raise Stuck("without any fault the replacement does not end well")
    while left := [fault for fault in faults if coverage.open(fault) and runs[fault] < MOST_TURNS * spacing]:
        for fault in left:
            if time.monotonic() - started > seconds:
                return
            yield from run(fault, Covering(fault, spacing, coverage.covered.setdefault(fault, set())))


def replay(stage: Through, coverage: Coverage, fault: str, labels: Sequence[str]) -> Iterator[Round]:
    """One run with this fault at these requests alone."""
    found = go(stage, fault, only(fault, labels), [min(stage.members())])
    coverage.add(found)
    stage.say(found.line())
    yield found


def write(folder: Path, seed: str, choice: Choice, coverage: Coverage, rounds: Sequence[Round]) -> None:
    (folder / "requests.tsv").write_text(coverage.text())
    with (folder / "log.jsonl").open("w") as log:
        for number, found in enumerate(rounds, 1):
            for entry in found.seen:
                log.write(json.dumps({"run": number, **{key: value for key, value in vars(entry).items() if key != "key"}}) + "\n")
    kept = ("fault", "members", "seconds", "tokens", "problems", "outcome", "lost")
    document: Mapping[str, Any] = {
        "seed": seed,
        "commit": commit(),
        **vars(choice),
        "known": list(coverage.known),
        "runs": [{**{key: getattr(found, key) for key in kept}, "requests": len(found.seen)} for found in rounds],
    }
    (folder / "faults.json").write_text(json.dumps(document, indent=1) + "\n")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=["etcd", "nats"], default="etcd")
    parser.add_argument("--placement", choices=["node_name", "daemonset"], default="node_name")
    parser.add_argument(
        "--name", default="faults", help="of the deployment, which is made anew and removed at the end (default: %(default)s)"
    )
    parser.add_argument("--seed", default="", help="the order of the faults; default: a new one")
    parser.add_argument("--minutes", type=float, default=60, help="no run begins later (default: %(default)s)")
    parser.add_argument("--fault", action="append", default=[], choices=EVERY, help="only these, in this order")
    parser.add_argument("--spacing", type=int, default=SPACING, help="requests from one fault to the next (default: %(default)s)")
    parser.add_argument("--at", action="append", default=[], metavar="LABEL", help="one run with the one --fault at these requests alone")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="requests.tsv of an earlier soak: what was DONE there is not tried again"
    )
    parser.add_argument("--keep", action="store_true", help="leave the deployment at the end; begin with one that is there")
    options = parser.parse_args(words)
    if options.at and len(options.fault) != 1:
        parser.error("--at needs one --fault")
    seed = options.seed or secrets.token_hex(4)
    faults = options.fault or random.Random(f"order {seed}").sample(EVERY, len(EVERY))
    choice = Choice(options.system, options.placement, options.name)
    folder = OUTPUT / f"{choice.system}-{choice.placement}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = Through(choice, folder)
    stage.say(f"SEED={seed} SYSTEM={choice.system} PLACEMENT={choice.placement} commit {commit()}, logs in {folder}")
    coverage, rounds = Coverage(), list[Round]()
    if options.resume:
        coverage.load(options.resume)
    try:
        if not (options.keep and stage.members()):
            stage.remove()
            stage.deploy()
        with stage.balanced():
            seconds = options.minutes * 60
            for found in (
                replay(stage, coverage, faults[0], options.at) if options.at else work(stage, coverage, faults, options.spacing, seconds)
            ):
                rounds.append(found)
                write(folder, seed, choice, coverage, rounds)
        if not options.keep:
            stage.remove()
    except Stuck as error:
        stage.say(f"the soak ends: {error}")
    failed = [found for found in rounds if found.problems]
    print("\n".join(["", coverage.table(), "", summary(coverage, rounds, faults)]))
    for found in failed:
        print(f"failed: {found.line()}")
    print(f"SEED={seed}: {len(rounds)} runs, {len(rounds) - len(failed)} DONE, {len(failed)} failed")
    print(folder / "requests.tsv")
    return 2 if not rounds else 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
