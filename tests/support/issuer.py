# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small issuer of OpenID Connect: discovery, keys and a token endpoint over https on loopback. Its ID tokens are signed for real."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .kube_api import Authority

Json = dict[str, Any]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Issuer:
    """Refresh tokens are good for one use, as with issuers that rotate them; `refresh_token` is the one that is good now.

    `url` is the issuer, `ca` its CA in PEM. `forms` are the requests to the token endpoint: (Authorization or "", form).
    """

    client_id = "hostnet"

    def __init__(self, folder: Path, methods: list[str] | None = None, rotate: bool = True) -> None:
        self.refresh_token = "refresh-0"
        self.forms: list[tuple[str, Json]] = []
        self._rotate = rotate
        self._methods = methods
        self._lock = threading.Lock()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        authority = Authority("issuer-ca")
        self.ca = authority.pem.decode()
        pair = folder / "issuer.pem"
        pair.write_bytes(b"".join(authority.issue("issuer", server=True)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def id_token(self, seconds: float, user: str = "jane") -> str:
        """A signed ID token that expires in so many seconds."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.client_id, "sub": user, "iat": now, "exp": int(now + seconds), "jti": str(len(self.forms))}
        parts = [{"alg": "RS256", "kid": "1", "typ": "JWT"}, claims]
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def user(self, **config: Any) -> Json:
        """The user of a kubeconfig that has logged in here."""
        known = {
            "idp-issuer-url": self.url,
            "idp-certificate-authority-data": base64.b64encode(self.ca.encode()).decode(),
            "client-id": self.client_id,
            "client-secret": "client-hunter2",
            "refresh-token": self.refresh_token,
        }
        return {"auth-provider": {"name": "oidc", "config": {**known, **config}}}

    def _answer(self, path: str, authorization: str, form: Json) -> tuple[int, Json]:
        if path == "/.well-known/openid-configuration":
            found: Json = {"issuer": self.url, "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys"}
            found |= {"id_token_signing_alg_values_supported": ["RS256"], "response_types_supported": ["id_token"]}
            found |= {"subject_types_supported": ["public"]}
            return 200, found if self._methods is None else {**found, "token_endpoint_auth_methods_supported": self._methods}
        if path == "/keys":
            numbers = self._key.public_key().public_numbers()
            values = {
                name: _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in (("n", numbers.n), ("e", numbers.e))
            }
            return 200, {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", **values}]}
        with self._lock:
            self.forms.append((authorization, form))
            if form.get("refresh_token") != self.refresh_token:
                return 400, {"error": "invalid_grant", "error_description": f"what is {form.get('refresh_token')}?"}
            if self._rotate:
                self.refresh_token = f"refresh-{len(self.forms)}"
            return 200, {"id_token": self.id_token(3600), "refresh_token": self.refresh_token, "token_type": "Bearer"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(*issuer._answer(self.path, "", {}))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {key: value[0] for key, value in parse_qs(body).items()}
                self._send(*issuer._answer(self.path, self.headers.get("Authorization", ""), form))

            def _send(self, status: int, content: Json) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        return Handler
