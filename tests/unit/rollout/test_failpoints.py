# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No place where a rollout writes its journal is left out of the soak."""

from __future__ import annotations

import random
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, steps
from rollout.failpoints import KINDS, RANDOM_KILLS, TASKS, at_failpoints, at_random_times, deal, names, rotating, soak
from support.collection import CHECKOUT

ROLE = CHECKOUT / "roles" / "rollout" / "tasks"
FORGETS = ("before_join", "after_join", "never")
SEEDS = st.text(max_size=8)


@pytest.mark.parametrize("forget", FORGETS)
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_name_is_known_and_comes_once_in_the_work_on_a_member(task, forget, monkeypatch: pytest.MonkeyPatch) -> None:
    found = names(task, forget)
    assert len(set(found)) == len(found)
    for name in found:
        monkeypatch.setenv(_failpoint.VARIABLE, name)
        assert _failpoint.wanted() == name


def test_every_operation_on_the_journal_in_the_role_has_its_names() -> None:
    written = [op for path in sorted(ROLE.rglob("*.yml")) for op in re.findall(r"^\s+op: (\w+)$", path.read_text(), re.MULTILINE)]
    # What saves a setting is reached by systems that have some: tests/rollout/test_settings.py kills there.
    # A member is put back where another VM goes sooner: tests/integration/test_follow.py kills there.
    assert set(written) - {"save", "drop"} == {"read", "start", "next", "member", "finish"}


def test_every_step_of_every_plan_has_its_names() -> None:
    planned = set()
    for task in TASKS.values():
        planned |= set(steps.of(task.work, task.kind, task.surge, "before_join"))
        planned |= set(steps.of(task.work, task.kind, task.surge, "after_join"))
    every = {name for forget in FORGETS for task in TASKS.values() for name in names(task, forget)}
    reached = {name.partition(":")[0] for name in every} - {"journal"}
    assert reached == planned
    files = {path.stem for path in (ROLE / "steps").glob("*.yml")}
    # What takes a member out for good has no task here, nor what only notes a reboot, nor what is asked of other deployments on the VM.
    assert files - reached == {"leave", "remove", "note", "gate_neighbours", "stop_neighbours", "start_neighbours"}


def test_the_writes_about_a_member_are_told_apart_as_the_role_writes_them() -> None:
    def writes(path: str) -> list[str]:
        entries = [entry.get("hostnet.multicluster.rollout_journal") or {} for entry in yaml.safe_load((ROLE / path).read_text())]
        given = [entry.get("member") for entry in entries if entry.get("op") == "member"]
        # What a template makes is a dictionary by then.
        real = [{"member": "east-0"} if isinstance(member, str) and "rollout_taken.record" in member else member for member in given]
        return [_failpoint.place("member", "", {"since": 3} if isinstance(member, str) else member, "before") for member in real]

    assert (writes("take.yml"), writes("steps/identify.yml"), writes("undo.yml")) == (
        ["journal:note:before", "journal:end:before"],
        ["journal:bind:before"],
        ["journal:bind:before"],
    )
    assert "member" in before.record({"member": "a", "class": "ok", "work": "w", "surge": False, "steps": []}, BINDING, [], {})
    assert "member" not in steps.undone({})
    assert names(TASKS["replace"], "never")[:6] == [
        *("journal:start:before", "journal:start:after", "journal:note:before", "journal:note:after"),
        *("cordon:before-begin", "cordon:after-begin"),
    ]
    found = names(TASKS["replace"], "never")
    assert found[found.index("identify:after-begin") :][:4] == [
        *("identify:after-begin", "journal:bind:before", "journal:bind:after", "uncordon:before-begin"),
    ]
    assert found[-4:] == ["journal:end:before", "journal:end:after", "journal:finish:before", "journal:finish:after"]
    assert not [name for name in names(TASKS["reboot"], "never") if "bind" in name]


BINDING = {"member": "a", "process": "a", "kube_cluster": "east", "node": "n", "address": "10.0.0.1"}


@given(st.lists(st.integers(), unique=True).map(sorted), st.integers(1, 9), st.randoms())
def test_dealt_once_in_order_and_evenly(items: list[int], turns: int, order: random.Random) -> None:
    dealt = deal(items, turns, order)
    assert len(dealt) == turns
    assert sorted(item for turn in dealt for item in turn) == items
    assert all(turn == sorted(turn) for turn in dealt)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@pytest.mark.parametrize("forget", FORGETS)
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(seed=SEEDS, turns=st.integers(1, 9))
def test_every_name_is_in_one_turn_in_its_order(task, forget: str, seed: str, turns: int) -> None:
    found = names(task, forget)
    chain = at_failpoints(task, found, turns, seed)
    assert len(chain.turns) == turns
    assert sorted(kill.failpoint for kill in chain.kills) == sorted(found)
    for turn in chain.turns:
        places = [found.index(kill.failpoint) for kill in turn]
        assert places == sorted(places)
    if task.work != "repair":
        # The beginning of the rollout comes first, and its end last.
        assert [kill.failpoint for kill in chain.kills[:2]] == found[:2]
        assert [kill.failpoint for kill in chain.kills[-2:]] == found[-2:]


@given(seed=SEEDS, turns=st.integers(1, 9))
def test_random_kills_are_in_their_range(seed: str, turns: int) -> None:
    chain = at_random_times(TASKS["reboot"], turns, seed)
    assert len(chain.kills) == RANDOM_KILLS
    assert all(not kill.failpoint and 2 <= kill.seconds <= 30 for kill in chain.kills)


def test_the_seed_decides_and_nothing_else() -> None:
    assert soak("never", 5, "1") == soak("never", 5, "1") != soak("never", 5, "2")
    chains = soak("never", 5, "1")
    assert {(chain.task.name, chain.kind) for chain in chains} == {(task, kind) for task in TASKS for kind in ("failpoints", "random")}
    assert [str(chain) for chain in soak("never", 5, "1", ["version", "reboot"], KINDS)] == [
        *("version failpoints", "version random", "version clean", "reboot failpoints", "reboot random", "reboot clean"),
    ]
    only = soak("never", 5, "1", ["version", "reboot"], ["failpoints"], ["restart:after-begin"])
    assert [[kill.where for kill in chain.kills] for chain in only] == [["restart:after-begin"]]
    assert {kill.group for chain in chains for kill in chain.kills if not kill.failpoint} == {True, False}


def test_the_commit_chooses_a_part() -> None:
    assert rotating("never", 2, "abc", 6) == rotating("never", 2, "abc", 6) != rotating("never", 2, "abd", 6)
    chains = [rotating("never", 2, str(number), 6) for number in range(80)]
    assert {chain.task.name for chain in chains} == set(TASKS)
    assert {len(chain.kills) for chain in chains} == {6}
