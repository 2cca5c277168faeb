# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""shellcheck over every shell script, found by its first line."""

from __future__ import annotations

import re

from _tree import CHECKOUT, files, require, run

_SHELL = re.compile(rb"#!\s*\S*/(?:env\s+)?(?:bash|dash|sh)\b")


def main() -> None:
    scripts = []
    for path in files():
        with (CHECKOUT / path).open("rb") as source:
            if path.suffix == ".sh" or _SHELL.match(source.readline(100)):
                scripts.append(path)
    require(scripts, "shell scripts")
    run(["shellcheck", "--external-sources", *scripts])
    print(f"{len(scripts)} scripts: {', '.join(str(path) for path in scripts)}")


if __name__ == "__main__":
    main()
