# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the files of the pki folder: certificates and keys as facts. Nothing is decided here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .._plan.certificates import CaFacts, ExistingLeaf, iso
from .._plan.clients import Client
from .._plan.serving import Leaf
from . import library
from .request import PkiError

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


def read_file(path: str | Path) -> bytes | None:
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


def public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_type_of(key: PublicKeyTypes) -> str:
    """The key type in the words of the options, or a readable name for types that are never issued here."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA_{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC_P256" if key.curve.name == "secp256r1" else f"EC_{key.curve.name}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def sha256_of(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def serial_of(certificate: x509.Certificate) -> str:
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
    certificate_data, key_data = read_file(certificate_path), read_file(key_path)
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
        matches = public_bytes(key.public_key()) == public_bytes(public_key)
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
        serial=serial_of(certificate),
        fingerprint=sha256_of(certificate),
    )


def client_facts(data: bytes, file: str, cas: Mapping[str, x509.Certificate]) -> Client:
    """What is in a client's certificate (PEM), and which of the `cas` (by fingerprint) has issued it."""
    try:
        certificate = x509.load_pem_x509_certificate(data)
        sans, usages = _sans(certificate), _usages(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return Client(file, problem="it is no PEM certificate")
    not_before, not_after = _times(certificate)
    return Client(
        file,
        common_name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        usages=usages,
        sans=sans,
        serial=serial_of(certificate),
        fingerprint=sha256_of(certificate),
        not_before=not_before,
        not_after=not_after,
        ca=next((fingerprint for fingerprint, ca in cas.items() if _signed_by(certificate, ca)), ""),
    )


def shown_leaf(der: bytes) -> Leaf:
    """What a server has shown in a handshake (DER)."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        sans = _sans(certificate)
    except (ValueError, x509.DuplicateExtension):
        return Leaf(error="what it shows is no certificate")
    not_before, not_after = _times(certificate)
    return Leaf(sha256_of(certificate), serial_of(certificate), iso(not_before), iso(not_after), sans)


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
    return CaFacts(where, common_name, sha256_of(certificate), not_before, not_after, is_ca, can_sign)


def fingerprint_of(path: Path) -> str:
    """SHA-256 fingerprint of the certificate in this file, empty where there is none that can be read."""
    if library.CRYPTOGRAPHY_IMPORT_ERROR is not None:
        return ""
    try:
        return sha256_of(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError):
        return ""
