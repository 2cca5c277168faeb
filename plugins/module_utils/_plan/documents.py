# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the documents that a deployment keeps in ConfigMaps, where somebody edited them: pure functions.

The collection writes them whole. So a key that is missing, a value of another type, or a name that does not fit is no case to work around: the
document is refused, with the key and with what to do, before anything is concluded from it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import names
from .steps import TABLE

Json = dict[str, Any]

# What a journal names is included as a file of roles/rollout/tasks/steps.
STEPS = frozenset(step.name for step in TABLE)
STATES = ("in_flight", "done", "aborted")
ENTRY_STATES = ("begun", "done", "failed")
# A key of ConfigMap <name>-members beside the members' names, which all end in a number.
ORDINALS_KEY = "ordinals"

_TYPES = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
# It becomes part of paths on nodes, of which one is deleted with all that is in it.
_ADMISSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_ORDINAL = re.compile(r"0|[1-9][0-9]*")

# What a binding must have, what it may have, and which of its texts are never empty.
_BINDING: dict[str, type] = {
    "member": str,
    "kube_cluster": str,
    "ordinal": int,
    "node": str,
    "node_uid": str,
    "provider_id": str,
    "address": str,
    "process": str,
    "admission": str,
    "zone": str,
    "region": str,
}
_BINDING_MORE: dict[str, type] = {
    "boot_id": str,
    "machine_id": str,
    "other_addresses": list,
    "stopped": bool,
    "admission_id": str,
    "disk": dict,
    "progress": dict,
}
_DISK: dict[str, type] = {"mounted": bool, "mount": str, "filesystem": str, "id": str}
_FILLED = ("member", "kube_cluster", "node", "node_uid", "address", "process", "admission")

_JOURNAL: dict[str, type] = {"schema": int, "generation": int, "sequence": int, "run_id": str, "state": str, "done": list, "steps": list}
_JOURNAL_MORE: dict[str, type] = {
    "work": str,
    "what": str,
    "started_at": str,
    "ended_at": str,
    "controller": dict,
    "settings": dict,
    "order": list,
    "saved": dict,
    "member": dict,
}
_ENTRY: dict[str, type] = {"n": int, "member": str, "step": str, "state": str, "began_at": str, "detail": dict}
_IN_HAND: dict[str, type] = {"member": str}
_IN_HAND_MORE: dict[str, type] = {
    "class": str,
    "steps": list,
    "neighbours": list,
    "old": dict,
    "new": dict,
    "work": str,
    "surge": bool,
    "old_id": str,
    "boot_id": str,
    "pool": str,
    "pool_label": str,
    "generation": str,
    "created": str,
    "seen": list,
    "providers": list,
    "machines": list,
    "displaced": list,
    "since": int,
}
# What a member's steps read of it: op `start` of the journal cannot know, a run that goes on must.
_IN_HAND_NEEDED = ("class", "steps", "old", "work", "surge")

_IDENTITY = ("token", "system", "placement", "ca_fingerprint", "members")
_CLUSTER_RECORD = ("token", "cluster_id")
_JOIN = ("seeds", "HOSTNET_STATE", "HOSTNET_TOKEN")


def unusable(name: str, config_maps: Mapping[str, Mapping[str, str]]) -> tuple[str, str] | None:
    """The first of a deployment's ConfigMaps (`config_maps`: name -> data) that was edited, as (its name, what is wrong and what to do).

    The journal is not among them: `journal_problem` judges that where it is read.
    """
    for object_name, check in (
        (names.identity(name), _identity_problem),
        (names.cluster_record(name), _cluster_record_problem),
        (names.members(name), _members_problem),
        (names.join(name), _join_problem),
    ):
        if object_name not in config_maps:
            continue
        problem = check(config_maps[object_name])
        if problem:
            return object_name, f"{problem}. Somebody edited it: restore it from a backup{_ELSEWHERE.get(check, '')}"
    return None


def _identity_problem(data: Mapping[str, str]) -> str:
    problem = _texts(data, _IDENTITY)
    if problem:
        return problem
    wrong = [member for member in data["members"].split(",") if not _fits(member)]
    return f"key members names {wrong[0]!r}, which is no member (<kube cluster>-<number>)" if wrong else ""


def _cluster_record_problem(data: Mapping[str, str]) -> str:
    return _texts(data, _CLUSTER_RECORD)


def _join_problem(data: Mapping[str, str]) -> str:
    problem = _texts(data, _JOIN)
    if problem:
        return problem
    wrong = [entry for entry in data["seeds"].split(",") if not _is_address(entry)]
    if wrong:
        return f"key seeds has {wrong[0]!r}, which is no IP address"
    return (
        "" if data["HOSTNET_STATE"] in ("new", "existing") else f"key HOSTNET_STATE is {data['HOSTNET_STATE']!r}, neither new nor existing"
    )


def _texts(data: Mapping[str, str], keys: tuple[str, ...]) -> str:
    missing = [key for key in keys if not str(data.get(key) or "").strip()]
    return f"key {missing[0]} is {'empty' if missing[0] in data else 'missing'}" if missing else ""


def _members_problem(data: Mapping[str, str]) -> str:
    places: dict[tuple[str, ...], str] = {}
    for key in sorted(data):
        try:
            found = json.loads(data[key])
        except ValueError:
            return f"key {key} is no JSON"
        problem = _ordinals_problem(found) if key == ORDINALS_KEY else binding_problem(found, key)
        if problem:
            return f"key {key}: {problem}"
        if key == ORDINALS_KEY:
            continue
        for title, place in (
            ("node", (str(found["kube_cluster"]), str(found["node"]))),
            ("address", (str(ipaddress.ip_address(found["address"])),)),
        ):
            other = places.setdefault((title, *place), key)
            if other != key:
                return f"keys {other} and {key}: both members have {title} {found[title]}, and no two may"
    return ""


def _ordinals_problem(found: Any) -> str:
    if not isinstance(found, dict):
        return f"it must be an object (kube cluster to highest ordinal), and is {_shown(found)}"
    wrong = [key for key, value in found.items() if not _is(value, int) or value < 0]
    return f"{wrong[0]} is {_shown(found[wrong[0]])}, and must be a whole number of at least 0" if wrong else ""


def binding_problem(found: Any, member: str = "") -> str:
    """What is wrong with one binding; `member` is the name that it is kept under. Keys of later versions are none of our business."""
    problem = _shape(found, _BINDING, _BINDING_MORE)
    if problem:
        return problem
    empty = [key for key in _FILLED if not found[key]]
    if empty:
        return f"{empty[0]} is empty"
    if member and found["member"] != member:
        return f"member is {found['member']!r}, and must be the key's name"
    fitting = names.member(found["kube_cluster"], found["ordinal"])
    if found["ordinal"] < 0 or not names.is_dns_label(found["kube_cluster"]) or found["member"] != fitting:
        return f"member is {found['member']!r}, which does not fit its kube_cluster {found['kube_cluster']!r} and its ordinal {found['ordinal']}"
    if not _is_address(found["address"]):
        return f"address is {found['address']!r}, which is no IP address"
    wrong = [entry for entry in found.get("other_addresses", []) if not isinstance(entry, str) or not _is_address(entry)]
    if wrong:
        return f"other_addresses has {_shown(wrong[0])}, which is no IP address"
    if not _ADMISSION.fullmatch(found["admission"]):
        return f"admission is {found['admission']!r}, which cannot be the name of a folder"
    wrong_disk = _shape(found["disk"], _DISK, {}) if found.get("disk") else ""
    return f"disk: {wrong_disk}" if wrong_disk else ""


def journal_problem(found: Any) -> str:
    """What is wrong with a journal of this version's schema (parsed JSON), or ""."""
    return next(_journal_problems(found), "")


def _journal_problems(found: Any) -> Iterator[str]:
    problem = _shape(found, _JOURNAL, _JOURNAL_MORE)
    if problem:
        yield problem
        return
    for key in ("generation", "sequence"):
        if found[key] < 0:
            yield f"{key} is {found[key]}, and must be at least 0"
    if found["state"] not in STATES:
        yield f"state is {_shown(found['state'])}, none of {', '.join(STATES)}"
    for key in ("done", "order"):
        for member in found.get(key) or []:
            if not isinstance(member, str) or not _fits(member):
                yield f"{key} has {_shown(member)}, which is no member (<kube cluster>-<number>)"
    for index, entry in enumerate(found["steps"]):
        problem = _shape(entry, _ENTRY, {"ended_at": str})
        if not problem and entry["state"] not in ENTRY_STATES:
            problem = f"state is {_shown(entry['state'])}, none of {', '.join(ENTRY_STATES)}"
        if problem:
            yield f"steps[{index}]: {problem}"
    if found.get("member") is not None:
        problem = _in_hand_problem(found["member"])
        if problem:
            yield f"member: {problem}"


def _in_hand_problem(found: Mapping[str, Any]) -> str:
    problem = _shape(found, _IN_HAND, _IN_HAND_MORE)
    if problem:
        return problem
    if not _fits(found["member"]):
        return f"member is {_shown(found['member'])}, which is no member (<kube cluster>-<number>)"
    for step in found.get("steps") or []:
        if not isinstance(step, str) or step not in STEPS:
            return f"steps has {_shown(step)}, which is no step that this version knows"
    for key in ("seen", "providers", "machines"):
        wrong = [entry for entry in found.get(key) or [] if not isinstance(entry, str)]
        if wrong:
            return f"{key} has {_shown(wrong[0])}, which is no text"
    old = [("old", found["old"])] if found.get("old") else []
    new = [("new", found["new"])] if found.get("new") else []
    displaced = [(f"displaced[{index}]", entry) for index, entry in enumerate(found.get("displaced") or [])]
    for key, binding in (*old, *new, *displaced):
        problem = binding_problem(binding, "" if key.startswith("displaced") else found["member"])
        if problem:
            return f"{key}: {problem}"
    return ""


def in_hand_errors(journal: Mapping[str, Any] | None, members: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why the member in hand of a journal in flight cannot be gone on with: it is nobody's, or what its steps need is not there.

    `members` are the bindings by name. Whoever leaves for good has no binding any more, and is known by what the journal noted before.
    """
    found = (journal or {}).get("member")
    if not found:
        return []
    name = str(found["member"])
    where = f"the journal of the rollout in flight (run {(journal or {}).get('run_id')}) has member {name} in hand"
    remedy = (
        "it was edited by hand: restore ConfigMap <name>-rollout from a backup, or delete it in every kube cluster and repair what the rollout left with "
        "playbooks/repair.yml"
    )
    missing = [key for key in _IN_HAND_NEEDED if found.get(key) is None]
    if missing:
        return [f"{where} without {', '.join(missing)}; {remedy}"]
    if name not in members and found["work"] != "scale_down":
        return [f"{where}, and there is no such member: they are {', '.join(sorted(members)) or 'none'}; {remedy}"]
    return []


def certificates(text: str) -> Json:
    """The annotation of a Secret with its certificates' dates. An edited one tells nothing, and the next deploy writes it again."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    well = isinstance(found, dict) and all(
        isinstance(files, dict) and all(isinstance(entry, dict) and "not_after" in entry for entry in files.values())
        for files in found.values()
    )
    return found if well else {}


def _shape(found: Any, needed: Mapping[str, type], more: Mapping[str, type]) -> str:
    """The first key of an object that is missing or of another type. A null counts as missing, and only what is in `more` may be that."""
    if not isinstance(found, Mapping):
        return f"it must be an object, and is {_shown(found)}"
    for key, wanted in {**needed, **more}.items():
        value = found.get(key)
        if value is None:
            if key in needed:
                return f"{key} is {'null' if key in found else 'missing'}"
        elif not _is(value, wanted):
            return f"{key} is {_shown(value)}, and must be {_TYPES[wanted]}"
    return ""


def _is(value: Any, wanted: type) -> bool:
    # True is an int to Python, and to nobody else.
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _fits(member: str) -> bool:
    kube_cluster, _dash, ordinal = member.rpartition("-")
    return names.is_dns_label(kube_cluster) and bool(_ORDINAL.fullmatch(ordinal))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# Records are the same in every kube cluster, and so are copies: that is where the best backup is.
_ELSEWHERE = dict.fromkeys(
    (_identity_problem, _cluster_record_problem, _join_problem), ", or copy it from another kube cluster, where it is the same"
)
