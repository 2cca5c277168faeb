# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS with a client certificate over a stream that is no socket, such as one through the API server: nobody on the way sees anything."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

# Go's servers say the first of them of a CA that they do not know, those of older versions the second one of anything that is wrong with a certificate.
_REFUSED = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE")


class TlsError(Exception):
    """A file cannot be used, or one side refuses the other."""


class TlsRefused(TlsError):
    """The server does not take the client's certificate."""


class TlsClosed(TlsError):
    """The other side closed the connection, and said nothing."""


class Stream(Protocol):
    """Bytes to and from a server. `receive` waits for some, and returns b"" at the end."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...


@dataclass(frozen=True)
class Files:
    """Paths on the controller: of the CA's certificate, of a client's certificate and of its key."""

    ca: str
    certificate: str
    private_key: str

    def present(self) -> bool:
        """Whether all of them can be read."""
        return all(os.access(path, os.R_OK) for path in (self.ca, self.certificate, self.private_key))

    def context(self) -> ssl.SSLContext:
        """The client's side. Raises TlsError where a file cannot be read."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.certificate, self.private_key)
        except OSError as error:
            raise TlsError(f"the certificate {self.certificate} cannot be used: {error.strerror or error}") from error
        return context

    def looking(self) -> ssl.SSLContext:
        """One that takes whatever certificate the server shows: for whoever compares that with the one it should be. Raises TlsError."""
        context = self.context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def asking(self) -> ssl.SSLContext:
        """One whose handshake ends well only when the server has taken the client's certificate. Raises TlsError.

        In TLS 1.3 the client is through before the server has looked at its certificate. In TLS 1.2 the server's last word comes after that.
        """
        context = self.looking()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


class Tls:
    """The encrypted stream. `host` is whom the server's certificate must be for. Everything may raise TlsError."""

    def __init__(self, stream: Stream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        try:
            self._do(self._tls.do_handshake)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise TlsClosed("TLS: the server closed the connection") from error

    def _do(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                result = work()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._stream.receive()
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
                continue
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                raise
            except ssl.SSLError as error:
                if str(error.reason or "").endswith(_REFUSED):
                    raise TlsRefused(f"TLS: {error.reason}") from error
                raise TlsError(f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}") from error
            self._flush()
            return result

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self._stream.send(data)

    def certificate(self) -> bytes:
        """The one that the server has shown, and whose key it has (DER)."""
        return self._tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> None:
        self._do(lambda: self._tls.write(data))

    def receive(self) -> bytes:
        try:
            return bytes(self._do(lambda: self._tls.read(1 << 16)))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
