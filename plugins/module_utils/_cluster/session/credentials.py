# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an API server is reached, and as whom: from a kubeconfig, a pod's service account, and the options that stand above both.

An option wins wholly, or is refused. What it replaces is not looked at any more: `api_key` and `client_cert` stand for all credentials of the
kubeconfig's user, `impersonate_user` for all of its impersonation, `ca_cert` and `validate_certs` for all that it says about the server's certificate.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from . import client_tls, exec_plugin, kubeconfig, oidc, proxies
from .credential import Credential, Once
from .kubeconfig import Entry, Selected
from .options import REQUEST_TIMEOUT_SECONDS, AccessError

Json = dict[str, Any]

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# Files that somebody renews, such as a service account's token, are read again that often.
_FILE_SECONDS = 60.0
# Characters that a header's name may have; all others are written as %XX, and so is %.
_HEADER_NAME = "!#$&'*+-.^_`|~"


class _Source(Protocol):
    """Where a credential comes from."""

    def get(self) -> Credential:
        """What is to be used now. Raises AccessError."""

    def renewed(self, refused: Credential) -> Credential:
        """What is to be used after the API server has refused `refused`; the same where there is nothing else. Raises AccessError."""

    def secrets(self) -> list[str]:
        """What must not be shown."""


@dataclass
class Access:
    """How one API server is reached, and as whom. Safe to use from several threads.

    `host` is a URL without a slash at its end, `ca` PEM or None for whom the system trusts, `proxy` a URL that may have user and password, None for
    none. `request_timeout` is in seconds, for one request with all its tries.
    """

    name: str
    host: str
    verify: bool
    ca: str | None
    tls_server_name: str | None
    proxy: str | None = field(repr=False)
    request_timeout: float
    _sources: tuple[_Source, ...] = field(repr=False)
    _basic: tuple[str, str] | None = field(repr=False)
    _impersonation: tuple[tuple[str, str], ...] = field(repr=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._given = threading.local()
        self._last: tuple[Credential, ...] = ()
        # What was given before is still somebody's secret when it is not used any more.
        self._secrets: dict[str, None] = {}

    def headers(self) -> list[tuple[str, str]]:
        """Who asks: headers of a request, of which some may be there several times. Renewed where needed. Raises AccessError."""
        token = next((credential.token for credential in self._current() if credential.token), "")
        found: list[tuple[str, str]] = []
        if token:
            found.append(("Authorization", f"Bearer {token}"))
        elif self._basic:
            found.append(("Authorization", f"Basic {_basic(self._basic)}"))
        return [*found, *self._impersonation]

    def client_certificate(self) -> tuple[str, str] | None:
        """(certificate chain, key) in PEM, None where there is none. Renewed where needed. Raises AccessError."""
        return next(((found.certificate, found.key) for found in self._current() if found.certificate), None)

    def refused(self) -> bool:
        """The API server has refused (401) what this thread was given last: get something else. False where there is nothing else.

        Raises AccessError where getting it fails.
        """
        refused: tuple[Credential, ...] = getattr(self._given, "credentials", ())
        with self._lock:
            refused = refused or self._last
            if not refused:
                return False
            now = tuple(source.renewed(credential) for source, credential in zip(self._sources, refused, strict=True))
            self._give(now)
        return not all(new.same(old) for new, old in zip(now, refused, strict=True))

    def secrets(self) -> list[str]:
        """What must not be shown in any output, as far as it is known now."""
        found = [secret for source in self._sources for secret in source.secrets()]
        with self._lock:
            found += self._secrets
        if self._basic:
            found += [self._basic[1], _basic(self._basic)]
        if self.proxy:
            found += [urlsplit(self.proxy).password or "", *proxies.split(self.proxy)[1].values()]
        return list(dict.fromkeys(secret for secret in found if secret))

    def _current(self) -> tuple[Credential, ...]:
        with self._lock:
            self._give(tuple(source.get() for source in self._sources))
            return self._last

    def _give(self, current: tuple[Credential, ...]) -> None:
        if current != self._last:
            self._secrets |= {secret: None for found in current for secret in (found.token, found.key, found.refresh_token)}
        self._last = self._given.credentials = current


def access(options: Mapping[str, Any]) -> Access:
    """Of an entry of `kube_clusters`. Nothing is sent, and no credential plugin is run yet. Raises AccessError for what cannot be used."""
    chosen = _chosen(options)
    cluster, user = (chosen.cluster, chosen.user) if chosen else (None, None)
    host = _host(options, cluster)
    ca, verify = _trust(options, cluster)
    tls_server_name = options.get("tls_server_name") or (cluster.text("tls-server-name") if cluster else "")
    proxy = proxies.choose(
        host,
        options.get("proxy"),
        options.get("no_proxy"),
        cluster.text("proxy-url") if cluster else "",
        cluster.problem("proxy-url", "").field if cluster else "",
        os.environ,
    )
    basic: tuple[str, str] | None = None
    sources = _given_sources(options)
    if not sources and cluster and user:
        info = exec_plugin.cluster_info(cluster, host, ca, not verify, tls_server_name)
        sources, basic = _user_sources(user, info)
    return Access(
        options["name"],
        host,
        verify,
        ca,
        tls_server_name or None,
        proxy,
        _request_timeout(options),
        tuple(sources),
        basic,
        tuple(_impersonation(options, user)),
    )


def client_context(reached: Access) -> ssl.SSLContext:
    """TLS to the API server, with its client certificate as it is now. Raises AccessError."""
    pair = reached.client_certificate()
    try:
        return client_tls.context(reached.verify, reached.ca, pair)
    except client_tls.PemError as error:
        raise AccessError("client certificate", f"what the credential plugin gave {error}") from None


def proxy_context(reached: Access) -> ssl.SSLContext:
    """TLS to a proxy that is reached by https: trusted are whom the system trusts and the kube cluster's CA. Raises AccessError."""
    made = client_tls.context(True, None, None)
    if reached.ca:
        client_tls.trust(made, reached.ca)
    return made


# -- where to -------------------------------------------------------------------------------------------------------


def _chosen(options: Mapping[str, Any]) -> Selected | None:
    """What the kubeconfig, or the service account of the pod that this runs in, says; None where host alone says it."""
    path, context = options.get("kubeconfig"), options.get("context")
    if options.get("host") and not path and not context:
        return None
    files, named = kubeconfig.paths(path, os.environ)
    merged = kubeconfig.load(files, named)
    # A file that says nothing at all is as good as none, as for kubectl.
    if merged and (named or context or merged.clusters or merged.contexts or merged.current):
        return kubeconfig.select(merged, context, files)
    if context:
        raise AccessError("kubeconfig", f"{os.pathsep.join(files)} is missing or cannot be read, and has to have context {context}")
    inside = in_cluster()
    if inside is None:
        raise AccessError("kubeconfig", f"{os.pathsep.join(files)} is missing or cannot be read; give kubeconfig: for this kube cluster")
    return inside


def in_cluster() -> Selected | None:
    """What a pod finds of the kube cluster that it runs in; None outside of a pod, and where it has no service account."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = os.path.join(SERVICE_ACCOUNT, "token")
    if not host or not port or not os.path.isfile(token):
        return None
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    ca = os.path.join(SERVICE_ACCOUNT, "ca.crt")
    values = {"server": server, **({"certificate-authority": ca} if os.path.isfile(ca) else {})}
    return Selected(Entry(SERVICE_ACCOUNT, "service account", values), Entry(SERVICE_ACCOUNT, "service account", {"tokenFile": token}))


def _host(options: Mapping[str, Any], cluster: Entry | None) -> str:
    given = options.get("host") or ""
    host = given or (cluster.text("server") if cluster else "")
    field = "host" if given or not cluster else cluster.problem("server", "").field
    if not host:
        raise AccessError(field, "is missing: it is the URL of the API server")
    host = host if "://" in host else f"https://{host}"
    try:
        parts = urlsplit(host)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment or host.split() != [host]:
        raise AccessError(field, "is no URL of an API server; it is written as https://api.example.com:6443")
    return host.rstrip("/")


def _trust(options: Mapping[str, Any], cluster: Entry | None) -> tuple[str | None, bool]:
    """(CA in PEM, whether the API server's certificate is verified)."""
    if options.get("validate_certs") is False:
        return None, False
    if options.get("ca_cert"):
        return _ca("ca_cert", _read("ca_cert", options["ca_cert"])), True
    if cluster is None:
        return None, True
    data, path = cluster.data("certificate-authority-data"), cluster.file("certificate-authority")
    if cluster.flag("insecure-skip-tls-verify"):
        if data or path:
            raise cluster.problem("insecure-skip-tls-verify", "is true beside a certificate authority; take one of both away")
        return None, False
    if data:
        return _ca(cluster.problem("certificate-authority-data", "").field, data.decode("utf-8", "replace")), True
    if path:
        field = cluster.problem("certificate-authority", "").field
        return _ca(field, _read(field, path)), True
    return None, True


def _ca(field: str, pem: str) -> str:
    try:
        client_tls.context(True, pem, None)
    except client_tls.PemError as error:
        raise AccessError(field, str(error)) from None
    return pem


def _request_timeout(options: Mapping[str, Any]) -> float:
    given = options.get("request_timeout")
    seconds = REQUEST_TIMEOUT_SECONDS if given is None else float(given)
    if not 0 < seconds < float("inf"):
        raise AccessError("request_timeout", "must be a number of seconds above 0")
    return seconds


# -- as whom --------------------------------------------------------------------------------------------------------


def _given_sources(options: Mapping[str, Any]) -> list[_Source]:
    """What options say; where they say something, nothing else counts."""
    found: list[_Source] = []
    certificate, key = options.get("client_cert"), options.get("client_key")
    if key and not certificate:
        raise AccessError("client_key", "is given without client_cert")
    if certificate:
        found.append(_Files(_pair_reader(("client_cert", certificate, ""), ("client_key", key or "", ""))))
    if options.get("api_key"):
        found.append(_Fixed(Credential(_header("api_key", options["api_key"].strip()))))
    return found


def _user_sources(user: Entry, info: Json) -> tuple[list[_Source], tuple[str, str] | None]:
    """(sources, user and password) of a kubeconfig's user, by client-go's rules where it has several kinds.

    A certificate goes with everything, and comes before a plugin's. A token file comes before a token, which is what it was when the file was last read,
    and a token before a plugin, a login, and user and password.
    """
    found: list[_Source] = []
    certificate = _member(user, "client-certificate")
    key = _member(user, "client-key")
    if any(certificate[1:]):
        found.append(_Files(_pair_reader(certificate, key)))
    elif any(key[1:]):
        raise AccessError(key[0], "is there without a client certificate")
    token, token_file = user.text("token"), user.file("tokenFile")
    command, provider = user.part("exec"), user.part("auth-provider")
    name, password = user.text("username"), user.text("password")
    if command and provider:
        raise user.problem("auth-provider", "is there beside exec; take one of both away")
    if token_file:
        found.append(_Files(_token_reader(user.problem("tokenFile", "").field, token_file)))
    elif token:
        found.append(_Fixed(Credential(_header(user.problem("token", "").field, token.strip()))))
    elif command:
        plugin = exec_plugin.plugin(command, info)
        found.append(
            _Shared(plugin.identity(), lambda _last: _usable(plugin.field, plugin.run()), exec_plugin.LIMIT_SECONDS, _values(plugin))
        )
    elif provider:
        owner = user.label.removeprefix("users[").removesuffix("]")
        login = oidc.login(provider, user.path, owner)
        found.append(_Shared(login.identity(), login.get, oidc.LIMIT_SECONDS, login.secrets()))
    elif name or password:
        return found, (name, password)
    return found, None


def _impersonation(options: Mapping[str, Any], user: Entry | None) -> list[tuple[str, str]]:
    given, groups = options.get("impersonate_user"), options.get("impersonate_groups")
    if groups and not given:
        raise AccessError("impersonate_groups", "is given without impersonate_user, and a group alone cannot be impersonated")
    if given:
        return [
            ("Impersonate-User", _header("impersonate_user", given)),
            *(("Impersonate-Group", _header("impersonate_groups", group)) for group in groups or []),
        ]
    if user is None:
        return []
    extra = user.part("as-user-extra")
    headers = [("Impersonate-Group", "as-groups", group) for group in user.texts("as-groups")]
    if user.text("as-uid"):
        headers.append(("Impersonate-Uid", "as-uid", user.text("as-uid")))
    for key in extra.values if extra else ():
        name = f"Impersonate-Extra-{quote(str(key).lower(), safe=_HEADER_NAME)}"
        headers += [(name, f"as-user-extra.{key}", value) for value in (extra.texts(key) if extra else [])]
    if not user.text("as"):
        if headers:
            raise user.problem(headers[0][1], "is there without as, and without a user nothing can be impersonated")
        return []
    headers.insert(0, ("Impersonate-User", "as", user.text("as")))
    return [(name, _header(user.problem(key, "").field, value)) for name, key, value in headers]


class _Fixed:
    """A credential that stays what it is."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def get(self) -> Credential:
        return self._credential

    def renewed(self, refused: Credential) -> Credential:
        del refused
        return self._credential

    def secrets(self) -> list[str]:
        return [self._credential.token]


class _Files:
    """A credential in files, which somebody may renew. It is read when this is made, so that what cannot be used is told at once."""

    def __init__(self, read: Callable[[], Credential]) -> None:
        self._read = read
        self._credential = read()
        self._when = time.monotonic()

    def get(self) -> Credential:
        if time.monotonic() - self._when > _FILE_SECONDS:
            self._again()
        return self._credential

    def renewed(self, refused: Credential) -> Credential:
        if self._credential.same(refused):
            self._again()
        return self._credential

    def _again(self) -> None:
        # Somebody may be writing them: what was there before is as good, and the API server is who judges.
        with contextlib.suppress(AccessError):
            self._credential = self._read()
        self._when = time.monotonic()

    def secrets(self) -> list[str]:
        return [self._credential.token, self._credential.key]


class _Shared:
    """A credential that takes time to get, and that all processes share."""

    def __init__(self, identity: str, make: Callable[[Credential | None], Credential], seconds: float, secrets: list[str]) -> None:
        self._once = Once(hashlib.sha256(identity.encode()).hexdigest(), make, seconds)
        self._secrets = secrets
        self._credential: Credential | None = None

    def get(self) -> Credential:
        if self._credential is None or not self._credential.fresh(time.time()):
            self._credential = self._once.get()
        return self._credential

    def renewed(self, refused: Credential) -> Credential:
        if self._credential is None or self._credential.same(refused):
            self._credential = self._once.get(refused)
        return self._credential

    def secrets(self) -> list[str]:
        return self._secrets


def _values(plugin: exec_plugin.Plugin) -> list[str]:
    """Variables that a kubeconfig gives its plugin may be secrets, but words such as a profile's name are none."""
    return [value for name, value in plugin.variables if any(word in name.upper() for word in ("TOKEN", "SECRET", "PASSWORD", "KEY"))]


def _usable(field: str, credential: Credential) -> Credential:
    """What a plugin gave, where it can be sent. Raises AccessError."""
    if credential.token:
        _header(field, credential.token)
    if credential.certificate:
        _pair(field, credential.certificate, credential.key)
    return credential


def _member(user: Entry, key: str) -> tuple[str, str, str]:
    """(field, path, PEM) of a certificate or key of a kubeconfig's user; its data come before its file, as in kubectl."""
    data = user.data(f"{key}-data").decode("utf-8", "replace")
    if data:
        return user.problem(f"{key}-data", "").field, "", data
    return user.problem(key, "").field, user.file(key), ""


def _pair_reader(certificate: tuple[str, str, str], key: tuple[str, str, str]) -> Callable[[], Credential]:
    """Reads (field, path, PEM) of a certificate and of its key, which may be in the certificate's file."""

    def read() -> Credential:
        chain = certificate[2] or _read(certificate[0], certificate[1])
        secret = key[2] or (_read(key[0], key[1]) if key[1] else chain)
        if not any(key[1:]) and not client_tls.has_key(chain):
            raise AccessError(certificate[0], f"{certificate[1]} has no private key: give it as {key[0]}".strip())
        files = " and ".join(path for path in (certificate[1], key[1]) if path)
        _pair(certificate[0] if not any(key[1:]) else f"{certificate[0]} and {key[0]}", chain, secret, files)
        return Credential(certificate=chain, key=secret)

    return read


def _pair(field: str, certificate: str, key: str, files: str = "") -> None:
    try:
        client_tls.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)
    except client_tls.PemError as error:
        raise AccessError(field, f"{files} {error}") from None


def _token_reader(field: str, path: str) -> Callable[[], Credential]:
    def read() -> Credential:
        token = _read(field, path).strip()
        if not token:
            raise AccessError(field, f"{path} is empty")
        return Credential(_header(field, token))

    return read


def _read(field: str, path: str) -> str:
    try:
        with open(os.path.expanduser(path), "rb") as source:
            return source.read().decode("utf-8", "replace")
    except OSError as error:
        raise AccessError(field, f"{path} cannot be read: {error.strerror}") from None


def _header(field: str, value: str) -> str:
    """`value` as a header can carry it: UTF-8, in the way that http.client wants it. Raises AccessError for what would end the header."""
    if any(character < " " or character == "\x7f" for character in value):
        raise AccessError(field, "has a line break or another control character, which no header can carry")
    return value.encode().decode("latin-1")


def _basic(pair: Sequence[str]) -> str:
    return base64.b64encode(":".join(pair).encode()).decode()
