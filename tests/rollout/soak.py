# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills rollouts of one deployment in the running lab, at every failpoint and at random times, until the time is over.

Each case is one member's reboot, replacement, new version or repair: it is killed, run again until it is done, and judged by the checker and by
what is left in the kube clusters. Prints the seed, a line for each case and a table; with the same seed the cases are the same again.
Exit code: 0 when every case passed, 1 when one failed, 2 when none was tried.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence

from support.collection import CHECKOUT

from .failpoints import TASKS, Case, soak
from .harness import Choice, Outcome, Stage, Stuck, table

OUTPUT = CHECKOUT / "tests" / "output" / "soak"


def commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


def line(outcome: Outcome, number: int, total: int) -> str:
    result = "PASSED" if outcome.passed else "FAILED"
    head = f"{number}/{total} {outcome.case} {outcome.member} killed at {outcome.where}: {result} after {outcome.runs} runs, {outcome.seconds:.0f} s"
    return "\n".join([head, *(f"    ! {problem}" for problem in outcome.problems)])


def mend(stage: Stage) -> None:
    """After a case that failed the next one needs a deployment that is well: what was begun is ended, or all of it is made anew."""
    if (
        stage.play("repair.yml").rc == 0
        and not stage.cordons()
        and all(stage.journal(kube).get("state") != "in_flight" for kube in ("east", "west"))
    ):
        return
    stage.say("the deployment is made anew")
    stage.verb("up", "east:3,west:2")
    stage.remove()
    for kube in ("east", "west"):
        for node in stage.nodes(kube):
            if node.spec.unschedulable:
                stage.core(kube).patch_node(node.metadata.name, {"spec": {"unschedulable": None}})
    stage.deploy()


def work(stage: Stage, cases: Sequence[Case], seed: str, seconds: float) -> list[Outcome]:
    """As many cases as begin within the time. Members are chosen by the seed too."""
    order = random.Random(f"members {seed}")
    started = time.monotonic()
    outcomes: list[Outcome] = []
    for number, case in enumerate(cases, 1):
        if time.monotonic() - started > seconds:
            break
        members = sorted(stage.members())
        outcome = stage.run(case, members[order.randrange(1 << 30) % len(members)])
        outcomes.append(outcome)
        stage.say(line(outcome, number, len(cases)))
        if not outcome.passed:
            mend(stage)
    return outcomes


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=["etcd", "nats"], default="etcd")
    parser.add_argument("--placement", choices=["node_name", "daemonset"], default="node_name")
    parser.add_argument(
        "--name", default="soak", help="of the deployment, which is made anew and removed at the end (default: %(default)s)"
    )
    parser.add_argument("--seed", default="", help="default: a new one")
    parser.add_argument("--minutes", type=float, default=30, help="no case begins later (default: %(default)s)")
    parser.add_argument("--task", action="append", default=[], choices=sorted(TASKS), help="only these")
    parser.add_argument("--at", action="append", default=[], metavar="FAILPOINT", help="only these")
    parser.add_argument("--keep", action="store_true", help="leave the deployment at the end")
    options = parser.parse_args(words)
    seed = options.seed or secrets.token_hex(4)
    choice = Choice(options.system, options.placement, options.name)
    folder = OUTPUT / f"{choice.system}-{choice.placement}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(choice, folder)
    cases = [case for case in soak(stage.forget, seed, options.task) if not options.at or case.failpoint in options.at]
    print(
        f"SEED={seed} SYSTEM={choice.system} PLACEMENT={choice.placement} commit {commit()}: {len(cases)} cases, logs in {folder}",
        flush=True,
    )
    outcomes: list[Outcome] = []
    try:
        stage.remove()
        stage.deploy()
        outcomes = work(stage, cases, seed, options.minutes * 60)
        if not options.keep:
            stage.remove()
    except Stuck as error:
        print(f"the soak ends: {error}", flush=True)
    finally:
        document = {"seed": seed, "commit": commit(), **choice.__dict__, "cases": [outcome.document() for outcome in outcomes]}
        (folder / "soak.json").write_text(json.dumps(document, indent=1, default=str) + "\n")
    failed = sum(not outcome.passed for outcome in outcomes)
    print(
        f"\n{table(outcomes)}\n\nSEED={seed}: {len(outcomes)} of {len(cases)} cases tried, {len(outcomes) - failed} passed, {failed} failed"
    )
    print(f"{folder / 'soak.json'}")
    return 2 if not outcomes else 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
