# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_membership always runs in Ansible's own process: what was observed is there."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import etcd_membership
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    """Brings what was observed to the module."""

    arguments = etcd_membership.ARGUMENTS
    always = True
    perform_run = etcd_membership.decide
    facts = etcd_membership.FACTS
