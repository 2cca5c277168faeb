# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a deployment whose objects would not fit, before its first change."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings as copies
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, limits, sizes
from support import plans

Json = dict[str, Any]


def nodes(count: int, kube_clusters: Sequence[str]) -> list[Json]:
    """As many in each kube cluster, with ids as long as those of a cloud."""
    return [
        plans.node(
            kube,
            f"gke-ledger-db-{kube}-{number:05}",
            f"10.{index}.{number // 250}.{number % 250 + 1}",
            zone="europe-west1-b",
            uid=f"3f2504e0-4f89-41d3-9a0{index}-{number:012}",
            provider_id=f"gce://ledger-production/europe-west1-b/gke-ledger-db-{kube}-{number:05}",
            boot_id=f"6b29fc40-ca47-1067-b31{index}-{number:012}",
            machine_id=f"{index}{number:031}",
        )
        for index, kube in enumerate(kube_clusters)
        for number in range(count // len(kube_clusters))
    ]


def planned(
    count: int,
    system: str = "cockroachdb",
    placement: str = "node_name",
    spec: Json | None = None,
    kube_clusters: Sequence[str] = ("east", "west"),
) -> tuple[list[str], list[str]]:
    hostnet = plans.settings(kube_clusters, system=system, placement=placement)
    observed = {name: plans.nothing() for name in kube_clusters}
    plan = deployment.deployment_plan(hostnet, {**plans.spec_of(system), **(spec or {})}, nodes(count, kube_clusters), observed)
    return plan["errors"], plan["warnings"]


def test_a_thousand_members_fit_and_two_thousand_are_refused_in_one_line() -> None:
    assert planned(1000) == ([], [])
    errors, _warnings = planned(2000)
    (error,) = errors
    for part in (
        "kube cluster east: ConfigMap bank/ledger-members would hold",
        f"Kubernetes takes {sizes.DATA_BYTES}",
        "2000 members",
        "selector",
    ):
        assert part in error
    assert "\n" not in error


def test_the_bindings_that_are_written_later_are_no_longer_than_was_reckoned() -> None:
    hostnet = plans.settings()
    (fresh, *_others) = plans.admitted(hostnet, plans.spec_of("etcd"), nodes(6, ["east", "west"]))
    noted = {
        **fresh,
        "stopped": True,
        "disk": {"mounted": True, "mount": hostnet["data_root"], "filesystem": "btrfs", "id": f"uuid:{'a' * 36}"},
        "progress": {"applied_index": 123456789012, "revision": 123456789012, "term": 12345},
    }
    longest = limits._longest(hostnet, fresh)
    assert set(longest) >= set(noted)
    assert len(copies.dump([longest], {})["east-0"]) >= len(copies.dump([noted], {})["east-0"])
    # What is known is not made up.
    assert {key: longest[key] for key in fresh if fresh[key]} == {key: value for key, value in fresh.items() if value}


def test_an_old_deployment_that_nobody_joins_is_not_asked() -> None:
    assert limits.deployment_limits(plans.settings(), plans.spec_of("etcd"), None, [], []) == ([], [])


def test_a_variable_that_linux_refuses() -> None:
    spec = {"join": {"PEERS": {"members": "all", "format": "{process}=https://{host}:{ports[sql]}" + "x" * 200, "separator": ","}}}
    (error,), _warnings = planned(1000, spec=spec)
    for part in ("the variable PEERS of ConfigMap bank/ledger-join would be", f"Linux takes {sizes.VARIABLE_BYTES}", "1000 members"):
        assert part in error


def test_a_list_that_cannot_be_made_is_told_before_the_first_change() -> None:
    spec = {"join": {"PEERS": {"members": "all", "format": "{rack}"}}}
    (error,), _warnings = planned(6, spec=spec)
    assert "rack" in error


def test_a_daemonset_with_many_hosts_costs_the_square() -> None:
    assert planned(500, "nats", "daemonset", {"warn_even": False}) == ([], [])
    errors, (warning,) = planned(251, "nats", "daemonset", {"warn_even": False}, ["east"])
    assert errors == []
    for part in ("kube cluster east: each of its 251 pods", "1004 files", "MiB", "hostnet_placement=node_name"):
        assert part in warning


def test_files_of_members_that_do_not_fit_into_one_secret() -> None:
    (error, *_more), _warnings = planned(128, "nats", "daemonset", {"warn_even": False, "member_files": {"big": "x" * 20000}})
    assert "Secret bank/ledger would hold" in error
    assert "hostnet_certificate" in error


def test_a_key_that_is_too_long() -> None:
    secret = {"kind": "Secret", "metadata": {"namespace": "bank", "name": "ledger"}}
    said = sizes.too_large("east", secret, ["n" * 243 + ".server.crt"], "do this")
    assert said.startswith("kube cluster east: Secret bank/ledger would have a key of 254 characters")
    assert said.endswith("takes 253: do this")
    assert sizes.too_large("east", secret, ["n" * 242 + ".server.crt"], "do this") == ""


@pytest.mark.parametrize("more", [0, 1])
def test_exactly_what_kubernetes_takes(more: int) -> None:
    config_map = {
        "kind": "ConfigMap",
        "metadata": {"namespace": "bank", "name": "x"},
        "data": {"a": "é" * (sizes.DATA_BYTES // 2) + "x" * more},
    }
    assert bool(sizes.too_large("east", config_map, (), "")) == bool(more)


@given(st.dictionaries(st.text("ab", min_size=1), st.binary(max_size=50), max_size=4))
def test_the_bytes_of_a_secret_are_those_that_base64_stands_for(data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    assert sizes.data_bytes({"kind": "Secret", "data": encoded}) == sum(map(len, data.values()))
    texts = {key: value.hex() for key, value in data.items()}
    assert sizes.data_bytes({"kind": "ConfigMap", "data": texts}) == sum(len(value) for value in texts.values())
