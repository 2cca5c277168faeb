# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until the cloud is about to take a member's VM, or has taken one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._plan import follow, generations, names
from . import kinds
from .client import Json, KubeCluster, KubeError, each_cluster
from .nodes import read_of_members
from .observe import pod_summary
from .waits import NODES_A_SECOND, Progress


@dataclass(frozen=True)
class Wanted:
    """Whose members are followed (`name`, `namespace`, their `bindings`), and which nodes there are for them (as nodes_info reads them).

    `among`: the members whose drains count, and whoever comes again; of the others only who has lost its VM. `followed`: whose end counts, of whom `moved`
    had their turn; `until`, `pool_label` and `in_place` as generations.standing has them. Without `may_end` only time ends it, or somebody's turn.
    `waiting`: broken members that the rollout cannot mend as they are. Meanwhile only lost VMs count, and theirs only if not at the first look already.
    `stuck`: those of them whose VM was gone, and another one there, when that was planned; all of them where None. A VM may go between plan and first look.
    """

    name: str
    namespace: str
    bindings: Sequence[Json]
    node_selector: str
    extra_selector: str
    address_type: str
    among: Sequence[str] = ()
    followed: Sequence[str] = ()
    moved: Sequence[str] = ()
    until: Mapping[str, str] = field(default_factory=dict)
    pool_label: str = ""
    may_end: bool = False
    in_place: bool = False
    waiting: Sequence[str] = ()
    stuck: Sequence[str] | None = None


@dataclass
class Picture:
    """What was seen last: nodes and guard pods of each kube cluster, and why one did not answer."""

    nodes: dict[str, list[Any]] = field(default_factory=dict)
    guards: dict[str, list[follow.Guards]] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)

    def all_nodes(self) -> list[Any]:
        return [node for name in sorted(self.nodes) for node in self.nodes[name]]

    def all_guards(self) -> list[follow.Guards]:
        return [entry for name in sorted(self.guards) for entry in self.guards[name]]


def wait(
    clusters: dict[str, KubeCluster],
    wanted: Wanted,
    interval: float,
    timeout: float,
    show: Callable[[str], None],
    seen: Json,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Json:
    """{due: {member: why}, over, standing, seen, nodes, waited (seconds)}; `due` is empty where nothing was about to happen for `timeout` seconds, or
    where the upgrade is over (`over` says why). `seen` is what the run has seen before (generations.Seen).

    `show` gets a line whenever what is waited for has changed, and every ten minutes. A kube cluster that does not answer is asked again: all members
    are up meanwhile. Of its members nothing is concluded. Raises KubeError where one refuses.
    """
    started, progress = clock(), Progress(show, timeout, clock)
    known = generations.see(seen, (), ())
    stuck = set(wanted.waiting if wanted.stuck is None else wanted.stuck)
    picture = Picture()
    while True:
        began = clock()
        _look(clusters, wanted, picture)
        nodes, guards = picture.all_nodes(), picture.all_guards()
        asked = [entry for entry in wanted.bindings if entry["kube_cluster"] not in picture.away]
        known = generations.see(known, asked, nodes, wanted.pool_label)
        standing = generations.standing(
            wanted.bindings, nodes, known, wanted.followed, wanted.moved, wanted.until, wanted.pool_label, wanted.in_place
        )
        # While somebody is down, a VM that is about to go is nobody's turn.
        among = [] if wanted.waiting else [*wanted.among, *standing["again"]]
        due = follow.due(asked, nodes, guards, among, known["members"], wanted.pool_label)
        stuck &= due.keys()
        due = {name: why for name, why in due.items() if name not in stuck}
        # Of a kube cluster that does not answer, what was seen last may be old.
        over = standing["over"] if wanted.may_end and not picture.away and not due else ""
        waited = clock() - started
        if due or over or waited >= timeout:
            return {"due": due, "over": over, "standing": standing["text"], "seen": known, "nodes": nodes, "waited": round(waited, 1)}
        lines = follow.progress(
            wanted.bindings, nodes, guards, picture.away, sorted(clusters), standing["left"], known["members"], wanted.pool_label
        )
        text = "; ".join([*([standing["text"]] if standing["members"] else []), *lines])
        progress.tell(f"waiting for the cloud: {text}", waited)
        pace = max(interval, len(nodes) / NODES_A_SECOND)
        pause(max(0.0, min(began + pace, started + timeout) - clock()))


def _look(clusters: dict[str, KubeCluster], wanted: Wanted, picture: Picture) -> None:
    """Bring the picture up to date. What a kube cluster said last stays where it does not answer."""

    def one(cluster: KubeCluster) -> tuple[list[Any], list[follow.Guards], str]:
        try:
            nodes = read_of_members(
                {cluster.name: cluster}, wanted.name, wanted.node_selector, wanted.address_type, wanted.bindings, [wanted.extra_selector]
            )
            pods, _version = cluster.list(kinds.POD, wanted.namespace, names.guard_selector(wanted.name))
        except KubeError as error:
            if not error.passing:
                raise
            return [], [], str(error)
        return nodes, follow.guards_of(cluster.name, [pod_summary(pod) for pod in pods], wanted.bindings), ""

    for name, (nodes, guards, away) in each_cluster(clusters, one).items():
        if away:
            picture.away[name] = away
        else:
            picture.away.pop(name, None)
            picture.nodes[name], picture.guards[name] = nodes, guards
