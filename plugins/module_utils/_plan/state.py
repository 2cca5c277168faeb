# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about a deployment: the types, and nothing else."""

from __future__ import annotations

from typing import Any, TypedDict

from .nodes import Node

Json = dict[str, Any]


class Deployment(TypedDict):
    """What was seen of a deployment, and what a deploy would do now. Read whole by one call (_cluster/state.py), and passed on whole.

    `nodes`: those that match the selector, and those that carry a member; `selected` is false for whoever may get none.
    `kube_clusters`: what each kube cluster has of the deployment, by its name, as deployment_info returns it.
    `plan`: what a deploy has to do, and for which reasons nothing may be changed (deployment.deployment_plan).
    """

    nodes: list[Node]
    kube_clusters: dict[str, Json]
    plan: Json


class Observed(TypedDict):
    """What observing gives: the deployment, what its members say, and what steps begin with, under the names that system roles know (docs/systems.md).

    `status`: what has become of every member (classify.deployment_status). None while nobody was asked.
    `bindings`: of the members there are, with the new one of the member in hand where a journal says that it may start.
    `targets`: those of them that can be asked (classify.member_targets).
    `inspection`: what they said, by member. Empty while nobody was asked.
    """

    deployment: Deployment
    status: Json | None
    bindings: list[Json]
    targets: list[Json]
    inspection: dict[str, Json]
