# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Coverage of plugins/ by the unit and the integration tests together; the least that is allowed stands in pyproject.toml.

Modules are measured inside the payload that Ansible sends, so what counts is what ran as a user's Ansible runs it.
"""

from __future__ import annotations

import sys

from _tree import CHECKOUT, require, run

SUITES = ("unit", "integration")


def main() -> None:
    folder = CHECKOUT / "tests" / "output" / "coverage"
    data = []
    for suite in SUITES:
        found = sorted((folder / suite).glob("data.*"))
        require(found, f"coverage data of the suite {suite}: run its gate first")
        data += found
    total = str(folder / "total")
    coverage = [sys.executable, "-m", "coverage"]
    run([*coverage, "erase"], COVERAGE_FILE=total)
    # A run of nothing makes the files that no test ever imports known, with no line covered.
    run([*coverage, "run", "--source", "plugins", "-m", "this"], COVERAGE_FILE=total)
    data += sorted(folder.glob("total.*"))
    run([*coverage, "combine", "--quiet", "--keep", *data], COVERAGE_FILE=total)
    run([*coverage, "report"], COVERAGE_FILE=total)


if __name__ == "__main__":
    main()
