# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role vm_command: the command of a user, asked once, killed in the middle and called again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.kube_api import KubeApi
from support.run import PlayRun
from support.vm_roles import run_role, told, vm_of

Json = dict[str, Any]

# A cloud in a folder: one file for each wish, named by the Node's UID. The first time it may kill ansible-playbook as kill -9 would, having made the wish.
_COMMAND = """\
#!{python}
import json, os, pathlib, signal, sys
vm, folder = json.loads(os.environ["HOSTNET_VM"]), pathlib.Path({folder!r})
wish = folder / vm["node_uid"]
if sys.argv[1:2] == ["look"]:
    print("done" if wish.exists() else "todo")
    sys.exit()
if wish.exists():
    sys.exit(print("unchanged"))
wish.write_text(json.dumps([vm["action"], *sys.argv[1:]]))
(folder / "calls").open("a").write("x")
if (folder / "kill").exists():
    (folder / "kill").unlink()
    pid = os.getpid()
    while pid > 1:
        words = pathlib.Path(f"/proc/{{pid}}/cmdline").read_bytes().split(b"\\0")
        status = pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()
        if any(word.endswith(b"/ansible-playbook") for word in words):
            last = pid
        pid = int(status[1])
    os.kill(last, signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vm").write_text(_COMMAND.format(python=sys.executable, folder=str(tmp_path)))
    (tmp_path / "vm").chmod(0o700)
    return tmp_path


@pytest.fixture
def vm(kube_api: KubeApi, no_nodes: None, create_node: Callable[..., Json]) -> Json:
    return vm_of(kube_api, create_node(kube_api, "n1", zone="z1", provider_id="own://n1"))


@pytest.fixture
def role(kube_api: KubeApi, folder: Path) -> Callable[..., PlayRun]:
    def run(vm: Json, **options: Any) -> PlayRun:
        given = {"vm_command_replace": [str(folder / "vm"), "{{ hostnet_vm.provider_id }}"], **options}
        return run_role("vm_command", [kube_api.entry], vm, **given)

    return run


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text()) if (folder / "calls").exists() else 0


@pytest.mark.parametrize("looks", [True, False])
def test_asked_once(vm: Json, folder: Path, role: Callable[..., PlayRun], looks: bool) -> None:
    more: Json = {"vm_command_look": [str(folder / "vm"), "look"]} if looks else {}
    assert told(role(vm, check=True, **more)) == f"n1: would run {folder}/vm to replace it"
    assert calls(folder) == 0
    run = role(vm, **more)
    assert run.changed, run.output
    assert json.loads((folder / vm["node_uid"]).read_text()) == ["replace", "own://n1"]
    again = role(vm, **more)
    assert not again.changed, again.output
    assert told(again) == f"n1: {'it is done already, says' if looks else 'ran'} {folder}/vm{'' if looks else ' to replace it'}"
    assert calls(folder) == 1


@pytest.mark.parametrize("looks", [True, False])
def test_killed_in_the_middle_and_called_again(vm: Json, folder: Path, role: Callable[..., PlayRun], looks: bool) -> None:
    more: Json = {"vm_command_look": [str(folder / "vm"), "look"]} if looks else {}
    (folder / "kill").touch()
    killed = role(vm, **more)
    assert killed.rc == -9, killed.output
    assert calls(folder) == 1
    again = role(vm, **more)
    assert (again.rc, again.changed, calls(folder)) == (0, False, 1), again.output


def test_what_is_refused(vm: Json, folder: Path, role: Callable[..., PlayRun]) -> None:
    locked = ["sh", "-c", "echo the pool is locked >&2; exit 3"]
    for run, text in (
        (role(vm, check=True, vm_command_replace=[]), "vm_command_replace is not set"),
        (role({**vm, "action": "add"}), "vm_command_add is not set"),
        (role({**vm, "node_uid": "0815"}), "the member's had 0815"),
        (role(vm, vm_command_look=locked), "ended with 3 for node n1"),
        (role(vm, check=True, vm_command_look=locked), "the pool is locked"),
        (role(vm, vm_command_look=["echo", "perhaps"]), "was to print done or todo"),
        (role(vm, vm_command_look=["/nowhere/look"]), "/nowhere/look (vm_command_look) ended with 2"),
    ):
        assert run.rc != 0, run.output
        assert text in told(run)
    assert calls(folder) == 0
    failed = role(vm, vm_command_replace=["sh", "-c", "exit 4"])
    assert failed.rc != 0
    other = role({**vm, "machine_id": "m0"})
    assert told(other) == "n1: another VM has the name n1 by now"
    assert calls(folder) == 0
