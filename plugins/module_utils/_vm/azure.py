# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Azure Resource Manager's REST API: azure-identity logs in, every way that Azure knows, and azure-core sends, and sends again what was throttled."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from .._call import Failure
from .._plan.vm import azure
from .._plan.vm.node import Call, where

Json = dict[str, Any]

_COMPUTE = "2024-11-01"
_AKS = "2025-10-01"
_RESOURCES = "2021-04-01"
# What Azure asks for may be minutes. The task has a timeout of its own (hostnet_step_timeout_seconds), which ends it sooner.
_OPERATION_SECONDS = 3600.0
_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_REQUEST_SECONDS = 60.0
# Somebody else is at work there (409), or has changed it since it was read (412), or too much is asked (429).
_LATER = (409, 412, 429)


class Azure:
    """One instance, and the group that makes another one."""

    def __init__(self, api_url: str, vm: Mapping[str, Any]) -> None:
        try:
            import azure.core.exceptions as errors  # noqa: PLC0415  # only who has VMs there needs it
            from azure import identity  # noqa: PLC0415
            from azure.core import PipelineClient, rest  # noqa: PLC0415
            from azure.core.pipeline import policies, transport  # noqa: PLC0415
        except ImportError as error:
            raise Failure(
                f"the Python packages azure-identity and azure-core cannot be imported by {sys.executable} ({error}). Nothing was changed. Install them "
                f"there: {sys.executable} -m pip install azure-identity. On the controller that is the Python of ansible-playbook"
            ) from error
        self._errors, self._new_request = errors, rest.HttpRequest
        self._where = where(vm)
        self._ids = azure.ids_of(vm)
        self._title = f"instance {self._ids.number} of scale set {self._ids.name}"
        self._api = api_url.rstrip("/")
        self._pool = ""
        if urlsplit(self._api).scheme != "https":
            raise Failure(
                f"api_url (vm_azure_api_url) is {api_url!r}, and has to begin with https://: a token is sent there. Nothing was changed"
            )
        with self._told("log in"):
            credential = identity.DefaultAzureCredential()
            self._client = PipelineClient(
                self._api,
                policies=[
                    policies.RetryPolicy(retry_total=5, retry_backoff_max=20, timeout=300),
                    policies.BearerTokenCredentialPolicy(credential, f"{self._api}/.default"),
                ],
                transport=transport.RequestsTransport(connection_timeout=10, read_timeout=_REQUEST_SECONDS),
            )

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What fails before Azure answers, in one line. `passing` where nobody was reached, so that a rollout resumes by itself."""
        try:
            yield
        except self._errors.ClientAuthenticationError as error:
            told = "; ".join(line.strip() for line in str(error.message).splitlines() if line.strip())
            raise Failure(f"{self._where}: Azure: {what}: cannot log in: {told}") from error
        except ValueError as error:
            # Of the environment's variables.
            raise Failure(f"{self._where}: Azure: {what}: {error}") from error
        except self._errors.AzureError as error:
            raise Failure(f"{self._where}: Azure: {what}: {error.message}", passing=True) from error

    def _request(
        self, method: str, path: str, version: str, what: str, body: Json | None = None, etag: str = "", missing: bool = False
    ) -> tuple[Json | None, Mapping[str, str]]:
        """The answer, None for what is not there where it may be `missing`; and its headers."""
        url = path if urlsplit(path).scheme else f"{self._api}{path}"
        query = f"{'&' if urlsplit(url).query else '?'}api-version={version}" if version else ""
        headers = {"Accept": "application/json", **({"If-Match": etag} if etag else {})}
        with self._told(what):
            answer = self._client.send_request(self._new_request(method, f"{url}{query}", headers=headers, json=body))
            text = answer.text()
        if answer.status_code == 404 and missing:
            return None, {}
        try:
            decoded = answer.json() if text.strip() else {}
        except ValueError:
            decoded = {}
        if answer.status_code < 400:
            return (decoded if isinstance(decoded, dict) else {}), {
                **{name.lower(): value for name, value in answer.headers.items()},
                "status": str(answer.status_code),
            }
        error = _error_of(decoded) or text[:200].strip() or "no text"
        later = ". Somebody else is at work there: wait until that is over, then run again" if answer.status_code in (409, 412) else ""
        raise Failure(
            f"{self._where}: Azure: {what}: {error} (status {answer.status_code}){later}",
            **({"passing": True} if answer.status_code in _LATER or answer.status_code >= 500 else {}),
        )

    def _get(self, path: str, version: str, what: str) -> Json:
        return self._request("GET", path, version, what)[0] or {}

    def _list(self, path: str, version: str, what: str) -> list[Json]:
        found: list[Json] = []
        answer = self._get(path, version, what)
        while True:
            found += answer.get("value") or []
            if not answer.get("nextLink"):
                return found
            answer = self._get(str(answer["nextLink"]), "", what)

    def look(self, node: Mapping[str, Any]) -> azure.Found:
        ids = self._ids
        # First of all: what else is not there might only be in a subscription that these credentials do not see.
        scale_set = self._get(ids.scale_set, _COMPUTE, f"read scale set {ids.name}")
        resource_group = self._get(ids.resource_group, _RESOURCES, f"read resource group {ids.resource_group.rpartition('/')[2]}")
        found: azure.Found = {"scale_set": scale_set, "instance": None, "instances": [], "pool": None, "machine": ""}
        cluster = azure.cluster_of(resource_group)
        if cluster:
            name = azure.pool_name(scale_set, node)
            self._pool = f"{cluster}/agentPools/{name}"
            title = f"agent pool {name} of AKS cluster {cluster.rpartition('/')[2]}"
            if not name:
                raise Failure(
                    f"{self._where}: scale set {ids.name} has no tag that names its agent pool. Nothing was changed: do this VM by hand"
                )
            found["pool"] = self._get(self._pool, _AKS, f"read {title}")
            found["machine"] = azure.machine_of(ids, self._list(f"{self._pool}/machines", _AKS, f"list the machines of {title}"))
        found["instances"] = self._list(f"{ids.scale_set}/virtualMachines", _COMPUTE, f"list the instances of scale set {ids.name}")
        found["instance"] = self._instance()
        return found

    def _instance(self) -> Json | None:
        return self._request("GET", f"{self._ids.instance}?$expand=instanceView", _COMPUTE, f"read {self._title}", missing=True)[0]

    def settle(self, found: azure.Found) -> None:
        """Until what an earlier call has begun there is over."""
        self._at_rest(azure.group_of(self._ids, found).title)

    def _group(self) -> tuple[azure.Group, Json, str]:
        """The group as it is now, as the API has it, and the version of both."""
        if self._pool:
            raw = self._get(self._pool, _AKS, "read its agent pool")
            etag = str(raw["properties"].get("eTag") or "")
        else:
            raw = self._get(self._ids.scale_set, _COMPUTE, "read its scale set")
            etag = str(raw.get("etag") or "")
        found: azure.Found = {"scale_set": raw, "instance": None, "instances": [], "pool": raw if self._pool else None, "machine": ""}
        return azure.group_of(self._ids, found), raw, etag

    def _at_rest(self, title: str, gone: bool = False) -> None:
        """Until nobody is at work at the group; with `gone`, and the instance is gone too."""
        deadline = time.monotonic() + _OPERATION_SECONDS
        while azure.is_busy(self._group()[0]) or (gone and self._instance() is not None):
            self._pause(deadline, f"wait for {title}", {})

    def _pause(self, deadline: float, what: str, headers: Mapping[str, str]) -> None:
        if time.monotonic() > deadline:
            raise Failure(
                f"{self._where}: Azure: {what}: not over after {_OPERATION_SECONDS / 60:.0f} minutes. Look there, then run again",
                passing=True,
            )
        asked = str(headers.get("retry-after") or "")
        time.sleep(min(float(asked), _LONGEST_PAUSE_SECONDS) if asked.isdecimal() else _PAUSE_SECONDS)

    def do(self, call: Call) -> None:
        if call.does == "mark":
            self._mark(call)
        elif call.does == "grow":
            self._grow(call)
        elif call.does == "delete" and self._pool:
            self._change("POST", f"{self._pool}/deleteMachines", _AKS, call.text, {"machineNames": [call.options["machine"]]})
        elif call.does == "delete":
            self._change("DELETE", self._ids.instance, _COMPUTE, call.text)
        else:
            self._change("POST", f"{self._ids.instance}/{call.does}", _COMPUTE, call.text)

    def _mark(self, call: Call) -> None:
        group, raw, etag = self._group()
        if group.count != call.options["count"] or group.tags.get(azure.TAG) != call.options["before"] or group.state != "Succeeded":
            raise Failure(
                f"{self._where}: {group.title} was changed by somebody else just now. Nothing was changed: run again", passing=True
            )
        self._write(raw, etag, call.text, group.count, {**group.tags, azure.TAG: call.options["value"]})

    def _grow(self, call: Call) -> None:
        self._at_rest("the deletion", gone=True)
        group, raw, etag = self._group()
        if group.mark[0] != call.options["uid"]:
            raise Failure(
                f"{self._where}: the VM is deleted, and {group.title} has lost the tag {azure.TAG} of it, so somebody else has changed it. See that it has "
                f"{call.options['count']} VMs, then run again"
            )
        if group.state != "Succeeded":
            raise Failure(
                f"{self._where}: the VM is deleted, and then {group.title} is {group.state}, which the next change might take up again. Look why, and bring it "
                f"to Succeeded, then run again: that brings it back to {call.options['count']} VMs"
            )
        tags = {key: value for key, value in group.tags.items() if key != azure.TAG}
        # Whoever has made it larger in the meantime is not undone.
        self._write(raw, etag, call.text, max(group.count, call.options["count"]), tags)

    def _write(self, raw: Json, etag: str, what: str, count: int, tags: Mapping[str, str]) -> None:
        if self._pool:
            self._change("PUT", self._pool, _AKS, what, azure.pool_request(raw, count=count, tags=dict(tags)), etag)
        else:
            body = {"sku": {**raw["sku"], "capacity": count}, "tags": dict(tags)}
            self._change("PATCH", self._ids.scale_set, _COMPUTE, what, body, etag)

    def _change(self, method: str, path: str, version: str, what: str, body: Json | None = None, etag: str = "") -> None:
        """Until the operation is over. Azure tells where to ask: Azure-AsyncOperation, Location, or the object itself."""
        answer, headers = self._request(method, path, version, what, body, etag)
        deadline = time.monotonic() + _OPERATION_SECONDS
        status_url, location = headers.get("azure-asyncoperation", ""), headers.get("location", "")
        while status_url:
            answer, headers = self._request("GET", status_url, "", what)
            status = str((answer or {}).get("status") or "")
            if status in ("Failed", "Canceled"):
                raise Failure(f"{self._where}: Azure: {what}: the operation is {status}: {_error_of(answer) or 'Azure does not say why'}")
            if status == "Succeeded":
                return
            self._pause(deadline, what, headers)
        while location and headers["status"] == "202":
            self._pause(deadline, what, headers)
            answer, headers = self._request("GET", location, "", what)
        if not location and method in ("PUT", "PATCH"):
            self._at_rest(what)


def _error_of(answer: Any) -> str:
    """The code and text of an error, and those of its details, which say more."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return ""
    details = [item for item in error.get("details") or [] if isinstance(item, dict)]
    told = [f"{item.get('code') or 'Error'}: {item.get('message') or 'no text'}" for item in (error, *details)]
    return " ".join("; ".join(dict.fromkeys(told)).split())
