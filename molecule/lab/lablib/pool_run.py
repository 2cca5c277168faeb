# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool-upgrade`: does to the workers of one kube cluster what a cloud does to a node pool, step by step as pool.py says.

The lab's lock is held only while a VM is made, stopped or removed, so that other verbs (a rollout's hook among them) go on beside it. What
they do to a node is seen before each step: a VM that somebody else has replaced meanwhile is made of the new generation already.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import nodes, pool, pool_nodes
from .console import LabError, say
from .kube import node_objects, wait_ready
from .pool_options import Options
from .process import rest
from .settings import LAB, VERSIONS
from .state import Cluster, Node, State, exclusive

_LOOK = 2.0  # seconds between two looks at what holds Karpenter off
_SIGN_OF_LIFE = 10.0


@contextmanager
def locked(name: str) -> Iterator[tuple[State, Cluster]]:
    """The lab's present state, and nobody else changes it."""
    with exclusive(LAB.name):
        state = State()
        yield state, state.cluster(name)


def told(times: dict[str, float], factor: float) -> str:
    texts = [f"{name} {seconds * factor:g} s, here {seconds:.3g} s" for name, seconds in times.items()]
    return f"factor {factor:g}; {'; '.join(texts) or 'no time limit'}"


class Upgrade:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.name, self.cloud = options.name, options.cloud
        self.times = pool.times(options.cloud, options.factor, chosen=options.times)
        self.seed = secrets.randbelow(10**6) if options.seed is None else options.seed
        self.target = 0
        self.zones: dict[str, str] = {}
        self.order: list[str] = []
        self.evented: set[str] = set()
        self.steps: dict[str, Callable[[pool.Step], bool | None]] = {
            "announce": self.announce,
            "batch_soak": lambda _step: self.soak("batch soak"),
            "budgets": self.budgets,
            "cordon": lambda step: pool_nodes.cordon(self.cluster, step.node),
            "delete": self.delete,
            "desire": self.desire,
            "disrupt": self.disrupt,
            "done": self.done,
            "drain": self.drain,
            "out_of_balancers": self.out_of_balancers,
            "outdate": self.outdate,
            "pause": lambda _step: self.soak("pause"),
            "pool_soak": lambda _step: self.soak("pool soak"),
            "pre_drain": lambda _step: self.soak("pre-drain hook"),
            "pre_terminate": lambda _step: self.soak("pre-terminate hook"),
            "reboot": self.reboot,
            "reimage": self.reimage,
            "remove": self.remove,
            "surge": self.surge,
            "trim": self.trim,
            "uncordon": lambda step: pool_nodes.cordon(self.cluster, step.node, on=False),
        }

    # -- the pool --------------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        return State().cluster(self.name)

    def there(self, name: str) -> bool:
        """Whether it is a VM that the upgrade has still to deal with."""
        node = self.cluster.workers.get(name)
        return node is not None and node.joined and (node.surge or node.generation < self.target)

    def begin(self) -> None:
        options = self.options
        with locked(self.name) as (state, cluster):
            workers = {name: node for name, node in cluster.workers.items() if not node.surge}
            wrong = [name for name in options.nodes if name not in workers]
            if wrong:
                raise LabError(f"kube cluster {self.name} has no worker {', '.join(wrong)}; it has {', '.join(workers)}")
            broken = [name for name, node in workers.items() if not node.joined]
            if broken:
                raise LabError(f"{', '.join(broken)} is half made; run `lab up`")
            names = options.nodes or tuple(workers)
            if not names:
                raise LabError(f"kube cluster {self.name} has no workers")
            same = bool(cluster.cloud) and pool.same_cloud(cluster.cloud, self.cloud)
            self.target = pool.target(cluster.generation, {name: node.generation for name, node in workers.items()}, names, same)
            if self.target == cluster.generation:
                say(f"{self.name}: an upgrade was cut short; it goes on")
            self.zones = {name: workers[name].zone for name in names if workers[name].generation < self.target}
            cluster.cloud, cluster.generation = self.cloud, self.target
            cluster.labels |= options.labels
            for name in self.zones:
                workers[name].operation = "upgrade"
            state.save()
            generations = {name: node.generation for name, node in workers.items()}
            labels = dict(cluster.labels)
        self.order = pool.order(self.cloud, self.zones, self.seed)
        say(f"{self.name} as {self.cloud}: {told(self.times, options.factor)}")
        say(f"{self.name}: seed {self.seed}, pool of {', '.join(f'{name} ({self.zones[name]})' for name in sorted(self.zones))}")
        for name, item in node_objects(self.cluster).items():
            if name in generations:
                change = pool.mark_patch(item, self.cloud, generations[name], VERSIONS["KUBERNETES"], labels)
                if change:
                    pool_nodes.patch(self.cluster, name, change)
                    say(f"{name}: marked as a node of this cloud's pool, {pool.told(change)}")

    def run(self) -> list[str]:
        """The names of the kube cluster's workers afterwards."""
        self.begin()
        for step in pool.first_steps(self.cloud, self.order):
            self.steps[step.do](step)
        left = list(self.order)
        while left:
            name = self.next(left)
            if not name:
                break
            left.remove(name)
            if not self.there(name):
                say(f"{name}: gone already, or of the new generation")
                continue
            say(f"{name}: its turn ({len(self.order) - len(left)} of {len(self.order)})")
            for step in pool.node_steps(self.cloud, name):
                if self.steps[step.do](step) is False:
                    break
        for step in pool.last_steps(self.cloud, self.order):
            self.steps[step.do](step)
        with locked(self.name) as (state, cluster):
            for node in cluster.workers.values():
                node.operation = "" if node.operation == "upgrade" else node.operation
            state.save()
            return list(cluster.workers)

    def next(self, left: list[str]) -> str:
        if self.cloud != pool.KARPENTER:
            return left[0]
        # With a terminationGracePeriod, drift waits for nobody.
        grace, known, seen = "drain" in self.times, "", 0.0
        while True:
            names = [name for name in left if self.there(name)]
            if not names:
                return left[0] if left else ""
            try:
                found = pool_nodes.budgets(self.cluster)
                blocked = {name: pool.disruption_blocks(pool_nodes.pods_on(self.cluster, name), found) for name in names if not grace}
                name, text = pool.choose(names, blocked), "; ".join(f"{name}: {', '.join(why)}" for name, why in blocked.items())
            except LabError as error:
                name, text = "", str(error)
            if name:
                return name
            if text != known or time.monotonic() - seen >= _SIGN_OF_LIFE:
                known, seen = text, time.monotonic()
                say(f"{self.name}: Karpenter waits: {text}")
            rest(_LOOK)

    # -- steps: False ends those of the node -----------------------------------------------------------------------------

    def surge(self, step: pool.Step) -> None:
        """New nodes, until there are `count` more than the pool's size. Those of an upgrade that was cut short count."""
        zone = self.zones[step.node or self.order[-1]]
        while True:
            with locked(self.name) as (state, cluster):
                halves = [node for node in cluster.workers.values() if node.surge and not node.joined]
                if not halves and len(cluster.workers) >= cluster.wanted + step.count:
                    return
                if not halves and step.count > 1:
                    # As many in each zone as leave it.
                    gone = [node.zone for node in cluster.workers.values() if node.surge]
                    for wanted in map(self.zones.__getitem__, self.order):
                        if wanted not in gone:
                            zone = wanted
                            break
                        gone.remove(wanted)
                node = halves[0] if halves else nodes.plan_worker(state, cluster, zone, surge=True)
                say(f"{node.name}: a new VM in {node.zone}")
                nodes.create_worker(state, cluster, node)
            wait_ready(cluster, [node])
            say(f"{node.name}: Ready, of the new generation")

    def budgets(self, _step: pool.Step) -> None:
        found = pool.unsatisfiable(pool_nodes.budgets(self.cluster))
        if found:
            raise LabError(f"UnsatisfiablePDB: {', '.join(found)} has maxUnavailable 0; the upgrade does not begin")

    def announce(self, step: pool.Step) -> None:
        pool_nodes.patch(self.cluster, step.node, {"metadata": {"annotations": {pool.AKS_DISABLED: "true", pool.AKS_REASON: "upgrade"}}})
        say(f"{step.node}: {pool.AKS_REASON}=upgrade")

    def out_of_balancers(self, step: pool.Step) -> None:
        value = "karpenter" if self.cloud == pool.KARPENTER else "true"
        pool_nodes.patch(self.cluster, step.node, {"metadata": {"labels": {pool.NO_BALANCERS: value}}})
        say(f"{step.node}: {pool.NO_BALANCERS}={value}")

    def disrupt(self, step: pool.Step) -> None:
        pool_nodes.taint(self.cluster, step.node, f"{pool.DISRUPTED}:NoSchedule")
        say(f"{step.node}: taint {pool.DISRUPTED}:NoSchedule")

    def outdate(self, step: pool.Step) -> None:
        pool_nodes.taint(self.cluster, step.node, f"{pool.OUTDATED}:PreferNoSchedule")
        say(f"{step.node}: taint {pool.OUTDATED}:PreferNoSchedule")

    def delete(self, step: pool.Step) -> None:
        pool_nodes.delete_node(self.cluster, step.node, pool.FINALIZER)
        say(f"{step.node}: its Node object is being deleted, held by finalizer {pool.FINALIZER}")

    def desire(self, step: pool.Step) -> None:
        wanted = {pool.DESIRED: pool.config(self.target), pool.CONFIG_STATE: "Working"}
        pool_nodes.patch(self.cluster, step.node, {"metadata": {"annotations": wanted}})
        say(f"{step.node}: {pool.DESIRED}={wanted[pool.DESIRED]}, state Working")

    def done(self, step: pool.Step) -> None:
        now = {pool.CURRENT: pool.config(self.target), pool.CONFIG_STATE: "Done"}
        pool_nodes.patch(self.cluster, step.node, {"metadata": {"annotations": now}})
        with locked(self.name) as (state, cluster):
            if step.node in cluster.workers:
                cluster.workers[step.node].generation = self.target
                state.save()
        say(f"{step.node}: currentConfig is desiredConfig, state Done")

    def drain(self, step: pool.Step) -> bool:
        limit = self.times.get("drain")
        end, left = pool_nodes.drain(
            self.cluster,
            step.node,
            self.cloud,
            limit,
            lambda: self.there(step.node),
            lambda spent: self.meanwhile(step.node, spent),
            self.times.get("drain loop", 5.0),
        )
        if end == pool_nodes.LIMIT and not pool.leaves(self.cloud):
            surplus = self.cluster.workers[step.node].surge if step.node in self.cluster.workers else False
            if not pool.forces(self.cloud, self.options.force, surplus):
                self.fail(step.node, left)
            pool_nodes.delete_pods(self.cluster, left)
        return end != pool_nodes.GONE

    def fail(self, name: str, left: tuple[str, ...]) -> None:
        if self.cloud == pool.AKS:
            pool_nodes.cordon(self.cluster, name, on=False)
            raise LabError(
                f"{name} was not drained in time, left: {', '.join(left)}. The upgrade failed; buffer nodes stay, and the same call goes on"
            )
        raise LabError(
            f"PodEvictionFailure: {name}: {', '.join(left)}. The update failed; the old nodes stay cordoned, and the same call goes on"
        )

    def meanwhile(self, name: str, spent: float) -> None:
        """OpenShift never ends a drain: it tells somebody, and cordons again what somebody else has uncordoned. So does Cluster API."""
        if self.cloud not in (pool.MCO, pool.CAPI):
            return
        if spent >= self.times.get("event", math.inf) and name not in self.evented:
            self.evented.add(name)
            say(f"{name}: DrainFailed: it takes longer than {self.times['event']:g} s; it is tried on")
        item = node_objects(self.cluster).get(name)
        if item and not item["spec"].get("unschedulable"):
            pool_nodes.cordon(self.cluster, name)

    def soak(self, what: str) -> None:
        if what not in self.times:  # nobody has set a hook
            return
        say(f"{self.name}: {what} of {self.times[what]:.3g} s")
        rest(self.times[what])

    def remove(self, step: pool.Step) -> None:
        """The VM is shut down; its disk and its Node object go. A node that came for the upgrade takes its place in the pool."""
        with locked(self.name) as (state, cluster):
            node = self.switched_off(cluster, step.node)
            if node is None:
                return
            self.forget(state, cluster, node)
            nodes.destroy(cluster, node.name)
        say(f"{step.node}: VM, disk and Node object are gone")

    def switched_off(self, cluster: Cluster, name: str) -> Node | None:
        """The VM, which is off now; none where somebody else has dealt with it meanwhile. The lab's lock is held."""
        node = cluster.workers.get(name)
        if node is None or not self.there(name):
            say(f"{name}: gone already, or of the new generation")
            return None
        nodes.power_off([node])
        say(f"{name}: its VM is off")
        return node

    @staticmethod
    def forget(state: State, cluster: Cluster, node: Node) -> None:
        """Written before it is done: `lab up` removes a VM that nobody knows."""
        with state.lock:
            heirs = sorted((heir for heir in cluster.workers.values() if heir.surge), key=lambda heir: heir.zone != node.zone)
            if not node.surge and heirs:
                heirs[0].surge = False
            del cluster.workers[node.name]
            state.removed.append(node.name)
            state.save()

    def reimage(self, step: pool.Step) -> None:
        with locked(self.name) as (state, cluster):
            node = self.switched_off(cluster, step.node)
            if node is None:
                return
            say(f"{step.node}: it gets a new disk")
            nodes.create_worker(state, cluster, node, same_vm=True)
        wait_ready(cluster, [node])
        say(f"{step.node}: Ready, same name and address {node.address}, empty disk, no label that was set by hand")

    def reboot(self, step: pool.Step) -> None:
        with locked(self.name) as (state, cluster):
            node = state.worker(step.node)
            nodes.power_off([node])
            since = time.time()
            nodes.power_on(state, [node])
        wait_ready(cluster, [node], since)
        say(f"{step.node}: rebooted, with its disk")

    def trim(self, _step: pool.Step) -> None:
        while True:
            cluster = self.cluster
            surplus = [name for name, node in cluster.workers.items() if node.surge]
            if not surplus or len(cluster.workers) <= cluster.wanted:
                break
            say(f"{surplus[-1]}: more than the pool's size, it goes")
            pool_nodes.cordon(cluster, surplus[-1])
            if self.drain(pool.Step("drain", surplus[-1])):
                self.remove(pool.Step("remove", surplus[-1]))
        with locked(self.name) as (state, cluster):
            for node in cluster.workers.values():
                node.surge = False
            state.save()
