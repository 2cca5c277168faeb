# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site: modules, roles and filters by antsibull-docs, and the project's documents, rendered by Sphinx.

Every warning is an error: a link that leads nowhere, a document that no page names, a module whose documentation cannot be parsed. What it needs is
installed into a virtual environment of its own in the cache, once. The site is in tests/output/docs-site, which git ignores.

With --parse antsibull-docs alone does its part, which takes a tenth of the time: that is the gate. `make docs-site` and `make soak` build the whole.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import yaml
from _tree import CHECKOUT, collections_path, files, require, run

from support.environments import made

COLLECTION = "hostnet.multicluster"
FOLDER = CHECKOUT / "tests" / "output" / "docs-site"
DOCUMENTS = ("README.md", "CHANGELOG.md", "docs/*.md", "docs/**/*.md", "roles/*/README.md", "molecule/lab/README.md")
_LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")


def copied(source: Path) -> list[Path]:
    """Puts the documents where Sphinx reads them, in the folders that they have here, so that links from one to another stay as they are.

    A link to anything else of the repository (a role, a manifest) becomes one to where the repository is published.
    """
    repository = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["repository"]
    names = files(*DOCUMENTS)
    for name in names:

        def moved(link: re.Match[str], name: Path = name) -> str:
            target = (CHECKOUT / name.parent / link[2]).resolve()
            if re.match(r"[a-z]+:", link[2]) or not target.is_relative_to(CHECKOUT):
                return link[0]
            path = target.relative_to(CHECKOUT)
            if path in names or path.suffix == ".svg":
                return link[0]
            return f"{link[1]}{repository}/{'tree' if target.is_dir() else 'blob'}/main/{path}{link[3]}"

        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(_LINK.sub(moved, (CHECKOUT / name).read_text()))
    for name in files("docs/images/*"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, source / name)
    return names


def main() -> None:
    programs = made("site") / "bin"
    source, site = FOLDER / "source", FOLDER / "html"
    shutil.rmtree(FOLDER, ignore_errors=True)
    (source / "collections").mkdir(parents=True)
    antsibull = [programs / "antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    command = [*antsibull, "--dest-dir", source / "collections", COLLECTION]
    run(command, ANSIBLE_COLLECTIONS_PATH=str(collections_path()), ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"))
    if "--parse" in sys.argv[1:]:
        print(f"{len(list((source / 'collections').iterdir()))} pages of modules, roles and filters")
        return
    names = copied(source)
    require(names, "documents")
    for path in (CHECKOUT / "tools" / "site").iterdir():
        shutil.copy2(path, source / path.name)
    run([programs / "sphinx-build", "-b", "html", "-W", "--keep-going", "-q", "-j", "2", source, site])
    pages = list(site.rglob("*.html"))
    print(f"{len(pages)} pages, {len(names)} of them the project's documents: {(site / 'index.html').relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
