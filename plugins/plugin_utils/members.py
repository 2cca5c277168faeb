# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class of the action plugins that ask members: by their bindings, whose pods a fact has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.classify import member_targets
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


class OfMembers(InProcess):
    """Gives the module the pods of members whose bindings a task gives: those that the facts `hostnet` and `hostnet_deployment` know."""

    bindings: list[Json] | None = None

    def with_facts(self, arguments: Json) -> Json:
        given = arguments.get("members")
        self.bindings = None
        if not isinstance(given, list) or not all(isinstance(entry, Mapping) and "node" in entry and "pod" not in entry for entry in given):
            return arguments
        self.bindings = given
        return {**arguments, "members": self.targets(given)} if given else arguments

    def targets(self, bindings: list[Json]) -> list[Json]:
        """Those of the members that can be asked, and how."""
        hostnet = self._templar.template(self._known.get("hostnet"))
        if not hostnet:
            raise AnsibleActionFail(
                "there is no fact hostnet: members are bindings here, so run the role preflight first, or give their pods"
            )
        return member_targets(hostnet, bindings, self.observed()["kube_clusters"])
