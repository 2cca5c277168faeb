# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A token that kube_clusters has is in no output, however much of it is asked for: real API servers, made-up kubelets and members.

Each commit tries a deploy, a removal and some of the playbooks between; make soak tries all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import made_up
from support.commit import part
from support.faults import Balancer
from support.kube_api import KubeApi
from support.made_up import NAME

Json = dict[str, Any]

TOKEN = "token-that-nobody-may-read"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


# Playbook, whether as a check, and its variables.
Between = tuple[str, bool, dict[str, Any]]
BETWEEN: list[Between] = [
    ("status.yml", False, {}),
    ("upgrade.yml", True, {"hostnet_work": "version", "hostnet_image": "other:2"}),
    ("repair.yml", False, {}),
    ("scale_down.yml", True, {"hostnet_members": ["west-0"]}),
    ("adopt.yml", True, {"hostnet_adopt_name": NAME, "hostnet_adopt_cluster_id": "none"}),
    ("forget_kube_cluster.yml", True, {"hostnet_lost_kube_cluster": "west"}),
]
REMOVE: Between = ("remove.yml", False, {"hostnet_remove_name": NAME, "hostnet_remove_data": True})


@pytest.mark.parametrize("between", [pytest.param(part(BETWEEN, 1), id="one"), pytest.param(BETWEEN, id="all", marks=pytest.mark.long)])
def test_a_token_is_never_shown(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path, between: list[Between]) -> None:
    shown = set()
    with (
        made_up.world([kube_api, kube_api_two], tmp_path) as world,
        Balancer(kube_api).running() as east,
        Balancer(kube_api_two).running() as west,
    ):
        # Not with -e, which Ansible itself shows, and ps.
        mine = {"ansible_connection": "local", "hostnet_kube_clusters": [{**balancer.entry, "api_key": TOKEN} for balancer in (east, west)]}
        inventory = tmp_path / "kubes.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": mine}}}))
        for playbook, check, variables in (("deploy.yml", False, {}), *between, REMOVE):
            run = world.play(playbook, environment={"ANSIBLE_VERBOSITY": "4"}, check=check, sources=[inventory], **variables)
            assert run.rc == 0 or playbook not in ("deploy.yml", "status.yml", "remove.yml"), run.output[-5000:]
            shown |= {f"{playbook}: {task.task}" for task in run.tasks if TOKEN in str(task.result)}
            shown |= {f"{playbook}: its output"} if TOKEN in run.output else set()
    assert not shown, "\n".join(sorted(shown))


PLUGIN_TOKEN = "token-of-a-plugin-that-nobody-may-read"


def kubeconfigs(kube: KubeApi, balancer: Balancer, folder: Path) -> tuple[list[Json], list[str]]:
    """Entries of kube_clusters, one with a client's key in its kubeconfig and one with a credential plugin; and what nobody may read."""
    user = yaml.safe_load(Path(kube.kubeconfig).read_text())["users"][0]["user"]
    key = base64.b64decode(user["client-key-data"]).decode().splitlines()
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": PLUGIN_TOKEN}}
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    plugin.chmod(0o700)
    path = folder / "west.kubeconfig"
    details = {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "west", "cluster": {"server": balancer.url, "certificate-authority": balancer.ca_file}}],
        "users": [{"name": "west", "user": {"exec": details}}],
        "contexts": [{"name": "west", "context": {"cluster": "west", "user": "west"}}],
    }
    path.write_text(yaml.safe_dump(config))
    # Lines of the key, as it is and as the kubeconfig has it.
    return [kube.entry, {"name": "west", "kubeconfig": str(path), "context": "west"}], [
        PLUGIN_TOKEN,
        key[1],
        user["client-key-data"][60:160],
    ]


def kill(mark: str) -> None:
    """Every process that has `mark` in its environment, which only this test's have."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.mark.parametrize("between", [pytest.param(part(BETWEEN, 1), id="one"), pytest.param(BETWEEN, id="all", marks=pytest.mark.long)])
def test_nothing_secret_outlives_a_run(
    kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path, between: list[Between]
) -> None:
    """After a normal end, a failure and a kill: in no output, no cache of facts, no log, and nowhere in the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hostnet-") as folder:
        # Ansible has a socket in it, whose path may have 107 characters: more than tmp_path leaves.
        _nothing_outlives_a_run([kube_api, kube_api_two], tmp_path, Path(folder), between)


def _nothing_outlives_a_run(kubes: list[KubeApi], tmp_path: Path, temporary: Path, between: list[Between]) -> None:
    environment = {
        "ANSIBLE_VERBOSITY": "4",
        "TMPDIR": str(temporary),
        "ANSIBLE_LOCAL_TEMP": str(temporary / "ansible"),
        "ANSIBLE_LOG_PATH": str(temporary / "log"),
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(temporary / "facts"),
    }
    with made_up.world(kubes, tmp_path) as world, Balancer(kubes[1]).running() as balancer:
        entries, secrets = kubeconfigs(kubes[0], balancer, tmp_path)
        inventory = tmp_path / "kubes.yml"
        mine = {"ansible_connection": "local", "hostnet_kube_clusters": entries}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": mine}}}))

        def look(when: str, output: str) -> None:
            places = [
                str(path) for path in temporary.rglob("*") if path.is_file() and any(word.encode() in path.read_bytes() for word in secrets)
            ]
            places += ["its output"] if any(word in output for word in secrets) else []
            assert not places, f"{when}: {', '.join(places)}"

        run = world.play("deploy.yml", environment=environment, sources=[inventory])
        assert run.rc == 0, run.output[-5000:]
        assert (temporary / "log").stat().st_size > 1000
        look("after a normal end", run.output)
        for playbook, check, variables in between:
            run = world.play(playbook, environment=environment, check=check, sources=[inventory], **variables)
            look(f"after {playbook}", run.output)
        balancer.choose = lambda number, _method, _path: "500" if number > 3 else ""
        run = world.play("status.yml", environment=environment, sources=[inventory])
        look("after a failure", run.output)
        balancer.choose = lambda number, _method, _path: kill(str(temporary)) or "" if number == first + 8 else ""
        first = len(balancer.seen)
        run = world.play("deploy.yml", environment=environment, sources=[inventory])
        assert run.rc == -signal.SIGKILL, run.output[-5000:]
        look("after it was killed", run.output)
        balancer.choose = lambda *_request: ""
        assert world.play(REMOVE[0], environment=environment, sources=[inventory], **REMOVE[2]).rc == 0
