# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod that runs a script on one node, and what its status says: no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "hostnet.multicluster"
RUN_LABEL = "hostnet.multicluster/run"
RUN_ID_LABEL = "hostnet.multicluster/run-id"
HOST_MOUNT = "/host"
LOOK_MOUNT = "/look"
# The log of a container mixes both streams. This file is writable even on a read-only root file system, and the kubelet
# puts its last 4096 bytes into the pod's status: stdout stays alone in the log.
_STDERR_FILE = "/dev/termination-log"

# Nothing the kubelet will get right by trying again.
_FATAL_WAITING = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True)
class Script:
    """What runs on each node. `timeout` in seconds; `host_path` and `look_path` `` mount nothing."""

    name: str
    namespace: str
    image: str
    text: str
    timeout: int
    host_path: str = ""
    host_path_type: str = "DirectoryOrCreate"
    look_path: str = ""
    host_network: bool = False
    capabilities: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    pull_secrets: Sequence[str] = ()

    @property
    def selector(self) -> str:
        """Finds the pods of every run of this name."""
        return f"{MANAGED_BY_LABEL}={MANAGED_BY},{RUN_LABEL}={self.name}"


def pod_name(script: Script, node: str, run_id: str) -> str:
    """A name that no other run uses; the node's name is hashed because it may be as long as a pod's name may be."""
    return f"{script.name[:40].rstrip('-.')}-{hashlib.sha256(node.encode()).hexdigest()[:8]}-{run_id}"


def pod_for(script: Script, node: str, env: Mapping[str, str], run_id: str) -> Json:
    """The pod that runs `script` on `node`."""
    container: Json = {
        "name": "run",
        "image": script.image,
        "command": ["sh", "-c", f"exec 2>{_STDERR_FILE}\n{script.text}"],
        "env": [{"name": key, "value": str(value)} for key, value in sorted(env.items())],
        "terminationMessagePath": _STDERR_FILE,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], **({"add": list(script.capabilities)} if script.capabilities else {})},
        },
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
    }
    spec: Json = {
        "restartPolicy": "Never",
        # matchFields keeps the scheduler in charge, which spec.nodeName would bypass.
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
                }
            }
        },
        # A cordoned or tainted node holds data and ports too; it has to be looked at like any other.
        "tolerations": [{"operator": "Exists"}],
        "hostNetwork": script.host_network,
        "dnsPolicy": "Default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": script.timeout,
        "terminationGracePeriodSeconds": 1,
        # Folders on the host are made and owned by root; without capabilities root is all that it needs to be.
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    mounts: list[Json] = []
    volumes: list[Json] = []
    if script.host_path:
        mounts.append({"name": "host", "mountPath": HOST_MOUNT})
        volumes.append({"name": "host", "hostPath": {"path": script.host_path, "type": script.host_path_type}})
    if script.look_path:
        # Looking makes no folder and changes nothing. What is mounted below comes along, and is read-only too where the runtime can do that.
        mounts.append({"name": "look", "mountPath": LOOK_MOUNT, "readOnly": True, "recursiveReadOnly": "IfPossible"})
        volumes.append({"name": "look", "hostPath": {"path": script.look_path, "type": "Directory"}})
    if mounts:
        container["volumeMounts"], spec["volumes"] = mounts, volumes
    if script.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in script.pull_secrets]
    labels = {**script.labels, MANAGED_BY_LABEL: MANAGED_BY, RUN_LABEL: script.name, RUN_ID_LABEL: run_id}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name(script, node, run_id), "namespace": script.namespace, "labels": labels},
        "spec": spec,
    }


def finished(pod: Mapping[str, Any] | None) -> bool:
    """True when nothing more will come of this pod: it ended, it cannot start, or somebody deleted it."""
    return pod is None or exit_code(pod) is not None or bool(failure(pod))


def exit_code(pod: Mapping[str, Any]) -> int | None:
    """The script's exit code, or None when it has not ended by itself."""
    status = pod.get("status", {})
    if status.get("reason"):
        return None  # a reason (DeadlineExceeded, Evicted) means that the kubelet ended it
    over = status.get("phase") in ("Succeeded", "Failed")
    for container in status.get("containerStatuses", ()):
        ended = container.get("state", {}).get("terminated")
        if not ended or ended.get("reason") not in (None, "", "Completed", "Error"):
            continue
        code = int(ended.get("exitCode", 0))
        # The phase follows a second later, and so does the reason of a pod that the kubelet ended; what ended by itself and well needs neither.
        if over or code == 0:
            return code
    return None


def may_run(pod: Mapping[str, Any]) -> bool:
    """True where the script runs, or could be running by now as far as this status tells."""
    status = pod.get("status", {})
    states = status.get("containerStatuses", ())
    return status.get("phase") not in ("Succeeded", "Failed") and (
        not states or any("running" in container.get("state", {}) for container in states)
    )


def runs(pod: Mapping[str, Any] | None) -> bool:
    """True where the kubelet says that the script runs now."""
    states = (pod or {}).get("status", {}).get("containerStatuses", ())
    return bool(states) and all("running" in container.get("state", {}) for container in states)


def stderr(pod: Mapping[str, Any]) -> str:
    """The end of what the script wrote to stderr, at most 4096 bytes."""
    for container in pod.get("status", {}).get("containerStatuses", ()):
        ended = container.get("state", {}).get("terminated")
        if ended:
            return str(ended.get("message", ""))
    return ""


def failure(pod: Mapping[str, Any]) -> str:
    """Why this pod will never give a result, or `` while it still may."""
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
            return f"FailedScheduling: {condition.get('message', '')}"
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _FATAL_WAITING:
            return ": ".join(filter(None, (waiting["reason"], waiting.get("message", ""))))
    if status.get("phase") == "Failed" and exit_code(pod) is None:
        ended = [container.get("state", {}).get("terminated") or {} for container in status.get("containerStatuses", ())]
        reason = status.get("reason") or "".join(str(state.get("reason", "")) for state in ended) or "Failed"
        message = status.get("message") or "".join(str(state.get("message", "")) for state in ended)
        return ": ".join(filter(None, (reason, message)))
    if pod.get("metadata", {}).get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        return "the pod is being deleted by somebody else (another run with the same name?)"
    return ""
