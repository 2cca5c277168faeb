# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pki folder on the controller: reads it, decides by _plan.certificates, issues and writes atomically.

Nothing is written before the whole request was checked against what is there. A lock in the folder keeps two runs from
making two CAs; a folder without a lock file has never been written to, so looking at it needs no lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import nats_client
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import (
    BACKDATE,
    CaFacts,
    CertificateError,
    ExistingLeaf,
    Lifetime,
    WantedLeaf,
    ca_problem,
    ca_warning,
    describe,
    file_name_problem,
    iso,
    leaf_validity,
    normal_fingerprint,
    raise_problems,
    reissue_reason,
    settings_problems,
    wanted_leaves,
)

CRYPTOGRAPHY_IMPORT_ERROR: str | None
try:
    from cryptography import __version__ as cryptography_version
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR = traceback.format_exc()
    cryptography_version = "0"
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PublicKeyTypes

T = TypeVar("T")

MINIMUM_CRYPTOGRAPHY = 41
VAULT_HEADER = b"$ANSIBLE_VAULT;"
LOCK_FILE = ".lock"
IGNORE_FILE = ".gitignore"
LOCK_SECONDS = 120.0
LOCK_POLL_SECONDS = 0.05
FOLDER_MODE = 0o700
CERTIFICATE_MODE = 0o644
KEY_MODE = 0o600
# fsync waits for the disk, not for the processor, and a file system commits several of them together.
WRITERS = 16


class PkiError(CertificateError):
    """The pki folder, the CA or its key cannot be used. Nothing was written, unless the text says so."""


class Vault(Protocol):
    """Encryption of the CA's key. Both raise PkiError, with a text that needs no knowledge of ansible-vault."""

    def encrypt(self, plain: bytes, where: str) -> bytes: ...

    def decrypt(self, data: bytes, where: str) -> bytes: ...

    def check_encrypt(self, where: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that host_certificates was asked for; paths are absolute, ``ca_*`` paths None for the default."""

    pki_dir: Path
    certificates: Sequence[Mapping[str, Any]]
    lifetime: Lifetime
    key_type: str = "EC_P256"
    organization: str = ""
    ca_common_name: str = "hostnet CA"
    ca_key_type: str = "EC_P256"
    ca_valid_days: int = 3650
    ca_vault: bool = False
    ca_certificate: Path | None = None
    ca_private_key: Path | None = None
    ca_create: bool = True
    expected_ca_fingerprint: str = ""
    nkeys: Sequence[str] = ()


@dataclass(slots=True)
class _Ca:
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


@dataclass(slots=True)
class _Plan:
    """What one look at the folder decided: per wish what exists, why it is reissued, and from when to when."""

    cas: dict[str, _Ca]
    wanted: list[WantedLeaf]
    existing: list[ExistingLeaf]
    reasons: list[str]
    validity: list[tuple[datetime, datetime]]
    modes: list[tuple[Path, int, int]]
    warnings: list[str]
    # Name -> public key, "" for one that is to be made; and those that this run made.
    nkeys: dict[str, str]
    made_nkeys: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return (
            bool(self.modes)
            or not all(self.nkeys.values())
            or any(self.reasons)
            or any(ca.created or ca.encrypt_key for ca in self.cas.values())
        )


@dataclass(frozen=True, slots=True)
class _File:
    # Text: there are thousands, and pathlib takes its time with each.
    path: str
    data: bytes = field(repr=False)
    mode: int


def missing_library() -> str:
    """Why the ``cryptography`` library cannot be used, or an empty string."""
    if CRYPTOGRAPHY_IMPORT_ERROR is None and int(cryptography_version.split(".", 1)[0]) < MINIMUM_CRYPTOGRAPHY:
        return f"cryptography {cryptography_version} is too old, {MINIMUM_CRYPTOGRAPHY} or later is needed on the controller"
    return "" if CRYPTOGRAPHY_IMPORT_ERROR is None else "the Python library cryptography is needed on the controller"


# ---- reading ----------------------------------------------------------------------------------------------------------


def _read(path: str | Path) -> bytes | None:
    """The file's content, None where there is no such file. Raises PkiError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PkiError(f"{path} cannot be read: {error.strerror}") from error


def _times(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    # cryptography 41 knows naive times only; they are UTC.
    return certificate.not_valid_before.replace(tzinfo=UTC), certificate.not_valid_after.replace(tzinfo=UTC)


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_type_of(key: PublicKeyTypes) -> str:
    """The key type in the words of the options, or a readable name for types that are never issued here."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA_{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC_P256" if key.curve.name == "secp256r1" else f"EC_{key.curve.name}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _serial(certificate: x509.Certificate) -> str:
    digits = f"{certificate.serial_number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    return "+".join(str(attribute.value) for attribute in name.get_attributes_for_oid(oid))


def _sans(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    found = []
    for name in names:
        if isinstance(name, x509.IPAddress):
            found.append(f"IP:{name.value}")
        elif isinstance(name, x509.DNSName):
            found.append(f"DNS:{name.value.lower()}")
        elif isinstance(name, x509.UniformResourceIdentifier):
            found.append(f"URI:{name.value}")
        else:
            found.append(f"{type(name).__name__}:{name.value}")
    return tuple(found)


def _usages(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    words = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
    return tuple(sorted(words.get(usage, usage.dotted_string) for usage in usages))


def _signed_by(certificate: x509.Certificate, ca: x509.Certificate | None) -> bool:
    if ca is None:
        return False
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def read_leaf(certificate_path: str, key_path: str, ca: x509.Certificate | None) -> ExistingLeaf:
    """What is on disk for one leaf. Raises PkiError only for files that may not be read."""
    certificate_data, key_data = _read(certificate_path), _read(key_path)
    if certificate_data is None and key_data is None:
        return ExistingLeaf(problem="missing")
    if certificate_data is None or key_data is None:
        return ExistingLeaf(problem=f"missing {os.path.basename(certificate_path if certificate_data is None else key_path)}")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_data)
        public_key = certificate.public_key()
        sans, usages = _sans(certificate), _usages(certificate)
        not_before, not_after = _times(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return ExistingLeaf(problem=f"unreadable: {os.path.basename(certificate_path)} is not a PEM certificate")
    try:
        # The check of an RSA key's primes takes longer than making an EC key; only the public half is compared here.
        key = serialization.load_pem_private_key(key_data, password=None, unsafe_skip_rsa_key_validation=True)
        matches = _public_bytes(key.public_key()) == _public_bytes(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ExistingLeaf(problem=f"unreadable: {os.path.basename(key_path)} is not an unencrypted PEM private key")
    return ExistingLeaf(
        key_matches=matches,
        common_name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        organization=_attribute(certificate.subject, NameOID.ORGANIZATION_NAME),
        usages=usages,
        sans=sans,
        key_type=key_type_of(public_key),
        signed_by_ca=_signed_by(certificate, ca),
        not_before=not_before,
        not_after=not_after,
        serial=_serial(certificate),
        fingerprint=_fingerprint(certificate),
    )


def ca_facts(certificate: x509.Certificate, where: str) -> CaFacts:
    """What the plan needs of a CA certificate. A missing keyUsage forbids nothing (RFC 5280, 4.2.1.3)."""
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    try:
        can_sign = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        can_sign = True
    not_before, not_after = _times(certificate)
    common_name = _attribute(certificate.subject, NameOID.COMMON_NAME) or certificate.subject.rfc4514_string()
    return CaFacts(where, common_name, _fingerprint(certificate), not_before, not_after, is_ca, can_sign)


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


def _look_at_ca(request: Request, name: str, vault: Vault, now: datetime) -> _Ca:
    """Read and check one CA, or decide that it will be made. Raises PkiError."""
    default_certificate, default_key = request.pki_dir / f"{name}.crt", request.pki_dir / f"{name}.key"
    certificate_path, key_path, expected = default_certificate, default_key, ""
    if name == "ca":
        certificate_path = request.ca_certificate or default_certificate
        key_path = request.ca_private_key or default_key
        expected = normal_fingerprint(request.expected_ca_fingerprint)
    own = certificate_path != default_certificate or key_path != default_key
    certificate_data, key_data = _read(certificate_path), _read(key_path)

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
        if request.ca_vault:
            vault.check_encrypt(str(key_path))
        begin = now.replace(microsecond=0)
        facts = CaFacts(str(certificate_path), request.ca_common_name, "", begin - BACKDATE, begin + timedelta(days=request.ca_valid_days))
        return _Ca(name, certificate_path, key_path, facts, created=True)

    try:
        # Where the file holds several (a new CA before the old one while CAs are exchanged), the first one issues.
        certificate = x509.load_pem_x509_certificate(certificate_data)
        facts = ca_facts(certificate, str(certificate_path))
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise PkiError(f"{certificate_path} is not a PEM certificate: give the CA's certificate, or restore it") from None
    problem = ca_problem(facts, now, expected)
    if problem:
        raise PkiError(problem)
    ca = _Ca(name, certificate_path, key_path, facts, created=False, certificate=certificate)
    if key_data is not None:
        encrypted = key_data.startswith(VAULT_HEADER)
        ca.key_pem = vault.decrypt(key_data, str(key_path)) if encrypted else key_data
        ca.key = _load_ca_key(ca.key_pem, key_path)
        if _public_bytes(ca.key.public_key()) != _public_bytes(public_key):
            raise PkiError(
                f"The private key {key_path} does not match the CA certificate {certificate_path}: give the pair that belongs together"
            )
        if request.ca_vault and not encrypted and not own:
            vault.check_encrypt(str(key_path))
            ca.encrypt_key = True
    return ca


@dataclass(frozen=True, slots=True)
class CaState:
    """What is known of the CA before anything is issued. `fingerprint` is empty where there is none yet."""

    certificate: Path
    private_key: Path
    fingerprint: str = ""
    has_key: bool = False
    problem: str = ""


def ca_state(request: Request, vault: Vault, now: datetime) -> CaState:
    """The CA of this request: whether it is here, and can issue at ``now``. Reads only."""
    certificate = request.ca_certificate or request.pki_dir / "ca.crt"
    private_key = request.ca_private_key or request.pki_dir / "ca.key"
    try:
        ca = _look_at_ca(request, "ca", vault, now)
    except CertificateError as error:
        return CaState(certificate, private_key, problem=str(error))
    return CaState(certificate, private_key, ca.facts.fingerprint, ca.key is not None)


def fingerprint_of(path: Path) -> str:
    """SHA-256 fingerprint of the certificate in this file, empty where there is none that can be read."""
    if CRYPTOGRAPHY_IMPORT_ERROR is not None:
        return ""
    try:
        return _fingerprint(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError):
        return ""


def nkey_path(pki_dir: Path, name: str) -> Path:
    """Where the seed of a NATS user's nkey is."""
    return pki_dir / f"{name}.nk"


def _public_nkey(path: Path) -> str:
    """The public key of the seed in this file, "" where there is no such file. Raises PkiError."""
    data = _read(path)
    if data is None:
        return ""
    try:
        seed = nats_client.seed_of(data.decode("ascii", "replace"))
    except ValueError as error:
        raise PkiError(f"{path} is {error}: restore it, or move it away to have another one made") from error
    return _nkey(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


def _nkey(key: ed25519.Ed25519PrivateKey) -> str:
    return nats_client.public_nkey(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def _wrong_mode(path: Path, wanted: int) -> tuple[Path, int, int] | None:
    """(path, mode, wanted mode) for a private key that others may read; None where the mode is as narrow or there is no file."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return None
    return (path, mode, wanted) if mode & ~wanted else None


def _check_writable(folders: set[str]) -> None:
    """Raise PkiError where a file could not be created in one of the folders (or the folder itself could not)."""
    tried: set[str] = set()
    for folder in sorted(folders):
        nearest = folder
        while not os.path.lexists(nearest) and nearest != os.path.dirname(nearest):
            nearest = os.path.dirname(nearest)
        if nearest in tried:  # a thousand new folders are all made in one
            continue
        tried.add(nearest)
        if not os.path.isdir(nearest):
            raise PkiError(f"pki folder: {folder} cannot be created, because {nearest} is not a folder")
        try:
            # A file without a name that is gone at once. Modes alone say nothing of root and of file systems that take no files.
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            raise PkiError(
                f"pki folder: {nearest} is not writable for this user ({error.strerror}): set pki_dir to a folder of yours, or correct its "
                "owner or mode"
            ) from error


def _stem(pki_dir: str, leaf: WantedLeaf) -> str:
    """The path of a leaf's files, without their endings."""
    return os.path.join(pki_dir, leaf.name, leaf.file)


def _look(request: Request, vault: Vault, now: datetime, wanted: list[WantedLeaf]) -> _Plan:
    """Read everything, decide everything, write nothing. Raises PkiError or CertificateError for whatever cannot be done."""
    names = dict.fromkeys(["ca", *(leaf.ca_name for leaf in wanted)])
    pki_dir = str(request.pki_dir)
    cas = {name: _look_at_ca(request, name, vault, now) for name in names}
    existing, reasons, validity, modes, warnings = [], [], [], [], []
    ends: dict[str, tuple[datetime, datetime]] = {}
    for leaf in wanted:
        ca = cas[leaf.ca_name]
        stem = _stem(pki_dir, leaf)
        found = read_leaf(f"{stem}.crt", f"{stem}.key", ca.certificate)
        reason = reissue_reason(found, leaf, now)
        if reason and leaf.ca_name not in ends:
            ends[leaf.ca_name] = leaf_validity(ca.facts, now, request.lifetime.valid_days)
            if not ca.created and ca.key is None:
                raise PkiError(
                    f"The CA's private key {ca.key_path} does not exist, and {leaf.label} must be issued ({reason}): "
                    "restore the key, or set ca.private_key to where it is"
                )
        existing.append(found)
        reasons.append(reason)
        validity.append(ends[leaf.ca_name] if reason else (found.not_before, found.not_after))
        wrong = None if reason else _wrong_mode(Path(f"{stem}.key"), KEY_MODE)
        if wrong:
            modes.append(wrong)
    for ca in cas.values():
        wrong = _wrong_mode(ca.key_path, KEY_MODE)
        if wrong and ca.key_path.parent == request.pki_dir and not ca.encrypt_key:
            modes.append(wrong)
        warning = "" if ca.name in ends else ca_warning(ca.facts, now, request.lifetime.valid_days)
        if warning:
            warnings.append(warning)
    nkeys = {name: _public_nkey(nkey_path(request.pki_dir, name)) for name in request.nkeys}
    modes += [wrong for name in nkeys if (wrong := _wrong_mode(nkey_path(request.pki_dir, name), KEY_MODE))]
    plan = _Plan(cas, wanted, existing, reasons, validity, modes, warnings, nkeys)
    if plan.changed:
        folders = {os.path.join(pki_dir, leaf.name) for leaf, reason in zip(wanted, reasons, strict=True) if reason}
        _check_writable({pki_dir, *folders})
    return plan


# ---- issuing ----------------------------------------------------------------------------------------------------------


def _new_key(key_type: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if key_type == "EC_P256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("RSA_")))


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _signature_hash(key: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """As strong as the key (RFC 5480, section 4); Edwards curves bring their own."""
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256()


def _subject(common_name: str, organization: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, sign: bool, ca: bool, encipher: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def issue_ca(
    common_name: str, organization: str, key_type: str, not_before: datetime, not_after: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    """A new self-signed CA that may issue leaves only (pathlen 0)."""
    key = _new_key(key_type)
    name = _subject(common_name, organization)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign=False, ca=True, encipher=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _signature_hash(key))
    )
    return certificate, key


def _authority(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # An old CA without one: RFC 5280, 4.2.1.2 method 1 gives the same octets to everybody.
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _general_name(san: str) -> x509.GeneralName:
    kind, _colon, value = san.partition(":")
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    return x509.DNSName(value) if kind == "DNS" else x509.UniformResourceIdentifier(value)


def leaf_issuer(
    ca: x509.Certificate, ca_key: CertificateIssuerPrivateKeyTypes
) -> Callable[[WantedLeaf, datetime, datetime], tuple[x509.Certificate, bytes]]:
    """A function that issues leaves of this CA: each with a fresh key, returned as unencrypted PKCS#8 PEM."""
    usages = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    authority, issuer, digest = _authority(ca), ca.subject, _signature_hash(ca_key)
    constraints = x509.BasicConstraints(ca=False, path_length=None)

    def issue(leaf: WantedLeaf, not_before: datetime, not_after: datetime) -> tuple[x509.Certificate, bytes]:
        key = _new_key(leaf.key_type)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(leaf.common_name, leaf.organization))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(constraints, critical=True)
            # Only RSA key exchange needs keyEncipherment; RFC 5480 forbids it to EC keys.
            .add_extension(_key_usage(sign=True, ca=False, encipher=leaf.key_type.startswith("RSA")), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usages[usage] for usage in reversed(leaf.usages)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
        )
        if leaf.sans:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(san) for san in leaf.sans]), critical=False)
        return builder.sign(ca_key, digest), _key_pem(key)

    return issue


# ---- writing ----------------------------------------------------------------------------------------------------------


def _temporary(path: str) -> str:
    # A fixed name: what a killed run left behind is overwritten by the next one. The lock keeps writers apart.
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.new")


def _write_temporary(file: _File) -> None:
    handle = os.open(_temporary(file.path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, KEY_MODE)
    try:
        os.fchmod(handle, file.mode)
        data = file.data
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _side_by_side(function: Callable[[T], None], items: Sequence[T]) -> None:
    """Calls `function` for all items, with so many at a time as there are WRITERS. Raises what the first one to fail raises."""

    def some(first: int) -> None:
        for item in items[first::WRITERS]:
            function(item)

    with ThreadPoolExecutor(max_workers=WRITERS) as pool:
        list(pool.map(some, range(min(WRITERS, len(items)))))


def _write_files(files: Sequence[_File]) -> None:
    """Write all files beside their places, and only when all are on disk move them there. Raises PkiError."""
    moved = 0
    try:
        folders = dict.fromkeys(os.path.dirname(file.path) for file in files)
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, FOLDER_MODE)
        _side_by_side(_write_temporary, files)
        for file in files:
            os.replace(_temporary(file.path), file.path)
            moved += 1
        _side_by_side(_sync_folder, list({**folders, **dict.fromkeys(os.path.dirname(folder) for folder in folders)}))
    except OSError as error:
        for file in files[moved:]:
            with contextlib.suppress(OSError):
                os.unlink(_temporary(file.path))
        raise PkiError(
            f"pki folder: {error.filename or os.path.dirname(files[0].path)} cannot be written: {error.strerror} "
            f"({moved} of {len(files)} files are in place; run again when this is repaired)"
        ) from error


@contextlib.contextmanager
def _locked(pki_dir: Path, *, create: bool) -> Iterator[bool]:
    """Hold the folder's lock; yields False, without a lock, where the lock file does not exist and must not be made.

    The kernel gives the lock back when its holder dies, so the file itself means nothing and stays.
    """
    path = pki_dir / LOCK_FILE
    try:
        if create:
            pki_dir.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            # An inventory is in a version control more often than not. Only in a folder of our own: another one has its own rules.
            if not any(pki_dir.iterdir()):
                ignore = pki_dir / IGNORE_FILE
                ignore.write_text("*\n")
                ignore.chmod(CERTIFICATE_MODE)
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), KEY_MODE)
    except OSError as error:
        if create:
            raise PkiError(f"pki folder: {path} cannot be written: {error.strerror}") from error
        yield False
        return
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise PkiError(f"pki folder: {path} cannot be locked: {error.strerror}") from error
                if time.monotonic() >= deadline:
                    raise PkiError(
                        f"pki folder: another run has held {path} for {LOCK_SECONDS:g} seconds: wait for it to end, then run again"
                    ) from None
                time.sleep(LOCK_POLL_SECONDS)
        yield True
    finally:
        os.close(handle)


def _apply(request: Request, plan: _Plan, vault: Vault) -> list[x509.Certificate | None]:
    """Write what the plan says; returns the new certificate of each wish, None where the old one stays."""
    ca_files: list[_File] = []
    for ca in plan.cas.values():
        if ca.created:
            ca.certificate, key = issue_ca(
                _ca_name(request, ca.name), request.organization, request.ca_key_type, ca.facts.not_before, ca.facts.not_after
            )
            ca.key, ca.key_pem = key, _key_pem(key)
            ca.facts = ca_facts(ca.certificate, str(ca.certificate_path))
        if ca.created or ca.encrypt_key:
            stored = vault.encrypt(ca.key_pem, str(ca.key_path)) if request.ca_vault else ca.key_pem
            ca_files.append(_File(str(ca.key_path), stored, KEY_MODE))
        if ca.created and ca.certificate is not None:
            ca_files.append(_File(str(ca.certificate_path), ca.certificate.public_bytes(serialization.Encoding.PEM), CERTIFICATE_MODE))
    # The CA is on disk before anything that only it can vouch for.
    _write_files(ca_files)

    issuers = {ca.name: leaf_issuer(ca.certificate, ca.key) for ca in plan.cas.values() if ca.certificate and ca.key}
    issued: list[x509.Certificate | None] = []
    files: list[_File] = []
    pki_dir = str(request.pki_dir)
    for leaf, reason, (not_before, not_after) in zip(plan.wanted, plan.reasons, plan.validity, strict=True):
        if not reason:
            issued.append(None)
            continue
        certificate, key_pem = issuers[leaf.ca_name](leaf, not_before, not_after)
        stem = _stem(pki_dir, leaf)
        files.append(_File(f"{stem}.key", key_pem, KEY_MODE))
        files.append(_File(f"{stem}.crt", certificate.public_bytes(serialization.Encoding.PEM), CERTIFICATE_MODE))
        issued.append(certificate)
    for name in [name for name, public in plan.nkeys.items() if not public]:
        user = ed25519.Ed25519PrivateKey.generate()
        seed = user.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        files.append(_File(str(nkey_path(request.pki_dir, name)), f"{nats_client.seed_nkey(seed)}\n".encode(), KEY_MODE))
        plan.made_nkeys[name] = _nkey(user)
    _write_files(files)
    for path, _mode, wanted in plan.modes:
        try:
            path.chmod(wanted)
        except OSError as error:
            raise PkiError(f"pki folder: the mode of {path} cannot be corrected: {error.strerror}") from error
    return issued


# ---- the whole --------------------------------------------------------------------------------------------------------


def _ca_name(request: Request, name: str) -> str:
    return request.ca_common_name if name == "ca" else f"{request.ca_common_name} {name}"


def _describe_leaf(leaf: WantedLeaf, of: WantedLeaf | ExistingLeaf, not_after: datetime, note: str) -> str:
    return describe(leaf.label, common_name=of.common_name, organization=of.organization, sans=of.sans, not_after=not_after, note=note)


def _diff(request: Request, plan: _Plan) -> dict[str, str]:
    before, after = [], []
    for ca in plan.cas.values():
        if ca.created:
            name = _ca_name(request, ca.name)
            after.append(
                describe(
                    f"{ca.name} (CA)",
                    common_name=name,
                    organization=request.organization,
                    sans=(),
                    not_after=ca.facts.not_after,
                    note="missing",
                )
            )
        if ca.encrypt_key:
            before.append(f"{ca.key_path.name}: not encrypted\n")
            after.append(f"{ca.key_path.name}: encrypted with ansible-vault\n")
    for leaf, found, reason, (_begin, end) in zip(plan.wanted, plan.existing, plan.reasons, plan.validity, strict=True):
        if not reason:
            continue
        if not found.problem:
            before.append(_describe_leaf(leaf, found, found.not_after, ""))
        after.append(_describe_leaf(leaf, leaf, end, reason))
    for path, mode, wanted in plan.modes:
        before.append(f"{path.relative_to(request.pki_dir)}: mode {mode:04o}\n")
        after.append(f"{path.relative_to(request.pki_dir)}: mode {wanted:04o}\n")
    after += [f"{nkey_path(request.pki_dir, name).name}: missing\n" for name, public in plan.nkeys.items() if not public]
    where = str(request.pki_dir)
    return {"before_header": where, "after_header": where, "before": "".join(before), "after": "".join(after)}


def _ca_result(request: Request, ca: _Ca) -> dict[str, Any]:
    return {
        "fingerprint": ca.facts.fingerprint,
        "not_before": iso(ca.facts.not_before),
        "not_after": iso(ca.facts.not_after),
        "common_name": _ca_name(request, ca.name) if ca.created else ca.facts.common_name,
        "created": ca.created,
        "certificate": str(ca.certificate_path),
    }


def _result(request: Request, plan: _Plan, issued: Sequence[x509.Certificate | None]) -> dict[str, Any]:
    certificates = []
    pki_dir = str(request.pki_dir)
    for leaf, found, reason, (begin, end), new in zip(plan.wanted, plan.existing, plan.reasons, plan.validity, issued, strict=True):
        # In check mode a certificate that would be issued has no serial and no fingerprint yet.
        serial, fingerprint = ("", "") if reason else (found.serial, found.fingerprint)
        if new is not None:
            serial, fingerprint = _serial(new), _fingerprint(new)
        stem = _stem(pki_dir, leaf)
        certificates.append(
            {
                "name": leaf.name,
                "file": leaf.file,
                "certificate": f"{stem}.crt",
                "private_key": f"{stem}.key",
                "serial": serial,
                "fingerprint": fingerprint,
                "not_before": iso(begin),
                "not_after": iso(end),
                "sans": list(leaf.sans),
                "reissued": bool(reason),
                "reason": reason,
            }
        )
    result: dict[str, Any] = {
        "changed": plan.changed,
        "ca": _ca_result(request, plan.cas["ca"]),
        "cas": {name: _ca_result(request, ca) for name, ca in plan.cas.items()},
        "certificates": certificates,
        "nkeys": {**plan.nkeys, **plan.made_nkeys},
    }
    if plan.changed:
        result["diff"] = _diff(request, plan)
    if plan.warnings:
        result["warnings"] = plan.warnings
    return result


def ensure_certificates(request: Request, vault: Vault, now: datetime, *, check_mode: bool = False) -> dict[str, Any]:
    """Make the pki folder hold what was asked for; returns the module's result, which holds no key material.

    ``now`` is the controller's clock. With ``check_mode`` nothing is written, and the result is the same but for
    serials and fingerprints that do not exist yet. Raises CertificateError before anything is written; a PkiError
    while writing says how far it came.
    """
    wanted, problems = wanted_leaves(request.certificates, request.key_type, request.organization, request.lifetime.renew_days)
    settings = settings_problems(
        request.lifetime,
        ca_valid_days=request.ca_valid_days,
        key_type=request.key_type,
        ca_key_type=request.ca_key_type,
        ca_common_name=request.ca_common_name,
        organization=request.organization,
    )
    unusable = [file_name_problem(f"nkeys[{index}]", name) for index, name in enumerate(request.nkeys)]
    raise_problems([*settings, *problems, *filter(None, unusable)])
    normal_fingerprint(request.expected_ca_fingerprint)

    with _locked(request.pki_dir, create=False) as locked:
        try:
            plan = _look(request, vault, now, wanted)
        except CertificateError:
            # Another run may have begun to write since: what it has half written is no error of the user's.
            if locked or not os.path.lexists(request.pki_dir / LOCK_FILE):
                raise
            with _locked(request.pki_dir, create=False):
                plan = _look(request, vault, now, wanted)
        if check_mode or not plan.changed:
            return _result(request, plan, [None] * len(wanted))
        if locked:
            return _result(request, plan, _apply(request, plan, vault))
    with _locked(request.pki_dir, create=True):
        plan = _look(request, vault, now, wanted)
        return _result(request, plan, _apply(request, plan, vault))
