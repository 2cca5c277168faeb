# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that an API request can cost in Python: a connection of http.client that stays open, and json. What the collection is compared with."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
PAGE = 500  # as the collection and kubectl ask for


class Connection:
    """One connection to one API server, as the user of a kubeconfig with client certificates. For one thread."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        address = urllib.parse.urlsplit(cluster["server"])
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile(suffix=".pem") as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            trust.load_cert_chain(pair.name)
        self._http = http.client.HTTPSConnection(str(address.hostname), address.port, context=trust, timeout=120)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        """The body of the answer. Raises RuntimeError for any other status than 2xx."""
        data = None if body is None else json.dumps(body).encode()
        self._http.request(method, path, data, {"Content-Type": content_type, "Accept": "application/json, */*;q=0.1"})
        answer = self._http.getresponse()
        said = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:500].decode(errors='replace')}")
        return said

    def pages(self, path: str, selector: str = "") -> Iterator[bytes]:
        """The bytes of a LIST, page by page."""
        token = ""
        while True:
            query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {}), **({"continue": token} if token else {})}
            said = self.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            yield said
            token = json.loads(said)["metadata"].get("continue", "")
            if not token:
                return

    def items(self, path: str, selector: str = "") -> list[Json]:
        """The objects of a LIST."""
        return [item for page in self.pages(path, selector) for item in json.loads(page)["items"]]

    def close(self) -> None:
        self._http.close()
