# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials against real API servers: each kind is accepted, renewed in the middle, and the API server says who asked."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import credential, credentials, kubeconfig, proxies
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.credentials import Access, access
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.shared_cache import SharedCache
from support.connect_proxy import ConnectProxy
from support.forks import in_forks
from support.issuer import Issuer
from support.kube_api import KubeApi, binary
from support.run import ansible_environment

Json = dict[str, Any]

# A name of the API servers that nobody outside of a kube cluster can look up.
INSIDE = "kubernetes.default.svc"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "KUBECONFIG", "K8S_AUTH_KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(credential.Once.__init__, "__defaults__", (SharedCache(),))


def parts(kube: KubeApi) -> tuple[Json, Json]:
    """(cluster, user) of the kubeconfig of a cluster admin."""
    content = yaml.safe_load(Path(kube.kubeconfig).read_text())
    return content["clusters"][0]["cluster"], content["users"][0]["user"]


def written(folder: Path, kube: KubeApi, user: Json, cluster: Json | None = None) -> str:
    path = folder / "k"
    content = {
        "clusters": [{"name": "c", "cluster": {**parts(kube)[0], **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "east", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "east",
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def ask(found: Access, path: str = "/version", body: Any = None) -> tuple[int, Json]:
    """(status, answer) of one request, on a connection of its own."""
    options: Json = {"ssl_context": credentials.client_context(found), "server_hostname": found.tls_server_name}
    if found.proxy:
        url, proxy_headers = proxies.split(found.proxy)
        trust = credentials.proxy_context(found)
        pool: Any = urllib3.ProxyManager(url, proxy_headers=proxy_headers, proxy_ssl_context=trust, **options)
    else:
        pool = urllib3.PoolManager(**options)
    headers = urllib3.HTTPHeaderDict(found.headers())
    headers.add("Accept", "application/json")
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
    with pool:
        answer = pool.request(method, f"{found.host}{path}", headers=headers, body=data, retries=False, timeout=60)
        return answer.status, json.loads(answer.data)


def who(found: Access) -> Json:
    """The user that the API server takes this for."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    status, answer = ask(found, "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    assert status == 201, answer
    info: Json = answer["status"]["userInfo"]
    return info


def new_token(kube: KubeApi, namespace: str) -> str:
    """A token of the service account `robot`, which is made where it is not there."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    if not any(item["metadata"]["name"] == "robot" for item in kube.request_json("GET", accounts)["items"]):
        kube.request_json("POST", accounts, {"metadata": {"name": "robot"}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(kube.request_json("POST", f"{accounts}/robot/token", request)["status"]["token"])


@pytest.fixture
def robot(namespace: str) -> str:
    return f"system:serviceaccount:{namespace}:robot"


def test_token_and_client_certificate(tmp_path: Path, kube_api: KubeApi, namespace: str, robot: str) -> None:
    token = new_token(kube_api, namespace)
    assert who(access({"name": "east", "kubeconfig": written(tmp_path, kube_api, {"token": token})}))["username"] == robot
    assert who(access(kube_api.entry))["username"] == "admin"
    # The option stands in the place of the certificate, which an API server would look at first.
    assert who(access({**kube_api.entry, "api_key": token}))["username"] == robot


def test_files_in_options(tmp_path: Path, kube_api: KubeApi, namespace: str) -> None:
    cluster, user = parts(kube_api)
    files = {}
    for option, encoded in (
        ("ca_cert", cluster["certificate-authority-data"]),
        ("client_cert", user["client-certificate-data"]),
        ("client_key", user["client-key-data"]),
    ):
        files[option] = str(tmp_path / option)
        (tmp_path / option).write_bytes(base64.b64decode(encoded))
    assert who(access({"name": "east", "host": kube_api.url, **files}))["username"] == "admin"
    path = written(tmp_path, kube_api, {"token": new_token(kube_api, namespace)})
    assert who(access({"name": "east", "kubeconfig": path, **files}))["username"] == "admin"
    assert ask(access({"name": "east", "host": kube_api.url, "ca_cert": files["ca_cert"]}), "/api/v1/nodes")[0] in (401, 403)


def test_a_token_file_that_is_renewed_midway(tmp_path: Path, kube_api: KubeApi, namespace: str, robot: str) -> None:
    (tmp_path / "token").write_text("not-valid-any-more")
    found = access({"name": "east", "kubeconfig": written(tmp_path, kube_api, {"tokenFile": "token"})})
    assert ask(found)[0] == 401
    assert not found.refused()
    (tmp_path / "token").write_text(new_token(kube_api, namespace))
    assert ask(found)[0] == 401
    assert found.refused()
    assert who(found)["username"] == robot


def plugin(folder: Path, status: Json) -> Json:
    """The user of a kubeconfig whose plugin counts its runs in `runs`, and prints the file `answer`."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (folder / "answer").write_text(json.dumps(answer))
    script = folder / "plugin"
    if not script.exists():
        script.write_text(f"#!/bin/sh\necho run >> {folder}/runs\ncat {folder}/answer\n")
        script.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never"}}


def runs(folder: Path) -> int:
    return (folder / "runs").read_text().count("run")


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_plugin_runs_once_for_many_forks_and_again_when_its_token_is_refused(tmp_path: Path, kube_api: KubeApi, namespace: str) -> None:
    robot = f"system:serviceaccount:{namespace}:robot"
    path = written(tmp_path, kube_api, plugin(tmp_path, {"token": new_token(kube_api, namespace)}))

    def work() -> None:
        assert who(access({"name": "east", "kubeconfig": path}))["username"] == robot

    assert in_forks(work, 6) == [0] * 6
    found = access({"name": "east", "kubeconfig": path})
    assert who(found)["username"] == robot
    assert runs(tmp_path) == 1
    # With the account its tokens are gone; API servers remember for some seconds whom they have let in.
    kube_api.request_json("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot")
    while ask(found)[0] != 401:
        pass
    plugin(tmp_path, {"token": new_token(kube_api, namespace)})

    def again() -> None:
        mine = access({"name": "east", "kubeconfig": path})
        if ask(mine)[0] == 401:
            assert mine.refused()
        assert who(mine)["username"] == robot

    assert in_forks(again, 6) == [0] * 6
    assert found.refused()
    assert who(found)["username"] == robot
    assert runs(tmp_path) == 2


def test_a_plugin_that_gives_a_client_certificate(tmp_path: Path, kube_api: KubeApi) -> None:
    user = parts(kube_api)[1]
    status = {
        "clientCertificateData": base64.b64decode(user["client-certificate-data"]).decode(),
        "clientKeyData": base64.b64decode(user["client-key-data"]).decode(),
    }
    found = access({"name": "east", "kubeconfig": written(tmp_path, kube_api, plugin(tmp_path, status))})
    assert who(found)["username"] == "admin"
    assert runs(tmp_path) == 1


# An action plugin as those of the collection are: imported by ansible-playbook itself, run in its forks.
_ACTION = """
from ansible.plugins.action import ActionBase
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.credentials import access
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import preload

preload.for_all_forks()


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return {"changed": False, "length": len(str(access({"name": "east", "kubeconfig": self._task.args["path"]}).headers()))}
"""


def test_a_play_runs_a_plugin_once(tmp_path: Path, kube_api: KubeApi) -> None:
    """Ten forks of ansible-playbook, five at a time."""
    path = written(tmp_path, kube_api, plugin(tmp_path, {"token": "t"}))
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "ask_east.py").write_text(_ACTION)
    hosts = {f"h{number}": {"ansible_connection": "local"} for number in range(5)}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ask_east": {"path": path}} for _number in range(2)]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), "-f", "5"]
    done = subprocess.run(
        [*command, str(tmp_path / "play.yml")],
        env=ansible_environment(tmp_path / "results"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert [result["outcome"] for result in results] == ["ok"] * 10
    assert runs(tmp_path) == 1


def test_impersonation(tmp_path: Path, kube_api: KubeApi) -> None:
    extra = {"Example.com/Reason": ["broken VM", "größer"], "plain": ["x"]}
    user = {**parts(kube_api)[1], "as": "jané", "as-groups": ["ops", "db"], "as-uid": "0815", "as-user-extra": extra}
    path = written(tmp_path, kube_api, user)
    found = who(access({"name": "east", "kubeconfig": path}))
    assert (found["username"], found["uid"]) == ("jané", "0815")
    assert sorted(found["groups"]) == ["db", "ops", "system:authenticated"]
    assert found["extra"] == {"example.com/reason": ["broken VM", "größer"], "plain": ["x"]}
    entry = {"name": "east", "kubeconfig": path, "impersonate_user": "x", "impersonate_groups": ["a", "b"]}
    found = who(access(entry))
    assert (found["username"], sorted(found["groups"])) == ("x", ["a", "b", "system:authenticated"])
    assert "extra" not in found
    assert "uid" not in found


def test_tls_server_name(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    user = parts(kube_api)[1]
    found = access({"name": "east", "kubeconfig": written(tmp_path, kube_api, user, {"tls-server-name": INSIDE})})
    assert who(found)["username"] == "admin"
    wrong = access({**kube_api.entry, "tls_server_name": "other.example"})
    with pytest.raises(urllib3.exceptions.SSLError, match="Hostname mismatch"):
        ask(wrong)
    with pytest.raises(urllib3.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(access({**kube_api.entry, "host": kube_api_two.url}))
    assert ask(access({**kube_api.entry, "tls_server_name": "other.example", "validate_certs": False}))[0] == 200


def test_the_service_account_of_a_pod(
    tmp_path: Path, kube_api: KubeApi, namespace: str, robot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(new_token(kube_api, namespace))
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(parts(kube_api)[0]["certificate-authority-data"]))
    host, port = kube_api.url.removeprefix("https://").split(":")
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    found = access({"name": "east"})
    assert who(found)["username"] == robot
    kube_api.request_json("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot")
    while ask(found)[0] != 401:
        pass
    (tmp_path / "token").write_text(new_token(kube_api, namespace))
    assert found.refused()
    assert who(found)["username"] == robot


@pytest.fixture(params=["http", "https"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ConnectProxy]:
    made = ConnectProxy(tmp_path, tls=request.param == "https", login=("me", "p@ss"), names={INSIDE: "127.0.0.1"})
    yield made
    made.stop()


def test_a_proxy(tmp_path: Path, kube_api: KubeApi, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    if proxy.ca:
        # A proxy has a certificate of its own; whom the system trusts is said in the environment.
        (tmp_path / "system.pem").write_text(proxy.ca)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    target = kube_api.url.removeprefix("https://")
    url = proxy.url.replace("://", "://me:p%40ss@")
    assert who(access({**kube_api.entry, "proxy": url}))["username"] == "admin"
    assert proxy.asked == [target]
    path = written(tmp_path, kube_api, parts(kube_api)[1], {"proxy-url": url})
    assert who(access({"name": "east", "kubeconfig": path}))["username"] == "admin"
    assert proxy.asked == [target] * 2
    assert who(access({"name": "east", "kubeconfig": path, "no_proxy": "127.0.0.0/8"}))["username"] == "admin"
    assert proxy.asked == [target] * 2
    with pytest.raises(urllib3.exceptions.ProxyError):
        ask(access({**kube_api.entry, "proxy": proxy.url}))
    assert proxy.refused == 1
    # Loopback is never behind the environment's proxy. What only the proxy knows how to reach is.
    monkeypatch.setenv("HTTPS_PROXY", url)
    assert who(access(kube_api.entry))["username"] == "admin"
    assert proxy.asked == [target] * 2
    inside = {**kube_api.entry, "host": kube_api.url.replace("127.0.0.1", INSIDE)}
    assert who(access(inside))["username"] == "admin"
    assert proxy.asked[2:] == [target.replace("127.0.0.1", INSIDE)]
    monkeypatch.setenv("NO_PROXY", "example.com,default.svc")
    assert access(inside).proxy is None


def test_a_login_of_openid_connect(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    (tmp_path / "issuer-ca.pem").write_text(issuer.ca)
    kube = KubeApi(
        "oidc",
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-client-id={issuer.client_id}",
        f"--oidc-ca-file={tmp_path}/issuer-ca.pem",
        "--oidc-username-prefix=-",
    )
    try:
        kube.start()
        kube.wait()
        path = written(tmp_path, kube, issuer.user())
        found = access({"name": "east", "kubeconfig": path})
        # Its authenticator reads the issuer's keys in the background.
        while ask(found)[0] == 401:
            pass
        assert who(found)["username"] == "jane"
        assert who(access({"name": "east", "kubeconfig": path}))["username"] == "jane"
        assert len(issuer.forms) == 1
        # A token that has expired in the API server's eyes: what is in the kubeconfig by now leads on.
        assert found.refused()
        assert who(found)["username"] == "jane"
        assert len(issuer.forms) == 2
    finally:
        kube.stop()
        issuer.stop()


_NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def _configs(draw: st.DrawFn) -> Json:
    def entries(key: str, field: str) -> list[Json]:
        return [{"name": name, key: {field: draw(st.sampled_from("123456789"))}} for name in draw(st.lists(_NAMES, unique=True))]

    contexts = [{"name": name, "context": {"cluster": draw(_NAMES), "user": draw(_NAMES)}} for name in draw(st.lists(_NAMES, unique=True))]
    content = {"clusters": entries("cluster", "server"), "users": entries("user", "tokenFile"), "contexts": contexts}
    return content | ({"current-context": draw(st.sampled_from(["", "a", "b"]))} if draw(st.booleans()) else {})


@settings(max_examples=25)
@given(contents=st.lists(_configs() | st.none(), min_size=1, max_size=4))
def test_kubeconfigs_are_merged_as_kubectl_does(tmp_path_factory: pytest.TempPathFactory, contents: list[Json | None]) -> None:
    """None is a file that is not there."""
    folder = tmp_path_factory.mktemp("merge")
    files = []
    for index, content in enumerate(contents):
        path = folder / str(index) / "k"
        path.parent.mkdir()
        files.append(str(path))
        if content is not None:
            path.write_text(yaml.safe_dump(content))
    command = [str(binary("kubectl")), "config", "view", "--raw", "-o", "json"]
    environment = {"KUBECONFIG": os.pathsep.join(files), "HOME": str(folder)}
    said = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    merged = kubeconfig.load(files, named=False) or kubeconfig.Merged()
    assert merged.current == said.get("current-context", "")
    for section, key in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        expected = {item["name"]: item[key] for item in said[section] or []}
        found = {}
        for name, entry in getattr(merged, section).items():
            # It shows paths as they are written.
            found[name] = {field: entry.text(field) for field in entry.values}
        assert found == expected
