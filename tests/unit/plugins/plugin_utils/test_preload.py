# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-playbook itself has imported before it forks its tasks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.collection import CHECKOUT, collections_path

PLUGINS = "ansible_collections.hostnet.multicluster.plugins"


@pytest.mark.parametrize("first", ["inventory.nodes", "plugin_utils.in_process"])
def test_filters_and_their_logic_are_there_for_every_fork(first: str) -> None:
    wanted = {f"{PLUGINS}.filter.{path.stem}" for path in (CHECKOUT / "plugins" / "filter").glob("*.py")}
    folder = CHECKOUT / "plugins" / "module_utils"
    parts = [path.relative_to(folder).with_suffix("").parts for path in (folder / "_plan").rglob("*.py") if path.stem != "__init__"]
    wanted |= {f"{PLUGINS}.module_utils.{'.'.join(part)}" for part in parts}
    script = f"import sys, {PLUGINS}.{first}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(collections_path())}, capture_output=True, text=True, check=True
    )
    assert wanted - set(done.stdout.split()) == set()
