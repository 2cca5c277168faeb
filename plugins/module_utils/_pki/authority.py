# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CAs of a request: those that are there, checked, or the one that is to be made.

A CA that came by an exchange has files of its own, `ca-<first digits of its fingerprint>.crt` and `.key`; the first one has `ca.crt` and `ca.key`. From the
first exchange on `ca.crt` is what members trust, with the issuer's certificate first. So a CA is found by its fingerprint, and not by a name.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._plan.certificates import BACKDATE, MAX_NAME_LENGTH, CaFacts, CertificateError, ca_problem, is_fingerprint, normal_fingerprint
from .._plan.trust_revisions import SHORT, short
from .read import ca_facts, public_bytes, read_file, sha256_of
from .request import VAULT_HEADER, PkiError, Request, Vault

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


@dataclass(slots=True)
class Ca:
    """A CA of this run; ``certificate`` is None until a new one was made, ``key`` also where it is not at hand."""

    name: str
    certificate_path: Path
    key_path: Path
    facts: CaFacts
    created: bool
    certificate: x509.Certificate | None = None
    key: CertificateIssuerPrivateKeyTypes | None = field(default=None, repr=False)
    encrypt_key: bool = False
    key_pem: bytes = field(default=b"", repr=False)
    # Of one that is to be made.
    common_name: str = ""
    encrypted: bool = False


def _load_ca_key(data: bytes, where: Path) -> CertificateIssuerPrivateKeyTypes:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise PkiError(
            f"The CA's private key {where} is protected by a PEM passphrase: remove it ('openssl pkey') and encrypt the file "
            "with ansible-vault instead"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise PkiError(f"The CA's private key {where} is neither a PEM private key nor one that ansible-vault encrypted") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        raise PkiError(f"The CA's private key {where} is of a type that cannot sign certificates: give an RSA, EC, Ed25519 or Ed448 key")
    return key


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate that is on this controller, and where its key is, or would be."""

    certificate: x509.Certificate
    path: Path
    key_path: Path


def own_file(request: Request, fingerprint: str, ending: str) -> Path:
    """A file of a CA that came by an exchange, or went by one: those of the first CA are ca.crt and ca.key."""
    return request.pki_dir / f"ca-{short(fingerprint)}.{ending}"


def _certificates_in(path: Path) -> list[x509.Certificate]:
    """All that are in this file; none where it cannot be read as such."""
    data = read_file(path)
    try:
        return x509.load_pem_x509_certificates(data) if data else []
    except (ValueError, UnsupportedAlgorithm):
        return []


def authorities(request: Request, vault: Vault | None = None) -> dict[str, Authority]:
    """Every CA that this controller has a certificate of, by fingerprint. What is in `ca.crt` may be several: it is what members trust.

    With a `vault` no CA is said to have a key that is another one's: `ca.key` is that of the first CA, and the new one's may be lost.
    """
    folder = request.pki_dir
    given = (request.ca_certificate or folder / "ca.crt", request.ca_private_key or folder / "ca.key")
    sources = [given, (folder / "ca.crt", folder / "ca.key")]
    if request.ca_old_certificate:
        sources.insert(1, (request.ca_old_certificate, request.ca_old_private_key or folder / "ca.key"))
    sources += [(path, folder / "ca.key") for path in sorted(folder.glob(f"ca-{'[0-9a-f]' * SHORT}.crt"))]
    found: dict[str, Authority] = {}
    for path, key_path in sources:
        for index, certificate in enumerate(_certificates_in(path)):
            fingerprint = sha256_of(certificate)
            named = own_file(request, fingerprint, "key")
            entry = Authority(certificate, path, named if named.exists() else key_path)
            # Further ones in a file of the user's own are the chain of the first, and not for us to issue with.
            known = found.setdefault(fingerprint, entry) if path.parent == folder or index == 0 else entry
            if not known.key_path.exists() and entry.key_path.exists():
                found[fingerprint] = entry
    return _with_own_keys(request, found, vault) if vault and len(found) > 1 else found


def _with_own_keys(request: Request, found: dict[str, Authority], vault: Vault) -> dict[str, Authority]:
    owners = {fingerprint: public_bytes(entry.certificate.public_key()) for fingerprint, entry in found.items()}
    publics = {path: _public_half(path, vault) for path in {entry.key_path for entry in found.values()}}
    # Who has put one aside has no ca.key any more.
    aside = any(own_file(request, fingerprint, "retired.key").exists() for fingerprint in found)
    first = request.pki_dir / "ca.key"
    settled = {}
    for fingerprint, entry in found.items():
        public = publics[entry.key_path]
        others = public != owners[fingerprint] and public in owners.values()
        if aside and entry.key_path == first and not first.exists():
            others = True
        settled[fingerprint] = replace(entry, key_path=own_file(request, fingerprint, "key")) if others else entry
    return settled


def _public_half(path: Path, vault: Vault) -> bytes:
    """Of the private key in this file; nothing where there is none, and where it cannot be told whose it is."""
    try:
        data = read_file(path)
        if data is None:
            return b""
        return public_bytes(_load_ca_key(vault.decrypt(data, str(path)) if data.startswith(VAULT_HEADER) else data, path).public_key())
    except PkiError:
        return b""


def is_key_of(certificate: x509.Certificate, path: Path, vault: Vault) -> bool:
    """Whether this file has the certificate's key. Raises PkiError where it cannot be told."""
    data = read_file(path)
    if data is None:
        return False
    key = _load_ca_key(vault.decrypt(data, str(path)) if data.startswith(VAULT_HEADER) else data, path)
    return public_bytes(key.public_key()) == public_bytes(certificate.public_key())


def pending_ca(request: Request) -> Authority | None:
    """The new CA that an earlier run has made, before it could record that members are to trust it."""
    known = {*request.trusted_ca_fingerprints, *request.retired_ca_fingerprints, normal_fingerprint(request.expected_ca_fingerprint)}
    for fingerprint, authority in sorted(authorities(request).items()):
        if fingerprint not in known and authority.key_path == own_file(request, fingerprint, "key"):
            return authority
    return None


def look_at_ca(request: Request, name: str, vault: Vault, now: datetime) -> Ca:
    """Read and check one CA, or decide that it will be made. `name` may be a fingerprint. Raises PkiError."""
    if is_fingerprint(name):
        return _looked_up(request, name, vault, now)
    default_certificate, default_key = request.pki_dir / f"{name}.crt", request.pki_dir / f"{name}.key"
    certificate_path, key_path, expected = default_certificate, default_key, ""
    if name == "ca":
        certificate_path = request.ca_certificate or default_certificate
        key_path = request.ca_private_key or default_key
        expected = normal_fingerprint(request.expected_ca_fingerprint)
        first = _certificates_in(certificate_path)[:1]
        here = authorities(request, vault)
        wanted = expected if expected in here else sha256_of(first[0]) if first else ""
        if wanted and (here[wanted].path != certificate_path or here[wanted].key_path != key_path or here[wanted].certificate != first[0]):
            return _checked(request, name, here[wanted], vault, now, expected)
    own = certificate_path != default_certificate or key_path != default_key
    certificate_data, key_data = read_file(certificate_path), read_file(key_path)

    if certificate_data is None:
        if key_data is not None:
            raise PkiError(
                f"The CA's private key {key_path} exists, but its certificate {certificate_path} does not: restore "
                "the certificate, or move the key away if no certificate of this CA is in use"
            )
        if own:
            raise PkiError(
                f"The CA certificate {certificate_path} does not exist: correct ca.certificate and ca.private_key, or leave both out "
                "to have a CA made"
            )
        if expected or not request.ca_create:
            recorded = f" (SHA-256 fingerprint {expected})" if expected else ""
            raise PkiError(
                f"The CA{recorded} is recorded, but {certificate_path} does not exist on this controller, and a new CA would be "
                f"trusted by no member: restore {certificate_path.name} and {key_path.name} from a backup, or from the controller "
                "that made them"
            )
        encrypted = request.ca_vault or request.ca_vault_default
        if encrypted:
            vault.check_encrypt(str(key_path))
        begin = now.replace(microsecond=0)
        facts = CaFacts(str(certificate_path), request.ca_common_name, "", begin - BACKDATE, begin + timedelta(days=request.ca_valid_days))
        called = request.ca_common_name if name == "ca" else f"{request.ca_common_name} {name}"
        return Ca(name, certificate_path, key_path, facts, created=True, common_name=called, encrypted=encrypted)

    try:
        # Where the file holds several, the first one issues.
        certificate = x509.load_pem_x509_certificate(certificate_data)
        facts = ca_facts(certificate, str(certificate_path))
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise PkiError(f"{certificate_path} is not a PEM certificate: give the CA's certificate, or restore it") from None
    problem = ca_problem(facts, now, expected)
    if problem:
        raise PkiError(problem)
    ca = Ca(name, certificate_path, key_path, facts, created=False, certificate=certificate)
    if key_data is not None:
        encrypted = key_data.startswith(VAULT_HEADER)
        ca.key_pem = vault.decrypt(key_data, str(key_path)) if encrypted else key_data
        ca.key = _load_ca_key(ca.key_pem, key_path)
        if public_bytes(ca.key.public_key()) != public_bytes(public_key):
            raise PkiError(
                f"The private key {key_path} does not match the CA certificate {certificate_path}: give the pair that belongs together"
            )
        if request.ca_vault and not encrypted and not own:
            vault.check_encrypt(str(key_path))
            ca.encrypt_key = ca.encrypted = True
    return ca


def _looked_up(request: Request, fingerprint: str, vault: Vault, now: datetime) -> Ca:
    """A CA that is named by its fingerprint. Its key may be anywhere, or nowhere: where nothing has to be issued, it is not needed."""
    authority = authorities(request, vault).get(fingerprint)
    if authority is None:
        raise PkiError(
            f"The certificate of the CA with the SHA-256 fingerprint {fingerprint} is not in {request.pki_dir}: restore that folder from a backup, or "
            "from the controller that exchanges the CA"
        )
    return _checked(request, fingerprint, authority, vault, now, fingerprint)


def _checked(request: Request, name: str, authority: Authority, vault: Vault, now: datetime, expected: str) -> Ca:
    facts = ca_facts(authority.certificate, str(authority.path))
    problem = ca_problem(facts, now, expected)
    if problem:
        raise PkiError(problem)
    ca = Ca(name, authority.path, authority.key_path, facts, created=False, certificate=authority.certificate)
    data = read_file(authority.key_path)
    if data is not None and is_key_of(authority.certificate, authority.key_path, vault):
        encrypted = data.startswith(VAULT_HEADER)
        ca.key_pem = vault.decrypt(data, str(authority.key_path)) if encrypted else data
        ca.key = _load_ca_key(ca.key_pem, authority.key_path)
        if request.ca_vault and not encrypted and authority.key_path == own_file(request, facts.fingerprint, "key"):
            vault.check_encrypt(str(authority.key_path))
            ca.encrypt_key = ca.encrypted = True
    return ca


def look_at_new_ca(request: Request, vault: Vault, now: datetime) -> Ca:
    """The CA that members are to trust next: the one that an earlier run has made for that, or one that is to be made. Raises PkiError."""
    pending = pending_ca(request)
    if pending is not None:
        return _checked(request, "new", pending, vault, now, "")
    key = read_file(request.pki_dir / "ca.key")
    # As the old one is, whose key every run could read; and as a first one where that is elsewhere.
    encrypted = request.ca_vault or (key.startswith(VAULT_HEADER) if key else request.ca_vault_default)
    where = request.pki_dir / "ca-NEW.crt"
    if encrypted:
        vault.check_encrypt(str(where.with_suffix(".key")))
    begin = now.replace(microsecond=0)
    # Another subject than the old one's: logs and lists of acceptable CAs tell them apart.
    day = f" {begin.date().isoformat()}"
    called = request.ca_common_name[: MAX_NAME_LENGTH - len(day)] + day
    facts = CaFacts(str(where), called, "", begin - BACKDATE, begin + timedelta(days=request.ca_valid_days))
    return Ca("new", where, where.with_suffix(".key"), facts, created=True, common_name=called, encrypted=encrypted)


@dataclass(frozen=True, slots=True)
class CaState:
    """What is known of the CA before anything is issued. `fingerprint` is empty where there is none yet."""

    certificate: Path
    private_key: Path
    fingerprint: str = ""
    has_key: bool = False
    problem: str = ""
    # Every CA that has a certificate here: {fingerprint, certificate, private_key, has_key}, and the file with what members trust.
    authorities: tuple[dict[str, Any], ...] = ()
    trusted: str = ""


def ca_state(request: Request, vault: Vault, now: datetime) -> CaState:
    """The CA of this request: whether it is here, and can issue at ``now``. Reads only."""
    certificate = request.ca_certificate or request.pki_dir / "ca.crt"
    private_key = request.ca_private_key or request.pki_dir / "ca.key"
    trusted = certificate
    try:
        if request.ca_certificate:
            # Before the first exchange a CA of the user's own has no copy here, and members have yet to hear of a new one.
            bundle = request.pki_dir / "ca.crt"
            exchanged = _certificates_in(certificate)[:1] and _certificates_in(certificate)[0] in _certificates_in(bundle)
            trusted = bundle if exchanged else request.ca_old_certificate or certificate
        here = tuple(
            {
                "fingerprint": fingerprint,
                "certificate": str(found.path),
                "private_key": str(found.key_path),
                "has_key": found.key_path.exists(),
            }
            for fingerprint, found in authorities(request, vault).items()
        )
        ca = look_at_ca(request, "ca", vault, now)
    except CertificateError as error:
        return CaState(certificate, private_key, problem=str(error), trusted=str(trusted))
    return CaState(certificate, private_key, ca.facts.fingerprint, ca.key is not None, authorities=here, trusted=str(trusted))
