# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects deployment_apply applies, and with which join list. What each object is, test_placement.py has in full."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_apply
from support import plans

Json = dict[str, Any]

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
BINDINGS = plans.admitted(HOSTNET, SPEC, plans.five_nodes())
CERTIFICATES = [
    {
        "name": entry["name"],
        "file": entry["file"],
        "certificate": "/c",
        "private_key": "/k",
        "serial": "1",
        "not_after": "2027-01-01T00:00:00Z",
    }
    for entry in member_certificates.wanted_certificates(HOSTNET, SPEC, BINDINGS)
]
ISSUED = {"certificates": CERTIFICATES, "nkeys": {}}
PLAN = {"seeds": [], "ordinals": {}}
IDENTITY = {"token": plans.TOKEN, "ca_fingerprint": plans.FINGERPRINT}


def seen(live: list[str], seeds: list[str]) -> Deployment:
    """A deployment whose members of these names have a ready pod."""
    pods = [plans.pod(binding) for binding in BINDINGS if binding["member"] in live]
    observed = {name: plans.nothing(pods=[pod for pod in pods if pod["member"].startswith(name)]) for name in ("east", "west")}
    nodes: Any = plans.five_nodes()
    return {"nodes": nodes, "kube_clusters": observed, "plan": {**PLAN, "seeds": seeds}}


def objects(known: Deployment, **options: Any) -> list[Json]:
    defaults = {name: option.get("default") for name, option in deployment_apply.ARGUMENTS.items()}
    given = {
        "kube_clusters": HOSTNET["kube_clusters"],
        "hostnet": HOSTNET,
        "spec": SPEC,
        "identity": IDENTITY,
        "issued": ISSUED,
        "members": BINDINGS,
    }
    return deployment_apply.objects_of({**defaults, **given, **options}, known)


def join_list(live: list[str], seeds: list[str]) -> list[str]:
    found = objects(seen(live, seeds))
    lists = [entry["definition"]["data"]["seeds"] for entry in found if entry["definition"]["metadata"]["name"] == "ledger-join"]
    assert len(set(lists)) == 1, "the same in every kube cluster"
    return list(lists[0].split(","))


EVERYBODY = [binding["member"] for binding in BINDINGS]


def test_invariant_3_the_join_list_has_live_members_of_every_kube_cluster() -> None:
    assert join_list(EVERYBODY, []) == ["10.0.0.1", "10.0.0.12", "10.0.1.1", "10.0.1.2"]
    assert join_list(["east-2", "west-1"], ["10.0.0.1", "10.0.1.1"]) == ["10.0.0.3", "10.0.1.2"]


def test_an_entry_that_survives_is_kept() -> None:
    assert join_list(EVERYBODY, ["10.0.0.3", "10.0.1.2"]) == ["10.0.0.1", "10.0.0.3", "10.0.1.1", "10.0.1.2"]


def test_invariant_13_where_nobody_is_live_the_list_in_force_stays() -> None:
    assert join_list([], ["10.0.0.12", "10.0.1.2"]) == ["10.0.0.12", "10.0.1.2"]
    # 10.0.0.1 is a prefix of the only entry, and must not come in for it.
    assert "10.0.0.1" not in join_list([], ["10.0.0.12", "10.0.1.2"])
    assert join_list([], []) == ["10.0.0.1", "10.0.0.12", "10.0.1.1", "10.0.1.2"]


def names(found: list[Json]) -> set[tuple[str, str]]:
    return {(entry["kube_cluster"], entry["definition"]["metadata"]["name"]) for entry in found}


def test_only_what_is_asked_for_and_only_in_the_kube_clusters_that_are_worked_with() -> None:
    known = seen(EVERYBODY, [])
    assert names(objects(known, kinds=["ConfigMap"], named="-join$")) == {("east", "ledger-join"), ("west", "ledger-join")}
    west = [entry for entry in HOSTNET["kube_clusters"] if entry["name"] == "west"]
    assert names(objects(known, kube_clusters=west, kinds=["ConfigMap"], named="-join$")) == {("west", "ledger-join")}
    assert [entry["definition"]["kind"] for entry in objects(known, members=None, namespaces=True)].count("Namespace") == 2
    assert objects(known, members=None) == []


def test_what_a_rollout_has_not_come_to_is_left() -> None:
    journal = {"state": "in_flight", "member": {"member": "east-0"}, "settings": {"image": "x"}, "done": []}
    found = objects(seen(EVERYBODY, []), journal=journal, kinds=["StatefulSet"])
    assert [entry["definition"]["metadata"]["labels"]["hostnet.multicluster/member"] for entry in found] == ["east-0"]
    assert len(objects(seen(EVERYBODY, []), kinds=["StatefulSet"])) == len(EVERYBODY)


def test_errors_of_input_are_one_line() -> None:
    bad = [{**binding, "address": "ten"} for binding in BINDINGS]
    with pytest.raises(ValueError, match="member east-0: address 'ten' is not an IP address") as caught:
        objects(seen(EVERYBODY, []), members=bad, together=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="with members there has to be spec and issued too"):
        objects(seen(EVERYBODY, []), spec=None, issued=None)
