# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vm_azure decides, and that a replacement that is killed anywhere ends with one VM deleted and as many as before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import azure, node

Json = dict[str, Any]

GROUP = "/subscriptions/0b1f-1/resourceGroups/mc_prod_west_westeurope"
SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/aks-db-1-vmss"
PROVIDER = f"azure://{SET}/virtualMachines/1"
CLUSTER = "/subscriptions/0b1f-1/resourcegroups/prod/providers/Microsoft.ContainerService/managedClusters/west"


def vm(action: str = "replace", **changed: Any) -> Json:
    return {
        "action": action,
        "kube_cluster": "west",
        "node": "aks-db-1-vmss000001",
        "node_uid": "u1",
        "provider_id": PROVIDER,
        "zone": "westeurope-1",
        "boot_id": "b1",
        "machine_id": "m1",
        **changed,
    }


def instance(number: str = "1", zone: str = "1", provisioning: str = "Succeeded", power: str = "running", **properties: Any) -> Json:
    view = {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": f"PowerState/{power}"}]}
    return {
        "instanceId": number,
        "zones": [zone] if zone else [],
        "properties": {"provisioningState": provisioning, "instanceView": view, **properties},
    }


def found(zones: str = "123", one: Json | None = None, aks: bool = True, **changed: Any) -> azure.Found:
    """Of a group with an instance in each of `zones`; that of the member, number 1, is in zone 1."""
    mine = instance() if one is None else one
    others = [instance(str(number), zone) for number, zone in enumerate(zones.replace("1", "", 1), 10)]
    properties = {
        "count": 1 + len(others),
        "type": "VirtualMachineScaleSets",
        "mode": "User",
        "provisioningState": "Succeeded",
        "orchestratorVersion": "1.33.4",
        "currentOrchestratorVersion": "1.33.4",
        "eTag": "e1",
        "tags": {},
        **{key: value for key, value in changed.items() if key not in ("orchestrationMode", "machine")},
    }
    scale_set = {
        "sku": {"name": "Standard_D4s_v5", "capacity": properties["count"]},
        "tags": {"aks-managed-poolName": "db"} if aks else properties["tags"],
        "zones": sorted(set(zones)),
        "properties": {
            "provisioningState": properties["provisioningState"],
            "orchestrationMode": changed.get("orchestrationMode", "Uniform"),
        },
    }
    pool = {"id": f"{CLUSTER}/agentPools/db", "name": "db", "properties": properties} if aks else None
    machine = changed.get("machine", "aks-db-1-vmss000001" if aks else "")
    return {
        "scale_set": scale_set,
        "instance": mine or None,
        "instances": [*([mine] if mine else []), *others],
        "pool": pool,
        "machine": machine,
    }


def does(decision: node.Decision) -> list[str]:
    return [call.does for call in decision.calls]


class TestIds:
    def test_of_a_provider_id(self) -> None:
        ids = azure.ids_of(vm())
        assert (ids.scale_set, ids.number, ids.name, ids.resource_group) == (SET, "1", "aks-db-1-vmss", GROUP)
        assert ids.instance == f"{SET}/virtualMachines/1"
        # Azure's own letters differ from place to place.
        assert azure.ids_of(vm(provider_id=PROVIDER.replace("resourceGroups", "resourcegroups"))).number == "1"

    @pytest.mark.parametrize(
        "other",
        [
            "aws:///eu-central-1a/i-0aa",
            # A VM alone, a flexible scale set, and AKS pools of type VirtualMachines.
            f"azure://{GROUP}/providers/Microsoft.Compute/virtualMachines/vm-1",
            f"{PROVIDER}/x",
            PROVIDER.replace("virtualMachines/1", "virtualMachines/one"),
        ],
    )
    def test_of_something_else(self, other: str) -> None:
        with pytest.raises(
            node.Refused, match=r"kube cluster west: node aks-db-1-vmss000001 .* none of an instance of a uniform scale set"
        ):
            azure.ids_of(vm(provider_id=other))

    def test_whose_scale_set_it_is(self) -> None:
        assert azure.cluster_of({"managedBy": CLUSTER}) == CLUSTER
        assert azure.cluster_of({"managedBy": f"{GROUP}/providers/Microsoft.Databricks/workspaces/x"}) == ""
        assert azure.cluster_of({}) == ""
        assert azure.pool_name({"tags": {"aks-managed-poolName": "db"}}, {}) == "db"
        assert azure.pool_name({}, {"metadata": {"labels": {"kubernetes.azure.com/agentpool": "db"}}}) == "db"
        assert azure.pool_name({}, {}) == ""

    def test_the_name_that_aks_has_for_it(self) -> None:
        machines = [
            {"name": "m10", "properties": {"resourceId": f"{SET}/virtualMachines/10"}},
            {"name": "m1", "properties": {"resourceId": f"{SET}/virtualMachines/1".upper()}},
        ]
        assert azure.machine_of(azure.ids_of(vm()), machines) == "m1"
        assert azure.machine_of(azure.ids_of(vm()), machines[:1]) == ""


class TestReplace:
    def test_in_an_agent_pool(self) -> None:
        decision = azure.decide(vm(), "same", found())
        assert does(decision) == ["mark", "delete", "grow"]
        assert [call.text for call in decision.calls] == [
            "tag agent pool db of AKS cluster west with hostnet.multicluster.replaces=u1:3",
            "have AKS delete machine aks-db-1-vmss000001 of agent pool db of AKS cluster west",
            "bring agent pool db of AKS cluster west back to 3 VMs, without the tag",
        ]

    def test_in_a_scale_set(self) -> None:
        decision = azure.decide(vm(), "same", found(aks=False))
        assert does(decision) == ["mark", "delete", "grow"]
        assert decision.calls[1].text == "delete instance 1 of scale set aks-db-1-vmss"
        assert does(azure.decide(vm(), "same", found(aks=False), "reimage")) == ["reimage"]

    def test_what_a_killed_run_left(self) -> None:
        tags = {azure.TAG: "u1:3"}
        # After the tag.
        assert does(azure.decide(vm(), "same", found(tags=tags))) == ["delete", "grow"]
        # While it is being deleted, and after that: whatever became of the Node, and of the count.
        going = azure.decide(vm(), "same", found(one=instance(provisioning="Deleting"), tags=tags, provisioningState="Deleting"))
        assert does(going) == ["grow"]
        for state in ("same", "gone", "other"):
            assert does(azure.decide(vm(), state, found(one={}, tags=tags))) == ["grow"]
            assert azure.decide(vm(), state, found(one={}, tags=tags)).calls[0].options == {"count": 3, "uid": "u1"}
        # After the count.
        assert azure.decide(vm(), "gone", found(one={})).already == "instance 1 of scale set aks-db-1-vmss is not there"
        assert azure.decide(vm(), "gone", found(one={}, provisioningState="Scaling")).already
        assert azure.decide(vm(), "other", found()).already

    def test_the_tag_of_another_node(self) -> None:
        """It may be overwritten where nothing came of it. Where a VM is missing, somebody has still to bring it back."""
        mark = azure.decide(vm(), "same", found(tags={azure.TAG: "u2:3"})).calls[0]
        assert mark.options == {"count": 3, "value": "u1:3", "before": "u2:3"}
        with pytest.raises(node.Refused, match="the replacement of another node is not over, and 2 VMs of 3 are there"):
            azure.decide(vm(), "same", found("12", tags={azure.TAG: "u2:3"}))

    @pytest.mark.parametrize(
        ("changed", "state", "says"),
        [
            ({}, "gone", "its Node is gone, or is on another VM"),
            ({"one": instance(power="deallocated")}, "same", "is deallocated, not running"),
            ({"one": instance(provisioning="Updating")}, "same", "is Updating, not Succeeded"),
            ({"one": instance(provisioning="Deleting")}, "same", "is being deleted, and not by this rollout"),
            ({"one": instance(protectionPolicy={"protectFromScaleIn": True})}, "same", r"is protected \(protectFromScaleIn\)"),
            ({"provisioningState": "Upgrading"}, "same", "agent pool db of AKS cluster west is Upgrading"),
            ({"provisioningState": "Failed"}, "same", "the last operation of agent pool db of AKS cluster west is Failed"),
            ({"provisioningState": "Failed", "one": {}}, "gone", "its VM is gone, and the last operation of .* is Failed"),
            ({"provisioningState": "Failed", "one": {}, "tags": {azure.TAG: "u1:3"}}, "gone", "its VM is gone, and the last operation"),
            ({"orchestrationMode": "Flexible"}, "same", "has orchestration mode Flexible"),
            ({"enableAutoScaling": True}, "same", "has enableAutoScaling"),
            ({"scaleDownMode": "Deallocate"}, "same", "has scaleDownMode Deallocate"),
            ({"currentOrchestratorVersion": "1.32.7"}, "same", "has orchestratorVersion 1.33.4 and runs 1.32.7"),
            ({"mode": "System", "zones": "1"}, "same", "is a System pool with one VM"),
            ({"machine": ""}, "same", "has no machine with that provider id"),
            ({"count": 2}, "same", "wants 2 VMs and has 3"),
            ({"zones": "112"}, "same", r"fewer VMs in another zone than in 1 \(1: 2, 2: 1\)"),
        ],
    )
    def test_refused(self, changed: Json, state: str, says: str) -> None:
        with pytest.raises(node.Refused, match=f"^kube cluster west: node aks-db-1-vmss000001 .*{says}"):
            azure.decide(vm(), state, found(**changed))

    def test_what_passes(self) -> None:
        with pytest.raises(node.Later):
            azure.decide(vm(), "same", found(provisioningState="Upgrading"))
        with pytest.raises(node.Refused) as refused:
            azure.decide(vm(), "same", found(enableAutoScaling=True))
        assert not refused.value.passing

    def test_aks_does_not_support_reimaging(self) -> None:
        with pytest.raises(node.Refused, match=r"leave replace_by \(vm_azure_replace_by\) at delete"):
            azure.decide(vm(), "same", found(), "reimage")

    def test_a_minor_version_alone_is_no_upgrade(self) -> None:
        assert does(azure.decide(vm(), "same", found(orchestratorVersion="1.33")))
        with pytest.raises(node.Refused, match="an upgrade of it is not over"):
            azure.decide(vm(), "same", found(orchestratorVersion="1.3"))


class TestReboot:
    def test_restarted(self) -> None:
        assert does(azure.decide(vm("reboot"), "same", found(enableAutoScaling=True))) == ["restart"]
        assert does(azure.decide(vm("reboot"), "same", found(provisioningState="Failed"))) == ["restart"]
        assert azure.decide(vm("reboot"), "rebooted", found()).already

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"one": {}}, "is not there, so there is nothing to reboot"),
            ({"provisioningState": "Upgrading"}, "is Upgrading"),
            ({"one": instance(provisioning="Updating")}, "is Updating, not Succeeded"),
            ({"one": instance(power="stopped")}, "is stopped, not running"),
        ],
    )
    def test_refused(self, changed: Json, says: str) -> None:
        with pytest.raises(node.Refused, match=says):
            azure.decide(vm("reboot"), "same", found(**changed))


def test_the_body_that_changes_a_pool() -> None:
    pool = {
        "properties": {
            "count": 2,
            "mode": "User",
            "eTag": "e",
            "provisioningState": "Succeeded",
            "nodeImageVersion": "x",
            "tags": {"a": "b"},
        }
    }
    assert azure.pool_request(pool, count=3, tags={}) == {"properties": {"count": 3, "mode": "User", "tags": {}}}


class _Azure:
    """What Azure has, as far as a replacement changes it. `lowers`: a deletion lowers the count by itself."""

    def __init__(self, zones: str, aks: bool, lowers: bool) -> None:
        self.seen = found(zones, aks=aks)
        self.lowers = lowers
        self.deleted = 0
        self.made = 0

    def do(self, call: node.Call) -> None:
        group = azure.group_of(azure.ids_of(vm()), self.seen)
        if call.does == "mark":
            self._write(group.count, {**group.tags, azure.TAG: call.options["value"]})
        elif call.does == "delete":
            assert self.seen["instance"] is not None
            self.deleted += 1
            self.seen["instances"] = [item for item in self.seen["instances"] if item["instanceId"] != "1"]
            self.seen["instance"] = None
            if self.lowers:
                self._write(group.count - 1, group.tags)
        else:
            count = max(group.count, call.options["count"])
            new = count - len(self.seen["instances"])
            self.made += new
            self.seen["instances"] = [*self.seen["instances"], *(instance(str(90 + number)) for number in range(new))]
            self._write(count, {key: value for key, value in group.tags.items() if key != azure.TAG})

    def _write(self, count: int, tags: Any) -> None:
        pool = copy.deepcopy(self.seen["pool"])
        if pool is not None:
            pool["properties"].update(count=count, tags=dict(tags))
            self.seen["pool"] = pool
        else:
            sku = {**self.seen["scale_set"]["sku"], "capacity": count}
            self.seen["scale_set"] = {**self.seen["scale_set"], "sku": sku, "tags": dict(tags)}


@given(
    zones=st.sampled_from(["1", "11", "123", "1112222"]),
    aks=st.booleans(),
    lowers=st.booleans(),
    kills=st.lists(st.integers(0, 2), max_size=6),
    gone=st.booleans(),
)
def test_a_replacement_that_is_killed_anywhere(zones: str, aks: bool, lowers: bool, kills: list[int], gone: bool) -> None:
    cloud = _Azure(zones, aks, lowers)
    before = azure.group_of(azure.ids_of(vm()), cloud.seen).count
    # Each run does so many of its changes, and the last one all of them.
    for changes in [*kills, 9]:
        state = "gone" if gone and cloud.deleted else "same"
        for call in list(azure.decide(vm(), state, cloud.seen).calls)[:changes]:
            cloud.do(call)
    after = azure.group_of(azure.ids_of(vm()), cloud.seen)
    assert (cloud.deleted, cloud.made, after.count, len(cloud.seen["instances"])) == (1, 1, before, before)
    assert azure.TAG not in after.tags
    assert azure.decide(vm(), "gone", cloud.seen).already


@given(
    zones=st.text("123", max_size=6),
    state=st.sampled_from(["same", "rebooted", "gone", "other"]),
    action=st.sampled_from(azure.ACTIONS),
    aks=st.booleans(),
)
def test_nothing_is_done_to_a_vm_whose_node_is_not_there(zones: str, state: str, action: str, aks: bool) -> None:
    try:
        decision = azure.decide(vm(action), state, found(f"1{zones}", aks=aks))
    except node.Refused:
        return
    if decision.calls:
        assert state in ("same", "rebooted")
        # Whoever goes leaves its zone with fewest.
        assert action == "reboot" or all(zones.count(zone) >= zones.count("1") + 1 for zone in "23" if zone in zones)
