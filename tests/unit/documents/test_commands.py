# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents tell people to run and to set is there: playbooks, variables, files and headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from support.collection import CHECKOUT

LAB = CHECKOUT / "molecule" / "lab" / "README.md"
PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "roles").glob("*/README.md"), LAB])
PLATFORMS = sorted((CHECKOUT / "docs" / "platforms").glob("*.md"))
PLAYBOOKS = {path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")}


def variables() -> set[str]:
    """Every variable that a role documents, and those that it has for others (hooks, system roles, the inventory)."""
    found: set[str] = set()
    for path in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(entry.get("options", {}))
    return found


def ids(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_playbook_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    run = set(re.findall(r"ansible-playbook (?:[^\n`=]|=(?!hostnet))*?hostnet\.multicluster\.([a-z_]+)", text))
    files = set(re.findall(r"(?<![\w/.-])playbooks/([a-z_]+)\.yml", text))
    assert run | files <= PLAYBOOKS, sorted((run | files) - PLAYBOOKS)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_variable_that_a_command_sets_is_documented(page: Path) -> None:
    text = page.read_text()
    given = set(re.findall(r"-e (?:'\{\"|\")?(hostnet_[a-z_]+)", text)) | set(re.findall(r"^(hostnet_[a-z_]+): ", text, re.MULTILINE))
    assert given <= variables(), sorted(given - variables())


def test_every_platform_has_a_page() -> None:
    assert {page.stem for page in PLATFORMS} == {"gke", "eks", "aks", "openshift", "kubeadm-k3s"}


@pytest.mark.parametrize("page", PLATFORMS, ids=ids)
def test_every_variable_that_a_platform_names_is_documented(page: Path) -> None:
    """In prose and in tables too: hooks get `hostnet_vm` and its parts from a rollout."""
    named = set(re.findall(r"(?<![\w.-])(?:hostnet|system|vm)_[a-z0-9_]+\b", page.read_text()))
    roles = {path.name for path in (CHECKOUT / "roles").iterdir()}
    assert "hostnet_follow_until" in variables()
    assert named - roles <= variables(), sorted(named - roles - variables())


@pytest.mark.parametrize("page", PLATFORMS, ids=ids)
def test_a_platform_can_be_read_in_a_terminal(page: Path) -> None:
    lines = page.read_text().splitlines()
    wide = [line for line in lines if len(line) > 120 and not re.match(r"\[[\w-]+\]: ", line)]
    assert not wide
    assert len(lines) <= 150


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _hash, anchor = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        if not where.exists() or (anchor and where.suffix == ".md" and anchor not in anchors(where)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_reference_is_defined_and_every_definition_is_used(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    defined = re.findall(r"^\[([\w-]+)\]: \S", text, re.MULTILINE)
    assert sorted(set(re.findall(r"\]\[([\w-]+)\]", text))) == sorted(defined)


def test_the_first_documents_name_every_page() -> None:
    readme, quickstart = ((CHECKOUT / name).read_text() for name in ("README.md", "docs/quickstart.md"))
    pages = [path.relative_to(CHECKOUT / "docs") for path in (CHECKOUT / "docs").rglob("*.md")]
    assert [str(page) for page in pages if f"](docs/{page}" not in readme] == []
    assert [page.name for page in PLATFORMS if f"](platforms/{page.name}" not in quickstart] == []


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_what_is_to_be_installed_is_what_an_execution_environment_gets(page: str) -> None:
    def names(text: str) -> set[str]:
        return {re.split(r"[<>=]", word.strip("'"))[0].lower() for word in text.split()}

    (command,) = re.findall(r"^pip install (.*)$", (CHECKOUT / page).read_text(), re.MULTILINE)
    # ansible-core brings PyYAML.
    assert names(command) == names((CHECKOUT / "meta" / "ee-requirements.txt").read_text()) - {"pyyaml"}
