# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows docs/systems.md: a server that the collection does not know runs in the lab by a role of one's own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT, collections_path
from support.commit import parameters

HERE = Path(__file__).resolve().parent
NAME = "own-alerts"


def filters() -> dict[str, Any]:
    path = HERE / "roles/system_alertmanager/filter_plugins/system_alertmanager.py"
    spec = importlib.util.spec_from_file_location("own_filters", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.FilterModule().filters())


def answer(stdout: str, rc: int = 0) -> dict[str, Any]:
    return {"rc": rc, "stdout": stdout, "stderr": "", "error": ""}


CLUSTER = {"name": "01J", "peers": [{"address": "172.30.1.3:9094", "name": "01J"}], "status": "ready"}
FLAGS = "/bin/alertmanager\0--cluster.label=own-alerts-1\0"


def test_the_inspection() -> None:
    one = filters()["system_alertmanager_inspection"]({"east-0": {"cluster": answer(json.dumps(CLUSTER)), "flags": answer(FLAGS)}})[
        "east-0"
    ]
    assert one["healthy"]
    assert one["cluster_id"] == "own-alerts-1"
    assert one["peers"] == [{"id": "01J", "name": "01J", "address": "172.30.1.3"}]


@pytest.mark.parametrize(
    ("cluster", "flags"),
    [
        (answer("", rc=1), answer(FLAGS)),
        (answer("not json"), answer(FLAGS)),
        (answer("{}"), answer(FLAGS)),
        (answer(json.dumps(CLUSTER)), answer("/bin/alertmanager\0")),
    ],
)
def test_what_cannot_be_read_is_not_reachable(cluster: dict[str, Any], flags: dict[str, Any]) -> None:
    one = filters()["system_alertmanager_inspection"]({"east-0": {"cluster": cluster, "flags": flags}})["east-0"]
    assert not one["reachable"]
    assert one["reason"]


def play(playbook: str, *extra: str, placement: str) -> str:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(CHECKOUT / "inventories/lab")),
            *("-e", "hostnet_system=alertmanager", "-e", f"hostnet_name={NAME}", "-e", f"hostnet_placement={placement}", *extra),
            f"hostnet.multicluster.{playbook}",
        ],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
            "ANSIBLE_ROLES_PATH": str(HERE / "roles"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        },
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def image() -> None:
    subprocess.run([str(HERE / "image/build")], check=True, timeout=1800)
    subprocess.run([str(CHECKOUT / "molecule/lab/lab"), "load-image", "docker.io/prom/alertmanager:v0.28.1"], check=True, timeout=600)


@pytest.fixture
def removed(placement: str) -> Iterator[None]:
    yield
    play("remove", "-e", f"hostnet_remove_name={NAME}", "-e", "hostnet_remove_data=true", placement=placement)


@pytest.mark.lab
@pytest.mark.usefixtures("image", "removed")
@pytest.mark.parametrize("placement", parameters([("node_name",), ("daemonset",)], 1))
def test_it_runs_in_the_lab(placement: str, tmp_path: Path) -> None:
    first = play("deploy", "-e", f"hostnet_status_file={tmp_path}/status.json", placement=placement)
    assert "failed=0" in first
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["healthy"], status["problems"]
    assert status["system"] == "alertmanager"
    assert len({entry["kube_cluster"] for entry in status["members"]}) > 1
    assert {entry["cluster_id"] for entry in status["members"]} == {status["cluster_id"]}
    again = play("deploy", placement=placement)
    assert re.search(r"changed=0\b", again), again[-3000:]
