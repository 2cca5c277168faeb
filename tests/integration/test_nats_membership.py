# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module nats_membership as a user's Ansible runs it. test_system_nats.py has the role that does what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import nats_membership
from support.in_process import call_module
from support.run import PlayRun

Json = dict[str, Any]


def seen(**gone: Any) -> Json:
    peers: list[Json] = [{"id": f"id-{name}", "name": name, "current": True, "offline": False} for name in ("east-0", "west-0")]
    peers.append({"id": "id-west-1", "name": "west-1", "current": False, "offline": True, **gone})
    return {"east-0": {"reachable": True, "leader": True, "peers": peers}}


def test_nats_membership_examples(run_tasks: Callable[..., PlayRun]) -> None:
    run = run_tasks(yaml.safe_load(nats_membership.EXAMPLES), variables={"hostnet_inspection": seen()})
    assert run.rc == 0, run.output
    (plan,) = run.of("nats_membership")
    body = {"peer": "west-1", "peer_id": "id-west-1"}
    assert (plan["changed"], plan["requests"]) == (False, 0)
    assert plan["changes"] == [{"ask": "east-0", "subject": "$JS.API.SERVER.REMOVE", "body": body}]


def test_a_server_that_the_leader_sees_is_refused() -> None:
    found = call_module("nats_membership", {"inspection": seen(offline=False), "forget": {"member": "west-1", "process": "west-1"}})
    assert (found["failed"], found["changes"]) == (True, [])
    assert found["msg"] == "NATS' server west-1 was not removed: JetStream's leader has not noticed yet that it is down"
