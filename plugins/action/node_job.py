# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_job always runs in Ansible's own process: what is known of the deployment is a fact there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import node_jobs
from ansible_collections.hostnet.multicluster.plugins.modules import node_job, node_run
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


def _do(call: _call.Call, show: Callable[[str], None], facts: Json) -> Json:
    params = call.params
    (seen,) = _call.known(facts, node_job.FACTS, results=[])
    wrong = node_jobs.lacking(params)
    if wrong:
        raise _call.Failure(wrong, results=[])
    try:
        members = node_jobs.members_of(params, secrets.token_hex(8))
        nodes = node_jobs.nodes_of(params, members, seen, time.time())
        options = node_jobs.run_of(params, members)
    except ValueError as error:
        raise _call.Failure(str(error), results=[]) from error
    result: Json = {"changed": False, "results": []}
    if nodes:
        given = [{"env": {}, **node} for node in nodes]
        result = node_run.run(call.part(node_run.ARGUMENTS, {**options, "nodes": given}), show)
    if call.check_mode and params["job"] == "look":
        # Nobody has looked at a disk.
        return result
    found = node_jobs.meaning(params, members, seen, result["results"], time.time())
    return {**result, "changed": result["changed"] or bool(found.get("removed")), **found}


class ActionModule(InProcess):
    """Brings what is known, and the display, to the job."""

    arguments = node_job.ARGUMENTS
    always = True
    perform_run = _do
    shows = True
    facts = node_job.FACTS
