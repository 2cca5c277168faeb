# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client does without an API server: options, kubeconfigs, threads, and the text of errors."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.doc_fragments.kube_clusters import ModuleDocFragment
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import options

NOWHERE = {"name": "east", "host": "https://127.0.0.1:1"}  # nothing listens on port 1


def write_kubeconfig(path: Path, contexts: list[str], user: dict[str, Any] | None = None, server: str = "https://127.0.0.1:1") -> str:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "secret-token"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_documented_options_are_the_options() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["kube_clusters"]
    specified = options.kube_clusters_argument()
    for field in ("type", "elements", "required"):
        assert documented[field] == specified[field]
    assert list(documented["suboptions"]) == list(options.KUBE_CLUSTER_OPTIONS)
    for name, option in options.KUBE_CLUSTER_OPTIONS.items():
        described = {key: value for key, value in documented["suboptions"][name].items() if key != "description"}
        assert described == {key: value for key, value in option.items() if key != "no_log"}


def test_secrets_are_no_log() -> None:
    assert options.KUBE_CLUSTER_OPTIONS["api_key"]["no_log"] is True


def test_names_must_differ() -> None:
    with pytest.raises(KubeError, match="kube cluster east: kube_clusters: this name is given twice"):
        client.connect([NOWHERE, NOWHERE])


def test_kube_clusters_come_in_the_order_of_their_names() -> None:
    names = ["west", "east", "north"]
    assert list(client.connect([{**NOWHERE, "name": name} for name in names])) == sorted(names)


def test_nobody_listens() -> None:
    cluster = KubeCluster(NOWHERE)
    with pytest.raises(KubeError) as error:
        cluster.version()
    assert str(error.value).startswith("kube cluster east: version: no answer from https://127.0.0.1:1 (")
    assert "Connection refused" in str(error.value)
    assert "ConnectionPool" not in str(error.value)
    assert error.value.unreachable
    # Somebody may come back at once; two seconds later it is told.
    assert error.value.tries == cluster.requests > 1


def test_contexts_of_several_files(tmp_path: Path) -> None:
    first = write_kubeconfig(tmp_path / "a", ["east", "west"])
    second = write_kubeconfig(tmp_path / "b", ["west", "north"])
    assert client.contexts(f"{first}:{second}") == ["east", "west", "north"]
    assert client.contexts(write_kubeconfig(tmp_path / "c", [])) == []


@pytest.mark.parametrize("text", ["- a", "contexts: 1", "contexts: [1]", "contexts: [{}]", "a: [", "", "contexts: [{name: \t"])
def test_no_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text + "\n# secret-token")
    with pytest.raises(ValueError, match="is not a kubeconfig") as error:
        client.contexts(str(tmp_path / "k"))
    assert "secret-token" not in str(error.value)


def test_a_kubeconfig_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        client.contexts(str(tmp_path / "k"))
    with pytest.raises(KubeError, match=r"kube cluster east: kubeconfig: .*/k is missing or cannot be read"):
        KubeCluster({"name": "east", "kubeconfig": str(tmp_path / "k")})


def test_a_context_that_is_missing(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", ["east"])
    with pytest.raises(KubeError, match=r"kube cluster east: .*west"):
        KubeCluster({"name": "east", "kubeconfig": path, "context": "west"})


def test_environment_names_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", write_kubeconfig(tmp_path / "a", ["east"], server="https://192.0.2.1"))
    assert KubeCluster({"name": "east", "context": "east"}).host == "https://192.0.2.1"
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", write_kubeconfig(tmp_path / "b", ["east"], server="https://192.0.2.2"))
    assert KubeCluster({"name": "east", "context": "east"}).host == "https://192.0.2.2"


def exec_user(command: str, *arguments: str) -> dict[str, Any]:
    details = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": list(arguments), "interactiveMode": "Never"}
    return {"exec": details}


def test_a_credential_plugin_that_fails_is_told_before_any_request(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", ["east"], exec_user("sh", "-c", "echo please log in >&2; exit 3"))
    with pytest.raises(KubeError, match=r"^kube cluster east: .*please log in") as error:
        client.connect([{"name": "east", "kubeconfig": path, "context": "east"}])
    # Nobody takes a kube cluster for one that is away because somebody has to log in.
    assert not error.value.unreachable
    assert error.value.passing


def test_credential_plugins_run_at_the_same_time(tmp_path: Path) -> None:
    # Each waits until the other has begun: one after the other would never end.
    entries = []
    for mine, other in (("a", "b"), ("b", "a")):
        there = f"test -e {tmp_path}/{other}"
        wait = f"touch {tmp_path}/{mine}; for i in $(seq 1200); do {there} && break; sleep 0.1; done; {there}"
        answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}'
        path = write_kubeconfig(tmp_path / f"k{mine}", ["x"], exec_user("sh", "-c", f"{wait} && echo '{answer}'"))
        entries.append({"name": mine, "kubeconfig": path, "context": "x"})
    assert list(client.connect(entries)) == ["a", "b"]


def test_threads_are_bounded_and_results_in_order() -> None:
    lock, running, most = threading.Lock(), 0, 0
    # None ends before as many work as may: one less, and it would never end.
    all_at_work = threading.Barrier(client.MAX_CONNECTIONS, timeout=300)

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_at_work.wait()
        with lock:
            running -= 1
        return item * 2

    items = list(range(6 * client.MAX_CONNECTIONS))
    assert client.in_parallel(work, items) == [item * 2 for item in items]
    assert most <= client.MAX_CONNECTIONS
    assert client.in_parallel(work, []) == []


def test_all_items_are_tried_and_the_first_error_is_raised() -> None:
    tried = []

    def work(item: int) -> None:
        tried.append(item)
        if item in (2, 4):
            raise KubeError("east", f"item {item}", "no")

    with pytest.raises(KubeError, match="item 2"):
        client.in_parallel(work, list(range(6)))
    assert sorted(tried) == list(range(6))


def test_paths() -> None:
    assert kinds.NODE.path(name="a") == "/api/v1/nodes/a"
    assert kinds.POD.path("ns", "a") == "/api/v1/namespaces/ns/pods/a"
    assert kinds.POD.path() == "/api/v1/pods"
    assert kinds.STATEFUL_SET.path("ns") == "/apis/apps/v1/namespaces/ns/statefulsets"
