# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pki folder on a real disk, with OpenSSL's command line as the outside judge of what was issued."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import re
import resource
import shutil
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, x25519
from cryptography.x509.oid import NameOID

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import tls
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import files as pki_files
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import folder as pki_folder
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import issue, library
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.authority import ca_state, look_at_ca
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import VAULT_HEADER, PkiError, Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.stranger import stranger
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import CertificateError, Lifetime

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")


class OpenVault:
    """A vault that turns bytes around: what is in a file can be told from what is in memory."""

    def __init__(self, password: str = "right") -> None:
        self.password = password

    def check_encrypt(self, where: str) -> None:
        if not self.password:
            raise PkiError(f"{where}: no vault password")

    def encrypt(self, plain: bytes, where: str) -> bytes:
        self.check_encrypt(where)
        return VAULT_HEADER + self.password.encode() + b"\n" + plain[::-1]

    def decrypt(self, data: bytes, where: str) -> bytes:
        head, _newline, body = data.partition(b"\n")
        if head != VAULT_HEADER + self.password.encode():
            raise PkiError(f"{where}: wrong vault password")
        return body[::-1]


def entry(name: str = "east-0", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "file": "node",
        "common_name": "node",
        "ip_addresses": ["10.0.0.1", "fd00::1"],
        "dns_names": ["localhost"],
        **fields,
    }


def request_for(folder: Path, *entries: dict[str, Any], **fields: Any) -> Request:
    return Request(folder, list(entries) or [entry()], **{"lifetime": Lifetime(365, 30), **fields})


def ensure(request: Request, *, now: datetime = NOW, vault: OpenVault | None = None, check: bool = False) -> dict[str, Any]:
    result = pki_folder.ensure_certificates(request, vault or OpenVault(), now, check_mode=check)
    assert "PRIVATE KEY" not in json.dumps(result)
    return result


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file with content, mode and inode: equal only if nothing was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_ca(folder: Path, key: Any = None, **changes: Any) -> tuple[Path, Path]:
    """A CA of the user's own, by default a good one."""
    folder.mkdir(parents=True, exist_ok=True)
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(changes.get("begin", NOW - DAY))
        .not_valid_after(changes.get("end", NOW + 1000 * DAY))
    )
    if changes.get("constraints", True):
        builder = builder.add_extension(x509.BasicConstraints(ca=changes.get("is_ca", True), path_length=None), critical=True)
    if "sign" in changes:
        builder = builder.add_extension(issue._key_usage(sign=True, ca=changes["sign"], encipher=False), critical=True)
    certificate = builder.sign(key, issue._signature_hash(key))
    paths = folder / "company.pem", folder / "company-key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encryption = changes.get("encryption", serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return paths


def own(folder: Path, paths: tuple[Path, Path], *entries: dict[str, Any], **fields: Any) -> Request:
    return request_for(folder, *entries, ca_certificate=paths[0], ca_private_key=paths[1], **fields)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return tmp_path / "some" / "pki"


# ---- what is made ----


def test_first_run_second_run_and_modes(pki: Path) -> None:
    request = request_for(pki, entry(), entry("client", file="client.root", common_name="root", usages=["client"], ip_addresses=[]))
    first = ensure(request)
    assert first["changed"]
    assert first["ca"]["created"]
    assert [one["reason"] for one in first["certificates"]] == ["missing", "missing"]
    assert stat.S_IMODE(pki.stat().st_mode) == 0o700
    modes = {str(path.relative_to(pki)): stat.S_IMODE(path.stat().st_mode) for path in pki.rglob("*")}
    assert modes == {
        ".gitignore": 0o644,
        ".lock": 0o600,
        "ca.crt": 0o644,
        "ca.key": 0o600,
        "client": 0o700,
        "client/client.root.crt": 0o644,
        "client/client.root.key": 0o600,
        "east-0": 0o700,
        "east-0/node.crt": 0o644,
        "east-0/node.key": 0o600,
    }
    before = content(pki)
    second = ensure(request, now=NOW + DAY)
    assert not second["changed"]
    assert "diff" not in second
    assert content(pki) == before
    kept = ("serial", "fingerprint", "not_before", "not_after", "sans", "certificate", "private_key")
    for one, two in zip(first["certificates"], second["certificates"], strict=True):
        assert {key: one[key] for key in kept} == {key: two[key] for key in kept}
        assert (two["reissued"], two["reason"]) == (False, "")
    assert second["ca"] == {**first["ca"], "created": False}


def test_check_mode_writes_nothing_and_plans_the_same(pki: Path) -> None:
    planned = ensure(request_for(pki), check=True)
    assert not pki.exists()
    real = ensure(request_for(pki))
    assert planned["changed"]
    assert planned["diff"] == real["diff"]
    assert planned["ca"] == {**real["ca"], "fingerprint": ""}
    (one,), (two,) = planned["certificates"], real["certificates"]
    assert one == {**two, "serial": "", "fingerprint": ""}

    wider = request_for(pki, entry(dns_names=["localhost", "vm-1"]), entry("west-0"))
    before = content(pki)
    planned = ensure(wider, check=True)
    assert content(pki) == before
    real = ensure(wider)
    assert planned["diff"] == real["diff"]
    assert [one["reason"] for one in planned["certificates"]] == ["SANs differ (missing DNS:vm-1)", "missing"]


def test_diff_tells_what_changes_and_nothing_else(pki: Path) -> None:
    ensure(request_for(pki, entry(), entry("east-1")))
    diff = ensure(request_for(pki, entry(ip_addresses=["10.0.0.9"]), entry("east-1")))["diff"]
    assert "east-1" not in diff["before"] + diff["after"]
    assert "SANs: IP:10.0.0.1, IP:fd00::1, DNS:localhost" in diff["before"]
    assert "SANs: IP:10.0.0.9, DNS:localhost" in diff["after"]
    assert "reason: SANs differ (missing IP:10.0.0.9; extra IP:10.0.0.1, IP:fd00::1)" in diff["after"]


@needs_openssl
@pytest.mark.parametrize("key_type", ["EC_P256", "RSA_2048"])
def test_openssl_accepts_chain_addresses_and_profile(pki: Path, key_type: str) -> None:
    result = ensure(request_for(pki, key_type=key_type, ca_key_type=key_type, organization="Cockroach"))
    ca, leaf = pki / "ca.crt", pki / "east-0" / "node.crt"
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-verify_ip", "10.0.0.1", "-CAfile", ca, leaf)
    assert "does match" in openssl("x509", "-in", leaf, "-noout", "-checkip", "fd00::1")
    assert "does NOT match" in openssl("x509", "-in", leaf, "-noout", "-checkip", "10.0.0.12")
    assert "does match" in openssl("x509", "-in", leaf, "-noout", "-checkhost", "localhost")
    text = openssl("x509", "-in", leaf, "-noout", "-text")
    assert "Version: 3" in text
    assert re.search(r"Subject: O ?= ?Cockroach, CN ?= ?node", text)
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", text)
    usage = "Digital Signature, Key Encipherment" if key_type == "RSA_2048" else "Digital Signature\n"
    assert re.search(r"Key Usage: critical\s+" + usage, text)
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    assert "Subject Key Identifier" in text
    assert "Authority Key Identifier" in text
    text = openssl("x509", "-in", ca, "-noout", "-text")
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE, pathlen:0", text)
    assert re.search(r"Key Usage: critical\s+Certificate Sign, CRL Sign\n", text)
    openssl("pkey", "-in", pki / "east-0" / "node.key", "-check", "-noout")
    fingerprint = openssl("x509", "-in", ca, "-noout", "-fingerprint", "-sha256").strip().partition("=")[2]
    assert result["ca"]["fingerprint"] == fingerprint.replace(":", "").lower()
    serial = openssl("x509", "-in", leaf, "-noout", "-serial").strip().partition("=")[2]
    assert result["certificates"][0]["serial"] == serial.lower()
    assert len(serial) > 16


@needs_openssl
def test_openssl_refuses_the_leaf_of_another_ca(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ensure(request_for(tmp_path / name))
    leaf = tmp_path / "one" / "east-0" / "node.crt"
    accepted = {}
    for name in ("one", "two"):
        done = subprocess.run(["openssl", "verify", "-CAfile", tmp_path / name / "ca.crt", leaf], capture_output=True, check=False)
        accepted[name] = done.returncode == 0
    assert accepted == {"one": True, "two": False}


def test_not_before_is_a_day_ago(pki: Path) -> None:
    result = ensure(request_for(pki), now=datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC))
    assert result["certificates"][0]["not_before"] == "2026-05-03T03:02:01Z"
    assert result["certificates"][0]["not_after"] == "2027-05-04T03:02:01Z"
    assert result["ca"]["not_before"] == "2026-05-03T03:02:01Z"


def test_what_is_asked_for_is_issued_anew_and_nothing_else(pki: Path) -> None:
    entries = [entry(), entry("west-0")]
    before = ensure(request_for(pki, *entries))["certificates"]
    kept = content(pki / "west-0")
    planned = ensure(request_for(pki, *entries, renew=["east-0"]), check=True)
    assert [(item["reissued"], item["reason"]) for item in planned["certificates"]] == [(True, "asked for"), (False, "")]
    after = ensure(request_for(pki, *entries, renew=["east-0/node"]))["certificates"]
    assert (after[0]["serial"] == before[0]["serial"], after[1]["serial"] == before[1]["serial"]) == (False, True)
    assert content(pki / "west-0") == kept
    everything = content(pki)
    with pytest.raises(CertificateError, match=r"renew \(hostnet_renew_certificates\): 'east-9' has no certificate here"):
        ensure(request_for(pki, *entries, renew=["east-9"]))
    assert content(pki) == everything


def test_further_cas(pki: Path) -> None:
    request = request_for(pki, entry(), entry("client", usages=["client"], ca_name="ca-client"))
    result = ensure(request)
    assert sorted(result["cas"]) == ["ca", "ca-client"]
    assert result["cas"]["ca"] == result["ca"]
    assert result["cas"]["ca-client"]["common_name"] == "hostnet CA ca-client"
    issuer = x509.load_pem_x509_certificate((pki / "client" / "node.crt").read_bytes())
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate((pki / "ca-client.crt").read_bytes()))
    assert not ensure(request)["changed"]
    moved = ensure(request_for(pki, entry(), entry("client", usages=["client"])))
    assert moved["certificates"][1]["reason"] == "issued by another CA"


# ---- reasons, from real files ----


def damage_key(pki: Path) -> None:
    shutil.copy(pki / "ca.key", pki / "east-0" / "node.key")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda pki: (pki / "east-0" / "node.crt").unlink(), "missing node.crt"),
        (lambda pki: (pki / "east-0" / "node.key").unlink(), "missing node.key"),
        (lambda pki: shutil.rmtree(pki / "east-0"), "missing"),
        (lambda pki: (pki / "east-0" / "node.crt").write_text("x"), "unreadable: node.crt is not a PEM certificate"),
        (lambda pki: (pki / "east-0" / "node.key").write_text("x"), "unreadable: node.key is not an unencrypted PEM private key"),
        (damage_key, "the private key does not match the certificate"),
    ],
)
def test_damage_is_repaired(pki: Path, damage: Callable[[Path], object], reason: str) -> None:
    request = request_for(pki, entry(), entry("east-1"))
    first = ensure(request)
    damage(pki)
    result = ensure(request)
    assert [one["reason"] for one in result["certificates"]] == [reason, ""]
    assert result["certificates"][0]["serial"] != first["certificates"][0]["serial"]
    assert not ensure(request)["changed"]


def test_a_reissued_certificate_has_a_fresh_key(pki: Path) -> None:
    ensure(request_for(pki))
    key = (pki / "east-0" / "node.key").read_bytes()
    result = ensure(request_for(pki, entry(common_name="other")))
    assert result["certificates"][0]["reason"] == "common name is 'node', wanted is 'other'"
    assert (pki / "east-0" / "node.key").read_bytes() != key


def test_key_type_organization_and_usages_are_reasons(pki: Path) -> None:
    ensure(request_for(pki))
    result = ensure(request_for(pki, entry(usages=["server"]), organization="O", key_type="RSA_2048"))
    assert result["certificates"][0]["reason"] == (
        "organization is '', wanted is 'O'; usages is 'client,server', wanted is 'server'; key type is 'EC_P256', wanted is 'RSA_2048'"
    )
    assert not ensure(request_for(pki, entry(usages=["server"]), organization="O", key_type="RSA_2048"))["changed"]


def test_renewal(pki: Path) -> None:
    ensure(request_for(pki))
    assert not ensure(request_for(pki), now=NOW + 334 * DAY)["changed"]
    result = ensure(request_for(pki), now=NOW + 336 * DAY)
    assert result["certificates"][0]["reason"].startswith("expires in 28 days")


def test_a_certificate_that_this_module_did_not_make(pki: Path) -> None:
    """No extensions but a SAN of a kind that is never wanted, and a key type that is never issued."""
    ensure(request_for(pki))
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    ca_key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(255)
        .not_valid_before(NOW)
        .not_valid_after(NOW + 100 * DAY)
    )
    with_san = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name("a@b")]), critical=False)
    (pki / "east-0" / "node.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    for made, extra in ((with_san, "; extra RFC822Name:a@b"), (builder, "")):
        certificate = made.sign(ca_key, issue._signature_hash(ca_key))
        (pki / "east-0" / "node.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (found,) = ensure(request_for(pki), check=True, now=NOW + timedelta(seconds=1))["certificates"]
        assert found["reason"] == (
            f"SANs differ (missing IP:10.0.0.1, IP:fd00::1, DNS:localhost{extra}); usages is '', wanted is 'client,server'; "
            "key type is 'Ed25519', wanted is 'EC_P256'; issued by another CA"
        )


def test_wide_modes_of_keys_are_narrowed_and_shown(pki: Path) -> None:
    ensure(request_for(pki))
    for path, mode in ((pki / "ca.key", 0o640), (pki / "east-0" / "node.key", 0o644)):
        path.chmod(mode)
    assert ensure(request_for(pki), check=True)["changed"]
    result = ensure(request_for(pki))
    assert result["diff"]["before"] == "east-0/node.key: mode 0644\nca.key: mode 0640\n"
    assert result["diff"]["after"] == "east-0/node.key: mode 0600\nca.key: mode 0600\n"
    assert not result["certificates"][0]["reissued"]
    assert not ensure(request_for(pki))["changed"]
    (pki / "ca.key").chmod(0o400)
    assert not ensure(request_for(pki))["changed"]


def test_a_folder_that_others_may_write_into_is_narrowed_and_shown(pki: Path) -> None:
    """Whoever may write into a folder can replace the files in it, whatever their modes are."""
    pki.mkdir(parents=True)
    pki.chmod(0o777)
    result = ensure(request_for(pki))
    assert ".: mode 0777\n" in result["diff"]["before"]
    (pki / "east-0").chmod(0o770)
    assert ensure(request_for(pki), check=True)["diff"]["after"] == "east-0: mode 0750\n"
    ensure(request_for(pki))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (pki, pki / "east-0")] == [0o755, 0o750]
    assert not ensure(request_for(pki))["changed"]


@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_a_folder_that_is_somebody_elses_too_is_refused(pki: Path, mode: int) -> None:
    pki.mkdir(parents=True)
    (pki / "theirs").touch()
    pki.chmod(mode)
    for check in (True, False):
        with pytest.raises(PkiError, match=rf"other users may write into .* \(mode {mode:04o}, owner \d+\).*: run `chmod go-w "):
            ensure(request_for(pki), check=check)
    assert [path.name for path in pki.iterdir()] == ["theirs"]
    assert stat.S_IMODE(pki.stat().st_mode) == mode


def test_a_mode_that_cannot_be_corrected(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(request_for(pki))
    (pki / "ca.key").chmod(0o640)

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(PkiError, match=r"the mode of .*ca.key cannot be corrected: Operation not permitted"):
        ensure(request_for(pki))


# ---- the user's own CA ----


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_own_ca_of_any_key_type(pki: Path, tmp_path: Path, make_key: Callable[[], Any]) -> None:
    paths = write_ca(tmp_path / "company", make_key(), sign=True)
    result = ensure(own(pki, paths))
    assert result["ca"]["certificate"] == str(paths[0])
    assert result["ca"]["common_name"] == "Company CA"
    assert not result["ca"]["created"]
    assert not (pki / "ca.crt").exists()
    if shutil.which("openssl"):
        openssl("verify", "-CAfile", paths[0], pki / "east-0" / "node.crt")
    assert not ensure(own(pki, paths))["changed"]


def test_own_ca_may_be_a_bundle_of_which_the_first_issues(pki: Path, tmp_path: Path) -> None:
    paths, others = write_ca(tmp_path / "new"), write_ca(tmp_path / "old")
    paths[0].write_bytes(paths[0].read_bytes() + others[0].read_bytes())
    assert ensure(own(pki, paths))["changed"]
    assert not ensure(own(pki, paths))["changed"]


def test_own_key_is_needed_only_to_issue(pki: Path, tmp_path: Path) -> None:
    paths = write_ca(tmp_path / "company")
    ensure(own(pki, paths))
    paths[1].unlink()
    assert not ensure(own(pki, paths))["changed"]
    with pytest.raises(PkiError, match=r"private key .* does not exist, and west-0/node must be issued \(missing\)"):
        ensure(own(pki, paths, entry(), entry("west-0")))


BAD_CAS: list[tuple[dict[str, Any], str]] = [
    ({"is_ca": False}, "is not a CA certificate"),
    ({"constraints": False}, "is not a CA certificate"),
    ({"sign": False}, "keyUsage lacks keyCertSign"),
    ({"begin": NOW - 9 * DAY, "end": NOW - DAY}, "expired at"),
    ({"begin": NOW + DAY}, "is not valid before"),
    ({"end": NOW + 100 * DAY}, "expires at .* before a certificate issued now for 365 days would .* at most (100|99), or renew the CA"),
    ({"encryption": serialization.BestAvailableEncryption(b"x")}, "protected by a PEM passphrase"),
]


@pytest.mark.parametrize(("changes", "text"), BAD_CAS)
@pytest.mark.parametrize("check", [True, False])
def test_bad_own_ca(pki: Path, tmp_path: Path, changes: dict[str, Any], text: str, check: bool) -> None:
    paths = write_ca(tmp_path / "company", **changes)
    with pytest.raises(CertificateError, match=text):
        ensure(own(pki, paths), check=check)
    assert not pki.exists()


def test_key_of_another_ca(pki: Path, tmp_path: Path) -> None:
    one, two = write_ca(tmp_path / "one"), write_ca(tmp_path / "two")
    with pytest.raises(PkiError, match=r"does not match the CA certificate"):
        ensure(own(pki, (one[0], two[1])))
    assert not pki.exists()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"nonsense", "is neither a PEM private key nor one that ansible-vault encrypted"),
        (
            x25519.X25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "of a type that cannot sign",
        ),
        (
            dsa.generate_private_key(1024).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "of a type that cannot sign",
        ),
    ],
)
def test_own_key_is_nonsense(pki: Path, tmp_path: Path, data: bytes, text: str) -> None:
    paths = write_ca(tmp_path / "company")
    paths[1].write_bytes(data)
    with pytest.raises(PkiError, match=text):
        ensure(own(pki, paths))


def test_own_certificate_is_nonsense_or_absent(pki: Path, tmp_path: Path) -> None:
    paths = write_ca(tmp_path / "company")
    paths[0].write_text("nonsense")
    with pytest.raises(PkiError, match=r"is not a PEM certificate"):
        ensure(own(pki, paths))
    paths[0].unlink()
    with pytest.raises(PkiError, match=r"exists, but its certificate .* does not"):
        ensure(own(pki, paths))
    paths[1].unlink()
    with pytest.raises(PkiError, match=r"does not exist: correct ca.certificate"):
        ensure(own(pki, paths))
    assert not pki.exists()


def test_an_old_own_ca_gets_a_warning_before_it_gets_in_the_way(pki: Path, tmp_path: Path) -> None:
    paths = write_ca(tmp_path / "company", end=NOW + 400 * DAY)
    assert "warnings" not in ensure(own(pki, paths))
    (warning,) = ensure(own(pki, paths), now=NOW + 40 * DAY)["warnings"]
    assert "can issue no certificate for 365 days any more" in warning


# ---- the recorded CA ----


def test_recorded_ca_is_insisted_on(pki: Path) -> None:
    for fields in ({"ca_create": False}, {"expected_ca_fingerprint": "AB" * 32}):
        with pytest.raises(PkiError, match=r"restore ca.crt and ca.key from a backup"):
            ensure(request_for(pki, **fields))
        assert not pki.exists()
    fingerprint = ensure(request_for(pki))["ca"]["fingerprint"]
    before = content(pki)
    colons = ":".join(re.findall("..", fingerprint.upper()))
    assert not ensure(request_for(pki, ca_create=False, expected_ca_fingerprint=colons))["changed"]
    with pytest.raises(PkiError, match=f"fingerprint {fingerprint}, but the recorded CA has {'ab' * 32}"):
        ensure(request_for(pki, entry("west-0"), expected_ca_fingerprint="ab" * 32))
    with pytest.raises(CertificateError, match=r"64 hexadecimal digits"):
        ensure(request_for(pki, expected_ca_fingerprint="abc"))
    assert content(pki) == before


# ---- vault ----


def test_vaulted_key(pki: Path) -> None:
    request = request_for(pki, ca_vault=True)
    with pytest.raises(PkiError, match=r"no vault password"):
        ensure(request, vault=OpenVault(""), check=True)
    assert not pki.exists()
    ensure(request)
    assert (pki / "ca.key").read_bytes().startswith(VAULT_HEADER)
    assert stat.S_IMODE((pki / "ca.key").stat().st_mode) == 0o600
    assert not ensure(request)["changed"]
    before = content(pki)
    for fields in ({}, {"ca_vault": True}):
        with pytest.raises(PkiError, match=r"wrong vault password"):
            ensure(request_for(pki, entry("west-0"), **fields), vault=OpenVault("wrong"))
    assert content(pki) == before
    # What is encrypted stays encrypted, also where the option is off.
    assert ensure(request_for(pki, entry(), entry("west-0")))["changed"]
    assert (pki / "ca.key").read_bytes() == before["ca.key"][0]


def test_plain_key_is_encrypted_when_asked_for(pki: Path) -> None:
    ensure(request_for(pki))
    request = request_for(pki, ca_vault=True)
    with pytest.raises(PkiError, match=r"no vault password"):
        ensure(request, vault=OpenVault(""))
    result = ensure(request)
    assert result["changed"]
    assert result["diff"]["after"] == "ca.key: encrypted with ansible-vault\n"
    assert not result["ca"]["created"]
    assert (pki / "ca.key").read_bytes().startswith(VAULT_HEADER)
    assert not ensure(request)["changed"]


# ---- the folder ----


def test_bad_input_is_seen_before_anything_is_written(pki: Path) -> None:
    with pytest.raises(CertificateError) as raised:
        ensure(request_for(pki, entry(ip_addresses=["x"]), entry(), lifetime=Lifetime(10, 20)))
    assert "renew_days (hostnet_certificate.renew_days): 20" in str(raised.value)
    assert "certificates[0] (east-0/node): ip_addresses: 'x'" in str(raised.value)
    assert "certificates[1] (east-0/node): name and file" in str(raised.value)
    assert not pki.exists()


def test_version_control_keeps_out_of_a_new_folder(pki: Path) -> None:
    ensure(request_for(pki, entry()))
    assert (pki / ".gitignore").read_text() == "*\n"


def test_a_folder_of_the_users_own_gets_no_gitignore(pki: Path) -> None:
    pki.mkdir(parents=True)
    (pki / "README").write_text("kept in git, with an encrypted key")
    ensure(request_for(pki, entry()))
    assert not (pki / ".gitignore").exists()


def test_pki_dir_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for check in (True, False):
        with pytest.raises(PkiError, match=r"file is not a folder"):
            ensure(request_for(tmp_path / "file" / "pki"), check=check)


def test_member_folder_is_a_file(pki: Path) -> None:
    ensure(request_for(pki))
    (pki / "west-0").touch()
    with pytest.raises(PkiError, match=r"west-0 is not a folder"):
        ensure(request_for(pki, entry("west-0")))


def test_unwritable_folder(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, whom modes do not stop.
    def refuse(**_options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for check in (True, False):
        with pytest.raises(PkiError, match=r"is not writable for this user"):
            ensure(request_for(pki), check=check)
    assert not pki.parent.exists()


def test_unwritable_folder_is_no_matter_when_nothing_is_to_be_written(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(request_for(pki))

    def refuse(**_options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert not ensure(request_for(pki))["changed"]


def _as_somebody_else(folder: Path, results: Any) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        results.put(str(pki_folder.ensure_certificates(request_for(folder), OpenVault(), NOW)["changed"]))
    except Exception as error:
        results.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o000, "PkiError: .*ca.crt cannot be read: Permission denied"),
        (0o555, "PkiError: pki folder: .*shut is not writable for this user"),
        # Else the somebody else is its owner.
        pytest.param(
            0o777,
            "PkiError: pki folder: other users may write into .*shut ",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs two users"),
        ),
    ],
)
def test_folder_of_another_user(mode: int, text: str) -> None:
    """With a user whom modes do stop: pytest's own folders would stop that user too early."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shut"
        folder.mkdir()
        Path(temporary).chmod(0o755)
        folder.chmod(mode)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        run = context.Process(target=_as_somebody_else, args=(folder, results))
        run.start()
        assert re.fullmatch(text + ".*", results.get(timeout=300))
        run.join()
        folder.chmod(0o755)
        assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_read_is_not_overwritten(pki: Path) -> None:
    ensure(request_for(pki))
    (pki / "east-0" / "node.crt").unlink()
    (pki / "east-0" / "node.crt").mkdir()
    with pytest.raises(PkiError, match=r"node.crt cannot be read: Is a directory"):
        ensure(request_for(pki))


def test_lock_file_cannot_be_made(pki: Path) -> None:
    (pki / ".lock").mkdir(parents=True)
    with pytest.raises(PkiError, match=r"lock cannot be written"):
        ensure(request_for(pki))


def test_full_disk_leaves_every_old_file_in_place(pki: Path) -> None:
    ensure(request_for(pki))
    before = content(pki)
    # A file size limit makes a real write fail; the signal that comes with it is ignored by Python.
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        with pytest.raises(PkiError, match=r"cannot be written: File too large \(0 of 4 files are in place"):
            ensure(request_for(pki, entry(common_name="x"), entry("west-0")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert content(pki) == before
    assert ensure(request_for(pki, entry(common_name="x"), entry("west-0")))["changed"]


def test_what_a_killed_run_left_is_overwritten_and_no_link_is_followed(pki: Path, tmp_path: Path) -> None:
    ensure(request_for(pki))
    (pki / "west-0").mkdir()
    (pki / "west-0" / ".node.key.new").write_text("half a key")
    (pki / "west-0" / ".node.key.new").chmod(0o644)
    ensure(request_for(pki, entry("west-0")))
    assert sorted(path.name for path in (pki / "west-0").iterdir()) == ["node.crt", "node.key"]
    assert stat.S_IMODE((pki / "west-0" / "node.key").stat().st_mode) == 0o600
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (pki / "east-0" / ".node.key.new").symlink_to(victim)
    ensure(request_for(pki, entry(common_name="x")))
    assert victim.read_text() == "mine"
    assert not (pki / "east-0" / "node.key").is_symlink()
    # What somebody else has put there, and still has open, does not become the key.
    with (pki / "east-0" / ".node.key.new").open("w+") as theirs:
        ensure(request_for(pki, entry(common_name="y")))
        assert os.fstat(theirs.fileno()).st_nlink == 0
        assert theirs.read() == ""


# ---- two runs at once ----


def _one_of_many(folder: Path, start: Any, results: Any) -> None:
    start.wait()
    try:
        outcome = pki_folder.ensure_certificates(request_for(folder), OpenVault(), datetime.now(UTC))
        results.put((outcome["ca"]["fingerprint"], outcome["ca"]["created"]))
    except Exception as error:  # the parent must hear of it
        results.put((repr(error), None))


def test_many_runs_at_once_make_one_ca(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        start, results = context.Barrier(6), context.Queue()
        runs = [context.Process(target=_one_of_many, args=(tmp_path / str(attempt), start, results)) for _run in range(6)]
        for run in runs:
            run.start()
        outcomes = [results.get(timeout=300) for _run in runs]
        for run in runs:
            run.join()
        assert len({fingerprint for fingerprint, _created in outcomes}) == 1, outcomes
        assert sorted(created for _fingerprint, created in outcomes) == [False] * 5 + [True]


def test_a_lock_that_is_never_given_back(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(request_for(pki))
    monkeypatch.setattr(pki_files, "LOCK_SECONDS", 0.2)
    with (pki / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PkiError, match=r"another run has held .*lock for 0\.2 seconds"):
            ensure(request_for(pki, entry("west-0")))
    assert ensure(request_for(pki, entry("west-0")))["changed"]


def test_a_file_system_without_locks(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(PkiError, match=r"cannot be locked: No locks available"):
        ensure(request_for(pki))
    assert not (pki / "ca.crt").exists()


def test_what_another_run_has_half_written_is_looked_at_again(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file appears, and a CA's key without its certificate, while this run looks without a lock."""
    finished = tmp_path / "finished"
    ensure(request_for(finished))
    real, looks = pki_folder._look, []

    def look(*arguments: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:
            shutil.copytree(finished, pki)
            (pki / "ca.crt").unlink()
        else:
            shutil.copy(finished / "ca.crt", pki / "ca.crt")
        return real(*arguments)

    monkeypatch.setattr(pki_folder, "_look", look)
    assert not ensure(request_for(pki))["changed"]
    assert len(looks) == 2


# ---- the rest ----


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library.missing_library() == ""
    monkeypatch.setattr(library, "cryptography_version", "40.0.2")
    assert "cryptography 40.0.2 is too old" in library.missing_library()
    monkeypatch.setattr(library, "CRYPTOGRAPHY_IMPORT_ERROR", "Traceback")
    assert "cryptography is needed" in library.missing_library()


def test_no_key_in_any_repr(pki: Path) -> None:
    """A traceback with local variables must not show a key."""
    ensure(request_for(pki))
    ca = look_at_ca(request_for(pki), "ca", OpenVault(), NOW)
    assert ca.key_pem
    file = pki_files.File(str(pki / "x"), ca.key_pem, 0o600)
    assert "BEGIN" not in repr(ca) + repr(file)


def test_a_thousand_certificates_cost_little_more_than_their_signatures(tmp_path: Path) -> None:
    """In multiples of the bare cryptography, because a busy machine makes seconds of any length."""
    begin = time.process_time()
    for index in range(1000):
        key = ec.generate_private_key(ec.SECP256R1())
        key.sign(index.to_bytes(1000, "big"), ec.ECDSA(hashes.SHA256()))
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    bare = time.process_time() - begin
    entries = [entry(f"east-{index}", ip_addresses=[f"10.0.{index // 250}.{index % 250 + 1}", "127.0.0.1"]) for index in range(1000)]
    request = request_for(tmp_path / "pki", *entries)
    begin = time.process_time()
    assert all(one["reissued"] for one in ensure(request)["certificates"])
    issued = time.process_time() - begin
    begin = time.process_time()
    assert not ensure(request)["changed"]
    looked = time.process_time() - begin
    print(f"1,000 certificates: {issued:.2f} s of CPU to issue, {looked:.2f} s to look at again, bare signatures {bare:.2f} s")
    assert issued < 80 * bare
    assert looked < 40 * bare


def test_request_is_immutable(pki: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        request_for(pki).pki_dir = pki  # type: ignore[misc]


def test_the_key_of_a_nats_user_is_made_once_and_only_its_public_half_is_told(pki: Path) -> None:
    request = dataclasses.replace(request_for(pki), nkeys=["system"])
    would = ensure(request, check=True)
    assert (would["changed"], would["nkeys"]) == (True, {"system": ""})
    assert not (pki / "system.nk").exists()
    first = ensure(request)
    seed = (pki / "system.nk").read_text()
    assert (pki / "system.nk").stat().st_mode & 0o777 == 0o600
    assert first["nkeys"]["system"].startswith("U")
    assert seed.strip() not in str(first)
    assert "system.nk: missing" in first["diff"]["after"]
    again = ensure(request)
    assert (again["changed"], again["nkeys"]) == (False, first["nkeys"])
    assert (pki / "system.nk").read_text() == seed
    (pki / "system.nk").chmod(0o644)
    assert ensure(request)["changed"]
    assert (pki / "system.nk").stat().st_mode & 0o777 == 0o600
    (pki / "system.nk").write_text(seed[:-3])
    with pytest.raises(PkiError, match="restore it, or move it away") as caught:
        ensure(request)
    assert seed[:-3] not in str(caught.value)
    with pytest.raises(CertificateError, match="cannot be a file name"):
        ensure(dataclasses.replace(request, nkeys=["../x"]))


def test_the_key_of_a_nats_user_that_the_servers_know_is_not_replaced(pki: Path) -> None:
    request = dataclasses.replace(request_for(pki), nkeys=["system"])
    public = ensure(request)["nkeys"]["system"]
    known = dataclasses.replace(request, known_nkeys=[public])
    assert not ensure(known)["changed"]
    (pki / "system.nk").unlink()
    for check in (True, False):
        with pytest.raises(PkiError) as caught:
            ensure(known, check=check)
        for part in (f"{pki}/system.nk does not exist on this controller", public, "restore it from a backup", "nk -gen user"):
            assert part in str(caught.value)
    assert not (pki / "system.nk").exists()
    # Servers without such a user, as before the system account was switched on, get one.
    assert ensure(request)["changed"]


# ---- one CA is exchanged for another ----


def by_trust(folder: Path, trust: trust_revisions.Trust, *entries: dict[str, Any], **fields: Any) -> Request:
    """As the role certificates asks by a trust revision."""
    return request_for(
        folder,
        *(entries or (entry(),)),
        *trust_revisions.probes(trust),
        ca_create=False,
        expected_ca_fingerprint=trust["issuer"],
        trusted_ca_fingerprints=trust["trusted"] if trust["revision"] > 1 else [],
        **fields,
    )


def in_file(path: Path) -> list[str]:
    return [certificate.fingerprint(hashes.SHA256()).hex() for certificate in x509.load_pem_x509_certificates(path.read_bytes())]


def new_ca(folder: Path, trust: trust_revisions.Trust, **fields: Any) -> str:
    result = ensure(by_trust(folder, trust, new_ca=True, retired_ca_fingerprints=trust["dropped"], **fields))
    return str(result["cas"]["new"]["fingerprint"])


@needs_openssl
def test_one_ca_is_exchanged_for_another(pki: Path) -> None:
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    new = new_ca(pki, first)
    assert new != old
    key = pki / f"ca-{new[:16]}.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    # A run that was killed before it could record that one takes it again.
    assert new_ca(pki, first) == new
    # Until it is recorded nothing else knows of it.
    assert in_file(pki / "ca.crt") == [old]
    assert not ensure(by_trust(pki, first))["changed"]

    trusted = trust_revisions.following(first, "trust", new)
    result = ensure(by_trust(pki, trusted))
    assert in_file(pki / "ca.crt") == [old, new]
    assert result["ca"]["trusted"] == str(pki / "ca.crt")
    assert [(found["name"], found["reissued"]) for found in result["certificates"]] == [
        ("east-0", False),
        ("trust", False),
        ("trust", True),
    ]
    assert not ensure(by_trust(pki, trusted))["changed"]
    # A member that comes now is from the old one.
    assert ensure(by_trust(pki, trusted, entry("west-0")))["ca"]["fingerprint"] == old
    openssl("verify", "-CAfile", pki / f"ca-{old[:16]}.crt", pki / "west-0" / "node.crt")

    issued = trust_revisions.following(trusted, "issue", "")
    result = ensure(by_trust(pki, issued, entry(), entry("west-0")))
    assert in_file(pki / "ca.crt") == [new, old]
    assert [found["reason"] for found in result["certificates"]] == ["issued by another CA"] * 2 + [""] * 2
    openssl("verify", "-CAfile", pki / f"ca-{new[:16]}.crt", pki / "east-0" / "node.crt")
    subject = [openssl("x509", "-in", pki / f"ca-{fingerprint[:16]}.crt", "-noout", "-subject") for fingerprint in (old, new)]
    assert subject[0] != subject[1]

    dropped = trust_revisions.following(issued, "drop", "")
    result = ensure(by_trust(pki, dropped, entry(), entry("west-0")))
    assert in_file(pki / "ca.crt") == [new]
    assert not any(found["reissued"] for found in result["certificates"])
    assert (pki / "ca.key").exists()
    request = by_trust(pki, dropped, retired_ca_fingerprints=dropped["dropped"])
    assert "ca.key: key of a CA that is trusted no more" in ensure(request, check=True)["diff"]["before"]
    assert ensure(request)["changed"]
    assert not (pki / "ca.key").exists()
    assert (pki / f"ca-{old[:16]}.retired.key").exists()
    assert not ensure(request)["changed"]
    assert not ensure(by_trust(pki, dropped))["changed"]

    # And once more: the one that was dropped is not taken for a new one.
    newest = new_ca(pki, dropped)
    assert newest not in (old, new)
    again = trust_revisions.following(dropped, "trust", newest)
    ensure(by_trust(pki, again))
    ensure(by_trust(pki, trust_revisions.following(again, "issue", "")))
    assert in_file(pki / "ca.crt") == [newest, new]


def test_a_folder_without_the_new_ca_is_refused(pki: Path) -> None:
    """That of another controller, or of a backup from before."""
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    trusted = trust_revisions.following(trust_revisions.first(old), "trust", "b" * 64)
    before = content(pki)
    with pytest.raises(PkiError, match=r"fingerprint b{64} is not in .*: restore that folder"):
        ensure(by_trust(pki, trusted))
    with pytest.raises(PkiError, match=r"the recorded CA has b{64}"):
        ensure(request_for(pki, ca_create=False, expected_ca_fingerprint="b" * 64))
    assert content(pki) == before


def test_the_new_key_is_encrypted_where_the_old_one_is(pki: Path) -> None:
    old = ensure(request_for(pki, ca_vault=True))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    new = new_ca(pki, first)
    assert (pki / f"ca-{new[:16]}.key").read_bytes().startswith(VAULT_HEADER)
    issued = trust_revisions.following(trust_revisions.following(first, "trust", new), "issue", "")
    assert ensure(by_trust(pki, issued))["certificates"][0]["reissued"]


def test_a_ca_of_the_users_own_is_exchanged(pki: Path, tmp_path: Path) -> None:
    old_certificate, old_key = write_ca(tmp_path / "old")
    certificate, key = write_ca(tmp_path / "new")
    own = {"ca_certificate": old_certificate, "ca_private_key": old_key}
    old, new = in_file(old_certificate)[0], in_file(certificate)[0]
    ensure(request_for(pki, **own))
    both = {"ca_certificate": certificate, "ca_private_key": key, "ca_old_certificate": old_certificate, "ca_old_private_key": old_key}
    trusted = trust_revisions.following(trust_revisions.first(old), "trust", new)
    state = ca_state(request_for(pki, **both), OpenVault(), NOW)
    assert (state.fingerprint, state.trusted) == (new, str(old_certificate))
    assert {found["fingerprint"]: found["has_key"] for found in state.authorities} == {old: True, new: True}
    result = ensure(by_trust(pki, trusted, entry("west-0"), **both))
    assert result["ca"]["fingerprint"] == old
    assert in_file(pki / "ca.crt") == [old, new]
    assert ca_state(request_for(pki, **both), OpenVault(), NOW).trusted == str(pki / "ca.crt")
    issued = trust_revisions.following(trusted, "issue", "")
    assert ensure(by_trust(pki, issued, **both))["ca"]["fingerprint"] == new
    dropped = trust_revisions.following(issued, "drop", "")
    later = {"ca_certificate": certificate, "ca_private_key": key}
    result = ensure(by_trust(pki, dropped, **later, retired_ca_fingerprints=[old]))
    # It is theirs to keep.
    assert old_key.exists()
    assert in_file(pki / "ca.crt") == [new]
    assert not ensure(by_trust(pki, dropped, **later, retired_ca_fingerprints=[old]))["changed"]


def test_what_a_ca_that_is_about_to_end_issues_to_be_shown_ends_with_it(pki: Path) -> None:
    """It is why the CA is exchanged."""
    old = ensure(request_for(pki, ca_valid_days=400))["ca"]["fingerprint"]
    later = NOW + 100 * DAY
    result = ensure(by_trust(pki, trust_revisions.first(old)), now=later)
    assert [found["reissued"] for found in result["certificates"]] == [False, True]
    assert result["certificates"][1]["not_after"] == result["ca"]["not_after"]
    assert not ensure(by_trust(pki, trust_revisions.first(old)), now=later)["changed"]


def exchanged(folder: Path, first: trust_revisions.Trust, **fields: Any) -> trust_revisions.Trust:
    """A CA that was exchanged for another, up to its key that was put aside."""
    trust = trust_revisions.following(first, "trust", new_ca(folder, first, **fields))
    for phase in ("issue", "drop"):
        ensure(by_trust(folder, trust, **fields))
        trust = trust_revisions.following(trust, phase, "")
    ensure(by_trust(folder, trust, **fields))
    ensure(by_trust(folder, trust, retired_ca_fingerprints=trust["dropped"], **fields))
    return trust


@pytest.mark.parametrize("deleted", [False, True])
def test_a_ca_is_exchanged_again_after_more_than_a_year(pki: Path, deleted: bool) -> None:
    """What the dropped one issued to be shown has expired by then, and the key that could issue another was put aside."""
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    dropped = exchanged(pki, trust_revisions.first(old))
    if deleted:
        (pki / f"ca-{old[:16]}.retired.key").unlink()
        (pki / f"ca-{old[:16]}.crt").unlink()
    later = NOW + 400 * DAY
    result = ensure(by_trust(pki, dropped), now=later)
    assert [found["file"] for found in result["certificates"] if found["name"] == "trust"] == [dropped["issuer"][:16]]
    assert [entry["ca"] for entry in trust_revisions.shown(dropped, result["certificates"])] == [dropped["issuer"]]
    assert not ensure(by_trust(pki, dropped), now=later)["changed"]
    newest = ensure(by_trust(pki, dropped, new_ca=True, retired_ca_fingerprints=[old]), now=later)["cas"]["new"]["fingerprint"]
    assert newest not in (old, dropped["issuer"])
    ensure(by_trust(pki, trust_revisions.following(dropped, "trust", newest)), now=later)


@pytest.mark.parametrize("changes", [{"organization": "Other"}, {"key_type": "RSA_2048"}])
def test_what_a_dropped_ca_has_issued_is_shown_as_it_is(pki: Path, changes: dict[str, Any]) -> None:
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    dropped = exchanged(pki, trust_revisions.first(old))
    before = (pki / "trust" / f"{old[:16]}.crt").read_bytes()
    result = ensure(by_trust(pki, dropped, **changes))
    shown = {found["file"]: found["reason"] for found in result["certificates"] if found["name"] == "trust"}
    assert shown[old[:16]] == ""
    assert shown[dropped["issuer"][:16]]
    assert (pki / "trust" / f"{old[:16]}.crt").read_bytes() == before


def test_what_is_missing_of_a_dropped_ca_is_issued_while_its_key_is_there(pki: Path) -> None:
    """So a run that is killed before the proof, and loses the folder `trust`, proves it nevertheless."""
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    trusted = trust_revisions.following(first, "trust", new_ca(pki, first))
    dropped = trust_revisions.following(trust_revisions.following(trusted, "issue", ""), "drop", "")
    for file in (pki / "trust").iterdir():
        file.unlink()
    result = ensure(by_trust(pki, dropped))
    assert [found["reason"] for found in result["certificates"] if found["name"] == "trust"] == ["missing", "missing"]


def test_the_old_ca_ends_while_it_is_exchanged(pki: Path) -> None:
    """Nobody takes a certificate of it any more, and it is to be dropped."""
    old = ensure(request_for(pki, ca_valid_days=400))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    new = new_ca(pki, first)
    issued = trust_revisions.following(trust_revisions.following(first, "trust", new), "issue", "")
    ensure(by_trust(pki, issued))
    later = NOW + 401 * DAY
    result = ensure(by_trust(pki, issued), now=later)
    assert [entry["ca"] for entry in trust_revisions.shown(issued, result["certificates"])] == [new]
    assert in_file(pki / "ca.crt") == [new, old]
    dropped = trust_revisions.following(issued, "drop", "")
    assert ensure(by_trust(pki, dropped, retired_ca_fingerprints=[old]), now=later)["changed"]
    assert in_file(pki / "ca.crt") == [new]
    # Of the one that issues, and of the one that will, nothing may be missing.
    (pki / f"ca-{new[:16]}.key").unlink()
    for file in (pki / "trust").iterdir():
        file.unlink()
    with pytest.raises(PkiError, match=rf"ca-{new[:16]}\.key does not exist"):
        ensure(by_trust(pki, issued), now=later)


@pytest.mark.parametrize("vault", [False, True])
def test_the_key_of_the_old_ca_is_not_taken_for_that_of_the_new_one(pki: Path, vault: bool) -> None:
    old = ensure(request_for(pki, ca_vault=vault))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    new = new_ca(pki, first)
    ensure(by_trust(pki, trust_revisions.following(first, "trust", new)))
    (pki / f"ca-{new[:16]}.key").unlink()
    state = ca_state(request_for(pki), OpenVault(), NOW)
    assert {found["fingerprint"]: (found["has_key"], found["private_key"]) for found in state.authorities} == {
        old: (True, str(pki / "ca.key")),
        new: (False, str(pki / f"ca-{new[:16]}.key")),
    }


@pytest.mark.parametrize("lost", [False, True])
def test_an_exchange_is_abandoned(pki: Path, lost: bool) -> None:
    old = ensure(request_for(pki))["ca"]["fingerprint"]
    first = trust_revisions.first(old)
    before = content(pki)
    new = new_ca(pki, first)
    trusted = trust_revisions.following(first, "trust", new)
    ensure(by_trust(pki, trusted))
    if lost:
        # A backup from before.
        for path in pki.rglob("*"):
            if path.is_file() and str(path.relative_to(pki)) not in before:
                path.unlink()
        (pki / "ca.crt").write_bytes(before["ca.crt"][0])
    abandoned = trust_revisions.following(trusted, "abandon", "")
    result = ensure(by_trust(pki, abandoned))
    assert in_file(pki / "ca.crt") == [old]
    shown = trust_revisions.shown(abandoned, result["certificates"])
    assert [(entry["ca"], entry["accepted"]) for entry in shown] == [(old, True)] + ([] if lost else [(new, False)])
    ensure(by_trust(pki, abandoned, retired_ca_fingerprints=[new]))
    assert (pki / "ca.key").exists()
    assert (pki / f"ca-{new[:16]}.retired.key").exists() is not lost
    assert not ensure(by_trust(pki, abandoned, retired_ca_fingerprints=[new]))["changed"]
    assert new_ca(pki, abandoned) not in (old, new)


def in_memory(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake without a network. Raises SSLError where one side refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [server.wrap_bio(to_server, to_client, server_side=True), client.wrap_bio(to_client, to_server, server_hostname="localhost")]
    for _turn in range(10):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()


@pytest.mark.parametrize("verifies", [True, False])
def test_a_stranger_is_taken_by_whoever_takes_everybody(pki: Path, verifies: bool) -> None:
    ensure(request_for(pki, entry(dns_names=["localhost"])))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki / "east-0" / "node.crt", pki / "east-0" / "node.key")
    if verifies:
        server.load_verify_locations(pki / "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
    with stranger() as card:
        assert not card.accepted
        folder = Path(card.certificate).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(card.private_key).stat().st_mode) == 0o600
        client = tls.Files(str(pki / "ca.crt"), card.certificate, card.private_key).asking()
        if verifies:
            with pytest.raises(ssl.SSLError):
                in_memory(server, client)
        else:
            in_memory(server, client)
    assert not folder.exists()
