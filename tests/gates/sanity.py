# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity on a clean copy, with the tests' pinned requirements from PyPI and without containers.

ansible-test gets its pip from a download site of its own; where that is out of reach its cache is filled with a
script that installs the same pip version from PyPI. Its home is a folder of the project's cache, so the virtual
environments of the single tests are made once.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import ansible_test
from _tree import cache_root, clean_copy, require, run

_BOOTSTRAP = """\
import subprocess, sys
wanted = [word for word in sys.argv[1:] if word.startswith("pip==")]
command = [{python!r}, "-m", "pip", "--python", sys.executable, "install", "--disable-pip-version-check", *wanted]
sys.exit(subprocess.call(command))
"""


def prepare_home() -> Path:
    home = cache_root() / "ansible-test"
    source = Path(next(iter(ansible_test.__path__))) / "_internal" / "python_requirements.py"
    versions = re.findall(r"\bpip='(\d+(?:\.\d+)+)'", source.read_text())
    require(versions, "pip versions in ansible-test")
    folder = home / ".ansible" / "test" / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    for version in versions:
        script = folder / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text(_BOOTSTRAP.format(python=sys.executable))
    return home


def main() -> None:
    home = prepare_home()
    # pyenv's stand-ins for other Python versions would be found on the caller's PATH, and do not run.
    binaries = Path(sys.executable).parent
    path = f"{binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # These are no part of the artifact (galaxy.yml, build_ignore), and its rules for programs are not theirs.
    with clean_copy(without=("molecule", "tools", ".ci")) as root:
        command = [binaries / "ansible-test", "sanity", "--requirements", "--color", "no", *sys.argv[1:]]
        run(command, cwd=root, HOME=str(home), PATH=path)


if __name__ == "__main__":
    main()
