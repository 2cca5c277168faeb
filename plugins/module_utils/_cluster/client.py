# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from and written to the API servers of several kube clusters.

Above a session (session/) this adds what bulk work needs: plain JSON instead of models, no discovery, a bound on connections per API server, and
writes whose lost answer is found out by reading.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .kinds import BUILT_IN, Kind
from .session.errors import NOT_TRUSTED, UNREADABLE, KubeError
from .session.kubeconfig import contexts
from .session.options import KUBE_CLUSTER_OPTIONS, kube_clusters_argument
from .session.session import Session
from .session.transport import MAX_CONNECTIONS

# What everybody needs beside a KubeCluster.
__all__ = ["KUBE_CLUSTER_OPTIONS", "MAX_CONNECTIONS", "NOT_TRUSTED", "UNREADABLE", "KubeError", "contexts", "kube_clusters_argument"]

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

FIELD_MANAGER = "hostnet.multicluster"
# Lists objects without spec and status, a fraction of the bytes for nodes (served since Kubernetes 1.15).
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# The same of one object, for the answer to a write of which only the new version counts.
METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

# Otherwise the API server reads each patch twice, to warn of fields that are twice in it, which what json.dumps writes cannot be. Fields that it does
# not know fail a server-side apply in any case (https://kubernetes.io/docs/reference/using-api/api-concepts/#validation-for-unrecognized-or-duplicate-fields).
_READ_ONCE = ("fieldValidation", "Ignore")

# A watch is begun anew after that long: a connection that died without a word costs no more than this.
WATCH_SECONDS = 60


def watch_seconds(deadline: float) -> int:
    """For how long a watch is asked for that is to end at `deadline` (time.monotonic() seconds)."""
    # The API server counts whole seconds; a tenth more keeps a second from being lost.
    return max(1, min(WATCH_SECONDS, int(deadline + 0.1 - time.monotonic())))


# For how long an API server may contradict itself: what it says is there is not, what it says is another one is the very one.
_CONTRADICTION_SECONDS = 5.0
_CONTRADICTION_PAUSE_SECONDS = 0.5


def lock_argument() -> Json:
    """Argument spec of the option `lock`, the same in every module."""
    return {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "holder": {"type": "str", "required": True},
            "generation": {"type": "int", "required": True},
            # Locks of other deployments that are held with it, for the VMs that they share.
            "neighbours": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "namespace": {"type": "str", "required": True},
                    "holder": {"type": "str", "required": True},
                    "generation": {"type": "int", "required": True},
                    "kube_clusters": {"type": "list", "elements": "str", "required": True},
                },
            },
        },
    }


class KubeCluster(Session):
    """One kube cluster. Safe to use from several threads; `requests` counts every request sent."""

    def __init__(self, options: Json) -> None:
        super().__init__(options)
        self._kinds = dict(BUILT_IN)

    # -- kinds ---------------------------------------------------------------------------------------------------

    def kind(self, api_version: str, name: str) -> Kind:
        """The Kind of a manifest. Kinds outside kinds.py cost one request per API version and kube cluster."""
        key = (api_version, name)
        if key not in self._kinds:
            root = "/api/" if "/" not in api_version else "/apis/"
            served = self.request("GET", root + api_version, f"API version {api_version}")
            for resource in served.get("resources", []):
                if "/" not in resource["name"]:
                    self._kinds[(api_version, resource["kind"])] = Kind(
                        api_version, resource["kind"], resource["name"], bool(resource["namespaced"])
                    )
        if key not in self._kinds:
            raise KubeError(self.name, f"{api_version} {name}", "the API server does not serve this kind", 404, "NotFound")
        return self._kinds[key]

    # -- reads ---------------------------------------------------------------------------------------------------

    def version(self) -> Json:
        """The API server's version (`gitVersion`, ...)."""
        return self.request("GET", "/version", "version")

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Json | None:
        """One object, or None where it does not exist."""
        try:
            return self.request("GET", kind.path(namespace, name), _describe(kind, name, namespace))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page: int = 500,
        accept: str | None = None,
        object_hook: Callable[[Json], Any] | None = None,
    ) -> Iterator[tuple[list[Json], str]]:
        """Yield (objects, resourceVersion) page by page, for lists that are too large to be kept whole.

        The resourceVersion is the same on every page. Where the API server has forgotten that version half-way (410), the rest is of a newer one, and
        a watch from the first one still misses nothing. `accept` may ask for another form, such as METADATA_ONLY;
        `object_hook` is as in `request`.
        """
        token: str | None = None
        version = ""
        what = f"list of {kind.plural}" + (f" in namespace {namespace}" if namespace else "")
        while True:
            query = [("labelSelector", label_selector), ("fieldSelector", field_selector), ("limit", page), ("continue", token)]
            try:
                answer = self.request("GET", kind.path(namespace), what, query=query, accept=accept, object_hook=object_hook)
            except KubeError as error:
                # https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
                if error.status != 410 or not error.next_page or error.next_page == token:
                    raise
                token = error.next_page
                continue
            metadata = answer.get("metadata", {})
            items = answer.pop("items", None) or []
            for item in items:
                # Items of a list carry no kind of their own; those of a metadata-only list carry that form's kind.
                item["apiVersion"], item["kind"] = kind.api_version, kind.name
            version = version or str(metadata.get("resourceVersion", ""))
            yield items, version
            token = metadata.get("continue")
            if not token:
                return

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page: int = 500,
    ) -> tuple[list[Json], str]:
        """All objects of a kind (in pages of `page`), and the resourceVersion to watch from."""
        items: list[Json] = []
        version = ""
        for page_items, version in self.pages(kind, namespace, label_selector, field_selector, page):  # noqa: B007  # the last one counts
            items.extend(page_items)
        return items, version

    def watch(
        self,
        kind: Kind,
        deadline: float,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str = "",
    ) -> Iterator[tuple[str, Json]]:
        """Yield (`ADDED`|`MODIFIED`|`DELETED`|`BOOKMARK`, object) until `deadline` (time.monotonic() seconds).

        Ends at the deadline, after WATCH_SECONDS, or when the server closes the stream: nothing was missed then up to the last resourceVersion, which
        is all that counts of a bookmark. Raises KubeError, with status 410 where the version is too old, and `passing` where the stream was cut off or
        fell silent: list again.
        """
        seconds = watch_seconds(deadline)
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("labelSelector", label_selector),
            ("fieldSelector", field_selector),
            ("resourceVersion", resource_version or None),
            ("timeoutSeconds", seconds),
        ]
        what = f"watch of {kind.plural}"
        for line in self.lines(kind.path(namespace), what, query, float(seconds + 5), until=deadline):
            try:
                event = json.loads(line)
                happened, item = str(event["type"]), event["object"]
            except (ValueError, KeyError, TypeError) as error:
                raise self.nonsense(what, "no event") from error
            if happened == "ERROR":
                status = item if isinstance(item, dict) else {}
                code = int(status.get("code") or UNREADABLE)
                raise KubeError(self.name, what, str(status.get("message")), code, str(status.get("reason")), passing=code >= 500)
            yield happened, item
            if time.monotonic() >= deadline:
                return

    def pod_log(self, name: str, namespace: str, container: str | None = None, limit_bytes: int = 1 << 20) -> str:
        """The log of one container, at most `limit_bytes`."""
        path = POD_PATH.format(namespace=namespace, name=name) + "/log"
        return self.text(path, f"log of pod {namespace}/{name}", query=[("container", container), ("limitBytes", limit_bytes)])

    # -- writes --------------------------------------------------------------------------------------------------

    def create(self, definition: Json, dry_run: bool = False, unique: bool = False) -> Json:
        """Create one object; a KubeError of status 409 says that it exists.

        Where an answer was lost and the object is there as it was sent, it was this call that made it; `unique`: its name is of this call alone,
        so that its content need not be compared (webhooks change pods).
        """
        kind, name, namespace = self.locate(definition)
        what = _describe(kind, name, namespace)
        query = [("fieldManager", FIELD_MANAGER), ("dryRun", "All" if dry_run else None)]
        deadline = time.monotonic() + _CONTRADICTION_SECONDS
        while True:
            try:
                return self.request("POST", kind.path(namespace), what, query=query, body=definition, safe=True, final=(409,))
            except KubeError as error:
                # A quota that somebody else counts at the same moment is a conflict too, and says nothing about the object.
                if error.status != 409 or (dry_run and error.reason == "AlreadyExists"):
                    raise
                live = None if dry_run else self.get(kind, name, namespace)
                if live is not None and error.tries > 1 and (unique or _has(live, definition)):
                    return live
                if live is not None or time.monotonic() > deadline:
                    raise
            time.sleep(_CONTRADICTION_PAUSE_SECONDS)
            self.before_again()

    def apply(self, definition: Json, dry_run: bool = False, force: bool = True, accept: str | None = None) -> Json:
        """Server-side apply with this collection's field manager. `force` takes fields over from other managers.

        `accept` may ask for another form of the answer, such as METADATA_OF_ONE.
        """
        kind, name, namespace = self.locate(definition)
        query = [
            ("fieldManager", FIELD_MANAGER),
            ("force", "true" if force else "false"),
            ("dryRun", "All" if dry_run else None),
            _READ_ONCE,
        ]
        return self.request(
            "PATCH",
            kind.path(namespace, name),
            _describe(kind, name, namespace),
            query=query,
            body=definition,
            content_type="application/apply-patch+yaml",
            accept=accept,
            safe=True,
            # Without force a conflict is another manager's.
            final=() if force else (409,),
        )

    def replace(self, definition: Json) -> Json:
        """PUT. Its metadata.resourceVersion makes it fail with status 409 where somebody else changed the object meanwhile."""
        kind, name, namespace = self.locate(definition)
        what = _describe(kind, name, namespace)
        safe = bool(definition["metadata"].get("resourceVersion"))

        def put() -> Json:
            query = [("fieldManager", FIELD_MANAGER)]
            return self.request("PUT", kind.path(namespace, name), what, query=query, body=definition, safe=safe, final=(409,))

        return self._found_out(put, kind, name, namespace, definition)

    def merge_patch(self, kind: Kind, name: str, patch: Json, namespace: str | None = None, dry_run: bool = False, **options: Any) -> Json:
        """JSON merge patch (RFC 7386): a null removes a key.

        With a resourceVersion or UID in its metadata it is of one version, or of one very object, and fails with status 409 for another one.
        `options` are further ones of `request`, such as another form of the answer.
        """
        metadata = patch.get("metadata") or {}
        what = _describe(kind, name, namespace)

        def send() -> Json:
            return self.request(
                "PATCH",
                kind.path(namespace, name),
                what,
                query=[("fieldManager", FIELD_MANAGER), ("dryRun", "All" if dry_run else None), _READ_ONCE],
                body=patch,
                content_type="application/merge-patch+json",
                safe=bool(metadata.get("resourceVersion") or metadata.get("uid")),
                final=(409,),
                **options,
            )

        return self._found_out(send, kind, name, namespace, patch)

    def _found_out(self, write: Callable[[], Json], kind: Kind, name: str, namespace: str | None, wanted: Json) -> Json:
        """What `write` returns; or, where an answer was lost and the next one is a conflict, the object that has what was written."""
        try:
            return write()
        except KubeError as error:
            if error.status != 409 or error.tries == 1:
                raise
            live = self.get(kind, name, namespace)
            if live is None or not _has(live, wanted):
                raise
            return live

    def delete(self, kind: Kind, name: str, namespace: str | None = None, uid: str = "", grace_seconds: int | None = None) -> bool:
        """Delete one object; False where it was gone already. With `uid`, only that very object (409 otherwise)."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        what = _describe(kind, name, namespace)
        deadline = time.monotonic() + _CONTRADICTION_SECONDS
        while True:
            try:
                # An object of the same name that came meanwhile has another UID.
                self.request("DELETE", kind.path(namespace, name), what, body=body, safe=bool(uid), final=(409,))
            except KubeError as error:
                if error.status == 404:
                    # After a try without an answer this is the answer to it.
                    return error.tries > 1
                if error.status != 409 or not uid:
                    raise
                live = self.get(kind, name, namespace)
                still = live is not None and live["metadata"].get("uid") == uid
                if not still and error.tries > 1:
                    return True
                if not still or time.monotonic() > deadline:
                    raise
            else:
                return True
            time.sleep(_CONTRADICTION_PAUSE_SECONDS)
            self.before_again()

    def locate(self, definition: Json) -> tuple[Kind, str, str | None]:
        """Kind, name and namespace of a manifest."""
        kind = self.kind(definition["apiVersion"], definition["kind"])
        metadata = definition["metadata"]
        return kind, metadata["name"], metadata.get("namespace") if kind.namespaced else None


POD_PATH = "/api/v1/namespaces/{namespace}/pods/{name}"


def connect(kube_clusters: Sequence[Json]) -> dict[str, KubeCluster]:
    """Open all kube clusters, in sorted order of their names (locks and claims are taken in that order).

    Raises KubeError for a name given twice, a kubeconfig or context that is missing, and unreadable credentials. No
    request is sent yet.
    """
    names = [options["name"] for options in kube_clusters]
    for name in names:
        if names.count(name) > 1:
            raise KubeError(name, "kube_clusters", "this name is given twice; every kube cluster needs a name of its own")
    opened = [KubeCluster(entry) for entry in sorted(kube_clusters, key=lambda entry: str(entry["name"]))]
    # Credential plugins of clouds take a second each, so they run at the same time.
    in_parallel(KubeCluster.login, opened)
    return {cluster.name: cluster for cluster in opened}


def in_parallel(function: Callable[[T], R], items: Sequence[T], workers: int = MAX_CONNECTIONS) -> list[R]:
    """Call `function` for every item with at most `workers` threads; results in the order of the items.

    All items are tried; then the first error in the order of the items is raised.
    """
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
    return [future.result() for future in futures]


def each_cluster(clusters: dict[str, KubeCluster], function: Callable[[KubeCluster], R]) -> dict[str, R]:
    """Call `function` once for every kube cluster, all at the same time."""
    names = list(clusters)
    results = in_parallel(lambda name: function(clusters[name]), names, workers=max(1, len(names)))
    return dict(zip(names, results, strict=True))


def total_requests(clusters: dict[str, KubeCluster]) -> int:
    """Requests sent to all kube clusters so far."""
    return sum(cluster.requests for cluster in clusters.values())


def _describe(kind: Kind, name: str, namespace: str | None) -> str:
    return f"{kind.name} {namespace}/{name}" if namespace else f"{kind.name} {name}"


# Of the metadata that is written, what the API server gives itself.
_ITS_OWN = ("resourceVersion", "generation", "managedFields")


def _has(live: Any, wanted: Any) -> bool:
    """Whether an object that was read has all that was sent. Null stands for what must not be there (RFC 7386); defaults may have come."""
    if wanted in ({}, []):
        return not live  # the API server leaves out what is empty
    if isinstance(wanted, Mapping):
        there = {} if live is None else live
        return isinstance(there, Mapping) and all(
            there.get(key) is None if value is None else _has(there.get(key), value) for key, value in wanted.items() if key not in _ITS_OWN
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(_has(*pair) for pair in zip(live, wanted, strict=True))
    return bool(live == wanted)
