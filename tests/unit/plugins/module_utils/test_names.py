# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of objects: fixed for ever, because a second run must find what the first one made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("text", ["a", "0", "a-b", "etcd", "a" * 63, "1-2-3"])
def test_dns_labels(text: str) -> None:
    assert names.is_dns_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a b", "a" * 64, "a\n", "ä", "a/b"])
def test_what_is_no_dns_label(text: str) -> None:
    assert not names.is_dns_label(text)


def test_names_of_a_deployment_never_change() -> None:
    assert names.deployment_selector("ledger") == "hostnet.multicluster/deployment=ledger"
    assert names.node_label("ledger") == "hostnet.multicluster/ledger"
    assert names.identity("ledger") == "ledger-identity"
    assert names.cluster_record("ledger") == "ledger-cluster-id"
    assert names.members("ledger") == "ledger-members"
    assert names.join("ledger") == "ledger-join"
    assert names.config("ledger") == "ledger-config"
    assert names.workload("ledger") == "ledger"
    assert names.workload("ledger", "east-0") == "ledger-east-0"
    assert names.member("east", 0) == "east-0"


@given(LABELS, st.integers(0, 9999))
def test_one_deployments_names_differ_from_each_other(name: str, ordinal: int) -> None:
    config_maps = {names.identity(name), names.cluster_record(name), names.members(name), names.join(name), names.config(name)}
    assert len(config_maps) == 5
    assert names.is_dns_label(names.member(name, ordinal))


@given(LABELS, LABELS)
def test_labels_of_two_deployments_differ(one: str, two: str) -> None:
    assert (names.node_label(one) == names.node_label(two)) == (one == two)
    assert (names.deployment_selector(one) == names.deployment_selector(two)) == (one == two)
