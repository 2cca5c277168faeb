# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""member_inspect always runs in Ansible's own process: a filter that is named by a variable can be found here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.modules import member_inspect
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import questions
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.members import OfMembers

Json = dict[str, Any]


def _inspect(call: _call.Call, show: Callable[[str], None]) -> Json:
    asked = member_inspect.asked(call.params)
    try:
        wrong = questions.problem(call.params, asked)
        if wrong:
            raise ValueError(wrong)
        shape = questions.filter_named(asked["filter"])
    except ValueError as error:
        raise _call.Failure(str(error), inspection={}, targets=[], samples=0, blocked=[], lost=[], refusal="") from error
    return member_inspect.inspect(call, shape, show)


class ActionModule(OfMembers):
    """Brings the filter, the display and what is known of the deployment to the module."""

    arguments = member_inspect.ARGUMENTS
    always = True
    perform_run = _inspect
    shows = True

    def by_facts(self, result: Json) -> Json:
        plan = (self.fact("hostnet_deployment") or {}).get("plan")
        if self.bindings is None or not plan:
            return {}
        return member_inspect.judged(plan, self.bindings, result["inspection"])
