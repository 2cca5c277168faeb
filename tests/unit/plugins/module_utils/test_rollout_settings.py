# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module rollout_settings with a made-up database instead of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_settings

Json = dict[str, Any]
DEAD = "server.time_until_store_dead"
SPEC = {"settings": {"read": ["get", "{setting}"], "write": ["set", "{setting}", "{value}"], "values": {"reboot": {DEAD: "00:30:00"}}}}
TARGETS = [{"member": name, "kube_cluster": "east", "namespace": "bank", "pod": name} for name in ("east-0", "east-1")]
WELL = {"east-0": {"healthy": True}, "east-1": {"healthy": True}}


class Database:
    """Answers commands; `broken` fails them all."""

    def __init__(self, **values: str) -> None:
        self.values = {DEAD: "00:05:00", **values}
        self.asked: list[tuple[str, bool]] = []
        self.broken: Json = {}

    def ask(self, _clusters: Any, members: Sequence[Any], commands: Mapping[str, list[str]], *_rest: Any, **options: bool) -> Json:
        (member,) = members
        self.asked.append((member.member, options["read_only"]))
        answers: Json = {}
        for name, argv in commands.items():
            if argv[0] == "set" and not self.broken:
                self.values[argv[1]] = argv[2]
            answers[name] = {"rc": 0, "stdout": f"{name}\n{self.values[name]}\n", "stderr": "", "error": "", **self.broken}
        return {member.member: answers}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(rollout_settings, "ask_members", made.ask)
    return made


def run(state: str, journal: Json, check: bool = False, **options: Any) -> Json:
    params = {name: option.get("default") for name, option in rollout_settings.ARGUMENTS.items()}
    given = {"kube_clusters": [{"name": "east"}], "spec": SPEC, "members": TARGETS, "inspection": WELL, "journal": journal}
    return rollout_settings.run(_call.Call({**params, **given, "state": state, **options}, check, clusters={}))


def test_from_before_the_rollout_to_after_it(database: Database) -> None:
    compared = run("compared", {"saved": {}, "member": None}, work="reboot")
    assert compared == {"changed": False, "save": {DEAD: "00:05:00"}, "write": {DEAD: "00:30:00"}}
    journal = {"saved": compared["save"], "member": {"member": "east-0"}}
    assert run("changed", journal, values=compared["write"]) == {"changed": True}
    assert database.values[DEAD] == "00:30:00"
    assert run("restored", journal) == {"changed": True}
    assert database.values[DEAD] == "00:05:00"
    # The member in hand is spared, and what only reads may be asked again.
    assert database.asked == [("east-0", True), ("east-1", False), ("east-1", False)]


def test_nothing_to_do_asks_nobody(database: Database) -> None:
    assert run("compared", {"saved": {}}, work="replace") == {"changed": False, "save": {}, "write": {}}
    assert run("changed", {"saved": {}}) == run("restored", {"saved": {}}) == {"changed": False}
    assert run("restored", {"saved": {DEAD: "00:05:00"}}, check=True) == {"changed": True}
    assert database.asked == []


@pytest.mark.parametrize("state", ["compared", "changed", "restored"])
def test_without_a_healthy_member_it_says_so(database: Database, state: str) -> None:
    with pytest.raises(_call.Failure, match=f"no member is healthy, so settings cannot be {state}: {DEAD}. Run again when one is"):
        run(state, {"saved": {DEAD: "00:05:00"}}, inspection={}, work="reboot", values={DEAD: "00:30:00"})
    assert database.asked == []


def test_what_cannot_be_read_is_not_changed_and_what_cannot_be_written_is_told(database: Database) -> None:
    database.broken = {"rc": 1, "stderr": "not authorised"}
    with pytest.raises(_call.Failure, match="cannot be read, so it could not be put back, and is not changed: not authorised"):
        run("compared", {"saved": {}}, work="reboot")
    with pytest.raises(_call.Failure, match=r"member east-0: command .* ended with exit code 1: not authorised") as failed:
        run("restored", {"saved": {DEAD: "00:05:00"}})
    assert len(failed.value.result["failures"]) == 1
    assert "passing" not in failed.value.result
    # The way to the member failed: the rollout may go on by itself.
    database.broken = {"rc": None, "error": "no answer", "passing": True}
    with pytest.raises(_call.Failure) as failed:
        run("changed", {"saved": {}}, values={DEAD: "00:30:00"})
    assert failed.value.result["passing"]
    with pytest.raises(_call.Failure, match="has characters that no command is given"):
        run("changed", {"saved": {}}, values={DEAD: "$(date)"})


@given(st.lists(st.sampled_from(["killed before the journal", "killed before the change", "whole"]), max_size=5))
def test_invariant_12_the_value_from_before_comes_back(runs: list[str]) -> None:
    made, journal = Database(), {"saved": dict[str, str](), "member": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout_settings, "ask_members", made.ask)
        for kind in runs:
            compared = run("compared", journal, work="reboot")
            if kind != "killed before the journal":
                journal["saved"] = {**(journal["saved"] or {}), **compared["save"]}
            if kind == "whole":
                run("changed", journal, values=compared["write"])
        run("restored", journal)
    assert made.values[DEAD] == "00:05:00"
