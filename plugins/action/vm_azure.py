# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module vm_azure inside of Ansible's worker process."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import vm_azure
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    arguments = vm_azure.ARGUMENTS
    perform_run = vm_azure.run
