# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which request meets which fault, how requests are told apart, and when something was done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollout.faults import Coverage, Position, Round
from support.faults import (
    CONFLICT,
    CUT,
    EVERY,
    RESET_AFTER,
    RESET_BEFORE,
    Covering,
    Seen,
    Traffic,
    applies,
    at_random,
    commands_twice,
    only,
    path_kind,
    twice,
)

MAPS = "/api/v1/namespaces/n/configmaps"
EXEC = "/api/v1/namespaces/n/pods/p-0/exec?command=etcdctl&command=member&command=add"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/version", "/version"),
        ("/api/v1/nodes/east-1", "nodes/*"),
        ("/api/v1/namespaces/n", "namespaces/*"),
        (f"{MAPS}/soak-rollout?fieldManager=x", "configmaps/soak-rollout"),
        (f"{MAPS}?limit=500", "configmaps"),
        ("/api/v1/namespaces/n/pods?watch=true&resourceVersion=5", "watch pods"),
        (EXEC, "pods/*/exec"),
        ("/apis/apps/v1/namespaces/n/statefulsets/soak-east-0", "statefulsets/*"),
        ("/apis/coordination.k8s.io/v1/namespaces/n/leases/soak-rollout", "leases/soak-rollout"),
    ],
)
def test_kinds_of_paths_are_the_same_in_every_run(path: str, kind: str) -> None:
    assert path_kind(path) == kind


def came(traffic: Traffic, method: str, path: str, status: int = 200, uid: str = "u", version: str = "1", body: bytes = b"") -> Seen:
    """A request, and what the API server answered to it; none where the fault came before it."""
    seen = traffic.came("east", method, path, body)
    if seen.fault != RESET_BEFORE:
        seen.status, seen.uid, seen.version = status, uid, version
    return seen


def test_a_request_that_comes_again_keeps_its_label_and_is_not_counted() -> None:
    step = ["begin"]
    traffic = Traffic(only(RESET_AFTER, ["begin east GET configmaps 2"]), lambda: step[0])
    assert came(traffic, "GET", MAPS).label == "begin east GET configmaps 1"
    lost = came(traffic, "GET", MAPS)
    again = came(traffic, "GET", MAPS)
    assert (lost.fault, lost.again, again.fault, again.again) == (RESET_AFTER, False, "", True)
    assert lost.label == again.label == "begin east GET configmaps 2"
    assert came(traffic, "GET", MAPS).label == "begin east GET configmaps 3"
    step[0] = "stop"
    assert came(traffic, "GET", MAPS).label == "stop east GET configmaps 1"
    other = traffic.came("west", "GET", MAPS, b"")
    assert (other.number, other.of_kube, other.label) == (6, 1, "stop west GET configmaps 1")


def test_runs_with_one_fault_go_through_all_requests() -> None:
    covered: set[str] = set()
    for run in range(3):
        traffic = Traffic(Covering(RESET_BEFORE, 3, covered))
        for number in range(8):
            seen = came(traffic, "POST", f"/api/v1/namespaces/n/secrets/s{number}/sub{number}")
            if seen.fault:
                assert number % 3 == run % 3
                assert came(traffic, "POST", seen.path).again
    assert len(covered) == 8
    assert not [entry for entry in traffic.seen if entry.fault and entry.again]
    assert Covering(RESET_BEFORE, 3, set(), skipped=1)(Seen(1, "east", 1, "GET", MAPS)) == ""


def test_only_what_can_meet_a_fault_does() -> None:
    read, watch = Seen(1, "east", 1, "GET", MAPS), Seen(1, "east", 1, "GET", f"{MAPS}?watch=true")
    write, command = Seen(1, "east", 1, "PATCH", f"{MAPS}/c"), Seen(1, "east", 1, "GET", EXEC)
    assert [applies(CONFLICT, seen) for seen in (read, watch, write, command)] == [False, False, True, False]
    assert [applies(CUT, seen) for seen in (read, watch, write, command)] == [False, True, False, False]
    faults = {at_random(1, str(seed))(write) for seed in range(200)}
    assert faults == {fault for fault in EVERY if applies(fault, write)}
    assert at_random(0, "")(write) == ""


@pytest.mark.parametrize(
    ("method", "path", "second", "found"),
    [
        ("POST", MAPS, {"uid": "v"}, True),
        ("POST", MAPS, {"status": 409}, False),
        # An eviction's uid is the pod's.
        ("POST", "/api/v1/namespaces/n/pods/p/eviction", {}, False),
        ("POST", "/api/v1/namespaces/n/pods/p/eviction", {"uid": "v"}, True),
        ("PATCH", f"{MAPS}/c", {}, False),
        ("PATCH", f"{MAPS}/c", {"version": "2"}, True),
        ("PATCH", f"{MAPS}/c?dryRun=All", {"version": "2"}, False),
        ("DELETE", f"{MAPS}/c", {"version": "2"}, False),
        ("DELETE", f"{MAPS}/c", {"uid": "v"}, True),
        ("DELETE", f"{MAPS}/c", {"status": 404}, False),
    ],
)
def test_what_was_done_twice_is_told_by_the_answers_of_the_api_server(method: str, path: str, second: dict[str, Any], found: bool) -> None:
    traffic = Traffic(lambda seen: RESET_AFTER if seen.number == 1 else "")
    came(traffic, method, path)
    came(traffic, method, path, **second)
    assert bool(twice(traffic.seen)) == found


def test_what_never_reached_the_api_server_is_not_done_twice() -> None:
    traffic = Traffic(lambda seen: RESET_BEFORE if seen.number == 1 else "")
    came(traffic, "POST", MAPS)
    came(traffic, "POST", MAPS, uid="v")
    # The same once more, which nobody has asked for because of a fault.
    came(traffic, "POST", MAPS, uid="w")
    assert twice(traffic.seen) == []


def test_commands_that_were_begun_twice_are_named() -> None:
    traffic = Traffic(lambda seen: RESET_AFTER if seen.number == 1 else "")
    came(traffic, "GET", EXEC, 101)
    came(traffic, "GET", EXEC, 101)
    assert commands_twice(traffic.seen) == [
        "east GET pods/*/exec 1: request 1 (reset-after) and request 2: etcdctl member add",
    ]
    assert twice(traffic.seen) == []


def test_the_step_is_told_by_the_files_of_tasks(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    position = Position(tasks)
    assert position() == "begin"
    with tasks.open("a") as target:
        for path, step in (
            ("roles/preflight/tasks/main.yml:3", "begin"),
            ("roles/rollout/tasks/work.yml:9", "begin"),
            ("roles/rollout/tasks/steps/stop.yml:5", "stop"),
            ("roles/rollout/tasks/apply.yml:5", "stop"),
            ("roles/rollout/tasks/work.yml:80", "end"),
        ):
            target.write(f"/somewhere/{path}\n")
            target.flush()
            assert position() == step
        target.write("/somewhere/roles/rollout/tasks/steps/st")
        target.flush()
        assert position() == "end"


def test_a_table_is_gone_on_with(tmp_path: Path) -> None:
    coverage = Coverage()
    for problems in ([], ["it failed"]):
        traffic = Traffic(lambda _seen: RESET_BEFORE, lambda: "stop")
        came(traffic, "GET", f"{MAPS}?{len(problems)}")
        came(traffic, "GET", "/version" if problems else MAPS)
        coverage.add(Round(RESET_BEFORE, ["east-0"], traffic.seen, problems=problems))
    table = tmp_path / "requests.tsv"
    table.write_text(coverage.text())
    again = Coverage()
    again.load(table)
    assert again.covered == {RESET_BEFORE: {"stop east GET configmaps 2"}}
    assert [line.split("  ")[0] for line in coverage.table().splitlines()[2:]] == ["GET /version", "GET configmaps"]
    assert "FAILED 1 of 2" in coverage.text()
