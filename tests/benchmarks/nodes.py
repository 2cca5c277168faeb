# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_labels and nodes_info with many nodes in a real API server, beside kubectl doing the same in the same run.

Usage: python tests/benchmarks/nodes.py [--nodes 1000]

Seconds depend on the machine and on what else it does, so none is judged: read the ratio to kubectl. The exit code is 1
where a module process took more than 200 MB, sent another number of requests than it promises, or failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.collection import collections_path
from support.kube_api import KubeApi, binary

sys.path.insert(0, str(collections_path()))
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, in_parallel

Json = dict[str, Any]
MODULES = "ansible_collections.hostnet.multicluster.plugins.modules"
KEY = "example.com/ledger"
MOST_MEGABYTES = 200
PAGE = 500
# What a kubelet reports on a node that has been in use for a while.
IMAGES = [
    {
        "names": [f"registry.example/team/service-{number}@sha256:{'0' * 64}", f"registry.example/team/service-{number}:1.{number}"],
        "sizeBytes": number,
    }
    for number in range(1, 51)
]


@dataclass(frozen=True)
class Measured:
    seconds: float
    megabytes: float
    output: str


def measure(command: list[str]) -> Measured:
    """Runs one process and tells its wall time and its largest resident set (never below this process' own, where it is forked from)."""
    environment = {**os.environ, "PYTHONPATH": str(collections_path())}
    with tempfile.TemporaryFile("w+") as output:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}:\n{text[-2000:]}")
    return Measured(seconds, usage.ru_maxrss / 1024, text)


def run_module(name: str, args: Json) -> tuple[Json, Measured]:
    """Runs a module as Ansible does in the end: a Python process that reads its arguments and prints JSON."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as source:
        json.dump({"ANSIBLE_MODULE_ARGS": args}, source)
        source.flush()
        measured = measure([sys.executable, "-m", f"{MODULES}.{name}", source.name])
    result: Json = json.loads(measured.output.strip().splitlines()[-1])
    return result, measured


def create_nodes(cluster: KubeCluster, count: int) -> None:
    def create(number: int) -> None:
        name = f"vm-{number:05}"
        labels = {f"example.com/label-{index}": f"value-{index}" for index in range(15)}
        labels |= {"topology.kubernetes.io/region": "east", "topology.kubernetes.io/zone": f"east-{number % 3}"}
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        status = {
            "addresses": [{"type": "InternalIP", "address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}],
            "images": IMAGES,
        }
        path = kinds.NODE.path(name=name) + "/status"
        cluster.request("PATCH", path, f"status of {name}", body={"status": status}, content_type="application/merge-patch+json")

    in_parallel(create, range(1, count + 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    count: int = parser.parse_args().nodes
    kubectl = [str(binary("kubectl"))]
    kube = KubeApi("east")
    failures: list[str] = []
    print(f"{count} nodes in one API server on {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)
    try:
        kube.start()
        kube.wait()
        kubectl += ["--kubeconfig", kube.kubeconfig]
        begun = time.monotonic()
        create_nodes(KubeCluster(kube.entry), count)
        size = len(json.dumps(kube.request_json("GET", "/api/v1/nodes/vm-00001"))) / 1024
        print(f"created in {time.monotonic() - begun:.1f} s, {size:.0f} KB each", flush=True)
        pages = -(-count // PAGE)
        nodes = [{"kube_cluster": "east", "name": f"vm-{number:05}", "labels": {KEY: f"east-{number}"}} for number in range(1, count + 1)]
        labels: Json = {"kube_clusters": [kube.entry], "owned": [KEY]}

        def row(what: str, expected: int, result: Json, measured: Measured, peer: Measured) -> None:
            times = f"{measured.seconds:8.1f} {peer.seconds:8.1f} {measured.seconds / peer.seconds:6.2f}"
            print(f"{what:42} {result['requests']:8} {times} {measured.megabytes:8.0f} {peer.megabytes:8.0f}", flush=True)
            if result["requests"] != expected:
                failures.append(f"{what}: {result['requests']} requests, not {expected}")
            if measured.megabytes > MOST_MEGABYTES:
                failures.append(f"{what}: {measured.megabytes:.0f} MB, more than {MOST_MEGABYTES}")

        print(f"{'':42} {'requests':>8} {'s':>8} {'kubectl':>8} {'ratio':>6} {'MB':>8} {'kubectl':>8}")
        peer = measure([*kubectl, "label", "nodes", "--all", "--overwrite", "example.com/peer=x"])
        result, measured = run_module("node_labels", {**labels, "nodes": nodes})
        row("node_labels: every node gets a label", pages + count, result, measured, peer)
        peer = measure([*kubectl, "label", "nodes", "--all", "--overwrite", "example.com/peer=x"])
        result, measured = run_module("node_labels", {**labels, "nodes": nodes})
        row("node_labels: nothing to do", pages, result, measured, peer)
        peer = measure([*kubectl, "label", "nodes", "--all", "example.com/peer-"])
        result, measured = run_module("node_labels", labels)
        row("node_labels: every node loses the label", pages + count, result, measured, peer)
        peer = measure([*kubectl, "get", "nodes", "--output", "json"])
        result, measured = run_module("nodes_info", {"kube_clusters": [kube.entry]})
        row("nodes_info (kubectl: get nodes -o json)", pages + 1, result, measured, peer)
        if len(result["nodes"]) != count:
            failures.append(f"nodes_info: {len(result['nodes'])} nodes")
    finally:
        kube.stop()
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
