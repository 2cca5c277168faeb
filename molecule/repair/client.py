#!/usr/bin/env python3
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of NATS in a few lines: keeps messages in a stream through one member and reads them through another.

Usage: client.py PKI_FOLDER ADDRESS_TO_WRITE ADDRESS_TO_READ

NATS' protocol is text over TLS (https://docs.nats.io/reference/reference-protocols/nats-protocol). The stream has three replicas, so
what is acknowledged is on a majority of them. At the end it tries to get in without a certificate and without TLS, and must fail.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

PORT = 4222
SECONDS = 20.0
MESSAGES = 20


class Client:
    """One connection. The server speaks first, in the clear, and then both go on with TLS."""

    def __init__(self, pki: Path, address: str, certificate: bool = True, tls: bool = True) -> None:
        plain = socket.create_connection((address, PORT), timeout=SECONDS)
        self.buffer = b""
        self.socket: socket.socket = plain
        self.info = json.loads(self.line().split(" ", 1)[1])
        if tls:
            context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            if certificate:
                context.load_cert_chain(pki / "clients" / "client.crt", pki / "clients" / "client.key")
            self.socket = context.wrap_socket(plain, server_hostname=address)
        self.send('CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"headers":true,"lang":"python","version":"0"}')
        self.send("PING")
        if self.line() != "PONG":
            raise OSError("the server did not answer")
        self.inbox = "_INBOX.molecule"
        self.send(f"SUB {self.inbox} 1")

    def send(self, text: str, payload: bytes | None = None) -> None:
        self.socket.sendall(text.encode() + b"\r\n" + (b"" if payload is None else payload + b"\r\n"))

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise OSError("the server closed the connection")
        self.buffer += data

    def line(self) -> str:
        while b"\r\n" not in self.buffer:
            self._more()
        first, self.buffer = self.buffer.split(b"\r\n", 1)
        text = first.decode()
        if text.startswith("-ERR"):
            raise OSError(text)
        if text == "PING":
            self.send("PONG")
            return self.line()
        return text

    def request(self, subject: str, body: Any) -> Any:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(f"PUB {subject} {self.inbox} {len(payload)}", payload)
        head = self.line().split()
        size = int(head[-1])
        while len(self.buffer) < size + 2:
            self._more()
        answer, self.buffer = self.buffer[:size], self.buffer[size + 2 :]
        decoded = json.loads(answer)
        if "error" in decoded:
            raise OSError(f"{subject}: {decoded['error']}")
        return decoded


def refused(pki: Path, address: str, **how: bool) -> str:
    try:
        Client(pki, address, **how)
    except OSError as error:
        return f"refused ({str(error)[:80]})"
    sys.exit(f"{address} let in a client {how}")


def main() -> None:
    pki, east, west = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    writer = Client(pki, east)
    writer.request("$JS.API.STREAM.CREATE.molecule", {"name": "molecule", "subjects": ["molecule.>"], "num_replicas": 3, "storage": "file"})
    last = 0
    for number in range(MESSAGES):
        last = int(writer.request("molecule.number", f"message {number}".encode())["seq"])
    reader = Client(pki, west)
    kept = []
    for sequence in range(last - MESSAGES + 1, last + 1):
        message = reader.request("$JS.API.STREAM.MSG.GET.molecule", {"seq": sequence})["message"]
        kept.append(base64.b64decode(message["data"]).decode())
    if kept != [f"message {number}" for number in range(MESSAGES)]:
        sys.exit(f"written through {east}, but through {west} there is {kept}")
    print(f"{MESSAGES} messages acknowledged through {east} and read through {west}")
    reader.request("$JS.API.STREAM.DELETE.molecule", {})
    print("without a certificate:", refused(pki, east, certificate=False))
    print("without TLS:", refused(pki, east, tls=False))


if __name__ == "__main__":
    main()
