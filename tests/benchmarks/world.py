# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kube clusters that are measured: real etcd, kube-apiserver, kube-controller-manager and kube-scheduler processes; the nodes are simulated.

KWOK plays the kubelets: it renews the nodes' leases and says of each pod that it runs and is ready. Nothing is in a pod, so nobody can be asked there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from support.kube_api import KubeApi

from .plain import Connection

Json = dict[str, Any]

USER = "benchmark"
# Labels of the nodes that the two deployments of case deployment are on: at most MANY, and a tenth of them.
ON_MANY, ON_FEW = "benchmark.example.com/many", "benchmark.example.com/few"
MANY = 1000
# Kubelets renew their lease every 10 seconds: 100 writes a second for 1,000 nodes, which two cores would notice in every case. KWOK renews it after a quarter.
LEASE_SECONDS = 240
_CONNECTIONS = 8
_REGIONS = ("east", "west", "north", "south", "centre")
# What a kubelet reports on a node that has been in use for a while.
_IMAGES = [
    {
        "names": [f"registry.example/team/service-{number}@sha256:{'0' * 64}", f"registry.example/team/service-{number}:1.{number}"],
        "sizeBytes": number << 20,
    }
    for number in range(1, 51)
]
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ("Ready", "True", "KubeletReady"),
)

# https://kwok.sigs.k8s.io/docs/user/stages-configuration/
_POD_STATUS = """\
phase: Running
startTime: {{ Now | Quote }}
hostIP: {{ index (NodeIPsWith .spec.nodeName) 0 | Quote }}
podIP: {{ index (NodeIPsWith .spec.nodeName) 0 | Quote }}
conditions:
{{ range $index, $type := (list "Initialized" "ContainersReady" "Ready") }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ Now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ end }}
"""
_NODE_STATUS = """\
conditions:
{{ range .status.conditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ .lastTransitionTime | Quote }}
{{ end }}
"""


def _stage(name: str, kind: str, selector: Sequence[tuple[str, str, Sequence[str]]], then: Json, delay_seconds: int = 0) -> Json:
    expressions = [{"key": key, "operator": operator, **({"values": list(values)} if values else {})} for key, operator, values in selector]
    delay = {"durationMilliseconds": delay_seconds * 1000, "jitterDurationMilliseconds": delay_seconds * 1200}
    spec: Json = {"resourceRef": {"apiGroup": "v1", "kind": kind}, "selector": {"matchExpressions": expressions}, "next": then}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {**spec, **({"delay": delay} if delay_seconds else {})},
    }


_STAGES = (
    _stage(
        "pod-starts",
        "Pod",
        ((".metadata.deletionTimestamp", "DoesNotExist", ()), (".status.phase", "In", ("Pending",))),
        {"statusTemplate": _POD_STATUS},
    ),
    _stage("pod-ends", "Pod", ((".metadata.deletionTimestamp", "Exists", ()),), {"delete": True}),
    # As kubelets do where nothing has changed: every five minutes.
    _stage("node-lives", "Node", ((".metadata.deletionTimestamp", "DoesNotExist", ()),), {"statusTemplate": _NODE_STATUS}, 300),
)
_APF = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
_SERVED = re.compile(rf'^apiserver_flowcontrol_dispatched_requests_total\{{flow_schema="{USER}",[^}}]*\}} (\S+)$', re.MULTILINE)


class SimulatedCluster(KubeApi):
    """An API server with its controllers and scheduler, and KWOK in place of kubelets.

    `entry` is of a user with all rights who is no member of system:masters: so the API server's own metrics count what this user sends, apart from
    everybody else, and priority and fairness apply to it as to any user.
    """

    def __init__(self, name: str) -> None:
        # Admission would taint each Node until a controller that is not here had seen it ready.
        super().__init__(name, "--disable-admission-plugins=TaintNodesByCondition")
        self.user = ""

    @property
    def entry(self) -> dict[str, str]:
        return {"name": self.name, "kubeconfig": self.user, "context": self.name}

    def populate(self, nodes: range, many: int) -> None:
        """After `wait`: the user, the nodes, then the processes that work with them."""
        self.user = self.user_kubeconfig(USER, [USER])
        subject = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": USER}
        role = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "cluster-admin"}
        binding = {"metadata": {"name": USER}, "roleRef": role, "subjects": [subject]}
        self.request_json("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        rule = {
            "subjects": [{"kind": "Group", "group": {"name": USER}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }
        # The level that users without a schema of their own have.
        schema = {
            "priorityLevelConfiguration": {"name": "global-default"},
            "matchingPrecedence": 100,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [rule],
        }
        self.request_json("POST", _APF, {"metadata": {"name": USER}, "spec": schema})
        self.each(lambda connection, number: connection.request("POST", "/api/v1/nodes", node(self.name, number, many)), nodes)
        self._start_controllers()

    def _start_controllers(self) -> None:
        client = {"kubeconfig": self.kubeconfig, "qps": 500, "burst": 1000}
        scheduler = self.folder / "scheduler.yaml"
        scheduler.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "KubeSchedulerConfiguration",
                    "clientConnection": client,
                    "leaderElection": {"leaderElect": False},
                }
            )
        )
        stages = self.folder / "stages.yaml"
        stages.write_text(yaml.safe_dump_all(_STAGES))
        self._spawn("kube-scheduler", f"--config={scheduler}", "--secure-port=0")
        self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--controllers=statefulset-controller,daemonset-controller",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        self._spawn(
            "kwok",
            f"--kubeconfig={self.kubeconfig}",
            f"--config={stages}",
            "--manage-all-nodes",
            f"--node-lease-duration-seconds={LEASE_SECONDS}",
        )

    def each(self, function: Callable[[Connection, int], object], numbers: Sequence[int]) -> None:
        """Calls `function` for all numbers, with a few connections at a time."""
        local = threading.local()
        opened: list[Connection] = []

        def call(number: int) -> None:
            if not hasattr(local, "connection"):
                local.connection = Connection(self.kubeconfig)
                opened.append(local.connection)
            function(local.connection, number)

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for _done in pool.map(call, numbers):
                pass
        for connection in opened:
            connection.close()

    def served(self) -> int:
        """Requests of the user that this API server has let through so far, as its own metrics say."""
        connection = Connection(self.kubeconfig)
        try:
            text = connection.request("GET", "/metrics").decode()
        finally:
            connection.close()
        return int(sum(float(value) for value in _SERVED.findall(text)))


def node(kube_cluster: str, number: int, many: int) -> Json:
    """A Node as the kubelet of a VM in use registers it, about as large; the first `many` ones carry the larger deployment."""
    name = f"{kube_cluster}-vm-{number:05}"
    labels = {f"example.com/label-{index}": f"value-{index}" for index in range(12)}
    labels |= {
        **({ON_MANY: "true"} if number <= many else {}),
        **({ON_FEW: "true"} if number <= max(many // 10, 1) else {}),
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": kube_cluster,
        "topology.kubernetes.io/zone": f"{kube_cluster}-{number % 3}",
    }
    resources = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    begun = "2026-01-01T00:00:00Z"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
        "spec": {"providerID": f"simulated://{name}"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": resources,
            "capacity": resources,
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "message": reason,
                    "lastHeartbeatTime": begun,
                    "lastTransitionTime": begun,
                }
                for kind, status, reason in _CONDITIONS
            ],
            "images": _IMAGES,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": f"boot-{name}",
                "containerRuntimeVersion": "containerd://2.4.2",
                "kernelVersion": "6.1.0",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.3",
                "machineID": f"machine-{name}",
                "operatingSystem": "linux",
                "osImage": "simulated",
                "systemUUID": f"system-{name}",
            },
        },
    }


@dataclasses.dataclass(frozen=True)
class World:
    """The kube clusters and a folder for what the cases write."""

    kubes: list[SimulatedCluster]
    nodes: int
    folder: Path

    @property
    def entries(self) -> list[dict[str, str]]:
        return [kube.entry for kube in self.kubes]

    def served(self) -> int:
        return sum(kube.served() for kube in self.kubes)

    @property
    def many(self) -> int:
        """Members of the larger deployment."""
        return min(self.nodes, MANY)

    def numbers(self, kube: SimulatedCluster) -> range:
        """The nodes of this kube cluster."""
        return share(self.nodes, len(self.kubes), self.kubes.index(kube))

    def names(self) -> list[tuple[str, str]]:
        """(kube cluster, node) of all nodes."""
        return [(kube.name, f"{kube.name}-vm-{number:05}") for kube in self.kubes for number in self.numbers(kube)]


def share(nodes: int, clusters: int, index: int) -> range:
    """The numbers of the nodes that kube cluster `index` has, from 1 on: every number is in one kube cluster."""
    return range(index + 1, nodes + 1, clusters)


@contextlib.contextmanager
def world(nodes: int, clusters: int, folder: Path, say: Callable[[str], None]) -> Iterator[World]:
    """The kube clusters for the length of a with statement."""
    names = [_REGIONS[number] if number < len(_REGIONS) else f"more-{number}" for number in range(clusters)]
    kubes = [SimulatedCluster(name) for name in names]
    found = World(kubes, nodes, folder)
    try:
        for kube in kubes:
            kube.start()
        for kube in kubes:
            kube.wait()
            kube.populate(found.numbers(kube), found.many)
            say(f"kube cluster {kube.name}: {len(found.numbers(kube))} nodes")
        yield found
    finally:
        for kube in kubes:
            kube.stop()
