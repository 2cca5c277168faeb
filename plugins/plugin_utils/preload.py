# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports what the tasks of the roles need, once for all of them.

Every task is a fork of ansible-playbook. What a fork imports is gone with it: Ansible's own filters, which it looks through for every template that has
one, and the collection's modules, which it compiles anew in each process that imports them. What ansible-playbook itself has imported, with
the inventory or the first action plugin, is there in every fork.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil

from ansible.plugins.loader import connection_loader, filter_loader, lookup_loader, shell_loader, test_loader

from ansible_collections.hostnet.multicluster.plugins import filter as filters
from ansible_collections.hostnet.multicluster.plugins.module_utils import _plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import shared_cache
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import systems, vm

# The lookups of the roles.
_LOOKUPS = ("config", "env", "file", "password", "vars", "varnames")
# Made before the first fork: the one memory of all of them, so that a credential plugin is run once and not with every task.
CREDENTIALS = shared_cache.CREDENTIALS


def for_all_forks() -> None:
    """Imports all filters and their logic. Called while a plugin is imported that ansible-playbook itself loads."""
    for package in (_plan, systems, vm, filters):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    # With the first one that is asked for, a loader reads all of Ansible's own.
    filter_loader.get("ansible.builtin.combine")
    test_loader.get("ansible.builtin.exists")
    for name in _LOOKUPS:
        lookup_loader.get(f"ansible.builtin.{name}", class_only=True)
    connection_loader.get("ansible.builtin.local", class_only=True)
    shell_loader.get("ansible.builtin.sh", class_only=True)
    # A garbage collection in a fork would write to every page that it shares with ansible-playbook: each is copied then.
    gc.freeze()
