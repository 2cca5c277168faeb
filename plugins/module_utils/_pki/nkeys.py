# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of NATS users in the pki folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .._plan.systems import nats_nkeys
from .read import read_file
from .request import PkiError

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519


def path_of(pki_dir: Path, name: str) -> Path:
    """Where the seed of a NATS user's nkey is."""
    return pki_dir / f"{name}.nk"


def public_of(path: Path) -> str:
    """The public key of the seed in this file, "" where there is no such file. Raises PkiError."""
    data = read_file(path)
    if data is None:
        return ""
    try:
        seed = nats_nkeys.seed_of(data.decode("ascii", "replace"))
    except ValueError as error:
        raise PkiError(f"{path} is {error}: restore it, or move it away to have another one made") from error
    return _public(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


def _public(key: ed25519.Ed25519PrivateKey) -> str:
    return nats_nkeys.public_nkey(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def new() -> tuple[str, bytes]:
    """The public half of a new key, and the content of its file."""
    user = ed25519.Ed25519PrivateKey.generate()
    seed = user.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    return _public(user), f"{nats_nkeys.seed_nkey(seed)}\n".encode()
