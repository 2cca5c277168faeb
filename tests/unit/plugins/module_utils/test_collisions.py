# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that two deployments want: refused in the plan, and never taken over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import collisions, deployment, names
from support import plans

Json = dict[str, Any]
OURS = "hostnet.multicluster"


def live(name: str, owner: str = "", manager: str = "kubectl", kind: str = "StatefulSet", **metadata: Any) -> Json:
    labels = {names.DEPLOYMENT_LABEL: owner} if owner else {}
    return {"kind": kind, "metadata": {"name": name, "labels": labels, "managedFields": [{"manager": manager}], **metadata}}


def test_whose_workloads_there_are() -> None:
    found = collisions.others(
        "ledger",
        [
            live("ledger-east-0", "ledger", OURS),
            live("x", "led", OURS),
            live("ledger-east-1", "", OURS),
            live("y"),
            {"kind": "DaemonSet", "metadata": {"name": "z"}},
        ],
        OURS,
    )
    assert found == [
        {"kind": "StatefulSet", "name": "x", "owner": "led"},
        {"kind": "StatefulSet", "name": "y", "owner": ""},
        {"kind": "DaemonSet", "name": "z", "owner": ""},
    ]


@pytest.mark.parametrize(
    ("placement", "other", "said"),
    [
        (
            "node_name",
            {"kind": "StatefulSet", "name": "ledger-east-0", "owner": "ledger-e"},
            "belongs to deployment ledger-e, and member east-0 of ledger",
        ),
        ("node_name", {"kind": "StatefulSet", "name": "ledger-east-0", "owner": ""}, "was not made by this collection"),
        ("node_name", {"kind": "DaemonSet", "name": "ledger-east-0", "owner": "ledger-east-0"}, "belongs to deployment ledger-east-0"),
        ("node_name", {"kind": "DaemonSet", "name": "ledger-east-0", "owner": ""}, ""),
        ("node_name", {"kind": "StatefulSet", "name": "ledger-east-00", "owner": "x"}, ""),
        ("daemonset", {"kind": "StatefulSet", "name": "ledger", "owner": "l"}, "belongs to deployment l"),
        ("daemonset", {"kind": "DaemonSet", "name": "ledger", "owner": ""}, "was not made by this collection"),
        ("daemonset", {"kind": "StatefulSet", "name": "ledger-east-0", "owner": "x"}, ""),
    ],
)
def test_the_plan_refuses(placement: str, other: Json, said: str) -> None:
    hostnet = plans.settings(placement=placement)
    observed = {"east": plans.nothing(others=[other]), "west": plans.nothing()}
    errors = [
        error
        for error in deployment.deployment_plan(hostnet, plans.spec_of("etcd"), plans.five_nodes(), observed)["errors"]
        if "would take its name" in error
    ]
    if not said:
        assert errors == []
    else:
        (error,) = errors
        assert error.startswith(f"kube cluster east: {other['kind']} bank/{other['name']} ")
        assert said in error
        assert "Choose another hostnet_namespace, or another hostnet_name" in error


@pytest.mark.parametrize(
    ("found", "taken_over"),
    [
        (None, True),
        (live("x", "ledger", OURS), True),
        (live("x", "ledger", "kubectl"), True),
        (live("x", "", OURS), True),
        (live("x", "other", OURS, deletionTimestamp="2026-01-01T00:00:00Z"), True),
        (live("x", "other", OURS), False),
        (live("x"), False),
        ({"kind": "Secret", "metadata": {"name": "x"}}, False),
    ],
)
def test_what_may_be_taken_over(found: Json | None, taken_over: bool) -> None:
    assert (collisions.stranger(live("x", "ledger"), found, OURS) == "") is taken_over
    assert collisions.stranger(live("x"), found, OURS) == "", "a manifest that does not say whose it is claims nothing"


_NAME = st.from_regex(r"[a-z]([a-z-]{0,6}[a-z])?", fullmatch=True)


@given(_NAME, _NAME)
def test_config_maps_of_two_deployments_never_have_one_name(first: str, second: str) -> None:
    def config_maps(name: str) -> set[str]:
        made = {kind(name) for kind in (names.identity, names.cluster_record, names.members, names.join, names.rollout, names.config)}
        return made | {f"{name}-kube-clusters-{revision}" for revision in (1, 2, 11)}

    if first != second:
        for other in (second, *(name.removesuffix(end) for name in config_maps(first) for end in ("-id", "-members", "-1"))):
            if other != first:
                assert not config_maps(first) & config_maps(other)
