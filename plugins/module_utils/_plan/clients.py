# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients' certificates: who has one, what a run does, and the folder that the system's own client reads. Pure functions.

Whoever has a certificate in the folder `clients` of the pki folder is a client, until it is dropped. `hostnet_clients` names those that have to be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import join
from .certificates import file_name_problem, iso
from .layout import SHARED_FOLDER, all_ports
from .listed import aligned
from .trust_revisions import short

Json = dict[str, Any]

# Certificates that were dropped, without their keys: members accept them until they expire. Not the name of a client, which begins with no dot.
DROPPED = ".dropped"
# Of a spec that has no `client`.
_FILES = {"ca.crt": "{ca}", "client.crt": "{certificate}", "client.key": "{private_key}"}
_ENDPOINTS = "{endpoints}"
_COLUMNS = ("client", "serial", "valid until", "days left", "CA", "state")
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Client:
    """A client's certificate that was found. `problem` is why it cannot be read; then nothing else counts but the file.

    `ca` is the fingerprint of the CA that has issued it, "" where it is none that is here.
    """

    file: str
    common_name: str = ""
    usages: tuple[str, ...] = ()
    sans: tuple[str, ...] = ()
    serial: str = ""
    fingerprint: str = ""
    not_before: datetime = _NEVER
    not_after: datetime = _NEVER
    ca: str = ""
    dropped: bool = False
    problem: str = ""


def user_of(file: str) -> str:
    """Whom a certificate is for. CockroachDB calls the files of alice client.alice."""
    return file.removeprefix("client.")


def ours(client: Client) -> bool:
    """Whether this is a certificate as they are issued here, so that it is renewed here: another's key is nobody's to overwrite."""
    return bool(
        client.ca and not client.dropped and client.common_name == user_of(client.file) and client.usages == ("client",) and not client.sans
    )


def kept(found: Sequence[Client]) -> list[str]:
    """The clients whose certificates are renewed, by the names of their files."""
    return [client.file for client in found if ours(client)]


def folder_files(spec: Mapping[str, Any], file: str, members: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """`files` of a client's certificate. Without members those that name their addresses are left as they are."""
    layout = spec.get("client") or {}
    wish = layout.get("endpoints") or {}
    addresses = join.render(members, wish["format"], wish.get("separator", ","), all_ports(spec)) if wish and members else ""
    return {
        name.replace("{user}", user_of(file)): text.replace(_ENDPOINTS, addresses).replace("{user}", user_of(file))
        for name, text in (layout.get("files") or _FILES).items()
        if addresses or _ENDPOINTS not in text
    }


def certificate(spec: Mapping[str, Any], file: str, members: Sequence[Mapping[str, Any]] = ()) -> Json:
    """An entry of `certificates` of host_certificates."""
    return {
        "name": SHARED_FOLDER,
        "file": file,
        "common_name": user_of(file),
        "usages": ["client"],
        "files": folder_files(spec, file, members),
    }


def spec_problems(spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with `client` of a spec, in words."""
    layout = spec.get("client") or {}
    problems = []
    if not spec.get("ports"):
        # That is said already.
        return []
    if "{user}" not in str(layout.get("file", "{user}")):
        problems.append("client.file must have {user} in it: each client has files of its own")
    if _needs_addresses(spec) and not (layout.get("endpoints") or {}).get("format"):
        problems.append(f"client.files ({', '.join(_needs_addresses(spec))}) has {_ENDPOINTS}, and client.endpoints has no format")
        return problems
    member = {**dict.fromkeys(("member", "process", "node", "kube_cluster", "zone", "region"), "x"), "address": "192.0.2.1"}
    try:
        files = folder_files(spec, "user", [member])
    except join.JoinError as error:
        return [*problems, f"client.endpoints.format: {error}"]
    return problems + [problem for name in files if (problem := file_name_problem("client.files", name))]


def everybody(hostnet: Mapping[str, Any]) -> list[str]:
    """All clients of a deployment: those that have to be there, and those that are."""
    return list(dict.fromkeys([*hostnet.get("clients", []), *((hostnet.get("pki") or {}).get("clients") or [])]))


def file_of(spec: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    """The file of a user who was named: the one that is there, or as the system's client wants it."""
    user = user_of(name)
    usual = str((spec.get("client") or {}).get("file", "{user}")).replace("{user}", user)
    return next((file for file in (name, usual, user) if file in known), usual)


@dataclass(frozen=True, slots=True)
class Plan:
    """`drop`: the file of the client that is dropped, "" for nobody. Nothing is done where there are errors."""

    certificates: list[Json]
    drop: str
    errors: list[str]


def plan(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    found: Sequence[Client],
    client: str = "",
    drop: str = "",
) -> Plan:
    """What a run of clients.yml does that is asked to issue a certificate for the user `client`, and to drop that of the user `drop`."""
    known = everybody({**hostnet, "pki": {"clients": kept(found)}})
    there = [entry.file for entry in found]
    errors = []
    asked = file_of(spec, client, [*known, *there]) if client else ""
    gone = file_of(spec, drop, [*known, *there]) if drop else ""
    members_own = {str(wish["file"]) for wish in spec.get("certificates", []) if wish.get("shared")}
    if asked and asked == gone:
        errors.append(f"hostnet_client and hostnet_drop_client both name {client}: issue it or drop it, in two runs if you want both")
    elif gone:
        if gone in hostnet.get("clients", []):
            errors.append(
                f"hostnet_drop_client is {drop}, and hostnet_clients names it, so the next deploy would issue it again: take it out there first"
            )
        if gone in members_own:
            errors.append(f"hostnet_drop_client is {drop}: members of {hostnet['system']} use that certificate themselves")
        if gone not in there:
            names = ", ".join(sorted({user_of(entry.file) for entry in found if not entry.dropped})) or "none"
            errors.append(
                f"hostnet_drop_client is {drop}, and nobody of that name has a certificate in {hostnet['pki_dir']}/{SHARED_FOLDER}: there are {names}"
            )
    foreign = next((entry for entry in found if entry.file == asked and not entry.dropped and not ours(entry)), None)
    if asked and foreign:
        errors.append(
            f"hostnet_client is {client}, and {hostnet['pki_dir']}/{SHARED_FOLDER}/{asked}.crt is another certificate ({_foreign(foreign)}): it is not "
            f"overwritten. Move it away, or choose another name"
        )
    if asked and user_of(asked) in ((spec.get("client") or {}).get("reserved") or []):
        errors.append(
            f"hostnet_client is {client}: {hostnet['system']} takes whoever has a certificate of that name for one of its own members"
        )
    files = [file for file in dict.fromkeys([*known, *([asked] if asked else [])]) if file != gone]
    return Plan([certificate(spec, file, members) for file in files], "" if errors else gone, errors)


def _foreign(client: Client) -> str:
    return client.problem or ("of a CA that is not here" if not client.ca else "not issued as a client's of that name")


def accepted(client: Client, trusted: Sequence[str], now: datetime) -> bool:
    """Whether members take it now."""
    return not client.problem and client.ca in trusted and client.not_before <= now < client.not_after


def rows(
    found: Sequence[Client], issued: Sequence[Mapping[str, Any]], drop: str, trusted: Sequence[str], now: datetime, check: bool
) -> list[Json]:
    """Every client's certificate as it is after this run; in check mode as it is now, with what would be done.

    `issued` is what host_certificates returned. Of those that were dropped the ones that members still accept.
    """
    reasons = {str(entry["file"]): str(entry["reason"]) for entry in issued if entry["name"] == SHARED_FOLDER and entry["reissued"]}
    result = []
    there = {client.file for client in found if not client.dropped}
    for client in [*found, *(Client(file, problem="missing") for file in reasons if file not in there)]:
        taken = accepted(client, trusted, now)
        reason = "" if client.dropped else reasons.get(client.file, "")
        if client.dropped and not taken:
            continue
        if client.dropped or (check and client.file == drop):
            state = "dropped, and accepted by members until then" if client.dropped else "to be dropped"
        elif reason:
            state = f"{'to be issued' if check else 'issued'}: {reason}"
        elif not ours(client):
            state = f"left alone: {_foreign(client)}"
        else:
            state = "trusted" if taken else "not trusted"
        result.append(
            {
                "client": client.file,
                "user": user_of(client.file),
                "serial": client.serial,
                "not_after": "" if client.problem else iso(client.not_after),
                "days_left": 0 if client.problem else (client.not_after - now).days,
                "ca": client.ca,
                "trusted": taken,
                "dropped": client.dropped,
                "state": state,
            }
        )
    return sorted(result, key=lambda row: (join.natural_key(str(row["client"])), bool(row["dropped"]), str(row["not_after"])))


def lines(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
    silent: Sequence[str],
    verified: bool,
    addresses: bool,
) -> list[str]:
    """What people are told: a row for each certificate, where the folders are, and what nobody has verified or can do."""
    cells = [
        _COLUMNS,
        *(
            (
                str(row["client"]),
                str(row["serial"]) or "-",
                str(row["not_after"]) or "-",
                str(row["days_left"]) if row["not_after"] else "-",
                short(str(row["ca"])) or "-",
                str(row["state"]),
            )
            for row in table
        ),
    ]
    told = [*aligned(cells), f"what a client needs is in {hostnet['pki_dir']}/{SHARED_FOLDER}/CLIENT/, for each one that is not left alone"]
    told += [f"kube cluster {name} does not answer" for name in silent]
    if not verified:
        told.append("no kube cluster says which CA is recorded: it was not verified that members trust this one")
    if not addresses and _needs_addresses(spec):
        told.append(
            f"no kube cluster says where the members are: {', '.join(_needs_addresses(spec))} of the folders are as they were, or missing"
        )
    return told + [
        f"{row['user']}: {_revocation(hostnet, spec, row)}" for row in table if row["dropped"] or row["state"] == "to be dropped"
    ]


def _needs_addresses(spec: Mapping[str, Any]) -> list[str]:
    return [name for name, text in ((spec.get("client") or {}).get("files") or {}).items() if _ENDPOINTS in text]


def _revocation(hostnet: Mapping[str, Any], spec: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    more = str((spec.get("client") or {}).get("refuse", "")).replace("{user}", str(row["user"]))
    return (
        f"members of {hostnet['system']} cannot be told to refuse this one certificate ({row['serial']}); they accept it until {row['not_after']}, or until "
        f"the CA is exchanged (playbooks/rotate_ca.yml){f'. {more}' if more else ''}"
    )
