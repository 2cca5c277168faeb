# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches nodes, members' pods and records of all kube clusters, for as long as an event source runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.common.parameters import remove_values

from .._plan import documents, events, names, withheld
from .._plan.certificates import iso
from .._plan.nodes import LISTED, node_facts
from .._plan.selector import matches, parse_selector
from . import kinds
from .client import METADATA_ONLY, WATCH_SECONDS, Json, KubeCluster, KubeError
from .kinds import Kind
from .membership import records_of, refuse_edited
from .observe import pod_summary
from .watch import Objects, Seen, follow

# How often the dates of certificates are read: of Secrets the metadata alone, which no watch here asks for.
_DATES_SECONDS = 300.0
# After an API server has refused, or did not answer for the length of a watch.
_PAUSE_SECONDS = 5.0


class _Watch:
    """What one kube cluster has, in a thread for each kind. They are daemons: who ends the process waits for no stream."""

    def __init__(self, cluster: KubeCluster, namespace: str | None, selector: str, changed: Callable[[], None]) -> None:
        self.cluster = cluster
        self._namespace, self._selector, self._changed = namespace, selector, changed
        self._lock = threading.Lock()
        self._objects: dict[str, list[Json]] = {}
        self._errors: dict[str, str] = {}
        self._ended, self._dates_due = threading.Event(), threading.Event()

    def start(self) -> None:
        watched = (
            (kinds.NODE, None, None),
            (kinds.POD, self._namespace, self._selector),
            (kinds.CONFIG_MAP, self._namespace, self._selector),
        )
        threads = [threading.Thread(target=self._follow, args=entry, daemon=True) for entry in watched]
        for thread in (*threads, threading.Thread(target=self._read_dates, daemon=True)):
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._dates_due.set()

    def _follow(self, kind: Kind, namespace: str | None, selector: str | None) -> None:
        seen = Seen()

        def take(objects: Objects) -> bool:
            self._take(kind, list(objects.values()))
            return self._ended.is_set()

        while not self._ended.is_set():
            try:
                # With nothing to watch from, one LIST says whether somebody answers.
                deadline = time.monotonic() + (WATCH_SECONDS if seen.version else 0)
                follow(self.cluster, kind, take, deadline, namespace, selector, last_look=False, seen=seen)
            except KubeError as error:
                seen.version = ""
                self._fail(kind, error)

    def _read_dates(self) -> None:
        while not self._ended.is_set():
            self._dates_due.clear()
            try:
                items: list[Json] = []
                for page, _version in self.cluster.pages(kinds.SECRET, self._namespace, self._selector, accept=METADATA_ONLY):
                    items += page
            except KubeError as error:
                self._fail(kinds.SECRET, error)
                continue
            self._take(kinds.SECRET, items)
            # A rollout writes its journal all the time.
            if not self._ended.wait(_PAUSE_SECONDS):
                self._dates_due.wait(_DATES_SECONDS)

    def _take(self, kind: Kind, objects: list[Json]) -> None:
        with self._lock:
            self._objects[kind.name] = objects
            self._errors.pop(kind.name, None)
        if kind == kinds.CONFIG_MAP:
            # Whoever was repaired has another certificate.
            self._dates_due.set()
        self._changed()

    def _fail(self, kind: Kind, error: KubeError) -> None:
        with self._lock:
            self._errors[kind.name] = str(error)
        self._changed()
        self._ended.wait(_PAUSE_SECONDS)

    def view(self, address_type: str, node_selector: str) -> events.View:
        """What is known now."""
        with self._lock:
            objects, errors = dict(self._objects), dict(self._errors)
        view = events.View(error=next((errors[kind] for kind in sorted(errors)), ""))
        if len(objects) < 4:
            return view
        wanted = parse_selector(node_selector)
        view.read = True
        view.nodes = [
            node_facts(item, self.cluster.name, address_type, matches(wanted, item["metadata"].get("labels") or {}))
            for item in objects[kinds.NODE.name]
        ]
        for item in objects[kinds.POD.name]:
            view.pods.setdefault(_deployment(item), []).append(pod_summary(item))
        for item in objects[kinds.SECRET.name]:
            text = (item["metadata"].get("annotations") or {}).get(names.CERTIFICATES_ANNOTATION, "{}")
            view.dates.setdefault(_deployment(item), {}).update(documents.certificates(text))
        config_maps: dict[events.Deployment, list[Json]] = {}
        for item in objects[kinds.CONFIG_MAP.name]:
            config_maps.setdefault(_deployment(item), []).append(item)
        for (namespace, name), found in config_maps.items():
            try:
                refuse_edited(self.cluster, name, namespace, found)
            except KubeError as error:
                view.unreadable[namespace, name] = str(error)
                continue
            view.records[namespace, name] = records_of(name, found)
        return view


def _deployment(item: Json) -> events.Deployment:
    metadata = item["metadata"]
    return str(metadata["namespace"]), str(metadata["labels"][names.DEPLOYMENT_LABEL])


class Source:
    """The events of all kube clusters. Nothing is read before `start`; `look` returns what has become due since the last one."""

    def __init__(self, kube_clusters: Sequence[Json], settings: Mapping[str, Any]) -> None:
        """Raises KubeError and ValueError where something of it cannot be right: a context that is missing, a selector that is none."""
        self._settings = settings
        self._wanted = (settings["namespace"], settings["name"]) if settings["name"] else None
        self._selector = settings["node_selector"] if settings["node_selector"] is not None else LISTED
        try:
            parse_selector(self._selector)
        except ValueError as error:
            raise ValueError(f"node_selector: {error}") from None
        self._clusters = [KubeCluster(entry) for entry in kube_clusters]
        self._passwords = withheld.passwords(list(kube_clusters))
        self._teller = events.Teller(settings["lasting_seconds"], settings["remind_seconds"])
        self._watches: list[_Watch] = []

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to watch. `changed` is called by other threads, whenever there is something to look at."""
        selector = names.deployment_selector(self._settings["name"]) if self._wanted else names.DEPLOYMENT_LABEL
        self._watches = [_Watch(cluster, self._settings["namespace"] or None, selector, changed) for cluster in self._clusters]
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()

    def look(self) -> list[Json]:
        views = {watch.cluster.name: watch.view(self._settings["address_type"], self._selector) for watch in self._watches}
        at = iso(datetime.now(UTC))
        found = events.problems(views, self._wanted, at, self._settings["certificate_days"])
        said = self._teller.tell(found, events.away(views), time.monotonic())
        secrets = {secret for cluster in self._clusters for secret in cluster.secrets} | self._passwords
        # remove_values would make text of what is not in secret.
        return [
            {**one, **{key: remove_values(value, secrets) for key, value in one.items() if isinstance(value, str)}, "at": at}
            for one in said
        ]

    def pause(self) -> float | None:
        """Seconds until something becomes due, if nothing changes; None where nothing will."""
        due = self._teller.due()
        return None if due is None else max(0.0, due - time.monotonic())
