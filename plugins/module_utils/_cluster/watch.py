# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every wait for objects: one LIST and one watch for all of a kind, one deadline for everything, and a last LIST before anything is said to be missing.

An API server that does not answer for a moment ends no wait: it is asked again until the deadline. What it said last is told then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from .client import KubeCluster, KubeError, watch_seconds
from .kinds import Kind

Json = dict[str, Any]
Objects = dict[str, Json]

_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_SHORT_STREAM_SECONDS = 1.0


@dataclass
class Seen:
    """The objects by UID that a wait has seen, and the version to watch them on from: "" where only a LIST tells what has come since."""

    objects: Objects = field(default_factory=dict)
    version: str = ""


def follow(
    cluster: KubeCluster,
    kind: Kind,
    done: Callable[[Objects], bool],
    deadline: float,
    namespace: str | None = None,
    label_selector: str | None = None,
    field_selector: str | None = None,
    *,
    read: Callable[[], tuple[list[Json], str]] | None = None,
    wanted: Callable[[Json], bool] = lambda _item: True,
    watch: bool = True,
    last_look: bool = True,
    seen: Seen | None = None,
) -> bool:
    """Look at the objects until `done(objects by UID)`, or until `deadline` (time.monotonic() seconds): whether it came true.

    `done` sees them after each LIST and each event, and nothing else. `read` is another LIST than that of the selectors, which the watch has in any
    case; what is not `wanted` is left out. Without `watch`, `read` is asked all the time. Whoever goes on waiting gives the same `seen` each time, which
    spares a LIST, and needs no `last_look`, the LIST at the deadline. Raises KubeError where the API server refuses, or where it did not answer at
    the deadline either.
    """
    state, tries = seen or Seen(), 0
    while True:
        last = time.monotonic() >= deadline
        started = time.monotonic()
        if state.version and not last:
            if _watched(cluster, kind, done, deadline, namespace, label_selector, field_selector, wanted, state):
                return True
            if not last_look and time.monotonic() >= deadline:
                return False
            if not state.version:
                # A server that ends each stream at once must not be asked in a tight loop.
                time.sleep(max(0.0, min(started + _SHORT_STREAM_SECONDS, deadline) - time.monotonic()))
            continue
        try:
            items, version = read() if read else cluster.list(kind, namespace, label_selector, field_selector)
        except KubeError as error:
            if last or not error.passing:
                raise
            tries += 1
            time.sleep(max(0.0, min(_PAUSE_SECONDS * 2 ** min(tries - 1, 10), _LONGEST_PAUSE_SECONDS, deadline - time.monotonic())))
            continue
        tries = 0
        state.objects = {item["metadata"]["uid"]: item for item in items if wanted(item)}
        state.version = version if watch else ""
        if done(state.objects):
            return True
        if last or (not last_look and time.monotonic() >= deadline):
            return False
        if not watch:
            time.sleep(max(0.0, min(started + _PAUSE_SECONDS, deadline) - time.monotonic()))


def _watched(
    cluster: KubeCluster,
    kind: Kind,
    done: Callable[[Objects], bool],
    deadline: float,
    namespace: str | None,
    label_selector: str | None,
    field_selector: str | None,
    wanted: Callable[[Json], bool],
    seen: Seen,
) -> bool:
    """Whether `done` came true in one watch from what is `seen`, which is kept up to date."""
    started, seconds = time.monotonic(), watch_seconds(deadline)
    try:
        events = cluster.watch(
            kind, deadline, namespace, label_selector=label_selector, field_selector=field_selector, resource_version=seen.version
        )
        with contextlib.closing(events):  # type: ignore[type-var]  # it is a generator
            for event, item in events:
                seen.version = str(item["metadata"]["resourceVersion"])
                if event == "BOOKMARK" or not wanted(item):
                    continue
                if event == "DELETED":
                    seen.objects.pop(item["metadata"]["uid"], None)
                else:
                    seen.objects[item["metadata"]["uid"]] = item
                if done(seen.objects):
                    return True
    except KubeError as error:
        # 410: the version is too old.
        if not error.passing and error.status != 410:
            raise
        seen.version = ""
    # One that lived for as long as it was asked to has missed nothing. Who ended it before, and what came then, nobody knows.
    if time.monotonic() - started < seconds - 0.5 and time.monotonic() < deadline:
        seen.version = ""
    return False


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

    Returns {} then, or at `deadline` (time.monotonic() seconds) the objects that are not settled, as last seen. Raises as `follow`.
    """
    wanted = sorted(set(names))
    pending: dict[str, Json | None] = {}

    def done(objects: Objects) -> bool:
        by_name = {item["metadata"]["name"]: item for item in objects.values()}
        pending.clear()
        pending.update({name: by_name.get(name) for name in wanted if not settled(name, by_name.get(name))})
        return not pending

    def read() -> tuple[list[Json], str]:
        return [item for name in wanted if (item := cluster.get(kind, name)) is not None], ""

    # To watch a Namespace one must be allowed to see them all (docs/rbac.yaml). One object needs no look at its neighbours.
    field_selector = f"metadata.name={wanted[0]}" if len(wanted) == 1 else None
    follow(
        cluster,
        kind,
        done,
        deadline,
        namespace,
        label_selector,
        field_selector,
        read=None if kind.namespaced else read,
        wanted=lambda item: item["metadata"]["name"] in wanted,
        watch=kind.namespaced,
    )
    return pending


def wait_gone(cluster: KubeCluster, kind: Kind, namespace: str | None, uids: dict[str, str], deadline: float) -> dict[str, Json | None]:
    """Wait until the objects with these UIDs (name -> UID) are gone; a new object of the same name counts as gone.

    Returns those that are still there at the deadline.
    """
    return wait_until(
        cluster, kind, namespace, uids, lambda name, item: item is None or item["metadata"].get("uid") != uids[name], deadline
    )
