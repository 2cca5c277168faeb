# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of the lab is deleted behind everybody's back, and ansible-rulebook has the member repaired with nobody typing. The checker writes all the time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.collection import CHECKOUT, collections_path
from support.environments import made

from .harness import Choice, Stage

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture(params=["node_name", "daemonset"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    found = Stage(Choice("etcd", request.param, "events"), tmp_path)
    found.verb("up", "east:3,west:2")
    found.remove()
    found.deploy()
    try:
        yield found
    finally:
        found.remove()
        found.verb("up", "east:3,west:2")


def test_a_vm_that_is_deleted_is_repaired_with_nobody_typing(stage: Stage) -> None:
    if shutil.which("java") is None:
        pytest.skip("NOT RUN: ansible-rulebook needs Java 17, and there is no java here (openjdk-17-jre-headless)")
    kubes = {"kube_clusters": stage.lab.kube_clusters, "node_selector": "!node-role.kubernetes.io/control-plane"}
    inventory = stage.folder / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "lab.hostnet.yml").write_text(yaml.safe_dump({"plugin": "hostnet.multicluster.nodes", **kubes}))
    theirs = yaml.safe_load((CHECKOUT / "inventories" / "lab" / "group_vars" / "all.yml").read_text())
    (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump({**theirs, **stage.variables()}))
    settings = {**kubes, "deployment": stage.choice.name, "deployment_namespace": stage.namespace, "lasting_seconds": 10}
    (stage.folder / "events.yml").write_text(yaml.safe_dump(settings))
    ids, gone = stage.cluster_ids(), stage.members()["east-1"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("ANSIBLE_")}
    clean |= {
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
        "ANSIBLE_HOME": str(stage.folder / "home"),
        "PATH": f"{made('rulebook') / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["ansible-rulebook", "-r", "hostnet.multicluster.follow", "-i", str(inventory), "-e", str(stage.folder / "events.yml")]
    log = stage.folder / "rulebook.log"
    with stage.load() as load:
        with log.open("wb") as output:
            rulebook = subprocess.Popen(command, cwd=stage.folder, env=clean, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            stage.verb("replace-node", gone[1])
            stage.until("a member that was repaired", lambda: stage.done() == ["east-1"] and stage.journal("east")["state"] == "done", 900)
            assert rulebook.poll() is None, log.read_text(errors="replace")[-3000:]
        finally:
            rulebook.terminate()
            rulebook.wait()
        verdict = load.end()
    assert (verdict["result"], verdict["lost"]) == ("holds", 0), verdict["reasons"]
    assert stage.problems(ids["east"]) == []
