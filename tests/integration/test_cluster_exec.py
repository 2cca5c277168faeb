# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the pods as far as a real API server without kubelets goes: TLS, credentials, rights, missing pods."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeError, connect
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.exec import run_command
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.port_forward import Http, http_request
from support.kube_api import KubeApi


def refusals(options: dict[str, Any], namespace: str = "default") -> list[KubeError]:
    cluster = connect([options])["east"]
    found = []
    for attempt in (
        lambda deadline: run_command(cluster, namespace, "nobody", "", ["true"], deadline),
        lambda deadline: http_request(cluster, namespace, "nobody", Http(80, "/"), "localhost", deadline),
    ):
        with pytest.raises(KubeError) as caught:
            attempt(time.monotonic() + 300)
        found.append(caught.value)
    return found


def test_a_pod_that_is_missing(kube_api: KubeApi) -> None:
    for error in refusals(kube_api.entry):
        assert (error.status, error.reason, error.detail) == (404, "NotFound", 'pods "nobody" not found')


def test_a_user_without_the_right(kube_api: KubeApi) -> None:
    kubeconfig = kube_api.user_kubeconfig("nobody-in-particular")
    for error in refusals({"name": "east", "kubeconfig": kubeconfig}):
        assert error.status == 403
        assert 'User "nobody-in-particular" cannot get resource "pods/' in error.detail
        assert error.detail.endswith("grant it as docs/rbac.yaml does")


def test_impersonation_reaches_the_api_server(kube_api: KubeApi) -> None:
    for error in refusals({**kube_api.entry, "impersonate_user": "somebody-else"}):
        assert 'User "somebody-else" cannot get resource "pods/' in error.detail


def test_certificates_of_the_api_server_are_verified(kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    other = {**kube_api.entry, "ca_cert": str(kube_api_two.folder / "ca.crt")}
    for error in refusals(other):
        assert error.unreachable
        assert "certificate verify failed" in error.detail
    assert [error.status for error in refusals({**other, "validate_certs": False})] == [404, 404]
    # Nothing is trusted but what was given: the system's own CAs did not sign this server.
    for error in refusals({"name": "east", "host": kube_api.url}):
        assert "certificate verify failed" in error.detail
    wrong = {**kube_api.entry, "tls_server_name": "example.test"}
    assert all("certificate verify failed" in error.detail for error in refusals(wrong))
    assert [error.status for error in refusals({**kube_api.entry, "tls_server_name": "localhost"})] == [404, 404]


def test_an_api_server_that_hangs(kube_api_two: KubeApi) -> None:
    started = time.monotonic()
    with kube_api_two.paused():  # type: ignore[attr-defined]
        for error in refusals({**kube_api_two.entry, "name": "east", "request_timeout": 1.0}):
            assert error.unreachable
    assert time.monotonic() - started < 120
