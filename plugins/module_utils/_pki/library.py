# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the Python library cryptography can be used. The other modules import without it."""

from __future__ import annotations

import traceback

CRYPTOGRAPHY_IMPORT_ERROR: str | None
try:
    # That module loads what is compiled.
    import cryptography.x509
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR = traceback.format_exc()
    cryptography_version = "0"
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None
    cryptography_version = cryptography.__version__

MINIMUM_CRYPTOGRAPHY = 41


def missing_library() -> str:
    """Why the ``cryptography`` library cannot be used, or an empty string."""
    if CRYPTOGRAPHY_IMPORT_ERROR is None and int(cryptography_version.split(".", 1)[0]) < MINIMUM_CRYPTOGRAPHY:
        return f"cryptography {cryptography_version} is too old, {MINIMUM_CRYPTOGRAPHY} or later is needed on the controller"
    return "" if CRYPTOGRAPHY_IMPORT_ERROR is None else "the Python library cryptography is needed on the controller"
