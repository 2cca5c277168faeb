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
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lock as cluster
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import lock as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.lock import DEAD, FREE, OTHER, OWN, Holder, Seen

HOLDERS = st.builds(
    Holder,
    run_id=st.sampled_from(["r1", "r2"]),
    host=st.sampled_from(["", "h1"]),
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


@given(HOLDERS, HOLDERS, RUNNING)
def test_dead_means_certainly_dead(holder: Holder, me: Holder, running: dict[int, int | None]) -> None:
    judged = plan.judge(Seen(holder, 1), me, lambda pid: running.get(pid, 0))
    if judged == DEAD:
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
    assert plan.judge(Seen(), ME, says(0)) == FREE
    assert plan.judge(Seen(replace(ME, since="x", what="y", user="z")), ME, says(None)) == OWN
    assert plan.judge(Seen(dead), ME, says(0)) == DEAD
    assert plan.judge(Seen(dead), ME, says(555)) == DEAD, "the id is another process' now"
    assert plan.judge(Seen(dead), ME, says(100)) == OTHER, "it runs"
    assert plan.judge(Seen(dead), ME, says(None)) == OTHER, "nobody can tell"
    for unknown in ({"boot_id": "b2"}, {"pid_namespace": "pid:[2]"}, {"boot_id": ""}, {"pid_namespace": ""}, {"pid": 0}, {"started": 0}):
        assert plan.judge(Seen(replace(dead, **unknown)), ME, says(0)) == OTHER
    nowhere = replace(ME, boot_id="", pid_namespace="")
    assert plan.judge(Seen(replace(dead, boot_id="", pid_namespace="")), nowhere, says(0)) == OTHER
    assert plan.judge(Seen(replace(ME, host="h2", boot_id="b2")), ME, says(0)) == OTHER, "the run id was given twice"


@given(
    st.dictionaries(st.sampled_from(["east", "west", "north"]), st.builds(Seen, st.one_of(st.none(), HOLDERS), st.integers(0, 9))), HOLDERS
)
def test_refusals_and_generations(seen: dict[str, Seen], me: Holder) -> None:
    assert all(plan.next_generation(seen) > entry.generation for entry in seen.values())
    judged = {name: plan.judge(entry, me, says(None)) for name, entry in seen.items()}
    refused = plan.refusals(seen, judged, [])
    assert set(refused) == {name for name, state in judged.items() if state == OTHER}
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
    me = cluster.this_process("r1", "upgrade", os.getpid(), NOW)
    assert (me.run_id, me.pid, me.since, me.what) == ("r1", os.getpid(), NOW, "upgrade")
    assert me.boot_id
    assert me.pid_namespace.startswith("pid:[")
    assert me.started == cluster.started(os.getpid())
    assert cluster.started(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        holder = cluster.this_process("r2", "", child.pid, NOW)
        assert plan.judge(Seen(holder), me, cluster.started) == OTHER
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has asked for its end yet: a zombie. It is dead all the same.
        assert cluster.started(child.pid) == 0
        assert plan.judge(Seen(holder), me, cluster.started) == DEAD
    finally:
        child.kill()
        child.communicate()
    assert cluster.started(child.pid) == 0
    assert plan.judge(Seen(holder), me, cluster.started) == DEAD
    assert cluster.started(2**22 + 1) == 0
    assert cluster.started(1), "a process of another user, or of root, is seen too"


def test_a_proc_of_another_pid_namespace_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda _path: "1")
    me = cluster.this_process("r1", "", os.getpid(), NOW)
    assert (me.boot_id, me.pid_namespace, me.started) == ("", "", 0)

    def missing(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", missing)
    assert cluster.this_process("r1", "", os.getpid(), NOW).boot_id == ""


def test_a_lease_that_somebody_else_wrote() -> None:
    assert cluster.seen_of(None) == Seen()
    lease = {"metadata": {"annotations": {cluster.HOLDER_ANNOTATION: "{"}}, "spec": {"holderIdentity": "r9", "leaseTransitions": None}}
    assert cluster.seen_of(lease) == Seen(Holder("r9"), 0, "")
    assert cluster.seen_of({"metadata": {}, "spec": {"holderIdentity": "", "leaseTransitions": 4, "renewTime": "t"}}) == Seen(None, 4, "t")
