# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab remembers between commands, in one JSON file: shape, nodes, zones, addresses and names already used, images.

Intentions are written before they are carried out (a node's address before its container), so that `up` can finish what an
interrupted command has begun."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .console import LabError, say
from .process import poll
from .settings import CACHE, LAB, PREFIX

_CLAIM = f"{LAB.name}.pool."  # what a cloud is working on


@dataclass
class Node:
    name: str
    cluster: str
    zone: str = ""  # empty: the control plane
    address: str = ""  # empty: a control plane that has not been started yet
    provider_id: str = ""
    joined: bool = False  # its Node object was registered by the present disk
    images: dict[str, str] = field(default_factory=dict)  # reference -> image id that is loaded in it
    # What a cloud does to it (pool.py):
    generation: int = 0  # of its pool, when its present disk was made
    surge: bool = False  # it came for the upgrade of its pool, and does not count
    operation: str = ""  # upgrade or repair; `up` undoes what one that was cut short has left

    @property
    def is_worker(self) -> bool:
        return bool(self.zone)


@dataclass
class Cluster:
    name: str
    wanted: int
    created: bool = False  # `kind create cluster` has ended well
    next_worker: int = 1
    paused: bool = False
    control: Node | None = None
    workers: dict[str, Node] = field(default_factory=dict)
    # What new VMs are made of (pool.py):
    cloud: str = ""  # the last one that has upgraded it; empty: none
    generation: int = 0
    labels: dict[str, str] = field(default_factory=dict)  # further ones of its pool

    @property
    def size(self) -> int:
        """Its workers without those that are there for an upgrade only."""
        return sum(not node.surge for node in self.workers.values())

    @property
    def kind_name(self) -> str:
        return f"{PREFIX}{self.name}"

    @property
    def nodes(self) -> list[Node]:
        return ([self.control] if self.control else []) + list(self.workers.values())

    def fresh_name(self) -> str:
        number, self.next_worker = self.next_worker, self.next_worker + 1
        return f"{self.kind_name}-worker{number if number > 1 else ''}"

    def free_zone(self) -> str:
        """The first zone letter that no worker is in, so that there are as many zones as workers."""
        taken = {node.zone for node in self.workers.values()}
        letters = (letter * repeat for repeat in range(1, 20) for letter in "abcdefghijklmnopqrstuvwxyz")
        return next(zone for zone in (f"{self.name}-{letter}" for letter in letters) if zone not in taken)


class State:
    path = LAB / "state.json"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.subnet = ""
        self.used: list[str] = []
        self.images: dict[str, str] = {}  # loaded by the user: reference -> image id
        self.clusters: dict[str, Cluster] = {}
        # What has been decided on about names that are gone, so that a verb that was killed can be called again with the same words.
        self.successors: dict[str, str] = {}  # replaced node -> the node that took its place
        self.removed: list[str] = []
        self.added: dict[str, str] = {}  # what a node was added for (`add-node --for`) -> node
        if not self.path.exists():
            return
        try:
            data = json.loads(self.path.read_text())
        except ValueError as error:
            raise LabError(f"{self.path} is not JSON ({error}); run `lab down`, which removes it") from error
        self.subnet, self.used, self.images = data["subnet"], data["used"], data["images"]
        self.successors, self.removed, self.added = data.get("successors", {}), data.get("removed", []), data.get("added", {})
        for entry in data["clusters"]:
            control = Node(**entry.pop("control")) if entry["control"] else entry.pop("control")
            workers = {node["name"]: Node(**node) for node in entry.pop("workers")}
            self.clusters[entry["name"]] = Cluster(**entry, control=control, workers=workers)

    def save(self) -> None:
        with self.lock:
            clusters = [
                {**asdict(cluster), "workers": [asdict(node) for node in cluster.workers.values()]} for cluster in self.clusters.values()
            ]
            data = {"subnet": self.subnet, "used": self.used, "images": self.images, "clusters": clusters}
            data |= {"successors": self.successors, "removed": self.removed, "added": self.added}
            write(self.path, json.dumps(data, indent=1))

    @property
    def shape(self) -> str:
        return ",".join(f"{cluster.name}:{cluster.wanted}" for cluster in self.clusters.values())

    @property
    def nodes(self) -> list[Node]:
        return [node for cluster in self.clusters.values() for node in cluster.nodes]

    def forget_names(self, cluster: Cluster) -> None:
        """A kube cluster that is made anew gives its names again."""

        def here(name: str) -> bool:
            return name.startswith(f"{cluster.kind_name}-worker")

        self.successors = {old: new for old, new in self.successors.items() if not here(old)}
        self.removed = [name for name in self.removed if not here(name)]
        self.added = {key: name for key, name in self.added.items() if not here(name)}

    def cluster(self, name: str) -> Cluster:
        if name not in self.clusters:
            raise LabError(f"no kube cluster {name!r} in the lab; there are: {', '.join(self.clusters) or 'none (run `lab up`)'}")
        return self.clusters[name]

    def worker(self, name: str) -> Node:
        found = self.node(name)
        if not found.is_worker:
            raise LabError(f"{name} is a control plane; this verb is for workers only")
        return found

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node {name!r} in the lab; there are: {', '.join(node.name for node in self.nodes) or 'none (run `lab up`)'}")

    # Addresses: automatic ones (control planes, other containers) come from the first /24, workers get theirs from the rest,
    # in order, so that none is given twice while the lab lives.
    def automatic_range(self) -> str:
        return str(next(ipaddress.IPv4Network(self.subnet).subnets(new_prefix=24)))

    def fresh_address(self, taken: set[str]) -> str:
        with self.lock:
            first = int(ipaddress.IPv4Network(self.automatic_range()).broadcast_address) + 2
            for number in range(first, int(ipaddress.IPv4Network(self.subnet).broadcast_address)):
                address = str(ipaddress.IPv4Address(number))
                if address.rsplit(".", 1)[1] not in ("0", "255") and address not in self.used and address not in taken:
                    self.used.append(address)
                    return address
        raise LabError(f"the network {self.subnet} has no address left that was never used; `lab down` starts afresh")


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replaces a file in one step, so that an interrupt leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """One lab command (or one build) at a time; the kernel lets go of the lock when its holder dies."""
    path = CACHE / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        told = False

        def taken() -> bool:
            nonlocal told
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                # Threads of one command wait for each other without a word.
                if not told and holder != str(os.getpid()):
                    say(f"another lab command is at work (process {holder}); waiting for it")
                    told = True
                return False
            return True

        poll(lambda: taken() or None, deadline=3600, missing=lambda: f"the lock {path}, held by another lab command")
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


@contextmanager
def claim(what: str) -> Iterator[None]:
    """One operation of a cloud on a pool or a VM at a time, for as long as it takes; other lab commands go on meanwhile."""
    path = CACHE / f"{_CLAIM}{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"{what}: an operation is in progress; a cloud takes no second one") from None
        yield


def claims() -> list[str]:
    """What clouds are working on now."""
    found = []
    for path in sorted(CACHE.glob(f"{_CLAIM}*.lock")):
        try:
            with claim(path.name[len(_CLAIM) : -len(".lock")]):
                pass
        except LabError:
            found.append(path.name[len(_CLAIM) : -len(".lock")])
    return found
