# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A self-contained HTML page out of values that nobody has to trust: text is escaped unless it was made here.

The page has no script and a content policy that forbids one, so that a name of a node cannot become one either.
"""

from __future__ import annotations

import html
import re
from typing import Any

# Controls, marks that turn the direction of text around, and lone surrogates, which no file in UTF-8 can hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def text(value: object) -> str:
    """One value as readable text: nothing for None, and characters that a page cannot show as `\\u202e`."""
    return "" if value is None else _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", str(value))


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children and values of attributes are escaped, except children that are Markup.

    Attributes that are None or False are left out, True has no value; `class_` is `class`, and `aria_label` is `aria-label`.
    """
    words = [element]
    for key, value in attributes.items():
        if value is not None and value is not False:
            attribute = key.rstrip("_").replace("_", "-")
            words.append(attribute if value is True else f'{attribute}="{html.escape(text(value))}"')
    inner = join(*children)
    return Markup(f"<{' '.join(words)}>{inner}</{element}>")


def join(*children: object) -> Markup:
    """Children one after another, escaped except where they are Markup."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(text(child)) for child in children))


def void(element: str, /, **attributes: object) -> Markup:
    """An element that has no end: input, meta, br."""
    return Markup(tag(element, **attributes).removesuffix(f"</{element}>"))


def table(caption: str, heads: list[str], rows: list[list[Any]], numbers: frozenset[int] = frozenset()) -> Markup:
    """A table in a frame of its own that scrolls sideways where the screen is too narrow; the first cell of a row is its head."""

    def cell(name: str, index: int, value: object, scope: str | None = None) -> Markup:
        return tag(name, value, class_="number" if index in numbers else None, scope=scope)

    head = tag("tr", *(cell("th", index, value, "col") for index, value in enumerate(heads)))
    body = [
        tag("tr", cell("th", 0, row[0], "row"), *(cell("td", index, value) for index, value in enumerate(row[1:], start=1))) for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="wide", tabindex="0", role="region", aria_label=caption)


def document(title: str, *children: object) -> str:
    """The whole page."""
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        Markup("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        void("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        Markup(f"<style>{_STYLE}</style>"),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', *children)), lang='en')}\n"


_STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1b1f24; --faint: #57606a; --line: #d4dae1; --soft: #f4f6f8;
  --good: #14693f; --bad: #b3161b; --bad-soft: #fdeeee; --warn: #7a4b00; --warn-soft: #fff5df; --link: #0a58a5;
  --own: #1f5fa8; --vm: #e3a42f; --process: #86c5ef; --catch: #1a7a5a; --soak: #c6ccd4; --lost: #8a8f98; --failed: #c0262c; --gap: #a3217d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --text: #e6eaef; --faint: #a1abb6; --line: #323a44; --soft: #1b2128;
    --good: #6fd09f; --bad: #ff8f8a; --bad-soft: #331a1c; --warn: #f2c26b; --warn-soft: #2d2516; --link: #7db8f5;
    --own: #3673bd; --vm: #d99b27; --process: #79b8e3; --catch: #1d7d5e; --soak: #8a929c; --lost: #6d747e; --failed: #cc333a; --gap: #f07ccb;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 82rem; margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2rem) 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
p { margin: .35rem 0; max-width: 60rem; }
a { color: var(--link); }
code, pre { font: .9em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; margin: .5rem 0; white-space: pre-wrap; }
.faint { color: var(--faint); }
.verdict {
  border-left: 6px solid var(--faint); background: var(--soft); padding: .6rem .9rem; margin: 1rem 0; max-width: none;
  border-radius: 0 6px 6px 0; font-size: 1.1rem;
}
.verdict strong { margin-right: .35rem; }
.verdict.good { border-color: var(--good); } .verdict.good strong { color: var(--good); }
.verdict.bad { border-color: var(--bad); background: var(--bad-soft); } .verdict.bad strong { color: var(--bad); }
.verdict.warn { border-color: var(--warn); background: var(--warn-soft); } .verdict.warn strong { color: var(--warn); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem; margin: 1rem 0; padding: 0; }
.facts div { border: 1px solid var(--line); border-radius: 6px; padding: .45rem .7rem; }
.facts dt { color: var(--faint); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
ul.problems { list-style: none; padding: 0; margin: .5rem 0; }
ul.problems li { border: 1px solid var(--line); border-left: 6px solid var(--bad); border-radius: 0 6px 6px 0; padding: .45rem .8rem; margin: .4rem 0; }
ul.problems li.over { border-left-color: var(--faint); }
ul.problems pre { margin: .3rem 0 0; border: 0; padding: .3rem .5rem; max-height: 20rem; overflow: auto; }
.wide { overflow-x: auto; margin: .5rem 0; border: 1px solid var(--line); border-radius: 6px; }
.wide:focus-visible, summary:focus-visible, a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; overflow-wrap: break-word; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .45rem .7rem; color: var(--faint); font-size: .88rem; caption-side: top; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; border-top: 1px solid var(--line); min-width: 4.2rem; max-width: 28rem; }
thead th { background: var(--soft); font-weight: 600; font-size: .86rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
td.mark-bad, .bad-text { color: var(--bad); font-weight: 600; }
ins { color: var(--good); text-decoration: none; font-weight: 600; } del { color: var(--bad); }
.entries { list-style: none; margin: 0; padding: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; margin: .5rem 0; font-size: .9rem; }
.legend i { display: inline-block; width: 1.1rem; height: .8rem; border-radius: 2px; margin-right: .4rem; vertical-align: -.05rem; position: static; }
fieldset { border: 0; margin: .5rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.2rem; }
legend { float: left; padding: 0; margin-right: .2rem; color: var(--faint); }
fieldset label { cursor: pointer; }
.chart { border: 1px solid var(--line); border-radius: 6px; overflow: hidden; margin: .5rem 0; }
.chart table { table-layout: fixed; }
.chart th, .chart td { padding: .22rem .6rem; min-width: 0; max-width: none; overflow-wrap: anywhere; vertical-align: middle; }
.chart td.track-cell { padding-left: .3rem; padding-right: .3rem; }
.chart .who { width: 10rem; } .chart .took { width: 6.4rem; }
.chart tbody tr:hover { background: var(--soft); }
.track, .axis { position: relative; display: block; height: 1.5rem; overflow: hidden; border-radius: 3px; }
.track { background-image: linear-gradient(to right, var(--line) 1px, transparent 1px); background-size: 25% 100%; }
.axis { font-weight: 400; font-size: .8rem; height: 1.3rem; }
.axis span { position: absolute; left: var(--c); white-space: nowrap; padding-left: .25rem; border-left: 1px solid var(--line); }
.axis span:last-child { transform: translateX(-100%); padding: 0 .25rem 0 0; border: 0; border-right: 1px solid var(--line); }
.bar {
  position: absolute; top: 2px; bottom: 2px; left: min(var(--c), calc(100% - 3px)); width: max(2px, var(--w)); border-radius: 2px; overflow: hidden;
  container-type: inline-size; font-size: .76rem; line-height: 1.25rem; border-right: 1px solid var(--page); color: #fff;
}
.bar b { display: none; font-weight: 500; padding: 0 .3rem; white-space: nowrap; overflow: hidden; }
@container (min-width: 3.6rem) { .bar b { display: block; } }
@container (min-width: 2.5rem) { .bar.short b { display: block; } }
.own { background-color: var(--own); } .catch { background-color: var(--catch); }
.vm { background-color: var(--vm); color: #1a1200; } .process { background-color: var(--process); color: #04202f; }
.soak { background-color: var(--soak); color: #14181d; }
.lost { background: repeating-linear-gradient(135deg, var(--lost) 0 4px, transparent 4px 8px); color: var(--text); }
.lost b { width: fit-content; background: var(--page); }
.bad { background-color: var(--failed); background-image: repeating-linear-gradient(45deg, rgb(255 255 255 / .22) 0 3px, transparent 3px 7px); }
.between { background-color: var(--faint); top: 45%; bottom: 45%; }
.gap { background-color: var(--gap); top: 66%; bottom: 0; border: 0; border-radius: 0; min-width: 3px; }
.writes .gap { top: 15%; bottom: 15%; }
.track .bar:hover { outline: 2px solid var(--text); outline-offset: -2px; }
.bar { --c: var(--cl); --w: var(--cw); }
#each:checked ~ .chart .bar { --c: var(--al); --w: var(--aw); }
.chart .axis.each, #each:checked ~ .chart .clock, #each:checked ~ .chart tr.writes { display: none; }
#each:checked ~ .chart .axis.each { display: block; }
#each:checked ~ p.clock, #clock:checked ~ p.each { display: none; }
.views { margin-right: .3rem; } .views + label { margin-right: 1.2rem; cursor: pointer; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
details > summary { cursor: pointer; padding: .4rem .7rem; }
details[open] > summary { border-bottom: 1px solid var(--line); }
details .wide { border: 0; margin: 0; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 40rem) {
  h1 { font-size: 1.3rem; } .chart .who { width: 5.4rem; } .chart .took { width: 3.9rem; white-space: normal; }
  .chart th, .chart td { padding: .22rem .35rem; font-size: .84rem; } .axis span.middle { display: none; }
}
@media print { .chart, details { break-inside: avoid; } .bar { print-color-adjust: exact; } }
"""
