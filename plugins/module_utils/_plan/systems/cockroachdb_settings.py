# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster settings of CockroachDB as data: what is wrong with them, which of them differ, and the SQL that sets those. Pure functions.

What is in force comes from `SHOW ALL CLUSTER SETTINGS`, which tells the type of each: true or false, a size, a duration, a name, a number or a text.
A value is compared by its type, because CockroachDB prints 64MiB as "64 MiB" and 00:05:00 as "5m0s".
https://www.cockroachlabs.com/docs/stable/show-cluster-setting, https://www.cockroachlabs.com/docs/stable/cluster-settings
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
# What member_exec may take for the name of a variable of the member's.
_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
# Arguments of a command are in the audit logs of API servers, and in the list of processes.
_SECRET = re.compile(r"enterprise\.license|cluster\.secret|.*[._](?:secret|tls_key|private_key)|.*client_secret")
_UPGRADE = "cluster.preserve_downgrade_option"

_GO_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms|us|µs|ns))+")
_GO_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_CLOCK = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
_SECONDS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kKMGTPE]?i?)[bB]?")
_POWERS = {letter: power for power, letter in enumerate("KMGTPE", 1)}
_WORDS = {"true": True, "t": True, "yes": True, "on": True, "false": False, "f": False, "no": False, "off": False}


class SettingsError(ValueError):
    """A value or an answer that cannot be understood. The text says which."""


def refusal(settings: Any) -> str:
    """What is wrong with the variable system_cockroachdb_settings before any database is asked, or an empty text."""
    if not isinstance(settings, Mapping):
        return "system_cockroachdb_settings must have the name of each setting and its value, such as {kv.rangefeed.enabled: true}"
    for name, value in settings.items():
        wrong = _refused(str(name), value)
        if wrong:
            return f"system_cockroachdb_settings: {name}: {wrong}"
    return ""


def _refused(name: str, value: Any) -> str:
    if name in ("version", _UPGRADE):
        return "this belongs to a major upgrade, where it decides whether there is a way back; take it out"
    if not _NAME.fullmatch(name):
        return "this is not the name of a cluster setting; those have lower-case words with dots between, such as kv.rangefeed.enabled"
    if _SECRET.fullmatch(name):
        return "this is a secret, and what is set from here is in the audit logs of the API servers; take it out"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no number that SQL knows"
    if not isinstance(value, (bool, int, float, str)):
        return "its value must be true, false, a number or a text; a setting that is to have its default value is left out"
    if "\0" in str(value):
        return "its value has a zero byte, which no command can have"
    if _PLACEHOLDER.search(str(value)):
        return "its value has a name in braces, which would be taken for a placeholder; write it in another way"
    return ""


def changes(answer: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be done so that `settings` are in force: {errors, statements, before, after}.

    `answer` is what the command `SHOW ALL CLUSTER SETTINGS` came to, as csv. With errors, sentences, nothing is to be done: one is there for an answer
    that cannot be read, a setting that this version does not have, and a value that is not of its type. `statements` are SQL, one for each setting
    that differs; `before` and `after` have its values.
    """
    wrong = refusal(settings)
    if wrong:
        return {"errors": [wrong], "statements": [], "before": {}, "after": {}}
    try:
        rows = parse_all(answer)
    except SettingsError as error:
        return {"errors": [f"the cluster settings cannot be read: {error}"], "statements": [], "before": {}, "after": {}}
    errors, statements, before, after = [], [], {}, {}
    for name in sorted(settings):
        try:
            if name not in rows:
                raise SettingsError("this version of CockroachDB has no such cluster setting; correct its name, or take it out")
            now, kind = rows[name]
            same, literal = _compared(kind, settings[name], now)
        except SettingsError as error:
            errors.append(f"system_cockroachdb_settings: {name}: {error}")
            continue
        if not same:
            statements.append(f"SET CLUSTER SETTING {name} = {literal}")
            before[name], after[name] = now, _text(settings[name])
    return {"errors": errors, "statements": [] if errors else statements, "before": before, "after": after}


def parse_all(answer: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """(value, letter of its type) of every setting, by name, in what `SHOW ALL CLUSTER SETTINGS` prints as csv. Raises SettingsError.

    Columns come and go between versions, so they are found by name.
    """
    if answer.get("error") or answer.get("rc") != 0:
        said = " ".join(str(answer.get("error") or answer.get("stderr") or "no answer").split())
        raise SettingsError(said[:300])
    lines = list(csv.reader(io.StringIO(str(answer.get("stdout") or ""), newline="")))
    header = lines[0] if lines else []
    missing = {"variable", "value", "setting_type"} - set(header)
    if missing:
        raise SettingsError(f"SHOW ALL CLUSTER SETTINGS printed no column {', '.join(sorted(missing))}")
    places = [header.index(column) for column in ("variable", "value", "setting_type")]
    found = {}
    for line in lines[1:]:
        if len(line) != len(header):
            raise SettingsError(f"SHOW ALL CLUSTER SETTINGS printed a row of {len(line)} values under {len(header)} columns")
        name, value, kind = (line[place] for place in places)
        found[name] = (value, kind)
    return found


def quoted(text: str) -> str:
    """The text as a string literal of standard SQL, in which a backslash is one. https://www.cockroachlabs.com/docs/stable/sql-constants"""
    return "'" + text.replace("'", "''") + "'"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compared(kind: str, wish: Any, now: str) -> tuple[bool, str]:
    """(whether both are the same value of a type, the wish as SQL). The letters are those of SHOW CLUSTER SETTINGS."""
    compare = _TYPES.get(kind)
    if compare is None:
        raise SettingsError(f"its type {kind!r} is not one that can be set from here; take it out")
    return compare(_text(wish), now)


def _read(parse: Callable[[str], Any], text: str, what: str, whose: str = "") -> Any:
    try:
        found = parse(text)
    except ValueError:
        found = None
    if found is None:
        raise SettingsError(f"{whose}{text[:100]!r} is not {what}")
    return found


def _boolean(wish: str, now: str) -> tuple[bool, str]:
    value, current = (
        _read(lambda text: _WORDS.get(text.strip().lower()), text, "true or false", whose) for text, whose in _both(wish, now)
    )
    return value == current, "true" if value else "false"


def _integer(wish: str, now: str) -> tuple[bool, str]:
    value, current = (_read(int, text, "a whole number", whose) for text, whose in _both(wish, now))
    return value == current, str(value)


def _float(wish: str, now: str) -> tuple[bool, str]:
    value, current = (_read(_finite, text, "a number", whose) for text, whose in _both(wish, now))
    return value == current, repr(value)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _duration(wish: str, now: str) -> tuple[bool, str]:
    value, current = (_read(_seconds, text, "a duration such as 10m, 1h30m or 00:10:00", whose) for text, whose in _both(wish, now))
    return value == current, quoted(wish)


def _seconds(text: str) -> Fraction | None:
    clock = _CLOCK.fullmatch(text)
    if clock:
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + Fraction(clock[3])
    if not _GO_DURATION.fullmatch(text):
        return None
    return sum((Fraction(number) * _SECONDS[unit] for number, unit in _GO_PART.findall(text)), Fraction(0))


def _size(wish: str, now: str) -> tuple[bool, str]:
    (value, _exactly), (current, rounded) = (_read(_bytes, text, "a size such as 64MiB", whose) for text, whose in _both(wish, now))
    return abs(value - current) <= rounded, quoted(wish)


def _bytes(text: str) -> tuple[Fraction, Fraction] | None:
    """(bytes, how far off that may be) of a size. CockroachDB prints at most one digit behind the point: 100000001 bytes are "95 MiB" to it."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[3] == "i":
        return None
    power = _POWERS[match[3][0].upper()] if match[3] else 0
    unit = (1024 if match[3].endswith("i") else 1000) ** power
    fraction = match[2] or ""
    # It rounds twice, to one digit and then to none. Below a unit nothing is rounded.
    off = Fraction(0) if unit == 1 else Fraction(11, 20) * unit if not fraction else Fraction(1, 2) * unit / 10 ** len(fraction)
    return Fraction(f"{match[1]}.{fraction or 0}") * unit, off


def _word(wish: str, now: str) -> tuple[bool, str]:
    return wish.lower() == now.lower(), quoted(wish)


def _string(wish: str, now: str) -> tuple[bool, str]:
    return wish == now, quoted(wish)


def _both(wish: str, now: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (wish, ""), (now, "the value in force, ")


_TYPES: dict[str, Callable[[str, str], tuple[bool, str]]] = {
    "b": _boolean,
    "d": _duration,
    "e": _word,
    "f": _float,
    "i": _integer,
    "s": _string,
    "z": _size,
}
