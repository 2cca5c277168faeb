# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about a status: its values, and that whatever is in them is text."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.filter.deployment import status_html
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import expiry, status_page
from support import statuses
from support.page_checks import EVIL
from support.pages import Shape

WELL, TROUBLED = statuses.well(), statuses.troubled()


def test_well() -> None:
    page = status_page.page(WELL)
    assert page["verdict"] == {"css": "good", "word": "✓ Healthy.", "said": "5 of 5 members well."}
    assert (page["problems"], page["warnings"], page["marked"], page["rollout"], page["lock"]) == ([], [], [], {}, [])
    assert page["at"] == "2026-12-01 09:00:00"
    east, west = page["kube_clusters"]
    assert [zone["zone"] for zone in east["zones"]] == ["east-a", "east-b", "east-c"]
    assert east["said"] == "3 of 3 members well, 3 zones"
    assert [[one["member"] for one in zone["members"]] for zone in west["zones"]] == [["west-0"], ["west-1"]]
    assert east["zones"][0]["members"][0]["role"] == "voter, leader"
    assert page["certificates"]["rows"][0] == ["east-0", "1f", "2027-11-22 12:00:00", "356"]
    assert page["facts_of"]["First certificate"] == "356 days (east-0)"


def test_each_problem_has_the_command_that_mends_it() -> None:
    found = {problem["member"] or problem["text"]: problem["command"] for problem in status_page.page(TROUBLED)["problems"]}
    assert found["east-1"] == "ansible-playbook -i INVENTORY playbooks/repair.yml"
    # Nothing mends those but what their reasons say.
    assert (found["east-2"], found["west-0"]) == ("", "")
    assert (
        found["join lists differ between kube clusters; run playbooks/deploy.yml"] == "ansible-playbook -i INVENTORY playbooks/deploy.yml"
    )
    commands = [entry["command"].rpartition("playbooks/")[2] for entry in status_page.page(TROUBLED)["warnings"]]
    assert commands == ["rotate_certificates.yml", "deploy.yml", "upgrade.yml -e hostnet_work=restart"]


def test_a_command_is_never_made_of_what_others_wrote() -> None:
    made = {**WELL, "healthy": False, "problems": ["run playbooks/deploy.yml -e hostnet_work=$(id)", "run playbooks/../x.yml", "run a.yml"]}
    assert [entry["command"] for entry in status_page.page(made)["problems"]] == [
        "ansible-playbook -i INVENTORY playbooks/deploy.yml",
        "",
        "",
    ]


def test_troubled() -> None:
    page = status_page.page(TROUBLED)
    assert page["verdict"]["word"] == "✗ Not healthy."
    east, west = page["kube_clusters"]
    assert west["error"] == "It does not answer: timed out after 2 s"
    (first,) = east["zones"][0]["members"]
    assert first["notes"] == ["its VM is about to go", "outdated", "the only copy of stream orders", "3 restarts"]
    assert [one["sign"] for zone in (*east["zones"], *west["zones"]) for one in zone["members"]] == ["✓", "✗", "✗", "?", "?"]
    assert [row[0] for row in page["marked"]] == ["east-0", "east-2"]
    assert [entry["mark"] for entry in page["join_lists"]["rows"][1]["entries"]] == [False, True]
    assert page["rollout"]["Member in hand"] == "east-1"
    assert page["lock"] == [["east", "run-1", "upgrade", "ops on runner", "2026-12-01 08:00:00", "2026-12-01 08:59:50"]]
    text = Shape(status_html(TROUBLED)).text
    for said in ("Karpenter replaces it", "no guard pods", "timed out after 2 s", "unhealthy", "They differ", "10 days"):
        assert said in text


def test_a_warning_alone_leaves_it_healthy() -> None:
    made = {**WELL, "warnings": ["certificates end"]}
    assert status_page.page(made)["verdict"]["word"] == "! Healthy, with a warning."


def test_a_kube_cluster_that_nobody_names_any_more_is_on_the_map() -> None:
    made = {**WELL, "kube_clusters": WELL["kube_clusters"][:1]}
    assert [(entry["name"], entry["error"]) for entry in status_page.page(made)["kube_clusters"]] == [
        ("east", ""),
        ("west", "It does not answer: it is not in the inventory"),
    ]


def test_nothing_is_deployed() -> None:
    text = Shape(status_html(statuses.nothing())).text
    assert "it is not deployed" in text
    assert "0 of 0 members well" in text


@pytest.mark.parametrize("name", statuses.ALL)
def test_links_lead_somewhere(name: str) -> None:
    found = Shape(status_html(statuses.ALL[name]))
    assert set(found.links) <= set(found.ids)
    assert len(set(found.ids)) == len(found.ids)


_NAMES = st.lists(
    st.one_of(st.text(st.characters(), min_size=1, max_size=12), st.sampled_from([*EVIL, "\ud800", "{{ 7*7 }}"])), min_size=3, max_size=5
)


@settings(max_examples=100, deadline=None)
@given(_NAMES)
def test_any_name_makes_a_sound_page(names: list[str]) -> None:
    page = status_html(statuses.renamed(TROUBLED, names))
    assert Shape(page).links
    assert page.encode("utf-8")


# Certificates that end


@pytest.mark.parametrize(
    ("not_after", "days"),
    [
        ("2026-12-01T09:00:00Z", 0),
        ("2026-12-01T08:59:59Z", -1),
        ("2026-12-02T08:59:59Z", 0),
        ("2026-12-31T09:00:00Z", 30),
        ("", None),
        ("never", None),
    ],
)
def test_days_left(not_after: str, days: int | None) -> None:
    assert expiry.days_left(not_after, statuses.OBSERVED_AT) == days
    assert expiry.days_left(not_after, "") is None


@pytest.mark.parametrize(
    ("certificate", "wanted", "days"),
    [
        ({}, 30, 30),
        ({}, 0, 0),
        ({}, 400, 121),
        # Where certificates are short, a warning that comes before a deploy renews them could not be mended.
        ({"valid_days": 9}, 30, 3),
        ({"valid_days": "90", "renew_days": "20"}, "30", 20),
        ({"renew_days": 0}, 30, 0),
    ],
)
def test_days_that_are_worth_a_warning(certificate: dict[str, object], wanted: object, days: int) -> None:
    assert expiry.least_days({"certificate": certificate, "certificate_days": wanted}) == days
    assert expiry.least_days({"certificate": certificate}) == 0


def test_warnings() -> None:
    members = copy.deepcopy(WELL["members"])
    assert expiry.warnings(members, statuses.OBSERVED_AT, 30) == []
    members[1]["certificate"]["not_after"] = "2026-11-30T00:00:00Z"
    members[2]["certificate"]["not_after"] = "2026-12-06T09:00:00Z"
    members[3]["certificate"]["not_after"] = "2026-12-31T09:00:00Z"
    ended = "the certificates of east-1 have expired: run playbooks/rotate_certificates.yml"
    assert expiry.warnings(members, statuses.OBSERVED_AT, 30) == [
        ended,
        "certificates end in less than 30 days: east-2 (5 days): run playbooks/rotate_certificates.yml",
    ]
    assert expiry.warnings(members, statuses.OBSERVED_AT, 0) == [ended]
    assert expiry.warnings(members, "", 30) == []
    for member in members:
        member["certificate"]["not_after"] = "2026-12-06T09:00:00Z"
    assert "and 0 more" not in expiry.warnings(members, statuses.OBSERVED_AT, 30)[0]
    assert expiry.warnings(members * 2, statuses.OBSERVED_AT, 30)[0].count("(5 days)") == 5
