# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles vm_cluster_api and vm_karpenter on real API servers; fakes play Cluster API and Karpenter (support/vm_owners.py)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import vm_info, vm_object
from support.in_process import call_module
from support.kube_api import KubeApi
from support.vm_owners import CAPI, MERGE, FakeClusterApi, FakeKarpenter, undefine
from support.vm_roles import run_role, told, vm_of

Json = dict[str, Any]
DELETE_FIRST = "cluster.x-k8s.io/delete-machine"


@pytest.fixture(params=[["v1beta2", "v1beta1"], ["v1beta1"]], ids=["v1beta2", "v1beta1"], scope="module")
def versions(request: pytest.FixtureRequest, _kube_servers: tuple[KubeApi, KubeApi]) -> Iterator[list[str]]:
    yield request.param
    undefine(_kube_servers[1], CAPI, request.param[0], ["machines", "machinesets", "clusters"])


@pytest.fixture
def capi(kube_api: KubeApi, kube_api_two: KubeApi, namespace: str, versions: list[str], no_nodes: None) -> Iterator[FakeClusterApi]:
    """Members in `east`; the management cluster is another one."""
    fake = FakeClusterApi(kube_api_two, kube_api, namespace, versions, "z1")
    yield fake
    fake.stop()


@pytest.fixture
def karpenter(kube_api: KubeApi, no_nodes: None) -> Iterator[FakeKarpenter]:
    fake = FakeKarpenter(kube_api, "z1")
    yield fake
    fake.stop()


def management(kube: KubeApi, namespace: str) -> Json:
    return {"vm_cluster_api_management": {"kubeconfig": kube.kubeconfig, "context": kube.context}, "vm_cluster_api_namespace": namespace}


def until(what: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _try in range(600):
        if what():
            return
        wait.wait(0.05)
    raise AssertionError("it did not come true")


def test_a_machine_is_replaced_once(capi: FakeClusterApi, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str) -> None:
    vm = vm_of(kube_api, capi.machine("n1"))
    capi.machine("n2")
    reach = management(kube_api_two, namespace)
    checked = run_role("vm_cluster_api", [kube_api.entry], vm, check=True, **reach)
    assert "n1: would annotate Machine" in told(checked)
    assert f"/machine-n1 with {DELETE_FIRST}, then delete Machine {namespace}/machine-n1 (UID " in told(checked)
    assert not capi.deleted
    assert DELETE_FIRST not in capi.machines()["machine-n1"]["metadata"].get("annotations", {})
    # The controller is late: the Machine stays for a while.
    first = run_role("vm_cluster_api", [kube_api.entry], vm, **reach)
    assert first.rc == 0, first.output
    assert first.changed
    item = capi.machines()["machine-n1"]
    assert item["metadata"]["annotations"][DELETE_FIRST] == "hostnet.multicluster"
    assert "deletionTimestamp" in item["metadata"]
    again = run_role("vm_cluster_api", [kube_api.entry], vm, **reach)
    assert not again.changed
    assert "is being deleted since" in told(again)
    capi.start()
    until(lambda: "machine-n1" not in capi.machines() and len(capi.machines()) == 2)
    done = run_role("vm_cluster_api", [kube_api.entry], vm, **reach)
    assert not done.changed
    assert told(done) == "n1: node n1 and its VM's object are gone"
    assert capi.deleted == ["machine-n1"]


def test_a_machine_that_a_killed_run_has_annotated_is_deleted(
    capi: FakeClusterApi, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str
) -> None:
    """A user who may annotate and not delete: the same as a kill between the two."""
    vm = vm_of(kube_api, capi.machine("n1"))
    user = f"half-{secrets.token_hex(3)}"
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [CAPI], "resources": ["machines", "machinesets", "clusters"], "verbs": ["get", "list", "patch"]}]
    kube_api_two.request_json("POST", f"{rbac}/namespaces/{namespace}/roles", {"metadata": {"name": user}, "rules": rules})
    body = {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"kind": "User", "name": user}],
    }
    kube_api_two.request_json("POST", f"{rbac}/namespaces/{namespace}/rolebindings", body)
    common = {"vm": vm, "owner": "machine", "management": "fleet", "namespace": namespace}
    fleet = {**kube_api_two.entry, "name": "fleet"}
    half = call_module(
        "vm_object", {**common, "kube_clusters": [kube_api.entry, {**fleet, "kubeconfig": kube_api_two.user_kubeconfig(user)}]}
    )
    assert "cannot delete resource" in half["msg"]
    assert DELETE_FIRST in capi.machines()["machine-n1"]["metadata"]["annotations"]
    whole = call_module("vm_object", {**common, "kube_clusters": [kube_api.entry, fleet]}, diff=True)
    assert [text.split(" (")[0] for text in whole["actions"]] == [f"delete Machine {namespace}/machine-n1"]
    assert whole["diff"]["after"].startswith("kube cluster east: node n1 (fake:////n1): delete Machine")
    # Without a namespace the Machines of all are looked through.
    assert "is being deleted" in call_module("vm_object", {**common, "namespace": "", "kube_clusters": [kube_api.entry, fleet]})["already"]


@pytest.mark.parametrize(
    ("plural", "patch", "says"),
    [
        (
            "machines",
            {"metadata": {"annotations": {"cluster.x-k8s.io/paused": ""}}},
            "machine-n1 is paused, so Cluster API would do nothing",
        ),
        ("clusters", {"spec": {"paused": True}}, "is paused, so Cluster API would do nothing"),
        ("machinesets", {"spec": {"replicas": 0}}, "wants 0 Machines and has 1, so no other one would come"),
        ("machines", {"metadata": {"ownerReferences": None}}, "machine-n1 is owned by nobody, and only a MachineSet makes another one"),
        ("machines", {"spec": {"providerID": "fake:////other"}}, "there is no Machine in namespace"),
        ("machines/status", {"status": {"nodeRef": {"name": "n7", "uid": "7"}}}, "names n7 (UID 7), not the member's node"),
    ],
)
def test_a_machine_that_is_not_replaced(
    capi: FakeClusterApi, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str, plural: str, patch: Json, says: str
) -> None:
    vm = vm_of(kube_api, capi.machine("n1"))
    kind, _slash, status = plural.partition("/")
    name = {"machines": "machine-n1"}.get(kind, capi.name)
    kube_api_two.request_json("PATCH", f"{capi.root}/{kind}/{name}{'/' + status if status else ''}", patch, MERGE)
    before = capi.machines()
    options = {"kube_clusters": [kube_api.entry, {**kube_api_two.entry, "name": "fleet"}], "management": "fleet", "namespace": namespace}
    for check in (True, False):
        failed = call_module("vm_object", {**options, "vm": vm, "owner": "machine"}, check=check)
        assert failed["failed"]
        assert failed["msg"].startswith("kube cluster east: node n1 (fake:////n1): ")
        assert says in failed["msg"]
    assert capi.machines() == before


def test_another_vm_is_left_alone(capi: FakeClusterApi, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str) -> None:
    vm = vm_of(kube_api, capi.machine("n1"))
    options = {"kube_clusters": [kube_api.entry, {**kube_api_two.entry, "name": "fleet"}], "management": "fleet", "namespace": namespace}

    def asked(**changed: Any) -> Json:
        return call_module("vm_object", {**options, "owner": "machine", "vm": {**vm, **changed}})

    assert "by now, and the member's had 0815, while nothing else shows another VM" in asked(node_uid="0815")["msg"]
    assert "its Node has provider id fake:////n1 by now" in asked(provider_id="fake:////n0")["msg"]
    assert asked(node_uid="0815", provider_id="fake:////n0")["already"] == "another VM has the name n1 by now"
    assert asked(machine_id="m0")["already"] == "another VM has the name n1 by now"
    assert "cannot reboot a VM, only replace it" in asked(action="reboot")["msg"]
    assert "only replace it: leave hostnet_surge out" in asked(action="add")["msg"]
    assert "its provider_id is not known" in asked(provider_id="")["msg"]
    assert "'north', which is not in kube_clusters" in asked(kube_cluster="north")["msg"]
    assert not capi.deleted
    # Its Node object was deleted by hand.
    kube_api.request_json("DELETE", "/api/v1/nodes/n1")
    assert "its Node is gone, and Machine" in asked()["msg"]
    no_capi = call_module("vm_object", {**options, "kube_clusters": [kube_api.entry], "management": "", "owner": "machine", "vm": vm})
    assert "kube cluster east: it has no API group cluster.x-k8s.io" in no_capi["msg"]
    stray = call_module("vm_object", {**options, "kube_clusters": [kube_api.entry], "owner": "machine", "vm": vm})
    assert stray["msg"] == "management is 'fleet', which is not in kube_clusters"
    claim = call_module("vm_object", {**options, "owner": "node_claim", "vm": vm})
    assert claim["msg"] == "management is for owner=machine: a NodeClaim is in the VM's own kube cluster"


def test_a_node_claim_is_replaced_once(karpenter: FakeKarpenter, kube_api: KubeApi) -> None:
    vm = vm_of(kube_api, karpenter.claim("n1"))
    karpenter.claim("n2")
    checked = run_role("vm_karpenter", [kube_api.entry], vm, check=True)
    assert told(checked).startswith(f"n1: would delete NodeClaim {karpenter.name}-n1 (UID ")
    assert not karpenter.deleted
    run = run_role("vm_karpenter", [kube_api.entry], vm)
    assert run.changed
    again = run_role("vm_karpenter", [kube_api.entry], vm)
    assert not again.changed
    assert "is being deleted since" in told(again)
    karpenter.start()
    until(lambda: f"{karpenter.name}-n1" not in karpenter.claims() and len(karpenter.claims()) == 2)
    assert not run_role("vm_karpenter", [kube_api.entry], vm).changed
    assert karpenter.deleted == [f"{karpenter.name}-n1"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"replicas": 0}, "wants 0 VMs and has 1, so no other one would come"),
        ({"replicas": None}, "has no spec.replicas, so Karpenter makes another VM only where a pod waits for one"),
        (
            {"template": {"spec": {"requirements": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1", "z2"]}]}}},
            "may make the next VM in zone z1, z2, and the member's is z1",
        ),
    ],
)
def test_a_node_claim_that_is_not_replaced(karpenter: FakeKarpenter, kube_api: KubeApi, spec: Json, says: str) -> None:
    vm = vm_of(kube_api, karpenter.claim("n1"))
    karpenter.pool(spec)
    failed = run_role("vm_karpenter", [kube_api.entry], vm)
    assert says in told(failed)
    assert "deletionTimestamp" not in karpenter.claims()[f"{karpenter.name}-n1"]["metadata"]
    waiting = run_role("vm_karpenter", [kube_api.entry], vm, vm_karpenter_pending_pods=True)
    assert (waiting.rc == 0) == ("spec.replicas" in says)


def test_a_node_claim_without_its_pool_or_none_at_all(karpenter: FakeKarpenter, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    vm = vm_of(kube_api, karpenter.claim("n1"))
    options = {"kube_clusters": [kube_api.entry], "owner": "node_claim"}
    kube_api.request_json("DELETE", f"{karpenter.root}/nodepools/{karpenter.name}")
    assert f"NodePool {karpenter.name} of its NodeClaim" in call_module("vm_object", {**options, "vm": vm})["msg"]
    path = f"{karpenter.root}/nodeclaims/{karpenter.name}-n1"
    kube_api.request_json("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    kube_api.request_json("DELETE", path)
    assert "there is no NodeClaim with that provider id" in call_module("vm_object", {**options, "vm": vm})["msg"]


def test_vm_object_examples(
    capi: FakeClusterApi, karpenter: FakeKarpenter, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str, run_tasks: Callable[..., Any]
) -> None:
    first, second = yaml.safe_load(vm_object.EXAMPLES)
    claim = vm_of(kube_api, karpenter.claim("n1"))
    run = run_tasks([first], variables={"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": claim})
    assert run.changed, run.output
    # The management cluster is in the default kubeconfig there.
    machine = vm_of(kube_api, capi.machine("n2"))
    second["hostnet.multicluster.vm_object"]["namespace"] = namespace
    fleet = kube_api_two.user_kubeconfig("fleet-admin", ["system:masters"])
    text = yaml.safe_load(Path(fleet).read_text())
    text["contexts"][0]["name"] = "fleet"
    Path(fleet).write_text(yaml.safe_dump(text))
    known = {"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": machine}
    run = run_tasks([second], variables=known, environment={"KUBECONFIG": fleet})
    assert run.changed, run.output


def test_vm_info_examples(kube_api: KubeApi, no_nodes: None, create_node: Callable[..., Json], run_tasks: Callable[..., Any]) -> None:
    vm = vm_of(kube_api, create_node(kube_api, "n1", provider_id="fake:////n1"), "reboot")
    tasks = yaml.safe_load(vm_info.EXAMPLES)
    looked = run_tasks(tasks, variables={"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": vm})
    assert looked.of("vm_info")[0]["state"] == "same"
    looked = run_tasks(tasks, variables={"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": {**vm, "boot_id": "before"}})
    assert looked.of("vm_info")[0]["already"] == "node n1 has started anew since"
    gone = {**vm, "node": "n0"}
    assert call_module("vm_info", {"kube_clusters": [kube_api.entry], "vm": gone})["state"] == "gone"
    other = {**vm, "machine_id": "m0"}
    assert "so there is nothing to reboot" in call_module("vm_info", {"kube_clusters": [kube_api.entry], "vm": other})["msg"]
