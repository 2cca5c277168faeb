# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No place where a rollout writes its journal is left out of the soak."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout
from rollout.failpoints import TASKS, every, names, rotating, soak
from support.collection import CHECKOUT

ROLE = CHECKOUT / "roles" / "rollout" / "tasks"
FORGETS = ("before_join", "after_join", "never")


@pytest.mark.parametrize("forget", FORGETS)
def test_every_name_is_one_that_is_known(forget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in every(forget):
        monkeypatch.setenv(_failpoint.VARIABLE, case.failpoint)
        assert _failpoint.wanted() is not None
    assert len(set(every(forget))) == len(every(forget))


def test_every_operation_on_the_journal_in_the_role_has_its_names() -> None:
    written = [op for path in sorted(ROLE.rglob("*.yml")) for op in re.findall(r"^\s+op: (\w+)$", path.read_text(), re.MULTILINE)]
    assert set(written) == {"read", "start", "next", "member", "finish"}


def test_every_step_of_every_plan_has_its_names() -> None:
    planned = set()
    for task in TASKS.values():
        planned |= set(rollout.steps(task.work, task.kind, task.surge, "before_join"))
        planned |= set(rollout.steps(task.work, task.kind, task.surge, "after_join"))
    reached = {case.failpoint.partition(":")[0] for forget in FORGETS for case in every(forget)} - {"journal"}
    assert reached == planned
    files = {path.stem for path in (ROLE / "steps").glob("*.yml")}
    # What takes a member out for good has no task here, nor what only notes a reboot.
    assert files - reached == {"leave", "remove", "note"}


def test_the_notes_on_a_member_are_counted_as_the_role_writes_them() -> None:
    def notes(path: str) -> int:
        return sum(
            (entry.get("hostnet.multicluster.rollout_journal") or {}).get("op") == "member"
            for entry in yaml.safe_load((ROLE / path).read_text())
        )

    assert (notes("member.yml"), notes("steps/identify.yml")) == (2, 1)
    assert [name for name in names(TASKS["replace"], "never") if name.startswith("journal:member")] == [
        *("journal:member:before", "journal:member:after", "journal:member:before@2", "journal:member:after@2"),
        *("journal:member:before@3", "journal:member:after@3"),
    ]
    assert [name for name in names(TASKS["reboot"], "never") if name.startswith("journal:member")][-1] == "journal:member:after@2"


def test_the_seed_decides_and_nothing_else() -> None:
    assert soak("never", "1") == soak("never", "1") != soak("never", "2")
    assert {case for case in soak("never", "1") if case.failpoint} == set(every("never"))
    assert any(not case.failpoint and 2 <= case.seconds <= 60 for case in soak("never", "1"))
    assert {case.task.name for case in soak("never", "1", ["reboot"])} == {"reboot"}
    assert rotating("never", "abc", 3) == rotating("never", "abc", 3) != rotating("never", "abd", 3)
    seen = {case.task.name for number in range(60) for case in rotating("never", str(number), 2)}
    assert seen == set(TASKS)
