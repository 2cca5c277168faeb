# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of the clouds, in a virtual environment of their own, moto's server, and a fake of Compute Engine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .environments import environment

Json = dict[str, Any]


def packages() -> str:
    """The folder of its packages, for PYTHONPATH: a user has them where ansible-playbook is."""
    return str(next((environment("clouds") / "lib").glob("python*/site-packages")))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The URL of a moto server, which plays AWS."""
    url = f"http://127.0.0.1:{free_port()}"
    command: list[str | Path] = [
        environment("clouds") / "bin" / "python",
        "-m",
        "moto.server",
        "-H",
        "127.0.0.1",
        "-p",
        url.rpartition(":")[2],
    ]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with open(folder / "moto.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=clean)
    try:
        wait = threading.Event()
        for _try in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
                break
            if process.poll() is not None:
                break
            wait.wait(0.1)
        else:
            raise RuntimeError("moto did not answer")
        if process.poll() is not None:
            raise RuntimeError((folder / "moto.log").read_text()[-2000:])
        yield url
    finally:
        process.kill()
        process.wait()


class FakeComputeEngine:
    """The REST calls of Compute Engine that the role vm_gcp makes, and the token endpoint that google-auth asks with a key file.

    `vms` are instances by name, `actions` the currentAction of each; a VM that is recreated gets another id as soon as `finish` is called. `wishes`
    are the writes, each request id once.
    """

    project, zone, group = "project", "europe-west1-b", "gke-members"

    def __init__(self) -> None:
        self.vms: dict[str, Json] = {}
        self.actions: dict[str, str] = {}
        self.wishes: list[str] = []
        self.refuse = ""
        self._ids: dict[str, Json] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # its name in the base class
                pass

            def _answer(self, status: int, body: Json) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self._answer(*fake.answer("GET", self.path, self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._answer(*fake.answer("POST", self.path, self.headers.get("Authorization", ""), body))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def key_file(self, folder: Path, key: bytes) -> Path:
        """A service account's key file, whose token endpoint is this server."""
        account = {"type": "service_account", "project_id": self.project, "client_email": "test@example.com", "private_key": key.decode()}
        path = folder / "account.json"
        path.write_text(json.dumps({**account, "private_key_id": "1", "client_id": "1", "token_uri": f"{self.url}/token"}))
        return path

    def vm(self, name: str, number: int, **more: Any) -> None:
        made_by = f"projects/42/zones/{self.zone}/instanceGroupManagers/{self.group}"
        metadata = {"items": [{"key": "created-by", "value": made_by}]}
        created = "2020-01-01T00:00:00.000+00:00"
        self.vms[name] = {"name": name, "id": str(number), "status": "RUNNING", "metadata": metadata, "creationTimestamp": created, **more}
        self.actions[name] = "NONE"

    def finish(self, name: str) -> None:
        """The group is through with recreating the VM."""
        self.vm(name, int(self.vms[name]["id"]) + 1, creationTimestamp="2100-01-01T00:00:00.000+00:00")

    def answer(self, method: str, path: str, authorization: str, body: bytes = b"") -> tuple[int, Json]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == "/token":
            return 200, {"access_token": "made-up", "expires_in": 3600, "token_type": "Bearer"}
        if authorization != "Bearer made-up":
            return 401, {"error": {"message": "Request had invalid authentication credentials"}}
        root = f"/compute/v1/projects/{self.project}/zones/{self.zone}/"
        if not parts.path.startswith(root):
            return 404, {"error": {"message": f"{parts.path} was not found"}}
        words = parts.path.removeprefix(root).split("/")
        if words[0] == "operations":
            return 200, {"name": words[1], "status": "DONE"}
        if words[0] == "instances" and words[1] not in self.vms:
            return 404, {"error": {"message": f"The resource '{parts.path}' was not found"}}
        if words[0] == "instances" and method == "GET":
            return 200, self.vms[words[1]]
        if words[0] == "instanceGroupManagers" and words[2] == "listManagedInstances":
            # Two pages, as of a large group.
            names = sorted(self.actions)
            page = names[:1] if "pageToken" not in query else names[1:]
            found = [{"instance": f"https://x{root}instances/{name}", "currentAction": self.actions[name]} for name in page]
            return 200, {"managedInstances": found, **({"nextPageToken": "2"} if "pageToken" not in query and names[1:] else {})}
        if self.refuse:
            return 403, {"error": {"message": self.refuse}}
        if query["requestId"] not in self._ids:
            targets = [words[1]] if words[0] == "instances" else [url.split("/")[-1] for url in json.loads(body)["instances"]]
            self.wishes += [f"{words[-1]} {target}" for target in targets]
            if words[-1] == "recreateInstances":
                self.actions.update(dict.fromkeys(targets, "RECREATING"))
            self._ids[query["requestId"]] = {"name": f"operation-{len(self._ids)}", "status": "RUNNING"}
        return 200, self._ids[query["requestId"]]
