# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebook that ships, in the real ansible-rulebook, with the real event source and a real API server.

The playbooks are the test's: each writes down that it ran, and with which variables. The rulebook's times are shorter than those that ship.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import environments
from support import event_source as made
from support.collection import CHECKOUT
from support.event_source import MERGE, NAME
from support.kube_api import KubeApi, create_node

Json = dict[str, Any]
NAMESPACE = "events"
PLAYBOOK = """\
- name: Note that it ran
  hosts: localhost
  gather_facts: false
  vars_files: [{limits}]
  tasks:
    - name: Note the variables
      ansible.builtin.shell:
        cmd: cat >> {notes}
        stdin: >-
          {{{{ {{'playbook': '{name}', 'limit': rollout_limit_nodes, 'name': hostnet_name, 'namespace': hostnet_namespace, 'system': hostnet_system,
          'placement': hostnet_placement, 'work': hostnet_work | default(''), 'tasks': hostnet_replace_tasks | default(''), 'inventory': of_inventory}}
          | to_json }}}}
"""


@pytest.fixture(scope="module")
def kube() -> Iterator[KubeApi]:
    server = KubeApi("east")
    try:
        server.start()
        server.wait()
        body = {"metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
        server.request_json("POST", "/api/v1/namespaces", body)
        yield server
    finally:
        server.stop()


class Rulebook:
    """ansible-rulebook at work. `notes` are the playbooks that ran, in their order."""

    def __init__(self, folder: Path, kube: KubeApi) -> None:
        self.notes_file, self.log = folder / "notes", folder / "log"
        self.notes_file.touch()
        home = folder / "ansible_collections" / "hostnet" / "multicluster"
        (home / "extensions" / "eda" / "rulebooks").mkdir(parents=True)
        for part in ("plugins", "roles", "meta", "galaxy.yml", "extensions/eda/plugins"):
            (home / part).symlink_to(CHECKOUT / part)
        text = (CHECKOUT / "extensions" / "eda" / "rulebooks" / "follow.yml").read_text()
        quick, changed = re.subn(r"once_after: \d+ seconds", "once_after: 5 seconds", text)
        assert changed == 4
        (home / "extensions" / "eda" / "rulebooks" / "follow.yml").write_text(quick)
        (home / "playbooks").mkdir()
        limits = CHECKOUT / "roles" / "rollout" / "vars" / "main.yml"
        for name in set(re.findall(r"name: hostnet\.multicluster\.(\w+)", text)):
            # A misnamed one would be found nowhere.
            assert (CHECKOUT / "playbooks" / f"{name}.yml").is_file()
            (home / "playbooks" / f"{name}.yml").write_text(PLAYBOOK.format(name=name, notes=self.notes_file, limits=limits))
        inventory = folder / "inventory"
        (inventory / "group_vars").mkdir(parents=True)
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"east-7": None}}}))
        (inventory / "group_vars" / "all.yml").write_text("of_inventory: mine\n")
        settings = {
            "kube_clusters": [kube.entry],
            "deployment": NAME,
            "deployment_namespace": NAMESPACE,
            "lasting_seconds": 0,
            "remind_seconds": 0,
        }
        (folder / "vars.yml").write_text(yaml.safe_dump(settings))
        binaries = environments.made("rulebook") / "bin"
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("ANSIBLE_")}
        clean |= {
            "ANSIBLE_COLLECTIONS_PATH": str(folder),
            "ANSIBLE_CONFIG": str(CHECKOUT / "tests" / "support" / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        }
        command = [binaries / "ansible-rulebook", "-r", "hostnet.multicluster.follow", "-i", inventory, "-e", folder / "vars.yml"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--print-events"], cwd=folder, env=clean, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def until(self, playbook: str) -> list[Json]:
        """The playbooks that have run once this one has."""
        wait = threading.Event()
        for _try in range(3000):
            notes = [json.loads(line) for line in self.notes_file.read_text().splitlines()]
            if any(note["playbook"] == playbook for note in notes):
                return notes
            if self.process.poll() is not None:
                break
            wait.wait(0.1)
        raise AssertionError(f"{playbook} did not run:\n{self.log.read_text(errors='replace')[-6000:]}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def rulebook(kube: KubeApi, tmp_path: Path) -> Iterator[Rulebook]:
    """It starts into a storm: three VMs are gone, two other members are not ready, and two new nodes are there. So all of that comes at once."""
    if shutil.which("java") is None:
        pytest.skip("NOT RUN: ansible-rulebook needs Java 17, and there is no java here (openjdk-17-jre-headless)")
    made.deployment([kube], NAMESPACE, 5)
    for number in range(3):
        kube.request_json("DELETE", f"/api/v1/nodes/east-{number}")
    for number in (3, 4):
        made.ready(kube, NAMESPACE, f"east-{number}", False)
    for number in (7, 8):
        create_node(kube, f"east-{number}", address=f"10.0.7.{number}", zone="east-a")
    running = Rulebook(tmp_path, kube)
    try:
        yield running
    finally:
        running.stop()


def test_a_storm_is_one_action_and_they_run_one_after_another(rulebook: Rulebook, kube: KubeApi) -> None:
    rulebook.until("repair")
    kube.request_json("PATCH", "/api/v1/nodes/east-4", {"spec": {"unschedulable": True}}, MERGE)
    rulebook.until("upgrade")
    # Dates are read again when the records change.
    made.secret(kube, NAMESPACE, "east-3", "2020-01-01T00:00:00Z")
    made.touch(kube, NAMESPACE)
    notes = rulebook.until("rotate_certificates")
    # Eight events were one call, and nothing that came later hid a second one: they run in their order.
    common = {"name": NAME, "namespace": NAMESPACE, "system": "etcd", "placement": "node_name", "limit": None, "inventory": "mine"}
    nothing = {**common, "work": "", "tasks": ""}
    assert notes == [
        {"playbook": "status", **nothing},
        {"playbook": "repair", **nothing},
        {"playbook": "upgrade", **common, "work": "replace", "tasks": "wait"},
        {"playbook": "rotate_certificates", **nothing},
    ]
    told = rulebook.log.read_text(errors="replace")
    assert told.count("[received event]") == 10
    assert "made-up-secret" not in told
