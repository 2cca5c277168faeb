# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the roles vm_* have in common: the VM as a rollout tells a hook of it, and the role run as a rollout runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .kube_api import KubeApi
from .run import PlayRun, run_tasks

Json = dict[str, Any]


def vm_of(kube: KubeApi, node: Json, action: str = "replace", **changed: Any) -> Json:
    """`hostnet_vm` of a Node as it is now."""
    labels, info = node["metadata"].get("labels", {}), node["status"]["nodeInfo"]
    return {
        "action": action,
        "kube_cluster": kube.name,
        "node": node["metadata"]["name"],
        "node_uid": node["metadata"]["uid"],
        "provider_id": node["spec"].get("providerID", ""),
        "pool": "",
        "region": labels.get("topology.kubernetes.io/region", ""),
        "zone": labels.get("topology.kubernetes.io/zone", ""),
        "address": "",
        "boot_id": info["bootID"],
        "machine_id": info["machineID"],
        **changed,
    }


def run_role(
    role: str, kube_clusters: list[Json], vm: Json, *, check: bool = False, environment: Mapping[str, str] | None = None, **variables: Any
) -> PlayRun:
    tasks = [{"name": "The hook", "ansible.builtin.include_role": {"name": f"hostnet.multicluster.{role}"}}]
    known = {"hostnet": {"kube_clusters": kube_clusters}, "hostnet_vm": vm, **variables}
    return run_tasks(tasks, check=check, variables=known, environment=environment)


def told(run: PlayRun) -> str:
    """What the role said at the end, or why it failed."""
    failed = [task for task in run.tasks if task.outcome == "failed"]
    assert bool(failed) == (run.rc != 0), run.output
    return str((failed or run.tasks)[-1].result.get("msg", ""))
