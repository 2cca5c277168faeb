# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module rollout_journal against real API servers: by the holder of the lock alone, everywhere, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, lock_taking
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import journal as journals
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as locks
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, steps
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.lock import Holder
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_journal
from support.collection import CHECKOUT
from support.in_process import perform
from support.kube_api import KubeApi
from support.run import ansible_environment

# The connections of a module end with its process; here that is this process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]
GONE = {"name": "north", "host": "https://127.0.0.1:9", "api_key": "x"}


def call(options: Json, *, check: bool = False, diff: bool = False) -> Json:
    return perform(rollout_journal, options, check=check, diff=diff)


@pytest.fixture
def clusters(kube_clusters: list[Json]) -> dict[str, client.KubeCluster]:
    return client.connect(kube_clusters)


@pytest.fixture
def kubes(kube_api: KubeApi, kube_api_two: KubeApi) -> dict[str, KubeApi]:
    return {"east": kube_api, "west": kube_api_two}


@pytest.fixture
def base(kube_clusters: list[Json], namespace: str, clusters: dict[str, client.KubeCluster]) -> Json:
    return {"kube_clusters": kube_clusters, "name": "ledger", "namespace": namespace, "lock": take(clusters, namespace)}


def take(clusters: dict[str, client.KubeCluster], namespace: str, run_id: str = "r1", **options: Any) -> Json:
    outcome = lock_taking.acquire(clusters, "ledger", namespace, Holder(run_id, "box", boot_id=run_id), **options)
    assert outcome.lock is not None
    return outcome.lock


def config_map(kube: KubeApi, namespace: str) -> Json | None:
    try:
        found: Json = kube.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return found


def stored(kubes: dict[str, KubeApi], namespace: str) -> dict[str, Json | None]:
    found = {name: config_map(kube, namespace) for name, kube in kubes.items()}
    documents = {name: json.loads(one["data"]["journal"]) if one else None for name, one in found.items()}
    return {
        name: document and {**document, **{key: plan.expanded(document[key]) for key in ("order", "done")}}
        for name, document in documents.items()
    }


def test_written_everywhere_with_one_or_two_requests_a_kube_cluster(base: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    first = call({**base, "op": "start", "detail": {"work": "upgrade", "what": "reboot", "order": ["east-0"]}}, diff=True)
    assert not first.get("failed"), first
    assert first["requests"] == 6, "the first write reads before it renews and creates"
    turn = {"step": "", "must_finish": False, "undone": {"since": 0, "new": None}, "processes": []}
    assert first["ansible_facts"] == {"hostnet_journal": first["journal"], "hostnet_turn": turn}
    assert first["diff"]["after"] == "journal 1: rollout in_flight (run r1, generation 1)\n"
    assert first["journal"]["controller"]["pid"] == os.getppid()
    found = config_map(kubes["west"], namespace)
    assert found is not None
    assert found["metadata"]["labels"]["hostnet.multicluster/deployment"] == "ledger"
    assert stored(kubes, namespace) == dict.fromkeys(kubes, first["journal"])
    renewed = {name: renew_time(kube, namespace) for name, kube in kubes.items()}
    second = call({**base, "journal": first["journal"], "op": "next", "step": "stop"})
    assert second["requests"] == 2, "a write, which a later holder's generation would fail"
    assert second["journal"]["steps"][0]["state"] == "begun"
    assert stored(kubes, namespace) == dict.fromkeys(kubes, second["journal"])
    assert all(renew_time(kube, namespace) == renewed[name] for name, kube in kubes.items())
    third = call({**base, "journal": second["journal"], "op": "save", "saved": {"a": "b"}})
    assert not third.get("failed"), third
    assert third["requests"] == 4, "renewal and write"
    assert all(renew_time(kube, namespace) > renewed[name] for name, kube in kubes.items())


def renew_time(kube: KubeApi, namespace: str) -> str:
    found = kube.request_json("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout")
    return str(found["spec"]["renewTime"])


def test_check_mode_needs_no_lock_and_no_request(base: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    result = call({**base, "lock": None, "op": "start"}, check=True)
    assert (result["changed"], result["requests"], result["journal"]["state"]) == (True, 0, "in_flight")
    result = call({**base, "lock": None, "journal": result["journal"], "op": "next", "step": "stop"}, check=True)
    assert (result["requests"], result["journal"]["sequence"]) == (0, 2)
    assert stored(kubes, namespace) == dict.fromkeys(kubes)
    assert "lock is missing" in call({**base, "lock": None, "op": "start"})["msg"]
    assert "lock is of name other" in call({**base, "lock": {**base["lock"], "name": "other"}, "op": "start"})["msg"]


def test_a_holder_that_lost_the_lock_writes_nothing(
    base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    first = call({**base, "op": "start"})["journal"]
    # In one kube cluster only: that is enough.
    lock = take({"west": clusters["west"]}, namespace, "r2", force=True)
    result = call({**base, "journal": first, "op": "next", "step": "stop"})
    assert "was taken over by r2 in kube cluster west" in result["msg"]
    assert "this run changes nothing more" in result["msg"]
    # A step that is announced where the lock is not lost, and not begun.
    assert stored(kubes, namespace)["west"] == first
    before = stored(kubes, namespace)
    assert call({**base, "op": "save", "journal": first})["failed"]
    assert call({**base, "op": "start", "journal": first})["failed"]
    assert stored(kubes, namespace) == before
    first = plan.newest(journals.read(clusters, "ledger", namespace))
    lock = take(clusters, namespace, "r2", force=True)
    assert lock["generation"] == 3
    resumed = call({**base, "lock": lock, "journal": first, "op": "start"})["journal"]
    assert (resumed["run_id"], resumed["generation"]) == ("r2", 3)
    assert stored(kubes, namespace) == dict.fromkeys(kubes, resumed)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_a_takeover_between_renewal_and_write(
    base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, first: bool, written: bool
) -> None:
    """The old holder renewed in time, and the new one was there before its write: the API server refuses it, whether the new one has written or not."""
    old_lock = base["lock"]
    document = call({**base, "op": "start"})["journal"]
    if first:
        # The first write of a generation, over the journal of the one before.
        old_lock = take(clusters, namespace, "r2", force=True)
        found, _journals = journals.begin_generation(clusters, old_lock)
        late = plan.advance(document, "start", now="late", run_id="r2", generation=old_lock["generation"])
    else:
        found = None
        locks.renew(clusters, old_lock)
        late = plan.advance(document, "next", now="late", run_id="r1", generation=old_lock["generation"], step="stop")
    new_lock = take(clusters, namespace, "r3", force=True)
    after = document
    if written:
        after = call({**base, "lock": new_lock, "journal": document, "op": "start"})["journal"]
    with pytest.raises(locks.LockLost, match="this run changes nothing more"):
        journals.write(clusters, old_lock, late, found)
    assert stored(kubes, namespace) == dict.fromkeys(kubes, after)
    assert not call({**base, "lock": new_lock, "journal": after, "op": "next" if written else "start", "step": "stop"}).get("failed")


def test_a_takeover_during_a_write(base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str) -> None:
    """The old holder has written just before the journal got the new generation: that is announced, and the new holder does not pass it over."""
    document = call({**base, "op": "start"})["journal"]
    late = plan.advance(document, "next", now="late", run_id="r1", generation=1, step="stop")
    journals.write(clusters, base["lock"], late)
    new_lock = take(clusters, namespace, "r2", force=True)
    refused = call({**base, "lock": new_lock, "journal": document, "op": "start"})
    assert "a rollout is in flight that this call does not know of" in refused["msg"]
    newest = plan.newest(journals.read(clusters, "ledger", namespace))
    assert newest == late
    assert not call({**base, "lock": new_lock, "journal": newest, "op": "start"}).get("failed")


@pytest.mark.parametrize("annotation", [None, "7", "text"])
def test_a_generation_that_somebody_edited(
    base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str, annotation: str | None
) -> None:
    document = call({**base, "op": "start"})["journal"]
    body = {"metadata": {"annotations": {"hostnet.multicluster/generation": annotation}}}
    path = f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout"
    kubes["east"].request_json("PATCH", path, body, "application/merge-patch+json")
    lock = take(clusters, namespace, "r2", force=True)
    assert lock["generation"] == (8 if annotation == "7" else 2)
    for kube in kubes.values():
        found = config_map(kube, namespace)
        assert found is not None
        assert found["metadata"]["annotations"]["hostnet.multicluster/generation"] == str(lock["generation"])
    late = plan.advance(document, "next", now="late", run_id="r1", generation=1, step="stop")
    with pytest.raises(locks.LockLost):
        journals.write(clusters, base["lock"], late)
    assert stored(kubes, namespace) == dict.fromkeys(kubes, document)


def test_different_sequences_and_a_lost_config_map(
    base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    first = call({**base, "op": "start"})["journal"]
    second = call({**base, "journal": first, "op": "next", "step": "stop"})["journal"]
    # A run that was killed while it wrote: east has the newer one.
    journals.write({"west": clusters["west"]}, base["lock"], first)
    found = journals.read(clusters, "ledger", namespace)
    assert found == {"east": second, "west": first}
    assert plan.newest(found) == second
    lock = take(clusters, namespace, "r2", force=True)
    assert (
        "does not know of: run r1, generation 1, sequence 2, in kube cluster east"
        in call({**base, "lock": lock, "journal": first, "op": "start"})["msg"]
    )
    third = call({**base, "lock": lock, "journal": second, "op": "start"})["journal"]
    assert stored(kubes, namespace) == dict.fromkeys(kubes, third)
    kubes["east"].request_json("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/ledger-rollout")
    fourth = call({**base, "lock": lock, "journal": third, "op": "next", "step": "vm"})
    assert fourth["requests"] == 2 + 3, "where it is gone it is read, the lock renewed, and made again"
    assert stored(kubes, namespace) == dict.fromkeys(kubes, fourth["journal"])


def test_a_kube_cluster_that_does_not_answer_fails_the_call(base: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    first = call({**base, "op": "start"})["journal"]
    too_many = {**base, "kube_clusters": [*base["kube_clusters"], GONE], "journal": first}
    result = call({**too_many, "op": "save", "saved": {"a": "b"}})
    assert "kube cluster north" in result["msg"]
    assert stored(kubes, namespace) == dict.fromkeys(kubes, first), "the lock could not be renewed everywhere"
    result = call({**too_many, "op": "next", "step": "stop"})
    assert "kube cluster north" in result["msg"]
    # A step that is announced and not begun, as after a kill.
    assert {document and document["sequence"] for document in stored(kubes, namespace).values()} == {2}


def test_a_write_that_fails_in_one_kube_cluster_is_repeated(
    base: Json, clusters: dict[str, client.KubeCluster], kubes: dict[str, KubeApi], namespace: str
) -> None:
    first = call({**base, "op": "start"})["journal"]
    second = plan.advance(first, "next", now="t", run_id="r1", generation=1, step="stop")
    send = clusters["east"].request

    def request(*_arguments: Any, **_options: Any) -> Any:
        raise client.KubeError("east", "ConfigMap", "no answer (test)")

    clusters["east"].request = request  # type: ignore[method-assign]
    with pytest.raises(client.KubeError, match="kube cluster east: ConfigMap: no answer"):
        journals.write(clusters, base["lock"], second)
    clusters["east"].request = send  # type: ignore[method-assign]
    assert stored(kubes, namespace) == {"east": first, "west": second}
    assert plan.newest(stored(kubes, namespace)) == second
    journals.write(clusters, base["lock"], second)
    assert stored(kubes, namespace) == dict.fromkeys(kubes, second)


def test_a_journal_that_cannot_be_read_stops_the_start(base: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    body = {"metadata": {"name": "ledger-rollout"}, "data": {"journal": '{"schema": 99}'}}
    kubes["west"].request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    result = call({**base, "op": "start"})
    assert f"kube cluster west: ConfigMap {namespace}/ledger-rollout: its journal cannot be read: its schema is 99" in result["msg"]
    assert config_map(kubes["east"], namespace) is None
    west = config_map(kubes["west"], namespace)
    assert west is not None
    assert west["data"] == body["data"]


# Ids as long as those of clouds are (Azure's provider ids are the longest), in one kube cluster.
_PROVIDER = "azure:///subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/mc_ledger-production_ledger_westeurope/providers/{}"
_MACHINE = "Microsoft.Compute/virtualMachineScaleSets/aks-ledger-30114402-vmss/virtualMachines/{}"


def many_nodes(count: int) -> list[Json]:
    return [
        {
            "kube_cluster": "east",
            "name": f"aks-ledger-30114402-vmss{number:06}",
            "uid": f"3f2504e0-4f89-41d3-9a0c-{number:012}",
            "provider_id": _PROVIDER.format(_MACHINE.format(number)),
            "machine_id": f"{number:032x}",
            "boot_id": f"6b29fc40-ca47-1067-b31d-{number:012}",
            "labels": {},
        }
        for number in range(count)
    ]


def test_a_rollout_of_5000_members(base: Json, kubes: dict[str, KubeApi], namespace: str) -> None:
    nodes = many_nodes(5000)
    # No two of them follow each other, which is the longest that the lists of names get.
    members = [f"east-{(number * 7) % 5000}" for number in range(5000)]
    entry = {"class": "ok", "work": "replace", "surge": False, "steps": steps.of("replace", "ok", False, "never")}
    place = {"kube_cluster": "east", "node": nodes[0]["name"], "provider_id": nodes[0]["provider_id"]}
    journal: Json = {}
    given = {**base, "op": "start", "detail": {"work": "replace", "order": members}}
    for member in members[-1:]:
        journal = call(given)["journal"]
        journal["done"] = [name for name in members if name != member]
        record = before.record({**entry, "member": member}, {**place, "member": member}, nodes, {})
        assert plan.largest(members, record) <= plan.MAX_BYTES
        # Not through the check of the documents, which a binding without its other fields does not pass: `old` is of no interest here.
        journal = call({**base, "op": "member", "member": {**record, "old": None}, "journal": journal})["journal"]
        journal = call({**base, "op": "next", "step": "stop", "journal": journal})["journal"]
    found = stored(kubes, namespace)
    assert found == dict.fromkeys(kubes, journal)
    assert (found["west"] or {})["order"] == members
    assert len((found["west"] or {})["done"]) == 4999
    assert plan.size(journal) + plan.RESERVED_BYTES <= plan.MAX_BYTES


def test_refusals_are_the_plans(base: Json, kubes: dict[str, KubeApi], namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call({**base, "op": "next", "step": "stop"})
    assert (result["msg"], result["requests"]) == (
        "journal of deployment ledger: the journal is of no rollout in flight; begin with op start",
        0,
    )
    result = call({**base, "op": "start", "detail": {"settings": {"ca_key": "pssst"}}})
    assert "settings.ca_key would put what looks like a secret" in result["msg"]
    assert "pssst" not in json.dumps(result)
    monkeypatch.setenv("HOSTNET_FAILPOINT", "stop:sometimes")
    assert "HOSTNET_FAILPOINT=stop:sometimes is no failpoint" in call({**base, "op": "start"})["msg"]
    assert stored(kubes, namespace) == dict.fromkeys(kubes)


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    hostnet.multicluster.rollout_journal: &common
      kube_clusters: "{{ kube_clusters }}"
      name: ledger
      namespace: "{{ deployment_namespace }}"
    hostnet.multicluster.rollout_lock: *common
  tasks:
    - name: Lock
      hostnet.multicluster.rollout_lock:
        run_id: "{{ run_id }}"
      register: lock
    - name: Start
      hostnet.multicluster.rollout_journal:
        lock: "{{ lock.lock }}"
        op: start
        detail: {work: upgrade, order: [east-0, east-1]}
        journal: "{{ found_journal }}"
    - name: Members
      ansible.builtin.include_tasks: member.yml
      loop: [east-0, east-1]
    - name: Finish
      hostnet.multicluster.rollout_journal:
        lock: "{{ lock.lock }}"
        journal: "{{ ansible_facts.hostnet_journal }}"
        op: finish
    - name: Unlock
      hostnet.multicluster.rollout_lock:
        run_id: "{{ run_id }}"
        state: free
"""

MEMBER = """
- name: Member
  hostnet.multicluster.rollout_journal:
    lock: "{{ lock.lock }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    op: member
    member: {member: "{{ item }}"}
- name: Begin
  hostnet.multicluster.rollout_journal:
    lock: "{{ lock.lock }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    op: next
    step: stop
- name: Change
  ansible.builtin.copy:
    content: changed
    dest: "{{ folder }}/{{ item }}"
    mode: "0600"
- name: Bind
  hostnet.multicluster.rollout_journal:
    lock: "{{ lock.lock }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    op: member
    member: {new: {node: other}}
- name: Member done
  hostnet.multicluster.rollout_journal:
    lock: "{{ lock.lock }}"
    journal: "{{ ansible_facts.hostnet_journal }}"
    op: member
"""


@pytest.fixture
def play(kube_clusters: list[Json], namespace: str, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "member.yml").write_text(MEMBER)

    def run(run_id: str, failpoint: str = "", journal: Json | None = None) -> tuple[int, str]:
        variables = {
            "kube_clusters": kube_clusters,
            "deployment_namespace": namespace,
            "run_id": run_id,
            "folder": str(tmp_path),
            "found_journal": journal or {},
        }
        command = [
            sys.executable,
            str(Path(sys.executable).parent / "ansible-playbook"),
            str(tmp_path / "play.yml"),
            "-e",
            json.dumps(variables),
        ]
        environment = ansible_environment(tmp_path / "results.jsonl", **({"HOSTNET_FAILPOINT": failpoint} if failpoint else {}))
        done = subprocess.run(
            command,
            env=environment,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("failpoint", "sequence", "state", "changed"),
    [
        ("journal:start:before", None, None, []),
        ("journal:note:before", 1, None, []),
        ("journal:note:after", 2, None, []),
        ("stop:before-begin", 2, None, []),
        ("stop:after-begin", 3, "begun", []),
        ("journal:bind:before", 3, "begun", ["east-0"]),
        ("journal:bind:after", 4, "begun", ["east-0"]),
        ("journal:end:before", 4, "begun", ["east-0"]),
        ("journal:end:after", 5, "done", ["east-0"]),
        ("journal:finish:before", 9, "done", ["east-0", "east-1"]),
        ("journal:finish:after", 10, "done", ["east-0", "east-1"]),
    ],
)
def test_a_failpoint_kills_ansible_playbook_at_its_place_and_the_next_run_goes_on(
    play: Callable[..., tuple[int, str]],
    kubes: dict[str, KubeApi],
    namespace: str,
    tmp_path: Path,
    failpoint: str,
    sequence: int | None,
    state: str | None,
    changed: list[str],
) -> None:
    code, output = play("r1", failpoint)
    assert code == -signal.SIGKILL, output
    found = stored(kubes, namespace)
    assert found["east"] == found["west"], "it died outside of a write"
    journal = found["east"]
    if sequence is None:
        assert journal is None
    else:
        assert journal is not None
        assert journal["sequence"] == sequence
        assert (journal["steps"][-1]["state"] if journal["steps"] else None) == state
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("east-")) == changed
    if failpoint == "journal:bind:before":
        # The dead run's lock needs no order: its process is gone. The member in flight is gone on with.
        code, output = play("r2", "", journal)
        assert code == 0, output
        assert "was taken over in kube cluster east, west from run r1" in output
        assert "its process has ended" in output
        assert "deprecat" not in output.lower()
        ended = stored(kubes, namespace)["west"]
        assert ended is not None
        assert (ended["state"], ended["run_id"], ended["generation"], ended["done"]) == ("done", "r2", 2, ["east-0", "east-1"])
        steps = [(entry["member"], entry["state"]) for entry in ended["steps"]]
        assert steps == [("east-0", "failed"), ("east-0", "done"), ("east-1", "done")]


def test_rollout_journal_examples(run_tasks: Any, kube_clusters: list[Json], kubes: dict[str, KubeApi]) -> None:
    for kube in kubes.values():
        try:
            kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": "ledger"}})
        except urllib.error.HTTPError as error:
            # Another test may have made it.
            if error.code != 409:
                raise
    tasks = yaml.safe_load(rollout_journal.EXAMPLES)
    run = run_tasks(tasks, variables={"hostnet_kube_clusters": kube_clusters, "hostnet_run_id": "r1"})
    assert run.rc == 0, run.output
    ended = run.of("rollout_journal")[-1]["journal"]
    assert (ended["state"], ended["steps"][0]["detail"]) == ("done", {"seconds": 4})
    assert stored(kubes, "ledger") == dict.fromkeys(kubes, ended)
