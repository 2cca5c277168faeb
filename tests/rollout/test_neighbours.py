# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd and NATS on the same VMs in the lab, one in each placement, with clients that write to both while VMs go down."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .harness import Attempt, Choice, Stage

pytestmark = pytest.mark.lab

ETCD, NATS = Choice("etcd", "node_name", "shared-etcd"), Choice("nats", "daemonset", "shared-nats")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Stage]]:
    both = tuple(Stage(choice, tmp_path_factory.mktemp(choice.name)) for choice in (ETCD, NATS))
    both[0].verb("up", "east:3,west:2")
    try:
        for stage in both:
            stage.remove()
            stage.deploy()
        yield both[0], both[1]
    finally:
        for stage in both:
            stage.remove()


def ended(attempt: Attempt) -> None:
    assert attempt.rc == 0, f"{attempt.failure}\n{attempt.log}"


def member_on(stage: Stage, node: str) -> str:
    return next(member for member, (_kube, where) in stage.members().items() if where == node)


def test_vms_that_both_are_on_go_down_one_at_a_time(stages: tuple[Stage, Stage]) -> None:
    etcd, nats = stages
    ids = [stage.cluster_ids() for stage in stages]
    # One that does not lead, by what the plan says: whoever leads comes last.
    member = min(etcd.members())
    node = etcd.members()[member][1]
    refused = etcd.play("upgrade.yml", hostnet_work="reboot", hostnet_members=[member])
    assert refused.rc != 0
    assert f"of deployment shared-nats (namespace hostnet-shared-nats) on node {node}" in refused.failure
    assert not refused.changed
    with etcd.load() as first, nats.load() as second:
        ended(etcd.play("upgrade.yml", hostnet_work="reboot", hostnet_members=[member], hostnet_neighbours=["shared-nats"]))
        assert etcd.members()[member][1] == nats.members()[member_on(nats, node)][1] == node
        # The other way round, and with another VM: what etcd had there is lost, and mended by its own playbook.
        other = max(nats.members())
        gone = nats.members()[other][1]
        ended(nats.play("upgrade.yml", hostnet_work="replace", hostnet_members=[other], hostnet_neighbours=["shared-etcd"]))
        again = nats.play("upgrade.yml", hostnet_work="replace", hostnet_neighbours=["shared-etcd"])
        assert "Mend it first with playbooks/repair.yml of shared-etcd" in again.failure
        ended(etcd.play("repair.yml"))
        assert gone not in [where for stage in stages for _kube, where in stage.members().values()]
        verdicts = [load.end() for load in (first, second)]
    for verdict in verdicts:
        print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert [verdict["result"] for verdict in verdicts] == ["holds", "holds"], [verdict["reasons"] for verdict in verdicts]
    assert [stage.cluster_ids() for stage in stages] == ids
    for stage in stages:
        assert len(stage.members()) == 5
        assert [(stage.lease(kube).spec.holder_identity or "") for kube in ("east", "west")] == ["", ""]
