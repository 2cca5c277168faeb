# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module rollout_lock inside of Ansible's worker process, always."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.controller_only import ControllerOnly

# Ansible imports this in its main process, before it forks the first worker that holds a lock.
processes.mark_this_process()


class ActionModule(ControllerOnly):
    arguments = rollout_lock.ARGUMENTS
    perform_run = rollout_lock.run
