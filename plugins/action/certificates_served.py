# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module certificates_served inside of Ansible's worker process, with the Secrets that a deployment has to have."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import expiry, served
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.placement import deployment_objects
from ansible_collections.hostnet.multicluster.plugins.modules import certificates_served
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.members import OfMembers

Json = dict[str, Any]


class ActionModule(OfMembers):
    arguments = certificates_served.ARGUMENTS
    perform_run = certificates_served.run

    stored: list[Json] | None = None

    def by_facts(self, result: Json) -> Json:
        given = self._task.args
        status = self.fact("hostnet_status")
        if self.stored is None or not status or self._task.check_mode:
            return {}
        days = expiry.least_days(self._templar.template(given["hostnet"]))
        return {"status": served.with_served(status, result["served"], self.stored, given["spec"], days)}

    def with_facts(self, arguments: Json) -> Json:
        found = super().with_facts(arguments)
        self.stored = None
        hostnet, issued = arguments.get("hostnet"), arguments.get("certificates")
        if hostnet is None:
            return found
        if arguments.get("state") == "read":
            names = [str(binding["member"]) for binding in self.bindings or []]
            self.stored = served.stored(arguments["spec"], names, self.observed()["kube_clusters"])
            return {**found, "issued": self.stored, "objects": []}
        if self.bindings is None or issued is None or arguments.get("identity") is None:
            raise AnsibleActionFail("hostnet: give identity, certificates and the bindings of the members too")
        try:
            objects = deployment_objects(hostnet, arguments["spec"], arguments["identity"], self.bindings, self.observed(), issued)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        secrets = [entry for entry in objects if entry["definition"]["kind"] == "Secret"]
        return {**found, "issued": issued["certificates"], "objects": secrets}
