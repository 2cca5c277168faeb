# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts through load balancers that misbehave: one fault at some requests, which the commit chooses, and all members through faults at random.

`make faults` runs both; `make soak` goes through every fault at every request (faults.py), and rolls all members through faults at random.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.commit import commit
from support.faults import EVERY, SILENT_AFTER, SILENT_BEFORE, Covering, at_random

from .faults import SPACING, Through, go
from .harness import Choice

pytestmark = pytest.mark.lab

CHOICES = [Choice(system, placement, "faults") for system in ("etcd", "nats") for placement in ("node_name", "daemonset")]
# Some twenty seconds each.
SILENT_SPACING = 90
PROBABILITY = 0.05


def test_a_replacement_bears_the_fault_of_this_commit(tmp_path: Path) -> None:
    order = random.Random(f"faults {commit()}")
    choice, fault = order.choice(CHOICES), order.choice(EVERY)
    spacing = SILENT_SPACING if fault in (SILENT_BEFORE, SILENT_AFTER) else SPACING
    skipped = order.randrange(spacing)
    stage = Through(choice, tmp_path)
    print(f"{choice} at commit {commit()}: {fault}, from request {skipped + 1} on")
    stage.remove()
    stage.deploy()
    try:
        with stage.balanced():
            found = go(stage, fault, Covering(fault, spacing, set(), skipped), [order.choice(sorted(stage.members()))])
        print(found.line())
        assert found.met
        assert not found.problems
    finally:
        stage.remove()


@pytest.mark.long
@pytest.mark.parametrize("system", ["etcd", "nats"])
def test_five_members_are_replaced_while_every_twentieth_request_meets_a_fault(tmp_path: Path, system: str) -> None:
    stage = Through(Choice(system, name="faults"), tmp_path)
    stage.remove()
    stage.deploy()
    try:
        with stage.balanced():
            members = sorted(stage.members())
            found = go(stage, "any", at_random(PROBABILITY, commit()), members)
        print(f"commit {commit()}\n{found.line()}")
        assert len(members) == 5
        assert {entry.fault for entry in found.met} >= set(EVERY) - {"cut", "stalled", "dead"}
        assert not found.problems
        # They live for a minute, and the rollout for several.
        assert found.tokens > found.seconds / stage.tokens.seconds
    finally:
        stage.remove()
