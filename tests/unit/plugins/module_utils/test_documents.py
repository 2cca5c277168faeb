# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that somebody edited: each is refused with its key, whatever was done to it, and none ends in an error of Python."""

from __future__ import annotations

import contextlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import before, documents, journal, steps
from support import plans
from support.collection import CHECKOUT

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00.000Z"

SPEC = plans.spec_of("etcd")
BINDINGS = plans.admitted(plans.settings(), SPEC, plans.five_nodes())
BINDING = next(entry for entry in BINDINGS if entry["member"] == "east-0")
MEMBERS = {str(entry["member"]): json.dumps(entry) for entry in BINDINGS}
IDENTITY = plans.identity([str(entry["member"]) for entry in BINDINGS])
RECORDS = {
    "ledger-identity": IDENTITY,
    "ledger-cluster-id": {"cluster_id": "c1d", "token": plans.TOKEN},
    "ledger-members": {**MEMBERS, "ordinals": '{"east": 4, "west": 1}'},
    "ledger-join": {"seeds": "10.0.0.1,fd00::1", "HOSTNET_STATE": "existing", "HOSTNET_TOKEN": plans.TOKEN},
}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def in_flight() -> Json:
    """A journal as the steps of a replaced member leave it."""
    entry = {
        "member": "east-0",
        "class": "ok",
        "work": "replace",
        "surge": False,
        "steps": steps.of("replace", "ok", False, "before_join"),
    }
    found = journal.advance({}, "start", now=NOW, run_id="r1", generation=3, detail={"work": "replace", "order": ["east-0", "west-0"]})
    note = before.record(entry, BINDING, [{**node, "boot_id": "b"} for node in plans.five_nodes()], {})
    found = journal.advance(found, "member", now=NOW, run_id="r1", generation=3, member=note)
    for step in ("cordon", "evict"):
        found = journal.advance(found, "next", now=NOW, run_id="r1", generation=3, step=step)
    return found


def test_what_the_collection_writes_is_understood() -> None:
    assert documents.unusable("ledger", {**RECORDS, "ledger-config": {"x": ""}, "ledger2-members": {"x": "{"}}) is None
    assert documents.journal_problem(in_flight()) == ""
    assert journal.parse(journal.dump(in_flight())) == in_flight()
    assert documents.in_hand_errors(in_flight(), {"east-0": BINDING}) == []
    assert documents.binding_problem({**BINDING, "stopped": True, "a key of a later version": 1}) == ""


def test_every_step_is_known() -> None:
    folder = Path(CHECKOUT) / "roles" / "rollout" / "tasks" / "steps"
    assert {path.stem for path in folder.glob("*.yml")} == documents.STEPS


@pytest.mark.parametrize(
    ("object_name", "key", "value", "said"),
    [
        ("ledger-identity", "token", None, "key token is missing"),
        ("ledger-identity", "ca_fingerprint", " ", "key ca_fingerprint is empty"),
        ("ledger-identity", "members", "east-0,west", "key members names 'west', which is no member"),
        ("ledger-identity", "members", "east-0,,west-0", "key members names ''"),
        ("ledger-cluster-id", "cluster_id", None, "key cluster_id is missing"),
        ("ledger-join", "seeds", None, "key seeds is missing"),
        ("ledger-join", "seeds", "10.0.0.1;10.0.0.2", "key seeds has '10.0.0.1;10.0.0.2', which is no IP address"),
        ("ledger-join", "HOSTNET_STATE", "new ", "key HOSTNET_STATE is 'new ', neither new nor existing"),
        ("ledger-members", "east-0", "east-0 is on vm-1", "key east-0 is no JSON"),
        ("ledger-members", "east-0", "[]", "key east-0: it must be an object, and is []"),
        ("ledger-members", "east-9", json.dumps(BINDING), "key east-9: member is 'east-0', and must be the key's name"),
        ("ledger-members", "ordinals", '{"east": -1}', "key ordinals: east is -1"),
        ("ledger-members", "ordinals", "3", "key ordinals: it must be an object"),
    ],
)
def test_records(object_name: str, key: str, value: str | None, said: str) -> None:
    edited = {name: dict(data) for name, data in RECORDS.items()}
    if value is None:
        del edited[object_name][key]
    else:
        edited[object_name][key] = value
    found = documents.unusable("ledger", edited)
    assert found is not None
    assert found[0] == object_name
    assert found[1].startswith(said), found[1]
    assert "Somebody edited it: restore it from a backup" in found[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node": BINDINGS[1]["node"]}, "both members have node"),
        ({"address": BINDINGS[1]["address"]}, "both members have address"),
    ],
)
def test_no_two_members_of_one_place(changes: Json, said: str) -> None:
    data = {**MEMBERS, "east-0": json.dumps({**BINDING, **changes})}
    found = documents.unusable("ledger", {"ledger-members": data})
    assert found
    assert "keys east-0 and east-1" in found[1]
    assert said in found[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ordinal": "0"}, 'ordinal is "0", and must be a whole number'),
        ({"ordinal": True}, "ordinal is true, and must be a whole number"),
        ({"ordinal": 1}, "does not fit its kube_cluster 'east' and its ordinal 1"),
        ({"kube_cluster": "west"}, "does not fit its kube_cluster 'west'"),
        ({"node_uid": ""}, "node_uid is empty"),
        ({"address": "vm-1"}, "address is 'vm-1', which is no IP address"),
        ({"other_addresses": "10.0.0.9"}, "other_addresses is"),
        ({"other_addresses": ["10.0.0.9", 4]}, "other_addresses has 4"),
        ({"admission": "../etc"}, "admission is '../etc', which cannot be the name of a folder"),
        ({"admission": ".."}, "admission is '..'"),
        ({"stopped": "no"}, 'stopped is "no", and must be true or false'),
    ],
)
def test_bindings(changes: Json, said: str) -> None:
    assert said in documents.binding_problem({**BINDING, **changes}, "east-0")


@pytest.mark.parametrize("key", [key for key in BINDING if key not in ("boot_id", "other_addresses", "machine_id")])
def test_a_binding_needs_its_keys(key: str) -> None:
    assert documents.binding_problem({name: value for name, value in BINDING.items() if name != key}) == f"{key} is missing"
    assert documents.binding_problem({**BINDING, key: None}) == f"{key} is null"
    assert documents.binding_problem({**BINDING, key: [1]}).startswith(f"{key} is [1], and must be")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["generation"], -1, "generation is -1, and must be at least 0"),
        (["generation"], "3", 'generation is "3", and must be a whole number'),
        (["state"], "open", 'state is "open", none of'),
        (["done"], "east-0", 'done is "east-0", and must be a list'),
        (["done"], ["east"], 'done has "east", which is no member'),
        (["order"], [{}], "order has {}, which is no member"),
        (["saved"], [], "saved is [], and must be an object"),
        (["settings"], "x", 'settings is "x"'),
        (["steps", 0], "cordon", 'steps[0]: it must be an object, and is "cordon"'),
        (["steps", 0, "n"], "1", 'steps[0]: n is "1"'),
        (["steps", 1, "state"], "running", 'steps[1]: state is "running"'),
        (["member"], "east-0", 'member is "east-0", and must be an object'),
        (["member", "member"], "leader", 'member: member is "leader", which is no member'),
        (["member", "steps"], "stop", 'member: steps is "stop", and must be a list'),
        (["member", "steps", 3], "reboot", 'member: steps has "reboot", which is no step'),
        (["member", "steps", 3], {}, "member: steps has {}, which is no step"),
        (["member", "old"], {"member": "east-0"}, "member: old: kube_cluster is missing"),
        (["member", "old", "member"], "east-1", "member: old: member is 'east-1'"),
        (["member", "new"], [], "member: new is [], and must be an object"),
        (["member", "seen"], [1], "member: seen has 1"),
        (["member", "displaced"], [7], "member: displaced[0]: it must be an object"),
    ],
)
def test_journals(path: list[Any], value: Any, said: str) -> None:
    edited = in_flight()
    place: Any = edited
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert documents.journal_problem(edited).startswith(said), documents.journal_problem(edited)
    with pytest.raises(journal.JournalError):
        journal.parse(json.dumps(edited))


@pytest.mark.parametrize("key", ["schema", "generation", "sequence", "run_id", "state", "done", "steps"])
def test_a_journal_needs_its_keys(key: str) -> None:
    edited = in_flight()
    del edited[key]
    assert documents.journal_problem(edited) == f"{key} is missing"


def test_a_member_in_hand_that_is_nobody_or_half_noted() -> None:
    edited = in_flight()
    (error,) = documents.in_hand_errors(edited, {"west-0": {}})
    assert "has member east-0 in hand, and there is no such member: they are west-0" in error
    assert "ConfigMap <name>-rollout" in error
    edited["member"]["work"] = "scale_down"
    assert documents.in_hand_errors(edited, {"west-0": {}}) == [], "whoever left has no binding any more"
    del edited["member"]["steps"]
    assert "in hand without steps" in documents.in_hand_errors(edited, {"east-0": BINDING})[0]
    assert documents.in_hand_errors(None, {}) == documents.in_hand_errors({"member": None}, {}) == []


@settings(max_examples=60)
@given(ANYTHING, st.data())
def test_whatever_stands_in_a_document_is_told_and_never_an_error_of_python(value: Any, data: st.DataObject) -> None:
    for text in (json.dumps(value), str(value)):
        documents.unusable("ledger", {name: dict.fromkeys(keys, text) for name, keys in RECORDS.items()})
        documents.certificates(text)
        with contextlib.suppress(journal.JournalError):
            journal.parse(text)
    documents.binding_problem(value)
    documents.journal_problem(value)
    # One value anywhere in a good journal.
    edited = place = deepcopy(in_flight())
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    documents.journal_problem(edited)
    assert isinstance(
        documents.in_hand_errors(edited if isinstance(edited.get("member"), dict) and edited["member"].get("member") else None, {}), list
    )
