# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m rollout, with tests/ in PYTHONPATH."""

import sys

from .soak import main

sys.exit(main(sys.argv[1:]))
