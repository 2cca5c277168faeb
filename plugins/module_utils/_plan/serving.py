# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate a running member has to serve on which of its ports, and whether it does. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import names, observation
from .layout import SHARED_FOLDER, all_ports, certificate_folder
from .trust_revisions import short

Json = dict[str, Any]

# How a server begins: TLS at once, or a line of its own first (NATS' INFO) and then TLS.
TLS, GREETING = "tls", "greeting"
BEGINNINGS = (TLS, GREETING)
# How a process comes to trust other CAs: as it comes to serve another certificate, or by being started anew.
RELOADS = ("reload", "restart")


@dataclass(frozen=True)
class Endpoint:
    """A port of a member that has to serve the certificate of this fingerprint, and what is known of that one."""

    member: str
    file: str
    port: str
    number: int
    greets: bool
    fingerprint: str
    serial: str
    not_after: str


@dataclass(frozen=True)
class Card:
    """A client's certificate of this CA that members are shown, and whether they have to take it. The paths are the controller's."""

    ca: str
    accepted: bool
    certificate: str
    private_key: str


# What a server has said of a client's certificate. Anything else is why that is not known.
ACCEPTED, REFUSED = "accepted", "refused"


@dataclass(frozen=True)
class Leaf:
    """A certificate that a server has shown, or in `error` why it showed none; with `asked` false because the way to it failed, not the server.

    `cards`: what it has said of clients' certificates that it was shown, by their CA.
    """

    fingerprint: str = ""
    serial: str = ""
    not_before: str = ""
    not_after: str = ""
    sans: tuple[str, ...] = ()
    error: str = ""
    asked: bool = True
    cards: tuple[tuple[str, str], ...] = ()


def spec_problems(spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with `ports` of a spec's certificates, and with `reload`, in words."""
    problems = []
    known = sorted(spec.get("ports", {}))
    for wish in spec.get("certificates", []):
        for port, begins in (wish.get("ports") or {}).items():
            where = f"certificates ({wish.get('file')}): ports.{port}"
            # Without any ports, that is said already.
            if known and port not in known:
                problems.append(f"{where} is none of the spec's ports ({', '.join(known)})")
            if begins not in BEGINNINGS:
                problems.append(f"{where} is {begins!r}; use one of {', '.join(BEGINNINGS)}")
    reload = spec.get("reload")
    if reload is not None and (isinstance(reload, str) or not isinstance(reload, Sequence)):
        problems.append("reload must be a command as a list of words, or an empty list where the process reads its files at each handshake")
    if spec.get("reload_ca", "reload") not in RELOADS:
        problems.append(f"reload_ca is {spec['reload_ca']!r}; use one of {', '.join(RELOADS)}")
    if reload and not any(wish.get("ports") for wish in spec.get("certificates", [])):
        problems.append("reload needs ports of a certificate: nothing else tells when the files have arrived")
    return problems


def endpoints(spec: Mapping[str, Any], members: Iterable[str], issued: Sequence[Mapping[str, Any]]) -> list[Endpoint]:
    """What each member has to serve; `issued` is what host_certificates returned. Certificates that are on no port are not in it."""
    by_place = {(str(entry["name"]), str(entry["file"])): entry for entry in issued}
    numbers = all_ports(spec)
    found = []
    for member in members:
        for wish in spec["certificates"]:
            entry = by_place.get((certificate_folder(wish, {"member": member}), str(wish["file"])))
            if entry is None:
                continue
            for port, begins in (wish.get("ports") or {}).items():
                found.append(
                    Endpoint(
                        member=member,
                        file=str(wish["file"]),
                        port=str(port),
                        number=int(numbers[port]),
                        greets=begins == GREETING,
                        fingerprint=str(entry["fingerprint"]),
                        serial=str(entry["serial"]),
                        not_after=str(entry["not_after"]),
                    )
                )
    return found


def members_of(definition: Mapping[str, Any]) -> list[str]:
    """The members whose certificates are in this Secret, as its annotation has them; none for any other object."""
    text = (definition.get("metadata", {}).get("annotations") or {}).get(names.CERTIFICATES_ANNOTATION)
    return sorted(json.loads(text)) if text else []


def turns(
    definitions: Sequence[Mapping[str, Any]], changed: Sequence[bool], stale: Iterable[str], order: Sequence[str]
) -> list[tuple[str, list[int]]]:
    """Whose turn it is, one after another: the member, and which of the Secrets are brought in with its turn (their indices).

    A member has a turn where its Secret changes, or where it does not serve what it has to (`stale`). `order` has all members. A Secret of several
    members is brought in with the first of them. Those of members that are in no `order`, because nothing of them runs, come last, without a member.
    """
    waiting = {index for index, differs in enumerate(changed) if differs}
    due = set(stale)
    for index in waiting:
        due.update(members_of(definitions[index]))
    found: list[tuple[str, list[int]]] = []
    for member in order:
        if member not in due:
            continue
        mine = sorted(index for index in waiting if member in members_of(definitions[index]))
        waiting.difference_update(mine)
        found.append((member, mine))
    if waiting:
        found.append(("", sorted(waiting)))
    return found


def missing(wanted: Sequence[Endpoint], seen: Mapping[tuple[str, str], Leaf], cards: Sequence[Card] = ()) -> list[str]:
    """What is not served as it should be, and which of the `cards` are not taken as they should be, a sentence for each port.

    `seen` is by member and port.
    """
    found = []
    for endpoint in wanted:
        leaf = seen.get((endpoint.member, endpoint.port), Leaf(error="it was not asked"))
        wrong = _wrong_cards(leaf, cards)
        if leaf.fingerprint == endpoint.fingerprint and not wrong:
            continue
        place = f"member {endpoint.member}, port {endpoint.port} ({endpoint.number})"
        if leaf.error:
            found.append(f"{place}: {leaf.error}")
        elif leaf.fingerprint == endpoint.fingerprint:
            found.append(f"{place}: {wrong}")
        else:
            found.append(
                f"{place}: it serves serial {leaf.serial} (until {leaf.not_after}), not {endpoint.serial} (until {endpoint.not_after})"
            )
    return found


def _wrong_cards(leaf: Leaf, cards: Sequence[Card]) -> str:
    said = dict(leaf.cards)
    found = []
    for card in cards:
        answer = said.get(card.ca, "it was not asked")
        if answer not in (ACCEPTED, REFUSED):
            found.append(f"whether it takes a client's certificate of the CA {short(card.ca)} is not known: {answer}")
        elif (answer == ACCEPTED) != card.accepted:
            found.append(f"a client's certificate of the CA {short(card.ca)} is {answer}")
    return " and ".join(found)


def careless(wanted: Sequence[Endpoint], seen: Mapping[tuple[str, str], Leaf], stranger: Card) -> list[str]:
    """Ports that take a client's certificate of a CA that nobody trusts: what they say of another one proves nothing."""
    return [
        f"member {endpoint.member}, port {endpoint.port} ({endpoint.number})"
        for endpoint in wanted
        if dict(seen.get((endpoint.member, endpoint.port), Leaf()).cards).get(stranger.ca) == ACCEPTED
    ]


def without_card(seen: Mapping[tuple[str, str], Leaf], card: Card) -> dict[tuple[str, str], Leaf]:
    """What was seen, without what was said of this one."""
    return {place: replace(leaf, cards=tuple(said for said in leaf.cards if said[0] != card.ca)) for place, leaf in seen.items()}


def served_list(wanted: Sequence[Endpoint], seen: Mapping[tuple[str, str], Leaf]) -> list[Json]:
    """What was seen, one entry for each port, for people and templates."""
    found = []
    for endpoint in wanted:
        leaf = seen.get((endpoint.member, endpoint.port), Leaf(error="it was not asked"))
        found.append(
            {
                "member": endpoint.member,
                "file": endpoint.file,
                "port": endpoint.port,
                "number": endpoint.number,
                "serial": leaf.serial,
                "not_before": leaf.not_before,
                "not_after": leaf.not_after,
                "sans": list(leaf.sans),
                "current": leaf.fingerprint == endpoint.fingerprint,
                "clients": dict(leaf.cards),
                "error": leaf.error,
            }
        )
    return found


def served_lines(served: Sequence[Mapping[str, Any]], renewed: Iterable[str]) -> list[str]:
    """`served_list` for people, a line for each port."""
    anew = set(renewed)
    return [
        f"{entry['member']} {entry['port']} ({entry['number']}): "
        + (entry["error"] or f"serial {entry['serial']}, until {entry['not_after']}{', renewed' if entry['member'] in anew else ''}")
        for entry in served
    ]


def behind(bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any], issued: Sequence[Mapping[str, Any]]) -> list[str]:
    """Members whose Secret has another certificate than the one that was issued for them, or none; `issued` is what host_certificates returned."""
    stored = observation.stored_certificates(observed)
    own: dict[str, dict[str, str]] = {}
    for entry in issued:
        own.setdefault(str(entry["name"]), {})[str(entry["file"])] = str(entry["serial"])
    found = []
    for binding in bindings:
        member = str(binding["member"])
        has = {file: str(facts.get("serial", "")) for file, facts in stored.get(member, {}).items()}
        # Those of `clients` are everybody's, or nobody's: a member has copies of some.
        shared = {file: serial for file, serial in own.get(SHARED_FOLDER, {}).items() if file in has}
        if any(has.get(file, "") != serial or not serial for file, serial in {**shared, **own.get(member, {})}.items()):
            found.append(member)
    return found


def unproven(definitions: Sequence[Mapping[str, Any]], changed: Sequence[bool], order: Sequence[str]) -> list[str]:
    """Members that get a new certificate and do not run (they are not in `order`): they read it when they start, and nothing proves it now."""
    return sorted(
        {
            member
            for definition, differs in zip(definitions, changed, strict=True)
            if differs
            for member in members_of(definition)
            if member not in order
        }
    )
