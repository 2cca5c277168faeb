# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's verbs that a rollout's hook calls are killed at every point and called again. Docker and Kubernetes are played by two sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT


class Killed(BaseException):
    """As SIGKILL: nothing in the lab catches it."""


class Machine:
    """What docker and the kube cluster hold, and a kill before or after the n-th change of anything."""

    def __init__(self) -> None:
        self.vms: dict[str, str] = {}  # name: address
        self.node_objects: set[str] = set()
        self.changes = 0
        self.kill_at = 0  # 0: never; 2n-1: before the n-th change, 2n: after it

    def change(self, work: Callable[[], Any]) -> Any:
        self.changes += 1
        if self.kill_at == 2 * self.changes - 1:
            raise Killed
        result = work()
        if self.kill_at == 2 * self.changes:
            raise Killed
        return result


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """(module cli, Machine) with a lab east:2."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "molecule" / "lab"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # `make test` has a lab with a name of its own, which the names of its nodes begin with.
    from lablib import cli, nodes, state

    monkeypatch.setattr(state, "PREFIX", "")

    machine = Machine()
    original = state.State.save
    monkeypatch.setattr(state.State, "path", tmp_path / "state.json")

    def start_vm(world: Any, cluster: Any, node: Any, same_vm: bool = False) -> None:
        machine.change(lambda: machine.vms.pop(node.name, None))
        node.joined = False
        world.save()
        machine.change(lambda: machine.vms.__setitem__(node.name, node.address))

    def join(world: Any, cluster: Any, node: Any, token: str) -> None:
        machine.change(lambda: machine.node_objects.add(node.name))
        node.joined = True
        world.save()

    def kubectl(cluster: Any, *words: str) -> str:
        if words[:2] == ("get", "node"):  # does it have a finalizer?
            return ""
        assert words[:2] == ("delete", "node")
        machine.change(lambda: machine.node_objects.discard(words[2]))
        return ""

    def wait_ready(cluster: Any, wanted: list[Any]) -> None:
        for node in wanted:
            assert machine.vms[node.name] == node.address
            assert node.name in machine.node_objects

    monkeypatch.setattr(state.State, "save", lambda self: machine.change(lambda: original(self)))
    monkeypatch.setattr(nodes, "remove", lambda names: [machine.change(lambda name=name: machine.vms.pop(name, None)) for name in names])
    monkeypatch.setattr(nodes, "kubectl", kubectl)
    monkeypatch.setattr(nodes, "start_vm", start_vm)
    monkeypatch.setattr(nodes, "join", join)
    monkeypatch.setattr(nodes, "join_token", lambda _cluster: "token")
    monkeypatch.setattr(nodes, "taken_addresses", set)
    monkeypatch.setattr(cli, "wait_ready", wait_ready)
    monkeypatch.setattr(cli.host, "daemon_answers", lambda: True)
    monkeypatch.setattr(cli, "say", lambda _text: None)

    world = state.State()
    world.subnet = "172.30.0.0/16"
    cluster = world.clusters["east"] = state.Cluster("east", 2, created=True, control=state.Node("control", "east"))
    for _number in range(2):
        node = nodes.plan_worker(world, cluster)
        nodes.create_worker(world, cluster, node)
    machine.changes = 0
    yield cli, machine
    for name in [name for name in sys.modules if name.split(".")[0] == "lablib"]:
        del sys.modules[name]


def whole(cli: Any, machine: Machine) -> dict[str, Any]:
    """The workers in the state, which must be exactly those of the machine."""
    workers = cli.State().clusters["east"].workers
    assert {name: node.address for name, node in workers.items()} == machine.vms
    assert set(workers) == machine.node_objects
    assert all(node.joined for node in workers.values())
    return dict(workers)


def at_every_point(cli: Any, machine: Machine, state_file: Path, work: Callable[[], None], check: Callable[[], None]) -> int:
    """Runs `work` killed at every point, and again; `check` looks at what is there afterwards. The number of kills."""
    before = (state_file.read_text(), dict(machine.vms), set(machine.node_objects))
    point = 0
    while True:
        point += 1
        state_file.write_text(before[0])
        machine.vms, machine.node_objects = dict(before[1]), set(before[2])
        machine.changes, machine.kill_at = 0, point
        try:
            work()
        except Killed:
            machine.kill_at = 0
            work()
            check()
            continue
        machine.kill_at = 0
        check()
        return point - 1


def test_replace_node(lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli, machine = lab
    old = cli.State().clusters["east"].workers["east-worker"]

    def check() -> None:
        assert capsys.readouterr().out.split() == ["east-worker3"]
        workers = whole(cli, machine)
        assert set(workers) == {"east-worker2", "east-worker3"}
        assert workers["east-worker3"].zone == old.zone
        assert workers["east-worker3"].address not in (old.address, workers["east-worker2"].address)

    kills = at_every_point(cli, machine, tmp_path / "state.json", lambda: cli.replace_node(["east-worker"]), check)
    assert kills >= 14
    done = (dict(machine.vms), (tmp_path / "state.json").read_text())
    cli.replace_node(["east-worker"])
    check()
    assert (dict(machine.vms), (tmp_path / "state.json").read_text()) == done, "a second call changes nothing"
    cli.replace_node(["east-worker3"])
    assert capsys.readouterr().out.split() == ["east-worker4"]
    cli.replace_node(["east-worker"])
    assert capsys.readouterr().out.split() == ["east-worker3"]
    assert set(whole(cli, machine)) == {"east-worker2", "east-worker4"}


def test_add_node_for_something(lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli, machine = lab

    def check() -> None:
        assert capsys.readouterr().out.split() == ["east-worker3"]
        assert set(whole(cli, machine)) == {"east-worker", "east-worker2", "east-worker3"}
        assert cli.State().clusters["east"].workers["east-worker3"].zone == "east-z"
        assert cli.State().clusters["east"].wanted == 3

    words = ["east", "--zone", "east-z", "--for", "uid-1"]
    assert at_every_point(cli, machine, tmp_path / "state.json", lambda: cli.add_node(words), check) >= 8
    cli.remove_node(["east-worker3"])
    cli.add_node(words)
    assert capsys.readouterr().out.split() == ["east-worker4"], "the one of before was removed"
    cli.add_node(["east"])
    cli.add_node(["east"])
    assert len(whole(cli, machine)) == 5, "without --for every call is another wish"


def test_remove_node(lab: Any, tmp_path: Path) -> None:
    cli, machine = lab

    def check() -> None:
        assert set(whole(cli, machine)) == {"east-worker2"}
        assert cli.State().clusters["east"].wanted == 1

    assert at_every_point(cli, machine, tmp_path / "state.json", lambda: cli.remove_node(["east-worker"]), check) >= 6
    with pytest.raises(cli.LabError, match="no node 'east-worker9'"):
        cli.remove_node(["east-worker9"])


def test_a_kube_cluster_that_is_made_anew_knows_no_former_names(lab: Any, tmp_path: Path) -> None:
    cli, _machine = lab
    cli.replace_node(["east-worker"])
    cli.remove_node(["east-worker3"])
    cli.add_node(["east", "--for", "x"])
    state = cli.State()
    assert (state.successors, state.removed, state.added) == ({"east-worker": "east-worker3"}, ["east-worker3"], {"x": "east-worker4"})
    state.forget_names(state.clusters["east"])
    assert (state.successors, state.removed, state.added) == ({}, [], {})


def test_the_state_of_an_older_lab_is_read(lab: Any, tmp_path: Path) -> None:
    cli, _machine = lab
    data = json.loads((tmp_path / "state.json").read_text())
    for key in ("successors", "removed", "added"):
        del data[key]
    (tmp_path / "state.json").write_text(json.dumps(data))
    assert cli.State().successors == {}


@pytest.mark.parametrize("words", [["east", "--zone"], ["east", "--zone", "a b"], ["east", "west"], ["--zone", "a"]])
def test_wrong_words(lab: Any, words: list[str]) -> None:
    cli, _machine = lab
    with pytest.raises(cli.LabError, match="usage: lab add-node"):
        cli.add_node(words)
