# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes keys and certificates: a CA, and leaves of a CA. Writes nothing."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from .._plan.certificates import WantedLeaf

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


def _new_key(key_type: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if key_type == "EC_P256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("RSA_")))


def pem_of_key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
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
        return builder.sign(ca_key, digest), pem_of_key(key)

    return issue
