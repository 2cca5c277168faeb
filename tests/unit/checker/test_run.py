# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker's run with a system in memory, for what no real system does when asked: lie, forget on one member, leave things open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from checker import verdict
from checker.kube import KubeCluster, Seen
from checker.run import Options, Run
from checker.system import Answer, Connection, Copy, System, Unreachable
from support.virtual_clock import VirtualClock

ADDRESSES = {"10.0.0.1": "east/a", "10.0.0.2": "east/b", "10.0.0.3": "west/a"}


class Memory(System):
    """`fate(number, address)`: "" for a write that works; "open": done, but the answer is lost; "not": neither; "lie": acknowledged only."""

    port = 1

    def __init__(self, fate: Callable[[int, str], str], wrong: Callable[[], int] | None = None) -> None:
        super().__init__("run", Path(), None, 1.0)
        self.wrong, self.figures = wrong, ("wrong",) if wrong else ()
        self.fate, self.lock = fate, threading.Lock()
        self.whole: Copy = {}
        self.forgets: dict[str, set[int]] = {}  # address: numbers that are missing in its own copy
        self.cluster: dict[str, str] = {}
        self.learners: set[str] = set()

    def connect(self, address: str) -> Connection:
        return MemoryConnection(self, address)

    def prepare(self, connection: Connection) -> None: ...

    def clean(self, connection: Connection) -> None:
        self.whole = {-1: ["cleaned"]}


class MemoryConnection(Connection):
    def __init__(self, system: Memory, address: str) -> None:
        self.system, self.address = system, address

    def write(self, number: int, value: str) -> None:
        fate = self.system.fate(number, self.address)
        if fate in ("", "open"):
            with self.system.lock:
                self.system.whole[number] = [value]
        if fate in ("open", "not"):
            raise Unreachable(fate)

    def status(self) -> Answer:
        return Answer(self.system.cluster.get(self.address, "1"), self.address not in self.system.learners)

    def read(self, authoritative: bool) -> Copy:
        missing = set() if authoritative else self.system.forgets.get(self.address, set())
        return {number: values for number, values in self.system.whole.items() if number not in missing}

    def figures(self) -> dict[str, int]:
        return {"wrong": self.system.wrong()} if self.system.wrong else {}

    def close(self) -> None: ...


class Kube:
    """All members in one kube cluster."""

    name = "east"
    join = ",".join(ADDRESSES)

    def look(self) -> Seen:
        return Seen(dict(ADDRESSES), sorted(ADDRESSES))

    def join_list(self) -> dict[str, str] | None:
        return {"seeds": self.join}


def run(tmp_path: Path, system: Memory, seconds: float = 2.0, clock: VirtualClock | None = None, **other: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "rate": 100,
        "least_rate": 50,
        "members": 0,
        "most_down": 1,
        "seed": 1,
        "connections": 2,
        "ready_seconds": 5,
        "read_seconds": 1,
        "keep": False,
        "ledger": tmp_path / "ledger",
        "probe_file": tmp_path / "probe",
    }
    clock = clock or VirtualClock()
    made = Run(system, [cast(KubeCluster, Kube())], Options(**{**settings, **other}), lambda _text: None, clock)
    try:
        return made.work(seconds, threading.Event())
    finally:
        made.stop.set()
        clock.close()


def noted(tmp_path: Path) -> list[int]:
    return [int(line.split()[0]) for line in (tmp_path / "ledger").read_text().splitlines()]


def test_an_unknown_outcome_is_never_counted_as_acknowledged(tmp_path: Path) -> None:
    system = Memory(lambda number, _address: {0: "open", 1: "not"}.get(number % 20, ""))
    document = run(tmp_path, system)
    assert document["reasons"] == []
    assert not [number for number in noted(tmp_path) if number % 20 in (0, 1)]
    writes = document["writes"]
    assert writes["acknowledged"] == len(noted(tmp_path)) == writes["attempted"] - writes["unknown"]
    assert 0.05 < writes["unknown"] / writes["attempted"] < 0.15
    assert max(document["read"].values()) > writes["acknowledged"], "what is open and there is nobody's loss"
    assert system.whole == {-1: ["cleaned"]}


def test_a_system_that_lies_is_found_out_and_its_data_is_left_for_a_look(tmp_path: Path) -> None:
    system = Memory(lambda number, _address: "lie" if number == 50 else "")
    document = run(tmp_path, system)
    assert document["result"] == verdict.VIOLATED
    assert document["lost"] == 1
    assert set(map(tuple, document["lost_by_reader"].values())) == {(50,)}
    assert -1 not in system.whole


def test_a_loss_in_the_copy_of_one_member_names_this_member(tmp_path: Path) -> None:
    system = Memory(lambda _number, _address: "")
    system.forgets["10.0.0.2"] = {33, 44}
    document = run(tmp_path, system)
    assert document["lost_by_reader"] == {"east/b (10.0.0.2)": [33, 44]}
    assert document["result"] == verdict.VIOLATED


def test_a_member_that_tells_another_cluster_id(tmp_path: Path) -> None:
    system = Memory(lambda _number, _address: "")
    system.cluster["10.0.0.3"] = "2"
    assert run(tmp_path, system)["reasons"][0].startswith("2 cluster ids were seen")


def test_a_learner_is_no_member_yet(tmp_path: Path) -> None:
    system = Memory(lambda _number, _address: "")
    system.learners.add("10.0.0.3")
    document = run(tmp_path, system, ready_seconds=1.5)
    assert document["result"] == verdict.INVALID
    assert "never acknowledged through every member" in document["reasons"][0]


def test_a_gap_is_told_with_its_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    began = clock.now() + 1.5
    document = run(tmp_path, Memory(lambda _number, _address: "not" if began < clock.now() < began + 0.7 else ""), seconds=4.0, clock=clock)
    assert document["reasons"] == []
    # Writers try again after a while, and one of them is the first.
    assert 700 <= document["gaps"]["longest_ms"] <= 870
    assert len((tmp_path / "probe").read_text().splitlines()) == len(document["gaps"]["longer_than_250_ms"]) == 1
    assert document["gaps"]["longer_than_250_ms"][0]["time"] == document["gaps"]["longest_at"]
    assert document["gaps"]["late_ms_of_the_checker"] == 0


def test_a_join_list_with_a_dead_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kube, "join", "10.0.0.1,10.0.0.30")
    document = run(tmp_path, Memory(lambda _number, _address: ""))
    assert document["reasons"] == ["kube cluster east: seeds names 10.0.0.30, and no live node has this address"]


def test_what_the_system_itself_counts_is_told_and_waited_for_at_the_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    began = clock.now()
    # Mended 3 seconds after the last write.
    document = run(
        tmp_path, Memory(lambda _number, _address: "", lambda: 7 if 5 < clock.now() - began < 23 else 0), 20.0, clock, read_seconds=60
    )
    assert document["reasons"] == []
    assert document["figures"]["most"] == {"wrong": 7}
    assert document["figures"]["at_end"] == {"wrong": 0}
    assert [entry["wrong"] for entry in document["figures"]["changes"]] == [0, 7, 0]
    document = run(tmp_path, Memory(lambda _number, _address: "", lambda: 2), 3.0)
    assert document["reasons"] == ["2 wrong at the end"]
    assert document["result"] == verdict.VIOLATED


def test_figures_that_nobody_can_tell(tmp_path: Path) -> None:
    def unreachable() -> int:
        raise Unreachable("not now")

    document = run(tmp_path, Memory(lambda _number, _address: "", unreachable), 3.0)
    assert document["reasons"] == ["no member told wrong at the end"]
