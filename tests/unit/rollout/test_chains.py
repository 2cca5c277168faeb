# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain kills a rollout at every name that it has, whatever the order, and says what went wrong in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as journals
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import steps as member_steps
from rollout import soak
from rollout.chains import MOST_RUNS, go, table
from rollout.failpoints import TASKS, Chain, Kill, Task, at_failpoints, at_random_times, clean, names
from rollout.harness import Attempt

Json = dict[str, Any]
FORGETS = ("before_join", "after_join", "never")
GOOD = {"result": "holds", "reasons": [], "writes": {"acknowledged": 9, "unknown": 1}, "lost": 0, "gaps": {"longest_ms": 7}, "down": {}}


class Killed(Exception):
    pass


class FakeLoad:
    def end(self) -> Json:
        return GOOD


class FakeStage:
    """Runs that write the journal as the role does, with the functions that the module and the role use, and change nothing.

    `fails`: how many of the next runs fail by themselves before they write anything. A kill at a time comes after as many writes as it has seconds.
    """

    def __init__(self, forget: str = "never", fails: Sequence[bool] = ()) -> None:
        self.forget, self.fails = forget, list(fails)
        self.journal: Json = {}
        self.lock = 0
        self.broken: list[str] = []
        self.said: list[str] = []
        self.found: list[str] = []
        self.reached: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def load(self) -> Iterator[FakeLoad]:
        yield FakeLoad()

    def cluster_ids(self) -> Json:
        return {"east": "id", "west": "id"}

    def problems(self, cluster_id: str, ends: Sequence[str] = ("done",)) -> list[str]:
        assert cluster_id == "id"
        return self.found

    def generation(self) -> int:
        return int(self.journal.get("generation", 0))

    def ended(self, generation: int) -> bool:
        return self.generation() > generation and self.journal.get("state") == "done"

    def done(self) -> list[str]:
        return list(self.journal.get("done", []))

    def prepare(self, task: Task, member: str) -> None:
        self.broken = [member] if task.verb else []

    def run(self, task: Task, kill: Kill | None, members: Sequence[str]) -> Attempt:
        log = Path("output.log")
        if self.fails and self.fails.pop(0):
            return Attempt(2, 1.0, Path("/dev/null"), [])
        self.kill, self.writes = kill, 0
        try:
            self._play(task, self.broken if task.verb else members)
        except Killed:
            return Attempt(-9, 1.0, log, [])
        return Attempt(0, 1.0, log, [])

    def _play(self, task: Task, members: Sequence[str]) -> None:
        self.lock += 1
        order = list(self.journal.get("order", [])) if journals.in_flight(self.journal) else list(members)
        self._write("start", detail={"work": task.work, "order": order})
        in_hand = (self.journal["member"] or {}).get("member")
        left = [member for member in order if member not in self.journal["done"]]
        for member in sorted(left, key=lambda name: name != in_hand):
            if self.journal["member"] is None:
                steps = member_steps.of(task.work, task.kind, task.surge, self.forget)
                self._write("member", member={"member": member, "steps": steps})
            for step in member_steps.remaining_steps(self.journal):
                self._write("next", step=step)
                if step == "identify":
                    self._write("member", member={"new": {"node": "new"}, "displaced": []})
            self.broken = [name for name in self.broken if name != member]
            self._write("member")
        self._write("finish", state="done")

    def _write(self, op: str, step: str = "", member: Json | None = None, **options: Any) -> None:
        self._reach(_failpoint.place(op, step, member, "before"))
        self.journal = journals.advance(
            self.journal, op, now="t", run_id=f"r{self.lock}", generation=self.lock, step=step, member=member, **options
        )
        self._reach(_failpoint.place(op, step, member, "after"))

    def _reach(self, place: str) -> None:
        self.writes += 1
        if self.kill and (self.kill.failpoint == place if self.kill.failpoint else self.writes >= self.kill.seconds):
            self.reached.append(place)
            raise Killed


def members(count: int) -> list[str]:
    return [f"east-{number}" for number in range(count)]


@pytest.mark.parametrize("forget", FORGETS)
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@settings(max_examples=5)
@given(seed=st.text(max_size=8), count=st.integers(1, 6), data=st.data())
def test_a_chain_is_killed_at_each_of_its_names_and_then_comes_to_its_end(
    task: Task, forget: str, seed: str, count: int, data: Any
) -> None:
    found = names(task, forget)
    only = set(data.draw(st.one_of(st.just(found), st.lists(st.sampled_from(found), min_size=1, unique=True))))
    chain = at_failpoints(task, [name for name in found if name in only], count, seed)
    stage = FakeStage(forget)
    outcome = go(stage, chain, members(count))
    assert outcome.passed, outcome.line()
    assert stage.reached == [kill.failpoint for kill in chain.kills]
    assert sorted(stage.reached) == sorted(only)
    assert (stage.journal["state"], stage.journal["member"], stage.broken) == ("done", None, [])
    assert sorted(stage.journal["done"]) == (members(count)[-1:] if task.verb else members(count))
    # As many rollouts as there are to be: nothing that had ended was begun again.
    assert outcome.runs == len(chain.kills) + (count if task.verb else 1) - stage.reached.count("journal:finish:after")


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@settings(max_examples=5)
@given(seed=st.text(max_size=8), count=st.integers(1, 6))
def test_kills_at_random_times_end_with_all_members_done(task: Task, seed: str, count: int) -> None:
    stage = FakeStage()
    outcome = go(stage, at_random_times(task, count, seed), members(count))
    assert outcome.passed, outcome.line()
    assert stage.journal["state"] == "done"
    assert outcome.not_tried == []


def test_without_a_kill_it_is_one_run() -> None:
    outcome = go(FakeStage(), clean(TASKS["reboot"], 5), members(5))
    assert (outcome.passed, outcome.runs, outcome.links) == (True, 1, [])
    repairs = go(FakeStage(), clean(TASKS["repair-moved"], 5), members(5))
    assert (repairs.passed, repairs.runs) == (True, 5)


def chain(*places: str, task: str = "reboot") -> Chain:
    return Chain(TASKS[task], "failpoints", (tuple(Kill(place) for place in places),))


def test_a_name_that_is_not_reached_is_its_problem_and_those_behind_it_are_not_tried() -> None:
    stage = FakeStage()
    outcome = go(stage, chain("stop:after-begin", "restart:after-begin", "settle:after-begin"), ["east-0"])
    assert not outcome.passed
    assert [(link.where, link.killed, bool(link.problems)) for link in outcome.links] == [
        ("stop:after-begin", True, False),
        ("restart:after-begin", False, True),
    ]
    assert "not reached: the rollout came to its end (output.log)" in outcome.line()
    assert outcome.not_tried == ["settle:after-begin"]
    assert outcome.runs == 2
    assert soak.left([outcome.chain, clean(TASKS["version"], 1)], [outcome]) == [
        "failed: reboot failpoints restart:after-begin",
        "not tried: reboot failpoints settle:after-begin",
        "not tried: version clean, all 0 kills",
    ]


def test_a_name_behind_the_end_is_not_tried_in_another_rollout() -> None:
    outcome = go(FakeStage(), chain("journal:finish:after", "stop:after-begin"), ["east-0"])
    assert (outcome.passed, outcome.runs, outcome.not_tried) == (False, 1, ["stop:after-begin"])


def test_a_run_that_fails_after_a_kill_is_the_problem_of_that_kill_and_the_chain_goes_on() -> None:
    outcome = go(FakeStage(fails=[False, True]), chain("stop:after-begin", "settle:after-begin"), ["east-0"])
    assert not outcome.passed
    assert [(link.where, link.killed, bool(link.problems)) for link in outcome.links] == [
        ("stop:after-begin", True, True),
        ("settle:after-begin", True, False),
    ]
    assert "on its way to settle:after-begin failed: exit code 2" in outcome.links[0].problems[0]
    assert (outcome.runs, outcome.links[0].next_seconds) == (4, 2.0)


def test_a_first_run_that_fails_is_the_problem_of_where_it_was_going() -> None:
    outcome = go(FakeStage(fails=[True]), chain("stop:after-begin"), ["east-0"])
    assert [bool(link.problems) for link in outcome.links] == [True]
    outcome = go(FakeStage(fails=[True]), clean(TASKS["reboot"], 1), ["east-0"])
    assert "the run to the end failed" in outcome.problems[0]


def test_a_run_that_fails_behind_the_end_is_not_repeated_as_another_rollout() -> None:
    class FailsInTheReport(FakeStage):
        def run(self, task: Task, kill: Kill | None, members: Sequence[str]) -> Attempt:
            done = super().run(task, kill, members)
            return Attempt(2, 1.0, Path("/dev/null"), []) if done.rc == 0 else done

    outcome = go(FailsInTheReport(), chain("stop:after-begin", "restart:after-begin"), ["east-0"])
    assert (outcome.passed, outcome.runs) == (False, 2)
    assert go(FailsInTheReport(), clean(TASKS["reboot"], 1), ["east-0"]).runs == 1


def test_a_chain_is_given_up_after_runs_that_fail_in_a_row() -> None:
    stage = FakeStage(fails=[False] + [True] * 9)
    outcome = go(stage, chain("stop:after-begin", "settle:after-begin"), ["east-0"])
    assert outcome.problems == [f"given up: {MOST_RUNS} runs in a row failed"]
    assert len(outcome.links[0].problems) == MOST_RUNS
    # The checker has its say all the same.
    assert outcome.verdict == GOOD


def test_the_checker_and_what_is_left_judge_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = FakeStage()
    stage.found = ["node n is left cordoned"]
    assert go(stage, clean(TASKS["reboot"], 1), ["east-0"]).problems == ["node n is left cordoned"]
    monkeypatch.setattr(FakeLoad, "end", lambda _load: {**GOOD, "result": "violated", "reasons": ["2 members were down"]})
    outcome = go(FakeStage(), clean(TASKS["reboot"], 1), ["east-0"])
    assert outcome.problems == ["the checker says violated: 2 members were down"]
    assert outcome.row()[-2:] == ["violated", "FAILED"]


def test_what_is_said() -> None:
    stage = FakeStage()
    outcome = go(stage, at_failpoints(TASKS["reboot"], ["journal:note:after", "journal:end:after"], 1, ""), ["east-0"])
    assert stage.said == [
        "  reboot failpoints 1/2 journal:note:after: killed after 1.0 s, done: nobody",
        "  reboot failpoints 2/2 journal:end:after: killed after 1.0 s, done: east-0",
    ]
    # How long it took is this machine's affair.
    assert re.sub(r"seconds \d+", "seconds 0", outcome.line()) == (
        "reboot failpoints: PASSED: tried 2, passed 2, runs 3, seconds 0, s/member 3, acknowledged 9, lost 0, unknown 1, gap ms 7, late ms -, "
        "down -, checker holds"
    )
    assert table([outcome]).splitlines()[2].split() == [
        *("reboot", "failpoints", "2", "2", "3", "0", "3", "9", "0", "1", "7", "-", "-", "holds", "PASSED"),
    ]
    document = outcome.document()
    assert document["passed"] is True
    assert [link["where"] for link in document["links"]] == ["journal:note:after", "journal:end:after"]


class FakeDeployment(FakeStage):
    """What the soak itself needs, too."""

    def __init__(self, choice: Any, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def remove(self) -> None:
        pass

    def deploy(self) -> None:
        pass

    def members(self) -> Json:
        return dict.fromkeys(members(5))


def soaked(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> tuple[int, Json]:
    monkeypatch.setattr(soak, "Stage", FakeDeployment)
    monkeypatch.setattr(soak, "OUTPUT", folder)
    monkeypatch.setattr(soak, "commit", lambda: "abc")
    monkeypatch.setattr(soak, "mend", lambda stage: stage.said.append("mended"))
    code = soak.main(["--seed", "1", *words])
    return code, json.loads((folder / "etcd-node_name-1" / "soak.json").read_text())


def test_a_soak_goes_through_all_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = soaked(monkeypatch, tmp_path)
    assert (code, document["left"]) == (0, [])
    assert sorted((chain["task"], chain["kind"]) for chain in document["chains"]) == sorted(
        (task, kind) for task in TASKS for kind in ("failpoints", "random")
    )
    assert "14 of 14 chains tried, 14 passed, 0 failed" in capsys.readouterr().out


def test_a_soak_of_a_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, document = soaked(
        monkeypatch, tmp_path, "--task", "version", "--task", "reboot", "--at", "stop:after-begin", "--at", "settle:after-begin"
    )
    assert code == 0
    assert [(chain["task"], sorted(link["where"] for link in chain["links"])) for chain in document["chains"]] == [
        ("version", ["settle:after-begin"]),
        ("reboot", ["settle:after-begin", "stop:after-begin"]),
    ]
    _code, document = soaked(monkeypatch, tmp_path, "--task", "version", "--kind", "clean")
    assert [(chain["kind"], chain["runs"]) for chain in document["chains"]] == [("clean", 1)]


def test_a_soak_that_failed_or_had_no_time_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, document = soaked(monkeypatch, tmp_path, "--minutes", "-1", "--task", "version", "--kind", "failpoints")
    assert (code, document["left"]) == (2, [f"not tried: version failpoints, all {len(names(TASKS['version'], 'before_join'))} kills"])
    monkeypatch.setattr(FakeDeployment, "problems", lambda _stage, _identity: ["a cordon is left"])
    code, document = soaked(monkeypatch, tmp_path, "--task", "version", "--kind", "clean")
    assert (code, document["chains"][0]["problems"]) == (1, ["a cordon is left"])
