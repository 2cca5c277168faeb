# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, nodes and observations as the modules return them, for tests of the pure plans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import admission, deployment, names
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb

from .member import system_spec

Json = dict[str, Any]

TOKEN = "ledger-5f0c9a71"
NONCE = "00ff00ff00ff00ff"
FINGERPRINT = "ab" * 32
SYSTEMS = ("cockroachdb", "etcd", "nats")


def spec_of(system: str) -> Json:
    """The spec as the role's tasks/spec.yml leaves it."""
    spec = system_spec(system)
    # Ansible keeps the type of what an expression gives; plain Jinja makes texts.
    spec["grace_seconds"] = int(spec["grace_seconds"])
    for ports in ("ports", "local_ports"):
        spec[ports] = {name: int(number) for name, number in spec.get(ports, {}).items()}
    if system == "cockroachdb":
        return cockroachdb.complete_spec(spec, spec["image"], "", "region={region},zone={zone}")
    return spec


def settings(kube_clusters: Sequence[str] = ("east", "west"), **changes: Any) -> Json:
    """What the role preflight makes of the variables."""
    return {
        "name": "ledger",
        "system": "etcd",
        "system_role": "hostnet.multicluster.system_etcd",
        "placement": "node_name",
        "namespace": "bank",
        "kube_clusters": [{"name": name} for name in kube_clusters],
        "absent_kube_clusters": [],
        "node_selector": "",
        "selector_said": True,
        "address_type": "InternalIP",
        "join_per_cluster": 2,
        "image": "example.test/etcd:1",
        "resources": {},
        "tolerations": [],
        "data_root": "/var/lib/hostnet",
        "data_mount": False,
        "pki_dir": "/pki/ledger",
        "ca": {},
        "certificate": {},
        "certificate_hosts": [],
        "clients": ["client"],
        # Of the role certificates, where the system has such keys.
        "nkeys": {"system": "UAZURZWMZGPMTOO7CYDUOGR2KC6TVUH7ECF3WBDX2JXHEWKLNGDHVSXY"},
        "probe_image": "example.test/busybox:1",
        "pull_secrets": [],
        "priority_class": "system-cluster-critical",
        "timeout": 300,
        **changes,
    }


def node(kube_cluster: str, name: str, address: str, **changes: Any) -> Json:
    return {
        "kube_cluster": kube_cluster,
        "name": name,
        "uid": f"uid-{kube_cluster}-{name}",
        "provider_id": f"kind://{name}",
        "address": address,
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "region": kube_cluster,
        "zone": f"{kube_cluster}-a",
        "ready": True,
        "unschedulable": False,
        "control_plane": False,
        "labels": {},
        "taints": [],
        "selected": True,
        **changes,
    }


def five_nodes() -> list[Json]:
    """The lab's shape: three nodes in `east`, two in `west`. One address is a prefix of another one."""
    return [
        node("east", "east-worker", "10.0.0.1", zone="east-a"),
        node("east", "east-worker2", "10.0.0.12", zone="east-b"),
        node("east", "east-worker3", "10.0.0.3", zone="east-c"),
        node("west", "west-worker", "10.0.1.1", zone="west-a"),
        node("west", "west-worker2", "10.0.1.2", zone="west-b"),
    ]


def nothing(**changes: Any) -> Json:
    """One kube cluster that has nothing of the deployment."""
    return {
        "namespace": None,
        "identity": None,
        "cluster_record": None,
        "members": [],
        "members_found": False,
        "ordinals": {},
        "rosters": [],
        "uid": "",
        "absent": False,
        "join": None,
        # Read, and nobody holds it.
        "lock": {},
        "workloads": [],
        "pods": [],
        "secrets": [],
        **changes,
    }


def identity(members: Sequence[str], **changes: Any) -> Json:
    return {
        "token": TOKEN,
        "system": "etcd",
        "placement": "node_name",
        "ca_fingerprint": FINGERPRINT,
        "members": ",".join(members),
        "claimed_by": "test",
        **changes,
    }


def pod(binding: Mapping[str, Any], **changes: Any) -> Json:
    return {
        "name": f"ledger-{binding['member']}-0",
        "uid": f"pod-{binding['member']}",
        "member": binding["member"],
        "node": binding["node"],
        "phase": "Running",
        "running": True,
        "ready": True,
        "started_at": "2026-11-22T12:00:00Z",
        "restarts": 0,
        "terminating": False,
        "host_ip": binding["address"],
        "image": "example.test/etcd:1",
        "revision": "r1",
        "waiting": "",
        **changes,
    }


def workload(binding: Mapping[str, Any], **changes: Any) -> Json:
    return {
        "kind": "StatefulSet",
        "name": f"ledger-{binding['member']}",
        "member": binding["member"],
        "token": TOKEN,
        "ca_fingerprint": FINGERPRINT,
        "image": "example.test/etcd:1",
        "revision": "r1",
        **changes,
    }


def admitted(hostnet: Mapping[str, Any], spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The bindings that a first deploy to these nodes makes."""
    observed = {str(cluster["name"]): nothing() for cluster in hostnet["kube_clusters"]}
    plan = deployment.deployment_plan(hostnet, spec, nodes, observed)
    return admission.admitted(plan["new"], TOKEN, str(hostnet["placement"]), NONCE)


def uid_of(kube_cluster: str) -> str:
    """UID of the namespace kube-system of a kube cluster in these tests."""
    return f"uid-of-{kube_cluster}"


def of_0_2_0(observed: Mapping[str, Mapping[str, Any]]) -> dict[str, Json]:
    """The same as version 0.2.0 would have left it: no record of the kube clusters, and bindings where their members are alone."""
    old = {}
    for name, found in observed.items():
        claim = {key: value for key, value in (found["identity"] or {}).items() if key not in ("kube_clusters", "data_root")}
        local = [dict(entry) for entry in found["members"] if entry["kube_cluster"] == name]
        old[name] = {**found, "identity": claim or None, "members": local, "ordinals": {}, "rosters": []}
    return old


def running(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], cluster_id: str = "c1d") -> dict[str, Json]:
    """What is observed of a deployment that is finished and well."""
    observed = {}
    ordinals: dict[str, int] = {}
    for binding in bindings:
        ordinals[str(binding["kube_cluster"])] = max(ordinals.get(str(binding["kube_cluster"]), -1), int(binding["ordinal"]))
    claim = identity(
        [str(binding["member"]) for binding in bindings],
        placement=str(hostnet["placement"]),
        system=hostnet["system"],
        kube_clusters=json.dumps({str(cluster["name"]): uid_of(str(cluster["name"])) for cluster in hostnet["kube_clusters"]}),
        data_root=str(hostnet["data_root"]),
    )
    seeds = ",".join(str(binding["address"]) for binding in bindings)
    placement = str(hostnet["placement"])
    for cluster in hostnet["kube_clusters"]:
        local = [dict(binding) for binding in bindings if binding["kube_cluster"] == cluster["name"]]
        if placement == "daemonset":
            workloads = [workload(local[0], kind="DaemonSet", name="ledger", member="")] if local else []
            pods = [pod(binding, member="", name=f"ledger-{binding['node']}") for binding in local]
        else:
            workloads = [workload(binding) for binding in local]
            pods = [pod(binding) for binding in local]
        dates = {binding["member"]: {"server": {"serial": "1f", "not_after": "2027-11-22T12:00:00Z"}} for binding in local}
        observed[str(cluster["name"])] = nothing(
            namespace={"labels": {"pod-security.kubernetes.io/enforce": "privileged"}, "phase": "Active"},
            uid=uid_of(str(cluster["name"])),
            identity=dict(claim),
            cluster_record={"cluster_id": cluster_id, "token": TOKEN} if cluster_id else None,
            members=[dict(binding) for binding in bindings],
            members_found=True,
            ordinals=dict(ordinals),
            join={"seeds": seeds, "HOSTNET_STATE": "existing"},
            workloads=workloads,
            pods=pods,
            secrets=[{"name": "ledger", "certificates": dates}],
        )
    return observed


def labelled(nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], name: str = "ledger") -> list[Json]:
    """The nodes with the label that a deploy gives to those that carry a member."""
    owners = {(binding["kube_cluster"], binding["node"]): binding["member"] for binding in bindings}
    result = []
    for one in nodes:
        owner = owners.get((one["kube_cluster"], one["name"]))
        result.append({**one, "labels": {**one["labels"], **({names.node_label(name): owner} if owner else {})}})
    return result


def inspected(bindings: Sequence[Mapping[str, Any]], cluster_id: str = "c1d", **changes: Any) -> dict[str, Json]:
    """Every member well, the first one leading."""
    return {
        str(binding["member"]): {
            "reachable": True,
            "healthy": True,
            "reason": "",
            "cluster_id": cluster_id,
            "id": f"id-{binding['member']}",
            "version": "3.6.16",
            "leader": index == 0,
            "role": "voter",
            "peers": [],
            **changes,
        }
        for index, binding in enumerate(bindings)
    }
