# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member's pod: what its spec's texts become, and what a process has to be started anew for. Pure functions."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import names
from .hardened import hardened
from .layout import CERTIFICATES_PATH, CONFIG_PATH, all_ports
from .trust_revisions import restarted_for

Json = dict[str, Any]

_PORT = re.compile(r"\{ports\[([a-z0-9_-]+)\]\}")
_NKEY = re.compile(r"\{nkeys\[([A-Za-z0-9_.-]+)\]\}")
# A member belongs to its node for better or worse. Without these, Kubernetes would delete the pod of a node that it cannot
# reach for five minutes, and unreachable is not dead. DaemonSet pods have the same ones from their controller.
STAY_TOLERATIONS = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
]
# Environment of a member's process that its node decides.
_OF_THE_PLACE = ("HOSTNET_ADDRESS", "HOSTNET_PROCESS", "HOSTNET_NODE")
# https://karpenter.sh/docs/concepts/disruption/#pod-level-controls: no consolidation and no drift of the node while the pod is there.
_POD_ANNOTATIONS = {"karpenter.sh/do-not-disrupt": "true"}


def chosen_by_user(hostnet: Mapping[str, Any]) -> Json:
    return {
        # Preemption and a node under pressure take others first.
        **({"priorityClassName": hostnet["priority_class"]} if hostnet.get("priority_class") else {}),
        **({"imagePullSecrets": [{"name": name} for name in hostnet["pull_secrets"]]} if hostnet.get("pull_secrets") else {}),
    }


def on_node(binding: Mapping[str, Any]) -> Json:
    # Not spec.nodeName: that skips the scheduler and starts the pod again on a node that somebody has cordoned.
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [binding["node"]]}]}]
            }
        }
    }


def is_ipv6(bindings: Sequence[Mapping[str, Any]]) -> bool:
    return any(ipaddress.ip_address(str(binding["address"])).version == 6 for binding in bindings)


def fill(text: str, hostnet: Mapping[str, Any], spec: Mapping[str, Any], ipv6: bool) -> str:
    """Replace the placeholders of a spec's texts; `$(HOSTNET_...)` is left for Kubernetes to expand in the container."""
    ports = all_ports(spec)
    certs = CERTIFICATES_PATH + ("/$(HOSTNET_NODE)" if hostnet["placement"] == "daemonset" else "")
    text = _PORT.sub(lambda match: str(ports[match.group(1)]), text)
    text = _NKEY.sub(lambda match: str(hostnet["nkeys"][match.group(1)]), text)
    for placeholder, value in (
        ("{host}", "[$(HOSTNET_ADDRESS)]" if ipv6 else "$(HOSTNET_ADDRESS)"),
        ("{any_host}", "[::]" if ipv6 else "0.0.0.0"),  # noqa: S104 - a placeholder for specs that mean all interfaces
        ("{certs}", certs),
        ("{config}", CONFIG_PATH),
        ("{data}", str(spec["data_path"])),
        ("{name}", str(hostnet["name"])),
    ):
        text = text.replace(placeholder, value)
    return text


def _deep_fill(value: Any, hostnet: Mapping[str, Any], spec: Mapping[str, Any], ipv6: bool) -> Any:
    if isinstance(value, str):
        filled = fill(value, hostnet, spec, ipv6)
        # A probe's port must be a number; "{ports[http]}" is one.
        return int(filled) if filled != value and filled.isdigit() else filled
    if isinstance(value, Mapping):
        return {key: _deep_fill(item, hostnet, spec, ipv6) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_deep_fill(item, hostnet, spec, ipv6) for item in value]
    return value


def pod_spec(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], env: list[Json], volumes: list[Json]
) -> Json:
    ipv6 = is_ipv6(bindings)
    name = str(hostnet["name"])
    join_keys = ["HOSTNET_STATE", "HOSTNET_TOKEN", *sorted(spec.get("join", {}))]
    # From a ConfigMap, so that a rewritten join list is used at the next start of a container, and no template changes.
    env = env + [{"name": key, "valueFrom": {"configMapKeyRef": {"name": names.join(name), "key": key}}} for key in join_keys]
    env += [{"name": key, "value": fill(str(value), hostnet, spec, ipv6)} for key, value in sorted(spec.get("env", {}).items())]
    mounts = [{"name": "data", "mountPath": spec["data_path"]}, {"name": "certificates", "mountPath": CERTIFICATES_PATH, "readOnly": True}]
    if spec.get("config"):
        mounts.append({"name": "config", "mountPath": CONFIG_PATH, "readOnly": True})
        volumes = [*volumes, {"name": "config", "configMap": {"name": names.config(name), "defaultMode": 0o444}}]
    for field, medium in (("scratch", {}), ("scratch_in_memory", {"medium": "Memory"})):
        for folder in spec.get(field, []):
            volume = "scratch-" + re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
            mounts.append({"name": volume, "mountPath": folder})
            volumes = [*volumes, {"name": volume, "emptyDir": {**medium, "sizeLimit": "64Mi"}}]
    container: Json = {
        "name": str(hostnet["system"]),
        "image": hostnet["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": [fill(str(word), hostnet, spec, ipv6) for word in spec["command"]],
        "args": [fill(str(word), hostnet, spec, ipv6) for word in spec.get("args", [])],
        "env": env,
        "ports": [
            {"name": port, "containerPort": number, "hostPort": number, "protocol": "TCP"} for port, number in sorted(spec["ports"].items())
        ],
        "resources": hostnet["resources"],
        "securityContext": hardened(spec.get("capabilities") or ()),
        "volumeMounts": mounts,
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if spec.get(probe):
            container[probe] = _deep_fill(spec[probe], hostnet, spec, ipv6)
    if spec.get("preStop"):
        container["lifecycle"] = {"preStop": _deep_fill(spec["preStop"], hostnet, spec, ipv6)}
    user = int(spec["user"])
    return {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(spec["grace_seconds"]),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            # Gives the group of the certificate files; a hostPath is not touched by it.
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": STAY_TOLERATIONS + list(hostnet["tolerations"]),
        **chosen_by_user(hostnet),
        "containers": [container],
        "volumes": volumes,
    }


def pod_annotations(hostnet: Mapping[str, Any], spec: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, str]:
    return {**_POD_ANNOTATIONS, names.CONFIGURATION_ANNOTATION: configuration(spec, pod, restarted_for(hostnet.get("trust"), spec))}


def configuration(spec: Mapping[str, Any], pod: Mapping[str, Any], trusted: str = "") -> str:
    """What a process has to be started anew for, as 12 hexadecimal digits: its command, settings, files, probes and resources.

    `trusted`: the CAs, where the system reads them at its start alone.

    Not the image, which each pod tells by itself, and nothing that changes with a member's place or with other members: its address, its
    certificates, the join list. So the pods of all members have the same, and whoever has another was started before the last deploy changed it.
    """
    container = pod["containers"][0]
    said = {
        **{key: value for key, value in container.items() if key not in ("image", "env", "volumeMounts")},
        "env": [entry for entry in container["env"] if entry["name"] not in _OF_THE_PLACE],
        "config": spec.get("config") or {},
        "member_files": spec.get("member_files") or {},
        "user": pod["securityContext"],
        "grace": pod["terminationGracePeriodSeconds"],
        **({"trusted": trusted} if trusted else {}),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
