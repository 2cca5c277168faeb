# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real etcds, then a fourth, with the flags and certificates that the role system_etcd renders, read by real etcdctl."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.port_forward import Http, exchange
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.tls import Tls
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate, progress
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd
from support.collection import CHECKOUT
from support.kube_api import binary
from support.member import Deployment, Json, Wire, binding, loopback, on_wire, system_spec

ADDRESSES = {"east-0": "192.0.2.31", "east-1": "192.0.2.32", "west-0": "192.0.2.33", "west-1": "192.0.2.34"}
FIRST = ["east-0", "east-1", "west-0"]


def ctl(deployment: Deployment, member: str, words: Sequence[str]) -> Json:
    """etcdctl with the role's own argument list, as member_exec runs and returns it."""
    role = yaml.safe_load((CHECKOUT / "roles/system_etcd/vars/main.yml").read_text())
    environment = Environment(autoescape=False)  # noqa: S701 - no HTML
    certificates = deployment.folder / member / "certs"
    defaults = yaml.safe_load((CHECKOUT / "roles/system_etcd/defaults/main.yml").read_text())
    argv = [environment.from_string(word).render(defaults) for word in role["system_etcd_ctl"]]
    argv = [word.replace("{host}", on_wire(ADDRESSES[member])).replace("{certs}", str(certificates)) for word in argv]
    done = subprocess.run([str(binary("etcdctl")), *argv[1:], *words], capture_output=True, text=True, check=False)
    return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "error": ""}


def shaped(deployment: Deployment, answers: dict[str, Json]) -> dict[str, Json]:
    targets = [{"member": member, "variables": {"address": on_wire(ADDRESSES[member])}} for member in answers]
    return etcd.inspection(answers, targets, deployment.spec)


def inspect(deployment: Deployment, members: Sequence[str]) -> dict[str, Json]:
    asked = {"status": ["endpoint", "status", "--write-out=json"], "members": ["member", "list", "--write-out=json"]}
    answers = {member: {name: ctl(deployment, member, words) for name, words in asked.items()} for member in members}
    return shaped(deployment, answers)


def asked_over_http(deployment: Deployment, members: Sequence[str]) -> dict[str, Json]:
    """The same inspection by the role's own HTTP requests, sent as member_inspect sends them, without an API server between."""
    answers: dict[str, Json] = {}
    for member in members:
        folder, address = deployment.pki / member, on_wire(ADDRESSES[member])
        target = Member(member, "east", "n", "p", "", {"address": address, "pki": str(folder), "ca": str(deployment.pki / "ca.crt")})
        answers[member] = {}
        for name, entry in deployment.spec["inspect"]["http"].items():
            request = Http.of(entry).rendered(target)
            assert request.tls
            with contextlib.closing(Wire(address, request.port)) as wire:
                status, body, _stays = exchange(Tls(wire, request.tls.context(), address), request)
            answers[member][name] = {"status": status, "body": body.decode(), "error": ""}
    return shaped(deployment, answers)


def undead(deployment: Deployment, process: str, members: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who sees this member, and who cannot tell, of `members`: the gates `alive` and `dead`, asked as the role says."""
    metrics = deployment.spec["inspect"]["liveness"]["http"]["metrics"]
    answers: dict[str, Json] = {}
    for member in members:
        asked = {"status": ["endpoint", "status", "--write-out=json"], "members": ["member", "list", "--write-out=json"]}
        answers[member] = {name: ctl(deployment, member, words) for name, words in asked.items()}
        with urllib.request.urlopen(f"http://{loopback(ADDRESSES[member])}:{metrics['port']}{metrics['path']}", timeout=5) as answer:
            answers[member]["metrics"] = {"status": answer.status, "body": answer.read().decode(), "error": ""}
    wanted = {"member": process, "process": process, "id": "", "address": on_wire(ADDRESSES[process])}
    seen = gate.document(shaped(deployment, answers), process, members, [wanted])
    return gate.evaluate(gate.PROOF["alive"], seen), gate.evaluate(gate.PROOF["dead"], seen)


def standing(seen: dict[str, Json]) -> dict[str, Json]:
    """Without what may change between two looks."""
    return {
        name: {key: entry[key] for key in entry if key not in ("revision", "applied_index", "term", "lag")} for name, entry in seen.items()
    }


def closed(deployment: Deployment, kind: str, member: str, members: Sequence[str], expected: Sequence[str] = ()) -> list[str]:
    gates = [*gate.GENERIC[kind], *deployment.spec["gates"].get(kind, [])]
    return gate.evaluate(gates, gate.document(inspect(deployment, members), member, expected or members))


def when_healthy(deployment: Deployment, members: Sequence[str], seconds: float = 300) -> dict[str, Json]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = inspect(deployment, members)
        if all(entry["healthy"] for entry in seen.values()):
            return seen
        time.sleep(0.2)
    raise AssertionError(f"not healthy within {seconds} s: {seen}\n{deployment.log(members[0])[-3000:]}")


def bound(member: str) -> Json:
    cluster, ordinal = member.rsplit("-", 1)
    return binding(cluster, int(ordinal), ADDRESSES[member])


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(
        tmp_path_factory.mktemp("etcd"), "etcd", system_spec("etcd"), [bound(member) for member in FIRST], binary("etcd")
    )
    with deployment.running():
        when_healthy(deployment, FIRST)
        yield deployment


def test_the_members_are_one_cluster(three: Deployment) -> None:
    seen = when_healthy(three, FIRST)
    assert len({entry["cluster_id"] for entry in seen.values()} - {""}) == 1
    assert [entry["leader"] for entry in seen.values()].count(True) == 1
    assert {entry["role"] for entry in seen.values()} == {"voter"}
    assert etcd.voters(seen)[0] == next(name for name, entry in seen.items() if entry["leader"])
    for name, entry in seen.items():
        assert {peer["name"]: peer["address"] for peer in entry["peers"]} == {member: on_wire(ADDRESSES[member]) for member in FIRST}
        assert entry["id"] == next(peer["id"] for peer in entry["peers"] if peer["name"] == name)
    with pytest.raises(ValueError, match="as the voter east-1"):
        etcd.known(seen, on_wire(ADDRESSES["east-1"]))
    assert not etcd.known(seen, on_wire(ADDRESSES["west-1"]))


def test_requests_say_what_etcdctl_says(three: Deployment) -> None:
    seen = when_healthy(three, FIRST)
    assert standing(asked_over_http(three, FIRST)) == standing(seen)


def test_clients_without_a_certificate_are_refused(three: Deployment) -> None:
    address = on_wire(ADDRESSES["east-0"])
    nobody, client = (ssl.create_default_context(cafile=str(three.pki / "ca.crt")) for _context in range(2))
    client.load_cert_chain(three.pki / "clients/client.crt", three.pki / "clients/client.key")

    def asked(connection: http.client.HTTPConnection) -> int:
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status

    assert asked(http.client.HTTPSConnection(address, 2379, context=client)) == 200
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        asked(http.client.HTTPSConnection(address, 2379, context=nobody))
    # etcd closes what does not begin with TLS, with or without a word in HTTP.
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        assert asked(http.client.HTTPConnection(address, 2379)) == 400


def test_etcdctl_takes_a_clients_folder_as_it_is(three: Deployment) -> None:
    folder, environment = three.client("alice")

    def run(*words: str, environment: dict[str, str] = environment) -> subprocess.CompletedProcess[str]:
        command = [binary("etcdctl"), "--command-timeout=60s", *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    assert run("put", "hello", "world").stdout == "OK\n"
    assert run("get", "hello", "--print-value-only").stdout == "world\n"
    # All members, by the addresses in the folder.
    health = run("endpoint", "health")
    assert (health.stdout + health.stderr).count("is healthy") == len(FIRST)
    nobody = {name: value for name, value in environment.items() if name in ("ETCDCTL_ENDPOINTS", "ETCDCTL_CACERT")}
    assert run("--command-timeout=2s", "get", "hello", environment=nobody).returncode != 0


def test_metrics_are_on_loopback_alone(three: Deployment) -> None:
    with urllib.request.urlopen(f"http://{loopback(ADDRESSES['east-0'])}:2381/readyz", timeout=120) as answer:
        assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{on_wire(ADDRESSES['east-0'])}:2381/readyz", timeout=5)


def test_gates_of_a_running_cluster(three: Deployment) -> None:
    seen = when_healthy(three, FIRST)
    assert {entry["revision"] for entry in seen.values()} <= set(range(1, 1000))
    assert min(entry["applied_index"] for entry in seen.values()) > 0
    assert max(entry["lag"] for entry in seen.values()) < 100
    for kind in gate.GENERIC:
        assert closed(three, kind, "east-0", FIRST) == []
    # Nobody answers for west-0: nobody else may stop, and it may be mended.
    others = ["east-0", "east-1"]
    assert closed(three, "stop", "east-0", others, FIRST) == [
        "members that do not answer: west-0",
        "no majority without this member: 1 of 3 voters would be healthy, 2 needed; unhealthy: west-0",
    ]
    assert closed(three, "admit", "west-0", others, FIRST) == []


def test_the_leader_hands_over(three: Deployment) -> None:
    seen = when_healthy(three, FIRST)
    leader = etcd.voters(seen)[0]
    target = etcd.transferee(seen, leader)
    assert target in {entry["id"] for entry in seen.values()} - {seen[leader]["id"]}
    assert ctl(three, leader, ["move-leader", target])["rc"] == 0
    seen = when_healthy(three, FIRST)
    assert next(entry["id"] for entry in seen.values() if entry["leader"]) == target
    assert etcd.transferee(seen, leader) == ""


def test_members_on_older_copies_of_their_disks_are_told(three: Deployment) -> None:
    three.copy_disks()
    when_healthy(three, FIRST)
    for number in range(3):
        assert ctl(three, "east-0", ["put", "later", str(number)])["rc"] == 0
    seen = when_healthy(three, FIRST)
    recorded = progress.with_progress(three.bindings, seen)
    assert [progress.went_back(entry, seen[entry["member"]]) for entry in recorded] == [""] * 3
    three.restore_disks()
    seen = when_healthy(three, FIRST)
    for entry in recorded:
        assert re.search("older copy of its disk.* revision .* after ", progress.went_back(entry, seen[entry["member"]])), seen


def test_an_alarm_closes_the_gates(three: Deployment) -> None:
    """The alarm of a database that is full is kept by the cluster until somebody disarms it."""
    seen = when_healthy(three, FIRST)
    number = int(seen["east-0"]["id"], 16)
    assert seen["east-0"]["alarms"] == []
    body = json.dumps({"action": "ACTIVATE", "memberID": str(number), "alarm": "NOSPACE"})
    certificates = three.pki / "clients"
    command = ["curl", "-sS", "--fail", "--cacert", str(three.pki / "ca.crt"), "--cert", str(certificates / "client.crt")]
    command += ["--key", str(certificates / "client.key"), f"https://{on_wire(ADDRESSES['east-0'])}:2379/v3/maintenance/alarm", "-d", body]
    subprocess.run(command, check=True, capture_output=True)
    try:
        assert inspect(three, FIRST)["east-1"]["alarms"] == ["NOSPACE"]
        for kind in gate.GENERIC:
            assert "alarms of etcd: NOSPACE" in closed(three, kind, "west-0", FIRST)
    finally:
        assert ctl(three, "east-0", ["alarm", "disarm"])["rc"] == 0
    when_healthy(three, FIRST)


def test_the_others_tell_whether_a_member_lives(three: Deployment) -> None:
    seen = when_healthy(three, FIRST)
    one = next(name for name, entry in seen.items() if not entry["leader"])
    rest = [name for name in FIRST if name != one]
    alive, proof = undead(three, one, rest)
    assert alive == proof == [f"still alive: member {one} at {on_wire(ADDRESSES[one])} (seen by {', '.join(rest)})"]
    # Who was not asked for its connections cannot tell.
    assert {peer["live"] for entry in seen.values() for peer in entry["peers"]} == {None}
    three.stop(one, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while undead(three, one, rest)[1] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert undead(three, one, rest) == ([], [])
    three.start(one, state="existing")
    when_healthy(three, FIRST)
    assert undead(three, one, rest)[0] != []


def test_growth_by_a_learner(three: Deployment) -> None:
    peer = f"--peer-urls=https://{on_wire(ADDRESSES['west-1'])}:2380"
    # etcd takes nobody in before all of its members have been connected for some seconds; one was started anew right before.
    deadline = time.monotonic() + 60
    while (added := ctl(three, etcd.voters(inspect(three, FIRST))[0], ["member", "add", "west-1", "--learner", peer]))["rc"] != 0:
        assert time.monotonic() < deadline, added
        time.sleep(0.5)
    # Announced and not started: nobody else may stop, and nothing but itself is to be admitted.
    assert [text.split(":")[0] for text in closed(three, "stop", "east-0", FIRST)] == ["learners without a vote"]
    assert closed(three, "admit", "west-1", FIRST) == []
    three.bindings.append(bound("west-1"))
    on_the_wire = [{**item, "address": on_wire(str(item["address"]))} for item in three.bindings]
    try:
        three.start("west-1", state="existing")
        seen = when_healthy(three, [*FIRST, "west-1"])
        assert seen["west-1"]["role"] == "learner"
        everybody = [*FIRST, "west-1"]
        assert [text.split(":")[0] for text in closed(three, "settled", "west-1", everybody)] == ["learners without a vote"]
        assert closed(three, "admit", "west-1", everybody) == []
        assert [text.split(":")[0] for text in closed(three, "admit", "east-0", everybody)] == [
            "learners that have to get their vote first"
        ]
        assert etcd.voters(seen).count("west-1") == 0
        found: list[Json] = []
        deadline = time.monotonic() + 300
        while not found and time.monotonic() < deadline:
            found = etcd.learners(inspect(three, FIRST), on_the_wire)
        assert [item["member"] for item in found] == ["west-1"]
        while ctl(three, "east-0", ["member", "promote", found[0]["id"]])["rc"] != 0:
            assert time.monotonic() < deadline
        seen = when_healthy(three, [*FIRST, "west-1"])
        assert {entry["role"] for entry in seen.values()} == {"voter"}
        assert len({entry["cluster_id"] for entry in seen.values()}) == 1
    finally:
        three.bindings.pop()


def test_an_empty_disk_cannot_start_a_cluster_of_its_own(tmp_path: Path, three: Deployment) -> None:
    """With `existing` a member whose disk is empty asks the others, and ends when they do not know it."""
    alone = Deployment(
        tmp_path, "etcd", three.spec, [*(bound(member) for member in FIRST), binding("north", 0, "192.0.2.39")], three.executable
    )
    alone.pki.symlink_to(three.pki)
    with alone.running([]):
        process = alone.start("north-0", state="existing")
        assert process.wait(300) != 0
    assert not json.loads(ctl(three, "east-0", ["get", "nothing", "--write-out=json"])["stdout"] or "{}").get("kvs")


def test_a_member_that_is_down_gives_a_reason(three: Deployment) -> None:
    three.stop("east-1")
    gone = inspect(three, ["east-1"])["east-1"]
    assert not gone["reachable"]
    assert gone["reason"]
    three.start("east-1", state="existing")
    when_healthy(three, FIRST)


def elsewhere(tmp_path: Path, three: Deployment, members: dict[str, str]) -> Deployment:
    """Another cluster of the same build on other addresses, for tests that move and remove members."""
    bindings = [binding(name.rsplit("-", 1)[0], int(name[-1]), address) for name, address in members.items()]
    return Deployment(tmp_path, "etcd", three.spec, bindings, three.executable)


def test_members_move_swap_and_are_replaced(tmp_path: Path, three: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes of membership that readdress.yml and forget.yml send, on a cluster of three of which two are away at last."""
    members = {
        "north-0": "192.0.2.131",
        "north-1": "192.0.2.132",
        "south-0": "192.0.2.133",
        "south-1": "192.0.2.134",
        "south-2": "192.0.2.135",
    }
    for name, address in members.items():
        monkeypatch.setitem(ADDRESSES, name, address)
    moving = elsewhere(tmp_path, three, members)

    def change(member: str) -> list[Json]:
        alive = [name for name in moving.processes if name != member]
        wanted = {"member": member, "process": member, "address": on_wire(ADDRESSES[member])}
        found = etcd.readdressing(inspect(moving, alive), wanted)
        helper = etcd.voters(inspect(moving, alive))[0]
        for entry in found:
            done = ctl(moving, helper, ["member", "update", str(entry["id"]), f"--peer-urls=https://{entry['address']}:2380"])
            assert done["rc"] == 0, done
        return found

    def put(member: str, address: str) -> None:
        monkeypatch.setitem(ADDRESSES, member, address)
        next(item for item in moving.bindings if item["member"] == member)["address"] = address
        for file in (moving.pki / member).glob("*"):
            file.unlink()

    with moving.running():
        when_healthy(moving, list(members))
        # One member moves.
        moving.stop("south-2")
        put("south-2", "192.0.2.139")
        assert len(change("south-2")) == 1
        assert change("south-2") == []
        moving.start("south-2", state="existing")
        seen = when_healthy(moving, list(members))
        assert {peer["name"]: peer["address"] for peer in seen["north-0"]["peers"]}["south-2"] == on_wire("192.0.2.139")
        # Two members swap their addresses.
        moving.stop("south-0")
        moving.stop("south-1")
        put("south-0", "192.0.2.134")
        put("south-1", "192.0.2.133")
        assert len(change("south-0")) == 2
        listed = {peer["name"]: peer["address"] for peer in inspect(moving, ["north-0"])["north-0"]["peers"]}
        assert listed["south-1"].startswith("192.0.2.")
        assert len(change("south-1")) == 1
        moving.start("south-0", state="existing")
        moving.start("south-1", state="existing")
        when_healthy(moving, list(members))
        # A disk is lost: the old member goes before the new one comes.
        old = inspect(moving, ["south-1"])["south-1"]["id"]
        with pytest.raises(ValueError, match="member south-1 still answers"):
            etcd.forgettable(inspect(moving, list(members)), {"id": old})
        moving.stop("south-1", signal.SIGKILL)
        rest = [name for name in members if name != "south-1"]
        # Killed a moment ago, it may have led.
        when_healthy(moving, rest)
        found = etcd.forgettable(inspect(moving, rest), {"id": old})
        assert ctl(moving, found["voter"], ["member", "remove", found["id"]])["rc"] == 0
        assert etcd.forgettable(inspect(moving, rest), {"id": old}) == {"voter": "", "id": ""}
        assert closed(moving, "admit", "south-1", rest, list(members)) == []
