# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module deployment_apply against real API servers, as a user's Ansible runs it; which objects there are, unit tests say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_apply
from support import plans
from support.kube_api import KubeApi, create_node
from support.run import PlayRun

Json = dict[str, Any]
# Without what only the role itself can fill in: nobody is asked here.
SPEC: Json = {**plans.spec_of("etcd"), "inspect": {"filter": "hostnet.multicluster.etcd_inspection"}}
MODULE = "hostnet.multicluster.deployment_apply"


def test_deployment_apply_examples(
    run_tasks: Callable[..., PlayRun], kube_api: KubeApi, no_nodes: None, kube_clusters: list[Json], namespace: str
) -> None:
    hostnet = {**plans.settings(namespace=namespace), "kube_clusters": kube_clusters}
    (member,) = plans.admitted(hostnet, SPEC, plans.five_nodes()[:1])
    made = create_node(kube_api, member["node"], address=member["address"])
    member = {**member, "node_uid": made["metadata"]["uid"]}
    node = {**plans.five_nodes()[0], "uid": member["node_uid"], "labels": {}, "annotations": {}}
    files = {"certificate": "/c", "private_key": "/k", "serial": "1", "not_after": "2027-01-01T00:00:00Z"}
    wanted = member_certificates.wanted_certificates(hostnet, SPEC, [member])
    issued = [{"name": entry["name"], "file": entry["file"], **files} for entry in wanted]
    there = {name: plans.nothing(namespace={"labels": {}, "phase": "Active"}) for name in ("east", "west")}
    variables = {
        "hostnet": hostnet,
        "hostnet_spec": SPEC,
        "hostnet_identity": {"token": plans.TOKEN, "ca_fingerprint": plans.FINGERPRINT},
        "hostnet_bindings": [member],
        "hostnet_certificates": {"certificates": issued, "nkeys": {}},
    }
    known = {"nodes": [node], "kube_clusters": there, "plan": {"seeds": [], "ordinals": {}}}
    remember = {"name": "Know it", "ansible.builtin.set_fact": {"hostnet_deployment": known}}
    create, apply = yaml.safe_load(deployment_apply.EXAMPLES)
    labelled = {**apply, MODULE: {**apply[MODULE], "labels": True}, "diff": True}
    run = run_tasks([{**create, "ignore_errors": True}, remember, create, labelled, apply], variables=variables)
    assert run.rc == 0, run.output
    unknown, created, first, second = run.of("deployment_apply")
    assert unknown["msg"] == "there is no fact hostnet_deployment: observe the deployment first"
    assert (created["objects"], created["nodes"], created["changed"]) == ([], [], False)
    assert {entry["action"] for entry in first["objects"]} == {"created"}
    assert {entry["kind"] for entry in first["objects"]} == {"ConfigMap"}
    assert [entry["after"]["hostnet.multicluster/ledger"] for entry in first["nodes"]] == ["east-0"]
    # The objects', and that of the labels.
    assert "hostnet.multicluster/ledger" in str(first["diff"][-1]["after"])
    assert (second["changed"], second["nodes"], {entry["action"] for entry in second["objects"]}) == (False, [], {"unchanged"})
