# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment: ansible-builder accepts the definition that ships, and what it would install is what the plugins import.

No image is built: its base image comes from a registry.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from _tree import CHECKOUT, collections_path, files, require, run

from support.environments import made

DEFINITION = CHECKOUT / "extensions" / "execution_environment" / "execution-environment.yml"
# What a package is called that has a module of another name.
_PACKAGES = {"yaml": "pyyaml", "websocket": "websocket-client"}
# Comes with Ansible, or is only wanted by the hooks of a cloud, which say so themselves.
_OTHERS = {"ansible", "ansible_collections", "markupsafe", "jinja2", "boto3", "botocore", "google", "requests", "azure"}
# What introspect leaves out, because every Ansible has it.
_WITH_ANSIBLE = {"pyyaml", "cryptography"}


def imported() -> set[str]:
    """The packages that plugins import beside Python's own library."""
    found: set[str] = set()
    for name in files("plugins/**/*.py"):
        for node in ast.walk(ast.parse((CHECKOUT / name).read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return {_PACKAGES.get(name, name) for name in found - _OTHERS - set(sys.stdlib_module_names)}


def listed() -> set[str]:
    """The packages that the collection asks for."""
    wanted = yaml.safe_load((CHECKOUT / "meta" / "execution-environment.yml").read_text())["dependencies"]["python"]
    return {re.split(r"[<>=!~ ]", line, maxsplit=1)[0].lower() for line in (CHECKOUT / wanted).read_text().splitlines() if line.strip()}


def main() -> None:
    differ = imported() ^ listed()
    if differ:
        sys.exit(f"meta/ee-requirements.txt and the imports of plugins/ differ: {', '.join(sorted(differ))}")
    builder = made("ee") / "bin" / "ansible-builder"
    found = subprocess.run([builder, "introspect", collections_path()], stdout=subprocess.PIPE, text=True, check=True).stdout
    asked = yaml.safe_load(found.partition("---")[2])
    lacking = listed() - _WITH_ANSIBLE - {re.split(r"[<>=!~ ]", line, maxsplit=1)[0].lower() for line in asked.get("python") or []}
    if lacking:
        sys.exit(f"ansible-builder does not see that the collection needs {', '.join(sorted(lacking))}:\n{found}")
    with TemporaryDirectory(prefix="hostnet-ee-") as folder:
        run([builder, "create", "-f", DEFINITION, "-c", folder, "--output-filename", "Containerfile"])
        made_of = (Path(folder) / "Containerfile").read_text()
        require(sorted(Path(folder).rglob("requirements.yml")), "lists of collections")
    base = yaml.safe_load(DEFINITION.read_text())["images"]["base_image"]["name"]
    if base not in made_of:
        sys.exit(f"the Containerfile does not begin with {base}")
    print(f"accepted; {', '.join(sorted(listed()))} are what plugins import")


if __name__ == "__main__":
    main()
