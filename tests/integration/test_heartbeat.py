# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock with a heartbeat, between runs that cannot see each other's processes: real processes on real API servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, heartbeat, lock_taking, processes
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lease as leases
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as locks
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lock as plan
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock
from support.collection import CHECKOUT, collections_path
from support.kube_api import KubeApi

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]

# A run: its worker takes the lock, with a heartbeat. Then it waits, or starts something that outlives it.
RUN = """
import json, os, signal, subprocess, sys
from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock

options, child = json.loads(sys.argv[1]), sys.argv[2]
processes.mark_this_process()
# The holder is the parent of the worker.
worker = os.fork()
if not worker:
    result = _call.perform(rollout_lock.ARGUMENTS, rollout_lock.run, options, False, False)
    print(json.dumps(result), flush=True)
    os._exit(0)
os.waitpid(worker, 0)
if child:
    print(subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL).pid, flush=True)
signal.pause()
"""


def options(kube_clusters: list[Json], namespace: str, run_id: str, seconds: int = 1) -> Json:
    given = {"lock": None, "state": "held", "what": "", "take_over": "", "force": False, "joining": [], "without": []}
    return {
        **given,
        "kube_clusters": kube_clusters,
        "name": "ledger",
        "namespace": namespace,
        "run_id": run_id,
        "heartbeat_seconds": seconds,
    }


def call(params: Json) -> Json:
    return _call.perform(rollout_lock.ARGUMENTS, rollout_lock.run, params, False, False)


@contextlib.contextmanager
def run(params: Json, child: bool = False) -> Iterator[tuple[subprocess.Popen[str], Json, int]]:
    """The run's process, what its rollout_lock returned, and the id of its child (0: none)."""
    arguments = [sys.executable, "-c", RUN, json.dumps(params), "child" if child else ""]
    environment = {"PYTHONPATH": str(collections_path()), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment, cwd=CHECKOUT)
    left = 0
    try:
        assert process.stdout is not None
        result = json.loads(process.stdout.readline())
        left = int(process.stdout.readline()) if child else 0
        yield process, result, left
    finally:
        process.kill()
        process.communicate()
        if left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def lease(kube: KubeApi, namespace: str) -> Json:
    found: Json = kube.request_json("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout")
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def renewed(kube: KubeApi, namespace: str) -> str:
    return str(lease(kube, namespace)["spec"]["renewTime"])


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """A heartbeat that this process began ends with its lock; every test gives that back, or loses it."""
    yield
    for beating in heartbeat._beating:
        until(lambda beating=beating: beating.poll() is not None)  # type: ignore[misc]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is in another container: it sees no process of the other run, and knows none of its marks."""
    mine = leases.this_process

    def other(*arguments: Any) -> plan.Holder:
        return replace(mine(*arguments), pid_namespace="pid:[1]", host="another")

    monkeypatch.setattr(leases, "this_process", other)


def test_a_run_that_lives_is_renewed_and_one_that_has_ended_is_taken_over(
    kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi, namespace: str, elsewhere: None
) -> None:
    with run(options(kube_clusters, namespace, "r1")) as (process, result, _child):
        assert result["lock"] == {"name": "ledger", "namespace": namespace, "holder": "r1", "generation": 1}, result
        for kube in (kube_api, kube_api_two):
            first = renewed(kube, namespace)
            until(lambda kube=kube, first=first: renewed(kube, namespace) > first)  # type: ignore[misc]
        holder = json.loads(lease(kube_api, namespace)["metadata"]["annotations"]["hostnet.multicluster/holder"])
        assert (holder["pid"], holder["heartbeat"]) == (process.pid, 1)
        # Without a heartbeat of its own a run believes nobody's silence, and says what it could do.
        refused = call(options(kube_clusters, namespace, "r2", 0))
        assert "That run renews it every 1 s: with -e hostnet_lock_heartbeat_seconds=1 this one would watch for 10 s" in refused["msg"]
        begun = time.monotonic()
        refused = call(options(kube_clusters, namespace, "r2"))
        assert "It was renewed while this run watched, so that run lives" in refused["msg"]
        assert time.monotonic() - begun < plan.EXPIRES_AFTER, "it is told as soon as it is seen"
        process.kill()
        process.wait()
        taken = call(options(kube_clusters, namespace, "r2"))
        assert not taken.get("failed"), taken
        assert (taken["generation"], taken["taken_over_from"]) == (2, ["r1"])
        assert "it renews its lock every 1 s while it lives, and has not for 10 s" in taken["warnings"][0]
    # This one's heartbeat is of the process that started the tests, which lives on: it ends as soon as the lock is given back.
    assert call({**options(kube_clusters, namespace, "r2"), "state": "free"})["changed"]
    until(lambda: heartbeat._beating[-1].poll() is not None)


def test_it_goes_on_while_something_is_left_of_the_run(
    kube_clusters: list[Json], kube_api: KubeApi, namespace: str, elsewhere: None
) -> None:
    with run(options(kube_clusters, namespace, "r1"), child=True) as (process, _result, child):
        process.kill()
        process.wait()
        for _number in range(2):
            last = renewed(kube_api, namespace)
            until(lambda last=last: renewed(kube_api, namespace) > last)  # type: ignore[misc]
        assert "so that run lives" in call(options(kube_clusters, namespace, "r2"))["msg"]
        os.kill(child, signal.SIGKILL)
        # It may have renewed once more.
        until(lambda: call(options(kube_clusters, namespace, "r2")).get("taken_over_from") == ["r1"])
    call({**options(kube_clusters, namespace, "r2"), "state": "free"})


def test_it_ends_when_the_lock_is_lost_anywhere(
    kube_clusters: list[Json], kube_api: KubeApi, kube_api_two: KubeApi, namespace: str
) -> None:
    lock = call(options(kube_clusters, namespace, "r1"))["lock"]
    beating = heartbeat._beating[-1]
    assert beating.poll() is None
    west = client.connect([entry for entry in kube_clusters if entry["name"] == "west"])
    lock_taking.acquire(west, "ledger", namespace, plan.Holder("r2", "box"), force=True)
    until(lambda: beating.poll() is not None)
    assert lease(kube_api, namespace)["spec"]["holderIdentity"] == "r1"
    assert lease(kube_api_two, namespace)["spec"]["holderIdentity"] == "r2"
    with pytest.raises(locks.LockLost):
        locks.verify(client.connect(kube_clusters), lock)


def test_a_run_that_could_not_renew_does_so_before_its_next_change(
    kube_clusters: list[Json], kube_api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters = client.connect(kube_clusters)
    me = replace(leases.this_process("r1", "", os.getpid(), ""), heartbeat=20)
    lock = lock_taking.acquire(clusters, "ledger", namespace, me).lock
    assert lock is not None
    before, requests = renewed(kube_api, namespace), client.total_requests(clusters)
    locks.verify(clusters, lock)
    assert (renewed(kube_api, namespace), client.total_requests(clusters)) == (before, requests + 2), "it was renewed just now"
    now = processes.uptime
    monkeypatch.setattr(processes, "uptime", lambda: now() + plan.STOPS_AFTER * 20 + 1)
    locks.verify(clusters, lock)
    assert renewed(kube_api, namespace) > before
    assert client.total_requests(clusters) == requests + 6
    # After another boot, or a sleep whose length nobody knows, the same.
    monkeypatch.setattr(processes, "boot_id", lambda: "another")
    last = renewed(kube_api, namespace)
    locks.verify(clusters, lock)
    assert renewed(kube_api, namespace) > last


def test_a_lock_that_is_lost_anywhere_is_renewed_nowhere(
    kube_clusters: list[Json], kube_api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters = client.connect(kube_clusters)
    lock = lock_taking.acquire(clusters, "ledger", namespace, replace(leases.this_process("r1", "", os.getpid(), ""), heartbeat=20)).lock
    assert lock is not None
    lock_taking.acquire({"west": clusters["west"]}, "ledger", namespace, plan.Holder("r2", "box"), force=True)
    before, now = renewed(kube_api, namespace), processes.uptime
    monkeypatch.setattr(processes, "uptime", lambda: now() + plan.STOPS_AFTER * 20 + 1)
    for ask in (locks.verify, locks.unasked):
        with pytest.raises(locks.LockLost, match="taken over by r2"):
            ask(clusters, lock)
        assert renewed(kube_api, namespace) == before


def test_without_a_heartbeat_that_begins_nothing_is_held(
    kube_clusters: list[Json], kube_api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/not/there/python")
    result = call(options(kube_clusters, namespace, "r1"))
    assert (
        "the heartbeat of the lock of deployment ledger did not begin, and the lock was released: /not/there/python cannot be started"
        in result["msg"]
    )
    assert lease(kube_api, namespace)["spec"]["holderIdentity"] == ""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert "/bin/false ended without a word" in call(options(kube_clusters, namespace, "r1"))["msg"]
    assert lease(kube_api, namespace)["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize(
    "changes", [{"run_id": "a,b"}, {"run_id": "-a"}, {"run_id": "a b"}, {"run_id": "a" * 129}, {"heartbeat_seconds": -1}]
)
def test_what_is_no_run_id_or_interval_is_refused(kube_clusters: list[Json], namespace: str, changes: Json) -> None:
    result = call({**options(kube_clusters, namespace, "r1"), **changes})
    assert next(iter(changes)) in result["msg"]
    assert result["requests"] == 0
