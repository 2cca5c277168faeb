# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures themselves: what other tests take for granted about the API servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kubernetes.client
import kubernetes.config
import pytest

from support.kube_api import KubeApi


def test_two_separate_kube_clusters(kube_api: KubeApi, kube_api_two: KubeApi, kube_clusters: list[dict[str, str]]) -> None:
    uids = set()
    for entry in kube_clusters:
        client = kubernetes.config.new_client_from_config(config_file=entry["kubeconfig"], context=entry["context"])
        namespace: Any = kubernetes.client.CoreV1Api(client).read_namespace("kube-system")
        uids.add(namespace.metadata.uid)
    assert [entry["name"] for entry in kube_clusters] == ["east", "west"]
    assert len(uids) == 2


@pytest.mark.usefixtures("no_nodes")
def test_node_has_the_given_status(kube_api: KubeApi, create_node: Callable[..., dict[str, Any]]) -> None:
    create_node(kube_api, "vm-1", address="10.1.0.11", region="east", zone="east-a", labels={"pool": "db"}, ready=False)
    (node,) = kube_api.core().list_node(label_selector="pool=db").items
    assert [(one.type, one.address) for one in node.status.addresses] == [("InternalIP", "10.1.0.11"), ("Hostname", "vm-1")]
    assert [(one.type, one.status) for one in node.status.conditions] == [("Ready", "False")]
    assert node.metadata.labels["topology.kubernetes.io/zone"] == "east-a"
    assert not node.spec.taints


def test_a_user_without_rights_is_refused(kube_api: KubeApi) -> None:
    config = kube_api.user_kubeconfig("nobody-in-particular")
    client = kubernetes.config.new_client_from_config(config_file=config, context="east")
    with pytest.raises(kubernetes.client.ApiException) as refused:
        kubernetes.client.CoreV1Api(client).list_node()
    assert refused.value.status == 403


def test_a_module_runs_through_ansible(run_module: Callable[..., dict[str, Any]]) -> None:
    result = run_module("ansible.builtin.command", {"argv": ["echo", "{}"]})
    assert (result["rc"], result["stdout"], result["changed"]) == (0, "{}", True)
    failed = run_module("ansible.builtin.command", {"argv": ["false"]})
    assert failed["failed"] is True
