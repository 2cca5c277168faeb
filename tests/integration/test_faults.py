# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests through a load balancer that misbehaves (support/faults.py): what is safe is sent again, what is not is told, nothing is done twice."""

from __future__ import annotations

import contextlib
import errno
import http.client
import http.server
import itertools
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import kinds
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeCluster, KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.json_patch import json_patch
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.lock import LockLost
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.watch import wait_until
from support import made_up
from support.commit import parameters
from support.faults import (
    CONFLICT,
    CUT,
    DEAD,
    EVERY,
    EXPIRED,
    FAULTS,
    GARBLED,
    HALF,
    RESET_AFTER,
    RESET_BEFORE,
    SILENT_AFTER,
    STALLED,
    STATUS,
    Balancer,
    Covering,
    Seen,
    Tokens,
    Traffic,
    path_kind,
    twice,
    write_kubeconfig,
)
from support.kube_api import KubeApi

Json = dict[str, Any]


def first(fault: str) -> Callable[[int, str, str], str]:
    """The first request meets this fault, and no other one any."""
    return lambda number, _method, _path: fault if number == 1 else ""


@pytest.fixture
def balancer(kube_api: KubeApi) -> Iterator[Balancer]:
    with Balancer(kube_api).running() as running:
        yield running


@pytest.fixture
def east(balancer: Balancer) -> KubeCluster:
    return KubeCluster(balancer.entry)


def config_map(namespace: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}, "data": data}


def there(balancer: Balancer, namespace: str) -> Json | None:
    return KubeCluster(balancer.kube.entry).get(kinds.CONFIG_MAP, "c", namespace)


@pytest.mark.parametrize("fault", FAULTS)
def test_reads_are_sent_again(balancer: Balancer, east: KubeCluster, namespace: str, fault: str) -> None:
    KubeCluster(balancer.kube.entry).create(config_map(namespace, a="1"))
    balancer.choose = first(fault)
    found = east.get(kinds.CONFIG_MAP, "c", namespace)
    assert found
    assert found["data"] == {"a": "1"}
    assert [entry.fault for entry in balancer.seen] == [fault, ""]
    assert east.requests == 2
    balancer.seen.clear()
    assert len(east.list(kinds.CONFIG_MAP, namespace)[0]) == 1
    assert [entry.fault for entry in balancer.seen] == [fault, ""]


@pytest.mark.parametrize("fault", FAULTS)
def test_applies_and_deletions_of_one_very_object_are_sent_again(balancer: Balancer, east: KubeCluster, namespace: str, fault: str) -> None:
    balancer.choose = first(fault)
    applied = east.apply(config_map(namespace, a="1"))
    assert there(balancer, namespace) == applied
    assert len(balancer.seen) == 2
    balancer.seen.clear()
    # Where only the answer was lost it is gone at the second try, and was this run's deletion all the same.
    assert east.delete(kinds.CONFIG_MAP, "c", namespace, uid=applied["metadata"]["uid"])
    assert there(balancer, namespace) is None
    assert len(balancer.seen) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_what_became_of_a_write_without_an_answer_is_found_out(balancer: Balancer, east: KubeCluster, namespace: str, fault: str) -> None:
    balancer.choose = first(fault)
    made = east.create(config_map(namespace, a="1"))
    assert there(balancer, namespace) == made
    done = fault in (RESET_AFTER, HALF)
    assert [entry.method for entry in balancer.seen] == ["POST", "POST", *(["GET"] if done else [])]
    balancer.seen.clear()
    changed = east.replace({**made, "data": {"a": "2"}})
    assert there(balancer, namespace) == changed
    assert changed["data"] == {"a": "2"}
    assert [entry.method for entry in balancer.seen] == ["PUT", "PUT", *(["GET"] if done else [])]
    balancer.seen.clear()
    patch = {"metadata": {"resourceVersion": changed["metadata"]["resourceVersion"], "labels": {"x": "y"}}, "data": {"a": None}}
    patched = east.merge_patch(kinds.CONFIG_MAP, "c", patch, namespace)
    assert there(balancer, namespace) == patched
    assert patched["metadata"]["labels"] == {"x": "y"}
    assert [entry.method for entry in balancer.seen] == ["PATCH", "PATCH", *(["GET"] if done else [])]


def test_a_conflict_of_a_dry_run_says_nothing_about_the_object(balancer: Balancer, east: KubeCluster, namespace: str) -> None:
    """As where a quota is counted for two pods at the same moment."""
    balancer.choose = first(CONFLICT)
    assert east.create(config_map(namespace, a="1"), dry_run=True)["data"] == {"a": "1"}
    assert there(balancer, namespace) is None
    assert [entry.fault for entry in balancer.seen] == [CONFLICT, ""]
    KubeCluster(balancer.kube.entry).create(config_map(namespace, a="theirs"))
    balancer.choose = lambda *_request: ""
    balancer.seen.clear()
    with pytest.raises(KubeError, match="already exists"):
        east.create(config_map(namespace, a="1"), dry_run=True)
    assert [entry.fault for entry in balancer.seen] == [""]


@pytest.mark.parametrize("fault", [RESET_BEFORE, RESET_AFTER])
def test_somebody_elses_object_is_not_taken_for_ones_own(balancer: Balancer, east: KubeCluster, namespace: str, fault: str) -> None:
    KubeCluster(balancer.kube.entry).create(config_map(namespace, a="theirs"))
    balancer.choose = first(fault)
    with pytest.raises(KubeError, match="already exists") as failed:
        east.create(config_map(namespace, a="ours"))
    assert failed.value.status == 409


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "429"])
def test_what_could_be_done_twice_is_told(balancer: Balancer, east: KubeCluster, namespace: str, fault: str) -> None:
    KubeCluster(balancer.kube.entry).create(config_map(namespace, a="1"))
    balancer.choose = first(fault)
    # Of whichever version it is: who knows what it would overwrite the second time.
    with pytest.raises(KubeError, match=r"kube cluster east: ConfigMap .*/c: ") as failed:
        east.merge_patch(kinds.CONFIG_MAP, "c", {"data": {"a": "2"}}, namespace)
    assert failed.value.status == (int(fault) if fault in STATUS else 0)
    assert len(balancer.seen) == 1


@pytest.mark.parametrize("fault", ["429", RESET_BEFORE])
def test_a_write_is_sent_again_only_while_the_lock_is_held(balancer: Balancer, namespace: str, fault: str) -> None:
    ours = {"kube_clusters": [balancer.entry], "name": "ledger", "namespace": namespace}
    call = _call.Call({**ours, "lock": made_up.lock(ours, "a")["lock"]})
    east = call.clusters["east"]
    balancer.seen.clear()
    balancer.choose = first(fault)
    east.apply(config_map(namespace, a="1"))
    assert [entry.method for entry in balancer.seen] == ["PATCH", "GET", "PATCH"]
    # Somebody takes it over between the first try and the second one.
    made_up.lock(ours, "b", take_over="a", force=True)
    balancer.seen.clear()
    with pytest.raises(LockLost):
        east.apply(config_map(namespace, a="2"))
    assert [entry.method for entry in balancer.seen] == ["PATCH", "GET"]
    # Whoever tries again after a conflict does not take it for one.
    balancer.choose = lambda number, _method, _path: "429" if number == 3 else ""
    with pytest.raises(LockLost):
        json_patch(east, kinds.CONFIG_MAP, "c", namespace, [{"op": "replace", "path": "/data/a", "value": "3"}])
    assert [entry.method for entry in balancer.seen] == ["PATCH", "GET", "PATCH", "GET"]
    kept = there(balancer, namespace)
    assert kept
    assert kept["data"] == {"a": "1"}


def test_a_busy_api_server_has_done_nothing(balancer: Balancer, east: KubeCluster, namespace: str) -> None:
    balancer.choose = first("429")
    balancer.retry_after = "1"
    begun = time.monotonic()
    made = east.create(config_map(namespace, a="1"))
    assert time.monotonic() - begun >= 1, "Retry-After is obeyed"
    balancer.seen.clear()
    assert east.replace({**made, "data": {"a": "2"}})["data"] == {"a": "2"}
    assert [entry.method for entry in balancer.seen] == ["PUT", "PUT"]


def test_it_is_given_up_with_the_number_of_tries(balancer: Balancer, east: KubeCluster) -> None:
    balancer.choose = lambda *_request: "503"
    # Longer than anybody waits.
    balancer.retry_after = "61"
    with pytest.raises(KubeError, match=r"version: the balancer is busy$") as alone:
        east.version()
    assert (alone.value.status, alone.value.tries) == (503, 1)
    balancer.choose = lambda *_request: "500"
    balancer.retry_after = ""
    with pytest.raises(KubeError, match=r"version: the balancer is busy \([0-9]+ tries\)$") as again:
        east.version()
    assert again.value.tries == len(balancer.seen) - 1 > 2


def test_a_page_for_people_is_no_answer(balancer: Balancer, east: KubeCluster, namespace: str) -> None:
    balancer.choose = lambda *_request: GARBLED
    with pytest.raises(KubeError, match=r"list of configmaps .*: .* answered with something that is no JSON"):
        east.list(kinds.CONFIG_MAP, namespace)
    with pytest.raises(KubeError, match=r"watch of configmaps: .* answered with something that is no event"):
        list(east.watch(kinds.CONFIG_MAP, time.monotonic() + 60, namespace))
    assert len(balancer.seen) == 2


def test_what_cannot_succeed_is_told_at_once() -> None:
    class Silent(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_words: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Silent) as plain:
        thread = threading.Thread(target=plain.serve_forever, daemon=True)
        thread.start()
        tls = KubeCluster({"name": "east", "host": f"https://127.0.0.1:{plain.server_address[1]}"})
        with pytest.raises(KubeError, match=r"no answer from https://") as failed:
            tls.version()
        plain.shutdown()
        thread.join()
    assert failed.value.tries == 1


def test_a_list_whose_pages_grew_too_old_goes_on() -> None:
    # With its cache the API server keeps versions for itself.
    kube = KubeApi("east", "--watch-cache=false")
    try:
        kube.start()
        kube.wait()
        east = KubeCluster(kube.entry)
        wanted = [f"c{index}" for index in range(5)]
        for name in wanted:
            east.create({**config_map("default"), "metadata": {"name": name, "namespace": "default"}})
        pages = east.pages(kinds.CONFIG_MAP, "default", page=2)
        items, first = next(pages)
        east.apply({**config_map("default", a="1"), "metadata": {"name": "c4", "namespace": "default"}})
        kube.compact()
        before = east.requests
        rest = list(pages)
        assert east.requests - before == 3, "one of them answered with 410"
        assert [item["metadata"]["name"] for page in (items, *(page for page, _version in rest)) for item in page][:5] == wanted
        assert {version for _page, version in rest} == {first}
    finally:
        kube.stop()


def test_a_watch_that_is_cut_is_begun_anew(balancer: Balancer, east: KubeCluster, namespace: str) -> None:
    balancer.choose = lambda _number, _method, path: CUT if "watch=true" in path else ""
    admin = KubeCluster(balancer.kube.entry)

    def write() -> None:
        for value in ("1", "2", "3"):
            while not any("watch=true" in entry.path for entry in balancer.seen):
                time.sleep(0.05)
            admin.apply(config_map(namespace, a=value))

    writer = threading.Thread(target=write)
    writer.start()

    def third(_name: str, item: Json | None) -> bool:
        return item is not None and item["data"]["a"] == "3"

    assert wait_until(east, kinds.CONFIG_MAP, namespace, ["c"], third, time.monotonic() + 120) == {}
    writer.join()
    assert CUT in {entry.fault for entry in balancer.seen}


def misbehaving() -> Callable[[int, str, str], str]:
    """Every fifth request meets "busy", and reads one after the other everything else. Whoever comes again with the same is served."""
    others = itertools.cycle(fault for fault in FAULTS if fault != "429")
    met: set[tuple[str, str]] = set()

    def choose(number: int, method: str, path: str) -> str:
        if (method, path) in met:
            met.discard((method, path))
            return ""
        fault = "429" if number % 5 == 0 else next(others) if method == "GET" and number % 3 == 0 else ""
        if fault:
            met.add((method, path))
        return fault

    return choose


def test_playbooks_come_to_their_end_through_balancers_that_misbehave(
    kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path
) -> None:
    with (
        made_up.world([kube_api, kube_api_two], tmp_path) as world,
        Balancer(kube_api, misbehaving()).running() as east,
        Balancer(kube_api_two, misbehaving()).running() as west,
    ):
        entries = [east.entry, west.entry]
        first = world.deployed(hostnet_kube_clusters=entries)
        assert first.changed
        objects = world.objects()
        second = world.deployed(hostnet_kube_clusters=entries)
        assert not second.changed, second.output
        assert world.objects() == objects
        for balancer in (east, west):
            assert {entry.fault for entry in balancer.seen} == {"", *FAULTS}
            met = sum(bool(entry.fault) for entry in balancer.seen)
            print(f"{balancer.kube.name}: {met} faults among {len(balancer.seen)} requests")


@pytest.mark.parametrize("fault", parameters([(fault,) for fault in EVERY], 1))
def test_a_deployment_is_made_and_removed_whatever_its_requests_meet(
    kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path, fault: str
) -> None:
    """Tokens expire meanwhile."""
    tokens = Tokens(tmp_path / "tokens", 5)
    covered: set[str] = set()

    def through(playbook: str, **variables: Any) -> None:
        traffic = Traffic(Covering(fault, 5, covered))
        east.traffic = west.traffic = traffic
        run = world.play(playbook, hostnet_kube_clusters=entries, **variables)
        assert run.rc == 0, run.output
        assert twice(traffic.seen) == []
        seen.extend(traffic.seen)

    seen: list[Seen] = []
    with (
        made_up.world([kube_api, kube_api_two], tmp_path) as world,
        Balancer(kube_api, tokens=tokens, silence=2).running() as east,
        Balancer(kube_api_two, tokens=tokens, silence=2).running() as west,
    ):
        write_kubeconfig(tmp_path / "kubeconfig", [east, west], tokens)
        entries = [{"name": one.name, "kubeconfig": str(tmp_path / "kubeconfig"), "context": one.name} for one in (east, west)]
        through("deploy.yml")
        through("deploy.yml")
        through("remove.yml", hostnet_remove_name=made_up.NAME, hostnet_remove_data=True)
    met = [entry for entry in seen if entry.fault == fault]
    print(f"{fault}: {len(met)} of {len(seen)} requests, {tokens.made} tokens")
    assert met or fault in (CUT, STALLED, DEAD)


def test_a_plan_that_is_refused_after_the_lock_was_taken_is_a_failure_and_gives_it_back(
    kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"

    def choose(_number: int, method: str, path: str) -> str:
        # Nobody answers any more once the lock is being taken.
        if method != "GET" and path_kind(path).startswith("leases"):
            silent.touch()
        return ""

    with made_up.world([kube_api, kube_api_two], tmp_path) as world, Balancer(kube_api, choose).running() as east:
        world.deployed()
        entries = [east.entry, kube_api_two.entry]
        run = world.play(
            "upgrade.yml",
            environment={"TEST_SILENT_WHILE": str(silent)},
            hostnet_kube_clusters=entries,
            hostnet_work="version",
            hostnet_image="other:2",
        )
        assert silent.exists()
        assert "the majority is lost" in made_up.message(run)
        world.free()


# -- what the balancers themselves do -------------------------------------------------------------------------------------


def bare(balancer: Balancer, method: str, path: str, body: Json | None = None, token: str = "") -> tuple[int, Json]:
    """One request of no client's: (status, answer). Raises what the connection raises."""
    host = urlsplit(balancer.url)
    trust = ssl.create_default_context(cafile=balancer.ca_file)
    with contextlib.closing(http.client.HTTPSConnection(str(host.hostname), host.port, context=trust, timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("fault", [fault for fault in EVERY if fault not in (CUT, STALLED, DEAD)])
def test_faults_come_before_or_after_the_api_server_has_acted(kube_api: KubeApi, namespace: str, fault: str) -> None:
    after = fault in (RESET_AFTER, HALF, SILENT_AFTER)
    with Balancer(kube_api, first(fault), silence=0.1).running() as balancer:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        if fault in STATUS or fault in (CONFLICT, EXPIRED):
            assert bare(balancer, "POST", path, config_map(namespace))[0] == (401 if fault == EXPIRED else int(fault))
        else:
            with pytest.raises((OSError, http.client.HTTPException)):
                bare(balancer, "POST", path, config_map(namespace))
        assert (there(balancer, namespace) is not None) == after
        assert bare(balancer, "POST", path, config_map(namespace))[0] == (409 if after else 201)
        lost, again = balancer.seen
        assert (lost.status, again.status, again.again) == (201 if after else 0, 409 if after else 201, True)
        assert twice(balancer.seen) == []


def test_what_is_done_twice_is_seen(kube_api: KubeApi, namespace: str) -> None:
    generated = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-", "namespace": namespace}}
    with Balancer(kube_api, first(RESET_AFTER)).running() as balancer:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        with pytest.raises((OSError, http.client.HTTPException)):
            bare(balancer, "POST", path, generated)
        assert bare(balancer, "POST", path, generated)[0] == 201
        assert len(twice(balancer.seen)) == 1


def test_an_eviction_that_comes_again_is_told_by_the_pod(kube_api: KubeApi, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    container = {"name": "c", "image": "x"}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": namespace}}

    def pod() -> None:
        metadata = {"name": "p", "namespace": namespace}
        # Without a node nobody is asked to stop it: it is gone at once.
        kube_api.request_json("POST", pods, {"metadata": metadata, "spec": {"containers": [container]}})

    with Balancer(kube_api, first(RESET_AFTER)).running() as balancer:
        pod()
        with pytest.raises((OSError, http.client.HTTPException)):
            bare(balancer, "POST", f"{pods}/p/eviction", eviction)
        assert bare(balancer, "POST", f"{pods}/p/eviction", eviction)[0] == 404
        assert twice(balancer.seen) == []
        balancer.seen.clear()
        pod()
        with pytest.raises((OSError, http.client.HTTPException)):
            bare(balancer, "POST", f"{pods}/p/eviction", eviction)
        pod()
        assert bare(balancer, "POST", f"{pods}/p/eviction", eviction)[0] == 201
        assert len(twice(balancer.seen)) == 1


def test_tokens_expire_and_are_revoked(kube_api: KubeApi, kube_api_two: KubeApi, tmp_path: Path) -> None:
    def token(kube: str) -> tuple[str, float]:
        plugin = tokens.user(kube)["exec"]
        said = json.loads(subprocess.run([plugin["command"], *plugin["args"]], capture_output=True, check=True).stdout)["status"]
        return said["token"], datetime.fromisoformat(said["expirationTimestamp"]).timestamp() - time.time()

    tokens = Tokens(tmp_path, 60)
    traffic = Traffic(lambda seen: EXPIRED if seen.number == 2 else "")
    with (
        Balancer(kube_api, traffic=traffic, tokens=tokens).running() as east,
        Balancer(kube_api_two, traffic=traffic, tokens=tokens).running() as west,
    ):
        mine, seconds = token("east")
        assert 0 < seconds <= 60
        assert [bare(east, "GET", "/version", token=mine)[0] for _try in range(3)] == [200, 401, 401]
        assert bare(west, "GET", "/version", token=token("west")[0])[0] == 200
        assert bare(east, "GET", "/version", token=token("east")[0])[0] == 200
        assert [bare(east, "GET", "/version", token=bad)[0] for bad in ("", "nonsense", mine + "0")] == [401, 401, 401]
        old = Tokens(tmp_path / "old", 0)
        west.tokens = old
        plugin = old.user("west")["exec"]
        said = json.loads(subprocess.run([plugin["command"], *plugin["args"]], capture_output=True, check=True).stdout)
        assert bare(west, "GET", "/version", token=said["status"]["token"])[0] == 401
    assert tokens.made == 3
    assert [(entry.kube, entry.of_kube) for entry in traffic.seen if entry.kube == "west"] == [("west", 1), ("west", 2)]
    assert [entry.number for entry in traffic.seen] == list(range(1, len(traffic.seen) + 1))


@pytest.mark.parametrize("fault", [CUT, STALLED, DEAD])
def test_watches_are_cut_and_stall(kube_api: KubeApi, namespace: str, fault: str) -> None:
    with Balancer(kube_api, lambda _number, _method, path: fault if "watch=" in path else "").running() as balancer:
        host = urlsplit(balancer.url)
        trust = ssl.create_default_context(cafile=balancer.ca_file)
        connection = http.client.HTTPSConnection(str(host.hostname), host.port, context=trust, timeout=60)
        with contextlib.closing(connection):
            connection.connect()
            held = connection.sock
            for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
                held.setsockopt(socket.IPPROTO_TCP, option, value)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.request("GET", f"/api/v1/namespaces/{namespace}/configmaps?watch=true")
            answer = connection.getresponse()
            assert answer.status == 200
            KubeCluster(kube_api.entry).apply(config_map(namespace, a="1"))
            if fault == STALLED:
                # TCP is well, and so the connection lives on; there is nothing in it.
                held.settimeout(4)
                with pytest.raises(TimeoutError, match="timed out"):
                    answer.readline()
                return
            with pytest.raises((OSError, http.client.HTTPException)) as ended:
                list(iter(answer.readline, b""))
            # With nobody who acknowledges the probes the kernel gives up: no word came from the other side.
            assert (getattr(ended.value, "errno", None) == errno.ETIMEDOUT) == (fault == DEAD)
