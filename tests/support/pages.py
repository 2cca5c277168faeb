# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the pages of the collection strictly, without a browser."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "input"}


def _words(text: str) -> set[str]:
    return set(text.split())


_ELEMENTS = _words(
    "html head meta title style body main header section h1 h2 h3 h4 p strong code pre ul li dl div dt dd table caption thead tbody tr th td "
    "span b i a label input details summary ins del"
)
_ATTRIBUTES = _words(
    "lang charset name content http-equiv class style title href id for type checked scope tabindex role aria-label aria-hidden open"
)


class Shape(HTMLParser):
    """Reads a page strictly: every element known and closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.words: list[str] = []
        self.titles: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.bars: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _ELEMENTS
        for name, value in attrs:
            assert name in _ATTRIBUTES
            if name == "style":
                assert set(value or "") <= set("-:;%.0123456789aclw"), value
                self.styles.append(value or "")
            if name == "title":
                self.titles.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                assert (value or "").startswith("#")
                self.links.append((value or "")[1:])
            if name == "class" and (value or "").startswith("bar "):
                self.bars.append(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
