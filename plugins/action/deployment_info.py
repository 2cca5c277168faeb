# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module deployment_info inside of Ansible's worker process, and puts what it has read to what is known."""

from __future__ import annotations

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, observation, rollout
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_info
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


class ActionModule(InProcess):
    arguments = deployment_info.ARGUMENTS
    perform_run = deployment_info.run

    def with_facts(self, arguments: Json) -> Json:
        if arguments.get("renew"):
            # What lacks is said before anybody waits.
            self.observed()
        return arguments

    def by_facts(self, result: Json) -> Json:
        given, kube_clusters = self._task.args, result["kube_clusters"]
        found: Json = {}
        if given.get("renew"):
            seen = deployment_info.renewed(self.observed(), kube_clusters, whole=not given.get("only"))
            found["deployment"] = seen
            members = observation.live_members(given.get("members") or [], seen["kube_clusters"], seen["nodes"])
            found["members"] = members
            if given.get("only") == ["records"]:
                found["problems"] = rollout.join_problems(members, kube_clusters)
        if given.get("hostnet"):
            known = found["deployment"]["kube_clusters"] if found else kube_clusters
            found["targets"] = classify.member_targets(given["hostnet"], given.get("members") or [], known)
        return found
