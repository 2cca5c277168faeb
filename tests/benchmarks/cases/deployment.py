# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment of many members beside one of a tenth of them: what status and a second deploy send, and how their time grows.

Nothing is in KWOK's pods, so three things are not the real ones. The system is `system_quiet`, whose members are asked nothing: what questions to
members cost grows with the members, and is the system's. The module node_run, which needs a kubelet, is a stand-in that sends nothing; only the first
deploy calls it, and that is not measured. And no member ever ran.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from support.collection import CHECKOUT
from support.made_up import made_up_collection

from ..measure import inside, play, told_requests
from ..plain import PAGE, Connection
from ..table import Findings, Mark, Measured, Row
from ..world import ON_FEW, ON_MANY, SimulatedCluster, World
from .base import Bench, alternate, memory, off
from .inventory import write

CASE = "deployment"
Json = dict[str, Any]
_PLANS_SHARE = 0.05


class Deployment:
    """One deployment on the nodes with `label`."""

    def __init__(self, world: World, name: str, label: str, members: int, port: int) -> None:
        self.world = world
        self.name = name
        self.members = members
        self.label = label
        self.folder = world.folder / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.facts = self.folder / "facts.json"
        self._collections = self.folder / "collections"
        made_up_collection(self._collections, ("node_run", "node_job"))
        self._inventory = write(self.folder / "all.hostnet.yml", kube_clusters=world.entries, node_selector=label)
        self._variables = {
            "hostnet_system": "quiet",
            "hostnet_name": name,
            "hostnet_pki_dir": str(self.folder / "pki"),
            "hostnet_timeout_seconds": 900,
            "system_quiet_port": port,
            "facts_file": str(self.facts),
        }

    @property
    def namespace(self) -> str:
        return f"hostnet-{self.name}"

    def play(self, playbook: Path) -> tuple[Measured, int]:
        """One playbook and the requests that its modules tell of. The inventory's are in neither number of requests but the API servers'."""
        environment = {"ANSIBLE_COLLECTIONS_PATH": str(self._collections), "PYTHONPATH": str(CHECKOUT / "tests")}
        measured, tasks = play(self.world, playbook, self._inventory, self._variables, environment)
        self.changed = [task.task for task in tasks if task.result.get("changed")]
        return measured, told_requests(tasks)

    def measured(self, playbook: Path) -> Measured:
        return self.play(playbook)[0]

    def bytes_listed(self) -> int:
        """What the LISTs of everything that the deployment is made of weigh."""
        namespace = self.namespace
        paths = [(f"/api/v1/namespaces/{namespace}/{plural}", "") for plural in ("pods", "configmaps", "secrets")]
        paths += [(f"/apis/apps/v1/namespaces/{namespace}/statefulsets", ""), ("/api/v1/nodes", self.label)]
        return sum(_bytes(kube, path, selector) for kube in self.world.kubes for path, selector in paths)

    def pages(self) -> int:
        """How many pages its largest lists have in all kube clusters, beyond the first ones."""
        return sum(-(-(self.members // len(self.world.kubes)) // PAGE) - 1 for _kube in self.world.kubes)


def _bytes(kube: SimulatedCluster, path: str, selector: str) -> int:
    connection = Connection(kube.kubeconfig)
    try:
        return sum(len(page) for page in connection.pages(path, selector))
    finally:
        connection.close()


def run(bench: Bench) -> Findings:
    world = bench.world
    many = Deployment(world, "many", ON_MANY, world.many, 7000)
    few = Deployment(world, "few", ON_FEW, max(world.many // 10, 1), 7001)
    playbooks = {name: CHECKOUT / "playbooks" / f"{name}.yml" for name in ("deploy", "status")}
    for deployment in (few, many):
        measured, _told = deployment.play(playbooks["deploy"])
        bench.say(f"{CASE}: {deployment.members} members deployed in {measured.seconds:.0f} s")
    weight = many.bytes_listed() / few.bytes_listed()
    findings = Findings()
    for name, playbook in playbooks.items():
        title = "a second deploy.yml" if name == "deploy" else "status.yml"
        # No peer does this; beside it is the same for a tenth of the members, and the mark is how much more there is to read.
        row = Row(CASE, f"{title}, {many.members} members", f"the same with {few.members} members", round(weight, 2))
        findings.rows.append(row)
        for number in range(bench.rounds):
            mine, other = alternate(number, partial(many.measured, playbook), partial(few.measured, playbook))
            row.ours.append(mine)
            row.peer.append(other)
            findings.marks.append(Mark(CASE, f"{title}: tasks that changed something", len(many.changed), 0))
            bench.say(f"{CASE}: {name}, round {number + 1} of {bench.rounds}")
        sent, fewer = row.ours[-1].requests or 0, row.peer[-1].requests or 0
        # Some lists are read more than once; each has at most so many more pages.
        lists = fewer if many.pages() else 0
        findings.marks.append(
            Mark(CASE, f"{title}: requests beyond those for {few.members} members and further pages", sent - fewer, lists * many.pages())
        )
    findings.notes.append(
        f"the members are of a system that is asked nothing, the nodes and pods are simulated; all lists of {many.members} members "
        f"weigh {weight:.1f} times those of {few.members}"
    )
    _plan(bench, many, findings)
    _join_list(many, findings)
    findings.marks.append(memory(CASE, findings))
    return findings


def _plan(bench: Bench, deployment: Deployment, findings: Findings) -> None:
    deployment.play(Path(__file__).resolve().parents[1] / "facts.yml")
    facts = json.loads(deployment.facts.read_text())
    facts["request"] = {
        "work": "replace",
        "surge": False,
        "members": [],
        "lost_disks": [],
        "limit_nodes": None,
        "neighbours": [],
        "max_members": 0,
        "abort": False,
        "soak_seconds": 10,
        "step_timeout_seconds": 900,
        "hook": "",
        "hook_tasks": None,
        "probe_file": "",
        "probe_file_exists": False,
    }
    deployment.facts.write_text(json.dumps(facts))
    row = Row(CASE, f"plan of a rollout, {deployment.members} members", "the reads that it needs", _PLANS_SHARE)
    planned = 0
    for _number in range(bench.rounds):
        measured, result = inside(bench.world, "plan", {"facts": str(deployment.facts)})
        row.ours.append(dataclasses.replace(measured, requests=0))
        row.peer.append(Measured(result["reads"], measured.requests))
        planned = result["members"]
    findings.rows.append(row)
    findings.marks.append(Mark(CASE, "members that the plan leaves out", deployment.members - planned, 0))


def _join_list(deployment: Deployment, findings: Findings) -> None:
    measured, result = inside(deployment.world, "join_list", {"facts": str(deployment.facts)})
    findings.rows.append(Row(CASE, f"rewrite the join lists, {result['objects']} objects", "", ours=[measured]))
    findings.marks += [
        Mark(CASE, "join lists: objects that differ before", result["before"], 0),
        Mark(CASE, "join lists: objects that change without need", result["changed"] - len(deployment.world.kubes), 0),
        off(CASE, f"join lists: {result['changed']} objects change", result["patches"], result["changed"]),
    ]
