# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What host_certificates is asked for, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .._plan.certificates import CertificateError, Lifetime

VAULT_HEADER = b"$ANSIBLE_VAULT;"


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
    # Whether the CA's key is encrypted; and whether nobody has said so, and this run has a vault secret: then that of a CA that is made is.
    ca_vault: bool = False
    ca_vault_default: bool = False
    ca_certificate: Path | None = None
    ca_private_key: Path | None = None
    # Of a CA of the user's own that is being exchanged for ca_certificate.
    ca_old_certificate: Path | None = None
    ca_old_private_key: Path | None = None
    ca_create: bool = True
    expected_ca_fingerprint: str = ""
    # Fingerprints of the CAs that members trust, the older one first; empty where that is the expected one alone, as it is from the start.
    trusted_ca_fingerprints: Sequence[str] = ()
    # Fingerprints of CAs whose keys are put aside.
    retired_ca_fingerprints: Sequence[str] = ()
    # Whether a further CA is made, beside the one that is there.
    new_ca: bool = False
    nkeys: Sequence[str] = ()
    known_nkeys: Sequence[str] = ()
    renew: Sequence[str] = ()
    # Whether the folders of certificates with files are made, or only those kept up to date that are there.
    folders: bool = False
    # Certificates that are given up, by folder and file.
    drop: Sequence[str] = ()
