# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two deployments on the same VMs. Real API servers, whose kubelets and members are made up (support/made_up.py).

A VM reboots when the hook asks for it: its node gets another boot id, and what ran there at that moment is noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock
from support.in_process import perform
from support.kube_api import KubeApi, create_node
from support.made_up import NAME, NAMESPACE, Kubelets, World, message
from support.rbac import restricted_user
from support.reboots import Reboots
from support.run import PlayRun

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Json = dict[str, Any]
NODES = (("east", "east-1", "10.0.0.1"), ("east", "east-2", "10.0.0.12"), ("west", "west-1", "10.0.1.1"))
OTHER, OTHER_NAMESPACE = "other", "hostnet-other"
NAMESPACES = (NAMESPACE, OTHER_NAMESPACE)


class Vms(Reboots):
    """Notes the pods that a VM takes down."""

    def __init__(self, kubes: list[KubeApi], folder: Path) -> None:
        super().__init__(kubes, folder)
        self.down: list[tuple[str, list[str]]] = []

    def goes_down(self, kube: KubeApi, node: str) -> None:
        pods = [pod for namespace in NAMESPACES for pod in kube.request_json("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]]
        self.down.append((node, [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node]))


class Shared(World):
    """Two deployments on three VMs."""

    vms: Vms

    def other(self, playbook: str = "deploy.yml", **variables: Any) -> PlayRun:
        return self.play(
            playbook,
            **{"hostnet_name": OTHER, "hostnet_namespace": OTHER_NAMESPACE, "hostnet_pki_dir": str(self.folder / "other-pki"), **variables},
        )

    def upgrade(self, *, check: bool = False, environment: dict[str, str] | None = None, **variables: Any) -> PlayRun:
        hook = self.vms.hook()
        given = {
            "hostnet_work": "reboot",
            "hostnet_replace_tasks": str(hook),
            "hostnet_members": ["east-0"],
            "hostnet_soak_seconds": 0,
            "hostnet_step_timeout_seconds": 60,
        }
        return self.play("upgrade.yml", check=check, environment=environment, **{**given, **variables})

    def state(self) -> list[Any]:
        """What other has of its member on the VM of ours: recorded as stopped or not, in each kube cluster, and its replicas."""
        found: list[Any] = []
        for kube in self.kubes:
            data = kube.request_json("GET", f"/api/v1/namespaces/{OTHER_NAMESPACE}/configmaps/{OTHER}-members")["data"]
            found += [json.loads(data["east-0"]).get("stopped", False)] if "east-0" in data else []
        path = f"/apis/apps/v1/namespaces/{OTHER_NAMESPACE}/statefulsets/{OTHER}-east-0"
        return [sorted(set(found)), self.kubes[0].request_json("GET", path)["spec"]["replicas"]]

    def holders(self) -> set[str]:
        """Whoever holds a lock of either deployment."""
        found = set()
        for kube in self.kubes:
            for name, namespace in ((NAME, NAMESPACE), (OTHER, OTHER_NAMESPACE)):
                path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}-rollout"
                found.add(kube.request_json("GET", path)["spec"]["holderIdentity"])
        return found

    def hold_other(self, run_id: str, state: str) -> None:
        common = {"kube_clusters": [kube.entry for kube in self.kubes], "name": OTHER, "namespace": OTHER_NAMESPACE}
        result = perform(rollout_lock, {**common, "state": state, "run_id": run_id, "what": "repair"})
        assert not result.get("failed"), result


@pytest.fixture
def shared(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path) -> Iterator[Shared]:
    kubes = [kube_api, kube_api_two]
    for kube_cluster, name, address in NODES:
        create_node({kube.name: kube for kube in kubes}[kube_cluster], name, address=address)
    kubelets, vms = Kubelets(kubes, NAMESPACES), Vms(kubes, tmp_path)
    kubelets.start()
    vms.start()
    world = Shared(kubes, tmp_path)
    world.vms = vms
    for run in (world.play(), world.other()):
        assert run.rc == 0, run.output
    yield world
    removed = [world.remove(), world.other("remove.yml", hostnet_remove_name=OTHER, hostnet_remove_data=True)]
    for thread in (kubelets, vms):
        thread.ended.set()
        thread.join()
    assert [run.rc for run in removed] == [0, 0], removed[0].output + removed[1].output
    assert kubelets.problem is None


def unchanged(run: PlayRun) -> str:
    said = message(run)
    assert not [task for task in run.tasks if task.result.get("changed")], run.output
    return said


def test_a_vm_that_another_deployment_is_on(shared: Shared) -> None:
    untouched = [[False], 1]
    said = unchanged(shared.upgrade(check=True))
    assert "member east-0 of deployment other (namespace hostnet-other) on node east-1 of kube cluster east" in said
    assert '{"hostnet_neighbours": ["other"]}' in said
    checked = shared.upgrade(check=True, hostnet_neighbours=[OTHER])
    assert checked.rc == 0, checked.output
    assert "gate_neighbours > gate" in checked.output
    assert "is asked and stopped, and is started again" in checked.output

    shared.hold_other("somebody", "held")
    said = unchanged(shared.upgrade(hostnet_neighbours=[OTHER]))
    assert "the lock of deployment other" in said
    assert "by run somebody (repair)" in said
    shared.hold_other("somebody", "free")
    assert (shared.vms.down, shared.state(), shared.holders()) == ([], untouched, {""})

    # Its gate is closed: our member, which waits for the VM, serves again, and theirs never stopped.
    said = message(
        shared.upgrade(hostnet_neighbours=[OTHER], environment={"TEST_CLOSED": "deployment other (namespace hostnet-other) can do without"})
    )
    assert "its member east-0 on node east-1 of kube cluster east: closed (test)" in said
    assert (shared.vms.down, shared.state(), shared.holders()) == ([], untouched, {""})

    # It stops, and does not become well again: the run that goes on with it waits for that.
    said = message(shared.upgrade(hostnet_neighbours=[OTHER], environment={"TEST_CLOSED": "member east-0 of deployment other"}))
    assert "waiting for member east-0 of deployment other: closed (test)" in said
    assert shared.vms.down == [("east-1", [])], "both members were down when the VM went down"
    assert (shared.state(), shared.holders()) == (untouched, {""})
    done = shared.upgrade()
    assert done.rc == 0, done.output
    assert len(shared.vms.rebooted) == 1
    assert (shared.state(), shared.holders()) == (untouched, {""})


def test_a_user_without_rights_in_the_other_namespace(shared: Shared, tmp_path: Path) -> None:
    entries = []
    for kube in shared.kubes:
        user = f"neighbour-{tmp_path.name}"
        restricted_user(kube, "hostnet-multicluster-nodes", user=user)
        entries.append(restricted_user(kube, "hostnet-multicluster-namespace", namespace=NAMESPACE, user=user))
    said = unchanged(shared.upgrade(hostnet_neighbours=[OTHER], hostnet_kube_clusters=entries))
    for words in ("deployment other (namespace hostnet-other) cannot be asked in kube cluster east", "is forbidden", "docs/rbac.yaml"):
        assert words in said
    assert shared.holders() == {""}


def test_a_deployment_of_the_same_name_in_another_namespace(shared: Shared) -> None:
    for playbook, more in (("deploy.yml", {}), ("remove.yml", {"hostnet_remove_name": NAME, "hostnet_remove_data": True})):
        said = unchanged(shared.play(playbook, hostnet_namespace="hostnet-third", **more))
        assert f"deployment {NAME} in namespace {NAMESPACE} has members on node" in said
    assert shared.free()
