# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the kubelet as distributions write them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import versions

# Each is older than the next one.
IN_ORDER = [
    *("v1.9.11", "v1.10.0", "v1.33.4-gke.999000", "v1.33.4-gke.1134000", "v1.33.9", "v1.33.10"),
    *("v1.34.0-alpha.2", "v1.34.0-beta.1", "v1.34.0-rc.1", "v1.34.0-rc.2", "v1.34.0+k3s1", "v1.34.1+k3s9", "v1.34.1+k3s10", "v2.0.0"),
]
NUMBERS = st.tuples(*[st.integers(0, 12)] * 3)


def text(numbers: tuple[int, ...], build: str = "") -> str:
    return "v" + ".".join(map(str, numbers)) + build


@pytest.mark.parametrize(("older", "newer"), list(pairwise(IN_ORDER)))
def test_they_are_compared_as_numbers(older: str, newer: str) -> None:
    assert (versions.compare(older, newer), versions.compare(newer, older), versions.compare(older, older)) == (-1, 1, 0)
    assert (versions.has(newer, older), versions.has(older, newer), versions.has(older, older)) == (True, False, True)


def test_what_cannot_be_told_is_not_told() -> None:
    # A commit, another distribution, and no version.
    for right in ("v1.33.4-eks-9ab8c7d", "v1.33.4", "v1.33.4+rke2r1", "latest", ""):
        assert versions.compare("v1.33.4-eks-1a2b3c4", right) is None
    assert versions.compare("v1.33.3-eks-9ab8c7d", "v1.33.4-eks-1a2b3c4") == -1


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("v1.33.4-eks-1a2b3c4", "1.33.4", True),
        ("v1.33.4-eks-1a2b3c4", "v1.33", True),
        ("v1.33.0-rc.1", "1.33", False),
        ("v1.33.1-rc.1", "1.33", True),
        ("v1.34.0", "1.33.4", True),
        ("v1.9.4", "1.33", False),
        ("v1.33.4-gke.1134000", "1.33.4-gke.1134000", True),
        ("v1.33.4-gke.999000", "1.33.4-gke.1134000", False),
        ("v1.33.5-gke.1", "1.33.4-gke.1134000", True),
        ("v1.33.4", "1.33.4-gke.1134000", False),
        ("v1.33.4-eks-1a2b3c4", "1.33.4-eks-9ab8c7d", False),
        ("", "1.33", False),
        ("v1.33.4", "latest", False),
    ],
)
def test_a_node_has_a_version_or_a_newer_one(version: str, wanted: str, expected: bool) -> None:
    assert versions.has(version, wanted) is expected


@pytest.mark.parametrize("wanted", ["1.33", "v1.33", "1.33.4", " 1.33.4 ", "v1.33.4-gke.1134000", "1.33.4+k3s1", "1.34.0-rc.1"])
def test_what_is_a_version(wanted: str) -> None:
    assert versions.problem(wanted) == ""


@pytest.mark.parametrize(
    "wanted", ["", "latest", "1", "1.33.", "1.33.4.5", "1.033", "1.33-gke.1", ">=1.33", "1.33.4 ok", "1.33.4-", "-1.3", "{}"]
)
def test_what_is_none(wanted: str) -> None:
    assert versions.problem(wanted).startswith("is no version of a kubelet: write it as 1.33")


@given(NUMBERS, NUMBERS)
def test_the_order_is_that_of_the_numbers(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert versions.compare(text(left), text(right)) == (left > right) - (left < right)
    assert versions.has(text(left, "-eks-1a2b3c4"), text(right)) == (left >= right)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_an_answer(one: str, other: str) -> None:
    there, back = versions.compare(one, other), versions.compare(other, one)
    assert (there is None) == (back is None)
    assert there is None or there == -(back or 0)
    assert not versions.has(one, other) or not versions.problem(other)


def test_one_version_is_for_all_kube_clusters() -> None:
    assert versions.by_kube_cluster("1.33", ["east", "west"]) == {"east": "1.33", "west": "1.33"}
    assert versions.by_kube_cluster({"west": "1.33"}, ["east", "west"]) == {"west": "1.33"}
    for nothing in ("", {}, None):
        assert versions.by_kube_cluster(nothing, ["east"]) == {}
