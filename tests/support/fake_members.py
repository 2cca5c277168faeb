# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members that give written answers, so that the task files of a system role can be tried under real Ansible without any.

A target's namespace is a folder with `answers.json`: member -> name of the command -> list of answers. Each call is noted in
`<member>.<name>`, one line of JSON with its arguments.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .collection import CHECKOUT
from .run import ansible_environment

# Answers are lists: the n-th call gets the n-th answer, later calls the last.
ANSWERS = """\
import json
from pathlib import Path

def answers(members, commands):
    results = {}
    for member in members:
        folder = Path(member["namespace"])
        answers = json.loads((folder / "answers.json").read_text())[member["member"]]
        results[member["member"]] = {}
        for name, argv in commands.items():
            assert all(isinstance(word, str) for word in argv), argv
            calls = folder / f"{member['member']}.{name}"
            number = len(calls.read_text().splitlines()) if calls.exists() else 0
            with calls.open("a") as file:
                file.write(json.dumps(argv) + "\\n")
            known = answers.get(name, [{"rc": 0, "stdout": "", "stderr": "", "error": ""}])
            results[member["member"]][name] = known[min(number, len(known) - 1)]
    return results
"""
MEMBER_EXEC = (
    ANSWERS
    + """
from ansible.module_utils.basic import AnsibleModule

def main():
    options = ("kube_clusters", "members", "commands", "http", "timeout", "read_only", "fail", "diff")
    module = AnsibleModule({name: {"type": "raw"} for name in options}, supports_check_mode=True)
    results = answers(module.params["members"], module.params["commands"])
    module.exit_json(results=results, requests=0, changed=not module.params.get("read_only"))

main()
"""
)
MEMBER_INSPECT = (
    ANSWERS
    + """
from ansible.plugins.loader import filter_loader
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import dead, gate
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.members import OfMembers

class ActionModule(OfMembers):
    def run(self, tmp=None, task_vars=None):
        self._known = task_vars or {}
        args = json.loads(json.dumps(self.with_facts(self._task.args), default=str))
        shape = filter_loader.get(args["inspect"]["filter"]).j2_function
        processes = args.get("processes") or []
        more = args["inspect"].get("liveness") or {} if processes else {}
        commands = {**(args["inspect"].get("commands") or {}), **(more.get("commands") or {})}
        asked = {**commands, **{name: [] for name in [*(args["inspect"].get("http") or {}), *(more.get("http") or {})]}}
        gates = gate.named(args.get("gates", []), args["spec"], args.get("work", ""))
        for _sample in range(6):
            found = shape(answers(args["members"], asked), args["members"], args["spec"])
            blocked = gate.evaluate(gates, gate.document(found, args.get("member", ""), (), processes))
            said = {"inspection": found, "targets": args["members"], "blocked": blocked, "lost": [], "changed": False}
            said["refusal"] = dead.refusal(found, processes, float(args.get("timeout", 300)))
            if not blocked:
                return said
        return {**said, "failed": True, "msg": f"{args.get('what')}: {blocked}"}
"""
)


# What asks nobody is what it is, and so is what asks members by ask_members, which gives the written answers.
REAL = ("etcd_membership", "nats_membership", "cockroachdb_spec", "cockroachdb_init", "cockroachdb_settings")
ASK = (
    ANSWERS
    + """
import dataclasses

def ask_members(clusters, members, commands, http, timeout, **_how):
    return answers([dataclasses.asdict(member) for member in members], commands)
"""
)

NATS_REQUEST = (
    ANSWERS
    + """
from ansible.module_utils.basic import AnsibleModule

def main():
    options = ("kube_clusters", "member", "port", "pki_dir", "ca_certificate", "nkey", "subject", "body", "refresh", "image", "name", "changes", "timeout",
        "pull_secrets")
    module = AnsibleModule({name: {"type": "raw"} for name in options}, supports_check_mode=True)
    call = [module.params["subject"], json.dumps(module.params["body"])]
    result = answers([module.params["member"]], {"request": call})[module.params["member"]["member"]]["request"]
    module.exit_json(answer=result, requests=0, changed=bool(module.params["changes"]))

main()
"""
)


def with_written_answers(collection: Path) -> None:
    """Makes the collection in this folder: this checkout's roles and filters, with a member_exec and a member_inspect that ask nobody."""
    (collection / "plugins" / "modules").mkdir(parents=True)
    (collection / "plugins" / "action").mkdir()
    for part in ("filter", "plugin_utils"):
        (collection / "plugins" / part).symlink_to(CHECKOUT / "plugins" / part)
    (collection / "plugins" / "module_utils" / "_cluster").mkdir(parents=True)
    for folder in ("module_utils", "module_utils/_cluster"):
        for path in (CHECKOUT / "plugins" / folder).iterdir():
            if path.name not in ("_cluster", "ask.py", "__pycache__"):
                (collection / "plugins" / folder / path.name).symlink_to(path)
    real = (CHECKOUT / "plugins" / "module_utils" / "_cluster" / "ask.py").read_text()
    (collection / "plugins" / "module_utils" / "_cluster" / "ask.py").write_text(f"{real}\n\n{ASK}")
    for part in ("roles", "meta", "galaxy.yml"):
        (collection / part).symlink_to(CHECKOUT / part)
    for name in REAL:
        for kind in ("modules", "action"):
            (collection / "plugins" / kind / f"{name}.py").symlink_to(CHECKOUT / "plugins" / kind / f"{name}.py")
    (collection / "plugins" / "modules" / "member_exec.py").write_text(MEMBER_EXEC)
    (collection / "plugins" / "modules" / "nats_request.py").write_text(NATS_REQUEST)
    (collection / "plugins" / "action" / "member_inspect.py").write_text(MEMBER_INSPECT)


def play_on(root: Path, hosts: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> None:
    """Plays the tasks on all hosts (variables by name) with the collection in `root`, whatever becomes of each. What was said is in `root/output`."""
    # Interpreters that are found by their names may be stand-ins that do not run.
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict(hosts), "vars": common}}))
    (root / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "strategy": "free", "tasks": list(tasks)}]))
    ended = subprocess.run(
        ["ansible-playbook", "-i", str(root / "hosts.yml"), str(root / "play.yml")],
        env=ansible_environment(root / "results.jsonl", ANSIBLE_COLLECTIONS_PATH=str(root), ANSIBLE_FORKS="4"),
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    (root / "output").write_text(ended.stdout + ended.stderr)
