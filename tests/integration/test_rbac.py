# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/rbac.yaml on a real API server: it suffices in one namespace, and gives nothing elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import namespace as namespace_plan
from support import plans
from support.in_process import call_module
from support.kube_api import KubeApi
from support.rbac import restricted_user, roles

Json = dict[str, Any]
NODES, NAMESPACE = "hostnet-multicluster-nodes", "hostnet-multicluster-namespace"
NEW_NAMESPACES = "hostnet-multicluster-new-namespaces"


def definitions(namespace: str) -> list[Json]:
    labels = {"app.kubernetes.io/name": "x"}
    metadata = {"name": "x", "namespace": namespace, "labels": labels}
    pod = {"metadata": {"labels": labels}, "spec": {"hostNetwork": True, "containers": [{"name": "x", "image": "example.test/x:1"}]}}
    workload = {"selector": {"matchLabels": labels}, "template": pod}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "1"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {**workload, "serviceName": "x"}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": workload},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": labels}},
        },
    ]


def test_three_roles_and_no_wildcards() -> None:
    found = roles()
    assert set(found) == {NODES, NAMESPACE, NEW_NAMESPACES}
    for role in found.values():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    # For the whole kube cluster: nodes, what a drain needs, and nothing that could read a Secret, enter a pod or make anything.
    verbs = {resource: rule["verbs"] for rule in found[NODES]["rules"] for resource in rule["resources"]}
    assert verbs == {
        "nodes": ["get", "list", "watch", "patch"],
        "namespaces": ["get"],
        "priorityclasses": ["get"],
        "pods": ["list", "watch"],
        "pods/eviction": ["create"],
        "poddisruptionbudgets": ["get", "list"],
    }
    # What only a collection needs that makes its namespaces itself.
    made = {resource: rule["verbs"] for rule in found[NEW_NAMESPACES]["rules"] for resource in rule["resources"]}
    assert made == {"namespaces": ["create", "patch"], "resourcequotas": ["get", "create", "patch"]}


def test_manifests_in_the_bound_namespace_alone(kube_api: KubeApi, namespace: str) -> None:
    entry = restricted_user(kube_api, NAMESPACE, namespace=namespace)
    objects = [{"kube_cluster": "east", "definition": definition} for definition in definitions(namespace)]
    made = call_module("manifests", {"kube_clusters": [entry], "objects": objects})
    assert not made.get("failed"), made
    assert {item["action"] for item in made["objects"]} == {"created"}
    assert not call_module("manifests", {"kube_clusters": [entry], "objects": objects})["changed"]
    gone = call_module("manifests", {"kube_clusters": [entry], "objects": objects, "state": "absent"})
    assert not gone.get("failed"), gone
    assert {item["action"] for item in gone["objects"]} == {"deleted"}
    elsewhere = [{"kube_cluster": "east", "definition": definition} for definition in definitions("default")]
    refused = call_module("manifests", {"kube_clusters": [entry], "objects": elsewhere})
    assert refused["failed"]
    assert refused["msg"].startswith("kube cluster east: ")
    assert "grant it as docs/rbac.yaml does" in refused["msg"]


def test_deployment_info_needs_both_roles(kube_api: KubeApi, namespace: str) -> None:
    entry = restricted_user(kube_api, NAMESPACE, namespace=namespace)
    args = {"kube_clusters": [entry], "name": "ledger", "namespace": namespace}
    refused = call_module("deployment_info", args)
    assert 'namespaces "kube-system" is forbidden' in refused["msg"], "its UID tells one kube cluster from another"
    also_bind(kube_api, entry, NODES)
    result = call_module("deployment_info", args)
    assert not result.get("failed"), result


def test_only_the_third_role_makes_namespaces(kube_api: KubeApi, namespace: str) -> None:
    hostnet = plans.settings(kube_clusters=("east",), namespace=f"{namespace}-new")
    objects = namespace_plan.namespace_objects(hostnet, {})
    entry = restricted_user(kube_api, NODES)
    also_bind(kube_api, entry, NAMESPACE)
    refused = call_module("manifests", {"kube_clusters": [entry], "objects": objects})
    assert refused["failed"]
    assert f"{namespace}-new" in refused["msg"]
    assert "grant it as docs/rbac.yaml does" in refused["msg"]
    also_bind(kube_api, entry, NEW_NAMESPACES)
    made = call_module("manifests", {"kube_clusters": [entry], "objects": objects})
    assert not made.get("failed"), made
    assert [item["action"] for item in made["objects"]] == ["created", "created"]
    assert not call_module("manifests", {"kube_clusters": [entry], "objects": objects})["changed"]


def also_bind(kube: KubeApi, entry: Json, role: str) -> None:
    """Give the user of `entry` one more role, for the whole kube cluster."""
    user = entry["kubeconfig"].rsplit("kubeconfig-", 1)[1]
    restricted_user(kube, role)  # makes sure that the role is there
    binding = {
        "metadata": {"name": f"{user}-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }
    kube.request_json("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)


def test_a_lock_is_kept_in_the_bound_namespace_and_never_deleted(kube_api: KubeApi, namespace: str) -> None:
    cluster = KubeCluster(restricted_user(kube_api, NAMESPACE, namespace=namespace))
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "ledger-rollout", "namespace": namespace}}
    made = cluster.create({**lease, "spec": {"holderIdentity": "run", "leaseTransitions": 1}})
    assert cluster.get(kinds.LEASE, "ledger-rollout", namespace) == made
    assert len(cluster.list(kinds.LEASE, namespace)[0]) == 1
    freed = cluster.replace({**made, "spec": {"holderIdentity": "", "leaseTransitions": 1}})
    cluster.merge_patch(kinds.LEASE, "ledger-rollout", {"metadata": {"resourceVersion": freed["metadata"]["resourceVersion"]}}, namespace)
    with pytest.raises(KubeError) as error:
        cluster.delete(kinds.LEASE, "ledger-rollout", namespace)
    assert error.value.status == 403
    with pytest.raises(KubeError) as error:
        cluster.get(kinds.LEASE, "ledger-rollout", "default")
    assert error.value.status == 403


def test_the_role_for_nodes_gives_nothing_else(kube_api: KubeApi, namespace: str) -> None:
    cluster = KubeCluster(restricted_user(kube_api, NODES))
    assert cluster.get(kinds.NAMESPACE, namespace)
    for kind in (kinds.SECRET, kinds.CONFIG_MAP, kinds.LEASE, kinds.NAMESPACE):
        with pytest.raises(KubeError) as error:
            cluster.list(kind)
        assert error.value.status == 403
    cluster.list(kinds.POD, field_selector="spec.nodeName=any")
    cluster.list(kinds.POD_DISRUPTION_BUDGET)
    with pytest.raises(KubeError) as error:
        cluster.delete(kinds.POD, "any", namespace)
    assert error.value.status == 403
    with pytest.raises(KubeError) as error:
        cluster.delete(kinds.NAMESPACE, namespace)
    assert error.value.status == 403
    with pytest.raises(KubeError) as error:
        cluster.delete(kinds.NODE, "any")
    assert error.value.status == 403
