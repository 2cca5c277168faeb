# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which labels change: the plan is applied to plain dicts here, as the API server would apply the patches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.labels import (
    changes_diff,
    key_error,
    label_changes,
    label_errors,
    label_patch,
    labels_by_node,
    owned_error,
    value_error,
)

KEYS = st.sampled_from(["a", "b", "example.com/c", "example.com/d"])
LABELS = st.dictionaries(KEYS, st.sampled_from(["", "x", "y"]))
NODES = st.sampled_from(["n1", "n2", "n3"])


def patched(labels: dict[str, str], patch: dict[str, str | None]) -> dict[str, str]:
    """RFC 7386 for a map of strings."""
    result = {**labels, **patch}
    return {key: value for key, value in result.items() if value is not None}


@given(st.dictionaries(NODES, LABELS, min_size=1), st.data(), st.lists(KEYS, unique=True))
def test_plan_makes_it_so_and_a_second_plan_is_empty(current: dict[str, dict[str, str]], data: st.DataObject, owned: list[str]) -> None:
    wanted = data.draw(st.dictionaries(st.sampled_from(sorted(current)), LABELS))
    changes = label_changes(current, wanted, owned)
    after = {name: dict(labels) for name, labels in current.items()}
    for change in changes:
        assert change["before"] != change["after"]
        patch = label_patch(change)
        # A patch touches what differs and nothing else.
        assert set(patch) == set(change["before"]) | set(change["after"])
        after[change["name"]] = patched(current[change["name"]], patch)
    assert [change["name"] for change in changes] == sorted(name for name in current if after[name] != current[name])
    for name, labels in after.items():
        want = wanted.get(name, {})
        assert {key: labels.get(key) for key in want} == want
        assert not [key for key in owned if key in labels and key not in want]
        untouched = set(current[name]) - set(owned) - set(want)
        assert {key: labels.get(key) for key in untouched} == {key: current[name][key] for key in untouched}
    assert label_changes(after, wanted, owned) == []


def test_before_and_after_hold_only_what_differs() -> None:
    current = {"n1": {"keep": "1", "old": "1", "same": "1"}, "n2": {"old": "2"}}
    changes = label_changes(current, {"n1": {"same": "1", "new": "1"}}, ["old"])
    assert changes == [
        {"name": "n1", "before": {"old": "1"}, "after": {"new": "1"}},
        {"name": "n2", "before": {"old": "2"}, "after": {}},
    ]
    assert label_patch(changes[0]) == {"old": None, "new": "1"}
    assert changes_diff({"east": changes}) == {
        "before": {"east/n1": {"old": "1"}, "east/n2": {"old": "2"}},
        "after": {"east/n1": {"new": "1"}, "east/n2": {}},
    }


def test_a_wanted_node_must_exist() -> None:
    with pytest.raises(KeyError):
        label_changes({"n1": {}}, {"n2": {"a": "b"}}, [])


@pytest.mark.parametrize("key", ["a", "A.b_c-d", "example.com/a", "a" * 63, f"{'a.' * 126}a/b"])
def test_good_keys(key: str) -> None:
    assert key_error(key) == ""


@pytest.mark.parametrize("key", ["", "-a", "a-", "a" * 64, "/a", "Example.com/a", "a/b/c", "example.com/", "a\n", f"{'a.' * 127}a/b", "ä"])
def test_bad_keys(key: str) -> None:
    assert repr(key) in key_error(key)


def test_values() -> None:
    assert [value_error(value) for value in ("", "a", "A_b.c-1", "a" * 63)] == [""] * 4
    assert all(value_error(value) for value in ("a b", "-a", "a" * 64, "a\n", "/"))


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("example.com/a", True),
        ("mine", True),
        ("node-role.kubernetes.io/db", True),
        ("notkubernetes.io/a", True),
        ("node-role.kubernetes.io/control-plane", False),
        ("kubernetes.io/hostname", False),
        ("topology.kubernetes.io/zone", False),
        ("k8s.io/a", False),
        ("x.k8s.io/a", False),
        ("-", False),
    ],
)
def test_owned_keys(key: str, allowed: bool) -> None:
    assert (owned_error(key) == "") == allowed


def entry(name: str = "n1", kube_cluster: str = "east", **labels: Any) -> dict[str, Any]:
    return {"kube_cluster": kube_cluster, "name": name, "labels": labels}


@pytest.mark.parametrize(
    ("nodes", "part"),
    [
        ([entry(a="1"), entry(b="1")], "node n1 (kube cluster east) is listed twice"),
        ([entry(kube_cluster="north")], "kube_clusters has no entry of that name; it has east"),
        ([entry(a=True)], "label 'a' is True, not a string; quote it"),
        ([entry(a=None)], "label 'a' is None"),
        ([entry(a=["x"])], "label 'a' is ['x']"),
        ([entry(a="x y")], "label value 'x y' must be"),
        ([entry(**{"a b": "x"})], "label key 'a b'"),
    ],
)
def test_wrong_options(nodes: list[dict[str, Any]], part: str) -> None:
    (error,) = label_errors(nodes, [], ["east"])
    assert part in error
    assert "kube cluster" in error


def test_right_options() -> None:
    nodes = [entry(a="x", b=1), entry("n1", "west")]
    assert label_errors(nodes, ["a"], ["east", "west"]) == []
    assert labels_by_node(nodes) == {("east", "n1"): {"a": "x", "b": "1"}, ("west", "n1"): {}}
    assert "belongs to Kubernetes itself" in label_errors([], ["kubernetes.io/os"], ["east"])[0]
