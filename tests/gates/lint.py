# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-lint with the production profile (and yamllint with it), on a clean copy that lies as an installed collection does."""

from __future__ import annotations

import sys

from _tree import clean_copy, files, require, run


def main() -> None:
    require(files("roles/*/tasks/*.yml"), "roles")
    require(files("playbooks/*.yml"), "playbooks")
    with clean_copy() as root:
        home = str(root.parents[2])
        run(["git", "init", "--quiet"], cwd=root)
        run(["git", "add", "--all"], cwd=root)
        run(
            ["ansible-lint", "--profile", "production", "--nocolor", *sys.argv[1:]],
            cwd=root,
            ANSIBLE_COLLECTIONS_PATH=home,
            ANSIBLE_HOME=f"{home}/home",
        )


if __name__ == "__main__":
    main()
