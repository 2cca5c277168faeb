# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity record, without an API server: order of creation, races step by step, never an update."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.identity import IdentityConflict, record_labels, write_record

Json = dict[str, Any]


class FakeCluster:
    """Keeps objects as an API server does: POST fails with 409 where one exists. Has no PUT, PATCH or DELETE at all."""

    def __init__(self, name: str, log: list[tuple[str, str]] | None = None) -> None:
        self.name = name
        self.objects: dict[str, Json] = {}
        self.log = log if log is not None else []
        self.before_create: Any = None
        self.lock = threading.Lock()

    def get(self, kind: kinds.Kind, name: str, namespace: str) -> Json | None:
        assert (kind, namespace) == (kinds.CONFIG_MAP, "bank")
        self.log.append(("GET", self.name))
        return self.objects.get(name)

    def create(self, definition: Json) -> Json:
        if self.before_create:
            self.before_create()
        self.log.append(("POST", self.name))
        with self.lock:
            name = definition["metadata"]["name"]
            if name in self.objects:
                raise KubeError(self.name, f"ConfigMap bank/{name}", "already exists", 409, "AlreadyExists")
            self.objects[name] = definition
        return definition


def three(log: list[tuple[str, str]] | None = None) -> dict[str, FakeCluster]:
    # Not in order: that is write_record's work.
    return {name: FakeCluster(name, log) for name in ("west", "east", "north")}


def write(clusters: dict[str, FakeCluster], token: str = "a", dry_run: bool = False) -> tuple[Json, list[str]]:
    opened: dict[str, KubeCluster] = dict(clusters)  # type: ignore[arg-type]
    return write_record(opened, "bank", "ledger-identity", {"l": "v"}, {"token": token, "by": token}, dry_run)


def tokens(clusters: dict[str, FakeCluster]) -> set[str]:
    return {record["data"]["token"] for cluster in clusters.values() for record in cluster.objects.values()}


def test_invariant_1_the_claim_is_created_in_sorted_order() -> None:
    log: list[tuple[str, str]] = []
    clusters = three(log)
    assert write(clusters) == ({"token": "a", "by": "a"}, ["east", "north", "west"])
    assert [name for method, name in log if method == "POST"] == ["east", "north", "west"]
    for cluster in clusters.values():
        assert cluster.objects["ledger-identity"]["immutable"] is True
        assert cluster.objects["ledger-identity"]["metadata"]["labels"] == {"l": "v"}


def test_invariant_2_a_record_that_exists_is_never_written_again() -> None:
    clusters = three()
    write(clusters)
    for cluster in clusters.values():
        cluster.log.clear()
    assert write(clusters, "b") == ({"token": "a", "by": "a"}, [])
    assert all(method == "GET" for cluster in clusters.values() for method, _path in cluster.log)


def test_what_one_kube_cluster_lacks_gets_the_record_in_force_not_the_callers() -> None:
    clusters = three()
    write({"east": clusters["east"]}, "a")
    assert write(clusters, "b") == ({"token": "a", "by": "a"}, ["north", "west"])
    assert tokens(clusters) == {"a"}


def test_a_record_that_only_the_last_kube_cluster_has_is_adopted_not_contradicted() -> None:
    clusters = three()
    write({"west": clusters["west"]}, "old")
    assert write(clusters, "new") == ({"token": "old", "by": "old"}, ["east", "north"])
    assert tokens(clusters) == {"old"}


def test_invariant_2_where_records_differ_nothing_is_created() -> None:
    clusters = three()
    write({"north": clusters["north"]}, "a")
    write({"west": clusters["west"]}, "b")
    with pytest.raises(IdentityConflict, match="kube clusters north and west"):
        write(clusters, "c")
    assert clusters["east"].objects == {}


def test_different_records_are_a_conflict_that_names_both_kube_clusters_and_the_fields() -> None:
    clusters = three()
    write({"east": clusters["east"]}, "a")
    write({"west": clusters["west"]}, "b")
    with pytest.raises(IdentityConflict) as caught:
        write(clusters, "a")
    for part in (
        "ConfigMap bank/ledger-identity",
        "kube clusters east and west in by, token",
        "Nothing was initialised",
        "docs/recovery.md",
    ):
        assert part in str(caught.value)


def test_invariant_1_the_loser_of_a_race_adopts_the_winners_record() -> None:
    clusters = three()
    clusters["east"].before_create = lambda: clusters["east"].objects.setdefault("ledger-identity", {"data": {"token": "b", "by": "b"}})
    record, created = write(clusters, "a")
    assert (record["token"], created) == ("b", ["north", "west"])
    assert tokens(clusters) == {"b"}


def test_a_record_that_came_and_went_meanwhile_is_an_error() -> None:
    clusters = three()

    def create(definition: Json) -> Json:
        raise KubeError("east", "x", "already exists", 409)

    clusters["east"].create = create  # type: ignore[method-assign]
    with pytest.raises(IdentityConflict, match="kube cluster east: ledger-identity was created and deleted by another client"):
        write(clusters)


def test_other_errors_end_the_claim_where_they_happen() -> None:
    clusters = three()

    def create(definition: Json) -> Json:
        raise KubeError("north", "ConfigMap", "forbidden", 403)

    clusters["north"].create = create  # type: ignore[method-assign]
    with pytest.raises(KubeError, match="forbidden"):
        write(clusters)
    assert clusters["west"].objects == {}
    # The next run goes on with what the first one claimed.
    del clusters["north"].create
    assert write(clusters, "b")[0]["token"] == "a"


def test_check_mode_creates_nothing_and_says_the_same() -> None:
    clusters = three()
    assert write(clusters, dry_run=True) == ({"token": "a", "by": "a"}, ["east", "north", "west"])
    assert tokens(clusters) == set()
    write({"east": clusters["east"]}, "b")
    assert write(clusters, "a", dry_run=True) == ({"token": "b", "by": "b"}, ["north", "west"])


def test_a_record_without_data_and_no_kube_clusters() -> None:
    clusters = three()
    clusters["east"].objects["ledger-identity"] = {"metadata": {}}
    with pytest.raises(IdentityConflict):
        write({"east": clusters["east"], "west": FakeCluster("west")} | {"west": _with_token(clusters["west"])})
    assert write({}) == ({}, [])


def _with_token(cluster: FakeCluster) -> FakeCluster:
    cluster.objects["ledger-identity"] = {"data": {"token": "a", "by": "a"}}
    return cluster


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 3))
def test_every_interleaving_of_claims_ends_with_one_token(schedule: list[int], claimants: int) -> None:
    """Claimants take turns at each request as `schedule` says; a claimant may also stop for ever in the middle."""
    clusters = {name: FakeCluster(name) for name in ("east", "west")}
    turn = threading.Condition()
    state = {"now": -1, "done": set[int]()}
    records: dict[int, str] = {}

    def step(me: int) -> None:
        with turn:
            state["now"] = -1
            turn.notify_all()
            turn.wait_for(lambda: state["now"] == me)

    class Paced(FakeCluster):
        def __init__(self, inner: FakeCluster, me: int) -> None:
            self.name, self.inner, self.me = inner.name, inner, me

        def get(self, kind: kinds.Kind, name: str, namespace: str) -> Json | None:
            step(self.me)
            return self.inner.get(kind, name, namespace)

        def create(self, definition: Json) -> Json:
            step(self.me)
            return self.inner.create(definition)

    def claim(me: int) -> None:
        with turn:
            turn.wait_for(lambda: state["now"] == me)
        try:
            record, _created = write({name: Paced(cluster, me) for name, cluster in clusters.items()}, f"token-{me}")
            records[me] = record["token"]
        finally:
            with turn:
                state["done"].add(me)  # type: ignore[attr-defined]
                state["now"] = -1
                turn.notify_all()

    threads = [threading.Thread(target=claim, args=(number,), daemon=True) for number in range(claimants)]
    for thread in threads:
        thread.start()
    endless = [*schedule, *([0, 1, 2] * 40)]
    for number in endless:
        if number >= claimants or number in state["done"]:  # type: ignore[operator]
            continue
        with turn:
            state["now"] = number
            turn.notify_all()
            turn.wait_for(lambda: state["now"] == -1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(tokens(clusters)) == 1
    assert set(records.values()) == tokens(clusters), "everybody goes on with the same record"
    assert all(len(cluster.objects) == 1 for cluster in clusters.values())


def test_labels_of_records() -> None:
    assert record_labels("ledger", "etcd") == {
        "hostnet.multicluster/deployment": "ledger",
        "app.kubernetes.io/managed-by": "hostnet.multicluster",
        "app.kubernetes.io/name": "etcd",
        "app.kubernetes.io/instance": "ledger",
    }
