# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins of OpenID Connect (`auth-provider` `oidc` of a kubeconfig's user): an ID token, and a refresh token that gets the next one."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import ssl
import tempfile
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

from . import client_tls, kubeconfig, proxies
from .credential import Credential, hidden
from .kubeconfig import Entry
from .options import AccessError

with contextlib.suppress(ImportError):
    import urllib3
    import yaml

Json = dict[str, Any]

# For all requests of one login: it may be two of them, each of two requests.
LIMIT_SECONDS = 60.0
_REQUEST_SECONDS = 10.0


@dataclass(frozen=True)
class Login:
    """A user's login. `config` is what the kubeconfig has, `user` the user's name in the file `path`."""

    path: str
    user: str
    config: Entry

    def identity(self) -> str:
        """What its tokens depend on: who logs in anew has another one."""
        parts = [self.path, self.user, *(self.config.text(key) for key in ("idp-issuer-url", "client-id", "refresh-token", "id-token"))]
        return json.dumps(["oidc", *parts])

    def get(self, last: Credential | None) -> Credential:
        """The ID token of the kubeconfig while it is fresh, else a new one; `last` is the one before, with its refresh token.

        A refresh token that the issuer has replaced is written back to the kubeconfig, as kubectl does: the old one is of no use any more.
        Raises AccessError.
        """
        now = time.time()
        token = self.config.text("id-token")
        expires = expiry(token)
        if last is None and token and expires is not None:
            kept = Credential(token, expires=expires, got=_issued(token, now), refresh_token=self.config.text("refresh-token"))
            if kept.fresh(now):
                return kept
        refresh_token = last.refresh_token if last and last.refresh_token else self.config.text("refresh-token")
        if not refresh_token:
            raise self.config.problem("refresh-token", "is missing, and the ID token has expired; log in again")
        try:
            answer = self._refresh(refresh_token)
        except AccessError:
            # Another process, such as kubectl, may have been first.
            newer = self._in_file()
            if newer in ("", refresh_token):
                raise
            refresh_token, answer = newer, self._refresh(newer)
        given = answer.get("id_token")
        if not isinstance(given, str) or not given:
            raise self.config.problem("", "the issuer gave no id_token for the refresh token; log in again with the scope openid")
        new = answer.get("refresh_token")
        if isinstance(new, str) and new and new != refresh_token:
            # Going on without it would be as good, and its loss is told when nothing can be done about it: it stays in memory.
            with contextlib.suppress(OSError, AccessError):
                write_back(self.path, self.user, {"refresh-token": new, "id-token": given})
            refresh_token = new
        return Credential(given, expires=expiry(given), got=now, refresh_token=refresh_token)

    def secrets(self) -> list[str]:
        return [self.config.text(key) for key in ("id-token", "refresh-token", "client-secret")]

    def _in_file(self) -> str:
        with contextlib.suppress(AccessError):
            config = _config(kubeconfig.reread(self.path), self.user)
            return str(config.get("refresh-token") or "")
        return ""

    def _refresh(self, refresh_token: str) -> Json:
        issuer = self.config.text("idp-issuer-url").rstrip("/")
        found = self._request("GET", f"{issuer}/.well-known/openid-configuration", {}, "")
        endpoint = found.get("token_endpoint")
        if not isinstance(endpoint, str) or not endpoint:
            raise self.config.problem("idp-issuer-url", "the issuer does not say where its tokens are given")
        name, secret = self.config.text("client-id"), self.config.text("client-secret")
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        headers = {}
        # What an issuer that says nothing takes (OpenID Connect Discovery, section 3).
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if secret and "client_secret_basic" in methods:
            pair = f"{quote_plus(name)}:{quote_plus(secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        else:
            fields |= {"client_id": name, **({"client_secret": secret} if secret else {})}
        return self._request("POST", endpoint, headers, urlencode(fields), refresh_token)

    def _request(self, method: str, url: str, headers: dict[str, str], body: str, *secrets: str) -> Json:
        problem = self.config.problem
        headers = {"Accept": "application/json", **headers}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            with _pool(url, self._trust()) as pool:
                answer = pool.request(
                    method,
                    url,
                    headers=headers,
                    body=body or None,
                    timeout=urllib3.Timeout(total=_REQUEST_SECONDS),
                    retries=urllib3.Retry(0, redirect=3 if method == "GET" else 0),
                )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise problem(
                "idp-issuer-url", f"no answer from the issuer ({type(error).__name__}); check the network and its certificate"
            ) from None
        if answer.status != 200:
            said = hidden(answer.data.decode("utf-8", "replace"), [*self.secrets(), *secrets])
            raise problem("", f"the issuer refused the login (HTTP {answer.status}: {said}); log in again")
        try:
            decoded = json.loads(answer.data)
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            raise problem("idp-issuer-url", "the issuer answered with something that is no JSON object")
        return decoded

    def _trust(self) -> ssl.SSLContext:
        data, path = self.config.data("idp-certificate-authority-data"), self.config.file("idp-certificate-authority")
        key = "idp-certificate-authority-data" if data else "idp-certificate-authority"
        try:
            if path and not data:
                with open(path, "rb") as source:
                    data = source.read()
            return client_tls.context(True, data.decode("utf-8", "replace") if data or path else None, None)
        except (OSError, client_tls.PemError):
            raise self.config.problem(key, "has no certificates that can be read") from None


def login(provider: Entry, path: str, user: str) -> Login:
    """The login that `auth-provider` of a user describes. Raises AccessError for one that is not OpenID Connect."""
    name = provider.text("name")
    if name != "oidc":
        raise provider.problem(
            "name",
            "is not oidc, and kubectl has no other one since its version 1.26; have your cloud's tool write the kubeconfig anew "
            "(gke-gcloud-auth-plugin, kubelogin), or give api_key or client_cert",
        )
    config = provider.part("config")
    if config is None:
        raise provider.problem("config", "is missing")
    for key in ("idp-issuer-url", "client-id"):
        if not config.text(key):
            raise config.problem(key, "is missing")
    return Login(path, user, config)


def expiry(token: str) -> float | None:
    """When a JWT expires, in seconds since the epoch; None where it does not say."""
    value = _claims(token).get("exp")
    return float(value) if isinstance(value, (int, float)) else None


def _issued(token: str, now: float) -> float:
    value = _claims(token).get("iat")
    return float(value) if isinstance(value, (int, float)) else now


def _claims(token: str) -> Json:
    """What a JWT says; its signature is the API server's affair."""
    parts = token.split(".")
    with contextlib.suppress(ValueError, IndexError):
        decoded = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if isinstance(decoded, dict):
            return decoded
    return {}


def write_back(path: str, user: str, changes: dict[str, str]) -> None:
    """Put new values into the login of a user, in one rename, with the file's mode. Raises OSError and AccessError.

    What else is in the file, comments too, stays where the old values can be replaced as they stand there.
    """
    path = os.path.realpath(path)
    with open(path, encoding="utf-8") as source:
        text = source.read()
        status = os.fstat(source.fileno())
    content = kubeconfig.parse(text, path)
    before = dict(_config(content, user))
    wanted = copy.deepcopy(content)
    _config(wanted, user).update(changes)
    edited = text
    for key, value in changes.items():
        if before.get(key):
            edited = edited.replace(str(before[key]), value)
    try:
        # One login may be that of two users, and then both have the new one.
        right = all(_config(kubeconfig.parse(edited, path), user).get(key) == value for key, value in changes.items())
    except AccessError:
        right = False
    if not right:
        edited = yaml.safe_dump(wanted, sort_keys=False)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with open(descriptor, "w", encoding="utf-8") as target:
            os.fchmod(descriptor, status.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            target.write(edited)
            target.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _config(content: Any, user: str) -> Json:
    """The login's part of a kubeconfig. Raises AccessError where it is not there any more."""
    for item in (content or {}).get("users") or []:
        if str(item.get("name")) == user:
            found = ((item.get("user") or {}).get("auth-provider") or {}).get("config")
            if isinstance(found, dict):
                return found
    raise AccessError(f"users[{user}].auth-provider", "is not in the kubeconfig any more")


def _pool(url: str, trust: ssl.SSLContext) -> Any:
    """Connections to the issuer, through the environment's proxy."""
    proxy = proxies.choose(url, None, None, "", "", os.environ)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=trust)
    address, headers = proxies.split(proxy)
    return urllib3.ProxyManager(address, proxy_headers=headers, ssl_context=trust)
