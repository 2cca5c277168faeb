# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task file that shows a status and writes its files, under real Ansible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from support import statuses
from support.pages import Shape
from support.run import PlayRun, run_playbook

SHOW = {"name": "Show the status", "ansible.builtin.import_role": {"name": "hostnet.multicluster.report", "tasks_from": "show"}}


def show(tmp_path: Path, status: dict[str, Any], check: bool = False, **variables: Any) -> PlayRun:
    playbook = tmp_path / "show.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Show", "hosts": "localhost", "gather_facts": False, "tasks": [SHOW]}]))
    inventory = tmp_path / "inventory"
    inventory.write_text("localhost ansible_connection=local\n")
    given = {"hostnet_status": status, "hostnet_deployment": {"plan": {"lost_ca": []}}, **variables}
    return run_playbook(str(playbook), inventory, variables=given, check=check)


def test_files_are_written_before_it_fails_and_in_check_mode_too(tmp_path: Path) -> None:
    status = statuses.troubled()
    files = {f"hostnet_status_{kind}": str(tmp_path / kind) for kind in ("file", "html", "metrics")}
    run = show(tmp_path, status, check=True, hostnet_status_fail=True, **files)
    assert run.rc != 0
    assert "certificates end in less than 30 days: east-0 (10 days)" in run.output
    assert not run.changed
    assert json.loads((tmp_path / "file").read_text()) == status
    assert "Karpenter replaces it" in Shape((tmp_path / "html").read_text()).text
    assert len(list(text_string_to_metric_families((tmp_path / "metrics").read_text()))) > 20


def test_nobody_has_asked_for_anything(tmp_path: Path) -> None:
    run = show(tmp_path, statuses.troubled())
    assert run.rc == 0, run.output
    assert "! certificates end in less than 30 days" in run.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inventory", "show.yml"]


def test_one_that_is_well_does_not_fail(tmp_path: Path) -> None:
    run = show(tmp_path, statuses.well(), hostnet_status_fail=True)
    assert run.rc == 0, run.output
