# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of all nodes: node_labels and nodes_info, beside kubectl in one kube cluster after the other, as a user's loop over contexts does it."""

from __future__ import annotations

from functools import partial

from ..measure import command, kubectl, module
from ..plain import PAGE
from ..table import Findings, Measured, Row
from .base import Bench, alternate, memory, off

CASE = "nodes"
KEY, PEER_KEY = "example.com/ledger", "example.com/peer"


def run(bench: Bench) -> Findings:
    world = bench.world
    setting = Row(CASE, f"label {world.nodes} nodes", "kubectl label nodes --all --overwrite", 0.5)
    nothing = Row(CASE, "labels are as they should be", "kubectl get nodes --output json", 0.5)
    removing = Row(CASE, "take the label away", "kubectl label nodes --all KEY-", 0.5)
    reading = Row(CASE, "nodes_info", "kubectl get nodes --output json")
    findings = Findings([setting, nothing, removing, reading])
    pages = sum(-(-len(world.numbers(kube)) // PAGE) for kube in world.kubes)
    told: dict[str, int] = {}

    def labels(what: str, value: str) -> Measured:
        nodes = [{"kube_cluster": kube, "name": name, "labels": {KEY: value}} for kube, name in world.names()] if value else []
        measured, result = module(world, "node_labels", {"kube_clusters": world.entries, "owned": [KEY], "nodes": nodes})
        told[what] = result["requests"]
        return measured

    def info() -> Measured:
        measured, result = module(world, "nodes_info", {"kube_clusters": world.entries})
        if len(result["nodes"]) != world.nodes:
            raise ValueError(f"nodes_info found {len(result['nodes'])} nodes, there are {world.nodes}")
        return measured

    def peer(*arguments: str) -> Measured:
        return command(world, *(kubectl(kube.user, *arguments) for kube in world.kubes))[0]

    def get() -> Measured:
        return peer("get", "nodes", "--output", "json")

    for number in range(bench.rounds):
        value = f"round-{number}"
        for row, ours, other in (
            (setting, partial(labels, "set", value), partial(peer, "label", "nodes", "--all", "--overwrite", f"{PEER_KEY}={value}")),
            (nothing, partial(labels, "nothing", value), get),
            (removing, partial(labels, "remove", ""), partial(peer, "label", "nodes", "--all", f"{PEER_KEY}-")),
            (reading, info, get),
        ):
            mine, theirs = alternate(number, ours, other)
            row.ours.append(mine)
            row.peer.append(theirs)
        bench.say(f"{CASE}: round {number + 1} of {bench.rounds}")
    findings.marks = [
        off(CASE, "label all nodes", setting.ours[-1].requests, pages + world.nodes),
        off(CASE, "nothing to do", nothing.ours[-1].requests, pages),
        off(CASE, "what node_labels says it has sent", told["set"], pages + world.nodes),
        memory(CASE, findings),
    ]
    return findings
