#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: member_inspect
short_description: Asks the members of a system how it is, and waits for gates
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Asks every member listed what O(inspect) says, all at the same time, and shapes the answers with the filter that it names.
  - With O(gates) it asks again and again until nothing speaks against going on, and fails when that takes too long.
  - Runs on the controller, because filters are there.
  - It changes nothing, so O(lock), which roles give to all modules at once, is not read.
requirements:
  - jmespath (on the controller, with O(gates))
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - It asks in check mode too. With O(gates) it asks once then, and reports what is closed without a failure.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: none
  idempotent:
    support: full
options:
  inspect:
    description:
      - What to ask, the field C(inspect) of a system spec.
    type: dict
    required: true
    suboptions:
      commands:
        description:
          - As for M(hostnet.multicluster.member_exec). They must change nothing.
        type: dict
        default: {}
      http:
        description:
          - As for M(hostnet.multicluster.member_exec).
        type: dict
        default: {}
      filter:
        description:
          - Name of the filter that makes an inspection of the answers. It is called with the answers, O(members) and O(spec).
        type: str
        required: true
      timeout:
        description:
          - Seconds for asking all members once.
        type: int
        default: 30
      interval:
        description:
          - Least number of seconds between two samples that tell anything new, where the system refreshes what it says only so often.
        type: float
        default: 0
      liveness:
        description:
          - C(commands) and C(http) that are asked in addition where O(processes) are given, because the filter needs them to tell who lives.
        type: dict
        default: {}
  spec:
    description:
      - The system spec, for the filter.
    type: dict
    default: {}
  gates:
    description:
      - What must not speak against going on. Each is a name, V(stop), V(replace) (stop, and the disk goes), V(leave) (replace, and nobody comes), V(admit),
        V(alive), V(dead) or V(settled), which stands for the gates of every system and those of O(spec), or a dictionary with C(say) (a text) and C(find)
        (a JMESPath expression). docs/systems.md describes what the expressions see.
      - A gate that cannot be evaluated is closed.
    type: list
    elements: raw
    default: []
  work:
    description:
      - For which work of a rollout the gates are asked. Those of O(spec) that are C(not_for) it are left out.
    type: str
    default: ""
  member:
    description:
      - Name of the member that the gates are about. Empty means that they are about no single one.
    type: str
    default: ""
  expected:
    description:
      - Names of all members that should be there, whether they can be asked or not.
    type: list
    elements: str
    default: []
  bindings:
    description:
      - Bindings of the members O(expected). Where one of them does not answer, its Node is read, and one whose VM is gone is not waited for. Empty means
        that everybody is waited for.
    type: list
    elements: dict
    default: []
  without_lost:
    description:
      - Ask the gates about the others alone where a VM is gone, as long as those are a majority of O(expected). Otherwise such a loss ends the wait at once,
        as a failure.
    type: bool
    default: false
  processes:
    description:
      - Processes that may be dead, for the gates V(alive) and V(dead) of O(gates), which ask the others about them.
    type: list
    elements: dict
    default: []
    suboptions:
      member:
        description:
          - Name of the member.
        type: str
        required: true
      process:
        description:
          - Name of the process, as its peers know it.
        type: str
        required: true
      id:
        description:
          - Its id in the system, empty where nobody knows it.
        type: str
        default: ""
      address:
        description:
          - Its recorded address.
        type: str
        required: true
      why:
        description:
          - What Kubernetes says of it, for messages.
        type: str
        default: ""
  samples:
    description:
      - How many inspections in a row must find all gates open.
    type: int
    default: 1
  interval:
    description:
      - Seconds from the beginning of one inspection to that of the next. It is never less than O(inspect.interval).
    type: float
    default: 2
  for_seconds:
    description:
      - How long all gates must have been open without a break.
    type: float
    default: 0
  timeout:
    description:
      - Seconds until the gates must have been open for long enough.
    type: int
    default: 300
  what:
    description:
      - What is being waited for, in the messages.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Ask every member
  hostnet.multicluster.member_inspect:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    members: "{{ hostnet_targets }}"
    inspect: "{{ hostnet_spec.inspect }}"
    spec: "{{ hostnet_spec }}"
  register: asked

- name: Wait until the system has settled
  hostnet.multicluster.member_inspect:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    members: "{{ hostnet_targets }}"
    inspect: "{{ hostnet_spec.inspect }}"
    spec: "{{ hostnet_spec }}"
    gates: [settled]
    member: east-0
    expected: "{{ hostnet_bindings | map(attribute='member') }}"
    samples: 3
    for_seconds: 60
    what: waiting for east-0 to settle
  when: hostnet_targets | length > 0
"""

RETURN = r"""
inspection:
  description: The last inspection, by member, as docs/systems.md describes it.
  returned: always
  type: dict
  sample:
    east-0: {reachable: true, healthy: true, reason: "", cluster_id: c1d, id: "8e9e", version: 3.6.16, leader: false, role: voter, peers: []}
targets:
  description: Those of O(members) that were asked, as M(hostnet.multicluster.member_exec) takes them.
  returned: always
  type: list
  elements: dict
  version_added: "0.4.0"
bindings:
  description: The bindings, with how far the log of each member has come, where its system tells that.
  returned: success, where O(members) are bindings
  type: list
  elements: dict
  version_added: "0.4.0"
verdict:
  description: Whether the members are one cluster, C(errors) and the C(cluster_id) that they report, by what the fact C(hostnet_deployment) has on record.
  returned: success, where O(members) are bindings
  type: dict
  sample: {errors: [], cluster_id: c1d}
  version_added: "0.4.0"
unknown_peers:
  description: Peers that the members list and that no binding accounts for, a sentence each. Looked for while members are to be admitted.
  returned: success, where O(members) are bindings
  type: list
  elements: str
  version_added: "0.4.0"
samples:
  description: How often the members were asked.
  returned: always
  type: int
  sample: 3
blocked:
  description: What speaks against going on, one text for each closed gate.
  returned: always
  type: list
  elements: str
lost:
  description: Members of O(bindings) whose VM was found to be gone.
  returned: always
  type: list
  elements: str
refusal:
  description: Why nobody takes the places of O(processes), and what to do; empty where nothing speaks against it.
  returned: always
  type: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 10
"""

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.inspect import (
    Json,
    Shape,
    Wait,
    answers,
    ask,
    vanished,
    wait_for_gates,
    with_liveness,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.port_forward import Kept
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings as copies
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import dead, gate, progress, proof

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "members": members_argument(),
    "inspect": {
        "type": "dict",
        "required": True,
        "options": {
            "commands": {"type": "dict", "default": {}},
            "http": {"type": "dict", "default": {}},
            "filter": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 30},
            "interval": {"type": "float", "default": 0},
            "liveness": {"type": "dict", "default": {}},
        },
    },
    "spec": {"type": "dict", "default": {}},
    "gates": {"type": "list", "elements": "raw", "default": []},
    "work": {"type": "str", "default": ""},
    "member": {"type": "str", "default": ""},
    "expected": {"type": "list", "elements": "str", "default": []},
    "bindings": {"type": "list", "elements": "dict", "default": []},
    "without_lost": {"type": "bool", "default": False},
    "processes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "member": {"type": "str", "required": True},
            "process": {"type": "str", "required": True},
            "id": {"type": "str", "default": ""},
            "address": {"type": "str", "required": True},
            "why": {"type": "str", "default": ""},
        },
    },
    "samples": {"type": "int", "default": 1},
    "interval": {"type": "float", "default": 2},
    "for_seconds": {"type": "float", "default": 0},
    "timeout": {"type": "int", "default": 300},
    "what": {"type": "str", "default": ""},
}


def run(_call_of_a_module: _call.Call) -> Json:
    raise _call.Failure("member_inspect runs on the controller only, where filters are: it needs its action plugin")


def questions_of(spec: Json) -> Json:
    """What the members of a system are asked, as O(inspect) takes it. Raises ValueError where the spec does not say it, or says it wrong."""
    given = {"inspect": spec["inspect"]} if spec.get("inspect") else {}
    validation = ArgumentSpecValidator({"inspect": ARGUMENTS["inspect"]}).validate(given)
    if validation.error_messages:
        raise ValueError(f"what the spec of the system says that members are asked: {'; '.join(validation.error_messages)}")
    questions: Json = validation.validated_parameters["inspect"]
    return questions


def asked(params: Json) -> Json:
    """What is asked of each member."""
    return with_liveness(params["inspect"]) if params["processes"] else dict(params["inspect"])


def inspect(call: _call.Call, shape: Shape, show: Any) -> Json:
    """The module's result. `shape` is the filter, `show` takes a line for whoever watches."""
    # Whoever changes something after this looks at it.
    call.params["lock"] = None
    with Kept() as kept:
        return _inspect(call, shape, show, kept)


def _inspect(call: _call.Call, shape: Shape, show: Any, kept: Kept) -> Json:
    params = call.params
    questions, spec = asked(params), params["spec"]
    try:
        gates = gate.named(params["gates"], spec, params["work"])
    except ValueError as error:
        raise _call.Failure(f"gates: {error}", inspection={}, targets=[], samples=0, blocked=[], lost=[], refusal="") from error

    if not gates:
        try:
            said = answers(call.clusters, params["members"], questions, spec, shape, kept)
        except ValueError as error:
            raise _call.Failure(str(error), inspection={}, targets=params["members"], samples=1, blocked=[], lost=[], refusal="") from error
        return {"changed": False, "inspection": said, "targets": params["members"], "samples": 1, "blocked": [], "lost": [], "refusal": ""}

    def sample() -> Json:
        return ask(call.clusters, params["members"], questions, spec, shape, kept)

    about = f" for {params['member']}" if params["member"] else ""
    what = params["what"] or f"waiting{about}"
    interval = max(params["interval"], questions["interval"], 0.0)
    # A check says what is closed now: nothing that it does is going to open it.
    wait = (
        Wait(1, interval, 0, 0, what)
        if call.check_mode
        else Wait(params["samples"], interval, params["for_seconds"], params["timeout"], what)
    )
    call.clusters  # noqa: B018 - what is wrong with a kubeconfig is no closed gate, and is said before the first sample
    found = wait_for_gates(
        sample,
        gates,
        params["member"],
        params["expected"],
        wait,
        show,
        processes=params["processes"],
        vanished=lambda names: vanished(call.clusters, [entry for entry in params["bindings"] if entry["member"] in names]),
        without=params["without_lost"],
    )
    refusal = dead.refusal(found["inspection"], params["processes"], params["timeout"])
    found = {**found, "targets": params["members"], "refusal": refusal}
    waited_for = not params["without_lost"] or params["member"] in found["lost"]
    if found["blocked"] and found["lost"] and waited_for and not call.check_mode:
        raise _call.Failure(f"{wait.what}: {'; '.join(found['blocked'])}", **found)
    if found["blocked"] and not call.check_mode:
        raise _call.Failure(f"{wait.what}: not within {wait.timeout:g} s: {'; '.join(found['blocked'])}", **found)
    return {"changed": False, **found}


def judged(plan: Json, bindings: list[Json], inspection: Json) -> Json:
    """What the answers of these members say of the deployment that `plan` (deployment_plan's) is of."""
    return {
        "bindings": progress.with_progress(bindings, inspection),
        "verdict": proof.verdict(plan, bindings, inspection),
        "unknown_peers": copies.unknown_peers(plan["members"], plan["new"], inspection) if plan["new"] else [],
    }


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
