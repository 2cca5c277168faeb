# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what is known about a deployment: nodes and objects of all kube clusters, what the members say, and what was seen on their disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .._plan import classify, disk, names, rebind
from .._plan.deployment import deployment_plan
from .._plan.journal import in_flight
from .._plan.node_scripts import SCRIPTS
from .._plan.nodes import Node
from .._plan.run import Script
from .._plan.state import Deployment, Observed
from .client import Json, KubeCluster, KubeError
from .inspect import Shape, Wait, answers, ask, wait_for_gates
from .nodes import read_nodes, with_bound
from .observe import observe
from .port_forward import Kept
from .run import Target, run_on_nodes

# One that is slow, or has an election, is no majority that is lost.
_MAJORITY = [{"say": "healthy members missing for a majority", "find": "quorum_short"}]


@dataclass(frozen=True)
class Wanted:
    """Whose state is read, and how far.

    `hostnet` and `spec` are the deployment's settings and its system's spec, `journal` the one that is gone by ({} for none). `known` was read a
    moment ago and is not read again, `inspection` was said a moment ago and nobody is asked again. `questions`: what the members are asked, and once more
    for `patience` seconds while no majority of them is well; None asks nobody. `look`: at the disks of members whose folders are not there, and nobody
    knows why; those of `lost_disks` are gone for good, as a human says. `with_lock`: read who holds it. `bindings` count in place of those that are
    recorded.
    """

    hostnet: Json
    spec: Json
    journal: Json = field(default_factory=dict)
    known: Deployment | None = None
    inspection: Json | None = None
    questions: Json | None = None
    patience: float = 0
    look: bool = False
    lost_disks: Sequence[str] = ()
    with_lock: bool = False
    bindings: Sequence[Json] | None = None


def read(clusters: dict[str, KubeCluster], hostnet: Json, spec: Json, with_lock: bool = False) -> Deployment:
    """The deployment as its kube clusters have it; nobody is asked. Raises KubeError where one that has to answer does not."""
    name, absent_ok = hostnet["name"], hostnet["absent_ok"]

    def of_nodes() -> list[Node]:
        own = names.member_selectors(name)
        found, _states = read_nodes(clusters, hostnet["node_selector"], hostnet["address_type"], absent_ok, own, with_version=False)
        # Where nobody has said which nodes carry members, all are read, to find the members that there are, and none of them gets one.
        return found if hostnet["selector_said"] else [{**node, "selected": False} for node in found]

    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(of_nodes)
        kube_clusters = observe(clusters, name, hostnet["namespace"], absent_ok, with_lock)
        nodes = reading.result()
    nodes = with_bound(clusters, nodes, _bound(kube_clusters), hostnet["address_type"])
    return {"nodes": nodes, "kube_clusters": kube_clusters, "plan": deployment_plan(hostnet, spec, nodes, kube_clusters)}


def _bound(kube_clusters: Mapping[str, Json]) -> list[Json]:
    """All bindings, but those of kube clusters that do not answer."""
    there = {name for name, found in kube_clusters.items() if not found["absent"]}
    return [entry for found in kube_clusters.values() for entry in found["members"] if entry["kube_cluster"] in there]


def observed(
    clusters: dict[str, KubeCluster],
    wanted: Wanted,
    shape: Shape,
    show: Callable[[str], None],
    check_mode: bool = False,
    before_pods: Callable[[], None] = lambda: None,
) -> Observed:
    """The deployment, and what its members say where they are asked. `shape` is the filter that reads their answers.

    `before_pods` is called before a pod is made that looks at a disk. Raises KubeError, and ValueError for answers that `shape` cannot read.
    """
    hostnet, spec = wanted.hostnet, wanted.spec
    deployment = wanted.known or read(clusters, hostnet, spec, wanted.with_lock)
    plan = deployment["plan"]
    bindings = wanted.bindings
    if bindings is None:
        bindings = rebind.bindings_in_force(plan["members"], wanted.journal if in_flight(wanted.journal) else {})
    bindings = list(bindings)
    targets = classify.member_targets(hostnet, bindings, deployment["kube_clusters"])
    questions = wanted.questions
    if questions is None:
        said = wanted.inspection or {}
        return {"deployment": deployment, "status": None, "bindings": bindings, "targets": targets, "inspection": said}
    inspection = wanted.inspection
    with Kept() as kept:
        if inspection is None:
            inspection = answers(clusters, targets, questions, spec, shape, kept) if bindings else {}
        healthy = [said for said in inspection.values() if said.get("healthy")]
        if wanted.patience and bindings and len(healthy) <= len(bindings) // 2:
            interval = max(2.0, float(questions.get("interval") or 0))
            # A check asks once more, and waits for nothing.
            wait = Wait(
                1, interval, 0, 0 if check_mode else wanted.patience, "asking the members once more, because no majority of them is well"
            )
            again = wait_for_gates(
                lambda: ask(clusters, targets, questions, spec, shape, kept),
                _MAJORITY,
                "",
                [str(entry["member"]) for entry in bindings],
                wait,
                show,
            )
            inspection = again["inspection"] or inspection
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = classify.deployment_status(hostnet, plan, deployment["nodes"], deployment["kube_clusters"], inspection, None, now)
    if wanted.look:
        # A folder that is not there does not say why.
        there = disk.look_nodes(hostnet, status, deployment["nodes"])
        if there:
            looked = [] if check_mode else _look(clusters, hostnet, there, show, before_pods)
            facts = disk.facts_of(plan["members"], looked, wanted.lost_disks)
            status = classify.deployment_status(hostnet, plan, deployment["nodes"], deployment["kube_clusters"], inspection, facts, now)
    return {"deployment": deployment, "status": status, "bindings": bindings, "targets": targets, "inspection": inspection}


def _look(
    clusters: dict[str, KubeCluster],
    hostnet: Mapping[str, Any],
    nodes: Sequence[Json],
    show: Callable[[str], None],
    before_pods: Callable[[], None],
) -> list[Json]:
    """What the disks of these nodes say, without making anything there. Of a node that cannot be asked nothing is known, and its member is left alone."""
    script = Script(
        name=f"{hostnet['name']}-look",
        namespace=hostnet["namespace"],
        image=hostnet["probe_image"],
        text=SCRIPTS["probe"],
        timeout=hostnet["timeout"],
        look_path="/",
        pull_secrets=hostnet["pull_secrets"],
        capabilities=["DAC_READ_SEARCH"],
    )
    try:
        before_pods()
        return run_on_nodes(clusters, [Target(node["kube_cluster"], node["name"], node["env"]) for node in nodes], script, show).results
    except KubeError:
        return []
