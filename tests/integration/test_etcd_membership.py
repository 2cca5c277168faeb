# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module etcd_membership as a user's Ansible runs it. test_system_etcd.py has the role that does what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import etcd_membership
from support.run import PlayRun


def test_etcd_membership_examples(run_tasks: Callable[..., PlayRun]) -> None:
    peer = {"id": "a1", "name": "east-1", "member": "", "address": "10.0.0.12", "role": "voter", "live": None}
    voter = {"reachable": True, "healthy": True, "role": "voter", "leader": False, "id": "a2", "lag": 0, "peers": [peer]}
    variables: dict[str, Any] = {"hostnet_inspection": {"west-0": voter}}
    run = run_tasks(yaml.safe_load(etcd_membership.EXAMPLES), variables=variables)
    assert run.rc == 0, run.output
    (plan,) = run.of("etcd_membership")
    assert (plan["changed"], plan["requests"]) == (False, 0)
    assert plan["changes"] == [{"name": "remove", "arguments": ["member", "remove", "a1"], "ask": ["west-0"], "member": "", "id": "a1"}]
    assert run.tasks[-1].result["msg"] == [["member", "remove", "a1"]]
