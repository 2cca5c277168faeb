# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module manifests against real API servers."""

from __future__ import annotations

from typing import Any

import pytest


def config_map(name: str, namespace: str, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "test"}, **metadata},
        "data": data or {"key": "value"},
    }


def stateful_set(name: str, namespace: str, **container: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "test"}},
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "containers": [
                        {
                            "name": "main",
                            "image": "example.test/image:1",
                            "env": [{"name": "A", "value": "1"}],
                            "ports": [{"name": "client", "containerPort": 2379, "hostPort": 2379}],
                            "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
                            **container,
                        }
                    ],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }


def wanted(kube_cluster: str, definition: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kube_cluster": kube_cluster, "definition": definition, **more}


def actions(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["kube_cluster"], item["name"], item["action"]) for item in result["objects"]]


def test_manifests_apply_is_idempotent_and_reads_little(run_module: Any, kube_clusters: Any, namespace: str) -> None:
    objects = [wanted(kube, config_map(f"c{i}", namespace)) for kube in ("east", "west") for i in range(5)]
    objects += [wanted(kube, stateful_set("s", namespace)) for kube in ("east", "west")]
    args = {"kube_clusters": kube_clusters, "objects": objects}
    first = run_module("manifests", args)
    assert not first.get("failed"), first
    assert first["changed"]
    assert {item["action"] for item in first["objects"]} == {"created"}
    again = run_module("manifests", args)
    assert not again["changed"], again
    assert {item["action"] for item in again["objects"]} == {"unchanged"}
    # In each kube cluster one LIST of ConfigMaps and one GET of the only StatefulSet.
    assert again["requests"] == 4
    for entry in objects:
        if entry["kube_cluster"] == "east" and entry["definition"]["metadata"]["name"] == "c2":
            entry["definition"]["data"]["key"] = "other"
    third = run_module("manifests", args, diff=True)
    assert [item for item in actions(third) if item[2] != "unchanged"] == [("east", "c2", "changed")]
    assert third["requests"] == 5
    assert [(d["before_header"], d["before"], d["after"]) for d in third["diff"]] == [
        (f"east: ConfigMap {namespace}/c2", "data:\n  key: value\n", "data:\n  key: other\n")
    ]
