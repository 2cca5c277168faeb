# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In the running lab, with real kubelets and members: playbooks beside a play that does nothing, and the replacement of members.

Skipped where the lab is not up, and by name where a system other than etcd or other placements are wanted: this is one of each.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import timeline
from support.collection import CHECKOUT, cache_root, collections_path
from support.run import NAMESPACE, TaskResult

from ..measure import Failed, command, kubectl, play
from ..table import Findings, Mark, Measured, Row
from .base import Bench, alternate, memory

CASE = "lab"
NAME = "benchmark"
Json = dict[str, Any]
INVENTORY = CHECKOUT / "inventories" / "lab"
_ITEMS = 20
_MEMBERS = 2
_OWN_SECONDS, _OWN_REQUESTS = 5, 200


def _why_not() -> str:
    """Why the lab's cases are not run, or ""."""
    kubeconfig = cache_root() / "lab" / "kubeconfig"
    if not kubeconfig.is_file():
        return "the lab is not up: make lab"
    for kube in ("east", "west"):
        try:
            command(None, kubectl(str(kubeconfig), "--context", kube, "--request-timeout=5s", "get", "--raw", "/readyz"))
        except (Failed, OSError) as error:
            return f"the lab does not answer: {str(error).splitlines()[0]}"
    return ""


def run(bench: Bench) -> Findings:
    skipped = _why_not()
    if skipped:
        return Findings(skipped=skipped)
    with tempfile.TemporaryDirectory(prefix="hostnet-bench-") as folder:
        nothing = Path(folder) / "nothing.yml"
        task = {"name": "Say it", "ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": list(range(_ITEMS))}
        nothing.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))

        def measured(playbook: str) -> Measured:
            return _play(playbook)[0]

        def peer() -> Measured:
            return play(None, nothing, INVENTORY, {}, _environment())[0]

        _play("deploy.yml")
        try:
            findings = Findings()
            for playbook, title, most in (("deploy.yml", "a second deploy.yml", 3.0), ("status.yml", "status.yml", 1.6)):
                row = Row(CASE, f"{title} in the lab", f"a play of {_ITEMS} debug items", most)
                findings.rows.append(row)
                for number in range(bench.rounds):
                    mine, other = alternate(number, partial(measured, playbook), peer)
                    row.ours.append(mine)
                    row.peer.append(other)
                    bench.say(f"{CASE}: {playbook}, round {number + 1} of {bench.rounds}")
            _replacement(bench, Path(folder), findings)
        finally:
            _play("remove.yml", {"hostnet_remove_name": NAME, "hostnet_remove_data": True})
    findings.marks.append(memory(CASE, findings))
    return findings


def _environment() -> dict[str, str]:
    return {"ANSIBLE_COLLECTIONS_PATH": str(collections_path())}


def _play(playbook: str, variables: Json | None = None) -> tuple[Measured, list[TaskResult]]:
    given = {"hostnet_system": "etcd", "hostnet_placement": "node_name", "hostnet_name": NAME, **(variables or {})}
    return play(None, CHECKOUT / "playbooks" / playbook, INVENTORY, given, _environment())


def _replacement(bench: Bench, folder: Path, findings: Findings) -> None:
    """VMs that are replaced, one after another. A member's own seconds: without VM, stop, start, catching up and soak, all from the journal."""
    row = Row(CASE, "own time of one member's replacement", "")
    findings.rows.append(row)
    variables = {
        "hostnet_work": "replace",
        "hostnet_max_members": _MEMBERS,
        "hostnet_soak_seconds": 5,
        "hostnet_replace_tasks": str(CHECKOUT / "molecule" / "lab" / "hooks" / "vm.yml"),
        "hostnet_report_dir": str(folder),
    }
    measured, tasks = _play("upgrade.yml", variables)
    summary = timeline.summary(json.loads(next(folder.glob("*.json")).read_text()), NAME)
    for member in summary["members"]:
        row.ours.append(Measured(member["own"], None, None, measured.megabytes))
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in member["steps"].items())
        findings.notes.append(
            f"{member['member']}: {member['seconds']:.1f} s, of them own {member['own']:.1f}, VM {member['vm']:.1f}; {steps}"
        )
    by_module = _by_module(tasks)
    asked = by_module["member_inspect"]
    others = (by_module.total() - asked) / _MEMBERS
    findings.notes.append("requests of the rollout by module: " + ", ".join(f"{name} {count}" for name, count in by_module.most_common()))
    findings.notes.append(
        f"questions to members, which grow with their number, are {asked / _MEMBERS:.0f} requests for each member of the rollout more"
    )
    findings.marks += [
        Mark(
            CASE,
            "own seconds of one member's replacement, which two quiet cores keep",
            min((run.seconds for run in row.ours), default=None),
            _OWN_SECONDS,
        ),
        Mark(CASE, "requests for one member's replacement that do not ask members", others, _OWN_REQUESTS),
    ]
    bench.say(f"{CASE}: {_MEMBERS} members replaced in {measured.seconds:.0f} s")


def _by_module(tasks: Sequence[TaskResult]) -> Counter[str]:
    found: Counter[str] = Counter()
    for task in tasks:
        if task.action.startswith(f"{NAMESPACE}."):
            found[task.action.removeprefix(f"{NAMESPACE}.")] += int(task.result.get("requests", 0))
    return found
