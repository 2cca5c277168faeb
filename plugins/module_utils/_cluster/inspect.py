# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks all members how the system is, once or until the gates have been open for long enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._plan import gate
from .._plan.follow import lost
from .._plan.nodes import node_facts
from . import kinds
from .ask import ask_members
from .client import KubeCluster, KubeError
from .member import Member
from .port_forward import Http, Kept

Json = dict[str, Any]
# (results of member_exec, targets, spec) -> inspection
Shape = Callable[[Json, list[Json], Json], Json]


@dataclass(frozen=True)
class Wait:
    """When the gates count as open: `samples` in a row, over at least `for_seconds`, before `timeout` seconds.

    `interval`: seconds from the beginning of one sample to that of the next; one that takes longer is followed at once by the next.
    """

    samples: int
    interval: float
    for_seconds: float
    timeout: float
    what: str


def ask(
    clusters: dict[str, KubeCluster], targets: Sequence[Json], questions: Mapping[str, Any], spec: Json, shape: Shape, kept: Kept
) -> Json:
    """The inspection of all `targets`, all questions at once; raises what `shape` raises. `kept` has the connections of the time before.

    `questions` is the spec's `inspect`: `commands`, `http`, and `timeout` in seconds for all of them together.
    """
    commands = {str(name): [str(word) for word in argv] for name, argv in (questions.get("commands") or {}).items()}
    http = {str(name): Http.of(request) for name, request in (questions.get("http") or {}).items()}
    members = [Member(**target) for target in targets]
    results = ask_members(clusters, members, commands, http, float(questions["timeout"]), at_once=True, read_only=True, kept=kept)
    return shape(results, list(targets), spec)


def answers(
    clusters: dict[str, KubeCluster], targets: Sequence[Json], questions: Mapping[str, Any], spec: Json, shape: Shape, kept: Kept
) -> Json:
    """As `ask`; raises ValueError with a sentence where the filter cannot read what was said."""
    try:
        return ask(clusters, targets, questions, spec, shape, kept)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"filter {questions['filter']} cannot read the members' answers: {type(error).__name__}: {error}") from error


def with_liveness(questions: Mapping[str, Any]) -> Json:
    """`questions` with those that only the proof of a death needs (`liveness`), which may be dear."""
    more = questions.get("liveness") or {}
    return {**questions, **{kind: {**(questions.get(kind) or {}), **(more.get(kind) or {})} for kind in ("commands", "http")}}


def vanished(clusters: Mapping[str, KubeCluster], bindings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the members of these bindings those whose VM is gone: there is no Node of its name any more, or that is of another VM.

    Where an API server cannot be asked nothing is known, and nobody counts as lost.
    """
    found = []
    for entry in bindings:
        cluster = clusters.get(str(entry["kube_cluster"]))
        if cluster is None:
            continue
        try:
            node = cluster.get(kinds.NODE, str(entry["node"]))
        except KubeError:
            continue
        if lost(entry, node_facts(node, cluster.name, "InternalIP", True) if node else None):
            found.append(str(entry["member"]))
    return found


def wait_for_gates(
    inspect: Callable[[], Json],
    gates: Sequence[gate.Gate],
    member: str,
    expected: Sequence[str],
    wait: Wait,
    show: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    processes: Sequence[Mapping[str, Any]] = (),
    vanished: Callable[[Sequence[str]], list[str]] = lambda _names: [],
    without: bool = False,
) -> Json:
    """Inspect until the gates were open for long enough: {inspection, samples (taken in all), blocked (texts, empty where they are open), lost}.

    An inspection that fails is a closed gate: nobody knows then. `show` gets a line whenever what blocks has changed. `vanished` says of members that do
    not answer whose VM is gone: they are `lost`, and nobody waits for them. With `without` the gates are asked about the others alone, as long as those
    are a majority; otherwise the wait ends at once.
    """
    gone: list[str] = []
    started = clock()
    steady = gate.Steady()
    taken = 0
    shown: list[str] | None = None
    inspection: Json = {}
    while True:
        asked = clock()
        try:
            inspection = inspect()
            silent = [
                name
                for name in expected
                if (without or name != member) and name not in gone and not inspection.get(name, {}).get("reachable")
            ]
            gone += vanished(silent) if silent else []
            if member in gone:
                # It is waited for, and will not come.
                return {"inspection": inspection, "samples": taken + 1, "blocked": [f"the VM is gone of {member}"], "lost": gone}
            left = [name for name in expected if name not in gone]
            counted = without and len(left) >= gate.quorum(len(expected))
            there = {name: said for name, said in inspection.items() if name not in gone} if counted else inspection
            blocked = gate.evaluate(gates, gate.document(there, member, left if counted else expected, processes))
        except Exception as error:  # an answer that a filter cannot read must not open a gate
            inspection, blocked = {}, [f"the members' answers cannot be read: {type(error).__name__}: {' '.join(str(error).split())}"]
        taken += 1
        now = clock()
        # Counted from when it was asked: what was true at the end of a slow answer may not be what it says.
        steady = steady.after(not blocked, asked)
        if steady.enough(wait.samples, wait.for_seconds, asked):
            return {"inspection": inspection, "samples": taken, "blocked": [], "lost": gone}
        if gone and not without and blocked:
            return {"inspection": inspection, "samples": taken, "blocked": [f"the VM is gone of {', '.join(gone)}", *blocked], "lost": gone}
        rest = max(0.0, asked + wait.interval - now)
        if now + rest - started > wait.timeout:
            missing = blocked or [f"open in {steady.count} samples in a row, {max(wait.samples, 1)} over {wait.for_seconds:g} s are needed"]
            return {"inspection": inspection, "samples": taken, "blocked": missing, "lost": gone}
        if blocked != shown and (blocked or shown):
            show(f"{wait.what}: {'; '.join(blocked) or 'nothing blocks it now'} ({now - started:.0f} of {wait.timeout:g} s)")
        shown = blocked
        pause(rest)
