# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of a pki folder: reads their certificates, has them issued and dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .._plan import clients as plan
from .._plan.certificates import CertificateError, normal_fingerprint
from .._plan.clients import Client
from .._plan.layout import SHARED_FOLDER
from .authority import authorities
from .folder import ensure_certificates
from .read import client_facts, read_file, sha256_of
from .request import PkiError, Request, Vault

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography import x509


def clients_of(request: Request) -> list[Client]:
    """Every client's certificate below this pki folder, and those that were dropped."""
    cas = {fingerprint: entry.certificate for fingerprint, entry in authorities(request).items()}
    folder = request.pki_dir / SHARED_FOLDER
    found = [_read(path, path.name.removesuffix(".crt"), cas) for path in _certificates(folder)]
    # NAME.SERIAL.crt
    found += [
        replace(_read(path, path.name.removesuffix(".crt").rpartition(".")[0], cas), dropped=True)
        for path in _certificates(folder / plan.DROPPED)
    ]
    return found


def _certificates(folder: Path) -> list[Path]:
    # Not what a killed run has left beside its places.
    return [path for path in sorted(folder.glob("*.crt")) if path.is_file() and not path.name.startswith(".")]


def _read(path: Path, file: str, cas: Mapping[str, x509.Certificate]) -> Client:
    try:
        return client_facts(read_file(path) or b"", file, cas)
    except PkiError as error:
        return Client(file, problem=str(error))


def _trusted(request: Request, trust: Mapping[str, Any] | None) -> list[str]:
    """Fingerprints of the CAs that members trust; where nobody says so, of those that the folder says."""
    if trust:
        return list(trust["trusted"])
    data = read_file(request.ca_certificate or request.pki_dir / "ca.crt")
    try:
        found = x509.load_pem_x509_certificates(data) if data else []
    except ValueError:
        return []
    # Further ones of the user's own file are the chain of the first.
    return [sha256_of(certificate) for certificate in (found[:1] if request.ca_certificate else found)]


def manage(
    request: Request,
    vault: Vault,
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    trust: Mapping[str, Any] | None,
    silent: Sequence[str],
    client: str,
    drop: str,
    now: datetime,
    *,
    check_mode: bool,
) -> dict[str, Any]:
    """Issues what clients need, drops one of them, and says who has which certificate. Raises CertificateError before anything is written."""
    name = str(hostnet["name"])
    if not trust and not silent:
        raise CertificateError(
            f"deployment {name} is not deployed, so there are no members that would accept a client: run playbooks/deploy.yml"
        )
    ca = request.ca_certificate or request.pki_dir / "ca.crt"
    if not ca.exists():
        raise CertificateError(
            f"{ca} does not exist on this controller, and no kube cluster answers that would say which CA deployment {name} relies on: restore the pki "
            "folder from a backup, or set hostnet_pki_dir to where it is"
        )
    found = clients_of(request)
    wanted = plan.plan(hostnet, spec, members, found, client, drop)
    if wanted.errors:
        raise CertificateError("; ".join(wanted.errors))
    request = replace(
        request,
        certificates=wanted.certificates,
        folders=True,
        drop=[f"{SHARED_FOLDER}/{wanted.drop}"] if wanted.drop else [],
        ca_create=False,
        expected_ca_fingerprint=normal_fingerprint(str(trust["issuer"])) if trust else "",
        trusted_ca_fingerprints=trust["trusted"] if trust and trust["revision"] > 1 else [],
    )
    done = ensure_certificates(request, vault, now, check_mode=check_mode)
    table = plan.rows(
        found if check_mode else clients_of(request), done["certificates"], wanted.drop, _trusted(request, trust), now, check_mode
    )
    result = {
        "changed": done["changed"],
        "clients": table,
        "lines": plan.lines(hostnet, spec, table, silent, bool(trust), bool(members)),
    }
    return {**result, **{key: done[key] for key in ("diff", "warnings") if key in done}}
