# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates: whether a member may be stopped, admitted, or counts as settled. Data about every system, evaluated here: no I/O.

A gate is `{say: "members that are not healthy", find: "<JMESPath>"}`. `find` looks for what speaks against going on, in the
document below; `{member}` in it is replaced by the name of the member that the gate is about, `{left}` by the number of the others,
`{expected}` by the names of those that should be there as a JSON list. Null, false, 0, "", [] and {} mean that nothing does; whatever
else it finds is shown after `say`. What cannot be evaluated is closed, never open, and so is an expression that names
something the document does not have: to JMESPath that is null, and a misspelt gate would stand open for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import dead

try:
    import jmespath
except ImportError:
    jmespath = None

Json = dict[str, Any]
Gate = Mapping[str, Any]

# Found values are shown in one line of at most this many characters.
SHOWN_CHARACTERS = 300


def quorum(members: int) -> int:
    """How many of `members` must take part for a write to be acknowledged: a majority."""
    return members // 2 + 1


_ONE_CLUSTER: list[Gate] = [
    {"say": "the members report different cluster ids", "find": "length(cluster_ids) > `1` && cluster_ids"},
]
# Those whose lists are compared are those that `views` is made of.
_ONE_VIEW: list[Gate] = [
    {
        "say": "membership lists differ",
        "find": (
            "length(views) > `1` && members[?healthy && role != 'learner']"
            ".join('', [member, ' lists [', join(', ', sort((peers || `[]`)[].to_string(id))), ']'])"
        ),
    },
]
_QUORUM: list[Gate] = [
    {
        "say": "no majority without this member",
        "find": (
            "quorum_short > `0` && join('', [to_string(healthy_others), ' of ', to_string(voters), ' voters would be healthy, ', to_string(quorum), "
            "' needed; unhealthy: ', (join(', ', [missing_others, others[?reachable && !healthy].member][]) || 'none')])"
        ),
    },
]

# On top of `stop`, where the member's disk goes with its VM, or the member for good.
ONLY_COPY: list[Gate] = [{"say": "data whose only copy is with it", "find": "itself.alone"}]

# What holds for every system; its own gates (spec.gates) come on top.
GENERIC: dict[str, list[Gate]] = {
    "stop": [
        {"say": "members that do not answer", "find": "missing_others"},
        {"say": "members that are not healthy", "find": "others[?reachable && !healthy].join(': ', [member, reason])"},
        *_QUORUM,
        *_ONE_CLUSTER,
        *_ONE_VIEW,
    ],
    # Others may be down here: the member that is admitted may be the one that mends it.
    "admit": [*_QUORUM, *_ONE_CLUSTER],
    "settled": [
        {"say": "members that do not answer", "find": "missing"},
        {"say": "members that are not healthy", "find": "members[?reachable && !healthy].join(': ', [member, reason])"},
        *_ONE_CLUSTER,
        *_ONE_VIEW,
    ],
}

# Before the place of a process is taken. `alive`: some member sees it now. `dead`: on top of that, none is unsure, and those who say so are a majority.
_ALIVE: list[Gate] = [{"say": "still alive", "find": "alive"}]
PROOF: dict[str, list[Gate]] = {
    "alive": _ALIVE,
    "dead": [*_ALIVE, {"say": "which members are dead is unknown", "find": "untold"}, *_QUORUM],
}


def is_for(entry: Gate, work: str) -> bool:
    """Whether a gate holds for this work of a rollout: `not_for` names those that it does not hold for."""
    left_out = entry.get("not_for") or []
    return work not in ([left_out] if isinstance(left_out, str) else left_out)


def named(given: Sequence[str | Gate], spec: Mapping[str, Any], work: str = "") -> list[Json]:
    """The gates of these names, each once, and those that are given whole.

    Names are `stop`, `replace` (stop, and the disk goes), `leave` (replace, and nobody comes), `admit`, `alive`, `dead` and `settled`: the gates of every
    system, then the system's own, without those that are `not_for` this work. Raises ValueError for another name.
    """
    found: list[Json] = []
    for entry in given:
        more = _of_name(entry, spec, work) if isinstance(entry, str) else [dict(entry)]
        found += [gate for gate in more if gate not in found]
    return found


def _of_name(name: str, spec: Mapping[str, Any], work: str) -> list[Json]:
    gone = name in ("replace", "leave")
    kind = "stop" if gone else name
    generic = {**GENERIC, **PROOF}
    if kind not in generic:
        raise ValueError(f"there is no gate {name!r}; known are replace, leave, {', '.join(generic)}")
    own = spec.get("gates") or {}
    more = own.get("leave", []) if name == "leave" else []
    found = [*generic[kind], *(ONLY_COPY if gone else []), *own.get(kind, []), *more]
    return [{key: value for key, value in entry.items() if key != "not_for"} for entry in found if is_for(entry, work)]


def document(
    inspection: Mapping[str, Mapping[str, Any]],
    member: str = "",
    expected: Iterable[str] = (),
    processes: Sequence[Mapping[str, Any]] = (),
) -> Json:
    """What the expressions of gates see.

    * `member`: name of the member that the gates are about, or ""; `itself`: its inspection, {} where there is none
    * `members`: every inspection with its `member` name; `others`: the same without `member`
    * `missing`: names of `expected` members, of `member` and of the members asked that did not answer; `missing_others`: without `member`
    * `views`: the distinct sorted lists of ids of peers, as healthy members tell them (a learner tells none); `cluster_ids`: the distinct ones
    * `voters`: how many members count for a majority: the most that a healthy member lists with the role `voter`, or in systems without
      such a role the number of `expected` members; `quorum`: the least number of them that is a majority
    * `healthy`, `healthy_others`: how many members are healthy and no learners, with and without `member`
    * `quorum_short`: how many healthy members a majority would lack without `member`
    * `left`: how many members there are without `member`, well or not
    * `expected`: names of the members that count here: those given, those asked and `member`, but nobody else who is broken too
    * `alive`, `untold`: of the `processes` whose place is to be taken, those that some member sees, and those of which one cannot tell (dead.verdicts)
    """
    members = [{"member": name, **inspection[name]} for name in sorted(inspection)]
    known = dict.fromkeys([*expected, *sorted(inspection), *([member] if member else [])])
    answered = {str(entry["member"]) for entry in members if entry.get("reachable")}
    missing = [name for name in known if name not in answered]
    tellers = [entry for entry in members if entry.get("healthy") and entry.get("role") != "learner"]
    views = {tuple(sorted(str(peer.get("id") or "") for peer in entry.get("peers") or [])) for entry in tellers}
    listed = max((sum(peer.get("role") == "voter" for peer in entry.get("peers") or []) for entry in tellers), default=0)
    voters = listed or len(known)
    healthy_others = sum(entry["member"] != member for entry in tellers)
    alive, untold = dead.verdicts(inspection, processes)
    return {
        "member": member,
        "itself": next((entry for entry in members if entry["member"] == member), {}),
        "members": members,
        "others": [entry for entry in members if entry["member"] != member],
        "missing": missing,
        "missing_others": [name for name in missing if name != member],
        "views": [list(view) for view in sorted(views)],
        "cluster_ids": sorted({str(entry["cluster_id"]) for entry in members if entry.get("cluster_id")}),
        "voters": voters,
        "quorum": quorum(voters),
        "healthy": len(tellers),
        "healthy_others": healthy_others,
        "quorum_short": max(0, quorum(voters) - healthy_others),
        "left": len(known) - bool(member),
        "expected": list(known),
        "alive": alive,
        "untold": untold,
    }


def evaluate(gates: Sequence[Gate], seen: Mapping[str, Any]) -> list[str]:
    """What speaks against going on, one text for each closed gate, in the order of `gates`; empty when all are open."""
    return [text for text in (_closed(gate, seen) for gate in gates) if text]


def _closed(gate: Gate, seen: Mapping[str, Any]) -> str:
    """Why the gate is closed, empty where it is open."""
    if not isinstance(gate, Mapping) or not isinstance(gate.get("say"), str) or not isinstance(gate.get("find"), str):
        return f"a gate that cannot be read (it needs the texts say and find): {_shown(gate)}"
    say = gate["say"]
    # JMESPath has no way to the document from inside of a filter. Names of members are DNS labels, which no literal has to escape.
    find = gate["find"].replace("{member}", str(seen.get("member", ""))).replace("{left}", str(seen.get("left", "")))
    find = find.replace("{expected}", json.dumps(list(seen.get("expected", []))))
    if jmespath is None:
        return f"{say}: cannot be evaluated without the Python library jmespath"
    try:
        expression = jmespath.compile(find)
        unknown = sorted(_names(expression.parsed) - set(seen))
        if unknown:
            return f"{say}: cannot be evaluated, {find!r} names {', '.join(unknown)}; known are {', '.join(sorted(seen))}"
        found = expression.search(seen)
    except Exception as error:  # whatever goes wrong in an expression of a user's, its gate is closed
        return f"{say}: cannot be evaluated, {find!r}: {' '.join(str(error).split())}"
    # False and 0 are equal to Python, and both mean open.
    if found is None or found in (0, "", [], {}):
        return ""
    return say if found is True else f"{say}: {_shown(found)}"


def _names(node: Mapping[str, Any]) -> set[str]:
    """The names that a parsed expression looks up in the document itself, not in a part of it."""
    kind, children = node["type"], node.get("children") or []
    if kind == "field":
        return {str(node["value"])}
    # The others of their children look at what the first one found.
    if kind in ("subexpression", "index_expression", "projection", "value_projection", "filter_projection", "pipe", "expref"):
        children = children[:1] if kind != "expref" else []
    return set().union(*(_names(child) for child in children if isinstance(child, Mapping))) if children else set()


def _shown(found: Any) -> str:
    if isinstance(found, list) and all(isinstance(item, (str, int, float)) for item in found):
        # Several members may tell the same.
        text = ", ".join(dict.fromkeys(str(item) for item in found))
    else:
        text = found if isinstance(found, str) else json.dumps(found, sort_keys=True, default=str)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


@dataclass(frozen=True)
class Steady:
    """How long the gates have been open without a break: a state that each sample takes to the next one.

    `count` is the number of open samples in a row, `since` the time of the first of them in seconds of a clock that never goes back.
    """

    count: int = 0
    since: float = 0.0

    def after(self, is_open: bool, now: float) -> Steady:
        """The state after a sample that was taken at `now`. One closed sample, and the count starts anew."""
        if not is_open:
            return Steady()
        return Steady(self.count + 1, self.since if self.count else now)

    def enough(self, samples: int, for_seconds: float, now: float) -> bool:
        """Whether at least `samples` samples in a row were open, the first of them at least `for_seconds` ago."""
        return self.count >= max(1, samples) and now - self.since >= for_seconds
