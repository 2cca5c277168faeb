# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate a member has to serve where, whose turn it is, and what is said of those that serve another one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import serving as plan

SPEC: dict[str, Any] = {
    "ports": {"client": 4222, "cluster": 6222},
    "certificates": [
        {"file": "server", "ports": {"client": "greeting", "cluster": "tls"}},
        {"file": "client.root", "shared": True},
    ],
}
MEMBERS = ["east-0", "east-1", "west-0"]


def issued(member: str, serial: str = "0a") -> dict[str, Any]:
    return {"name": member, "file": "server", "fingerprint": f"f-{member}-{serial}", "serial": serial, "not_after": "2027-01-01T00:00:00Z"}


def secret(*members: str) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"annotations": {names.CERTIFICATES_ANNOTATION: json.dumps({member: {} for member in members})}}}


def leaf(member: str, serial: str = "0a") -> plan.Leaf:
    return plan.Leaf(f"f-{member}-{serial}", serial, "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", ("IP:10.0.0.1",))


def test_every_port_that_the_spec_names_has_to_serve_what_was_issued_for_the_member() -> None:
    found = plan.endpoints(SPEC, MEMBERS, [issued("east-0"), issued("west-0", "0b"), {**issued("clients"), "file": "client.root"}])
    assert [(item.member, item.port, item.number, item.greets, item.serial) for item in found] == [
        ("east-0", "client", 4222, True, "0a"),
        ("east-0", "cluster", 6222, False, "0a"),
        ("west-0", "client", 4222, True, "0b"),
        ("west-0", "cluster", 6222, False, "0b"),
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"certificates": [{"file": "a", "ports": {"web": "tls"}}]},
            "certificates (a): ports.web is none of the spec's ports (client, cluster)",
        ),
        (
            {"certificates": [{"file": "a", "ports": {"client": "ssl"}}]},
            "certificates (a): ports.client is 'ssl'; use one of tls, greeting",
        ),
        ({"reload": "kill -1 1"}, "reload must be a command as a list of words"),
        ({"reload": 5}, "reload must be a command as a list of words"),
    ],
)
def test_a_spec_that_names_other_ports_is_refused(change: dict[str, Any], problem: str) -> None:
    (said,) = plan.spec_problems({**SPEC, **change})
    assert problem in said
    assert plan.spec_problems({**SPEC, "reload": ["kill", "-1", "1"]}) == []
    assert plan.spec_problems({"certificates": [{"file": "a"}], "reload": ["x"]}) == [
        "reload needs ports of a certificate: nothing else tells when the files have arrived"
    ]


@given(
    groups=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    changed=st.sets(st.integers(0, 3)),
    stale=st.sets(st.integers(0, 9)),
    down=st.sets(st.integers(0, 7)),
)
def test_every_member_that_is_due_has_one_turn_and_every_changed_secret_is_written_once(
    groups: list[int], changed: set[int], stale: set[int], down: set[int]
) -> None:
    members = [f"east-{number}" for number in range(len(groups))]
    order = [member for number, member in enumerate(members) if number not in down]
    used = sorted(set(groups))
    secrets = [secret(*[member for member, group in zip(members, groups, strict=True) if group == number]) for number in used]
    differs = [number in changed for number in used]
    turns = plan.turns(secrets, differs, [f"east-{number}" for number in stale], order)
    written = [index for _member, indices in turns for index in indices]
    assert sorted(written) == [index for index, differing in enumerate(differs) if differing]
    had = [member for member, _indices in turns if member]
    assert had == [member for member in order if int(member[5:]) in stale or groups[int(member[5:])] in changed]
    # Nobody is waited for whose files are yet to be written.
    for position, (member, _indices) in enumerate(turns):
        before = {index for _member, indices in turns[: position + 1] for index in indices}
        assert not member or {index for index in written if member in plan.members_of(secrets[index])} <= before
    assert all(member for member, _indices in turns[:-1])


def test_what_is_not_served_is_said_with_both_serials() -> None:
    wanted = plan.endpoints(SPEC, ["east-0"], [issued("east-0", "0b")])
    seen = {("east-0", "client"): leaf("east-0", "0a"), ("east-0", "cluster"): leaf("east-0", "0b")}
    assert plan.missing(wanted, seen) == [
        "member east-0, port client (4222): it serves serial 0a (until 2026-12-31T00:00:00Z), not 0b (until 2027-01-01T00:00:00Z)"
    ]
    assert plan.missing(wanted, {}) == [
        "member east-0, port client (4222): it was not asked",
        "member east-0, port cluster (6222): it was not asked",
    ]
    served = plan.served_list(wanted, {**seen, ("east-0", "cluster"): plan.Leaf(error="refused")})
    assert [(entry["port"], entry["current"], entry["error"]) for entry in served] == [("client", False, ""), ("cluster", False, "refused")]
    assert plan.served_lines(served, ["east-0"]) == [
        "east-0 client (4222): serial 0a, until 2026-12-31T00:00:00Z, renewed",
        "east-0 cluster (6222): refused",
    ]


@pytest.mark.parametrize(
    ("stored", "serial", "found"),
    [("0a", "0a", []), ("0a", "0b", ["east-0"]), ("0a", "", ["east-0"]), (None, "0a", ["east-0"])],
)
def test_a_member_is_behind_whose_secret_has_another_certificate_or_none(stored: str | None, serial: str, found: list[str]) -> None:
    certificates = {} if stored is None else {"east-0": {"server": {"serial": stored}}}
    observed = {"east": {"secrets": [{"certificates": certificates}]}, "west": {"secrets": []}}
    entries = [issued("east-0", serial), {**issued("clients"), "serial": "77"}]
    assert plan.behind([{"member": "east-0"}], observed, entries) == found


def test_certificates_that_members_share_count_where_a_member_has_them() -> None:
    stored = {
        "east": {
            "secrets": [
                {
                    "certificates": {
                        "east-0": {"server": {"serial": "0a"}, "client.root": {"serial": "1"}},
                        "east-1": {"server": {"serial": "0a"}},
                    }
                }
            ]
        }
    }
    shared = {**issued("clients", "2"), "file": "client.root"}
    entries = [issued("east-0"), issued("east-1"), shared]
    assert plan.behind([{"member": "east-0"}, {"member": "east-1"}], stored, entries) == ["east-0"]
    spec = {"ports": {"web": 1}, "certificates": [{"file": "client.root", "shared": True, "ports": {"web": "tls"}}]}
    assert [(item.member, item.serial) for item in plan.endpoints(spec, ["east-0", "east-1"], [shared])] == [
        ("east-0", "2"),
        ("east-1", "2"),
    ]


def test_members_that_do_not_run_are_named() -> None:
    secrets = [secret("east-0"), secret("east-1", "east-2"), secret("west-0")]
    assert plan.unproven(secrets, [True, True, False], ["east-0", "east-1"]) == ["east-2"]


def test_other_objects_have_nobodys_certificates() -> None:
    assert plan.members_of({"kind": "ConfigMap", "metadata": {"name": "x"}}) == []
    assert plan.members_of(secret("b", "a")) == ["a", "b"]


def test_what_is_said_of_clients_certificates_counts_as_much_as_what_is_served() -> None:
    wanted = plan.endpoints(SPEC, ["east-0"], [issued("east-0")])[:1]
    cards = [plan.Card("a" * 64, True, "c", "k"), plan.Card("b" * 64, False, "c", "k")]

    def said(**answers: str) -> list[str]:
        shown = tuple((name * 64, answer) for name, answer in answers.items())
        return plan.missing(wanted, {("east-0", "client"): dataclasses.replace(leaf("east-0"), cards=shown)}, cards)

    assert said(a="accepted", b="refused") == []
    assert said(a="refused", b="refused") == [
        "member east-0, port client (4222): a client's certificate of the CA aaaaaaaaaaaaaaaa is refused"
    ]
    assert "of the CA bbbbbbbbbbbbbbbb is accepted" in said(a="accepted", b="accepted")[0]
    # What is not known is proof of neither.
    assert "bbbbbbbbbbbbbbbb is not known: it was not asked" in said(a="accepted")[0]
    assert "is not known: TLS: the server closed the connection" in said(a="accepted", b="TLS: the server closed the connection")[0]


def test_how_other_cas_come_to_be_trusted() -> None:
    assert plan.spec_problems({**SPEC, "reload_ca": "restart"}) == plan.spec_problems({**SPEC, "reload_ca": "reload"}) == []
    assert plan.spec_problems({**SPEC, "reload_ca": "never"}) == ["reload_ca is 'never'; use one of reload, restart"]


def test_a_port_that_takes_every_client_is_named() -> None:
    wanted = plan.endpoints(SPEC, ["east-0"], [issued("east-0")])
    nobody = plan.Card("e" * 64, False, "c", "k")
    answers = {"client": "accepted", "cluster": "refused"}
    seen = {
        ("east-0", port): dataclasses.replace(leaf("east-0"), cards=(("a" * 64, "accepted"), (nobody.ca, answer)))
        for port, answer in answers.items()
    }
    assert plan.careless(wanted, seen, nobody) == ["member east-0, port client (4222)"]
    assert {found.cards for found in plan.without_card(seen, nobody).values()} == {(("a" * 64, "accepted"),)}
    # Who says nothing accepts nothing.
    assert plan.careless(wanted, {}, nobody) == []
