# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about a deployment's status in a real browser. Screenshots are left in tests/output/browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.hostnet.multicluster.plugins.filter.deployment import status_html
from support import statuses
from support.browser import Page
from support.page_checks import EVIL, SIZES, WIDE, check_tables, check_text, check_unfolded, finish_page, open_page

LONG = [f"{'very-long-name' * 4}-{number}" for number in range(5)]
PAGES = {
    **statuses.ALL,
    "evil": statuses.renamed(statuses.troubled(), EVIL),
    "long-names": statuses.renamed(statuses.troubled(), LONG),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("statuses")
    for name, status in PAGES.items():
        (made / f"status-{name}.html").write_text(status_html(status), encoding="utf-8")
    return made


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_a_status_is_shown(tab: Page, folder: Path, name: str, width: int, dark: bool) -> None:
    path = folder / f"status-{name}.html"
    open_page(tab, path, width, dark)
    members = len(PAGES[name]["members"])
    assert tab.run("document.querySelectorAll('.tile').length") == members
    assert tab.run("[...document.querySelectorAll('.tile')].filter(tile => tile.getBoundingClientRect().width < 130).length") == 0
    check_unfolded(tab, width)
    finish_page(tab, path, width, dark)


def test_two_hundred_members_are_one_look(tab: Page, folder: Path) -> None:
    tab.open(folder / "status-two-hundred.html", WIDE)
    # Who is not well is told at the top, and certificates are folded away.
    assert tab.run("document.querySelector('.problems').getBoundingClientRect().top") < 900
    assert tab.run("document.querySelectorAll('details[open]').length") == 0
    assert tab.run("document.querySelector('.kube-cluster').getBoundingClientRect().height") < 3000


def test_a_tile_leads_to_its_row(tab: Page, folder: Path) -> None:
    tab.open(folder / "status-troubled.html", WIDE)
    # By the keyboard alone: links take part in the order of tabs, and show where one is.
    tab.run("document.querySelectorAll('.tile a')[1].focus()")
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") in ("solid", "auto")
    tab.run("document.activeElement.click()")
    assert tab.run("document.querySelector(':target th').textContent") == "east-1"
    assert tab.run("[...document.querySelectorAll('a')].every(link => document.querySelector(link.getAttribute('href')))")


def test_names_stay_text(tab: Page, folder: Path) -> None:
    tab.open(folder / "status-evil.html", WIDE)
    check_text(tab)
    assert tab.run("[...document.querySelectorAll('.tile a')].map(found => found.textContent.slice(2)).sort()") == sorted(EVIL)


def test_tables_can_be_heard(tab: Page, folder: Path) -> None:
    tab.open(folder / "status-troubled.html", WIDE)
    check_tables(tab, 7)
    # What colours say is said in words as well.
    assert tab.run("[...document.querySelectorAll('.tile b')].map(found => found.textContent)") == [
        *("ok", "replaced", "unhealthy", "unknown", "unknown")
    ]
    assert tab.run("[...document.querySelectorAll('h1, h2, h3, h4')].map(found => found.tagName).join(' ')").startswith("H1 H2 H2 H2 H3 H4")
