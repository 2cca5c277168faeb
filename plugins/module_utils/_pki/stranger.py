# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's certificate that nobody may accept: of a CA that is made for it, whose key is never written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from .._plan.certificates import BACKDATE, WantedLeaf
from .._plan.serving import Card
from .issue import issue_ca, leaf_issuer
from .read import sha256_of

with contextlib.suppress(ImportError):  # library.missing_library() says it
    from cryptography.hazmat.primitives import serialization

_NAME = "hostnet trust probe"


@contextlib.contextmanager
def stranger() -> Iterator[Card]:
    """The certificate, for as long as the block lasts. TLS wants it as files: they are in a folder that nobody else may enter."""
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = now - BACKDATE, now + timedelta(days=1)
    ca, ca_key = issue_ca(f"{_NAME}: nobody's CA", "", "EC_P256", begin, end)
    leaf = WantedLeaf("trust", "stranger", _NAME, "", ("client",), (), "EC_P256", 0)
    certificate, key = leaf_issuer(ca, ca_key)(leaf, begin, end)
    with tempfile.TemporaryDirectory(prefix="hostnet-") as folder:
        paths = os.path.join(folder, "client.crt"), os.path.join(folder, "client.key")
        for path, data in zip(paths, (certificate.public_bytes(serialization.Encoding.PEM), key), strict=True):
            with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(data)
        yield Card(sha256_of(ca), False, *paths)
