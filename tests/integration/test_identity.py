# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module identity against real API servers: create-only, one winner, every conflict named."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.error
from typing import Any

import pytest
import yaml

from support.collection import CHECKOUT, collections_path
from support.in_process import call_module
from support.kube_api import KubeApi

# The connections of a module end with its process; here that is this process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]

RACER = """
import json, random, sys, time
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, identity
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names

entries, namespace, name, token, seed = json.loads(sys.argv[1])
clusters = client.connect(entries)
chance = random.Random(seed)
for cluster in clusters.values():
    cluster.get(client.BUILT_IN[("v1", "ConfigMap")], "warm-up", namespace)
    send = cluster.request
    def slow(*args, send=send, **kwargs):
        time.sleep(chance.random() * 0.02)
        return send(*args, **kwargs)
    cluster.request = slow
print("ready", flush=True)
sys.stdin.readline()
record, created = identity.write_record(
    clusters, namespace, names.identity(name), identity.record_labels(name, "etcd"), {"token": token, "claimed_by": token}, False
)
print(json.dumps({"token": record["token"], "created": created}), flush=True)
"""


@pytest.fixture
def run_module() -> Any:
    """In this process; the examples run as a user's Ansible runs them."""
    return call_module


@pytest.fixture
def claim(kube_clusters: list[Json], namespace: str) -> Json:
    return {
        "kube_clusters": kube_clusters[::-1],
        "name": "ledger",
        "namespace": namespace,
        "system": "etcd",
        "placement": "node_name",
        "ca_fingerprint": "ab" * 32,
        "token": "ledger-1",
        "members": ["east-0", "east-1", "west-0"],
        "run_id": "first",
    }


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> dict[str, KubeApi]:
    return {"east": kube_api, "west": kube_api_two}


def record(kube: KubeApi, namespace: str, name: str = "ledger-identity") -> Json | None:
    try:
        found: Json = kube.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return found


def delete(kube: KubeApi, namespace: str, name: str = "ledger-identity") -> None:
    kube.request_json("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


def records(kubes: dict[str, KubeApi], namespace: str) -> dict[str, Json]:
    """Every ConfigMap of the namespace, by kube cluster and name, without what the API server adds by itself."""
    return {
        f"{name}/{item['metadata']['name']}": {"data": item["data"], "version": item["metadata"]["resourceVersion"]}
        for name, kube in kubes.items()
        for item in kube.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]
    }


def test_a_claim_is_written_once_everywhere_and_never_again(
    run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str
) -> None:
    first = run_module("identity", claim, diff=True)
    assert not first.get("failed"), first
    assert (first["changed"], first["won"], first["cluster_id"]) == (True, True, "")
    assert first["identity"] == {
        "token": "ledger-1",
        "system": "etcd",
        "placement": "node_name",
        "ca_fingerprint": "ab" * 32,
        "members": "east-0,east-1,west-0",
        "claimed_by": "first",
    }
    assert first["diff"]["after"] == "identity record in kube cluster east\nidentity record in kube cluster west\n"
    assert first["requests"] == 4
    for kube in kubes.values():
        found = record(kube, namespace)
        assert found is not None
        assert (found["immutable"], found["data"]) == (True, first["identity"])
        assert found["metadata"]["labels"]["hostnet.multicluster/deployment"] == "ledger"
    before = records(kubes, namespace)
    again = run_module("identity", claim)
    assert (again["changed"], again["won"], again["identity"], again["requests"]) == (False, True, first["identity"], 2)
    other = run_module("identity", {**claim, "token": "ledger-2", "run_id": "second", "members": ["east-7"]})
    assert (other["changed"], other["won"], other["identity"]) == (False, False, first["identity"])
    assert records(kubes, namespace) == before


def test_immutable_means_that_nobody_else_can_change_it_either(run_module: Any, claim: Json, kube_api: KubeApi, namespace: str) -> None:
    run_module("identity", claim)
    path = f"/api/v1/namespaces/{namespace}/configmaps/ledger-identity"
    with pytest.raises(urllib.error.HTTPError) as refused:
        kube_api.request_json("PATCH", path, {"data": {"token": "x"}}, "application/merge-patch+json")
    assert refused.value.code == 422


def test_check_mode_creates_nothing(run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    result = run_module("identity", {**claim, "cluster_id": "c1d"}, check=True, diff=True)
    assert (result["changed"], result["identity"]["token"], result["cluster_id"]) == (True, "ledger-1", "c1d")
    assert "west" in result["diff"]["after"]
    assert all(record(kube, namespace) is None for kube in kubes.values())


@pytest.mark.parametrize("where", ["east", "west"])
def test_the_record_that_one_kube_cluster_lost_comes_back_as_it_was(
    run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str, where: str
) -> None:
    first = run_module("identity", claim)
    delete(kubes[where], namespace)
    result = run_module("identity", {**claim, "run_id": "later", "members": ["east-0", "east-9"]}, diff=True)
    assert not result.get("failed"), result
    assert (result["changed"], result["identity"]) == (True, first["identity"])
    assert result["diff"]["after"] == f"identity record in kube cluster {where}\n"
    found = record(kubes[where], namespace)
    assert found is not None
    assert found["data"] == first["identity"]


def test_two_records_that_differ_are_one_error_and_change_nothing(
    run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str
) -> None:
    for name, token in (("east", "ledger-1"), ("west", "ledger-2")):
        entries = [entry for entry in claim["kube_clusters"] if entry["name"] == name]
        run_module("identity", {**claim, "kube_clusters": entries, "token": token})
    before = records(kubes, namespace)
    result = run_module("identity", {**claim, "cluster_id": "c1d"})
    assert result["failed"]
    # The cluster id is recorded first, and the claim says that it may not be.
    for part in (f"ConfigMap {namespace}/ledger-identity", "kube clusters east and west in token", "docs/recovery.md"):
        assert part in result["msg"]
    assert result["requests"] > 0
    assert records(kubes, namespace) == before


@pytest.mark.parametrize(("field", "value"), [("system", "nats"), ("placement", "daemonset"), ("ca_fingerprint", "cd" * 32)])
def test_another_deployment_under_the_name_is_refused(
    run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str, field: str, value: str
) -> None:
    run_module("identity", claim)
    before = records(kubes, namespace)
    result = run_module("identity", {**claim, field: value, "cluster_id": "c1d"})
    assert result["failed"]
    for part in (f"deployment ledger in namespace {namespace}", f"{field} {claim[field]!r}", repr(value), "hostnet_name"):
        assert part in result["msg"]
    assert records(kubes, namespace) == before


def test_the_cluster_id_is_recorded_once(run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    run_module("identity", claim)
    recorded = run_module("identity", {**claim, "cluster_id": "c1d"}, diff=True)
    assert (recorded["changed"], recorded["cluster_id"]) == (True, "c1d")
    assert not run_module("identity", {**claim, "cluster_id": "c1d"})["changed"]
    for kube in kubes.values():
        found = record(kube, namespace, "ledger-cluster-id")
        assert found is not None
        assert (found["immutable"], found["data"]) == (True, {"cluster_id": "c1d", "token": "ledger-1"})
    before = records(kubes, namespace)
    second = run_module("identity", {**claim, "cluster_id": "other"})
    assert second["failed"]
    assert "recorded with cluster id c1d, but its members now report other: this is a second cluster" in second["msg"]
    assert records(kubes, namespace) == before


def test_cluster_id_of_another_claim_is_refused(run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    run_module("identity", {**claim, "cluster_id": "c1d"})
    for kube in kubes.values():
        delete(kube, namespace)
    before = records(kubes, namespace)
    result = run_module("identity", {**claim, "token": "ledger-2", "cluster_id": "c1d"})
    assert result["failed"]
    assert "cluster id c1d is recorded for token 'ledger-1', and this run has token 'ledger-2'" in result["msg"]
    assert records(kubes, namespace) == before


def test_a_phase_is_recorded_as_the_revision_that_follows(run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    old, new = claim["ca_fingerprint"], "cd" * 32
    trust = {"revision": 1, "trusted": [old], "issuer": old, "dropped": []}
    run_module("identity", {**claim, "trust": trust})
    before = records(kubes, namespace)
    refused = run_module("identity", {**claim, "trust": trust, "trust_phase": "issue"})
    assert refused["msg"] == "hostnet_ca_phase is issue, and no CA is being exchanged: begin with hostnet_ca_phase=trust"
    nobody = run_module("identity", {**claim, "trust": trust, "trust_phase": "trust"})
    assert nobody["msg"] == "the CA with the fingerprint '' is no new one"
    assert records(kubes, namespace) == before
    begun = run_module("identity", {**claim, "trust": trust, "trust_phase": "trust", "new_ca_fingerprint": new})
    assert begun["changed"]
    for kube in kubes.values():
        found = record(kube, namespace, "ledger-trust-2")
        assert found is not None
        assert found["data"] == {"revision": "2", "trusted": json.dumps([old, new]), "issuer": old, "dropped": "[]"}
    second = {"revision": 2, "trusted": [old, new], "issuer": old, "dropped": []}
    assert not run_module("identity", {**claim, "trust": second})["changed"]


def test_without_the_namespace_the_error_names_kube_cluster_and_object(run_module: Any, claim: Json) -> None:
    result = run_module("identity", {**claim, "namespace": "not-there"})
    assert result["failed"]
    assert "kube cluster east: ConfigMap not-there/ledger-identity" in result["msg"]


def test_a_kube_cluster_that_does_not_answer_ends_the_claim_before_anything_is_created(
    run_module: Any, claim: Json, kubes: dict[str, KubeApi], namespace: str
) -> None:
    gone = {"name": "north", "host": "https://127.0.0.1:9", "api_key": "x"}
    result = run_module("identity", {**claim, "kube_clusters": [*claim["kube_clusters"], gone]})
    assert result["failed"]
    assert "kube cluster north" in result["msg"]
    assert "no answer from https://127.0.0.1:9" in result["msg"]
    assert all(record(kube, namespace) is None for kube in kubes.values())


@pytest.mark.parametrize("racers", [2, 8])
def test_racing_claims_end_with_one_token_everywhere(
    kube_clusters: list[Json], kubes: dict[str, KubeApi], namespace: str, racers: int
) -> None:
    import json

    environment = {"PYTHONPATH": str(collections_path()), "PATH": "/usr/bin:/bin"}
    for seed in range(4):
        name = f"race{seed}"
        processes = []
        for number in range(racers):
            arguments = json.dumps([kube_clusters, namespace, name, f"token-{number}", random.Random(f"{seed}/{number}").random()])
            process = subprocess.Popen(
                [sys.executable, "-c", RACER, arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=CHECKOUT,
            )
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=600)[0]) for process in processes]
        found = [record(kube, namespace, f"{name}-identity") for kube in kubes.values()]
        tokens = {one["data"]["token"] for one in found if one}
        assert None not in found
        assert len(tokens) == 1
        assert {answer["token"] for answer in answers} == tokens, "everybody knows whose claim it is"
        # Each record was created by exactly one of them.
        assert sorted(kube for answer in answers for kube in answer["created"]) == ["east", "west"]


def test_identity_examples(run_tasks: Any, kube_clusters: list[Json], kubes: dict[str, KubeApi]) -> None:
    from ansible_collections.hostnet.multicluster.plugins.modules import identity

    for kube in kubes.values():
        try:
            kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "ledger"}})
        except urllib.error.HTTPError as error:
            # Another test may have made it.
            if error.code != 409:
                raise
    variables = {
        "hostnet_kube_clusters": kube_clusters,
        "certificates": {"ca": {"fingerprint": "ab" * 32}},
        "east_uid": "uid-1",
        "west_uid": "uid-2",
    }
    tasks = yaml.safe_load(identity.EXAMPLES)
    run = run_tasks(tasks, variables=variables)
    assert run.rc == 0, run.output
    assert run.of("identity")[-1]["cluster_id"] == "8d2f6b1c9e3a4f70"
    assert not run_tasks(tasks, variables=variables).changed
