# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets plain pytest import `ansible_collections.hostnet.multicluster` from this checkout."""

from __future__ import annotations

import os
import sys

from support.collection import collections_path

_FOLDER = str(collections_path())
if _FOLDER not in sys.path:
    sys.path.insert(0, _FOLDER)
# Processes that tests start (python -c ..., pytest-xdist workers) need it as well.
os.environ["PYTHONPATH"] = os.pathsep.join([_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])])
