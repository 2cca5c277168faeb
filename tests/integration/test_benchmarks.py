# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark runs: with few nodes, once, and without judging. A benchmark that nobody runs rots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.collection import CHECKOUT
from support.kube_api import binary


# It takes minutes: make soak runs it.
@pytest.mark.long
def test_every_case_runs_with_few_nodes(tmp_path: Path) -> None:
    try:
        binary("kwok")
    except FileNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    words = ["--nodes", "10", "--clusters", "1", "--rounds", "1", "--not-judged", "--results", str(tmp_path)]
    cases = "nodes,apply,certificates,inventory,deployment"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--cases", cases],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads((tmp_path / "latest.json").read_text())
    assert [case["case"] for case in told["cases"]] == cases.split(",")
    # How fast is not asked with ten nodes; that every count is exact, is.
    counts = [mark for case in told["cases"] for mark in case["marks"] if not mark["what"].endswith("ratio")]
    assert len(counts) > 10
    assert [mark for mark in counts if not mark["passed"]] == []
    assert (tmp_path / "latest.svg").read_text().startswith("<svg")
