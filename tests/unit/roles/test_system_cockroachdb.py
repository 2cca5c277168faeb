# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task files of system_cockroachdb under real Ansible, with a member_exec that gives written answers.

Each scenario is a host of one inventory, so that one run of Ansible tries them all. What a scenario proves is which
commands were sent to which member, and whether the play went on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings
from support.fake_members import play_on, with_written_answers

CLUSTER = "6ce8e7e4-2b8f-4d8a-9d3c-8f0f5a7b1c2d"
OTHER = "0f0f5a7b-2b8f-4d8a-9d3c-6ce8e7e41c2d"
ADDRESSES = {"east-0": "10.0.0.1", "east-1": "10.0.0.12", "west-0": "10.1.0.1"}


def said(stdout: str = "", stderr: str = "", rc: int = 0, error: str = "") -> dict[str, Any]:
    return {"rc": rc, "stdout": stdout, "stderr": stderr, "error": error}


def table(dead: str = "") -> str:
    """`node status --all` of three healthy nodes, and of a dead id 9 whose membership is `dead`."""
    head = "id,address,build,is_available,is_live,ranges_unavailable,ranges_underreplicated,membership,is_draining"
    rows = [f"{number},{address}:26257,v26.2.5,true,true,0,0,active,false" for number, address in enumerate(ADDRESSES.values(), 1)]
    if dead:
        rows.append(f"9,10.1.0.1:26257,v26.2.5,false,false,0,0,{dead},false")
    return "\n".join([head, *rows]) + "\n"


BLANK = said(stderr="Error: rpc error: code = Unavailable desc = node waiting for init; Gossip not available", rc=1)
SILENT = said(error="the pod does not answer")


def in_cluster(cluster: str = CLUSTER) -> dict[str, Any]:
    return said(f'"cluster-id": {cluster}\n')


@dataclass
class Scenario:
    tasks: str
    gossip: dict[str, list[dict[str, Any]]]
    init: dict[str, Any] = field(default_factory=lambda: said("Cluster successfully initialized"))
    status: str = ""
    version: str = "v26.2.5"
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bound: tuple[str, ...] = tuple(ADDRESSES)
    running: tuple[str, ...] = tuple(ADDRESSES)
    variables: dict[str, Any] = field(default_factory=dict)


def all_of(*answers: dict[str, Any], **others: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {member: others.get(member.replace("-", "_"), list(answers)) for member in ADDRESSES}


NO_MORE = "\nNo more data reported on target nodes. Please verify cluster health before removing the nodes.\n"


def left(replicas: int) -> dict[str, Any]:
    """`node decommission 9 --wait=none`."""
    return said(f"id,is_live,replicas,is_decommissioning,membership,is_draining\n9,false,{replicas},true,decommissioning,false\n")


def in_force(merge: str, rangefeed: str) -> dict[str, Any]:
    """`SHOW ALL CLUSTER SETTINGS` with three of its rows."""
    rows = [f"kv.range_merge.queue_interval,{merge},d,a", f"kv.rangefeed.enabled,{rangefeed},b,b", "version,26.2,m,c"]
    return said("\n".join(["variable,value,setting_type,description", *rows]) + "\n")


WANTED = {"system_cockroachdb_settings": {"kv.rangefeed.enabled": True, "kv.range_merge.queue_interval": "10m"}}
FORGET = {"hostnet_forget": {"id": "9"}}
SCENARIOS = {
    "fresh": Scenario("init", all_of(BLANK)),
    "late": Scenario("init", all_of(BLANK, west_0=[SILENT, BLANK])),
    "running": Scenario("init", all_of(in_cluster())),
    "partly": Scenario("init", all_of(BLANK, west_0=[in_cluster()])),
    "raced": Scenario("init", all_of(BLANK), init=said(stderr="cluster has already been initialized", rc=1)),
    "silent": Scenario("init", all_of(BLANK, west_0=[SILENT])),
    "split": Scenario("init", all_of(in_cluster(), west_0=[in_cluster(OTHER)])),
    "absent": Scenario("init", all_of(BLANK), running=("east-0", "west-0")),
    "broken": Scenario("init", all_of(BLANK), init=said(stderr="unable to bootstrap due to internal error", rc=1)),
    "joined": Scenario("joined", all_of(in_cluster(), west_0=[BLANK, in_cluster()])),
    "sick": Scenario("joined", all_of(in_cluster(), west_0=[BLANK])),
    "stranger": Scenario("joined", all_of(in_cluster(), west_0=[in_cluster(OTHER)])),
    "drain": Scenario("drain", all_of(in_cluster()), others={"drain": [said(stderr="drain timeout", rc=1), said("ok")]}),
    "drain-old": Scenario("drain", all_of(in_cluster()), version="v21.2.17"),
    "drain-dead": Scenario("drain", all_of(in_cluster(), east_0=[SILENT])),
    "forget": Scenario(
        "forget",
        all_of(in_cluster()),
        status=table("active"),
        others={
            # The call that begins it, and those that ask how far it is.
            "decommission": [left(44), left(44), left(31), said(error="no answer within 30 s"), left(0), said(left(0)["stdout"] + NO_MORE)],
        },
        variables=FORGET,
    ),
    "forget-stuck": Scenario(
        "forget", all_of(in_cluster()), status=table("decommissioning"), others={"decommission": [left(3)]}, variables=FORGET
    ),
    "forgotten": Scenario("forget", all_of(in_cluster()), status=table("decommissioned"), variables=FORGET),
    "forget-live": Scenario("forget", all_of(in_cluster()), variables={"hostnet_forget": {"id": "3"}}),
    "settings": Scenario(
        "joined", all_of(in_cluster()), others={"all": [in_force("5m0s", "false"), in_force("10m0s", "true")]}, variables=WANTED
    ),
    "settings-same": Scenario("joined", all_of(in_cluster()), others={"all": [in_force("10m0s", "true")]}, variables=WANTED),
    "settings-batch": Scenario(
        "joined",
        all_of(in_cluster()),
        others={"all": [in_force("5m0s", "false")]},
        variables={**WANTED, "hostnet_batch": [{"member": "east-0"}]},
    ),
    "settings-first": Scenario(
        "init",
        all_of(BLANK),
        others={"all": [said(stderr="not yet", rc=1), in_force("5m0s", "true"), in_force("10m0s", "true")]},
        variables=WANTED,
    ),
    "settings-unknown": Scenario(
        "joined",
        all_of(in_cluster()),
        others={"all": [in_force("5m0s", "false")]},
        variables={"system_cockroachdb_settings": {"kv.rangefeed.enabled": True, "kv.rangefed.enabled": True}},
    ),
    "settings-secret": Scenario(
        "joined", all_of(in_cluster()), variables={"system_cockroachdb_settings": {"enterprise.license": "crl-0-hidden"}}
    ),
    "lead": Scenario("lead", all_of(in_cluster())),
    "readdress": Scenario("readdress", all_of(in_cluster())),
    "spec": Scenario(
        "spec",
        all_of(in_cluster()),
        variables={"hostnet_image": "mirror.example:5000/cockroach:v21.1.5", "system_cockroachdb_max_offset": "250ms"},
    ),
}


def binding(member: str) -> dict[str, str]:
    return {"member": member, "kube_cluster": member.rpartition("-")[0], "zone": "a", "address": ADDRESSES[member]}


def target(member: str, folder: Path) -> dict[str, Any]:
    variables = {"address": ADDRESSES[member], "host": ADDRESSES[member], "certs": "/etc/hostnet/certs"}
    kube = member.rpartition("-")[0]
    return {
        "member": member,
        "kube_cluster": kube,
        "namespace": str(folder),
        "pod": f"p-{member}",
        "container": "cockroachdb",
        "variables": variables,
    }


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs every scenario; gives the folder with one folder for each."""
    root = tmp_path_factory.mktemp("cockroachdb")
    collection = root / "ansible_collections" / "hostnet" / "multicluster"
    with_written_answers(collection)
    hosts = {}
    for name, scenario in SCENARIOS.items():
        folder = root / name
        folder.mkdir()
        answers = {}
        for number, member in enumerate(ADDRESSES, 1):
            answers[member] = {
                "gossip": scenario.gossip[member],
                "version": [said(f"Build Tag:        {scenario.version}\n")],
                "node_id": [said(f"node_id\n{number}\n")],
                "status": [said(scenario.status or table())],
                "init": [scenario.init],
                **scenario.others,
            }
        (folder / "answers.json").write_text(json.dumps(answers))
        hosts[name] = {
            "tasks_from": scenario.tasks,
            "done": str(folder / "done.json"),
            # Those that come to nothing wait that long.
            "hostnet": {
                "name": "ledger",
                # Nobody listens there, and nobody is asked.
                "kube_clusters": [{"name": name, "host": "https://127.0.0.1:9"} for name in ("east", "west")],
                "timeout": 10 if name in ("sick", "silent", "split", "stranger", "forget-live") else 120,
                "image": "",
            },
            "hostnet_identity": {"members": ",".join(scenario.bound), "token": "ledger-1"},
            "hostnet_bindings": [binding(member) for member in reversed(scenario.bound)],
            "hostnet_targets": [target(member, folder) for member in reversed(scenario.running)],
            "hostnet_member": binding("east-0"),
            **scenario.variables,
        }
    tasks_of_play = [
        {"include_role": {"name": "hostnet.multicluster.system_cockroachdb", "tasks_from": "spec"}},
        {"include_role": {"name": "hostnet.multicluster.system_cockroachdb", "tasks_from": "{{ tasks_from }}"}},
        {
            "copy": {
                "content": "{{ {'inspection': hostnet_inspection | default({}), 'spec': hostnet_spec | default({})} | to_json }}",
                "dest": "{{ done }}",
                "mode": "0600",
            }
        },
    ]
    play_on(root, hosts, tasks_of_play)
    return root


def calls(runs: Path, name: str, command: str) -> dict[str, list[list[str]]]:
    """Which members got the command, with the arguments of each call."""
    found = {}
    for member in ADDRESSES:
        file = runs / name / f"{member}.{command}"
        if file.exists():
            found[member] = [json.loads(line) for line in file.read_text().splitlines()]
    return found


def passed(runs: Path, name: str) -> bool:
    return (runs / name / "done.json").exists()


def outcome(runs: Path, name: str) -> dict[str, Any]:
    assert passed(runs, name), (runs / "output").read_text()[-20000:]
    found: dict[str, Any] = json.loads((runs / name / "done.json").read_text())
    return found


@pytest.mark.parametrize("name", ["fresh", "late", "raced"])
def test_init_is_sent_once_to_the_first_member_alone(runs: Path, name: str) -> None:
    outcome(runs, name)
    sent = calls(runs, name, "init")
    assert list(sent) == ["east-0"]
    assert len(sent["east-0"]) == 1
    assert sent["east-0"][0][-2:] == ["{certs}", "{host}:26257"]


@pytest.mark.parametrize("name", ["running", "partly"])
def test_init_is_not_sent_where_any_member_has_a_cluster(runs: Path, name: str) -> None:
    outcome(runs, name)
    assert calls(runs, name, "init") == {}


@pytest.mark.parametrize("name", ["silent", "split", "absent"])
def test_init_is_refused(runs: Path, name: str) -> None:
    assert not passed(runs, name)
    assert calls(runs, name, "init") == {}


def test_an_internal_error_of_init_is_a_failure(runs: Path) -> None:
    assert not passed(runs, "broken")
    assert len(calls(runs, "broken", "init")["east-0"]) == 1


def test_the_refusals_say_why(runs: Path) -> None:
    output = " ".join((runs / "output").read_text().split())
    for text in (
        "Members that do not answer: west-0",
        f"Cluster ids found: {OTHER}, {CLUSTER}",
        "Members without a running container: east-1",
        "west-0 in cluster none it waits for init or for a member that it can join",
        "still answers, so node 3 was not removed from ledger. To remove a live member for good: playbooks/scale_down.yml",
    ):
        assert text in output


def test_joined_waits_for_every_member_and_refuses_a_stranger(runs: Path) -> None:
    found = outcome(runs, "joined")["inspection"]
    assert [found[member]["healthy"] for member in ADDRESSES] == [True, True, True]
    assert not passed(runs, "stranger")
    assert not passed(runs, "sick")


@pytest.mark.parametrize("name", ["lead", "readdress"])
def test_what_cockroachdb_does_by_itself_sends_nothing(runs: Path, name: str) -> None:
    outcome(runs, name)
    assert not list((runs / name).glob("*-*.*"))


def test_drain_is_repeated_and_names_the_node_where_the_version_allows(runs: Path) -> None:
    outcome(runs, "drain")
    sent = calls(runs, "drain", "drain")
    assert list(sent) == ["east-0"]
    assert len(sent["east-0"]) == 2
    assert sent["east-0"][0][-5:] == ["270", "node", "drain", "--self", "--drain-wait=240s"]
    outcome(runs, "drain-old")
    assert calls(runs, "drain-old", "drain")["east-0"][0][-4:] == ["270", "node", "drain", "--drain-wait=240s"]
    outcome(runs, "drain-dead")
    assert calls(runs, "drain-dead", "drain") == {}


def test_a_decommission_is_begun_once_and_asked_for_until_no_data_is_left(runs: Path) -> None:
    outcome(runs, "forget")
    sent = calls(runs, "forget", "decommission")
    assert list(sent) == ["east-0"]
    begun, *asked = sent["east-0"]
    command = ["node", "decommission", "9", "--wait=none", "--format=csv"]
    assert begun[-6:] == ["60", *command]
    assert [words[-7:] for words in asked] == 5 * [["30", *command, "--checks=skip"]]
    outcome(runs, "forgotten")
    assert calls(runs, "forgotten", "decommission") == {}


def test_a_decommission_that_comes_to_no_end_says_what_is_left(runs: Path) -> None:
    assert not passed(runs, "forget-stuck")
    assert "decommission: ['replicas left on n9: 3']" in " ".join((runs / "output").read_text().split())


def test_a_live_node_is_not_decommissioned(runs: Path) -> None:
    assert not passed(runs, "forget-live")
    assert calls(runs, "forget-live", "decommission") == {}


def test_the_spec_is_that_of_the_image_in_use(runs: Path) -> None:
    spec = outcome(runs, "spec")["spec"]
    assert spec["env"]["COCKROACH_SKIP_KEY_PERMISSION_CHECK"] == "true"
    assert spec["args"][-1] == "--max-offset=250ms"
    assert (spec["ports"], spec["local_ports"]) == ({"sql": 26257}, {"http": 8080})
    assert spec["forget"] == "after_join"
    assert set(spec["gates"]) == {"stop", "admit", "settled"}
    assert spec["inspect"]["commands"]["status"][3:] == ["{certs}", "{host}:26257", "20", "node", "status", "--all", "--format=csv"]
    assert spec["member_files"] == {"locality": "region={region},zone={zone}"}
    away = {"server.time_until_store_dead": "00:30:00"}
    assert {work: settings.wanted(spec, work) for work in ("reboot", "version", "replace")} == {
        "reboot": away,
        "version": away,
        "replace": {},
    }
    (read,) = settings.commands(spec, away, "read").values()
    assert read[-3:] == ["sql", "--format=csv", "--execute=SHOW CLUSTER SETTING server.time_until_store_dead"]
    (write,) = settings.commands(spec, away, "write").values()
    assert write[-2:] == ["sql", "--execute=SET CLUSTER SETTING server.time_until_store_dead = '00:30:00'"]


def test_cluster_settings_that_differ_are_set_together_on_one_member(runs: Path) -> None:
    outcome(runs, "settings")
    sent = calls(runs, "settings", "set")
    assert list(sent) == ["east-0"]
    assert [words[-3:] for words in sent["east-0"]] == [
        [
            "sql",
            "--execute=SET CLUSTER SETTING kv.range_merge.queue_interval = '10m'",
            "--execute=SET CLUSTER SETTING kv.rangefeed.enabled = true",
        ]
    ]
    asked = calls(runs, "settings", "all")["east-0"]
    assert len(asked) == 2
    assert asked[0][-3:] == ["sql", "--format=csv", "--execute=SHOW ALL CLUSTER SETTINGS"]


def test_cluster_settings_in_force_are_left_alone(runs: Path) -> None:
    outcome(runs, "settings-same")
    assert len(calls(runs, "settings-same", "all")["east-0"]) == 1
    assert calls(runs, "settings-same", "set") == {}


def test_a_batch_that_joins_brings_no_cluster_settings(runs: Path) -> None:
    outcome(runs, "settings-batch")
    assert calls(runs, "settings-batch", "all") == {}


def test_cluster_settings_follow_the_first_init_once_sql_answers(runs: Path) -> None:
    outcome(runs, "settings-first")
    assert len(calls(runs, "settings-first", "all")["east-0"]) == 3
    assert [words[-2:] for words in calls(runs, "settings-first", "set")["east-0"]] == [
        ["sql", "--execute=SET CLUSTER SETTING kv.range_merge.queue_interval = '10m'"]
    ]


def test_an_unknown_cluster_setting_changes_nothing(runs: Path) -> None:
    assert not passed(runs, "settings-unknown")
    assert calls(runs, "settings-unknown", "set") == {}
    said_so = " ".join((runs / "output").read_text().split())
    assert "kv.rangefed.enabled: this version of CockroachDB has no such cluster setting" in said_so


def test_a_secret_is_refused_as_a_cluster_setting_and_not_shown(runs: Path) -> None:
    assert not passed(runs, "settings-secret")
    said_so = (runs / "output").read_text()
    assert "enterprise.license: this is a secret" in " ".join(said_so.split())
    assert "crl-0-hidden" not in said_so
