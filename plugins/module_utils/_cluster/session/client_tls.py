# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS contexts whose certificates and keys come from memory, with no key in a file that could be left behind."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterator

_CERTIFICATES = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


class PemError(ValueError):
    """What is wrong with a certificate or key, without a quote of it."""


def context(verify: bool, ca: str | None, pair: tuple[str, str] | None) -> ssl.SSLContext:
    """The client's side of TLS. `ca` and `pair` (certificate chain, key) are PEM; `ca` None: whom the system trusts. Raises PemError."""
    # As strict as kubectl is, and no stricter: CAs of kube clusters often lack extensions that VERIFY_X509_STRICT wants, and a CA that is trusted
    # need not be a root.
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif ca is None:
        made.load_default_certs()
    else:
        trust(made, ca)
    if pair:
        load_pair(made, *pair)
    return made


def trust(made: ssl.SSLContext, ca: str) -> None:
    """Have a context trust the certificates in `ca`. Raises PemError where there are none.

    What else is there is passed over: bundles have comments, in any language.
    """
    certificates = _CERTIFICATES.findall(ca)
    if not certificates:
        raise PemError("has no certificate in PEM")
    try:
        made.load_verify_locations(cadata="\n".join(certificates))
    except (ssl.SSLError, ValueError):
        raise PemError("has a certificate that cannot be read") from None


def has_key(pem: str) -> bool:
    """Whether there is a private key in a PEM text."""
    return bool(_KEY.search(pem))


def load_pair(made: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give a context a client certificate. Raises PemError where one of both cannot be read, or they do not belong together."""
    if not _CERTIFICATES.search(certificate):
        raise PemError("has no certificate in PEM")
    if not has_key(key):
        raise PemError("has no private key in PEM")
    pem = certificate if certificate == key else f"{certificate.rstrip()}\n{key}"
    with _file(pem.encode()) as path:
        try:
            made.load_cert_chain(path, password=_no_password)
        except ssl.SSLError as error:
            mismatch = "MISMATCH" in str(error.reason)
            raise PemError(
                "has another key than its certificate's" if mismatch else "cannot be read as a certificate and its key"
            ) from None


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal.
    raise PemError("has an encrypted private key, whose password nobody can be asked for; give one that is not encrypted")


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A path that leads to `content`, as OpenSSL reads keys from paths alone.

    On Linux it is memory, which ends with this process, however that ends. Elsewhere it is a file that only this user can read, removed at once.
    """
    descriptor = -1
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    if descriptor >= 0:
        try:
            path = f"/proc/self/fd/{descriptor}"
            with open(descriptor, "wb", closefd=False) as target:
                target.write(content)
            if os.access(path, os.R_OK):
                yield path
                return
        finally:
            os.close(descriptor)
    with tempfile.TemporaryDirectory(prefix="hostnet-") as folder:
        path = os.path.join(folder, "pair")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as target:
            target.write(content)
        yield path
