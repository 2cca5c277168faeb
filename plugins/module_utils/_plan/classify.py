# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has become of each member, from observation alone, and the status report made of it: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import admission, dead, disk, expiry, join, journal, observation, progress, signs
from .layout import ca_certificate, data_folder
from .listed import aligned
from .names import OUT_OF_SERVICE

Json = dict[str, Any]

SCHEMA_VERSION = 1
# Classes of members that may be well.
WELL = ("ok", "rebooted", "returned")
# The kubelet's words where a hostPath of type Directory is not there.
_NO_FOLDER = "is not a directory"


def classify(
    hostnet: Mapping[str, Any],
    binding: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    node: Mapping[str, Any] | None,
    pod: Mapping[str, Any] | None,
    inspected: Mapping[str, Any] | None,
    cluster_id: str,
    uncreated: str = "",
    facts: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Class of a member and the reason in words (empty for `ok`).

    `node` is the Node of the binding's name as it is now (None: there is none), `pod` the member's pod, `inspected` what
    the system said about the member, `uncreated` why it has no pod as far as its workload's events tell, `facts` what was seen on its node's
    disk (probe.parse_probe). Classes are those of docs/design.md, section 7.
    """
    folder = data_folder(hostnet, binding)
    where = f"node {binding['node']}"
    if node is None:
        return "missing", f"{where} does not exist any more in kube cluster {binding['kube_cluster']}"
    if inspected and inspected.get("reachable") and cluster_id and inspected.get("cluster_id") and inspected["cluster_id"] != cluster_id:
        return "foreign", f"it reports cluster id {inspected['cluster_id']}, the record says {cluster_id}"
    if dead.is_dead(node):
        return "dead", f"{where} is not Ready, and its taint {OUT_OF_SERVICE} says that its host is shut down"
    no_folder = bool(pod and not pod["running"] and _NO_FOLDER in str(pod["waiting"]))
    empty = ""
    if no_folder and admission.admitted_vm(binding, node):
        kind, empty = disk.without_folder(hostnet, binding, facts)
        if kind != "reimaged":
            return kind, empty
    answers = bool(inspected and inspected.get("reachable"))
    # Kubelets and clouds change the order of a node's addresses. A DaemonSet's pod takes the first one at its next start, so there the member has to be well.
    kept = dead.lists_address(node, str(binding["address"])) and (hostnet["placement"] != "daemonset" or answers)
    # Another hostnet_address_type than it was deployed with is an error of the plan, and no VM has moved.
    kept = kept or bool(dead.other_type(hostnet, binding, node))
    if node["address"] != binding["address"] and not kept:
        owners = [other["member"] for other in bindings if other["address"] == node["address"]]
        if owners:
            return "swapped", f"{where} now has address {node['address']}, which belongs to member {owners[0]}"
        if no_folder or node["uid"] != binding["node_uid"]:
            return (
                "replaced",
                f"{where} is another VM, with address {node['address']} instead of {binding['address']}; {folder} is not on its disk",
            )
        return "moved", f"{where} now has address {node['address']} instead of {binding['address']}"
    if no_folder:
        return (
            "reimaged",
            empty
            or f"{where} has the same name and address, but its disk is empty: {folder} is not there, so the member waits and does not start on an empty disk",
        )
    if not node["ready"]:
        return (
            "unknown",
            f"{where} is not Ready; unreachable is not dead. {dead.words(hostnet, str(binding['kube_cluster']), str(binding['node']))}",
        )
    if binding.get("stopped") and pod is None:
        return "unknown", "it was stopped by a rollout that was not finished"
    if pod is None and node["uid"] != binding["node_uid"]:
        return (
            "reimaged",
            f"{where} has the same name and address, but it is another VM, to which no member was admitted, so none starts there",
        )
    # Whoever ran there is kept away by the taint; the node itself is back.
    taint = dead.taint_command(hostnet, str(binding["kube_cluster"]), str(binding["node"]), take_away=True)
    back = f"; {where} is Ready again, but still has a taint that keeps it away: {taint}" if dead.out_of_service(node) else ""
    if pod is None:
        return "unknown", "it has no pod" + (f" ({uncreated})" if uncreated else "") + back
    if not pod["running"]:
        return "unknown", f"its pod {pod['name']} is {pod['phase']}" + (f" ({pod['waiting']})" if pod["waiting"] else "") + back
    if inspected is None or not answers:
        return "unknown", str((inspected or {}).get("reason") or "it does not answer")
    older = progress.went_back(binding, inspected)
    if older:
        return "older_copy", older
    kind = "rebooted" if binding.get("boot_id") and node.get("boot_id") and node["boot_id"] != binding["boot_id"] else "ok"
    return kind, "" if inspected.get("healthy") else str(inspected.get("reason") or "it says that it is not healthy")


def _returned(binding: Mapping[str, Any], node: Mapping[str, Any], kind: str, returned: Sequence[str]) -> bool:
    """Whether only the Node object of a member is another one: the VM says so itself, or the member runs there, which it does on its own disk alone."""
    if binding["member"] in returned:
        starting = kind == "unknown" and node["ready"] and not binding.get("stopped") and not dead.out_of_service(node)
        return kind in WELL or bool(starting)
    return kind in WELL and node["uid"] != binding["node_uid"]


def is_outdated(pod: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]], member: str) -> bool:
    """Whether a pod runs with another image or configuration than its workload has now, so that a restart would change something.

    A pod that does not say what it was started with is of an older version of this collection, and so of an older template.
    """
    workload = next((entry for entry in workloads if entry["member"] in (member, "")), None)
    if workload is None:
        return False
    return any(pod.get(key) != workload.get(key) for key in ("image", "configuration"))


def deployment_status(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    observed: Mapping[str, Any],
    inspection: Mapping[str, Any],
    disks: Mapping[str, Any] | None = None,
    observed_at: str = "",
) -> Json:
    """The status of a deployment: the JSON that `hostnet_status_file` gets (docs/status.md is its schema).

    `disks`: member -> what was seen on its node's disk (disk.facts_of), where somebody has looked. `observed_at`: what time it is (RFC 3339).
    """
    by_name = {(str(node["kube_cluster"]), str(node["name"])): node for node in nodes}
    dates = observation.stored_certificates(observed)
    # Of a kube cluster that does not say, nothing is known.
    guarded = {name: {entry["member"] for entry in found["guards"]} for name, found in observed.items() if found.get("guards") is not None}
    members = []
    bindings = sorted(plan["members"], key=join.canonical_key)
    lists = {
        name: [entry for entry in str((observed[name]["join"] or {}).get("seeds", "")).split(",") if entry]
        for name in sorted(observed)
        if not observed[name].get("absent")
    }
    for binding in bindings:
        kube_cluster = str(binding["kube_cluster"])
        node = by_name.get((kube_cluster, str(binding["node"])))
        there = observed.get(kube_cluster, {"absent": True, "error": f"kube cluster {kube_cluster} is not in the inventory", "pods": []})
        pod = pod_of(there["pods"], str(binding["member"]), str(binding["node"]))
        inspected = inspection.get(binding["member"])
        if there.get("absent"):
            # As it was known last, from the copies that the other kube clusters have.
            kind, reason = "unknown", f"its kube cluster does not answer, and unreachable is not dead: {there['error']}"
        else:
            uncreated = _uncreated(there["workloads"], str(binding["member"]))
            kind, reason = classify(
                hostnet, binding, bindings, node, pod, inspected, plan["cluster_id"], uncreated, (disks or {}).get(binding["member"])
            )
        said = inspected or {}
        if node is not None and _returned(binding, node, kind, plan.get("returned", ())):
            kind, reason = "returned", reason and f"the Node object of node {node['name']} was made anew for the same VM; {reason}"
        certificates = dates.get(str(binding["member"]), {})
        first = (
            certificates[next(iter(sorted(certificates, key=lambda file: (str(certificates[file]["not_after"]), file))))]
            if certificates
            else {}
        )
        members.append(
            {
                "member": binding["member"],
                "class": kind,
                "healthy": kind in WELL and bool(said.get("healthy")),
                "reason": reason,
                "kube_cluster": kube_cluster,
                "node": binding["node"],
                "node_uid": binding["node_uid"],
                "provider_id": binding["provider_id"],
                "address": binding["address"],
                "region": binding["region"],
                "zone": binding["zone"],
                "admission": binding["admission"],
                "disk": binding.get("disk") or {},
                "id": said.get("id", ""),
                "cluster_id": said.get("cluster_id", ""),
                "role": said.get("role", ""),
                "leader": bool(said.get("leader")),
                "alone": [str(entry) for entry in said.get("alone") or []],
                "version": said.get("version", ""),
                "image": pod["image"] if pod else "",
                "outdated": pod is not None and is_outdated(pod, there["workloads"], str(binding["member"])),
                "pod": pod["name"] if pod else "",
                "started_at": pod["started_at"] if pod else "",
                "restarts": pod["restarts"] if pod else 0,
                "certificate": {"serial": first.get("serial", ""), "not_after": first.get("not_after", "")},
                "join_list": lists.get(kube_cluster, []),
                "signs": [dict(sign) for sign in (node or {}).get("signs") or []],
                "guarded": kube_cluster not in guarded or binding["member"] in guarded[kube_cluster],
            }
        )
    absent = {name: str(observed[name]["error"]) for name in sorted(observed) if observed[name].get("absent")}
    problems = [f"kube cluster {name} does not answer: {error}" for name, error in absent.items()]
    problems += [str(error) for error in plan.get("conflicts", []) if error not in (*plan.get("lost_ca", ()), *plan.get("rights", ()))]
    problems += [str(entry["error"]) for entry in plan.get("strangers", [])]
    problems += [f"{text}: run playbooks/deploy.yml" for text in plan.get("restored", [])]
    problems += _lost_records(plan, observed)
    problems += [problem_of(entry) for entry in members if not entry["healthy"]]
    # Whoever is well and has something to say nevertheless: the alarm of a full etcd, for example.
    well = [str(entry["member"]) for entry in members if entry["healthy"]]
    problems += [f"member {name}: {inspection[name]['reason']}" for name in well if (inspection.get(name) or {}).get("reason")]
    ids = sorted({str(entry["cluster_id"]) for entry in members if entry["cluster_id"]})
    if len(ids) > 1:
        problems.insert(0, f"members report {len(ids)} cluster ids: {', '.join(ids)}")
    if len({tuple(entries) for entries in lists.values()}) > 1:
        problems.append("join lists differ between kube clusters; run playbooks/deploy.yml")
    if not plan["identity"] and not (absent and not members):
        problems.append("there is no identity record" if members else "it is not deployed")
    return {
        "schema": SCHEMA_VERSION,
        "observed_at": observed_at,
        "deployment": hostnet["name"],
        "namespace": hostnet["namespace"],
        "system": hostnet["system"],
        "placement": hostnet["placement"],
        "cluster_id": plan["cluster_id"],
        "identity": plan["identity"],
        "rollout": _rollout(observed),
        "lock": {name: observed[name]["lock"] for name in sorted(observed) if observed[name].get("lock")},
        "kube_clusters": [
            {
                "name": name,
                "uid": str(observed[name].get("uid", "")),
                "absent": name in absent,
                "error": absent.get(name, ""),
                # Only a status asks who holds the lock.
                "lock_read": name not in absent and observed[name].get("lock") is not None,
            }
            for name in sorted(observed)
        ],
        "healthy": bool(members) and not problems,
        "problems": problems,
        # Without its CA everything runs, and the next VM that is replaced has no member.
        "warnings": [*map(str, plan.get("lost_ca", ())), *expiry.warnings(members, observed_at, expiry.least_days(hostnet))],
        "members": members,
        "join_lists": lists,
    }


def _lost_records(plan: Mapping[str, Any], observed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Kube clusters without a record that another one has."""
    wanted = {"identity": ("identity record", plan["identity"]), "cluster_record": ("cluster id", plan["cluster_id"])}
    return [
        f"kube cluster {name} has no {title}, which others have: run playbooks/deploy.yml"
        for name in sorted(observed)
        if not observed[name].get("absent")
        for key, (title, known) in wanted.items()
        if known and not observed[name].get(key)
    ]


def _uncreated(workloads: Sequence[Mapping[str, Any]], member: str) -> str:
    """Why the workload of a member has no pod: its own StatefulSet, or the DaemonSet."""
    return next((str(entry["waiting"]) for entry in workloads if entry.get("waiting") and entry["member"] in (member, "")), "")


def _rollout(observed: Mapping[str, Any]) -> Json | None:
    """The rollout that was begun and has not ended: {run_id, work, member, done, started_at}, or None."""
    found = journal.newest({name: observed[name].get("rollout") for name in observed})
    if found is None or not journal.in_flight(found):
        return None
    member = (found.get("member") or {}).get("member", "")
    return {**{key: found.get(key) for key in ("run_id", "work", "started_at")}, "member": member, "done": list(found.get("done", []))}


def pod_of(pods: Sequence[Mapping[str, Any]], member: str, node: str) -> Mapping[str, Any] | None:
    """The pod of a member: by its label, or (a DaemonSet's pods carry no member label) by its node. Newest wins over terminating."""
    found = [pod for pod in pods if (pod["member"] == member if pod["member"] else bool(node) and pod["node"] == node)]
    found.sort(key=lambda pod: (bool(pod["terminating"]), str(pod["name"])))
    return found[0] if found else None


def member_targets(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> list[Json]:
    """`members` of member_exec: every member whose container runs, with what its commands and requests may need.

    Only those of `hostnet.kube_clusters`: the others cannot be asked.
    """
    targets = []
    asked = {str(cluster["name"]) for cluster in hostnet["kube_clusters"]}
    pki = str(hostnet.get("pki_dir", ""))
    for binding in bindings:
        pod = pod_of(observed.get(binding["kube_cluster"], {}).get("pods", []), str(binding["member"]), str(binding["node"]))
        if pod is None or not pod["running"] or pod["terminating"] or binding["kube_cluster"] not in asked:
            continue
        targets.append(
            {
                "member": binding["member"],
                "kube_cluster": binding["kube_cluster"],
                "namespace": hostnet["namespace"],
                "pod": pod["name"],
                "container": hostnet["system"],
                "variables": {
                    "address": str(binding["address"]),
                    "host": join.bracketed(str(binding["address"])),
                    "process": str(binding["process"]),
                    "node": str(binding["node"]),
                    "certs": "/etc/hostnet/certs" + (f"/{binding['node']}" if hostnet["placement"] == "daemonset" else ""),
                    # On the controller: the member's own folder of certificates, and the certificates of the CAs that members trust.
                    "pki": f"{pki}/{binding['member']}",
                    "ca": ca_certificate(hostnet),
                },
            }
        )
    return targets


_COLUMNS = ("member", "class", "node", "address", "zone", "role", "version", "certificate", "started")


def status_table(status: Mapping[str, Any]) -> list[str]:
    """The status as lines for people: a headline, one row per member, then the problems."""
    rows = [_COLUMNS]
    for entry in status["members"]:
        role = f"{entry['role']}{' (leader)' if entry['leader'] else ''}"
        rows.append(
            (
                entry["member"],
                health(entry),
                entry["node"],
                entry["address"],
                entry["zone"],
                role or "-",
                entry["version"] or "-",
                str(entry["certificate"]["not_after"])[:10] or "-",
                entry["started_at"] or "-",
            )
        )
    lines = [
        (
            f"{status['deployment']} ({status['system']}, {status['placement']}): {'healthy' if status['healthy'] else 'NOT HEALTHY'}, "
            f"{sum(entry['healthy'] for entry in status['members'])} of {len(status['members'])} members, cluster id {status['cluster_id'] or '-'}"
        )
    ]
    lines += aligned([[str(cell) for cell in row] for row in rows])
    for name, entries in sorted(status["join_lists"].items()):
        lines.append(f"join list in {name}: {', '.join(entries) or '-'}")
    lines += [
        f"the VM of {entry['member']} {'is off' if soon == signs.OFF else 'is about to go' if soon == signs.GOING else 'may go'}: {signs.told(entry)}"
        for entry in status["members"]
        if (soon := signs.level(entry.get("signs") or []))
    ]
    lines += [
        f"{entry['member']} serves on port {port['port']} ({port['number']}): "
        + (
            port["error"]
            or f"serial {port['serial']}, until {port['not_after'][:10]}{', as stored' if port['current'] else ', not as stored'}"
        )
        for entry in status["members"]
        for port in entry.get("served") or []
    ]
    lines += hints(status)
    rollout = status.get("rollout")
    if rollout:
        at = f", at member {rollout['member']}" if rollout["member"] else ""
        lines.append(
            f"a rollout ({rollout['work']}, run {rollout['run_id']}{at}) was begun and has not ended: its playbook goes on with it"
        )
    holders: dict[str, list[str]] = {}
    for name, holder in sorted((status.get("lock") or {}).items()):
        holders.setdefault(
            f"{holder['run_id']} ({holder['what']}, {holder['user']} on {holder['host']}, since {holder['since']})", []
        ).append(name)
    lines += [f"the lock is held in kube cluster {', '.join(where)} by run {text}" for text, where in holders.items()]
    return lines + [f"! {text}" for text in [*status["problems"], *status["warnings"]]]


def problem_of(entry: Mapping[str, Any]) -> str:
    """The problem that a member of the status is while it is not healthy."""
    return f"member {entry['member']}: {entry['class']}: {entry['reason']}"


def health(entry: Mapping[str, Any]) -> str:
    """One word for how a member of the status is."""
    return str(entry["class"]) if entry["healthy"] or entry["class"] not in WELL else "unhealthy"


def hints(status: Mapping[str, Any]) -> list[str]:
    """What is no problem, and which playbook mends it."""
    found = []
    bare = [str(entry["member"]) for entry in status["members"] if not entry.get("guarded", True)]
    if bare:
        found.append(f"no guard pods hold a drain of the nodes of {', '.join(bare)}: run playbooks/deploy.yml")
    behind = [str(entry["member"]) for entry in status["members"] if entry.get("outdated")]
    if behind:
        found.append(
            f"another image or configuration was deployed since {', '.join(behind)} started: run playbooks/upgrade.yml -e hostnet_work=restart"
        )
    return found
