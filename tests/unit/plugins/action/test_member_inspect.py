# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""member_inspect under real Ansible: a filter found by its name, gates, messages. The members' answers are the filter's own invention."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.modules import member_inspect
from support.run import PlayRun, run_tasks

FILTERS = """
class FilterModule:
    def filters(self):
        return {"told": lambda results, targets, spec: spec["told"], "broken": lambda results, targets, spec: results["east-0"]}
"""
HEALTHY = {"reachable": True, "healthy": True, "reason": "", "cluster_id": "c", "role": "node", "peers": []}
SICK = {**HEALTHY, "healthy": False, "reason": "it knows no leader"}
GATES = "{{ [{'say': 'members that are not healthy', 'find': 'members[?!healthy].member'}] }}"


def task(inspection: Any, **other: Any) -> dict[str, Any]:
    arguments = {
        "kube_clusters": [],
        "members": [],
        "inspect": {"filter": "told", "timeout": "{{ 5 }}"},
        "spec": {"told": inspection},
        **other,
    }
    return {"name": "Ask", "hostnet.multicluster.member_inspect": arguments, "ignore_errors": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("filters")
    (folder / "told.py").write_text(FILTERS)

    def tasks(*given: dict[str, Any], check: bool = False) -> PlayRun:
        return run_tasks(given, check=check, environment={"ANSIBLE_FILTER_PLUGINS": str(folder)})

    return tasks


def test_inspections_and_refusals(run: Any) -> None:
    seen = {"east-0": SICK}
    done: PlayRun = run(
        task(seen),
        task(seen, gates=GATES, member="east-0", timeout=1, interval=0.3, what="waiting for east-0 to settle"),
        task({"east-0": HEALTHY}, gates=GATES, samples=3, interval=0.1),
        task(seen, inspect={"filter": "hostnet.multicluster.etcd_inspection"}),
        task(seen, inspect={"filter": "broken"}),
        task(seen, inspect={"filter": "nobody.has.this"}),
        task(seen, inspect={"filter": "told", "http": {"x": {"port": "y"}}}),
        task(seen, inspect={"filter": "told", "command": {}}),
        task(seen, samples="x"),
    )
    asked, waited, open_, etcd, broken, nobody, port, misspelt, text = done.of("member_inspect")
    assert asked["inspection"] == seen
    assert asked["samples"] == 1
    assert not asked["changed"]
    assert waited["failed"]
    assert waited["msg"] == "waiting for east-0 to settle: not within 1 s: members that are not healthy: east-0"
    assert waited["blocked"] == ["members that are not healthy: east-0"]
    shown = r"waiting for east-0 to settle: members that are not healthy: east-0 \(\d+ of 1 s\)"
    assert len(re.findall(shown, done.output)) == 1
    assert (open_["samples"], open_["blocked"]) == (3, [])
    assert etcd["inspection"] == {}
    assert broken["msg"] == "filter broken cannot read the members' answers: KeyError: 'east-0'"
    assert "there is no filter nobody.has.this" in nobody["msg"] or "nobody.has.this cannot be loaded" in nobody["msg"]
    assert "http.x.port must be a number" in port["msg"]
    assert "inspect.command" in misspelt["msg"]
    assert "samples" in text["msg"]


def test_a_check_tells_what_is_closed_and_does_not_wait(run: Any) -> None:
    done = run(task({"east-0": SICK}, gates=GATES, timeout=600, samples=3), task({"east-0": HEALTHY}, gates=GATES, samples=3), check=True)
    closed, fine = done.of("member_inspect")
    assert not closed.get("failed")
    assert closed["blocked"] == ["members that are not healthy: east-0"]
    assert fine["blocked"] == []


def test_processes_that_must_be_dead(run: Any) -> None:
    """What only they need is asked for them alone, and what the filter then says of them closes the gates."""
    east1 = {"member": "east-1", "process": "east-1", "address": "10.0.0.2"}
    seen = {"east-0": {**HEALTHY, "peers": [{"id": "b", "name": "east-1", "address": "10.0.0.2", "live": True}]}}
    gates = ["alive"]
    liveness = {"filter": "told", "liveness": {"http": {"x": {"port": "y"}}}}
    done: PlayRun = run(
        task(seen, gates=gates, processes=[east1], timeout=1, interval=0.3, what="asking who is dead"),
        task({"east-0": HEALTHY}, gates=gates, processes=[east1], timeout=1),
        task(seen, inspect=liveness),
        task(seen, inspect=liveness, processes=[east1]),
        task(seen, processes=[{"member": "east-1"}]),
    )
    alive, dead, not_asked, asked, incomplete = done.of("member_inspect")
    assert alive["msg"] == "asking who is dead: not within 1 s: still alive: member east-1 at 10.0.0.2 (seen by east-0)"
    assert (dead["blocked"], dead.get("failed", False)) == ([], False)
    assert not not_asked.get("failed", False)
    assert "http.x.port must be a number" in asked["msg"]
    assert "address" in incomplete["msg"]


def test_it_is_no_module_of_its_own() -> None:
    with pytest.raises(_call.Failure, match="on the controller only"):
        member_inspect.run(_call.Call({}))


def test_arguments_are_those_of_the_documentation() -> None:
    documented = yaml.safe_load(member_inspect.DOCUMENTATION)["options"]
    for name, entry in documented.items():
        assert entry.get("default") == member_inspect.ARGUMENTS[name].get("default"), name
    # The rest stands in doc fragments.
    assert set(documented) | {"kube_clusters", "lock", "members"} == set(member_inspect.ARGUMENTS)
    assert Path(member_inspect.__file__).name == "member_inspect.py"
