# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA of a request: the one that is there, checked, or the one that is to be made."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .._plan.certificates import BACKDATE, CaFacts, CertificateError, ca_problem, normal_fingerprint
from .read import ca_facts, public_bytes, read_file
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


def look_at_ca(request: Request, name: str, vault: Vault, now: datetime) -> Ca:
    """Read and check one CA, or decide that it will be made. Raises PkiError."""
    default_certificate, default_key = request.pki_dir / f"{name}.crt", request.pki_dir / f"{name}.key"
    certificate_path, key_path, expected = default_certificate, default_key, ""
    if name == "ca":
        certificate_path = request.ca_certificate or default_certificate
        key_path = request.ca_private_key or default_key
        expected = normal_fingerprint(request.expected_ca_fingerprint)
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
        if request.ca_vault:
            vault.check_encrypt(str(key_path))
        begin = now.replace(microsecond=0)
        facts = CaFacts(str(certificate_path), request.ca_common_name, "", begin - BACKDATE, begin + timedelta(days=request.ca_valid_days))
        return Ca(name, certificate_path, key_path, facts, created=True)

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
        ca = look_at_ca(request, "ca", vault, now)
    except CertificateError as error:
        return CaState(certificate, private_key, problem=str(error))
    return CaState(certificate, private_key, ca.facts.fingerprint, ca.key is not None)
