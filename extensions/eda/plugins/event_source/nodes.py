# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event source for ansible-rulebook: what becomes of the VMs and members of deployments, over all kube clusters."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nodes
short_description: What becomes of the VMs and members of deployments, over all kube clusters
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Watches nodes, members' pods and records of all kube clusters, and emits one event for each sign and object when it begins, and one when it ends.
    docs/events.md lists the events and their fields.
  - After a start the problems that are there are emitted once.
  - A kube cluster that does not answer is an event. Nothing is concluded about its members until it answers again.
  - It changes nothing. It needs the rights to list and watch that docs/rbac.yaml grants.
options:
  kube_clusters:
    description:
      - The kube clusters, as O(kube_clusters) of the inventory plugin P(hostnet.multicluster.nodes#inventory), with the same names. Or the word
        V(all_contexts).
    type: list
    elements: dict
    required: true
  kubeconfig:
    description:
      - The kubeconfig of each entry of O(kube_clusters) that names none. Without it the environment variables E(K8S_AUTH_KUBECONFIG) and E(KUBECONFIG)
        are asked, then C(~/.kube/config).
      - A relative path starts at the folder in which ansible-rulebook was started.
    type: str
  node_selector:
    description:
      - Label selector of the nodes that are to carry members, as for the inventory plugin. It tells which new node may take the place of one that is gone.
      - Without it, any node that is not of a control plane.
    type: str
  address_type:
    description:
      - As for the inventory plugin.
    type: str
    default: InternalIP
  name:
    description:
      - Name of the deployment. Without it all deployments that are recorded.
    type: str
  namespace:
    description:
      - Namespace of the deployment; C(hostnet-) and its name when omitted. Without O(name), all deployments of this namespace.
      - With neither, pods, ConfigMaps and Secrets of all namespaces are listed, which takes a ClusterRoleBinding.
    type: str
  lasting_seconds:
    description:
      - Seconds for which a VM has to be gone, a new one there, a node not Ready or a member not ready before that is an event.
    type: float
    default: 60
  remind_seconds:
    description:
      - A problem that is still there after so many seconds is emitted again, with C(again) true, so that an action that has failed gets another try.
        V(0) for never.
    type: float
    default: 1800
  certificate_days:
    description:
      - A certificate with fewer days left is an event.
    type: int
    default: 30
requirements:
  - python >= 3.11
  - In the Python of ansible-rulebook, ansible-core >= 2.19, urllib3 >= 2.0, websocket-client >= 1.4 and PyYAML
"""

EXAMPLES = r"""
- hostnet.multicluster.nodes:
    kube_clusters:
      - name: east
        context: gke_ledger_us-east1_db
      - name: west
        context: gke_ledger_us-west1_db
    kubeconfig: ~/.kube/production
    node_selector: cloud.google.com/gke-nodepool=db
    name: ledger
    namespace: ledger
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

# Nobody has set what is empty. kube_clusters is checked as the inventory plugin does it.
ARGUMENTS: dict[str, Any] = {
    "kube_clusters": {"type": "raw"},
    "kubeconfig": {"type": "str"},
    "node_selector": {"type": "str"},
    "address_type": {"type": "str", "default": "InternalIP"},
    "name": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "lasting_seconds": {"type": "float", "default": 60.0},
    "remind_seconds": {"type": "float", "default": 1800.0},
    "certificate_days": {"type": "int", "default": 30},
}
# Changes that come together are looked at together.
_TOGETHER_SECONDS = 1.0
# What only time changes, such as the days that a certificate has left, is looked at that often.
_LOOK_SECONDS = 300.0


def _importable() -> None:
    """Let Python find the collection that this file is in: ansible-rulebook runs a source as a script of no package."""
    root = next((str(folder.parent) for folder in Path(__file__).absolute().parents if folder.name == "ansible_collections"), None)
    if root is None:
        raise ImportError(
            f"{__file__} is in no folder ansible_collections: install the collection and name the source hostnet.multicluster.nodes, without --source-dir"
        )
    if root not in sys.path:
        sys.path.insert(0, root)
    import ansible_collections

    # The Ansible package has a folder of that name too, which ends Python's search.
    mine = os.path.join(root, "ansible_collections")
    if mine not in list(ansible_collections.__path__):
        ansible_collections.__path__.append(mine)


def _source(args: dict[str, Any]) -> Any:
    """What watches, from the options. Raises ValueError with what is wrong with them."""
    _importable()
    try:
        from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

        from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client, events, named
        from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import libraries
        from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names
    except ImportError as error:
        raise ValueError(
            f"hostnet.multicluster.nodes needs ansible-core in the Python of ansible-rulebook, {sys.executable}: {error}"
        ) from error
    if lacking := libraries.missing():
        raise ValueError(lacking)
    # An option that a rulebook fills from a variable is there, and empty, where nobody has set the variable.
    given = {option: value for option, value in args.items() if value not in (None, "") and option != "eda_feedback_queue"}
    result = ArgumentSpecValidator(ARGUMENTS).validate(given)
    if result.error_messages:
        raise ValueError(f"hostnet.multicluster.nodes: {'; '.join(result.error_messages)}")
    options = result.validated_parameters
    negative = [option for option in ("lasting_seconds", "remind_seconds", "certificate_days") if options[option] < 0]
    if negative:
        raise ValueError(f"hostnet.multicluster.nodes: {negative[0]} is {options[negative[0]]}, and must not be negative")
    for option in ("name", "namespace"):
        if options[option] and not names.is_dns_label(options[option]):
            raise ValueError(f"hostnet.multicluster.nodes: {option} is {options[option]!r}, which is no DNS label")
    if options["name"] and not options["namespace"]:
        options["namespace"] = f"hostnet-{options['name']}"
    kubeconfig = options["kubeconfig"] or os.environ.get("K8S_AUTH_KUBECONFIG") or ""
    try:
        entries = named.entries(options["kube_clusters"], kubeconfig, os.getcwd(), bool(options["kubeconfig"]))
        return events.Source(entries, options)
    except (ValueError, client.KubeError) as error:
        raise ValueError(f"hostnet.multicluster.nodes: {error}") from None


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Put events into the queue until it is cancelled."""
    source = _source(args)
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        # A thread may come when the loop has ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    source.start(wake)
    try:
        while True:
            changed.clear()
            for event in await asyncio.to_thread(source.look):
                await queue.put(event)
                await asyncio.sleep(0)
            due = source.pause()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK_SECONDS if due is None else min(due, _LOOK_SECONDS))
            await asyncio.sleep(_TOGETHER_SECONDS)
    finally:
        source.stop()
