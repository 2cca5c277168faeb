# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m checker` with tests/ in PYTHONPATH, or `python tests/checker` from anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from checker.cli import main

code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Threads that still wait for a connection must not turn the end of the interpreter into another exit code: everything is written by now.
os._exit(code)
