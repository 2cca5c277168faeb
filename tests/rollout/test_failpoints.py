# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few of the failpoints at every commit, and others at the next one; `make soak` goes through all of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.commit import commit

from .chains import go, table
from .failpoints import rotating
from .harness import Choice, Stage

pytestmark = pytest.mark.lab

KILLS, MEMBERS = 3, 1
CHOICES = [Choice(system, placement, "rotating") for system in ("etcd", "nats") for placement in ("node_name", "daemonset")]


def test_rollouts_that_are_killed_at_failpoints_of_this_commit_are_finished_by_the_next_run(tmp_path: Path) -> None:
    order = random.Random(commit())
    stage = Stage(order.choice(CHOICES), tmp_path)
    stage.remove()
    stage.deploy()
    try:
        chain = rotating(stage.forget, MEMBERS, commit(), KILLS)
        outcome = go(stage, chain, order.sample(sorted(stage.members()), MEMBERS))
        print(f"{stage.choice} at commit {commit()}\n{outcome.line()}\n{table([outcome])}")
        assert outcome.passed
    finally:
        stage.remove()
