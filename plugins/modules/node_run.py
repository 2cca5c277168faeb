#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: node_run
short_description: Runs a shell script on many nodes of many kube clusters, each in a short-lived pod
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Runs one POSIX shell script on every node listed, all at the same time, and returns exit code and output of each. No SSH is needed.
  - Each node gets one pod, pinned by node affinity, which tolerates everything, so that cordoned and tainted nodes are reached too.
  - The pods of a kube cluster are awaited with one watch and deleted at the end, also after an error. What an earlier run that was
    killed left behind is removed first.
  - The script runs as root, because it may have to make folders on the host that belong to another user, but without any capability
    that is not in O(capabilities), without a service account token and on a read-only root file system. The only folder it can write to is
    C(/host), where O(host_path) is mounted.
  - With O(pull) the nodes also pull other images, of which nothing is run, and the result is there when all of them are. A registry that does not
    give one is asked again, by the kubelet, until O(timeout). What the kubelet says against it meanwhile is printed when it changes.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - No pod is made, RV(results) is empty and RV(skipped_nodes) names the nodes.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: none
  idempotent:
    support: N/A
    details:
      - Whether a second run changes anything is up to the script; see O(changes).
options:
  namespace:
    description:
      - Namespace of the pods, in every kube cluster. It must allow what the other options ask for, such as host paths.
    type: str
    required: true
  image:
    description:
      - Container image with C(sh) and what the script calls.
    type: str
    required: true
  nodes:
    description:
      - The nodes. One that is given twice is an error.
    type: list
    elements: dict
    required: true
    suboptions:
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      name:
        description:
          - Name of the node.
        type: str
        required: true
      env:
        description:
          - Environment variables of the script on this node. They can be read by everybody who may read pods - no secrets here.
        type: dict
        default: {}
  script:
    description:
      - The script, run by C(sh -c).
    type: str
    required: true
  host_path:
    description:
      - Folder of the host that is mounted at C(/host). Without it nothing of the host's disk is seen.
    type: str
  host_path_type:
    description:
      - What the kubelet asks of O(host_path) before it starts the pod. V(Directory) fails where it does not exist.
    type: str
    choices: [Directory, DirectoryOrCreate]
    default: DirectoryOrCreate
  look_path:
    description:
      - Folder of the host that is mounted read-only at C(/look), with all that is mounted below it. It must exist.
    type: str
    version_added: "0.3.0"
  pull_secrets:
    description:
      - Names of Secrets in O(namespace) that O(image) and those of O(pull) are pulled with.
    type: list
    elements: str
    default: []
    version_added: "0.3.0"
  pull:
    description:
      - Images that each node has to pull. Each is that of a container with a command that is in no image, so the kubelet pulls it, makes the
        container and cannot start it. That the pod ends as C(Failed), with the reason C(StartError), is therefore as it should be.
    type: list
    elements: dict
    default: []
    version_added: "0.4.0"
    suboptions:
      image:
        description:
          - The image.
        type: str
        required: true
      policy:
        description:
          - C(imagePullPolicy) of the container. Without it Kubernetes' default.
        type: str
        choices: [Always, IfNotPresent, Never]
  host_network:
    description:
      - Whether the script sees the host's network.
    type: bool
    default: false
  capabilities:
    description:
      - Linux capabilities that the script needs, such as V(CHOWN). All others are dropped.
    type: list
    elements: str
    default: []
  name:
    description:
      - First part of the pods' names, and the label C(hostnet.multicluster/run). Two runs with the same name in the same namespace disturb
        each other.
    type: str
    default: hostnet-run
  labels:
    description:
      - More labels of the pods.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds for everything, pulling images included. Pods that are still there after that time are stopped by their kubelet too.
    type: int
    default: 120
  fail:
    description:
      - Whether an exit code other than 0 fails the module.
    type: bool
    default: true
  changes:
    description:
      - Whether the script changes something. The module then returns C(changed=true), in check mode too.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Free space below the data folder of each node
  hostnet.multicluster.node_run:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    namespace: hostnet-example
    image: "{{ image }}"
    host_path: /var/lib
    nodes: "{{ nodes }}"
    script: |
      df -P /host | tail -n 1
  register: space

- name: A folder of one member, owned by its user
  hostnet.multicluster.node_run:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    namespace: hostnet-example
    image: "{{ image }}"
    name: example-admit
    host_path: /var/lib/hostnet-example
    capabilities: [CHOWN]
    changes: true
    nodes:
      - kube_cluster: "{{ nodes[0].kube_cluster }}"
        name: "{{ nodes[0].name }}"
        env:
          ADMISSION: a1b2c3
    script: |
      set -eu
      mkdir -p "/host/$ADMISSION"
      chown 10001:10001 "/host/$ADMISSION"
"""

RETURN = r"""
results:
  description: What the script gave on each node, in the order of O(nodes).
  returned: always
  type: list
  elements: dict
  contains:
    kube_cluster:
      description: Name of the kube cluster.
      type: str
    node:
      description: Name of the node.
      type: str
    rc:
      description: Exit code of the script.
      type: int
    stdout:
      description: What it wrote to its standard output, at most 1 MiB.
      type: str
    stderr:
      description: The end of what it wrote to its standard error, at most 4096 bytes.
      type: str
  sample:
    - kube_cluster: east
      node: east-worker
      rc: 0
      stdout: "free\n"
      stderr: ""
skipped_nodes:
  description: The nodes that the script would have run on.
  returned: in check mode
  type: list
  elements: dict
  contains:
    kube_cluster:
      description: Name of the kube cluster.
      type: str
    node:
      description: Name of the node.
      type: str
failures:
  description: One line for each node that gave no result or an exit code other than 0.
  returned: on failure
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 14
"""

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.run import Target, run_on_nodes
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import Pull, Script

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "namespace": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "env": {"type": "dict", "default": {}},
        },
    },
    "script": {"type": "str", "required": True},
    "host_path": {"type": "str"},
    "host_path_type": {"type": "str", "choices": ["Directory", "DirectoryOrCreate"], "default": "DirectoryOrCreate"},
    "look_path": {"type": "str"},
    # Names of Secrets, not what is in them.
    "pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "pull": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "image": {"type": "str", "required": True},
            "policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"]},
        },
    },
    "host_network": {"type": "bool", "default": False},
    "capabilities": {"type": "list", "elements": "str", "default": []},
    "name": {"type": "str", "default": "hostnet-run"},
    "labels": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 120},
    "fail": {"type": "bool", "default": True},
    "changes": {"type": "bool", "default": False},
}


def problem(params: dict[str, Any]) -> str:
    """What is wrong with the parameters, or `` when nothing is."""
    stray = _call.stray(params, "nodes")
    if stray:
        return stray
    seen = set()
    for index, node in enumerate(params["nodes"]):
        key = (node["kube_cluster"], node["name"])
        if key in seen:
            return f"nodes[{index}]: node {node['name']} of kube cluster {node['kube_cluster']} is given twice; give it once"
        seen.add(key)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", params["name"]):
        return f"name {params['name']!r} is not a DNS label (lower case letters, digits and -, at most 63)"
    for option in ("host_path", "look_path"):
        path = params[option] or ""
        if path and (not path.startswith("/") or ".." in path.split("/")):
            return f"{option} {path!r} must be an absolute path without '..'"
    if params["timeout"] < 1:
        return f"timeout is {params['timeout']}; give at least 1 second"
    return ""


def exit_failures(results: list[dict[str, Any]]) -> list[str]:
    """A line for each result whose exit code is not 0."""
    lines = []
    for result in results:
        if result["rc"] != 0:
            said = " / ".join((result["stderr"] or result["stdout"]).strip().splitlines()[-5:])
            lines.append(
                f"kube cluster {result['kube_cluster']}: node {result['node']}: the script ended with exit code {result['rc']}: {said}"
            )
    return lines


def run(call: _call.Call, show: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    params = call.params
    wrong = problem(params)
    if wrong:
        raise _call.Failure(wrong, results=[])
    script = Script(
        name=params["name"],
        namespace=params["namespace"],
        image=params["image"],
        text=params["script"],
        timeout=params["timeout"],
        host_path=params["host_path"] or "",
        host_path_type=params["host_path_type"],
        look_path=params["look_path"] or "",
        pull_secrets=params["pull_secrets"],
        pulls=[Pull(entry["image"], entry["policy"] or "") for entry in params["pull"]],
        host_network=params["host_network"],
        capabilities=params["capabilities"],
        labels=params["labels"],
    )
    targets = [Target(node["kube_cluster"], node["name"], node["env"]) for node in params["nodes"]]
    changed = params["changes"] and bool(targets)
    try:
        clusters = call.clusters
        if call.check_mode:
            skipped = [{"kube_cluster": target.kube_cluster, "node": target.node} for target in targets]
            return {"changed": changed, "results": [], "skipped_nodes": skipped}
        outcome = run_on_nodes(clusters, targets, script, show)
    except client.KubeError as error:
        raise _call.Failure.of(error, results=[]) from error
    if params["fail"]:
        outcome.failures += exit_failures(outcome.results)
    result: dict[str, Any] = {"changed": changed, "results": outcome.results}
    if outcome.failures:
        raise _call.Failure(outcome.failure_text(), failures=outcome.failures, **result)
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
