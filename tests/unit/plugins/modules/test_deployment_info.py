# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What deployment_info has read again, in the place of what was known."""

from __future__ import annotations

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_info
from support import plans

PODS = [plans.pod(binding) for binding in plans.admitted(plans.settings(), plans.spec_of("etcd"), plans.five_nodes())]


def known() -> Deployment:
    nodes: Any = plans.five_nodes()
    observed = {name: plans.nothing(pods=[pod for pod in PODS if pod["member"].startswith(name)]) for name in ("east", "west")}
    return {"nodes": nodes, "kube_clusters": observed, "plan": {"seeds": ["10.0.0.1"]}}


def test_what_is_read_again_takes_the_place_of_what_was_and_the_list_in_force_goes_with_it() -> None:
    before = known()
    pods = deployment_info.renewed(before, {"east": {"pods": []}, "west": {"pods": []}}, whole=False)
    assert (pods["kube_clusters"]["east"]["pods"], pods["plan"]["seeds"]) == ([], ["10.0.0.1"])
    lists = deployment_info.renewed(before, {name: {"join": {"seeds": "10.0.0.12,10.0.1.1"}} for name in ("east", "west")}, whole=False)
    assert lists["plan"]["seeds"] == ["10.0.0.12", "10.0.1.1"]
    assert len(lists["kube_clusters"]["east"]["pods"]) == 3
    assert before["plan"]["seeds"] == ["10.0.0.1"], "what was is as it was"


def test_what_is_read_whole_is_all_there_is_and_its_plan_stays() -> None:
    found = deployment_info.renewed(known(), {"east": plans.nothing(join={"seeds": "10.0.0.3"})}, whole=True)
    assert (list(found["kube_clusters"]), found["plan"]) == (["east"], {"seeds": ["10.0.0.1"]})
