# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions about certificates: each reason alone, and what must hold for any of them."""

from __future__ import annotations

import dataclasses
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import certificates as plan

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "east-0", "file": "node", "common_name": "node", "ip_addresses": ["10.0.0.1"], **fields}


def wish(**fields: Any) -> plan.WantedLeaf:
    wanted, problems = plan.wanted_leaves([entry(**fields)], "EC_P256", "Cockroach", 30)
    assert not problems
    return wanted[0]


def fitting(wanted: plan.WantedLeaf, **fields: Any) -> plan.ExistingLeaf:
    """A certificate on disk that is as wanted, but for the given fields."""
    found = plan.ExistingLeaf(
        key_matches=True,
        common_name=wanted.common_name,
        organization=wanted.organization,
        usages=wanted.usages,
        sans=wanted.sans,
        key_type=wanted.key_type,
        signed_by_ca=True,
        not_before=NOW - DAY,
        not_after=NOW + 100 * DAY,
    )
    return dataclasses.replace(found, **fields)


def problems_of(*entries: dict[str, Any]) -> list[str]:
    return plan.wanted_leaves(entries, "EC_P256", "", 30)[1]


def the_ca(**fields: Any) -> plan.CaFacts:
    return dataclasses.replace(plan.CaFacts("/pki/ca.crt", "hostnet CA", "ab" * 32, NOW - DAY, NOW + 1000 * DAY), **fields)


# ---- reasons ----


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"problem": "unreadable: node.crt is not a PEM certificate"}, "unreadable: node.crt is not a PEM certificate"),
        ({"key_matches": False}, "the private key does not match the certificate"),
        ({"sans": ()}, "SANs differ (missing IP:10.0.0.1)"),
        ({"sans": ("IP:10.0.0.1", "IP:10.0.0.12")}, "SANs differ (extra IP:10.0.0.12)"),
        ({"sans": ("RegisteredID:1.2", "IP:10.0.0.12")}, "SANs differ (missing IP:10.0.0.1; extra IP:10.0.0.12, RegisteredID:1.2)"),
        ({"common_name": "root"}, "common name is 'root', wanted is 'node'"),
        ({"organization": ""}, "organization is '', wanted is 'Cockroach'"),
        ({"usages": ("server",)}, "usages is 'server', wanted is 'client,server'"),
        ({"key_type": "RSA_2048"}, "key type is 'RSA_2048', wanted is 'EC_P256'"),
        ({"signed_by_ca": False}, "issued by another CA"),
        ({"not_after": NOW + 30 * DAY}, ""),
        ({"not_after": NOW + 30 * DAY - timedelta(seconds=1)}, "expires in 29 days (2026-06-03T03:02:00Z), renewed below 30"),
        ({"not_after": NOW}, "expired at 2026-05-04T03:02:01Z"),
        ({"not_before": NOW + timedelta(seconds=1)}, "not valid before 2026-05-04T03:02:02Z (the clock says 2026-05-04T03:02:01Z)"),
        ({"common_name": "x", "signed_by_ca": False}, "common name is 'x', wanted is 'node'; issued by another CA"),
    ],
)
def test_reason(changes: dict[str, Any], reason: str) -> None:
    wanted = wish()
    assert plan.reissue_reason(fitting(wanted, **changes), wanted, NOW) == reason


def test_missing_is_a_reason() -> None:
    assert plan.reissue_reason(None, wish(), NOW) == "missing"


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(lambda address: not getattr(address, "scope_id", None)).map(str)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())
SANS = st.fixed_dictionaries({"ip_addresses": st.lists(ADDRESSES, min_size=1, max_size=5), "dns_names": st.lists(NAMES, max_size=5)})


@settings(deadline=None)
@given(SANS, st.randoms())
def test_order_case_and_repetition_of_names_are_no_reason(sans: dict[str, list[str]], random: Any) -> None:
    wanted = wish(**sans)
    again = {field: [value.upper() for value in values] + values for field, values in sans.items()}
    for values in again.values():
        random.shuffle(values)
    other = wish(**again)
    assert other == wanted
    shuffled = list(wanted.sans)
    random.shuffle(shuffled)
    assert plan.reissue_reason(fitting(wanted, sans=tuple(shuffled)), wanted, NOW) == ""


@settings(deadline=None)
@given(SANS, SANS)
def test_kept_only_if_the_names_are_equal(one: dict[str, list[str]], two: dict[str, list[str]]) -> None:
    old, new = wish(**one), wish(**two)
    reason = plan.reissue_reason(fitting(old), new, NOW)
    assert (reason == "") == (set(old.sans) == set(new.sans))
    for san in set(old.sans) ^ set(new.sans):
        assert san in reason


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(-40000, 400 * 86400))
def test_renewal_depends_on_the_time_left_alone(renew_days: int, left: int) -> None:
    wanted = dataclasses.replace(wish(), renew_days=renew_days)
    kept = plan.reissue_reason(fitting(wanted, not_after=NOW + timedelta(seconds=left)), wanted, NOW) == ""
    assert kept == (left > 0 and left >= renew_days * 86400)


@settings(deadline=None)
@given(st.lists(st.tuples(ADDRESSES, NAMES), max_size=20))
def test_wishes_keep_the_order_of_the_input(pairs: list[tuple[str, str]]) -> None:
    entries = [entry(name=f"m-{index}", ip_addresses=[address], dns_names=[name]) for index, (address, name) in enumerate(pairs)]
    wanted, problems = plan.wanted_leaves(entries, "EC_P256", "", 1)
    assert not problems
    assert [leaf.name for leaf in wanted] == [one["name"] for one in entries]
    for leaf, (address, _name) in zip(wanted, pairs, strict=True):
        assert f"IP:{ipaddress.ip_address(address)}" in leaf.sans


# ---- input ----


def test_canonical_names_are_sorted_by_kind_and_number() -> None:
    wanted = wish(
        ip_addresses=["10.0.0.12", "FD00:0::1", "10.0.0.2", "::1"],
        dns_names=["B.example.", "*.a.example"],
        uris=["crdb://tenant/1/user/root"],
    )
    assert wanted.sans == (
        "IP:10.0.0.2",
        "IP:10.0.0.12",
        "IP:::1",
        "IP:fd00::1",
        "DNS:*.a.example",
        "DNS:b.example",
        "URI:crdb://tenant/1/user/root",
    )
    assert wanted.label == "east-0/node"
    assert wanted.usages == ("client", "server")


def test_a_client_needs_no_names() -> None:
    assert wish(usages=["client", "client"], ip_addresses=[]).usages == ("client",)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "../x"}, "name: '../x' cannot be a file name"),
        ({"name": "a\\b"}, "cannot be a file name"),
        ({"name": ""}, "name: '' cannot be a file name"),
        ({"name": ".hidden"}, "cannot be a file name"),
        ({"name": "x\n"}, "cannot be a file name"),
        ({"name": "ca.crt"}, "is a file of the CA"),
        ({"name": "peers.key", "ca_name": "peers"}, "is a file of the CA"),
        ({"file": "a/b"}, "file: 'a/b' cannot be a file name"),
        ({"ca_name": "a/b"}, "ca_name: 'a/b' cannot be a file name"),
        ({"common_name": ""}, "common_name: must not be empty"),
        ({"common_name": "x" * 65}, "has 65 characters, X.509 allows 64"),
        ({"common_name": "x\ty"}, "cannot be printed"),
        ({"usages": []}, "usages: must name at least one"),
        ({"usages": ["peer"]}, "'peer' is not one of server, client"),
        ({"ip_addresses": ["10.0.0.256"]}, "ip_addresses: '10.0.0.256' is not an IP address"),
        ({"ip_addresses": ["10.0.0.0/8"]}, "is not an IP address"),
        ({"ip_addresses": ["[::1]"]}, "is not an IP address"),
        ({"ip_addresses": ["fe80::1%eth0"]}, "has a zone"),
        ({"dns_names": ["10.0.0.1"]}, "dns_names: '10.0.0.1' is an IP address"),
        ({"dns_names": ["fd00::1"]}, "is an IP address"),
        ({"dns_names": ["a..b"]}, "is not a DNS name"),
        ({"dns_names": ["*"]}, "is not a DNS name"),
        ({"dns_names": ["a.*.b"]}, "is not a DNS name"),
        ({"dns_names": ["bücher.example"]}, "is not a DNS name"),
        ({"dns_names": [".".join(["a" * 63] * 4)]}, "is not a DNS name"),
        ({"uris": ["no-scheme"]}, "is not a URI"),
        ({"uris": ["http://[::1"]}, "is not a URI"),
        ({"uris": ["a:b c"]}, "is not a URI"),
        ({"uris": ["http://ü"]}, "is not a URI"),
        ({"ip_addresses": []}, "accepted by no client"),
    ],
)
def test_bad_entry(fields: dict[str, Any], text: str) -> None:
    (problem,) = problems_of(entry(**fields))
    assert problem.startswith("certificates[0] (")
    assert text in problem


def test_duplicates_name_both_places() -> None:
    (problem,) = problems_of(entry(), entry(name="east-1"), entry())
    assert problem.startswith("certificates[2] (east-0/node): name and file are those of certificates[0]")


def test_all_problems_in_one_error_but_not_a_thousand() -> None:
    problems = problems_of(*(entry(name=f"m-{index}", common_name="") for index in range(12)))
    with pytest.raises(plan.CertificateError) as raised:
        plan.raise_problems(problems)
    assert "m-9/node" in str(raised.value)
    assert "m-10/node" not in str(raised.value)
    assert "... and 2 more" in str(raised.value)
    plan.raise_problems([])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"lifetime": plan.Lifetime(0, 0)}, "valid_days: 0 is not between"),
        ({"lifetime": plan.Lifetime(36501, 0)}, "valid_days: 36501"),
        ({"lifetime": plan.Lifetime(10, -1)}, "renew_days (hostnet_certificate.renew_days): -1 is negative"),
        ({"lifetime": plan.Lifetime(10, 10)}, "renew_days (hostnet_certificate.renew_days): 10 is not smaller than valid_days (10)"),
        ({"ca_valid_days": 0}, "ca.valid_days: 0"),
        ({"key_type": "DSA"}, "key_type: 'DSA'"),
        ({"ca_key_type": "DSA"}, "ca.key_type: 'DSA'"),
        ({"ca_common_name": ""}, "ca.common_name: must not be empty"),
        ({"organization": "o" * 65}, "organization: "),
    ],
)
def test_settings(fields: dict[str, Any], text: str) -> None:
    good = {
        "lifetime": plan.Lifetime(365, 30),
        "ca_valid_days": 3650,
        "key_type": "EC_P256",
        "ca_key_type": "RSA_4096",
        "ca_common_name": "CA",
        "organization": "",
    }
    problems = plan.settings_problems(**{**good, **fields})
    assert [text in problem for problem in problems[:1]] == ([True] if text else [])


@pytest.mark.parametrize(("given_text", "plain"), [("", ""), (" AB:" + "cd:" * 30 + "EF ", "ab" + "cd" * 30 + "ef"), ("0" * 64, "0" * 64)])
def test_fingerprint(given_text: str, plain: str) -> None:
    assert plan.normal_fingerprint(given_text) == plain


@pytest.mark.parametrize("text", ["abc", "0" * 63, "g" * 64, "sha256:" + "0" * 64])
def test_bad_fingerprint(text: str) -> None:
    with pytest.raises(plan.CertificateError, match=r"expected_ca_fingerprint"):
        plan.normal_fingerprint(text)


# ---- the CA ----


@pytest.mark.parametrize(
    ("fields", "expected", "text"),
    [
        ({}, "", ""),
        ({}, "ab" * 32, ""),
        ({}, "cd" * 32, "but the recorded CA has " + "cd" * 32),
        ({"fingerprint": ""}, "cd" * 32, "(none yet)"),
        ({"is_ca": False}, "", "is not a CA certificate"),
        ({"can_sign": False}, "", "lacks keyCertSign"),
        ({"not_after": NOW}, "", "expired at 2026-05-04T03:02:01Z"),
        ({"not_before": NOW + DAY}, "", "is not valid before 2026-05-05T03:02:01Z"),
    ],
)
def test_ca_problem(fields: dict[str, Any], expected: str, text: str) -> None:
    problem = plan.ca_problem(the_ca(**fields), NOW, expected)
    assert text in problem
    assert bool(problem) == bool(text)


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 86400 * 2), st.integers(1, 86400 * 3000))
def test_a_leaf_lives_within_its_ca(valid_days: int, ca_age: int, ca_left: int) -> None:
    ca = the_ca(not_before=NOW - timedelta(seconds=ca_age), not_after=NOW + timedelta(seconds=ca_left))
    if valid_days * 86400 <= ca_left:
        begin, end = plan.leaf_validity(ca, NOW, valid_days)
        assert ca.not_before <= begin <= NOW
        assert NOW - begin <= plan.BACKDATE
        assert end == NOW + valid_days * DAY <= ca.not_after
        assert plan.ca_warning(ca, NOW, valid_days) == ""
    else:
        with pytest.raises(plan.CertificateError) as raised:
            plan.leaf_validity(ca, NOW, valid_days)
        assert plan.iso(ca.not_after) in str(raised.value)
        assert ("set valid_days to at most" in str(raised.value)) == (ca_left >= 86400)
        assert "renew the CA" in str(raised.value)
        assert "Renew the CA" in plan.ca_warning(ca, NOW, valid_days)


def test_a_leaf_begins_a_day_ago_in_whole_seconds() -> None:
    old = the_ca(not_before=NOW - 9 * DAY)
    begin, end = plan.leaf_validity(old, NOW.replace(microsecond=999999), 10)
    assert (begin, end) == (NOW - DAY, NOW + 10 * DAY)


# ---- diff ----


def test_description() -> None:
    text = plan.describe("east-0/node", common_name="node", organization="Cockroach", sans=("IP:::1",), not_after=NOW, note="missing")
    assert text == "east-0/node:\n  subject: CN=node,O=Cockroach\n  SANs: IP:::1\n  not after: 2026-05-04T03:02:01Z\n  reason: missing\n"
    bare = plan.describe("c/root", common_name="root", organization="", sans=(), not_after=NOW)
    assert bare == "c/root:\n  subject: CN=root\n  SANs: (none)\n  not after: 2026-05-04T03:02:01Z\n"


@pytest.mark.parametrize(
    ("valid", "said", "renew"), [(365, None, 121), (90, None, 30), (2, None, 0), (1, None, 0), (90, 10, 10), (90, 0, 0)]
)
def test_a_third_of_the_life_is_the_time_for_a_renewal(valid: int, said: int | None, renew: int) -> None:
    found = plan.lifetime_of(valid, said)
    assert found == plan.Lifetime(valid, renew)
    assert found.renew_days < found.valid_days


def test_what_is_asked_for_is_named_by_folder_or_file_and_nothing_else() -> None:
    wanted = [wish(name=name, file=file) for name, file in (("east-0", "server"), ("east-0", "peer"), ("clients", "client.root"))]
    assert plan.asked_for(wanted, []) == [False, False, False]
    assert plan.asked_for(wanted, ["all"]) == [True, True, True]
    assert plan.asked_for(wanted, ["east-0"]) == [True, True, False]
    assert plan.asked_for(wanted, ["east-0/peer", "clients"]) == [False, True, True]
    with pytest.raises(
        plan.CertificateError,
        match=r"renew \(hostnet_renew_certificates\): 'east-1' has no certificate here; use all, or some of clients, clients/client.root, east-0, ",
    ):
        plan.asked_for(wanted, ["east-0", "east-1"])
