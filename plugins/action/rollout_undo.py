# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollout_undo always runs in Ansible's own process: what was observed is there."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_undo
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    arguments = rollout_undo.ARGUMENTS
    always = True
    perform_run = rollout_undo.decide
    facts = rollout_undo.FACTS
