# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status with what members serve beside what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, served, status_metrics, status_page
from support import plans, statuses

Json = dict[str, Any]
SPEC = plans.spec_of("etcd")
NAME = "east-0"
# When the status was read.
NOW = "2026-12-01T09:00:00Z"
END = "2027-03-01T09:00:00Z"
OBSERVED: Json = {"east": {"secrets": [{"certificates": {NAME: {"server": {"serial": "0a", "not_after": END}}}}]}, "west": {"secrets": []}}


def port(**changes: Any) -> Json:
    return {
        "member": NAME,
        "file": "server",
        "port": "client",
        "number": 2379,
        "serial": "0a",
        "not_before": NOW,
        "not_after": END,
        "sans": ["IP:10.0.0.1"],
        "current": False,
        "clients": {},
        "error": "",
        **changes,
    }


def seen(days: int = 21, **changes: Any) -> Json:
    kept = served.stored(SPEC, [NAME], OBSERVED)
    return served.with_served(statuses.well(), [port(**changes)], kept, SPEC, days)


def test_what_is_stored_is_read_from_the_secrets() -> None:
    (only,) = served.stored(SPEC, [NAME, "east-9"], OBSERVED)
    assert (only["file"], only["serial"], only["not_after"]) == ("server", "0a", END)


def test_the_stored_certificate_is_served() -> None:
    found = seen()
    (only,) = found["members"][0]["served"]
    assert (only["current"], only["stored"], only["serial"], found["warnings"]) == (True, "0a", "0a", [])
    assert all(entry["served"] == [] for entry in found["members"][1:])
    assert f"{NAME} serves on port client (2379): serial 0a, until 2027-03-01, as stored" in classify.status_table(found)
    assert status_page.page(found)["certificates"]["served"][0][4] == "yes"
    text = status_metrics.metrics(found)
    assert "certificate_served_current{" in text
    assert 'port="client"' in text


@pytest.mark.parametrize(
    ("changes", "days", "says"),
    [
        ({"serial": "07"}, 21, f"not the stored certificate is served: {NAME} port client (2379) serves 07 until 2027-03-01, stored is 0a"),
        ({}, 120, f"what is served ends in less than 120 days: {NAME} port client (2379) (90 days)"),
        ({"not_after": "2026-11-01T00:00:00Z"}, 21, f"what is served ends in less than 21 days: {NAME} port client (2379) (expired)"),
        (
            {"serial": "", "error": "nothing listens there"},
            21,
            f"what is served is not known: {NAME} port client (2379): nothing listens there",
        ),
    ],
)
def test_warnings(changes: Json, days: int, says: str) -> None:
    found = seen(days, **changes)
    (warning,) = found["warnings"]
    assert warning.startswith(says)


def test_a_member_without_a_stored_certificate() -> None:
    found = served.with_served(statuses.well(), [port()], [], SPEC, 21)
    assert "stored is none" in found["warnings"][0]
    assert "not as stored" in "".join(classify.status_table(found))
