# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubelet says of its node's addresses gets into a certificate only where nobody else has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates, new_members, nodes

SPEC = {"certificates": [{"file": "server", "common_name": "{process}", "usages": ["server", "client"], "hosts": True}]}


def binding(number: int, address: str, *others: str) -> dict[str, Any]:
    return {
        "member": f"east-{number}",
        "process": f"east-{number}",
        "node": f"vm-{number}",
        "address": address,
        "other_addresses": list(others),
    }


def addresses(*bindings: dict[str, Any]) -> dict[str, list[str]]:
    return {entry["name"]: entry["ip_addresses"] for entry in member_certificates.wanted_certificates({}, SPEC, bindings)}


def test_nobody_gets_a_certificate_for_another_members_address() -> None:
    found = addresses(binding(0, "10.0.0.1", "192.168.0.1"), binding(1, "10.0.0.2", "10.0.0.1", "192.168.0.2"))
    assert found == {"east-0": ["10.0.0.1", "127.0.0.1", "192.168.0.1"], "east-1": ["10.0.0.2", "127.0.0.1", "192.168.0.2"]}


def test_an_address_that_several_hosts_say_they_have_is_nobodys() -> None:
    found = addresses(binding(0, "10.0.0.1", "10.0.0.100"), binding(1, "10.0.0.2", "10.0.0.100"))
    assert found == {"east-0": ["10.0.0.1", "127.0.0.1"], "east-1": ["10.0.0.2", "127.0.0.1"]}


_ADDRESS = st.ip_addresses(v=4).map(str)


@given(st.lists(st.tuples(_ADDRESS, st.lists(_ADDRESS, max_size=3)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]))
def test_no_two_members_share_an_address_but_loopback(pairs: list[tuple[str, list[str]]]) -> None:
    found = addresses(*[binding(number, own, *others) for number, (own, others) in enumerate(pairs)])
    everybodys = [address for own in found.values() for address in own if address != "127.0.0.1"]
    assert len(everybodys) == len(set(everybodys))
    assert all(own in found[f"east-{number}"] for number, (own, _others) in enumerate(pairs))


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "127.0.0.2", "224.0.0.1", "169.254.169.254", "255.255.255.255", "::", "::1", "ff02::1", "fe80::1"]
)
def test_what_no_host_has_to_itself_is_no_address_of_a_node(address: str) -> None:
    assert not nodes.is_own(address)
    found = new_members.other_addresses(
        {"address": "10.0.0.1", "addresses": [{"address": address}, {"address": "10.0.0.9"}, {"address": "vm-1"}]}
    )
    assert found == ["10.0.0.9"]
