# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against real API servers: what they answer, and what it says when they do not."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import (
    METADATA_ONLY,
    KubeCluster,
    KubeError,
    connect,
    each_cluster,
    total_requests,
)
from support.kube_api import KubeApi

Json = dict[str, Any]


@pytest.fixture
def east(kube_api: KubeApi) -> KubeCluster:
    return KubeCluster(kube_api.entry)


def config_map(namespace: str, name: str = "c", **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def credentials(kube: KubeApi, user: str | None = None) -> Json:
    """The parts of a kubeconfig: server, ca, certificate, key (base64)."""
    path = kube.kubeconfig if user is None else kube.user_kubeconfig(user)
    with open(path) as source:
        content = yaml.safe_load(source)
    return {**content["clusters"][0]["cluster"], **content["users"][0]["user"]}


def test_create_read_replace_delete(east: KubeCluster, namespace: str) -> None:
    made = east.create(config_map(namespace, a="1"))
    assert east.get(kinds.CONFIG_MAP, "c", namespace) == made
    with pytest.raises(KubeError, match="already exists") as exists:
        east.create(config_map(namespace))
    assert (exists.value.status, exists.value.reason) == (409, "AlreadyExists")
    stale = {**made, "data": {"a": "2"}}
    east.replace(stale)
    with pytest.raises(KubeError) as conflict:
        east.replace(stale)
    assert conflict.value.status == 409
    east.merge_patch(kinds.CONFIG_MAP, "c", {"data": {"a": None, "b": "3"}}, namespace)
    now = east.get(kinds.CONFIG_MAP, "c", namespace)
    assert now is not None
    assert now["data"] == {"b": "3"}
    with pytest.raises(KubeError) as other:
        east.delete(kinds.CONFIG_MAP, "c", namespace, uid="00000000-0000-0000-0000-000000000000")
    assert other.value.status == 409
    assert east.delete(kinds.CONFIG_MAP, "c", namespace, uid=now["metadata"]["uid"])
    assert not east.delete(kinds.CONFIG_MAP, "c", namespace)
    assert east.get(kinds.CONFIG_MAP, "c", namespace) is None
    # After the two conflicts with objects that are there, they were read to see whose they are.
    assert east.requests == 13


def test_apply_has_one_field_manager_and_dry_run_changes_nothing(east: KubeCluster, namespace: str) -> None:
    east.apply(config_map(namespace, a="1"), dry_run=True)
    east.create(config_map(namespace, "other"), dry_run=True)
    assert east.list(kinds.CONFIG_MAP, namespace)[0] == []
    applied = east.apply(config_map(namespace, a="1"))
    assert [entry["manager"] for entry in applied["metadata"]["managedFields"]] == ["hostnet.multicluster"]
    east.apply(config_map(namespace, b="2"))
    now = east.get(kinds.CONFIG_MAP, "c", namespace)
    assert now is not None
    assert now["data"] == {"b": "2"}


def test_lists_come_in_pages_and_carry_their_kind(east: KubeCluster, namespace: str) -> None:
    for index in range(7):
        east.create(config_map(namespace, f"c{index}", key="value"))
    before = east.requests
    items, version = east.list(kinds.CONFIG_MAP, namespace, page=3)
    assert east.requests - before == 3
    assert [item["metadata"]["name"] for item in items] == [f"c{index}" for index in range(7)]
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "ConfigMap")}
    assert version.isdigit()
    pages = list(east.pages(kinds.CONFIG_MAP, namespace, field_selector="metadata.name=c3", accept=METADATA_ONLY))
    ((item,), _version) = pages[0]
    assert (len(pages), item["metadata"]["name"], item["kind"], "data" in item) == (1, "c3", "ConfigMap", False)
    assert east.list(kinds.CONFIG_MAP, namespace, label_selector="none=such")[0] == []


def test_watch_goes_on_where_the_list_ended(east: KubeCluster, namespace: str) -> None:
    _items, version = east.list(kinds.CONFIG_MAP, namespace)

    def write() -> None:
        east.create(config_map(namespace))
        east.delete(kinds.CONFIG_MAP, "c", namespace)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    for event, item in east.watch(kinds.CONFIG_MAP, time.monotonic() + 300, namespace, resource_version=version):
        seen.append((event, item["metadata"]["name"]))
        if event == "DELETED":
            break
    writer.join()
    assert seen == [("ADDED", "c"), ("DELETED", "c")]


def test_watch_ends_at_its_deadline(east: KubeCluster, namespace: str) -> None:
    begun = time.monotonic()
    assert {event for event, _item in east.watch(kinds.CONFIG_MAP, begun + 1, namespace, resource_version="")} <= {"BOOKMARK"}
    assert time.monotonic() - begun < 120


def test_a_kind_that_is_not_built_in_costs_one_request(east: KubeCluster) -> None:
    kind = east.kind("storage.k8s.io/v1", "StorageClass")
    assert (kind.plural, kind.namespaced) == ("storageclasses", False)
    assert east.kind("storage.k8s.io/v1", "StorageClass") == kind
    assert east.requests == 1
    with pytest.raises(KubeError, match="v1 Nonsense: the API server does not serve this kind"):
        east.kind("v1", "Nonsense")


def test_host_and_files_instead_of_a_kubeconfig(kube_api: KubeApi) -> None:
    import base64

    parts = credentials(kube_api)
    paths = {}
    for name in ("certificate-authority-data", "client-certificate-data", "client-key-data"):
        paths[name] = str(kube_api.folder / f"test-{name}.pem")
        with open(paths[name], "wb") as target:
            target.write(base64.b64decode(parts[name]))
    entry = {
        "name": "east",
        "host": kube_api.url,
        "ca_cert": paths["certificate-authority-data"],
        "client_cert": paths["client-certificate-data"],
        "client_key": paths["client-key-data"],
    }
    assert KubeCluster(entry).list(kinds.NAMESPACE)[0]


def test_tls_server_name_and_unverified(kube_api: KubeApi) -> None:
    wrong = {**kube_api.entry, "tls_server_name": "other.example"}
    with pytest.raises(KubeError, match=r"is not trusted .*give the right ca_cert or tls_server_name"):
        KubeCluster(wrong).version()
    assert KubeCluster({**kube_api.entry, "tls_server_name": "localhost"}).version()["gitVersion"].startswith("v1.")
    assert KubeCluster({**wrong, "validate_certs": False}).version()


def test_another_clusters_ca_is_not_trusted(kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    with pytest.raises(KubeError, match=r"kube cluster east: version: the certificate of https://127.0.0.1:[0-9]+ is not trusted"):
        KubeCluster({**kube_api.entry, "host": kube_api_two.url}).version()


def test_refused_credentials(kube_api: KubeApi) -> None:
    entry = {"name": "east", "host": kube_api.url, "api_key": "wrong-token", "validate_certs": False}
    with pytest.raises(KubeError) as error:
        KubeCluster(entry).list(kinds.NODE)
    assert error.value.status == 401
    assert "the credentials were refused (401 Unauthorized); renew the token or certificate in the kubeconfig" in str(error.value)
    assert "wrong-token" not in str(error.value)


def test_missing_rights_name_the_remedy(kube_api: KubeApi) -> None:
    cluster = KubeCluster({"name": "east", "kubeconfig": kube_api.user_kubeconfig("nobody")})
    with pytest.raises(KubeError) as error:
        cluster.list(kinds.NODE)
    assert error.value.status == 403
    assert str(error.value).startswith('kube cluster east: list of nodes: nodes is forbidden: User "nobody" cannot list')
    assert str(error.value).endswith("grant it as docs/rbac.yaml does")


def test_impersonation(kube_api: KubeApi) -> None:
    assert KubeCluster({**kube_api.entry, "impersonate_user": "x", "impersonate_groups": ["system:masters"]}).list(kinds.NAMESPACE)[0]
    with pytest.raises(KubeError, match='User "x" cannot list'):
        KubeCluster({**kube_api.entry, "impersonate_user": "x"}).list(kinds.NAMESPACE)


def test_a_paused_api_server_is_given_up_on(kube_api_two: KubeApi) -> None:
    west = KubeCluster(kube_api_two.entry)
    with kube_api_two.paused():  # type: ignore[attr-defined]
        begun = time.monotonic()
        with pytest.raises(KubeError, match=r"kube cluster west: version: no answer from .*timed out") as error:
            west.version()
        assert time.monotonic() - begun < 120
    assert error.value.unreachable
    assert west.version()["gitVersion"]


def test_kube_clusters_are_asked_at_the_same_time_and_counted(kube_clusters: list[dict[str, str]]) -> None:
    clusters = connect(kube_clusters)
    together = threading.Barrier(len(clusters), timeout=300)

    def ask(cluster: KubeCluster) -> str:
        together.wait()
        return str(cluster.version()["gitVersion"])

    assert set(each_cluster(clusters, ask)) == {"east", "west"}
    assert total_requests(clusters) == 2


def test_at_most_eight_connections(east: KubeCluster, namespace: str) -> None:
    from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import MAX_CONNECTIONS, in_parallel

    tag = secrets.token_hex(4)
    in_parallel(lambda index: east.create(config_map(namespace, f"{tag}-{index}")), range(60))
    pools = east._transport._manager.pools
    opened = [pools[key].num_connections for key in pools.keys()]  # noqa: SIM118  # not a dict: it cannot be iterated
    assert sum(opened) <= MAX_CONNECTIONS == 8


def test_its_clock_is_compared_with_this_machines(east: KubeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert east.get(kinds.NAMESPACE, "default")
    assert east.clock_ahead is not None
    assert abs(east.clock_ahead) < 30
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 7200)
    east.get(kinds.NAMESPACE, "default")
    assert -7230 < east.clock_ahead < -7170
