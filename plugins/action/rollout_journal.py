# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module rollout_journal inside of Ansible's worker process, always."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_journal
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.controller_only import ControllerOnly


class ActionModule(ControllerOnly):
    arguments = rollout_journal.ARGUMENTS
    perform_run = rollout_journal.run
