# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statuses of deployments for tests, made by the collection itself, and what is changed of them to make trouble."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment

from . import plans
from .plans import Json

OBSERVED_AT = "2026-12-01T09:00:00Z"
_SPEC = plans.spec_of("etcd")


def well(per_kube_cluster: int = 0, **settings: Any) -> Json:
    """The status of a deployment that is well: the lab's five members, or so many in each of two kube clusters, in three zones."""
    hostnet = plans.settings(certificate_days=30, **settings)
    nodes = [
        plans.node(
            kube_cluster,
            f"{kube_cluster}-node{number}",
            f"10.{index}.{number // 200}.{number % 200 + 1}",
            zone=f"{kube_cluster}-{'abc'[number % 3]}",
        )
        for index, kube_cluster in enumerate(("east", "west"))
        for number in range(per_kube_cluster)
    ] or plans.five_nodes()
    bindings = plans.admitted(hostnet, _SPEC, nodes)
    observed = plans.running(hostnet, bindings)
    plan = deployment.deployment_plan(hostnet, _SPEC, nodes, observed)
    return classify.deployment_status(hostnet, plan, nodes, observed, plans.inspected(bindings), observed_at=OBSERVED_AT)


def troubled(status: Json | None = None) -> Json:
    """All that a status has to tell: members that are not well, marked VMs, a rollout, join lists that differ, a kube cluster that is silent."""
    made = copy.deepcopy(status or well())
    east0, east1, east2 = [entry for entry in made["members"] if entry["kube_cluster"] == "east"][:3]
    east0.update(outdated=True, restarts=3, alone=["stream orders"])
    east0["certificate"]["not_after"] = "2026-12-11T12:00:00Z"
    east0["served"] = [
        {
            "file": "server",
            "port": "client",
            "number": 2379,
            "serial": "07",
            "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2026-12-11T12:00:00Z",
            "sans": ["IP:10.0.0.1"],
            "stored": "1f",
            "current": False,
            "error": "",
        }
    ]
    east0["signs"] = [{"sign": "karpenter.sh/disrupted", "level": "going", "text": "Karpenter replaces it"}]
    east1.update({"class": "replaced", "healthy": False, "reason": "node east-worker2 is another VM, with address 10.0.0.99"})
    east2.update({"healthy": False, "reason": "no leader"}, guarded=False)
    east2["signs"] = [{"sign": "spec.unschedulable", "level": "marked", "text": "it is cordoned"}]
    for entry in [entry for entry in made["members"] if entry["kube_cluster"] == "west"]:
        entry.update(
            {"class": "unknown", "healthy": False, "reason": "its kube cluster does not answer"}, version="", role="", started_at=""
        )
        entry["certificate"] = {"serial": "", "not_after": ""}
    made["kube_clusters"][1].update(absent=True, error="timed out after 2 s", lock_read=False)
    made["join_lists"]["west"] = ["10.0.0.1", "10.0.9.9"]
    made["rollout"] = {
        "run_id": "run-1",
        "work": "replace",
        "started_at": "2026-12-01T08:00:00Z",
        "member": "east-1",
        "done": ["east-0"],
    }
    holder = {"run_id": "run-1", "what": "upgrade", "host": "runner", "user": "ops", "since": "2026-12-01T08:00:00Z"}
    made["lock"] = {"east": {**holder, "renewed_at": "2026-12-01T08:59:50Z"}}
    made["problems"] = [
        "kube cluster west does not answer: timed out after 2 s",
        *(classify.problem_of(entry) for entry in made["members"] if not entry["healthy"]),
        "join lists differ between kube clusters; run playbooks/deploy.yml",
    ]
    made["warnings"] = ["certificates end in less than 30 days: east-0 (10 days): run playbooks/rotate_certificates.yml"]
    made["healthy"] = False
    return made


def renamed(status: Json, names: Sequence[str]) -> Json:
    """The status with such text wherever somebody else may have chosen it."""
    made = copy.deepcopy(status)
    for index, entry in enumerate(made["members"]):
        name = names[index % len(names)]
        entry.update(dict.fromkeys(("member", "node", "zone", "role", "version", "image", "reason"), name))
        entry["signs"] = [{"sign": name, "level": "going", "text": name}]
        entry["alone"] = [name]
        entry["certificate"]["serial"] = name
    made.update(cluster_id=names[0], namespace=names[1], problems=list(names), warnings=list(names))
    made["join_lists"] = {name: [name] for name in names}
    made["identity"] = dict.fromkeys(("ca_fingerprint", "members", "claimed_by"), names[2])
    made["lock"] = {names[0]: dict.fromkeys(("run_id", "what", "host", "user", "since", "renewed_at"), names[0])}
    made["kube_clusters"][0].update(absent=True, error=names[1])
    return made


def nothing() -> Json:
    """The status where nothing was deployed yet."""
    hostnet = plans.settings()
    observed = {str(entry["name"]): plans.nothing() for entry in hostnet["kube_clusters"]}
    plan = deployment.deployment_plan(hostnet, _SPEC, plans.five_nodes(), observed)
    return classify.deployment_status(hostnet, plan, plans.five_nodes(), observed, {}, observed_at=OBSERVED_AT)


ALL = {"well": well(), "troubled": troubled(), "nothing": nothing(), "two-hundred": troubled(well(100))}
