# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deployment_apply always runs in Ansible's own process: what is known of the deployment is a fact there."""

from __future__ import annotations

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.member_labels import node_labels as lacking_labels
from ansible_collections.hostnet.multicluster.plugins.modules import deployment_apply, manifests, node_labels
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]


def apply(call: _call.Call, facts: Json) -> Json:
    """The module's result. `facts` are those of FACTS."""
    params = call.params
    (seen,) = _call.known(facts, deployment_apply.FACTS)
    try:
        objects = [{"files": None, "create_only": False, **entry} for entry in deployment_apply.objects_of(params, seen)]
        nodes = lacking_labels(params["hostnet"], params["members"] or [], seen["nodes"]) if params["labels"] else []
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    result = manifests.run(
        call.part(manifests.ARGUMENTS, {"objects": objects, "wait": params["wait"], "wait_timeout": params["wait_timeout"]})
    )
    result["nodes"] = []
    if nodes:
        labels = [{"guarded": False, "labels": {}, **node} for node in nodes]
        labelled = node_labels.run(call.part(node_labels.ARGUMENTS, {"nodes": labels, "guarded_by": params["hostnet"]["name"]}))
        result = {**result, "changed": result["changed"] or labelled["changed"], "nodes": labelled["nodes"]}
        if call.diff:
            result["diff"] = [*result["diff"], labelled["diff"]]
    return result


class ActionModule(InProcess):
    """Brings what is known to the module."""

    arguments = deployment_apply.ARGUMENTS
    always = True
    perform_run = apply
    facts = deployment_apply.FACTS
