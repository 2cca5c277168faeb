# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins of OpenID Connect against an issuer on loopback: refresh, rotation, and what is written back to the kubeconfig."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import credential, oidc
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.credentials import Access, access
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.options import AccessError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.shared_cache import SharedCache
from support.issuer import Issuer

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(credential.Once.__init__, "__defaults__", (SharedCache(),))


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(tmp_path)
    yield made
    made.stop()


def kubeconfig(folder: Path, user: Json) -> Path:
    path = folder / "k"
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com"}}],
        "users": [{"name": "other", "user": {"token": "t"}}, {"name": "u", "user": user}],
        "contexts": [{"name": "east", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "east",
    }
    path.write_text("# Mine. Do not touch!\n" + yaml.safe_dump(content))
    path.chmod(0o640)
    return path


def reached(path: Path) -> Access:
    return access({"name": "east", "kubeconfig": str(path)})


def bearer(found: Access) -> str:
    return dict(found.headers())["Authorization"].removeprefix("Bearer ")


def config(path: Path) -> Json:
    found: Json = yaml.safe_load(path.read_text())["users"][1]["user"]["auth-provider"]["config"]
    return found


def test_an_id_token_that_is_fresh_is_used_as_it_is(tmp_path: Path, issuer: Issuer) -> None:
    token = issuer.id_token(600)
    path = kubeconfig(tmp_path, issuer.user(**{"id-token": token}))
    before = path.read_bytes()
    assert bearer(reached(path)) == token
    assert issuer.forms == []
    assert path.read_bytes() == before


def test_an_expired_one_is_refreshed_once_and_the_login_is_not_lost(tmp_path: Path, issuer: Issuer) -> None:
    old = issuer.id_token(-5)
    path = kubeconfig(tmp_path, issuer.user(**{"id-token": old}))
    found = reached(path)
    token = bearer(found)
    assert bearer(found) == bearer(reached(path)) == token != old
    ((authorization, form),) = issuer.forms
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"hostnet:client-hunter2"
    assert form == {"grant_type": "refresh_token", "refresh_token": "refresh-0"}
    assert (config(path)["refresh-token"], config(path)["id-token"]) == ("refresh-1", token)
    assert path.read_text().startswith("# Mine. Do not touch!\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["issuer.pem", "k"]
    # A 401: the one after it.
    assert found.refused()
    assert bearer(found) != token
    assert config(path)["refresh-token"] == "refresh-2"
    for secret in (token, "client-hunter2", "refresh-2"):
        assert secret in found.secrets()


def test_forks_refresh_once(tmp_path: Path, issuer: Issuer) -> None:
    path = kubeconfig(tmp_path, issuer.user())
    processes = []
    for _number in range(4):
        process = os.fork()
        if not process:
            code = 1
            try:
                bearer(reached(path))
                code = 0
            finally:
                os._exit(code)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0] * 4
    assert len(issuer.forms) == 1
    assert bearer(reached(path)) == config(path)["id-token"]


def test_somebody_else_has_refreshed_first(tmp_path: Path, issuer: Issuer) -> None:
    path = kubeconfig(tmp_path, issuer.user())
    found = reached(path)
    issuer.refresh_token = "refresh-of-kubectl"
    kubeconfig(tmp_path, issuer.user())
    bearer(found)
    assert [form["refresh_token"] for _authorization, form in issuer.forms] == ["refresh-0", "refresh-of-kubectl"]
    assert config(path)["refresh-token"] == "refresh-2"


def test_a_kubeconfig_that_cannot_be_written(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any) -> None:
        raise PermissionError("rename")

    monkeypatch.setattr(oidc.os, "replace", refused)
    path = kubeconfig(tmp_path, issuer.user())
    found = reached(path)
    one = bearer(found)
    assert config(path)["refresh-token"] == "refresh-0"
    assert sorted(os.listdir(tmp_path)) == ["issuer.pem", "k"]
    # The newest refresh token is known for as long as this memory is there.
    assert found.refused()
    assert bearer(found) != one
    assert [form["refresh_token"] for _authorization, form in issuer.forms] == ["refresh-0", "refresh-1"]


def test_secret_in_the_form_where_the_issuer_wants_it_there(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, methods=["client_secret_post"], rotate=False)
    try:
        path = kubeconfig(tmp_path, issuer.user())
        before = path.read_bytes()
        bearer(reached(path))
        ((authorization, form),) = issuer.forms
        assert (authorization, form["client_id"], form["client_secret"]) == ("", "hostnet", "client-hunter2")
        assert path.read_bytes() == before
    finally:
        issuer.stop()


def test_what_an_issuer_refuses(tmp_path: Path, issuer: Issuer) -> None:
    path = kubeconfig(tmp_path, issuer.user(**{"refresh-token": "refresh-hunter3"}))
    with pytest.raises(AccessError) as error:
        bearer(reached(path))
    assert "the issuer refused the login (HTTP 400: " in str(error.value)
    assert "invalid_grant" in str(error.value)
    assert "hunter" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"refresh-token": None}, "is missing, and the ID token has expired; log in again"),
        ({"idp-certificate-authority-data": None}, "no answer from the issuer"),
        ({"idp-certificate-authority-data": None, "idp-certificate-authority": "missing"}, "has no certificates that can be read"),
        ({"idp-issuer-url": "https://127.0.0.1:1"}, "no answer from the issuer"),
        ({"idp-issuer-url": "{url}/keys"}, "does not say where its tokens are given|refused the login"),
    ],
)
def test_a_login_that_is_of_no_use(tmp_path: Path, issuer: Issuer, changes: Json, part: str) -> None:
    given = {key: value.replace("{url}", issuer.url) if value else value for key, value in changes.items()}
    path = kubeconfig(tmp_path, issuer.user(**given))
    with pytest.raises(AccessError, match=part):
        bearer(reached(path))


def test_the_ca_of_the_issuer_in_a_file_beside_the_kubeconfig(tmp_path: Path, issuer: Issuer) -> None:
    (tmp_path / "issuer-ca.pem").write_text(issuer.ca)
    user = issuer.user(**{"idp-certificate-authority-data": None, "idp-certificate-authority": "issuer-ca.pem"})
    assert bearer(reached(kubeconfig(tmp_path, user)))


def test_values_that_cannot_be_replaced_as_they_stand(tmp_path: Path, issuer: Issuer) -> None:
    path = kubeconfig(tmp_path, issuer.user())
    oidc.write_back(str(path), "u", {"refresh-token": "*: # '\"\n", "id-token": "new"})
    assert (config(path)["refresh-token"], config(path)["id-token"]) == ("*: # '\"\n", "new")
    assert yaml.safe_load(path.read_text())["users"][0] == {"name": "other", "user": {"token": "t"}}
    with pytest.raises(AccessError, match="is not in the kubeconfig any more"):
        oidc.write_back(str(path), "gone", {"id-token": "new"})


def test_a_link_stays_a_link(tmp_path: Path, issuer: Issuer) -> None:
    path = kubeconfig(tmp_path, issuer.user())
    link = tmp_path / "link"
    link.symlink_to("k")
    oidc.write_back(str(link), "u", {"refresh-token": "new"})
    assert link.is_symlink()
    assert config(path)["refresh-token"] == "new"


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.e30.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c", "a.bnVsbA.c"])
def test_a_token_that_says_nothing_about_its_end(token: str) -> None:
    assert oidc.expiry(token) is None


def test_when_a_token_expires() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 12.5}).encode()).decode().rstrip("=")
    assert oidc.expiry(f"a.{claims}.c") == 12.5
