# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task files of system_nats that rollouts call, under real Ansible, with members that give written answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.fake_members import play_on, with_written_answers

Json = dict[str, Any]
SERVERS = ("east-0", "east-1", "west-0")
FORGET = {"id": "id-west-1", "address": "10.0.0.4", "process": "west-1", "member": "west-1"}
LEADER = "east-0"


def answer(body: object) -> Json:
    return {"status": 200, "body": json.dumps(body), "error": ""}


def group(name: str, gone: Json | None) -> Json:
    others = [*(server for server in SERVERS if server != name), *(["west-1"] if gone is not None else [])]
    replicas = [{"name": o, "peer": f"id-{o}", "current": True, **((gone or {}) if o == "west-1" else {})} for o in others]
    return {"leader": LEADER, "peer": f"id-{LEADER}", "replicas": replicas}


def answers(name: str, gone: Json | None) -> Json:
    """What a server says while `west-1` is `gone`, or when nobody lists it any more (None)."""
    meta = group(name, gone)
    stream = {"name": "orders", "cluster": meta, "config": {"num_replicas": 3}}
    jsz = {"meta_cluster": meta, "account_details": [{"name": "$G", "stream_detail": [stream]}]}
    varz = {"server_name": name, "version": "2.15.2", "cluster": {"name": "n", "addr": "10.0.0.1"}, "jetstream": {"meta": meta}}
    return {"varz": answer(varz), "routez": answer({"routes": []}), "healthz": answer({"status": "ok"}), "jsz": answer(jsz)}


def led(*, leader: str = LEADER, **states: Json) -> Json:
    """An inspection with what a leader says of west-1."""
    peers = [{"name": "west-1", "current": True, "offline": False, **state} for state in states.values()]
    return {name: {"leader": name == leader, "peers": peers} for name in SERVERS}


DOWN, UP = {"offline": True, "current": False}, {"offline": False, "current": True}
OK = {"success": True}
HOSTNET: Json = {
    "name": "ledger",
    "kube_clusters": [],
    "timeout": 10,
    "pki_dir": "/pki",
    "ca": {},
    "probe_image": "i",
    "pull_secrets": [],
}
BATCH: Json = {"hostnet_batch": [{"member": "west-1", "process": "west-1"}]}
# name: (task file, what servers say of west-1 in the order of samples, the answer of NATS, variables)
SCENARIOS: dict[str, tuple[str, list[Json | None], Json, Json]] = {
    "removed": ("forget", [UP, DOWN, DOWN, None], OK, {}),
    "done": ("forget", [None], OK, {}),
    "faster": ("forget", [DOWN, None], {"error": {"err_code": 10044}}, {}),
    "refused": ("forget", [DOWN, None], {"error": {"err_code": 10076, "description": "no"}}, {}),
    "up": ("forget", [UP], OK, {}),
    "stays": ("forget", [DOWN], OK, {}),
    "joined": ("joined", [DOWN, DOWN, UP], OK, {**BATCH, "hostnet_inspection": {}}),
    "joined before": ("joined", [DOWN], OK, {**BATCH, "hostnet_inspection": led(it={})}),
    "nobody new": ("joined", [DOWN], OK, {"hostnet_inspection": {}}),
    "late": ("joined", [DOWN], OK, {**BATCH, "hostnet_inspection": led(it={"offline": True}), "hostnet": {**HOSTNET, "timeout": 2}}),
    "not listed": ("joined", [None], OK, {**BATCH, "hostnet_inspection": led(), "hostnet": {**HOSTNET, "timeout": 2}}),
    "leaderless": ("joined", [UP], OK, {**BATCH, "hostnet_inspection": led(leader="", it={})}),
    "asks": ("lead", [DOWN], {"data": {"account": "$SYS"}}, {"hostnet_work": "scale_down"}),
    "somebody": ("lead", [DOWN], {"data": {"account": "$G"}}, {"hostnet_work": "scale_down"}),
    "reboot": ("lead", [DOWN], OK, {"hostnet_work": "reboot"}),
    "accounts": ("lead", [DOWN], OK, {"system_nats_extra_config": "max_payload: 1MB\n  accounts { A: {} }"}),
    "own": ("lead", [DOWN], OK, {"system_nats_extra_config": "accounts { A: {} }", "system_nats_system_account": "false"}),
    "other": ("lead", [DOWN], OK, {"system_nats_extra_config": "max_payload: 1MB # no accounting_system here"}),
}


def target(member: str, folder: Path) -> Json:
    variables = {"address": "10.0.0.1", "node": "worker"}
    return {"member": member, "kube_cluster": "east", "namespace": str(folder), "pod": "p", "container": "nats", "variables": variables}


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs every scenario as a host of one inventory; gives the folder with one folder for each."""
    root = tmp_path_factory.mktemp("nats")
    with_written_answers(root / "ansible_collections" / "hostnet" / "multicluster")
    hosts = {}
    for name, (tasks, samples, said, variables) in SCENARIOS.items():
        folder = root / name
        folder.mkdir()
        written = {}
        for member in SERVERS:
            seen = [answers(member, gone) for gone in samples]
            written[member] = {**{question: [one[question] for one in seen] for question in seen[0]}, "request": [said]}
        (folder / "answers.json").write_text(json.dumps(written))
        hosts[name] = {
            "tasks_from": tasks,
            "done": str(folder / "done"),
            "hostnet": HOSTNET,
            "hostnet_targets": [target(member, folder) for member in SERVERS],
            "hostnet_member": {"member": "east-0"},
            "hostnet_forget": FORGET,
            **variables,
        }
    tasks_of_play = [
        {"include_role": {"name": "hostnet.multicluster.system_nats", "tasks_from": "spec"}},
        {"include_role": {"name": "hostnet.multicluster.system_nats", "tasks_from": "{{ tasks_from }}"}},
        {"copy": {"content": "done", "dest": "{{ done }}", "mode": "0600"}},
    ]
    play_on(root, hosts, tasks_of_play)
    return root


def asked(runs: Path, name: str) -> dict[str, list[list[str]]]:
    """Subject and body of the requests, by member that got them."""
    return {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in sorted((runs / name).glob("*.request"))}


def assert_passed(runs: Path, *names: str) -> None:
    for name in names:
        assert (runs / name / "done").exists(), (name, (runs / "output").read_text()[-8000:])


def test_the_leader_removes_a_server_that_is_down(runs: Path) -> None:
    assert_passed(runs, "removed", "faster", "done")
    ((subject, body),) = asked(runs, "removed")[LEADER]
    assert (subject, json.loads(body)) == ("$JS.API.SERVER.REMOVE", {"peer": "west-1", "peer_id": "id-west-1"})
    assert asked(runs, "done") == {}


def test_it_fails_where_the_server_stays_or_is_up(runs: Path) -> None:
    for name in ("refused", "up", "stays"):
        assert not (runs / name / "done").exists(), name
    assert asked(runs, "up") == {}
    output = " ".join((runs / "output").read_text().split())
    assert "JetStream's leader still sees it: west-1" in output
    assert "JetStream's leader still lists it: west-1" in output


def samples(runs: Path, name: str) -> int:
    asked_of = runs / name / f"{LEADER}.varz"
    return len(asked_of.read_text().splitlines()) if asked_of.exists() else 0


def test_a_new_server_is_waited_for_until_the_leader_has_it_caught_up(runs: Path) -> None:
    assert_passed(runs, "joined", "joined before", "nobody new", "leaderless")
    assert {name: samples(runs, name) for name in ("joined", "joined before", "nobody new", "leaderless")} == {
        "joined": 3,
        "joined before": 0,
        "nobody new": 0,
        "leaderless": 1,
    }
    for name in ("late", "not listed"):
        assert not (runs / name / "done").exists(), name
        assert samples(runs, name) > 0
    output = " ".join((runs / "output").read_text().split())
    assert "after 2 seconds JetStream's leader does not have these servers caught up: west-1." in output


def test_who_is_going_to_remove_a_server_is_let_in_before_anything_is_changed(runs: Path) -> None:
    assert_passed(runs, "asks", "reboot")
    assert asked(runs, "asks") == {"east-1": [["$SYS.REQ.USER.INFO", "null"]]}
    assert asked(runs, "reboot") == {}
    assert not (runs / "somebody" / "done").exists()


def test_accounts_of_the_users_own_need_a_decision(runs: Path) -> None:
    assert_passed(runs, "own", "other")
    assert not (runs / "accounts" / "done").exists()
    assert "set system_nats_system_account to false" in " ".join((runs / "output").read_text().split())
