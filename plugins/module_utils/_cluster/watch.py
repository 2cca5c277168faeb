# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for many objects at once: one LIST and one watch per kind and namespace, one deadline for everything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any

from .client import KubeCluster
from .kinds import Kind

Json = dict[str, Any]

_SHORT_STREAM_SECONDS = 1.0
_POLL_SECONDS = 0.5


def wait_until(
    cluster: KubeCluster,
    kind: Kind,
    namespace: str | None,
    names: Collection[str],
    settled: Callable[[str, Json | None], bool],
    deadline: float,
    label_selector: str | None = None,
) -> dict[str, Json | None]:
    """Wait until `settled(name, object)` holds for all `names` at the same time (object None: it does not exist).

    Returns {} then, or at `deadline` (time.monotonic() seconds) the objects that are not settled, as last seen. Raises
    KubeError where the API server refuses or does not answer.
    """
    wanted = set(names)
    if not kind.namespaced:
        return _poll(cluster, kind, wanted, settled, deadline)
    # One object needs no look at its neighbours.
    field_selector = f"metadata.name={next(iter(wanted))}" if len(wanted) == 1 else None
    while True:
        items, version = cluster.list(kind, namespace, label_selector, field_selector)
        seen: dict[str, Json | None] = dict.fromkeys(sorted(wanted))
        seen.update({item["metadata"]["name"]: item for item in items if item["metadata"]["name"] in wanted})
        pending = {name for name in wanted if not settled(name, seen[name])}
        started = time.monotonic()
        if not pending or started >= deadline:
            return {name: seen[name] for name in sorted(pending)}
        with contextlib.closing(_events(cluster, kind, deadline, namespace, label_selector, field_selector, version)) as events:
            for event, item in events:
                name = item["metadata"]["name"]
                if name not in wanted:
                    continue
                seen[name] = None if event == "DELETED" else item
                (pending.discard if settled(name, seen[name]) else pending.add)(name)
                if not pending:
                    return {}
        after_stream(started, deadline)


def after_stream(started: float, deadline: float) -> None:
    """The pause after a watch that was begun at `started`: a server that ends each stream at once must not be asked in a tight loop."""
    time.sleep(max(0.0, min(started + _SHORT_STREAM_SECONDS, deadline) - time.monotonic()))


def _poll(
    cluster: KubeCluster, kind: Kind, wanted: set[str], settled: Callable[[str, Json | None], bool], deadline: float
) -> dict[str, Json | None]:
    """As `wait_until`, with GETs: to watch a Namespace one must be allowed to see them all (docs/rbac.yaml)."""
    while True:
        seen = {name: cluster.get(kind, name) for name in sorted(wanted)}
        pending = {name: item for name, item in seen.items() if not settled(name, item)}
        rest = deadline - time.monotonic()
        if not pending or rest <= 0:
            return pending
        time.sleep(min(_POLL_SECONDS, rest))


def _events(
    cluster: KubeCluster, kind: Kind, deadline: float, namespace: str | None, label: str | None, field: str | None, version: str
) -> Any:
    return cluster.watch(kind, deadline, namespace, label_selector=label, field_selector=field, resource_version=version)


def wait_gone(cluster: KubeCluster, kind: Kind, namespace: str | None, uids: dict[str, str], deadline: float) -> dict[str, Json | None]:
    """Wait until the objects with these UIDs (name -> UID) are gone; a new object of the same name counts as gone.

    Returns those that are still there at the deadline.
    """
    return wait_until(
        cluster, kind, namespace, uids, lambda name, item: item is None or item["metadata"].get("uid") != uids[name], deadline
    )
