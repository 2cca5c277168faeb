# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module node_job as a user's Ansible runs it. No kubelet runs pods here: whole deployments in the lab have its scripts on real nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import node_job
from support import plans
from support.run import PlayRun

Json = dict[str, Any]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}
MODULE = "hostnet.multicluster.node_job"


def test_node_job_examples(run_tasks: Callable[..., PlayRun], kube_clusters: list[Json], namespace: str) -> None:
    hostnet = {**plans.settings(namespace=namespace, pull_secrets=[], data_mount=False, timeout=5), "kube_clusters": kube_clusters}
    nodes = plans.five_nodes()
    bindings = plans.admitted(hostnet, SPEC, nodes)
    observed = {
        name: plans.nothing(pods=[plans.pod(entry) for entry in bindings if entry["kube_cluster"] == name]) for name in ("east", "west")
    }
    variables = {"hostnet": hostnet, "hostnet_spec": SPEC, "hostnet_identity": {"token": plans.TOKEN}, "hostnet_bindings": bindings}
    known = {"nodes": nodes, "kube_clusters": observed, "plan": {"members": bindings, "new": []}}
    remember = {"name": "Know it", "ansible.builtin.set_fact": {"hostnet_deployment": known}}
    mark, record = yaml.safe_load(node_job.EXAMPLES)
    recorded = {"name": "Nobody", MODULE: {**mark[MODULE], "members": [{**bindings[0], "disk": {"id": "x"}}]}}
    admit = {"name": "Admit", MODULE: {**mark[MODULE], "job": "admit", "members": [{**bindings[0], "admission": ""}]}}
    run = run_tasks([{**mark, "ignore_errors": True}, remember, mark, record, recorded, admit], check=True, variables=variables)
    assert run.rc == 0, run.output
    unknown, marked, nobody, admitted = run.of("node_job")
    assert unknown["msg"] == "there is no fact hostnet_deployment: observe the deployment first"
    assert (marked["changed"], len(marked["skipped_nodes"]), marked["results"], marked["members"]) == (True, 5, [], bindings)
    assert (nobody["changed"], "skipped_nodes" in nobody, nobody["requests"]) == (False, False, 0)
    assert admitted["members"][0]["admission"].startswith("east-0-")
