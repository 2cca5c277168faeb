# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller, or a kube cluster, whose clock is wrong is found before any certificate is issued."""

from __future__ import annotations

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import clocks, deployment
from support import plans

MONTHS = 11 * 30 * 86400


def ahead(**seconds: int) -> dict[str, dict[str, int]]:
    return {name: {"clock_ahead": value} for name, value in seconds.items()}


@pytest.mark.parametrize("observed", [{}, ahead(east=0, west=-3600), ahead(east=3600), {"east": {}}, {"east": {"clock_ahead": None}}])
def test_an_hour_is_borne(observed: dict[str, dict[str, int]]) -> None:
    assert clocks.clock_errors(observed) == []


def test_a_controller_that_is_months_ahead_is_told_so_once() -> None:
    (error,) = clocks.clock_errors(ahead(east=MONTHS, west=MONTHS))
    assert error.startswith(
        "the controller's clock is 7920.0 hours ahead of that of kube cluster east and 7920.0 hours ahead of that of kube cluster west: "
    )
    assert "Synchronise the controller's clock, then run again. Nothing was changed" in error


def test_a_kube_cluster_that_differs_from_the_others_is_named() -> None:
    (error,) = clocks.clock_errors(ahead(east=0, west=-7200))
    assert "2.0 hours behind that of kube cluster west: members would not agree" in error
    assert "east" not in error


def test_a_deploy_refuses_before_its_first_change() -> None:
    observed = {name: plans.nothing(clock_ahead=MONTHS) for name in ("east", "west")}
    plan = deployment.deployment_plan(plans.settings(), plans.spec_of("etcd"), [], observed)
    assert any("7920.0 hours ahead" in error for error in plan["errors"])
    assert any("7920.0 hours ahead" in error for error in plan["conflicts"])
