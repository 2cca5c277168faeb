# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an API server is reached and as whom: each kind of credential, each option above it, plugins and files that are renewed."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import credential, credentials, exec_plugin
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.credential import Credential
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.credentials import Access, access
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.options import AccessError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.shared_cache import SharedCache
from support.forks import ended, fork, in_forks
from support.kube_api import Authority

Json = dict[str, Any]
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no kubeconfig, no pod, and a memory of its own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "KUBECONFIG", "K8S_AUTH_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(credential.Once.__init__, "__defaults__", (SharedCache(),))


class Pki:
    """Certificates by name, as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = Authority("test")

    def issue(self, name: str) -> tuple[str, str]:
        """Paths of a certificate and its key."""
        paths = []
        for part, pem in zip(("crt", "key"), self._authority.issue(name), strict=True):
            path = self.folder / f"{name}.{part}"
            path.write_bytes(pem)
            paths.append(str(path))
        return paths[0], paths[1]

    def ca(self, name: str) -> str:
        path = self.folder / f"{name}.crt"
        path.write_bytes(Authority(name).pem)
        return str(path)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"))
    for name in ("kubeconfig", "option", "other"):
        made.issue(name)
    for name in ("kubeconfig-ca", "option-ca"):
        made.ca(name)
    return made


def kubeconfig(folder: Path, user: Json | None = None, cluster: Json | None = None, name: str = "k") -> str:
    path = folder / name
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "east", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "east",
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def reached(folder: Path, user: Json | None = None, cluster: Json | None = None, **options: Any) -> Access:
    return access({"name": "east", "kubeconfig": kubeconfig(folder, user, cluster), **options})


class Plugin:
    """A credential plugin that counts its runs and prints what `say` was given last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plugin"
        self.path.write_text(f"#!/bin/sh\necho run >> {folder}/runs\nenv > {folder}/environment\ncat {folder}/answer\n")
        self.path.chmod(0o755)
        self.say(token="plugin-token")

    def say(self, seconds: float | None = None, api_version: str = V1, **status: Any) -> None:
        if seconds is not None:
            status["expirationTimestamp"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        answer = {"apiVersion": api_version, "kind": "ExecCredential", "status": status}
        (self.folder / "answer").write_text(json.dumps(answer))

    @property
    def runs(self) -> int:
        log = self.folder / "runs"
        return log.read_text().count("run") if log.exists() else 0

    def user(self, **more: Any) -> Json:
        return {"exec": {"apiVersion": V1, "command": str(self.path), "interactiveMode": "Never", **more}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def bearer(found: Access) -> str:
    return dict(found.headers())["Authorization"].removeprefix("Bearer ")


# -- every kind of credential, and every option above it ---------------------------------------------------------------

KINDS = ("none", "token", "tokenFile", "basic", "certificate", "certificate and token", "exec", "oidc", "pod")


def jwt(seconds: float = 3600, **claims: Any) -> str:
    parts = [{"alg": "none"}, {"exp": int(time.time() + seconds), "iat": int(time.time()), **claims}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "x"])


def of_kind(kind: str, folder: Path, pki: Pki, plugin: Plugin) -> tuple[Json, str | None, str | None]:
    """(user of a kubeconfig, the Authorization that it leads to, whose certificate)."""
    certificate = {"client-certificate": str(pki.folder / "kubeconfig.crt"), "client-key": str(pki.folder / "kubeconfig.key")}
    (folder / "token").write_text("file-token\n")
    token = jwt(sub="u")
    oidc = {"idp-issuer-url": "https://issuer.invalid", "client-id": "c", "id-token": token, "refresh-token": "r"}
    users: dict[str, tuple[Json, str | None, str | None]] = {
        "none": ({}, None, None),
        "token": ({"token": "t0"}, "Bearer t0", None),
        "tokenFile": ({"tokenFile": "token", "token": "stale"}, "Bearer file-token", None),
        "basic": ({"username": "me", "password": "pw"}, f"Basic {base64.b64encode(b'me:pw').decode()}", None),
        "certificate": (certificate, None, "kubeconfig"),
        "certificate and token": ({**certificate, "token": "t0"}, "Bearer t0", "kubeconfig"),
        "exec": (plugin.user(), "Bearer plugin-token", None),
        "oidc": ({"auth-provider": {"name": "oidc", "config": oidc}}, f"Bearer {token}", None),
        "pod": ({}, "Bearer pod-token", None),
    }
    return users[kind]


# What each option changes, and nothing else; None: it is refused.
OVERRIDES: dict[str, tuple[Json, Json | None]] = {
    "nothing": ({}, {}),
    "host": ({"host": "https://other.example.com/k8s/"}, {"host": "https://other.example.com/k8s"}),
    "api_key": ({"api_key": "key"}, {"authorization": "Bearer key", "certificate": None}),
    "client_cert": (
        {"client_cert": "{pki}/option.crt", "client_key": "{pki}/option.key"},
        {"authorization": None, "certificate": "option"},
    ),
    "both": (
        {"api_key": "key", "client_cert": "{pki}/option.crt", "client_key": "{pki}/option.key"},
        {"authorization": "Bearer key", "certificate": "option"},
    ),
    "ca_cert": ({"ca_cert": "{pki}/option-ca.crt"}, {"ca": "option-ca", "verify": True}),
    "validate_certs": ({"validate_certs": False}, {"ca": None, "verify": False}),
    "validate_certs and ca_cert": ({"validate_certs": False, "ca_cert": "/missing"}, {"ca": None, "verify": False}),
    "tls_server_name": ({"tls_server_name": "other"}, {"tls_server_name": "other"}),
    "proxy": ({"proxy": "http://option:1"}, {"proxy": "http://option:1"}),
    "no_proxy": ({"no_proxy": "*"}, {"proxy": None}),
    "impersonate_user": ({"impersonate_user": "x"}, {"impersonation": [("User", "x")]}),
    "impersonate_user and groups": (
        {"impersonate_user": "x", "impersonate_groups": ["a", "b"]},
        {"impersonation": [("User", "x"), ("Group", "a"), ("Group", "b")]},
    ),
    "request_timeout": ({"request_timeout": 5}, {"request_timeout": 5.0}),
    "impersonate_groups": ({"impersonate_groups": ["a"]}, None),
    "client_key": ({"client_key": "{pki}/option.key"}, None),
    "request_timeout 0": ({"request_timeout": 0}, None),
}


@pytest.mark.parametrize("option", OVERRIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_wins_wholly_or_is_refused(
    kind: str, option: str, tmp_path: Path, pki: Pki, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, authorization, certificate = of_kind(kind, tmp_path, pki, plugin)
    ca = (pki.folder / "kubeconfig-ca.crt").read_text()
    expected: Json = {
        "host": "https://api.example.com:6443",
        "authorization": authorization,
        "certificate": certificate,
        "ca": "kubeconfig-ca",
        "verify": True,
        "tls_server_name": "kubeconfig-name",
        "proxy": "http://kubeconfig:1",
        "impersonation": [("User", "k"), ("Group", "kg"), ("Uid", "ku"), ("Extra-scopes%2Fread", "v")],
        "request_timeout": 60.0,
    }
    entry: Json = {"name": "east"}
    if kind == "pod":
        account = tmp_path / "account"
        account.mkdir()
        (account / "token").write_text("pod-token")
        (account / "ca.crt").write_text(ca)
        monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", str(account))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        expected |= {"host": "https://[fd00::1]:443", "tls_server_name": None, "proxy": None, "impersonation": []}
    else:
        user |= {"as": "k", "as-groups": ["kg"], "as-uid": "ku", "as-user-extra": {"Scopes/Read": ["v"]}}
        cluster = {
            "certificate-authority-data": base64.b64encode(ca.encode()).decode(),
            "tls-server-name": "kubeconfig-name",
            "proxy-url": "http://kubeconfig:1",
        }
        entry["kubeconfig"] = kubeconfig(tmp_path, user, cluster)
    given, changes = OVERRIDES[option]
    entry |= {key: value.replace("{pki}", str(pki.folder)) if isinstance(value, str) else value for key, value in given.items()}
    if changes is None:
        with pytest.raises(AccessError) as error:
            access(entry)
        assert error.value.field == option.split(maxsplit=1)[0]
        return
    if kind == "pod" and option == "host":
        # A host alone is reached as nobody, and reads nothing.
        changes = {**changes, "authorization": None, "ca": None}
    found = access(entry)
    headers = found.headers()
    pair = found.client_certificate()
    names = {(pki.folder / f"{name}.crt").read_text(): name for name in ("kubeconfig", "option", "kubeconfig-ca", "option-ca")}
    assert {
        "host": found.host,
        "authorization": dict(headers).get("Authorization"),
        "certificate": names[pair[0]] if pair else None,
        "ca": names[found.ca] if found.ca else None,
        "verify": found.verify,
        "tls_server_name": found.tls_server_name,
        "proxy": found.proxy,
        "impersonation": [(name.removeprefix("Impersonate-"), value) for name, value in headers if name.startswith("Impersonate-")],
        "request_timeout": found.request_timeout,
    } == {**expected, **changes}
    if "api_key" in given or "client_cert" in given:
        assert plugin.runs == 0


def test_what_an_option_replaces_is_not_looked_at(tmp_path: Path) -> None:
    broken = [
        {"tokenFile": "missing"},
        {"client-certificate": "missing", "client-key": "missing"},
        {"exec": {"command": ""}},
        {"auth-provider": {"name": "gcp"}},
    ]
    for user in broken:
        with pytest.raises(AccessError):
            reached(tmp_path, user)
        assert bearer(reached(tmp_path, user, api_key="key")) == "key"


def test_a_ca_that_is_given_is_used_where_the_kubeconfig_trusts_everybody(tmp_path: Path, pki: Pki) -> None:
    insecure = {"insecure-skip-tls-verify": True}
    found = reached(tmp_path, cluster=insecure)
    assert (found.verify, found.ca) == (False, None)
    found = reached(tmp_path, cluster=insecure, ca_cert=str(pki.folder / "option-ca.crt"))
    assert (found.verify, found.ca) == (True, (pki.folder / "option-ca.crt").read_text())
    with pytest.raises(AccessError, match="is true beside a certificate authority"):
        reached(tmp_path, cluster={**insecure, "certificate-authority": "x"})


def test_a_host_alone_reads_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, {"token": "secret-token"}))
    found = access({"name": "east", "host": "api.example.com"})
    assert (found.host, found.headers(), found.ca, found.verify) == ("https://api.example.com", [], None, True)
    assert bearer(access({"name": "east", "host": "https://x", "context": "east"})) == "secret-token"


def test_kubeconfigs_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kubeconfig(tmp_path, {"token": "one"}, name="one")
    second = kubeconfig(tmp_path, {"token": "two"}, name="two")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{second}:{first}")
    assert bearer(access({"name": "east"})) == "two"
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", first)
    assert bearer(access({"name": "east"})) == "one"
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", f"{tmp_path}/missing")
    with pytest.raises(AccessError, match="missing is missing or cannot be read; give kubeconfig:"):
        access({"name": "east"})
    with pytest.raises(AccessError, match="missing is missing or cannot be read, and has to have context east"):
        access({"name": "east", "context": "east"})


# -- what is of no use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "field", "part"),
    [
        ({"tokenFile": "missing"}, "users[u].tokenFile", "missing cannot be read: No such file"),
        ({"tokenFile": "empty"}, "users[u].tokenFile", "empty is empty"),
        ({"token": "a\nhunter2"}, "users[u].token", "has a line break"),
        ({"token": ["hunter2"]}, "users[u].token", "must be text, and is a list"),
        ({"client-certificate-data": "hunter2!"}, "users[u].client-certificate-data", "is not base64"),
        ({"client-certificate": "empty"}, "users[u].client-certificate", "has no private key: give it as users[u].client-key"),
        ({"client-key": "empty"}, "users[u].client-key", "is there without a client certificate"),
        ({"auth-provider": {"name": "gcp"}}, "users[u].auth-provider.name", "kubectl has no other one since its version 1.26"),
        ({"auth-provider": {"name": "oidc"}}, "users[u].auth-provider.config", "is missing"),
        ({"auth-provider": {"name": "oidc", "config": {}}}, "users[u].auth-provider.config.idp-issuer-url", "is missing"),
        ({"auth-provider": {"name": "oidc"}, "exec": {"command": "x"}}, "users[u].auth-provider", "is there beside exec"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}, "users[u].exec.apiVersion", "must be"),
        ({"exec": {"apiVersion": V1}}, "users[u].exec.command", "is missing"),
        ({"exec": {"apiVersion": V1, "command": "x", "interactiveMode": "Always"}}, "users[u].exec.interactiveMode", "asks a human"),
        ({"exec": {"apiVersion": V1, "command": "x", "interactiveMode": "hunter2"}}, "users[u].exec.interactiveMode", "must be one of"),
        ({"exec": {"apiVersion": V1, "command": "x", "env": ["hunter2"]}}, "users[u].exec.env[0]", "must have a name"),
        ({"exec": {"apiVersion": V1, "command": "x", "args": [{"a": "hunter2"}]}}, "users[u].exec.args[0]", "must be text"),
        ({"exec": "hunter2"}, "users[u].exec", "must be a dictionary"),
        ({"as-groups": ["a"]}, "users[u].as-groups", "is there without as"),
        ({"as-uid": "a"}, "users[u].as-uid", "is there without as"),
        ({"as": "a\r\nhunter2: x"}, "users[u].as", "has a line break"),
    ],
)
def test_a_user_that_is_of_no_use(tmp_path: Path, user: Json, field: str, part: str) -> None:
    (tmp_path / "empty").write_text("")
    with pytest.raises(AccessError) as error:
        reached(tmp_path, user)
    assert error.value.field == f"{field} of kubeconfig {tmp_path}/k"
    assert part in str(error.value)
    assert "hunter2" not in f"{error.value} {error.value.field}"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "field", "part"),
    [
        ({"client_cert": "{pki}/option.crt", "client_key": "{pki}/other.key"}, "client_cert and client_key", "another key than its"),
        ({"client_cert": "{pki}/option.crt"}, "client_cert", "option.crt has no private key: give it as client_key"),
        ({"client_cert": "{pki}/missing", "client_key": "{pki}/other.key"}, "client_cert", "missing cannot be read: No such file"),
        ({"client_cert": "{pki}/option.crt", "client_key": "{pki}/missing"}, "client_key", "missing cannot be read: No such file"),
        ({"client_cert": "{pki}/option.crt", "client_key": "{pki}/option.crt"}, "client_cert and client_key", "has no private key in PEM"),
        ({"ca_cert": "{pki}/option.key"}, "ca_cert", "has no certificate in PEM"),
        ({"ca_cert": "{pki}/missing"}, "ca_cert", "missing cannot be read: No such file"),
        ({"api_key": "hunter2\nx"}, "api_key", "has a line break"),
        ({"host": "ftp://x"}, "host", "is no URL of an API server"),
        ({"host": "https://me:hunter2@x"}, "host", "is no URL of an API server"),
        ({"host": "https://x:port"}, "host", "is no URL of an API server"),
        ({"host": "https://x y"}, "host", "is no URL of an API server"),
        ({"host": "https://x?hunter2"}, "host", "is no URL of an API server"),
        ({"proxy": "socks5://hunter2@x"}, "proxy", "is a SOCKS proxy"),
        ({"request_timeout": -1}, "request_timeout", "above 0"),
        ({"request_timeout": float("nan")}, "request_timeout", "above 0"),
        ({"context": "west"}, "context", "has no context west"),
    ],
)
def test_an_option_that_is_of_no_use(tmp_path: Path, pki: Pki, options: Json, field: str, part: str) -> None:
    given = {key: value.replace("{pki}", str(pki.folder)) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(AccessError) as error:
        reached(tmp_path, {"token": "t"}, **given)
    assert error.value.field == field
    assert part in str(error.value)
    assert "hunter2" not in str(error.value)


def test_key_and_certificate_in_one_file_and_in_data(tmp_path: Path, pki: Pki) -> None:
    chain, key = ((pki.folder / f"option.{part}").read_text() for part in ("crt", "key"))
    (tmp_path / "both.pem").write_text(f"Für alle:\n{key}{chain}")
    found = reached(tmp_path, {"token": "t"}, client_cert=str(tmp_path / "both.pem"))
    pair = found.client_certificate()
    assert pair is not None
    assert key in pair[1]
    assert credentials.client_context(found)
    encoded = {name: base64.b64encode(pem.encode()).decode() for name, pem in (("c", chain), ("k", key))}
    # Data come before files.
    user = {
        "client-certificate": "missing",
        "client-certificate-data": encoded["c"],
        "client-key": "missing",
        "client-key-data": encoded["k"],
    }
    assert reached(tmp_path, user).client_certificate() == (chain, key)


def test_nothing_that_is_secret_is_in_the_representation(tmp_path: Path, plugin: Plugin) -> None:
    plugin.say(token="plugin-token")
    user = {**plugin.user(env=[{"name": "AWS_SECRET", "value": "hunter2"}, {"name": "PROFILE", "value": "prod"}])}
    found = reached(tmp_path, user, {"proxy-url": "http://me:hunter3@p:1"})
    bearer(found)
    for secret in ("plugin-token", "hunter2", "hunter3"):
        assert secret not in repr(found)
        assert secret in found.secrets()
    assert base64.b64encode(b"me:hunter3").decode() in " ".join(found.secrets())
    assert "prod" not in found.secrets()
    assert reached(tmp_path, {"username": "me", "password": "pw"}).secrets() == ["pw", base64.b64encode(b"me:pw").decode()]


# -- files that are renewed -------------------------------------------------------------------------------------------------


class Clock:
    """The time that credentials.py sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real_monotonic, real_time = time.monotonic, time.time
        monkeypatch.setattr(credentials.time, "monotonic", lambda: real_monotonic() + self.ahead)
        monkeypatch.setattr(credentials.time, "time", lambda: real_time() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_token_file_is_read_again_after_a_minute_and_when_it_is_refused(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    found = reached(tmp_path, {"tokenFile": "token"})
    assert bearer(found) == "one"
    assert not found.refused()
    path.write_text("two")
    assert bearer(found) == "one"
    clock.ahead = 61
    assert bearer(found) == "two"
    path.write_text("three")
    assert found.refused()
    assert bearer(found) == "three"
    # Somebody is writing it anew: the token that there was is as good.
    path.write_text("")
    clock.ahead = 130
    assert bearer(found) == "three"
    assert not found.refused()


def test_a_certificate_that_is_renewed_in_two_steps(tmp_path: Path, pki: Pki, clock: Clock) -> None:
    for part in ("crt", "key"):
        (tmp_path / f"mine.{part}").write_text((pki.folder / f"option.{part}").read_text())
    found = reached(tmp_path, {"client-certificate": "mine.crt", "client-key": "mine.key"})
    before = found.client_certificate()
    (tmp_path / "mine.crt").write_text((pki.folder / "other.crt").read_text())
    clock.ahead = 61
    assert found.client_certificate() == before
    (tmp_path / "mine.key").write_text((pki.folder / "other.key").read_text())
    assert found.refused()
    assert found.client_certificate() == tuple((pki.folder / f"other.{part}").read_text() for part in ("crt", "key"))


def test_what_stays_as_it_is_is_not_tried_again(tmp_path: Path) -> None:
    found = reached(tmp_path, {"token": "t"})
    assert not found.refused()
    found.headers()
    assert not found.refused()


# -- plugins ----------------------------------------------------------------------------------------------------------------


def test_a_plugin_runs_once_and_lazily(tmp_path: Path, plugin: Plugin, clock: Clock) -> None:
    found = reached(tmp_path, plugin.user())
    assert plugin.runs == 0
    assert bearer(found) == bearer(reached(tmp_path, plugin.user())) == "plugin-token"
    assert found.client_certificate() is None
    # Nobody knows when it expires: it is kept.
    clock.ahead = 1e6
    assert bearer(found) == "plugin-token"
    assert plugin.runs == 1
    assert found.refused() is False
    assert plugin.runs == 2
    plugin.say(token="another")
    assert found.refused() is True
    assert bearer(found) == "another"


@pytest.mark.parametrize(("life", "fresh", "stale"), [(3600, 3530, 3545), (100, 85, 91), (10, 8, 9.5)])
def test_a_plugin_runs_again_shortly_before_its_credential_expires(
    tmp_path: Path, plugin: Plugin, clock: Clock, life: float, fresh: float, stale: float
) -> None:
    now = time.time()
    found = reached(tmp_path, plugin.user())
    plugin.say(token="one", expirationTimestamp=datetime.fromtimestamp(now + life, UTC).isoformat().replace("+00:00", "Z"))
    # As if no time passed but what the test says.
    clock.ahead = now - time.time()
    assert bearer(found) == "one"
    plugin.say(token="two", seconds=1e6)
    credential_now = Credential("one", expires=now + life, got=now)
    assert credential_now.fresh(now + fresh)
    assert not credential_now.fresh(now + stale)
    clock.ahead = stale
    assert bearer(found) == "two"
    assert plugin.runs == 2


def test_a_credential_that_has_expired_already_is_sent_and_not_kept(tmp_path: Path, plugin: Plugin) -> None:
    # Whose clock is wrong the API server knows.
    plugin.say(token="old", seconds=-5)
    found = reached(tmp_path, plugin.user())
    assert bearer(found) == bearer(found) == "old"
    assert plugin.runs == 2


def test_threads_and_forks_share_one_run(tmp_path: Path, plugin: Plugin) -> None:
    path = kubeconfig(tmp_path, plugin.user())

    def use() -> None:
        barrier = threading.Barrier(3, timeout=300)

        def thread() -> str:
            barrier.wait()
            return bearer(access({"name": "east", "kubeconfig": path}))

        with ThreadPoolExecutor(3) as pool:
            assert [done.result() for done in [pool.submit(thread) for _number in range(3)]] == ["plugin-token"] * 3

    assert in_forks(use, 5) == [0] * 5
    use()
    assert plugin.runs == 1


def test_who_waited_for_a_plugin_that_fails_takes_its_error(tmp_path: Path, plugin: Plugin) -> None:
    """It ends only when all the others have asked for it: none of them may have it run for themselves first."""
    others = 3
    # Open for both, so that it has no end in between.
    waiting = f"exec 8<> {tmp_path}/started" + "; read line <&8" * others
    os.mkfifo(tmp_path / "started")
    plugin.path.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n{waiting}\necho no login >&2\nexit 3\n")
    path = kubeconfig(tmp_path, plugin.user())

    def use() -> None:
        with pytest.raises(AccessError, match="ended with exit code 3: no login"):
            access({"name": "east", "kubeconfig": path}).headers()

    def other() -> None:
        asked = access({"name": "east", "kubeconfig": path})
        real = credential.SharedCache.alone

        def alone(cache: SharedCache, key: str, seconds: float) -> Any:
            with open(tmp_path / "started", "w") as said:
                said.write("here\n")
            return real(cache, key, seconds)

        credential.SharedCache.alone = alone  # type: ignore[method-assign]
        with pytest.raises(AccessError, match="ended with exit code 3: no login"):
            asked.headers()

    first = fork(use)
    while plugin.runs == 0:
        os.sched_yield()
    found = [fork(other) for _number in range(others)]
    assert [ended(process) for process in [first, *found]] == [0] * (others + 1)
    assert plugin.runs == 1
    # Whoever comes later asks anew.
    assert in_forks(lambda: plugin.path.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\ncat {tmp_path}/answer\n"), 1) == [0]
    assert bearer(access({"name": "east", "kubeconfig": path})) == "plugin-token"


def test_of_many_that_are_refused_at_once_one_asks_anew(tmp_path: Path, plugin: Plugin) -> None:
    found = reached(tmp_path, plugin.user())
    have, refused = threading.Barrier(6, timeout=300), threading.Barrier(6, timeout=300)

    def request() -> tuple[str, bool, str]:
        before = bearer(found)
        if have.wait() == 0:
            plugin.say(token="renewed")
        refused.wait()
        return before, found.refused(), bearer(found)

    with ThreadPoolExecutor(6) as pool:
        answers = [done.result() for done in [pool.submit(request) for _number in range(6)]]
    assert answers == [("plugin-token", True, "renewed")] * 6
    assert plugin.runs == 2


def test_another_environment_is_another_login(tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    for profile in ("a", "b", "a"):
        monkeypatch.setenv("CLOUD_PROFILE", profile)
        plugin.say(token=f"token-{profile}")
        assert bearer(reached(tmp_path, plugin.user())) == f"token-{profile}"
    assert plugin.runs == 2


def test_what_a_plugin_is_told(tmp_path: Path, pki: Pki, plugin: Plugin) -> None:
    ca = (pki.folder / "kubeconfig-ca.crt").read_text()
    cluster = {
        "certificate-authority": str(pki.folder / "kubeconfig-ca.crt"),
        "tls-server-name": "name",
        "proxy-url": "http://p:1",
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": 12}}, {"name": "other", "extension": 1}],
    }
    user = plugin.user(provideClusterInfo=True, env=[{"name": "MINE", "value": "1"}])
    bearer(reached(tmp_path, user, cluster))
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert environment["MINE"] == "1"
    assert json.loads(environment["KUBERNETES_EXEC_INFO"]) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://api.example.com:6443",
                "certificate-authority-data": base64.b64encode(ca.encode()).decode(),
                "tls-server-name": "name",
                "proxy-url": "http://p:1",
                "config": {"audience": 12},
            },
        },
    }
    bearer(reached(tmp_path, plugin.user(), cluster))
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert "cluster" not in json.loads(environment["KUBERNETES_EXEC_INFO"])["spec"]


def test_a_command_with_a_slash_is_beside_the_kubeconfig(tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert bearer(reached(tmp_path, plugin.user(command="./plugin"))) == "plugin-token"
    with pytest.raises(AccessError, match=r"the credential plugin plugin cannot be run: No such file or directory \(install it\)"):
        reached(tmp_path, plugin.user(command="plugin", installHint="install\x1b[31m it")).headers()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert bearer(reached(tmp_path, plugin.user(command="plugin"))) == "plugin-token"


def test_a_plugin_that_gives_a_certificate(tmp_path: Path, pki: Pki, plugin: Plugin) -> None:
    chain, key = ((pki.folder / f"option.{part}").read_text() for part in ("crt", "key"))
    plugin.say(clientCertificateData=chain, clientKeyData=key, api_version="client.authentication.k8s.io/v1beta1")
    user = plugin.user(apiVersion="client.authentication.k8s.io/v1beta1", interactiveMode="IfAvailable")
    found = reached(tmp_path, user)
    assert found.client_certificate() == (chain, key)
    assert found.headers() == []
    assert credentials.client_context(found)
    assert key in found.secrets()
    other = (pki.folder / "other.key").read_text()
    plugin.say(clientCertificateData=chain, clientKeyData=other, api_version="client.authentication.k8s.io/v1beta1")
    with pytest.raises(AccessError, match="has another key than its certificate's"):
        found.refused()


def test_a_token_of_the_kubeconfig_comes_before_its_plugin(tmp_path: Path, plugin: Plugin) -> None:
    assert bearer(reached(tmp_path, {**plugin.user(), "token": "t"})) == "t"
    assert plugin.runs == 0


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("echo please log in >&2; exit 3", "ended with exit code 3: please log in; run the login of your kubeconfig by hand"),
        ("echo nonsense", "wrote something that is no ExecCredential"),
        ("echo []", "wrote something that is no ExecCredential"),
        ('echo \'{"kind": "Other"}\'', "did not write an ExecCredential of the version"),
        (f'echo \'{{"apiVersion": "{V1}beta1", "kind": "ExecCredential"}}\'', "did not write an ExecCredential of the version"),
        (f'echo \'{{"apiVersion": "{V1}", "kind": "ExecCredential"}}\'', "gave neither a token nor a certificate"),
        (f'echo \'{{"apiVersion": "{V1}", "status": {{"token": ["x"]}}}}\'', "is not made of texts"),
        (f'echo \'{{"apiVersion": "{V1}", "status": {{"token": "x", "clientKeyData": "x"}}}}\'', "only one of certificate and key"),
        (f'echo \'{{"apiVersion": "{V1}", "status": {{"token": "x", "expirationTimestamp": "soon"}}}}\'', "is no ExecCredential"),
        (f'printf %s \'{{"apiVersion": "{V1}", "status": {{"token": "x\\ny"}}}}\'', "has a line break"),
        ("kill -9 $$", "was killed by signal 9"),
        (
            'echo \'{"token": "half-a-token"}\'; echo got half-a-token and $MY_SECRET and Bearer abc eyJhbGciOiJSUzI1NiJ9.eyJ >&2; exit 1',
            "got *** and *** and Bearer *** ***",
        ),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, plugin: Plugin, script: str, part: str) -> None:
    plugin.path.write_text(f"#!/bin/sh\n{script}\n")
    found = reached(tmp_path, plugin.user(env=[{"name": "MY_SECRET", "value": "hunter2"}]))
    with pytest.raises(AccessError) as error:
        found.headers()
    assert part in str(error.value)
    assert error.value.field == f"users[u].exec of kubeconfig {tmp_path}/k"


def test_a_plugin_that_hangs_is_ended_with_its_children(tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "never")
    os.mkfifo(tmp_path / "alive")
    # The child holds the pipe that tells of its end.
    plugin.path.write_text(f"#!/bin/sh\n(exec 9> {tmp_path}/alive; read line < {tmp_path}/never)\n")
    monkeypatch.setattr(exec_plugin, "LIMIT_SECONDS", 0.5)
    watched = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(AccessError, match="had not ended after 0 seconds"):
            reached(tmp_path, plugin.user()).headers()
        os.set_blocking(watched, True)
        assert os.read(watched, 1) == b""
    finally:
        os.close(watched)
