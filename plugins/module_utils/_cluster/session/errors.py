# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request that failed ends with, and what each exception below it says about sending it again."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from ..._plan import retry

# Its absence is reported by whoever opens a connection.
with contextlib.suppress(ImportError):
    import urllib3

Json = dict[str, Any]

# `status` of a KubeError about an object that was read and makes no sense: the API server did answer.
UNREADABLE = 422

# `reason` of a KubeError about an API server whose certificate nobody vouches for, and about credentials that nobody gave.
NOT_TRUSTED = "CertificateNotTrusted"
NO_CREDENTIALS = "NoCredentials"

# Of an address that nobody is at, or that no way leads to.
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)

_POOL = re.compile(r"^(HTTPS?Connection(Pool)?\(host=.*?\)|<urllib3\.\S+ object at \w+>): ")


class KubeError(Exception):
    """A request that failed. Its text is one line and names the kube cluster, the object and what to do.

    `status` is the HTTP status (0 when no answer came), `reason` the API server's own short word (`NotFound`, ...), `tries` how often it was sent.
    `next_page`: of a list whose pages are too old (410), where the rest of it begins. `passing`: the same request may well succeed later, because
    no answer came, or from an API server that is busy or being restarted.
    """

    def __init__(
        self,
        kube_cluster: str,
        what: str,
        detail: str,
        status: int = 0,
        reason: str = "",
        tries: int = 1,
        next_page: str = "",
        passing: bool = False,
    ) -> None:
        self.detail = f"{detail} ({tries} tries)" if tries > 1 else detail
        super().__init__(f"kube cluster {kube_cluster}: {what}: {self.detail}")
        self.kube_cluster = kube_cluster
        self.what = what
        self.status = status
        self.reason = reason
        self.tries = tries
        self.next_page = next_page
        self.passing = passing

    @property
    def unreachable(self) -> bool:
        """True where the API server gave no answer at all: unreachable is not dead, and nothing may be concluded."""
        return self.status == 0 and self.reason != NO_CREDENTIALS


class Answered(Exception):
    """An answer with an HTTP status of 400 or above."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body


def explained(kube_cluster: str, host: str, what: str, error: Exception, tries: int = 1) -> KubeError:
    """A KubeError for whatever a request ended with."""
    if isinstance(error, KubeError):
        return error
    if not isinstance(error, Answered):
        cause = root_cause(error)
        if isinstance(_innermost(error), ssl.SSLCertVerificationError):
            detail = f"the certificate of {host} is not trusted ({cause}); give the right ca_cert or tls_server_name"
            return KubeError(kube_cluster, what, detail, reason=NOT_TRUSTED, tries=tries)
        detail = f"no answer from {host} ({cause}); check the kubeconfig, the network and the API server"
        return KubeError(kube_cluster, what, detail, tries=tries, passing=failure(error).how != retry.HOPELESS)
    reason, message, next_page = "", error.reason or str(error), ""
    # What stands before an API server answers in HTML.
    with contextlib.suppress(ValueError, AttributeError):
        decoded = json.loads(error.body) if error.body else {}
        reason, message = decoded.get("reason", ""), decoded.get("message") or message
        next_page = str((decoded.get("metadata") or {}).get("continue") or "")
    if error.status == 401:
        message = f"the credentials were refused (401 {message}); renew the token or certificate in the kubeconfig"
    elif error.status == 403:
        message = f"{message}; grant it as docs/rbac.yaml does"
    passing = error.status == 429 or error.status >= 500
    return KubeError(kube_cluster, what, message, error.status, reason, tries, next_page, passing)


def failure(error: Exception) -> retry.Failure:
    """What _plan/retry.py has to know of a try that failed."""
    if isinstance(error, Answered):
        return retry.Failure(error.status, retry.ANSWERED, str(error.headers.get("Retry-After") or ""))
    cause = _innermost(error)
    unreached = (ConnectionRefusedError, socket.gaierror, urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    if isinstance(error, unreached) or isinstance(cause, unreached) or (isinstance(cause, OSError) and cause.errno in _NO_ROUTE):
        return retry.Failure(how=retry.UNREACHED)
    if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return retry.Failure(how=retry.SILENT)
    # TLS that ends in the middle is a connection that broke; everything else that it refuses, it refuses again.
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return retry.Failure(how=retry.HOPELESS)
    broke = isinstance(cause, (ConnectionError, ssl.SSLError, http.client.HTTPException, urllib3.exceptions.ProtocolError))
    return retry.Failure(how=retry.BROKEN if broke else retry.HOPELESS)


def _innermost(error: BaseException) -> BaseException:
    """The exception at the bottom: urllib3 keeps the one of ssl or socket in `reason` or as first argument, others chain."""
    for inner in (getattr(error, "reason", None), *error.args[:1], error.__cause__, error.__context__):
        # Where a request is sent while another one's error is handled, that one is no cause of this. Nor is it one that TLS had nothing to read yet,
        # after which websocket-client waits and reads again.
        if isinstance(inner, BaseException) and not isinstance(inner, (KubeError, ssl.SSLWantReadError, ssl.SSLWantWriteError)):
            return _innermost(inner)
    return error


def root_cause(error: BaseException) -> str:
    """The text of what is at the bottom, in one line."""
    innermost = _innermost(error)
    # urllib3 begins with the object that failed; the host is named in our own text already.
    text = _POOL.sub("", str(innermost).split("\n", 1)[0])
    return text[:300] or type(innermost).__name__
