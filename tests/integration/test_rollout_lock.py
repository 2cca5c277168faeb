# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module rollout_lock against real API servers: one holder everywhere, or nobody anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, json_patch, kinds, lock_taking, processes
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import journal as journals
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as locks
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.lease import this_process
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as plan_journal
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.lock import Holder
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock
from support.collection import CHECKOUT, collections_path
from support.faults import HALF, RESET_AFTER, RESET_BEFORE, Balancer
from support.in_process import perform
from support.kube_api import KubeApi
from support.rbac import restricted_user

# The connections of a module end with its process; here that is this process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]
GONE = {"name": "north", "host": "https://127.0.0.1:9", "api_key": "x"}

# Takes and gives back again and again; says what it held. Nobody else may have seen itself as holder in between.
RACER = """
import json, os, random, sys, time
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, lease, lock, lock_taking

entries, namespace, run_id, rounds, seed = json.loads(sys.argv[1])
clusters = client.connect(entries)
chance = random.Random(seed)
for cluster in clusters.values():
    send = cluster.request
    def slow(*args, send=send, **kwargs):
        time.sleep(chance.random() * 0.01)
        return send(*args, **kwargs)
    cluster.request = slow
me = lease.this_process(run_id, "race", os.getpid(), lease.timestamp())
print("ready", flush=True)
sys.stdin.readline()
held = []
for number in range(rounds):
    try:
        outcome = lock_taking.acquire(clusters, "ledger", namespace, me)
    except lock_taking.LockRefused:
        time.sleep(chance.random() * 0.02)
        continue
    except client.KubeError as error:
        if "times in a row" not in str(error):
            raise
        continue
    begun = time.monotonic()
    lock.verify(clusters, outcome.lock)
    lock.renew(clusters, outcome.lock)
    ended = time.monotonic()
    lock_taking.release(clusters, "ledger", namespace, me)
    held.append([outcome.generation, begun, ended])
print(json.dumps(held), flush=True)
"""


def call(options: Json, *, check: bool = False, diff: bool = False) -> Json:
    return perform(rollout_lock, options, check=check, diff=diff)


@pytest.fixture
def held(kube_clusters: list[Json], namespace: str) -> Json:
    return {"kube_clusters": kube_clusters[::-1], "name": "ledger", "namespace": namespace, "run_id": "r1", "what": "upgrade replace"}


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> dict[str, KubeApi]:
    return {"east": kube_api, "west": kube_api_two}


@pytest.fixture
def clusters(kube_clusters: list[Json]) -> dict[str, client.KubeCluster]:
    return client.connect(kube_clusters)


def lease(kube: KubeApi, namespace: str, name: str = "ledger-rollout") -> Json | None:
    try:
        found: Json = kube.request_json("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return found


def leases(kubes: dict[str, KubeApi], namespace: str) -> dict[str, tuple[str, int] | None]:
    """Holder and generation by kube cluster; None without a Lease."""
    found = {name: lease(kube, namespace) for name, kube in kubes.items()}
    return {name: (one["spec"]["holderIdentity"], one["spec"]["leaseTransitions"]) if one else None for name, one in found.items()}


def somebody(**changes: Any) -> Holder:
    """A live process of another host."""
    return replace(Holder("r9", "box", "ann", 42, 7, "boot", "pid:[1]", what="upgrade reboot"), **changes)


def take(clusters: dict[str, client.KubeCluster], namespace: str, holder: Holder, **options: Any) -> Json:
    outcome = lock_taking.acquire(clusters, "ledger", namespace, holder, **options)
    assert outcome.lock is not None
    return outcome.lock


def test_taken_renewed_read_and_freed(held: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    free = call({**held, "state": "read", "run_id": ""})
    assert (free["changed"], free["lock"], free["generation"], free["requests"]) == (False, None, 0, 2)
    assert {entry["state"] for entry in free["holders"].values()} == {"free"}
    first = call(held, diff=True)
    assert not first.get("failed"), first
    lock = {"name": "ledger", "namespace": namespace, "holder": "r1", "generation": 1}
    assert (first["changed"], first["lock"], first["generation"], first["taken_over_from"]) == (True, lock, 1, [])
    assert "held by run r1 in kube cluster east, west" in first["diff"]["after"]
    assert "warnings" not in first
    assert first["requests"] == 8, "compare the kube clusters (two requests each), read, and create in each of them"
    before = lease(kubes["east"], namespace)
    assert before is not None
    assert before["metadata"]["labels"]["hostnet.multicluster/deployment"] == "ledger"
    assert (before["spec"]["leaseDurationSeconds"], before["spec"]["acquireTime"]) == (60, before["spec"]["renewTime"])
    holder = json.loads(before["metadata"]["annotations"]["hostnet.multicluster/holder"])
    assert sorted(holder) == [
        *("boot_id", "cgroup", "heartbeat", "host", "mark", "pid", "pid_namespace", "run_id", "since", "started", "user", "what")
    ]
    assert (holder["pid"], holder["started"], holder["what"]) == (os.getppid(), processes.started(os.getppid()), "upgrade replace")
    again = call(held)
    # Read and renew: who has it was compared when it took it.
    assert (again["changed"], again["lock"], again["requests"]) == (False, lock, 4)
    after = lease(kubes["east"], namespace)
    assert after is not None
    assert after["spec"]["renewTime"] > before["spec"]["renewTime"]
    assert {**after["spec"], "renewTime": ""} == {**before["spec"], "renewTime": ""}
    read = call({**held, "state": "read"})
    assert (read["lock"], read["holders"]["west"]["state"], read["holders"]["west"]["holder"]["host"]) == (lock, "own", holder["host"])
    freed = call({**held, "state": "free"}, diff=True)
    assert (freed["changed"], freed["lock"], freed["holders"]["east"]["state"]) == (True, None, "free")
    assert leases(kubes, namespace) == {"east": ("", 1), "west": ("", 1)}
    assert not call({**held, "state": "free"})["changed"]
    assert call({**held, "run_id": "r2"})["generation"] == 2


def test_check_mode_writes_nothing(held: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    result = call(held, check=True)
    assert (result["changed"], result["lock"], result["generation"]) == (True, None, 1)
    assert leases(kubes, namespace) == {"east": None, "west": None}
    call(held)
    assert call(held, check=True)["lock"]["generation"] == 1
    assert call({**held, "state": "free"}, check=True)["changed"]
    assert leases(kubes, namespace) == {"east": ("r1", 1), "west": ("r1", 1)}


def test_somebody_elses_is_refused_and_taken_over_by_order(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    lock = take(clusters, namespace, somebody())
    for wrong in ("", "r8", "r9x"):
        refused = call({**held, "take_over": wrong})
        assert refused["failed"]
        for part in (
            "in kube cluster east, west by run r9 (upgrade reboot) of ann on host box, process 42",
            "s ago",
            "-e hostnet_take_over=r9",
        ):
            assert part in refused["msg"]
        assert refused["holders"]["east"]["holder"]["run_id"] == "r9"
        assert call({**held, "take_over": wrong}, check=True)["failed"]
    assert call({**held, "state": "free"})["changed"] is False
    assert leases(kubes, namespace) == {"east": ("r9", 1), "west": ("r9", 1)}
    taken = call({**held, "take_over": "r7, r9"})
    assert (taken["changed"], taken["generation"], taken["taken_over_from"]) == (True, 2, ["r9"])
    assert len(taken["warnings"]) == 1
    assert "taken over in kube cluster east, west from run r9" in taken["warnings"][0]
    with pytest.raises(locks.LockLost, match=r"was taken over by r1 in kube cluster east .*this run changes nothing more"):
        locks.verify(clusters, lock)
    with pytest.raises(locks.LockLost, match="was taken over by r1 in kube cluster east"):
        locks.renew(clusters, lock)
    locks.verify(clusters, taken["lock"])
    # Not his any more, so not his to give back.
    assert not lock_taking.release(clusters, "ledger", namespace, somebody()).changed
    assert leases(kubes, namespace) == {"east": ("r1", 2), "west": ("r1", 2)}


def test_force_takes_and_frees_anybodys(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    take(clusters, namespace, somebody())
    assert call({**held, "force": True})["taken_over_from"] == ["r9"]
    take(clusters, namespace, somebody(), force=True)
    assert call({**held, "state": "free", "force": True})["changed"]
    assert leases(kubes, namespace) == {"east": ("", 3), "west": ("", 3)}


def test_a_run_id_given_twice_holds_once(held: Json, clusters: dict[str, client.KubeCluster], namespace: str) -> None:
    take(clusters, namespace, somebody(run_id="r1"))
    refused = call(held)
    assert refused["failed"]
    assert "Give this run a run id of its own" in refused["msg"]
    assert not call({**held, "state": "free"})["changed"]


# Of a process that has marked itself, and left nothing behind.
MARK = "0" * 32


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_the_provably_dead_are_taken_over(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = this_process("r9", "upgrade", child.pid, "")
    try:
        take(clusters, namespace, alive)
        assert call(held)["failed"], "it runs"
        by_order = call({**held, "take_over": "r9"})
        assert "FORCED by hostnet_take_over, though its process still runs" in by_order["warnings"][0]
    finally:
        child.kill()
        child.communicate()
    here = replace(alive, pid=dead_process(), mark=MARK)
    take(clusters, namespace, replace(here, mark=""), force=True)
    assert "whatever it started, which it had not marked" in call(held)["msg"], "a version before this one"
    assert "though there may be left of it" in call({**held, "take_over": "r9"})["warnings"][0]
    for elsewhere in (
        replace(here, host="another"),
        replace(here, boot_id="another"),
        replace(here, pid_namespace="pid:[1]"),
        replace(here, boot_id=""),
    ):
        take(clusters, namespace, elsewhere, force=True)
        before = leases(kubes, namespace)
        assert call(held)["failed"], elsewhere
        assert leases(kubes, namespace) == before
    for dead in (here, replace(here, pid=os.getpid(), started=1)):
        take(clusters, namespace, dead, force=True)
        taken = call(held)
        assert not taken.get("failed"), taken
        assert taken["taken_over_from"] == ["r9"]
        assert "its process has ended" in taken["warnings"][0]


@pytest.mark.parametrize("where", ["east", "west"])
@pytest.mark.parametrize("dead", [True, False])
def test_half_taken(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, where: str, dead: bool
) -> None:
    other = replace(this_process("r9", "", os.getpid(), ""), pid=dead_process(), mark=MARK) if dead else somebody()
    take({where: clusters[where]}, namespace, other)
    result = call(held)
    if dead:
        assert (result["generation"], result["taken_over_from"]) == (2, ["r9"])
        assert leases(kubes, namespace) == {"east": ("r1", 2), "west": ("r1", 2)}
    else:
        assert f"is held in kube cluster {where} by run r9" in result["msg"]
        assert leases(kubes, namespace) == {"east": None, "west": None, where: ("r9", 1)}


def test_own_half_is_completed_with_one_generation(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    entries = [entry for entry in held["kube_clusters"] if entry["name"] == "west"]
    for _number in range(3):
        call({**held, "kube_clusters": entries})
        call({**held, "kube_clusters": entries, "state": "free"})
    assert call({**held, "kube_clusters": entries})["generation"] == 4
    assert call(held)["generation"] == 5
    assert leases(kubes, namespace) == {"east": ("r1", 5), "west": ("r1", 5)}


def test_a_kube_cluster_that_does_not_answer_leaves_nothing_held(held: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    result = call({**held, "kube_clusters": [*held["kube_clusters"], GONE]})
    assert "kube cluster north" in result["msg"]
    assert "no answer from https://127.0.0.1:9" in result["msg"]
    assert leases(kubes, namespace) == {"east": None, "west": None}
    call(held)
    freed = call({**held, "kube_clusters": [*held["kube_clusters"], GONE], "state": "free"})
    assert "kube cluster north" in freed["msg"]
    assert leases(kubes, namespace) == {"east": ("", 1), "west": ("", 1)}, "those that answer are freed"


def broken(cluster: client.KubeCluster, when: Callable[[str, str], bool], carried_out: bool = False) -> None:
    """Lets requests of this connection end without an answer, carried out or not."""
    send = cluster.request

    def request(method: str, path: str, what: str, **options: Any) -> Any:
        if when(method, path):
            if carried_out:
                send(method, path, what, **options)
            raise client.KubeError(cluster.name, what, "no answer (test)")
        return send(method, path, what, **options)

    cluster.request = request  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("carried_out", [True, False])
def test_no_answer_half_way_gives_back_what_was_taken(
    clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, carried_out: bool
) -> None:
    broken(clusters["west"], lambda method, _path: method == "POST", carried_out)
    with pytest.raises(client.KubeError, match=r"kube cluster west: .*no answer"):
        lock_taking.acquire(clusters, "ledger", namespace, somebody())
    assert leases(kubes, namespace) == {"east": ("", 1), "west": ("", 1) if carried_out else None}


def test_what_cannot_be_given_back_is_named(clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str) -> None:
    broken(clusters["west"], lambda method, _path: method in ("POST", "PATCH"), True)
    with pytest.raises(client.KubeError, match=r"held in kube cluster west still.*-e hostnet_take_over=r9") as failed:
        lock_taking.acquire(clusters, "ledger", namespace, somebody())
    assert "no answer" in str(failed.value)
    assert leases(kubes, namespace)["east"] == ("", 1)


def test_without_the_namespace_the_error_names_it(held: Json) -> None:
    result = call({**held, "namespace": "not-there"})
    assert "kube cluster east: Lease not-there/ledger-rollout" in result["msg"]
    assert '"not-there" not found' in result["msg"]


def test_run_id_is_needed(held: Json) -> None:
    for state in ("held", "free"):
        result = call({**held, "run_id": "", "state": state})
        assert "run_id is missing" in result["msg"]
        assert result["requests"] == 0


def test_locks_of_neighbours_are_verified_where_they_were_taken(
    held: Json, clusters: dict[str, client.KubeCluster], kube_clusters: list[Json]
) -> None:
    west = [entry for entry in kube_clusters if entry["name"] == "west"]
    other = call({**held, "name": "other", "kube_clusters": west})["lock"]
    lock = {**call(held)["lock"], "neighbours": [{**other, "kube_clusters": ["west"]}]}
    locks.verify(clusters, lock)
    call({**held, "name": "other", "kube_clusters": west, "state": "free"})
    with pytest.raises(locks.LockLost, match="the lock of deployment other is held by nobody in kube cluster west"):
        locks.verify(clusters, lock)


def test_verify_says_what_is_wrong(held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str) -> None:
    lock = call(held)["lock"]
    locks.verify(clusters, lock)
    requests = client.total_requests(clusters)
    locks.renew(clusters, lock)
    assert client.total_requests(clusters) == requests + 2, "one request for each kube cluster"
    for wrong, says in (({"generation": 0}, "was taken again by r1"), ({"holder": "r0"}, "was taken over by r1 in kube cluster east")):
        with pytest.raises(locks.LockLost, match=says):
            locks.verify(clusters, {**lock, **wrong})
    kubes["west"].request_json("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout")
    for function in (locks.verify, locks.renew):
        with pytest.raises(locks.LockLost, match=r"was deleted in kube cluster west .*this run changes nothing more"):
            function(clusters, lock)
    call({**held, "state": "free"})
    with pytest.raises(locks.LockLost, match="is held by nobody in kube cluster east") as both:
        locks.verify(clusters, lock)
    assert "was deleted in kube cluster west" in str(both.value), "all kube clusters are named"
    # A lock that is lost somewhere counts more than a kube cluster that does not answer.
    with pytest.raises(locks.LockLost, match=r"is held by nobody .*kube cluster north"):
        locks.verify({**clusters, **client.connect([GONE])}, lock)


def test_a_module_with_a_lock_that_was_lost_changes_nothing(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, run_tasks: Any
) -> None:
    lock = call(held)["lock"]
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": namespace}, "data": {"a": "b"}}
    objects = [{"kube_cluster": name, "definition": manifest} for name in kubes]
    options = {"kube_clusters": held["kube_clusters"], "lock": lock, "objects": objects}
    task = {"name": "Write", "hostnet.multicluster.manifests": options}
    take({"west": clusters["west"]}, namespace, somebody(), force=True)
    run = run_tasks([task])
    assert run.rc != 0
    assert "was taken over by r9 in kube cluster west" in run.of("manifests")[0]["msg"]
    for kube in kubes.values():
        names = [item["metadata"]["name"] for item in kube.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]]
        assert "mine" not in names
    options["lock"] = call({**held, "force": True})["lock"]
    assert run_tasks([task]).rc == 0


@pytest.mark.parametrize("racers", [2, 16])
def test_threads_race_and_one_has_it_everywhere(
    clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, racers: int
) -> None:
    barrier = threading.Barrier(racers)

    def racer(number: int) -> Json | None:
        barrier.wait()
        try:
            return lock_taking.acquire(clusters, "ledger", namespace, somebody(run_id=f"r{number}", boot_id=f"boot{number}")).lock
        except lock_taking.LockRefused:
            return None

    with ThreadPoolExecutor(racers) as pool:
        won = [lock for lock in pool.map(racer, range(racers)) if lock]
    assert len(won) == 1
    assert leases(kubes, namespace) == dict.fromkeys(kubes, (won[0]["holder"], won[0]["generation"]))


def test_processes_race_for_it_again_and_again(kube_clusters: list[Json], kubes: dict[str, KubeApi], namespace: str) -> None:
    environment = {"PYTHONPATH": str(collections_path()), "PATH": "/usr/bin:/bin"}
    processes = []
    for number in range(4):
        arguments = json.dumps([kube_clusters[:: 1 if number % 2 else -1], namespace, f"r{number}", 30, number])
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", RACER, arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=CHECKOUT,
            )
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    held = sorted((generation, begun, ended) for answer in answers for generation, begun, ended in json.loads(answer))
    assert len(held) >= 10
    # One after the other, and every generation once. The clock is the host's, the same for all of these processes.
    for (earlier, _begun, ended), (later, begun, _ended) in pairwise(held):
        assert earlier < later
        assert ended <= begun
    assert {holder for holder, _generation in (found for found in leases(kubes, namespace).values() if found)} == {""}


def test_it_runs_on_the_controller_only(held: Json, run_tasks: Any) -> None:
    for module, options in (
        ("rollout_lock", held),
        ("rollout_journal", {**{key: held[key] for key in ("kube_clusters", "name", "namespace")}, "op": "start"}),
    ):
        task = {"name": "Far away", f"hostnet.multicluster.{module}": options, "vars": {"ansible_connection": "ssh"}}
        run = run_tasks([task])
        assert run.rc != 0
        assert "runs in the controller's own process" in run.of(module)[0]["msg"]
        assert "connection: local" in run.of(module)[0]["msg"]


def test_the_rights_of_docs_rbac_yaml_suffice(held: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    for kube in kubes.values():
        # Reads the namespace kube-system, whose UID is compared.
        restricted_user(kube, "hostnet-multicluster-nodes", user="locker")
    entries = [restricted_user(kube, "hostnet-multicluster-namespace", namespace=namespace, user="locker") for kube in kubes.values()]
    mine = client.connect(entries)
    lock = call({**held, "kube_clusters": entries})["lock"]
    document = plan_journal.advance({}, "start", now="t", run_id="r1", generation=1)
    found, _documents = journals.begin_generation(mine, lock)
    journals.write(mine, lock, document, found)
    locks.renew(mine, lock)
    journals.write(mine, lock, plan_journal.advance(document, "next", now="t", run_id="r1", generation=1, step="stop"))
    assert call({**held, "kube_clusters": entries, "state": "free"})["changed"]
    refused = call({**held, "kube_clusters": entries, "namespace": "default"})
    assert "grant it as docs/rbac.yaml does" in refused["msg"]


def test_rollout_lock_examples(run_tasks: Any, kube_clusters: list[Json], kubes: dict[str, KubeApi]) -> None:
    for kube in kubes.values():
        try:
            kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "ledger"}})
        except urllib.error.HTTPError as error:
            # Another test may have made it.
            if error.code != 409:
                raise
    tasks = yaml.safe_load(rollout_lock.EXAMPLES)
    run = run_tasks(tasks, variables={"hostnet_kube_clusters": kube_clusters, "hostnet_run_id": "r1"})
    assert run.rc == 0, run.output
    taken, read, kept, freed = run.of("rollout_lock")
    assert (taken["changed"], taken["lock"]["holder"], kept["away"], freed["changed"]) == (True, "r1", {}, True)
    # Another task of the same play, so another worker: the holder is the ansible-playbook.
    assert {entry["state"] for entry in read["holders"].values()} == {"other"}, "read without a run id is nobody's own"
    assert leases(kubes, "ledger")["east"] == ("", taken["generation"])


def test_invariant_15_a_lock_in_some_of_the_kube_clusters_is_refused(held: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    uids = {name: kube.request_json("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"] for name, kube in kubes.items()}
    data = {"token": "t", "system": "etcd", "placement": "node_name", "ca_fingerprint": "ab", "members": "east-0,west-0"}
    claim = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "ledger-identity", "labels": {"hostnet.multicluster/deployment": "ledger"}},
        "data": {**data, "kube_clusters": json.dumps(uids), "data_root": "/data"},
    }
    for kube in kubes.values():
        kube.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", claim)
    both = held["kube_clusters"]
    for kube_clusters, part in (
        ([entry for entry in both if entry["name"] == "east"], "kube cluster west is missing"),
        ([{**entry, "name": {"east": "west", "west": "east"}[entry["name"]]} for entry in both], "contexts or hosts were swapped"),
        ([{**entry, "name": {"west": "north"}.get(entry["name"], entry["name"])} for entry in both], "recorded under the name west"),
    ):
        result = call({**held, "kube_clusters": kube_clusters})
        assert result.get("failed"), result
        assert part in result["msg"]
        assert not result.get("changed")
    for kube in kubes.values():
        with pytest.raises(urllib.error.HTTPError):
            kube.request_json("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout")
    assert not call(held).get("failed")
    alone = call({**held, "run_id": "r2", "kube_clusters": both[:1], "without": [both[1]["name"]], "take_over": "r1"})
    assert not alone.get("failed"), alone


def delete_lease(kube: KubeApi, namespace: str) -> None:
    kube.request_json("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout")


def put_back(kube: KubeApi, namespace: str, old: Json) -> None:
    """The Lease as a backup has it."""
    delete_lease(kube, namespace)
    metadata = {key: old["metadata"][key] for key in ("name", "labels", "annotations")}
    kube.request_json("POST", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", {"metadata": metadata, "spec": old["spec"]})


def written(clusters: dict[str, client.KubeCluster], lock: Json) -> Json:
    """The journal of a rollout that this holder has begun."""
    found, known = journals.begin_generation(clusters, lock)
    document = plan_journal.advance(
        plan_journal.newest(known) or {}, "start", now="t", run_id=lock["holder"], generation=lock["generation"]
    )
    journals.write(clusters, lock, document, found)
    return document


@pytest.mark.parametrize("form", ["annotation and document", "annotation", "document"])
def test_invariant_10_the_generation_goes_on_from_the_journals_where_all_leases_are_gone(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, form: str
) -> None:
    for _number in range(3):
        lock = call(held)["lock"]
        document = written(clusters, lock)
        call({**held, "state": "free"})
    path = f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout"
    for kube in kubes.values():
        delete_lease(kube, namespace)
        if form == "annotation":
            kube.request_json("PATCH", path, {"data": None}, "application/merge-patch+json")
        elif form == "document":
            kube.request_json("PATCH", path, {"metadata": {"annotations": None}}, "application/merge-patch+json")
    taken = call(held)
    # One more for each journal, which gets the generation too; three where somebody has taken its annotation away.
    assert (taken["generation"], taken["requests"]) == (4, 14 if form == "document" else 10)
    found, known = journals.begin_generation(clusters, taken["lock"])
    assert plan_journal.newest(known) == (document if form != "annotation" else None)
    journals.write(clusters, taken["lock"], plan_journal.advance(document, "start", now="t", run_id="r1", generation=4), found)


def test_a_journal_of_one_kube_cluster_is_enough(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    for _number in range(3):
        written(clusters, call(held)["lock"])
        call({**held, "state": "free"})
    for kube in kubes.values():
        delete_lease(kube, namespace)
    kubes["east"].request_json("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout")
    assert call(held, check=True)["generation"] == 4
    assert call(held)["generation"] == 4


def test_a_lease_that_was_deleted_or_put_back_stops_the_run_and_the_next_one_goes_on(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    call(held)
    old = lease(kubes["west"], namespace)
    assert old is not None
    call({**held, "state": "free"})
    free = lease(kubes["west"], namespace)
    assert free is not None
    dead = replace(this_process("r1", "", os.getpid(), ""), pid=dead_process(), mark=MARK)
    for number, (backup, says) in enumerate(
        ((None, "was deleted in kube cluster west"), (free, "held by nobody"), (old, "held by run r1"))
    ):
        lock = take(clusters, namespace, replace(dead, run_id=f"r{number + 2}"))
        document = written(clusters, lock)
        if backup is None:
            delete_lease(kubes["west"], namespace)
        else:
            put_back(kubes["west"], namespace, backup)
        for function in (locks.verify, locks.renew):
            with pytest.raises(locks.LockLost, match=says) as lost:
                function(clusters, lock)
            assert "this run changes nothing more" in str(lost.value)
            if backup:
                assert f"went back to generation 1, {says}" in str(lost.value)
                assert f"this run had {lock['generation']}: an older copy of the Lease may have been restored from a backup" in str(
                    lost.value
                )
        following = call(held)
        assert following["generation"] == lock["generation"] + 1, following
        assert written(clusters, following["lock"])["started_at"] == document["started_at"], "the same rollout"
        call({**held, "state": "free"})


def test_a_generation_that_fits_into_no_lease(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    written(clusters, call(held)["lock"])
    call({**held, "state": "free"})
    path = f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout"
    change = {"metadata": {"annotations": {plan_journal.GENERATION_ANNOTATION: str(2**31 - 1)}}}
    kubes["west"].request_json("PATCH", path, change, "application/merge-patch+json")
    before = leases(kubes, namespace)
    assert f"ConfigMap {namespace}/ledger-rollout (annotation or journal) in kube cluster west: it was edited by hand" in call(held)["msg"]
    assert leases(kubes, namespace) == before


@pytest.mark.parametrize("fault", [RESET_BEFORE, RESET_AFTER, HALF])
def test_an_answer_that_was_lost_is_found_out_by_reading(kube_api: KubeApi, namespace: str, fault: str) -> None:
    with Balancer(kube_api).running() as balancer:
        east = client.KubeCluster(balancer.entry)
        clusters = {"east": east}
        lock = take(clusters, namespace, somebody())

        def once(wanted: str) -> None:
            met: list[str] = []
            balancer.seen.clear()
            balancer.choose = lambda _number, method, _path: "" if method != wanted or met else met.append(fault) or fault  # type: ignore[func-returns-value]

        once("PATCH")
        locks.renew(clusters, lock)
        assert [entry.method for entry in balancer.seen] == ["PATCH", "PATCH"]
        document = written(clusters, lock)
        once("PATCH")
        journals.write(clusters, lock, plan_journal.advance(document, "next", now="t", run_id="r9", generation=1, step="stop"))
        assert len(balancer.seen) == 2
        once("PATCH")
        assert lock_taking.release(clusters, "ledger", namespace, somebody()).changed
        read = [] if fault == RESET_BEFORE else ["GET"]
        assert [entry.method for entry in balancer.seen] == ["GET", "PATCH", "PATCH", *read]
        assert leases({"east": kube_api}, namespace) == {"east": ("", 1)}
        # Somebody else's change that came in between is none of ours.
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}, "data": {"a": "3"}}
        east.apply(config)
        once("PATCH")
        operations = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"}]
        assert not json_patch.json_patch(east, kinds.CONFIG_MAP, "c", namespace, operations)


def test_who_finds_its_generation_in_one_kube_cluster_has_lost_it_to_nobody(
    held: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    lock = call(held)["lock"]
    kept = {**held, "state": "kept", "run_id": "", "lock": lock}
    result = call(kept)
    assert (result["changed"], result["lock"], result["away"], result["requests"]) == (False, lock, {}, 2)
    away = [entry if entry["name"] == "east" else {"name": "west", "host": GONE["host"], "api_key": "x"} for entry in held["kube_clusters"]]
    result = call({**kept, "kube_clusters": away})
    assert list(result["away"]) == ["west"]
    assert "kube cluster west: Lease" in result["away"]["west"]
    assert list(
        call({**kept, "kube_clusters": [{**entry, "host": GONE["host"], "kubeconfig": None, "context": None} for entry in away]})["away"]
    ) == [
        "east",
        "west",
    ]
    # Whoever begins to take it begins with the first one, and has it with the last one.
    other = take({"west": clusters["west"]}, namespace, somebody(), force=True)
    assert not call({**kept, "kube_clusters": away}).get("failed"), "not taken yet"
    assert "was taken over by r9 in kube cluster west" in call(kept)["msg"]
    take(clusters, namespace, somebody(), force=True)
    assert "was taken over by r9 in kube cluster east" in call({**kept, "kube_clusters": away})["msg"]
    assert other["generation"] == 2
    assert "lock is missing" in call({**kept, "lock": None})["msg"]
