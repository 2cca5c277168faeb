# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module pod_trial inside of Ansible's worker process, for the pods of a deployment where it is given one."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.trial import trial_errors, trial_pods
from ansible_collections.hostnet.multicluster.plugins.modules import pod_trial
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


class ActionModule(InProcess):
    arguments = pod_trial.ARGUMENTS
    perform_run = pod_trial.run

    def _plan(self) -> Json:
        plan: Json = self.observed()["plan"]
        return plan if boolean(self._task.args.get("new", True), strict=False) else {**plan, "new": []}

    def with_facts(self, arguments: Json) -> Json:
        hostnet, spec = arguments.get("hostnet"), arguments.get("spec")
        if hostnet is None:
            return arguments
        if spec is None:
            raise AnsibleActionFail("hostnet: give spec too")
        try:
            pods = trial_pods(hostnet, spec, self._plan(), self.observed()["kube_clusters"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        given = {option: hostnet[option] for option in ("priority_class", "namespace", "pull_secrets")}
        return {**arguments, **given, "pods": pods}

    def by_facts(self, result: Json) -> Json:
        hostnet = self._task.args.get("hostnet")
        errors = trial_errors(hostnet, self._plan(), result["results"]) if hostnet is not None else []
        return {"failed": True, "msg": "; ".join(errors)} if errors else {}
