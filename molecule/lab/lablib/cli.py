# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs. Results go to stdout, progress to stderr; exit code 0, 1 (said in one line why) or 130 (interrupted)."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from . import access, binaries, clusters, docker, host, images, nodes, pool_options, pool_repair, pool_run, settings
from .console import LabError, say
from .kube import address, node_objects, ready, wait_ready
from .node_image import ensure_node_image
from .process import parallel, stop_all
from .state import Cluster, Node, State, claim, exclusive

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Verb:
    run: Callable[[list[str]], int | None]
    arguments: str
    help: str
    least: int = 0
    most: int = 0
    changes: bool = True  # one such command at a time


def _state() -> State:
    state = State()
    if not state.clusters:
        raise LabError("there is no lab; run `lab up`")
    return state


def _usable(name: str) -> tuple[State, Cluster]:
    """The state and a kube cluster on which a node verb can work."""
    state = _state()
    if not host.daemon_answers():
        raise LabError("no Docker daemon answers; `lab up` starts it and the lab")
    cluster = state.cluster(name)
    if not cluster.created or not cluster.control:
        raise LabError(f"kube cluster {name} is not complete; run `lab up`")
    return state, cluster


def _worker(name: str) -> tuple[State, Cluster, Node]:
    node = _state().worker(name)
    state, cluster = _usable(node.cluster)
    return state, cluster, state.worker(name)


def up(arguments: list[str]) -> None:
    shape = clusters.parse_shape(arguments[0]) if arguments else None
    clusters.up(State(), shape)


def down(_: list[str]) -> None:
    try:
        state = State()
    except LabError as error:
        say(str(error))
        State.path.unlink()
        state = State()
    clusters.down(state)


def status(_: list[str]) -> int:
    state = _state()
    if not host.daemon_answers():
        raise LabError("no Docker daemon answers; `lab up` starts it and the lab")
    found = nodes.present(state)

    def objects(cluster: Cluster) -> dict[str, dict[str, Any]]:
        try:
            return node_objects(cluster)
        except LabError:
            return {}

    seen = parallel({cluster.name: lambda cluster=cluster: objects(cluster) for cluster in state.clusters.values()})  # type: ignore[misc]
    rows = [("CLUSTER", "NODE", "ROLE", "ZONE", "ADDRESS", "CONTAINER", "NODE STATUS", "PROVIDER ID")]
    healthy = True
    for node in state.nodes:
        container, item = found.get(node.name), seen[node.cluster].get(node.name)
        words = "no Node object" if item is None else "Ready" if ready(item) else "NotReady"
        if item is not None and item["spec"].get("unschedulable"):
            words += ",SchedulingDisabled"
        if item is not None and address(item) != node.address:
            words += f",address {address(item)}"
        running = container.status if container else "missing"
        healthy = healthy and running == "running" and words.startswith("Ready")
        provider = item["spec"].get("providerID", "") if item is not None else ""
        role = "worker" if node.is_worker else "control-plane"
        rows.append((node.cluster, node.name, role, node.zone or "-", node.address or "-", running, words, provider or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    for cluster in state.clusters.values():
        answer = "PAUSED (lab resume-api)" if cluster.paused else "answers" if seen[cluster.name] else "does not answer"
        healthy = healthy and answer == "answers"
        print(f"API of {cluster.name}: {answer}")
    loaded = {reference for node in state.nodes for reference in node.images}
    print(f"images in the nodes: {', '.join(sorted(loaded)) or 'none'}")
    print(f"kubeconfig: {access.ADMIN}")
    if not healthy:
        say("the lab is not whole; `lab up` mends it")
    return 0 if healthy else 1


def _options(arguments: list[str], names: tuple[str, ...], text: str) -> tuple[list[str], dict[str, str]]:
    """(what is no option, the options with their values)"""
    left, found = list(arguments), {}
    for name in names:
        if name in left:
            at = left.index(name)
            if at + 1 >= len(left) or not _LABEL_VALUE.fullmatch(left[at + 1]):
                raise LabError(f"usage: lab {text} ({name} needs a value of letters, digits, '-', '_' and '.')")
            found[name] = left[at + 1]
            del left[at : at + 2]
    return left, found


def _finish(state: State, cluster: Cluster, node: Node) -> None:
    """Makes a planned worker a node that is Ready, from whatever an interrupt has left of it."""
    if not node.joined:
        nodes.create_worker(state, cluster, node)
    wait_ready(cluster, [node])


def add_node(arguments: list[str]) -> None:
    text = "add-node CLUSTER [--zone ZONE] [--for TEXT]"
    left, options = _options(arguments, ("--zone", "--for"), text)
    if len(left) != 1:
        raise LabError(f"usage: lab {text}")
    state, cluster = _usable(left[0])
    purpose = options.get("--for", "")
    node = cluster.workers.get(state.added.get(purpose, ""))
    if node is None:
        node = nodes.plan_worker(state, cluster, options.get("--zone", ""), purpose=purpose)
    elif node.joined:
        say(f"{node.name} was added for {purpose} already")
    cluster.wanted = cluster.size
    state.save()
    _finish(state, cluster, node)
    print(node.name)


def remove_node(arguments: list[str]) -> None:
    if arguments[0] in _state().removed:
        say(f"{arguments[0]} was removed already")
        return
    state, cluster, node = _worker(arguments[0])
    cluster.wanted = cluster.size - (not node.surge)
    nodes.forget_worker(state, cluster, node)
    say(f"{node.name}: gone, with its disk")


def reboot_node(arguments: list[str]) -> None:
    hard = "--hard" in arguments
    names = [name for name in arguments if name != "--hard"]
    if len(names) != 1:
        raise LabError("usage: lab reboot-node NODE [--hard]")
    node = _state().node(names[0])
    state, _ = _usable(node.cluster)
    nodes.restart(state, [state.node(node.name)], hard)
    say(f"{node.name}: rebooted")


def replace_node(arguments: list[str]) -> None:
    name = arguments[0]
    state = _state()
    if name not in state.successors:
        state, cluster, old = _worker(name)
        # Planned before the old one goes, so that its zone is not lost by an interrupt.
        new = nodes.plan_worker(state, cluster, old.zone, replaces=old)
        say(f"{old.name} ({old.address}) is replaced by {new.name} ({new.address})")
    else:
        successor = state.successors[name]
        if successor in state.successors or successor in state.removed:
            say(f"{name} was replaced by {successor} already, which is gone as well")
            print(successor)
            return
        state, cluster, new = _worker(successor)
        say(f"{name} {'was replaced' if new.joined else 'is being replaced'} by {new.name} already")
    nodes.destroy(cluster, name)
    _finish(state, cluster, new)
    print(new.name)


def reimage_node(arguments: list[str]) -> None:
    state, cluster, node = _worker(arguments[0])
    nodes.create_worker(state, cluster, node)
    wait_ready(cluster, [node])
    say(f"{node.name}: same name, same address {node.address}, empty disk")


def readdress_node(arguments: list[str]) -> None:
    state, _, node = _worker(arguments[0])
    old = node.address
    if len(arguments) > 1:
        node.address = nodes.check_address(state, arguments[1])
        state.used += [node.address] if node.address not in state.used else []
    else:
        node.address = state.fresh_address(docker.taken_addresses())
    state.save()
    nodes.restart(state, [node])
    say(f"{node.name}: {old} became {node.address}, same disk")
    print(node.address)


def swap_nodes(arguments: list[str]) -> None:
    if arguments[0] == arguments[1]:
        raise LabError("swap-nodes needs two different nodes")
    state, _, first = _worker(arguments[0])
    _usable(state.worker(arguments[1]).cluster)
    second = state.worker(arguments[1])
    first.address, second.address = second.address, first.address
    state.save()
    nodes.restart(state, [first, second])
    say(f"{first.name} is {first.address} now, {second.name} is {second.address}")


def pause_api(arguments: list[str]) -> None:
    state, cluster = _usable(arguments[0])
    nodes.set_paused(state, cluster, True)
    say(f"{cluster.name}: nobody outside of the kube cluster reaches its API (requests hang); `lab resume-api {cluster.name}` ends it")


def resume_api(arguments: list[str]) -> None:
    state, cluster = _usable(arguments[0])
    nodes.set_paused(state, cluster, False)
    wait_ready(cluster, cluster.nodes)
    say(f"{cluster.name}: its API is reachable again")


def pool_upgrade(arguments: list[str]) -> None:
    options = pool_options.upgrade(arguments)
    _usable(options.name)
    with claim(options.name):
        left = pool_run.Upgrade(options).run()
    say(f"{options.name}: upgraded as {options.cloud}")
    print("\n".join(left))


def repair_node(arguments: list[str]) -> None:
    options = pool_options.repair(arguments)
    _, cluster, node = _worker(options.name)
    with claim(node.name):
        pool_repair.Repair(options, cluster.name).run()


def load_image(arguments: list[str]) -> None:
    state = _state()
    _usable(next(iter(state.clusters)))
    state = State()
    reference = arguments[0]
    identity = images.image_id(reference)
    state.images[reference] = identity
    state.save()
    images.tar(reference, identity)
    parallel({node.name: lambda node=node: nodes.load(state, node, {reference: identity}) for node in state.nodes})  # type: ignore[misc]
    say(f"{reference} is in all {len(state.nodes)} nodes")


def kubeconfig(arguments: list[str]) -> None:
    if arguments not in ([], ["collection"]):
        raise LabError("usage: lab kubeconfig [collection]")
    path = access.COLLECTION if arguments else access.ADMIN
    if not path.exists():
        raise LabError("there is no lab; run `lab up`")
    print(path)


def show_binaries(arguments: list[str]) -> None:
    unknown = [name for name in arguments if name not in binaries.GROUPS]
    if unknown:
        raise LabError(f"no binaries named {', '.join(unknown)}; there are: {', '.join(binaries.GROUPS)}")
    binaries.ensure(*arguments)
    print(settings.BIN)


def show_images(_: list[str]) -> None:
    host.prepare()
    ensure_node_image()
    references = images.ensure_system_images()
    print("\n".join(references))


def usage(_: list[str]) -> None:
    print("usage: lab VERB [ARGUMENTS]\n")
    for name, verb in VERBS.items():
        head = f"{name} {verb.arguments}"
        # Long ones get lines of their own.
        lines = textwrap.wrap(head, 130, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False)
        if len(head) > 45:
            print("\n".join(lines), f"{' ' * 48}{verb.help}", sep="\n")
        else:
            print(f"  {head:<46}{verb.help}")
    print(
        f"\nNodes are named as `lab status` shows them. Default shape: {settings.DEFAULT_SHAPE} (workers per kube cluster)."
        f"\nCache and state: {settings.CACHE} (HOSTNET_CACHE). More: molecule/lab/README.md."
    )


VERBS = {
    "up": Verb(up, "[SHAPE]", "makes or mends the lab; another SHAPE changes it (as in east:2,west:2,north:1)", most=1),
    "down": Verb(down, "", "removes kube clusters and state; caches stay"),
    "status": Verb(status, "", "nodes, addresses, APIs; exit code 1 when something is not well", changes=False),
    "add-node": Verb(
        add_node, "CLUSTER [--zone ZONE] [--for TEXT]", "one more worker; prints its name; the same TEXT again: the same worker", 1, 5
    ),
    "remove-node": Verb(remove_node, "NODE", "a worker goes for good, with its Node object", 1, 1),
    "reboot-node": Verb(reboot_node, "NODE [--hard]", "same disk, same address; --hard: power cut", 1, 2),
    "replace-node": Verb(replace_node, "NODE", "new name, new address, empty disk, same zone; prints the new name", 1, 1),
    "reimage-node": Verb(reimage_node, "NODE", "same name, same address, empty disk", 1, 1),
    "readdress-node": Verb(readdress_node, "NODE [ADDRESS]", "same disk, other address (one never used); prints it", 1, 2),
    "swap-nodes": Verb(swap_nodes, "NODE NODE", "two workers exchange their addresses, same disks", 2, 2),
    "pause-api": Verb(pause_api, "CLUSTER", "makes one API server unreachable", 1, 1),
    "resume-api": Verb(resume_api, "CLUSTER", "and reachable again", 1, 1),
    # These hold the lab's lock only while they work on a VM.
    "pool-upgrade": Verb(
        pool_upgrade, pool_options.UPGRADE, "what this cloud does to the nodes of a pool when it upgrades it", 3, 20, changes=False
    ),
    "pool-repair": Verb(repair_node, pool_options.REPAIR, "what this cloud does to a node that falls silent", 3, 5, changes=False),
    "load-image": Verb(load_image, "IMAGE", "a local Docker image into every node, also later ones", 1, 1),
    "kubeconfig": Verb(kubeconfig, "[collection]", "path of the administrator's (or the collection's) kubeconfig", most=1, changes=False),
    "binaries": Verb(
        show_binaries,
        "[GROUP...]",
        "builds kube-apiserver, etcd, kubectl, ... (all but kwok) and prints their folder",
        most=9,
        changes=False,
    ),
    "images": Verb(show_images, "", "builds or pulls the node image and the systems' images", changes=False),
    "help": Verb(usage, "", "this text", changes=False),
}


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    name = arguments[0] if arguments else "help"
    verb = VERBS.get({"-h": "help", "--help": "help"}.get(name, name))
    try:
        if not verb:
            raise LabError(f"unknown verb {name!r}; `lab help` lists them")
        if not verb.least <= len(arguments) - 1 <= verb.most and arguments:
            raise LabError(f"usage: lab {name} {verb.arguments}")
        settings.check()
        if verb.changes:
            with exclusive(settings.LAB.name):
                return verb.run(arguments[1:]) or 0
        return verb.run(arguments[1:]) or 0
    except LabError as error:
        print(f"lab: {error}{f' (log: {error.log})' if error.log else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        stop_all()
        print("lab: interrupted; the same command can be run again", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
