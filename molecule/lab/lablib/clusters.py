# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`up` and `down`: brings the lab from whatever is there (nothing, half of it, a machine that was switched off) to its shape."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

from . import access, docker, host, nodes, pool_nodes
from .binaries import ensure
from .console import LabError, say
from .kube import answers, kubectl, node_objects, wait_ready
from .node_image import ensure_node_image
from .process import logged, output, parallel, poll
from .settings import BIN, DEFAULT_SHAPE, LAB, LOGS, NETWORK, NODE_IMAGE
from .state import Cluster, Node, State, claims, write

_API_DEADLINE = 90.0  # seconds until a control plane that was switched on answers
_KIND_DEADLINE = 300.0


def parse_shape(text: str) -> dict[str, int]:
    """`east:3,west:2`: workers per kube cluster."""
    shape: dict[str, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"([a-z](?:[a-z0-9]{0,14})):([0-9]{1,2})", part.strip())
        if not match or not int(match.group(2)):
            raise LabError(f"shape {text!r}: {part!r} is not NAME:WORKERS (a lower-case name, at least one worker), as in {DEFAULT_SHAPE}")
        if match.group(1) in shape:
            raise LabError(f"shape {text!r}: kube cluster {match.group(1)!r} comes twice")
        shape[match.group(1)] = int(match.group(2))
    return shape


def up(state: State, shape: dict[str, int] | None) -> None:
    """Without a shape: what the lab has (add-node and remove-node have changed it too), or the default in a new lab."""
    working = claims()
    if working:
        raise LabError(f"a cloud is at work on {', '.join(working)} (pool-upgrade, pool-repair); let it end, or end it, first")
    wanted = shape or {name: cluster.wanted for name, cluster in state.clusters.items()} or parse_shape(DEFAULT_SHAPE)
    host.prepare()
    ensure_node_image()
    ensure("kind")
    nodes.all_images(state)
    subnet = docker.ensure_network()
    if state.subnet and subnet != state.subnet:
        say("the lab's Docker network was made anew: the kube clusters are too")
        _wipe(state, list(state.clusters.values()))
    state.subnet = subnet
    surplus = [cluster for name, cluster in state.clusters.items() if name not in wanted]
    if surplus:
        say(f"removing kube clusters {', '.join(cluster.name for cluster in surplus)}")
        _wipe(state, surplus)
    for name, workers in wanted.items():
        state.clusters.setdefault(name, Cluster(name, workers)).wanted = workers
    state.clusters = {name: state.clusters[name] for name in wanted}
    state.save()
    nodes.free_addresses(state)
    clusters = list(state.clusters.values())
    brought = parallel({cluster.name: lambda cluster=cluster: _bring_up(state, cluster) for cluster in clusters})  # type: ignore[misc]

    def wait(cluster: Cluster) -> None:
        was_off, since = brought[cluster.name]
        wait_ready(cluster, was_off, since)
        wait_ready(cluster, cluster.nodes)

    waits = {cluster.name: lambda cluster=cluster: wait(cluster) for cluster in clusters}
    parallel({"kubeconfigs": lambda: access.write_kubeconfigs(state), **waits})
    say(f"lab is up: {state.shape}, all {len(state.nodes)} nodes Ready; kubeconfig: {access.ADMIN}")


def down(state: State) -> None:
    if state.clusters and not host.daemon_answers():
        host.prepare()
    if host.daemon_answers():
        names = {cluster.kind_name for cluster in state.clusters.values()}
        left = [container.name for container in docker.containers(names).values()]
        # containers of a lab whose state file was lost are still on its network
        told = output(["docker", "ps", "-aq", "--filter", f"network={NETWORK}", "--filter", f"label={docker.CLUSTER_LABEL}"]).split()
        if left or told:
            say(f"removing {len(set(left)) or len(told)} nodes")
        docker.remove([*left, *told])
        output(["docker", "network", "rm", NETWORK], ok=(0, 1))
    shutil.rmtree(LAB, ignore_errors=True)
    say("lab is down; images and binaries stay in the cache")


def _wipe(state: State, clusters: list[Cluster]) -> None:
    """Removes kube clusters and what is known of them; their addresses stay used up."""
    found = docker.containers(cluster.kind_name for cluster in clusters)
    docker.remove(found)
    with state.lock:
        for cluster in clusters:
            state.clusters.pop(cluster.name, None)
            state.forget_names(cluster)
        state.save()


def _bring_up(state: State, cluster: Cluster) -> tuple[list[Node], float]:
    """Returns the nodes that were switched on again, and the time (seconds of the epoch) since when they must have shown life."""
    since = time.time()
    found = docker.containers([cluster.kind_name])
    started: set[str] = set()  # VMs without a Node object yet
    if not _control_plane_works(state, cluster, found):
        started = _create(state, cluster)
        found = docker.containers([cluster.kind_name])
    if cluster.paused:
        say(f"{cluster.name}: the API was paused; resuming it")
        nodes.set_paused(state, cluster, False)

    known = {node.name for node in cluster.nodes}
    docker.remove(name for name in found if name not in known)
    for name in set(node_objects(cluster)) - known:
        say(f"{cluster.name}: removing the Node object {name}, which has no VM")
        nodes.destroy(cluster, name)
    pool_nodes.mend(state, cluster)
    for node in sorted(cluster.workers.values(), key=lambda node: (node.surge, nodes.ordinal(node.name)))[cluster.wanted :]:
        say(f"{node.name}: one worker too many, removing it")
        nodes.forget_worker(state, cluster, node)
    for node in cluster.workers.values():
        node.surge = False
    while len(cluster.workers) < cluster.wanted:
        nodes.plan_worker(state, cluster)

    broken = [node for node in cluster.workers.values() if not node.joined or node.name not in found]
    sound = [node for node in cluster.workers.values() if node not in broken]
    off = [node for node in sound if found[node.name].status != "running" or found[node.name].pinned != node.address]
    if off:
        say(f"{cluster.name}: starting {', '.join(node.name for node in off)}")
        nodes.power_off([node for node in off if found[node.name].status != "exited"])
        nodes.power_on(state, off)
    work = {node.name: lambda node=node: nodes.load(state, node) for node in cluster.nodes if node not in broken}
    if broken:
        fresh = [node for node in broken if node.name not in started]
        if fresh:
            say(f"{cluster.name}: making {', '.join(node.name for node in fresh)}")
            parallel({node.name: lambda node=node: nodes.start_vm(state, cluster, node) for node in fresh})  # type: ignore[misc]
        token = nodes.join_token(cluster)
        work |= {node.name: lambda node=node: nodes.join(state, cluster, node, token) for node in broken}
    parallel(work)
    was_off = [node for node in cluster.nodes if node.name in found and found[node.name].status != "running" and node not in broken]
    return was_off, since


def _control_plane_works(state: State, cluster: Cluster, found: dict[str, docker.Container]) -> bool:
    """False: it has to be made (anew)."""
    if not cluster.created or not cluster.control:
        return False
    container = found.get(cluster.control.name)
    if not container:
        say(f"{cluster.name}: its control plane is gone, making the kube cluster anew")
        return False
    if container.status != "running":
        say(f"{cluster.name}: starting its control plane")
        if container.status == "paused":
            docker.docker("unpause", container.name)
        else:
            nodes.power_on(state, [cluster.control])
    try:
        poll(lambda: answers(cluster) or None, deadline=_API_DEADLINE, missing=lambda: f"{cluster.name}: an answer of its API server")
    except LabError as error:
        say(f"{error}; making the kube cluster anew")
        return False
    return True


def _kind_configuration() -> str:
    """No pod network, kube-proxy or CoreDNS: members are on the host's network and know addresses only. The lab's etcd may lose
    what it wrote in a power cut: then `up` makes the kube cluster anew."""
    kubelet = "- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n" if host.cgroup_v1() else ""
    return f"""\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  disableDefaultCNI: true
  kubeProxyMode: none
nodes:
- role: control-plane
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  dns:
    disabled: true
  etcd:
    local:
      extraArgs:
      - name: unsafe-no-fsync
        value: "true"
{kubelet}"""


def _create(state: State, cluster: Cluster) -> set[str]:
    """A control plane from kind, and at the same time the VMs of its workers, each with an address of our choice; they join
    afterwards. Returns the names of these VMs.
    """
    docker.remove(docker.containers([cluster.kind_name]))
    with state.lock:
        cluster.created, cluster.control, cluster.workers, cluster.next_worker, cluster.paused = False, None, {}, 1, False
        cluster.cloud, cluster.generation, cluster.labels = "", 0, {}
        state.forget_names(cluster)
        state.save()
    say(f"{cluster.name}: kind create cluster, and {cluster.wanted} worker{'s' if cluster.wanted != 1 else ''}")
    log = LOGS / f"kind-{cluster.kind_name}.log"
    log.unlink(missing_ok=True)
    ended = threading.Event()

    def control() -> None:
        try:
            _kind_create(cluster, log)
        finally:
            ended.set()

    def workers() -> None:
        # only now kind has made its list of the cluster's containers; one that it finds earlier makes it refuse the name
        listed = "Starting control-plane"
        poll(
            lambda: ended.is_set() or (log.exists() and listed in log.read_text(errors="replace")) or None,
            deadline=_KIND_DEADLINE,
            missing=lambda: f"{cluster.name}: kind's line {listed!r} in {log}",
            quiet=True,  # kind itself shows life
        )
        planned = [nodes.plan_worker(state, cluster) for _ in range(cluster.wanted)]
        parallel({node.name: lambda node=node: nodes.start_vm(state, cluster, node) for node in planned})  # type: ignore[misc]

    parallel({"control": control, "workers": workers})
    name = f"{cluster.kind_name}-control-plane"
    control_plane = Node(name, cluster.name, address=docker.containers([cluster.kind_name])[name].address, joined=True)
    nodes.prepare_inside(name)
    with state.lock:
        cluster.control = control_plane
    # kind frees a control plane that is its only node for everything
    kubectl(cluster, "taint", "nodes", name, "node-role.kubernetes.io/control-plane=:NoSchedule", "--overwrite")
    with state.lock:
        cluster.created = True
        state.save()
    say(f"{cluster.name}: control plane runs ({control_plane.address})")
    return set(cluster.workers)


def _kind_create(cluster: Cluster, log: Path) -> None:
    configuration, unused = LAB / f"kind-{cluster.name}.yaml", LAB / f"kind-{cluster.name}.kubeconfig"
    write(configuration, _kind_configuration())
    logged(
        [str(BIN / "kind"), "create", "cluster", "--name", cluster.kind_name, "--image", NODE_IMAGE, "--config", str(configuration),
         "--kubeconfig", str(unused), "--retain", "--verbosity", "1"],
        what=f"{cluster.name}: kind create cluster",
        log=log,
        env={"KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK, "KIND_EXPERIMENTAL_PROVIDER": "docker"},
        timeout=_KIND_DEADLINE,
    )  # fmt: skip
    unused.unlink(missing_ok=True)  # access.py writes the lab's own
