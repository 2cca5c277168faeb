# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the Kubernetes objects of a deployment, for both placements: pure functions.

`hostnet` is the deployment's settings, `spec` a system spec (docs/systems.md), `bindings` say where each member is.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import bindings as copies
from . import join, names, neighbours

Json = dict[str, Any]

CERTIFICATES_PATH = "/etc/hostnet/certs"
CONFIG_PATH = "/etc/hostnet/config"
PROBE_IMAGE_UID = 0
# Members whose certificates are in one Secret of a DaemonSet. A Secret holds 1 MiB, so each of them may have 16 KiB: two certificates with RSA keys of
# 4096 bits, and the CA's. It decides which Secret a member is in, by its ordinal, so it never changes.
HOSTS_PER_SECRET = 64

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


def all_ports(spec: Mapping[str, Any]) -> dict[str, int]:
    """Every port of a system by name: those on the host's address and those on loopback alone."""
    return {**spec.get("ports", {}), **spec.get("local_ports", {})}


def data_folder(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Folder of one member's data on its node. The start gate: only admission creates it, and without it no pod starts."""
    return f"{str(hostnet['data_root']).rstrip('/')}/{hostnet['name']}/{binding['admission']}"


def render_objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    seeds: Sequence[str],
    state: str,
    certificates: Sequence[Mapping[str, Any]],
) -> list[Json]:
    """Objects for the module `manifests`, for every kube cluster of the deployment.

    `identity` gives `token` and `ca_fingerprint`; `bindings` are all admitted members; `seeds` is the join list;
    `state` is `new` (first start of the system) or `existing`; `certificates` is what host_certificates returned.
    """
    join_data = {
        "seeds": ",".join(seeds),
        "HOSTNET_STATE": state,
        "HOSTNET_TOKEN": str(identity["token"]),
        **join.join_values(spec.get("join", {}), bindings, seeds, all_ports(spec)),
    }
    issued = {(entry["name"], entry["file"]): entry for entry in certificates}
    # In every kube cluster all of them: they outlive the loss of one.
    known = {"": {"ordinals": hostnet.get("ordinals") or {}}}
    copy = copies.dump(sorted(bindings, key=join.canonical_key), copies.highest_ordinals(hostnet, bindings, [], known))
    objects: list[Json] = []
    for cluster in hostnet["kube_clusters"]:
        local = sorted(
            (binding for binding in bindings if binding["kube_cluster"] == cluster["name"]), key=lambda item: int(item["ordinal"])
        )
        objects += _cluster_objects(hostnet, spec, identity, str(cluster["name"]), local, copy, join_data, issued)
    return objects


def namespace_objects(hostnet: Mapping[str, Any], existing: Mapping[str, Any]) -> list[Json]:
    """The namespace in each kube cluster that has none. One that exists is left as it is: it may be somebody else's."""
    objects = []
    for cluster in hostnet["kube_clusters"]:
        if existing.get(cluster["name"], {}).get("namespace") is not None:
            continue
        definition = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": hostnet["namespace"],
                "labels": {
                    names.MANAGED_BY_LABEL: names.PREFIX,
                    # hostNetwork, hostPort and hostPath are what baseline and restricted forbid.
                    # https://kubernetes.io/docs/concepts/security/pod-security-standards/
                    "pod-security.kubernetes.io/enforce": "privileged",
                },
            },
        }
        objects.append({"kube_cluster": cluster["name"], "definition": definition})
        if hostnet.get("priority_class"):
            objects.append({"kube_cluster": cluster["name"], "definition": _priority_quota(hostnet)})
    return objects


def _priority_quota(hostnet: Mapping[str, Any]) -> Json:
    """Without such a quota GKE lets no pod have a critical priority class outside of kube-system. It limits nothing.

    https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
    """
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [hostnet["priority_class"]]}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "hostnet-priority", "namespace": hostnet["namespace"], "labels": {names.MANAGED_BY_LABEL: names.PREFIX}},
        "spec": {"hard": {"pods": "1G"}, "scopeSelector": {"matchExpressions": [scope]}},
    }


def _cluster_objects(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any],
    kube_cluster: str,
    bindings: Sequence[Mapping[str, Any]],
    copy: Mapping[str, str],
    join_data: Mapping[str, str],
    issued: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[Json]:
    name = str(hostnet["name"])
    objects: list[Json] = []

    def add(definition: Json, **extra: Any) -> None:
        objects.append({"kube_cluster": kube_cluster, "definition": definition, **extra})

    add(_config_map(hostnet, names.members(name), copy))
    add(_config_map(hostnet, names.join(name), dict(join_data)))
    add(_config_map(hostnet, names.about(name), neighbours.about(hostnet, spec)))
    if spec.get("config"):
        config = {file: _fill(str(text), hostnet, spec, ipv6=_is_ipv6(bindings)) for file, text in spec["config"].items()}
        add(_config_map(hostnet, names.config(name), config))
    if not bindings:
        return objects
    add(_budget(hostnet, len(bindings)))
    if hostnet["placement"] == "daemonset":
        last = max([int(binding["ordinal"]) for binding in bindings] + [int((hostnet.get("ordinals") or {}).get(kube_cluster, 0))])
        # Also those whose members have all left: their keys go from there.
        for number in range(last // HOSTS_PER_SECRET + 1):
            mine = [binding for binding in bindings if _secret_number(binding) == number]
            secret, files = _secret(hostnet, spec, names.certificates(name, number), mine, issued, per_node=True)
            add(secret, files=files)
        add(_daemon_set(hostnet, spec, identity, bindings))
    else:
        for binding in bindings:
            secret, files = _secret(hostnet, spec, names.workload(name, str(binding["member"])), [binding], issued, per_node=False)
            add(secret, files=files)
            add(_stateful_set(hostnet, spec, identity, binding))
    for binding in bindings:
        for definition in guard_objects(hostnet, binding):
            add(definition)
    return objects


def _labels(hostnet: Mapping[str, Any], member: str = "") -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": str(hostnet["system"]),
        "app.kubernetes.io/instance": str(hostnet["name"]),
        names.MANAGED_BY_LABEL: names.PREFIX,
        names.DEPLOYMENT_LABEL: str(hostnet["name"]),
    }
    if member:
        labels[names.MEMBER_LABEL] = member
    return labels


def _metadata(hostnet: Mapping[str, Any], name: str, member: str = "", annotations: Mapping[str, str] | None = None) -> Json:
    metadata: Json = {"name": name, "namespace": hostnet["namespace"], "labels": _labels(hostnet, member)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata


def _config_map(hostnet: Mapping[str, Any], name: str, data: Mapping[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(hostnet, name), "data": dict(data)}


def _budget(hostnet: Mapping[str, Any], members: int) -> Json:
    # A budget sees one kube cluster alone, so it cannot know how many members are down elsewhere: no eviction is allowed
    # but the playbooks' own. AKS begins no upgrade where a budget has maxUnavailable 0.
    # https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/error-codes/unsatisfiablepdb-error
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(hostnet, names.workload(str(hostnet["name"]))),
        "spec": {"minAvailable": members, "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: hostnet["name"]}}},
    }


def guard_objects(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> list[Json]:
    """What holds up a drain of a member's node, and shows that it has begun: a Deployment with two pods there, and a budget that lets one of them go.

    A drain leaves the pods of DaemonSets alone, so a member's own may say nothing. The guards are released, to no pod at all, while the
    member is stopped. They tolerate what the user's nodes need, and no cordon: a pod that a drain has evicted must not come back.
    """
    member = str(binding["member"])
    selector = {names.GUARD_LABEL: str(hostnet["name"]), names.MEMBER_LABEL: member}
    labels = {
        "app.kubernetes.io/name": "guard",
        "app.kubernetes.io/instance": str(hostnet["name"]),
        names.MANAGED_BY_LABEL: names.PREFIX,
        **selector,
    }
    # As the first process of its container a shell hears SIGTERM only where it says so.
    container = {
        "name": "guard",
        "image": hostnet["probe_image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"],
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": list(hostnet["tolerations"]),
        "affinity": _on_node(binding),
        **_chosen_by_user(hostnet),
        "containers": [container],
    }
    metadata = _metadata(hostnet, names.guard(str(hostnet["name"]), member), member)
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 0 if binding.get("stopped") else names.GUARDS,
                # A guard is of one node: the new one's have nothing to do with the old one's.
                "strategy": {"type": "Recreate"},
                "revisionHistoryLimit": 0,
                "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"minAvailable": names.GUARDS - 1, "selector": {"matchLabels": selector}},
        },
    ]


def _chosen_by_user(hostnet: Mapping[str, Any]) -> Json:
    return {
        # Preemption and a node under pressure take others first.
        **({"priorityClassName": hostnet["priority_class"]} if hostnet.get("priority_class") else {}),
        **({"imagePullSecrets": [{"name": name} for name in hostnet["pull_secrets"]]} if hostnet.get("pull_secrets") else {}),
    }


def _on_node(binding: Mapping[str, Any]) -> Json:
    # Not spec.nodeName: that skips the scheduler and starts the pod again on a node that somebody has cordoned.
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [binding["node"]]}]}]
            }
        }
    }


def _secret_number(binding: Mapping[str, Any]) -> int:
    """Which of a DaemonSet's Secrets has the certificates of this member. Nobody who comes or goes changes that of another one."""
    return int(binding["ordinal"]) // HOSTS_PER_SECRET


def _secret(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    name: str,
    bindings: Sequence[Mapping[str, Any]],
    issued: Mapping[tuple[str, str], Mapping[str, Any]],
    per_node: bool,
) -> tuple[Json, dict[str, str]]:
    """A Secret without its files' contents, and the files to read: key -> path on the controller."""
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    dates: Json = {}
    for binding in bindings:
        prefix = f"{binding['node']}." if per_node else ""
        files[prefix + spec.get("ca_file", "ca.crt")] = ca_certificate(hostnet)
        for wish in spec["certificates"]:
            entry = issued[(certificate_folder(wish, binding), wish["file"])]
            files[f"{prefix}{wish['file']}.crt"] = entry["certificate"]
            files[f"{prefix}{wish['file']}.key"] = entry["private_key"]
            dates.setdefault(str(binding["member"]), {})[wish["file"]] = {"serial": entry["serial"], "not_after": entry["not_after"]}
        for file, text in spec.get("member_files", {}).items():
            # Relative to the file's own folder, which is one deeper where all members share a Secret.
            config = f"{'../' * (2 if per_node else 1)}{CONFIG_PATH.rpartition('/')[2]}"
            filled = join.render([binding], str(text).replace("{config}", config), "", all_ports(spec))
            texts[prefix + file] = base64.b64encode(filled.encode()).decode()
    definition: Json = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": _metadata(hostnet, name, annotations={names.CERTIFICATES_ANNOTATION: json.dumps(dates, sort_keys=True)}),
    }
    if texts:
        definition["data"] = texts
    return definition, files


def ca_certificate(hostnet: Mapping[str, Any]) -> str:
    """Path of the CA certificate on the controller: the user's own CA stays where it is."""
    return str((hostnet.get("ca") or {}).get("certificate") or f"{hostnet['pki_dir']}/ca.crt")


def certificate_folder(wish: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Folder of a certificate under the pki folder: the member's own, or `clients` for one that all members share."""
    return "clients" if wish.get("shared") else str(binding["member"])


def _secret_files(spec: Mapping[str, Any]) -> list[str]:
    files = [str(spec.get("ca_file", "ca.crt"))]
    for wish in spec["certificates"]:
        files += [f"{wish['file']}.crt", f"{wish['file']}.key"]
    return files + list(spec.get("member_files", {}))


def _is_ipv6(bindings: Sequence[Mapping[str, Any]]) -> bool:
    return any(ipaddress.ip_address(str(binding["address"])).version == 6 for binding in bindings)


def _fill(text: str, hostnet: Mapping[str, Any], spec: Mapping[str, Any], ipv6: bool) -> str:
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
        filled = _fill(value, hostnet, spec, ipv6)
        # A probe's port must be a number; "{ports[http]}" is one.
        return int(filled) if filled != value and filled.isdigit() else filled
    if isinstance(value, Mapping):
        return {key: _deep_fill(item, hostnet, spec, ipv6) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_deep_fill(item, hostnet, spec, ipv6) for item in value]
    return value


def _pod_spec(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], env: list[Json], volumes: list[Json]
) -> Json:
    ipv6 = _is_ipv6(bindings)
    name = str(hostnet["name"])
    join_keys = ["HOSTNET_STATE", "HOSTNET_TOKEN", *sorted(spec.get("join", {}))]
    # From a ConfigMap, so that a rewritten join list is used at the next start of a container, and no template changes.
    env = env + [{"name": key, "valueFrom": {"configMapKeyRef": {"name": names.join(name), "key": key}}} for key in join_keys]
    env += [{"name": key, "value": _fill(str(value), hostnet, spec, ipv6)} for key, value in sorted(spec.get("env", {}).items())]
    mounts = [{"name": "data", "mountPath": spec["data_path"]}, {"name": "certificates", "mountPath": CERTIFICATES_PATH, "readOnly": True}]
    if spec.get("config"):
        mounts.append({"name": "config", "mountPath": CONFIG_PATH, "readOnly": True})
        volumes = [*volumes, {"name": "config", "configMap": {"name": names.config(name), "defaultMode": 0o444}}]
    for folder in spec.get("scratch", []):
        volume = "scratch-" + re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
        mounts.append({"name": volume, "mountPath": folder})
        volumes = [*volumes, {"name": volume, "emptyDir": {"sizeLimit": "64Mi"}}]
    security: Json = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], **({"add": list(spec["capabilities"])} if spec.get("capabilities") else {})},
    }
    container: Json = {
        "name": str(hostnet["system"]),
        "image": hostnet["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": [_fill(str(word), hostnet, spec, ipv6) for word in spec["command"]],
        "args": [_fill(str(word), hostnet, spec, ipv6) for word in spec.get("args", [])],
        "env": env,
        "ports": [
            {"name": port, "containerPort": number, "hostPort": number, "protocol": "TCP"} for port, number in sorted(spec["ports"].items())
        ],
        "resources": hostnet["resources"],
        "securityContext": security,
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
        **_chosen_by_user(hostnet),
        "containers": [container],
        "volumes": volumes,
    }


def pod_template(hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> Json:
    """The pod template of the first of these bindings, all of one kube cluster: labels, annotations and spec of its pod."""
    nobody = {"token": "", "ca_fingerprint": ""}
    daemon_set = hostnet["placement"] == "daemonset"
    workload = _daemon_set(hostnet, spec, nobody, bindings) if daemon_set else _stateful_set(hostnet, spec, nobody, bindings[0])
    template: Json = workload["spec"]["template"]
    return template


def images(hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`pull` of node_run: each image of the pod of these bindings once, its init containers' too, but that of the short-lived pods themselves."""
    if not bindings:
        return []
    pod = pod_template(hostnet, spec, bindings)["spec"]
    found: list[Json] = []
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        entry = {"image": container["image"], **({"policy": container["imagePullPolicy"]} if container.get("imagePullPolicy") else {})}
        if entry not in found and entry["image"] != hostnet["probe_image"]:
            found.append(entry)
    return found


def _annotations(identity: Mapping[str, Any]) -> dict[str, str]:
    return {names.TOKEN_ANNOTATION: str(identity["token"]), names.CA_ANNOTATION: str(identity["ca_fingerprint"])}


def _pod_annotations(spec: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, str]:
    return {**_POD_ANNOTATIONS, names.CONFIGURATION_ANNOTATION: configuration(spec, pod)}


def configuration(spec: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """What a process has to be started anew for, as 12 hexadecimal digits: its command, settings, files, probes and resources.

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
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _data_volume(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> Json:
    # `Directory`, never `DirectoryOrCreate`: the kubelet refuses to start the pod where the folder does not exist.
    return {"name": "data", "hostPath": {"path": data_folder(hostnet, binding), "type": "Directory"}}


def _stateful_set(hostnet: Mapping[str, Any], spec: Mapping[str, Any], identity: Mapping[str, Any], binding: Mapping[str, Any]) -> Json:
    member = str(binding["member"])
    name = names.workload(str(hostnet["name"]), member)
    env: list[Json] = [
        {"name": "HOSTNET_ADDRESS", "value": binding["address"]},
        {"name": "HOSTNET_PROCESS", "value": binding["process"]},
        {"name": "HOSTNET_NODE", "value": binding["node"]},
    ]
    volumes = [_data_volume(hostnet, binding), {"name": "certificates", "secret": {"secretName": name, "defaultMode": 0o440}}]
    pod = _pod_spec(hostnet, spec, [binding], env, volumes)
    pod["affinity"] = _on_node(binding)
    selector = {names.DEPLOYMENT_LABEL: hostnet["name"], names.MEMBER_LABEL: member}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(hostnet, name, member, _annotations(identity)),
        "spec": {
            # A rollout has stopped the member; its binding says so, so that nothing else starts it meanwhile.
            "replicas": 0 if binding.get("stopped") else 1,
            "serviceName": "",
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": _labels(hostnet, member), "annotations": _pod_annotations(spec, pod)}, "spec": pod},
        },
    }


def _daemon_set(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], identity: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]
) -> Json:
    name = names.workload(str(hostnet["name"]))
    env: list[Json] = [
        {"name": "HOSTNET_ADDRESS", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIP"}}},
        {"name": "HOSTNET_NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "HOSTNET_PROCESS", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
    ]
    # One template for all nodes: the Secrets are mounted whole (a subPath would never be refreshed) with a folder per node. A pod keeps the template that
    # it was made from, also when its VM starts again, and that one names hosts that have left since: their keys are optional, or no kubelet would start it.
    sources = []
    for number in sorted({_secret_number(entry) for entry in bindings}):
        mine = [entry for entry in bindings if _secret_number(entry) == number]
        items = [{"key": f"{entry['node']}.{file}", "path": f"{entry['node']}/{file}"} for entry in mine for file in _secret_files(spec)]
        sources.append({"secret": {"name": names.certificates(name, number), "items": items, "optional": True}})
    volumes = [_data_volume(hostnet, bindings[0]), {"name": "certificates", "projected": {"defaultMode": 0o440, "sources": sources}}]
    pod = _pod_spec(hostnet, spec, bindings, env, volumes)
    pod["affinity"] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": names.node_label(name), "operator": "Exists"}]}]
            }
        }
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _metadata(hostnet, name, annotations=_annotations(identity)),
        "spec": {
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: hostnet["name"]}},
            "template": {"metadata": {"labels": _labels(hostnet), "annotations": _pod_annotations(spec, pod)}, "spec": pod},
        },
    }
