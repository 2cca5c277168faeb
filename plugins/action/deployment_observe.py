# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deployment_observe always runs in Ansible's own process: a filter that is named by a variable can be found here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.settings_and_spec import settings_errors
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_observe, member_inspect
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import questions
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


def _nothing(*_answers: Any) -> Json:
    """Reads no answers, where nobody is asked."""
    return {}


def _observe(call: _call.Call, show: Callable[[str], None], facts: Json) -> Json:
    hostnet, spec = call.params["hostnet"], call.params["spec"]
    try:
        wrong = settings_errors(hostnet, spec) if call.params["check_settings"] else []
        if wrong:
            raise ValueError("; ".join(wrong))
        asked = member_inspect.questions_of(spec) if call.params["ask"] else None
        if asked is None:
            return deployment_observe.observe(call, None, _nothing, show, facts)
        wrong_question = questions.problem({"kube_clusters": hostnet["kube_clusters"], "members": []}, asked)
        if wrong_question:
            raise ValueError(wrong_question)
        shape = questions.filter_named(asked["filter"])
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    return deployment_observe.observe(call, asked, shape, show, facts)


class ActionModule(InProcess):
    """Brings the filter and the display to the module."""

    arguments = deployment_observe.ARGUMENTS
    always = True
    perform_run = _observe
    shows = True
    facts = deployment_observe.FACTS
