# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module rollout_wait inside of Ansible's worker process, where it can print what it waits for."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_wait
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    arguments = rollout_wait.ARGUMENTS
    perform_run = rollout_wait.run
    shows = True
