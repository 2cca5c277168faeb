# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors: the text form and the JSON form mean the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.selector import Requirement, from_object, matches, parse_selector

KEYS = st.sampled_from(["a", "b", "example.com/c"])
VALUES = st.sampled_from(["x", "y", "in", "notin"])
LABELS = st.dictionaries(KEYS, VALUES)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["In", "NotIn"]), st.frozensets(VALUES, min_size=1)),
    st.builds(Requirement, KEYS, st.sampled_from(["Exists", "DoesNotExist"]), st.just(frozenset[str]())),
)


def text(requirement: Requirement) -> str:
    values = ",  ".join(sorted(requirement.values))
    return {
        "In": f"{requirement.key} in ({values})",
        "NotIn": f"{requirement.key} notin( {values} )",
        "Exists": requirement.key,
        "DoesNotExist": f"! {requirement.key}",
    }[requirement.operator]


def as_object(requirements: list[Requirement]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": one.key, "operator": one.operator, "values": sorted(one.values)} for one in requirements]}


@given(st.lists(REQUIREMENTS, max_size=4), LABELS)
def test_both_forms_mean_the_same(requirements: list[Requirement], labels: dict[str, str]) -> None:
    parsed = parse_selector(" , ".join(map(text, requirements)))
    assert parsed == tuple(requirements) == from_object(as_object(requirements))
    assert matches(parsed, labels) == all(matches((one,), labels) for one in requirements)


@given(REQUIREMENTS, LABELS)
def test_a_requirement_or_its_opposite_holds(requirement: Requirement, labels: dict[str, str]) -> None:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}[requirement.operator]
    assert matches((requirement,), labels) != matches((requirement._replace(operator=opposite),), labels)


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("", {}, True),
        ("a=x", {"a": "x", "b": "y"}, True),
        ("a==x", {"a": "y"}, False),
        ("a = x,b!=y", {"a": "x"}, True),
        ("a=x,b!=y", {"a": "x", "b": "y"}, False),
        ("a=", {"a": ""}, True),
        ("a in (x,y),!b", {"a": "y"}, True),
        ("a notin (x,y)", {}, True),
        ("hostnet.multicluster/deployment=ledger", {"hostnet.multicluster/deployment": "ledger2"}, False),
    ],
)
def test_examples(selector: str, labels: dict[str, str], expected: bool) -> None:
    assert matches(parse_selector(selector), labels) is expected


def test_match_labels() -> None:
    requirements = from_object({"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]})
    assert matches(requirements, {"a": "x", "b": ""})
    assert not matches(requirements, {"a": "x"})


@pytest.mark.parametrize("selector", ["a=b=c", "a b", ",", "a,", "a in x", "a in (x", "a>1", "-a", "a=-", "a in (x y)", "!", "=x"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match=r"write key=value|label key|label value"):
        parse_selector(selector)


@given(st.text(alphabet="a=!(), in/x", max_size=12))
def test_any_text_is_parsed_or_refused(selector: str) -> None:
    try:
        requirements = parse_selector(selector)
    except ValueError:
        return
    assert all(requirement.key for requirement in requirements)
