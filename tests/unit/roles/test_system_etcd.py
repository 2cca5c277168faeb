# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task files of system_etcd that rollouts call, under real Ansible, with members that give written answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.fake_members import play_on, with_written_answers

Json = dict[str, Any]
ADDRESSES = {"east-0": "10.0.0.1", "east-1": "10.0.0.12", "west-0": "10.1.0.1"}
IDS = {"east-0": 160, "east-1": 161, "west-0": 162}
NEW = {"member": "west-1", "process": "west-1", "kube_cluster": "west", "address": "10.1.0.2"}
FORGET = {"id": "a1", "address": "10.0.0.12", "process": "east-1", "member": "east-1"}


def said(body: object, rc: int = 0) -> Json:
    return {"rc": rc, "stdout": json.dumps(body), "stderr": "", "error": ""}


def status(member: str, leader: str) -> Json:
    header = {"cluster_id": 99, "member_id": IDS[member], "revision": 5}
    return said([{"Status": {"header": header, "version": "3.6.16", "leader": IDS[leader], "raftAppliedIndex": 9}}])


def listed(learner: str = "", **addresses: str) -> Json:
    """The member list, with other addresses for some."""
    found = {name: addresses.get(name.replace("-", "_"), address) for name, address in ADDRESSES.items()}
    members = [
        {"ID": IDS[name], "name": name, "peerURLs": [f"https://{host}:2380"], "isLearner": name == learner} for name, host in found.items()
    ]
    return said({"members": members})


def announced(address: str) -> Json:
    """The member list with a learner at this address that has never started."""
    body = json.loads(listed()["stdout"])
    body["members"].append({"ID": 255, "name": "", "peerURLs": [f"https://{address}:2380"], "isLearner": True})
    return said(body)


GONE: Json = {"rc": None, "stdout": "", "stderr": "", "error": "exec in pod a/b: pod b does not have a host assigned"}
NOT_YET: Json = {"rc": 1, "stdout": "", "stderr": "etcdserver: can only promote a learner member which is in sync with leader", "error": ""}
NO_LONGER: Json = {"rc": 1, "stdout": "", "stderr": "etcdserver: can only promote a learner member", "error": ""}
# What voters answer to a promotion, by scenario.
PROMOTIONS: dict[str, Json] = {
    "promoted": {"west-0": [GONE], "east-1": [NOT_YET, said({})]},
    "promoted before": {"west-0": [NO_LONGER], "east-1": [NOT_YET]},
    "no vote": {"west-0": [GONE], "east-1": [NOT_YET]},
}


# Longer than a busy machine takes for two tries.
WAITING: Json = {"hostnet": {"name": "ledger", "kube_clusters": [], "timeout": 600}}

# name: (task file, leaders in the order of samples, who runs, variables, member list)
SCENARIOS: dict[str, tuple[str, list[str], list[str], Json, Json]] = {
    "lead": ("lead", ["east-0", "east-0", "east-1"], list(ADDRESSES), {}, listed()),
    "stuck": ("lead", ["east-0"], list(ADDRESSES), {}, listed()),
    "follower": ("lead", ["west-0"], list(ADDRESSES), {}, listed()),
    "away": ("lead", ["west-0"], ["east-1", "west-0"], {}, listed()),
    "drain": ("drain", ["west-0"], list(ADDRESSES), {}, listed()),
    "forget": ("forget", ["west-0"], ["east-0", "west-0"], {"hostnet_forget": FORGET}, listed()),
    "forgotten": ("forget", ["west-0"], ["east-0", "west-0"], {"hostnet_forget": {**FORGET, "id": "ff"}}, listed()),
    "alive": ("forget", ["west-0"], list(ADDRESSES), {"hostnet_forget": FORGET}, listed()),
    "leave": ("forget", ["west-0"], list(ADDRESSES), {"hostnet_forget": {**FORGET, "live": True}}, listed()),
    "same": ("readdress", ["west-0"], ["east-1", "west-0"], {}, listed()),
    "moved": ("readdress", ["west-0"], ["east-1", "west-0"], {}, listed(east_0="10.0.0.99")),
    "swapped": ("readdress", ["west-0"], ["west-0"], {}, listed(east_0="10.0.0.12", east_1="10.0.0.1")),
    "promoted": ("joined", ["west-0"], list(ADDRESSES), WAITING, listed(learner="east-0")),
    "promoted before": ("joined", ["west-0"], list(ADDRESSES), {}, listed(learner="east-0")),
    "no vote": (
        "joined",
        ["west-0"],
        list(ADDRESSES),
        {"hostnet": {"name": "ledger", "kube_clusters": [], "timeout": 2}},
        listed("east-0"),
    ),
    "admit": ("admit", ["west-0"], list(ADDRESSES), {"hostnet_batch": [NEW]}, listed()),
    "admit again": ("admit", ["west-0"], list(ADDRESSES), {"hostnet_batch": [NEW]}, announced(NEW["address"])),
    "admit after one that is lost": ("admit", ["west-0"], list(ADDRESSES), {"hostnet_batch": [NEW]}, announced("10.0.0.98")),
    "admit without a voter": ("admit", ["west-0"], [], {"hostnet_batch": [NEW]}, listed()),
    "taken": ("readdress", ["west-0"], ["east-1", "west-0"], {}, listed(east_0="10.0.0.12", east_1="10.0.0.1")),
}


def binding(member: str) -> Json:
    kube = member.rpartition("-")[0]
    return {"member": member, "process": member, "kube_cluster": kube, "address": ADDRESSES[member], "node": f"vm-{member}"}


def target(member: str, folder: Path) -> Json:
    variables = {"address": ADDRESSES[member], "host": ADDRESSES[member], "certs": "/etc/hostnet/certs"}
    return {
        "member": member,
        "kube_cluster": member.rpartition("-")[0],
        "namespace": str(folder),
        "pod": f"p-{member}",
        "container": "etcd",
        "variables": variables,
    }


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs every scenario as a host of one inventory; gives the folder with one folder for each."""
    root = tmp_path_factory.mktemp("etcd")
    with_written_answers(root / "ansible_collections" / "hostnet" / "multicluster")
    hosts = {}
    for name, (tasks, leaders, running, variables, members) in SCENARIOS.items():
        folder = root / name
        folder.mkdir()
        answers = {member: {"status": [status(member, leader) for leader in leaders], "members": [members]} for member in ADDRESSES}
        for member, promotions in PROMOTIONS.get(name, {}).items():
            answers[member]["promote"] = promotions
        (folder / "answers.json").write_text(json.dumps(answers))
        hosts[name] = {
            "tasks_from": tasks,
            "done": str(folder / "done"),
            "hostnet": {"name": "ledger", "kube_clusters": [], "timeout": 10},
            "hostnet_targets": [target(member, folder) for member in running],
            "hostnet_member": binding("east-0"),
            "hostnet_bindings": [binding(member) for member in ADDRESSES],
            "hostnet_deployment": {"nodes": []},
            **variables,
        }
    asked = {
        "kube_clusters": "{{ hostnet.kube_clusters }}",
        "members": "{{ hostnet_targets }}",
        "inspect": "{{ hostnet_spec.inspect }}",
        "spec": "{{ hostnet_spec }}",
    }
    tasks_of_play = [
        {"include_role": {"name": "hostnet.multicluster.system_etcd", "tasks_from": "spec"}},
        # As the gate before it does.
        {"hostnet.multicluster.member_inspect": asked, "register": "asked", "when": "tasks_from in ['lead', 'joined', 'admit']"},
        {"set_fact": {"hostnet_inspection": "{{ asked.inspection }}"}, "when": "tasks_from in ['lead', 'joined', 'admit']"},
        {"include_role": {"name": "hostnet.multicluster.system_etcd", "tasks_from": "{{ tasks_from }}"}},
        {"copy": {"content": "done", "dest": "{{ done }}", "mode": "0600"}},
    ]
    play_on(root, hosts, tasks_of_play)
    return root


def sent(runs: Path, name: str, command: str) -> dict[str, list[list[str]]]:
    """The arguments behind those that every etcdctl command has, by member that got the command."""
    found = {}
    for file in sorted((runs / name).glob(f"*.{command}")):
        calls = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(call[:2] == ["/usr/local/bin/etcdctl", "--endpoints=https://{host}:2379"] for call in calls)
        found[file.stem] = [call[6:] for call in calls]
    return found


def assert_passed(runs: Path, *names: str) -> None:
    for name in names:
        assert (runs / name / "done").exists(), (name, (runs / "output").read_text()[-8000:])


def test_the_leader_is_asked_to_hand_over_and_nobody_else(runs: Path) -> None:
    assert_passed(runs, "lead", "follower", "away")
    assert sent(runs, "lead", "move") == {"east-0": [["move-leader", "a1"]]}
    assert sent(runs, "follower", "move") == {}
    assert sent(runs, "away", "move") == {}
    assert not (runs / "stuck" / "done").exists()


def test_a_member_is_announced_once_and_one_that_will_never_start_goes_first(runs: Path) -> None:
    assert_passed(runs, "admit", "admit again", "admit after one that is lost")
    add = {"east-0": [["member", "add", "west-1", "--learner", "--peer-urls=https://10.1.0.2:2380"]]}
    assert (sent(runs, "admit", "add"), sent(runs, "admit", "remove")) == (add, {})
    assert (sent(runs, "admit again", "add"), sent(runs, "admit again", "remove")) == ({}, {})
    lost = "admit after one that is lost"
    assert (sent(runs, lost, "add"), sent(runs, lost, "remove")) == (add, {"east-0": [["member", "remove", "ff"]]})
    assert not (runs / "admit without a voter" / "done").exists()
    assert "no member of ledger is a healthy voter that can be asked" in " ".join((runs / "output").read_text().split())


def test_nothing_to_drain(runs: Path) -> None:
    assert_passed(runs, "drain")
    for name in ("drain",):
        assert not list((runs / name).glob("*-*.*"))


def test_a_dead_member_is_removed_and_a_living_one_only_if_it_is_to_leave(runs: Path) -> None:
    assert_passed(runs, "forget", "forgotten", "leave")
    assert sent(runs, "forget", "remove") == {"west-0": [["member", "remove", "a1"]]}
    assert sent(runs, "forgotten", "remove") == {}
    assert sent(runs, "leave", "remove") == {"west-0": [["member", "remove", "a1"]]}
    assert not (runs / "alive" / "done").exists()
    assert sent(runs, "alive", "remove") == {}


def test_a_moved_member_gets_its_address_and_a_swapped_one_waits_apart(runs: Path) -> None:
    assert_passed(runs, "same", "moved", "swapped")
    assert sent(runs, "same", "update") == {}
    assert sent(runs, "moved", "update") == {"west-0": [["member", "update", "a0", "--peer-urls=https://10.0.0.1:2380"]]}
    calls = [call for found in sent(runs, "swapped", "update").values() for call in found]
    assert [call[2] for call in calls] == ["a1", "a0"]
    assert calls[0][3].startswith("--peer-urls=https://192.0.2.")
    assert calls[1][3] == "--peer-urls=https://10.0.0.1:2380"
    assert not (runs / "taken" / "done").exists()
    assert sent(runs, "taken", "update") == {}


def test_a_learner_gets_its_vote_though_the_voter_that_was_asked_is_gone(runs: Path) -> None:
    assert_passed(runs, "promoted", "promoted before")
    assert sent(runs, "promoted", "promote") == {name: [["member", "promote", "a0"]] * 2 for name in ("east-1", "west-0")}
    assert sent(runs, "promoted before", "promote") == {name: [["member", "promote", "a0"]] for name in ("east-1", "west-0")}
    assert not (runs / "no vote" / "done").exists()
    said = " ".join((runs / "output").read_text().split())
    assert "learner east-0 of ledger got no vote within 2 s (east-1: etcdserver: can only promote a learner member which is in sync" in said
    assert "west-0: exec in pod a/b: pod b does not have a host assigned)" in said


def test_the_refusals_say_why(runs: Path) -> None:
    output = " ".join((runs / "output").read_text().split())
    assert "member east-1 still answers" in output
    assert "is still that of member east-1, which answers there" in output
    assert "waiting for another leader of etcd than east-0" in output
