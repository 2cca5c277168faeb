# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds a member's pod: a StatefulSet of its own, or its kube cluster's DaemonSet. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import names
from .certificate_secrets import secret_files, secret_number
from .layout import data_folder
from .metadata import labels_of, metadata_of
from .pod import on_node, pod_annotations, pod_spec
from .trust_revisions import annotation

Json = dict[str, Any]


def pod_template(hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> Json:
    """The pod template of the first of these bindings, all of one kube cluster: labels, annotations and spec of its pod."""
    nobody = {"token": "", "ca_fingerprint": ""}
    for_all = hostnet["placement"] == "daemonset"
    workload = daemon_set(hostnet, spec, nobody, bindings) if for_all else stateful_set(hostnet, spec, nobody, bindings[0])
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


def _annotations(hostnet: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, str]:
    trust = annotation(hostnet.get("trust"))
    return {
        names.TOKEN_ANNOTATION: str(identity["token"]),
        names.CA_ANNOTATION: str(identity["ca_fingerprint"]),
        **({names.TRUST_ANNOTATION: trust} if trust else {}),
    }


def _data_volume(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> Json:
    # `Directory`, never `DirectoryOrCreate`: the kubelet refuses to start the pod where the folder does not exist.
    return {"name": "data", "hostPath": {"path": data_folder(hostnet, binding), "type": "Directory"}}


def stateful_set(hostnet: Mapping[str, Any], spec: Mapping[str, Any], identity: Mapping[str, Any], binding: Mapping[str, Any]) -> Json:
    member = str(binding["member"])
    name = names.workload(str(hostnet["name"]), member)
    env: list[Json] = [
        {"name": "HOSTNET_ADDRESS", "value": binding["address"]},
        {"name": "HOSTNET_PROCESS", "value": binding["process"]},
        {"name": "HOSTNET_NODE", "value": binding["node"]},
    ]
    volumes = [_data_volume(hostnet, binding), {"name": "certificates", "secret": {"secretName": name, "defaultMode": 0o440}}]
    pod = pod_spec(hostnet, spec, [binding], env, volumes)
    pod["affinity"] = on_node(binding)
    selector = {names.DEPLOYMENT_LABEL: hostnet["name"], names.MEMBER_LABEL: member}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata_of(hostnet, name, member, _annotations(hostnet, identity)),
        "spec": {
            # A rollout has stopped the member; its binding says so, so that nothing else starts it meanwhile.
            "replicas": 0 if binding.get("stopped") else 1,
            "serviceName": "",
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels_of(hostnet, member), "annotations": pod_annotations(hostnet, spec, pod)},
                "spec": pod,
            },
        },
    }


def daemon_set(
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
    for number in sorted({secret_number(entry) for entry in bindings}):
        mine = [entry for entry in bindings if secret_number(entry) == number]
        items = [{"key": f"{entry['node']}.{file}", "path": f"{entry['node']}/{file}"} for entry in mine for file in secret_files(spec)]
        sources.append({"secret": {"name": names.certificates(name, number), "items": items, "optional": True}})
    volumes = [_data_volume(hostnet, bindings[0]), {"name": "certificates", "projected": {"defaultMode": 0o440, "sources": sources}}]
    pod = pod_spec(hostnet, spec, bindings, env, volumes)
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
        "metadata": metadata_of(hostnet, name, annotations=_annotations(hostnet, identity)),
        "spec": {
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: hostnet["name"]}},
            "template": {"metadata": {"labels": labels_of(hostnet), "annotations": pod_annotations(hostnet, spec, pod)}, "spec": pod},
        },
    }
