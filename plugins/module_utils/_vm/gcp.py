# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute Engine's REST API, as whoever google-auth logs in: Google's own library, which knows every way to do that."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .._call import Failure
from .._plan.vm import gcp
from .._plan.vm.node import Call

Json = dict[str, Any]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# How long an operation may take to be accepted; the VM takes longer, which the rollout's next step waits for.
_ACCEPTED_SECONDS = 120.0
_PAUSE_SECONDS = 2.0
_REQUEST_SECONDS = 60.0


class Gcp:
    """One VM's project and zone."""

    def __init__(self, api_url: str, project: str, zone: str, name: str) -> None:
        try:
            import google.auth  # noqa: PLC0415  # only who has VMs there needs it
            import google.auth.exceptions  # noqa: PLC0415
            import google.auth.transport.requests  # noqa: PLC0415
            import requests  # noqa: PLC0415
        except ImportError as error:
            raise Failure(
                f"the Python packages google-auth and requests cannot be imported by {sys.executable} ({error}). Nothing was changed. Install them there: "
                f"{sys.executable} -m pip install google-auth requests. On the controller that is the Python of ansible-playbook"
            ) from error
        self._refused, self._unreachable = google.auth.exceptions.GoogleAuthError, requests.exceptions.RequestException
        self._project = f"{api_url.rstrip('/')}/projects/{quote(project)}"
        self._instance = f"{self._project}/zones/{zone}/instances/{name}"
        self._name, self._zone = name, zone
        with self._told("log in"):
            credentials, _project = google.auth.default(scopes=[_SCOPE])
            self._session = google.auth.transport.requests.AuthorizedSession(credentials)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._refused as error:
            raise Failure(f"Google Cloud: {what}: {error}") from error
        except self._unreachable as error:
            raise Failure(f"Google Cloud: {what}: {error}", passing=True) from error

    def _request(self, method: str, url: str, what: str, body: Json | None = None) -> Json | None:
        """The answer; None for what is not there."""
        with self._told(what):
            answer = self._session.request(method, url, json=body, timeout=_REQUEST_SECONDS)
            if answer.status_code == 404 and method == "GET":
                return None
            try:
                decoded: Json = answer.json()
            except ValueError as error:
                raise Failure(
                    f"Google Cloud: {what}: status {answer.status_code} without JSON", passing=answer.status_code >= 500
                ) from error
            if not answer.ok:
                text = (decoded.get("error") or {}).get("message") or decoded
                raise Failure(f"Google Cloud: {what}: {text} (status {answer.status_code})", passing=answer.status_code >= 500)
            return decoded

    def look(self) -> gcp.Found:
        instance = self._request("GET", self._instance, f"read VM {self._name}")
        group = gcp.group_of(instance) if instance else ""
        return {"instance": instance, "managed": self._managed(group) if group else None}

    def _managed(self, group: str) -> Json | None:
        token: str | None = ""
        while token is not None:
            page = f"?pageToken={quote(token)}" if token else ""
            what = f"list the VMs of {group}"
            answer = self._request("POST", f"{self._project}/{group}/listManagedInstances{page}", what) or {}
            for entry in answer.get("managedInstances") or []:
                if str(entry.get("instance", "")).endswith(f"/zones/{self._zone}/instances/{self._name}"):
                    return dict(entry)
            token = answer.get("nextPageToken")
        return None

    def do(self, call: Call) -> None:
        query = f"?requestId={call.options['request_id']}"
        if call.does == "reset":
            operation = self._request("POST", f"{self._instance}/reset{query}", call.text)
        else:
            url = f"{self._project}/{call.options['group']}/recreateInstances{query}"
            operation = self._request("POST", url, call.text, {"instances": [f"zones/{self._zone}/instances/{self._name}"]})
        self._accepted(operation or {}, call)

    def _accepted(self, operation: Json, call: Call) -> None:
        """Until the operation is DONE, which says that the wish was taken, and not yet that the VM is there."""
        place = "/".join(call.options.get("group", f"zones/{self._zone}").split("/")[:2])
        deadline = time.monotonic() + _ACCEPTED_SECONDS
        while operation.get("status") != "DONE":
            if time.monotonic() > deadline:
                raise Failure(f"Google Cloud: {call.text}: not done after {_ACCEPTED_SECONDS:.0f} seconds: run again", passing=True)
            time.sleep(_PAUSE_SECONDS)
            operation = self._request("GET", f"{self._project}/{place}/operations/{operation['name']}", call.text) or {}
        errors = (operation.get("error") or {}).get("errors") or []
        if errors:
            raise Failure(f"Google Cloud: {call.text}: {'; '.join(str(error.get('message') or error.get('code')) for error in errors)}")
