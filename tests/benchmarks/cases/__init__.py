# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of the benchmark, by name, in the order in which they are run."""

from __future__ import annotations

from . import apply, certificates, deployment, inventory, lab, nodes
from .base import Case

CASES: dict[str, Case] = {
    "nodes": nodes.run,
    "apply": apply.run,
    "certificates": certificates.run,
    "inventory": inventory.run,
    "deployment": deployment.run,
    "lab": lab.run,
}
