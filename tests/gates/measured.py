# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one of the test suites with pytest's own processes measured.

Not Ansible's: it forks for each task, and measuring those doubles the time of the suite for a percent of coverage.

Usage: measured.py SUITE [pytest argument ...]       SUITE is a folder of tests/, or a part of one, as in integration-lab
"""

from __future__ import annotations

import shutil
import sys

from _tree import CHECKOUT, run


def main() -> None:
    suite, *arguments = sys.argv[1:]
    folder = CHECKOUT / "tests" / "output" / "coverage" / suite
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # How much is enough is judged for all suites together.
    measured = ["--cov", "--cov-report=", "--cov-fail-under=0"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *measured, f"tests/{suite.partition('-')[0]}", *arguments]
    run(command, COVERAGE_FILE=str(folder / "data"))
    # A gate that left no data was not measured, and the report would be about something else.
    if not any(folder.iterdir()):
        sys.exit("the suite left no coverage data")


if __name__ == "__main__":
    main()
