# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows docs/systems.md: a server that the collection does not know runs in the lab by a role of one's own.

The role is what new_system.yml writes, with those of its files that its author has changed (`alertmanager/`) in their places.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.collection import CHECKOUT, collections_path
from support.commit import parameters

HERE = Path(__file__).resolve().parent
OWN = HERE / "alertmanager"
NAME = "own-alerts"


def filters() -> dict[str, Any]:
    path = OWN / "filter_plugins/system_alertmanager.py"
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


def run(playbook: str, *arguments: str, roles: Path) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), *arguments, f"hostnet.multicluster.{playbook}"],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
            "ANSIBLE_ROLES_PATH": str(roles),
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
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The role that new_system.yml writes."""
    folder = tmp_path_factory.mktemp("own") / "skeleton"
    run("new_system", "-e", "new_system_name=alertmanager", "-e", f"new_system_dir={folder}", roles=folder)
    return folder / "system_alertmanager"


@pytest.fixture(scope="module")
def roles(skeleton: Path) -> Path:
    """A folder of roles, with that one and the author's files in it."""
    folder = skeleton.parents[1] / "roles"
    for source in (skeleton, OWN):
        shutil.copytree(source, folder / "system_alertmanager", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_what_the_author_left_alone_is_the_skeletons(skeleton: Path) -> None:
    """Every file of its own is in the place of one that the skeleton has: what the page tells to change, and nothing beside it."""
    assert files(OWN) < files(skeleton)
    assert {path.parts[0] for path in files(OWN)} == {"defaults", "filter_plugins", "meta", "tasks", "vars"}


@pytest.fixture
def play(roles: Path, placement: str) -> Callable[..., str]:
    def call(playbook: str, *extra: str) -> str:
        inventory = ("-i", str(CHECKOUT / "inventories/lab"))
        words = ("-e", "hostnet_system=alertmanager", "-e", f"hostnet_name={NAME}", "-e", f"hostnet_placement={placement}")
        return run(playbook, *inventory, *words, *extra, roles=roles)

    return call


@pytest.fixture(scope="module")
def image() -> None:
    subprocess.run([str(HERE / "image/build")], check=True, timeout=1800)
    subprocess.run([str(CHECKOUT / "molecule/lab/lab"), "load-image", "docker.io/prom/alertmanager:v0.28.1"], check=True, timeout=600)


@pytest.fixture
def removed(play: Callable[..., str]) -> Iterator[None]:
    yield
    play("remove", "-e", f"hostnet_remove_name={NAME}", "-e", "hostnet_remove_data=true")


@pytest.mark.lab
@pytest.mark.usefixtures("image", "removed")
@pytest.mark.parametrize("placement", parameters([("node_name",), ("daemonset",)], 1))
def test_it_runs_in_the_lab(play: Callable[..., str], tmp_path: Path) -> None:
    first = play("deploy", "-e", f"hostnet_status_file={tmp_path}/status.json")
    assert "failed=0" in first
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["healthy"], status["problems"]
    assert status["system"] == "alertmanager"
    assert len({entry["kube_cluster"] for entry in status["members"]}) > 1
    assert {entry["cluster_id"] for entry in status["members"]} == {status["cluster_id"]}
    again = play("deploy")
    assert re.search(r"changed=0\b", again), again[-3000:]
