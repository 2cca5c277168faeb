# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_next always runs in Ansible's own process: what was observed is there."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import ca_next
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    """Brings what was observed to the module."""

    arguments = ca_next.ARGUMENTS
    always = True
    perform_run = ca_next.decide
    facts = ca_next.FACTS
