# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, judged here where asking the API server would cost a request for each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .labels import key_error, value_error

# The text form: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
_SET = re.compile(r"(?P<key>[^\s!=(),]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s!=(),]+)\s*(?P<operator>==|!=|=)\s*(?P<value>[^\s!=(),]*)")
_EXISTS = re.compile(r"(?P<negated>!?)\s*(?P<key>[^\s!=(),]+)")
# A comma ends a requirement, except between the parentheses of a set.
_COMMA = re.compile(r",(?![^()]*\))")


class Requirement(NamedTuple):
    """One requirement. `operator` is In, NotIn, Exists or DoesNotExist, as in the JSON form."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """The requirements of a label selector in text form; none for an empty text. Raises ValueError with what is wrong."""
    if not text.strip():
        return ()
    return tuple(_requirement(part.strip()) for part in _COMMA.split(text))


def _requirement(text: str) -> Requirement:
    found: Requirement | None = None
    if match := _SET.fullmatch(text):
        values = frozenset(value.strip() for value in match["values"].split(","))
        found = Requirement(match["key"], "In" if match["operator"] == "in" else "NotIn", values)
    elif match := _EQUALITY.fullmatch(text):
        found = Requirement(match["key"], "NotIn" if match["operator"] == "!=" else "In", frozenset({match["value"]}))
    elif match := _EXISTS.fullmatch(text):
        found = Requirement(match["key"], "DoesNotExist" if match["negated"] else "Exists")
    if found is None:
        raise ValueError(f"{text!r} is no label requirement; write key=value, key!=value, key, !key, key in (a, b) or key notin (a, b)")
    error = key_error(found.key) or next(filter(None, map(value_error, sorted(found.values))), "")
    if error:
        raise ValueError(error)
    return found


def from_object(selector: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """The requirements of a LabelSelector in JSON form (matchLabels, matchExpressions)."""
    requirements = [Requirement(key, "In", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    requirements += [
        Requirement(entry["key"], entry["operator"], frozenset(entry.get("values") or ()))
        for entry in selector.get("matchExpressions") or ()
    ]
    return tuple(requirements)


def matches(requirements: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    """True where `labels` meet every requirement; so no requirements match everything.

    As the API server judges: NotIn and != hold also where the key is missing.
    """
    return all(_holds(requirement, labels) for requirement in requirements)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    if requirement.operator == "Exists":
        return present
    if requirement.operator == "DoesNotExist":
        return not present
    inside = present and labels[requirement.key] in requirement.values
    return inside if requirement.operator == "In" else not inside
