# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills rollouts of one deployment in the running lab, at every failpoint and at random times, until the time is over.

A chain is one task on all members, under load: a run is killed at its first place, the next one goes on and is killed at its own, and the last
one comes to the end. Each place is tried once in its chain. The checker, what is left in the kube clusters, and runs that fail by themselves judge.
Prints the seed, a line for each kill and each chain, and a table; with the same seed the kills are the same again.
Exit code: 0 when every chain passed, 1 when one failed, 2 when none was tried.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Iterator, Sequence

from support.collection import CHECKOUT
from support.commit import commit

from .chains import Outcome, go, table
from .failpoints import KINDS, TASKS, Chain, soak
from .harness import Choice, Stage, Stuck

OUTPUT = CHECKOUT / "tests" / "output" / "soak"


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


def work(stage: Stage, chains: Sequence[Chain], members: Sequence[str], seconds: float) -> Iterator[Outcome]:
    """As many chains as begin within the time."""
    started = time.monotonic()
    for number, chain in enumerate(chains, 1):
        if time.monotonic() - started > seconds:
            return
        stage.say(f"{number}/{len(chains)} {chain}, {len(chain.kills)} kills")
        outcome = go(stage, chain, members)
        stage.say(outcome.line())
        yield outcome
        if not outcome.passed:
            mend(stage)


def left(chains: Sequence[Chain], outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each failpoint that failed, and one for each chain with some that were not tried."""
    lines = [f"failed: {outcome.chain} {link.where}" for outcome in outcomes for link in outcome.failed]
    lines += [f"not tried: {outcome.chain} {', '.join(outcome.not_tried)}" for outcome in outcomes if outcome.not_tried]
    lines += [f"not tried: {chain}, all {len(chain.kills)} kills" for chain in chains[len(outcomes) :]]
    return lines


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=["etcd", "nats"], default="etcd")
    parser.add_argument("--placement", choices=["node_name", "daemonset"], default="node_name")
    parser.add_argument(
        "--name", default="soak", help="of the deployment, which is made anew and removed at the end (default: %(default)s)"
    )
    parser.add_argument("--seed", default="", help="default: a new one")
    parser.add_argument("--minutes", type=float, default=60, help="no chain begins later (default: %(default)s)")
    parser.add_argument("--task", action="append", default=[], choices=sorted(TASKS), help="only these, in this order")
    parser.add_argument(
        "--kind", action="append", default=[], choices=KINDS, help="of chains; clean: no kill (default: failpoints and random)"
    )
    parser.add_argument("--at", action="append", default=[], metavar="FAILPOINT", help="only these, in chains of kind failpoints")
    parser.add_argument("--keep", action="store_true", help="leave the deployment at the end")
    options = parser.parse_args(words)
    seed = options.seed or secrets.token_hex(4)
    choice = Choice(options.system, options.placement, options.name)
    folder = OUTPUT / f"{choice.system}-{choice.placement}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(choice, folder)
    stage.say(f"SEED={seed} SYSTEM={choice.system} PLACEMENT={choice.placement} commit {commit()}, logs in {folder}")
    chains: list[Chain] = []
    outcomes: list[Outcome] = []
    try:
        stage.remove()
        stage.deploy()
        members = sorted(stage.members())
        # Failpoints that were asked for are meant alone.
        kinds = options.kind or (["failpoints"] if options.at else [])
        chains = soak(stage.forget, len(members), seed, options.task, kinds, options.at)
        for outcome in work(stage, chains, members, options.minutes * 60):
            outcomes.append(outcome)
        if not options.keep:
            stage.remove()
    except Stuck as error:
        stage.say(f"the soak ends: {error}")
    finally:
        document = {
            "seed": seed,
            "commit": commit(),
            **choice.__dict__,
            "chains": [outcome.document() for outcome in outcomes],
            "left": left(chains, outcomes),
        }
        (folder / "soak.json").write_text(json.dumps(document, indent=1, default=str) + "\n")
    failed = sum(not outcome.passed for outcome in outcomes)
    print("\n".join(["", table(outcomes), "", *left(chains, outcomes)]))
    print(f"SEED={seed}: {len(outcomes)} of {len(chains)} chains tried, {len(outcomes) - failed} passed, {failed} failed")
    print(folder / "soak.json")
    return 2 if not outcomes else 1 if failed else 0
