# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ratios as a picture: one bar for each row that has a peer."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .table import Findings, Row, spread

_WIDTH, _LEFT, _SCALE, _LINE, _TOP = 1120, 430, 360, 34, 76
_FONT = 'font-family="DejaVu Sans, Verdana, sans-serif"'
_MOST_SHOWN = 1.5  # a longer bar ends here, with an arrow; its number is beside it
_OURS, _MISSED, _INK, _PALE = "#2563a8", "#b3261e", "#1c1c1c", "#767676"


def svg(title: str, findings: Sequence[tuple[str, Findings]]) -> str:
    """An SVG document. A bar's length is ours divided by the peer's: left of the line at 1 this collection takes less time."""
    rows = [row for _case, found in findings for row in found.rows if row.ratio is not None]
    height = _TOP + _LINE * len(rows) + 40
    bottom = _TOP + _LINE * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" {_FONT} role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 30, title, size=16, weight="bold"),
        _text(
            20,
            50,
            "Time of hostnet.multicluster divided by that of the peer in the same round; a short bar is fast. Red: the pass mark was missed.",
            _PALE,
        ),
    ]
    for tick in (0.0, 0.5, 1.0, _MOST_SHOWN):
        x = _LEFT + tick * _SCALE
        dash = "" if tick == 1.0 else ' stroke-dasharray="2 4"'
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{_PALE}"{dash}/>')
        parts.append(_text(x, bottom + 18, "1 = peer" if tick == 1.0 else f"{tick:g}", _PALE, anchor="middle"))
    for number, row in enumerate(rows):
        parts += _bar(row, _TOP + number * _LINE)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(row: Row, top: int) -> list[str]:
    ratio = row.ratio or 0.0
    shown = min(ratio, _MOST_SHOWN)
    missed = row.most is not None and ratio > row.most
    length = max(shown * _SCALE, 1.0)
    parts = [
        _text(_LEFT - 10, top + 11, row.what, anchor="end"),
        _text(_LEFT - 10, top + 24, f"peer: {row.peer_what}", _PALE, anchor="end", size=10),
        f'<rect x="{_LEFT}" y="{top + 2}" width="{length:.1f}" height="18" fill="{_MISSED if missed else _OURS}"/>',
    ]
    if ratio > _MOST_SHOWN:
        x = _LEFT + length
        parts.append(f'<path d="M{x:.1f} {top + 2} l9 9 l-9 9 z" fill="{_MISSED if missed else _OURS}"/>')
    if row.most is not None and row.most <= _MOST_SHOWN:
        x = _LEFT + row.most * _SCALE
        parts.append(f'<line x1="{x:.1f}" y1="{top - 2}" x2="{x:.1f}" y2="{top + 24}" stroke="{_INK}" stroke-width="2"/>')
    mine, other = spread(row.ours), spread(row.peer)
    if mine and other:
        mark = f", mark {row.most:g}" if row.most is not None else ""
        told = f"{ratio:.2f}  ({mine[0]:.3g} s : {other[0]:.3g} s{mark})"
        parts.append(_text(_LEFT + _MOST_SHOWN * _SCALE + 16, top + 16, told))
    return parts


def _text(x: float, y: float, text: str, colour: str = _INK, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">{html.escape(text)}</text>'
