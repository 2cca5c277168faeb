# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check of a deploy prints."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.deploy_changes import deploy_changes

Json = dict[str, Any]
HOSTNET: Json = {
    "name": "ledger",
    "namespace": "hostnet",
    "system": "etcd",
    "placement": "node_name",
    "kube_clusters": [{"name": "east"}, {"name": "west"}],
}
EXISTING: Json = {"member": "east-0"}
NEW: Json = {"member": "west-0", "kube_cluster": "west", "node": "west-worker", "address": "10.1.0.1", "zone": "west-a", "admission": ""}


def plan(mode: str = "existing", members: tuple[Json, ...] = (EXISTING,), new: tuple[Json, ...] = ()) -> Json:
    return {"mode": mode, "members": list(members), "new": list(new), "batches": [[entry["member"]] for entry in new]}


def issued(*reissued: str, created: bool = False) -> Json:
    found = [
        {"name": name, "file": "server", "reissued": name in reissued, "reason": "it does not exist" if name in reissued else ""}
        for name in ("east-0", "west-0")
    ]
    return {"ca": {"created": created}, "certificates": found}


def thing(kube_cluster: str, kind: str, name: str, action: str, namespace: str = "hostnet") -> Json:
    return {"kube_cluster": kube_cluster, "kind": kind, "namespace": namespace, "name": name, "action": action}


def test_nothing_to_do_is_one_line() -> None:
    found = deploy_changes(
        HOSTNET, plan(), issued(), [{"objects": [thing("east", "Secret", "a", "unchanged")], "nodes": []}, {"skipped": True}]
    )
    assert found["changes"] is False
    assert found["lines"] == ["Plan for ledger (etcd, node_name, namespace hostnet): no changes."]
    assert found["kube_clusters"]["east"]["unchanged"] == 1


def test_a_first_deployment_says_what_is_made_where() -> None:
    objects = [thing("west", "Namespace", "hostnet", "created", ""), thing("west", "StatefulSet", "ledger-west-0", "created")]
    found = deploy_changes(
        HOSTNET,
        plan("first", (), (NEW,)),
        issued("east-0", "west-0", created=True),
        [{"objects": objects}, {"nodes": [{"kube_cluster": "west", "name": "west-worker"}]}],
    )
    assert (found["first"], found["initialise"], found["keep"]) == (True, True, [])
    assert found["lines"] == [
        "Plan for ledger (etcd, node_name, namespace hostnet): first deployment",
        "+ member west-0: node west-worker (10.1.0.1, zone west-a), kube cluster west",
        "+ cluster: initialised once, its id is recorded in every kube cluster",
        "+ CA: created on the controller; back up its folder",
        "+ certificates: east-0/server (it does not exist), west-0/server (it does not exist); 0 kept",
        "  kube cluster east: no changes (0 objects)",
        "  kube cluster west: 2 to create, 0 to change, 0 to delete, 0 unchanged",
        "    + Namespace hostnet, StatefulSet hostnet/ledger-west-0",
        "    ~ labels of nodes west-worker",
    ]


def test_what_several_batches_tell_of_one_object_is_counted_once_and_a_change_is_not_lost() -> None:
    first = {"objects": [thing("east", "ConfigMap", "join", "changed"), thing("east", "Secret", "a", "unchanged")]}
    second = {"objects": [thing("east", "ConfigMap", "join", "unchanged"), thing("east", "Secret", "a", "changed")]}
    found = deploy_changes(HOSTNET, plan(), issued(), [first, second, first])
    assert found["kube_clusters"]["east"]["change"] == ["ConfigMap hostnet/join", "Secret hostnet/a"]
    assert found["kube_clusters"]["east"]["unchanged"] == 0


@pytest.mark.parametrize(("kind", "said"), [("StatefulSet", True), ("DaemonSet", True), ("ConfigMap", False)])
def test_a_changed_workload_says_that_its_pods_are_left_alone(kind: str, said: bool) -> None:
    lines = deploy_changes(HOSTNET, plan(), issued(), [{"objects": [thing("east", kind, "x", "changed")]}])["lines"]
    assert "No member is restarted: east-0" in lines
    later = f"Pods keep what they were started with until upgrade.yml -e hostnet_work=restart: east: {kind} hostnet/x"
    assert (later in lines) is said


def test_long_lists_are_cut_in_the_lines_and_whole_in_the_data() -> None:
    objects = [thing("east", "Secret", f"s{number:02}", "deleted") for number in range(20)]
    found = deploy_changes(HOSTNET, plan(), issued(), [{"objects": objects}])
    assert len(found["kube_clusters"]["east"]["delete"]) == 20
    assert any(line.endswith("Secret hostnet/s11 and 8 more") for line in found["lines"])


def test_batches_are_told_in_their_order() -> None:
    other = {**NEW, "member": "west-1", "zone": ""}
    lines = deploy_changes(HOSTNET, plan(new=(NEW, other)), issued(), [])["lines"]
    assert "  started one batch at a time: west-0 | west-1" in lines
    assert "+ member west-1: node west-worker (10.1.0.1), kube cluster west" in lines
