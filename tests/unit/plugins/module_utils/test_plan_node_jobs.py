# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What node_job has done on which nodes, and what it says of that. What the scripts do, test_plan_disk.py has in full."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import node_jobs, node_scripts
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.modules import node_job, node_run
from support import plans

Json = dict[str, Any]
SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings(pull_secrets=[], data_mount=False, timeout=300)
BINDINGS = plans.admitted(HOSTNET, SPEC, plans.five_nodes())
DISK = "disk mounted=true mount=/data filesystem=ext4 id=fsid:1\n"


def asked(job: str, **options: Any) -> Json:
    defaults = {name: option.get("default") for name, option in node_job.ARGUMENTS.items()}
    given = {
        "kube_clusters": HOSTNET["kube_clusters"],
        "hostnet": HOSTNET,
        "spec": SPEC,
        "token": plans.TOKEN,
        "issued": {"certificates": []},
    }
    return {**defaults, **given, "job": job, **options}


def seen(**plan: Any) -> Deployment:
    nodes: Any = plans.five_nodes()
    observed = {
        name: plans.nothing(pods=[plans.pod(entry) for entry in BINDINGS if entry["kube_cluster"] == name]) for name in ("east", "west")
    }
    return {"nodes": nodes, "kube_clusters": observed, "plan": {"members": BINDINGS, "new": [], "mode": "existing", "probe": [], **plan}}


def names(nodes: list[Json]) -> list[str]:
    return [node["name"] for node in nodes]


@pytest.mark.parametrize("job", node_jobs.JOBS)
def test_each_job_is_a_run_that_node_run_takes(job: str) -> None:
    options = node_jobs.run_of(asked(job), BINDINGS)
    assert set(options) <= set(node_run.ARGUMENTS)
    assert (options["name"], options["timeout"], bool(options["pull"])) == (f"ledger-{job}", 300, job in ("admit", "pull"))
    script = {"look": "probe", "pull": ""}.get(job, job)
    assert options["script"] == (node_scripts.SCRIPTS[script] if script else "true")
    # Whoever only looks has nothing of the host to write to, and only who admits may make the data root.
    assert ("host_path" in options) == (job in ("admit", "mark", "remove"))
    assert options.get("host_path_type") == ("Directory" if job == "mark" else None)


def test_a_data_disk_that_has_to_be_mounted_is_never_made() -> None:
    params = asked("admit", hostnet={**HOSTNET, "data_mount": True})
    assert node_jobs.run_of(params, BINDINGS)["host_path_type"] == "Directory"


def test_what_a_job_cannot_do_without() -> None:
    assert node_jobs.lacking(asked("admit", token=None, spec=None)) == "job admit needs spec and token"
    assert node_jobs.lacking(asked("remove", token=None, spec=None)) == ""


def test_whoever_is_admitted_gets_an_admission_once_and_only_the_fresh_ones_a_folder() -> None:
    new = [{**BINDINGS[0], "admission": ""}, BINDINGS[1]]
    members = node_jobs.members_of(asked("admit", members=new), "abc")
    assert members[0]["admission"].startswith(f"{new[0]['member']}-")
    assert members[1] == new[1]
    assert node_jobs.members_of(asked("mark", members=new), "abc") == new
    assert names(node_jobs.nodes_of(asked("admit"), members, seen(), 0)) == [entry["node"] for entry in new]
    assert names(node_jobs.nodes_of(asked("admit", fresh=[members[0]]), members, seen(), 0)) == [new[0]["node"]]
    done = [{"kube_cluster": new[0]["kube_cluster"], "node": new[0]["node"], "stdout": DISK}]
    found = node_jobs.meaning(asked("admit"), members, seen(), done, 0)["members"]
    assert (found[0]["disk"]["id"], "disk" in found[1]) == ("fsid:1", False)


def test_nodes_of_the_plan_of_members_and_of_a_removal() -> None:
    nodes = plans.five_nodes()
    assert names(node_jobs.nodes_of(asked("probe"), [], seen(probe=nodes[:1]), 0)) == [nodes[0]["name"]]
    assert len(node_jobs.nodes_of(asked("look"), [], seen(), 0)) == 5
    assert len(node_jobs.nodes_of(asked("mark"), BINDINGS, seen(), 0)) == 5
    assert names(node_jobs.nodes_of(asked("pull"), BINDINGS[1:2], seen(), 0)) == [BINDINGS[1]["node"]]
    assert names(node_jobs.nodes_of(asked("remove"), BINDINGS[1:2], seen(), 0)) == [BINDINGS[1]["node"]]
    assert len(node_jobs.nodes_of(asked("remove", all_nodes=True), BINDINGS[1:2], seen(), 0)) == 5
    west = [entry for entry in HOSTNET["kube_clusters"] if entry["name"] == "west"]
    assert len(node_jobs.nodes_of(asked("remove", all_nodes=True, kube_clusters=west), BINDINGS, seen(), 0)) == 2


def test_what_answers_mean() -> None:
    taken = [{"kube_cluster": "east", "node": BINDINGS[0]["node"], "stdout": "folder ledger/x\ncontent x data\n"}]
    found = node_jobs.meaning(asked("probe"), [], seen(mode="first", new=BINDINGS), taken, 0)
    assert "has data of a deployment named ledger" in found["errors"][0]
    assert "has data of a former member" in node_jobs.meaning(asked("probe"), [], seen(), taken, 0)["former"][0]
    removed = [{**taken[0], "stdout": f"removed {BINDINGS[0]['admission']}\n"}]
    assert set(node_jobs.meaning(asked("remove"), BINDINGS[:1], seen(), removed, 0)) == {"removed", "left", "unfinished"}
    identity = {"members": ",".join(entry["member"] for entry in BINDINGS)}
    judged = node_jobs.meaning(asked("look"), [], seen(identity=identity, mode="unfinished", batches=[]), [], 0)["deployment"]["plan"]
    assert (judged["mode"], judged["state"], len(judged["errors"])) == ("unfinished", "existing", 1)
    assert node_jobs.meaning(asked("pull"), BINDINGS, seen(), [], 0) == {}
