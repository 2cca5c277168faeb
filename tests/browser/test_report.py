# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout in a real browser. Screenshots are left in tests/output/browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.hostnet.multicluster.plugins.filter.rollout_report import rollout_html
from support import browser, journals
from support.browser import Page
from support.collection import CHECKOUT

WIDE, NARROW = 1280, 400
EVIL = [
    "<script>fetch('http://127.0.0.1:9/script')</script>",
    '"><img src="http://127.0.0.1:9/image" onerror="fetch(1)">',
    "</style></title></main><link rel=stylesheet href=http://127.0.0.1:9/style>",
    "x' onmouseover='alert(1)",
    "&lt;b&gt;",
]
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

# Elements that reach out of the window, but for what scrolls or is cut off inside of its own frame.
OUTSIDE = """
[...document.querySelectorAll('main, main *')].filter(element => !element.parentElement.closest('.wide, .track, .axis, pre, .unseen')
  && !element.matches('.unseen') && element.getClientRects().length
  && (element.getBoundingClientRect().right > innerWidth + 0.5 || element.getBoundingClientRect().left < -0.5))
  .map(element => element.outerHTML.slice(0, 120))
"""
# Text whose contrast with what lies under it is below WCAG's 4.5 to 1.
FAINT = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => { const [r, g, b] = parts(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const under = element => { for (let at = element; at; at = at.parentElement) { const found = parts(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] > 0) return getComputedStyle(at).backgroundColor; } return 'rgb(255, 255, 255)'; };
  const found = new Map();
  for (const element of document.querySelectorAll('main *')) {
    if (![...element.childNodes].some(node => node.nodeType == 3 && node.data.trim()) || !element.getClientRects().length) continue;
    const [one, two] = [light(getComputedStyle(element).color), light(under(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) found.set(element.tagName + '.' + element.className + ' in .' + element.parentElement.className, contrast);
  }
  return Object.fromEntries(found);
})()
"""
# Cells of the chart whose text is cut at the cell's edge.
CUT = "[...document.querySelectorAll('.chart .who, .chart .took')].filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"
SMALL = "[...document.querySelectorAll('.track .bar')].map(bar => bar.getBoundingClientRect()).filter(box => box.width <= 0 || box.height <= 0).length"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    program = browser.program()
    if program is None:
        pytest.skip("NOT RUN: there is no chromium and no google-chrome here")
    with browser.page(program) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reports")
    for name, report in REPORTS.items():
        (made / f"{name}.html").write_text(report, encoding="utf-8")
    return made


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (WIDE, True), (NARROW, False), (NARROW, True)])
def test_a_report_is_shown(tab: Page, folder: Path, name: str, width: int, dark: bool) -> None:
    path = folder / f"{name}.html"
    tab.open(path, width, dark=dark)
    assert tab.run("innerWidth") == width
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(OUTSIDE) == []
    assert tab.run("document.querySelector('h1').getBoundingClientRect().height") > 10
    if name in BARS:
        assert tab.run("document.querySelectorAll('.track .bar:not(.gap, .between)').length") == BARS[name]
        rows = tab.run("[...document.querySelectorAll('.chart tbody tr:not(.writes)')].map(row => row.getBoundingClientRect().height)")
        assert rows
        assert min(rows) >= 20
        assert tab.run(CUT) == []
        assert tab.run(SMALL) == 0 or name == "two-hundred"
    if name != "two-hundred":
        tab.run("document.querySelectorAll('details').forEach(found => { found.open = true; })")
        assert tab.run(OUTSIDE) == []
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run(FAINT) == {}
    background = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(background) < 60 if dark else min(background) > 200
    picture = tab.screenshot(CHECKOUT / "tests" / "output" / "browser" / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    assert len(picture) > 5000
    # Last, so that whatever the page did meanwhile is seen.
    assert tab.requests == [path.as_uri()]
    assert tab.complaints == []


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
    assert tab.run("document.querySelectorAll('script, img, link, iframe, object, base, form').length") == 0
    assert tab.run("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(name => name.startsWith('on'))") == []
    assert tab.run("[...document.querySelectorAll('.chart a')].map(found => found.textContent)") == EVIL


def test_tables_can_be_heard(tab: Page, folder: Path) -> None:
    tab.open(folder / "troubled.html", WIDE)
    assert tab.run("[...document.querySelectorAll('table')].filter(table => !table.caption || !table.caption.textContent).length") == 0
    assert tab.run("document.querySelectorAll('th:not([scope])').length") == 0
    assert tab.run("document.querySelectorAll('table').length") > 5
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
