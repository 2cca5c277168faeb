# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd has to be told so that its membership changes: each change with the arguments of etcdctl, and who is asked for it. Pure functions.

All of them raise ValueError with why nothing may be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..join import bracketed
from . import etcd

Json = dict[str, Any]


class Change(TypedDict):
    """`name` of the command, its `arguments`, which members are asked (`ask`), and whom it is about: `member` (where it is known) and `id`."""

    name: str
    arguments: list[str]
    ask: list[str]
    member: str
    id: str


@dataclass(frozen=True)
class Etcd:
    """A deployment of etcd as it was asked a moment ago. `members` are those that can be asked, `peer_port` is that of all."""

    name: str
    members: Sequence[str]
    inspected: Mapping[str, Mapping[str, Any]]
    peer_port: int


def admit(there: Etcd, new: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Announces the member of the binding `new` as a learner, where nobody has.

    etcd takes one learner at a time. So one that was announced and has lost its VM is removed first; it is announced again when it is mended.
    """
    voter = _voters(there)[0]
    address = str(new["address"])
    known = etcd.known(there.inspected, address)
    changes = [
        _change("remove", ["member", "remove", number], [voter], number)
        for number in etcd.abandoned(there.inspected, address, bindings, nodes)
    ]
    if not known:
        arguments = ["member", "add", str(new["process"]), "--learner", _peer_urls(there, address)]
        changes.append(_change("add", arguments, [voter], "", str(new.get("member", ""))))
    return changes


def promote(there: Etcd, bindings: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Gives learners their vote.

    Two voters are asked, the leader and one that is seldom in the same kube cluster: while this waits, a cloud may take the VM of one.
    """
    learners = etcd.learners(there.inspected, bindings)
    if not learners:
        return []
    _voters(there)
    voters = etcd.voters(there.inspected)
    ask = [name for name in there.members if name in (voters[0], voters[-1])]
    return [_change("promote", ["member", "promote", peer["id"]], ask, peer["id"], peer["member"]) for peer in learners]


def forget(there: Etcd, forgotten: Mapping[str, Any]) -> list[Change]:
    """Removes the member that `forgotten` names, where it is listed."""
    found = etcd.forgettable(there.inspected, forgotten)
    number = str(found["id"])
    return [_change("remove", ["member", "remove", number], [str(found["voter"])], number)] if number else []


def readdress(there: Etcd, binding: Mapping[str, Any]) -> list[Change]:
    """Has the others dial the member of `binding` at its new address."""
    _voters(there)
    voter = etcd.voters(there.inspected)[0]
    return [
        _change("update", ["member", "update", change["id"], _peer_urls(there, str(change["address"]))], [voter], change["id"])
        for change in etcd.readdressing(there.inspected, binding)
    ]


def hand_over(there: Etcd, member: str) -> list[Change]:
    """Has `member`, where it leads, hand the leadership over. Only the leader itself can be asked for that."""
    number = etcd.transferee(there.inspected, member)
    return [_change("move", ["move-leader", number], [member], number)] if number else []


def _change(name: str, arguments: list[str], ask: list[str], number: str, member: str = "") -> Change:
    return {"name": name, "arguments": arguments, "ask": ask, "member": member, "id": number}


def _peer_urls(there: Etcd, address: str) -> str:
    return f"--peer-urls=https://{bracketed(address)}:{there.peer_port}"


def _voters(there: Etcd) -> list[str]:
    """Members that can be asked and are healthy voters, in the order of `members`: members are added, promoted and changed through such a one."""
    healthy = etcd.voters(there.inspected)
    found = [name for name in there.members if name in healthy]
    if not found:
        raise ValueError(
            f"no member of {there.name} is a healthy voter that can be asked, so nothing is told to etcd: playbooks/status.yml shows what each member says; "
            f"repair them first (docs/recovery.md)"
        )
    return found
