# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of `wait` and `wait_timeout`, named as users of kubernetes.core know them."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until what was asked for has come true everywhere.
      - All kube clusters and objects are waited for together, under one deadline.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait in all. The module fails after that, naming what is missing.
    type: int
    default: 120
"""
