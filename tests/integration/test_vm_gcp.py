# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role vm_gcp with google-auth against a named fake of Compute Engine (support/clouds.py); nothing of it has seen the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.hostnet.multicluster.plugins.modules import vm_gcp
from support.clouds import FakeComputeEngine, packages
from support.kube_api import KubeApi
from support.run import PlayRun
from support.vm_roles import run_role, told, vm_of

Json = dict[str, Any]


@pytest.fixture
def cloud() -> Iterator[FakeComputeEngine]:
    fake = FakeComputeEngine()
    yield fake
    fake.stop()


@pytest.fixture
def logged_in(cloud: FakeComputeEngine, tmp_path: Path) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"PYTHONPATH": packages(), "GOOGLE_APPLICATION_CREDENTIALS": str(cloud.key_file(tmp_path, pem))}


@pytest.fixture
def node(kube_api: KubeApi, cloud: FakeComputeEngine, no_nodes: None, create_node: Callable[..., Json]) -> Json:
    for number, name in enumerate(("gke-1", "gke-2")):
        cloud.vm(name, 70 + number)
    return create_node(kube_api, "gke-2", zone=cloud.zone, provider_id=f"gce://{cloud.project}/{cloud.zone}/gke-2")


@pytest.fixture
def role(kube_api: KubeApi, cloud: FakeComputeEngine, logged_in: dict[str, str]) -> Callable[..., PlayRun]:
    def run(vm: Json, **options: Any) -> PlayRun:
        url = f"{cloud.url}/compute/v1"
        return run_role("vm_gcp", [kube_api.entry], vm, environment={**logged_in, **options.pop("more", {})}, vm_gcp_api_url=url, **options)

    return run


def test_a_vm_is_recreated_once(kube_api: KubeApi, cloud: FakeComputeEngine, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    assert "gke-2: would have zones/europe-west1-b/instanceGroupManagers/gke-members recreate VM gke-2" in told(role(vm, check=True))
    assert cloud.wishes == []
    assert role(vm).changed
    again = role(vm)
    assert not again.changed
    assert told(again) == "gke-2: its group is RECREATING VM gke-2"
    # The VM is there, and its kubelet has not registered yet.
    cloud.finish("gke-2")
    late = role(vm)
    assert not late.changed
    assert "VM gke-2 was made anew: it was created 2100" in told(late)
    assert cloud.wishes == ["recreateInstances gke-2"]


def test_a_vm_is_reset(kube_api: KubeApi, cloud: FakeComputeEngine, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node, "reboot")
    assert role(vm).changed
    assert not role({**vm, "boot_id": "before"}).changed
    assert cloud.wishes == ["reset gke-2"]


def test_refused_before_any_change(kube_api: KubeApi, cloud: FakeComputeEngine, node: Json, role: Callable[..., PlayRun]) -> None:
    vm = vm_of(kube_api, node)
    cloud.vm("gke-2", 71, deletionProtection=True)
    assert "VM gke-2 has deletion protection" in told(role(vm))
    assert "its Node has provider id" in told(role({**vm, "provider_id": "aws:///a/i-0aa"}))
    assert cloud.wishes == []
    cloud.vm("gke-2", 71)
    cloud.refuse = "Required 'compute.instanceGroupManagers.update' permission"
    refused = told(role(vm))
    assert "Google Cloud: have zones/europe-west1-b/instanceGroupManagers/gke-members recreate VM gke-2" in refused
    assert refused.endswith("Required 'compute.instanceGroupManagers.update' permission (status 403)")
    nobody = told(role(vm, more={"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}))
    assert nobody.startswith("Google Cloud: log in: File /nowhere was not found")
    assert "google-auth" in told(role(vm, more={"PYTHONPATH": ""}))
    assert cloud.wishes == []


def test_vm_gcp_examples(
    kube_api: KubeApi, cloud: FakeComputeEngine, node: Json, logged_in: dict[str, str], run_tasks: Callable[..., PlayRun]
) -> None:
    tasks = yaml.safe_load(vm_gcp.EXAMPLES)
    tasks[0]["hostnet.multicluster.vm_gcp"]["api_url"] = f"{cloud.url}/compute/v1"
    known = {"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": vm_of(kube_api, node)}
    run = run_tasks(tasks, variables=known, environment=logged_in)
    assert run.changed, run.output
    assert cloud.wishes == ["recreateInstances gke-2"]
