# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles vm_* decide: nothing about a VM that is not proven to be the member's, nothing twice, nothing where no other VM would come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.vm import aws, gcp, node, owner

Json = dict[str, Any]
AWS = "aws:///eu-central-1a/i-0aa"
GCE = "gce://project/europe-west1-b/vm-1"


def vm(action: str = "replace", **changed: Any) -> Json:
    return {
        "action": action,
        "kube_cluster": "east",
        "node": "n1",
        "node_uid": "u1",
        "provider_id": AWS,
        "zone": "eu-central-1a",
        "boot_id": "b1",
        "machine_id": "m1",
        **changed,
    }


def node_of(uid: str = "u1", provider: str = AWS, machine: str = "m1", boot: str = "b1", **metadata: Any) -> Json:
    info = {"machineID": machine, "bootID": boot}
    return {"metadata": {"name": "n1", "uid": uid, **metadata}, "spec": {"providerID": provider}, "status": {"nodeInfo": info}}


class TestNode:
    @pytest.mark.parametrize(
        ("found", "state"),
        [
            (None, "gone"),
            (node_of(), "same"),
            (node_of(boot="b2"), "rebooted"),
            (node_of(machine="m2"), "other"),
            (node_of(uid="u2", provider="aws:///eu-central-1a/i-0bb"), "other"),
            (node_of(uid="u2", machine="m2"), "other"),
            # What is not known differs from nothing.
            (node_of(machine="", boot=""), "same"),
        ],
    )
    def test_states(self, found: Json | None, state: str) -> None:
        assert node.state_of(vm(), found) == state

    @pytest.mark.parametrize("found", [node_of(uid="u2"), node_of(provider=""), node_of(provider="x"), node_of(uid="u2", provider="")])
    def test_a_contradiction_is_refused(self, found: Json) -> None:
        with pytest.raises(node.Refused, match="Nothing is done to it"):
            node.state_of(vm(), found)

    ids = st.sampled_from(["", "1", "2"])

    @given(uid=ids, provider=ids, machine=ids, boot=ids)
    def test_the_same_vm_has_the_uid_and_the_provider_id(self, uid: str, provider: str, machine: str, boot: str) -> None:
        asked = vm(node_uid="1", provider_id="1", machine_id="1", boot_id="1")
        try:
            state = node.state_of(asked, node_of(uid, provider, machine, boot))
        except node.Refused:
            return
        assert state in ("same", "rebooted", "other")
        if state != "other":
            assert (uid, provider) == ("1", "1")
            assert machine in ("", "1")

    def test_what_cannot_be_told(self) -> None:
        with pytest.raises(node.Refused, match="its node_uid is not known"):
            node.checked(vm(node_uid=""), ("replace",), "it")
        with pytest.raises(node.Refused, match="cannot add a VM, only reboot and replace it: leave hostnet_surge out"):
            node.checked(vm("add"), ("reboot", "replace"), "it")
        with pytest.raises(node.Refused, match="there is nothing to reboot"):
            node.happened(vm("reboot"), "other")
        assert node.happened(vm("reboot"), "same") == node.happened(vm(), "rebooted") == ""


def test_two_objects_of_one_vm() -> None:
    machine = {"kind": "Machine", "metadata": {"name": "a", "namespace": "x"}, "spec": {"providerID": AWS}}
    other = {"kind": "Machine", "metadata": {"name": "b", "namespace": "x"}, "spec": {"providerID": AWS}}
    with pytest.raises(node.Refused, match="Machine x/a and Machine x/b have its provider id"):
        owner.machine_of(vm(), [machine, other])


class TestAws:
    def found(
        self,
        instance: str = "running",
        lifecycle: str = "InService",
        others: str = "",
        zones: str = "a",
        tags: Json | None = None,
        **changed: Any,
    ) -> aws.Found:
        """`others` and `zones` are letters of zones: of the other instances, and those of the group."""
        members = [
            {"InstanceId": f"i-{number}", "AvailabilityZone": zone, "LifecycleState": "InService"} for number, zone in enumerate(others)
        ]
        mine = {"InstanceId": "i-0aa", "AvailabilityZone": "a", "LifecycleState": lifecycle}
        group = {
            "AutoScalingGroupName": "members",
            "DesiredCapacity": len(members) + 1,
            "Instances": [mine, *members],
            "AvailabilityZones": list(zones),
            "SuspendedProcesses": [],
            **{key: value for key, value in changed.items() if key in ("DesiredCapacity", "SuspendedProcesses")},
        }
        return {
            "instance": {"State": {"Name": instance}, "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()]},
            "membership": {
                "AutoScalingGroupName": "members",
                "LifecycleState": lifecycle,
                "ProtectedFromScaleIn": changed.get("protected", False),
            },
            "group": group,
            "node_group": changed.get("node_group"),
        }

    def test_replaced(self) -> None:
        decision = aws.decide(vm(), "same", self.found(others="b", zones="ab"))
        assert [call.does for call in decision.calls] == ["terminate"]
        assert "instance i-0aa in Auto Scaling group members" in decision.calls[0].text

    @pytest.mark.parametrize(
        ("changed", "state", "says"),
        [
            ({"instance": "stopped"}, "same", "instance i-0aa is stopped, not running"),
            ({}, "gone", "its Node is gone, and instance i-0aa is running"),
            ({"lifecycle": "Standby"}, "same", "is Standby in Auto Scaling group members, not InService"),
            ({"protected": True}, "same", "is protected from scale-in"),
            ({"SuspendedProcesses": [{"ProcessName": "Launch"}]}, "same", "has suspended Launch"),
            ({"DesiredCapacity": 0}, "same", "wants 0 instances and has 1"),
            ({"others": "a", "zones": "ab"}, "same", r"fewer instances in another zone than in a \(a: 2, b: 0\)"),
            (
                {"node_group": {"clusterName": "c", "nodegroupName": "g", "status": "UPDATING"}},
                "same",
                "EKS node group c/g is UPDATING, not ACTIVE",
            ),
        ],
    )
    def test_refused(self, changed: Json, state: str, says: str) -> None:
        with pytest.raises(node.Refused, match=says):
            aws.decide(vm(), state, self.found(**changed))

    def test_in_no_group(self) -> None:
        alone: aws.Found = {**self.found(), "membership": None, "group": None}
        with pytest.raises(node.Refused, match="is in no Auto Scaling group"):
            aws.decide(vm(), "same", alone)

    @pytest.mark.parametrize("changed", [{"instance": "shutting-down"}, {"instance": "terminated"}, {"lifecycle": "Terminating:Wait"}])
    def test_begun_already(self, changed: Json) -> None:
        decision = aws.decide(vm(), "same", self.found(**changed))
        assert decision.already
        assert not decision.calls
        nowhere: aws.Found = {"instance": None, "membership": None, "group": None, "node_group": None}
        assert aws.decide(vm(), "gone", nowhere).already == "instance i-0aa is not there"

    def test_reboot(self) -> None:
        assert [call.does for call in aws.decide(vm("reboot"), "same", self.found()).calls] == ["reboot"]
        assert aws.decide(vm("reboot"), "rebooted", self.found()).already
        with pytest.raises(node.Refused, match="is terminated, so there is nothing to reboot"):
            aws.decide(vm("reboot"), "same", self.found("terminated"))

    def test_surge(self) -> None:
        assert [call.does for call in aws.decide(vm("add"), "same", self.found()).calls] == ["tag", "detach"]
        assert aws.decide(vm("add"), "same", self.found(lifecycle="Detaching")).already
        away: aws.Found = {**self.found(tags={aws.DETACHED: "u1"}), "membership": None, "group": None}
        assert aws.decide(vm("add"), "same", away).already
        assert [call.does for call in aws.decide(vm("remove"), "same", away).calls] == ["end"]
        foreign: aws.Found = {**self.found(tags={aws.DETACHED: "u2"}), "membership": None, "group": None}
        for action, says in (("add", "in no Auto Scaling group"), ("remove", "was not detached for this member")):
            with pytest.raises(node.Refused, match=says):
                aws.decide(vm(action), "same", foreign)
        with pytest.raises(node.Refused, match="look who put it back"):
            aws.decide(vm("remove"), "same", self.found(tags={aws.DETACHED: "u1"}))
        managed = {"clusterName": "c", "nodegroupName": "g", "status": "ACTIVE"}
        with pytest.raises(node.Refused, match="belongs to an EKS node group"):
            aws.decide(vm("add"), "same", self.found(node_group=managed))

    def test_of_another_cloud(self) -> None:
        with pytest.raises(node.Refused, match="none of an EC2 instance"):
            aws.instance_id(vm(provider_id=GCE))

    @given(
        others=st.text("abc", max_size=6), state=st.sampled_from(["same", "rebooted", "gone", "other"]), action=st.sampled_from(aws.ACTIONS)
    )
    def test_nothing_is_done_to_a_vm_whose_node_is_not_there(self, others: str, state: str, action: str) -> None:
        try:
            decision = aws.decide(vm(action), state, self.found(others=others, zones="abc"))
        except node.Refused:
            return
        if decision.calls:
            assert state in ("same", "rebooted")
            # Whoever goes leaves its zone with fewest.
            assert action == "reboot" or all(others.count(zone) >= others.count("a") + 1 for zone in "bc")


class TestGcp:
    group = "projects/123/zones/europe-west1-b/instanceGroupManagers/members"

    def instance(self, **changed: Any) -> Json:
        metadata = {"items": [{"key": "created-by", "value": self.group}]}
        created = "2026-01-01T00:00:00.000-08:00"
        return {"id": "77", "status": "RUNNING", "metadata": metadata, "creationTimestamp": created, **changed}

    def asked(self, action: str = "replace") -> Json:
        return vm(action, provider_id=GCE)

    def node(self, created: str = "2026-01-01T08:01:00Z", **annotations: str) -> Json:
        return node_of(provider=GCE, creationTimestamp=created, annotations=annotations)

    def test_recreated(self) -> None:
        decision = gcp.decide(self.asked(), "same", self.node(), {"instance": self.instance(), "managed": {"currentAction": "NONE"}})
        assert [call.does for call in decision.calls] == ["recreate"]
        assert decision.calls[0].options["group"] == "zones/europe-west1-b/instanceGroupManagers/members"
        reset = gcp.decide(self.asked("reboot"), "same", self.node(), {"instance": self.instance(), "managed": None})
        assert [call.does for call in reset.calls] == ["reset"]
        # The same wish has the same request id, another VM under the name another one.
        assert (
            gcp.request_id(self.asked(), {"id": "77"})
            == decision.calls[0].options["request_id"]
            != gcp.request_id(self.asked(), {"id": "78"})
        )

    @pytest.mark.parametrize(
        ("found", "annotations"),
        [
            ({"instance": None, "managed": None}, {}),
            ({"managed": {"currentAction": "RECREATING"}}, {}),
            ({"younger": "2026-01-01T09:00:00.000+00:00"}, {}),
            ({}, {gcp.INSTANCE_ID: "76"}),
        ],
    )
    def test_begun_already(self, found: Json, annotations: Json) -> None:
        known = self.instance(**({"creationTimestamp": found["younger"]} if "younger" in found else {}))
        seen: gcp.Found = {"instance": found.get("instance", known), "managed": found.get("managed", {"currentAction": "NONE"})}
        assert gcp.decide(self.asked(), "same", self.node(**annotations), seen).already
        with pytest.raises(node.Refused):
            gcp.decide(self.asked("reboot"), "same", self.node(**annotations), seen)

    @pytest.mark.parametrize(
        ("instance", "managed", "state", "says"),
        [
            ({"status": "TERMINATED"}, "NONE", "same", "is TERMINATED, not RUNNING"),
            ({"deletionProtection": True}, "NONE", "same", "has deletion protection"),
            ({"metadata": {}}, "NONE", "same", "is in no managed instance group"),
            ({}, "RESTARTING", "same", "its group is RESTARTING VM vm-1"),
            ({}, "NONE", "gone", "its Node is gone, or is on another VM"),
        ],
    )
    def test_refused(self, instance: Json, managed: str, state: str, says: str) -> None:
        seen: gcp.Found = {"instance": self.instance(**instance), "managed": {"currentAction": managed}}
        with pytest.raises(node.Refused, match=says):
            gcp.decide(self.asked(), state, {} if state == "gone" else self.node(), seen)

    def test_gkes_own_id_counts_before_the_age(self) -> None:
        """A repaired VM may keep its Node object, which is then older than the VM for ever."""
        younger = self.instance(creationTimestamp="2026-02-01T00:00:00.000+00:00")
        assert gcp.made_anew(self.node(**{gcp.INSTANCE_ID: "77"}), younger) == ""

    def test_of_another_cloud(self) -> None:
        with pytest.raises(node.Refused, match="none of a VM of Compute Engine"):
            gcp.instance_of(vm())
