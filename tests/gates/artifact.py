# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact: built, accepted by galaxy-importer, installed into an empty folder, and usable from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from _tree import CHECKOUT, clean_copy, require, run

_NAMESPACE = "hostnet.multicluster"
_MUST_NOT_SHIP = (".git", ".venv", ".ansible", "molecule", "tools", "tests/output", ".ci")
_MUST_SHIP = (
    "README.md",
    "LICENSE",
    "meta/runtime.yml",
    "meta/extensions.yml",
    "extensions/eda/plugins/event_source/nodes.py",
    "extensions/eda/rulebooks/follow.yml",
    "playbooks/deploy.yml",
    "playbooks/status.yml",
    "playbooks/remove.yml",
)


def contents_problems(artifact: Path) -> list[str]:
    with tarfile.open(artifact) as archive:
        names = set(archive.getnames())
        links = [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
    problems = [f"the artifact holds {name}" for name in _MUST_NOT_SHIP if name in names]
    problems += [f"the artifact lacks {name}" for name in _MUST_SHIP if name not in names]
    problems += [f"the artifact holds the link {name}" for name in links]
    return problems


def import_check(artifact: Path, folder: Path, installed: Path) -> None:
    """galaxy-importer's own verdict: it logs an error, or a warning that we do not want either.

    Without its linter and its tests, which are gates of their own (ansible-lint with the same profile, sanity): it gives ansible-lint three minutes,
    whatever the machine. It looks for roles among installed collections: among those in `installed`, and not in a home where an older version may be.
    """
    config = folder / "galaxy-importer.cfg"
    settings = ("RUN_ANSIBLE_LINT = False", "RUN_ANSIBLE_TEST = False", "CHECK_REQUIRED_TAGS = True", "CHECK_CHANGELOG = True")
    config.write_text("\n".join(("[galaxy-importer]", *settings, "")))
    command = [sys.executable, "-m", "galaxy_importer.main", str(artifact)]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(installed),
        "ANSIBLE_HOME": str(folder / "home"),
        "GALAXY_IMPORTER_CONFIG": str(config),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    bad = [line for line in done.stdout.splitlines() if line.startswith(("ERROR", "WARNING"))]
    if done.returncode != 0 or bad or "Importer processing completed successfully" not in done.stdout:
        sys.exit(f"galaxy-importer is not content (exit code {done.returncode}): {bad}")


def main() -> None:
    with TemporaryDirectory(prefix="hostnet-artifact-") as temporary, clean_copy() as root:
        folder = Path(temporary)
        galaxy = ["ansible-galaxy", "collection"]
        run([*galaxy, "build", "--output-path", folder, root], cwd=folder)
        (artifact,) = folder.glob("*.tar.gz")
        version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
        if artifact.name != f"hostnet-multicluster-{version}.tar.gz":
            sys.exit(f"unexpected artifact {artifact.name}")
        problems = contents_problems(artifact)
        if problems:
            sys.exit("\n".join(problems))
        installed = folder / "installed"
        environment = {"ANSIBLE_COLLECTIONS_PATH": str(installed), "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_LOCALHOST_WARNING": "0"}
        run([*galaxy, "install", "--offline", "--collections-path", installed, artifact], cwd=folder, **environment)
        import_check(artifact, folder, installed)
        run([*galaxy, "verify", "--offline", _NAMESPACE], cwd=folder, **environment)
        home = installed / "ansible_collections" / "hostnet" / "multicluster"
        playbooks = sorted(home.glob("playbooks/*.yml"))
        require(playbooks, "playbooks")
        for kind, names in (("module", "modules/*.py"), ("inventory", "inventory/*.py"), ("filter", "filter/*.yml")):
            plugins = sorted(path.stem for path in home.glob(f"plugins/{names}"))
            require(plugins, f"plugins/{names}")
            run(["ansible-doc", "-t", kind, *(f"{_NAMESPACE}.{name}" for name in plugins)], cwd=folder, PAGER="cat", **environment)
        for playbook in playbooks:
            run(["ansible-playbook", "-i", "localhost,", "--syntax-check", f"{_NAMESPACE}.{playbook.stem}"], cwd=folder, **environment)


if __name__ == "__main__":
    main()
