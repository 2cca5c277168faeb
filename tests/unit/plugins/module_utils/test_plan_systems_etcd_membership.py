# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd is told for a change of its membership; what it is decided by, test_plan_systems_etcd.py has in full."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd_membership
from ansible_collections.hostnet.multicluster.plugins.modules import etcd_membership as module

Json = dict[str, Any]
ADDRESSES = {"east-0": "10.0.0.1", "east-1": "10.0.0.2", "west-0": "10.1.0.1"}
BINDINGS = [
    {"member": name, "process": name, "address": address, "kube_cluster": name[:4], "node": f"vm-{name}"}
    for name, address in ADDRESSES.items()
]
LEARNER = {"id": "ff", "name": "", "member": "", "address": "fd00::9", "role": "learner", "live": None}
NEW = {"member": "west-1", "process": "west-1", "address": "fd00::9", "kube_cluster": "west", "node": "vm-west-1"}


def seen(*learners: Json, healthy: bool = True) -> dict[str, Json]:
    peers = [{"id": name, "name": name, "member": name, "address": address, "role": "voter"} for name, address in ADDRESSES.items()]
    one = {"reachable": True, "healthy": healthy, "role": "voter", "lag": 0, "peers": [*peers, *learners]}
    return {name: {**one, "id": name, "leader": name == "west-0"} for name in ADDRESSES}


def there(inspected: dict[str, Json], *members: str) -> etcd_membership.Etcd:
    return etcd_membership.Etcd("ledger", members or tuple(ADDRESSES), inspected, 2380)


def test_a_new_member_is_announced_once_through_the_first_voter_that_can_be_asked() -> None:
    (change,) = etcd_membership.admit(there(seen()), NEW, BINDINGS, [])
    assert change == {
        "name": "add",
        "arguments": ["member", "add", "west-1", "--learner", "--peer-urls=https://[fd00::9]:2380"],
        "ask": ["east-0"],
        "member": "west-1",
        "id": "",
    }
    assert etcd_membership.admit(there(seen(LEARNER)), NEW, BINDINGS, []) == []


def test_a_learner_that_nobody_will_start_goes_first() -> None:
    lost = {**LEARNER, "id": "fe", "address": "10.9.9.9"}
    changes = etcd_membership.admit(there(seen(lost), "west-0"), NEW, BINDINGS, [])
    assert [(change["arguments"][:2], change["ask"]) for change in changes] == [
        (["member", "remove"], ["west-0"]),
        (["member", "add"], ["west-0"]),
    ]


def test_a_learner_is_promoted_by_two_voters() -> None:
    bound = [*BINDINGS, NEW]
    (change,) = etcd_membership.promote(there(seen(LEARNER)), bound)
    assert (change["arguments"], change["ask"], change["member"]) == (["member", "promote", "ff"], ["east-1", "west-0"], "west-1")
    # Whoever has no binding yet is announced for later.
    assert etcd_membership.promote(there(seen(LEARNER)), BINDINGS) == []
    assert etcd_membership.promote(there(seen(healthy=False)), bound) == []


@pytest.mark.parametrize(
    "changes",
    [
        lambda nobody: etcd_membership.admit(nobody, NEW, BINDINGS, []),
        lambda nobody: etcd_membership.readdress(nobody, BINDINGS[0]),
    ],
)
def test_without_a_healthy_voter_nothing_is_told(changes: Any) -> None:
    with pytest.raises(ValueError, match="no member of ledger is a healthy voter that can be asked, so nothing is told to etcd"):
        changes(there(seen(healthy=False)))


def decide(facts: Json | None = None, **options: Any) -> Json:
    given = {name: option.get("default") for name, option in module.ARGUMENTS.items()}
    given |= {"name": "ledger", "inspection": seen(), "members": list(ADDRESSES), **options}
    return module.decide(_call.Call(given), facts or {})


def test_the_module_makes_one_change() -> None:
    with pytest.raises(_call.Failure, match="give exactly one of admit, promote, forget, readdress, hand_over"):
        decide()
    with pytest.raises(_call.Failure, match="give exactly one of"):
        decide(promote=True, hand_over="east-0")
    # An empty one is one, and names nobody.
    with pytest.raises(_call.Failure, match="hostnet_forget names neither an id nor an address"):
        decide(forget={})
    with pytest.raises(_call.Failure, match="there is no fact hostnet_deployment"):
        decide(admit=NEW)
    known = {"hostnet_deployment": {"nodes": []}}
    assert [change["name"] for change in decide(known, admit=NEW, bindings=BINDINGS)["changes"]] == ["add"]
    assert decide(promote=True, bindings=BINDINGS) == {"changed": False, "changes": []}
    assert decide(readdress=BINDINGS[0])["changes"] == []
    assert decide(hand_over="east-0")["changes"] == []
    (change,) = decide(hand_over="west-0")["changes"]
    assert (change["arguments"], change["ask"]) == (["move-leader", "east-0"], ["west-0"])
