# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: two real API servers (`east`, `west`), Node objects, and the collection's modules run through Ansible.

`from support.kube_api import create_node` and `from support.run import run_module, run_tasks` give the same helpers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import kube_api as servers
from support import run as runner
from support.commit import part
from support.kube_api import KubeApi


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the tests `in_turn` that were collected two are tried, chosen by the commit; before pytest looks which ones are `long`."""
    found = sorted(item.nodeid for item in items if item.get_closest_marker("in_turn"))
    now = part(found, min(2, len(found)))
    for item in items:
        if item.nodeid in found and item.nodeid not in now:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def _kube_servers() -> Iterator[tuple[KubeApi, KubeApi]]:
    # Both at once: the second costs no extra waiting.
    pair = (KubeApi("east"), KubeApi("west"))
    try:
        for server in pair:
            server.start()
        for server in pair:
            server.wait()
        yield pair
    finally:
        for server in pair:
            server.stop()


@pytest.fixture(scope="session")
def kube_api(_kube_servers: tuple[KubeApi, KubeApi]) -> KubeApi:
    """The kube cluster `east`."""
    return _kube_servers[0]


@pytest.fixture(scope="session")
def kube_api_two(_kube_servers: tuple[KubeApi, KubeApi]) -> KubeApi:
    """The kube cluster `west`."""
    return _kube_servers[1]


@pytest.fixture(scope="session")
def kube_clusters(kube_api: KubeApi, kube_api_two: KubeApi) -> list[dict[str, str]]:
    """What the modules take as `kube_clusters`: name, kubeconfig and context of both."""
    return [kube_api.entry, kube_api_two.entry]


@pytest.fixture
def no_nodes(kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    """Both kube clusters without any Node, whatever the test before left."""
    for kube in (kube_api, kube_api_two):
        servers.delete_nodes(kube)


@pytest.fixture
def namespace(kube_api: KubeApi, kube_api_two: KubeApi) -> str:
    """A new namespace, the same name in both kube clusters, that may hold host-network pods."""
    name = f"test-{secrets.token_hex(4)}"
    body = {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    for kube in (kube_api, kube_api_two):
        kube.request_json("POST", "/api/v1/namespaces", body)
    return name


@pytest.fixture
def create_node() -> Callable[..., dict[str, Any]]:
    return servers.create_node


@pytest.fixture
def run_module() -> Callable[..., dict[str, Any]]:
    return runner.run_module


@pytest.fixture
def run_tasks() -> Callable[..., runner.PlayRun]:
    return runner.run_tasks
