# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pki folder on the controller: reads it, decides by _plan.certificates, issues and writes.

Nothing is written before the whole request was checked against what is there. A lock in the folder keeps two runs from
making two CAs; a folder without a lock file has never been written to, so looking at it needs no lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .._plan.certificates import (
    CertificateError,
    ExistingLeaf,
    WantedLeaf,
    as_it_is,
    asked_for,
    ca_problem,
    ca_warning,
    describe,
    file_name_problem,
    is_fingerprint,
    iso,
    leaf_validity,
    normal_fingerprint,
    raise_problems,
    reissue_reason,
    settings_problems,
    wanted_leaves,
)
from .._plan.clients import DROPPED
from .._plan.trust_revisions import outgoing
from . import nkeys
from .authority import Ca, authorities, is_key_of, look_at_ca, look_at_new_ca, own_file
from .files import CERTIFICATE_MODE, KEY_MODE, LOCK_FILE, File, check_writable, folder_lock, shared_folder, write_files, wrong_mode
from .issue import issue_ca, leaf_issuer, pem_of_key
from .read import ca_facts, read_file, read_leaf, serial_of, sha256_of
from .request import VAULT_HEADER, PkiError, Request, Vault

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization


@dataclass(slots=True)
class _Plan:
    """What one look at the folder decided: per wish what exists, why it is reissued, and from when to when."""

    cas: dict[str, Ca]
    wanted: list[WantedLeaf]
    existing: list[ExistingLeaf]
    reasons: list[str]
    validity: list[tuple[datetime, datetime]]
    modes: list[tuple[Path, int, int]]
    warnings: list[str]
    # Name -> public key, "" for one that is to be made; and those that this run made.
    nkeys: dict[str, str]
    made_nkeys: dict[str, str] = field(default_factory=dict)
    # Certificates of CAs, where what members trust has changed; and keys of CAs that are put aside: from, to.
    trusted: list[File] = field(default_factory=list)
    retired: list[tuple[Path, Path]] = field(default_factory=list)
    # What clients trust, empty where the CA is yet to be made; files of folders that differ; and certificates that are given up, with their serials.
    bundle: bytes = b""
    handed: list[File] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return (
            bool(self.modes or self.trusted or self.retired or self.handed or self.dropped)
            or not all(self.nkeys.values())
            or any(self.reasons)
            or any(ca.created or ca.encrypt_key for ca in self.cas.values())
        )


def _stem(pki_dir: str, leaf: WantedLeaf) -> str:
    """The path of a leaf's files, without their endings."""
    return os.path.join(pki_dir, leaf.name, leaf.file)


def _look(request: Request, vault: Vault, now: datetime, wanted: list[WantedLeaf]) -> _Plan:
    """Read everything, decide everything, write nothing. Raises PkiError or CertificateError for whatever cannot be done."""
    pki_dir = str(request.pki_dir)
    wanted = _still_shown(request, vault, now, wanted)
    names = dict.fromkeys(["ca", *(leaf.ca_name for leaf in wanted)])
    cas = {name: look_at_ca(request, name, vault, now) for name in names}
    if request.new_ca:
        cas["new"] = look_at_new_ca(request, vault, now)
    existing, reasons, validity, warnings = [], [], [], []
    modes = list(filter(None, map(shared_folder, dict.fromkeys([request.pki_dir, *(request.pki_dir / leaf.name for leaf in wanted)]))))
    ends: dict[str, tuple[datetime, datetime]] = {}
    for leaf, asked in zip(wanted, asked_for(wanted, request.renew), strict=True):
        ca = cas[leaf.ca_name]
        stem = _stem(pki_dir, leaf)
        found = read_leaf(f"{stem}.crt", f"{stem}.key", ca.certificate)
        reason = reissue_reason(found, leaf, now) or ("asked for" if asked else "")
        if reason and leaf.ca_name not in ends:
            ends[leaf.ca_name] = leaf_validity(ca.facts, now, request.lifetime.valid_days, shorter=is_fingerprint(leaf.ca_name))
            if not ca.created and ca.key is None:
                raise PkiError(
                    f"The CA's private key {ca.key_path} does not exist, and {leaf.label} must be issued ({reason}): "
                    "restore the key, or set ca.private_key to where it is"
                )
        existing.append(found)
        reasons.append(reason)
        validity.append(ends[leaf.ca_name] if reason else (found.not_before, found.not_after))
        wrong = None if reason else wrong_mode(Path(f"{stem}.key"), KEY_MODE)
        if wrong:
            modes.append(wrong)
    for ca in cas.values():
        wrong = wrong_mode(ca.key_path, KEY_MODE)
        if wrong and ca.key_path.parent == request.pki_dir and not ca.encrypt_key:
            modes.append(wrong)
        warnings += _encryption_warnings(request, ca)
        warning = "" if ca.name in ends or is_fingerprint(ca.name) else ca_warning(ca.facts, now, request.lifetime.valid_days)
        if warning:
            warnings.append(warning)
    public = {name: nkeys.public_of(nkeys.path_of(request.pki_dir, name)) for name in request.nkeys}
    lost = [str(nkeys.path_of(request.pki_dir, name)) for name in public if not public[name]] if request.known_nkeys else []
    if lost:
        raise PkiError(
            f"{lost[0]} does not exist on this controller, and the servers have the public half of such a key ({', '.join(request.known_nkeys)}); they "
            f"would not know another one: restore it from a backup or from the controller that made it. If it is gone for good, or there never was one of "
            f"this name, make one (nk -gen user > {lost[0]}): deploy.yml tells the servers"
        )
    modes += [wrong for name in public if (wrong := wrong_mode(nkeys.path_of(request.pki_dir, name), KEY_MODE))]
    plan = _Plan(cas, wanted, existing, reasons, validity, modes, warnings, public)
    plan.trusted = _trusted_files(request)
    plan.retired = _to_retire(request, vault)
    plan.bundle = b"".join(_trusted_texts(request).values()) or read_file(cas["ca"].certificate_path) or b""
    for leaf, reason in zip(wanted, reasons, strict=True):
        if not reason and leaf.files:
            stem = _stem(pki_dir, leaf)
            plan.handed += _folder_files(request, leaf, plan.bundle, read_file(f"{stem}.crt") or b"", read_file(f"{stem}.key") or b"")
    plan.dropped = _to_drop(request)
    if plan.changed:
        folders = {os.path.join(pki_dir, leaf.name) for leaf, reason in zip(wanted, reasons, strict=True) if reason}
        folders |= {os.path.dirname(file.path) for file in plan.handed}
        check_writable({pki_dir, *folders})
    return plan


def _encryption_warnings(request: Request, ca: Ca) -> list[str]:
    """What becomes of a key where a vault secret is given and nobody has said whether it is for this."""
    if request.ca_vault_default and ca.created and ca.encrypted and ca.name == "ca":
        return [
            (
                f"The private key of the new CA, {ca.key_path}, is encrypted with the vault secret of this run: from now on every run that issues certificates "
                "needs that secret, and where it is lost, so is the CA. With ca.vault false (hostnet_ca.vault) the key is not encrypted"
            )
        ]
    plain = ca.key is not None and not ca.created and not (read_file(ca.key_path) or b"").startswith(VAULT_HEADER)
    if request.ca_vault_default and plain and ca.key_path.parent == request.pki_dir and not request.ca_private_key:
        return [
            (
                f"The CA's private key {ca.key_path} is not encrypted, and this run has a vault secret: with ca.vault true (hostnet_ca.vault) it is "
                "encrypted, and every later run needs the secret; with ca.vault false it stays as it is, and nobody is warned"
            )
        ]
    return []


def _still_shown(request: Request, vault: Vault, now: datetime, wanted: list[WantedLeaf]) -> list[WantedLeaf]:
    """Without certificates of CAs on their way out that cannot be shown any more. One that can is left as it is: its CA's key may be gone."""
    issuer = normal_fingerprint(request.expected_ca_fingerprint)
    trusted = list(request.trusted_ca_fingerprints) or [issuer]
    here = authorities(request, vault)
    kept = []
    for leaf in wanted:
        if not is_fingerprint(leaf.ca_name) or not issuer or not outgoing(trusted, issuer, leaf.ca_name):
            kept.append(leaf)
            continue
        known = here.get(leaf.ca_name)
        if known is None or ca_problem(ca_facts(known.certificate, str(known.path)), now):
            continue
        stem = _stem(str(request.pki_dir), leaf)
        found = read_leaf(f"{stem}.crt", f"{stem}.key", known.certificate)
        present = as_it_is(leaf, found)
        if not reissue_reason(found, present, now):
            kept.append(present)
        elif is_key_of(known.certificate, known.key_path, vault):
            kept.append(leaf)
    return kept


def _folder(request: Request, leaf: WantedLeaf) -> str:
    """The folder of a leaf's files; "" where it has none."""
    folder = _stem(str(request.pki_dir), leaf)
    return folder if leaf.files and (request.folders or os.path.isdir(folder)) else ""


def _folder_files(request: Request, leaf: WantedLeaf, ca: bytes, certificate: bytes, key: bytes) -> list[File]:
    """Those of a leaf's folder that are not as they should be."""
    folder = _folder(request, leaf)
    found = []
    for name, text in leaf.files if folder else ():
        data = text.encode()
        for placeholder, part in ((b"{ca}", ca), (b"{certificate}", certificate), (b"{private_key}", key)):
            data = data.replace(placeholder, part)
        mode = KEY_MODE if "{private_key}" in text else CERTIFICATE_MODE
        path = os.path.join(folder, name)
        if read_file(path) != data or wrong_mode(Path(path), mode):
            found.append(File(path, data, mode))
    return found


def _to_drop(request: Request) -> list[tuple[str, str]]:
    found = []
    for label in request.drop:
        stem = str(request.pki_dir / label)
        data = read_file(f"{stem}.crt")
        try:
            serial = serial_of(x509.load_pem_x509_certificate(data)) if data else ""
        except ValueError:
            serial = ""
        if data is not None or os.path.lexists(f"{stem}.key") or os.path.lexists(stem):
            found.append((stem, serial))
    return found


def _drop(stem: str, serial: str) -> None:
    """The certificate is kept, because members accept it until it expires. It goes last: a run that is killed before that is run again."""
    folder, file = os.path.split(stem)
    data = read_file(f"{stem}.crt")
    if data and serial:
        write_files([File(os.path.join(folder, DROPPED, f"{file}.{serial}.crt"), data, CERTIFICATE_MODE)])
    try:
        if os.path.isdir(stem) and not os.path.islink(stem):
            shutil.rmtree(stem)
        for path in (stem, f"{stem}.key", f"{stem}.crt"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise PkiError(
            f"pki folder: {error.filename or stem} cannot be deleted: {error.strerror}. Run again when this is repaired"
        ) from error


def _trusted_texts(request: Request) -> dict[str, bytes]:
    """The certificates of the CAs that members trust, by fingerprint, the issuer's first; none where there is only one, in the file that it came in."""
    if not request.trusted_ca_fingerprints:
        return {}
    here = authorities(request)
    issuer = normal_fingerprint(request.expected_ca_fingerprint)
    order = sorted(request.trusted_ca_fingerprints, key=lambda fingerprint: fingerprint != issuer)
    lacking = [fingerprint for fingerprint in order if fingerprint not in here]
    if lacking:
        raise PkiError(
            f"Members trust the CA with the SHA-256 fingerprint {lacking[0]}, and its certificate is not in {request.pki_dir}: restore that folder from a "
            "backup, or from the controller that exchanges the CA"
        )
    return {fingerprint: here[fingerprint].certificate.public_bytes(serialization.Encoding.PEM) for fingerprint in order}


def _trusted_files(request: Request) -> list[File]:
    """The certificates of CAs that are to be written: `ca.crt` with all that members trust, the issuer's first, and each in a file of its own.

    From that one it is found when it is trusted no more, and before that too, whoever's file it came from.
    """
    texts = _trusted_texts(request)
    if not texts:
        return []
    files = {str(own_file(request, fingerprint, "crt")): text for fingerprint, text in texts.items()}
    files[str(request.pki_dir / "ca.crt")] = b"".join(texts.values())
    return [File(path, text, CERTIFICATE_MODE) for path, text in files.items() if read_file(path) != text]


def _to_retire(request: Request, vault: Vault) -> list[tuple[Path, Path]]:
    here = authorities(request, vault)
    found = []
    for fingerprint in request.retired_ca_fingerprints:
        known = here.get(fingerprint)
        # One of the user's own is the user's to put aside.
        if known and known.key_path.parent == request.pki_dir and is_key_of(known.certificate, known.key_path, vault):
            found.append((known.key_path, own_file(request, fingerprint, "retired.key")))
    return found


def _apply(request: Request, plan: _Plan, vault: Vault) -> list[x509.Certificate | None]:
    """Write what the plan says; returns the new certificate of each wish, None where the old one stays."""
    ca_files: list[File] = []
    for ca in plan.cas.values():
        if ca.created:
            ca.certificate, key = issue_ca(
                ca.common_name, request.organization, request.ca_key_type, ca.facts.not_before, ca.facts.not_after
            )
            ca.key, ca.key_pem = key, pem_of_key(key)
            if ca.name == "new":
                ca.certificate_path, ca.key_path = (own_file(request, sha256_of(ca.certificate), ending) for ending in ("crt", "key"))
            ca.facts = ca_facts(ca.certificate, str(ca.certificate_path))
        if ca.created or ca.encrypt_key:
            stored = vault.encrypt(ca.key_pem, str(ca.key_path)) if ca.encrypted else ca.key_pem
            # There is no other copy.
            if ca.encrypted and vault.decrypt(stored, str(ca.key_path)) != ca.key_pem:
                raise PkiError(f"The CA's private key {ca.key_path} could not be read again when it was encrypted: nothing was written")
            ca_files.append(File(str(ca.key_path), stored, KEY_MODE))
        if ca.created and ca.certificate is not None:
            ca_files.append(File(str(ca.certificate_path), ca.certificate.public_bytes(serialization.Encoding.PEM), CERTIFICATE_MODE))
    # The CA is on disk before anything that only it can vouch for.
    write_files(ca_files + plan.trusted)

    issuers = {ca.name: leaf_issuer(ca.certificate, ca.key) for ca in plan.cas.values() if ca.certificate and ca.key}
    issued: list[x509.Certificate | None] = []
    files = list(plan.handed)
    pki_dir = str(request.pki_dir)
    first = plan.cas["ca"].certificate
    bundle = plan.bundle or (first.public_bytes(serialization.Encoding.PEM) if first else b"")
    for leaf, reason, (not_before, not_after) in zip(plan.wanted, plan.reasons, plan.validity, strict=True):
        if not reason:
            issued.append(None)
            continue
        certificate, key_pem = issuers[leaf.ca_name](leaf, not_before, not_after)
        stem = _stem(pki_dir, leaf)
        certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        files.append(File(f"{stem}.key", key_pem, KEY_MODE))
        files.append(File(f"{stem}.crt", certificate_pem, CERTIFICATE_MODE))
        files += _folder_files(request, leaf, bundle, certificate_pem, key_pem)
        issued.append(certificate)
    for name in [name for name, public in plan.nkeys.items() if not public]:
        plan.made_nkeys[name], seed = nkeys.new()
        files.append(File(str(nkeys.path_of(request.pki_dir, name)), seed, KEY_MODE))
    write_files(files)
    for path, _mode, wanted in plan.modes:
        try:
            path.chmod(wanted)
        except OSError as error:
            raise PkiError(f"pki folder: the mode of {path} cannot be corrected: {error.strerror}") from error
    for path, aside in plan.retired:
        try:
            path.rename(aside)
        except OSError as error:
            raise PkiError(f"pki folder: {path} cannot be put aside as {aside.name}: {error.strerror}") from error
    for stem, serial in plan.dropped:
        _drop(stem, serial)
    return issued


def _describe_leaf(leaf: WantedLeaf, of: WantedLeaf | ExistingLeaf, not_after: datetime, note: str) -> str:
    return describe(leaf.label, common_name=of.common_name, organization=of.organization, sans=of.sans, not_after=not_after, note=note)


def _diff(request: Request, plan: _Plan) -> dict[str, str]:
    before, after = [], []
    for ca in plan.cas.values():
        if ca.created:
            after.append(
                describe(
                    f"{ca.name} (CA)",
                    common_name=ca.common_name,
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
    after += [f"{nkeys.path_of(request.pki_dir, name).name}: missing\n" for name, public in plan.nkeys.items() if not public]
    for file in plan.trusted:
        after.append(f"{os.path.basename(file.path)}: certificates of {file.data.count(b'BEGIN CERTIFICATE')} trusted CAs\n")
    for path, aside in plan.retired:
        before.append(f"{path.name}: key of a CA that is trusted no more\n")
        after.append(f"{aside.name}: the same key, put aside\n")
    after += [f"{os.path.relpath(file.path, request.pki_dir)}: written\n" for file in plan.handed]
    before += [
        f"{os.path.relpath(stem, request.pki_dir)}: certificate {serial or '(unreadable)'}, key and folder\n"
        for stem, serial in plan.dropped
    ]
    where = str(request.pki_dir)
    return {"before_header": where, "after_header": where, "before": "".join(before), "after": "".join(after)}


def _ca_result(request: Request, ca: Ca) -> dict[str, Any]:
    return {
        "fingerprint": ca.facts.fingerprint,
        "not_before": iso(ca.facts.not_before),
        "not_after": iso(ca.facts.not_after),
        "common_name": ca.common_name if ca.created else ca.facts.common_name,
        "created": ca.created,
        "certificate": str(ca.certificate_path),
        "trusted": str(request.pki_dir / "ca.crt" if request.trusted_ca_fingerprints else ca.certificate_path),
    }


def _result(request: Request, plan: _Plan, issued: Sequence[x509.Certificate | None]) -> dict[str, Any]:
    certificates = []
    pki_dir = str(request.pki_dir)
    for leaf, found, reason, (begin, end), new in zip(plan.wanted, plan.existing, plan.reasons, plan.validity, issued, strict=True):
        # In check mode a certificate that would be issued has no serial and no fingerprint yet.
        serial, fingerprint = ("", "") if reason else (found.serial, found.fingerprint)
        if new is not None:
            serial, fingerprint = serial_of(new), sha256_of(new)
        stem = _stem(pki_dir, leaf)
        certificates.append(
            {
                "name": leaf.name,
                "file": leaf.file,
                "certificate": f"{stem}.crt",
                "private_key": f"{stem}.key",
                "folder": _folder(request, leaf),
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
    for option in ("trusted_ca_fingerprints", "retired_ca_fingerprints"):
        for fingerprint in getattr(request, option):
            normal_fingerprint(fingerprint, option)

    with folder_lock(request.pki_dir, create=False) as locked:
        try:
            plan = _look(request, vault, now, wanted)
        except CertificateError:
            # Another run may have begun to write since: what it has half written is no error of the user's.
            if locked or not os.path.lexists(request.pki_dir / LOCK_FILE):
                raise
            with folder_lock(request.pki_dir, create=False):
                plan = _look(request, vault, now, wanted)
        if check_mode or not plan.changed:
            return _result(request, plan, [None] * len(plan.wanted))
        if locked:
            return _result(request, plan, _apply(request, plan, vault))
    with folder_lock(request.pki_dir, create=True):
        plan = _look(request, vault, now, wanted)
        return _result(request, plan, _apply(request, plan, vault))
