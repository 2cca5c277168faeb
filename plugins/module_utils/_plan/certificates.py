# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certificates are wanted, and which of the existing ones must be issued anew: pure functions.

Nothing here reads a file, a clock or a random number, and nothing here ever sees a private key. Times are aware
datetimes in UTC, lifetimes are whole days. Subject alternative names are canonical strings, so that a certificate and
a wish can be compared as sets: ``IP:10.0.0.1``, ``IP:fd00::1``, ``DNS:localhost``, ``URI:crdb://tenant/1/user/root``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from .listed import some

KEY_TYPES = ("EC_P256", "RSA_2048", "RSA_4096")
USAGES = ("server", "client")
# The clocks of the controller and of the nodes differ: a certificate of this second is not valid yet on a late node. A day, because a controller whose
# time zone is wrong would else give all members certificates at once that none of them takes.
BACKDATE = timedelta(hours=24)
# By default a certificate is renewed when this part of its life is left.
RENEWED_IN_LAST = 3
# RFC 5280, appendix A.1: ub-common-name and ub-organization-name.
MAX_NAME_LENGTH = 64
# A century: far beyond sense, and far below the four-digit years that a certificate can hold.
MAX_DAYS = 36500
# A message with a thousand lines helps nobody.
MAX_PROBLEMS = 10

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*")
_DNS_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_NEVER = datetime.min.replace(tzinfo=UTC)


class CertificateError(ValueError):
    """Input that cannot be honoured. The text names the object, the field and the remedy, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long leaves live and when they are renewed, in days."""

    valid_days: int
    renew_days: int


def lifetime_of(valid_days: int, renew_days: int | None) -> Lifetime:
    """With `renew_days` None: a third of the life, so that a renewal that fails is noticed long before it hurts."""
    return Lifetime(valid_days, max(valid_days // RENEWED_IN_LAST, 0) if renew_days is None else renew_days)


@dataclass(frozen=True, slots=True)
class WantedLeaf:
    """A certificate as the caller wants it; ``usages`` and ``sans`` are canonical and sorted, without repetitions."""

    name: str
    file: str
    common_name: str
    organization: str
    usages: tuple[str, ...]
    sans: tuple[str, ...]
    key_type: str
    renew_days: int
    ca_name: str = "ca"
    # Of the folder of its own: names, and texts with what they are to hold of CA, certificate and key.
    files: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The place below the pki folder, without extension: ``east-0/node``."""
        return f"{self.name}/{self.file}"


@dataclass(frozen=True, slots=True)
class ExistingLeaf:
    """What is known of a certificate and its key on disk.

    ``problem`` is empty when both files were read, otherwise it is the reason in words and nothing else here counts.
    ``signed_by_ca`` says that the signature was verified with the key of the CA that the leaf is wanted from.
    """

    problem: str = ""
    key_matches: bool = False
    common_name: str = ""
    organization: str = ""
    usages: tuple[str, ...] = ()
    sans: tuple[str, ...] = ()
    key_type: str = ""
    signed_by_ca: bool = False
    not_before: datetime = _NEVER
    not_after: datetime = _NEVER
    serial: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class CaFacts:
    """What must be known of a CA certificate to decide whether it can issue. ``where`` is its path, for messages."""

    where: str
    common_name: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    is_ca: bool = True
    can_sign: bool = True


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC to the second, with a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def san_key(san: str) -> tuple[int, int, str]:
    """Sort key of a canonical SAN: addresses first (IPv4, IPv6, each by number), then names, then URIs."""
    kind, _colon, value = san.partition(":")
    if kind == "IP":
        address = ipaddress.ip_address(value)
        return (0 if address.version == 4 else 1, int(address), "")
    return (2 if kind == "DNS" else 3, 0, value)


def canonical_ip(text: str) -> str:
    """``IP:<address>`` in its shortest form. Raises CertificateError."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise CertificateError(
            f"'{text}' is not an IP address: give one IPv4 or IPv6 address, without brackets, port or prefix length"
        ) from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise CertificateError(f"'{text}' has a zone ('%{address.scope_id}'), which no certificate can hold: leave it out")
    return f"IP:{address}"


def canonical_dns(text: str) -> str:
    """``DNS:<name>`` in lower case without a final dot. Raises CertificateError."""
    name = text.strip().lower().removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        raise CertificateError(f"'{text}' is an IP address: clients look for it among the IP SANs, so move it to ip_addresses")
    labels = name.split(".")
    rest = labels[1:] if labels[0] == "*" and len(labels) > 1 else labels
    if len(name) > 253 or not all(_DNS_LABEL.fullmatch(label) for label in rest):
        raise CertificateError(
            f"'{text}' is not a DNS name: letters, digits, '-' and '_' in labels of 1 to 63 characters "
            "(names in other scripts as punycode, 'xn--...')"
        )
    return f"DNS:{name}"


def canonical_uri(text: str) -> str:
    """``URI:<uri>`` unchanged but for surrounding blanks. Raises CertificateError."""
    uri = text.strip()
    try:
        scheme = urlsplit(uri).scheme
    except ValueError:
        scheme = ""
    if not scheme or not uri.isascii() or any(character.isspace() or not character.isprintable() for character in uri):
        raise CertificateError(f"'{text}' is not a URI: it needs a scheme ('spiffe://...') and ASCII characters without blanks")
    return f"URI:{uri}"


def is_fingerprint(text: str) -> bool:
    return bool(_FINGERPRINT.fullmatch(text))


def normal_fingerprint(text: str, field: str = "expected_ca_fingerprint") -> str:
    """A SHA-256 fingerprint in lower case without colons, or an empty string. Raises CertificateError."""
    plain = text.strip().replace(":", "").lower()
    if plain and not is_fingerprint(plain):
        raise CertificateError(
            f"{field}: '{text}' is not a SHA-256 fingerprint: give 64 hexadecimal digits, "
            "as 'openssl x509 -noout -fingerprint -sha256' prints them"
        )
    return plain


def file_name_problem(field: str, value: str) -> str:
    if _FILE_NAME.fullmatch(value):
        return ""
    return (
        f"{field}: '{value}' cannot be a file name in the pki folder: use letters, digits, '.', '_', '@' and '-', "
        "starting with a letter, a digit or '_' (no path separators)"
    )


def _subject_problem(field: str, value: str, required: bool) -> str:
    if required and not value:
        return f"{field}: must not be empty"
    if len(value) > MAX_NAME_LENGTH:
        return f"{field}: '{value}' has {len(value)} characters, X.509 allows {MAX_NAME_LENGTH}"
    if any(not character.isprintable() for character in value):
        return f"{field}: {value!r} holds a character that cannot be printed"
    return ""


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one CertificateError with all problems (the first ten in full), or return if there are none."""
    if not problems:
        return
    shown = list(problems[:MAX_PROBLEMS])
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"... and {len(problems) - MAX_PROBLEMS} more of the kind")
    raise CertificateError("; ".join(shown))


def settings_problems(
    lifetime: Lifetime, *, ca_valid_days: int, key_type: str, ca_key_type: str, ca_common_name: str, organization: str
) -> list[str]:
    """What is wrong with the settings that all certificates share, in words; an empty list when nothing is."""
    problems: list[str] = []
    for field, days in (("valid_days", lifetime.valid_days), ("ca.valid_days", ca_valid_days)):
        if not 1 <= days <= MAX_DAYS:
            problems.append(f"{field}: {days} is not between 1 and {MAX_DAYS} days")
    if lifetime.renew_days < 0:
        problems.append(f"renew_days (hostnet_certificate.renew_days): {lifetime.renew_days} is negative")
    elif lifetime.renew_days >= lifetime.valid_days:
        problems.append(
            f"renew_days (hostnet_certificate.renew_days): {lifetime.renew_days} is not smaller than valid_days ({lifetime.valid_days}): "
            "every run would renew every certificate"
        )
    for field, value in (("key_type", key_type), ("ca.key_type", ca_key_type)):
        if value not in KEY_TYPES:
            problems.append(f"{field}: '{value}' is not one of {', '.join(KEY_TYPES)}")
    for problem in (_subject_problem("ca.common_name", ca_common_name, True), _subject_problem("organization", organization, False)):
        if problem:
            problems.append(problem)
    return problems


def wanted_leaves(
    certificates: Sequence[Mapping[str, Any]], key_type: str, organization: str, renew_days: int
) -> tuple[list[WantedLeaf], list[str]]:
    """Canonical wishes from the ``certificates`` option, in input order, and what is wrong with it in words.

    Each entry has ``name``, ``file``, ``common_name``, and optionally ``usages`` (default: server and client),
    ``ip_addresses``, ``dns_names``, ``uris``, ``files`` and ``ca_name`` (default ``ca``) or ``ca_fingerprint``. The wishes are complete only if
    there are no problems.
    """
    wanted: list[WantedLeaf] = []
    problems: list[str] = []
    places: dict[tuple[str, str], int] = {}
    ca_names = {str(entry.get("ca_name") or "ca") for entry in certificates} | {"ca"}
    reserved = {f"{ca_name}.{ending}" for ca_name in ca_names for ending in ("crt", "key")}
    for index, entry in enumerate(certificates):
        name, file = str(entry.get("name") or ""), str(entry.get("file") or "")
        fingerprint = str(entry.get("ca_fingerprint") or "")
        ca_name = fingerprint or str(entry.get("ca_name") or "ca")
        common_name = str(entry.get("common_name") or "")
        here = f"certificates[{index}] ({name}/{file})"
        found = [
            file_name_problem("name", name),
            file_name_problem("file", file),
            file_name_problem("ca_name", ca_name),
            _subject_problem("common_name", common_name, True),
        ]
        if fingerprint and not is_fingerprint(fingerprint):
            found.append(
                f"ca_fingerprint: '{fingerprint}' is not a SHA-256 fingerprint: give 64 hexadecimal digits in lower case, without colons"
            )
        if name in reserved:
            found.append(f"name: '{name}' is a file of the CA in the same folder")
        first = places.setdefault((name, file), index)
        if first != index:
            found.append(f"name and file are those of certificates[{first}]: two certificates cannot share one file")
        given = entry.get("usages")
        usages = USAGES if given is None else tuple(str(usage) for usage in given)
        if not usages:
            found.append("usages: must name at least one of server, client")
        for usage in usages:
            if usage not in USAGES:
                found.append(f"usages: '{usage}' is not one of {', '.join(USAGES)}")
        sans: set[str] = set()
        for field, canonical in (("ip_addresses", canonical_ip), ("dns_names", canonical_dns), ("uris", canonical_uri)):
            for value in entry.get(field) or ():
                try:
                    sans.add(canonical(str(value)))
                except CertificateError as error:
                    found.append(f"{field}: {error}")
        files = {str(file_name): str(text) for file_name, text in (entry.get("files") or {}).items()}
        found += [file_name_problem("files", file_name) for file_name in files]
        if "server" in usages and not any(entry.get(field) for field in ("ip_addresses", "dns_names", "uris")):
            found.append("a server certificate without ip_addresses, dns_names and uris is accepted by no client: give at least one")
        found = [problem for problem in found if problem]
        problems.extend(f"{here}: {problem}" for problem in found)
        if not found:
            wanted.append(
                WantedLeaf(
                    name=name,
                    file=file,
                    common_name=common_name,
                    organization=organization,
                    usages=tuple(sorted(set(usages))),
                    sans=tuple(sorted(sans, key=san_key)),
                    key_type=key_type,
                    # One of a CA that is named by its fingerprint is there to be shown, and lives as long as that CA: it may be about to end.
                    renew_days=1 if fingerprint else renew_days,
                    ca_name=ca_name,
                    files=tuple(files.items()),
                )
            )
    return wanted, problems


def _sans_reason(existing: Iterable[str], wanted: Iterable[str]) -> str:
    missing = sorted(set(wanted) - set(existing), key=san_key)
    # An extra name of a foreign certificate may be of a kind that san_key does not know.
    extra = sorted(set(existing) - set(wanted))
    parts = []
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    if extra:
        parts.append(f"extra {', '.join(extra)}")
    return f"SANs differ ({'; '.join(parts)})" if parts else ""


def reissue_reason(existing: ExistingLeaf | None, wanted: WantedLeaf, now: datetime) -> str:
    """Why the certificate must be issued anew, in words; an empty string when it stays.

    All reasons are named, joined by ``; ``. The renewal threshold is ``wanted.renew_days``: a certificate with exactly
    that many days left stays.
    """
    if existing is None:
        return "missing"
    if existing.problem:
        return existing.problem
    reasons: list[str] = []
    if not existing.key_matches:
        reasons.append("the private key does not match the certificate")
    reasons.append(_sans_reason(existing.sans, wanted.sans))
    for what, is_now, should_be in (
        ("common name", existing.common_name, wanted.common_name),
        ("organization", existing.organization, wanted.organization),
        ("usages", ",".join(sorted(existing.usages)), ",".join(wanted.usages)),
        ("key type", existing.key_type, wanted.key_type),
    ):
        if is_now != should_be:
            reasons.append(f"{what} is '{is_now}', wanted is '{should_be}'")
    if not existing.signed_by_ca:
        reasons.append("issued by another CA")
    left = existing.not_after - now
    if left <= timedelta(0):
        reasons.append(f"expired at {iso(existing.not_after)}")
    elif left < timedelta(days=wanted.renew_days):
        reasons.append(f"expires in {left.days} days ({iso(existing.not_after)}), renewed below {wanted.renew_days}")
    if existing.not_before > now:
        reasons.append(f"not valid before {iso(existing.not_before)} (the clock says {iso(now)})")
    return "; ".join(reason for reason in reasons if reason)


def as_it_is(wanted: WantedLeaf, existing: ExistingLeaf) -> WantedLeaf:
    """The wish for what is there, whatever its subject and key are: of a certificate that is only shown, and whose CA issues no more."""
    return replace(
        wanted,
        common_name=existing.common_name,
        organization=existing.organization,
        key_type=existing.key_type,
        renew_days=0,
    )


def asked_for(wanted: Sequence[WantedLeaf], renew: Sequence[str]) -> list[bool]:
    """Of each wish, whether `renew` names it: `all`, its folder (`east-0`), or folder and file (`east-0/peer`).

    Raises CertificateError for a name that is none of them.
    """
    known = {"all"} | {leaf.name for leaf in wanted} | {leaf.label for leaf in wanted}
    unknown = [name for name in renew if name not in known]
    if unknown:
        raise CertificateError(
            f"renew (hostnet_renew_certificates): '{unknown[0]}' has no certificate here; use all, or some of {some(sorted(known - {'all'}), MAX_PROBLEMS)}"
        )
    return [bool({"all", leaf.name, leaf.label} & set(renew)) for leaf in wanted]


def ca_problem(ca: CaFacts, now: datetime, expected_fingerprint: str = "") -> str:
    """Why this CA certificate must not be used, in words; an empty string when it can issue at ``now``."""
    if expected_fingerprint and ca.fingerprint != expected_fingerprint:
        return (
            f"{ca.where} has the SHA-256 fingerprint {ca.fingerprint or '(none yet)'}, but the recorded CA has {expected_fingerprint}: "
            "members would not trust each other. Restore the recorded CA's certificate and key"
        )
    if not ca.is_ca:
        return f"{ca.where} ('{ca.common_name}') is not a CA certificate (basicConstraints lacks CA:TRUE): give the CA's own certificate"
    if not ca.can_sign:
        return f"{ca.where} ('{ca.common_name}') must not sign certificates (its keyUsage lacks keyCertSign): give a CA that may"
    if ca.not_after <= now:
        return (
            f"The CA certificate {ca.where} ('{ca.common_name}') expired at {iso(ca.not_after)} (the controller's clock says {iso(now)}): "
            "renew the CA, or correct the clock"
        )
    if ca.not_before > now:
        return (
            f"The CA certificate {ca.where} ('{ca.common_name}') is not valid before {iso(ca.not_before)} "
            f"(the controller's clock says {iso(now)}): wait, or correct the clock"
        )
    return ""


def leaf_validity(ca: CaFacts, now: datetime, valid_days: int, shorter: bool = False) -> tuple[datetime, datetime]:
    """Begin and end of a leaf issued at ``now``: inside the CA's own validity. Raises CertificateError if that is too short.

    `shorter`: one that ends with its CA will do.
    """
    now = now.replace(microsecond=0)
    not_after = now + timedelta(days=valid_days)
    if shorter and ca.not_after > now:
        not_after = min(not_after, ca.not_after)
    if not_after > ca.not_after:
        days = (ca.not_after - now).days
        shorten = f"set valid_days to at most {days}, or " if days >= 1 else ""
        raise CertificateError(
            f"The CA certificate {ca.where} ('{ca.common_name}') expires at {iso(ca.not_after)}, before a certificate issued now for "
            f"{valid_days} days would (at {iso(not_after)}): {shorten}renew the CA"
        )
    return max(now - BACKDATE, ca.not_before), not_after


def ca_warning(ca: CaFacts, now: datetime, valid_days: int) -> str:
    """A warning for a CA that can still be used but can issue no certificate of ``valid_days`` any more; else empty."""
    if now + timedelta(days=valid_days) <= ca.not_after:
        return ""
    return (
        f"The CA certificate {ca.where} ('{ca.common_name}') expires at {iso(ca.not_after)}: it can issue no certificate for "
        f"{valid_days} days any more, and the next renewal will fail. Renew the CA, or shorten valid_days"
    )


def describe(label: str, *, common_name: str, organization: str, sans: Sequence[str], not_after: datetime, note: str = "") -> str:
    """One certificate as lines of a diff. Never key material."""
    subject = f"CN={common_name}" + (f",O={organization}" if organization else "")
    lines = [f"{label}:", f"  subject: {subject}", f"  SANs: {', '.join(sans) or '(none)'}", f"  not after: {iso(not_after)}"]
    if note:
        lines.append(f"  reason: {note}")
    return "\n".join(lines) + "\n"
