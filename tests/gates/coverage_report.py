# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Coverage of plugins/ by the unit and the integration tests together; the least that is allowed stands in pyproject.toml.

Modules are measured inside the payload that Ansible sends, so what counts is what ran as a user's Ansible runs it.
"""

from __future__ import annotations

import os
import sys

import coverage
from _tree import CHECKOUT, require

SUITES = ("unit", "integration", "integration-lab")


def main() -> None:
    os.chdir(CHECKOUT)
    folder = CHECKOUT / "tests" / "output" / "coverage"
    data = []
    for suite in SUITES:
        found = sorted((folder / suite).glob("data*"))
        require(found, f"coverage data of the suite {suite}: run its gate first")
        data += [str(path) for path in found]
    # Measuring nothing makes the files that no test ever imports known, with no line covered.
    everything = coverage.Coverage(data_file=str(folder / "none"), data_suffix="files", source=["plugins"], source_pkgs=[])
    everything.erase()
    everything.start()
    everything.stop()
    everything.save()
    data += [str(path) for path in folder.glob("none.*")]
    total = coverage.Coverage(data_file=str(folder / "total"), data_suffix=False)
    total.erase()
    total.combine(data, keep=True)
    total.save()
    percent = total.report()
    least = float(total.get_option("report:fail_under") or 0)  # type: ignore[arg-type]
    print(f"{percent:.1f} % of plugins/, at least {least:g} % wanted")
    sys.exit(0 if percent >= least else 1)


if __name__ == "__main__":
    main()
