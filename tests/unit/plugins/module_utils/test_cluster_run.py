# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts on nodes and waits, against a fake API server: what real kubelets do is in tests/integration."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import run, watch
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.kinds import EVENT, POD, Kind
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import Pull, Script

SCRIPT = Script(name="probe", namespace="n", image="image:1", text="true", timeout=600)
# For what comes to nothing however long it is waited for.
HASTY = dataclasses.replace(SCRIPT, timeout=1)


class FakeKubeCluster:
    """Pods in a dict. `kubelet` is called with each new pod and gives the status it will have when it is watched."""

    def __init__(self, kubelet: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None) -> None:
        self.name = "east"
        self.kubelet = kubelet or (lambda _pod: ended(0))
        self.pods: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.deleted: list[tuple[str, int | None]] = []
        self.create_errors: list[KubeError] = []
        self.log_error: KubeError | None = None
        self.delete_error: KubeError | None = None

    def create(self, body: dict[str, Any], unique: bool = True) -> dict[str, Any]:
        assert unique
        if self.create_errors:
            raise self.create_errors.pop(0)
        metadata = {**body["metadata"], "uid": f"uid-{body['metadata']['name']}", "resourceVersion": "1"}
        pod = {**body, "metadata": metadata, "status": {"phase": "Pending"}}
        self.pods[body["metadata"]["name"]] = pod
        return pod

    def list(self, kind: Kind, *_args: Any, **_options: Any) -> tuple[list[dict[str, Any]], str]:
        if kind == POD:
            # Late as the question may be: what the kubelet has said by then is there.
            for pod in self.pods.values():
                if "spec" in pod and (said := self.kubelet(pod)):
                    pod["status"] = said
        return (list(self.pods.values()) if kind == POD else self.events if kind == EVENT else []), "1"

    def watch(self, _kind: Kind, deadline: float, *_args: Any, **_options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for pod in list(self.pods.values()):
            status = self.kubelet(pod)
            if status is None:
                del self.pods[pod["metadata"]["name"]]
                yield "DELETED", pod
            else:
                pod["status"] = status
                yield "MODIFIED", pod
        yield "MODIFIED", {"metadata": {"name": "somebody-else", "uid": "else", "resourceVersion": "2"}}
        time.sleep(max(0.0, min(0.2, deadline - time.monotonic())))

    def delete(self, _kind: Kind, name: str, _namespace: str, uid: str, grace_seconds: int | None = None) -> bool:
        if self.delete_error:
            raise self.delete_error
        if name not in self.pods:
            return False
        assert self.pods[name]["metadata"]["uid"] == uid
        del self.pods[name]
        self.deleted.append((name, grace_seconds))
        return True

    def pod_log(self, name: str, _namespace: str, _container: str, _limit: int) -> str:
        if self.log_error:
            raise self.log_error
        return f"log of {name.split('-', maxsplit=1)[0]}"


def ended(code: int) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "message": "said"}}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"state": state}]}


def go(cluster: FakeKubeCluster, *nodes: str, script: Script = SCRIPT) -> run.Outcome:
    targets = [run.Target("east", node, {"NODE": node}) for node in nodes]
    return run.run_on_nodes({"east": cluster, "unused": FakeKubeCluster()}, targets, script)  # type: ignore[dict-item]


def test_results_in_the_order_of_the_nodes_and_nothing_left() -> None:
    cluster = FakeKubeCluster(lambda pod: ended(3 if pod["spec"]["containers"][0]["env"][0]["value"] == "b" else 0))
    outcome = go(cluster, "c", "b", "a")
    assert outcome.failures == []
    assert [(result["node"], result["rc"]) for result in outcome.results] == [("c", 0), ("b", 3), ("a", 0)]
    assert outcome.results[0] == {"kube_cluster": "east", "node": "c", "rc": 0, "stdout": "log of probe", "stderr": "said"}
    assert cluster.pods == {}
    assert [grace for _name, grace in cluster.deleted] == [0, 0, 0]


def test_leftovers_go_first() -> None:
    cluster = FakeKubeCluster()
    cluster.create({"metadata": {"name": "old", "namespace": "n"}})
    assert go(cluster, "a").failures == []
    assert cluster.deleted[0] == ("old", None)
    assert len(cluster.deleted) == 2


def test_a_leftover_that_stays_is_an_error() -> None:
    cluster = FakeKubeCluster(lambda _pod: {"phase": "Running"})
    cluster.create({"metadata": {"name": "old", "namespace": "n"}})
    cluster.delete = lambda *_args, **_options: True  # type: ignore[method-assign]
    with pytest.raises(KubeError, match="Pod n/old: an earlier run left it, and it does not go away"):
        go(cluster, "a", script=HASTY)


def test_failures_name_the_node_and_count_the_rest() -> None:
    def kubelet(pod: dict[str, Any]) -> dict[str, Any] | None:
        node = pod["spec"]["containers"][0]["env"][0]["value"]
        if node == "gone":
            return None
        if node == "pull":
            return {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}}],
            }
        return ended(0)

    outcome = go(FakeKubeCluster(kubelet), "good", "pull", "gone")
    assert [result["node"] for result in outcome.results] == ["good"]
    assert outcome.failures == [
        "kube cluster east: node pull: ImagePullBackOff: no image",
        "kube cluster east: node gone: its pod was deleted by another client (another run with the same name?)",
    ]
    assert outcome.failure_text() == outcome.failures[0] + " (and 1 more failed: see failures)"


@pytest.mark.parametrize(
    ("status", "text", "grace"),
    [
        ({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}, "(the pod is running)", None),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "(the pod is waiting: ContainerCreating; FailedMount: not a directory)",
            0,
        ),
        ({"phase": "Pending"}, "(the pod is Pending, its kubelet has not started it: is the node ready?)", None),
    ],
)
def test_the_deadline_tells_what_the_pod_waits_for(status: dict[str, Any], text: str, grace: int | None) -> None:
    cluster = FakeKubeCluster(lambda _pod: status)
    if "FailedMount" in text:
        cluster.events = [
            {"metadata": {}, "reason": "FailedMount", "message": "not a directory", "lastTimestamp": "2"},
            {"metadata": {}, "reason": "Older", "message": "no", "lastTimestamp": "1"},
        ]
    outcome = go(cluster, "a", script=HASTY)
    assert outcome.results == []
    assert outcome.failure_text() == f"kube cluster east: node a: no result after 1 s {text}"
    assert [entry[1] for entry in cluster.deleted] == [grace]


PULLING = dataclasses.replace(SCRIPT, pulls=[Pull("registry.test/db:1")])


def pulling(image: dict[str, Any], code: int | None = 0) -> dict[str, Any]:
    """The status of a pod of PULLING, whose script has ended with `code`, or runs."""
    ran = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
    return {"phase": "Pending", "containerStatuses": [{"name": "run", "state": ran}, {"name": "pull-0", "state": image}]}


def test_images_are_waited_for_as_long_as_a_registry_may_still_give_them() -> None:
    cannot_start = {"terminated": {"exitCode": 128, "reason": "StartError"}}
    refused = {"waiting": {"reason": "ErrImagePull", "message": "429 Too Many Requests"}}
    backed_off = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
    looks = iter([refused, backed_off, refused, cannot_start])
    cluster = FakeKubeCluster(lambda _pod: pulling(next(looks)))
    shown: list[str] = []
    outcome = run.run_on_nodes({"east": cluster}, [run.Target("east", "a")], PULLING, shown.append)  # type: ignore[dict-item]
    assert (outcome.failures, outcome.results[0]["rc"], outcome.results[0]["stdout"]) == ([], 0, "log of probe")
    # Once, and not with each back-off.
    assert shown == ["kube cluster east: node a: image registry.test/db:1 is not there yet: ErrImagePull: 429 Too Many Requests"]
    assert cluster.pods == {}


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            pulling({"waiting": {"reason": "ErrImagePull", "message": "no such host"}}),
            "image registry.test/db:1 was not pulled within 1 s (ErrImagePull: no such host). Make sure ",
        ),
        (
            pulling({"waiting": {"reason": "ContainerCreating"}}),
            "image registry.test/db:1 was not pulled within 1 s (its kubelet says no more). Make sure ",
        ),
        (
            pulling({"waiting": {"reason": "InvalidImageName", "message": "bad"}}),
            "image registry.test/db:1 was not pulled (InvalidImageName: bad). Make sure ",
        ),
        # It is the script that does not come to its end.
        (pulling({"terminated": {"exitCode": 128, "reason": "StartError"}}, None), "no result after 1 s (the pod is running)"),
        (pulling({"waiting": {"reason": "ContainerCreating"}}, None), "no result after 1 s (the pod is running)"),
    ],
)
def test_an_image_that_does_not_come_is_named_with_its_node(status: dict[str, Any], text: str) -> None:
    outcome = go(FakeKubeCluster(lambda _pod: status), "a", script=dataclasses.replace(PULLING, timeout=1))
    assert outcome.results == []
    assert outcome.failure_text().startswith(f"kube cluster east: node a: {text}")


def test_a_script_that_refuses_does_not_wait_for_images() -> None:
    outcome = go(FakeKubeCluster(lambda _pod: pulling({"waiting": {"reason": "ErrImagePull"}}, 5)), "a", script=PULLING)
    assert (outcome.failures, [result["rc"] for result in outcome.results]) == ([], [5])


def test_a_young_namespace_is_tried_again() -> None:
    cluster = FakeKubeCluster()
    cluster.create_errors = [
        KubeError("east", "Pod n/x", 'error looking up service account n/default: serviceaccount "default" not found', 403)
    ] * 2
    assert go(cluster, "a").failures == []


def test_pods_that_are_refused() -> None:
    cluster = FakeKubeCluster()
    cluster.create_errors = [KubeError("east", "Pod n/x", 'violates PodSecurity "restricted"', 403, "Forbidden")]
    outcome = go(cluster, "a", "b")
    assert len(outcome.results) == 1
    assert 'the pod cannot be created: violates PodSecurity "restricted"' in outcome.failures[0]


def test_an_api_server_that_is_away_ends_the_run_and_pods_are_deleted() -> None:
    cluster = FakeKubeCluster()
    created = cluster.create
    seen: list[str] = []

    def create(body: dict[str, Any], unique: bool = True) -> dict[str, Any]:
        assert unique
        seen.append(body["metadata"]["name"])
        if len(seen) == 2:
            raise KubeError("east", "Pod n/x", "no answer")
        return created(body)

    cluster.create = create  # type: ignore[method-assign]
    with pytest.raises(KubeError, match="no answer"):
        go(cluster, "a", "b", "c")
    assert cluster.pods == {}


def test_a_log_that_cannot_be_read() -> None:
    cluster = FakeKubeCluster()
    cluster.log_error = KubeError("east", "log", "kubelet away", 500)
    assert go(cluster, "a").failures == ["kube cluster east: node a: the script ended with 0, and its output cannot be read: kubelet away"]


def test_a_pod_that_cannot_be_deleted_spoils_no_result() -> None:
    cluster = FakeKubeCluster()
    cluster.delete_error = KubeError("east", "Pod", "no", 403)
    assert go(cluster, "a").failures == []


@pytest.mark.parametrize(
    ("error", "lists"),
    [
        # What came after a stream that was cut off or ended early, or whose version is too old, only a LIST tells.
        (KubeError("east", "watch of pods", "reset", passing=True), 2),
        (KubeError("east", "watch of pods", "too old", 410), 2),
        (None, 2),
    ],
)
def test_wait_lists_again_when_the_stream_ends(error: KubeError | None, lists: int) -> None:
    assert lists_of_a_wait(error) == lists


def test_a_wait_goes_on_where_a_stream_ended_that_lived_for_as_long_as_it_was_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "watch_seconds", lambda _deadline: 0)
    assert lists_of_a_wait(None) == 1


def lists_of_a_wait(error: KubeError | None) -> int:
    """How often is listed where the first stream ends with `error`, or as it should."""

    class FakeEndingCluster(FakeKubeCluster):
        asked: ClassVar[list[str]] = []

        def list(self, kind: Kind, *args: Any, **options: Any) -> tuple[list[dict[str, Any]], str]:
            if "watch" in self.asked:
                self.pods["a"]["done"] = True
            self.asked.append("list")
            return super().list(kind, *args, **options)

        def watch(self, *_args: Any, **options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
            self.asked.append("watch")
            if options["resource_version"] == "5":
                yield "MODIFIED", {**self.pods["a"], "done": True}
            yield "BOOKMARK", {"metadata": {"resourceVersion": "5"}}
            if error:
                raise error

    cluster = FakeEndingCluster()
    FakeEndingCluster.asked.clear()
    cluster.create({"metadata": {"name": "a", "namespace": "n"}})
    cluster.create({"metadata": {"name": "other", "namespace": "n"}})

    def settled(_name: str, item: dict[str, Any] | None) -> bool:
        return bool(item and item.get("done"))

    left = watch.wait_until(cluster, POD, "n", ["a"], settled, time.monotonic() + 600)  # type: ignore[arg-type]
    assert left == {}
    return cluster.asked.count("list")


def test_an_api_server_that_does_not_answer_for_a_moment_ends_no_wait() -> None:
    class FakeAwayCluster(FakeKubeCluster):
        errors: ClassVar[list[KubeError]] = []

        def list(self, kind: Kind, *args: Any, **options: Any) -> tuple[list[dict[str, Any]], str]:
            if self.errors:
                raise self.errors.pop(0)
            return super().list(kind, *args, **options)

    cluster = FakeAwayCluster()
    cluster.errors.extend(KubeError("east", "list of pods", "refused", passing=True) for _number in range(2))
    assert watch.wait_gone(cluster, POD, "n", {"a": "u"}, time.monotonic() + 600) == {}  # type: ignore[arg-type]
    cluster.errors.append(KubeError("east", "list of pods", "forbidden", 403))
    with pytest.raises(KubeError, match="forbidden"):
        watch.wait_gone(cluster, POD, "n", {"a": "u"}, time.monotonic() + 600)  # type: ignore[arg-type]
    # It has to be said at the deadline that nobody knows.
    cluster.errors.append(KubeError("east", "list of pods", "refused", passing=True))
    with pytest.raises(KubeError, match="refused"):
        watch.wait_gone(cluster, POD, "n", {"a": "u"}, time.monotonic())  # type: ignore[arg-type]


def test_an_object_that_stops_being_settled_is_waited_for_again() -> None:
    class FakeFlappingCluster(FakeKubeCluster):
        def watch(self, *_args: Any, **_options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
            def pod(name: str, done: bool) -> dict[str, Any]:
                return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "2"}, "done": done}

            yield "MODIFIED", pod("a", True)
            yield "MODIFIED", pod("a", False)
            yield "MODIFIED", pod("b", True)

    cluster = FakeFlappingCluster()
    left = watch.wait_until(  # type: ignore[arg-type]
        cluster, POD, "n", ["a", "b"], lambda _name, item: bool(item and item.get("done")), time.monotonic() + 0.5
    )
    assert left == {"a": None, "b": None}


def test_another_object_of_the_same_name_counts_as_gone() -> None:
    cluster = FakeKubeCluster()
    cluster.create({"metadata": {"name": "a", "namespace": "n"}})
    deadline = time.monotonic() + 0.3
    assert watch.wait_gone(cluster, POD, "n", {"a": "an older uid"}, deadline) == {}  # type: ignore[arg-type]
    assert set(watch.wait_gone(cluster, POD, "n", {"a": "uid-a"}, deadline)) == {"a"}  # type: ignore[arg-type]


def test_a_pod_that_waits_is_there_as_long_as_it_is_needed() -> None:
    cluster = FakeKubeCluster(lambda _pod: {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]})
    with run.pod_on_node(cluster, run.Target("east", "a"), SCRIPT, time.monotonic() + 600) as name:  # type: ignore[arg-type]
        assert list(cluster.pods) == [name]
    assert cluster.pods == {}
    waiting = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}}]}
    cluster = FakeKubeCluster(lambda _pod: waiting)
    with (
        pytest.raises(KubeError, match="no image"),
        run.pod_on_node(cluster, run.Target("east", "a"), SCRIPT, time.monotonic() + 600),  # type: ignore[arg-type]
    ):
        pass
    assert cluster.pods == {}
