# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The skeleton of a system role: it passes lint and is a whole spec, and what was changed in it is never written again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates, placement, settings_and_spec
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.gate import document, evaluate
from support import plans
from support.collection import collections_path
from support.run import run_playbook

Json = dict[str, Any]
PORTS = {"client": 7000, "peer": 7001}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "roles"
    assert write(folder).changed
    return folder


def write(folder: Path, name: str = "quorumdb") -> Any:
    inventory = folder.parent / "none"
    inventory.write_text("")
    return run_playbook("new_system.yml", inventory, variables={"new_system_name": name, "new_system_dir": str(folder)})


def spec(roles: Path) -> Json:
    text = (roles / "system_quorumdb" / "vars" / "main.yml").read_text()
    for port, number in PORTS.items():
        text = text.replace(f'"{{{{ system_quorumdb_{port}_port | int }}}}"', str(number))
    found: Json = yaml.safe_load(text)["system_quorumdb_spec"]
    return found


def test_a_second_run_changes_nothing_and_leaves_what_the_user_wrote(roles: Path) -> None:
    readme = roles / "system_quorumdb" / "README.md"
    readme.write_text("mine\n")
    (roles / "system_quorumdb" / "tasks" / "lead.yml").unlink()
    again = write(roles)
    assert again.changed, "what is missing is written"
    assert readme.read_text() == "mine\n"
    assert not write(roles).changed


@pytest.mark.parametrize("name", ["etcd", "Rqlite", "2db", "a-b", "x" * 31])
def test_a_name_that_cannot_be_a_systems_is_refused(tmp_path: Path, name: str) -> None:
    refused = write(tmp_path / "roles", name)
    assert refused.rc
    assert f"new_system_name is {json.dumps(name)}: use 1 to 30 lower case letters" in " ".join(refused.output.split())
    assert not (tmp_path / "roles").exists()


def test_lint_passes_with_the_strictest_profile(roles: Path) -> None:
    tool = Path(sys.executable).parent / "ansible-lint"
    done = subprocess.run(
        [str(tool), "--offline", "--nocolor", "--profile", "production", "roles"],
        cwd=roles.parent,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections_path()), "PATH": f"{tool.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_spec_is_whole_and_renders_in_both_placements(roles: Path) -> None:
    written = spec(roles)
    for kind in ("node_name", "daemonset"):
        hostnet = plans.settings(system="quorumdb", placement=kind)
        assert settings_and_spec.settings_errors(hostnet, written) == []
        nodes = plans.five_nodes()
        bindings = plans.admitted(hostnet, written, nodes)
        wanted = member_certificates.wanted_certificates(hostnet, written, bindings)
        issued = [
            {**entry, "certificate": "/pki/a.crt", "private_key": "/pki/a.key", "serial": "1f", "not_after": "2027-11-22T12:00:00Z"}
            for entry in wanted
        ]
        seeds = [binding["address"] for binding in bindings]
        objects = placement.render_objects(hostnet, written, plans.identity(["east-0"]), bindings, seeds, "new", issued)
        workloads = [entry["definition"] for entry in objects if entry["definition"]["kind"] in ("StatefulSet", "DaemonSet")]
        assert workloads
        for workload in workloads:
            args = workload["spec"]["template"]["spec"]["containers"][0]["args"]
            assert any(argument.startswith("--listen-client=") and argument.endswith(":7000") for argument in args), args
            assert not any("{" in argument for argument in args), "no placeholder is left"


def test_the_filter_reads_an_answer_and_guesses_nothing(roles: Path) -> None:
    path = roles / "system_quorumdb" / "filter_plugins" / "system_quorumdb.py"
    loader = importlib.util.spec_from_file_location("own_filter", path)
    assert loader
    assert loader.loader
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    inspection = module.FilterModule().filters()["system_quorumdb_inspection"]
    peer = {"id": "1", "name": "east-0", "address": "10.0.0.1"}
    said = {"state": "ready", "cluster": "c", "id": 1, "version": "1.0", "leader": True, "behind": False, "peers": [peer]}
    answers = {
        "east-0": {"status": {"rc": 0, "stdout": json.dumps(said), "stderr": "", "error": ""}},
        "east-1": {"status": {"rc": 0, "stdout": json.dumps({**said, "behind": True}), "stderr": "", "error": ""}},
        "west-0": {"status": {"rc": 0, "stdout": "{}", "stderr": "", "error": ""}},
        "west-1": {"status": {"rc": None, "stdout": "", "stderr": "", "error": "no pod"}},
    }
    found = inspection(answers)
    assert (found["east-0"]["healthy"], found["east-0"]["reason"], found["east-0"]["peers"]) == (True, "", [peer])
    assert not found["west-0"]["reachable"]
    assert found["west-0"]["reason"].startswith("its answer cannot be read")
    assert found["west-1"]["reason"] == "no pod"
    written = spec(roles)
    seen = document({name: found[name] for name in ("east-0", "east-1")}, "east-0")
    assert evaluate(written["gates"]["stop"], seen) == ["members that are behind: east-1"]
    assert evaluate(written["gates"]["stop"], document({"east-0": found["east-0"]}, "east-0")) == []
