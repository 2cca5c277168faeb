#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: member_exec
short_description: Runs commands in the pods of many members, and sends HTTP requests to them
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Runs the same commands in the pod of every member listed, all members at the same time, and returns exit code and output of each.
  - Sends HTTP requests to ports of the pods through a port-forward of the API server. For pods on the host's network that is a port of the
    host's C(127.0.0.1), which no other machine can reach.
  - A member that does not answer gives a text in C(error) and does not stop the others.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Commands, and requests with a body, run in check mode only with O(read_only=true). Otherwise RV(results) is empty and
        RV(skipped_members) names the members.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: partial
    details:
      - It is what O(diff) says, because the module does not know what a command changes.
  idempotent:
    support: N/A
    details:
      - Whether a second run changes anything is up to the commands.
options:
  commands:
    description:
      - The commands, from a name of yours to the list of arguments. No shell is involved.
      - C({key}) is replaced where the member has such a variable; other braces stay as they are.
      - The commands of one member run one after the other, in this order.
      - Commands may show up in error messages and in the audit log of the API server - no secrets here.
    type: dict
    default: {}
  http:
    description:
      - HTTP requests to the loopback address of the pod, from a name of yours to a dictionary with C(port), and if wanted C(path) (default C(/)),
        C(body) (a dictionary, sent as JSON with POST; without it, it is a GET), C(timeout) (seconds, within O(timeout)) and C(tls).
      - C(tls) has the paths on the controller C(ca), C(certificate) and C(private_key), in which C({key}) is replaced too. The member's certificate
        must be for its C(address) in O(members[].variables). TLS is spoken from here to the member.
      - A request with C(tls) may have the name of one of O(commands). The command then runs only where one of the files is not there.
      - They are sent after the commands of the member.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds for everything. A command that is cut off goes on in its container.
    type: int
    default: 60
  read_only:
    description:
      - Promises that commands and requests change nothing. They then run in check mode too, and the module returns C(changed=false).
    type: bool
    default: false
  fail:
    description:
      - Whether an error, an exit code other than 0 or an HTTP status from 400 on fails the module. What follows a failed command of the
        same member is left out then, unless O(read_only=true).
    type: bool
    default: true
  diff:
    description:
      - What the commands change, with C(before) and C(after), to be shown with C(--diff). Ignored with O(read_only=true).
    type: dict
    default: {}
    version_added: "0.4.0"
"""

EXAMPLES = r"""
- name: Ask every member for its version and its health
  hostnet.multicluster.member_exec:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    members: "{{ members }}"
    commands:
      version: [sh, -c, 'echo "{member} runs $0"', "{version}"]
    http:
      health: {port: 18080, path: /health}
    read_only: true
    fail: false
  register: health

- name: Reload one member
  hostnet.multicluster.member_exec:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    members: "{{ members[:1] }}"
    commands:
      reload: [touch, /tmp/reloaded]
"""

RETURN = r"""
results:
  description:
    - The answers, by member and by name of the command or of the HTTP request.
    - A command gives C(rc) (null where it did not run to its end), C(stdout), C(stderr) and C(error); an HTTP request gives C(status) (0
      where no answer came), C(body) and C(error). C(error) is empty where all went well.
    - Where the way to the member failed, so that nothing is known of it and the same may succeed later, there is C(passing), which is true.
  returned: always
  type: dict
  sample:
    east-0:
      version: {rc: 0, stdout: "3.6.16\n", stderr: "", error: ""}
      health: {status: 200, body: "ok", error: ""}
skipped_members:
  description: The members that would have been asked.
  returned: in check mode
  type: list
  elements: str
failures:
  description: One line for each answer that failed the module.
  returned: on failure
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 10
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.ask import ask_members, told
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.port_forward import TLS_FILES, Http

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "members": members_argument(),
    "commands": {"type": "dict", "default": {}},
    "http": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 60},
    "read_only": {"type": "bool", "default": False},
    "fail": {"type": "bool", "default": True},
    "diff": {"type": "dict", "default": {}},
}

_REQUEST = {"port", "path", "body", "timeout", "tls"}


def problem(params: dict[str, Any]) -> str:
    """What is wrong with the parameters, or `` when nothing is."""
    stray = _call.stray(params, "members")
    if stray:
        return stray
    seen: set[str] = set()
    for index, member in enumerate(params["members"]):
        if member["member"] in seen:
            return f"members[{index}]: member {member['member']} is given twice; give it once"
        seen.add(member["member"])
    for name, argv in params["commands"].items():
        if not isinstance(argv, list) or not argv or any(isinstance(argument, (dict, list)) or argument is None for argument in argv):
            return f"commands.{name} must be a list of arguments, such as [etcdctl, member, list]"
    for name, request in params["http"].items():
        wrong = _wrong_request(request)
        if not wrong and name in params["commands"] and not request.get("tls"):
            wrong = ": a command has this name too, which stands in only for a request with tls; give it another one"
        if wrong:
            return f"http.{name}{wrong}"
    if params["timeout"] < 1:
        return f"timeout is {params['timeout']}; give at least 1 second"
    return ""


def _wrong_request(request: Any) -> str:
    if not isinstance(request, dict) or not str(request.get("port", "")).isdigit() or not 0 < int(request["port"]) < 65536:
        return ".port must be a number from 1 to 65535"
    unknown = sorted(set(request) - _REQUEST)
    if unknown:
        return f".{unknown[0]} is not known; use {', '.join(sorted(_REQUEST))}"
    if not str(request.get("path", "/")).startswith("/") or any(sign in str(request.get("path", "/")) for sign in " \r\n"):
        return ".path must start with / and have no spaces"
    if not isinstance(request.get("body", {}), dict):
        return ".body must be a dictionary, which is sent as JSON"
    if not isinstance(request.get("timeout", 1), (int, float)) or request.get("timeout", 1) <= 0:
        return ".timeout must be a number of seconds above 0"
    files = request.get("tls", dict.fromkeys(TLS_FILES, "/"))
    if not isinstance(files, dict) or set(files) != set(TLS_FILES):
        return f".tls must have exactly {', '.join(TLS_FILES)}, which are paths on the controller"
    return ""


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    wrong = problem(params)
    if wrong:
        raise _call.Failure(wrong, results={})
    commands = {name: [str(argument) for argument in argv] for name, argv in params["commands"].items()}
    http = {name: Http.of(request) for name, request in params["http"].items()}
    members = [Member(**member) for member in params["members"]]
    may_change = bool(commands) or any(request.body is not None for request in http.values())
    changes = may_change and bool(members) and not params["read_only"]
    shown = {"diff": params["diff"]} if call.diff and changes and params["diff"] else {}
    if call.check_mode and changes:
        return {"changed": True, "results": {}, "skipped_members": [member.member for member in members], **shown}
    try:
        clusters = call.clusters
    except client.KubeError as error:
        raise _call.Failure.of(error, results={}) from error
    stop = params["fail"] and not params["read_only"]
    results = ask_members(clusters, members, commands, http, params["timeout"], stop_at_failure=stop, read_only=params["read_only"])
    result: dict[str, Any] = {"changed": changes, "results": results, **shown}
    if params["fail"]:
        msg, more = told(results, members, commands)
        if msg:
            raise _call.Failure(msg, **more, **result)
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
