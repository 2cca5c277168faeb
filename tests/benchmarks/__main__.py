# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""make bench: builds the kube clusters, runs the cases, prints a table and writes JSON and a picture of it.

Exit code 1 where a pass mark was missed; seconds are never judged, only ratios and counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.collection import CHECKOUT, collections_path

sys.path.insert(0, str(collections_path()))

from .cases import CASES
from .cases.base import Bench
from .measure import Failed
from .picture import svg
from .table import Findings, as_json, lines
from .world import world

RESULTS = Path(__file__).resolve().parent / "results"
Json = dict[str, Any]


def shape(nodes: int, clusters: int, rounds: int) -> Json:
    """What the figures depend on, beside the code."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "nodes": nodes,
        "kube_clusters": clusters,
        "rounds": rounds,
        "processors": os.cpu_count(),
        "gigabytes": round(memory),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def run(nodes: int, clusters: int, rounds: int, names: list[str], judged: bool, results: Path) -> int:
    """The whole benchmark; the exit code."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:4.0f} s] {text}", flush=True)

    of_machine = shape(nodes, clusters, rounds)
    title = (
        f"{nodes} nodes in {clusters} kube clusters, {rounds} rounds, {of_machine['processors']} processors, {of_machine['gigabytes']} GB, "
        f"load {of_machine['load_before']}"
    )
    print(title, flush=True)
    findings: list[tuple[str, Findings]] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hostnet-bench-") as folder, world(nodes, clusters, Path(folder), say) as built:
        for name in names:
            try:
                findings.append((name, CASES[name](Bench(built, rounds, say))))
            except Failed as error:
                broken.append(f"{name}: {error}")
    print("\n".join(lines(findings)), flush=True)
    if of_machine["load_before"] > (of_machine["processors"] or 1):
        print("note     the machine was busy with something else: neither seconds nor ratios tell much")
    results.mkdir(parents=True, exist_ok=True)
    (results / "latest.json").write_text(json.dumps(as_json(of_machine, findings), indent=1) + "\n")
    (results / "latest.svg").write_text(svg(f"hostnet.multicluster: {title}", findings))
    print(f"written: {_short(results / 'latest.json')}, {_short(results / 'latest.svg')}")
    for text in broken:
        print(f"FAILED   {text}")
    missed = [mark for _name, found in findings for mark in found.judged() if not mark.passed]
    return 1 if broken or (judged and missed) else 0


def _short(path: Path) -> Path:
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000, help="nodes altogether (1000)")
    parser.add_argument("--clusters", type=int, default=2, help="kube clusters (2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side of each case is measured (3)")
    parser.add_argument("--cases", default="", help=f"those to run, separated by commas ({','.join(CASES)})")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where latest.json and latest.svg are written")
    parser.add_argument("--not-judged", action="store_true", help="exit code 0 whatever marks are missed")
    options = parser.parse_args()
    names = options.cases.replace(",", " ").split() or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if not 1 <= options.clusters <= options.nodes or options.rounds < 1:
        parser.error("give at least one round, one kube cluster, and a node for each kube cluster")
    # A benchmark that is told to end takes away what it has made, in the lab too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return run(options.nodes, options.clusters, options.rounds, names, not options.not_judged, options.results)


if __name__ == "__main__":
    sys.exit(main())
