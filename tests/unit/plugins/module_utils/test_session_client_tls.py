# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that go to OpenSSL from memory: what is accepted, and that nothing is left behind whenever the process is killed."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import client_tls
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.client_tls import PemError
from support.kube_api import Authority, private_pem

AUTHORITY = Authority("test")
CERTIFICATE, KEY = (pem.decode() for pem in AUTHORITY.issue("me"))

# Loads keys from memory again and again, and says so once; in a temporary folder of its own.
_LOADER = """
import ssl, sys
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import client_tls
certificate, key = open(sys.argv[1]).read(), open(sys.argv[2]).read()
while True:
    client_tls.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)
    print("loaded", flush=True)
"""


def test_the_system_is_trusted_where_no_ca_is_given() -> None:
    made = client_tls.context(True, None, None)
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert made.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not made.verify_flags & ssl.VERIFY_X509_STRICT
    made = client_tls.context(False, None, (CERTIFICATE, KEY))
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_NONE, False)


def test_a_bundle_may_have_words_of_any_language() -> None:
    bundle = f"# Größe ☃\n{AUTHORITY.pem.decode()}\n# zweite\n{Authority('second').pem.decode()}"
    assert len(client_tls.context(True, bundle, None).get_ca_certs()) == 2


@pytest.mark.parametrize(
    ("certificate", "key", "part"),
    [
        ("", KEY, "has no certificate in PEM"),
        (CERTIFICATE, "", "has no private key in PEM"),
        (CERTIFICATE, AUTHORITY.issue("other")[1].decode(), "has another key than its certificate's"),
        (CERTIFICATE.replace("M", "!", 1), KEY, "cannot be read as a certificate and its key"),
        (CERTIFICATE, KEY[:60] + "\n-----END PRIVATE KEY-----\n", "cannot be read as a certificate and its key"),
    ],
)
def test_a_pair_that_is_none(certificate: str, key: str, part: str) -> None:
    with pytest.raises(PemError, match=part):
        client_tls.context(True, None, (certificate, key))


def test_nobody_is_asked_for_the_password_of_a_key() -> None:
    key = serialization.load_pem_private_key(KEY.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"hunter2")
    ).decode()
    with pytest.raises(PemError, match="has an encrypted private key"):
        client_tls.context(True, None, (CERTIFICATE, encrypted))


def test_keys_as_older_tools_write_them() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    assert plain.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert client_tls.has_key(plain.decode())
    assert client_tls.has_key(private_pem(key).decode())
    assert not client_tls.has_key(CERTIFICATE)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenSSL reads a file, which is removed at once")
def test_keys_go_through_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a temporary folder")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    client_tls.context(True, None, (CERTIFICATE, KEY))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenSSL reads a file, which is removed at once")
def test_nothing_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    pair = [tmp_path / "c", tmp_path / "k"]
    for path, pem in zip(pair, (CERTIFICATE, KEY), strict=True):
        path.write_text(pem)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for rounds in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOADER, *map(str, pair)],
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            for _line in range(1 + 61 * rounds):
                assert process.stdout.readline() == b"loaded\n"
            assert list(temporary.iterdir()) == []
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert list(temporary.iterdir()) == []


def test_where_there_is_no_memory_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any) -> int:
        raise PermissionError("memfd_create")

    seen: list[tuple[int, int]] = []
    real = ssl.SSLContext.load_cert_chain

    class Watched(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
            path = Path(certfile)
            assert path.is_relative_to(tmp_path)
            seen.append((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777))
            real(self, certfile, keyfile, password)

    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client_tls.load_pair(Watched(ssl.PROTOCOL_TLS_CLIENT), CERTIFICATE, KEY)
    with pytest.raises(PemError):
        client_tls.load_pair(Watched(ssl.PROTOCOL_TLS_CLIENT), CERTIFICATE, AUTHORITY.issue("other")[1].decode())
    assert seen == [(0o600, 0o700)] * 2
    assert list(tmp_path.iterdir()) == []
