# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from benchmarks import table
from benchmarks.picture import svg
from benchmarks.processes import descendants
from benchmarks.table import Findings, Mark, Measured, Row
from benchmarks.world import share


def runs(*seconds: float) -> list[Measured]:
    return [Measured(one, 10, 1, 50.0) for one in seconds]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # The machine was three times slower in the second round: both sides were.
    row = Row("nodes", "ours", "peer", ours=runs(1, 3, 1.1), peer=runs(2, 6, 2.0))
    assert row.ratio == pytest.approx(0.5)


def test_a_row_without_peer_has_no_ratio() -> None:
    assert Row("nodes", "ours", "", ours=runs(1)).ratio is None


def test_the_spread_is_median_minimum_and_maximum() -> None:
    assert table.spread(runs(3, 1, 2)) == (2, 1, 3)
    assert table.spread([]) is None


def test_what_nobody_could_tell_is_not_zero() -> None:
    assert table.largest([Measured(1), Measured(1)], "processes") is None
    assert table.largest([Measured(1, processes=2), Measured(1)], "processes") == 2


@pytest.mark.parametrize(("value", "passed"), [(0.5, True), (0.51, False), (None, False)])
def test_a_mark_is_passed_at_its_limit_and_never_unmeasured(value: float | None, passed: bool) -> None:
    assert Mark("nodes", "ratio", value, 0.5).passed is passed


def test_a_row_with_a_mark_is_judged_by_its_ratio() -> None:
    found = Findings([Row("nodes", "label", "kubectl", 0.5, runs(1), runs(1)), Row("nodes", "read", "kubectl", None, runs(9), runs(1))])
    assert [(mark.value, mark.passed) for mark in found.judged()] == [(1.0, False)]


FINDINGS = [
    ("nodes", Findings([Row("nodes", "label <all>", "kubectl", 0.5, runs(1, 2), runs(4, 8))], [Mark("nodes", "MB", 50, 400)], ["said"])),
    ("apply", Findings([Row("apply", "slow", "kubectl", 0.1, runs(9), runs(1))])),
    ("lab", Findings(skipped="the lab is not up")),
]


def test_the_table_says_everything() -> None:
    text = "\n".join(table.lines(FINDINGS))
    for words in (
        "label <all>",
        "kubectl",
        "0.250",
        "said",
        "passed   nodes: MB 50",
        "MISSED   apply: slow: ratio 9",
        "skipped  lab: the lab is not up",
    ):
        assert words in text
    assert max(len(line) for line in table.lines(FINDINGS)) < 140


def test_the_json_has_every_run_and_every_verdict() -> None:
    told = json.loads(json.dumps(table.as_json({"nodes": 10}, FINDINGS)))
    assert told["shape"] == {"nodes": 10}
    assert [run["seconds"] for run in told["cases"][0]["rows"][0]["ours"]] == [1, 2]
    assert [mark["passed"] for mark in told["cases"][0]["marks"]] == [True, True]
    assert told["cases"][2]["skipped"]


def test_the_picture_is_a_document_with_a_bar_for_each_row() -> None:
    root = ET.fromstring(svg("10 nodes & more", FINDINGS))
    bars = [element for element in root.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "18"]
    assert len(bars) == 2
    # What is slower than the picture is wide is cut, in the colour of a missed mark.
    assert float(bars[1].get("width", 0)) > float(bars[0].get("width", 0))
    assert bars[1].get("fill") != bars[0].get("fill")


def test_processes_are_those_of_the_family_alone() -> None:
    assert descendants(10, [(1, 10), (10, 11), (1, 12), (11, 13), (12, 14)]) == 3


@pytest.mark.parametrize(("nodes", "clusters"), [(10, 1), (10, 3), (5, 5)])
def test_each_node_is_in_one_kube_cluster(nodes: int, clusters: int) -> None:
    found = [number for index in range(clusters) for number in share(nodes, clusters, index)]
    assert sorted(found) == list(range(1, nodes + 1))
