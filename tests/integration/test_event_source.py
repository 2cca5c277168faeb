# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source of ansible-rulebook against real API servers. tests/rulebook has ansible-rulebook itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import event_source as made
from support.event_source import MERGE, NAME, Running
from support.kube_api import KubeApi, create_node, delete_nodes
from support.rbac import restricted_user

Json = dict[str, Any]
CORDON = {"spec": {"unschedulable": True}}
AUTOSCALER = {"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}}


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> Iterator[list[KubeApi]]:
    both = [kube_api, kube_api_two]
    for kube in both:
        delete_nodes(kube)
    yield both
    # Other files' deployments would find their members here as neighbours.
    for kube in both:
        for kind in ("pods", "configmaps"):
            for item in kube.request_json("GET", f"/api/v1/{kind}")["items"]:
                metadata = item["metadata"]
                if metadata["name"].startswith(f"{NAME}-") and metadata["namespace"].startswith("test-"):
                    path = f"/api/v1/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
                    kube.request_json("DELETE", path, {"gracePeriodSeconds": 0})
    for kube in both:
        delete_nodes(kube)


def node(kube: KubeApi, name: str, change: Json, status: str = "") -> None:
    kube.request_json("PATCH", f"/api/v1/nodes/{name}{status}", change, MERGE)


def is_ready(well: bool) -> Json:
    return {"status": {"conditions": [{"type": "Ready", "status": str(well)}]}}


def test_each_change_is_one_event(kubes: list[KubeApi], namespace: str) -> None:
    """With the rights of docs/rbac.yaml alone, bound for the namespace of the deployment."""
    east, west = kubes
    users = []
    for kube in kubes:
        user = restricted_user(kube, "hostnet-multicluster-nodes")
        restricted_user(kube, "hostnet-multicluster-namespace", namespace=namespace, user=user["kubeconfig"].rpartition("kubeconfig-")[2])
        users.append(user)
    bindings = made.deployment(kubes, namespace)
    # A node of nobody, and another deployment: neither is an event.
    create_node(west, "west-9", address="10.0.9.9", zone="west-b")
    asked = {"kube_clusters": users, "name": NAME, "namespace": namespace, "lasting_seconds": 0, "remind_seconds": 0}
    node(east, "east-0", CORDON)
    with Running(**asked) as source:
        first = source.next()
        assert (first["type"], first["member"], first["sign"], first["level"]) == ("marked", "east-0", "spec.unschedulable", "marked")
        assert {key: first[key] for key in ("deployment", "namespace", "system", "placement", "kube_cluster", "node", "work", "again")} == {
            "deployment": NAME,
            "namespace": namespace,
            "system": "etcd",
            "placement": "node_name",
            "kube_cluster": "east",
            "node": "east-0",
            "work": "replace",
            "again": False,
        }
        # A kubelet's reports change a Node all the time, and are no event.
        for number in range(3):
            node(east, "east-0", {"metadata": {"annotations": {"kubelet": str(number)}}})
        node(east, "east-0", AUTOSCALER)
        second = source.next()
        assert (second["sign"], second["level"]) == ("ToBeDeletedByClusterAutoscaler", "going")
        node(east, "east-0", {"spec": {"taints": None, "unschedulable": None}})
        assert source.some(2) == [("unmarked", "east-0")] * 2
        node(west, "west-1", is_ready(False), "/status")
        made.ready(west, namespace, "west-1", False)
        assert source.some(2) == [("member_not_ready", "west-1"), ("not_ready", "west-1")]
        node(west, "west-1", is_ready(True), "/status")
        made.ready(west, namespace, "west-1", True)
        assert source.some(2) == [("member_ready", "west-1"), ("ready", "west-1")]
        west.request_json("DELETE", "/api/v1/nodes/west-1")
        assert source.some(1) == [("gone", "west-1")]
        # One in another zone is none for it.
        create_node(west, "west-8", address="10.0.9.8", zone="west-c")
        new = create_node(west, "west-2", address="10.0.9.2", zone="west-a")
        assert source.some(1) == [("back", "west-1")]
        assert "node west-2 could take its place" in source.events[-1]["text"]
    # What is there is told once after a start.
    with Running(**asked) as again:
        assert again.some(2) == [("back", "west-1"), ("gone", "west-1")]
        # Dates of certificates are read when the records change.
        made.secret(west, namespace, "west-0", "2020-01-01T00:00:00Z")
        place = {"node": "west-2", "node_uid": new["metadata"]["uid"], "address": "10.0.9.2"}
        made.record(kubes, namespace, [{**entry, **place} if entry["member"] == "west-1" else entry for entry in bindings])
        assert again.some(2) == [("certificate_about_to_expire", "west-0"), ("repaired", "west-1")]
    told = json.dumps(source.events + again.events)
    assert "made-up-secret" not in told
    assert {event["again"] for event in source.events + again.events} == {False}


def test_a_kube_cluster_that_does_not_answer_is_an_event(kubes: list[KubeApi], namespace: str) -> None:
    """All deployments of a namespace; and nobody's secrets in any event."""
    east, west = kubes
    made.deployment(kubes, namespace)
    secrets = {"api_key": "t0p-secret", "proxy": "http://me:pass-word@127.0.0.1:1"}
    entries = [
        east.entry,
        {**west.entry, "request_timeout": 4},
        {"name": "north", "host": "https://127.0.0.1:1", **secrets, "request_timeout": 1},
    ]
    west.pause()
    try:
        # Of what the rulebook's user has not set, the option is empty.
        asked = {"kube_clusters": entries, "namespace": namespace, "lasting_seconds": 0, "remind_seconds": 0, "name": "", "kubeconfig": ""}
        with Running(**asked) as source:
            silent = {event["kube_cluster"]: event for event in (source.next(), source.next())}
            assert {name: event["type"] for name, event in silent.items()} == {"north": "unreachable", "west": "unreachable"}
            assert all("no answer from https://127.0.0.1" in event["text"] for event in silent.values())
            east.request_json("DELETE", "/api/v1/nodes/east-1")
            gone = source.next()
            assert (gone["type"], gone["member"]) == ("gone", "east-1")
            west.resume()
            back = source.next()
            assert (back["type"], back["kube_cluster"]) == ("reachable", "west")
            assert "t0p-secret" not in json.dumps(source.events)
            assert "pass-word" not in json.dumps(source.events)
    finally:
        west.resume()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "kube_clusters is not named"),
        ({"kube_clusters": [{"name": "x", "contxt": "y"}]}, "unknown option"),
        ({"kube_clusters": [{"name": "x", "kubeconfig": "/nowhere/config"}]}, "/nowhere/config"),
        (
            {"kube_clusters": [{"name": "x", "host": "https://x"}], "node_selector": "a=b=c"},
            "node_selector: 'a=b=c' is no label requirement",
        ),
        (
            {"kube_clusters": [{"name": "x", "host": "https://x"}], "lasting_seconds": -1},
            "lasting_seconds is -1.0, and must not be negative",
        ),
        ({"kube_clusters": [{"name": "x", "host": "https://x"}], "namespace": "<class>"}, "namespace is '<class>', which is no DNS label"),
        ({"kube_clusters": [{"name": "x", "host": "https://x"}], "lasting": 1}, "lasting. Supported parameters include"),
    ],
)
def test_options_that_cannot_be_right_end_the_source(wrong: Json, said: str) -> None:
    with Running(**wrong) as source, pytest.raises(ValueError, match=r"^hostnet\.multicluster\.nodes: ") as error:
        source.next()
    assert said in str(error.value)
