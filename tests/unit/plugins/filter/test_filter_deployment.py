# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that the roles use."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hostnet.multicluster.plugins.filter import deployment as filters
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates, node_scripts
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.state import Deployment
from support import plans
from support.collection import CHECKOUT

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


def join_list(live: list[str], seeds: list[str]) -> list[str]:
    objects = filters.objects(HOSTNET, SPEC, IDENTITY, BINDINGS, seen(live, seeds), ISSUED)
    found = [entry["definition"]["data"]["seeds"] for entry in objects if entry["definition"]["metadata"]["name"] == "ledger-join"]
    assert len(set(found)) == 1, "the same in every kube cluster"
    return list(found[0].split(","))


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


def test_scripts_have_names() -> None:
    assert filters.script("probe") == node_scripts.PROBE_SCRIPT
    assert filters.script("admit") == node_scripts.ADMIT_SCRIPT
    assert filters.script("mark") == node_scripts.MARK_SCRIPT
    assert filters.script("remove") == node_scripts.REMOVE_SCRIPT


def test_every_filter_that_the_roles_use_exists() -> None:
    used: set[str] = set()
    for folder in ("roles", "playbooks"):
        for path in (CHECKOUT / folder).rglob("*.yml"):
            used |= set(re.findall(r"hostnet\.multicluster\.(deployment_[a-z_]+)(?!:)\b", path.read_text()))
    used -= {"deployment_info", "deployment_observe"}
    assert used == set(filters.FilterModule().filters())


def test_errors_of_input_are_one_line() -> None:
    found = filters.FilterModule().filters()
    bad = [{**binding, "address": "ten", "live": True} for binding in BINDINGS]
    arguments: tuple[Any, ...] = (HOSTNET, SPEC, IDENTITY, bad, seen(EVERYBODY, []), ISSUED, "new", True)
    with pytest.raises(AnsibleFilterError, match="member east-0: address 'ten' is not an IP address") as caught:
        found["deployment_objects"](*arguments)
    assert "\n" not in str(caught.value)


def test_filters_keep_the_documentation_of_their_functions() -> None:
    for name, function in filters.FilterModule().filters().items():
        assert function.__doc__, name
