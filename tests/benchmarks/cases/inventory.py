# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of all nodes, beside bare LISTs and the parsing of their JSON."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..measure import inside
from ..plain import PAGE
from ..table import Findings, Mark, Measured, Row
from .base import Bench, alternate, memory, off

CASE = "inventory"


def write(path: Path, **options: Any) -> Path:
    """An inventory file of the plugin."""
    path.write_text(yaml.safe_dump({"plugin": "hostnet.multicluster.nodes", **options}))
    return path


def run(bench: Bench) -> Findings:
    world = bench.world
    common = {"kube_clusters": world.entries, "node_selector": ""}
    plain = write(world.folder / "plain.hostnet.yml", **common)
    cache = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(world.folder / "inventory-cache"),
        "cache_timeout": 86400,
    }
    kept = write(world.folder / "kept.hostnet.yml", **common, **cache)
    lists = {"kubeconfigs": [kube.user for kube in world.kubes], "path": "/api/v1/nodes"}
    without = Row(CASE, f"inventory of {world.nodes} nodes", "bare LISTs and json", 1.3)
    cached = Row(CASE, "the same from its cache", "bare LISTs and json")
    findings = Findings([without, cached])
    missing = 0

    def ours(file: Path) -> Measured:
        nonlocal missing
        measured, result = inside(world, "inventory", {"file": str(file)})
        missing = max(missing, world.nodes - result["hosts"])
        return measured

    def peer() -> Measured:
        return inside(world, "bare_lists", lists)[0]

    ours(kept)
    for number in range(bench.rounds):
        for row, file in ((without, plain), (cached, kept)):
            mine, other = alternate(number, partial(ours, file), peer)
            row.ours.append(mine)
            row.peer.append(other)
        bench.say(f"{CASE}: round {number + 1} of {bench.rounds}")
    pages = sum(-(-len(world.numbers(kube)) // PAGE) for kube in world.kubes)
    findings.notes = ["seconds are of the work alone, on both sides: without the start of Python and imports"]
    findings.marks = [
        Mark(CASE, "nodes that are no host", missing, 0),
        # The version of each API server beside the pages.
        off(CASE, "without cache", without.ours[-1].requests, pages + len(world.kubes)),
        off(CASE, "from the cache", cached.ours[-1].requests, 0),
        memory(CASE, findings),
    ]
    return findings
