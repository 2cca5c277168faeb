# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kubeconfig the inventory plugin gives to the entries of kube_clusters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.inventory.nodes import InventoryModule
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import credentials

Json = dict[str, Any]


def entries(folder: Path, kubeconfig: str, given: Any, named: bool = False) -> list[Json]:
    """`named`: kubeconfig is an option of the source, and not from the environment."""
    options = {"kubeconfig": kubeconfig, "kube_clusters": given}
    found: list[Json] = InventoryModule._kube_clusters(None, options, str(folder / "x.hostnet.yml"), named=named)
    return found


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_of_several_files_of_the_environment_those_that_are_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"contexts: [{{name: {name}, context: {{}}}}]")
    several = os.pathsep.join(str(tmp_path / name) for name in ("missing", "a", "b"))
    there = os.pathsep.join(str(tmp_path / name) for name in ("a", "b"))
    assert entries(tmp_path, several, [{"name": "x"}]) == [{"name": "x", "kubeconfig": there}]
    assert entries(tmp_path, several, "all_contexts") == [{"name": name, "context": name, "kubeconfig": there} for name in ("a", "b")]
    # What a user has written down has to be there, and whoever reads it says so.
    assert entries(tmp_path, several, [{"name": "x"}], named=True) == [{"name": "x", "kubeconfig": several}]
    assert entries(tmp_path, "a:b", [{"name": "x"}], named=True) == [{"name": "x", "kubeconfig": there}]
    missing = str(tmp_path / "missing")
    assert entries(tmp_path, missing, [{"name": "x"}]) == [{"name": "x", "kubeconfig": missing}]


def test_in_a_pod_without_a_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("HOME", str(tmp_path))
    missing = str(tmp_path / ".kube" / "config")
    assert entries(tmp_path, "~/.kube/config", [{"name": "x"}, {"name": "y", "context": "y"}]) == [
        {"name": "x"},
        {"name": "y", "context": "y", "kubeconfig": missing},
    ]
    assert entries(tmp_path, "~/.kube/config", [{"name": "x"}], named=True) == [{"name": "x", "kubeconfig": missing}]
    (tmp_path / "k").write_text("contexts: []")
    assert entries(tmp_path, str(tmp_path / "k"), [{"name": "x"}]) == [{"name": "x", "kubeconfig": str(tmp_path / "k")}]


def test_options_that_are_as_they_are_without_them_are_left_out(tmp_path: Path) -> None:
    given = {"name": "x", "host": "https://x", "validate_certs": True, "request_timeout": 60, "impersonate_groups": []}
    assert entries(tmp_path, "k", [given]) == [{"name": "x", "host": "https://x"}]
    given = {"name": "x", "host": "https://x", "validate_certs": False, "request_timeout": 5}
    assert entries(tmp_path, "k", [given]) == [given]
