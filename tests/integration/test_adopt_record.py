# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded cluster id is replaced on real API servers: only the named one, only whole, and gone on with after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT, collections_path
from support.in_process import call_module
from support.kube_api import KubeApi

# The connections of a module end with its process; here that is this process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]
NAME = "ledger-cluster-id"
FORMER = "hostnet.multicluster/former-cluster-id"
CALL = """
import json, sys
from support.in_process import call_module
print(json.dumps(call_module("identity", json.loads(sys.argv[1]))))
"""


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> dict[str, KubeApi]:
    return {"east": kube_api, "west": kube_api_two}


@pytest.fixture
def recorded(kube_clusters: list[Json], namespace: str) -> Json:
    """Parameters of a deployment whose cluster id is `old` in both kube clusters."""
    claim = {
        "kube_clusters": kube_clusters,
        "name": "ledger",
        "namespace": namespace,
        "system": "etcd",
        "placement": "node_name",
        "ca_fingerprint": "ab" * 32,
        "token": "ledger-1",
        "members": ["east-0", "west-0"],
        "run_id": "first",
        "cluster_id": "old",
    }
    assert call_module("identity", claim)["cluster_id"] == "old"
    return claim


def record(kube: KubeApi, namespace: str) -> Json | None:
    try:
        found: Json = kube.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return found


def ids(kubes: dict[str, KubeApi], namespace: str) -> dict[str, str]:
    return {name: str(((record(kube, namespace) or {}).get("data") or {}).get("cluster_id", "")) for name, kube in kubes.items()}


def test_the_record_is_replaced_everywhere_and_stays_immutable(recorded: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    wanted = {**recorded, "cluster_id": "new", "former_cluster_id": "old"}
    checked = call_module("identity", wanted, check=True, diff=True)
    assert (checked["changed"], checked["diff"]["after"]) == (
        True,
        "identity record in kube cluster east\nidentity record in kube cluster west\n",
    )
    assert ids(kubes, namespace) == {"east": "old", "west": "old"}
    result = call_module("identity", wanted)
    assert not result.get("failed"), result
    assert (result["changed"], result["cluster_id"], result["identity"]["token"]) == (True, "new", "ledger-1")
    for kube in kubes.values():
        found = record(kube, namespace)
        assert found is not None
        assert (found["immutable"], found["data"]) == (True, {"cluster_id": "new", "token": "ledger-1"})
        assert found["metadata"]["annotations"][FORMER] == "old"
        assert found["metadata"]["labels"]["hostnet.multicluster/deployment"] == "ledger"
    assert not call_module("identity", wanted)["changed"]
    # Without the word of the role adopt it is what it was: another cluster id is an error.
    assert "this is a second cluster" in call_module("identity", {**recorded, "cluster_id": "old"})["msg"]


@pytest.mark.parametrize(("former", "cluster_id"), [("third", "new"), ("", "new")])
def test_invariant_2_a_record_that_was_not_named_is_not_replaced(
    recorded: Json, kubes: dict[str, KubeApi], namespace: str, former: str, cluster_id: str
) -> None:
    result = call_module("identity", {**recorded, "cluster_id": cluster_id, "former_cluster_id": former})
    assert result["failed"]
    assert "Nothing was replaced" in result["msg"]
    assert ids(kubes, namespace) == {"east": "old", "west": "old"}


def test_invariant_2_a_third_cluster_id_in_the_last_kube_cluster_stops_it_before_the_first_change(
    recorded: Json, kubes: dict[str, KubeApi], namespace: str
) -> None:
    kubes["west"].request_json("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    entries = [entry for entry in recorded["kube_clusters"] if entry["name"] == "west"]
    assert call_module("identity", {**recorded, "kube_clusters": entries, "cluster_id": "third"})["changed"]
    result = call_module("identity", {**recorded, "cluster_id": "new", "former_cluster_id": "old"})
    assert result["failed"]
    assert "kube cluster west has cluster id third" in result["msg"]
    assert ids(kubes, namespace) == {"east": "old", "west": "third"}


def test_another_deployments_claim_is_never_given_another_cluster_id(recorded: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    result = call_module("identity", {**recorded, "token": "ledger-2", "cluster_id": "new", "former_cluster_id": "old"})
    assert result["failed"]
    assert ids(kubes, namespace) == {"east": "old", "west": "old"}


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("record-east:before-begin", {"east": "old", "west": "old"}),
        ("record-east:after-begin", {"east": "", "west": "old"}),
        ("record-west:before-begin", {"east": "new", "west": "old"}),
        ("record-west:after-begin", {"east": "new", "west": ""}),
    ],
)
def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next(
    recorded: Json, kubes: dict[str, KubeApi], namespace: str, place: str, left: dict[str, str]
) -> None:
    wanted = {**recorded, "cluster_id": "new", "former_cluster_id": "old"}
    path = os.pathsep.join([str(collections_path()), str(Path(CHECKOUT) / "tests")])
    # A shell in between is what dies in the place of ansible-playbook.
    command = ["sh", "-c", '"$0" -c "$1" "$2"; :', sys.executable, CALL, json.dumps(wanted)]
    environment = {**os.environ, "PYTHONPATH": path, "HOSTNET_FAILPOINT": place}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert ids(kubes, namespace) == left
    result = call_module("identity", wanted)
    assert not result.get("failed"), result
    assert result["changed"]
    assert ids(kubes, namespace) == {"east": "new", "west": "new"}
