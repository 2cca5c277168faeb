# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module nats_membership inside of Ansible's worker process."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import nats_membership
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    arguments = nats_membership.ARGUMENTS
    perform_run = nats_membership.run
