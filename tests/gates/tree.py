# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree holds nothing of one machine, nothing unfinished, and every source file names its licence."""

from __future__ import annotations

import re

from _tree import CHECKOUT, files, finish, require

# Put together from parts, so that this file does not find itself.
_FORBIDDEN = {
    "a machine path": re.compile(r"(?<![\w.$}~])/(?:work|tmp/w|home/\w+)/(?!\.\.)|/ro" + r"ot/(?!\.kube|\.config)"),
    "something unfinished": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b"),
    "a private key": re.compile(r"^-----BEGIN (?:[A-Z]+ )?PRIVATE KE" + r"Y-----", re.MULTILINE),
    "a merge conflict": re.compile(r"^(?:<<<<<<<|>>>>>>>) ", re.MULTILINE),
}
_PLAIN_TEXT = ("LICENSE",)
_LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"


def problems_of(name: str, text: str) -> list[str]:
    found = []
    for what, pattern in _FORBIDDEN.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{name}:{line}: {what}: {match.group(0).strip()}")
    is_code = name.endswith(".py") or text.startswith("#!")
    if is_code and text.strip() and not name.endswith("__init__.py") and _LICENCE not in text:
        found.append(f"{name}:1: no line `{_LICENCE}`")
    if (
        name.startswith(("plugins/", "extensions/"))
        and name.endswith(".py")
        and "import " in text
        and "from __future__ import annotations" not in text
    ):
        found.append(f"{name}:1: no `from __future__ import annotations`")
    if text and not text.endswith("\n"):
        found.append(f"{name}: the last line has no end")
    return found


def main() -> None:
    names = files()
    require(names, "files")
    problems = []
    for path in names:
        full = CHECKOUT / path
        if full.is_symlink() and not full.resolve().is_relative_to(CHECKOUT):
            problems.append(f"{path}: a link out of the checkout")
        if path.name in _PLAIN_TEXT:
            continue
        try:
            text = full.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            problems.append(f"{path}: not UTF-8 text")
            continue
        problems += problems_of(str(path), text)
    finish(problems, f"{len(names)} files")


if __name__ == "__main__":
    main()
