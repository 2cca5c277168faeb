# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A linter of Kubernetes manifests (checkov) over what the collection would create, for every system and placement."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from _tree import CHECKOUT, require, run

from support.environments import made

# The one kind of Deployment are guard pods: a shell that waits has no state that a probe could look at.
_GUARDS = """\
  annotations:
    checkov.io/skip1: CKV_K8S_8=a guard only has to be there
    checkov.io/skip2: CKV_K8S_9=a guard only has to be there
"""


def main() -> None:
    with TemporaryDirectory(prefix="hostnet-manifests-") as temporary:
        folder = Path(temporary)
        run([CHECKOUT / "tools" / "render-manifests", folder])
        rendered = sorted(folder.rglob("*.yaml"))
        require(rendered, "rendered manifests")
        for path in rendered:
            path.write_text(path.read_text().replace("kind: Deployment\nmetadata:\n", f"kind: Deployment\nmetadata:\n{_GUARDS}"))
        programs = made("manifests") / "bin"
        command = [programs / "checkov", "--directory", folder, "--config-file", CHECKOUT / "tests" / "gates" / "checkov.yaml"]
        run(command, PATH=f"{programs}:/usr/bin:/bin", LOG_LEVEL="ERROR")
        kinds = subprocess.run(["grep", "-rhc", "^kind:", folder], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
        print(f"{sum(map(int, kinds))} objects in {len(rendered)} files")


if __name__ == "__main__":
    main()
