# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a system that are another while a rollout is open (invariant 12)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings

Json = dict[str, Any]
DEAD = "server.time_until_store_dead"
SPEC = {
    "settings": {
        "read": ["db", "--get={setting}"],
        "write": ["db", "--set={setting}='{value}'"],
        "values": {"reboot": {DEAD: "00:30:00"}, "version": {DEAD: "", "other": 7}},
    }
}


def printed(stdout: str, rc: int | None = 0, error: str = "", stderr: str = "") -> Json:
    return {"east-0": {DEAD: {"rc": rc, "stdout": stdout, "stderr": stderr, "error": error}}}


def test_what_is_wanted_by_kind_of_work() -> None:
    assert settings.wanted(SPEC, "reboot") == {DEAD: "00:30:00"}
    assert settings.wanted(SPEC, "version") == {"other": "7"}
    assert settings.wanted(SPEC, "replace") == {}
    assert settings.wanted({}, "reboot") == {}


def test_a_healthy_member_is_asked_and_not_the_one_in_hand() -> None:
    targets = [{"member": name} for name in ("east-1", "east-0", "west-0")]
    inspection = {"east-0": {"healthy": True}, "east-1": {"healthy": True}, "west-0": {"healthy": False}}
    assert settings.helper(inspection, targets, "") == {"member": "east-0"}
    assert settings.helper(inspection, targets, "east-0") == {"member": "east-1"}
    assert settings.helper({"east-0": {"healthy": True}}, targets, "east-0") == {"member": "east-0"}
    assert settings.helper({}, targets, "") is None


def test_commands() -> None:
    assert settings.commands(SPEC, {DEAD: "00:30:00"}, "read") == {DEAD: ["db", f"--get={DEAD}"]}
    assert settings.commands(SPEC, {DEAD: "00:30:00"}, "write") == {DEAD: ["db", f"--set={DEAD}='00:30:00'"]}


@pytest.mark.parametrize(("name", "value"), [(DEAD, "1'; DROP"), (DEAD, "a\nb"), ("x;y", "1"), (DEAD, "$(date)")])
def test_what_is_no_word_of_a_command_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="has characters that no command is given"):
        settings.commands(SPEC, {name: value}, "write")


@pytest.mark.parametrize(
    ("now", "saved", "expected"),
    [
        ("00:05:00", {}, {"save": {DEAD: "00:05:00"}, "write": {DEAD: "00:30:00"}}),
        # It was changed before a kill: what the journal has is the value from before the rollout.
        ("00:30:00", {DEAD: "00:05:00"}, {"save": {}, "write": {}}),
        # Killed between the journal and the change.
        ("00:05:00", {DEAD: "00:05:00"}, {"save": {}, "write": {DEAD: "00:30:00"}}),
        # Somebody has changed it meanwhile.
        ("00:07:00", {DEAD: "00:05:00"}, {"save": {}, "write": {DEAD: "00:30:00"}}),
        ("00:30:00", {}, {"save": {}, "write": {}}),
        ("01:00:00", {}, {"save": {}, "write": {}}),
        ("1 day 00:00:00", {}, {"save": {}, "write": {}}),
        ("2 days 00:10:00", {}, {"save": {}, "write": {}}),
        ("0 days 00:10:00", {}, {"save": {DEAD: "0 days 00:10:00"}, "write": {DEAD: "00:30:00"}}),
        ("5m0s", {}, {"save": {DEAD: "5m0s"}, "write": {DEAD: "00:30:00"}}),
    ],
)
def test_changes(now: str, saved: Json, expected: Json) -> None:
    assert settings.changes({DEAD: "00:30:00"}, printed(f"{DEAD}\n{now}\n"), saved) == expected


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({}, "no answer"),
        ({"east-0": {}}, "no answer"),
        (printed("", 1, stderr="unknown cluster setting"), "unknown cluster setting"),
        (printed("", None, error="no pod"), "no pod"),
        (printed("half of it", None, error="it took too long"), "it took too long"),
        (printed("00:05:00", 1, stderr="not authorised"), "not authorised"),
        (printed("\n"), "no answer"),
    ],
)
def test_what_cannot_be_read_is_not_changed(results: Json, says: str) -> None:
    with pytest.raises(ValueError, match=f"{DEAD} cannot be read, so it could not be put back, and is not changed: .*{says}"):
        settings.changes({DEAD: "00:30:00"}, results, {})


@given(st.lists(st.sampled_from(["kill before the journal", "kill before the change", "somebody", "whole"]), max_size=6))
def test_invariant_12_whatever_happens_the_value_from_before_comes_back(events: list[str]) -> None:
    """A database of one setting, and runs that die in the middle."""
    value, saved = "00:05:00", {}
    for event in events:
        if event == "somebody" and saved:
            value = "00:06:00"
            continue
        todo = settings.changes({DEAD: "00:30:00"}, printed(value), saved)
        if event == "kill before the journal":
            continue
        saved = {**saved, **todo["save"]}
        if event == "kill before the change":
            continue
        value = todo["write"].get(DEAD, value)
    assert saved.get(DEAD, "00:05:00") == "00:05:00"
    assert not (value != "00:05:00" and not saved)
