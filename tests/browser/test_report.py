# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout in a real browser. Screenshots are left in tests/output/browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.hostnet.multicluster.plugins.filter.rollout_report import rollout_html
from support import journals
from support.browser import Page
from support.page_checks import EVIL, FAINT, OUTSIDE, SIZES, WIDE, check_tables, check_text, check_unfolded, finish_page, open_page

REPORTS = {
    "one": rollout_html(journals.replaced(1)),
    "five": rollout_html(journals.replaced(5), journals.gaps(20)),
    "troubled": rollout_html(journals.troubled(), journals.gaps(12)),
    "two-hundred": rollout_html(journals.replaced(200), journals.gaps(900)),
    "not-begun": rollout_html({**journals.replaced(5, 0), "steps": []}),
    "evil": rollout_html(journals.renamed(journals.replaced(5), EVIL), journals.gaps(3)),
    "long-names": rollout_html(journals.renamed(journals.troubled(), [f"{'very-long-name' * 4}-{number}" for number in range(5)])),
}
BARS = {"one": 18, "five": 90, "troubled": 42, "two-hundred": 3600, "evil": 90, "long-names": 42}

# Cells of the chart whose text is cut at the cell's edge.
CUT = "[...document.querySelectorAll('.chart .who, .chart .took')].filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"
SMALL = "[...document.querySelectorAll('.track .bar')].map(bar => bar.getBoundingClientRect()).filter(box => box.width <= 0 || box.height <= 0).length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reports")
    for name, report in REPORTS.items():
        (made / f"{name}.html").write_text(report, encoding="utf-8")
    return made


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_a_report_is_shown(tab: Page, folder: Path, name: str, width: int, dark: bool) -> None:
    path = folder / f"{name}.html"
    open_page(tab, path, width, dark)
    if name in BARS:
        assert tab.run("document.querySelectorAll('.track .bar:not(.gap, .between)').length") == BARS[name]
        rows = tab.run("[...document.querySelectorAll('.chart tbody tr:not(.writes)')].map(row => row.getBoundingClientRect().height)")
        assert rows
        assert min(rows) >= 20
        assert tab.run(CUT) == []
        assert tab.run(SMALL) == 0 or name == "two-hundred"
    if name != "two-hundred":
        check_unfolded(tab, width)
    finish_page(tab, path, width, dark)


def test_members_can_be_laid_side_by_side(tab: Page, folder: Path) -> None:
    tab.open(folder / "five.html", WIDE)
    left = "[...document.querySelectorAll('.chart tbody tr:not(.writes) .bar:first-child')].map(bar => bar.getBoundingClientRect().left)"
    clock = tab.run(left)
    assert clock == sorted(set(clock))
    assert tab.run("[...document.querySelectorAll('.axis')].filter(axis => axis.getClientRects().length).map(axis => axis.className)") == [
        "axis clock"
    ]
    tab.run("document.querySelector('label[for=each]').click()")
    assert len(set(tab.run(left))) == 1
    assert tab.run(SMALL + " - document.querySelectorAll('.writes .bar').length") == 0
    assert tab.run("[...document.querySelectorAll('.axis')].filter(axis => axis.getClientRects().length).map(axis => axis.className)") == [
        "axis each"
    ]


def test_many_members_begin_side_by_side_with_visible_bars(tab: Page, folder: Path) -> None:
    tab.open(folder / "two-hundred.html", WIDE)
    boxes = tab.run(
        "[...document.querySelectorAll('.chart tbody tr:not(.writes) .bar:not(.between)')].map(bar => bar.getBoundingClientRect().width)"
    )
    assert len(boxes) > 3600
    assert min(boxes) >= 2


def test_the_name_of_a_member_leads_to_its_steps(tab: Page, folder: Path) -> None:
    tab.open(folder / "five.html", WIDE)
    assert tab.run("document.querySelectorAll('details[open]').length") == 0
    tab.run("document.querySelector('.chart a').click()")
    shown = (
        "new Promise(done => setTimeout(() => done([...document.querySelectorAll('details[open] strong')].map(e => e.textContent)), 200))"
    )
    assert tab.run(shown) == ["east-0"]


def test_names_stay_text(tab: Page, folder: Path) -> None:
    tab.open(folder / "evil.html", WIDE)
    check_text(tab)
    assert tab.run("[...document.querySelectorAll('.chart a')].map(found => found.textContent)") == EVIL


def test_tables_can_be_heard(tab: Page, folder: Path) -> None:
    tab.open(folder / "troubled.html", WIDE)
    check_tables(tab, 6)
    # What colours say is said in words as well.
    said = tab.run("[...document.querySelectorAll('.chart .unseen')].map(found => found.textContent).join(' ')")
    assert "settle, failed" in said
    assert "vm, cut off" in said
    named = "[...document.querySelectorAll('input')].every(input => input.labels.length == 1 && input.labels[0].textContent)"
    assert tab.run(named)


def test_this_test_would_see_a_page_that_misbehaves(tab: Page, tmp_path: Path) -> None:
    bad = "<img src='http://127.0.0.1:9/x'><script>missing()</script><div style='width:3000px;color:#eee'>text</div>"
    path = tmp_path / "bad.html"
    path.write_text(f"<!DOCTYPE html><meta name=viewport content='width=device-width'><main>{bad}</main>")
    tab.open(path, WIDE)
    assert "http://127.0.0.1:9/x" in tab.requests
    assert any("missing is not defined" in complaint for complaint in tab.complaints)
    assert len(tab.run(OUTSIDE)) == 1
    assert list(tab.run(FAINT)) == ["DIV. in ."]
