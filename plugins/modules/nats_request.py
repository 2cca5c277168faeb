#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nats_request
short_description: Asks a NATS server one question, as a user with an nkey
version_added: "0.2.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Sends one request to a NATS server, and returns its answer. Some requests are for users of the system account alone, such as those that change
    JetStream's meta group.
  - The server's port for clients is on its host's address, which the controller may not reach. So the bytes go through a short-lived pod on the
    member's node, with C(nc). TLS with certificates on both sides is spoken between this module and the server; the pod sees nothing of it.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Nothing is asked, and RV(answer) is empty.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: none
  idempotent:
    support: N/A
    details:
      - Whether a second run changes anything is up to the request.
options:
  member:
    description:
      - The member whose server is asked, as M(hostnet.multicluster.member_exec) takes it. Its O(member.variables) must have C(address) and C(node).
    type: dict
    required: true
    suboptions:
      member:
        description:
          - Name of the member.
        type: str
        required: true
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      namespace:
        description:
          - Namespace of its pod.
        type: str
        required: true
      pod:
        description:
          - Name of its pod.
        type: str
        required: true
      container:
        description:
          - Name of the container. Empty means the pod's first.
        type: str
        default: ""
      variables:
        description:
          - C(address), the address of its host, and C(node), the name of its node.
        type: dict
        default: {}
  port:
    description:
      - Port for clients.
    type: int
    default: 4222
  pki_dir:
    description:
      - Folder on the controller, as M(hostnet.multicluster.host_certificates) made it. The certificate of this client is the
        member's own, C(MEMBER/CERTIFICATE.crt).
    type: path
    required: true
  certificate:
    description:
      - File name of the member's certificate, without extension.
    type: str
    default: server
  ca_certificate:
    description:
      - The CA's certificate, by default C(ca.crt) in O(pki_dir).
    type: path
  nkey:
    description:
      - Name of the user's key, one of the C(nkeys) of M(hostnet.multicluster.host_certificates).
    type: str
    required: true
  subject:
    description:
      - What is asked, C($JS.API.SERVER.REMOVE) for instance.
    type: str
    required: true
  body:
    description:
      - The request, which is sent as JSON.
    type: dict
    default: {}
  refresh:
    description:
      - A command in the member's container. It runs where the server does not know the user yet, whose configuration may be on its way, and
        the question is asked again until O(timeout).
    type: list
    elements: str
    default: []
    version_added: "0.3.0"
  image:
    description:
      - Image of the short-lived pod, with C(sh), C(sleep) and C(nc).
    type: str
    required: true
  pull_secrets:
    description:
      - Names of Secrets in the member's namespace that O(image) is pulled with.
    type: list
    elements: str
    default: []
  name:
    description:
      - First part of the pod's name.
    type: str
    default: hostnet-nats
  changes:
    description:
      - Whether the request changes something. The module then returns C(changed=true), in check mode too.
    type: bool
    default: false
  timeout:
    description:
      - Seconds for everything, pulling the image included.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Ask who one is
  hostnet.multicluster.nats_request:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    member: "{{ hostnet_targets | first }}"
    pki_dir: "{{ hostnet.pki_dir }}"
    nkey: system
    subject: $SYS.REQ.USER.INFO
    image: "{{ hostnet.probe_image }}"
"""

RETURN = r"""
answer:
  description: The answer, as the server's JSON has it. Whether it is an error is for the caller to see.
  returned: always
  type: dict
  sample: {success: true}
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 10
"""

import time
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.systems import nats
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import waiting

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "member": {"type": "dict", "required": True, "options": members_argument()["options"]},
    "port": {"type": "int", "default": 4222},
    "pki_dir": {"type": "path", "required": True},
    "certificate": {"type": "str", "default": "server"},
    "ca_certificate": {"type": "path"},
    "nkey": {"type": "str", "required": True, "no_log": False},
    "subject": {"type": "str", "required": True},
    "body": {"type": "dict", "default": {}},
    "refresh": {"type": "list", "elements": "str", "default": []},
    "image": {"type": "str", "required": True},
    # Names of Secrets, not what is in them.
    "pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "name": {"type": "str", "default": "hostnet-nats"},
    "changes": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 120},
}


def problem(params: dict[str, Any]) -> str:
    """What is wrong with the parameters, or `` when nothing is."""
    stray = _call.stray(params, "member")
    if stray:
        return stray
    missing = [key for key in ("address", "node") if not params["member"]["variables"].get(key)]
    if missing:
        return f"member.variables has no {' and no '.join(missing)}"
    if not 0 < params["port"] < 65536:
        return "port must be a number from 1 to 65535"
    if not params["subject"] or any(sign.isspace() for sign in params["subject"]):
        return "subject must be a word"
    if params["timeout"] < 1:
        return f"timeout is {params['timeout']}; give at least 1 second"
    return ""


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    wrong = problem(params)
    if wrong:
        raise _call.Failure(wrong, answer={})
    if call.check_mode:
        return {"changed": params["changes"], "answer": {}}
    member, folder = Member(**params["member"]), params["pki_dir"]
    script = waiting(params["name"], member.namespace, params["image"], params["timeout"], params["pull_secrets"])
    certificate = f"{folder}/{member.member}/{params['certificate']}"
    files = nats.Files(
        ca=params["ca_certificate"] or f"{folder}/ca.crt",
        certificate=f"{certificate}.crt",
        private_key=f"{certificate}.key",
        nkey=f"{folder}/{params['nkey']}.nk",
    )
    cluster = call.clusters[member.kube_cluster]
    try:
        answer = nats.ask(
            cluster,
            member,
            params["port"],
            files,
            nats.Question(params["subject"], params["body"]),
            script,
            params["refresh"],
            time.monotonic() + params["timeout"],
        )
    except (client.KubeError, nats.NatsError) as error:
        raise _call.Failure(f"NATS' server of member {member.member}: {params['subject']}: {error}", answer={}) from error
    return {"changed": params["changes"], "answer": answer}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
