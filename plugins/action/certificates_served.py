# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module certificates_served inside of Ansible's worker process, with the Secrets that a deployment has to have."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.placement import deployment_objects
from ansible_collections.hostnet.multicluster.plugins.modules import certificates_served
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.members import OfMembers

Json = dict[str, Any]


class ActionModule(OfMembers):
    arguments = certificates_served.ARGUMENTS
    perform_run = certificates_served.run

    def with_facts(self, arguments: Json) -> Json:
        found = super().with_facts(arguments)
        hostnet, issued = arguments.get("hostnet"), arguments.get("certificates")
        if hostnet is None:
            return found
        if self.bindings is None or issued is None or arguments.get("identity") is None:
            raise AnsibleActionFail("hostnet: give identity, certificates and the bindings of the members too")
        try:
            objects = deployment_objects(hostnet, arguments["spec"], arguments["identity"], self.bindings, self.observed(), issued)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        secrets = [entry for entry in objects if entry["definition"]["kind"] == "Secret"]
        return {**found, "issued": issued["certificates"], "objects": secrets}
