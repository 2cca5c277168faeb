# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few of the failpoints at every commit, and others at the next one; `make soak` goes through all of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .failpoints import rotating
from .harness import Choice, Stage, table
from .soak import commit, line

pytestmark = pytest.mark.lab

CASES = 2
CHOICES = [Choice(system, placement, "rotating") for system in ("etcd", "nats") for placement in ("node_name", "daemonset")]


def test_rollouts_that_are_killed_at_failpoints_of_this_commit_are_finished_by_the_next_run(tmp_path: Path) -> None:
    order = random.Random(commit())
    stage = Stage(order.choice(CHOICES), tmp_path)
    stage.remove()
    stage.deploy()
    try:
        outcomes = []
        for number, case in enumerate(rotating(stage.forget, commit(), CASES), 1):
            outcomes.append(stage.run(case, order.choice(sorted(stage.members()))))
            print(line(outcomes[-1], number, CASES))
        print(f"{stage.choice} at commit {commit()}\n{table(outcomes)}")
        assert all(outcome.passed for outcome in outcomes), [outcome.problems for outcome in outcomes]
    finally:
        stage.remove()
