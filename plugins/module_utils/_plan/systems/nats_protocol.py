# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol of a NATS client that asks one question. Pure functions.

https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# A line that is longer is no line of this protocol; an INFO with many servers' addresses has a few KiB.
LINE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Message:
    """What a server sent: `verb` is INFO, MSG, PING, PONG, +OK or -ERR.

    `text` is the rest of the line; for MSG `payload` is the message, and `status` the code of a message that is only headers, as 503 where
    nobody listens to the subject.
    """

    verb: str
    text: str = ""
    payload: bytes = b""
    status: str = ""


def parse(data: bytes) -> tuple[Message | None, bytes]:
    """The first message of `data` and what follows it; None where more has to come. Raises ValueError where it is not this protocol."""
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) > LINE_LIMIT_BYTES:
            raise ValueError("a line without an end")
        return None, data
    line, rest = data[:end].decode("utf-8", "replace"), data[end + 2 :]
    verb, _space, text = line.partition(" ")
    verb = verb.upper()
    if verb in ("INFO", "PING", "PONG", "+OK", "-ERR"):
        return Message(verb, text.strip()), rest
    if verb not in ("MSG", "HMSG"):
        raise ValueError(f"not the protocol of NATS: {line[:80]!r}")
    words = text.split()
    # MSG subject sid [reply] size; HMSG subject sid [reply] size-of-headers size
    numbers = words[-1:] if verb == "MSG" else words[-2:]
    if not all(number.isdecimal() for number in numbers) or len(words) < 2 + len(numbers):
        raise ValueError(f"not a message of NATS: {line[:80]!r}")
    size = int(numbers[-1])
    if len(rest) < size + 2:
        return None, data
    headers, payload = b"", rest[:size]
    if verb == "HMSG":
        headers, payload = payload[: int(numbers[0])], payload[int(numbers[0]) :]
    first = headers.split(b"\r\n", 1)[0].split()
    return Message("MSG", text, payload, first[1].decode("ascii", "replace") if len(first) > 1 else ""), rest[size + 2 :]


def connect(nkey: str, signature: bytes) -> bytes:
    """CONNECT of a user with this public nkey, who has signed the nonce of the server's INFO, and a PING, whose answer says that it is let in."""
    options: Json = {
        "verbose": False,
        "pedantic": False,
        "tls_required": True,
        "lang": "python",
        "version": "1",
        "name": "hostnet.multicluster",
        "headers": True,
        "no_responders": True,
        "nkey": nkey,
        "sig": base64.urlsafe_b64encode(signature).decode().rstrip("="),
    }
    return f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode()


def publish(subject: str, inbox: str, body: Mapping[str, Any]) -> bytes:
    """A question, whose answer comes to `inbox`."""
    payload = json.dumps(body).encode()
    return f"SUB {inbox} 1\r\nPUB {subject} {inbox} {len(payload)}\r\n".encode() + payload + b"\r\n"
