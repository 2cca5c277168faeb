# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A token that kube_clusters has is in no output, however much of it is asked for: real API servers, made-up kubelets and members.

Each commit tries a deploy, a removal and two of the playbooks between; make soak tries all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support import made_up
from support.commit import part
from support.faults import Balancer
from support.kube_api import KubeApi
from support.made_up import NAME

TOKEN = "token-that-nobody-may-read"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


# Playbook, whether as a check, and its variables.
Between = tuple[str, bool, dict[str, Any]]
BETWEEN: list[Between] = [
    ("status.yml", False, {}),
    ("upgrade.yml", True, {"hostnet_work": "version", "hostnet_image": "other:2"}),
    ("repair.yml", False, {}),
    ("scale_down.yml", True, {"hostnet_members": ["west-0"]}),
    ("adopt.yml", True, {"hostnet_adopt_name": NAME, "hostnet_adopt_cluster_id": "none"}),
    ("forget_kube_cluster.yml", True, {"hostnet_lost_kube_cluster": "west"}),
]
REMOVE: Between = ("remove.yml", False, {"hostnet_remove_name": NAME, "hostnet_remove_data": True})


@pytest.mark.parametrize("between", [pytest.param(part(BETWEEN, 2), id="some"), pytest.param(BETWEEN, id="all", marks=pytest.mark.long)])
def test_a_token_is_never_shown(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path, between: list[Between]) -> None:
    shown = set()
    with (
        made_up.world([kube_api, kube_api_two], tmp_path) as world,
        Balancer(kube_api).running() as east,
        Balancer(kube_api_two).running() as west,
    ):
        # Not with -e, which Ansible itself shows, and ps.
        mine = {"ansible_connection": "local", "hostnet_kube_clusters": [{**balancer.entry, "api_key": TOKEN} for balancer in (east, west)]}
        inventory = tmp_path / "kubes.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": mine}}}))
        for playbook, check, variables in (("deploy.yml", False, {}), *between, REMOVE):
            run = world.play(playbook, environment={"ANSIBLE_VERBOSITY": "4"}, check=check, sources=[inventory], **variables)
            assert run.rc == 0 or playbook not in ("deploy.yml", "status.yml", "remove.yml"), run.output[-5000:]
            shown |= {f"{playbook}: {task.task}" for task in run.tasks if TOKEN in str(task.result)}
            shown |= {f"{playbook}: its output"} if TOKEN in run.output else set()
    assert not shown, "\n".join(sorted(shown))
