# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads everything that one deployment has in a kube cluster: one LIST per kind, whatever the number of members."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .._plan import documents, names
from .._plan.classify import pod_of
from .._plan.collisions import others, owner_of
from .._plan.systems.nats_nkeys import public_nkeys
from . import journal, kinds, uncreated
from .client import FIELD_MANAGER, Json, KubeCluster, KubeError, each_cluster, in_parallel
from .lease import holder_summary
from .membership import SYSTEM_NAMESPACE, data_of, records_of, refuse_edited, uid_of
from .nodes import does_not_answer
from .watch import Seen, follow

# How often a wait for pods looks whether their nodes are still there.
_LOOK_AT_NODES_SECONDS = 20.0
_ON_THE_WAY_SECONDS = 10
# Kinds that are listed with all of their fields. Secrets are listed without their data (see _secrets).
_LISTED = (kinds.CONFIG_MAP, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.POD)
# Of these all in the namespace: one that has a name which is wanted here may be another deployment's.
_WORKLOADS = (kinds.STATEFUL_SET, kinds.DAEMON_SET)


def observe(
    clusters: dict[str, KubeCluster], name: str, namespace: str, absent_ok: Sequence[str] = (), with_lock: bool = False
) -> dict[str, Json]:
    """What deployment `name` has in `namespace` of every kube cluster (see RETURN of module deployment_info).

    Raises KubeError where a kube cluster does not answer and is not in `absent_ok`: nothing may be concluded from a part of the picture.
    """

    def one(cluster: KubeCluster) -> Json:
        try:
            return _observe_one(cluster, name, namespace, with_lock)
        except KubeError as error:
            if cluster.name in absent_ok and does_not_answer(error):
                return {**_NOTHING, "absent": True, "error": str(error)}
            raise

    return each_cluster(clusters, one)


# Of a kube cluster that has nothing of the deployment, or does not answer.
_NOTHING: Json = {
    "absent": False,
    "error": "",
    "uid": "",
    "clock_ahead": 0,
    "namespace": None,
    "identity": None,
    "cluster_record": None,
    "rosters": [],
    "trusts": [],
    "members": [],
    "members_found": False,
    "ordinals": {},
    "join": None,
    "nkeys": [],
    "rollout": None,
    "lock": None,
    "workloads": [],
    "others": [],
    "pods": [],
    "secrets": [],
    "guards": [],
}


def _observe_one(cluster: KubeCluster, name: str, namespace: str, with_lock: bool) -> Json:
    selector = names.deployment_selector(name)
    system, found = in_parallel(lambda one: cluster.get(kinds.NAMESPACE, one), (SYSTEM_NAMESPACE, namespace))
    uid = uid_of(system)
    ahead = _clock_ahead(cluster.clock_ahead)
    if found is None:
        return {**_NOTHING, "uid": uid, "clock_ahead": ahead}
    *lists, guards = in_parallel(lambda kind: _listed(cluster, kind, namespace, selector), (*_LISTED, kinds.DEPLOYMENT))
    config_maps, all_stateful_sets, all_daemon_sets, pods = (items or [] for items in lists)
    stateful_sets, daemon_sets = ([item for item in items if owner_of(item) == name] for items in (all_stateful_sets, all_daemon_sets))
    uncreated_why = uncreated.reasons(cluster, namespace, uncreated.without_pods(stateful_sets + daemon_sets, pods))
    return {
        **_NOTHING,
        **_records(cluster, name, namespace, config_maps),
        "uid": uid,
        "clock_ahead": ahead,
        "namespace": {
            "labels": found["metadata"].get("labels", {}),
            "phase": found.get("status", {}).get("phase", "Active"),
        },
        # Nobody holds it where it is empty; null is one that was not read.
        "lock": (holder_summary(cluster.get(kinds.LEASE, names.rollout(name), namespace)) or {}) if with_lock else None,
        "workloads": [
            {**_workload(item), "waiting": uncreated_why.get(item["metadata"]["name"], "")} for item in stateful_sets + daemon_sets
        ],
        "others": others(name, all_stateful_sets + all_daemon_sets, FIELD_MANAGER),
        "pods": _pods(cluster, pods, namespace),
        "secrets": _secrets(cluster, namespace, selector),
        "guards": guards,
    }


def _clock_ahead(seconds: float | None) -> int:
    """Whole seconds. Answers have no fractions of seconds, and may have been on their way for some."""
    return round(seconds) if seconds is not None and abs(seconds) > _ON_THE_WAY_SECONDS else 0


def _listed(cluster: KubeCluster, kind: kinds.Kind, namespace: str, selector: str) -> list[Json] | None:
    if kind == kinds.DEPLOYMENT:
        return _guards(cluster, namespace, selector)
    return cluster.list(kind, namespace, None if kind in _WORKLOADS else selector)[0]


def _guards(cluster: KubeCluster, namespace: str, selector: str) -> list[Json] | None:
    """The Deployments with guard pods: {member, wanted, ready}. None where this user may not list them, as versions before 0.3.0 needed no such right."""
    try:
        found, _version = cluster.list(kinds.DEPLOYMENT, namespace, selector)
    except KubeError as error:
        if error.status == 403:
            return None
        raise
    return [
        {
            "member": item["metadata"].get("labels", {}).get(names.MEMBER_LABEL, ""),
            "wanted": int(item["spec"].get("replicas", 1)),
            "ready": int(item.get("status", {}).get("readyReplicas", 0)),
        }
        for item in found
    ]


def observe_part(clusters: dict[str, KubeCluster], name: str, namespace: str, parts: Sequence[str]) -> dict[str, Json]:
    """As `observe`, but only what is in the pods (`pods`) or in the ConfigMaps (`records`): one LIST for each of them and kube cluster.

    For who has observed everything a moment ago, and knows what can have changed since. Raises KubeError.
    """
    selector = names.deployment_selector(name)

    def one(cluster: KubeCluster) -> Json:
        found: Json = {}
        if "pods" in parts:
            found["pods"] = _pods(cluster, cluster.list(kinds.POD, namespace, selector)[0], namespace)
        if "records" in parts:
            found |= _records(cluster, name, namespace, cluster.list(kinds.CONFIG_MAP, namespace, selector)[0])
        return found

    return each_cluster(clusters, one)


def _records(cluster: KubeCluster, name: str, namespace: str, config_maps: Sequence[Json]) -> Json:
    """What the ConfigMaps of the deployment say. Raises KubeError where somebody has edited one into something else."""
    by_name = {item["metadata"]["name"]: item for item in config_maps}
    refuse_edited(cluster, name, namespace, config_maps)
    return {
        **records_of(name, config_maps),
        "cluster_record": data_of(by_name.get(names.cluster_record(name))),
        "join": data_of(by_name.get(names.join(name))),
        "nkeys": public_nkeys((data_of(by_name.get(names.config(name))) or {}).values()),
        "rollout": journal.document(cluster.name, by_name.get(names.rollout(name))),
    }


def _workload(item: Json) -> Json:
    metadata, status, spec = item["metadata"], item.get("status", {}), item["spec"]
    annotations = metadata.get("annotations", {})
    environment = spec["template"]["spec"]["containers"][0].get("env") or []
    volumes = spec["template"]["spec"].get("volumes") or []
    return {
        "kind": item["kind"],
        "name": metadata["name"],
        "member": metadata.get("labels", {}).get(names.MEMBER_LABEL, ""),
        "token": annotations.get(names.TOKEN_ANNOTATION, ""),
        "ca_fingerprint": annotations.get(names.CA_ANNOTATION, ""),
        "trust": annotations.get(names.TRUST_ANNOTATION, ""),
        "image": spec["template"]["spec"]["containers"][0]["image"],
        "configuration": ((spec["template"].get("metadata") or {}).get("annotations") or {}).get(names.CONFIGURATION_ANNOTATION, ""),
        "node": _pinned_to(spec["template"]["spec"]),
        "address": next((str(entry.get("value", "")) for entry in environment if entry["name"] == "HOSTNET_ADDRESS"), ""),
        "data_path": next((str(entry["hostPath"]["path"]) for entry in volumes if entry["name"] == "data" and "hostPath" in entry), ""),
        "revision": str(status.get("updateRevision", "") or metadata.get("generation", "")),
    }


def _pinned_to(pod_spec: Json) -> str:
    """The node that a pod template is pinned to by name; "" where it is not."""
    affinity = ((pod_spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in affinity.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def _pods(cluster: KubeCluster, pods: Sequence[Json], namespace: str) -> list[Json]:
    summaries = [pod_summary(pod) for pod in pods]
    # A volume that cannot be mounted shows in events alone, so they are asked for where a pod has not started.
    stuck = {pod["uid"]: pod for pod in summaries if pod["node"] and not pod["running"]}
    if stuck:
        events, _version = cluster.list(kinds.EVENT, namespace, field_selector="type=Warning,involvedObject.kind=Pod")
        for event in sorted(events, key=lambda item: str(item.get("lastTimestamp") or item.get("eventTime") or "")):
            pod_of_event = stuck.get(event["involvedObject"].get("uid", ""))
            if pod_of_event is not None:
                pod_of_event["waiting"] = f"{event.get('reason', '')}: {event.get('message', '')}"
    return summaries


def pod_summary(pod: Json) -> Json:
    """The few facts about a pod that plans and reports use."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    containers = status.get("containerStatuses") or []
    running = [entry for entry in containers if "running" in entry.get("state", {})]
    waiting = ""
    for entry in containers:
        state = entry.get("state", {})
        detail = state.get("waiting") or state.get("terminated")
        if detail:
            waiting = ": ".join(filter(None, (detail.get("reason", ""), detail.get("message", ""))))
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        waiting = f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}"
    return {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "member": labels.get(names.MEMBER_LABEL, ""),
        "node": spec.get("nodeName", ""),
        "phase": status.get("phase", "Unknown"),
        "running": bool(running) and len(running) == len(spec["containers"]),
        "ready": conditions.get("Ready", {}).get("status") == "True",
        "started_at": running[0]["state"]["running"].get("startedAt", "") if running else "",
        "restarts": sum(int(entry.get("restartCount", 0)) for entry in containers),
        "terminating": "deletionTimestamp" in metadata,
        "host_ip": status.get("hostIP", ""),
        "image": spec["containers"][0]["image"],
        "configuration": (metadata.get("annotations") or {}).get(names.CONFIGURATION_ANNOTATION, ""),
        "revision": labels.get("controller-revision-hash", "") or labels.get("pod-template-generation", ""),
        "waiting": waiting,
    }


def _secrets(cluster: KubeCluster, namespace: str, selector: str) -> list[Json]:
    # Asking for metadata alone keeps private keys out of this process: status needs serials and dates, not keys.
    answer = cluster.request(
        "GET",
        kinds.SECRET.path(namespace),
        f"list of secrets in namespace {namespace}",
        query=[("labelSelector", selector)],
        accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )
    secrets = []
    for item in answer.get("items") or []:
        annotation = item["metadata"].get("annotations", {}).get(names.CERTIFICATES_ANNOTATION, "{}")
        secrets.append({"name": item["metadata"]["name"], "certificates": documents.certificates(annotation)})
    return secrets


def wait_for_members(
    clusters: dict[str, KubeCluster], name: str, namespace: str, expected: Sequence[Json], condition: str, timeout_seconds: float
) -> tuple[list[str], list[str]]:
    """Wait until every expected member ({kube_cluster, member, node}) has a pod that is `running` or `ready`, or until it has none (`gone`).

    One watch per kube cluster. Returns what is missing at the deadline, a line for each member, where nothing means success; and whose VM is gone: the
    wait ends with the first of them.
    """
    deadline = time.monotonic() + timeout_seconds
    wanted = {cluster: [entry for entry in expected if entry["kube_cluster"] == cluster] for cluster in clusters}
    involved = {cluster: clusters[cluster] for cluster, entries in wanted.items() if entries}
    lines = each_cluster(involved, lambda cluster: _wait_one(cluster, name, namespace, wanted[cluster.name], condition, deadline))
    ordered = [lines[cluster] for cluster in sorted(lines)]
    return [line for found, _lost in ordered for line in found], [member for _found, lost in ordered for member in lost]


def _without_node(cluster: KubeCluster, expected: Sequence[Json]) -> list[str]:
    """Those of these members whose Node is gone: no pod of theirs will ever start there. Nobody, where the API server cannot be asked just now."""
    # A rollout waits for one member, and a kube cluster may have thousands of nodes.
    one = f"metadata.name={expected[0]['node']}" if len(expected) == 1 else None
    try:
        nodes = {str(node["metadata"]["name"]) for node in cluster.list(kinds.NODE, field_selector=one)[0]}
    except KubeError:
        return []
    return [str(entry["member"]) for entry in expected if entry["node"] not in nodes]


def _wait_one(
    cluster: KubeCluster, name: str, namespace: str, expected: Sequence[Json], condition: str, deadline: float
) -> tuple[list[str], list[str]]:
    selector = names.deployment_selector(name)

    def missing(pods: dict[str, Json]) -> list[Json]:
        summaries = [pod_summary(pod) for pod in pods.values()]
        rest = []
        for entry in expected:
            pod = pod_of(summaries, entry["member"], entry["node"])
            done = pod is None if condition == "gone" else pod is not None and not pod["terminating"] and pod[condition]
            if not done:
                rest.append(entry)
        return rest

    pods: dict[str, Json] = {}

    def done(objects: dict[str, Json]) -> bool:
        pods.clear()
        pods.update(objects)
        return not missing(pods)

    lost, gone, seen = list[str](), list[str](), Seen()
    while not lost:
        until = min(deadline, time.monotonic() + _LOOK_AT_NODES_SECONDS)
        if follow(cluster, kinds.POD, done, until, namespace, selector, seen=seen, last_look=until == deadline):
            return [], []
        if until == deadline:
            break
        if condition != "gone":
            # Twice in a row: a Node object that somebody has deleted is made anew by its kubelet.
            gone, before = _without_node(cluster, missing(pods)), gone
            lost = sorted(set(gone) & set(before))
    summaries = _pods(cluster, list(pods.values()), namespace)
    lines = []
    rest = missing(pods)
    nowhere = [entry["member"] for entry in rest if pod_of(summaries, entry["member"], entry["node"]) is None]
    why = uncreated.reasons(
        cluster, namespace, {names.workload(name), *(names.workload(name, member) for member in nowhere)} if nowhere else ()
    )
    for entry in rest:
        found = pod_of(summaries, entry["member"], entry["node"])
        reason = uncreated.reason_of(why, name, entry["member"])
        state = (
            "has no pod" + (f" ({reason})" if reason else "")
            if found is None
            else f"pod {found['name']} is {found['phase']}, not {condition}" + (f" ({found['waiting']})" if found["waiting"] else "")
        )
        end = "; its VM is gone" if entry["member"] in lost else ""
        lines.append(f"kube cluster {cluster.name}: member {entry['member']} on node {entry['node']}: {state}{end}")
    return lines, lost
