# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deployment_changes always runs in Ansible's own process: what was observed is there."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import deployment_changes
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    """Brings what was observed to the module."""

    arguments = deployment_changes.ARGUMENTS
    always = True
    perform_run = deployment_changes.decide
    facts = deployment_changes.FACTS
