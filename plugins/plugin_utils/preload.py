# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports what the filters need, once for all tasks.

Every task is a fork of ansible-playbook, and Ansible compiles a collection's modules anew in each process that imports them. What ansible-playbook
itself has imported, with the inventory or the first action plugin, is there in every fork.
"""

from __future__ import annotations

import importlib
import pkgutil

from ansible_collections.hostnet.multicluster.plugins import filter as filters
from ansible_collections.hostnet.multicluster.plugins.module_utils import _plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import shared_cache
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import systems

# Made before the first fork: the one memory of all of them, so that a credential plugin is run once and not with every task.
CREDENTIALS = shared_cache.CREDENTIALS


def for_all_forks() -> None:
    """Imports all filters and their logic. Called while a plugin is imported that ansible-playbook itself loads."""
    for package in (_plan, systems, filters):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
