# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets plain pytest import `ansible_collections.hostnet.multicluster` from this checkout."""

from __future__ import annotations

import os
import sys

import hypothesis

from support.collection import collections_path

_FOLDER = str(collections_path())
if _FOLDER not in sys.path:
    sys.path.insert(0, _FOLDER)
# Processes that tests start (python -c ..., pytest-xdist workers) need it as well.
os.environ["PYTHONPATH"] = os.pathsep.join([_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])])

# Speed is measured by tests/benchmarks; here it would only say how busy the machine is.
hypothesis.settings.register_profile("hostnet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hostnet")
