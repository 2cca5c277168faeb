# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_run on the nodes of the lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import node_run
from support import plans
from support.in_process import call_module
from support.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[str]:
    with lab.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> list[dict[str, Any]]:
    """All workers of both kube clusters."""
    return [{"kube_cluster": kube, "name": node, "env": {"WHERE": node}} for kube, node in lab.workers()]


@pytest.fixture
def call(lab: Lab, place: str, nodes: list[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
        args = {"kube_clusters": lab.kube_clusters, "namespace": place, "image": lab.image, "nodes": nodes, **options}
        return call_module("node_run", args, check=check)

    return run


def pods(lab: Lab, namespace: str) -> list[str]:
    return [pod.metadata.name for kube in ("east", "west") for pod in lab.core(kube).list_namespaced_pod(namespace).items]


def test_node_run_on_every_node(lab: Lab, place: str, nodes: list[dict[str, Any]], call: Any) -> None:
    result = call(script='echo "hello $WHERE"; hostname; echo warning >&2; test -w /host || echo read-only', host_network=True)
    assert not result.get("failed"), result
    assert [(item["kube_cluster"], item["node"]) for item in result["results"]] == [(node["kube_cluster"], node["name"]) for node in nodes]
    for item in result["results"]:
        # On the host's network the pod has the host's name.
        assert item["stdout"].splitlines() == [f"hello {item['node']}", item["node"], "read-only"]
        assert (item["rc"], item["stderr"]) == (0, "warning\n")
    assert result["changed"] is False
    assert pods(lab, place) == []
    # Per kube cluster a LIST of leftovers, a LIST and a watch; per node a creation, a log and a deletion.
    assert result["requests"] == 2 * 3 + len(nodes) * 3


def test_node_run_check_mode_makes_no_pod(nodes: list[dict[str, Any]], call: Any) -> None:
    for changes in (False, True):
        result = call(script="true", check=True, changes=changes)
        assert (result["changed"], result["results"], result["requests"]) == (changes, [], 0)
        assert [item["node"] for item in result["skipped_nodes"]] == [node["name"] for node in nodes]


def test_node_run_reaches_a_cordoned_node_and_makes_folders(lab: Lab, nodes: list[dict[str, Any]], call: Any) -> None:
    kube, node = nodes[0]["kube_cluster"], nodes[0]["name"]
    folder = f"/var/lib/hostnet-test-{time.monotonic_ns()}"
    script = "set -e; mkdir /host/data; chown 10001:10001 /host/data; stat -c '%u:%g' /host/data"
    lab.core(kube).patch_node(node, {"spec": {"unschedulable": True}})
    try:
        refused = call(script=script, nodes=nodes[:1], host_path=folder)
        done = call(script=script.replace("mkdir", "mkdir -p"), nodes=nodes[:1], host_path=folder, capabilities=["CHOWN"], changes=True)
    finally:
        lab.core(kube).patch_node(node, {"spec": {"unschedulable": None}})
        call(script="rm -r /host/data", nodes=nodes[:1], host_path=folder)
    # Root without the capability is not enough.
    assert refused["msg"].startswith(f"kube cluster {kube}: node {node}: the script ended with exit code 1: ")
    assert "Operation not permitted" in refused["msg"]
    assert (done["changed"], done["results"][0]["stdout"]) == (True, "10001:10001\n")


def test_node_run_exit_codes(nodes: list[dict[str, Any]], call: Any) -> None:
    script = 'echo out; echo "bad $WHERE" >&2; exit 3'
    failed = call(script=script)
    first = f"kube cluster {nodes[0]['kube_cluster']}: node {nodes[0]['name']}: the script ended with exit code 3: bad {nodes[0]['name']}"
    assert failed["msg"] == f"{first} (and {len(nodes) - 1} more failed: see failures)"
    assert len(failed["failures"]) == len(failed["results"]) == len(nodes)
    kept = call(script=script, fail=False)
    assert not kept.get("failed")
    assert {item["rc"] for item in kept["results"]} == {3}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host_path": "/var/lib/not-there", "host_path_type": "Directory", "timeout": 8}, "hostPath type check failed"),
        ({"image": "registry.invalid/none:1", "timeout": 60}, "ImagePullBackOff"),
        ({"image": "NOT AN IMAGE"}, "InvalidImageName"),
        ({"script": "sleep 60", "timeout": 6}, "no result after 6 s (the pod is "),
        ({"script": "tail /dev/zero", "timeout": 60}, "OOMKilled"),
    ],
)
def test_node_run_says_what_is_wrong_and_leaves_nothing(
    lab: Lab, place: str, nodes: list[dict[str, Any]], call: Any, options: dict[str, Any], text: str
) -> None:
    result = call(**{"script": "true", "nodes": nodes[:1], **options})
    assert result["failed"]
    assert result["msg"].startswith(f"kube cluster {nodes[0]['kube_cluster']}: node {nodes[0]['name']}: ")
    # A runtime that is told too late of the kernel's kill has its exit code alone.
    late = text == "OOMKilled" and "exit code 137" in result["msg"]
    assert late or text in result["msg"]
    assert late or result["results"] == []
    deadline = time.monotonic() + 120
    while pods(lab, place) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert pods(lab, place) == []


def test_node_run_pulls_images_of_which_nothing_is_run(lab: Lab, place: str, nodes: list[dict[str, Any]], call: Any) -> None:
    """The systems' images have no shell; they are on the nodes, and come from no registry."""
    images = [{"image": lab.image, "policy": "IfNotPresent"}, {"image": plans.spec_of("etcd")["image"], "policy": "IfNotPresent"}]
    result = call(script="echo done", pull=images)
    assert not result.get("failed"), result
    assert [(item["rc"], item["stdout"]) for item in result["results"]] == [(0, "done\n")] * len(nodes)
    assert pods(lab, place) == []


def test_node_run_asks_a_registry_again_until_its_deadline_and_says_what_it_answers(nodes: list[dict[str, Any]], call: Any) -> None:
    began = time.monotonic()
    result = call(script="true", nodes=nodes[:1], pull=[{"image": "registry.invalid/none:1", "policy": "IfNotPresent"}], timeout=40)
    assert time.monotonic() - began >= 39
    where = f"kube cluster {nodes[0]['kube_cluster']}: node {nodes[0]['name']}: "
    assert result["msg"].startswith(f"{where}image registry.invalid/none:1 was not pulled within 40 s (ErrImagePull: ")
    assert "registry.invalid" in result["msg"].partition("ErrImagePull")[2]
    refused = call(script="exit 3", nodes=nodes[:1], pull=[{"image": "registry.invalid/none:1"}], timeout=120, fail=False)
    assert refused["results"][0]["rc"] == 3


def test_node_run_on_a_node_that_does_not_exist(call: Any, nodes: list[dict[str, Any]]) -> None:
    result = call(script="true", nodes=[{"kube_cluster": "east", "name": "nobody"}, nodes[0]])
    assert result["msg"].startswith("kube cluster east: node nobody: FailedScheduling: ")
    assert [item["node"] for item in result["results"]] == [nodes[0]["name"]]


def test_node_run_removes_what_a_killed_run_left(lab: Lab, place: str, nodes: list[dict[str, Any]], call: Any) -> None:
    labels = {"app.kubernetes.io/managed-by": "hostnet.multicluster", "hostnet.multicluster/run": "hostnet-run"}
    kube = nodes[0]["kube_cluster"]
    for name, more in (("left", labels), ("foreign", {})):
        container = {"name": "run", "image": lab.image, "command": ["sleep", "600"]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "hostNetwork": True}
        lab.core(kube).create_namespaced_pod(place, {"metadata": {"name": name, "labels": more}, "spec": spec})
    try:
        result = call(script="true")
        assert not result.get("failed"), result
        assert pods(lab, place) == ["foreign"]
    finally:
        lab.core(kube).delete_namespaced_pod("foreign", place)


def test_node_run_in_a_namespace_that_forbids_host_paths(lab: Lab, place: str, nodes: list[dict[str, Any]], call: Any) -> None:
    kube = nodes[0]["kube_cluster"]
    label = "pod-security.kubernetes.io/enforce"
    lab.core(kube).patch_namespace(place, {"metadata": {"labels": {label: "baseline"}}})
    try:
        result = call(script="true", nodes=nodes[:1], host_path="/var/lib")
    finally:
        lab.core(kube).patch_namespace(place, {"metadata": {"labels": {label: "privileged"}}})
    assert "the pod cannot be created: " in result["msg"]
    assert 'violates PodSecurity "baseline' in result["msg"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"nodes": [{"kube_cluster": "north", "name": "a"}]},
            "nodes[0].kube_cluster is 'north', which is not in kube_clusters (east, west)",
        ),
        ({"nodes": [{"kube_cluster": "east", "name": "a"}] * 2}, "nodes[1]: node a of kube cluster east is given twice"),
        ({"name": "Not A Label"}, "name 'Not A Label' is not a DNS label"),
        ({"host_path": "var/lib"}, "host_path 'var/lib' must be an absolute path"),
        ({"host_path": "/var/../etc"}, "must be an absolute path without '..'"),
        ({"timeout": 0}, "timeout is 0"),
    ],
)
def test_node_run_bad_input(call: Any, options: dict[str, Any], text: str) -> None:
    result = call(**{"script": "true", **options})
    assert result["failed"]
    assert text in result["msg"]
    assert result["requests"] == 0


def test_node_run_examples(lab: Lab, nodes: list[dict[str, Any]], run_tasks: Any) -> None:
    tasks = yaml.safe_load(node_run.EXAMPLES)
    with lab.namespace() as place:
        for task in tasks:
            # The namespace is the only thing that a reader will not find: two runs of the tests must not meet in it.
            task["hostnet.multicluster.node_run"]["namespace"] = place
        run = run_tasks(tasks, variables={"hostnet_kube_clusters": lab.kube_clusters, "nodes": nodes, "image": lab.image})
        assert run.rc == 0, run.output
        free, made = run.of("node_run")
        assert (free["changed"], made["changed"]) == (False, True)
        assert all("% /host" in item["stdout"] for item in free["results"])
        call_module(
            "node_run",
            {
                "kube_clusters": lab.kube_clusters,
                "namespace": place,
                "image": lab.image,
                "nodes": nodes[:1],
                "script": "rmdir /host/a1b2c3",
                "host_path": "/var/lib/hostnet-example",
            },
        )
