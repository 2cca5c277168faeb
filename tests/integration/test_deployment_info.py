# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deployment_info against real API servers; pods and their status are made by the tests."""

from __future__ import annotations

import json
import threading
import urllib.error
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from support import kube_api as servers
from support import plans
from support.in_process import call_module
from support.kube_api import KubeApi

# The connections of a module end with its process; here that is this process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]

LABELS = {names.DEPLOYMENT_LABEL: "ledger"}
POD_SPEC = {"containers": [{"name": "etcd", "image": "example.test/etcd:1"}]}
MERGE = "application/merge-patch+json"


@pytest.fixture
def run_module() -> Any:
    """In this process; the examples run as a user's Ansible runs them."""
    return call_module


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> dict[str, KubeApi]:
    return {"east": kube_api, "west": kube_api_two}


@pytest.fixture
def args(kube_clusters: list[Json], namespace: str) -> Json:
    return {"kube_clusters": kube_clusters, "name": "ledger", "namespace": namespace}


def create_pod(kube: KubeApi, namespace: str, member: str, node: str) -> None:
    labels = {**LABELS, names.MEMBER_LABEL: member}
    body = {"metadata": {"name": f"ledger-{member}-0", "labels": labels}, "spec": {**POD_SPEC, "nodeName": node}}
    kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", body)


def set_status(kube: KubeApi, namespace: str, member: str, ready: bool = True, running: bool = True) -> None:
    state: Json = {"running": {"startedAt": "2026-11-22T12:00:00Z"}} if running else {"waiting": {"reason": "ImagePullBackOff"}}
    status = {
        "phase": "Running" if running else "Pending",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [
            {"name": "etcd", "image": "x", "imageID": "x", "ready": ready, "restartCount": 1, "state": state, "lastState": {}}
        ],
    }
    kube.request_json("PATCH", f"/api/v1/namespaces/{namespace}/pods/ledger-{member}-0/status", {"status": status}, MERGE)


def config_map(kube: KubeApi, namespace: str, name: str, data: Json) -> None:
    kube.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name, "labels": LABELS}, "data": data})


def workload(kube: KubeApi, namespace: str, kind: str, name: str, member: str = "") -> None:
    labels = {**LABELS, **({names.MEMBER_LABEL: member} if member else {})}
    spec: Json = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": POD_SPEC}}
    if kind == "statefulsets":
        spec["serviceName"] = ""
    annotations = {names.TOKEN_ANNOTATION: "t", names.CA_ANNOTATION: "ab"}
    body = {"metadata": {"name": name, "labels": labels, "annotations": annotations}, "spec": spec}
    kube.request_json("POST", f"/apis/apps/v1/namespaces/{namespace}/{kind}", body)


def test_absent_namespace_costs_two_requests_for_each_kube_cluster(run_module: Any, args: Json) -> None:
    result = run_module("deployment_info", {**args, "namespace": "not-there"})
    assert not result.get("failed"), result
    assert (result["changed"], result["requests"]) == (False, 4), "its namespace, and kube-system's UID"
    for found in result["kube_clusters"].values():
        assert found["namespace"] is None
        assert [key for key, value in found.items() if value] == ["uid"]


def test_everything_of_one_deployment_is_read_and_no_secret(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    east = kubes["east"]
    identity, record = plans.identity(["east-0"]), {"cluster_id": "c", "token": "t"}
    binding = plans.admitted(plans.settings(), plans.spec_of("etcd"), plans.five_nodes())[0]
    join = {"seeds": "10.0.0.1", "HOSTNET_STATE": "existing", "HOSTNET_TOKEN": "t"}
    config_map(east, namespace, "ledger-identity", identity)
    config_map(east, namespace, "ledger-cluster-id", record)
    config_map(east, namespace, "ledger-members", {"east-0": json.dumps(binding)})
    config_map(east, namespace, "ledger-join", join)
    workload(east, namespace, "statefulsets", "ledger-east-0", "east-0")
    workload(east, namespace, "daemonsets", "ledger")
    annotations = {names.CERTIFICATES_ANNOTATION: json.dumps({"east-0": {"server": {"serial": "1f", "not_after": "2027"}}})}
    secret = {"metadata": {"name": "ledger-east-0", "labels": LABELS, "annotations": annotations}, "stringData": {"server.key": "PRIVATE"}}
    east.request_json("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    create_pod(east, namespace, "east-0", "vm-1")
    set_status(east, namespace, "east-0")
    # Another deployment in the same namespace, whose name begins alike.
    other = {"metadata": {"name": "x", "labels": {names.DEPLOYMENT_LABEL: "ledger2"}}}
    east.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", other)
    result = run_module("deployment_info", args)
    found = result["kube_clusters"]["east"]
    assert found["namespace"]["phase"] == "Active"
    assert found["namespace"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert (found["identity"], found["cluster_record"], found["join"]) == (identity, record, join)
    assert found["members"] == [binding]
    assert [(entry["kind"], entry["name"], entry["member"], entry["token"], entry["ca_fingerprint"]) for entry in found["workloads"]] == [
        ("StatefulSet", "ledger-east-0", "east-0", "t", "ab"),
        ("DaemonSet", "ledger", "", "t", "ab"),
    ]
    (pod,) = found["pods"]
    assert (pod["name"], pod["node"], pod["running"], pod["ready"], pod["restarts"]) == ("ledger-east-0-0", "vm-1", True, True, 1)
    assert pod["started_at"] == "2026-11-22T12:00:00Z"
    assert found["secrets"] == [{"name": "ledger-east-0", "certificates": {"east-0": {"server": {"serial": "1f", "not_after": "2027"}}}}]
    assert "PRIVATE" not in json.dumps(result)
    assert "UFJJVkFURQ" not in json.dumps(result), "nor in base64"
    assert result["kube_clusters"]["west"]["pods"] == []


def test_requests_do_not_grow_with_members(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    empty = run_module("deployment_info", args)
    # Namespace, ConfigMaps, StatefulSets, DaemonSets, Pods, Secrets.
    assert empty["requests"] == 2 * 8
    for number in range(12):
        create_pod(kubes["east"], namespace, f"east-{number}", f"vm-{number}")
        set_status(kubes["east"], namespace, f"east-{number}")
        workload(kubes["east"], namespace, "statefulsets", f"ledger-east-{number}", f"east-{number}")
    full = run_module("deployment_info", args)
    assert len(full["kube_clusters"]["east"]["pods"]) == len(full["kube_clusters"]["east"]["workloads"]) == 12
    assert full["requests"] == empty["requests"]
    for number in range(4):
        set_status(kubes["east"], namespace, f"east-{number}", ready=False, running=False)
    # One more, for the events of pods that wait.
    assert run_module("deployment_info", args)["requests"] == empty["requests"] + 1


def test_only_parts_of_it_cost_a_request_each(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    create_pod(kubes["east"], namespace, "east-0", "vm-1")
    set_status(kubes["east"], namespace, "east-0")
    join = {"seeds": "10.0.0.1", "HOSTNET_STATE": "existing", "HOSTNET_TOKEN": "t"}
    config_map(kubes["east"], namespace, "ledger-join", join)
    whole = run_module("deployment_info", args)["kube_clusters"]
    pods = run_module("deployment_info", {**args, "only": ["pods"]})
    assert pods["kube_clusters"] == {name: {"pods": found["pods"]} for name, found in whole.items()}
    assert pods["requests"] == 2
    records = run_module("deployment_info", {**args, "only": ["records"]})
    assert records["kube_clusters"]["east"]["join"] == join
    for name, found in records["kube_clusters"].items():
        assert found == {key: whole[name][key] for key in found}
    assert records["requests"] == 2
    edited = {"data": {"seeds": "not an address"}}
    kubes["east"].request_json("PATCH", f"/api/v1/namespaces/{namespace}/configmaps/ledger-join", edited, MERGE)
    assert run_module("deployment_info", {**args, "only": ["records"]})["msg"] == run_module("deployment_info", args)["msg"]


@pytest.mark.usefixtures("no_nodes")
def test_nodes_are_read_in_the_same_call(run_module: Any, args: Json, kubes: dict[str, KubeApi]) -> None:
    servers.create_node(kubes["east"], "vm-1", address="10.0.0.1")
    alone = run_module("nodes_info", {"kube_clusters": args["kube_clusters"], "read_version": False})
    both = run_module("deployment_info", {**args, "nodes": {}})
    assert both["nodes"] == alone["nodes"]
    assert [node["name"] for node in both["nodes"]] == ["vm-1"]
    assert alone["kube_clusters"]["east"]["version"] == ""
    assert (alone["requests"], both["requests"]) == (2, 2 + run_module("deployment_info", args)["requests"])
    assert "nodes" not in run_module("deployment_info", args)


def test_a_pod_that_waits_shows_the_kubelets_words(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    east = kubes["east"]
    create_pod(east, namespace, "east-0", "vm-1")
    pod = east.request_json("GET", f"/api/v1/namespaces/{namespace}/pods/ledger-east-0-0")
    event = {
        "metadata": {"name": "ledger-east-0-0.1", "namespace": namespace},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "hostPath type check failed: /var/lib/hostnet/ledger/east-0-ab is not a directory",
        "lastTimestamp": "2026-11-22T12:00:00Z",
        "involvedObject": {"kind": "Pod", "name": "ledger-east-0-0", "namespace": namespace, "uid": pod["metadata"]["uid"]},
    }
    east.request_json("POST", f"/api/v1/namespaces/{namespace}/events", event)
    (found,) = run_module("deployment_info", args)["kube_clusters"]["east"]["pods"]
    assert found["waiting"] == "FailedMount: hostPath type check failed: /var/lib/hostnet/ledger/east-0-ab is not a directory"


def expectation(member: str, node: str) -> Json:
    return {"kube_cluster": member.partition("-")[0], "member": member, "node": node}


def test_a_wait_ends_at_its_deadline_with_a_line_for_each_member_that_is_missing(
    run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str
) -> None:
    for member, node in (("east-0", "vm-1"), ("east-1", "vm-2")):
        create_pod(kubes["east"], namespace, member, node)
    set_status(kubes["east"], namespace, "east-0")
    set_status(kubes["east"], namespace, "east-1", ready=False, running=False)
    expect = [expectation("east-0", "vm-1"), expectation("east-1", "vm-2"), expectation("west-0", "vm-9")]
    result = run_module("deployment_info", {**args, "expect": expect, "timeout": 2})
    assert result["failed"]
    assert result["msg"].startswith("after 2 seconds 2 of 3 members are not ready: ")
    assert result["missing"] == [
        "kube cluster east: member east-1 on node vm-2: pod ledger-east-1-0 is Pending, not ready (ImagePullBackOff)",
        "kube cluster west: member west-0 on node vm-9: has no pod",
    ]
    assert result["requests"] > 0


def test_a_wait_ends_as_soon_as_the_last_member_is_there(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    def later() -> None:
        create_pod(kubes["west"], namespace, "west-0", "vm-9")
        set_status(kubes["west"], namespace, "west-0", ready=False)
        set_status(kubes["west"], namespace, "west-0", ready=True)

    timer = threading.Timer(3, later)
    timer.start()
    result = run_module("deployment_info", {**args, "expect": [expectation("west-0", "vm-9")], "timeout": 120})
    timer.join()
    assert not result.get("failed"), result
    assert result["kube_clusters"]["west"]["pods"][0]["ready"]
    # The wait is one list and one watch (and perhaps a second one), not polling.
    assert result["requests"] <= 16 + 1 + 4


def test_running_is_less_than_ready(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    create_pod(kubes["east"], namespace, "east-0", "vm-1")
    set_status(kubes["east"], namespace, "east-0", ready=False)
    expect = [expectation("east-0", "vm-1")]
    assert not run_module("deployment_info", {**args, "expect": expect, "condition": "running", "timeout": 300}).get("failed")
    assert run_module("deployment_info", {**args, "expect": expect, "condition": "ready", "timeout": 1})["failed"]


def test_check_mode_does_not_wait_for_what_was_not_created(run_module: Any, args: Json) -> None:
    result = run_module("deployment_info", {**args, "expect": [expectation("east-0", "vm-1")], "timeout": 600}, check=True)
    assert not result.get("failed"), result


def test_waiting_until_members_are_gone(run_module: Any, args: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    create_pod(kubes["east"], namespace, "east-0", "vm-1")
    gone = {**args, "expect": [expectation("east-0", "vm-1")], "condition": "gone", "timeout": 2}
    result = run_module("deployment_info", gone)
    assert result["failed"]
    assert "member east-0 on node vm-1" in result["msg"]
    kubes["east"].request_json("DELETE", f"/api/v1/namespaces/{namespace}/pods/ledger-east-0-0?gracePeriodSeconds=0")
    assert not run_module("deployment_info", gone).get("failed")


def test_a_kube_cluster_that_does_not_answer_is_an_error(run_module: Any, args: Json) -> None:
    gone = {"name": "north", "host": "https://127.0.0.1:9", "api_key": "x"}
    result = run_module("deployment_info", {**args, "kube_clusters": [*args["kube_clusters"], gone]})
    assert result["failed"]
    assert "kube cluster north" in result["msg"]


def test_deployment_info_examples(run_tasks: Any, kube_clusters: list[Json], kubes: dict[str, KubeApi]) -> None:
    from ansible_collections.hostnet.multicluster.plugins.modules import deployment_info

    for kube in kubes.values():
        try:
            kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "ledger"}})
        except urllib.error.HTTPError as error:
            # Another test may have made it.
            if error.code != 409:
                raise
    run = run_tasks(yaml.safe_load(deployment_info.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    assert set(run.of("deployment_info")[0]["kube_clusters"]) == {"east", "west"}


def test_what_is_known_is_renewed_and_says_who_can_be_asked(run_tasks: Any, args: Json, kube_api: KubeApi, namespace: str) -> None:
    hostnet = plans.settings(namespace=namespace, kube_clusters=("east", "west"))
    first, second = plans.admitted(hostnet, plans.spec_of("etcd"), plans.five_nodes())[:2]
    nodes = plans.five_nodes()
    known = {"nodes": nodes, "kube_clusters": {name: plans.nothing() for name in ("east", "west")}, "plan": {"seeds": ["10.0.0.1"]}}
    create_pod(kube_api, namespace, first["member"], first["node"])
    set_status(kube_api, namespace, first["member"])
    module = "hostnet.multicluster.deployment_info"
    about = {"members": "{{ members }}", "hostnet": "{{ hostnet }}"}
    tasks: list[Json] = [
        {module: {**args, "renew": True}, "ignore_errors": True},
        {"ansible.builtin.set_fact": {"hostnet_deployment": known}},
        {module: {**args, "renew": True, "only": ["pods"], **about}, "register": "read"},
        {"ansible.builtin.set_fact": {"hostnet_deployment": "{{ read.deployment }}"}},
        {
            "hostnet.multicluster.member_exec": {
                "kube_clusters": args["kube_clusters"],
                "members": "{{ members }}",
                "commands": {"a": ["x"]},
            }
        },
        {module: {**args, "expect": [{"member": "east-0", "kube_cluster": "east"}]}, "ignore_errors": True},
    ]
    run = run_tasks(tasks, check=True, variables={"hostnet": hostnet, "members": [first, second]})
    assert run.rc == 0, run.output
    unknown, read, unbound = run.of("deployment_info")
    assert (unknown["failed"], unknown["msg"]) == (True, "there is no fact hostnet_deployment: observe the deployment first")
    assert [pod["member"] for pod in read["deployment"]["kube_clusters"]["east"]["pods"]] == [first["member"]]
    assert (read["deployment"]["plan"], read["deployment"]["nodes"]) == (known["plan"], nodes)
    assert [(entry["member"], entry["live"]) for entry in read["members"]] == [(first["member"], True), (second["member"], False)]
    assert [target["pod"] for target in read["targets"]] == [f"ledger-{first['member']}-0"]
    # By the same pods a module finds members whose bindings it is given.
    assert run.of("member_exec")[0]["skipped_members"] == [first["member"]]
    assert unbound["msg"] == "expect: a member has no node; give its binding"
