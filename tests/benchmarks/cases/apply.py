# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and StatefulSets: the module manifests, kubectl apply --server-side, and kubernetes.core.k8s."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from ..measure import command, kubectl, module, play
from ..table import Findings, Mark, Measured, Row
from .base import Bench, alternate, memory

CASE = "apply"
MOST_PAIRS = 1000
OF_KUBERNETES_CORE = 20
Json = dict[str, Any]
LABELS = {"app.kubernetes.io/name": "ledger", "app.kubernetes.io/managed-by": "benchmark"}
_PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n" + b"MIIB" * 200 + b"\n-----END CERTIFICATE-----\n").decode()


def pair(namespace: str, number: int) -> list[Json]:
    """A Secret and a StatefulSet about as large as those of a member. Without replicas: no controller's work is measured."""
    name = f"ledger-{number:04}"
    metadata = {"name": name, "namespace": namespace, "labels": LABELS}
    mine = {**LABELS, "app.kubernetes.io/instance": name}
    container = {
        "name": "ledger",
        "image": "registry.example/ledger:1.2.3",
        "command": ["/bin/ledger"],
        "args": [f"--name={name}", *(f"--option-{index}=value-{index}" for index in range(12))],
        "env": [{"name": f"VARIABLE_{index}", "value": str(index)} for index in range(6)],
        "ports": [{"name": "client", "containerPort": 2379, "hostPort": 2379}, {"name": "peer", "containerPort": 2380, "hostPort": 2380}],
        "readinessProbe": {"tcpSocket": {"port": 2379}, "periodSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": 2379}, "periodSeconds": 20, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "certs", "mountPath": "/certs", "readOnly": True}, {"name": "data", "mountPath": "/data"}],
    }
    host = {"key": "metadata.name", "operator": "In", "values": [f"vm-{number}"]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [host]}]}}
    pod = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "affinity": {"nodeAffinity": required},
        "tolerations": [{"key": "example.com/ledger", "operator": "Exists"}],
        "containers": [container],
        "volumes": [
            {"name": "certs", "secret": {"secretName": name}},
            {"name": "data", "hostPath": {"path": f"/data/{name}", "type": "Directory"}},
        ],
    }
    spec = {
        "replicas": 0,
        "serviceName": "",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": mine},
        "template": {"metadata": {"labels": mine}, "spec": pod},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {"ca.crt": _PEM, "tls.crt": _PEM, "tls.key": _PEM},
        },
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec},
    ]


def run(bench: Bench) -> Findings:
    pairs = min(bench.world.nodes, MOST_PAIRS)
    findings = Findings(
        [
            Row(CASE, f"apply {pairs} Secrets and {pairs} StatefulSets", "kubectl apply --server-side", 0.35),
            Row(CASE, "apply them again, nothing differs", "kubectl apply --server-side", 0.1),
            Row(CASE, "for each object, first apply", f"kubernetes.core.k8s, one task for {OF_KUBERNETES_CORE} objects"),
        ]
    )
    changed = 0
    for number in range(bench.rounds):
        changed += _round(bench, number, pairs, findings.rows)
        bench.say(f"{CASE}: round {number + 1} of {bench.rounds}")
    findings.marks = [Mark(CASE, "second applies that changed something", changed, 0), memory(CASE, findings)]
    return findings


def _round(bench: Bench, number: int, pairs: int, rows: list[Row]) -> int:
    """One round, in namespaces of its own; returns how many second applies of ours changed something."""
    world = bench.world
    mine, theirs, third = (f"benchmark-{side}-{number}" for side in ("ours", "peer", "core"))
    for namespace in (mine, theirs, third):
        for kube in world.kubes:
            kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def definitions(index: int, namespace: str) -> list[Json]:
        return [definition for one in range(index, pairs, len(world.kubes)) for definition in pair(namespace, one)]

    entries = [
        {"kube_cluster": kube.name, "definition": definition}
        for index, kube in enumerate(world.kubes)
        for definition in definitions(index, mine)
    ]
    files = [_file(world.folder, kube.name, definitions(index, theirs)) for index, kube in enumerate(world.kubes)]
    changes: list[bool] = []

    def ours() -> Measured:
        measured, result = module(world, "manifests", {"kube_clusters": world.entries, "objects": entries})
        changes.append(bool(result["changed"]))
        return measured

    def peer() -> Measured:
        arguments = ("apply", "--server-side", "--force-conflicts", "--filename")
        return command(world, *(kubectl(kube.user, *arguments, str(path)) for kube, path in zip(world.kubes, files, strict=True)))[0]

    first, again, each = rows
    for row in (first, again):
        measured, other = alternate(number, ours, peer)
        row.ours.append(measured)
        row.peer.append(other)
    each.ours.append(dataclasses.replace(first.ours[-1], seconds=first.ours[-1].seconds / len(entries)))
    each.peer.append(_kubernetes_core(bench, third))
    for kube in world.kubes:
        for namespace in (mine, theirs, third):
            for path in (f"/apis/apps/v1/namespaces/{namespace}/statefulsets", f"/api/v1/namespaces/{namespace}/secrets"):
                kube.request_json("DELETE", path)
    return int(changes[1])


def _file(folder: Path, kube_cluster: str, definitions: list[Json]) -> Path:
    path = folder / f"manifests-{kube_cluster}.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions}))
    return path


def _kubernetes_core(bench: Bench, namespace: str) -> Measured:
    """One task that server-side applies a few objects: what its task took for each of them."""
    kube = bench.world.kubes[0]
    definitions = [definition for number in range(OF_KUBERNETES_CORE // 2) for definition in pair(namespace, number)]
    task = {
        "name": "Apply",
        "kubernetes.core.k8s": {
            "kubeconfig": kube.user,
            "definition": definitions,
            "apply": True,
            "server_side_apply": {"field_manager": "benchmark", "force_conflicts": True},
        },
    }
    playbook = bench.world.folder / "kubernetes-core.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    inventory = bench.world.folder / "localhost.yml"
    inventory.write_text(
        yaml.safe_dump(
            {
                "all": {
                    "hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
                }
            }
        )
    )
    measured, tasks = play(bench.world, playbook, inventory, {})
    return dataclasses.replace(measured, seconds=tasks[-1].seconds / len(definitions))
