# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, and what is made of it: medians, ratios, pass marks. No I/O."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One run of one side. None: it was not asked, or nobody could tell.

    `requests`: those that the API servers counted. `processes`: the command and all that it started. `megabytes`: the largest resident set of one process.
    `cpu`: processor seconds of all of them, with their start; those of the API servers are not in it.
    """

    seconds: float
    requests: int | None = None
    processes: int | None = None
    megabytes: float | None = None
    cpu: float | None = None


@dataclass
class Row:
    """One thing that is done by this collection (`ours`) and in another way (`peer`), as often as there were rounds."""

    case: str
    what: str
    peer_what: str
    most: float | None = None
    ours: list[Measured] = field(default_factory=list)
    peer: list[Measured] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Ours to the peer: the median over the rounds, so that a machine that is slow for a while slows both sides of a ratio."""
        pairs = [mine.seconds / other.seconds for mine, other in zip(self.ours, self.peer, strict=False) if other.seconds]
        return statistics.median(pairs) if pairs else None


@dataclass(frozen=True)
class Mark:
    """A pass mark: a ratio or a count, and how much it may be. Seconds are never judged: they tell how fast the machine is."""

    case: str
    what: str
    value: float | None
    most: float

    @property
    def passed(self) -> bool:
        return self.value is not None and self.value <= self.most


@dataclass
class Findings:
    """What one case found. `skipped`: why it was not run, or ""."""

    rows: list[Row] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""

    def judged(self) -> list[Mark]:
        """The case's own marks, and those of its rows' ratios."""
        return [*(Mark(row.case, f"{row.what}: ratio", row.ratio, row.most) for row in self.rows if row.most is not None), *self.marks]


def spread(runs: Sequence[Measured]) -> tuple[float, float, float] | None:
    """Median, minimum and maximum of the seconds; None without a run."""
    seconds = [run.seconds for run in runs]
    return (statistics.median(seconds), min(seconds), max(seconds)) if seconds else None


def largest(runs: Sequence[Measured], what: str) -> float | None:
    """The largest of a count or of the megabytes over all rounds; None where nobody could tell."""
    found = [value for run in runs if (value := getattr(run, what)) is not None]
    return max(found) if found else None


_HEADINGS = ("", "median s", "min", "max", "ratio", "mark", "CPU s", "requests", "processes", "MB")


def lines(findings: Sequence[tuple[str, Findings]]) -> list[str]:
    """The table for a terminal: two lines for each row, then the marks, then what was not run."""
    body: list[tuple[str, ...]] = [_HEADINGS]
    for case, found in findings:
        if found.skipped:
            continue
        body.append((f"[{case}]", *("" for _heading in _HEADINGS[1:])))
        for row in found.rows:
            body.append(_cells(row.what, row.ours, row.ratio, row.most))
            if row.peer:
                body.append(_cells(f"  {row.peer_what}", row.peer, None, None))
    widths = [max(len(line[column]) for line in body) for column in range(len(_HEADINGS))]
    printed = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in body
    ]
    for case, found in findings:
        printed += [f"note     {case}: {note}" for note in found.notes]
    for _case, found in findings:
        printed += [_told(mark) for mark in found.judged()]
    printed += [f"skipped  {case}: {found.skipped}" for case, found in findings if found.skipped]
    return printed


def _cells(what: str, runs: Sequence[Measured], ratio: float | None, most: float | None) -> tuple[str, ...]:
    times = spread(runs)
    counts = [largest(runs, name) for name in ("requests", "processes", "megabytes")]
    cpu = [run.cpu for run in runs if run.cpu is not None]
    return (
        what,
        *(_number(value) for value in times or ("", "", "")),
        _number(ratio) if ratio is not None else "",
        f"{most:g}" if most is not None else "",
        _number(statistics.median(cpu)) if cpu else "-",
        *(f"{count:.0f}" if count is not None else "-" for count in counts),
    )


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _told(mark: Mark) -> str:
    value = "not measured" if mark.value is None else f"{mark.value:.3g}"
    return f"{'passed' if mark.passed else 'MISSED'}   {mark.case}: {mark.what} {value}, at most {mark.most:g}"


def as_json(shape: Json, findings: Sequence[tuple[str, Findings]]) -> Json:
    """Everything that was measured, for programs."""
    cases = [
        {
            "case": case,
            "skipped": found.skipped,
            "notes": found.notes,
            "rows": [{**dataclasses.asdict(row), "ratio": row.ratio} for row in found.rows],
            "marks": [{**dataclasses.asdict(mark), "passed": mark.passed} for mark in found.judged()],
        }
        for case, found in findings
    ]
    return {"shape": shape, "cases": cases}
