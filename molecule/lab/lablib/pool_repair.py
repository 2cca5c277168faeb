# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool-repair`: a node falls silent, and its cloud mends it: GKE drains it and makes its VM anew under its name, AKS reboots it, then re-images it.

What runs on the VM goes on meanwhile: only its kubelet is down. Who brings that back in time ends the repair.
"""

from __future__ import annotations

import time

from . import nodes, pool, pool_nodes
from .console import LabError, say
from .kube import node_objects, ready, wait_ready
from .pool_options import Options
from .pool_run import locked, told
from .process import output, poll, rest
from .state import Node, State

_SILENT = 180.0  # seconds until Kubernetes calls a node NotReady: 50, and more on a slow machine
_LOOK = 1.0


class Repair:
    def __init__(self, options: Options, cluster: str) -> None:
        self.name, self.cloud, self.cluster_name = options.name, options.cloud, cluster
        self.times = pool.times(options.cloud, options.factor, repair=True)
        say(f"{self.name} as {self.cloud}: {told(self.times, options.factor)}")

    def there(self) -> Node | None:
        """The VM that is being repaired; none when somebody has made it anew."""
        node = State().cluster(self.cluster_name).workers.get(self.name)
        return node if node is not None and node.operation == "repair" else None

    def is_ready(self) -> bool | None:
        """None: nobody answers."""
        try:
            item = node_objects(State().cluster(self.cluster_name)).get(self.name)
        except LabError as error:
            say(f"{self.name}: {error}")
            return None
        return item is not None and ready(item)

    def run(self) -> None:
        self.silence()
        end = f"{self.name}: NotReady in the eyes of Kubernetes"
        poll(lambda: self.is_ready() is False or None, deadline=_SILENT, every=_LOOK, missing=lambda: end)
        say(end)
        if not self.healed(self.times["not ready"]):
            (self.gke if self.cloud == pool.GKE else self.aks)()

    def silence(self) -> None:
        """Stops the kubelet. In AKS's story a reboot does not help: it does not start at boot either."""
        with locked(self.cluster_name) as (state, cluster):
            cluster.workers[self.name].operation = "repair"
            state.save()
            running = nodes.present(state)[self.name].status == "running"
            if running:
                command = ["stop"] if self.cloud == pool.GKE else ["disable", "--now"]
                output(["docker", "exec", self.name, "systemctl", *command, "kubelet"], what=f"{self.name}: stopping its kubelet")
        say(f"{self.name}: {'its kubelet is stopped' if running else 'its VM is off'}")

    def healed(self, seconds: float) -> bool:
        """Whether the node is well again, or not there any more, before this time is over."""
        end = time.monotonic() + seconds
        say(f"{self.name}: the cloud waits {seconds:.3g} s")
        while True:
            if not self.there():
                say(f"{self.name}: somebody else has made it anew; no repair")
                return True
            if self.is_ready():
                say(f"{self.name}: Ready again; no repair")
                with locked(self.cluster_name) as (state, cluster):
                    cluster.workers[self.name].operation = ""
                    state.save()
                return True
            if time.monotonic() >= end:
                return False
            rest(min(_LOOK, max(0.0, end - time.monotonic())))

    def gke(self) -> None:
        cluster = State().cluster(self.cluster_name)
        pool_nodes.cordon(cluster, self.name)
        ended, left = pool_nodes.drain(cluster, self.name, pool.GKE, self.times["drain"], lambda: self.there() is not None)
        if ended == pool_nodes.LIMIT:
            pool_nodes.delete_pods(cluster, left)
        if ended != pool_nodes.GONE:
            self.anew()

    def aks(self) -> None:
        with locked(self.cluster_name) as (state, cluster):
            if self.name not in cluster.workers:
                say(f"{self.name}: gone already")
                return
            say(f"{self.name}: NodeRebootStart")
            nodes.power_off([cluster.workers[self.name]], hard=True)
            nodes.power_on(state, [cluster.workers[self.name]])
        say(f"{self.name}: NodeRebootEnd")
        if not self.healed(self.times["after the reboot"]):
            self.anew()

    def anew(self) -> None:
        with locked(self.cluster_name) as (state, cluster):
            node = cluster.workers.get(self.name)
            if node is None or node.operation != "repair":
                say(f"{self.name}: somebody else has made it anew")
                return
            say(f"{self.name}: its VM is stopped and gets a new disk")
            nodes.create_worker(state, cluster, node, same_vm=True)
        wait_ready(cluster, [node])
        say(f"{self.name}: Ready, same name and address {node.address}, empty disk")
