# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod that runs a script on one node, and what its status says: no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .hardened import hardened

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

# Of an image: no try after this one is another.
_REFUSED = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_BACK_OFF = "ImagePullBackOff"
# Exit codes from here on are those of a shell that a signal has ended.
_SIGNALLED = 128
# Nothing the kubelet will get right by trying again.
_FATAL_WAITING = _REFUSED | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# The image is there, and no process can be made of it: what becomes of each container that only has its image pulled.
_PULLED_WAITING = frozenset({"CreateContainerError", "RunContainerError", "StartError"})
# The kubelet is at it, and has nothing to complain of.
_AT_IT = frozenset({"", "ContainerCreating", "PodInitializing"})
# Containers that have an image pulled, and a command that is in no image: also one without a shell needs nothing for it, and nothing of it ever runs.
_PULL_PREFIX = "pull-"
_NO_COMMAND = "/hostnet.multicluster/only-pulls-this-image"
# A kubelet that ends a pod forgets why an image did not come. Whoever waits is to read it before.
_LAST_LOOK_SECONDS = 30


@dataclass(frozen=True)
class Pull:
    """An image that has to be on the node, and the container's imagePullPolicy; `` is Kubernetes' default."""

    image: str
    policy: str = ""


@dataclass(frozen=True)
class Script:
    """What runs on each node. `timeout` in seconds; `host_path` and `look_path` `` mount nothing. `pulls`: what else the node has to pull."""

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
    pulls: Sequence[Pull] = ()

    @property
    def selector(self) -> str:
        """Finds the pods of every run of this name."""
        return f"{MANAGED_BY_LABEL}={MANAGED_BY},{RUN_LABEL}={self.name}"


def waiting(name: str, namespace: str, image: str, seconds: int, pull_secrets: Sequence[str]) -> Script:
    """A pod on the host's network that does nothing for so long: what talks to the host goes through it."""
    return Script(
        name=name, namespace=namespace, image=image, text=f"sleep {seconds}", timeout=seconds, host_network=True, pull_secrets=pull_secrets
    )


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
        "securityContext": hardened(script.capabilities),
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
        "activeDeadlineSeconds": script.timeout + (_LAST_LOOK_SECONDS if script.pulls else 0),
        "terminationGracePeriodSeconds": 1,
        # Folders on the host are made and owned by root; without capabilities root is all that it needs to be.
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}},
        # The kubelet starts them in this order: the script does not wait for the images.
        "containers": [container, *(_pull_container(number, pull) for number, pull in enumerate(script.pulls))],
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


def _pull_container(number: int, pull: Pull) -> Json:
    return {
        "name": f"{_PULL_PREFIX}{number}",
        "image": pull.image,
        **({"imagePullPolicy": pull.policy} if pull.policy else {}),
        "command": [_NO_COMMAND],
        "securityContext": {**hardened(), "runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534},
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
    }


def of_script(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The statuses of the script's own container: none, or one."""
    found = pod.get("status", {}).get("containerStatuses", ())
    return [status for status in found if not str(status.get("name", "")).startswith(_PULL_PREFIX)]


def _pulls(pod: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(image, status of its container) for each image of a pod that has images pulled, the script's own too; none of any other pod."""
    containers = pod.get("spec", {}).get("containers", ())
    if not any(str(container["name"]).startswith(_PULL_PREFIX) for container in containers):
        return []
    statuses = {status.get("name"): status for status in pod.get("status", {}).get("containerStatuses", ())}
    return [(str(container["image"]), statuses.get(container["name"], {})) for container in containers]


def _waiting(status: Mapping[str, Any]) -> tuple[str, str]:
    """(reason, message) of a container that waits."""
    waiting = status.get("state", {}).get("waiting") or {}
    return str(waiting.get("reason", "")), str(waiting.get("message", ""))


def _is_pulled(status: Mapping[str, Any]) -> bool:
    """Whether the kubelet says that it has made a container of the image, or has tried to. Of what it does not say nothing is concluded."""
    state = status.get("state", {})
    ended = state.get("terminated")
    if ended:
        # Of a container that there never was, when its pod was ended before.
        return bool(status.get("imageID")) or ended.get("reason") != "ContainerStatusUnknown"
    return bool(status.get("imageID")) or "running" in state or _waiting(status)[0] in _PULLED_WAITING


def unpulled(pod: Mapping[str, Any], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The images that nothing proves to be on the node yet, and what its kubelet said against each so far: `` while that is nothing.

    `before` is what this returned of the pod last: a back-off alone does not say why, and older kubelets say no more then.
    """
    found: dict[str, str] = {}
    for image, status in _pulls(pod):
        if _is_pulled(status):
            continue
        reason, message = _waiting(status)
        known = (before or {}).get(image, "")
        said = "" if reason in _AT_IT else ": ".join(filter(None, (reason, message)))
        found[image] = said if said and not (known and reason == _BACK_OFF) else known
    return found


def pull_failure(missing: Mapping[str, str], seconds: int = 0) -> str:
    """That these images (of `unpulled`) could not be pulled, in `seconds`, and what to do."""
    within = f" within {seconds} s" if seconds else ""
    lines = [f"image {image} was not pulled{within} ({said or 'its kubelet says no more'})" for image, said in missing.items()]
    return (
        f"{'; '.join(lines)}. Make sure that the name of the image is right, that this node reaches its registry, and that the registry lets it "
        f"in (hostnet_pull_secrets), then run the same command again"
    )


def finished(pod: Mapping[str, Any] | None) -> bool:
    """True when nothing more will come of this pod: it ended, it cannot start, or somebody deleted it."""
    return pod is None or is_complete(pod) or bool(failure(pod))


def is_complete(pod: Mapping[str, Any]) -> bool:
    """Whether the script ended by itself and every image is there. Where it ended badly nobody waits for images."""
    code = exit_code(pod)
    return code is not None and (code != 0 or not unpulled(pod))


def exit_code(pod: Mapping[str, Any]) -> int | None:
    """The script's exit code, or None when it has not ended by itself."""
    status = pod.get("status", {})
    if status.get("reason"):
        return None  # a reason (DeadlineExceeded, Evicted) means that the kubelet ended it
    over = status.get("phase") in ("Succeeded", "Failed")
    for container in of_script(pod):
        ended = container.get("state", {}).get("terminated")
        if not ended or ended.get("reason") not in (None, "", "Completed", "Error"):
            continue
        code = int(ended.get("exitCode", 0))
        # The phase follows a second later, and so does the reason of a pod that the kubelet ended. What ended by itself needs neither: no signal has
        # ended it, and a pod that still pulls has no phase of its end.
        if over or code < _SIGNALLED:
            return code
    return None


def may_run(pod: Mapping[str, Any]) -> bool:
    """True where the script runs, or could be running by now as far as this status tells."""
    status = pod.get("status", {})
    states = of_script(pod)
    return status.get("phase") not in ("Succeeded", "Failed") and (
        not states or any("running" in container.get("state", {}) for container in states)
    )


def runs(pod: Mapping[str, Any] | None) -> bool:
    """True where the kubelet says that the script runs now."""
    states = of_script(pod or {})
    return bool(states) and all("running" in container.get("state", {}) for container in states)


def stderr(pod: Mapping[str, Any]) -> str:
    """The end of what the script wrote to stderr, at most 4096 bytes."""
    for container in of_script(pod):
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
    pulls = _pulls(pod)
    for container in of_script(pod):
        reason, message = _waiting(container)
        # Whoever has images pulled waits for all of them: one that a registry does not give now it may give soon.
        if reason in _FATAL_WAITING or (reason == _BACK_OFF and not pulls):
            return ": ".join(filter(None, (reason, message)))
    refused = {image: ": ".join(filter(None, _waiting(container))) for image, container in pulls if _waiting(container)[0] in _REFUSED}
    if refused:
        return pull_failure(refused)
    if status.get("phase") == "Failed" and exit_code(pod) is None:
        ended = [container.get("state", {}).get("terminated") or {} for container in of_script(pod)]
        reason = status.get("reason") or "".join(str(state.get("reason", "")) for state in ended) or "Failed"
        message = status.get("message") or "".join(str(state.get("message", "")) for state in ended)
        return ": ".join(filter(None, (reason, message)))
    if pod.get("metadata", {}).get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        return "the pod is being deleted by another client (another run with the same name?)"
    return ""
