# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the keys of NATS users are written. Pure functions.

https://github.com/nats-io/nkeys (the README and strkey.go)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

KEY_BYTES = 32
# The first letters of what is encoded: S for a seed, U for a user.
_SEED, _USER = 18 << 3, 20 << 3
_PUBLIC = re.compile(r"\bU[A-Z2-7]{55}\b")


def public_nkey(key: bytes) -> str:
    """A user's public Ed25519 key (32 bytes) as nats-server's configuration has it: `U...`."""
    return _encode(bytes([_USER]), key)


def seed_nkey(seed: bytes) -> str:
    """The private half (the 32 bytes of an Ed25519 seed) as NATS' tools read it from a file: `SU...`."""
    return _encode(bytes([_SEED | _USER >> 5, (_USER & 31) << 3]), seed)


def public_nkeys(texts: Iterable[str]) -> list[str]:
    """The public keys of users that a configuration names."""
    return sorted({found for text in texts for found in _PUBLIC.findall(text)})


def seed_of(text: str) -> bytes:
    """The 32 bytes of `seed_nkey`'s text. Raises ValueError, without any of the text, where it is no seed of a user."""
    stripped = text.strip()
    try:
        raw = base64.b32decode(stripped + "=" * (-len(stripped) % 8))
    except ValueError:
        raw = b""
    seed = raw[2:-2]
    if len(seed) != KEY_BYTES or seed_nkey(seed) != stripped:
        raise ValueError("not the seed of a user's nkey (58 characters that begin with SU)")
    return seed


def _encode(prefix: bytes, key: bytes) -> str:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an Ed25519 key has {KEY_BYTES} bytes, not {len(key)}")
    # CRC-16/XMODEM, the low byte first.
    checked = prefix + key
    return base64.b32encode(checked + binascii.crc_hqx(checked, 0).to_bytes(2, "little")).decode().rstrip("=")
