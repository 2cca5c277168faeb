# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may take the lock: unknown is not dead, and nobody is dead whose process could be running anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lease as leases
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lock as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.lock import (
    DEAD,
    EXPIRED,
    FREE,
    LEFT,
    OTHER,
    OWN,
    Holder,
    Left,
    Seen,
)

HOLDERS = st.builds(
    Holder,
    run_id=st.sampled_from(["r1", "r2"]),
    host=st.sampled_from(["h1", "h2"]),
    pid=st.sampled_from([0, 7, 8]),
    started=st.sampled_from([0, 100, 200]),
    boot_id=st.sampled_from(["", "b1", "b2"]),
    pid_namespace=st.sampled_from(["", "pid:[1]", "pid:[2]"]),
)
RUNNING = st.dictionaries(st.sampled_from([7, 8]), st.sampled_from([None, 0, 100, 200]))
ME = Holder("r1", "h1", "root", 7, 100, "b1", "pid:[1]", "2026-01-01T00:00:00.000000Z", "upgrade")
NOW = "2026-01-01T00:01:00.000000Z"


def says(started: int | None) -> Callable[[int], int | None]:
    """A host that says this of every process."""
    return lambda _pid: started


def nothing(_holder: Holder) -> list[Left]:
    """A host where nothing is left of anybody."""
    return []


# The two that matter most come in each run: random ones meet a run that is provably dead too seldom.
@example(replace(ME, run_id="r2", pid=8), ME, {}, [])
@example(replace(ME, run_id="r2", pid=8), ME, {}, [Left(9, "process 9 (ssh)")])
@given(HOLDERS, HOLDERS, RUNNING, st.sampled_from([[], [Left(9, "process 9 (ssh)")]]))
def test_dead_means_certainly_dead(holder: Holder, me: Holder, running: dict[int, int | None], left: list[Left]) -> None:
    judged = plan.judge(Seen(holder, 1), me, lambda pid: running.get(pid, 0), lambda _holder: left)
    if judged in (DEAD, LEFT):
        assert (judged == LEFT) == bool(left)
        assert holder.host == me.host
        assert holder.boot_id == me.boot_id != ""
        assert holder.pid_namespace == me.pid_namespace != ""
        assert holder.pid > 0
        found = running.get(holder.pid, 0)
        assert found is not None
        assert found != holder.started > 0
    if judged == OWN:
        assert holder.run_id == me.run_id
        assert (holder.pid, holder.started, holder.boot_id) == (me.pid, me.started, me.boot_id)
    assert judged != FREE


def test_each_reason_by_itself() -> None:
    dead = replace(ME, run_id="r2", pid=8)
    assert plan.judge(Seen(), ME, says(0), nothing) == FREE
    assert plan.judge(Seen(replace(ME, since="x", what="y", user="z")), ME, says(None), nothing) == OWN
    assert plan.judge(Seen(dead), ME, says(0), nothing) == DEAD
    assert plan.judge(Seen(dead), ME, says(555), nothing) == DEAD, "the id is another process' now"
    assert plan.judge(Seen(dead), ME, says(100), nothing) == OTHER, "it runs"
    assert plan.judge(Seen(dead), ME, says(None), nothing) == OTHER, "nobody can tell"
    for unknown in (
        {"host": "h2"},
        {"boot_id": "b2"},
        {"pid_namespace": "pid:[2]"},
        {"boot_id": ""},
        {"pid_namespace": ""},
        {"pid": 0},
        {"started": 0},
    ):
        assert plan.judge(Seen(replace(dead, **unknown)), ME, says(0), nothing) == OTHER
    nowhere = replace(ME, boot_id="", pid_namespace="")
    assert plan.judge(Seen(replace(dead, boot_id="", pid_namespace="")), nowhere, says(0), nothing) == OTHER
    assert plan.judge(Seen(replace(ME, host="h2", boot_id="b2")), ME, says(0), nothing) == OTHER, "the run id was given twice"


@given(
    st.dictionaries(st.sampled_from(["east", "west", "north"]), st.builds(Seen, st.one_of(st.none(), HOLDERS), st.integers(0, 9))), HOLDERS
)
def test_refusals_and_generations(seen: dict[str, Seen], me: Holder) -> None:
    assert all(plan.next_generation(seen) > entry.generation for entry in seen.values())
    judged = {name: plan.judge(entry, me, says(None), nothing) for name, entry in seen.items()}
    refused = plan.refusals(seen, judged, [])
    assert set(refused) == {name for name, state in judged.items() if state in (OTHER, LEFT)}
    named = {holder.run_id for holder in refused.values()}
    assert plan.refusals(seen, judged, sorted(named)) == {}
    for run_id in named:
        assert all(holder.run_id != run_id for holder in plan.refusals(seen, judged, [run_id]).values())


def test_the_refusal_says_who_where_and_how_to_go_on() -> None:
    holder = Holder("r2", "box", "ann", 42, 1, since="2026-01-01T00:00:00.000000Z", what="upgrade replace")
    seen = {"east": Seen(holder, 3, "2026-01-01T00:00:48.000000Z"), "west": Seen(holder, 3, "2026-01-01T00:00:48.000000Z")}
    text = plan.refusal_text("ledger", "db", dict.fromkeys(seen, holder), seen, ME, NOW)
    assert text == (
        "the lock of deployment ledger (Lease db/ledger-rollout) is held in kube cluster east, west by run r2 (upgrade replace) of ann on host "
        "box, process 42, since 2026-01-01T00:00:00.000000Z, last renewed 12 s ago. Wait until that run ends. If you know that it runs no "
        "more, take its lock with -e hostnet_take_over=r2"
    )
    two = {"east": Seen(holder, 3, "x"), "west": Seen(Holder("r1"), 3, "")}
    text = plan.refusal_text("ledger", "db", {"east": holder, "west": Holder("r1")}, two, ME, NOW)
    assert "in kube cluster west by run r1 last renewed at an unknown time" in text
    assert "Give this run a run id of its own" in text
    assert text.endswith("-e hostnet_take_over=r1,r2")


@given(
    st.one_of(
        st.none(),
        st.text(),
        st.integers(),
        st.dictionaries(
            st.sampled_from(["run_id", "host", "pid", "started", "since"]),
            st.one_of(st.none(), st.booleans(), st.text(), st.integers(), st.just("r1")),
        ),
    )
)
def test_any_annotation_gives_a_holder(fields: Any) -> None:
    holder = plan.holder_of(fields, "r1")
    assert holder.run_id == "r1"
    assert isinstance(holder.pid, int)
    assert isinstance(holder.host, str)
    assert plan.holder_of(ME.as_dict(), "r1") == ME
    assert plan.holder_of(ME.as_dict(), "edited") == Holder("edited")


@pytest.mark.parametrize(("renewed", "age"), [("2026-01-01T00:00:48.000000Z", 12), ("2026-01-01T00:02:00Z", 0), ("", None), ("soon", None)])
def test_age(renewed: str, age: int | None) -> None:
    assert plan.age_seconds(renewed, NOW) == age
    assert plan.age_seconds("2026-01-01T00:00:48", NOW) is None


def test_processes_of_this_host() -> None:
    me = leases.this_process("r1", "upgrade", os.getpid(), NOW)
    assert (me.run_id, me.pid, me.since, me.what) == ("r1", os.getpid(), NOW, "upgrade")
    assert me.boot_id
    assert me.pid_namespace.startswith("pid:[")
    assert me.started == processes.started(os.getpid())
    assert processes.started(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        holder = leases.this_process("r2", "", child.pid, NOW)
        assert plan.judge(Seen(holder), me, processes.started, nothing) == OTHER
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has asked for its end yet: a zombie. It is dead all the same.
        assert processes.started(child.pid) == 0
        assert plan.judge(Seen(holder), me, processes.started, nothing) == DEAD
    finally:
        child.kill()
        child.communicate()
    assert processes.started(child.pid) == 0
    assert plan.judge(Seen(holder), me, processes.started, nothing) == DEAD
    assert processes.started(2**22 + 1) == 0
    assert processes.started(1), "a process of another user, or of root, is seen too"


def test_a_proc_of_another_pid_namespace_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda _path: "1")
    me = leases.this_process("r1", "", os.getpid(), NOW)
    assert (me.boot_id, me.pid_namespace, me.started) == ("", "", 0)

    def missing(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", missing)
    assert leases.this_process("r1", "", os.getpid(), NOW).boot_id == ""


def test_a_lease_that_somebody_else_wrote() -> None:
    assert leases.seen_of(None) == Seen()
    lease = {"metadata": {"annotations": {leases.HOLDER_ANNOTATION: "{"}}, "spec": {"holderIdentity": "r9", "leaseTransitions": None}}
    assert leases.seen_of(lease) == Seen(Holder("r9"), 0, "")
    assert leases.seen_of({"metadata": {}, "spec": {"holderIdentity": "", "leaseTransitions": 4, "renewTime": "t"}}) == Seen(None, 4, "t")


@given(
    st.dictionaries(st.sampled_from(["east", "west"]), st.builds(Seen, st.none(), st.integers(0, 9))),
    st.dictionaries(st.sampled_from(["east", "west", "north"]), st.integers(0, 12)),
)
def test_invariant_10_a_generation_that_a_journal_knows_is_never_used_again(seen: dict[str, Seen], journals: dict[str, int]) -> None:
    found = plan.next_generation(seen, journals)
    assert all(found > entry.generation for entry in seen.values())
    assert all(found > generation for generation in journals.values())
    assert found - 1 in {0, *(entry.generation for entry in seen.values()), *journals.values()}, "and none is left out"


def test_the_refusal_tells_of_a_lease_that_is_older_than_the_journal() -> None:
    holder = Holder("r2")
    text = plan.refusal_text("ledger", "db", {"west": holder}, {"east": Seen(None, 7), "west": Seen(holder, 3)}, ME, NOW, {"east": 8})
    assert "the Lease of kube cluster west (3) is older than generation 8: it may have been restored from a backup" in text


def test_a_generation_that_fits_into_no_lease_is_refused_with_its_place() -> None:
    text = plan.too_high("ledger", "db", {"east": Seen(None, 3), "west": Seen(None, plan.MAX_GENERATION)}, {"east": 10**12, "west": 3})
    assert (
        "because of Lease db/ledger-rollout in kube cluster west, ConfigMap db/ledger-rollout (annotation or journal) in kube cluster east:"
        in text
    )


def test_the_refusal_names_what_is_left_and_what_to_do() -> None:
    seen = {"east": Seen(Holder("r2"), 3), "west": Seen(Holder("r2"), 3)}
    left = [Left(41, "process 41 (ssh)"), Left(42, "process 42 (sudo), which this user may not look at")]
    text = plan.refusal_text("ledger", "db", dict.fromkeys(seen, Holder("r2")), seen, ME, NOW, {}, {"east": left, "west": left})
    assert text.endswith(
        "That process has ended, and of what it started there may be left: process 41 (ssh), process 42 (sudo), which this user may not look at. It may "
        "still be changing VMs. Wait until it ends, or end it (ps -fp 41,42 shows it), and run again. If you know that nothing of that run changes "
        "anything any more, take its lock with -e hostnet_take_over=r2"
    )
    unmarked = plan.refusal_text(
        "ledger", "db", dict.fromkeys(seen, Holder("r2")), seen, ME, NOW, {}, {"east": [Left(0, "x")], "west": [Left(0, "x")]}
    )
    assert "ps -fp" not in unmarked
    # One of them may live altogether: then that is what counts.
    assert "has ended" not in plan.refusal_text("ledger", "db", dict.fromkeys(seen, Holder("r2")), seen, ME, NOW, {}, {"east": left})


@given(HOLDERS, HOLDERS, RUNNING, st.integers(-1, 40), st.integers(-1, 40), st.floats(0, 1000))
def test_silence_proves_nothing_unless_both_have_a_heartbeat(
    holder: Holder, me: Holder, running: dict[int, int | None], theirs: int, mine: int, silent: float
) -> None:
    holder, me = replace(holder, heartbeat=theirs), replace(me, heartbeat=mine)
    judged = plan.judge(Seen(holder, 1), me, lambda pid: running.get(pid, 0), nothing, silent)
    if judged == EXPIRED:
        assert theirs > 0
        assert mine > 0
        assert silent >= plan.EXPIRES_AFTER * theirs
        assert not holder.same_process(me)
    assert judged in (EXPIRED, plan.judge(Seen(holder, 1), me, lambda pid: running.get(pid, 0), nothing))
    watched = plan.watch_seconds({"east": holder}, {"east": judged}, me)
    assert (watched > 0) == (judged == OTHER and theirs > 0 and mine > 0)
    assert plan.judge(Seen(holder, 1), me, lambda _pid: None, nothing, watched) in ((EXPIRED, OWN) if watched else (OTHER, OWN))
    assert plan.watch_seconds({"east": holder, "west": replace(holder, heartbeat=0)}, {"east": OTHER, "west": OTHER}, me) == 0, (
        "all, or none"
    )
    assert plan.watch_seconds({"east": holder, "west": holder}, {"east": OTHER, "west": LEFT}, me) == 0, "something of it is there"


@given(st.integers(1, 60), st.lists(st.integers(0, 2000), min_size=1), st.integers(0, 3000), st.lists(st.integers(0, 5000)))
def test_whoever_looked_at_its_lock_has_seven_intervals_until_it_can_be_taken(
    heartbeat: int, renewals: list[int], begun: int, looks: list[int]
) -> None:
    """A successor watches from `begun` on. However the holder renews and whenever it looks: what it was allowed then, it has time for."""
    holder, me = replace(ME, run_id="r2", host="h2", heartbeat=heartbeat), replace(ME, heartbeat=heartbeat)
    # Each renewal that it sees ends its watch, and the next one begins.
    starts = [begun, *(time for time in sorted(renewals) if time > begun)]
    taken = next(
        start + plan.EXPIRES_AFTER * heartbeat
        for start, following in zip(starts, [*starts[1:], None], strict=True)
        if following is None or following - start > plan.EXPIRES_AFTER * heartbeat
    )
    assert plan.judge(Seen(holder, 1), me, says(None), nothing, plan.EXPIRES_AFTER * heartbeat) == EXPIRED
    for look in looks:
        done = [time for time in renewals if time <= look and time < taken]
        if look < taken and not plan.must_renew(holder, look - max(done) if done else None):
            assert taken - look >= (plan.EXPIRES_AFTER - plan.STOPS_AFTER) * heartbeat


def test_when_a_run_has_to_renew_before_it_changes_anything() -> None:
    holder = replace(ME, heartbeat=20)
    assert [plan.must_renew(holder, age) for age in (0.0, 60.0, 60.1, -1.0, None)] == [False, False, True, True, True]
    assert not plan.must_renew(ME, None), "without a heartbeat nobody takes its silence for its end"


def test_what_the_refusal_says_of_a_heartbeat() -> None:
    seen = {"east": Seen(Holder("r2", heartbeat=30), 3)}
    refused = {"east": Holder("r2", heartbeat=30)}
    text = plan.refusal_text("ledger", "db", refused, seen, ME, NOW)
    assert "That run renews it every 30 s: with -e hostnet_lock_heartbeat_seconds=30 this one would watch for 300 s" in text
    text = plan.refusal_text("ledger", "db", refused, seen, replace(ME, heartbeat=5), NOW, watched=True)
    assert "It was renewed while this run watched, so that run lives. Wait until that run ends" in text


@pytest.mark.parametrize("run_id", ["r1", "awx-4711", "a", "Ledger_2026.1-x", "a" * plan.MAX_RUN_ID])
def test_run_ids(run_id: str) -> None:
    assert plan.run_id_problem(run_id) == ""


@pytest.mark.parametrize("run_id", ["", "-a", "a-", "a b", "a,b", "a/b", "\u00e4", "a\n", "a" * (plan.MAX_RUN_ID + 1)])
def test_what_is_no_run_id(run_id: str) -> None:
    assert "such as awx-4711" in plan.run_id_problem(run_id)
