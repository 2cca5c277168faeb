# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module certificates_served inside of Ansible's worker process."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.modules import certificates_served
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.members import OfMembers


class ActionModule(OfMembers):
    arguments = certificates_served.ARGUMENTS
    perform_run = certificates_served.run
