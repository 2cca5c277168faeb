# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the Python packages are there that a session needs."""

from __future__ import annotations

import importlib
import sys
import traceback

IMPORT_ERROR: str | None = None
try:
    for _library in ("urllib3", "websocket", "yaml"):
        importlib.import_module(_library)
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def missing() -> str:
    """Which one cannot be imported, and where to install it; `` where all are there."""
    if not IMPORT_ERROR:
        return ""
    reason = IMPORT_ERROR.strip().splitlines()[-1]
    return (
        f"a Python package that this collection needs cannot be imported by {sys.executable} ({reason}). Install it there: {sys.executable} -m "
        "pip install 'urllib3>=2' websocket-client PyYAML. On the controller that is the Python of ansible-playbook, whatever "
        "ansible_python_interpreter says"
    )
