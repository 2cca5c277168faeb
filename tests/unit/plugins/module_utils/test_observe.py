# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One reading of a deployment, without an API server: what is asked, and what is made of the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds, observe
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats_nkeys
from support import plans

Json = dict[str, Any]

IDENTITY = plans.identity(["east-0", "east-1"])
BINDINGS = plans.admitted(plans.settings(), plans.spec_of("etcd"), plans.five_nodes())[:2]
JOIN = {"seeds": "10.0.0.1", "HOSTNET_STATE": "existing", "HOSTNET_TOKEN": "t"}


def pod(name: str = "ledger-east-0-0", *, member: str = "east-0", node: str = "vm-1", ready: bool = True, **status: Any) -> Json:
    state: Json = (
        {"running": {"startedAt": "2026-11-22T12:00:00Z"}} if ready else {"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}
    )
    labels = {names.DEPLOYMENT_LABEL: "ledger", "controller-revision-hash": "r1"}
    if member:
        labels[names.MEMBER_LABEL] = member
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "etcd", "image": "example.test/etcd:1"}]},
        "status": {
            "phase": "Running" if ready else "Pending",
            "hostIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "etcd", "restartCount": 2, "state": state}],
            **status,
        },
    }


class FakeCluster:
    """Answers from dictionaries and remembers what was asked."""

    def __init__(self, name: str = "east", **lists: list[Json]) -> None:
        self.name = name
        self.clock_ahead: float | None = None
        self.namespace: Json | None = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Active"}}
        self.lists = lists
        # Whose the workloads are; one with labels of its own says so itself.
        for item in (*lists.get("statefulsets", ()), *lists.get("daemonsets", ())):
            item["metadata"].setdefault("labels", {}).setdefault(names.DEPLOYMENT_LABEL, "ledger")
        self.secrets: list[Json] = []
        self.asked: list[tuple[str, Any]] = []
        self.streams: list[list[tuple[str, Json]]] = []

    def get(self, kind: kinds.Kind, name: str, namespace: str | None = None) -> Json | None:
        self.asked.append((kind.name, name))
        return self.namespace

    def list(
        self, kind: kinds.Kind, namespace: str | None = None, label_selector: str | None = None, field_selector: str | None = None
    ) -> tuple[list[Json], str]:
        self.asked.append((kind.name, label_selector or field_selector))
        return [{**item, "kind": kind.name} for item in self.lists.get(kind.plural, [])], "7"

    def request(self, method: str, path: str, what: str, **options: Any) -> Json:
        self.asked.append(("Secret", options["accept"]))
        return {"items": self.secrets}

    def watch(
        self, kind: kinds.Kind, deadline: float, namespace: str, label_selector: str, field_selector: str | None, resource_version: str = ""
    ) -> Iterator[tuple[str, Json]]:
        self.asked.append(("watch", resource_version))
        for event, item in self.streams.pop(0) if self.streams else []:
            yield event, {**item, "metadata": {**item["metadata"], "resourceVersion": "8"}}


def as_clusters(*clusters: FakeCluster) -> dict[str, KubeCluster]:
    return {cluster.name: cluster for cluster in clusters}  # type: ignore[misc]


def test_without_the_namespace_nothing_else_is_asked() -> None:
    cluster = FakeCluster()
    cluster.namespace = None
    found = observe.observe(as_clusters(cluster), "ledger", "bank")
    assert sorted(cluster.asked) == [("Namespace", "bank"), ("Namespace", "kube-system")]
    assert found["east"]["namespace"] is None
    assert found["east"]["members"] == found["east"]["pods"] == []


def test_one_list_for_each_kind_whatever_the_number_of_members() -> None:
    for members in (1, 50):
        cluster = FakeCluster(pods=[pod(f"ledger-east-{number}-0", member=f"east-{number}") for number in range(members)])
        observe.observe(as_clusters(cluster), "ledger", "bank")
        assert sorted(cluster.asked) == sorted(
            [("Namespace", "bank"), ("Namespace", "kube-system")]
            + [(kind, "hostnet.multicluster/deployment=ledger") for kind in ("ConfigMap", "Pod", "Deployment")]
            + [("StatefulSet", None), ("DaemonSet", None)]
            + [("Secret", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")]
        )


def test_invariant_14_secrets_are_asked_for_without_their_data() -> None:
    cluster = FakeCluster()
    cluster.secrets = [
        {
            "metadata": {
                "name": "ledger-east-0",
                "annotations": {names.CERTIFICATES_ANNOTATION: '{"east-0": {"server": {"serial": "1f", "not_after": "2027"}}}'},
            }
        },
        {"metadata": {"name": "other"}},
        {"metadata": {"name": "edited", "annotations": {names.CERTIFICATES_ANNOTATION: "{"}}},
    ]
    found = observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["secrets"]
    assert found == [
        {"name": "ledger-east-0", "certificates": {"east-0": {"server": {"serial": "1f", "not_after": "2027"}}}},
        {"name": "other", "certificates": {}},
        {"name": "edited", "certificates": {}},
    ]
    assert [accept for kind, accept in cluster.asked if kind == "Secret"] == [
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    ]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 99, "generation": 1, "sequence": 1}', '{"schema": 1, "generation": 1, "sequence": 1}']
)
def test_a_journal_that_cannot_be_read_is_an_error_that_says_what_to_do(text: str) -> None:
    metadata = {"name": "ledger-rollout", "namespace": "bank"}
    cluster = FakeCluster(configmaps=[{"metadata": metadata, "data": {"journal": text}}])
    with pytest.raises(KubeError) as raised:
        observe.observe(as_clusters(cluster), "ledger", "bank")
    assert str(raised.value).startswith("kube cluster east: ConfigMap bank/ledger-rollout: its journal cannot be read: ")
    assert "delete the ConfigMap there" in str(raised.value)
    assert not raised.value.unreachable, "the API server did answer"


@pytest.mark.parametrize(
    ("object_name", "data", "said"),
    [
        ("ledger-identity", {"token": "t"}, "key system is missing"),
        ("ledger-members", {"east-0": "{"}, "key east-0 is no JSON"),
    ],
)
def test_a_record_that_was_edited_is_an_error_that_says_what_to_do(object_name: str, data: Json, said: str) -> None:
    cluster = FakeCluster(configmaps=[{"metadata": {"name": object_name}, "data": data}])
    with pytest.raises(KubeError) as raised:
        observe.observe(as_clusters(cluster), "ledger", "bank")
    assert str(raised.value).startswith(f"kube cluster east: ConfigMap bank/{object_name}: {said}. Somebody edited it: restore it")
    assert not raised.value.unreachable, "the API server did answer"


def test_the_journal() -> None:
    document = {"schema": 1, "generation": 3, "sequence": 4, "run_id": "r", "state": "in_flight", "done": [], "steps": []}
    metadata = {"name": "ledger-rollout", "namespace": "bank"}
    for data, expected in (({"journal": json.dumps(document)}, document), ({}, None)):
        cluster = FakeCluster(configmaps=[{"metadata": metadata, "data": data}])
        assert observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["rollout"] == expected


def test_records_bindings_and_workloads() -> None:
    def config_map(name: str, data: Json | None) -> Json:
        return {"metadata": {"name": name}, **({"data": data} if data is not None else {})}

    template = {
        "spec": {
            "containers": [{"image": "example.test/etcd:1", "env": [{"name": "HOSTNET_ADDRESS", "value": "10.0.0.1"}]}],
            "volumes": [{"name": "data", "hostPath": {"path": "/data/ledger/east-0-1f"}}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["vm-1"]}]}]
                    }
                }
            },
        }
    }
    cluster = FakeCluster(
        configmaps=[
            config_map("ledger-identity", IDENTITY),
            config_map("ledger-cluster-id", {"cluster_id": "c", "token": "t"}),
            config_map("ledger-members", {entry["member"]: json.dumps(entry) for entry in BINDINGS}),
            config_map("ledger-join", JOIN),
            config_map("ledger-config", {"x": "y"}),
        ],
        statefulsets=[
            {
                "metadata": {
                    "name": "ledger-east-0",
                    "labels": {names.MEMBER_LABEL: "east-0"},
                    "annotations": {names.TOKEN_ANNOTATION: "t", names.CA_ANNOTATION: "ab"},
                },
                "spec": {"template": template},
                "status": {"updateRevision": "r9"},
            }
        ],
        daemonsets=[
            {
                "metadata": {"name": "ledger", "generation": 3},
                "spec": {"template": {"spec": {"containers": [{"image": "example.test/etcd:1"}]}}},
            }
        ],
    )
    found = observe.observe(as_clusters(cluster), "ledger", "bank")["east"]
    assert found["namespace"] == {"labels": {"a": "b"}, "phase": "Active"}
    assert (found["identity"], found["cluster_record"], found["join"]) == (IDENTITY, {"cluster_id": "c", "token": "t"}, JOIN)
    assert [binding["member"] for binding in found["members"]] == ["east-0", "east-1"]
    assert found["workloads"] == [
        {
            "kind": "StatefulSet",
            "name": "ledger-east-0",
            "member": "east-0",
            "token": "t",
            "ca_fingerprint": "ab",
            "trust": "",
            "image": "example.test/etcd:1",
            "configuration": "",
            "node": "vm-1",
            "address": "10.0.0.1",
            "data_path": "/data/ledger/east-0-1f",
            "revision": "r9",
            "waiting": "",
        },
        {
            "kind": "DaemonSet",
            "name": "ledger",
            "member": "",
            "token": "",
            "ca_fingerprint": "",
            "trust": "",
            "image": "example.test/etcd:1",
            "configuration": "",
            "node": "",
            "address": "",
            "data_path": "",
            "revision": "3",
            "waiting": "",
        },
    ]


def test_a_kube_cluster_that_does_not_answer_is_an_error_not_an_empty_one() -> None:
    class Silent(FakeCluster):
        def get(self, kind: kinds.Kind, name: str, namespace: str | None = None) -> Json | None:
            raise KubeError(self.name, "namespace bank", "no answer")

    with pytest.raises(KubeError, match="kube cluster west: namespace bank: no answer") as caught:
        observe.observe(as_clusters(FakeCluster(), Silent("west")), "ledger", "bank")
    assert caught.value.unreachable


def test_summary_of_a_pod_that_runs() -> None:
    assert observe.pod_summary(pod()) == {
        "name": "ledger-east-0-0",
        "uid": "uid-ledger-east-0-0",
        "member": "east-0",
        "node": "vm-1",
        "phase": "Running",
        "running": True,
        "ready": True,
        "started_at": "2026-11-22T12:00:00Z",
        "restarts": 2,
        "terminating": False,
        "host_ip": "10.0.0.1",
        "image": "example.test/etcd:1",
        "configuration": "",
        "revision": "r1",
        "waiting": "",
    }


def test_summaries_of_pods_that_do_not_run() -> None:
    waiting = observe.pod_summary(pod(ready=False))
    assert (waiting["running"], waiting["ready"], waiting["waiting"], waiting["started_at"]) == (False, False, "CrashLoopBackOff: x", "")
    ended = pod(ready=False, containerStatuses=[{"state": {"terminated": {"reason": "Error"}}}])
    assert observe.pod_summary(ended)["waiting"] == "Error"
    nowhere = pod(ready=False, containerStatuses=None, conditions=[{"type": "PodScheduled", "status": "False", "message": "cordoned"}])
    del nowhere["spec"]["nodeName"]
    summary = observe.pod_summary(nowhere)
    assert (summary["waiting"], summary["node"], summary["running"]) == ("Unschedulable: cordoned", "", False)
    ending = pod()
    ending["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert observe.pod_summary(ending)["terminating"]
    bare = pod()
    bare["metadata"]["labels"] = {"pod-template-generation": "4"}
    del bare["status"]
    summary = observe.pod_summary(bare)
    assert (summary["phase"], summary["member"], summary["revision"]) == ("Unknown", "", "4")


def test_a_pod_that_waits_shows_its_newest_warning_event() -> None:
    def event(uid: str, message: str, when: str) -> Json:
        return {"involvedObject": {"uid": uid}, "reason": "FailedMount", "message": message, "lastTimestamp": when}

    stuck = pod(ready=False, containerStatuses=[])
    cluster = FakeCluster(
        pods=[stuck, pod("ledger-east-1-0", member="east-1")],
        events=[
            event("uid-ledger-east-0-0", "is not a directory", "2026-11-22T12:00:05Z"),
            event("uid-ledger-east-0-0", "older", "2026-11-22T12:00:01Z"),
            event("uid-of-another", "nothing to us", "2026-11-22T12:00:09Z"),
        ],
    )
    found = observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["pods"]
    assert found[0]["waiting"] == "FailedMount: is not a directory"
    assert found[1]["waiting"] == ""
    assert [asked for asked in cluster.asked if asked[0] == "Event"] == [("Event", "type=Warning,involvedObject.kind=Pod")]


def test_pod_of_a_member_is_found_by_label_then_by_node() -> None:
    by_label = observe.pod_summary(pod())
    by_node = observe.pod_summary(pod("ledger-x", member="", node="vm-2"))
    assert observe.pod_of([by_label, by_node], "east-0", "vm-9") == by_label
    assert observe.pod_of([by_label, by_node], "east-1", "vm-2") == by_node
    assert observe.pod_of([by_label, by_node], "east-1", "vm-1") is None, "the pod on vm-1 is another member's"
    assert observe.pod_of([observe.pod_summary(pod(member="", node=""))], "east-0", "") is None
    old = {**by_label, "name": "a-old", "terminating": True}
    assert observe.pod_of([old, by_label], "east-0", "vm-1") == by_label


EXPECTED = [{"kube_cluster": "east", "member": "east-0", "node": "vm-1"}]


def wait(cluster: FakeCluster, condition: str = "ready", seconds: float = 0.05) -> list[str]:
    return observe.wait_for_members(as_clusters(cluster), "ledger", "bank", EXPECTED, condition, seconds)[0]


def test_waiting_for_what_is_there_already_needs_one_list() -> None:
    cluster = FakeCluster(pods=[pod()])
    assert wait(cluster) == []
    assert [kind for kind, _name in cluster.asked] == ["Pod"]


def test_a_kube_cluster_without_expected_members_is_not_asked() -> None:
    east, west = FakeCluster(pods=[pod()]), FakeCluster("west")
    assert observe.wait_for_members(as_clusters(east, west), "ledger", "bank", EXPECTED, "ready", 1) == ([], [])
    assert west.asked == []


def test_the_watch_goes_on_from_the_list() -> None:
    cluster = FakeCluster(pods=[])
    cluster.streams = [[("ADDED", pod(ready=False)), ("MODIFIED", pod()), ("ADDED", pod("never read"))]]
    assert wait(cluster, seconds=600) == []
    assert cluster.asked[1] == ("watch", "7")


@pytest.mark.parametrize("condition", ["running", "ready"])
def test_at_the_deadline_each_member_that_is_missing_has_a_line(condition: str) -> None:
    assert wait(FakeCluster(), condition) == ["kube cluster east: member east-0 on node vm-1: has no pod"]
    lines = wait(FakeCluster(pods=[pod(ready=False)]), condition)
    assert lines == [
        f"kube cluster east: member east-0 on node vm-1: pod ledger-east-0-0 is Pending, not {condition} (CrashLoopBackOff: x)"
    ]
    assert wait(FakeCluster(pods=[pod(ready=False, containerStatuses=[])]), condition)[0].endswith(f"is Pending, not {condition}")


def test_a_deadline_in_the_past_still_looks_once() -> None:
    cluster = FakeCluster()
    assert wait(cluster, seconds=-1)
    assert [kind for kind, _name in cluster.asked] == ["Pod", "Event"]
    assert wait(FakeCluster(pods=[pod()]), seconds=-1) == []


def test_a_pod_that_goes_away_counts_no_more() -> None:
    cluster = FakeCluster(pods=[pod(ready=False)])
    cluster.streams = [[("DELETED", pod()), ("DELETED", pod("unknown"))]]
    assert wait(cluster, "gone", 600) == []
    assert [kind for kind, _name in cluster.asked] == ["Pod", "watch"]


def test_waiting_until_members_are_gone() -> None:
    assert wait(FakeCluster(), "gone") == []
    assert "pod ledger-east-0-0 is Running, not gone" in wait(FakeCluster(pods=[pod()]), "gone")[0]


def test_a_pod_that_ends_is_not_ready() -> None:
    ending = pod()
    ending["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert len(wait(FakeCluster(pods=[ending]))) == 1


@pytest.mark.parametrize(
    ("nodes", "is_lost"), [([], True), ([{"metadata": {"name": "vm-2", "labels": {}}}], True), ([{"metadata": {"name": "vm-1"}}], False)]
)
def test_a_wait_ends_where_the_node_is_gone(monkeypatch: pytest.MonkeyPatch, nodes: list[Json], is_lost: bool) -> None:
    monkeypatch.setattr(observe, "_LOOK_AT_NODES_SECONDS", 0.01)
    cluster = FakeCluster(nodes=nodes)
    began = time.monotonic()
    missing, lost = observe.wait_for_members(as_clusters(cluster), "ledger", "bank", EXPECTED, "ready", 600 if is_lost else 0.1)
    assert lost == (["east-0"] if is_lost else [])
    assert missing == [f"kube cluster east: member east-0 on node vm-1: has no pod{'; its VM is gone' if is_lost else ''}"]
    assert time.monotonic() - began < 300
    # Twice in a row: a Node object that somebody has deleted is made anew.
    assert sum(kind == "Node" for kind, _name in cluster.asked) >= (2 if is_lost else 1)


def test_nobody_is_lost_where_the_api_server_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(FakeCluster):
        def list(self, kind: kinds.Kind, *words: Any, **more: Any) -> tuple[list[Json], str]:
            if kind is kinds.NODE:
                raise KubeError(self.name, "nodes", "no answer")
            return super().list(kind, *words, **more)

    monkeypatch.setattr(observe, "_LOOK_AT_NODES_SECONDS", 0.01)
    assert observe.wait_for_members(as_clusters(Silent()), "ledger", "bank", EXPECTED, "ready", 0.2)[1] == []


QUOTA = 'create Pod ledger-east-0-0 in StatefulSet ledger-east-0 failed error: pods "ledger-east-0-0" is forbidden: exceeded quota: few'


def refused(name: str, message: str, when: str) -> Json:
    return {"involvedObject": {"name": name}, "reason": "FailedCreate", "message": message, "lastTimestamp": when}


def test_a_pod_that_was_never_created_is_explained_by_its_workload() -> None:
    template = {"spec": {"containers": [{"image": "example.test/etcd:1"}]}}

    def stateful_set(member: str, replicas: int = 1) -> Json:
        labels = {names.MEMBER_LABEL: member}
        return {"metadata": {"name": f"ledger-{member}", "labels": labels}, "spec": {"replicas": replicas, "template": template}}

    cluster = FakeCluster(
        statefulsets=[stateful_set("east-0"), stateful_set("east-1"), stateful_set("east-2", 0)],
        pods=[pod("ledger-east-1-0", member="east-1")],
        events=[
            refused("ledger-east-0", "older", "2026-11-22T12:00:01Z"),
            refused("ledger-east-0", QUOTA, "2026-11-22T12:00:05Z"),
            refused("ledger-east-1", "it has a pod by now", "2026-11-22T12:00:05Z"),
            refused("ledger-east-2", "nobody wants one of it", "2026-11-22T12:00:05Z"),
        ],
    )
    found = observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["workloads"]
    assert [entry["waiting"] for entry in found] == [f"FailedCreate: {QUOTA}", "", ""]
    assert [asked for asked in cluster.asked if asked[0] == "Event"] == [("Event", "type=Warning,reason=FailedCreate")]
    assert wait(cluster) == [f"kube cluster east: member east-0 on node vm-1: has no pod (FailedCreate: {QUOTA})"]


@pytest.mark.parametrize(("there", "waiting"), [(1, "FailedCreate: no class"), (2, "")])
def test_a_daemon_set_that_lacks_a_pod_is_explained(there: int, waiting: str) -> None:
    template = {"spec": {"containers": [{"image": "example.test/etcd:1"}]}}
    status = {"desiredNumberScheduled": 2, "currentNumberScheduled": there}
    cluster = FakeCluster(
        daemonsets=[{"metadata": {"name": "ledger"}, "spec": {"template": template}, "status": status}],
        events=[refused("ledger", "no class", "2026-11-22T12:00:05Z"), refused("another", "x", "2026-11-22T12:00:06Z")],
    )
    assert observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["workloads"][0]["waiting"] == waiting
    assert wait(cluster)[0].endswith("has no pod (FailedCreate: no class)")


def test_events_that_may_not_be_read_hide_nothing() -> None:
    class Mute(FakeCluster):
        def list(self, kind: kinds.Kind, *args: Any, **options: Any) -> tuple[list[Json], str]:
            if kind == kinds.EVENT:
                raise KubeError(self.name, "events", "forbidden", 403)
            return super().list(kind, *args, **options)

    assert wait(Mute()) == ["kube cluster east: member east-0 on node vm-1: has no pod"]


@pytest.mark.parametrize(("ahead", "told"), [(None, 0), (0.9, 0), (-10.0, 0), (11.4, 11), (-7200.2, -7200)])
def test_how_far_the_controllers_clock_is_from_the_api_servers(ahead: float | None, told: int) -> None:
    cluster = FakeCluster()
    cluster.clock_ahead = ahead
    assert observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["clock_ahead"] == told
    cluster.namespace = None
    assert observe.observe(as_clusters(cluster), "ledger", "bank")["east"]["clock_ahead"] == told


def test_the_public_keys_of_nats_users_come_from_the_configuration_in_force() -> None:
    public = nats_nkeys.public_nkey(bytes(32))
    config = {"metadata": {"name": "ledger-config"}, "data": {"nats.conf": f'users: [ {{ nkey: "{public}" }} ]'}}
    assert observe.observe(as_clusters(FakeCluster(configmaps=[config])), "ledger", "bank")["east"]["nkeys"] == [public]
    assert observe.observe(as_clusters(FakeCluster()), "ledger", "bank")["east"]["nkeys"] == []
    found = {"east": plans.nothing(identity=IDENTITY, nkeys=[public]), "west": plans.nothing(identity=IDENTITY, nkeys=[public])}
    assert deployment.deployment_plan(plans.settings(), plans.spec_of("nats"), [], found)["nkeys"] == [public]
