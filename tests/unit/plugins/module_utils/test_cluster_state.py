# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the state of a deployment is read: who is asked, how often, and when a disk is looked at. Answers are written, no API server is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import state
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import KubeError
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.run import Outcome
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment, Observed
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings(absent_ok=[], new_kube_clusters=[], without_kube_clusters=[], pki={})
BINDINGS = plans.admitted(HOSTNET, SPEC, plans.five_nodes())
QUESTIONS: Json = {"filter": "told", "interval": 0, "timeout": 5}


def deployed(**pods: Json) -> Deployment:
    """Five members that run, but for what is given of their pods."""
    observed = {}
    for name in ("east", "west"):
        mine = [entry for entry in BINDINGS if entry["kube_cluster"] == name]
        observed[name] = plans.nothing(
            namespace={"labels": {}, "phase": "Active"},
            identity=plans.identity([entry["member"] for entry in BINDINGS]),
            cluster_record={"cluster_id": "c", "token": plans.TOKEN},
            members=BINDINGS,
            members_found=True,
            pods=[plans.pod(entry, **pods.get(entry["member"].replace("-", "_"), {})) for entry in mine],
            workloads=[plans.workload(entry) for entry in mine],
        )
    nodes: Any = plans.five_nodes()
    return {"nodes": nodes, "kube_clusters": observed, "plan": deployment.deployment_plan(HOSTNET, SPEC, nodes, observed)}


def says(*sick: str) -> dict[str, Json]:
    """What all members say; some of them that they are not well."""
    well = {"reachable": True, "reason": "", "cluster_id": "c", "role": "voter", "peers": [], "leader": False, "version": "1"}
    return {entry["member"]: {**well, "id": entry["member"], "healthy": entry["member"] not in sick} for entry in BINDINGS}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    """What the members say, one answer for each time that they are asked; an empty list where they are asked too often."""
    answers: list[Json] = []

    def told(_clusters: Any, _targets: Any, *_rest: Any) -> Json:
        return answers.pop(0)

    monkeypatch.setattr(state, "answers", told)
    monkeypatch.setattr(state, "ask", told)
    return answers


def observed(known: Deployment, check: bool = False, **wanted: Any) -> Observed:
    given = state.Wanted(HOSTNET, SPEC, known=known, **wanted)
    return state.observed({}, given, lambda *_answers: {}, lambda _line: None, check)


def test_nobody_is_asked_without_questions(asked: list[Json]) -> None:
    seen = observed(deployed())
    assert (seen["status"], seen["inspection"], asked) == (None, {}, [])
    assert [entry["member"] for entry in seen["targets"]] == [entry["member"] for entry in seen["bindings"]]
    assert len(seen["bindings"]) == len(BINDINGS)


def test_who_answers_is_classified(asked: list[Json]) -> None:
    asked.append(says("west-1"))
    seen = observed(deployed(), questions=QUESTIONS)
    status = seen["status"]
    assert status is not None
    assert [entry["member"] for entry in status["members"] if not entry["healthy"]] == ["west-1"]


def test_what_was_said_a_moment_ago_is_gone_by(asked: list[Json]) -> None:
    seen = observed(deployed(), questions=QUESTIONS, inspection=says("east-0"))
    assert (seen["inspection"], asked) == (says("east-0"), [])


def test_a_majority_that_is_only_slow_is_asked_once_more(asked: list[Json]) -> None:
    slow = says("east-0", "east-1", "west-0")
    asked += [slow, says()]
    assert observed(deployed(), questions=QUESTIONS, patience=30)["inspection"] == says()
    # Not where nobody has the time, and not for a minority.
    asked.append(slow)
    assert observed(deployed(), questions=QUESTIONS)["inspection"] == slow
    asked.append(says("east-0", "east-1"))
    assert observed(deployed(), questions=QUESTIONS, patience=30)["inspection"] == says("east-0", "east-1")
    # A check asks once more, and does not wait.
    asked += [slow, slow]
    assert observed(deployed(), True, questions=QUESTIONS, patience=30)["inspection"] == slow


def test_a_majority_that_falls_silent_is_known_by_what_it_said(asked: list[Json]) -> None:
    slow = says("east-0", "east-1", "west-0")
    # The second question is answered by an exception: there is no second answer.
    asked.append(slow)
    assert observed(deployed(), True, questions=QUESTIONS, patience=30)["inspection"] == slow


LOST: Json = {"running": False, "ready": False, "phase": "Pending", "waiting": "FailedMount: it is not a directory"}


def test_a_folder_that_is_not_there_is_looked_at_where_that_is_wanted(asked: list[Json], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    said = "disk mounted=false mount=/ filesystem=ext4 id=fsid:1\n"

    def look(_clusters: Any, targets: Any, script: Any, *_rest: Any) -> Outcome:
        looked.extend(target.node for target in targets)
        assert (script.look_path, script.host_path, list(script.capabilities)) == ("/", "", ["DAC_READ_SEARCH"])
        return Outcome([{"kube_cluster": entry.kube_cluster, "node": entry.node, "rc": 0, "stdout": said} for entry in targets], [])

    monkeypatch.setattr(state, "run_on_nodes", look)

    def reason(check: bool = False, **wanted: Any) -> str:
        asked.append(says())
        status = observed(deployed(east_0=LOST), check, questions=QUESTIONS, **wanted)["status"]
        assert status is not None
        return str(next(entry for entry in status["members"] if entry["member"] == "east-0")["reason"])

    assert "playbooks/repair.yml looks at the disk" in reason()
    assert "Nothing was recorded about its disk" in reason(look=True)
    assert looked == ["east-worker"]
    assert "hostnet_lost_disks says that its disk is gone for good" in reason(look=True, lost_disks=["east-0"])
    # Nothing is started in a check.
    looked.clear()
    assert "playbooks/repair.yml looks at the disk" in reason(True, look=True)
    assert looked == []


def test_of_a_node_that_cannot_be_asked_nothing_is_known(asked: list[Json]) -> None:
    def lost() -> None:
        raise KubeError("east", "Lease", "the lock is lost")

    asked.append(says())
    wanted = state.Wanted(HOSTNET, SPEC, known=deployed(east_0=LOST), questions=QUESTIONS, look=True)
    status = state.observed({}, wanted, lambda *_answers: {}, lambda _line: None, False, lost)["status"]
    assert status is not None
    assert {entry["member"]: entry["class"] for entry in status["members"]}["east-0"] == "no_folder"


def test_the_new_binding_of_a_journal_is_gone_by_once_it_may_start(asked: list[Json]) -> None:
    new = {**BINDINGS[0], "node": "east-new", "address": "10.0.0.9"}
    steps = [{"n": 1, "member": "east-0", "step": "admit", "state": "done", "began_at": "", "ended_at": "", "detail": {}}]
    record = {"member": "east-0", "steps": ["admit", "start"], "old": BINDINGS[0], "new": new, "displaced": []}
    journal = {"state": "in_flight", "member": record, "steps": steps, "done": []}
    assert observed(deployed(), journal=journal)["bindings"][0]["address"] == "10.0.0.9"
    assert observed(deployed(), journal={**journal, "state": "done"})["bindings"][0]["address"] == BINDINGS[0]["address"]


class Server:
    """A kube cluster with these nodes, by name: their labels. It counts what is asked."""

    def __init__(self, name: str, nodes: dict[str, dict[str, str]]) -> None:
        self.name, self.host, self._nodes = name, f"https://{name}", nodes
        self.listed: list[str | None] = []
        self.got: list[str] = []

    def _item(self, name: str) -> Json:
        return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": dict(self._nodes[name])}, "spec": {}, "status": {}}

    def pages(self, _kind: Any, label_selector: str | None = None, **_rest: Any) -> Iterator[tuple[list[Json], str]]:
        self.listed.append(label_selector)
        key = (label_selector or "").partition("=")[0]
        yield [self._item(name) for name, labels in self._nodes.items() if not key or key in labels], "1"

    def get(self, _kind: Any, name: str) -> Json | None:
        self.got.append(name)
        return self._item(name) if name in self._nodes else None


def read(monkeypatch: pytest.MonkeyPatch, labels: Callable[[Json], dict[str, str]], **changes: Any) -> tuple[Deployment, dict[str, Server]]:
    """The state, where the nodes of the members have these labels and none has the selector's; one more carries nobody."""
    known = deployed()["kube_clusters"]
    mine = {name: [entry for entry in BINDINGS if entry["kube_cluster"] == name] for name in ("east", "west")}
    servers = {name: Server(name, {entry["node"]: labels(entry) for entry in mine[name]} | {"idle": {}}) for name in mine}
    for name, gone in changes.items():
        del servers[name]._nodes[gone]
    monkeypatch.setattr(state, "observe", lambda *_args: known)
    return state.read(servers, {**HOSTNET, "node_selector": "pool=db"}, SPEC), servers  # type: ignore[arg-type]


def test_the_node_of_a_stopped_member_is_seen_where_it_matches_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, servers = read(monkeypatch, lambda _entry: {names.namespace_label("ledger"): "bank"})
    assert [(node["kube_cluster"], node["name"]) for node in seen["nodes"]] == sorted((e["kube_cluster"], e["node"]) for e in BINDINGS)
    assert not any(node["selected"] for node in seen["nodes"])
    assert [server.got for server in servers.values()] == [[], []]
    assert servers["east"].listed == ["pool=db", *names.member_selectors("ledger")]


def test_a_bound_node_in_no_list_is_read_by_name_before_anybody_calls_it_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = BINDINGS[0]
    seen, servers = read(
        monkeypatch, lambda entry: {} if entry == first else {names.node_label("ledger"): entry["member"]}, west="west-worker"
    )
    assert [node["name"] for node in seen["nodes"] if node["kube_cluster"] == "east"] == sorted(
        entry["node"] for entry in BINDINGS if entry["kube_cluster"] == "east"
    )
    assert (servers["east"].got, servers["west"].got) == ([first["node"]], ["west-worker"])
    # That one is gone indeed.
    assert "west-worker" not in {node["name"] for node in seen["nodes"]}


def test_a_kube_cluster_that_does_not_answer_is_not_asked_for_nodes_by_name() -> None:
    known = deployed()["kube_clusters"]
    known["west"]["absent"] = True
    assert {entry["kube_cluster"] for entry in state._bound(known)} == {"east"}
