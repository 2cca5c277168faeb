# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of every page of the collection, looked at in a real browser."""

from __future__ import annotations

from pathlib import Path

from .browser import Page
from .collection import CHECKOUT

WIDE, NARROW = 1280, 400
SIZES = [(WIDE, False), (WIDE, True), (NARROW, False), (NARROW, True)]
# Names as nobody would give them who means well.
EVIL = [
    "<script>fetch('http://127.0.0.1:9/script')</script>",
    '"><img src="http://127.0.0.1:9/image" onerror="fetch(1)">',
    "</style></title></main><link rel=stylesheet href=http://127.0.0.1:9/style>",
    "x' onmouseover='alert(1)",
    "&lt;b&gt;",
]

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


def open_page(tab: Page, path: Path, width: int, dark: bool) -> None:
    """Opens the page, which fits into the window's width."""
    tab.open(path, width, dark=dark)
    assert tab.run("innerWidth") == width
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(OUTSIDE) == []
    assert tab.run("document.querySelector('h1').getBoundingClientRect().height") > 10


def check_unfolded(tab: Page, width: int) -> None:
    """With everything unfolded it still fits, and all of it can be read."""
    tab.run("document.querySelectorAll('details').forEach(found => { found.open = true; })")
    assert tab.run(OUTSIDE) == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(FAINT) == {}


def finish_page(tab: Page, path: Path, width: int, dark: bool) -> None:
    """It has the colours that were asked for; its picture is left; and it has asked for nothing, and complained about nothing."""
    background = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(background) < 60 if dark else min(background) > 200
    picture = tab.screenshot(CHECKOUT / "tests" / "output" / "browser" / f"{path.stem}-{width}-{'dark' if dark else 'light'}.png")
    assert len(picture) > 5000
    # Last, so that whatever the page did meanwhile is seen.
    assert tab.requests == [path.as_uri()]
    assert tab.complaints == []


def check_text(tab: Page) -> None:
    """Nothing but the collection's own elements is there, whatever a name was."""
    assert tab.run("document.querySelectorAll('script, img, link, iframe, object, base, form').length") == 0
    assert tab.run("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(name => name.startsWith('on'))") == []


def check_tables(tab: Page, least: int) -> None:
    """At least so many tables are there, each with a caption and with heads that say what they are the heads of."""
    assert tab.run("[...document.querySelectorAll('table')].filter(table => !table.caption || !table.caption.textContent).length") == 0
    assert tab.run("document.querySelectorAll('th:not([scope])').length") == 0
    assert tab.run("document.querySelectorAll('table').length") >= least
