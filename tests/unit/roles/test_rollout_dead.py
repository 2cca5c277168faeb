# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task file that has the others say who is dead, under real Ansible, with members that give written answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import plans
from support.fake_members import play_on, with_written_answers

Json = dict[str, Any]
NODES = plans.five_nodes()[:3]
BINDINGS = plans.admitted(plans.settings(["east"]), plans.spec_of("etcd"), NODES)
IDS = {"east-0": 160, "east-1": 161, "east-2": 162}
# What the two others see of east-0, in the order of samples; None: they give no metrics.
SCENARIOS: dict[str, list[bool | None]] = {
    "dead": [False],
    # Its connections were still open in the first sample.
    "dying": [True, True, False],
    "alive": [True],
    "unsure": [None],
    # No answer at all.
    "silent": [],
}


def said(body: object) -> Json:
    return {"rc": 0, "stdout": json.dumps(body), "stderr": "", "error": ""}


def answers(member: str, seen: list[bool | None]) -> Json:
    if not seen:
        return {name: [{"rc": 1, "stdout": "", "stderr": "refused", "error": "refused"}] for name in ("status", "members", "metrics")}
    header = {"cluster_id": 99, "member_id": IDS[member], "revision": 5}
    listed = [{"ID": IDS[entry["member"]], "name": entry["member"], "peerURLs": [f"https://{entry['address']}:2380"]} for entry in BINDINGS]
    own = f'etcd_server_id{{server_id="{IDS[member]:x}"}} 1\n'
    active = [f'etcd_network_active_peers{{Local="{IDS[member]:x}",Remote="{IDS["east-0"]:x}"}} {int(bool(sees))}' for sees in seen]
    metrics = [
        {"status": 200, "body": own + line, "error": ""} if sees is not None else {"status": 0, "body": "", "error": "timed out"}
        for sees, line in zip(seen, active, strict=True)
    ]
    status = said([{"Status": {"header": header, "version": "3.6.16", "leader": IDS["east-1"], "raftAppliedIndex": 9}}])
    return {"status": [status], "members": [said({"members": listed})], "metrics": metrics}


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each scenario's play said; empty where it came to its end."""
    root = tmp_path_factory.mktemp("dead")
    with_written_answers(root / "ansible_collections" / "hostnet" / "multicluster")
    hosts = {}
    for name, seen in SCENARIOS.items():
        folder = root / name
        folder.mkdir()
        (folder / "answers.json").write_text(json.dumps({member: answers(member, seen) for member in IDS}))
        pods = [plans.pod(entry) for entry in BINDINGS[1:]]
        process = {"member": "east-0", "process": "east-0", "id": "", "address": BINDINGS[0]["address"], "why": "its node does not exist"}
        hosts[name] = {
            "said": str(folder / "said"),
            "hostnet": plans.settings(["east"], namespace=str(folder)),
            "hostnet_bindings": BINDINGS,
            "hostnet_deployment": {"kube_clusters": {"east": {"pods": pods}}},
            "rollout_plan": {"broken": ["east-0"], "members": [{"member": "east-0", "class": "missing"}], "prove": [process]},
        }
    asked = {
        "block": [{"include_role": {"name": "hostnet.multicluster.rollout", "tasks_from": "dead"}}],
        "rescue": [{"copy": {"content": "{{ ansible_failed_result.msg }}", "dest": "{{ said }}", "mode": "0600"}}],
    }
    play_on(root, hosts, [{"include_role": {"name": "hostnet.multicluster.system_etcd", "tasks_from": "spec"}}, asked])
    return {name: (root / name / "said").read_text() if (root / name / "said").exists() else "" for name in SCENARIOS}


def test_who_is_dead_or_dies_meanwhile_is_repaired(runs: dict[str, str]) -> None:
    assert runs["dead"] == runs["dying"] == ""


def test_who_lives_is_named_with_its_address(runs: dict[str, str]) -> None:
    assert "still alive is member east-0 at 10.0.0.1 (seen by east-1, east-2)" in runs["alive"]
    assert "its node does not exist" in runs["alive"]


def test_who_cannot_be_told_of_is_not_repaired(runs: dict[str, str]) -> None:
    assert "cannot be told whether member east-0 at 10.0.0.1 (east-1, east-2 cannot tell) is dead" in runs["unsure"]


def test_without_an_answer_nobody_is_dead(runs: dict[str, str]) -> None:
    assert "no majority without this member" in runs["silent"]
