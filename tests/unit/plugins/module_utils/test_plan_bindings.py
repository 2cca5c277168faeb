# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bindings of all members, from the copies that every kube cluster holds, and what is never taken for new."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings, documents, names
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()


def deployed() -> tuple[list[Json], list[Json], dict[str, Json]]:
    nodes = plans.five_nodes()
    found = plans.admitted(HOSTNET, SPEC, nodes)
    return plans.labelled(nodes, found), found, plans.running(HOSTNET, found)


def emptied(observed: dict[str, Json], name: str) -> dict[str, Json]:
    """The namespace of a kube cluster is gone."""
    return {**observed, name: plans.nothing(uid=plans.uid_of(name))}


def test_every_copy_says_the_same() -> None:
    nodes, found, observed = deployed()
    merged = bindings.merge(HOSTNET, nodes, observed)
    assert merged.members == sorted(found, key=lambda entry: (entry["kube_cluster"], entry["zone"]))
    assert (merged.restored, merged.errors) == ([], [])


@pytest.mark.parametrize("name", ["east", "west"])
def test_a_namespace_that_is_gone_is_restored_from_the_others(name: str) -> None:
    nodes, _found, observed = deployed()
    everything = bindings.merge(HOSTNET, nodes, observed).members
    merged = bindings.merge(HOSTNET, nodes, emptied(observed, name))
    assert (merged.members, merged.restored, merged.errors) == (everything, [name], [])


def test_the_own_copy_counts_for_own_members() -> None:
    nodes, _found, observed = deployed()
    stale = [{**entry, "node": "elsewhere"} if entry["kube_cluster"] == "east" else entry for entry in observed["west"]["members"]]
    observed["west"]["members"] = stale
    merged = bindings.merge(HOSTNET, nodes, observed)
    assert merged.errors == []
    assert all(entry["node"] != "elsewhere" for entry in merged.members)


def test_copies_that_differ_restore_nothing() -> None:
    hostnet = plans.settings(kube_clusters=("east", "north", "west"))
    nodes = [*plans.five_nodes(), plans.node("north", "north-worker", "10.0.2.1")]
    observed = plans.running(hostnet, plans.admitted(hostnet, SPEC, nodes))
    observed["west"]["members"] = [
        {**entry, "address": "10.9.9.9"} if entry["member"] == "east-0" else entry for entry in observed["west"]["members"]
    ]
    merged = bindings.merge(hostnet, [], emptied(observed, "east"))
    assert len(merged.errors) == 1
    for part in ("gone in kube cluster east", "north and west differ", "member east-0", "address", "restore the ConfigMap"):
        assert part in merged.errors[0]


def test_what_is_left_speaks_against_a_copy() -> None:
    nodes, _found, observed = deployed()
    label = names.node_label("ledger")
    swapped = [
        {**node, "labels": {label: {"east-0": "east-1", "east-1": "east-0"}.get(node["labels"][label], node["labels"][label])}}
        for node in nodes
    ]
    errors = bindings.merge(HOSTNET, swapped, emptied(observed, "east")).errors
    assert len(errors) == 2
    assert all("has its label" in error for error in errors)
    kept = {
        **emptied(observed, "east")["east"],
        "workloads": [plans.workload(observed["east"]["members"][0], node="other", address="10.0.0.1")],
    }
    errors = bindings.merge(HOSTNET, nodes, {**observed, "east": kept}).errors
    assert len(errors) == 1
    assert "has node east-worker" in errors[0]
    assert "has other" in errors[0]


def test_a_kube_cluster_that_does_not_answer_is_known_from_the_others() -> None:
    nodes, _found, observed = deployed()
    merged = bindings.merge(
        HOSTNET, [node for node in nodes if node["kube_cluster"] == "east"], {**observed, "west": plans.nothing(absent=True)}
    )
    assert [entry["member"] for entry in merged.members] == ["east-0", "east-1", "east-2", "west-0", "west-1"]
    # Nothing is restored there: nobody can write to it.
    assert merged.restored == []


def test_labels_and_workloads_without_a_binding_are_strangers() -> None:
    nodes, found, observed = deployed()
    assert bindings.strangers(HOSTNET, found, nodes, observed) == []
    errors = [entry["error"] for entry in bindings.strangers(HOSTNET, found[1:], nodes, observed)]
    assert len(errors) == 2
    assert "node east-worker is labelled hostnet.multicluster/ledger=east-0" in errors[0]
    assert "StatefulSet bank/ledger-east-0 runs member east-0" in errors[1]


def test_peers_without_a_binding() -> None:
    _nodes, found, _observed = deployed()
    peers = [{"id": f"id-{entry['member']}", "name": entry["process"], "address": entry["address"]} for entry in found]
    inspection = plans.inspected(found, peers=peers)
    assert bindings.unknown_peers(found, [], inspection) == []
    errors = bindings.unknown_peers(found[:-1], [], {name: said for name, said in inspection.items() if name != found[-1]["member"]})
    assert len(errors) == 1
    assert f"a member {found[-1]['member']} at {found[-1]['address']}" in errors[0]
    # Announced by a run that was killed before it wrote the binding: it has the address of a node that is about to be admitted, and no name yet.
    announced = [*peers, {"id": "1f", "name": "", "address": "10.0.7.7:2380"}]
    fresh = [{**found[0], "member": "east-9", "process": "east-9", "address": "10.0.7.7"}]
    assert bindings.unknown_peers(found, fresh, plans.inspected(found, peers=announced)) == []
    assert len(bindings.unknown_peers(found, [], plans.inspected(found, peers=announced))) == 1


def test_an_ordinal_is_never_given_twice() -> None:
    nodes, found, observed = deployed()
    assert bindings.highest_ordinals(HOSTNET, found, nodes, observed) == {"east": 2, "west": 1}
    left = [entry for entry in found if entry["member"] != "east-2"]
    assert bindings.highest_ordinals(HOSTNET, left, [], {"west": {"ordinals": {"east": 2}}}) == {"east": 2, "west": 1}


@given(st.lists(st.tuples(st.sampled_from(["east", "west"]), st.integers(0, 40)), unique=True, min_size=1))
def test_what_is_written_is_read(members: list[tuple[str, int]]) -> None:
    entries = [{"member": f"{name}-{ordinal}", "kube_cluster": name, "ordinal": ordinal, "zone": ""} for name, ordinal in members]
    data = bindings.dump(entries, {"east": 3})
    assert json.loads(data.pop(documents.ORDINALS_KEY)) == {"east": 3}
    assert {key: json.loads(text) for key, text in data.items()} == {entry["member"]: entry for entry in entries}
