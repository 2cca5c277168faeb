# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module pod_trial on real API servers: what they would refuse, without a pod."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, settings_and_spec, trial
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import namespace as namespace_plan
from ansible_collections.hostnet.multicluster.plugins.modules import pod_trial
from support import plans
from support.in_process import call_module
from support.kube_api import LIMITED_CLASS, KubeApi
from support.rbac import restricted_user

Json = dict[str, Any]
SPEC = plans.spec_of("etcd")


@pytest.fixture(scope="module")
def limited(kube_api: KubeApi) -> str:
    """A class that the API servers treat as GKE treats system-cluster-critical."""
    body = {"metadata": {"name": LIMITED_CLASS}, "value": 1000}
    kube_api.request_json("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
    return LIMITED_CLASS


def ask(entry: Json, namespace: str, exists: bool = True, **changes: Any) -> tuple[Json, list[str]]:
    """What the module returned, and the errors that a deploy would make of it."""
    hostnet = plans.settings(kube_clusters=("east",), namespace=namespace, **changes)
    observed = {"east": plans.nothing(**({"namespace": {"labels": {}, "phase": "Active"}} if exists else {}))}
    nodes = [node for node in plans.five_nodes() if node["kube_cluster"] == "east"]
    plan = deployment.deployment_plan(hostnet, SPEC, nodes, observed)
    pods = trial.trial_pods(hostnet, SPEC, plan, observed)
    secrets = {"namespace": namespace, "pull_secrets": hostnet["pull_secrets"]}
    result = call_module("pod_trial", {"kube_clusters": [entry], "pods": pods, "priority_class": hostnet["priority_class"], **secrets})
    return result, trial.trial_errors(hostnet, plan, result.get("results", []))


def pods(kube: KubeApi, namespace: str) -> list[Json]:
    return list(kube.request_json("GET", f"/api/v1/namespaces/{namespace}/pods")["items"])


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_the_default_class_needs_no_right_but_that_to_make_pods(kube_api: KubeApi, namespace: str, placed: str) -> None:
    entry = restricted_user(kube_api, "hostnet-multicluster-namespace", namespace=namespace)
    result, errors = ask(entry, namespace, placement=placed)
    assert (errors, result["changed"], result["requests"]) == ([], False, 1)
    assert pods(kube_api, namespace) == []


def test_a_class_without_quota_is_refused_and_the_quota_of_a_deploy_lets_it_in(kube_api: KubeApi, namespace: str, limited: str) -> None:
    _result, errors = ask(kube_api.entry, namespace, priority_class=limited)
    (error,) = errors
    assert error.startswith(
        f"kube cluster east: namespace {namespace} lets no pod have the priority class limited (hostnet_priority_class): "
    )
    assert "insufficient quota to match these scopes" in error
    assert ask(kube_api.entry, namespace, priority_class="")[1] == []
    # What a deploy makes with a namespace of its own. Its status is the quota controller's, which is not here.
    hostnet = plans.settings(kube_clusters=("east",), namespace=namespace, priority_class=limited)
    objects = [entry for entry in namespace_plan.namespace_objects(hostnet, {}) if entry["definition"]["kind"] == "ResourceQuota"]
    made = call_module("manifests", {"kube_clusters": [kube_api.entry], "objects": objects})
    assert not made.get("failed"), made
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/hostnet-priority"
    quota = kube_api.request_json("GET", path)
    quota["status"] = {"hard": {"pods": "1G"}, "used": {"pods": "0"}}
    kube_api.request_json("PUT", f"{path}/status", quota)
    assert ask(kube_api.entry, namespace, priority_class=limited)[1] == []
    # A dry run is counted nowhere.
    assert kube_api.request_json("GET", path)["status"]["used"] == {"pods": "0"}
    assert pods(kube_api, namespace) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_class_that_is_not_there_is_named_with_and_without_namespace(kube_api: KubeApi, namespace: str, exists: bool) -> None:
    _result, errors = ask(kube_api.entry, namespace if exists else f"{namespace}-new", exists, priority_class="nobodys")
    (error,) = errors
    assert error.startswith("kube cluster east has no PriorityClass nobodys (hostnet_priority_class): make it there")


def test_secrets_for_images_have_to_be_there_and_for_a_registry(kube_api: KubeApi, namespace: str) -> None:
    entry = restricted_user(kube_api, "hostnet-multicluster-namespace", namespace=namespace)
    given = {"namespace": namespace, "pull_secrets": ["mirror", "other"]}
    assert ask(entry, **given)[0]["results"][0]["missing_secrets"] == ["mirror", "other"]
    path = f"/api/v1/namespaces/{namespace}/secrets"
    config = base64.b64encode(b'{"auths": {"registry.test": {"auth": "c2VjcmV0"}}}').decode()
    body = {"metadata": {"name": "mirror"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": config}}
    kube_api.request_json("POST", path, body)
    kube_api.request_json("POST", path, {"metadata": {"name": "other"}, "data": {"password": "eA=="}})
    result, (error,) = ask(entry, **given)
    assert result["results"][0]["missing_secrets"] == ["other"]
    assert f"are not in namespace {namespace}, or are none for a registry" in error
    assert "kube cluster east: other. Make them there" in error
    assert "c2VjcmV0" not in str(result), "what is in them is nobody's business"
    kube_api.request_json("DELETE", f"{path}/other")
    kube_api.request_json("POST", path, {**body, "metadata": {"name": "other"}})
    assert ask(entry, **given)[1] == []


def test_secrets_of_a_namespace_that_is_yet_to_be_made_are_missing(kube_api: KubeApi, namespace: str) -> None:
    _result, (error,) = ask(kube_api.entry, f"{namespace}-new", False, pull_secrets=["mirror"])
    assert "kube cluster east: mirror" in error
    assert "the namespace before where it is missing" in error


def test_pod_security_and_limits_are_told(kube_api: KubeApi, namespace: str) -> None:
    limits = {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]}
    kube_api.request_json("POST", f"/api/v1/namespaces/{namespace}/limitranges", {"metadata": {"name": "small"}, "spec": limits})
    _result, errors = ask(kube_api.entry, namespace, resources={"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}})
    (error,) = errors
    assert "the API server refuses a member's pod in namespace" in error
    assert "maximum memory usage per Container is 1Mi" in error
    assert "docs/rbac.yaml" not in error, "it is no right that lacks"


def test_who_may_not_ask_is_told_which_right_lacks(kube_api: KubeApi, namespace: str) -> None:
    result, _errors = ask(restricted_user(kube_api, "hostnet-multicluster-nodes"), namespace)
    assert 'cannot create resource "pods"' in result["msg"]
    assert "grant it as docs/rbac.yaml does" in result["msg"]


def test_bad_input(kube_api: KubeApi) -> None:
    for given, text in (
        ([{"kube_cluster": "north"}], "pods[0].kube_cluster is 'north', which is not in kube_clusters (east)"),
        ([{"kube_cluster": "east"}] * 2, "pods names a kube cluster twice"),
    ):
        result = call_module("pod_trial", {"kube_clusters": [kube_api.entry], "pods": given})
        assert result["failed"]
        assert text in result["msg"]
        assert result["requests"] == 0
    result = call_module("pod_trial", {"kube_clusters": [kube_api.entry], "pods": [], "pull_secrets": ["mirror"]})
    assert result["failed"]
    assert "give it in namespace" in result["msg"]


def test_pod_trial_examples(kube_clusters: list[Json], run_tasks: Any) -> None:
    run = run_tasks(yaml.safe_load(pod_trial.EXAMPLES), variables={"hostnet_kube_clusters": kube_clusters})
    assert run.rc == 0, run.output
    (asked,) = run.of("pod_trial")
    assert asked["results"] == [{"kube_cluster": "east", "refused": "", "class_exists": True, "missing_secrets": []}]
