# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module node_labels inside of Ansible's worker process, and finds the nodes of members."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.member_labels import member_labels
from ansible_collections.hostnet.multicluster.plugins.modules import node_labels
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


class ActionModule(InProcess):
    arguments = node_labels.ARGUMENTS
    perform_run = node_labels.run

    def with_facts(self, arguments: Json) -> Json:
        members, hostnet = arguments.get("members"), arguments.get("hostnet")
        if members is None:
            return arguments
        if hostnet is None or arguments.get("nodes"):
            raise AnsibleActionFail("members: give hostnet too, and no nodes")
        names = [entry["name"] for entry in arguments["kube_clusters"]]
        nodes = member_labels(hostnet, members, self.observed()["nodes"])
        return {**arguments, "nodes": [node for node in nodes if node["kube_cluster"] in names]}
