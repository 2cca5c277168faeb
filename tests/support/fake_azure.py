# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake of Azure Resource Manager, over https on loopback: the REST calls that the role vm_azure makes, and a managed identity's token endpoint."""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .kube_api import Authority

Json = dict[str, Any]
Answer = tuple[int, Json | None, dict[str, str]]

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/mc_prod_west_westeurope"
SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/aks-db-1-vmss"
CLUSTER = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/prod/providers/Microsoft.ContainerService/managedClusters/west"
POOL = f"{CLUSTER}/agentPools/db"
_READ_ONLY = ("eTag", "currentOrchestratorVersion", "nodeImageVersion", "provisioningState")


class FakeAzure:
    """One scale set with an instance in each of three zones: an AKS agent pool's, or with `aks` false one of nobody.

    An operation is over when it was asked about `polls` times, or its object was. `wishes` are the changes that were accepted. `failing` has by change
    the error that its operation ends with, `refusing` by change the answer instead of accepting it, `kill_after` the change after which the run is killed.
    """

    def __init__(self, folder: Path, aks: bool = True) -> None:
        self.aks = aks
        self.polls = 2
        self.wishes: list[str] = []
        self.failing: dict[str, Json] = {}
        self.refusing: dict[str, Answer] = {}
        self.kill_after = ""
        self.throttled = 0
        self.token = "made-up"
        self.tags: dict[str, str] = {"team": "db"}
        self.state = "Succeeded"
        self.pool: Json = {"type": "VirtualMachineScaleSets", "mode": "User", "orchestratorVersion": "1.33.4"}
        self.instances = {str(number): self._made(number, str(number + 1)) for number in range(3)}
        self.count = 3
        self._version = 0
        self._operations: dict[str, Json] = {}
        self._lock = threading.RLock()
        authority = Authority("azure-ca")
        self._ca = folder / "azure-ca.pem"
        self._ca.write_bytes(authority.pem)
        pair = folder / "azure.pem"
        pair.write_bytes(b"".join(authority.issue("azure", server=True)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What has azure-identity log in as a managed identity, whose endpoint is this server."""
        return {
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": "secret",
            "REQUESTS_CA_BUNDLE": str(self._ca),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # its name in the base class
                pass

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with fake._lock:
                    status, answer, headers = fake.answer(self.command, self.path, self.headers, json.loads(body) if body else {})
                data = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._any)
        return Handler

    @staticmethod
    def _made(number: int, zone: str) -> Json:
        view = {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/running"}]}
        return {
            "instanceId": str(number),
            "name": f"aks-db-1-vmss_{number}",
            "zones": [zone],
            "properties": {"provisioningState": "Succeeded", "instanceView": view},
        }

    def provider_id(self, number: int) -> str:
        return f"azure://{SET}/virtualMachines/{number}"

    def answer(self, method: str, path: str, headers: Any, body: Json) -> Answer:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == "/msi/token":
            if headers.get("X-IDENTITY-HEADER") != "secret" or not self.token:
                return 400, {"statusCode": 400, "message": "No managed identity was found", "correlationId": "1"}, {}
            token = {
                "access_token": self.token,
                "expires_on": str(int(time.time()) + 3600),
                "resource": query["resource"],
                "token_type": "Bearer",
            }
            return 200, token, {}
        if headers.get("Authorization") != "Bearer made-up":
            return 401, _error("InvalidAuthenticationToken", "The access token is invalid."), {}
        if self.throttled:
            self.throttled -= 1
            return 429, _error("TooManyRequests", "Too many requests."), {"Retry-After": "0"}
        if "api-version" not in query:
            return 400, _error("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required."), {}
        words = parts.path.lower()
        if not words.startswith(f"/subscriptions/{SUBSCRIPTION}/".lower()):
            name = parts.path.split("/")[2]
            return 404, _error("SubscriptionNotFound", f"The subscription '{name}' could not be found."), {}
        for root, handle in (
            (f"/subscriptions/{SUBSCRIPTION}/operations", self._operation),
            (SET, self._set),
            (POOL, self._pool),
            (GROUP, self._group),
        ):
            if words.startswith(root.lower()):
                return handle(method, words.removeprefix(root.lower()).strip("/"), query, headers, body)
        return 404, _error("ResourceNotFound", f"The Resource '{parts.path}' was not found."), {}

    def _group(self, method: str, rest: str, query: Json, headers: Any, body: Json) -> Answer:
        return 200, {"id": GROUP, "name": "mc_prod_west_westeurope", **({"managedBy": CLUSTER} if self.aks else {})}, {}

    def _operation(self, method: str, rest: str, query: Json, headers: Any, body: Json) -> Answer:
        operation = self._operations[rest]
        self._turn()
        if operation["left"] > 0:
            return (202 if "location" in query else 200), {"status": "InProgress"}, {"Retry-After": "0", **operation["headers"]}
        if operation["error"]:
            return 200, {"status": "Failed", "error": operation["error"]}, {}
        return 200, {"status": "Succeeded"}, {}

    def _turn(self) -> None:
        """Time passes when somebody asks."""
        for operation in self._operations.values():
            operation["left"] -= 1
            if operation["left"] == 0:
                operation["end"](bool(operation["error"]))

    def _accept(self, method: str, what: str, during: str, end: Callable[[], None], busy: bool = True) -> Answer:
        """A long-running operation: refused while another one runs, else begun."""
        if what.split(" ", 1)[0] in self.refusing:
            return self.refusing[what.split(" ", 1)[0]]
        if busy and self.state not in ("Succeeded", "Failed", "Canceled"):
            text = f"Operation is not allowed: Another agentpool operation (db - {self.state}) is in progress, please wait for it to finish"
            return 409, _error("OperationNotAllowed", text), {}
        self.wishes.append(what)
        self._version += 1
        name = str(len(self._operations) + 1)
        if busy:
            self.state = during

        def ended(failed: bool) -> None:
            if not failed:
                end()
            if busy:
                self.state = "Failed" if failed else "Succeeded"

        url = f"{self.url}/subscriptions/{SUBSCRIPTION}/operations/{name}?api-version=2025-10-01"
        headers = {"Azure-AsyncOperation": url} if self.aks else {"Location": f"{url}&location=1"}
        self._operations[name] = {"left": self.polls, "end": ended, "error": self.failing.get(what.split(" ", 1)[0]), "headers": headers}
        if self.kill_after and what.startswith(self.kill_after):
            self.kill_after = ""
            _kill_playbooks()
        return (200 if method in ("PUT", "PATCH") and self.aks else 202), ({} if self.aks else None), {"Retry-After": "0", **headers}

    def _grown(self) -> None:
        while len(self.instances) < self.count:
            number = max(int(name) for name in [*self.instances, "9"]) + 1
            zones = [item["zones"][0] for item in self.instances.values()]
            self.instances[str(number)] = self._made(number, min("123", key=zones.count))

    def _gone(self, number: str) -> Callable[[], None]:
        def end() -> None:
            self.instances.pop(number)
            self.count -= 1

        return end

    def _pool(self, method: str, rest: str, query: Json, headers: Any, body: Json) -> Answer:
        if rest == "machines":
            machines = [
                {"name": f"aks-db-1-vmss00000{name}", "properties": {"resourceId": f"{SET.upper()}/virtualMachines/{name}"}}
                for name in self.instances
            ]
            return self._paged(POOL, "machines", machines, query)
        if rest == "deletemachines":
            number = str(int(body["machineNames"][0][-6:]))
            answer = self._accept(method, f"deleteMachines {' '.join(body['machineNames'])}", "Deleting", self._gone(number))
            if answer[0] == 202:
                self.instances[number]["properties"]["provisioningState"] = "Deleting"
            return answer
        etag = f"e{self._version}"
        if method == "PUT":
            properties = body["properties"]
            if headers.get("If-Match") != etag:
                return 412, _error("PreconditionFailed", "The operation cannot be completed due to an etag mismatch."), {}
            if any(name in properties for name in _READ_ONLY) or properties.get("mode") != "User":
                return 400, _error("BadRequest", "properties are read-only, or missing"), {}
            return self._written(method, int(properties["count"]), properties["tags"])
        self._turn()
        known = {
            "count": self.count,
            "tags": self.tags,
            "eTag": etag,
            "currentOrchestratorVersion": "1.33.4",
            "provisioningState": self.state,
        }
        return 200, {"id": POOL, "name": "db", "properties": {**known, **self.pool}}, {}

    def _written(self, method: str, count: int, tags: dict[str, str]) -> Answer:
        if "count" in self.refusing and count > self.count:
            return self.refusing["count"]
        answer = self._accept(method, f"write {count} {' '.join(sorted(tags))}", "Updating", self._grown)
        if answer[0] in (200, 202):
            self.count, self.tags = count, dict(tags)
        return answer

    def _set(self, method: str, rest: str, query: Json, headers: Any, body: Json) -> Answer:
        if rest == "virtualmachines":
            # Without instanceView, as nobody has asked for it.
            listed = [
                {**item, "properties": {"provisioningState": item["properties"]["provisioningState"]}} for item in self.instances.values()
            ]
            return self._paged(SET, "virtualMachines", listed, query)
        if rest:
            _machines, number, *verb = rest.split("/")
            if number not in self.instances:
                return 404, _error("NotFound", "The entity was not found."), {}
            if method == "DELETE":
                self.instances[number]["properties"]["provisioningState"] = "Deleting"
                return self._accept(method, f"delete {number}", "Updating", self._gone(number))
            if method == "POST":
                return self._accept(method, f"{verb[0]} {number}", "", lambda: None, busy=False)
            return 200, self.instances[number], {}
        etag = f"e{self._version}"
        if method == "PATCH":
            if headers.get("If-Match") != etag:
                return 412, _error("PreconditionFailed", "The operation cannot be completed due to an etag mismatch."), {}
            return self._written(method, int(body["sku"]["capacity"]), body["tags"])
        self._turn()
        tags = {"aks-managed-poolName": "db"} if self.aks else self.tags
        properties = {"orchestrationMode": "Uniform", "provisioningState": "Succeeded" if self.aks else self.state}
        sku = {"name": "Standard_D4s_v5", "tier": "Standard", "capacity": self.count}
        return (
            200,
            {"name": "aks-db-1-vmss", "zones": ["1", "2", "3"], "sku": sku, "tags": tags, "properties": properties, "etag": etag},
            {},
        )

    def _paged(self, root: str, name: str, items: list[Json], query: Json) -> Answer:
        """Two pages, as of a large group."""
        if "page" in query:
            return 200, {"value": items[1:]}, {}
        return 200, {"value": items[:1], "nextLink": f"{self.url}{root}/{name}?api-version={query['api-version']}&page=2"}, {}


def _error(code: str, message: str) -> Json:
    return {"error": {"code": code, "message": message}}


def _kill_playbooks() -> None:
    """Kills each ansible-playbook that this process, or one of its, has started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    mine = {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= new
    for pid in mine - {os.getpid()}:
        try:
            if b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
