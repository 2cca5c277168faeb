# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What members serve beside what their kube clusters have stored: the status with both. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import expiry, listed, observation
from .layout import certificate_folder

Json = dict[str, Any]

_NAMED = 5
# What is kept of a port in the status.
_KEPT = ("file", "port", "number", "serial", "not_before", "not_after", "sans", "error")


def stored(spec: Mapping[str, Any], members: Iterable[str], observed: Mapping[str, Any]) -> list[Json]:
    """The certificates of `members` as the annotations of their Secrets have them, in the shape of what host_certificates returns."""
    found = observation.stored_certificates(observed)
    return [
        {"name": folder, "file": str(wish["file"]), "fingerprint": "", "serial": str(has["serial"]), "not_after": str(has["not_after"])}
        for member in members
        for wish in spec["certificates"]
        if (has := found.get(member, {}).get(str(wish["file"]))) and (folder := certificate_folder(wish, {"member": member}))
    ]


def with_served(
    status: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], days: int
) -> Json:
    """The status with what its members serve: `served` of each, and a warning for what is not what is stored, or ends too soon.

    `shown` is certificates_served's `served`, `kept` is from `stored`, `days` as for expiry.warnings.
    """
    serials = {(str(entry["name"]), str(entry["file"])): str(entry["serial"]) for entry in kept}
    wishes = {str(wish["file"]): wish for wish in spec["certificates"]}
    members: list[Json] = []
    for entry in status["members"]:
        name, ports = str(entry["member"]), []
        for port in shown:
            if port["member"] == name:
                serial = serials.get((certificate_folder(wishes[str(port["file"])], {"member": name}), str(port["file"])), "")
                ports.append({**{key: port[key] for key in _KEPT}, "stored": serial, "current": bool(serial) and port["serial"] == serial})
        members.append({**entry, "served": ports})
    return {**status, "members": members, "warnings": [*status["warnings"], *_warnings(members, str(status["observed_at"]), days)]}


def _warnings(members: Sequence[Mapping[str, Any]], at: str, days: int) -> list[str]:
    unseen, old, ending = [], [], []
    for entry in members:
        for port in entry["served"]:
            place = f"{entry['member']} port {port['port']} ({port['number']})"
            left = expiry.days_left(port["not_after"], at)
            if port["error"]:
                unseen.append(f"{place}: {port['error']}")
            elif not port["current"]:
                old.append(f"{place} serves {port['serial']} until {port['not_after'][:10]}, stored is {port['stored'] or 'none'}")
            elif left is not None and left < days:
                ending.append(f"{place} ({left} days)" if left >= 0 else f"{place} (expired)")
    said = []
    if old:
        said.append(f"not the stored certificate is served: {listed.some(old, _NAMED, '; ')}: run playbooks/rotate_certificates.yml")
    if ending:
        said.append(f"what is served ends in less than {days} days: {listed.some(ending, _NAMED)}: run playbooks/rotate_certificates.yml")
    if unseen:
        said.append(f"what is served is not known: {listed.some(unseen, _NAMED, '; ')}")
    return said
