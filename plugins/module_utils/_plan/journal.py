# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a rollout: one document that says what was meant to be done and what was done.

It says where to look after a kill, never what is true: every step decides by observation whether it is already done.
Nothing here reads a clock or a kube cluster. Times are RFC 3339 in UTC with milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from . import documents, names
from .dead import TAKEN

Json = dict[str, Any]

# Schema 2 writes consecutive members as one entry, and VMs that were there before as digests (successor.digest). Who reads schema 1 alone must not go
# on with it: every VM would be a new one to it.
SCHEMA = 2
READABLE = (1, 2)
# On the ConfigMap, for the API server to compare: the generation of the lock whose holder wrote it last.
GENERATION_ANNOTATION = f"{names.PREFIX}/generation"
IN_FLIGHT, DONE, ABORTED = "in_flight", "done", "aborted"
BEGUN, FAILED = "begun", "failed"
OPS = ("start", "next", "member", "drop", "save", "finish")

# A ConfigMap holds 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/). Steps of members that are done are of
# interest to people alone, so the oldest of them go first; their numbers go on, which shows that some are gone.
MAX_STEPS = 300
MAX_BYTES = 900_000
# Of these, what is kept free in the plan for what is not known yet: the steps of the member in hand, of which none may go, with their details.
RESERVED_BYTES = 100_000
# Members in one document, as far as it is read: an edited one must not fill the memory.
_MAX_NAMES = 100_000
_RANGE = re.compile(r"([a-z0-9](?:[-a-z0-9]*[a-z0-9])?-)(0|[1-9][0-9]{0,8})\.\.(0|[1-9][0-9]{0,8})")
_NAME = re.compile(r"([a-z0-9](?:[-a-z0-9]*[a-z0-9])?-)(0|[1-9][0-9]{0,8})")
_NAMES = ("order", "done")

# What a rollout of any kind is started with; all of it is kept over a resumption unless it is given anew.
_START_KEYS: Json = {"work": "", "what": "", "controller": {}, "settings": {}, "order": [], "saved": {}}

# Longer than any generation, and what Python makes an integer of without complaint.
_DIGITS = 100

_SECRET_NAME = re.compile(
    r"(^|[_.-])(key|keys|cert|certs|certificate|certificates|pem|crt|password|passwd|passphrase|secret|secrets|credentials|kubeconfig)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(r"-----BEGIN [A-Z0-9 ]+-----|\$ANSIBLE_VAULT;")


class JournalError(Exception):
    """An operation that the journal's state does not allow. The text says what to do."""


def advance(
    journal: Mapping[str, Any],
    op: str,
    *,
    now: str,
    run_id: str,
    generation: int,
    step: str = "",
    detail: Mapping[str, Any] | None = None,
    member: Mapping[str, Any] | None = None,
    state: str = "",
    saved: Mapping[str, Any] | None = None,
    after_failure: bool = False,
) -> Json:
    """The journal after one operation of the run that holds the lock; `journal` itself is not changed.

    * `start`: `detail` may hold work, what, controller, settings, order and saved. A journal in flight is resumed: what it has is
      kept unless given. Any other one (`{}` too) is replaced by a new one.
    * `next`: a step of the member in flight (of none where there is none) begins. The step that is under way, if any, is done with `detail`;
      where it is the very step that begins, or one that comes after it, its run died in it, and it is closed as failed. One write, where two would
      tell the same.
    * `member`: merges into the member in flight; with no member given the one in flight is done, and so is its last step, with `detail`.
    * `drop`: the member in flight, whose steps were undone, is in flight no more, and not done either: its turn comes again.
    * `save`: only what `saved` says.
    * `finish`: `state` is done or aborted.

    `saved` is merged into the journal's `saved` first, a null takes a key away, with every operation. `after_failure`: a kube cluster that is away may
    have the write that failed before, of which this document knows nothing; this one gets a number that is higher than that one's. Raises JournalError.
    """
    if op not in OPS:
        raise JournalError(f"op {op!r} is none of {', '.join(OPS)}")
    after = _start(journal, now, dict(detail or {})) if op == "start" else _ours(journal, run_id, generation)
    for key, value in (saved or {}).items():
        if value is None:
            after["saved"].pop(key, None)
        else:
            after["saved"][key] = deepcopy(value)
    if op == "next":
        if not step:
            raise JournalError("op next needs the name of the step (option step)")
        _close(after, now, step, dict(detail or {}))
        _begin(after, now, step)
    elif op == "member":
        if member is None:
            _close(after, now, "", dict(detail or {}))
        _member(after, member)
    elif op == "drop":
        _drop(after, now)
    elif op == "finish":
        _finish(after, now, state or DONE)
    after["schema"], after["run_id"], after["generation"] = SCHEMA, run_id, generation
    after["sequence"] = int(journal.get("sequence") or 0) + (2 if after_failure else 1)
    named = secret_names(after)
    if named:
        raise JournalError(
            f"{', '.join(named)} would put what looks like a secret into the journal, which everybody who reads ConfigMaps can see; "
            f"leave it out, or use another name where it is none"
        )
    _forget_old_steps(after)
    return after


def _start(journal: Mapping[str, Any], now: str, detail: Json) -> Json:
    unknown = sorted(set(detail) - set(_START_KEYS))
    if unknown:
        raise JournalError(f"detail of op start holds {', '.join(unknown)}; it may hold {', '.join(_START_KEYS)}")
    old = deepcopy(dict(journal)) if in_flight(journal) else {}
    after: Json = {
        "schema": SCHEMA,
        "run_id": "",
        "generation": 0,
        "sequence": 0,
        "state": IN_FLIGHT,
        "started_at": old.get("started_at") or now,
        "ended_at": None,
        "done": list(old.get("done") or []),
        "member": old.get("member"),
        "steps": list(old.get("steps") or []),
    }
    for key, empty in _START_KEYS.items():
        given = detail.get(key)
        after[key] = deepcopy(given if given is not None else old.get(key, empty))
    # Old values belong to what was changed and is not put back yet; a new start must not lose them.
    after["saved"] = {**dict(old.get("saved") or {}), **dict(detail.get("saved") or {})}
    return after


def _ours(journal: Mapping[str, Any], run_id: str, generation: int) -> Json:
    if not in_flight(journal):
        raise JournalError("the journal is of no rollout in flight; begin with op start")
    if journal.get("run_id") != run_id or journal.get("generation") != generation:
        raise JournalError(
            f"the journal is of run {journal.get('run_id')} generation {journal.get('generation')}, the lock of run {run_id} generation "
            f"{generation}; begin with op start, which goes on where the journal ends"
        )
    return deepcopy(dict(journal))


def _name(journal: Mapping[str, Any]) -> str:
    return str((journal.get("member") or {}).get("member") or "")


def _begin(journal: Json, now: str, step: str) -> None:
    number = max((entry["n"] for entry in journal["steps"]), default=0) + 1
    journal["steps"].append(
        {"n": number, "member": _name(journal), "step": step, "state": BEGUN, "began_at": now, "ended_at": None, "detail": {}}
    )


def _close(journal: Json, now: str, following: str, detail: Json) -> None:
    """Ends the step that is under way as done. One that is begun again, now or after what begins now, was cut short, and is no step that is done."""
    order = list((journal.get("member") or {}).get("steps") or [])
    again = order[order.index(following) :] if following in order else [following]
    _end_step(journal, now, lambda step: step in again, detail)


def _end_step(journal: Json, now: str, is_cut: Callable[[str], bool], detail: Json) -> None:
    """Ends the step that is under way, if any: as done with `detail`, or as one that was cut short."""
    for entry in reversed(journal["steps"]):
        if entry["state"] == BEGUN and entry["member"] == _name(journal):
            cut = is_cut(entry["step"])
            told = {"interrupted": True} if cut else deepcopy(detail)
            entry.update(state=FAILED if cut else DONE, ended_at=now, detail={**entry["detail"], **told})
            return


def _member(journal: Json, member: Mapping[str, Any] | None) -> None:
    name = _name(journal)
    if member is None:
        if not name:
            raise JournalError("no member is in flight that could be done; give the option member to begin one")
        record, journal["member"] = journal["member"], None
        # Mended on the VM that it had, a member still has its turn before it. On another VM it had it.
        counts = record.get("work") in (None, journal.get("work")) or record.get("class") in TAKEN
        if name not in journal["done"] and counts:
            journal["done"].append(name)
        return
    given = str(member.get("member") or "")
    if not given and not name:
        raise JournalError("no member is in flight; name it with the key member of the option member")
    if name and given and name != given:
        raise JournalError(f"member {name} is in flight; finish it before {given}")
    merged: Json = {"member": given or name, "class": "", "steps": [], "old": None, "new": None}
    # What it did in an earlier turn was undone, or was of another VM.
    earlier = [int(entry["n"]) for entry in journal["steps"] if entry["member"] == given]
    if not name and earlier:
        merged["since"] = max(earlier)
    merged.update(journal["member"] or {})
    merged.update(deepcopy(dict(member)))
    journal["member"] = merged


def _drop(journal: Json, now: str) -> None:
    if not _name(journal):
        raise JournalError("no member is in flight that could be dropped")
    _end_step(journal, now, lambda _step: True, {})
    journal["member"] = None


def _finish(journal: Json, now: str, state: str) -> None:
    if state not in (DONE, ABORTED):
        raise JournalError(f"op finish ends with state done or aborted, not {state!r}")
    if state == DONE and _name(journal):
        raise JournalError(
            f"member {_name(journal)} is in flight; a rollout is done when no member is. Finish it, or end with state aborted"
        )
    if state == DONE and journal["saved"]:
        raise JournalError(f"saved settings were not put back: {', '.join(sorted(journal['saved']))}; put them back before the end")
    journal.update(state=state, ended_at=now)


def _forget_old_steps(journal: Json) -> None:
    """Keeps the document small: drops the oldest ended steps that are not of the member in flight."""
    steps, name = journal["steps"], _name(journal)
    droppable = [entry for entry in steps if entry["state"] != BEGUN and not (name and entry["member"] == name)]
    surplus = max(0, len(steps) - MAX_STEPS)
    gone = {entry["n"] for entry in droppable[:surplus]}
    rest = droppable[surplus:]
    journal["steps"] = [entry for entry in steps if entry["n"] not in gone]
    while rest and size(journal) > MAX_BYTES:
        half = max(1, len(rest) // 2)
        gone = {entry["n"] for entry in rest[:half]}
        rest = rest[half:]
        journal["steps"] = [entry for entry in journal["steps"] if entry["n"] not in gone]
    if size(journal) > MAX_BYTES:
        raise JournalError(f"the journal is {size(journal)} bytes long, more than a ConfigMap takes ({MAX_BYTES}); give smaller details")


def shortened(names: Sequence[str]) -> list[str]:
    """Names of members as they are stored: three and more that follow each other are one entry, `east-0..2499`. The order stays."""
    result: list[str] = []
    run: list[str] = []
    following = ""
    for name in names:
        found = _NAME.fullmatch(name)
        if found is None or name != following:
            result += _as_range(run)
            run = []
        run.append(name)
        following = f"{found[1]}{int(found[2]) + 1}" if found else ""
    return result + _as_range(run)


def _as_range(run: list[str]) -> list[str]:
    return [f"{run[0]}..{run[-1].rpartition('-')[2]}"] if len(run) > 2 else run


def expanded(entries: Sequence[Any]) -> list[Any]:
    """What `shortened` was made of. An entry that is no such range stays as it is, for the check of the document to name it."""
    result: list[Any] = []
    for entry in entries:
        found = _RANGE.fullmatch(entry) if isinstance(entry, str) else None
        count = int(found[3]) - int(found[2]) + 1 if found else 0
        if found and 0 < count <= _MAX_NAMES - len(result):
            result += [f"{found[1]}{ordinal}" for ordinal in range(int(found[2]), int(found[3]) + 1)]
        else:
            result.append(entry)
    return result


def dump(journal: Mapping[str, Any]) -> str:
    """The document as it is stored: one line, keys in a fixed order, so that equal documents are equal texts."""
    stored = {**journal, **{key: shortened(journal[key]) for key in _NAMES if journal.get(key)}}
    return json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def size(journal: Mapping[str, Any]) -> int:
    """Bytes of the stored document."""
    return len(dump(journal))


def largest(order: Sequence[str], record: Mapping[str, Any]) -> int:
    """Bytes that the journal of a rollout of these members has at most: at its last member, `record`, with all the others done."""
    last = {**record, "new": record.get("old")}
    return size({"order": list(order), "done": list(order), "member": last}) + RESERVED_BYTES


def parse(text: str) -> Json:
    """A stored document. Raises JournalError, which says what is wrong, for a text that is none, or none that this version understands."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise JournalError("it is no JSON") from error
    if not isinstance(found, dict):
        raise JournalError("it is no object")
    if found.get("schema") not in READABLE:
        what = f"its schema is {json.dumps(found['schema'])[:40]}" if "schema" in found else "it has no schema"
        raise JournalError(
            f"{what}, this version of the collection reads {' and '.join(map(str, READABLE))}: use the version that wrote it"
        )
    for key in _NAMES:
        if isinstance(found.get(key), list):
            found[key] = expanded(found[key])
    problem = documents.journal_problem(found)
    if problem:
        raise JournalError(problem)
    return found


def generation_of(config_map: Mapping[str, Any] | None) -> int:
    """The highest generation that a journal's ConfigMap tells of, by its annotation or its document; 0 where it tells of none.

    A document that cannot be read tells nothing here: whoever goes by it refuses it.
    """
    annotations = ((config_map or {}).get("metadata") or {}).get("annotations") or {}
    text = str(annotations.get(GENERATION_ANNOTATION, ""))
    try:
        written = int(parse(str(((config_map or {}).get("data") or {}).get("journal") or ""))["generation"])
    except JournalError:
        written = 0
    return max(int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0, written)


def newest(journals: Mapping[str, Mapping[str, Any] | None]) -> Json | None:
    """The journal to go by, from those of the kube clusters (None or {} where one has none): highest generation, then sequence.

    A run that is killed while it writes leaves the newer document in some kube clusters only. It was written before the change
    that it announces, so going by it is safe, and going by the older one would not be. Of two equal ones, the text decides, so
    that every controller chooses the same.
    """
    found = [dict(journal) for journal in journals.values() if journal]
    if not found:
        return None
    return max(found, key=lambda journal: (journal["generation"], journal["sequence"], dump(journal)))


def in_flight(journal: Mapping[str, Any] | None) -> bool:
    """Whether this journal is of a rollout that has not ended."""
    return bool(journal) and (journal or {}).get("state") == IN_FLIGHT


def secret_names(value: Any) -> list[str]:
    """Paths of values that may be secrets: by their key's name, or because they are PEM or vault text. Flags and numbers are none."""
    return sorted(_secrets(value, ""))


def _secrets(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = f"{path}.{key}" if path else str(key)
            if _SECRET_NAME.search(str(key)) and isinstance(inner, (str, list, tuple, Mapping)) and inner:
                yield where
            else:
                yield from _secrets(inner, where)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _secrets(inner, f"{path}[{index}]")
    elif isinstance(value, str) and _SECRET_TEXT.search(value):
        yield path


def describe(op: str, step: str, journal: Mapping[str, Any]) -> str:
    """One line about an operation, for people that read --diff."""
    subject = _name(journal)
    if op == "save":
        return f"old values to put back: {', '.join(sorted(journal['saved'])) or 'none'}"
    if op == "next":
        return f"{subject + ': ' if subject else ''}{step} begins"
    if op in ("member", "drop"):
        return f"member in flight: {subject or 'none'} ({len(journal['done'])} done)"
    return f"rollout {journal['state']} (run {journal['run_id']}, generation {journal['generation']})"
