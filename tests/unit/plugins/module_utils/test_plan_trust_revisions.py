# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchange of a CA: its phases and their order, what is recorded and read, and that at no moment a member refuses another one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.trust_revisions import ABANDON, DROP, ISSUE, PHASES, TRUST, Trust

Json = dict[str, Any]
OLD, NEW, NEWER = "a" * 64, "b" * 64, "c" * 64
FIRST = plan.first(OLD)
TRUSTED = plan.following(FIRST, TRUST, NEW)
ISSUED = plan.following(TRUSTED, ISSUE, "")
DROPPED = plan.following(ISSUED, DROP, "")
ABANDONED = plan.following(TRUSTED, ABANDON, "")
IDENTITY = {"ca_fingerprint": OLD}
HERE: list[Json] = [{"fingerprint": found, "private_key": f"/pki/{found[0]}.key", "has_key": True} for found in (OLD, NEW)]
PKI: Json = {"fingerprint": OLD, "path": "/pki", "problem": "", "authorities": HERE}
HOSTNET: Json = {"name": "db", "system": "etcd", "image": "i:1", "ca": {}, "pki": PKI}


def test_the_revisions_of_an_exchange() -> None:
    assert TRUSTED == {"revision": 2, "trusted": [OLD, NEW], "issuer": OLD, "dropped": []}
    assert ISSUED == {"revision": 3, "trusted": [OLD, NEW], "issuer": NEW, "dropped": []}
    assert DROPPED == {"revision": 4, "trusted": [NEW], "issuer": NEW, "dropped": [OLD]}
    assert [plan.phase(trust) for trust in (FIRST, TRUSTED, ISSUED, DROPPED)] == ["", TRUST, ISSUE, DROP]
    assert plan.following(DROPPED, TRUST, NEWER) == {"revision": 5, "trusted": [NEW, NEWER], "issuer": NEW, "dropped": []}


def test_no_phase_is_skipped_and_none_goes_back() -> None:
    allowed = {
        (plan.phase(trust), wanted)
        for trust in (FIRST, TRUSTED, ISSUED, DROPPED)
        for wanted in PHASES
        if not plan.order_problem(trust, wanted)
    }
    assert allowed == {("", TRUST), (TRUST, TRUST), (TRUST, ISSUE), (ISSUE, ISSUE), (ISSUE, DROP), (DROP, DROP), (DROP, TRUST)}
    assert "begin with hostnet_ca_phase=trust" in plan.order_problem(FIRST, DROP)
    assert "in phase trust: hostnet_ca_phase=issue comes next" in plan.order_problem(TRUSTED, DROP)
    assert "in phase issue: hostnet_ca_phase=drop comes next" in plan.order_problem(ISSUED, TRUST)
    for trust, wanted in ((FIRST, ISSUE), (TRUSTED, TRUST), (TRUSTED, DROP), (DROPPED, DROP)):
        with pytest.raises(ValueError, match=r"."):
            plan.following(trust, wanted, NEWER)


def test_the_way_back_is_open_until_the_new_ca_issues() -> None:
    assert ABANDONED == {"revision": 3, "trusted": [OLD], "issuer": OLD, "dropped": [NEW]}
    assert plan.parse(plan.dump(ABANDONED)) == ABANDONED
    assert plan.order_problem(TRUSTED, ABANDON) == plan.order_problem(ABANDONED, ABANDON) == ""
    assert plan.following(ABANDONED, TRUST, NEWER) == {"revision": 4, "trusted": [OLD, NEWER], "issuer": OLD, "dropped": []}
    assert "no CA is being exchanged" in plan.order_problem(FIRST, ABANDON)
    assert "there is no way back: hostnet_ca_phase=drop comes next" in plan.order_problem(ISSUED, ABANDON)
    for trust in (FIRST, ISSUED, DROPPED, ABANDONED):
        with pytest.raises(ValueError, match=r"."):
            plan.following(trust, ABANDON, "")


@pytest.mark.parametrize("fresh", ["", OLD])
def test_what_is_no_new_ca_is_refused(fresh: str) -> None:
    with pytest.raises(ValueError, match="is no new one"):
        plan.following(FIRST, TRUST, fresh)
    with pytest.raises(ValueError, match="is no new one"):
        # The one that was just dropped does not come back.
        plan.following(DROPPED, TRUST, OLD)


def test_what_was_written_is_read() -> None:
    for trust in (TRUSTED, ISSUED, DROPPED):
        assert plan.parse(plan.dump(trust)) == trust
    good = plan.dump(TRUSTED)
    for key, value in (
        ("revision", "1"),
        ("revision", "x"),
        ("trusted", "[]"),
        ("trusted", json.dumps([OLD, OLD])),
        ("trusted", json.dumps([OLD, NEW, NEWER])),
        ("trusted", "null"),
        ("trusted", '[""]'),
        ("issuer", NEWER),
        ("dropped", json.dumps([NEW])),
        ("dropped", "{"),
    ):
        assert plan.parse({**good, key: value}) is None, (key, value)
    assert plan.parse({}) is None
    assert names.is_trust("db", names.trust("db", 12))
    assert not names.is_trust("db", "db-trust-x")
    assert not names.is_trust("db", "db-x-trust-2")


def found(*trusts: Trust, **changes: Any) -> Json:
    return {"absent": False, "trusts": [plan.dump(trust) for trust in trusts], "workloads": [], **changes}


def test_the_last_revision_is_the_one_in_force_wherever_it_is() -> None:
    assert plan.newest(None, {"east": found()}) == (None, [])
    assert plan.newest(IDENTITY, {"east": found(), "west": found()}) == (FIRST, [])
    half = {"east": found(TRUSTED, ISSUED), "west": found(TRUSTED)}
    assert plan.newest(IDENTITY, half) == (ISSUED, [])
    assert plan.missing_copies(ISSUED, half) == ["west"]
    # One that the deployment grows into has nothing yet, and one that does not answer gets nothing.
    assert plan.missing_copies(ISSUED, {**half, "north": found(), "south": found(absent=True)}) == ["north", "west"]
    assert plan.missing_copies(FIRST, half) == []
    assert plan.missing_copies(None, half) == []


def test_revisions_that_disagree_or_cannot_be_read_are_told() -> None:
    other = plan.following(FIRST, TRUST, NEWER)
    (error,) = plan.newest(IDENTITY, {"east": found(TRUSTED), "west": found(other)})[1]
    assert "kube clusters east and west disagree on revision 2" in error
    edited = {**plan.dump(TRUSTED), "issuer": ""}
    (error,) = plan.newest(IDENTITY, {"east": found(trusts=[edited])})[1]
    assert "kube cluster east: a record of the CAs that members trust cannot be read" in error


def test_workloads_remember_it_where_all_records_were_deleted() -> None:
    """Else the CA that the identity names would count, whose key was put aside, and which no member trusts."""
    carried = [{"trust": plan.annotation(DROPPED)}, {"trust": plan.annotation(ISSUED)}, {"trust": ""}, {}]
    assert plan.newest(IDENTITY, {"east": found(workloads=carried)}) == (DROPPED, [])
    assert plan.newest(IDENTITY, {"east": found(workloads=[{"trust": "{"}])})[1]
    assert plan.annotation(FIRST) == plan.annotation(None) == ""


def test_who_is_started_anew() -> None:
    etcd = {"reload_ca": "restart"}
    assert plan.restarted_for(FIRST, etcd) == plan.restarted_for(None, etcd) == plan.restarted_for(TRUSTED, {}) == ""
    # For another set of CAs, and for no other issuer.
    assert plan.restarted_for(TRUSTED, etcd) == plan.restarted_for(ISSUED, etcd) == f"{OLD},{NEW}"
    assert plan.restarted_for(DROPPED, etcd) == NEW


def test_what_members_are_shown() -> None:
    issued = [
        {"name": "trust", "file": fingerprint[:16], "certificate": f"/p/{fingerprint[0]}.crt", "private_key": "k"}
        for fingerprint in (OLD, NEW)
    ]
    assert [(entry["ca"], entry["accepted"]) for entry in plan.shown(FIRST, issued)] == [(OLD, True)]
    assert [(entry["ca"], entry["accepted"]) for entry in plan.shown(ISSUED, issued)] == [(OLD, True), (NEW, True)]
    assert [(entry["ca"], entry["accepted"], entry["certificate"]) for entry in plan.shown(DROPPED, issued)] == [
        (NEW, True, "/p/b.crt"),
        (OLD, False, "/p/a.crt"),
    ]
    assert [wish["ca_fingerprint"] for wish in plan.probes(DROPPED)] == [NEW, OLD]
    assert plan.probes(None) == []
    # One that was not issued is no proof that may be left out.
    for trust in (TRUSTED, ISSUED, DROPPED):
        with pytest.raises(KeyError):
            plan.shown(trust, issued[:1])
    with pytest.raises(KeyError):
        plan.shown(TRUSTED, issued[1:])
    # But that of a CA on its way out, which may have expired, and whose key may be gone.
    assert [entry["ca"] for entry in plan.shown(ISSUED, issued[1:])] == [NEW]
    assert [entry["ca"] for entry in plan.shown(DROPPED, issued[1:])] == [NEW]
    assert [entry["ca"] for entry in plan.shown(ABANDONED, issued[:1])] == [OLD]


# -- at no moment does a member refuse another one ----------------------------------------------------------------------


@dataclass
class Process:
    """What it has in its files, and what it goes by."""

    file: Trust
    trusted: list[str] = field(default_factory=list)
    issuer: str = ""

    def __post_init__(self) -> None:
        self.read_all()

    def read_all(self) -> None:
        self.trusted, self.issuer = list(self.file["trusted"]), self.file["issuer"]

    def proves(self, trust: Trust) -> bool:
        return self.issuer == trust["issuer"] and all((ca in self.trusted) == taken for ca, taken in plan.expected(trust).items())


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["bring", "bring", "read", "read", "read leaf", "join", "next", "next", "next", "abandon", "leave"]),
        st.integers(0, 9),
    ),
    max_size=120,
)


def refusing(members: list[Process]) -> list[tuple[int, int]]:
    return [(a, b) for a, one in enumerate(members) for b, other in enumerate(members) if one.issuer not in other.trusted]


@given(ACTIONS, st.integers(1, 5))
def test_no_member_ever_refuses_another(actions: list[tuple[str, int]], size: int) -> None:
    """Files come to members in any order, are read in any order or at a crash, members come and go, and the run is killed between any two of these."""
    record = [plan.first("0")]
    members = [Process(record[-1]) for _member in range(size)]
    for action, number in actions:
        member = members[number % len(members)]
        if action == "bring":
            member.file = record[-1]
        elif action == "read":
            member.read_all()
        elif action == "read leaf":
            # etcd: certificate and key in each handshake, CAs when it starts.
            member.issuer = member.file["issuer"]
        elif action == "join":
            members.append(Process(record[-1]))
        elif action == "leave" and len(members) > 1:
            members.remove(member)
        elif action == "abandon" and plan.phase(record[-1]) == TRUST:
            # It needs no proof.
            record.append(plan.following(record[-1], ABANDON, ""))
        elif action == "next" and all(one.proves(record[-1]) for one in members):
            now = plan.phase(record[-1])
            wanted = {"": TRUST, TRUST: ISSUE, ISSUE: DROP, DROP: TRUST}[now]
            record.append(plan.following(record[-1], wanted, str(record[-1]["revision"])))
        assert refusing(members) == [], (action, record[-1], members)


def test_without_the_proof_they_would() -> None:
    """That the model can see it: a phase that does not wait for the last member cuts that one off."""
    late, quick = Process(FIRST), Process(ISSUED)
    assert not late.proves(TRUSTED)
    assert refusing([late, quick]) == [(1, 0)]
    assert refusing([Process(TRUSTED), Process(DROPPED)]) == [(0, 1)]


# -- what a run does ----------------------------------------------------------------------------------------------------


def seen(trust: Trust | None, rollout: Json | None = None, **changes: Any) -> Any:
    known = {"mode": "existing", "open": [], "conflicts": [], "trust": trust, "members": [{"member": "east-0"}], **changes}
    return {"nodes": [], "plan": known, "kube_clusters": {"east": {**found(), "workloads": [{"image": "i:1"}], "rollout": rollout}}}


TARGETS = [{"member": "east-0"}]
SPEC: Json = {"certificates": [{"file": "server", "ports": {"client": "tls"}}, {"file": "client.root"}]}


def test_a_run_says_what_it_and_the_later_ones_do() -> None:
    etcd = {**SPEC, "reload_ca": "restart"}
    told = plan.plan(HOSTNET, etcd, seen(FIRST), TRUST, TARGETS)
    assert (told["errors"], told["begins"], told["resumes"]) == ([], True, False)
    assert told["lines"][0] == f"trust revision 1: members trust {OLD[:16]}, and {OLD[:16]} issues"
    assert [line.partition(":")[0] for line in told["lines"][1:]] == ["trust, this run", "issue, later", "drop, later"]
    assert "started anew" in told["lines"][1]
    assert "nobody is restarted" in plan.plan(HOSTNET, SPEC, seen(FIRST), TRUST, TARGETS)["lines"][1]
    again = plan.plan(HOSTNET, etcd, seen(TRUSTED), TRUST, TARGETS)
    assert (again["begins"], [line.partition(":")[0] for line in again["lines"][1:]]) == (
        False,
        ["trust, this run", "issue, later", "drop, later"],
    )
    last = plan.plan(HOSTNET, etcd, seen(DROPPED), DROP, TARGETS)
    assert (last["errors"], last["begins"], len(last["lines"])) == ([], False, 2)
    assert plan.warning(HOSTNET, TRUSTED)[0].count("hostnet_ca_phase=issue") == 1
    assert plan.warning(HOSTNET, DROPPED) == plan.warning(HOSTNET, FIRST) == plan.warning(HOSTNET, None) == []


def test_what_forbids_a_run() -> None:
    def errors(situation: Any, wanted: str = TRUST, targets: list[Json] | None = None, spec: Json | None = None, **changes: Any) -> str:
        members = TARGETS if targets is None else targets
        return "; ".join(plan.plan({**HOSTNET, **changes}, spec or SPEC, situation, wanted, members)["errors"])

    assert "is not deployed" in errors(seen(FIRST, mode="unfinished"))
    assert "is not deployed" in errors(seen(None, mode="first"))
    assert "members of db that do not run: east-0" in errors(seen(FIRST), targets=[])
    assert "db runs i:1, and hostnet_image is i:2" in errors(seen(FIRST), image="i:2")
    assert "no certificate in the spec of etcd has ports" in errors(seen(FIRST), spec={"certificates": [{"file": "server"}]})
    assert errors(seen(FIRST, conflicts=["x"])) == "x"
    assert errors(seen(FIRST, open=["y"])) == "y"
    own = {"ca": {"certificate": "/c.pem"}}
    assert "hostnet_ca.certificate is /c.pem, the CA that members trust already" in errors(seen(FIRST), **own)
    assert errors(seen(FIRST), **own, pki={"fingerprint": NEW}) == ""
    assert "is no new one, it was trusted before, and dropped" in errors(seen(DROPPED), **own, pki={"fingerprint": OLD})
    assert plan.fresh({**HOSTNET, **own, "pki": {"fingerprint": NEW}}, FIRST) == NEW
    assert plan.fresh(HOSTNET, FIRST) == ""


def test_nothing_is_to_be_issued_by_a_ca_whose_key_is_lost() -> None:
    """It would be recorded, and there is no way back from there."""
    lost = {**HOSTNET, "pki": {**PKI, "authorities": [HERE[0], {**HERE[1], "has_key": False}]}}
    (error,) = plan.plan(lost, SPEC, seen(TRUSTED), ISSUE, TARGETS)["errors"]
    assert "its private key /pki/b.key does not exist on this controller: restore it" in error
    assert "hostnet_ca_phase=abandon" in error
    (error,) = plan.plan({**HOSTNET, "pki": {**PKI, "authorities": HERE[:1]}}, SPEC, seen(TRUSTED), ISSUE, TARGETS)["errors"]
    assert f"/pki/ca-{NEW[:16]}.key" in error
    assert plan.plan(HOSTNET, SPEC, seen(TRUSTED), ISSUE, TARGETS)["errors"] == []
    assert plan.plan(lost, SPEC, seen(ISSUED), ISSUE, TARGETS)["errors"] == []


def test_what_is_lost_of_the_new_ca_does_not_forbid_to_abandon_it() -> None:
    lost = {**HOSTNET, "pki": {**PKI, "authorities": HERE[:1]}}
    situation = seen(TRUSTED, lost_ca=["the new CA is lost"], open=["the new CA is lost", "x"], conflicts=["the new CA is lost", "y"])
    told = plan.plan(lost, SPEC, situation, ABANDON, TARGETS)
    assert (told["errors"], told["begins"]) == (["x", "y"], True)
    assert told["lines"][1].startswith("abandon, this run: the new CA, which has issued nothing, is trusted no more")
    assert "the new CA is lost" in plan.plan(lost, SPEC, situation, TRUST, TARGETS)["errors"]
    # The old one is needed as ever.
    nothing = {**HOSTNET, "pki": {**PKI, "authorities": [{**HERE[0], "has_key": False}]}}
    assert "the new CA is lost" in plan.plan(nothing, SPEC, situation, ABANDON, TARGETS)["errors"]
    again = plan.plan(lost, SPEC, seen(ABANDONED, lost_ca=[]), ABANDON, TARGETS)
    assert (again["errors"], again["begins"], len(again["lines"])) == ([], False, 2)


def test_a_restart_that_was_killed_goes_on_first() -> None:
    rollout = {"schema": 1, "generation": 1, "sequence": 1, "run_id": "r", "state": "in_flight", "done": [], "steps": [], "work": "restart"}
    told = plan.plan(HOSTNET, SPEC, seen(TRUSTED, rollout, open=["a rollout was begun"]), TRUST, [])
    assert (told["errors"], told["resumes"]) == ([], True)
    # A phase that begins needs everybody, whoever began the restart.
    (error,) = plan.plan(HOSTNET, SPEC, seen(TRUSTED, rollout, open=["a rollout was begun"]), ISSUE, [])["errors"]
    assert "members of db that do not run: east-0" in error
    other = plan.plan(HOSTNET, SPEC, seen(TRUSTED, {**rollout, "work": "reboot"}, open=["a rollout was begun"]), TRUST, TARGETS)
    assert (other["errors"], other["resumes"]) == (["a rollout was begun"], False)
