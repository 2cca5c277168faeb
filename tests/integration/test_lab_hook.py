# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""molecule/lab/hooks/vm.yml, included by a playbook of another folder: which words it gives to the lab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support.collection import CHECKOUT

VM = {
    "kube_cluster": "east",
    "node": "east-worker",
    "node_uid": "uid-1",
    "provider_id": "kind://x",
    "pool": "",
    "zone": "east-a",
    "region": "east",
    "address": "172.30.1.1",
}
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({**VM, "action": "reboot"}, ["reboot-node", "east-worker"]),
    ({**VM, "action": "replace"}, ["replace-node", "east-worker"]),
    ({**VM, "action": "remove"}, ["remove-node", "east-worker"]),
    ({**VM, "action": "add"}, ["add-node", "east", "--zone", "east-a", "--for", "uid-1"]),
    ({"action": "add", "kube_cluster": "west", "node": "", "node_uid": "", "zone": ""}, ["add-node", "west"]),
]


def test_each_action(tmp_path: Path) -> None:
    (tmp_path / "lab" / "hooks").mkdir(parents=True)
    hook = tmp_path / "lab" / "hooks" / "vm.yml"
    shutil.copy(CHECKOUT / "molecule" / "lab" / "hooks" / "vm.yml", hook)
    calls = tmp_path / "calls"
    lab = tmp_path / "lab" / "lab"
    lab.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {calls}\necho progress >&2\necho new-node\n')
    lab.chmod(0o755)
    include = {"name": "Call it", "ansible.builtin.include_tasks": str(hook)}
    tasks: list[dict[str, Any]] = [{**include, "vars": {"hostnet_vm": vm}} for vm, _words in CASES]
    told = {"name": "Look", "ansible.builtin.assert": {"that": "hostnet_vm_done.stdout_lines | last == 'new-node'"}}
    refused = {**include, "vars": {"hostnet_vm": {**VM, "action": "explode"}}}
    rescue = [{"name": "Look", "ansible.builtin.assert": {"that": "ansible_failed_result.msg is search('the lab knows reboot')"}}]
    play = {
        "name": "Play",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [*tasks, told, {"name": "Refused", "block": [refused], "rescue": rescue}],
    }
    (tmp_path / "plays").mkdir()
    (tmp_path / "plays" / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", "plays/play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split() for line in calls.read_text().splitlines()] == [words for _vm, words in CASES]
