# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes as VMs: made, joined, stopped, moved to other addresses, filled with images."""

from __future__ import annotations

import ipaddress
import json
import re
import threading
import time
from collections.abc import Sequence

from . import images, pool
from .console import LabError, say
from .docker import CLUSTER_LABEL, ROLE_LABEL, Container, containers, docker, move, remove, taken_addresses
from .kube import kubectl, wait_ready
from .node_image import worker_image
from .process import output, parallel, poll, succeeds
from .settings import HERE, NETWORK, VERSIONS
from .state import Cluster, Node, State

_BOOT_DEADLINE = 60.0  # seconds until containerd answers in a new container
_STOP_SECONDS = 10  # what a node gets to shut down before it is switched off
# as kind starts its nodes
_RUN_FLAGS = (
    "--privileged", "--cgroupns=private", "--init=false", "--restart=on-failure:1", "--tty",
    "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
    "--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--volume", "/lib/modules:/lib/modules:ro",  # noqa: S108
)  # fmt: skip


def _join_configuration(cluster: Cluster, node: Node, token: str) -> str:
    """JSON is YAML too. No node-ip: the kubelet takes the host's address anew at every start, as a moved VM needs it."""
    marks = pool.marks(cluster.cloud, node.generation, VERSIONS["KUBERNETES"])
    labels = {"topology.kubernetes.io/region": cluster.name, "topology.kubernetes.io/zone": node.zone, **cluster.labels, **marks.labels}
    arguments = {"provider-id": node.provider_id, "node-labels": ",".join(f"{name}={value}" for name, value in labels.items())}
    if marks.kubelet_version:
        arguments["version"] = marks.kubelet_version  # the kubelet's flag sets what it reports, where it gets one
    return json.dumps(
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "JoinConfiguration",
            "discovery": {
                "bootstrapToken": {
                    "apiServerEndpoint": f"{cluster.kind_name}-control-plane:6443",
                    "token": token,
                    "unsafeSkipCAVerification": True,
                }
            },
            "nodeRegistration": {
                "name": node.name,
                "criSocket": "unix:///run/containerd/containerd.sock",
                "kubeletExtraArgs": [{"name": name, "value": value} for name, value in arguments.items()],
            },
        }
    )


def join_token(cluster: Cluster) -> str:
    if not cluster.control:
        raise LabError(f"kube cluster {cluster.name} has no control plane; run `lab up`")
    kubeadm = ["docker", "exec", cluster.control.name, "kubeadm", "--kubeconfig", "/etc/kubernetes/admin.conf"]
    return output([*kubeadm, "token", "create", "--ttl", "1h"], what=f"{cluster.name}: kubeadm token create").strip().splitlines()[-1]


def create_worker(state: State, cluster: Cluster, node: Node, same_vm: bool = False) -> None:
    """A new VM that is a node of the kube cluster when this returns."""
    start_vm(state, cluster, node, same_vm)
    join(state, cluster, node, join_token(cluster))


def start_vm(state: State, cluster: Cluster, node: Node, same_vm: bool = False) -> None:
    """A new container, and so an empty disk, under the node's name and address, with all images in it. The first VM of a name has
    kind's plain provider id, every later one an id that was never seen, as in a cloud; `same_vm`: the cloud keeps it, because it
    only makes the disk anew. What it is made of is the newest that its pool has. Needs no API server.
    """
    remove([node.name])
    node.joined, node.images, node.generation, node.operation = False, {}, cluster.generation, ""
    state.save()
    identity = docker(
        "run", "--detach", *_RUN_FLAGS, "--hostname", node.name, "--name", node.name,
        "--label", f"{CLUSTER_LABEL}={cluster.kind_name}", "--label", f"{ROLE_LABEL}=worker",
        "--network", NETWORK, "--ip", node.address, worker_image(),
    ).strip()  # fmt: skip
    plain = f"kind://docker/{cluster.kind_name}/{node.name}"
    if not (same_vm and node.provider_id):
        node.provider_id = f"{plain}/{identity[:12]}" if node.provider_id else plain
    wait_boot(node.name)
    prepare_inside(node.name)
    load(state, node)


def join(state: State, cluster: Cluster, node: Node, token: str) -> None:
    """Makes a VM that start_vm() has made a node; a Node object of the name's former VM goes, as a cloud would delete it."""
    begun = time.monotonic()
    _delete_node(cluster, node.name)
    configuration = _join_configuration(cluster, node, token).encode()
    docker("exec", "--interactive", node.name, "sh", "-c", "cat > /kind/kubeadm-join.json", data=configuration)
    command = ["docker", "exec", node.name, "kubeadm", "join", "--config", "/kind/kubeadm-join.json", "--skip-phases=preflight"]
    output(command, what=f"{node.name}: kubeadm join", timeout=180)
    annotations = pool.marks(cluster.cloud, node.generation, VERSIONS["KUBERNETES"], node.name).annotations
    if annotations:  # a kubelet cannot bring any
        words = [f"{name}={value}" for name, value in annotations.items()]
        kubectl(cluster, "annotate", "node", node.name, "--overwrite", *words)
    node.joined = True
    state.save()
    say(f"{node.name}: joined in {time.monotonic() - begun:.0f} s ({node.address}, {node.zone})")


def wait_boot(name: str) -> None:
    """Until containerd answers in the node, or the container has ended."""

    def up() -> bool | None:
        return succeeds(["docker", "exec", name, "ctr", "version"], timeout=15) or None

    def missing() -> str:
        state = output(["docker", "inspect", "--format", "{{.State.Status}}", name], ok=(0, 1)).strip()
        logs = output(["docker", "logs", "--tail", "1", name], ok=(0, 1)).strip()
        return f"containerd in {name} (container {state or 'missing'}; its last line: {logs or 'none'})"

    poll(up, deadline=_BOOT_DEADLINE, missing=missing)


def prepare_inside(name: str) -> None:
    """kind's official image has no network configuration of its own; ours has this one baked in."""
    target = "/etc/cni/net.d/10-lab.conflist"
    script = f"[ -e {target} ] || {{ mkdir -p /etc/cni/net.d && cat > {target}; }}"
    docker("exec", "--interactive", name, "sh", "-c", script, data=(HERE / "node-image" / "10-lab.conflist").read_bytes())


def load(state: State, node: Node, wanted: dict[str, str] | None = None) -> None:
    """Loads the images that the node does not have yet: the systems', and what the user has loaded."""
    for reference, identity in (wanted if wanted is not None else all_images(state)).items():
        if node.images.get(reference) == identity:
            continue
        tar = images.tar(reference, identity)
        with tar.open("rb") as stream:
            command = ["docker", "exec", "--interactive", node.name, "ctr", "-n", "k8s.io", "images", "import", "-"]
            output(command, what=f"{node.name}: loading {reference}", stdin=stream, timeout=300)
        node.images[reference] = identity
        state.save()


_system_images: dict[str, str] = {}
_once = threading.Lock()


def all_images(state: State) -> dict[str, str]:
    """What every node holds: reference -> image id."""
    with _once:
        if not _system_images:
            _system_images.update(images.ensure_system_images())
    return {**_system_images, **state.images}


def plan_worker(
    state: State, cluster: Cluster, zone: str = "", replaces: Node | None = None, purpose: str = "", surge: bool = False
) -> Node:
    """Writes down a worker with a name and an address that were never used; its container comes later. What it is there for
    (`replaces` a node, which goes; a `purpose`, see `add-node --for`; `surge`, see pool.py) is written in the same step: a kill leaves
    all of it or nothing.
    """
    with state.lock:
        node = Node(cluster.fresh_name(), cluster.name, zone or cluster.free_zone(), state.fresh_address(taken_addresses()))
        node.surge = surge or (replaces is not None and replaces.surge)
        cluster.workers[node.name] = node
        if replaces:
            state.successors[replaces.name] = node.name
            del cluster.workers[replaces.name]
        if purpose:
            state.added[purpose] = node.name
        state.save()
        return node


def destroy(cluster: Cluster, name: str) -> None:
    """The VM with its disk, and its Node object. What is gone already is fine."""
    remove([name])
    _delete_node(cluster, name)


def _delete_node(cluster: Cluster, name: str) -> None:
    """A finalizer holds a Node object until its VM is gone (Karpenter's does), and it is."""
    if kubectl(cluster, "get", "node", name, "--ignore-not-found", "--output", "jsonpath={.metadata.finalizers}").strip():
        kubectl(cluster, "patch", "node", name, "--type=merge", "--patch", json.dumps({"metadata": {"finalizers": None}}))
    kubectl(cluster, "delete", "node", name, "--ignore-not-found", "--wait=true")


def forget_worker(state: State, cluster: Cluster, node: Node) -> None:
    destroy(cluster, node.name)
    with state.lock:
        cluster.workers.pop(node.name, None)
        if node.name not in state.removed:
            state.removed.append(node.name)
        state.save()


def present(state: State) -> dict[str, Container]:
    return containers(cluster.kind_name for cluster in state.clusters.values())


def power_off(nodes: Sequence[Node], hard: bool = False) -> None:
    """Switches nodes off, in parallel; a paused container has to be woken first."""
    names = [node.name for node in nodes]
    if names:
        output(["docker", "unpause", *names], ok=(0, 1))
        output(["docker", "stop", "--time", "0" if hard else str(_STOP_SECONDS), *names], what=f"stopping {', '.join(names)}", timeout=120)


def power_on(state: State, nodes: Sequence[Node]) -> None:
    """Starts stopped nodes at the addresses written in the state. All are disconnected before the first one is connected, so that
    two nodes can exchange theirs."""
    found = present(state)
    wrong = [node for node in nodes if node.address and found[node.name].pinned != node.address]
    for node in wrong:
        for network in found[node.name].networks:
            output(["docker", "network", "disconnect", "--force", network, node.name], ok=(0, 1))
    for node in wrong:
        move(present(state)[node.name], node.address)
    parallel({node.name: lambda node=node: docker("start", node.name) for node in nodes})  # type: ignore[misc]
    parallel({node.name: lambda node=node: wait_boot(node.name) for node in nodes})  # type: ignore[misc]
    for node in nodes:
        cluster = state.clusters[node.cluster]
        if not node.is_worker and cluster.paused:  # the rules went with the network of the old boot
            set_paused(state, cluster, True)


def free_addresses(state: State) -> None:
    """After an interrupted move: switches off the nodes whose address is not the one written in the state and takes it from them,
    before any of them gets another (they may have each other's).
    """
    found = present(state)
    wrong = [node for node in state.nodes if node.is_worker and node.name in found and found[node.name].pinned not in (node.address, "")]
    if wrong:
        say(f"{', '.join(node.name for node in wrong)}: stopped to get the address that was decided on")
        power_off(wrong)
        for node in wrong:
            for network in found[node.name].networks:
                output(["docker", "network", "disconnect", "--force", network, node.name], ok=(0, 1))


def restart(state: State, nodes: Sequence[Node], hard: bool = False) -> None:
    """Stops and starts nodes (with the addresses in the state) and waits until their kube clusters see them Ready."""
    power_off(nodes, hard)
    since = time.time()
    power_on(state, nodes)
    for cluster in state.clusters.values():
        here = [node for node in nodes if node.cluster == cluster.name]
        if here:
            wait_ready(cluster, here, since)


# The outside world of one API server: everything but the cluster's nodes and the control plane itself
def _pause_rules(state: State) -> list[list[str]]:
    rule = ["INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", "6443"]
    return [[*rule, "-s", state.automatic_range(), "-j", "DROP"], [*rule, "!", "-s", state.subnet, "-j", "DROP"]]


def set_paused(state: State, cluster: Cluster, paused: bool) -> None:
    """Cuts the API server off from everybody outside the lab's workers (or ends that): requests hang, as with a dead load
    balancer or a lost route. The kubelets keep their connection, so the kube cluster itself stays as it is, for any time."""
    if not cluster.control:
        raise LabError(f"kube cluster {cluster.name} has no control plane; run `lab up`")
    cluster.paused = paused
    state.save()
    for rule in _pause_rules(state):
        there = succeeds(["docker", "exec", cluster.control.name, "iptables", "-w", "-C", *rule])
        if there != paused:
            docker("exec", cluster.control.name, "iptables", "-w", "-I" if paused else "-D", *rule)


def check_address(state: State, text: str) -> str:
    """An address that the user wants for a node: in the workers' part of the network, and nobody's now."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise LabError(f"{text!r} is not an IPv4 address") from error
    subnet, automatic = ipaddress.IPv4Network(state.subnet), ipaddress.IPv4Network(state.automatic_range())
    if address not in subnet or address in automatic or address == subnet.broadcast_address:
        raise LabError(f"{text} is not one of the lab's addresses for workers ({subnet} without {automatic})")
    holder = next((node.name for node in state.nodes if node.address == str(address)), "")
    if holder or str(address) in taken_addresses():
        raise LabError(f"{text} is in use by {holder or 'another container'}")
    return str(address)


def ordinal(name: str) -> int:
    match = re.search(r"worker([0-9]*)$", name)
    return int(match.group(1) or 1) if match else 0
