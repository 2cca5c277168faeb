# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role vm_azure with azure-identity and azure-core against a named fake of Azure (support/fake_azure.py); nothing of it has seen the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import vm_azure
from support.clouds import packages
from support.fake_azure import SUBSCRIPTION, FakeAzure
from support.kube_api import KubeApi
from support.run import PlayRun
from support.vm_roles import run_role, told, vm_of

Json = dict[str, Any]
TAG = "hostnet.multicluster.replaces"
MARKED, DELETED, GROWN = f"write 3 {TAG} team", "deleteMachines aks-db-1-vmss000001", "write 3 team"


@pytest.fixture
def cloud(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeAzure]:
    fake = FakeAzure(tmp_path, aks=getattr(request, "param", True))
    yield fake
    fake.stop()


@pytest.fixture
def node(kube_api: KubeApi, cloud: FakeAzure, no_nodes: None, create_node: Callable[..., Json]) -> Json:
    return create_node(kube_api, "aks-db-1-vmss000001", zone="westeurope-2", provider_id=cloud.provider_id(1))


@pytest.fixture
def role(kube_api: KubeApi, cloud: FakeAzure) -> Callable[..., PlayRun]:
    def run(vm: Json, **options: Any) -> PlayRun:
        environment = {"PYTHONPATH": packages(), **cloud.environment, **options.pop("more", {})}
        return run_role("vm_azure", [kube_api.entry], vm, environment=environment, **{"vm_azure_api_url": cloud.url, **options})

    return run


def test_a_machine_of_a_pool_is_replaced_once(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    cloud.throttled = 2
    trial = told(role(vm, check=True))
    assert trial.startswith("aks-db-1-vmss000001: would tag agent pool db of AKS cluster west with hostnet.multicluster.replaces=")
    assert "then have AKS delete machine aks-db-1-vmss000001 of agent pool db of AKS cluster west, then bring agent pool db" in trial
    assert cloud.wishes == []
    done = role(vm)
    assert done.changed, done.output
    assert cloud.wishes == [MARKED, DELETED, GROWN]
    assert (cloud.count, sorted(cloud.instances), cloud.tags) == (3, ["0", "10", "2"], {"team": "db"})
    # In the zone that it was in.
    assert cloud.instances["10"]["zones"] == ["2"]
    again = role(vm)
    assert not again.changed
    assert told(again) == "aks-db-1-vmss000001: instance 1 of scale set aks-db-1-vmss is not there"
    assert len(cloud.wishes) == 3


@pytest.mark.parametrize("cloud", [True, False], indirect=True)
@pytest.mark.parametrize("kill_after", ["write 3 hostnet", "delete", "write 3 team"])
def test_killed_after_it_was_accepted(
    kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun], kill_after: str
) -> None:
    """What was begun goes on in Azure. The next run waits for that, deletes nobody else, and brings the count back once."""
    vm = vm_of(kube_api, node)
    cloud.kill_after = kill_after
    assert role(vm).rc < 0
    trial = role(vm, check=True)
    assert trial.rc == 0, trial.output
    resumed = role(vm)
    assert resumed.rc == 0, resumed.output
    assert cloud.wishes == [MARKED, DELETED if cloud.aks else "delete 1", GROWN]
    assert (cloud.count, sorted(cloud.instances), cloud.tags) == (3, ["0", "10", "2"], {"team": "db"})
    assert not role(vm).changed


@pytest.mark.parametrize("cloud", [False], indirect=True)
def test_a_scale_set_of_no_aks_cluster(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    assert "would re-image instance 1 of scale set aks-db-1-vmss" in told(role(vm, check=True, vm_azure_replace_by="reimage"))
    assert role(vm, vm_azure_replace_by="reimage").changed
    assert role(vm_of(kube_api, node, "reboot")).changed
    assert cloud.wishes == ["reimage 1", "restart 1"]
    assert role(vm).changed
    assert cloud.wishes[2:] == [MARKED, "delete 1", GROWN]
    assert (cloud.count, sorted(cloud.instances)) == (3, ["0", "10", "2"])


def test_a_vm_is_restarted(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node, "reboot")
    assert role(vm).changed
    assert not role({**vm, "boot_id": "before"}).changed
    assert cloud.wishes == ["restart 1"]


def test_refused_before_any_change(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    lead = f"kube cluster east: node aks-db-1-vmss000001 ({vm['provider_id']}): "
    cloud.state = "Upgrading"
    busy = role(vm)
    assert told(busy).startswith(f"{lead}agent pool db of AKS cluster west is Upgrading. Nothing is done to instance 1")
    assert busy.tasks[-1].result["passing"]
    cloud.state, cloud.pool["enableAutoScaling"] = "Succeeded", True
    assert told(role(vm)).startswith(f"{lead}agent pool db of AKS cluster west has enableAutoScaling")
    cloud.pool["enableAutoScaling"] = False
    assert "AKS does not support that its VMs are re-imaged" in told(role(vm, vm_azure_replace_by="reimage"))
    assert "its Node has provider id" in told(role({**vm, "provider_id": "aws:///a/i-0aa"}))
    assert "leave hostnet_surge out" in told(role({**vm, "action": "add"}))
    assert "vm_azure_api_url" in told(role(vm, vm_azure_api_url="http://127.0.0.1:1"))
    assert cloud.wishes == []


def test_what_azure_refuses(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    forbidden = "The client 'x' does not have authorization to perform action 'Microsoft.ContainerService/managedClusters/agentPools/write'"
    cloud.refusing["write"] = (403, {"error": {"code": "AuthorizationFailed", "message": forbidden}}, {})
    denied = told(role(vm))
    assert "Azure: tag agent pool db of AKS cluster west" in denied
    assert denied.endswith(f"AuthorizationFailed: {forbidden} (status 403)")
    # Somebody else's operation has begun since this looked.
    cloud.refusing = {
        "deleteMachines": (409, {"error": {"code": "OperationNotAllowed", "message": "Another operation is in progress"}}, {})
    }
    conflict = role(vm)
    assert "status 409). Somebody else is at work there: wait until that is over, then run again" in told(conflict)
    assert conflict.tasks[-1].result["passing"]
    assert cloud.wishes == [MARKED]
    cloud.refusing = {}
    assert role(vm).changed
    assert cloud.wishes == [MARKED, DELETED, GROWN]


def test_an_operation_that_fails(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    """The VM is deleted, and there is no other one: it says so each time, and what to do, and goes on when that was done."""
    vm = vm_of(kube_api, node)
    details = [{"code": "AllocationFailed", "message": "Allocation failed. We do not have sufficient capacity in this zone."}]
    cloud.refusing["count"] = (409, {"error": {"code": "OperationNotAllowed", "message": "quota exceeded", "details": details}}, {})
    short = told(role(vm))
    assert "Azure: bring agent pool db of AKS cluster west back to 3 VMs" in short
    assert "OperationNotAllowed: quota exceeded; AllocationFailed: Allocation failed." in short
    assert (cloud.count, cloud.wishes) == (2, [MARKED, DELETED])
    cloud.refusing = {}
    cloud.failing["write"] = {"code": "ReconcileVMSSAgentPoolFailed", "message": "VMSS failed", "details": details}
    failed = told(role(vm))
    assert "the operation is Failed: ReconcileVMSSAgentPoolFailed: VMSS failed; AllocationFailed" in failed
    later = told(role(vm))
    assert "its VM is gone, and the last operation of agent pool db of AKS cluster west is Failed" in later
    assert cloud.wishes == [MARKED, DELETED, GROWN]
    cloud.state = "Succeeded"
    assert not role(vm).changed


def test_a_subscription_that_is_not_seen(
    kube_api: KubeApi, cloud: FakeAzure, no_nodes: None, create_node: Callable[..., Json], role: Any
) -> None:
    """What is not seen there must not be taken for a VM that is gone."""
    other = cloud.provider_id(1).replace(SUBSCRIPTION, "11111111-2222-3333-4444-555555555555")
    vm = vm_of(kube_api, create_node(kube_api, "aks-db-1-vmss000001", zone="westeurope-2", provider_id=other))
    refused = told(role(vm))
    assert "Azure: read scale set aks-db-1-vmss: SubscriptionNotFound: The subscription '11111111-2222-3333-4444-555555555555'" in refused
    assert cloud.wishes == []


def test_who_cannot_log_in(kube_api: KubeApi, cloud: FakeAzure, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    assert "the Python packages azure-identity and azure-core cannot be imported" in told(role(vm, more={"PYTHONPATH": ""}))
    cloud.token = ""
    nobody = told(role(vm))
    assert "Azure: read scale set aks-db-1-vmss: cannot log in: " in nobody
    assert "No managed identity was found" in nobody
    cloud.token = "another"
    assert "InvalidAuthenticationToken: The access token is invalid. (status 401)" in told(role(vm))
    assert "AZURE_TOKEN_CREDENTIALS" in told(role(vm, more={"AZURE_TOKEN_CREDENTIALS": "nobody"}))
    assert cloud.wishes == []


def test_vm_azure_examples(kube_api: KubeApi, cloud: FakeAzure, node: Json, run_tasks: Callable[..., PlayRun]) -> None:
    tasks = yaml.safe_load(vm_azure.EXAMPLES)
    tasks[0]["hostnet.multicluster.vm_azure"]["api_url"] = cloud.url
    known = {"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": vm_of(kube_api, node)}
    run = run_tasks(tasks, variables=known, environment={"PYTHONPATH": packages(), **cloud.environment})
    assert run.changed, run.output
    assert cloud.wishes == [MARKED, DELETED, GROWN]
