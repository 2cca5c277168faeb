# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a manifest a subset of the live object? Live objects are made here as the API server makes them: with more in them."""

from __future__ import annotations

import base64
import copy
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.diff import (
    APPLIED_ANNOTATION,
    applied_hash,
    carries,
    clean,
    difference,
    dropped,
    merge,
    quantity,
    redact,
    visible,
)

SCALARS = st.one_of(st.booleans(), st.integers(-5, 5), st.text("abc", min_size=1, max_size=3))
NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta"])
KEYED = st.lists(st.fixed_dictionaries({"name": NAMES, "value": SCALARS}), unique_by=lambda item: str(item["name"]), min_size=1, max_size=3)


def trees(leaf: Any) -> Any:
    return st.recursive(leaf, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8)


# Maps of scalars, lists that are compared whole, and lists with merge keys.
OBJECTS = st.dictionaries(NAMES, trees(st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3))), min_size=1, max_size=3).flatmap(
    lambda tree: st.fixed_dictionaries({"spec": st.just(tree), "env": KEYED, "tolerations": st.just([{"operator": "Exists"}])})
)


def grown(value: Any, rng: random.Random, field: str = "") -> Any:
    """What the API server could answer to this manifest: defaults, other managers' fields, items in another order."""
    if isinstance(value, dict):
        more = {key: grown(item, rng, key) for key, item in value.items()}
        if rng.random() < 0.5:
            more[f"server{rng.randrange(100)}"] = rng.choice([1, "default", {}, []])
        keys = list(more)
        rng.shuffle(keys)
        return {key: more[key] for key in keys}
    if isinstance(value, list):
        items = [grown(item, rng) for item in value]
        if field in ("env", "tolerations"):
            items.append({"name": f"injected{rng.randrange(100)}", "value": "x"})
            rng.shuffle(items)
        return items
    return value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


def changed_at(value: Any, path: tuple[Any, ...]) -> Any:
    other = copy.deepcopy(value)
    holder = other
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = "something else"
    return other


@given(OBJECTS, st.integers(0, 1000))
def test_what_the_server_adds_is_no_difference(desired: dict[str, Any], seed: int) -> None:
    live = grown(desired, random.Random(seed))
    assert carries(live, desired)
    assert difference(desired, live) is None


@given(OBJECTS, st.integers(0, 1000), st.data())
def test_every_changed_value_is_a_difference(desired: dict[str, Any], seed: int, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(leaves(desired)))
    live = grown(changed_at(desired, path), random.Random(seed))
    assert not carries(live, desired)
    found = difference(desired, live)
    assert found is not None
    # What is shown is enough to know the whole manifest again, and nothing that is the same is shown.
    assert carries(desired, found[1])
    assert path[0] in found[1]
    assert set(found[1]) == {path[0]}


@given(OBJECTS, st.data())
def test_every_missing_field_is_a_difference(desired: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(leaves(desired)))
    live = copy.deepcopy(desired)
    holder = live
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    assert not carries(live, desired)


@given(OBJECTS, st.integers(0, 1000))
def test_hash_does_not_depend_on_the_order_of_maps(desired: dict[str, Any], seed: int) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.Random(seed).shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert applied_hash(shuffled(desired)) == applied_hash(desired)


@given(OBJECTS, st.data())
def test_hash_sees_every_change(desired: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(leaves(desired)))
    assert applied_hash(changed_at(desired, path)) != applied_hash(desired)


def test_hash_ignores_its_own_annotation() -> None:
    plain = {"metadata": {"name": "a"}}
    assert applied_hash({"metadata": {"name": "a", "annotations": {APPLIED_ANNOTATION: "x"}}}) == applied_hash(plain)
    more = {"metadata": {"name": "a", "annotations": {"other": "1"}}}
    both = {"metadata": {"name": "a", "annotations": {"other": "1", APPLIED_ANNOTATION: "x"}}}
    assert applied_hash(both) == applied_hash(more) != applied_hash(plain)


@pytest.mark.parametrize(
    ("desired", "live", "same"),
    [
        # Keyed by name, by mount path, by port and protocol with the server's default.
        ({"containers": [{"name": "a", "image": "1"}]}, {"containers": [{"name": "b"}, {"name": "a", "image": "1"}]}, True),
        ({"containers": [{"name": "a", "image": "1"}]}, {"containers": [{"name": "b", "image": "1"}]}, False),
        ({"volumeMounts": [{"mountPath": "/a", "name": "x"}]}, {"volumeMounts": [{"mountPath": "/a", "name": "y"}]}, False),
        (
            {"ports": [{"containerPort": 1}]},
            {"ports": [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 1, "protocol": "TCP"}]},
            True,
        ),
        ({"ports": [{"containerPort": 1}]}, {"ports": [{"containerPort": 1, "protocol": "UDP"}]}, False),
        ({"ports": [{"port": 1, "name": "a"}]}, {"ports": [{"port": 1, "protocol": "TCP", "name": "a", "targetPort": 1}]}, True),
        # A list without keys is one value.
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, False),
        ({"args": ["a"]}, {"args": ["a", "b"]}, False),
        ({"items": [{"key": "a", "path": "a"}]}, {"items": [{"key": "a", "path": "a", "mode": 1}]}, True),
        ({"items": [{"key": "a", "path": "a"}]}, {"items": [{"key": "a", "path": "a"}, {"key": "b", "path": "b"}]}, False),
        # A name given twice cannot be a key.
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, {"env": [{"name": "A", "value": "2"}]}, False),
        ({"finalizers": ["b"]}, {"finalizers": ["a", "b"]}, True),
        ({"finalizers": ["c"]}, {"finalizers": ["a", "b"]}, False),
        # What the server drops; and what it would not drop.
        ({"args": []}, {}, True),
        ({"metadata": {"labels": {}}}, {"metadata": {}}, True),
        ({"emptyDir": {}}, {}, False),
        ({"hostNetwork": False}, {}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": "1"}, {"a": 1}, False),
        # Quantities, only where they are quantities.
        ({"resources": {"limits": {"cpu": "1000m"}}}, {"resources": {"limits": {"cpu": "1"}}}, True),
        ({"resources": {"limits": {"cpu": 1}}}, {"resources": {"limits": {"cpu": "1"}}}, True),
        ({"resources": {"limits": {"memory": "1024Mi"}}}, {"resources": {"limits": {"memory": "1Gi"}}}, True),
        ({"resources": {"limits": {"memory": "1000Mi"}}}, {"resources": {"limits": {"memory": "1Gi"}}}, False),
        ({"emptyDir": {"sizeLimit": "1024Ki"}}, {"emptyDir": {"sizeLimit": "1Mi"}}, True),
        ({"data": {"cpu": "1000m"}}, {"data": {"cpu": "1"}}, False),
        ({"spec": {"a": 1}}, {"spec": [1]}, False),
    ],
)
def test_comparison(desired: Any, live: Any, same: bool) -> None:
    assert carries(live, desired) is same


def test_difference_shows_keys_and_changed_fields_only() -> None:
    desired = {"spec": {"replicas": 1, "containers": [{"name": "a", "image": "2", "args": ["x"]}, {"name": "new", "image": "1"}]}}
    live = {"spec": {"replicas": 1, "containers": [{"name": "a", "image": "1", "args": ["x"]}]}}
    assert difference(desired, live) == (
        {"spec": {"containers": [{"name": "a", "image": "1"}]}},
        {"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "new", "image": "1"}]}},
    )
    assert difference({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"b": "1"}}}) == (
        {},
        {"metadata": {"labels": {"a": "1"}}},
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("1000m", 1), ("1k", 1000), ("1Ki", 1024), ("0.5", "0.5"), ("1e3", 1000), ("100u", "0.0001"), (2, 2), ("1Gi", 2**30)],
)
def test_quantity(text: Any, number: Any) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "abc", "1Q", "1mm", "inf", "m"])
def test_not_a_quantity(text: str) -> None:
    assert quantity(text) is None


def test_dropped_fields_are_those_that_we_own_and_no_longer_want() -> None:
    live = {
        "metadata": {"labels": {"kept": "1", "gone": "2", "foreign": "3"}, "finalizers": ["ours", "theirs"]},
        "spec": {
            "containers": [
                {"name": "a", "image": "1", "env": [{"name": "OLD", "value": "x"}], "ports": [{"containerPort": 1, "protocol": "TCP"}]},
                {"name": "b", "image": "1"},
            ],
            "replicas": 1,
        },
    }
    owned = {
        "f:metadata": {
            "f:labels": {".": {}, "f:kept": {}, "f:gone": {}, "f:vanished": {}},
            "f:finalizers": {".": {}, 'v:"ours"': {}},
            "f:annotations": {f"f:{APPLIED_ANNOTATION}": {}},
        },
        "f:spec": {
            "f:replicas": {},
            "f:containers": {
                'k:{"name":"a"}': {
                    ".": {},
                    "f:name": {},
                    "f:image": {},
                    "f:env": {'k:{"name":"OLD"}': {".": {}, "f:name": {}, "f:value": {}}},
                    "f:ports": {'k:{"containerPort":1,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                },
                'k:{"name":"b"}': {".": {}, "f:name": {}, "f:image": {}},
                'k:{"name":"c"}': {".": {}, "f:name": {}},
            },
        },
    }
    desired = {
        "metadata": {"labels": {"kept": "1"}},
        "spec": {"replicas": 1, "containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 1}]}]},
    }
    assert dropped(owned, desired, live) == {
        "metadata": {"labels": {"gone": "2"}, "finalizers": ["ours"]},
        "spec": {"containers": [{"name": "a", "env": [{"name": "OLD", "value": "x"}]}, {"name": "b", "image": "1"}]},
    }
    assert dropped(owned, live, live) == {}
    assert dropped({"f:data": {"f:a": {"f:b": {}}}}, {}, {"data": {"a": "text"}}) == {}


def test_merge() -> None:
    assert merge({"a": {"b": 1}, "l": [1]}, {"a": {"b": 2, "c": 3}, "l": [1, 2], "d": 4}) == {"a": {"b": 1, "c": 3}, "l": [1, 2], "d": 4}


def test_clean_takes_nulls_out() -> None:
    assert clean({"a": None, "b": [{"c": None, "d": 1}], "e": {}}) == {"b": [{"d": 1}], "e": {}}


@given(st.dictionaries(NAMES, st.binary(min_size=12, max_size=40), min_size=1))
def test_no_secret_is_shown(data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": encoded, "stringData": {"t": "a long password"}}
    shown = str(redact(secret))
    assert "a long password" not in shown
    assert not [value for value in encoded.values() if value in shown]
    assert str(visible(secret)) == shown
    # Equal values are seen to be equal, others to differ.
    again = redact({**secret, "data": {key: base64.b64encode(value + b"x").decode() for key, value in data.items()}})
    assert redact(secret) == redact(copy.deepcopy(secret))
    assert all(again["data"][key] != redact(secret)["data"][key] for key in data)
    assert secret["data"] == encoded


def test_redact_of_broken_base64_and_of_other_kinds() -> None:
    assert redact({"kind": "Secret", "data": {"a": "not base64!"}})["data"] == {"a": "(not base64)"}
    assert redact({"kind": "ConfigMap", "data": {"a": "b"}}) == {"kind": "ConfigMap", "data": {"a": "b"}}


def test_visible_leaves_bookkeeping_out() -> None:
    live = {
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "uid": "1",
            "resourceVersion": "2",
            "managedFields": [{}],
            "annotations": {APPLIED_ANNOTATION: "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "status": {"x": 1},
    }
    assert visible(live) == {"kind": "ConfigMap", "metadata": {"name": "a"}}
    live["metadata"]["annotations"] = {"mine": "1"}  # type: ignore[index]
    assert visible(live)["metadata"]["annotations"] == {"mine": "1"}
