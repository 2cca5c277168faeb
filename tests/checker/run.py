# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run itself: finds members, writes through all of them, watches them, reads everything back."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import verdict
from .clock import Clock
from .kube import KubeCluster, Seen
from .system import Connection, Copy, System, Unreachable, values

Json = dict[str, Any]

_FIND_SECONDS = 1.0
_WATCH_SECONDS = 0.5
_RETRY_SECONDS = 0.15
_SYNC_SECONDS = 1.0
_FIGURE_SECONDS = 5.0
_LATE_SECONDS = 0.05


@dataclass(frozen=True)
class Options:
    rate: float
    least_rate: float
    members: int  # 0: as many as there are at the start
    most_down: int
    seed: int
    connections: int  # to each member
    ready_seconds: float
    read_seconds: float
    keep: bool
    ledger: Path
    probe_file: Path | None


class Ledger:
    """What was acknowledged, in a file that a kill of the checker does not undo: `NUMBER TIME ADDRESS` a line, one write() each."""

    def __init__(self, path: Path, probe_file: Path | None, down: Callable[[], list[str]], clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.probe_file, self.down = probe_file, down
        self.numbers: list[int] = []
        self.times: list[float] = []
        self.by_address: dict[str, list[float]] = {}
        self.unknown: dict[str, int] = {}  # reason: how often
        self.long: list[Json] = []
        self._synced = 0.0

    def acknowledged(self, number: int, address: str) -> None:
        with self.lock:
            now = self.clock.now()
            os.write(self.file, f"{number} {self.clock.stamp(now)} {address}\n".encode())
            if now - self._synced > _SYNC_SECONDS:
                os.fsync(self.file)
                self._synced = now
            before = self.times[-1] if self.times else now
            self.numbers.append(number)
            self.times.append(now)
            self.by_address.setdefault(address, []).append(now)
        if now - before > verdict.GAP_SECONDS:
            self.gap(before, now)

    def gap(self, before: float, now: float) -> None:
        entry = {"time": self.clock.stamp(before), "gap_ms": round((now - before) * 1000)}
        self.long.append({**entry, "down": self.down()})
        if self.probe_file:
            with self.probe_file.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")

    def not_known(self, error: Unreachable) -> None:
        with self.lock:
            reason = str(error)[:120]
            self.unknown[reason] = self.unknown.get(reason, 0) + 1

    def close(self) -> None:
        os.fsync(self.file)
        os.close(self.file)


class Pacer:
    """Gives out numbers at the wanted rate to whoever is free. Time that was lost in a gap is not caught up with a burst."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self.every, self.lock, self.clock = 1 / rate, threading.Lock(), clock
        self.attempted = 0
        self.next = clock.now()

    def take(self, stop: threading.Event) -> int:
        """A number, at its time; 0 when stopped."""
        with self.lock:
            self.next = max(self.next + self.every, self.clock.now() - 10 * self.every)
            at = self.next
        if self.clock.wait(stop, max(0.0, at - self.clock.now())):
            return 0
        with self.lock:
            self.attempted += 1
            return self.attempted


@dataclass
class _Member:
    address: str
    where: str
    gone: threading.Event = field(default_factory=threading.Event)
    writers: list[Callable[[float], None]] = field(default_factory=list)  # each waits for the end of one


class Run:
    def __init__(
        self, system: System, kube_clusters: list[KubeCluster], options: Options, say: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.system, self.kube_clusters, self.options, self.say = system, kube_clusters, options, say
        self.value = values(system.run, options.seed)
        self.presence, self.presence_lock = verdict.Presence(), threading.Lock()
        self.ledger = Ledger(options.ledger, options.probe_file, self._down_now, self.clock)
        self.pacer = Pacer(options.rate, self.clock)
        self.lock, self.preparing = threading.Lock(), threading.Lock()
        self.seen: dict[str, Seen] = {}
        self.where: dict[str, str] = {}  # every address ever: "kube cluster/node"
        self.members: dict[str, _Member] = {}
        self.cluster_ids: dict[str, dict[str, str]] = {}  # id: {address: first seen}
        self.errors: dict[str, str] = {}  # address: why the last look failed
        self.stop, self.stop_writing, self.prepared = threading.Event(), threading.Event(), threading.Event()
        self.figures: list[Json] = []  # {time, NAME: NUMBER...} whenever one of them is another
        self.expected = 0
        self.late = 0.0
        self.started = self.ended = 0.0

    # Threads. None of them may end by an exception: a checker that has gone deaf must not say that all is well.
    def _loop(self, name: str, work: Callable[[], None], seconds: float, stop: threading.Event) -> None:
        def run() -> None:
            while not stop.is_set():
                began = self.clock.now()
                try:
                    work()
                except Exception as error:
                    self.errors[name] = f"{type(error).__name__}: {error}"
                self.clock.wait(stop, max(0.0, seconds - (self.clock.now() - began)))

        self.clock.start(run)

    def _find(self, kube: KubeCluster) -> None:
        seen = kube.look()
        with self.lock:
            self.seen[kube.name] = seen
            wanted = {address: where for one in self.seen.values() for address, where in one.members.items()}
            for address in set(self.members) - set(wanted):
                self.members.pop(address).gone.set()
                with self.presence_lock:
                    self.presence.failed(address, self.clock.now(), at_once=True)
            fresh = [_Member(address, where) for address, where in wanted.items() if address not in self.members]
            for member in fresh:
                self.members[member.address] = member
                self.where[member.address] = member.where
        for member in fresh:
            self._watch(member)
            for _number in range(self.options.connections):
                member.writers.append(self.clock.start(functools.partial(self._write, member)))

    def _watch(self, member: _Member) -> None:
        held: list[Connection] = []

        def look() -> None:
            asked = self.clock.now()
            try:
                if not held:
                    held.append(self.system.connect(member.address))
                answer = held[0].status()
            except Unreachable as error:
                self.errors[member.address] = str(error)
                if held:
                    held.pop().close()
                with self.presence_lock:
                    self.presence.failed(member.address, asked)
                return
            with self.presence_lock:
                if member.gone.is_set() or not answer.serving:
                    self.presence.failed(member.address, asked)
                else:
                    self.presence.answered(member.address, self.clock.now())
            if answer.cluster_id:
                with self.lock:
                    self.cluster_ids.setdefault(answer.cluster_id, {}).setdefault(member.address, self.clock.stamp())

        self._loop(member.address, look, _WATCH_SECONDS, _Either(self.stop, member.gone))

    def _write(self, member: _Member) -> None:
        connection: Connection | None = None
        while not self.stop_writing.is_set() and not member.gone.is_set():
            try:
                if connection is None:
                    connection = self.system.connect(member.address)
                    if not self.prepared.is_set():
                        with self.preparing:
                            if not self.prepared.is_set():
                                self.system.prepare(connection)
                                self.prepared.set()
                number = self.pacer.take(self.stop_writing)
                if not number:
                    break
                connection.write(number, self.value(number))
                self.ledger.acknowledged(number, member.address)
            except Unreachable as error:
                # Whether the write will be seen is open: its number is never tried again and never counted.
                self.ledger.not_known(error)
                if connection:
                    connection.close()
                connection = None
                self.clock.wait(self.stop_writing, _RETRY_SECONDS)
        if connection:
            connection.close()

    def _count(self) -> bool:
        """Asks one member for the system's figures, the first that tells them; whether all are 0."""
        with self.presence_lock:
            answering = self.presence.answering()
        for address in answering:
            try:
                connection = self.system.connect(address)
            except Unreachable:
                continue
            try:
                told = connection.figures()
            except Unreachable:
                continue
            finally:
                connection.close()
            with self.lock:
                before = {name: self.figures[-1][name] for name in told} if self.figures else {}
                if told != before:
                    self.figures.append({"time": self.clock.stamp(), **told})
            return not any(told.values())
        return False

    def _watch_figures(self) -> None:
        if self.started:
            self._count()

    def _settle(self) -> None:
        """Figures are of a while ago, and what was mended at the end takes its time."""
        deadline = self.clock.now() + self.options.read_seconds
        while not self._count() and self.clock.now() < deadline:
            self.clock.sleep(1.0)

    def _tick(self) -> None:
        began = self.clock.now()
        self.clock.sleep(_LATE_SECONDS)
        if self.started:
            self.late = max(self.late, self.clock.now() - began - _LATE_SECONDS)

    def _down_now(self) -> list[str]:
        with self.presence_lock:
            answering = set(self.presence.answering())
            return sorted(self.where.get(address, address) for address in self.presence.up if address not in answering)

    def work(self, seconds: float, asked_to_stop: threading.Event) -> Json:
        """Runs until `seconds` have passed since READY (0: no end) or `asked_to_stop`, and returns the verdict document."""
        for kube in self.kube_clusters:
            self._loop(f"kube cluster {kube.name}", functools.partial(self._find, kube), _FIND_SECONDS, self.stop)
        self._loop("clock", self._tick, 0, self.stop)
        if self.system.figures:
            self._loop("figures", self._watch_figures, _FIGURE_SECONDS, self.stop_writing)
        deadline = self.clock.now() + self.options.ready_seconds
        while not asked_to_stop.is_set() and self.clock.now() < deadline:
            with self.lock:
                found = set(self.members)
                complete = len(self.seen) == len(self.kube_clusters) and bool(found)
            with self.presence_lock:
                complete = complete and found <= set(self.presence.answering())
            if complete and len(found) >= self.options.members and found <= set(self.ledger.by_address):
                self.expected = self.options.members or len(found)
                self.started = self.clock.now()
                self.say("READY")
                break
            self.clock.wait(asked_to_stop, 0.05)
        ready = bool(self.started)
        if ready:
            self.clock.wait(asked_to_stop, seconds or None)
        self.ended = self.clock.now()
        self.stop_writing.set()
        self.started = self.started or self.ended
        if ready and self.ledger.times and self.ended - self.ledger.times[-1] > verdict.GAP_SECONDS:
            self.ledger.gap(self.ledger.times[-1], self.ended)
        for member in list(self.members.values()):
            for wait_for_end in member.writers:
                wait_for_end(5)
        return self._conclude(ready)

    # The end: everything is read again, from members that are looked up afresh.
    def _read(self, address: str, authoritative: bool) -> Copy:
        deadline = self.clock.now() + self.options.read_seconds
        while True:
            try:
                connection = self.system.connect(address)
                try:
                    return connection.read(authoritative)
                finally:
                    connection.close()
            except Unreachable:
                if self.clock.now() > deadline or authoritative or address not in self.members:
                    raise
            self.clock.sleep(0.5)

    def _conclude(self, ready: bool) -> Json:
        facts = verdict.Facts(self.options.least_rate, self.options.most_down, self.expected, ready, self.started, self.ended)
        with self.lock:
            members = {address: member.where for address, member in self.members.items()}
        acknowledged, attempted = list(self.ledger.numbers), self.pacer.attempted
        lost: dict[str, list[int]] = {}
        made_up: dict[str, list[str]] = {}
        unread: dict[str, str] = {}
        counts: dict[str, int] = {}

        def take(reader: str, address: str, authoritative: bool) -> bool:
            try:
                copy = self._read(address, authoritative)
            except Unreachable as error:
                unread[reader] = str(error)
                return False
            counts[reader] = sum(len(entries) for entries in copy.values())
            lost[reader], made_up[reader] = verdict.compare(acknowledged, attempted, self.value, copy)
            return True

        if ready:
            answering = [address for address in sorted(members) if address in self.presence.answering()]
            whole = "the system as a whole"
            for address in answering:
                if take(whole, address, True):
                    unread.pop(whole, None)
                    break
            if whole not in counts:
                unread.setdefault(whole, "no member answers")
            readers = [(f"{where} ({address})", address) for address, where in sorted(members.items(), key=lambda item: item[1])]
            facts.read_members = sum([take(reader, address, False) for reader, address in readers])
            # A member that was there at no time (a pod that waits to be admitted) owes nothing.
            for reader, address in readers:
                if address not in self.presence.up:
                    unread.pop(reader, None)
            if self.system.figures:
                self._settle()
                facts.at_end = {name: self.figures[-1][name] if self.figures else None for name in self.system.figures}
        facts.acknowledged = list(self.ledger.times)
        join, live, unreadable = self._join_lists() if ready else ({}, [], [])
        facts.join_faults = [*unreadable, *verdict.join_faults(join, live)]
        self.stop.set()
        with self.presence_lock:
            facts.up = {self._name(address): spans for address, spans in self.presence.up.items()}
        facts.cluster_ids = {identity: [self._name(address) for address in told] for identity, told in self.cluster_ids.items()}
        facts.lost, facts.made_up, facts.unread = lost, made_up, unread
        result, reasons = verdict.judge(facts)
        if result == verdict.HOLDS and not self.options.keep:
            self._clean(members)
        self.ledger.close()
        return self._document(facts, result, reasons, counts, join, live)

    def _name(self, address: str) -> str:
        return f"{self.where.get(address, '?')} ({address})"

    def _join_lists(self) -> tuple[dict[str, dict[str, str] | None], list[str], list[str]]:
        """(join lists, addresses of live nodes, what could not be read)"""
        join: dict[str, dict[str, str] | None] = {}
        live: list[str] = []
        unreadable = []
        for kube in self.kube_clusters:
            try:
                live += kube.look().live
                join[kube.name] = kube.join_list()
            except Exception as error:
                unreadable.append(f"kube cluster {kube.name}: its nodes and join list cannot be read: {str(error).splitlines()[0][:200]}")
        return join, sorted(live), unreadable

    def _clean(self, members: dict[str, str]) -> None:
        for address in members:
            try:
                connection = self.system.connect(address)
                self.system.clean(connection)
                connection.close()
            except Unreachable:
                continue
            return

    def _document(
        self, facts: verdict.Facts, result: str, reasons: list[str], counts: dict[str, int], join: dict[str, Any], live: list[str]
    ) -> Json:
        down = verdict.down_times(facts.up, facts.expected, facts.start, facts.end) if facts.ready else []
        all_gaps = verdict.gaps(facts.acknowledged, facts.start, facts.end) if facts.ready else []
        longest = max(all_gaps, key=lambda gap: gap.milliseconds, default=None)
        by_down: dict[str, int] = {}
        for entry in self.ledger.long:
            key = ", ".join(entry["down"]) or "none down"
            by_down[key] = max(by_down.get(key, 0), entry["gap_ms"])
        through = {}
        for address, times in self.ledger.by_address.items():
            found = verdict.gaps(times, facts.start, facts.end) if facts.ready else []
            through[self._name(address)] = {
                "acknowledged": len(times),
                "longest_gap_ms": max((gap.milliseconds for gap in found), default=0),
            }
        return {
            "result": result,
            "reasons": reasons,
            "run": self.system.run,
            "seed": self.options.seed,
            "started": self.clock.stamp(facts.start),
            "ended": self.clock.stamp(facts.end),
            "writes": {
                "attempted": self.pacer.attempted,
                "acknowledged": len(self.ledger.numbers),
                "unknown": self.pacer.attempted - len(self.ledger.numbers),
                "errors": self.ledger.unknown,
                **(verdict.rates(facts) if facts.ready else {}),
                "least_rate": facts.least_rate,
                "through": through,
            },
            "lost": max((len(numbers) for numbers in facts.lost.values()), default=0),
            "lost_by_reader": {reader: numbers[:100] for reader, numbers in facts.lost.items() if numbers},
            "made_up_by_reader": {reader: texts[:100] for reader, texts in facts.made_up.items() if texts},
            "read": counts,
            "unread": dict(facts.unread),
            "members": {"expected": facts.expected, "read": facts.read_members, "ever": sorted(facts.up)},
            "cluster_ids": {
                identity: {self._name(address): first for address, first in told.items()} for identity, told in self.cluster_ids.items()
            },
            "down": {
                "most_at_once": max((entry["down"] for entry in down), default=0),
                "allowed": facts.most_down,
                "times": [
                    {
                        "start": self.clock.stamp(entry["start"]),
                        "end": self.clock.stamp(entry["end"]),
                        "seconds": round(entry["end"] - entry["start"], 2),
                        "down": entry["down"],
                        "silent": entry["silent"],
                    }
                    for entry in down
                ],
            },
            "gaps": {
                "longest_ms": longest.milliseconds if longest else 0,
                "longest_at": self.clock.stamp(longest.start) if longest else "",
                "longest_ms_while_down": by_down,
                "longer_than_250_ms": self.ledger.long,
                "late_ms_of_the_checker": round(self.late * 1000),
            },
            "figures": {
                "most": {name: max((entry[name] for entry in self.figures), default=None) for name in self.system.figures},
                "at_end": dict(facts.at_end),
                "changes": self.figures,
            },
            "join": {"lists": join, "live_addresses": live, "faults": list(facts.join_faults)},
            "trouble": self.errors,
        }


class _Either(threading.Event):
    """Set when one of the two is set; waiting looks at both often enough for a watch."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self.first, self.second = first, second

    def is_set(self) -> bool:
        return self.first.is_set() or self.second.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.second.wait(timeout) or self.first.is_set()
