# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for what nodes tell, with a fake of what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import waits
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.waits import Verdict

AWAY = KubeError("west", "list nodes", "no answer", passing=True)
REFUSED = KubeError("west", "list nodes", "forbidden", 403, "Forbidden")


class Time:
    """A clock that moves only when somebody waits, or when a look takes long."""

    def __init__(self) -> None:
        self.now, self.lines, self.looks = 1000.0, list[str](), list[float]()

    def pause(self, seconds: float) -> None:
        self.now += seconds


def wait(looks: Sequence[Any], timeout: float = 60.0, patient: bool = True, nodes: int = 0, each: float = 0.0) -> tuple[waits.Ended, Time]:
    """`looks`: at each one what is missing, "" for nothing, "never: why", or an error; the last one goes on for ever. Each takes `each` seconds."""
    time, left = Time(), list(looks)

    def read() -> list[str]:
        time.looks.append(time.now)
        time.now += each
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, KubeError):
            raise said
        return [said, *["node"] * nodes]

    def judge(seen: Sequence[Any]) -> Verdict:
        never, missing = (seen[0], "") if seen[0].startswith("never") else ("", seen[0])
        return {"done": not seen[0], "never": never, "missing": missing, "found": {"n": len(seen)}}

    return waits.wait(read, judge, 2.0, timeout, patient, time.lines.append, lambda: time.now, time.pause), time


def test_it_ends_when_it_has_come_true() -> None:
    ended, time = wait(["a node", "a node", ""])
    assert (ended.done, ended.waited, ended.said and ended.said["found"]) == (True, 4.0, {"n": 1})
    assert time.lines == ["waiting: a node (0 of 60 s)"]


def test_it_ends_at_once_where_it_never_will() -> None:
    ended, _time = wait(["a node", "never: it is another one"])
    assert (ended.done, ended.waited, ended.missing) == (False, 2.0, "never: it is another one")


def test_at_the_end_it_says_what_was_missing() -> None:
    ended, time = wait(["a node"], timeout=1500.0)
    assert (ended.done, ended.missing) == (False, "after 1500 seconds: a node")
    assert [line.rpartition("(")[2] for line in time.lines] == ["0 of 25 minutes)", "10 of 25 minutes)", "20 of 25 minutes)"]


def test_a_kube_cluster_that_is_away_is_asked_again_or_is_the_end() -> None:
    ended, time = wait([AWAY, "a node", AWAY, ""])
    assert (ended.done, ended.away, ended.waited) == (True, "", 6.0)
    assert time.lines[0] == "waiting: kube cluster west: list nodes: no answer (0 of 60 s)"
    assert wait(["a node", AWAY], timeout=5.0)[0].missing == "after 5 seconds: kube cluster west: list nodes: no answer; a node"
    assert wait([AWAY], timeout=5.0)[0].missing == "after 5 seconds: kube cluster west: list nodes: no answer"
    for patient, error in ((False, AWAY), (True, REFUSED)):
        with pytest.raises(KubeError):
            wait(["a node", error], patient=patient)


def test_without_time_it_looks_once() -> None:
    ended, time = wait(["a node"], timeout=0)
    assert (ended.done, len(time.looks), time.lines) == (False, 1, [])


def test_a_thousand_nodes_are_looked_at_less_often() -> None:
    assert wait(["a node", ""], nodes=1000)[0].waited == 1000 / waits.NODES_A_SECOND


@given(st.integers(0, 40), st.floats(0, 30), st.floats(0, 60))
def test_nothing_is_said_to_be_missing_without_a_look_after_the_time_was_over(number: int, each: float, timeout: float) -> None:
    ended, time = wait([*["a node"] * number, ""], timeout=timeout, each=each)
    assert ended.done or time.looks[-1] >= 1000.0 + timeout
    # Time counts, not tries: one look more than fit, and the last.
    assert len(time.looks) <= timeout / max(2.0, each) + 2
