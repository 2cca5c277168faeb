# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for the cloud, with a fake of what is seen."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import follow

Json = dict[str, Any]


class Time:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now, self.lines = 1000.0, list[str]()

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls follow.wait with what is due at each look: {} again and again after the last."""

    def called(
        looks: list[Json], away: dict[str, str] | None = None, nodes: int = 0, over: list[str] | None = None, **wanted: Any
    ) -> tuple[Json, Time]:
        time, taken, ends = Time(), iter(looks), iter(over or [])

        def look(_clusters: Any, _wanted: Any, picture: follow.Picture) -> None:
            picture.away = dict(away or {})
            picture.nodes = {"east": [{"name": str(number), "kube_cluster": "east", "uid": str(number)} for number in range(nodes)]}

        def standing(*_args: Any) -> Json:
            return {"members": wanted.get("followed", []), "left": {}, "again": [], "text": "1 of 2 members is new", "over": next(ends, "")}

        monkeypatch.setattr(follow, "_look", look)
        monkeypatch.setattr(follow.follow, "due", lambda *_args: next(taken, {}))
        monkeypatch.setattr(follow.follow, "progress", lambda *_args: ["east: nothing"])
        monkeypatch.setattr(follow.generations, "standing", standing)
        given = {"bindings": [], "node_selector": "", "extra_selector": "", "address_type": "InternalIP", **wanted}
        timeout = given.pop("timeout", 60.0)
        found = follow.wait({}, follow.Wanted("x", "n", **given), 3.0, timeout, time.lines.append, {}, lambda: time.now, time.pause)
        return found, time

    return called


def test_it_ends_when_somebodys_turn_has_come(wait: Any) -> None:
    found, time = wait([{}, {}, {"east-0": "because"}])
    assert (found["due"], found["waited"]) == ({"east-0": "because"}, 6.0)
    assert time.lines == ["waiting for the cloud: east: nothing (0 of 60 s)"]


def test_it_ends_in_time_and_says_so_now_and_then(wait: Any) -> None:
    found, time = wait([], timeout=1500.0)
    assert (found["due"], found["waited"]) == ({}, 1500.0)
    assert [line.rpartition("(")[2] for line in time.lines] == ["0 of 25 minutes)", "10 of 25 minutes)", "20 of 25 minutes)"]


def test_a_thousand_nodes_are_looked_at_less_often(wait: Any) -> None:
    found, _time = wait([{}, {"east-0": "x"}], nodes=1000)
    assert found["waited"] == 40.0


def test_it_ends_when_the_upgrade_is_over(wait: Any) -> None:
    found, time = wait([], over=["", "", "all are new"], followed=["east-0"], may_end=True)
    assert (found["due"], found["over"], found["waited"]) == ({}, "all are new", 6.0)
    assert (found["standing"], found["seen"]) == ("1 of 2 members is new", {"generations": {}, "members": {}})
    assert time.lines == ["waiting for the cloud: 1 of 2 members is new; east: nothing (0 of 60 s)"]
    # Somebody's turn comes first.
    found, _time = wait([{"east-0": "because"}], over=["all are new"], may_end=True)
    assert (found["due"], found["over"]) == ({"east-0": "because"}, "")


@pytest.mark.parametrize("not_yet", [{"may_end": False}, {"may_end": True, "away": {"west": "it does not answer"}}])
def test_it_does_not_end_where_nobody_knows(wait: Any, not_yet: Json) -> None:
    found, _time = wait([], over=["all are new"] * 99, **not_yet)
    assert (found["over"], found["waited"]) == ("", 60.0)


def test_whoever_cannot_be_mended_is_nobodys_turn_until_something_changes(wait: Any) -> None:
    """A member that a plan may not mend (it is not among hostnet_members) was due at each look: the run went round without a pause and without end."""
    found, _time = wait([{"west-0": "gone"}] * 99, waiting=["west-0"])
    assert (found["due"], found["waited"]) == ({}, 60.0)
    # It was not there at one look, and is there now.
    # It was there when the rollout was planned, and went before the first look.
    found, _time = wait([{"west-0": "gone"}], waiting=["west-0"], stuck=[])
    assert found["due"] == {"west-0": "gone"}
    found, _time = wait([{"west-0": "gone"}, {}, {"west-0": "gone, and another is there"}], waiting=["west-0"])
    assert (found["due"], found["waited"]) == ({"west-0": "gone, and another is there"}, 6.0)
    # Another one is lost meanwhile.
    found, _time = wait([{"west-0": "gone", "east-0": "gone"}], waiting=["west-0"])
    assert found["due"] == {"east-0": "gone"}
