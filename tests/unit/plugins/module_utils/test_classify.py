# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has become of each member, and the report that is made of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment, settings_and_spec
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
NODES = plans.five_nodes()
BINDINGS = plans.admitted(HOSTNET, SPEC, NODES)
FOLDER = f"/var/lib/hostnet/ledger/{BINDINGS[0]['admission']}"
NO_FOLDER = f'FailedMount: MountVolume.SetUp failed for volume "data" : hostPath type check failed: {FOLDER} is not a directory'
WELL = plans.inspected(BINDINGS)["east-0"]


def judged(
    node: Json | None = None, pod: Json | None = None, said: Json | None = WELL, gone: bool = False, cluster_id: str = "c1d"
) -> tuple[str, str]:
    current = None if gone else {**NODES[0], **(node or {})}
    its_pod = plans.pod(BINDINGS[0], **(pod or {})) if pod is not None or not gone else None
    return classify.classify(HOSTNET, BINDINGS[0], BINDINGS, current, its_pod, said, cluster_id)


def stuck(**changes: Any) -> Json:
    return {"running": False, "ready": False, "phase": "Pending", "waiting": NO_FOLDER, **changes}


def test_ok() -> None:
    assert judged() == ("ok", "")


def of_binding(binding: Json, node: Json, pod: Json | None, said: Json | None = WELL) -> tuple[str, str]:
    return classify.classify(HOSTNET, {**BINDINGS[0], **binding}, BINDINGS, {**NODES[0], **node}, pod, said, "c1d")


def test_rebooted_is_well_and_told() -> None:
    pod = plans.pod(BINDINGS[0])
    assert of_binding({"boot_id": "b1"}, {"boot_id": "b2"}, pod) == ("rebooted", "")
    assert of_binding({"boot_id": "b1"}, {"boot_id": "b1"}, pod) == ("ok", "")
    # Bindings of before have none, and not every node tells one.
    assert of_binding({"boot_id": ""}, {"boot_id": "b2"}, pod) == ("ok", "")
    assert of_binding({"boot_id": "b1"}, {"boot_id": ""}, pod) == ("ok", "")
    assert of_binding({"boot_id": "b1"}, {"boot_id": "b2"}, pod, {**WELL, "healthy": False, "reason": "slow"}) == ("rebooted", "slow")


def test_stopped_by_a_rollout_that_was_not_finished() -> None:
    assert of_binding({"stopped": True}, {}, None, None) == ("unknown", "it was stopped by a rollout that was not finished")
    # Its node tells more than that.
    assert "unreachable is not dead" in of_binding({"stopped": True}, {"ready": False}, None, None)[1]
    assert of_binding({"stopped": True}, {"address": "10.0.0.99"}, None, None)[0] == "moved"


def test_a_status_with_a_rebooted_member_is_healthy() -> None:
    nodes = [{**node, "boot_id": "b2"} for node in NODES]
    bindings = [{**binding, "boot_id": "b1"} for binding in BINDINGS]
    observed = plans.running(HOSTNET, bindings)
    plan = deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)
    status = classify.deployment_status(HOSTNET, plan, nodes, observed, plans.inspected(bindings))
    assert {entry["class"] for entry in status["members"]} == {"rebooted"}
    assert (status["healthy"], status["problems"]) == (True, [])
    assert "unhealthy" not in "".join(classify.status_table(status))


def test_ok_but_unhealthy_has_its_reason() -> None:
    assert judged(said={**WELL, "healthy": False, "reason": "no leader"}) == ("ok", "no leader")
    assert judged(said={**WELL, "healthy": False})[1] == "it says that it is not healthy"


def test_missing() -> None:
    kind, reason = judged(gone=True)
    assert kind == "missing"
    assert reason == "node east-worker does not exist any more in kube cluster east"


def test_foreign() -> None:
    kind, reason = judged(said={**WELL, "cluster_id": "other"})
    assert kind == "foreign"
    assert reason == "it reports cluster id other, the record says c1d"


def test_foreign_is_said_even_of_a_member_on_a_node_that_moved() -> None:
    assert judged({"address": "10.0.0.99"}, said={**WELL, "cluster_id": "other"})[0] == "foreign"


@pytest.mark.parametrize(
    ("said", "recorded"), [({"cluster_id": ""}, "c1d"), ({"cluster_id": "x"}, ""), ({"reachable": False, "cluster_id": "x"}, "c1d")]
)
def test_not_foreign_without_two_ids_to_compare(said: Json, recorded: str) -> None:
    assert judged(said={**WELL, **said}, cluster_id=recorded)[0] != "foreign"


def test_swapped() -> None:
    kind, reason = judged({"address": "10.0.0.12"})
    assert kind == "swapped"
    assert reason == "node east-worker now has address 10.0.0.12, which belongs to member east-1"


@pytest.mark.parametrize("node", [{"address": "10.0.0.99", "uid": "other"}])
def test_replaced_by_another_vm(node: Json) -> None:
    kind, reason = judged(node)
    assert kind == "replaced"
    assert "is another VM, with address 10.0.0.99 instead of 10.0.0.1" in reason
    assert FOLDER in reason


def test_replaced_under_the_same_uid_shows_by_its_empty_disk() -> None:
    # Another machine id under the same Node object is another VM. Without one, the disk of the same VM may just not be mounted.
    replaced = of_binding({"machine_id": "m1"}, {"machine_id": "m2", "address": "10.0.0.99"}, plans.pod(BINDINGS[0], **stuck()))
    assert replaced[0] == "replaced"
    assert judged({"address": "10.0.0.99"}, stuck())[0] == "no_folder"


def test_moved() -> None:
    kind, reason = judged({"address": "10.0.0.99"})
    assert kind == "moved"
    assert reason == "node east-worker now has address 10.0.0.99 instead of 10.0.0.1"


def test_moved_to_an_address_that_begins_like_anothers() -> None:
    # 10.0.0.1 is a prefix of 10.0.0.100, and 10.0.0.12 (east-1) of 10.0.0.120.
    assert judged({"address": "10.0.0.120"})[0] == "moved"
    assert judged({"address": "10.0.0.100"})[0] == "moved"


def test_invariant_8_reimaged_waits_and_says_why() -> None:
    kind, reason = judged({"uid": "other"}, stuck())
    assert kind == "reimaged"
    assert "its disk is empty" in reason
    assert FOLDER in reason


def test_invariant_8_a_folder_that_is_not_there_is_no_empty_disk_before_that_is_proven() -> None:
    kind, reason = judged(pod=stuck())
    assert kind == "no_folder"
    assert FOLDER in reason
    recorded = {"mounted": True, "mount": "/var/lib/hostnet", "filesystem": "ext4", "id": "fsid:1"}
    binding = {**BINDINGS[0], "disk": recorded}

    def looked(seen: Json, **node: Any) -> str:
        facts = {"disk": {**recorded, **seen}, "content": {}, "markers": {}}
        pod = plans.pod(BINDINGS[0], **stuck())
        return classify.classify(HOSTNET, binding, BINDINGS, {**NODES[0], **node}, pod, None, "c1d", facts=facts)[0]

    assert looked({}) == "reimaged"
    assert looked({}, address="10.0.0.99") == "replaced"
    assert looked({"mounted": False, "mount": "/"}) == "not_mounted"
    assert looked({"mounted": False, "mount": "/"}, address="10.0.0.99") == "not_mounted"
    assert looked({"id": "fsid:2"}) == "other_disk"
    assert looked({"mounted": False, "mount": "/"}, uid="another VM") == "reimaged"


@pytest.mark.parametrize(
    ("node", "pod", "said", "words"),
    [
        ({"ready": False}, None, WELL, "unreachable is not dead"),
        ({}, {"running": False, "phase": "Pending", "waiting": "Unschedulable: 0/3 nodes"}, WELL, "is Pending (Unschedulable: 0/3 nodes)"),
        ({}, {"running": False, "phase": "Failed", "waiting": ""}, WELL, "is Failed"),
        ({}, None, None, "it does not answer"),
        ({}, None, {"reachable": False, "reason": "connection refused"}, "connection refused"),
        ({}, None, {"reachable": False}, "it does not answer"),
    ],
)
def test_invariant_9_what_cannot_be_known_is_unknown(node: Json, pod: Json | None, said: Json | None, words: str) -> None:
    kind, reason = judged(node, pod, said)
    assert kind == "unknown"
    assert words in reason


def test_no_pod_is_unknown() -> None:
    assert classify.classify(HOSTNET, BINDINGS[0], BINDINGS, NODES[0], None, None, "c1d") == ("unknown", "it has no pod")
    why = classify.classify(HOSTNET, BINDINGS[0], BINDINGS, NODES[0], None, None, "c1d", "FailedCreate: exceeded quota")
    assert why == ("unknown", "it has no pod (FailedCreate: exceeded quota)")


def test_invariant_8_another_vm_without_a_pod_is_reimaged() -> None:
    # A DaemonSet starts nothing on a node that lost its label with its Node object; the class must say why.
    kind, reason = classify.classify(HOSTNET, BINDINGS[0], BINDINGS, {**NODES[0], "uid": "new"}, None, None, "c1d")
    assert kind == "reimaged"
    assert "another VM" in reason


@given(
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "address": st.sampled_from(["10.0.0.1", "10.0.0.12", "10.0.0.99"]),
                "uid": st.sampled_from([NODES[0]["uid"], "other"]),
                "ready": st.booleans(),
            }
        ),
    ),
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "running": st.booleans(),
                "phase": st.sampled_from(["Running", "Pending"]),
                "waiting": st.sampled_from(["", NO_FOLDER, "CrashLoopBackOff"]),
            }
        ),
    ),
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "reachable": st.booleans(),
                "healthy": st.booleans(),
                "reason": st.just("r"),
                "cluster_id": st.sampled_from(["", "c1d", "other"]),
            }
        ),
    ),
    st.sampled_from(["", "c1d"]),
)
def test_every_observation_has_one_class_and_only_ok_goes_without_reason(
    node: Json | None, pod: Json | None, said: Json | None, cluster_id: str
) -> None:
    current = None if node is None else {**NODES[0], **node}
    its_pod = None if pod is None else plans.pod(BINDINGS[0], **pod)
    kind, reason = classify.classify(HOSTNET, BINDINGS[0], BINDINGS, current, its_pod, said, cluster_id)
    assert kind in {"ok", "moved", "replaced", "reimaged", "missing", "swapped", "foreign", "unknown", "no_folder"}
    if kind != "ok":
        assert reason
    else:
        assert said is not None
        assert said["reachable"]
        assert current is not None
        assert (current["address"], current["ready"]) == ("10.0.0.1", True)


# -- status --------------------------------------------------------------------------------------------------------


def status_of(
    placement: str = "node_name",
    nodes: list[Json] | None = None,
    observed: dict[str, Json] | None = None,
    said: dict[str, Json] | None = None,
) -> Json:
    hostnet = plans.settings(placement=placement)
    bindings = plans.admitted(hostnet, SPEC, NODES)
    observed = plans.running(hostnet, bindings) if observed is None else observed
    nodes = NODES if nodes is None else nodes
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    said = plans.inspected(bindings) if said is None else said
    return classify.deployment_status(hostnet, plan, nodes, observed, said)


@pytest.mark.parametrize("placement", settings_and_spec.PLACEMENTS)
def test_status_of_a_system_that_is_well(placement: str) -> None:
    status = status_of(placement)
    json.dumps(status)
    assert {
        key: status[key] for key in ("schema", "deployment", "namespace", "system", "placement", "cluster_id", "healthy", "problems")
    } == {
        "schema": 1,
        "deployment": "ledger",
        "namespace": "bank",
        "system": "etcd",
        "placement": placement,
        "cluster_id": "c1d",
        "healthy": True,
        "problems": [],
    }
    assert status["identity"]["token"] == plans.TOKEN
    assert status["join_lists"] == {name: [node["address"] for node in NODES] for name in ("east", "west")}
    assert [entry["member"] for entry in status["members"]] == ["east-0", "east-1", "east-2", "west-0", "west-1"]
    bindings = plans.admitted(plans.settings(placement=placement), SPEC, NODES)
    assert status["members"][1] == {
        "member": "east-1",
        "class": "ok",
        "healthy": True,
        "reason": "",
        "kube_cluster": "east",
        "node": "east-worker2",
        "node_uid": "uid-east-east-worker2",
        "provider_id": "kind://east-worker2",
        "address": "10.0.0.12",
        "region": "east",
        "zone": "east-b",
        "admission": bindings[1]["admission"],
        "disk": {},
        "id": "id-east-1",
        "cluster_id": "c1d",
        "role": "voter",
        "leader": False,
        "alone": [],
        "version": "3.6.16",
        "image": "example.test/etcd:1",
        "outdated": False,
        "pod": "ledger-east-worker2" if placement == "daemonset" else "ledger-east-1",
        "started_at": "2026-11-22T12:00:00Z",
        "restarts": 0,
        "certificate": {"serial": "1f", "not_after": "2027-11-22T12:00:00Z"},
        "join_list": [node["address"] for node in NODES],
        "signs": [],
        "guarded": True,
    } | ({} if placement == "daemonset" else {"pod": "ledger-east-1-0"})


def test_status_shows_the_certificate_that_ends_first() -> None:
    observed = plans.running(HOSTNET, BINDINGS)
    dates = observed["east"]["secrets"][0]["certificates"]["east-0"]
    dates["peer"] = {"serial": "2", "not_after": "2026-12-01T00:00:00Z"}
    assert status_of(observed=observed)["members"][0]["certificate"] == {"serial": "2", "not_after": "2026-12-01T00:00:00Z"}


def test_status_without_pod_certificate_and_answer_has_the_same_shape() -> None:
    well = status_of()
    observed = plans.running(HOSTNET, BINDINGS)
    observed["east"].update(pods=[], secrets=[])
    status = status_of(observed=observed, said={})
    assert status["healthy"] is False
    for one, two in zip(status["members"], well["members"], strict=True):
        assert {key: type(value) for key, value in one.items()} == {key: type(value) for key, value in two.items()}
    assert status["members"][0]["certificate"] == {"serial": "", "not_after": ""}
    assert status["problems"][0] == "member east-0: unknown: it has no pod"


def test_problems_of_the_whole() -> None:
    said = plans.inspected(BINDINGS)
    said["west-1"]["cluster_id"] = "other"
    observed = plans.running(HOSTNET, BINDINGS)
    observed["west"]["join"]["seeds"] = "10.0.1.1"
    status = status_of(observed=observed, said=said)
    assert status["problems"][0] == "members report 2 cluster ids: c1d, other"
    assert status["problems"][-1] == "join lists differ between kube clusters; run playbooks/deploy.yml"
    assert [entry["class"] for entry in status["members"]] == ["ok", "ok", "ok", "ok", "foreign"]


def test_what_is_not_deployed_is_not_healthy() -> None:
    nothing = {name: plans.nothing() for name in ("east", "west")}
    status = status_of(observed=nothing)
    assert (status["healthy"], status["problems"], status["members"]) == (False, ["it is not deployed"], [])
    assert status["join_lists"] == {"east": [], "west": []}
    observed = plans.running(HOSTNET, BINDINGS)
    for found in observed.values():
        found["identity"] = found["cluster_record"] = None
        found["workloads"] = []
    assert "there is no identity record" in status_of(observed=observed)["problems"]


def test_a_pod_that_takes_over_counts_before_one_that_ends() -> None:
    observed = plans.running(HOSTNET, BINDINGS)
    observed["east"]["pods"].insert(0, plans.pod(BINDINGS[0], name="a-old", terminating=True, running=False))
    assert status_of(observed=observed)["members"][0]["pod"] == "ledger-east-0-0"


def test_table_for_people() -> None:
    lines = classify.status_table(status_of())
    assert lines[0] == "ledger (etcd, node_name): healthy, 5 of 5 members, cluster id c1d"
    assert lines[1].split()[:4] == ["member", "class", "node", "address"]
    assert lines[2].split()[:4] == ["east-0", "ok", "east-worker", "10.0.0.1"]
    assert "voter (leader)" in lines[2]
    assert "2027-11-22 " in lines[2] + " "
    assert lines[7] == "join list in east: 10.0.0.1, 10.0.0.12, 10.0.0.3, 10.0.1.1, 10.0.1.2"
    assert all(line == line.rstrip() for line in lines)


def test_table_says_whose_nodes_have_no_guards() -> None:
    observed = plans.running(plans.settings(), plans.admitted(plans.settings(), SPEC, NODES))
    guards = [{"member": name, "wanted": 2, "ready": 2} for name in ("east-0", "east-1", "west-0")]
    for name, found in observed.items():
        found["guards"] = [entry for entry in guards if entry["member"].startswith(name)]
    line = "no guard pods hold a drain of the nodes of east-2, west-1: run playbooks/deploy.yml"
    status = status_of(observed=observed)
    assert line in classify.status_table(status)
    assert status["healthy"]
    # A user who may not list them is told nothing, and nothing is wrong with the system.
    observed["east"]["guards"] = observed["west"]["guards"] = None
    status = status_of(observed=observed)
    assert not [line for line in classify.status_table(status) if "guard" in line]
    assert status["healthy"]


def test_table_of_trouble() -> None:
    nodes = copy.deepcopy(NODES)
    nodes[4]["ready"] = False
    said = plans.inspected(BINDINGS)
    said["east-1"].update(healthy=False, reason="no leader", role="", version="")
    lines = classify.status_table(status_of(nodes=nodes, said=said))
    assert lines[0] == "ledger (etcd, node_name): NOT HEALTHY, 3 of 5 members, cluster id c1d"
    assert lines[3].split()[1] == "unhealthy"
    assert lines[6].split()[1] == "unknown"
    assert "! member east-1: ok: no leader" in lines
    assert any(line.startswith("! member west-1: unknown: node west-worker2 is not Ready") for line in lines)
    nothing = {name: plans.nothing() for name in ("east", "west")}
    empty = classify.status_table(status_of(observed=nothing))
    assert empty[0] == "ledger (etcd, node_name): NOT HEALTHY, 0 of 0 members, cluster id -"
    assert "join list in east: -" in empty


def test_invariant_14_the_status_has_no_secret() -> None:
    assert "key" not in json.dumps(status_of()).lower()


# -- targets -------------------------------------------------------------------------------------------------------


def test_targets_are_members_whose_container_runs() -> None:
    observed = plans.running(HOSTNET, BINDINGS)
    observed["east"]["pods"][0]["running"] = False
    observed["east"]["pods"][1]["terminating"] = True
    observed["west"]["pods"][0]["ready"] = False
    targets = classify.member_targets(HOSTNET, BINDINGS, observed)
    assert [target["member"] for target in targets] == ["east-2", "west-0", "west-1"]
    assert targets[0] == {
        "member": "east-2",
        "kube_cluster": "east",
        "namespace": "bank",
        "pod": "ledger-east-2-0",
        "container": "etcd",
        "variables": {
            "address": "10.0.0.3",
            "host": "10.0.0.3",
            "process": "east-2",
            "node": "east-worker3",
            "certs": "/etc/hostnet/certs",
            "pki": f"{HOSTNET['pki_dir']}/east-2",
            "ca": f"{HOSTNET['pki_dir']}/ca.crt",
        },
    }
    own = classify.member_targets({**HOSTNET, "ca": {"certificate": "/own/ca.crt"}}, BINDINGS, observed)
    assert own[0]["variables"]["ca"] == "/own/ca.crt"
    assert classify.member_targets(HOSTNET, BINDINGS, {}) == []


def test_targets_of_a_daemonset_are_found_by_their_nodes() -> None:
    hostnet = plans.settings(placement="daemonset")
    nodes = [plans.node("east", f"vm-{number}", f"fd00::{number}") for number in (1, 2, 3)]
    bindings = plans.admitted(hostnet, SPEC, nodes)
    targets = classify.member_targets(hostnet, bindings, plans.running(hostnet, bindings))
    assert [(target["pod"], target["variables"]["certs"], target["variables"]["host"]) for target in targets] == [
        (f"ledger-vm-{number}", f"/etc/hostnet/certs/vm-{number}", f"[fd00::{number}]") for number in (1, 2, 3)
    ]
