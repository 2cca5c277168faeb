# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a system that are another while a rollout is open (invariant 12 of docs/design.md). Pure functions.

A spec's `settings` has the commands that read and write one setting, and the values by kind of work (docs/systems.md). The old value of a setting is
in the journal before the setting is changed, and is written back before the rollout ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

# Days, hours, minutes and seconds, as databases print an interval.
_CLOCK = re.compile(r"(?:([0-9]+) days? )?([0-9]+):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
# What is put into a command stays one word of it.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+ -]+")


def wanted(spec: Mapping[str, Any], work: str) -> dict[str, str]:
    """The settings, by name, that a rollout of this kind of work has while it is open. A value that is empty is not wanted."""
    values = (spec.get("settings") or {}).get("values") or {}
    return {str(name): str(value) for name, value in sorted((values.get(work) or {}).items()) if str(value)}


def helper(inspection: Mapping[str, Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], member: str) -> Json | None:
    """A healthy member to ask, another one than `member` where there is one. None where nobody is healthy."""
    healthy = [dict(target) for target in targets if inspection.get(str(target["member"]), {}).get("healthy")]
    healthy.sort(key=lambda target: (target["member"] == member, str(target["member"])))
    return healthy[0] if healthy else None


def commands(spec: Mapping[str, Any], values: Mapping[str, str], kind: str) -> dict[str, list[str]]:
    """The commands that `read` (print) or `write` the settings of `values`. Raises ValueError for what is no word of a command."""
    return {name: _filled(spec["settings"][kind], name, str(values[name])) for name in sorted(values)}


def _filled(argv: Sequence[str], name: str, value: str) -> list[str]:
    for what, text in (("name", name), ("value", value)):
        if text and not _PLAIN.fullmatch(text):
            raise ValueError(f"setting {name}: its {what} {text!r} has characters that no command is given; set it by hand")
    return [str(word).replace("{setting}", name).replace("{value}", value) for word in argv]


def changes(wish: Mapping[str, str], results: Mapping[str, Mapping[str, Mapping[str, Any]]], saved: Mapping[str, Any]) -> Json:
    """What is to be done for `wish`: {save: old values that the journal does not have yet, write: new values}.

    `results` are the answers of one member and the commands that read. What the journal has is the value from before the rollout, whatever is in
    force now. A time that is longer already is left alone. Raises ValueError for a setting that cannot be read.
    """
    answers = next(iter(results.values()), {})
    now = {name: _printed(name, answers.get(name, {})) for name in sorted(wish)}
    differ = {name: wish[name] for name in now if now[name] != wish[name] and not _longer(now[name], wish[name])}
    return {"save": {name: now[name] for name in differ if name not in saved}, "write": differ}


def _printed(name: str, answer: Mapping[str, Any]) -> str:
    """The value that a command printed: the last line."""
    lines = [line.strip() for line in str(answer.get("stdout", "")).splitlines() if line.strip()]
    if answer.get("error") or answer.get("rc") != 0 or not lines:
        said = str(answer.get("error") or answer.get("stderr") or "no answer").strip()
        raise ValueError(f"the setting {name} cannot be read, so it could not be put back, and is not changed: {said}")
    return lines[-1]


def _longer(now: str, value: str) -> bool:
    seconds = [_seconds(text) for text in (now, value)]
    return None not in seconds and float(seconds[0] or 0) >= float(seconds[1] or 0)


def _seconds(text: str) -> float | None:
    match = _CLOCK.fullmatch(text)
    return int(match[1] or 0) * 86400 + int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4]) if match else None
