# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module node_run inside of Ansible's worker process, where it can print why an image does not come."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import node_run
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    arguments = node_run.ARGUMENTS
    perform_run = node_run.run
    shows = True
