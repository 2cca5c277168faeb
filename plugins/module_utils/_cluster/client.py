# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the API servers of several kube clusters.

The Python client of Kubernetes does what users know from kubectl and kubernetes.core: kubeconfig files, contexts, exec
credential plugins, tokens, proxies. Above it this module adds what bulk work needs: plain JSON instead of models, no
discovery, a bound on connections per API server, a count of requests, and errors that name the kube cluster.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from .._plan import retry
from .kinds import BUILT_IN, Kind

try:
    import urllib3
    import yaml
    from kubernetes import client as kubernetes_client
    from kubernetes import config as kubernetes_config
    from kubernetes.dynamic import DynamicClient

    KUBERNETES_IMPORT_ERROR: str | None = None
except ImportError:
    KUBERNETES_IMPORT_ERROR = traceback.format_exc()

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

FIELD_MANAGER = "hostnet.multicluster"
MAX_CONNECTIONS = 8  # to each API server: what saturates one API server on two cores; more only queues there
CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
# Lists objects without spec and status, a fraction of the bytes for nodes (served since Kubernetes 1.15).
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

# `status` of a KubeError about an object that was read and makes no sense: the API server did answer.
UNREADABLE = 422

# `reason` of a KubeError about an API server whose certificate nobody vouches for.
NOT_TRUSTED = "CertificateNotTrusted"

# A watch is begun anew after that long: a connection that died without a word costs no more than this.
WATCH_SECONDS = 60

# The options of one kube cluster, named as users of kubernetes.core know them. `name` is ours.
KUBE_CLUSTER_OPTIONS: dict[str, Json] = {
    "name": {"type": "str", "required": True},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
    "validate_certs": {"type": "bool", "default": True, "aliases": ["verify_ssl"]},
    "tls_server_name": {"type": "str"},
    "proxy": {"type": "str"},
    "no_proxy": {"type": "str"},
    "impersonate_user": {"type": "str"},
    "impersonate_groups": {"type": "list", "elements": "str"},
}


def kube_clusters_argument() -> Json:
    """Argument spec of the option `kube_clusters`, the same in every module."""
    return {"type": "list", "elements": "dict", "required": True, "options": KUBE_CLUSTER_OPTIONS}


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


class KubeError(Exception):
    """A request that failed. Its text is one line and names the kube cluster, the object and what to do.

    `status` is the HTTP status (0 when no answer came), `reason` the API server's own short word (`NotFound`, ...), `tries` how often it was sent.
    `next_page`: of a list whose pages are too old (410), where the rest of it begins.
    """

    def __init__(
        self, kube_cluster: str, what: str, detail: str, status: int = 0, reason: str = "", tries: int = 1, next_page: str = ""
    ) -> None:
        self.detail = f"{detail} ({tries} tries)" if tries > 1 else detail
        super().__init__(f"kube cluster {kube_cluster}: {what}: {self.detail}")
        self.kube_cluster = kube_cluster
        self.what = what
        self.status = status
        self.reason = reason
        self.tries = tries
        self.next_page = next_page

    @property
    def unreachable(self) -> bool:
        """True where the API server gave no answer at all: unreachable is not dead, and nothing may be concluded."""
        return self.status == 0


class KubeCluster:
    """One kube cluster. Safe to use from several threads; `requests` counts every request sent."""

    def __init__(self, options: Json) -> None:
        self.name: str = options["name"]
        self.requests = 0
        # Called before a write is sent again: what was true before the first try may not be true any more. Raises where it is not.
        self.before_again: Callable[[], object] = lambda: None
        self._count_lock = threading.Lock()
        self._configuration = _configuration(options)
        api = kubernetes_client.ApiClient(self._configuration)
        if options.get("impersonate_user"):
            api.set_default_header("Impersonate-User", options["impersonate_user"])
        if options.get("impersonate_groups"):
            # One header is all that the client can carry; the API server takes repeated headers only.
            if len(options["impersonate_groups"]) > 1:
                raise KubeError(self.name, "impersonate_groups", "one group is supported, give a single one")
            api.set_default_header("Impersonate-Group", options["impersonate_groups"][0])
        self.api = api
        # The client would ask the API server for every group it serves; the kinds we need are in kinds.py.
        self._dynamic = DynamicClient(api, discoverer=lambda *_: None)
        self._kinds = dict(BUILT_IN)

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self._configuration.host)

    # -- requests ------------------------------------------------------------------------------------------------

    def count_request(self) -> None:
        """Count a request that was not sent through `request` (exec, port-forward)."""
        with self._count_lock:
            self.requests += 1

    def _send(
        self,
        method: str,
        path: str,
        what: str,
        read: Callable[[Any], T],
        query: Iterable[tuple[str, Any]] = (),
        body: Any = None,
        content_type: str | None = None,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        accept: str | None = None,
        safe: bool | None = None,
        again: bool = True,
        until: float | None = None,
    ) -> T:
        """Send a request until it is answered or there is no sense in it (_plan/retry.py), and return what `read` makes of the answer.

        `safe`: doing it twice changes nothing more than once; reads are. `again` false: an answer of 429 means something else than "later". After
        `until` (time.monotonic() seconds) it is not sent again.
        """
        params: Json = {
            "query_params": [(key, value) for key, value in query if value is not None],
            "_request_timeout": (CONNECT_TIMEOUT_SECONDS, read_timeout),
            "serialize": False,
        }
        if content_type:
            params["content_type"] = content_type
        if accept:
            params["header_params"] = {"Accept": accept}
        harmless = method == "GET" if safe is None else safe
        started, tries = time.monotonic(), 0
        while True:
            self.count_request()
            tries += 1
            try:
                return read(self._dynamic.request(method, path, body=body, **params))
            except Exception as error:  # the client raises its own, urllib3's and ssl's exceptions; all end the same way here
                failed = self.explain(what, error, tries)
                pause = retry.pause(
                    _failure(failed, error),
                    safe=harmless,
                    tries=tries,
                    elapsed=time.monotonic() - started,
                    now=datetime.now(UTC),
                    jitter=random.random,
                )
                if not again or pause is None or (until is not None and time.monotonic() + pause > until):
                    raise failed from error
            time.sleep(pause)
            if method != "GET":
                self.before_again()

    def request(self, method: str, path: str, what: str, object_hook: Callable[[Json], Any] | None = None, **options: Any) -> Json:
        """Send one request and return the decoded JSON. `what` names the object in errors, for example `node east-1`.

        `object_hook` is json's: it may drop what nobody needs before the whole answer is in memory.
        """
        data = self._send(method, path, what, lambda response: response.data, **options)
        if not data:
            return {}
        try:
            decoded: Json = json.loads(data, object_hook=object_hook)
        except ValueError as error:
            detail = f"{self.host} answered with something that is no JSON ({error}); check what stands between here and the API server"
            raise KubeError(self.name, what, detail, UNREADABLE) from error
        return decoded

    def text(self, path: str, what: str, **options: Any) -> str:
        """GET something that is not JSON, such as a pod's log."""
        data: bytes = self._send("GET", path, what, lambda response: response.data, accept="*/*", **options)
        return data.decode("utf-8", "replace")

    def explain(self, what: str, error: Exception, tries: int = 1) -> KubeError:
        """A KubeError for any exception of the client; `status`, `reason` and `body` of the exception are used where it has them."""
        status = int(getattr(error, "status", 0) or 0)
        if not status:
            cause = _root_cause(error)
            if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                detail = f"the certificate of {self.host} is not trusted ({cause}); give the right ca_cert or tls_server_name"
                return KubeError(self.name, what, detail, reason=NOT_TRUSTED, tries=tries)
            detail = f"no answer from {self.host} ({cause}); check the kubeconfig, the network and the API server"
            return KubeError(self.name, what, detail, tries=tries)
        reason, message, next_page = "", str(getattr(error, "reason", "") or error), ""
        body = getattr(error, "body", None)
        # What stands before an API server answers in HTML.
        with contextlib.suppress(ValueError, AttributeError):
            decoded = json.loads(body) if body else {}
            reason, message = decoded.get("reason", ""), decoded.get("message") or message
            next_page = str((decoded.get("metadata") or {}).get("continue") or "")
        if status == 401:
            message = f"the credentials were refused (401 {message}); renew the token or certificate in the kubeconfig"
        elif status == 403:
            message = f"{message}; grant it as docs/rbac.yaml does"
        return KubeError(self.name, what, message, status, reason, tries, next_page)

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
        """Yield (`ADDED`|`MODIFIED`|`DELETED`, object) until `deadline` (time.monotonic() seconds).

        Ends quietly at the deadline, after WATCH_SECONDS, when the stream is closed or cut off: list again and watch on from there. A stream that
        the server says is too old (410) ends the same way.
        """
        seconds = max(1, min(WATCH_SECONDS, int(deadline - time.monotonic())))
        query = [
            ("watch", "true"),
            ("labelSelector", label_selector),
            ("fieldSelector", field_selector),
            ("resourceVersion", resource_version or None),
            ("timeoutSeconds", seconds),
        ]
        what = f"watch of {kind.plural}"
        response = self._send(
            "GET", kind.path(namespace), what, lambda answer: answer, query=query, read_timeout=float(seconds + 5), until=deadline
        )
        try:
            buffer = b""
            for chunk in response.stream(amt=None, decode_content=False):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    if not line.strip():
                        continue
                    try:
                        event = json.loads(line)
                        happened, item = str(event["type"]), event["object"]
                    except (ValueError, KeyError, TypeError) as error:
                        detail = f"{self.host} sent something that is no event; check what stands between here and the API server"
                        raise KubeError(self.name, what, detail, UNREADABLE) from error
                    if happened == "ERROR":
                        return
                    if happened != "BOOKMARK":
                        yield happened, item
                if time.monotonic() >= deadline:
                    return
        except (urllib3.exceptions.HTTPError, OSError):
            # Cut off or fallen silent: nothing is known of what came meanwhile, as after an end. The next LIST says it.
            return
        finally:
            response.close()

    def pod_log(self, name: str, namespace: str, container: str | None = None, limit_bytes: int = 1 << 20) -> str:
        """The log of one container, at most `limit_bytes`."""
        path = POD_PATH.format(namespace=namespace, name=name) + "/log"
        return self.text(path, f"log of pod {namespace}/{name}", query=[("container", container), ("limitBytes", limit_bytes)])

    # -- writes --------------------------------------------------------------------------------------------------

    def create(self, definition: Json, dry_run: bool = False) -> Json:
        """Create one object; a KubeError of status 409 says that it exists."""
        kind, name, namespace = self.locate(definition)
        query = [("fieldManager", FIELD_MANAGER), ("dryRun", "All" if dry_run else None)]
        return self.request("POST", kind.path(namespace), _describe(kind, name, namespace), query=query, body=definition)

    def apply(self, definition: Json, dry_run: bool = False, force: bool = True) -> Json:
        """Server-side apply with this collection's field manager. `force` takes fields over from other managers."""
        kind, name, namespace = self.locate(definition)
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false"), ("dryRun", "All" if dry_run else None)]
        return self.request(
            "PATCH",
            kind.path(namespace, name),
            _describe(kind, name, namespace),
            query=query,
            body=definition,
            content_type="application/apply-patch+yaml",
            safe=True,
        )

    def replace(self, definition: Json) -> Json:
        """PUT: with metadata.resourceVersion set it fails with status 409 when somebody else changed the object meanwhile."""
        kind, name, namespace = self.locate(definition)
        query = [("fieldManager", FIELD_MANAGER)]
        return self.request("PUT", kind.path(namespace, name), _describe(kind, name, namespace), query=query, body=definition)

    def merge_patch(self, kind: Kind, name: str, patch: Json, namespace: str | None = None, dry_run: bool = False) -> Json:
        """JSON merge patch (RFC 7386): a null removes a key."""
        query = [("fieldManager", FIELD_MANAGER), ("dryRun", "All" if dry_run else None)]
        return self.request(
            "PATCH",
            kind.path(namespace, name),
            _describe(kind, name, namespace),
            query=query,
            body=patch,
            content_type="application/merge-patch+json",
        )

    def delete(self, kind: Kind, name: str, namespace: str | None = None, uid: str | None = None, grace_seconds: int | None = None) -> bool:
        """Delete one object; False where it was gone already. With `uid`, only that very object (409 otherwise)."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            # An object of the same name that came meanwhile has another UID.
            self.request("DELETE", kind.path(namespace, name), _describe(kind, name, namespace), body=body, safe=bool(uid))
        except KubeError as error:
            if error.status == 404:
                # After a try without an answer this is the answer to it.
                return error.tries > 1
            raise
        return True

    def locate(self, definition: Json) -> tuple[Kind, str, str | None]:
        """Kind, name and namespace of a manifest."""
        kind = self.kind(definition["apiVersion"], definition["kind"])
        metadata = definition["metadata"]
        return kind, metadata["name"], metadata.get("namespace") if kind.namespaced else None


_POOL = re.compile(r"^(HTTPS?Connection(Pool)?\(host=.*?\)|<urllib3\.\S+ object at \w+>): ")

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
    # Credential plugins of clouds take a second each, so they run at the same time.
    opened = in_parallel(KubeCluster, sorted(kube_clusters, key=lambda entry: str(entry["name"])))
    return {cluster.name: cluster for cluster in opened}


def contexts(kubeconfig: str) -> list[str]:
    """Names of the contexts of a kubeconfig (several paths joined by os.pathsep: of all), each once, in their order.

    Raises ValueError where a file is missing or is no kubeconfig.
    """
    found: dict[str, None] = {}
    for path in kubeconfig.split(os.pathsep):
        try:
            with open(path, encoding="utf-8") as source:
                content = yaml.safe_load(source)
            found.update(dict.fromkeys(str(context["name"]) for context in content.get("contexts") or []))
        except OSError as error:
            raise ValueError(f"kubeconfig {path} cannot be read: {error.strerror}; give kubeconfig or kube_clusters") from error
        except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            # A parser's text could quote the file, and with it a token.
            raise ValueError(f"kubeconfig {path} is not a kubeconfig ({type(error).__name__})") from error
    return list(found)


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


# Of an address that nobody is at, or that no way leads to.
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def _failure(failed: KubeError, error: BaseException) -> retry.Failure:
    """What _plan/retry.py has to know of a try that failed."""
    if failed.status:
        headers = getattr(error, "headers", None) or {}
        return retry.Failure(failed.status, retry.ANSWERED, str(headers.get("Retry-After") or ""))
    cause = _innermost(error)
    if isinstance(cause, (ConnectionRefusedError, TimeoutError, socket.gaierror, urllib3.exceptions.TimeoutError)):
        return retry.Failure(how=retry.UNREACHED)
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        return retry.Failure(how=retry.UNREACHED)
    # TLS that ends in the middle is a connection that broke; everything else that it refuses, it refuses again.
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return retry.Failure(how=retry.HOPELESS)
    broke = isinstance(cause, (ConnectionError, ssl.SSLError, http.client.HTTPException, urllib3.exceptions.ProtocolError))
    return retry.Failure(how=retry.BROKEN if broke else retry.HOPELESS)


def _describe(kind: Kind, name: str, namespace: str | None) -> str:
    return f"{kind.name} {namespace}/{name}" if namespace else f"{kind.name} {name}"


def _innermost(error: BaseException) -> BaseException:
    """The exception at the bottom: urllib3 keeps the one of ssl or socket in `reason` or as first argument, the client chains."""
    for inner in (getattr(error, "reason", None), *error.args[:1], error.__cause__, error.__context__):
        # Where a request is sent while another one's error is handled, that one is no cause of this.
        if isinstance(inner, BaseException) and not isinstance(inner, KubeError):
            return _innermost(inner)
    return error


def _root_cause(error: BaseException) -> str:
    innermost = _innermost(error)
    # urllib3 begins with the object that failed; the host is named in our own text already.
    text = _POOL.sub("", str(innermost).split("\n", 1)[0])
    return text[:300] or type(innermost).__name__


class _Said(logging.Handler):
    """What the client logs as errors in this thread.

    It does not raise where an exec credential plugin fails, and would go on as nobody, only to be refused by the API server.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(" ".join(record.getMessage().split())[:300])


def _configuration(options: Json) -> Any:
    """The client's Configuration of one kube cluster, from its kubeconfig or from host and credentials given directly."""
    name = options["name"]
    configuration = kubernetes_client.Configuration()
    kubeconfig, context = options.get("kubeconfig"), options.get("context")
    if options.get("host") and not kubeconfig and not context:
        configuration.host = options["host"]
    else:
        path = os.path.expanduser(kubeconfig or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG") or "~/.kube/config")
        # A KUBECONFIG of several files joined by a colon is the client's own affair: it merges them.
        for part in path.split(os.pathsep):
            if not os.access(part, os.R_OK):
                raise KubeError(name, "kubeconfig", f"{part} is missing or cannot be read; give kubeconfig: for this kube cluster")
        where = f"context {context or '(current)'} of kubeconfig {path}"
        said = _Said()
        logging.getLogger().addHandler(said)
        try:
            kubernetes_config.load_kube_config(config_file=path, context=context, client_configuration=configuration, persist_config=False)
        except Exception as error:  # yaml errors and ConfigException: both mean that this kubeconfig is of no use
            raise KubeError(name, where, f"{_root_cause(error)}; check the name of the context") from error
        finally:
            logging.getLogger().removeHandler(said)
        if said.messages and not options.get("api_key"):
            raise KubeError(name, where, f"no credentials ({said.messages[0]}); run the kubeconfig's login or credential command by hand")
        if options.get("host"):
            configuration.host = options["host"]
    if options.get("api_key"):
        for key in ("authorization", "BearerToken"):
            configuration.api_key[key] = "Bearer " + options["api_key"]
    for option, attribute in (
        ("ca_cert", "ssl_ca_cert"),
        ("client_cert", "cert_file"),
        ("client_key", "key_file"),
        ("tls_server_name", "tls_server_name"),
        ("proxy", "proxy"),
        ("no_proxy", "no_proxy"),
    ):
        if options.get(option):
            setattr(configuration, attribute, options[option])
    if options.get("validate_certs") is False:
        configuration.verify_ssl = False
        # One warning for each request would say no more than the option does.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    configuration.connection_pool_maxsize = MAX_CONNECTIONS
    # urllib3 knows neither which writes are safe nor the API server's word; _plan/retry.py does.
    configuration.retries = False
    # A client that does not know it has the kernel's defaults, and the end of each watch.
    configuration.keep_alive = True
    return configuration
